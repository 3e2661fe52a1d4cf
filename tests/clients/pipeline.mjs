// One client emits many events in one tick, without waiting for anything, and
// gets every echo in order.
//
//   node pipeline.mjs --client v4 --count 20000 --url URL

import { count, script } from "./lib/script.mjs";
import { connect } from "./lib/clients.mjs";
import { assertEqual } from "./lib/compare.mjs";

const options = {
  client: { type: "string", default: "v4" },
  transport: { type: "string", default: "websocket" },
  count: { type: "string", default: "20000" },
};

await script({ options }, async (args) => {
  const total = count(args.count, "count");
  const session = await connect(args.client, args.url, { path: args.path, transport: args.transport });
  const start = performance.now();
  for (let i = 0; i < total; i++) session.emit("n", i);
  for (let i = 0; i < total; i++) assertEqual(`echo ${i} of ${total}`, ["n", i], await session.next(`echo ${i} of ${total}`));
  const ms = Math.round(performance.now() - start);
  session.assertNothingMore("after the last echo");
  session.close();
  return { client: args.client, transport: args.transport, count: total, ms };
});
