// A Python client, in a process of its own, and members on all workers talk in one room: the Python
// client hears every kind of data and says it again, and it comes back to all as it went.
//
//   node chat-python.mjs --transport polling|websocket|upgrade --workers 4 --url URL

import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { fail, progress, script } from "./lib/script.mjs";
import { becomes, Crowd, OPTIONS } from "./lib/chat.mjs";
import { assertEqual, assertTrue, differences } from "./lib/compare.mjs";
import { echoCases } from "./lib/data.mjs";

const options = { ...OPTIONS, kinds: { type: "string", default: "v4/websocket" }, transport: { type: "string", default: "websocket" } };

const ROOM = "Räume 房間 \"of Python\"";
/** Python writes what is beyond ASCII as escapes: too long to be said again. */
const TOO_LONG = "long string: 500 kB of unicode";

/** Runs the Python client; gives the figures of its last line, or fails with what it said. */
async function python(args) {
  const program = fileURLToPath(new URL("chat_client.py", import.meta.url));
  const { url, path, transport, deadline } = args;
  const child = spawn("/usr/bin/python3", [program, "--url", url, "--path", path, "--transport", transport, "--room", ROOM, "--deadline", `${deadline * 0.9}`], { stdio: ["ignore", "pipe", "inherit"] });
  let said = "";
  child.stdout.on("data", (text) => (said += text));
  const code = await new Promise((resolve) => child.on("close", resolve));
  if (code !== 0) fail(`the Python client ended with ${code}:\n${said}`);
  return JSON.parse(said.trim().split("\n").at(-1));
}

await script({ options }, async (args) => {
  const crowd = new Crowd(args);
  await crowd.fill(crowd.workers);
  await crowd.join(ROOM, ...crowd.members);
  const figures = python(args);
  figures.catch(() => {});
  /** What the Python client says next reaches all, as it is. */
  const says = async (what, payload, id) => {
    for (const { name, session } of crowd.members) {
      const came = await Promise.race([session.next(`${what} at ${name}`), figures]);
      assertTrue(`${what}; the Python client ended before`, Array.isArray(came));
      const [event, value] = came;
      id ??= value.from;
      assertEqual(`${what} at ${name}`, ["message", { room: ROOM, from: id, payload: payload ?? value.payload }], [event, value]);
      payload ??= value.payload;
    }
    return { id, payload };
  };

  const { id, payload: ready } = await says("that the Python client is ready");
  const elsewhere = crowd.members.filter(({ pid }) => pid !== ready.ready);
  assertEqual("members on the Python client's worker", 1, crowd.members.length - elsewhere.length);
  for (const member of crowd.members) {
    assertEqual(`${member.name} asks who is in the room`, [...crowd.truth(ROOM), id].sort(), await member.who(ROOM));
  }

  let again = 0;
  for (const { name, args: data } of echoCases({ seed: Number(args.seed) })) {
    if (name === TOO_LONG) continue;
    const sender = elsewhere[again % elsewhere.length];
    sender.session.emit("message", ROOM, data);
    for (const other of crowd.members) if (other !== sender) assertEqual(`${name} at ${other.name}`, ["message", { room: ROOM, from: sender.id, payload: data }], await other.session.next(name));
    await says(`${name}, said again`, { again: again++, from: sender.id, payload: data }, id);
  }
  const announced = { nested: [Buffer.from("bytes"), "text"] };
  elsewhere[0].session.emit("announce", announced);
  for (const { name, session } of crowd.members) assertEqual(`the announce at ${name}`, ["announce", announced], await session.next("the announce"));
  await says("the announce, said again", { again: again++, announced }, id);
  progress(`${again} cases heard and said again`);

  for (const { session, name } of crowd.members) session.onAsked = (answer) => answer(name);
  const payload = Buffer.from("asked");
  const responses = await elsewhere[0].collect(payload);
  assertEqual("the number of answers", crowd.members.length + 1, responses.length);
  assertTrue(`the Python client's answer among ${JSON.stringify(responses)}`, responses.some((answer) => !differences({ python: payload, bytes: Buffer.from([0, 255]) }, answer)));
  for (const { session } of crowd.members) assertEqual("collect", ["collect", payload], await session.next("collect"));

  elsewhere[0].session.emit("message", ROOM, "enough");
  for (const { session } of crowd.members.filter((member) => member !== elsewhere[0])) {
    assertEqual("the last message", ["message", { room: ROOM, from: elsewhere[0].id, payload: "enough" }], await session.next("the last message"));
  }
  const told = await figures;
  assertEqual("the Python client heard", again, told.heard);
  assertEqual("answers to the Python client", crowd.members.length + 1, told.answers);
  for (const { session } of crowd.members) {
    assertEqual("its question", ["collect", Buffer.from("asked")], await session.next("its question"));
    assertEqual("its announce", ["announce", [Buffer.from("own")]], await session.next("its announce"));
    session.assertNothingMore("when it left");
  }
  await becomes("who is in the room when it left", 2000, crowd.truth(ROOM), () => elsewhere[0].who(ROOM));
  for (const { session } of crowd.members) session.close();
  return { ...told, transport: args.transport, workers: crowd.spread(), cases: again };
});
