// Who is in a room: nobody, each once, and nobody who is gone.
//
//   node chat-who.mjs --workers 4 --url URL

import { progress, script } from "./lib/script.mjs";
import { becomes, Crowd, OPTIONS } from "./lib/chat.mjs";
import { connect } from "./lib/clients.mjs";
import { assertEqual, assertTrue } from "./lib/compare.mjs";

/** Until a worker has seen that a client went; it then counts it no more, and nor do the others. */
const SEEN_MS = 2000;

const ENDS = {
  "disconnects from the namespace": ({ socket }) => socket.disconnect(),
  "closes its connection": ({ engine }) => engine.close(),
  "breaks its connection": ({ engine }) => engine.transport.ws.terminate(),
};

async function everyWorkerTells(crowd, what, room, expected = crowd.truth(room)) {
  for (const member of crowd.everywhere()) assertEqual(`${what}: ${member.name} asks`, expected, await member.who(room));
}

/** Seen by its own worker, and in the same moment by all. */
async function goes(crowd, member, how) {
  const room = "of those who go";
  await crowd.join(room, member);
  await everyWorkerTells(crowd, `before ${member.name} ${how}`, room);
  crowd.forget(member);
  const beside = crowd.members.find(({ pid }) => pid === member.pid);
  assertTrue(`another member on the worker of ${member.name}`, beside);
  member.session.closing = true;
  const start = performance.now();
  ENDS[how](member.session);
  await becomes(`${member.name} ${how}: ${beside.name} asks`, SEEN_MS, crowd.truth(room), () => beside.who(room));
  const ms = Math.round(performance.now() - start);
  await everyWorkerTells(crowd, `${member.name} ${how}`, room);
  return ms;
}

await script({ options: OPTIONS }, async (args) => {
  const crowd = new Crowd(args);
  await crowd.fill(3 * crowd.workers + 1);
  const [one, two] = crowd.members;

  await everyWorkerTells(crowd, "a room that nobody was ever in", "empty", []);
  await crowd.join("twice", one, two);
  await one.join("twice");
  await everyWorkerTells(crowd, "after joining twice", "twice");
  crowd.message(two, "twice");
  await crowd.settle("after joining twice");
  await crowd.leave("twice", one);
  await everyWorkerTells(crowd, "after joining twice and leaving once", "twice");
  await one.leave("twice");
  await crowd.leave("twice", two);
  await everyWorkerTells(crowd, "after all left", "twice", []);
  crowd.message(two, "twice");
  await crowd.settle("after all left");

  for (const room of ["", " ", "/", "null", "__proto__", "x".repeat(10_000), "\u{10ffff}\0"]) {
    await crowd.join(room, ...crowd.members);
    await everyWorkerTells(crowd, `all in ${JSON.stringify(room.slice(0, 20))}`, room);
    crowd.message(one, room);
    await crowd.settle(`all in ${JSON.stringify(room.slice(0, 20))}`);
  }
  // The rooms of one namespace are not those of another: an echo of the same event joins nothing.
  const [version] = crowd.kinds[0].split("/");
  const outside = await connect(version, args.url.split(",")[0], { path: args.path });
  await outside.ask("an echo outside of the namespace", "join", "outside");
  await everyWorkerTells(crowd, "a room of another namespace", "outside", []);
  outside.close();
  progress("rooms are told as they are");

  const ms = {};
  for (const how of Object.keys(ENDS)) {
    for (const kind of crowd.kinds) {
      if (how.startsWith("breaks") && kind.endsWith("/polling")) continue;
      ms[`${kind} ${how}`] = await goes(crowd, await crowd.enter(kind), how);
    }
  }
  progress("those who go are gone");

  // One connection in both namespaces: who leaves one of them stays in the other.
  const member = await crowd.enter(`${version}/websocket`);
  const echo = member.session.socket.io.socket("/");
  await new Promise((resolve) => echo.on("connect", resolve).connect());
  await goes(crowd, member, "disconnects from the namespace");
  await new Promise((resolve) => echo.emit("still", "here", resolve));
  echo.disconnect();

  const figures = { members: crowd.members.length, workers: crowd.spread(), goneAfterMs: ms };
  await crowd.close();
  return figures;
});
