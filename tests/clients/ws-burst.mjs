// Many clients connect at once and each emits at once, in its connect handler:
// none of those first events may be lost.
//
//   node ws-burst.mjs --clients 300 --url URL

import { count, fail, progress, script } from "./lib/script.mjs";
import { connect } from "./lib/clients.mjs";
import { assertEqual } from "./lib/compare.mjs";

const options = {
  client: { type: "string", default: "v4" },
  transport: { type: "string", default: "websocket" },
  clients: { type: "string", default: "300" },
};

const figures = { clients: 0, heard: 0 };

await script({ options, onDeadline: () => figures }, async (args) => {
  figures.clients = count(args.clients, "clients");
  const failures = [];
  const one = async (_, i) => {
    try {
      const session = await connect(args.client, args.url, {
        path: args.path,
        transport: args.transport,
        awaitUpgrade: false,
        onConnect: (session) => session.emit("first", i),
      });
      assertEqual("the echo", ["first", i], await session.next(`the echo of client ${i}`));
      figures.heard++;
      return session;
    } catch (error) {
      failures.push(`client ${i}: ${error.message}`);
      return null;
    }
  };
  const sessions = await Promise.all(Array.from({ length: figures.clients }, one));
  for (const session of sessions) session?.close();
  if (failures.length) {
    progress(JSON.stringify(figures));
    fail(`expected ${figures.clients} clients heard, came ${figures.heard}:\n  ${failures.slice(0, 10).join("\n  ")}`);
  }
  return figures;
});
