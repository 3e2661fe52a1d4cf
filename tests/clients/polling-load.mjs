// Polling clients that echo as fast as they can, spoken by hand over connections that stay open:
// how many requests the server, or a proxy in front of it, answers.
//
//   node polling-load.mjs --clients 40 --seconds 10 --url URL

import http from "node:http";
import { count, fail, script } from "./lib/script.mjs";
import { RawPolling, request } from "./lib/http.mjs";
import { assertEqual } from "./lib/compare.mjs";

const options = {
  clients: { type: "string", default: "40" },
  seconds: { type: "string", default: "10" },
};

const figures = { requests: 0, echoes: 0, seconds: 0, perSecond: 0 };

await script({ options }, async (args) => {
  const agent = new http.Agent({ keepAlive: true });
  const exchange = async (method, url, body) => {
    const answer = await request(method, url, { body, agent });
    if (answer.status !== 200) fail(`${method}: expected status 200, came ${answer.status} ${answer.body}`);
    figures.requests++;
    return answer.body;
  };
  const sessions = Array.from({ length: count(args.clients, "clients") }, () => new RawPolling(args.url, args.path, exchange));
  await Promise.all(sessions.map((session) => session.open()));

  figures.requests = 0;
  const start = performance.now();
  const end = start + Number(args.seconds) * 1000;
  const loop = async (session) => {
    for (let n = 0; performance.now() < end; n++) {
      const event = `2["n",${n}]`;
      // The poll waits at the server when the event comes, as a real client's does.
      const [echo] = await Promise.all([session.message(`echo ${n}`), session.post(`4${event}`)]);
      assertEqual(`echo ${n}`, event, echo);
      figures.echoes++;
    }
  };
  await Promise.all(sessions.map(loop));
  figures.seconds = (performance.now() - start) / 1000;
  figures.perSecond = Math.round(figures.requests / figures.seconds);
  const answered = { ...figures };
  await Promise.all(sessions.map((session) => session.close()));
  return answered;
});
