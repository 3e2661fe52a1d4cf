// Clients in the namespace /chat, called members, and a book of what each of them has to hear:
// whatever is sent through the crowd must arrive exactly once, in each sender's order, and at
// nobody else.

import { fail, sleep, waiting } from "./script.mjs";
import { connect } from "./clients.mjs";
import { assertEqual, assertTrue, differences } from "./compare.mjs";

const OF = (version) => ["websocket", "polling", "upgrade"].map((transport) => `${version}/${transport}`);

/** What --kinds may be short for. Nine kinds in a row are on every one of two or four workers. */
const KINDS = { all: [...OF("v4"), ...OF("v3"), ...OF("v2")], msgpack: OF("msgpack") };

/** What the scripts about /chat are asked with, besides what all are. */
export const OPTIONS = {
  kinds: { type: "string", default: "all" }, // all, msgpack, or such as v4/polling,v2/websocket
  workers: { type: "string", default: "4" }, // how many must have members
  seed: { type: "string", default: "1" },
};

/** How long a whole crowd may hear nothing of what it still has to hear. */
const PATIENCE_MS = 15_000;

const NOBODY = "nobody in particular";

export const kindsOf = (text) => KINDS[text] ?? text.split(",");

class Member {
  constructor(name, kind, session) {
    this.name = `${name} (${kind})`;
    this.kind = kind;
    this.session = session;
    this.sent = 0;
    this.silent = true; // since the crowd last settled
    this.due = new Map(); // by sender's name, what it has to hear
  }

  /** The one argument of the answer to an event. */
  async ask(event, ...args) {
    const came = await this.session.ask(`the answer to ${this.name}'s ${event}`, event, ...args);
    assertEqual(`the number of arguments of the answer to ${this.name}'s ${event}`, 1, came.length);
    return came[0];
  }

  async join(room) {
    assertEqual(`${this.name} joins`, { ok: true, room }, await this.ask("join", room));
  }

  async leave(room) {
    assertEqual(`${this.name} leaves`, { ok: true, room }, await this.ask("leave", room));
  }

  /** The ids of all in a room, as this member's worker knows them. */
  async who(room) {
    const { ok, sockets, ...more } = await this.ask("who", room);
    assertEqual(`${this.name} asks who is in ${room}`, [true, true, {}], [ok, Array.isArray(sockets), more]);
    assertEqual(`the ids in ${room}, sorted`, [...sockets].sort(), sockets);
    return sockets;
  }

  async collect(payload) {
    const { ok, responses, ...more } = await this.ask("collect", payload);
    assertEqual(`${this.name} collects`, [true, true, {}], [ok, Array.isArray(responses), more]);
    return responses;
  }

  async worker() {
    const { worker, ...more } = await this.ask("whereami");
    assertEqual(`${this.name} asks where it is`, [true, {}], [Number.isInteger(worker) && worker > 0, more]);
    return worker;
  }

