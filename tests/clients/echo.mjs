// Every kind of argument comes back as it went, by event and by acknowledgement,
// in order, and across an upgrade.
//
//   node echo.mjs --client v4|v3|v2|msgpack --transport polling|websocket|upgrade --url URL

import { count, progress, script, sleep, waiting } from "./lib/script.mjs";
import { connect } from "./lib/clients.mjs";
import { assertEqual, assertTrue } from "./lib/compare.mjs";
import { echoCases, generator, randomBytes } from "./lib/data.mjs";

const options = {
  client: { type: "string", default: "v4" },
  transport: { type: "string", default: "websocket" },
  seed: { type: "string", default: "1" },
  events: { type: "string", default: "5000" },
  acks: { type: "string", default: "200" },
  crossings: { type: "string", default: "5" },
};

async function echoesEveryCase(session, cases) {
  for (const { name, event, args, comes = event } of cases) {
    session.emit(event, ...args);
    assertEqual(`echo of ${name}`, [comes, ...args], await session.next(`the echo of ${name}`));
  }
  session.assertNothingMore("after the echoes");
  for (const { name, event, args, comes = event } of cases) {
    assertEqual(`acknowledgement of ${name}`, [comes, ...args], await session.ask(`the acknowledgement of ${name}`, event, ...args));
  }
  session.assertNothingMore("after the acknowledgements");
}

async function acknowledgesInOrder(session, total) {
  const order = [];
  const asked = Array.from({ length: total }, (_, i) =>
    session.ask(`acknowledgement ${i} of ${total}`, "a", i).then((came) => {
      assertEqual(`acknowledgement ${i}`, ["a", i], came);
      order.push(i);
    }),
  );
  await Promise.all(asked);
  assertEqual("the order of acknowledgements", Array.from({ length: total }, (_, i) => i), order);
}

/** Event `i` of a numbered series; some carry binary, so that attachments are in the way. */
const numbered = (i) => (i % 50 === 7 ? ["n", i, Buffer.from(`${i}`)] : ["n", i]);

async function keepsOrder(session, total) {
  const send = async () => {
    for (let i = 0; i < total; i++) {
      session.emit(...numbered(i));
      if (i % 100 === 99) await sleep(0);
    }
  };
  const receive = async () => {
    for (let i = 0; i < total; i++) assertEqual(`event ${i} of ${total}`, numbered(i), await session.next(`event ${i} of ${total}`));
  };
  await Promise.all([send(), receive()]);
  session.assertNothingMore("after the numbered events");
}

/** When the client may begin its upgrade: left to itself that is often done before the first event. */
const BEGINS = ["after 100 echoes", "on connect", "by itself"];

/** Sends without a pause from before the upgrade until well after it. */
async function keepsOrderAcrossUpgrade(args, begins) {
  const tail = 300;
  let sent = 0;
  let sentBefore = 0;
  let pump;
  const start = (session) => {
    const random = generator(3);
    let after = 0;
    pump = (async () => {
      if (begins === "on connect") setImmediate(session.releaseUpgrade);
      while (after < tail) {
        for (let i = 0; i < 5; i++) {
          if (session.upgraded) after++;
          else sentBefore++;
          session.emit(...numbered(sent++));
        }
        await sleep(random() < 0.2 ? 2 : 0);
        if (session.lost) throw session.lost;
      }
    })();
    pump.catch(() => {});
  };
  const session = await connect(args.client, args.url, { path: args.path, transport: "upgrade", awaitUpgrade: false, holdUpgrade: begins !== "by itself", onConnect: start });
  let received = 0;
  const take = async () => {
    assertEqual(`event ${received} across the upgrade`, numbered(received), await session.next(`event ${received} across the upgrade (sent ${sent}, upgraded: ${session.upgraded})`));
    received++;
  };
  if (begins === "after 100 echoes") {
    while (received < 100) await take();
    assertEqual("the transport before the upgrade", "polling", session.transport);
    session.releaseUpgrade();
  }
  await Promise.race([session.expectUpgrade(), (async () => { while (!session.upgraded) await take(); })()]);
  await session.expectUpgrade();
  await waiting("the last events to be sent", pump);
  while (received < sent) await take();
  session.assertNothingMore("after the upgrade");
  session.close();
  return { sentBefore, sentAfter: sent - sentBefore };
}

await script({ options }, async (args) => {
  const cases = echoCases({ seed: count(args.seed, "seed"), msgpack: args.client === "msgpack" });
  const session = await connect(args.client, args.url, { path: args.path, transport: args.transport });
  const ids = { id: session.socket.id, engineId: session.engine.id };
  progress(`connected over ${session.transport}: ${JSON.stringify(ids)}`);
  if (args.client === "v2") assertEqual("the id of a v2 socket", ids.engineId, ids.id);

  await echoesEveryCase(session, cases);
  progress(`${cases.length} cases echoed and acknowledged`);
  const acks = count(args.acks, "acks");
  await acknowledgesInOrder(session, acks);
  progress(`${acks} acknowledgements in order`);
  const events = count(args.events, "events");
  await keepsOrder(session, events);
  progress(`${events} events in order`);
  assertEqual("the transport at the end", args.transport === "upgrade" ? "websocket" : args.transport, session.transport);
  session.close();

  const crossings = [];
  if (args.transport === "upgrade") {
    for (let i = 0; i < count(args.crossings, "crossings"); i++) {
      for (const begins of BEGINS) {
        const crossing = await keepsOrderAcrossUpgrade(args, begins);
        if (begins !== "by itself") assertTrue(`events to be sent before an upgrade begun ${begins}`, crossing.sentBefore > 0);
        crossings.push({ begins, ...crossing });
      }
    }
    progress(`${crossings.length} upgrades crossed in order`);
  }
  return { client: args.client, transport: args.transport, ...ids, cases: cases.length, acks: acks + cases.length, events: events + cases.length, ...(crossings.length ? { crossings } : {}) };
});
