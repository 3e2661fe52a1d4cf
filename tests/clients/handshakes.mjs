// Connects again and again, over TCP, a Unix socket and a proxy at once, each time with a new
// connection, until "quit" comes on stdin; tells what was not a success. The handshakes are those of
// polling and of WebSocket, by turns; a polling session is closed as a client closes it.
//
//   node handshakes.mjs --url http://127.0.0.1:3000 --unix /run/my-app/my-app.sock --proxy http://127.0.0.1

import { request } from "node:http";
import { createInterface } from "node:readline";
import { count, progress, script, sleep, waiting } from "./lib/script.mjs";

const options = {
  unix: { type: "string" },
  proxy: { type: "string" },
  loops: { type: "string", default: "4" },
  pause: { type: "string", default: "2" }, // ms between two of a loop
};

let over = false;

/** One request on a connection of its own: its status and body, or the error's code. */
const ask = (way, path, { method = "GET", headers = {}, body } = {}) =>
  new Promise((resolve) => {
    const asked = request({ ...way, agent: false, path, method, headers: { ...headers, Connection: headers.Upgrade ? "Upgrade" : "close" } }, (answer) => {
      let text = "";
      answer.on("data", (chunk) => (text += chunk));
      answer.on("end", () => resolve({ status: answer.statusCode, text }));
      answer.on("error", (error) => resolve({ error: error.code ?? error.message }));
    });
    asked.on("upgrade", (answer, socket) => {
      socket.on("error", () => {});
      socket.destroy();
      resolve({ status: answer.statusCode, text: "" });
    });
    asked.on("error", (error) => resolve({ error: error.code ?? error.message }));
    asked.end(body);
  });

const WEBSOCKET = { Upgrade: "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==" };

async function connectForEver(way, path, pause, figures) {
  const bad = (what) => (figures.failures[what] = (figures.failures[what] ?? 0) + 1);
  const told = ({ status, error }) => error ?? `status ${status}`;
  for (let turn = 0; !over; turn++) {
    const began = performance.now();
    if (turn % 2) {
      const answer = await ask(way, `${path}?EIO=4&transport=websocket`, { headers: WEBSOCKET });
      if (answer.status !== 101) bad(`websocket: ${told(answer)}`);
    } else {
      const answer = await ask(way, `${path}?EIO=4&transport=polling`);
      if (answer.status !== 200) bad(`polling: ${told(answer)}`);
      else {
        const { sid } = JSON.parse(answer.text.slice(1));
        const closed = await ask(way, `${path}?EIO=4&transport=polling&sid=${sid}`, { method: "POST", body: "1" });
        // 400: the session has ended with its server.
        if (closed.status !== 200 && closed.status !== 400) bad(`closing: ${told(closed)}`);
      }
    }
    figures.handshakes++;
    figures.longestMs = Math.max(figures.longestMs, Math.round(performance.now() - began));
    await sleep(pause);
  }
}

const parts = (url) => {
  const { hostname, port } = new URL(url);
  return { host: hostname, port: port || 80 };
};

await script({ options }, async (args) => {
  const ways = { tcp: parts(args.url), ...(args.unix && { unix: { socketPath: args.unix } }), ...(args.proxy && { proxy: parts(args.proxy) }) };
  const figures = Object.fromEntries(Object.keys(ways).map((name) => [name, { handshakes: 0, longestMs: 0, failures: {} }]));
  const loops = Object.entries(ways).flatMap(([name, way]) => Array.from({ length: count(args.loops, "loops") }, () => connectForEver(way, args.path, count(args.pause, "pause"), figures[name])));
  progress(JSON.stringify({ started: loops.length }));
  for await (const line of createInterface({ input: process.stdin })) if (line.trim() === "quit") break;
  over = true;
  await waiting("the last handshakes", Promise.all(loops));
  return figures;
});
