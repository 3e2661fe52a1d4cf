// Polling where every request comes on a new TCP connection, spoken by hand:
// nothing in the server may depend on which connection a session's request uses.
//
//   node polling-fresh.mjs --clients 100 --requests 20 --url URL

import { count, fail, progress, script } from "./lib/script.mjs";
import { RawPolling, request } from "./lib/http.mjs";
import { assertEqual } from "./lib/compare.mjs";

const options = {
  clients: { type: "string", default: "100" },
  requests: { type: "string", default: "20" },
};

const figures = { clients: 0, requests: 0, failures: 0, statuses: {} };
const failures = [];

async function exchange(method, url, body) {
  figures.requests++;
  let answer;
  try {
    answer = await request(method, url, { body });
  } catch (error) {
    figures.failures++;
    fail(`${method}: expected an answer, came ${error.code ?? ""} ${error.message}`);
  }
  figures.statuses[answer.status] = (figures.statuses[answer.status] ?? 0) + 1;
  if (answer.status !== 200) {
    figures.failures++;
    fail(`${method}: expected status 200, came ${answer.status} ${answer.body}`);
  }
  return answer.body;
}

async function run(args, client, rounds) {
  const session = new RawPolling(args.url, args.path, exchange);
  try {
    await session.open();
    for (let i = 0; i < rounds; i++) {
      const event = `2["n",${i}]`;
      await session.post(`4${event}`);
      assertEqual(`echo ${i}`, event, await session.message(`echo ${i} of client ${client}`));
    }
    await session.close();
    figures.clients++;
  } catch (error) {
    failures.push(`client ${client}: ${error.message}`);
  }
}

await script({ options, onDeadline: () => figures }, async (args) => {
  const rounds = count(args.requests, "requests");
  const clients = count(args.clients, "clients");
  await Promise.all(Array.from({ length: clients }, (_, client) => run(args, client, rounds)));
  if (failures.length) {
    progress(JSON.stringify(figures));
    fail(`expected all ${clients} clients to finish, ${failures.length} did not:\n  ${failures.slice(0, 10).join("\n  ")}`);
  }
  return figures;
});
