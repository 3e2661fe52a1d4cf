// Holds many connections, each echoing now and then, while the harness does
// something to the server; counts what was lost. Spoken to by lines on stdin:
// "close K", "leave", "stats", "quit" (or end of input). Those who leave say so, and
// those who are there at the end are cut off.
//
//   node hold.mjs --client v4 --transport websocket --clients 100 --every 200 --url URL

import http from "node:http";
import { createInterface } from "node:readline";
import { count, fail, progress, script, sleep, waiting, withDeadline } from "./lib/script.mjs";
import { client, describeError } from "./lib/clients.mjs";

const options = {
  client: { type: "string", default: "v4" },
  transport: { type: "string", default: "websocket" },
  clients: { type: "string" },
  every: { type: "string", default: "1000" },
  arrive: { type: "string", default: "0" }, // ms between two clients
  addresses: { type: "string" }, // each has a loopback address of its own, in 127.N.0.0/16
  grace: { type: "string", default: "2000" },
  reconnect: { type: "boolean", default: false },
};

const totals = {
  connected: 0,
  sent: 0,
  received: 0,
  missing: 0, // sent on a connection that then ended, or passed over by a later echo
  lost: 0, // those of the missing whose connection ended
  inFlight: 0, // sent on a live connection, echo not yet here
  abandoned: 0, // in flight when we closed the connection ourselves
  outOfOrder: 0,
  disconnects: 0,
  reasons: {},
  reconnects: 0,
  connectErrors: {},
};

const tally = (table, key) => (table[key] = (table[key] ?? 0) + 1);
const holders = [];

/** What has a client's connections come from an address that no other client has: 127.N.0.1 and so on. */
function addressed(network, number) {
  const localAddress = `127.${network}.${Math.floor(number / 250)}.${(number % 250) + 1}`;
  return { agent: new http.Agent({ keepAlive: true, localAddress }) };
}

class Holder {
  constructor(args, number, every) {
    this.pending = []; // numbers sent and not yet echoed, oldest first
    this.late = new Set(); // numbers given up for missing
    this.number = 0;
    this.closing = false;
    this.everConnected = false;
    this.here = false;
    this.socket = client(args.client, args.url, {
      transport: args.transport,
      path: args.path,
      reconnection: args.reconnect,
      reconnectionDelay: 200,
      reconnectionDelayMax: 1000,
      ...(args.addresses ? addressed(args.addresses, number) : {}),
    });
    this.first = new Promise((resolve, reject) => {
      this.socket.on("connect", () => {
        if (this.everConnected) totals.reconnects++;
        this.everConnected = true;
        this.here = true;
        totals.connected++;
        resolve();
      });
      this.socket.on("connect_error", (error) => {
        tally(totals.connectErrors, describeError(error));
        if (!args.reconnect) reject(error);
      });
    });
    this.socket.on("disconnect", (reason) => {
      // The client says it, too, of a session that ended before its namespace was joined.
      if (this.here) totals.connected--;
      this.here = false;
      if (this.closing) return;
      totals.disconnects++;
      tally(totals.reasons, reason);
      totals.missing += this.pending.length;
      totals.lost += this.pending.length;
      this.pending = [];
    });
    this.socket.on("hold", (n) => this.heard(n));
    // Spread over the interval, so that the load is even.
    this.starter = setTimeout(() => (this.timer = setInterval(() => this.send(), every)), (every * (number % 97)) / 97);
    this.socket.connect();
  }

  send() {
    if (!this.socket.connected || this.closing) return;
    const n = this.number++;
    this.pending.push(n);
    totals.sent++;
    this.socket.emit("hold", n);
  }

  heard(n) {
    totals.received++;
    const at = this.pending.indexOf(n);
    if (at < 0) {
      // Passed over before, or never sent, or echoed twice.
      totals.outOfOrder++;
      if (this.late.delete(n)) totals.missing--;
      return;
    }
    for (const passed of this.pending.splice(0, at + 1)) {
      if (passed === n) continue;
      this.late.add(passed);
      totals.missing++;
    }
  }

  stop() {
    clearTimeout(this.starter);
    clearInterval(this.timer);
  }

  close() {
    this.stop();
    this.closing = true;
    totals.abandoned += this.pending.length;
    this.pending = [];
    this.socket.disconnect();
  }
}

function stats() {
  totals.inFlight = holders.reduce((sum, holder) => sum + holder.pending.length, 0);
  return totals;
}

/** Nobody sends any more, and what was sent is echoed, or nearly. */
async function finish(grace) {
  for (const holder of holders) holder.stop();
  const drained = async () => {
    while (stats().inFlight > 0) await sleep(20);
  };
  await withDeadline("the last echoes", grace, drained()).catch(() => {});
}

async function obeyLines(grace) {
  for await (const line of createInterface({ input: process.stdin })) {
    const [word, argument] = line.trim().split(/\s+/);
    if (word === "quit") return;
    if (word === "stats") progress(JSON.stringify(stats()));
    else if (word === "close") {
      const closed = holders.filter((holder) => !holder.closing).slice(0, count(argument, "close"));
      for (const holder of closed) holder.close();
      progress(JSON.stringify({ closed: closed.length, connected: totals.connected }));
    } else if (word === "leave") {
      await finish(grace);
      for (const holder of holders) holder.close();
      progress(JSON.stringify({ connected: totals.connected }));
    } else if (word) fail(`a line on stdin: expected close K, leave, stats or quit; came ${JSON.stringify(line)}`);
  }
}

await script({ options, onDeadline: stats }, async (args) => {
  const clients = count(args.clients, "clients");
  const every = count(args.every, "every");
  const pause = count(args.arrive, "arrive");
  for (let i = 0; i < clients; i++) {
    holders.push(new Holder(args, i, every));
    holders[i].first.catch(() => {}); // told below
    if (pause > 0) await sleep(pause);
  }
  const connected = () => `${clients} clients to connect (${totals.connected} are, errors: ${JSON.stringify(totals.connectErrors)})`;
  await waiting(connected, Promise.all(holders.map((holder) => holder.first))).catch((error) => fail(`expected ${connected()}, came ${describeError(error)}`));
  progress(JSON.stringify({ connected: totals.connected }));

  const grace = count(args.grace, "grace");
  await waiting("a line on stdin, or its end", obeyLines(grace));

  await finish(grace);
  const last = { ...stats(), reasons: { ...totals.reasons } };
  last.missing += last.inFlight; // on a connection still open, yet not echoed within the grace
  last.inFlight = 0;
  return last;
});
