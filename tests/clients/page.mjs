// The sample application's page, as two persons use it, in two windows of a headless Chromium and with the keyboard:
// each sees the upgrade, what one says the other hears, and what others send stays text, whatever it is. With --kill
// COMMAND the first one's worker is ended (`COMMAND PID`), and the window must come back. With --screenshots (or
// SCREENSHOTS in the environment), leaves pictures in that directory. With --briefly the windows only say something.
// With --no-client the server is one that was built without the client's files.
//
//   node page.mjs --url ORIGIN [--path PATH] [--kill "kill -KILL"] [--screenshots DIRECTORY]

import { spawnSync } from "node:child_process";
import { Page } from "./lib/chromium.mjs";
import { assertEqual, assertTrue } from "./lib/compare.mjs";
import { complaintsOf, faintTexts, focused, go, namelessFields, picture, press, size, tabTo, until } from "./lib/person.mjs";
import { progress, script, sleep } from "./lib/script.mjs";
import { io } from "socket.io-client-v4";

const options = {
  kill: { type: "string" },
  screenshots: { type: "string", default: process.env.SCREENSHOTS },
  briefly: { type: "boolean", default: false },
  "no-client": { type: "boolean", default: false },
  chromium: { type: "string", default: "/usr/bin/chromium" },
};

const MARKUP = `<img src=x onerror="document.title='run'"><b>bold</b>`;
const text = (id) => `document.getElementById(${JSON.stringify(id)}).textContent`;
const log = `[...document.querySelectorAll(".log:not([hidden]) li")].at(-1)`;

/** Has a window remember each transport that the page shows, as it shows it. */
async function prepare(page) {
  const source = `window.shown = []; document.addEventListener("DOMContentLoaded", () => new MutationObserver(() => {
    const step = document.querySelector("[aria-current=step]")?.dataset.step ?? "";
    if (shown.at(-1) !== step) shown.push(step);
  }).observe(document.body, { subtree: true, attributes: true, attributeFilter: ["aria-current"] }))`;
  await page.call("Page.addScriptToEvaluateOnNewDocument", { source });
  await size(page, 1280, 900);
}

/** Opens the page anew, and waits until it is upgraded. */
async function visit(page, args, room) {
  await go(page, `${args.url}/#${new URLSearchParams({ room })}`);
  await until(page, "a worker", `${text("state")}.startsWith("connected") && Number(${text("worker")}) > 0`);
  await until(page, "the upgrade", `document.querySelector("[aria-current]")?.dataset.step === "websocket"`);
  await until(page, "a round trip", `${text("trip")}.endsWith("ms")`);
  assertEqual("the transports that were shown", ["polling", "websocket"], await page.value("shown"));
}

const worker = async (page) => Number(await page.value(text("worker")));

/** Waits until the windows are at two workers. Clients that are gone tip the balance until their pings time out: until
 * then the second window comes again. */
async function apart(one, two, args) {
  const workers = [await worker(one), await worker(two)];
  for (const end = Date.now() + 90_000; workers[0] === workers[1] && Date.now() < end; await sleep(500)) {
    await visit(two, args, "lobby");
    workers[1] = await worker(two);
  }
  assertTrue(`two workers to have the windows; they are at ${workers.join(" and ")}`, workers[0] !== workers[1]);
  return workers;
}

/** Says something, from wherever the focus is. */
async function say(page, said) {
  await page.value(`document.getElementById("room").focus()`);
  await tabTo(page, "message");
  await page.call("Input.insertText", { text: said });
  await press(page, "Enter");
  await until(page, "a message to be sent", `document.getElementById("message").value === ""`);
}

const hears = (page, said) => until(page, `"${said.slice(0, 60)}"`, `${log}?.querySelector(".text").textContent === ${JSON.stringify(said)}`);