  /** Its id as the server tells it; the id that a v2 client tells begins with the namespace. */
  async identify() {
    const room = `${this.name}'s own`;
    await this.join(room);
    const sockets = await this.who(room);
    assertEqual(`how many are in ${room}`, 1, sockets.length);
    await this.leave(room);
    const own = this.session.socket.id;
    if (sockets[0] !== own) assertEqual(`the id of ${this.name}`, own.replace(/^\/chat#/, ""), sockets[0]);
    return sockets[0];
  }

  owe(event, value, by) {
    if (!this.due.has(by)) this.due.set(by, []);
    this.due.get(by).push([event, value]);
  }

  get missing() {
    let due = 0;
    for (const values of this.due.values()) due += values.length;
    return due - this.session.arrived.length;
  }

  /** That what came is what it had to hear. */
  assertHeard(what) {
    const came = new Map();
    for (const given of this.session.arrived.splice(0)) {
      const value = given[0] === "message" ? given[1]?.payload : given[1];
      const by = value?.by ?? NOBODY;
      if (!came.has(by)) came.set(by, []);
      came.get(by).push(given);
    }
    for (const by of new Set([...this.due.keys(), ...came.keys()])) {
      assertEqual(`${what}: what ${this.name} heard of ${by}`, this.due.get(by) ?? [], came.get(by) ?? []);
    }
    this.due.clear();
  }
}

export class Crowd {
  constructor({ url, path, kinds, workers }) {
    this.urls = url.split(",").map((one) => `${one}/chat`);
    this.path = path;
    this.kinds = kindsOf(kinds);
    this.workers = Number(workers);
    this.members = [];
    this.rooms = new Map();
    this.acks = [];
    this.entered = 0;
    this.deliveries = 0;
  }

  /** Connects one more member, who is known by its id and its worker. */
  async enter(kind = this.kinds[this.entered % this.kinds.length], options = {}) {
    const [version, transport] = kind.split("/");
    // Each kind comes to each of several machines in its turn.
    const round = Math.floor(this.entered / this.kinds.length);
    const url = this.urls[(this.entered + round) % this.urls.length];
    const session = await connect(version, url, { path: this.path, transport, ...options });
    const member = new Member(`member ${this.entered++}`, kind, session);
    member.id = await member.identify();
    member.pid = await member.worker();
    this.members.push(member);
    return member;
  }

  /** Connects so many, of each kind in its turn, and sees them on every worker. */
  async fill(count) {
    for (let i = 0; i < count; i++) await this.enter();
    const spread = this.spread();
    assertEqual(`the workers that have members: ${JSON.stringify(spread)}`, this.workers, Object.keys(spread).length);
    assertEqual("the ids, each once", count, new Set(this.members.map((member) => member.id)).size);
    return this.members;
  }

  /** How many members each worker has. */
  spread() {
    const counts = {};
    for (const { pid } of this.members) counts[pid] = (counts[pid] ?? 0) + 1;
    return counts;
  }

  /** One member of every worker. */
  everywhere() {
    return [...new Map(this.members.map((member) => [member.pid, member])).values()];
  }

  /** A member of that kind, or else of another, on another worker. */
  elsewhere(than, kind) {
    const others = this.members.filter((member) => member.pid !== than.pid);
    const found = others.find((member) => member.kind === kind) ?? others[0];
    assertTrue(`members on another worker than ${than.name}'s`, found);
    return found;
  }

  in(room) {
    if (!this.rooms.has(room)) this.rooms.set(room, new Set());
    return this.rooms.get(room);
  }

  async join(room, ...members) {
    await Promise.all(members.map((member) => member.join(room)));
    for (const member of members) this.in(room).add(member);
  }

  async leave(room, ...members) {
    await Promise.all(members.map((member) => member.leave(room)));
    for (const member of members) this.in(room).delete(member);
  }

  /** Who should be in a room, as the server would tell it. */
  truth(room) {
    return [...this.in(room)].map((member) => member.id).sort();
  }

  /** Sends to a room without waiting for anything. */
  message(from, room, data) {
    const payload = this.#payload(from, data);
    for (const member of this.in(room)) {
      if (member !== from) this.#owe(member, "message", { room, from: from.id, payload }, from.name);
    }
    this.#emit(from, "message", room, payload);
  }

  /** Sends to everybody without waiting for anything. */
  announce(from, data) {
    const payload = this.#payload(from, data);
    for (const member of this.members) this.#owe(member, "announce", payload, from.name);
    this.#emit(from, "announce", payload);
  }

  /** Announces something that does not tell who sent it; one sender's at a time can be told apart. */
  announceBare(from, value) {
    for (const member of this.members) this.#owe(member, "announce", value, NOBODY);
    this.#payload(from);
    this.#emit(from, "announce", value);
  }

  #payload(from, data) {
    from.silent = false;
    return { by: from.name, n: from.sent++, ...(data === undefined ? {} : { data }) };
  }

  #owe(member, event, value, by) {
    this.deliveries++;
    member.owe(event, value, by);
  }

  /** Two of three without an acknowledgement: it must make no difference. */
  #emit(from, event, ...args) {
    if (from.sent % 3) from.session.emit(event, ...args);
    else this.acks.push(from.ask(event, ...args).then((answer) => assertEqual(`the answer to ${from.name}'s ${event}`, { ok: true }, answer)));
    this.acks.at(-1)?.catch(() => {});
  }

  /**
   * Waits until everybody heard what they had to, and sees that it is all they heard: each who
   * spoke says one more thing to everybody, behind which nothing of theirs can come.
   */
  async settle(what) {
    for (const member of this.members) {
      if (!member.silent) this.announce(member);
      member.silent = true;
    }
    await Promise.all(this.acks.splice(0));
    const late = () => this.members.filter((member) => member.missing > 0);
    const describe = () => late().map((member) => `${member.name} misses ${member.missing}`).join(", ");
    const heard = async () => {
      let before = Infinity;
      let progress = performance.now();
      for (;;) {
        const missing = late().reduce((sum, member) => sum + member.missing, 0);
        if (missing === 0) return;
        if (missing < before) progress = performance.now();
        // What is wrong is told by the comparison.
        else if (performance.now() - progress > PATIENCE_MS) return;
        before = missing;
        this.assertAllConnected(what);
        await sleep(5);
      }
    };
    await waiting(() => `${what}: ${describe()}`, heard());
    this.assertAllConnected(what);
    for (const member of this.members) member.assertHeard(what);
  }

  assertAllConnected(what) {
    for (const { session, name } of this.members) if (session.lost) fail(`${what}: ${name}: ${session.lost.message}`);
  }

  /** Takes a member out of the book; it is its own matter how it ends. */
  forget(member) {
    this.members = this.members.filter((other) => other !== member);
    for (const members of this.rooms.values()) members.delete(member);
  }

  /** Ends all of them, after a last look at what nobody sent. */
  async close() {
    await sleep(100);
    for (const member of this.members) {
      member.assertHeard("at the end");
      member.session.close();
    }
    // Until those that poll have said so.
    await sleep(100);
  }
}

/** Asks again until the answer is as expected, for at most `ms`. */
export async function becomes(what, ms, expected, ask) {
  const end = performance.now() + ms;
  for (;;) {
    const came = await ask();
    const found = differences(expected, came);
    if (!found) return;
    if (performance.now() > end) fail(`${what}, after ${ms} ms:\n${found}`);
    await sleep(10);
  }
}
