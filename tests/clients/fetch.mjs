// Asks the example application "outbound" to reach another service, and prints what it acknowledges.
//
//   node fetch.mjs --service backend.test:7000 --url URL

import { script } from "./lib/script.mjs";
import { connect } from "./lib/clients.mjs";

await script({ options: { service: { type: "string" } } }, async (args) => {
  const session = await connect("v4", args.url, { path: args.path, transport: "websocket" });
  const [answer] = await session.ask("the answer", "fetch", args.service, "hello");
  session.close();
  return answer;
});
