// Two Node servers with the classic Redis adapter and two servers of ours that run the sample application, on one Redis:
// the namespace /chat, one room over all of them. A client of each server sends so many messages as fast as it can;
// everybody else has each of them once, and those of one sender in order.
//
//   node chat.mjs --adapter 7|8 --library redis|ioredis --redis PORT --url URL --url URL --messages N

import assert from "node:assert/strict";
import { parseArgs } from "node:util";
import { Client, chat, fail, nodeServer, until } from "./lib/nodes.mjs";

const text = { type: "string" };
const { values: args } = parseArgs({
  options: {
    adapter: text,
    library: text,
    redis: text,
    url: { type: "string", multiple: true },
    messages: text,
  },
});
setTimeout(() => fail("it takes too long"), 120_000).unref();

async function node() {
  const { server, url } = await nodeServer(args);
  chat(server);
  return { server, url };
}

const nodes = [await node(), await node()];
const urls = [...nodes.map(({ url }) => url), ...args.url];
const clients = [];
for (const url of urls) {
  for (let n = 0; n < 2; n++) clients.push(await new Client(`${url}/chat`).connected());
}
const adapter = nodes[0].server.of("/chat").adapter;
let count = 0;
await until("all four are counted", () => {
  adapter.serverCount().then((it) => (count = it));
  return count === 4;
});
for (const client of clients) assert.ok((await client.socket.emitWithAck("join", "room")).ok);

const messages = Number(args.messages);
const senders = clients.filter((_, nth) => nth % 2 === 0);
const payload = (n) => (n % 100 === 99 ? { n, bytes: Buffer.from([n & 255, 0]) } : n);
const [receiver] = clients;
const heard = new Map(clients.map((client) => [client, new Map(senders.map(({ id }) => [id, 0]))]));
for (const client of clients) {
  client.socket.on("message", ({ room, from, payload: it }) => {
    const next = heard.get(client).get(from);
    try {
      assert.equal(room, "room");
      assert.deepEqual(it, payload(next));
    } catch (error) {
      fail(`${client.id} hears of ${from}, after ${next} messages: ${error.message}`);
    }
    heard.get(client).set(from, next + 1);
  });
}
const began = Date.now();
const acks = senders.flatMap(({ socket }) =>
  Array.from({ length: messages }, (_, n) => socket.emitWithAck("message", "room", payload(n))),
);
for (const { ok } of await Promise.all(acks)) assert.ok(ok);
const complete = (client) => senders.every((of) => heard.get(client).get(of.id) === (of === client ? 0 : messages));
await until("everybody has everything", () => clients.every(complete), 60_000);
const fetched = (await nodes[0].server.of("/chat").in("room").fetchSockets()).map(({ id }) => id);
assert.deepEqual(fetched.sort(), clients.map(({ id }) => id).sort());
const { sockets } = await clients.at(-1).socket.emitWithAck("who", "room");
assert.equal(sockets.length, clients.length);
assert.ok(receiver.socket.connected);
console.log(`ok: ${senders.length} times ${messages} messages to ${clients.length} clients in ${Date.now() - began} ms`);
process.exit(0);
