// One client sends to a room as fast as it can. Those in the room, on all workers, must hear all of
// it in order, and the echoes of others must not suffer. Three processes: the sender, those who
// hear, and those who measure echoes.
//
//   node chat-flood.mjs --event message|announce --seconds 10 --workers 4 --url URL

import { fork } from "node:child_process";
import { fileURLToPath } from "node:url";
import { count, fail, progress, script, sleep, waiting } from "./lib/script.mjs";
import { Crowd, OPTIONS } from "./lib/chat.mjs";
import { connect } from "./lib/clients.mjs";
import { assertEqual } from "./lib/compare.mjs";

const options = {
  ...OPTIONS,
  kinds: { type: "string", default: "v4/websocket" },
  event: { type: "string", default: "message" },
  seconds: { type: "string", default: "10" },
  role: { type: "string", default: "sender" },
};

const ROOM = "flood";
const PADDING = "x".repeat(80);
const ECHO_EVERY_MS = 20;
const PER_WORKER = 2;
/** What may wait in the sender's process; the rest waits until the server has taken it. */
const IN_FLIGHT_BYTES = 256 * 1024;

/** A process of its own with one of the roles; spoken to by messages. */
class Other {
  constructor(role) {
    this.role = role;
    this.process = fork(fileURLToPath(import.meta.url), [...process.argv.slice(2), "--role", role], { stdio: ["ignore", 2, 2, "ipc"] });
    this.ended = new Promise((_, reject) => this.process.on("exit", (code) => reject(new Error(`the process that is to ${role} ended with ${code}`))));
    this.ended.catch(() => {});
  }

  next(what) {
    const message = new Promise((resolve) => this.process.once("message", resolve));
    return waiting(`${what} of the process that is to ${this.role}`, Promise.race([message, this.ended]));
  }

  ask(question) {
    this.process.send(question);
    return this.next(`the answer to ${JSON.stringify(question)}`);
  }
}

/** In one of those processes: answers each question in its turn. */
async function answer(answers, ready) {
  process.on("disconnect", () => process.exit(1));
  process.send(ready);
  for (;;) {
    const question = await new Promise((resolve) => process.once("message", resolve));
    if (question.end) return { ended: true };
    process.send(await answers(question));
  }
}

/** Two on each worker, each sees the numbers one by one. */
async function hears(args) {
  const crowd = new Crowd(args);
  const members = await crowd.fill(PER_WORKER * crowd.workers);
  await crowd.join(ROOM, ...members);
  let fault;
  for (const member of members) {
    member.heard = 0;
    // Not kept: they are too many.
    member.session.arrived = { push: ([event, value]) => {
      const { n } = event === "message" ? value.payload : value;
      if (event !== args.event || n !== member.heard) fault ??= `${member.name}: expected ${args.event} ${member.heard}, came ${event} ${n}`;
      member.heard++;
    } };
  }
  const answers = async ({ total }) => {
    while (members.some((member) => member.heard < total)) {
      crowd.assertAllConnected("while it heard");
      if (fault) fail(fault);
      await sleep(5);
    }
    await sleep(100);
    if (fault) fail(fault);
    for (const member of members) assertEqual(`${member.name} heard`, total, member.heard);
    return { heard: members.length * total };
  };
  return answer(answers, { workers: crowd.spread() });
}

function percentiles(values) {
  values.sort((a, b) => a - b);
  const at = (share) => Math.round(10 * values[Math.min(values.length - 1, Math.floor(share * values.length))]) / 10;
  return { echoes: values.length, p50: at(0.5), p99: at(0.99), max: at(1) };
}

/** Two on each worker, each asking at an even pace whether or not the last answer came. */
async function echoes(args) {
  let times = [];
  const sessions = [];
  for (let i = 0; i < PER_WORKER * args.workers; i++) sessions.push(await connect("v4", args.url, { path: args.path }));
  let pending = 0;
  const timers = sessions.map((session, i) => {
    let n = 0;
    const echo = async () => {
      const start = performance.now();
      const asked = ["time", n++, i];
      pending++;
      assertEqual("an echo", asked, await session.ask("an echo", ...asked));
      pending--;
      times.push(performance.now() - start);
    };
    return setInterval(echo, ECHO_EVERY_MS);
  });
  const answers = async ({ stop }) => {
    if (stop) {
      timers.forEach(clearInterval);
      while (pending > 0) await sleep(5);
    }
    return percentiles(times.splice(0));
  };
  return answer(answers, { clients: sessions.length });
}

async function sends(args) {
  const hearing = new Other("hear");
  const { workers } = await hearing.next("readiness");
  const echoing = new Other("echo");
  await echoing.next("readiness");
  const sender = (await new Crowd({ ...args, workers: 1 }).fill(1))[0];
  const { session } = sender;
  // An announce comes back to its sender.
  session.arrived = { push: () => {} };
  await sleep(2000);
  const before = await echoing.ask({});
  progress(`echoes before: ${JSON.stringify(before)}`);

  const { ws } = session.engine.transport;
  const start = performance.now();
  const end = start + count(args.seconds, "seconds") * 1000;
  let total = 0;
  while (performance.now() < end) {
    for (let i = 0; i < 50; i++) {
      const payload = { n: total++, padding: PADDING };
      if (args.event === "announce") session.emit("announce", payload);
      else session.emit("message", ROOM, payload);
    }
    do await sleep(0);
    while (ws.bufferedAmount > IN_FLIGHT_BYTES && !session.lost);
    if (session.lost) throw session.lost;
  }
  const flooded = performance.now();
  // All of it is taken when this is answered.
  await sender.worker();
  const taken = performance.now();
  const { heard } = await hearing.ask({ total });
  const done = performance.now();
  const during = await echoing.ask({});
  progress(`echoes during: ${JSON.stringify(during)}`);
  await sleep(1000);
  const after = await echoing.ask({ stop: true });
  for (const other of [hearing, echoing]) other.process.send({ end: true });
  session.close();
  const perSecond = Math.round((total / (taken - start)) * 1000);
  return { event: args.event, total, perSecond, heard, workers, takenAfterMs: Math.round(taken - flooded), heardAfterMs: Math.round(done - flooded), before, during, after };
}

const ROLES = { sender: sends, hear: hears, echo: echoes };

await script({ options }, async (args) => {
  args.workers = count(args.workers, "workers");
  return ROLES[args.role](args);
});
