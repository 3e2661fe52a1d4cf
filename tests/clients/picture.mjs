// README's picture, for scripts/picture: a server of its own, two windows that talk, `my-app status --watch` in a
// terminal, and a worker that is killed. Everything is shown as the programs showed it; only the frames are drawn here.
//
//   node picture.mjs --program PATH/my-app --out FILE.png

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { Page } from "./lib/chromium.mjs";
import { assertTrue } from "./lib/compare.mjs";
import { go, press, size, until } from "./lib/person.mjs";
import { script, waiting } from "./lib/script.mjs";

const options = {
  program: { type: "string" },
  out: { type: "string" },
  chromium: { type: "string", default: "/usr/bin/chromium" },
};

/** A window's size, and the terminal's. */
const [WIDTH, HEIGHT] = [650, 800];
const [COLUMNS, ROWS] = [120, 40];

const directory = mkdtempSync(path.join(tmpdir(), "picture-"));
const children = [];
process.on("exit", () => {
  for (const child of children) child.kill("SIGTERM");
  rmSync(directory, { recursive: true, force: true });
});

/** The server, and the address that it tells. */
async function serve(program) {
  const configuration = path.join(directory, "my-app.toml");
  writeFileSync(configuration, `[log]\nfile = ""\n[control]\nsocket = "${directory}/control.sock"\n`);
  const server = spawn(program, ["--config", configuration, "--listen", "127.0.0.1:0", "--workers", "3"], { stdio: ["ignore", "pipe", "inherit"] });
  children.push(server);
  const told = new Promise((resolve) => {
    createInterface(server.stdout).on("line", (line) => {
      const address = /Listening on (\S+)/.exec(line)?.[1];
      if (address) resolve(address);
    });
  });
  return waiting("the server", told);
}

/** `my-app status --watch` in a terminal: what it shows, newest last. */
function watch(program) {
  const command = `stty cols ${COLUMNS} rows ${ROWS}; exec '${program}' status --watch --socket '${directory}/control.sock'`;
  const terminal = spawn("script", ["--quiet", "--flush", "--return", "--command", command, "/dev/null"], { stdio: ["pipe", "pipe", "inherit"], env: { ...process.env, TERM: "xterm" } });
  children.push(terminal);
  const shown = { frame: "" };
  let rest = "";
  terminal.stdout.setEncoding("utf8").on("data", (text) => {
    const frames = (rest + text).split("\x1b[J");
    rest = frames.pop();
    if (frames.length) shown.frame = frames.at(-1).split("\x1b[H").at(-1);
  });
  return shown;
}

const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

/** A screen of the terminal as HTML: bold and colours are all that it has. */
function html(frame) {
  const pieces = frame.replaceAll("\r", "").replaceAll("\x1b[K", "").split("\x1b[");
  const [first, ...others] = pieces;
  const spans = others.map((piece) => {
    const [, codes, text] = /^([\d;]*)m([^]*)$/.exec(piece) ?? [null, "", piece];
    return `<span class="${codes.split(";").map((code) => `s${code || 0}`).join(" ")}">${escaped(text)}</span>`;
  });
  return escaped(first) + spans.join("");
}

async function open(page, url) {
  await page.call("Emulation.setScrollbarsHidden", { hidden: true });
  await size(page, WIDTH, HEIGHT);
  await go(page, url);
  await settled(page);
}

const settled = (page) => until(page, "the upgrade", `document.querySelector("[aria-current]")?.dataset.step === "websocket" && Number(document.getElementById("worker").textContent) > 0 && document.getElementById("trips").textContent.startsWith("median")`);

async function say(from, to, text) {
  await from.value(`document.getElementById("message").focus()`);
  await from.call("Input.insertText", { text });
  await press(from, "Enter");
  for (const page of [from, to]) await until(page, text, `document.querySelector("#logs").textContent.includes(${JSON.stringify(text)})`);
  await from.value("document.activeElement.blur(); scrollTo(0, 0)");
}

async function shot(page) {
  return (await page.call("Page.captureScreenshot", {})).data;
}

const STYLE = `
  body { margin: 0; padding: 20px; width: ${2 * WIDTH + 20}px; background: #dfe4ec; font: 13px system-ui, sans-serif; }
  .windows { display: flex; gap: 20px; margin-bottom: 20px; }
  figure { margin: 0; border-radius: 8px; overflow: hidden; border: 1px solid #bcc4d0; }
  figcaption { padding: 6px 12px; color: #545b66; background: #ffffff; border-bottom: 1px solid #dde1e7; }
  img { display: block; }
  .terminal figcaption { color: #c3c9d2; background: #2a2f37; border: 0; }
  pre { margin: 0; padding: 12px 16px; color: #e6e8eb; background: #14171b; font: 14px/1.4 "DejaVu Sans Mono", monospace; white-space: pre; overflow: hidden; }
  .s1 { font-weight: 700; } .s31 { color: #ff9c9c; } .s32 { color: #7fdca0; } .s33 { color: #ffd27f; }`;

await script({ options, needsUrl: false }, async (args) => {
  const program = path.resolve(args.program);
  const url = await serve(program);
  const one = await Page.start(args.chromium);
  const two = await one.another();
  const composed = await one.another();
  await open(one, url);
  await open(two, url);
  const terminal = watch(program);
  await say(one, two, "Hello! My worker is about to be killed.");
  await say(two, one, "Mine is another process. I shall tell you what I see.");

  const victim = Number(await one.value(`document.getElementById("worker").textContent`));
  process.kill(victim, "SIGKILL");
  await until(one, "the window to be back", `document.getElementById("state").textContent.startsWith("connected again")`);
  await settled(one);
  await say(one, two, "Back, at another worker.");
  await say(two, one, "I noticed nothing.");
  await until(two, "both", `document.getElementById("members").textContent.startsWith("2 here")`);
  const told = async () => {
    while (!/ 2 websocket[^]*worker-gone/.test(terminal.frame) || !terminal.frame.includes(`pid ${victim}`)) await new Promise((resolve) => setTimeout(resolve, 50));
  };
  await waiting("the terminal to tell of it", told());

  // Of one round trip in a new process there is nothing to draw yet.
  for (const page of [one, two]) await until(page, "some round trips", `Number(/of (\\d+)/.exec(document.getElementById("trips").textContent)?.[1]) >= 12`);

  const windows = [];
  for (const page of [one, two]) windows.push(`<figure><figcaption>${escaped(url)}</figcaption><img width="${WIDTH}" height="${HEIGHT}" src="data:image/png;base64,${await shot(page)}"></figure>`);
  const text = html(terminal.frame.trimEnd());
  const page = `<!doctype html><style>${STYLE}</style><div class="windows">${windows.join("")}</div><figure class="terminal"><figcaption>my-app status --watch</figcaption><pre>${text}</pre></figure>`;
  await size(composed, 2 * WIDTH + 60, 800);
  // It loads nothing from anywhere.
  const { frameTree } = await composed.call("Page.getFrameTree");
  await composed.call("Page.setDocumentContent", { frameId: frameTree.frame.id, html: page });
  await until(composed, "the picture", `[...document.images].every(({ complete }) => complete)`);
  const height = await composed.value("Math.ceil(document.body.getBoundingClientRect().height)");
  await size(composed, 2 * WIDTH + 60, height);
  const png = Buffer.from(await shot(composed), "base64");
  assertTrue(`a picture of less than 200 kB, it has ${png.length} bytes`, png.length < 200_000);
  writeFileSync(args.out, png);
  return { bytes: png.length, width: 2 * WIDTH + 60, height, killed: victim };
});
