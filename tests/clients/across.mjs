// A sender on one machine and a receiver on another, in a room of /chat, while the harness does something to
// what is between them. Spoken to by lines on stdin: "one" (a message, until it is there), "begin" (a message every few
// milliseconds), "end" (no more, and what became of them), "quit" (or end of input).
//
//   node across.mjs --from URL --to URL --every 5

import { createInterface } from "node:readline";
import { count, fail, progress, script, sleep, waiting } from "./lib/script.mjs";
import { client } from "./lib/clients.mjs";

const options = {
  from: { type: "string" },
  to: { type: "string" },
  every: { type: "string", default: "5" },
  // One message, and no lines on stdin.
  once: { type: "boolean", default: false },
  // How long what was sent may take to be there, in milliseconds.
  patience: { type: "string", default: "20000" },
};

const ROOM = "of both machines";

const figures = { sent: 0, received: 0, doubled: 0, disordered: 0, longestMs: 0 };
/** Others may be in that room. */
const OWN = `${process.pid}-${Date.now()}`;
const heard = new Set();
let last = -1;

async function member(url) {
  const socket = client("v4", `${url}/chat`);
  const here = new Promise((resolve, reject) => socket.on("connect", resolve).on("connect_error", reject));
  socket.on("disconnect", (reason) => fail(`a client of ${url} to stay connected, came ${reason}`));
  socket.connect();
  await waiting(`a client to connect to ${url}`, here);
  const answer = await socket.timeout(5000).emitWithAck("join", ROOM);
  if (!answer.ok) fail(`a client of ${url} to join, came ${JSON.stringify(answer)}`);
  return socket;
}

function send(socket) {
  socket.emit("message", ROOM, { by: OWN, n: figures.sent++, at: Date.now() });
}

function hear({ payload: { by, n, at } }) {
  if (by !== OWN) return;
  figures.received++;
  figures.longestMs = Math.max(figures.longestMs, Date.now() - at);
  if (heard.has(n)) figures.doubled++;
  else if (n < last) figures.disordered++;
  heard.add(n);
  last = Math.max(last, n);
}

async function allAreThere(patience) {
  const until = Date.now() + patience;
  while (heard.size < figures.sent && Date.now() < until) await sleep(5);
  return { ...figures, lost: figures.sent - heard.size };
}

await script({ options, needsUrl: false }, async (args) => {
  const [from, to] = [await member(args.from), await member(args.to)];
  to.on("message", hear);
  const [every, patience] = [count(args.every, "every"), count(args.patience, "patience")];
  if (args.once) {
    send(from);
    return allAreThere(patience);
  }
  let timer;
  const end = () => {
    clearInterval(timer);
    return allAreThere(patience);
  };
  progress("{}");
  const obey = async () => {
    for await (const line of createInterface({ input: process.stdin })) {
      if (line === "quit") return;
      else if (line === "begin") {
        timer = setInterval(send, every, from);
        progress("{}");
      } else if (line === "one") {
        send(from);
        progress(JSON.stringify(await allAreThere(patience)));
      } else if (line === "end") progress(JSON.stringify(await end()));
      else fail(`a line on stdin: expected one, begin, end or quit; came ${JSON.stringify(line)}`);
    }
  };
  await waiting("a line on stdin, or its end", obey());
  return end();
});
