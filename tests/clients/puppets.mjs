// Official clients that do what lines on stdin say, one JSON object a line, and tell all that
// happens to them, in the same way. "client" is a number, counted from 0.
//
//   in:  {client, emit, arguments, number}   emit with an acknowledgement of this number
//        {client, answer}                    acknowledge after so many ms (0 at first); null: never
//        {client, close}
//   out: {client, connected: id} {client, event, payload} {client, number, value} {client, gone}
//
// An acknowledgement is the client's id. With --join, a client joins this room whenever it has
// connected, before it says so; with --reconnect it comes back when it was cut off. --version msgpack: with that parser.
//
//   node puppets.mjs --namespace /chat --clients 8 --url URL

import { createInterface } from "node:readline";
import { count, fail, progress, script, waiting } from "./lib/script.mjs";
import { client, describeError } from "./lib/clients.mjs";

const options = {
  namespace: { type: "string", default: "/" },
  clients: { type: "string" },
  transports: { type: "string", default: "websocket" },
  version: { type: "string", default: "v4" },
  reconnect: { type: "boolean", default: false },
  join: { type: "string" },
};

const tell = (news) => progress(JSON.stringify(news));

class Puppet {
  constructor(args, number) {
    this.number = number;
    this.delay = 0;
    const transports = args.transports.split(",");
    this.socket = client(args.version, args.url + args.namespace, {
      transport: transports[number % transports.length],
      path: args.path,
      reconnection: args.reconnect,
      reconnectionDelay: 100,
      reconnectionDelayMax: 300,
    });
    const connected = () => {
      this.tell({ connected: this.socket.id });
      this.onFirst();
    };
    this.socket.on("connect", () => (args.join ? this.socket.emit("join", args.join, connected) : connected()));
    this.socket.on("connect_error", (error) => args.reconnect || this.tell({ gone: describeError(error) }));
    this.socket.on("disconnect", (gone) => this.tell({ gone }));
    const take = (event, ...rest) => {
      const answer = typeof rest.at(-1) === "function" ? rest.pop() : null;
      if (answer) this.answer(answer);
      this.tell({ event, payload: rest[0] });
    };
    // v2 has no onAny(), but the same inner method behind which all events pass.
    if (args.version === "v2") this.socket.onevent = ({ id, data }) => take(...data, ...(id == null ? [] : [this.socket.ack(id)]));
    else this.socket.onAny(take);
  }

  connect() {
    return new Promise((resolve) => {
      this.onFirst = resolve;
      this.socket.connect();
    });
  }

  tell(news) {
    tell({ client: this.number, ...news });
  }

  answer(answer) {
    if (this.delay === null) return;
    if (this.delay === 0) answer(this.socket.id);
    else setTimeout(() => answer(this.socket.id), this.delay);
  }

  obey(order) {
    if (order.emit !== undefined) {
      // What is emitted while it is not connected would be sent later, as if nothing had been.
      if (this.socket.connected) this.socket.emit(order.emit, ...order.arguments, (value) => this.tell({ number: order.number, value }));
    } else if (order.answer !== undefined) this.delay = order.answer;
    else if (order.close) this.socket.disconnect();
    else fail(`a line on stdin: expected emit, answer or close; came ${JSON.stringify(order)}`);
  }
}

async function obeyLines(puppets) {
  for await (const line of createInterface({ input: process.stdin })) {
    const order = JSON.parse(line);
    puppets[order.client].obey(order);
  }
}

await script({ options }, async (args) => {
  const puppets = Array.from({ length: count(args.clients, "clients") }, (_, number) => new Puppet(args, number));
  // They take turns, and so do their workers.
  for (const puppet of puppets) await waiting(`client ${puppet.number} to connect`, puppet.connect());
  await waiting("a line on stdin, or its end", obeyLines(puppets));
  for (const { socket } of puppets) socket.disconnect();
  return {};
});
