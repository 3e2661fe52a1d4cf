// Everybody is asked, and the answers of all kinds of clients on all workers come together: at once
// if all answer, and otherwise after two seconds without those that do not.
//
//   node chat-collect.mjs --workers 4 --url URL

import { count, progress, script } from "./lib/script.mjs";
import { Crowd, OPTIONS } from "./lib/chat.mjs";
import { assertEqual, assertTrue } from "./lib/compare.mjs";

const WAIT_MS = 2000;
/** How much later than after its two seconds a busy machine may be. */
const LATE_MS = 2000;
const options = { ...OPTIONS, "at-once": { type: "string", default: "500" } };

const ANSWERS = [
  "text",
  { an: { object: ["with", 1, null, true] } },
  Buffer.from([0, 1, 2, 253, 254, 255]),
  12.5,
  ["an", ["array"]],
  "\"Unicode\" 😀 \u2028 \n \0",
  false,
  null,
  {},
  "",
  { binary: { nested: [Buffer.from("bytes"), "text"] } },
  { '"': 1, "\\": { "\n": [{ "\0": "é" }] } },
  { '"quoted"': Buffer.from("first"), more: [{ "\\": Buffer.from("second") }] },
  { _placeholder: false, num: 0, bytes: Buffer.from("not the placeholder's") },
];

const byText = (values) => values.map((value) => [JSON.stringify(value), value]).sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)).map(([, value]) => value);

/** The answers may come in any order. */
function assertResponses(what, expected, came) {
  assertEqual(`${what}: the answers`, byText(expected), byText(came));
}

/** Answers whatever it is asked, and sees that it is asked once, and for what. */
function answering(member, answer) {
  member.asked = [];
  member.session.onAsked = (ack, event, payload) => {
    member.asked.push(payload);
    assertEqual(`what ${member.name} is asked`, "collect", event);
    member.ack = () => ack(typeof answer === "function" ? answer(payload) : answer);
    if (!member.silent) member.ack();
  };
}

function assertAsked(crowd, payloads) {
  for (const member of crowd.members) {
    assertEqual(`what ${member.name} was asked for`, payloads, member.asked.splice(0));
    member.session.arrived.length = 0;
  }
}

await script({ options }, async (args) => {
  const atOnce = count(args["at-once"], "at-once");
  const crowd = new Crowd(args);
  await crowd.fill(Math.max(ANSWERS.length, crowd.workers) + 1);
  crowd.members.forEach((member, i) => {
    member.answer = ANSWERS[i % ANSWERS.length];
    member.silent = false;
    answering(member, member.answer);
  });
  const expected = crowd.members.map((member) => member.answer);
  const timed = async (asker, payload) => {
    const start = performance.now();
    const responses = await asker.collect(payload);
    return { responses, ms: performance.now() - start };
  };

  const fast = {};
  for (const asker of crowd.members.slice(0, crowd.kinds.length)) {
    const payload = { for: [asker.name, Buffer.from("binary")] };
    const took = [];
    // The machine may be busy with something else, but hardly three times.
    do {
      const { responses, ms } = await timed(asker, payload);
      assertResponses(`asked by ${asker.name}`, expected, responses);
      assertAsked(crowd, [payload]);
      took.push(Math.round(ms));
    } while (Math.min(...took) >= atOnce && took.length < 3);
    assertTrue(`the answers to ${asker.name} at once, not after ${took} ms`, Math.min(...took) < atOnce && Math.max(...took) < WAIT_MS - 100);
    fast[asker.kind] = took;
  }
  progress(`all answered: ${JSON.stringify(fast)} ms`);

  const slow = [];
  for (const [asker, silent] of [[crowd.members[0], crowd.members.at(-1)], [crowd.members[0], crowd.elsewhere(crowd.members[0])]]) {
    silent.silent = true;
    const { responses, ms } = await timed(asker, "who is silent?");
    assertResponses(`with ${silent.name} silent`, crowd.members.filter((member) => member !== silent).map((member) => member.answer), responses);
    assertTrue(`${silent.name} to be waited for ${WAIT_MS} ms, not ${ms} ms`, ms > WAIT_MS - 100 && ms < WAIT_MS + LATE_MS);
    assertAsked(crowd, ["who is silent?"]);
    slow.push(Math.round(ms));
    // Too late; it changes nothing.
    silent.ack();
    silent.silent = false;
  }
  const { responses } = await timed(crowd.members[0], null);
  assertResponses("after the late answers", expected, responses);
  assertAsked(crowd, [null]);
  progress(`without those that were silent: ${slow} ms`);

  // Many at one time, from all workers: each gets the answers to its own question.
  for (const member of crowd.members) answering(member, (payload) => [payload, member.id]);
  const questions = crowd.everywhere().flatMap((member) => [1, 2, 3].map((n) => ({ member, payload: `${n} of ${member.name}` })));
  await Promise.all(
    questions.map(async ({ member, payload }) => {
      const { responses } = await timed(member, payload);
      assertResponses(payload, crowd.members.map(({ id }) => [payload, id]), responses);
    }),
  );
  for (const member of crowd.members) assertEqual(`what ${member.name} was asked for`, byText(questions.map(({ payload }) => payload)), byText(member.asked));

  // One goes instead of answering: the others' answers come all the same.
  const gone = await crowd.enter();
  gone.session.onAsked = () => {
    gone.session.closing = true;
    gone.session.engine.close();
  };
  const { responses: remaining, ms: goneMs } = await timed(crowd.members[0], "who goes?");
  crowd.forget(gone);
  assertResponses("when one goes", crowd.members.map(({ id }) => ["who goes?", id]), remaining);
  for (const member of crowd.members) member.session.arrived.length = 0;

  const figures = { members: crowd.members.length, workers: crowd.spread(), fast, slow, questions: questions.length, goneMs: Math.round(goneMs) };
  await crowd.close();
  return figures;
});
