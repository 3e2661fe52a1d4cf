// Node servers with the classic Redis adapter, each in a process of its own, that make way one by one for servers of ours
// with the sample application, while clients of all talk in one room of /chat. Lines on stdin, one JSON object a line:
//
//   {"url": URL}   the next Node server is stopped, and its clients connect there
//   {"end": true}  nobody says anything more, and what arrived is counted
//
//   node rolling.mjs --adapter 7|8 --library redis|ioredis --redis PORT --nodes N
//
// What a client said, and its server acknowledged, while somebody else was in the room, that one has once. Somebody who
// leaves need not have what was acknowledged less than a second before.

import assert from "node:assert/strict";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Client, DEADLINE, chat, fail, nodeProcess, nodeServer, until } from "./lib/nodes.mjs";

/** Clients of each server, how often each says something, and how long what it says may be under way; in ms. */
const EACH = 2;
const INTERVAL = 25;
const UNDER_WAY = 1000;

const text = { type: "string" };
const { values: args } = parseArgs({ options: { adapter: text, library: text, redis: text, nodes: text, serve: { type: "boolean" } } });

/** One Node server, until it is told to end, as services are. */
async function serve() {
  const { server, url, end } = await nodeServer(args);
  chat(server);
  process.on("message", async () => {
    const sockets = await server.of("/chat").in("room").fetchSockets();
    process.send({ ids: sockets.map(({ id }) => id) });
  });
  process.on("SIGTERM", () => end().then(() => process.exit(0)));
  process.on("disconnect", () => process.exit(0));
  process.send({ url });
}

/** Somebody who talks, wherever it is connected. */
class Guest {
  sent = [];
  sessions = [];

  constructor(name) {
    this.name = name;
  }

  get session() {
    return this.sessions.at(-1);
  }

  async connect(url) {
    const client = new Client(`${url}/chat`);
    const heard = [];
    client.socket.on("message", ({ payload }) => heard.push(payload));
    await client.connected();
    assert.ok((await client.socket.emitWithAck("join", "room")).ok);
    this.sessions.push({ client, heard, from: performance.now() });
  }

  /** Whatever is said from now on is not for this connection any more. */
  leave() {
    this.session.to = performance.now();
  }

  say() {
    const { client, to } = this.session;
    if (to !== undefined) return;
    const message = { at: performance.now() };
    const n = this.sent.push(message) - 1;
    client.socket.emit("message", "room", { by: this.name, n }, () => (message.acknowledged = performance.now()));
  }
}

async function roll() {
  setTimeout(() => fail("it takes too long"), 60_000).unref();
  const nodes = [];
  const guests = [];
  for (let nth = 0; nth < Number(args.nodes); nth++) {
    const { child, url } = await nodeProcess();
    const own = [];
    for (let n = 0; n < EACH; n++) own.push(new Guest(`${nth}/${n}`));
    nodes.push({ child, own });
    guests.push(...own);
    for (const guest of own) await guest.connect(url);
  }
  const ids = () => guests.map((guest) => guest.session.client.id).sort();
  /** Everybody in the room, as the first Node server finds them by asking the others. */
  const complete = async () => {
    if (nodes.length === 0) return;
    nodes[0].child.send("who");
    const [{ ids: found }] = await once(nodes[0].child, "message");
    assert.deepEqual(found.sort(), ids());
  };
  await complete();
  const talk = setInterval(() => guests.forEach((guest) => guest.say()), INTERVAL);
  console.log("ready");

  for await (const line of createInterface({ input: process.stdin })) {
    const { url, end } = JSON.parse(line);
    if (end) break;
    await sleep(UNDER_WAY);
    const { child, own } = nodes.shift();
    own.forEach((guest) => guest.leave());
    const ended = once(child, "exit");
    child.kill("SIGTERM");
    for (const guest of own) {
      await until("its client is disconnected", () => !guest.session.client.socket.connected);
      await guest.connect(url);
    }
    await ended;
    await complete();
    await sleep(UNDER_WAY);
    console.log("replaced");
  }
  clearInterval(talk);
  const quiet = () => guests.every(({ sent, session }) => sent.every((it) => it.acknowledged || it.at < session.from));
  await until("all is acknowledged", quiet);
  for (const end = performance.now() + DEADLINE; performance.now() < end && count(guests).missing.length > 0; ) await sleep(50);
  const { due, missing, doubled, disordered, besides } = count(guests);
  const spoken = guests.reduce((sum, { sent }) => sum + sent.length, 0);
  console.log(JSON.stringify({ spoken, due, missing: missing.length, doubled, disordered, besides }));
  if (missing.length > 0) console.error(missing.slice(0, 20).join("\n"));
  process.exit(missing.length + doubled + disordered === 0 ? 0 : 1);
}

/** What is due to whom, and what of it is missing, doubled, out of order; and what came beyond that. */
function count(guests) {
  let [due, doubled, disordered, besides] = [0, 0, 0, 0];
  const missing = [];
  for (const to of guests) {
    const seen = new Map();
    for (const session of to.sessions) {
      const last = new Map();
      for (const { by, n } of session.heard) {
        if (seen.has(`${by} ${n}`)) doubled++;
        seen.set(`${by} ${n}`, session);
        if (n <= (last.get(by) ?? -1)) disordered++;
        last.set(by, n);
      }
    }
    for (const by of guests.filter((guest) => guest !== to)) {
      by.sent.forEach(({ at, acknowledged }, n) => {
        const isDue = (session) => session.from <= at && acknowledged + UNDER_WAY <= (session.to ?? Infinity);
        const session = acknowledged && to.sessions.find(isDue);
        const got = seen.get(`${by.name} ${n}`);
        if (!session) besides += got ? 1 : 0;
        else if (++due && got !== session) missing.push(`${n} of ${by.name} at ${to.name}, sent at ${at}`);
      });
    }
  }
  return { due, missing, doubled, disordered, besides };
}

if (args.serve) await serve();
else await roll();
