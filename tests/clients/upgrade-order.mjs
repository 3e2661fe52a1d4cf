// Clients that upgrade while events flow both ways: numbers that must arrive once each and in order.
// In /chat a witness, who has a WebSocket and no network in between, says them to all, and hears what
// each client says. In / each client hears its own, from the first.
//
//   node upgrade-order.mjs --clients 24 --v2 6 --direct URL --url URL

import { count, fail, script, sleep, waiting, withDeadline } from "./lib/script.mjs";
import { client, connect, describeError } from "./lib/clients.mjs";

const options = {
  clients: { type: "string", default: "24" },
  v2: { type: "string", default: "0" }, // how many of them are of version 2
  direct: { type: "string" }, // the server's address without the network
  arrive: { type: "string", default: "40" }, // ms between two clients
  every: { type: "string", default: "20" }, // ms between two small events
  largeEvery: { type: "string", default: "150" },
  large: { type: "string", default: "300000" }, // bytes of a large one
  burst: { type: "string", default: "6" }, // large ones at once
  after: { type: "string", default: "300" }, // ms that all go on when the last one has upgraded
};

const ROOM = "witness";
const figures = { clients: 0, upgraded: 0, toClients: { events: 0, gaps: 0, doubles: 0 }, echoes: { events: 0, gaps: 0, doubles: 0 }, toServer: { events: 0, gaps: 0, doubles: 0 }, withFaults: 0, disconnects: [], faults: [] };

/** Numbers that come one after the other; without a first one, from whatever comes first. */
class Numbers {
  constructor(name, totals, first = null) {
    this.name = name;
    this.totals = totals;
    this.next = first;
    this.faulty = false;
  }

  take(n) {
    this.totals.events++;
    const next = this.next ?? n;
    if (n < next) this.fault("doubles", `${n} came again or late, behind ${next - 1}`);
    else if (n > next) this.fault("gaps", `${n} came where ${next} was to come`, n - next);
    this.next = Math.max(next, n + 1);
  }

  fault(kind, text, many = 1) {
    this.totals[kind] += many;
    if (!this.faulty) figures.withFaults++;
    this.faulty = true;
    if (figures.faults.length < 10) figures.faults.push(`${this.name}: ${text}`);
  }
}

class Traveller {
  constructor(args, number, version) {
    this.number = number;
    this.name = `client ${number} (${version})`;
    this.heard = new Numbers(`to ${this.name}`, figures.toClients);
    this.echoes = new Numbers(`the echo to ${this.name}`, figures.echoes, 0);
    this.told = new Numbers(`to the server from ${this.name}`, figures.toServer, 0);
    this.said = 0;
    this.socket = client(version, `${args.url}/chat`, { transport: "upgrade", path: args.path });
    this.socket.on("announce", ({ n }) => this.heard.take(n));
    // The same connection.
    this.echo = this.socket.io.socket("/");
    this.echo.on("n", (n) => this.echoes.take(n));
    this.socket.on("disconnect", (reason) => this.leaving || figures.disconnects.push(`${this.name}: ${reason}`));
    this.upgraded = new Promise((resolve, reject) => {
      const refuse = (error) => reject(new Error(`${this.name}: ${describeError(error)}`));
      this.socket.on("connect_error", refuse);
      if (version === "v2") this.socket.on("error", refuse);
      this.socket.on("disconnect", refuse);
      this.socket.on("connect", () => {
        this.timer = setInterval(() => this.say(), count(args.every, "every"));
      });
      this.socket.connect();
      this.echo.connect();
      this.socket.io.engine.on("upgrade", () => {
        figures.upgraded++;
        resolve();
      });
    });
    // Whoever is waited for later may fail now.
    this.upgraded.catch(() => {});
  }

  say() {
    this.socket.emit("message", ROOM, { by: this.number, n: this.said });
    this.echo.emit("n", this.said++);
  }

  leave() {
    this.leaving = true;
    this.echo.disconnect();
    this.socket.disconnect();
  }
}

await script({ options, onDeadline: () => figures }, async (args) => {
  const clients = count(args.clients, "clients");
  const old = count(args.v2, "v2");
  if (!args.direct) fail("--direct: expected the server's address, came nothing");
  const witness = await connect("v4", `${args.direct}/chat`, { transport: "websocket", path: args.path });
  await witness.ask("joining", "join", ROOM);
  const travellers = [];
  witness.socket.on("message", ({ payload: { by, n } }) => travellers[by].told.take(n));

  let said = 0;
  const padding = "x".repeat(count(args.large, "large"));
  const small = setInterval(() => witness.emit("announce", { n: said++ }), count(args.every, "every"));
  const burst = () => {
    for (let i = count(args.burst, "burst"); i > 0; i--) witness.emit("announce", { n: said++, padding });
  };
  const large = setInterval(burst, count(args.largeEvery, "largeEvery"));

  for (let number = 0; number < clients; number++) {
    // Those of version 2 come between the others.
    const version = (number + 1) * old % clients < old ? "v2" : "v4";
    travellers.push(new Traveller(args, number, version));
    await sleep(count(args.arrive, "arrive"));
  }
  const left = () => `all ${clients} clients to upgrade (${figures.upgraded} have: ${figures.disconnects.slice(0, 3)})`;
  await waiting(left, Promise.allSettled(travellers.map((traveller) => traveller.upgraded)));
  await sleep(count(args.after, "after"));

  clearInterval(small);
  clearInterval(large);
  for (const traveller of travellers) {
    clearInterval(traveller.timer);
    figures.clients++;
  }
  // Everybody who is still there has to hear the last of it.
  const connected = travellers.filter(({ socket }) => socket.connected);
  const behind = () => connected.filter(({ heard, echoes, told, said: own }) => heard.next !== said || echoes.next !== own || told.next !== own).length;
  const done = async () => {
    while (behind() > 0) await sleep(10);
  };
  await withDeadline("the last events", 5000, done()).catch(() => {});
  figures.unfinished = behind();
  for (const traveller of travellers) traveller.leave();
  witness.close();
  return figures;
});
