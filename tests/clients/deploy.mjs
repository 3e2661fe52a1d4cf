// Holds clients of /chat that come back by themselves, while the harness deploys. Some of them announce numbers to all, and
// every client tells what it heard. Spoken to by lines on stdin:
//   "mark"   from now on is counted anew, and times are milliseconds from now
//   "stats"  what has been seen since then
//   "quit"   nothing is announced any more, and of all that was: what did each client miss while it was connected?
//
//   node deploy.mjs --url http://127.0.0.1:3000 --proxy http://127.0.0.1 --websocket 1000 --polling 200

import { createInterface } from "node:readline";
import { count, fail, progress, script, sleep, waiting } from "./lib/script.mjs";
import { client, describeError } from "./lib/clients.mjs";

const options = {
  proxy: { type: "string" }, // every other client comes through it
  websocket: { type: "string" },
  polling: { type: "string" },
  speakers: { type: "string", default: "2" },
  every: { type: "string", default: "500" },
  grace: { type: "string", default: "3000" },
};

const MOST_NUMBERS = 4096;
const tally = (table, key) => (table[key] = (table[key] ?? 0) + 1);
const now = () => Math.round(performance.now());

const members = [];
const speakers = [];
let connected = 0;
let mark;
let seen;

// How late this program is: what it sees it sees that much later.
const TICK = 50;
let ticked = performance.now();
setInterval(() => {
  const late = performance.now() - ticked - TICK;
  ticked = performance.now();
  seen.lateMs = Math.max(seen.lateMs, Math.round(late));
}, TICK);

function begin() {
  mark = now();
  // away: who had no session at that moment, and so none to lose; lateMs: of this program at most; ends: when sessions ended;
  // polled: those of polling; back: how long their clients were away, in milliseconds; again: sessions of those who had lost
  // one before; unjoined: sessions that ended before their namespace was joined.
  const away = members.filter((member) => member.awayAt !== undefined).length;
  seen = { away, lateMs: 0, ends: [], polled: [], back: [], lastBackMs: 0, reasons: {}, errors: {}, again: 0, unjoined: 0 };
}

/** Why a session ended: the client's word, and the code of WebSocket or the status of HTTP behind it. */
function reasonOf(reason, details) {
  const { context, description } = details ?? {};
  // Where there is no status, the text is the error with its stack.
  const code = context?.code ?? (context?.status || context?.responseText?.split("\n")[0]) ?? description;
  return code === undefined ? reason : `${reason} ${code}`;
}

class Member {
  constructor(url, transport) {
    this.heard = []; // for each speaker: how often each number came
    this.spans = []; // for each connection, for each speaker: [first, last]
    this.socket = client("v4", `${url}/chat`, { transport, reconnection: true, reconnectionDelay: 500, reconnectionDelayMax: 2000 });
    this.first = new Promise((resolve) => {
      this.socket.on("connect", () => {
        connected++;
        this.spans.push([]);
        if (this.awayAt !== undefined) {
          seen.back.push(now() - this.awayAt);
          seen.lastBackMs = now() - mark;
          this.awayAt = undefined;
        }
        resolve();
      });
    });
    this.socket.on("connect_error", (error) => tally(seen.errors, describeError(error)));
    this.socket.on("disconnect", (reason, details) => {
      // The client says it of these sessions, too.
      if (!this.spans.length || this.awayAt !== undefined) {
        seen.unjoined++;
        return;
      }
      connected--;
      if (this.firstEndAfter === mark) seen.again++;
      else {
        seen.ends.push(now() - mark);
        if (transport === "polling") seen.polled.push(now() - mark);
      }
      this.firstEndAfter = mark;
      this.awayAt = now();
      tally(seen.reasons, reasonOf(reason, details));
    });
    this.socket.on("announce", ({ speaker, n }) => {
      const heard = (this.heard[speaker] ??= new Uint8Array(MOST_NUMBERS));
      heard[n]++;
      const span = (this.spans.at(-1)[speaker] ??= [n, n]);
      span[0] = Math.min(span[0], n);
      span[1] = Math.max(span[1], n);
    });
    this.socket.connect();
  }
}

class Speaker {
  constructor(number, socket, every) {
    this.number = number;
    this.socket = socket;
    this.next = 0;
    this.taken = new Uint8Array(MOST_NUMBERS); // those that the server has acknowledged
    this.timer = setInterval(() => this.speak(), every);
  }

  speak() {
    if (!this.socket.connected || this.next === MOST_NUMBERS) return;
    const n = this.next++;
    this.socket.emit("announce", { speaker: this.number, n }, ({ ok }) => (this.taken[n] = ok ? 1 : 0));
  }
}

function stats() {
  return { connected, clients: members.length, sinceMs: now() - mark, ...seen, back: [...seen.back].sort((a, b) => a - b) };
}

/** What came twice, what did not come although the client was connected, and what was missed while it was away. */
function hearings() {
  const figures = { taken: 0, heard: 0, twice: 0, lost: 0, missedAway: 0, mostMissed: 0 };
  for (const { number, taken, next } of speakers) {
    figures.taken += taken.reduce((sum, one) => sum + one, 0);
    for (const { heard, spans } of members) {
      const came = heard[number] ?? new Uint8Array(MOST_NUMBERS);
      const within = new Uint8Array(MOST_NUMBERS);
      const mine = spans.map((span) => span[number]).filter(Boolean);
      // Who has heard this speaker since it came last has all up to the end.
      const last = spans.at(-1)?.[number];
      if (last) last[1] = next - 1;
      for (const [from, to] of mine) within.fill(1, from, to + 1);
      let missed = 0;
      for (let n = mine[0]?.[0] ?? next; n < next; n++) {
        figures.heard += came[n];
        if (came[n] > 1) figures.twice += came[n] - 1;
        if (came[n] || !taken[n]) continue;
        if (within[n]) figures.lost++;
        else missed++;
      }
      if (!mine.length) figures.lost++;
      figures.missedAway += missed;
      figures.mostMissed = Math.max(figures.mostMissed, missed);
    }
  }
  return figures;
}

async function obeyLines() {
  for await (const line of createInterface({ input: process.stdin })) {
    const word = line.trim();
    if (word === "quit") return;
    if (word === "mark") begin();
    else if (word !== "stats") fail(`a line on stdin: expected mark, stats or quit; came ${JSON.stringify(line)}`);
    progress(JSON.stringify(stats()));
  }
}

begin();
await script({ options, onDeadline: stats }, async (args) => {
  const urls = args.proxy ? [args.url, args.proxy] : [args.url];
  for (const transport of ["websocket", "polling"]) {
    for (let i = 0; i < count(args[transport], transport); i++) {
      members.push(new Member(urls[i % urls.length], transport));
      // Handshakes are work for both sides.
      if (i % 10 === 9) await sleep(10);
    }
  }
  await waiting(() => `${members.length} clients (${connected} are here; ${JSON.stringify(seen.errors)})`, Promise.all(members.map((member) => member.first)));
  for (let i = 0; i < count(args.speakers, "speakers"); i++) speakers.push(new Speaker(i, members[i].socket, count(args.every, "every")));
  progress(JSON.stringify({ connected }));
  await waiting("a line on stdin, or its end", obeyLines());
  for (const { timer } of speakers) clearInterval(timer);
  await sleep(count(args.grace, "grace"));
  return { ...stats(), ...hearings() };
});
