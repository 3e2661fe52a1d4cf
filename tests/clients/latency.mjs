// One WebSocket client that asks for an acknowledgement every few milliseconds, and tells how long
// they took.
//
//   node latency.mjs --seconds 5 --every 2 --url URL

import { count, script, sleep } from "./lib/script.mjs";
import { connect } from "./lib/clients.mjs";

const options = { seconds: { type: "string", default: "5" }, every: { type: "string", default: "2" } };

await script({ options }, async (args) => {
  const session = await connect("v4", args.url, { path: args.path, transport: "websocket" });
  const times = [];
  const waits = [];
  const end = performance.now() + 1000 * count(args.seconds, "seconds");
  while (performance.now() < end) {
    const asked = performance.now();
    waits.push(session.ask("an acknowledgement", "a").then(() => times.push(performance.now() - asked)));
    await sleep(count(args.every, "every"));
  }
  await Promise.all(waits);
  session.close();
  times.sort((a, b) => a - b);
  const at = (share) => Math.round(100 * times[Math.floor(share * (times.length - 1))]) / 100;
  return { echoes: times.length, p50: at(0.5), p99: at(0.99), longest: at(1) };
});
