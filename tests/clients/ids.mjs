// What a client sees as its ids. For v4 the public id is no session id: it must
// not let anyone read or write the session over polling. For v2 the two are one.
//
//   node ids.mjs --client v4|v2 --url URL

import { count, progress, script } from "./lib/script.mjs";
import { connect } from "./lib/clients.mjs";
import { endpoint, request } from "./lib/http.mjs";
import { assertEqual, assertTrue } from "./lib/compare.mjs";

const options = {
  client: { type: "string", default: "v4" },
  transport: { type: "string", default: "polling" },
  "id-length": { type: "string", default: "16" },
};

await script({ options }, async (args) => {
  const session = await connect(args.client, args.url, { path: args.path, transport: args.transport });
  const ids = { id: session.socket.id, engineId: session.engine.id };
  progress(JSON.stringify(ids));
  const answers = {};

  if (args.client === "v2") {
    assertEqual("the id of a v2 socket", ids.engineId, ids.id);
  } else {
    assertTrue(`an id that is not the engine's; came ${JSON.stringify(ids)}`, ids.id !== ids.engineId);
    assertEqual(`the length of the id ${ids.id}`, count(args["id-length"], "id-length"), ids.id.length);
    const address = endpoint(args.url, args.path, { EIO: 4, transport: "polling", sid: ids.id });
    for (const [method, body] of [["GET", undefined], ["POST", '42["intruder"]']]) {
      const answer = await request(method, address, { body });
      answers[method] = { status: answer.status, body: answer.body };
      assertEqual(`${method} with the public id as sid: status (body ${answer.body})`, 400, answer.status);
      assertEqual(`${method} with the public id as sid: body`, { code: 1, message: "Session ID unknown" }, JSON.parse(answer.body));
    }
  }
  // The session itself took no harm from the attempts.
  assertEqual("the acknowledgement", ["still", "here"], await session.ask("the acknowledgement", "still", "here"));
  session.assertNothingMore("at the end");
  session.close();
  return { ...ids, answers };
});
