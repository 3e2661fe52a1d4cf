// Forty members of every kind in overlapping rooms on all workers: whatever anybody says arrives
// exactly once at exactly those who should hear it, also after some left, and across upgrades.
//
//   node chat-rooms.mjs --members 40 --workers 4 --url URL

import { count, progress, script, sleep } from "./lib/script.mjs";
import { Crowd, OPTIONS } from "./lib/chat.mjs";
import { assertTrue } from "./lib/compare.mjs";
import { generator } from "./lib/data.mjs";

const options = { ...OPTIONS, members: { type: "string", default: "40" } };

const ROOMS = ["everybody", "some", "Räume 房間 😀", "\"quotes\" \\ and\n\0 more", "/chat", "a,b", "nobody yet"];

/** Each to each room, whether in it or not, and to all, in no particular order. */
function everybodySpeaks(crowd, random) {
  const speeches = crowd.members.flatMap((member) => [...ROOMS.map((room) => () => crowd.message(member, room)), () => crowd.announce(member)]);
  while (speeches.length) speeches.splice(Math.floor(random() * speeches.length), 1)[0]();
}

/** Both sides speak all the time while a member goes from polling to WebSocket. */
async function acrossUpgrade(crowd, kind, random) {
  const room = `crossing ${crowd.entered}`;
  const speakers = crowd.everywhere();
  const member = await crowd.enter(kind, { holdUpgrade: true });
  await crowd.join(room, member, ...speakers);
  const rounds = { before: 0, during: 0, after: 0 };
  while (rounds.after < 50) {
    for (const speaker of [member, ...speakers]) crowd.message(speaker, room);
    if (rounds.before === 20) member.session.releaseUpgrade();
    rounds[member.session.upgraded ? "after" : rounds.before <= 20 ? "before" : "during"]++;
    await sleep(random() * 4);
  }
  await member.session.expectUpgrade();
  await crowd.settle(`across the upgrade of ${member.name}`);
  return rounds;
}

await script({ options }, async (args) => {
  const crowd = new Crowd(args);
  const random = generator(count(args.seed, "seed"));
  await crowd.fill(count(args.members, "members"));
  progress(`members of each worker: ${JSON.stringify(crowd.spread())}`);

  await crowd.join("everybody", ...crowd.members);
  for (const room of ROOMS.slice(1, -1)) await crowd.join(room, ...crowd.members.filter(() => random() < 0.4));
  everybodySpeaks(crowd, random);
  await crowd.settle("in overlapping rooms");
  progress(`${crowd.deliveries} deliveries in overlapping rooms`);

  for (const room of ROOMS.slice(0, -1)) {
    await crowd.leave(room, ...crowd.members.filter((member) => crowd.in(room).has(member) && random() < 0.5));
    // In this moment, from everywhere.
    for (const member of crowd.members) crowd.message(member, room);
  }
  await crowd.join("nobody yet", ...crowd.members.filter(() => random() < 0.2));
  everybodySpeaks(crowd, random);
  await crowd.settle("after leaving");
  progress(`${crowd.deliveries} deliveries, with those after leaving`);

  const upgrading = crowd.kinds.filter((kind) => kind.endsWith("/upgrade"));
  const crossings = {};
  for (const kind of [...upgrading, ...upgrading]) crossings[kind] = await acrossUpgrade(crowd, kind, random);
  assertTrue("kinds that upgrade", upgrading.length > 0);
  everybodySpeaks(crowd, random);
  await crowd.settle("after the upgrades");
  const figures = { members: crowd.members.length, workers: crowd.spread(), deliveries: crowd.deliveries, crossings };
  await crowd.close();
  return figures;
});
