// The sample application (src/app) on Node's socket.io.
import { createServer } from "node:http";
import { Server } from "socket.io";

/** Starts it on a port of the kernel's choice, with options of socket.io; gives the port. */
export async function startNode(options, application) {
  const http = createServer((request, response) => {
    response.writeHead(404).end();
  });
  const io = new Server(http, options);
  if (application === "operators") {
    io.on("connection", operators);
  } else {
    io.on("connection", echo);
    io.of("/chat").on("connection", chat);
  }
  await new Promise((listening) => http.listen(0, "127.0.0.1", listening));
  return http.address().port;
}

function echo(socket) {
  socket.onAny((event, ...args) => {
    if (typeof args.at(-1) === "function") {
      args.pop()(event, ...args);
    } else {
      socket.emit(event, ...args);
    }
  });
}

function chat(socket) {
  const on = (event, handler) => {
    socket.on(event, async (...args) => {
      const ack = typeof args.at(-1) === "function" ? args.pop() : () => {};
      try {
        ack({ ok: true, ...(await handler(...args)) });
      } catch (error) {
        ack({ error: error.message, ok: false });
      }
    });
  };
  on("join", (...args) => {
    const room = oneRoom(args);
    socket.join(room);
    return { room };
  });
  on("leave", (...args) => {
    const room = oneRoom(args);
    socket.leave(room);
    return { room };
  });
  on("message", (...args) => {
    if (args.length !== 2 || typeof args[0] !== "string") {
      throw new Error("the arguments must be (room: string, payload)");
    }
    const [room, payload] = args;
    socket.to(room).emit("message", { room, from: socket.id, payload });
  });
  on("announce", (...args) => {
    socket.nsp.emit("announce", onePayload(args));
  });
  on("who", async (...args) => {
    const sockets = await socket.nsp.in(oneRoom(args)).fetchSockets();
    return { sockets: sockets.map((found) => found.id).sort() };
  });
  on("collect", async (...args) => {
    const everybody = socket.nsp.timeout(2000);
    return { responses: await everybody.emitWithAck("collect", onePayload(args)) };
  });
}

/** As much of examples/operators.rs as the cases need. */
function operators(socket) {
  socket.on("join", (room, ack) => {
    socket.join(room);
    ack?.({ ok: true });
  });
  socket.on("disconnectAll", ({ to }, ack) => {
    socket.nsp.to(to).disconnectSockets();
    ack?.({ ok: true });
  });
}

function oneRoom(args) {
  if (args.length !== 1 || typeof args[0] !== "string") {
    throw new Error("the arguments must be (room: string)");
  }
  return args[0];
}

function onePayload(args) {
  if (args.length !== 1) {
    throw new Error("the arguments must be (payload)");
  }
  return args[0];
}
