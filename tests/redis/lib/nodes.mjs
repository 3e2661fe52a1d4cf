// What the scripts share: Node servers with the classic Redis adapter, and clients that keep what they hear.

import assert from "node:assert/strict";
import { fork } from "node:child_process";
import { once } from "node:events";
import { createServer } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";
import { Redis } from "ioredis";
import { createClient } from "redis";
import { Server } from "socket.io";
import { io } from "socket.io-client";
import { createAdapter as createAdapter8 } from "@socket.io/redis-adapter";
import { createAdapter as createAdapter7 } from "@socket.io/redis-adapter-v7";

export const DEADLINE = 5000;
process.on("unhandledRejection", (error) => fail(error.stack));

export function fail(why) {
  console.error(`failed: ${why}`);
  process.exit(1);
}

export async function until(what, condition, within = DEADLINE) {
  const end = Date.now() + within;
  while (!condition()) {
    if (Date.now() > end) fail(`not within ${within} ms: ${what}`);
    await sleep(2);
  }
}

/** A connection to Redis, by either library. */
export async function connection({ library, redis }) {
  const port = Number(redis);
  if (library === "ioredis") return new Redis(port, "127.0.0.1");
  const client = createClient({ socket: { host: "127.0.0.1", port } });
  await client.connect();
  return client;
}

/** A Node server, and where it listens. */
export async function nodeServer(args) {
  const http = createServer();
  const [publisher, subscriber] = [await connection(args), await connection(args)];
  for (const one of [publisher, subscriber]) one.on("error", (error) => fail(error.message));
  const createAdapter = args.adapter === "7" ? createAdapter7 : createAdapter8;
  const options = { publishOnSpecificResponseChannel: args.answers === "specific" };
  const server = new Server(http, { adapter: createAdapter(publisher, subscriber, options), serveClient: false });
  await new Promise((resolve) => http.listen(0, "127.0.0.1", resolve));
  const end = async () => {
    await server.close();
    for (const one of [publisher, subscriber]) await one.quit();
  };
  return { server, url: `http://127.0.0.1:${http.address().port}`, end };
}

/** A Node server in a process of its own: this script with `--serve`, which says its URL. */
export async function nodeProcess() {
  const child = fork(process.argv[1], [...process.argv.slice(2), "--serve"]);
  const [{ url }] = await once(child, "message");
  return { child, url };
}

/** Of our sample application, rooms and messages in them. */
export function chat(server) {
  server.of("/chat").on("connection", (socket) => {
    socket.on("join", (room, answer) => answer({ ok: true, room: (socket.join(room), room) }));
    socket.on("message", (room, payload, answer) => {
      socket.to(room).emit("message", { room, from: socket.id, payload });
      answer({ ok: true });
    });
  });
}

/** A client that keeps what it hears, and acknowledges with its id. */
export class Client {
  constructor(url) {
    this.heard = [];
    this.socket = io(url, { transports: ["websocket"], forceNew: true, reconnection: false, auth: { token: "t" } });
    this.socket.onAny((event, ...rest) => {
      const answer = typeof rest.at(-1) === "function" ? rest.pop() : undefined;
      this.heard.push([event, ...rest]);
      answer?.(event === "bytes" ? Buffer.from([1, 2, 3]) : this.socket.id);
    });
  }

  get id() {
    return this.socket.id;
  }

  /** It is connected now. */
  async connected() {
    await until("a client connects", () => this.socket.connected);
    return this;
  }

  /** To the example: an event that is acknowledged. */
  async call(event, ...rest) {
    const answer = await this.socket.timeout(10_000).emitWithAck(event, ...rest);
    assert.equal(answer.ok, true, JSON.stringify(answer));
    return answer;
  }

  take(event) {
    const taken = this.heard.filter(([name]) => name === event);
    this.heard = this.heard.filter(([name]) => name !== event);
    return taken.map(([, ...rest]) => rest);
  }
}
