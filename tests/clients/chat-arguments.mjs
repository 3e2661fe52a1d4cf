// Events with wrong arguments: the answer says what was expected, and nothing else happens.
//
//   node chat-arguments.mjs --workers 4 --url URL

import { progress, script } from "./lib/script.mjs";
import { Crowd, OPTIONS } from "./lib/chat.mjs";
import { assertEqual, assertTrue } from "./lib/compare.mjs";

const NO_ROOMS = { "a number": 1, zero: 0, null: null, true: true, "an object": { room: "room" }, "an array": ["room"], "an empty array": [], binary: Buffer.from("room"), "binary in an object": { room: [Buffer.from("room")] } };

/** [event, what is wrong, what the error must name, ...arguments] */
const CASES = [
  ...["join", "leave", "who"].flatMap((event) => [
    [event, "no room", /room/],
    ...Object.entries(NO_ROOMS).map(([what, wrong]) => [event, `${what} for a room`, /room|string/, wrong]),
    [event, "two rooms", /argument|room/, "room", "another"],
    [event, "a room and null", /argument|room/, "room", null],
    [event, "a room and binary", /argument|room/, "room", Buffer.from("more")],
  ]),
  ["message", "nothing", /room|payload/],
  ["message", "no payload", /payload/, "room"],
  ...Object.entries(NO_ROOMS).map(([what, wrong]) => ["message", `${what} for a room`, /room|string/, wrong, "payload"]),
  ["message", "a room last", /room|string/, { a: "payload" }, "room"],
  ["message", "two payloads", /argument|payload/, "room", "payload", "another"],
  ["message", "two payloads, one of them binary", /argument|payload/, "room", Buffer.from("payload"), null],
  ...["announce", "collect"].flatMap((event) => [
    [event, "no payload", /payload/],
    [event, "two payloads", /argument|payload/, "payload", "another"],
    [event, "two payloads of binary", /argument|payload/, Buffer.from("payload"), Buffer.from("another")],
  ]),
  ["whereami", "an argument", /argument/, "here"],
  ["whereami", "null", /argument/, null],
  ["whereami", "binary", /argument/, Buffer.from("here")],
];

/** Names that a wrong room could have been taken for. */
const TAKEN_FOR = ["room", "another", "1", "0", "null", "true", "[object Object]", "", "undefined"];

async function assertRefused(member, [event, what, names, ...args]) {
  const title = `${member.name}: ${event} with ${what}`;
  const { ok, error, ...more } = await member.ask(event, ...args);
  assertEqual(title, [false, {}], [ok, more]);
  assertTrue(`${title}: an error that tells what was expected (${names}), not ${JSON.stringify(error)}`, typeof error === "string" && names.test(error));
  return error;
}

await script({ options: OPTIONS }, async (args) => {
  const crowd = new Crowd(args);
  await crowd.fill(Math.max(crowd.kinds.length, crowd.workers) + crowd.workers);
  const watching = crowd.members.slice(crowd.kinds.length);
  await crowd.join("room", ...watching);
  await crowd.join("another", ...watching);
  const nothingElse = async (what) => {
    for (const room of TAKEN_FOR) {
      for (const member of crowd.everywhere()) assertEqual(`${what}: who is in ${JSON.stringify(room)}`, crowd.truth(room), await member.who(room));
    }
    await crowd.settle(what);
  };

  const errors = new Set();
  for (const member of crowd.members.slice(0, crowd.kinds.length)) {
    for (const wrong of CASES) errors.add(await assertRefused(member, wrong));
    await nothingElse(`wrong arguments of ${member.name}`);
    for (const [event, , , ...args] of CASES) member.session.emit(event, ...args);
    crowd.message(member, "room", "the connection goes on");
    await nothingElse(`wrong arguments of ${member.name}, without acknowledgements`);
    // One who is in the room stays in it.
    await crowd.join("room", member);
    for (const wrong of CASES) await assertRefused(member, wrong);
    await nothingElse(`wrong arguments of ${member.name} in the room`);
    await crowd.leave("room", member);
  }
  progress(`${CASES.length} cases refused, from each kind: ${JSON.stringify([...errors], null, 1)}`);

  // Without an acknowledgement, events with right arguments do what they do with one.
  for (const member of crowd.members.slice(0, crowd.kinds.length)) {
    member.session.emit("join", "unacknowledged");
    member.session.emit("who", "unacknowledged");
    member.session.emit("whereami");
    crowd.in("unacknowledged").add(member);
    assertEqual(`${member.name} joined without an acknowledgement`, crowd.truth("unacknowledged"), await member.who("unacknowledged"));
    // It is asked like everybody, and nobody awaits the answers.
    member.session.emit("collect", { by: member.name, collected: true });
    for (const other of crowd.members) other.owe("collect", { by: member.name, collected: true }, member.name);
    crowd.message(watching[0], "unacknowledged");
    await crowd.settle(`${member.name} without acknowledgements`);
  }
  for (const member of crowd.members.slice(0, crowd.kinds.length)) {
    member.session.emit("leave", "unacknowledged");
    crowd.in("unacknowledged").delete(member);
    assertEqual(`${member.name} left without an acknowledgement`, crowd.truth("unacknowledged"), await member.who("unacknowledged"));
  }
  crowd.message(watching[0], "unacknowledged");
  await crowd.settle("after all left without an acknowledgement");
  const figures = { members: crowd.members.length, workers: crowd.spread(), cases: CASES.length, kinds: crowd.kinds.length };
  await crowd.close();
  return figures;
});
