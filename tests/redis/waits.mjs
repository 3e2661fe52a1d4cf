// Two Node servers with the classic Redis adapter and a server of ours that runs the example "operators", on one Redis. Our
// bridge hangs, and dies; then one of the Node servers does: how long whoever asks waits for what the others know.
//
//   node waits.mjs --adapter 7|8 --library redis|ioredis --redis PORT --url URL --bridge PID

import assert from "node:assert/strict";
import { once } from "node:events";
import { parseArgs } from "node:util";
import { Client, fail, nodeProcess, nodeServer, until } from "./lib/nodes.mjs";

/** How long Node waits for an answer, how long we do, and what is at once; in ms. */
const NODES_PATIENCE = [4900, 6000];
const OURS = [1900, 3000];
const AT_ONCE = [0, 700];

const text = { type: "string" };
const { values: args } = parseArgs({
  options: { adapter: text, library: text, redis: text, url: text, bridge: text, serve: { type: "boolean" } },
});

if (args.serve) {
  const { url } = await node();
  process.on("disconnect", () => process.exit(0));
  process.send({ url });
} else {
  await waits();
  process.exit(0);
}

async function node() {
  const { server, url } = await nodeServer(args);
  server.on("ask", (_, answer) => answer("node"));
  return { server, url };
}

/** What came of it, and whether that took so long. */
async function within(what, [least, most], asking) {
  const began = Date.now();
  const came = await asking.then((value) => ({ value }), (error) => ({ error }));
  const took = Date.now() - began;
  console.log(`${what}: ${took} ms`);
  if (took < least || took > most) fail(`${what}: ${took} ms, and not ${least} to ${most}; ${came.error ?? JSON.stringify(came.value)}`);
  return came;
}

async function waits() {
  setTimeout(() => fail("it takes too long"), 60_000).unref();
  const { server, url } = await node();
  const { child, url: other } = await nodeProcess();
  const [here, there, ours] = [new Client(url), new Client(other), new Client(args.url)];
  for (const client of [here, there, ours]) await client.connected();
  const ids = (...clients) => clients.map(({ id }) => id).sort();
  const sockets = async () => (await server.fetchSockets()).map(({ id }) => id).sort();
  const answers = () => server.serverSideEmitWithAck("ask", "?").then((all) => all.length);
  const counted = async (count) => {
    let all = 0;
    const asked = () => server.of("/").adapter.serverCount().then((it) => (all = it));
    await until(`${count} are counted`, () => (asked(), all === count));
  };
  await counted(3);

  // Ours hangs: to Node that is one server that does not answer.
  process.kill(Number(args.bridge), "SIGSTOP");
  const [fetched, asked] = await Promise.all([
    within("Node fetches sockets while our bridge hangs", NODES_PATIENCE, sockets()),
    within("Node asks applications while our bridge hangs", NODES_PATIENCE, answers()),
  ]);
  for (const { error } of [fetched, asked]) assert.match(String(error), /timeout reached/);
  process.kill(Number(args.bridge), "SIGKILL");
  await counted(2);
  const without = await Promise.all([
    within("Node fetches sockets when our bridge has died", AT_ONCE, sockets()),
    within("Node asks applications when our bridge has died", AT_ONCE, answers()),
  ]);
  // Another one is there within a second, and may be there already.
  const [found, answered] = without.map(({ value }) => value);
  assert.ok([ids(here, there), ids(here, there, ours)].some((all) => `${all}` === `${found}`), `${found}`);
  assert.ok(answered === 1 || answered === 2, `${answered}`);
  await counted(3);
  const again = await within("Node fetches sockets when another bridge is there", AT_ONCE, sockets());
  assert.deepEqual(again.value, ids(here, there, ours));

  // A Node server hangs: we wait for less long than Node does, and nobody is told of a failure.
  child.kill("SIGSTOP");
  const [ourSockets, ourAnswers] = await Promise.all([
    within("we fetch sockets while a Node server hangs", OURS, ours.call("fetch", {})),
    within("we ask applications while a Node server hangs", OURS, ours.call("serverSideAsk", "?", 4000)),
  ]);
  assert.equal(ourSockets.value?.sockets.length, 2, `${ourSockets.error}`);
  assert.deepEqual(ourAnswers.value?.answers.filter(({ answer }) => answer === "node").length, 1, `${ourAnswers.error}`);
  assert.equal(ourAnswers.value.missing.length, 1, JSON.stringify(ourAnswers.value));
  const ended = once(child, "exit");
  child.kill("SIGKILL");
  await ended;
  await counted(2);
  const [left, said] = await Promise.all([
    within("we fetch sockets when it has died", AT_ONCE, ours.call("fetch", {})),
    within("we ask applications when it has died", AT_ONCE, ours.call("serverSideAsk", "?", 4000)),
  ]);
  assert.equal(left.value?.sockets.length, 2, `${left.error}`);
  assert.deepEqual(said.value?.missing, [], `${said.error}`);
}
