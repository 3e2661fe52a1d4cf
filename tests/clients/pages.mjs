// Pages as they are written for Node's server (page/node/), in headless Chromium: they load the client from the server
// itself, and connect. The browser is given the page in the place of what the server has there; all else is the
// server's. With --origin the page is one of another origin.
//
//   node pages.mjs --url URL --page script,module [--origin ORIGIN]

import { readFileSync } from "node:fs";
import { Page } from "./lib/chromium.mjs";
import { assertEqual, assertTrue } from "./lib/compare.mjs";
import { progress, script, waiting } from "./lib/script.mjs";

const options = {
  page: { type: "string" },
  origin: { type: "string" },
  chromium: { type: "string", default: "/usr/bin/chromium" },
};

/** In the page: connects, echoes, and tells what it saw. */
async function use() {
  const within = (what, promise) => Promise.race([promise, new Promise((_, reject) => setTimeout(() => reject(new Error(`${what} did not come within 10 s`)), 10_000))]);
  const bytes = (value) => Array.from(new Uint8Array(value)).join(",");
  const connected = new Promise((resolve, reject) => {
    if (socket.connected) resolve();
    socket.on("connect", resolve);
    socket.on("connect_error", reject);
  });
  await within("the connection", connected);
  const { engine } = socket.io;
  if (engine.transport.name !== "websocket") await within("the upgrade", new Promise((resolve) => engine.once("upgrade", resolve)));
  const data = { text: "ä 😀", list: [1, -2.5, null, true] };
  const sent = Uint8Array.from({ length: 256 }, (_, i) => i);
  const echoed = new Promise((resolve) => socket.once("echo", (...args) => resolve(args)));
  socket.emit("echo", data, sent.buffer);
  const [came, binary] = await within("the echo", echoed);
  const [name] = await within("the acknowledgement", new Promise((resolve) => socket.emit("ask", data, (...args) => resolve(args))));
  socket.disconnect();
  return { transport: engine.transport.name, text: JSON.stringify(came) === JSON.stringify(data), binary: bytes(binary) === bytes(sent), name };
}

await script({ options }, async (args) => {
  const server = new URL(args.url).origin;
  const origin = args.origin ?? server;
  const page = await Page.start(args.chromium);
  const complaints = [];
  let loaded = [];
  const kept = new Set();
  let finished;
  page.heard = (method, { requestId, request, response, exceptionDetails, entry, type, args: said }) => {
    if (method === "Fetch.requestPaused") {
      const [, name] = /\/([a-z]+)\.html$/.exec(request.url) ?? [];
      // A browser asks for an icon by itself.
      const body = name ? readFileSync(new URL(`./page/node/${name}.html`, import.meta.url), "utf8").replaceAll("SERVER", server) : "";
      const responseHeaders = [{ name: "Content-Type", value: "text/html; charset=utf-8" }];
      page.call("Fetch.fulfillRequest", { requestId, responseCode: 200, responseHeaders, body: Buffer.from(body).toString("base64") });
    } else if (method === "Network.responseReceived" && /\.js$/.test(response.url)) {
      const { status, fromDiskCache, headers } = response;
      const header = (wanted) => Object.entries(headers).find(([name]) => name.toLowerCase() === wanted)?.[1];
      loaded.push({ file: response.url.replace(/.*\//, ""), status, cached: fromDiskCache || kept.has(requestId), encoding: header("content-encoding") });
    } else if (method === "Network.requestServedFromCache") {
      kept.add(requestId);
    } else if (method === "Page.loadEventFired") {
      finished?.();
    } else if (method === "Runtime.exceptionThrown") {
      complaints.push(exceptionDetails.exception?.description ?? exceptionDetails.text);
    } else if (method === "Log.entryAdded") {
      complaints.push(`${entry.level}: ${entry.text} ${entry.url ?? ""}`);
    } else if (method === "Runtime.consoleAPICalled") {
      complaints.push(`${type}: ${said.map(({ value }) => value).join(" ")}`);
    }
  };
  for (const domain of ["Page", "Runtime", "Log", "Network"]) await page.call(`${domain}.enable`);
  await page.call("Fetch.enable", { patterns: [{ urlPattern: "*.html" }, { urlPattern: "*/favicon.ico" }] });

  const open = async (name) => {
    loaded = [];
    const ready = new Promise((resolve) => (finished = resolve));
    const { errorText } = await page.call("Page.navigate", { url: `${origin}/${name}.html` });
    assertEqual(`whether the page ${name} opens`, undefined, errorText);
    await waiting(`the page ${name}`, ready);
    assertTrue(`the page ${name} to make a socket; the console said:\n${complaints.join("\n")}`, await page.value("typeof socket === 'object'"));
    const seen = await page.value(`(${use})()`);
    assertEqual(`what the page ${name} saw`, { transport: "websocket", text: true, binary: true, name: "ask" }, seen);
    return loaded;
  };
  const pages = {};
  for (const name of args.page.split(",")) {
    const first = await open(name);
    progress(`${name}: ${JSON.stringify(first)}`);
    for (const { status, encoding } of first) assertEqual("how the client came", { status: 200, encoding: "gzip" }, { status, encoding });
    const second = await open(name);
    progress(`${name}, once more: ${JSON.stringify(second)}`);
    for (const { cached } of second) assertEqual("whether the browser kept it", true, cached);
    pages[name] = first.map(({ file }) => file);
  }
  assertEqual("what the console said", [], complaints);
  return { browser: (await page.call("Browser.getVersion")).product, origin, pages };
});
