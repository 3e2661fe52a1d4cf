// Official clients that arrive one after the other, as visitors do; then half of them leave, and as
// many arrive again. Tells which worker has how many, both times.
//
//   node arrivals.mjs --clients 200 --every 30 --transport upgrade|polling|websocket --url URL

import { count, fail, script, sleep, waiting } from "./lib/script.mjs";
import { connect } from "./lib/clients.mjs";

const options = {
  clients: { type: "string", default: "200" },
  every: { type: "string", default: "30" }, // ms between two clients
  transport: { type: "string", default: "upgrade" },
};

async function arrive(args, number) {
  const session = await connect("v4", `${args.url}/chat`, { transport: args.transport, awaitUpgrade: false, path: args.path });
  session.worker = await waiting(`client ${number} to hear where it is`, session.ask("its worker", "whereami").then(([{ worker }]) => worker));
  session.onLost.catch((error) => fail(`client ${number}: ${error.message}`));
  return session;
}

/** So many, each at its time, however long the one before takes. */
async function arrivals(args, many) {
  const sessions = [];
  for (let number = 0; number < many; number++) {
    sessions.push(arrive(args, number));
    await sleep(count(args.every, "every"));
  }
  return Promise.all(sessions);
}

function spread(sessions) {
  const workers = {};
  for (const { worker } of sessions) workers[worker] = (workers[worker] ?? 0) + 1;
  return workers;
}

await script({ options }, async (args) => {
  const clients = count(args.clients, "clients");
  const first = await arrivals(args, clients);
  // Every second one goes, at the same pace.
  for (const session of first.filter((_, number) => number % 2 === 0)) {
    session.close();
    await sleep(count(args.every, "every") / 3);
  }
  const stayed = first.filter((_, number) => number % 2 === 1);
  const second = await arrivals(args, clients - stayed.length);
  const figures = { first: spread(first), second: spread([...stayed, ...second]) };
  for (const session of [...stayed, ...second]) session.close();
  return figures;
});
