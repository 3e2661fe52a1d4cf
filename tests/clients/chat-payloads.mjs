// Every kind of data, binary in it, and messages of nearly the largest size, byte for byte at every
// kind of client on every worker.
//
//   node chat-payloads.mjs --workers 4 --url URL

import { progress, script } from "./lib/script.mjs";
import { Crowd, OPTIONS } from "./lib/chat.mjs";
import { echoCases, generator, randomBytes } from "./lib/data.mjs";

/** Fits below the limit of 1,000,000 bytes, with all around it. */
const LARGE = 900_000;

const SIMPLE = [null, true, 0, -1.5, "", "text", [], {}, [null], Buffer.from("binary"), [{ nested: Buffer.from("binary") }]];

await script({ options: OPTIONS }, async (args) => {
  const crowd = new Crowd(args);
  await crowd.fill(Math.max(crowd.kinds.length, crowd.workers));
  await crowd.join("data", ...crowd.members);

  const cases = echoCases({ seed: Number(args.seed), msgpack: args.kinds === "msgpack" });
  const text = '0123456789 "quoted" '.repeat(LARGE / 20);
  const senders = new Set([0, 1, -2, -1].map((at) => crowd.members.at(at)));
  for (const sender of senders) {
    for (const data of SIMPLE) crowd.message(sender, "data", data);
    // One at a time: clients put all that waits into one POST, though it be too large.
    for (const { name, args } of cases) {
      crowd.message(sender, "data", args);
      await crowd.settle(`${name}, of ${sender.name}`);
    }
    progress(`${cases.length} cases sent by ${sender.name}`);
  }
  for (const data of SIMPLE) crowd.announceBare(crowd.members[0], data);
  await crowd.settle("bare announces");

  const large = [];
  const binary = randomBytes(generator(2), LARGE);
  for (const sender of crowd.members) {
    const start = performance.now();
    const polling = sender.session.transport === "polling";
    // Over polling, binary is a third longer, and so more than is allowed. MessagePack is binary.
    const sent = { text: !polling || sender.session.version !== "msgpack", binary: !polling };
    if (sent.text) crowd.message(sender, "data", text);
    if (sent.binary) crowd.message(sender, "data", { nested: [binary] });
    await crowd.settle(`${LARGE} bytes of ${sender.name}`);
    large.push({ kind: sender.kind, ...sent, ms: Math.round(performance.now() - start) });
  }
  progress(`${LARGE} bytes sent by each kind`);
  const figures = { members: crowd.members.length, workers: crowd.spread(), cases: cases.length, deliveries: crowd.deliveries, large };
  await crowd.close();
  return figures;
});
