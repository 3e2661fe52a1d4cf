// One official client whose bytes are counted on their way: what does an event cost that can be compressed?
//
//   node compression.mjs --transport websocket --size 100000 --url URL
//
// Transports: polling (Node's client accepts no compression), fetch (polling by fetch(), which does), websocket,
// upgrade. With --plain the client offers no permessage-deflate.

import net from "node:net";
import { Fetch } from "socket.io-client-v4";
import { count, script } from "./lib/script.mjs";
import { connect } from "./lib/clients.mjs";
import { assertEqual } from "./lib/compare.mjs";

const options = {
  transport: { type: "string", default: "websocket" },
  size: { type: "string", default: "100000" },
  plain: { type: "boolean", default: false },
};

/** A way to the server on which bytes are counted. */
async function counted(url) {
  const { hostname, port } = new URL(url);
  const bytes = { sent: 0, received: 0 };
  const relay = net.createServer((client) => {
    const server = net.connect(port, hostname);
    client.on("data", (data) => (bytes.sent += data.length)).pipe(server);
    server.on("data", (data) => (bytes.received += data.length)).pipe(client);
    for (const end of [client, server]) end.on("error", () => [client, server].forEach((one) => one.destroy()));
  });
  await new Promise((listening) => relay.listen(0, "127.0.0.1", listening));
  return { url: `http://127.0.0.1:${relay.address().port}`, bytes };
}

/** JSON as applications send it, of about so many bytes. */
function payload(size) {
  const rows = [];
  for (let bytes = 0, id = 0; bytes < size; id++) {
    const row = { id, name: `user ${(id * 7919) % 997}`, price: ((id * 104729) % 100000) / 100, tags: ["a", "b"] };
    bytes += JSON.stringify(row).length + 1;
    rows.push(row);
  }
  return rows;
}

await script({ options }, async (args) => {
  const way = await counted(args.url);
  const fetches = args.transport === "fetch";
  const session = await connect("v4", way.url, {
    path: args.path,
    transport: fetches ? "polling" : args.transport,
    ...(fetches ? { transports: [Fetch] } : {}),
    ...(args.plain ? { perMessageDeflate: false } : {}),
  });
  const extensions = session.engine.transport.ws?.extensions ?? "";
  const sent = payload(count(args.size, "size"));
  const before = { ...way.bytes };
  const repeats = 3;
  for (let nth = 0; nth < repeats; nth++) {
    session.emit("rows", sent, nth);
    assertEqual("the echo", ["rows", sent, nth], await session.next("the echo"));
    // What is binary is compressed as well.
    const bytes = Buffer.from(JSON.stringify(sent));
    session.emit("bytes", bytes);
    const [name, came] = await session.next("the echo of bytes");
    assertEqual("the echo of bytes", ["bytes", true], [name, bytes.equals(Buffer.from(came))]);
  }
  const plain = 2 * repeats * JSON.stringify(sent).length;
  session.close();
  return {
    extensions,
    plain,
    sent: way.bytes.sent - before.sent,
    received: way.bytes.received - before.received,
  };
});
