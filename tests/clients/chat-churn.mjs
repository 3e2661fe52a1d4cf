// Thirty clients join, leave, come and go at random, while one member of each worker speaks to
// every room all the time. Who is in a room hears each speaker without a gap, who left it hears no
// more, and in the end every worker knows of every room who is in it.
//
//   node chat-churn.mjs --members 30 --seconds 20 --workers 4 --url URL

import { count, fail, progress, script, sleep } from "./lib/script.mjs";
import { becomes, Crowd, OPTIONS } from "./lib/chat.mjs";
import { assertEqual, assertTrue } from "./lib/compare.mjs";
import { generator } from "./lib/data.mjs";

const options = {
  ...OPTIONS,
  members: { type: "string", default: "30" },
  seconds: { type: "string", default: "20" },
};

const ROOMS = Array.from({ length: 8 }, (_, i) => `room ${i}`);
const SPEAK_EVERY_MS = 50;

/** How a client may go. */
const ENDS = {
  disconnects: (session) => session.socket.disconnect(),
  closes: (session) => session.engine.close(),
  // Without a word. Polling has no connection that could break, so a client says what it can.
  breaks: (session) => (session.transport === "websocket" ? session.engine.transport.ws.terminate() : session.engine.close()),
};

const did = { joins: 0, leaves: 0, enters: 0, heard: 0, asked: 0, ...Object.fromEntries(Object.keys(ENDS).map((end) => [end, 0])) };

class Churner {
  constructor(crowd, speakers, random) {
    this.crowd = crowd;
    this.speakers = speakers;
    this.random = random;
    this.in = new Map(); // the rooms it is in: each speaker's last number there
  }

  pick(from) {
    return from[Math.floor(this.random() * from.length)];
  }

  /** What came since it last looked belongs into rooms it is in, and continues what was there. */
  look() {
    for (const [, { room, payload }] of this.member.session.arrived.splice(0)) {
      const last = this.in.get(room);
      if (!last) fail(`${this.member.name}: heard of ${room}, in which it is not: ${JSON.stringify(payload)}`);
      const before = last.get(payload.speaker);
      if (before !== undefined) assertEqual(`${this.member.name}: the next from ${payload.speaker} in ${room}`, before + 1, payload.n);
      last.set(payload.speaker, payload.n);
      did.heard++;
    }
  }

  async join(room) {
    this.look();
    if (!this.in.has(room)) this.in.set(room, new Map());
    await this.crowd.join(room, this.member);
    did.joins++;
  }

  async leave(room) {
    await this.crowd.leave(room, this.member);
    this.look();
    this.in.delete(room);
    did.leaves++;
  }

  /** What is acknowledged is known to every worker. */
  async askAnother(room) {
    const other = this.pick(this.speakers);
    const found = (await other.who(room)).includes(this.member.id);
    assertEqual(`${this.member.name} is in ${room} when ${other.name} asks`, this.in.has(room), found);
    did.asked++;
  }

  async go() {
    this.look();
    // On its way when the client is gone, or not even that.
    if (this.random() < 0.5) this.member.session.emit("join", this.pick(ROOMS));
    const end = this.pick(Object.keys(ENDS));
    did[end]++;
    this.crowd.forget(this.member);
    this.member.session.closing = true;
    ENDS[end](this.member.session);
    this.member = null;
    this.in.clear();
    await sleep(this.random() * 500);
  }

  async step() {
    if (!this.member) {
      this.member = await this.crowd.enter();
      did.enters++;
    }
    const room = this.pick(ROOMS);
    const what = this.random();
    if (what < 0.5) await this.join(room);
    else if (what < 0.95) await this.leave(room);
    else return this.go();
    if (this.random() < 0.3) await this.askAnother(room);
    this.look();
    await sleep(this.random() * 60);
  }
}

await script({ options }, async (args) => {
  const random = generator(count(args.seed, "seed"));
  const crowd = new Crowd(args);
  await crowd.fill(Math.max(crowd.kinds.length, crowd.workers));
  const speakers = crowd.everywhere();
  for (const member of crowd.members.filter((member) => !speakers.includes(member))) {
    crowd.forget(member);
    member.session.close();
  }

  let n = 0;
  const speak = () => {
    n++;
    for (const speaker of speakers) for (const room of ROOMS) speaker.session.emit("message", room, { speaker: speaker.name, n });
  };
  const speaking = setInterval(speak, SPEAK_EVERY_MS);
  const churners = Array.from({ length: count(args.members, "members") }, () => new Churner(crowd, speakers, generator(random() * 2 ** 32)));
  const end = performance.now() + count(args.seconds, "seconds") * 1000;
  const churn = async (churner) => {
    while (performance.now() < end) await churner.step();
  };
  await Promise.all(churners.map(churn));
  clearInterval(speaking);
  speak();
  progress(JSON.stringify(did));
  for (const [what, times] of Object.entries(did)) assertTrue(`${what} to have happened`, times > 0);

  // The first may still have to see that the last clients went; what it knows then, all know.
  const [first, ...others] = speakers;
  for (const room of ROOMS) await becomes(`${first.name} asks who is in ${room}`, 5000, crowd.truth(room), () => first.who(room));
  for (const speaker of others) {
    for (const room of ROOMS) assertEqual(`${speaker.name} asks who is in ${room}`, crowd.truth(room), await speaker.who(room));
  }
  // Those who are in a room hear the last that was said.
  for (const churner of churners.filter(({ member }) => member)) {
    await becomes(`what ${churner.member.name} heard last`, 5000, [], async () => {
      churner.look();
      const lasts = [...churner.in].flatMap(([room, last]) => speakers.map(({ name }) => [room, name, last.get(name)]));
      return lasts.filter(([, , last]) => last !== n);
    });
  }
  const figures = { ...did, speakers: speakers.length, rooms: ROOMS.map((room) => crowd.truth(room).length), said: n * ROOMS.length * speakers.length };
  await crowd.close();
  return figures;
});
