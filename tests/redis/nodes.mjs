// Node servers with the classic Redis adapter beside a server of ours that runs the example "operators", all on one
// Redis: every exchange of theirs, both ways. Each row that is as it should be is a line; the first one that is not ends
// the script.
//
//   node nodes.mjs --adapter 7|8 --library redis|ioredis --redis PORT --url URL [--answers specific]
//                  --bridge PID --worker PID
//
// At the end the worker, and then the bridge, are stopped for a moment, and the bridge is killed.

import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { Client, DEADLINE, fail, nodeServer, until } from "./lib/nodes.mjs";

const text = { type: "string" };
const { values: args } = parseArgs({
  options: { adapter: text, library: text, redis: text, url: text, answers: text, bridge: text, worker: text },
});
setTimeout(() => fail("it takes too long"), 60_000).unref();

const told = [];

async function node(number) {
  const { server, url } = await nodeServer(args);
  server.on("connection", (socket) => {
    socket.data = { number };
    socket.on("join", (room, answer) => answer(socket.join(room)));
  });
  server.on("tell", (...data) => told.push([number, ...data]));
  server.on("ask", (data, answer) => answer({ node: number, data }));
  return { server, client: await new Client(url).connected() };
}

const nodes = [await node(0), await node(1)];
const [one, two] = nodes.map(({ server }) => server);
// Two of Node's clients, and two on each of our workers.
const theirs = nodes.map(({ client }) => client);
const ours = [];
for (let n = 0; n < 4; n++) ours.push(await new Client(args.url).connected());
const all = [...theirs, ...ours];
const ids = (clients) => clients.map((client) => client.id).sort();

// A server of ours is there when it is counted, and who hears it has its subscriptions.
await until("three are counted", () => {
  one.of("/").adapter.serverCount().then((count) => (one.counted = count));
  return one.counted === 3;
});
await until("both ways", () => {
  one.emit("warm", "from node");
  ours[0].socket.emit("emit", {}, "warm", "from ours");
  const both = (client) => ["from node", "from ours"].every((from) => client.heard.some(([, it]) => it === from));
  return all.every(both);
});

/** Everybody has had everything that was sent before, by whom it was: order is kept for each sender. */
let settled = 0;
async function settle() {
  const number = ++settled;
  one.emit("settled", `one ${number}`);
  two.emit("settled", `two ${number}`);
  await ours[1].call("emit", {}, "settled", `ours ${number}`);
  const has = (client, from) => client.heard.some(([event, it]) => event === "settled" && it === `${from} ${number}`);
  const hasAll = (client) => ["one", "two", "ours"].every((from) => has(client, from));
  await until(`everybody has ${number}`, () => all.every(hasAll));
}

/** Who hears an event, each once, and with what. */
async function reached(send, clients, ...payload) {
  await send();
  await settle();
  for (const client of all) {
    const expected = clients.includes(client) ? [payload] : [];
    assert.deepEqual(client.take("note"), expected, `${client.id}, of ${ids(clients)}`);
  }
}

let row = "";
async function rows(name, check) {
  row = name;
  await check();
  console.log(`ok: ${name}`);
}

try {
  await exchanges();
} catch (error) {
  fail(`${row}: ${error.stack}`);
}
process.exit(0);

