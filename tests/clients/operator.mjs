// The operator's page, as a person uses it: over a forwarded port (as `ssh -L 8080:SOCKET`), in headless Chromium, with
// the keyboard alone. Disconnects the session --id; with --screenshots, leaves pictures in that directory. With
// --watch SECONDS it only looks on, and tells how many bytes that took.
//
//   node operator.mjs --socket PATH --id SOCKET-ID [--address ADDRESS] [--screenshots DIRECTORY]

import net from "node:net";
import { Page } from "./lib/chromium.mjs";
import { assertEqual, assertTrue } from "./lib/compare.mjs";
import { complaintsOf, faintTexts, focused, namelessFields, picture, press, size, tabTo, until } from "./lib/person.mjs";
import { progress, script, sleep } from "./lib/script.mjs";

const options = {
  socket: { type: "string" },
  id: { type: "string" },
  address: { type: "string", default: "127.0.0.1" },
  room: { type: "string" },
  namespace: { type: "string", default: "/" },
  screenshots: { type: "string" },
  watch: { type: "string" },
  chromium: { type: "string", default: "/usr/bin/chromium" },
};

/** What ssh does for `-L`: each connection to a port becomes one to the socket. Counts what the page was sent. */
async function forward(socket) {
  const counts = { connections: 0, received: 0, sent: 0 };
  const server = net.createServer((near) => {
    const far = net.connect(socket);
    counts.connections += 1;
    near.on("data", (data) => (counts.sent += data.length));
    far.on("data", (data) => (counts.received += data.length));
    near.pipe(far).pipe(near);
    for (const [one, other] of [[near, far], [far, near]]) one.on("error", () => other.destroy());
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return { origin: `http://127.0.0.1:${server.address().port}`, counts };
}

async function searchFor(page, downs, text, answer) {
  await tabTo(page, "by");
  for (let down = 0; down < downs; down += 1) await press(page, "ArrowDown");
  await tabTo(page, "sought");
  await page.value("document.activeElement.select()");
  await page.call("Input.insertText", { text });
  await press(page, "Enter");
  await until(page, `a search for ${text}`, `document.getElementById("news").textContent.startsWith(${JSON.stringify(answer)})`);
}

/** To the page's first link: where Tab leads when the page was loaded. */
const toTop = (page) => page.value(`document.querySelector(".skip").focus()`);

/** To the search, by the page's own way there. */
async function toSearch(page) {
  await press(page, "Enter");
  await until(page, "the search in sight", `document.activeElement.id === "search"`);
}

await script({ options, needsUrl: false }, async (args) => {
  const { origin, counts } = await forward(args.socket);
  const page = await Page.start(args.chromium);
  const complaints = await complaintsOf(page);
  await size(page, 1280, 900);
  await page.call("Page.navigate", { url: `${origin}/` });
  const loaded = await until(page, "the state", `document.readyState === "complete" && document.querySelectorAll("#workers td").length > 1`);
  progress(`loaded in ${loaded} ms: ${JSON.stringify(counts)}`);
  const state = await page.value(`document.getElementById("state").textContent`);
  const figures = { loadedBytes: counts.received, state };

  if (args.watch) {
    const before = { ...counts };
    await sleep(Number(args.watch) * 1000);
    figures.bytesPerSecond = Math.round((counts.received - before.received + counts.sent - before.sent) / Number(args.watch));
    figures.connections = counts.connections - before.connections;
    await picture(page, args.screenshots, "watched");
    assertEqual("what the console says", [], complaints);
    return figures;
  }

  // By the keyboard alone: an address, a room if there is one, the session itself.
  await tabTo(page, "Skip to the search");
  await toSearch(page);
  await searchFor(page, 0, args.address, "Live sessions: ");
  const found = await page.value(`document.querySelectorAll("#live tbody tr").length`);
  figures.ofTheAddress = found;
  if (args.room) {
    await toTop(page);
    await toSearch(page);
    await page.value(`document.getElementById("namespace").value = ${JSON.stringify(args.namespace)}`);
    await searchFor(page, 2, args.room, "Live sessions: ");
    figures.inTheRoom = await page.value(`document.querySelectorAll("#live td.id").length`);
    figures.rooms = await page.value(`document.querySelector("#live tbody tr").textContent`);
    await page.value(`document.getElementById("by").selectedIndex = 0`);
  }
  await toTop(page);
  await toSearch(page);
  await searchFor(page, 1, args.id, "Live sessions: 1,");
  for (const scheme of ["light", "dark"]) {
    await page.call("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
    for (const [name, width] of [["wide", 1280], ["narrow", 360]]) {
      await size(page, width, 900);
      await sleep(400); // a transition
      await picture(page, args.screenshots, `${scheme}-${name}`);
      const over = await page.value("document.documentElement.scrollWidth - window.innerWidth");
      assertTrue(`nothing to be cut off at ${width} px; ${over} px are`, over <= 0);
      assertEqual(`faint texts, ${scheme}, ${name}`, [], await faintTexts(page));
    }
  }
  await size(page, 1280, 900);
  assertEqual("fields without a name", 0, await page.value(namelessFields));

  await tabTo(page, `Disconnect ${args.id}`);
  await press(page, "Enter");
  await until(page, "the question", `document.getElementById("confirm").open`);
  assertEqual("what has the focus", "cancel", await focused(page));
  await picture(page, args.screenshots, "dark-question");
  await tabTo(page, "disconnect");
  await press(page, "Enter");
  await until(page, "the end of the session", `document.getElementById("news").textContent.includes("was disconnected")`);
  assertEqual("what has the focus then", "found", await focused(page));
  await toTop(page);
  await toSearch(page);
  await searchFor(page, 0, args.id, "Live sessions: 0, ended sessions: 1");
  figures.reason = await page.value(`document.querySelector("#gone tbody tr").innerText`);

  // Nothing is asked for while nobody looks at it.
  await toTop(page);
  await tabTo(page, "pause");
  await press(page, " ");
  await sleep(300); // an answer that is on its way
  const paused = counts.received;
  await sleep(2500);
  assertEqual("bytes while it is paused", 0, counts.received - paused);
  await press(page, " ");
  await until(page, "an answer again", `document.getElementById("pause").getAttribute("aria-pressed") === "false"`);
  assertEqual("what the console says", [], complaints);
  return figures;
});