/** Nothing may be cut off, and everything be read, whatever the window. */
async function look(page, args, what) {
  for (const scheme of ["light", "dark"]) {
    const calm = { name: "prefers-reduced-motion", value: "reduce" };
    await page.call("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }, calm] });
    for (const width of [1280, 800, 360]) {
      await size(page, width, 900);
      await picture(page, args.screenshots, `${what}-${scheme}-${width}`);
      const over = (await page.value("document.documentElement.scrollWidth")) - width;
      assertTrue(`nothing to be cut off at ${width} px; ${over} px are`, over <= 0);
      assertEqual(`faint texts, ${scheme}, ${width} px`, [], await faintTexts(page));
    }
  }
  await page.call("Emulation.setEmulatedMedia", { features: [] });
  await size(page, 1280, 900);
}

/** What no window sends: from a client of its own. */
async function hostile(args, room) {
  const socket = io(`${args.url}/chat`, { path: args.path, transports: ["websocket"], forceNew: true });
  await socket.emitWithAck("join", room);
  const send = (payload) => socket.emitWithAck("message", room, payload);
  let nested = [];
  for (let depth = 0; depth < 100; depth += 1) nested = [nested];
  for (const payload of [null, 7, nested, { text: { toString: 1 }, worker: "<b>" }, Buffer.alloc(70_000), "\u202eabc\n".repeat(500), "W".repeat(100_000)]) await send(payload);
  await socket.emitWithAck("announce", { text: MARKUP, worker: 1, from: MARKUP });
  return socket;
}

/** A server that was built without the client's files: the page says so. */
async function withoutClient(page, args) {
  page.heard = (method, { requestId }) => {
    if (method === "Fetch.requestPaused") page.call("Fetch.fulfillRequest", { requestId, responseCode: 404, body: Buffer.from("Not there: `make client`.\n").toString("base64") });
  };
  await page.call("Fetch.enable", { patterns: [{ urlPattern: "*socket.io.min.js" }] });
  await go(page, `${args.url}/`);
  await until(page, "words", `!document.getElementById("missing").hidden && ${text("missing")}.includes("make client")`);
  await look(page, args, "missing");
  return { missing: await page.value(text("missing")) };
}

await script({ options }, async (args) => {
  const one = await Page.start(args.chromium);
  if (args["no-client"]) return withoutClient(one, args);
  const two = await one.another();
  const complaints = [await complaintsOf(one), await complaintsOf(two)];
  for (const page of [one, two]) {
    await prepare(page);
    await visit(page, args, "lobby");
  }
  const workers = await apart(one, two, args);
  progress(`the windows are at workers ${workers.join(" and ")}`);

  // By the keyboard alone, from the first link on.
  await press(one, "Tab");
  assertEqual("what has the focus first", "Skip to the message", await focused(one));
  await press(one, "Enter");
  await until(one, "the message in reach", `document.activeElement.id === "message"`);
  await one.call("Input.insertText", { text: "Hello from the other worker" });
  await press(one, "Enter");
  await hears(two, "Hello from the other worker");
  const crossed = await two.value(`${log}.querySelector(".crossed").textContent`);
  assertEqual("the way of the message", `worker ${workers.join(" → ")}`, crossed);
  await say(two, MARKUP);
  await hears(one, MARKUP);
  if (args.briefly) {
    assertEqual("what the consoles say", [], complaints.flat());
    return { workers, crossed };
  }
  await one.value(`document.getElementById("message").focus()`);
  await tabTo(one, "announce");
  await one.value(`document.getElementById("message").value = "To all"`);
  await press(one, "Enter");
  await hears(two, "To all");
  await one.value(`document.querySelector(".skip").focus()`);
  await tabTo(one, "room");
  await one.call("Input.insertText", { text: "tea" });
  await press(one, "Enter");
  await until(one, "another room", `${text("news")} === "You are in tea."`);
  await tabTo(one, "who");
  await press(one, "Enter");
  await until(one, "who is there", `${text("news")} === "1 here: you"`);
  await tabTo(one, "leave");
  await press(one, "Enter");
  await until(one, "the room to be left", `${text("news")} === "You left tea." && document.querySelectorAll("#rooms li").length === 1`);
  await until(one, "the other in the room", `${text("members")}.startsWith("2 here: you, ")`);
  await look(one, args, "page");
  assertEqual("fields without a name", 0, await one.value(namelessFields));

  // Whatever others send is text.
  const room = `${"<i>wide</i>".repeat(930)}`;
  await visit(two, args, room);
  // A browser keeps a page that was left, for the way back; its session ends all the same.
  const left = await until(one, "the other to have left", `${text("members")} === "1 here: you"`);
  assertTrue(`a page that was left to be gone in seconds, it took ${left} ms`, left < 20_000);
  const guest = await hostile(args, "lobby");
  await until(one, "what a guest announces", `document.querySelectorAll(".announced").length === 2`);
  const long = await one.value(`document.querySelectorAll(".log:not([hidden]) li").length`);
  assertTrue(`all messages to be there, ${long} are`, long >= 11);
  await until(one, "the rest of a long message", `document.querySelector(".log").textContent.includes("and 98,000 more characters")`);
  guest.close();
  await look(one, args, "hostile");
  await look(two, args, "long-room");
  const strange = `document.querySelectorAll(".log img, .log i, .log b b, #rooms i, script:not([src])").length`;
  for (const page of [one, two]) assertEqual("elements that others made", 0, await page.value(strange));

  const figures = { workers, crossed, trip: await one.value(text("trips")) };
  if (args.kill) {
    await visit(two, args, "lobby");
    const [mine] = await apart(one, two, args);
    const stays = await two.value(text("socket"));
    const began = Date.now();
    assertEqual("what kill says", 0, spawnSync("sh", ["-c", `${args.kill} ${mine}`], { stdio: "inherit" }).status);
    await until(one, "the loss to be told", `${text("events")}.includes("Lost: the connection ended")`);
    await picture(one, args.screenshots, "lost");
    await until(one, "the window to be back", `${text("state")}.startsWith("connected") && Number(${text("worker")}) > 0 && ${text("worker")} !== "${mine}"`);
    figures.backAfterMs = Date.now() - began;
    await until(one, "the upgrade", `document.querySelector("[aria-current]")?.dataset.step === "websocket"`);
    await until(one, "both in the room", `${text("members")}.startsWith("2 here")`);
    await say(two, "Are you back?");
    await hears(one, "Are you back?");
    assertEqual(`the other's session; it tells "${await two.value(text("events"))}"`, stays, await two.value(text("socket")));
    await picture(one, args.screenshots, "back");
  }
  assertEqual("what the consoles say", [], complaints.flat());
  assertEqual("titles", [false, false], [await one.value("document.title === 'run'"), await two.value("document.title === 'run'")]);
  return figures;
});
