// A real emitter that does what lines on stdin say, one JSON object a line, and answers each when Redis has it.
//
//   in:  {of, to, except, volatile, compress, do, arguments}   do: emit, socketsJoin, serverSideEmit and so on
//        {channel, hex}                                        publishes these bytes, whatever they are
//   out: {done: true}
//
// In arguments {"$bytes": "00ff"} is a Buffer, {"$date": 0} a Date; an argument {"$undefined": true} is undefined. Version 5 of the
// emitter uses the client `redis`, version 4 `ioredis`.
//
//   node emit.mjs --version 5 --url redis://127.0.0.1:6379 [--key socket.io]

import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import Redis from "ioredis";
import { createClient } from "redis";
import { Emitter as Emitter5 } from "@socket.io/redis-emitter";
import { Emitter as Emitter4 } from "@socket.io/redis-emitter-v4";

const string = { type: "string" };
const { values: args } = parseArgs({ options: { version: string, url: string, key: { ...string, default: "socket.io" } } });

const of5 = async () => [Emitter5, await createClient({ url: args.url }).connect()];
const of4 = async () => [Emitter4, new Redis(args.url)];
const [Emitter, redis] = await { 4: of4, 5: of5 }[args.version]();

// Emitters do not say when Redis has what they publish.
let published;
const client = { publish: (channel, payload) => (published = redis.publish(channel, payload)) };
const emitter = new Emitter(client, { key: args.key });

function revived(_, value) {
  if (value?.$bytes !== undefined) return Buffer.from(value.$bytes, "hex");
  if (value?.$date !== undefined) return new Date(value.$date);
  return value;
}

const argument = (value) => (value?.$undefined ? undefined : value);

function perform(order) {
  if (order.channel) return client.publish(order.channel, Buffer.from(order.hex, "hex"));
  let it = order.of ? emitter.of(order.of) : emitter;
  if (order.to) it = it.to(order.to);
  if (order.except) it = it.except(order.except);
  if (order.volatile) it = it.volatile;
  if (order.compress !== undefined) it = it.compress(order.compress);
  return it[order.do](...order.arguments.map(argument));
}

for await (const line of createInterface({ input: process.stdin })) {
  perform(JSON.parse(line, revived));
  await published;
  console.log(JSON.stringify({ done: true }));
}
process.exit(0);
