// A browser on a page of another origin: headless Chromium with the official
// client's browser bundle. With --expect-blocked the browser must be refused.
//
//   node browser.mjs --client v4 --transport all --url URL [--expect-blocked]

import { readFileSync } from "node:fs";
import http from "node:http";
import path from "node:path";
import { WebSocket } from "ws";
import { fail, progress, script, sleep, waiting, withDeadline } from "./lib/script.mjs";
import { endpoint, request } from "./lib/http.mjs";
import { startBrowser } from "./lib/chromium.mjs";
import { TRANSPORTS } from "./lib/clients.mjs";
import { assertEqual, assertTrue } from "./lib/compare.mjs";

const BUNDLES = {
  v4: "socket.io-client-v4/dist/socket.io.min.js",
  v3: "socket.io-client-v3/dist/socket.io.min.js",
  v2: "socket.io-client-v2/dist/socket.io.js",
  msgpack: "socket.io-client-v4/dist/socket.io.msgpack.min.js",
};

const options = {
  client: { type: "string", default: "v4" },
  transport: { type: "string", default: "all" },
  chromium: { type: "string", default: "/usr/bin/chromium" },
  port: { type: "string", default: "0" },
  "expect-blocked": { type: "boolean", default: false },
  "with-credentials": { type: "boolean", default: false },
  verbose: { type: "boolean", default: false },
};

const here = path.dirname(new URL(import.meta.url).pathname);
const consoleLines = [];

/** Serves the page; gives its origin and a promise of what the page reports. */
async function servePage(args, transports) {
  const settings = {
    url: args.url,
    path: args.path,
    transports,
    withCredentials: args["with-credentials"],
    patience: 10_000,
  };
  const files = {
    "/": ["text/html", `<!doctype html><meta charset="utf-8"><title>client</title><script id="settings" type="application/json">${JSON.stringify(settings).replaceAll("<", "\\u003c")}</script><script src="/client.js"></script><script src="/page.js"></script>`],
    "/client.js": ["text/javascript", readFileSync(path.join(here, "node_modules", BUNDLES[args.client]))],
    "/page.js": ["text/javascript", readFileSync(path.join(here, "page/page.js"))],
  };
  let report;
  const reported = new Promise((resolve) => (report = resolve));
  const server = http.createServer((incoming, answer) => {
    if (incoming.method === "POST" && incoming.url === "/results") {
      let body = "";
      incoming.setEncoding("utf8");
      incoming.on("data", (text) => (body += text));
      incoming.on("end", () => {
        answer.end();
        report(JSON.parse(body));
      });
      return;
    }
    const [type, body] = files[incoming.url] ?? [];
    if (!type) {
      answer.writeHead(404).end();
      return;
    }
    answer.writeHead(200, { "content-type": `${type}; charset=utf-8` }).end(body);
  });
  await new Promise((resolve) => server.listen(Number(args.port), "127.0.0.1", resolve));
  return { origin: `http://127.0.0.1:${server.address().port}`, reported };
}

/** Whether a WebSocket handshake by hand, with this Origin if given, is accepted. */
function websocketOpens(args, origin) {
  const address = endpoint(args.url, args.path, { EIO: 4, transport: "websocket" }).replace(/^http/, "ws");
  const socket = new WebSocket(address, origin ? { origin } : {});
  return waiting(
    "the answer to a WebSocket handshake by hand",
    new Promise((resolve) => {
      socket.on("open", () => {
        socket.terminate();
        resolve(true);
      });
      socket.on("unexpected-response", (_, incoming) => {
        incoming.resume();
        resolve(false);
      });
      socket.on("error", () => resolve(false));
    }),
  );
}

/** That it is the origin, and not a server that answers nobody, that blocks. */
async function assertOriginBlocks(args, origin, transports) {
  const found = {};
  if (transports.some((transport) => transport !== "websocket")) {
    const address = endpoint(args.url, args.path, { EIO: 4, transport: "polling" });
    const without = await request("GET", address);
    assertEqual("the status of a handshake without Origin", 200, without.status);
    const { status, headers } = await request("GET", address, { headers: { origin } });
    const allowed = headers["access-control-allow-origin"];
    found.polling = { status, allowed: allowed ?? null };
    assertTrue(`the origin ${origin} not to be allowed; came status ${status}, access-control-allow-origin ${allowed}`, allowed !== origin && allowed !== "*");
    const blocked = consoleLines.filter((line) => line.includes("blocked by CORS policy"));
    found.consoleLines = blocked.length;
    assertTrue(`the browser's console to say "blocked by CORS policy"; it said:\n${consoleLines.join("\n")}`, blocked.length > 0);
  }
  if (transports.includes("websocket")) {
    assertTrue("a WebSocket without Origin to open", await websocketOpens(args));
    found.websocket = { opens: await websocketOpens(args, origin) };
    assertEqual(`whether a WebSocket from ${origin} opens`, false, found.websocket.opens);
  }
  return found;
}

await script({ options }, async (args) => {
  if (!BUNDLES[args.client]) fail(`--client: expected ${Object.keys(BUNDLES).join(", ")}; came ${args.client}`);
  const transports = args.transport === "all" ? Object.keys(TRANSPORTS) : args.transport.split(",");
  for (const transport of transports) if (!TRANSPORTS[transport]) fail(`--transport: expected all, ${Object.keys(TRANSPORTS).join(", ")}; came ${transport}`);

  const { origin, reported } = await servePage(args, transports);
  progress(`page at ${origin}, server at ${args.url}`);
  const ended = startBrowser(args.chromium, `${origin}/`, (line) => {
    if (args.verbose) progress(line);
    if (line.includes(":CONSOLE")) consoleLines.push(line);
  });
  ended.catch(() => {});
  const { agent, results } = await waiting(() => `the page to report; the console said: ${consoleLines.join("\n") || "nothing"}`, Promise.race([reported, ended]));
  await sleep(200); // the console's lines come by another way
  for (const result of results) progress(JSON.stringify(result));

  const figures = { client: args.client, browser: /Chrome\/\S+/.exec(agent)?.[0], origin, results: results.map(({ transport, connected, used, checks }) => ({ transport, connected, used, checks })) };
  if (args["expect-blocked"]) {
    for (const { transport, connected } of results) assertEqual(`whether the browser connected over ${transport}`, false, connected);
    figures.blocked = await assertOriginBlocks(args, origin, transports);
  } else {
    const failures = results.flatMap(({ transport, failures }) => failures.map((text) => `over ${transport}: ${text}`));
    if (failures.length) fail(`${failures.join("\n")}\nthe browser's console:\n${consoleLines.join("\n")}`);
    for (const { transport, checks } of results) assertEqual(`checks over ${transport}`, 8, checks);
  }
  return figures;
});
