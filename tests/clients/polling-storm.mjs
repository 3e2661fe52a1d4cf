// Many loops open polling sessions with the official client as fast as they
// can: connect, one event with an acknowledgement, close.
//
//   node polling-storm.mjs --clients 50 --seconds 5 --url URL

import { count, fail, progress, script } from "./lib/script.mjs";
import { connect } from "./lib/clients.mjs";
import { assertEqual } from "./lib/compare.mjs";

const options = {
  client: { type: "string", default: "v4" },
  transport: { type: "string", default: "polling" },
  clients: { type: "string", default: "50" },
  seconds: { type: "string", default: "5" },
};

const figures = { sessions: 0, failures: 0, details: {} };

async function once(args, number) {
  let session;
  try {
    session = await connect(args.client, args.url, { path: args.path, transport: args.transport });
    assertEqual("the acknowledgement", ["s", number], await session.ask("the acknowledgement", "s", number));
    figures.sessions++;
  } catch (error) {
    figures.failures++;
    figures.details[error.message] = (figures.details[error.message] ?? 0) + 1;
  } finally {
    session?.close();
  }
}

await script({ options, onDeadline: () => figures }, async (args) => {
  const start = performance.now();
  const end = start + Number(args.seconds) * 1000;
  const loop = async (_, i) => {
    for (let n = 0; performance.now() < end; n++) await once(args, i * 1e6 + n);
  };
  await Promise.all(Array.from({ length: count(args.clients, "clients") }, loop));
  figures.perSecond = Math.round(figures.sessions / ((performance.now() - start) / 1000));
  if (figures.failures || !figures.sessions) {
    progress(JSON.stringify(figures));
    fail(`expected sessions and no failure, came ${figures.sessions} sessions and ${figures.failures} failures`);
  }
  return figures;
});
