// Socket.IO on Node as its documentation tells for several cores: cluster, sticky, cluster-adapter.
//
//   node node.mjs WORKERS PORT|PATH|fd:NUMBER
import cluster from "node:cluster";
import { createServer } from "node:http";
import { createAdapter, setupPrimary } from "@socket.io/cluster-adapter";
import { setupMaster, setupWorker } from "@socket.io/sticky";
import { Server } from "socket.io";
import { application } from "./application.mjs";

const [workers, where] = process.argv.slice(2);

if (cluster.isPrimary) {
  const server = createServer();
  setupMaster(server, { loadBalancingMethod: "least-connection" });
  setupPrimary();
  cluster.setupPrimary({ serialization: "advanced" });
  let listening = 0;
  for (let slot = 0; slot < Number(workers); slot++) {
    cluster.fork().on("message", (message) => {
      if (message !== "ready" || ++listening < Number(workers)) return;
      // A listening socket that systemd passes, or one of its own.
      if (where.startsWith("fd:")) server.listen({ fd: Number(where.slice(3)) });
      else server.listen(/^\d+$/.test(where) ? { port: Number(where), host: "127.0.0.1" } : where);
    });
  }
  cluster.on("exit", (worker) => {
    console.error(`worker ${worker.process.pid} is gone`);
    process.exit(1);
  });
  process.on("SIGTERM", () => process.exit(0));
} else {
  const io = new Server(createServer());
  io.adapter(createAdapter());
  setupWorker(io);
  application(io);
  process.send("ready");
}
