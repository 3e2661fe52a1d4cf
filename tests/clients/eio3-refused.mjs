// Without allow_eio3, a v2 client (Engine.IO protocol 3) is refused, with an
// answer that names the option.
//
//   node eio3-refused.mjs --url URL

import http from "node:http";
import { progress, script, waiting, fail } from "./lib/script.mjs";
import { client, describeError } from "./lib/clients.mjs";
import { endpoint, request } from "./lib/http.mjs";
import { assertEqual, assertTrue } from "./lib/compare.mjs";

/** The error a v2 client reports; fails if it connects. */
async function refusal(args, transport) {
  const socket = client("v2", args.url, { transport, path: args.path });
  const refused = new Promise((resolve, reject) => {
    socket.on("connect", () => reject(new Error("connected")));
    socket.on("connect_error", resolve);
    socket.on("error", resolve);
  });
  socket.connect();
  const error = await waiting(`the v2 client to be refused over ${transport}`, refused).catch(() => fail(`expected the v2 client to be refused over ${transport}, it connected`));
  socket.io.engine?.close();
  return describeError(error);
}

/** The plain HTTP answer to a WebSocket handshake that asks for protocol 3. */
function websocketAnswer(args) {
  const outgoing = http.request(endpoint(args.url, args.path, { EIO: 3, transport: "websocket" }), {
    agent: false,
    headers: { connection: "Upgrade", upgrade: "websocket", "sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==" },
  });
  const answer = new Promise((resolve, reject) => {
    outgoing.on("error", reject);
    outgoing.on("upgrade", (incoming, socket) => {
      socket.destroy();
      resolve({ status: incoming.statusCode, body: "" });
    });
    outgoing.on("response", (incoming) => {
      let body = "";
      incoming.setEncoding("utf8");
      incoming.on("data", (text) => (body += text));
      incoming.on("end", () => resolve({ status: incoming.statusCode, body }));
    });
  });
  outgoing.end();
  return waiting("the answer to a WebSocket handshake with EIO=3", answer);
}

await script({}, async (args) => {
  const { status, body } = await request("GET", endpoint(args.url, args.path, { EIO: 3, transport: "polling" }));
  progress(`polling handshake: ${status} ${body}`);
  const websocket = await websocketAnswer(args);
  progress(`WebSocket handshake: ${websocket.status} ${websocket.body}`);
  const clientErrors = {};
  for (const transport of ["polling", "websocket"]) {
    clientErrors[transport] = await refusal(args, transport);
    progress(`v2 client over ${transport}: ${clientErrors[transport]}`);
  }
  assertEqual("the status of the polling handshake", 400, status);
  assertTrue(`a body that contains "allow_eio3"; came ${JSON.stringify(body)}`, body.includes("allow_eio3"));
  return { status, body, websocket, clientErrors };
});
