// Asks the example application "outbound" to reach another service, and prints what it acknowledges.
// With --times it asks so often, and prints the last one.
//
//   node fetch.mjs --service backend.test:7000 --url URL

import { count, script } from "./lib/script.mjs";
import { connect } from "./lib/clients.mjs";

const options = { service: { type: "string" }, times: { type: "string", default: "1" } };

await script({ options }, async (args) => {
  const session = await connect("v4", args.url, { path: args.path, transport: "websocket" });
  let answer;
  for (let left = count(args.times, "times"); left > 0; left--) {
    [answer] = await session.ask("the answer", "fetch", args.service, "hello");
  }
  session.close();
  return answer;
});