async function exchanges() {
  await settle();
  for (const client of [theirs[0], ours[0], ours[3]]) await client.socket.emitWithAck("join", "room");
  const inRoom = [theirs[0], ours[0], ours[3]];
  const from = ours[1];

  await rows("1 a room", async () => {
    await reached(() => one.to("room").emit("note", 1), inRoom, 1);
    await reached(() => from.call("emit", { to: ["room"] }, "note", "é"), inRoom, "é");
  });
  await rows("2 all, and several rooms", async () => {
    await reached(() => two.emit("note", { a: [1.5, null, -3] }), all, { a: [1.5, null, -3] });
    await reached(() => from.call("emit", {}, "note", { a: [1.5, null] }), all, { a: [1.5, null] });
    await reached(() => one.to("room").to("none").emit("note", 2), inRoom, 2);
    await reached(() => from.call("emit", { to: ["none", "room"] }, "note", 2), inRoom, 2);
  });
  await rows("3 all but an id", async () => {
    for (const excepted of [theirs[1], ours[2]]) {
      const rest = all.filter((client) => client !== excepted);
      await reached(() => one.except(excepted.id).emit("note", 3), rest, 3);
      await reached(() => from.call("emit", { except: [excepted.id] }, "note", 3), rest, 3);
    }
    const others = all.filter((client) => client !== from);
    await reached(() => from.call("emit", { as: "socket", broadcast: true }, "note", 3), others, 3);
  });
  await rows("4 one socket, and binary", async () => {
    for (const client of [theirs[1], ours[2]]) {
      await reached(() => one.to(client.id).emit("note", Buffer.from([0, 255]), "x"), [client], Buffer.from([0, 255]), "x");
      await reached(() => from.call("emit", { to: [client.id] }, "note", 4), [client], 4);
    }
    const date = new Date(1700000000123);
    await reached(() => one.emit("note", date, new Uint8Array([7])), all, date.toISOString(), Buffer.from([7]));
    await reached(() => one.volatile.to(ours[2].id).emit("note", 4), [ours[2]], 4);
  });
  await rows("5 a room that is a number", async () => {
    for (const client of [theirs[1], ours[2]]) await client.socket.emitWithAck("join", client === theirs[1] ? 42 : "42");
    await reached(() => one.to(42).emit("note", 5), [theirs[1], ours[2]], 5);
    await reached(() => from.call("emit", { to: ["42"] }, "note", 5), [theirs[1], ours[2]], 5);
  });
  let standIns;
  await rows("6 Node fetches sockets", async () => {
    const sockets = await one.fetchSockets();
    assert.deepEqual(sockets.map(({ id }) => id).sort(), ids(all));
    const found = sockets.find(({ id }) => id === ours[0].id);
    assert.deepEqual([...found.rooms].sort(), [ours[0].id, "room"].sort());
    assert.equal(found.handshake.query.EIO, "4");
    assert.equal(found.handshake.address, "127.0.0.1");
    assert.ok(args.url.endsWith(found.handshake.headers.host), found.handshake.headers.host);
    assert.ok(Math.abs(found.handshake.issued - Date.now()) < 60_000);
    assert.deepEqual(found.data, { example: "operators" });
    assert.deepEqual(ids(await two.in("room").fetchSockets()), ids(inRoom));
    const rooms = await one.of("/").adapter.allRooms();
    assert.ok(rooms.has("room") && rooms.has("42"), [...rooms]);
    if (args.adapter === "7") assert.ok((await two.allSockets()).has(ours[0].id));
  });
  await rows("7 our applications fetch sockets", async () => {
    const fetched = (await from.call("fetch", {})).sockets;
    const own = ids(ours);
    assert.deepEqual(fetched.filter((id) => own.includes(id)), own);
    standIns = fetched.filter((id) => !own.includes(id));
    assert.equal(standIns.length, 2);
    assert.ok(standIns.every((id) => id.length === 16));
    assert.equal((await from.call("fetch", { to: ["room"] })).sockets.length, 3);
    const rooms = (await from.call("rooms", {})).rooms;
    assert.ok(["room", "42"].every((room) => rooms.includes(room)), rooms);
    // What stands for a socket of Node's leads to it, and to it alone.
    const before = theirs.map((client) => client.heard.length);
    await reached(() => from.call("emit", { to: [standIns[0]] }, "mark", 7), []);
    const marked = theirs.filter((client) => client.take("mark").length === 1);
    assert.equal(marked.length, 1, before);
    await from.call("remote", standIns[0], "emit", "mark", 8);
    await settle();
    assert.deepEqual(marked[0].take("mark"), [[8]]);
    assert.equal((await from.call("servers")).count, 3);
  });
  await rows("8 Node's event is acknowledged", async () => {
    const answers = await one.timeout(2000).emitWithAck("question", 1);
    assert.deepEqual(answers.sort(), ids(all));
    assert.deepEqual((await two.to("room").timeout(2000).emitWithAck("question", 1)).sort(), ids(inRoom));
    const bytes = await one.to(ours[0].id).timeout(2000).emitWithAck("bytes", Buffer.from([9]));
    assert.deepEqual(bytes, [Buffer.from([1, 2, 3])]);
    assert.deepEqual(await one.to("none").timeout(2000).emitWithAck("question", 1), []);
  });
  await rows("9 our event is acknowledged", async () => {
    const asked = await from.call("ask", { timeout: 2000 }, "question", "?");
    assert.deepEqual(asked.errors, []);
    assert.deepEqual(asked.acks.map(([, answer]) => answer).sort(), ids(all));
    const bytes = await from.call("ask", { to: [standIns[0]], timeout: 2000 }, "bytes", "?");
    assert.deepEqual(bytes.acks.map(([, answer]) => answer), [Buffer.from([1, 2, 3])]);
  });
  await rows("10 Node's applications say something to ours", async () => {
    one.serverSideEmit("tell", { a: 1 });
    one.serverSideEmit("tell", 1, 2);
    for (const client of ours) {
      let heard;
      for (const end = Date.now() + DEADLINE; Date.now() < end && heard?.length !== 2; ) heard = (await client.call("heard")).heard;
      assert.deepEqual(heard, [{ a: 1 }, [1, 2]]);
    }
    const answers = await one.serverSideEmitWithAck("ask", "?");
    assert.deepEqual(answers.length, 2, JSON.stringify(answers));
    assert.ok(answers.some((it) => it.node === 1) && answers.some((it) => it.echo === "?"), JSON.stringify(answers));
  });
  await rows("11 our applications say something to Node's", async () => {
    told.length = 0;
    await from.call("serverSideEmit", { a: 1 });
    await from.call("serverSideEmit", [1, 2]);
    await until("both heard it", () => told.length === 4);
    for (const number of [0, 1]) {
      assert.deepEqual(told.filter(([it]) => it === number), [[number, { a: 1 }], [number, 1, 2]]);
    }
    const asked = await from.call("serverSideAsk", "?", 2000);
    assert.deepEqual(asked.missing, []);
    const nodes = asked.answers.filter(({ answer }) => answer.data === "?").map(({ answer }) => answer.node);
    assert.deepEqual(nodes.sort(), [0, 1]);
    assert.equal(asked.answers.length, 3, "and the other worker's");
  });
  await rows("12 joining the other side's sockets", async () => {
    one.in("room").socketsJoin(["more", "most"]);
    // Node's server does it itself when it comes back from Redis.
    await settle();
    await reached(() => one.to("more").emit("note", 12), inRoom, 12);
    await from.call("joinAll", { to: ["most"] }, "ours");
    await settle();
    await reached(() => from.call("emit", { to: ["ours"] }, "note", 12), inRoom, 12);
    await from.call("remote", standIns[0], "join", "alone", null);
    await settle();
    assert.equal((await one.in("alone").fetchSockets()).length, 1);
  });
  await rows("13 making them leave", async () => {
    one.in("room").socketsLeave("more");
    await settle();
    await reached(() => one.to("more").emit("note", 13), []);
    await from.call("leaveAll", { to: ["room"] }, "ours");
    await settle();
    await reached(() => one.to("ours").emit("note", 13), []);
    if (args.adapter === "7") {
      await one.of("/").adapter.remoteJoin(ours[1].id, "old");
      await reached(() => one.to("old").emit("note", 13), [ours[1]], 13);
      await one.of("/").adapter.remoteLeave(ours[1].id, "old");
      await reached(() => one.to("old").emit("note", 13), []);
    }
  });
  await rows("14 Node disconnects our sockets", async () => {
    one.in(ours[3].id).disconnectSockets();
    await until("it is gone", () => !ours[3].socket.connected);
    all.splice(all.indexOf(ours[3]), 1);
  });
  await rows("15 our applications disconnect Node's", async () => {
    const [found] = (await from.call("fetch", { to: ["alone"] })).sockets;
    await from.call("remote", found, "disconnect", null, null);
    await until("it is gone", () => theirs.some((client) => !client.socket.connected));
    const gone = theirs.find((client) => !client.socket.connected);
    all.splice(all.indexOf(gone), 1);
    assert.deepEqual(ids(await one.fetchSockets()), ids(all));
  });
  await rows("16 a worker of ours is silent", async () => {
    process.kill(Number(args.worker), "SIGSTOP");
    const began = Date.now();
    const sockets = await one.fetchSockets();
    const took = Date.now() - began;
    process.kill(Number(args.worker), "SIGCONT");
    assert.ok(took >= 1500 && took <= 2500, `${took} ms`);
    assert.ok(sockets.length < all.length);
    await settle();
    assert.deepEqual(ids(await one.fetchSockets()), ids(all));
  });
  await rows("17 our bridge dies", async () => {
    process.kill(Number(args.bridge), "SIGKILL");
    await sleep(20);
    const began = Date.now();
    const sockets = await one.fetchSockets();
    assert.ok(Date.now() - began < 500, `${Date.now() - began} ms`);
    const left = all.filter((client) => theirs.includes(client));
    // It may have come back already.
    assert.ok([ids(left).join(), ids(all).join()].includes(ids(sockets).join()));
  });
}
