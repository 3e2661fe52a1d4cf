// Clients with the default transports that ask for an echo now and then, and tell how long the
// answers took: for networks on which a WebSocket does not work.
//
//   node withheld.mjs --clients 4 --seconds 7 --every 500 --url URL

import { count, script, sleep, waiting } from "./lib/script.mjs";
import { client, describeError } from "./lib/clients.mjs";

const options = {
  clients: { type: "string", default: "4" },
  arrive: { type: "string", default: "100" }, // ms between two clients
  seconds: { type: "string", default: "7" },
  every: { type: "string", default: "500" },
};

const figures = { asked: 0, answered: 0, slowest: 0, transports: {}, sessions: 0, errors: [] };
const sessions = new Set();

async function stay(args, number) {
  await sleep(number * count(args.arrive, "arrive"));
  const socket = client("v4", args.url, { transport: "upgrade", reconnection: true, reconnectionDelay: 100, path: args.path });
  socket.on("connect", () => sessions.add(socket.io.engine.id));
  socket.on("connect_error", (error) => figures.errors.push(describeError(error)));
  socket.on("disconnect", (reason) => figures.errors.push(reason));
  socket.connect();
  const end = performance.now() + Number(args.seconds) * 1000;
  for (let n = 0; performance.now() < end; n++) {
    const began = performance.now();
    figures.asked++;
    socket.emit("echo", number, n, () => {
      figures.answered++;
      figures.slowest = Math.max(figures.slowest, Math.round(performance.now() - began));
    });
    await sleep(count(args.every, "every"));
  }
  const transport = socket.io.engine.transport.name;
  figures.transports[transport] = (figures.transports[transport] ?? 0) + 1;
  socket.off("disconnect");
  socket.disconnect();
}

await script({ options, onDeadline: () => figures }, async (args) => {
  const clients = Array.from({ length: count(args.clients, "clients") }, (_, number) => number);
  await waiting("the clients", Promise.all(clients.map((number) => stay(args, number))));
  figures.sessions = sessions.size;
  return figures;
});
