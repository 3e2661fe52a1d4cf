// Thousands of messages of two members on different workers at the same time, and thousands of one
// tick: in each sender's order at every kind of client on every worker.
//
//   node chat-order.mjs --messages 2000 --workers 4 --url URL

import { count, progress, script, sleep } from "./lib/script.mjs";
import { Crowd, OPTIONS } from "./lib/chat.mjs";

const options = { ...OPTIONS, messages: { type: "string", default: "2000" } };

/** Some carry binary, so that attachments are in the way. */
const data = (i) => (i % 50 === 7 ? Buffer.from(`${i}`) : undefined);

await script({ options }, async (args) => {
  const total = count(args.messages, "messages");
  const crowd = new Crowd(args);
  await crowd.fill(Math.max(crowd.kinds.length, crowd.workers) + 2);
  await crowd.join("order", ...crowd.members);
  const ms = {};
  const timed = async (what, send) => {
    const start = performance.now();
    await send();
    await crowd.settle(what);
    ms[what] = Math.round(performance.now() - start);
    progress(`${what}: ${ms[what]} ms`);
  };

  // The first members are of one version, one over each transport; the last may be of another.
  const pairs = [
    [crowd.members[0], crowd.kinds.at(-3)],
    [crowd.members[1], crowd.kinds.at(-1)],
  ];
  for (const [one, kind] of pairs) {
    const other = crowd.elsewhere(one, kind);
    await timed(`${total} messages each of ${one.name} and ${other.name}`, async () => {
      for (let i = 0; i < total; i++) {
        for (const sender of [one, other]) crowd.message(sender, "order", data(i));
        if (i % 20 === 19) await sleep(0);
      }
    });
  }
  for (const sender of crowd.members.slice(0, crowd.kinds.length)) {
    await timed(`${total} messages of one tick of ${sender.name}`, () => {
      for (let i = 0; i < total; i++) crowd.message(sender, "order", data(i));
    });
  }
  await timed(`${total} messages and announces of one tick of ${crowd.members[0].name}`, () => {
    for (let i = 0; i < total; i++) {
      if (i % 2) crowd.announce(crowd.members[0], data(i));
      else crowd.message(crowd.members[0], "order", data(i));
    }
  });
  const figures = { members: crowd.members.length, workers: crowd.spread(), deliveries: crowd.deliveries, ms };
  await crowd.close();
  return figures;
});
