// Socket.IO on Bun with Bun's own engine: one process.
//
//   bun bun.mjs PORT|PATH
import { Server as Engine } from "@socket.io/bun-engine";
import { Server } from "socket.io";
import { application } from "./application.mjs";

const [where] = process.argv.slice(2);
const io = new Server();
const engine = new Engine({ path: "/socket.io/" });
io.bind(engine);
application(io);

const address = /^\d+$/.test(where) ? { port: Number(where), hostname: "127.0.0.1" } : { unix: where };
Bun.serve({ ...address, ...engine.handler() });
