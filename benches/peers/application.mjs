// The application that every server of the comparison runs: what comes to "/" goes back to its sender;
// what is announced in "/chat" goes to everybody there.
export function application(io) {
  io.on("connection", (socket) => {
    socket.onAny((event, ...args) => {
      const ack = typeof args.at(-1) === "function" ? args.pop() : undefined;
      if (ack) ack(event, ...args);
      else socket.emit(event, ...args);
    });
  });
  io.of("/chat").on("connection", (socket) => {
    socket.on("announce", (payload, ack) => {
      io.of("/chat").emit("announce", payload);
      ack?.({ ok: true });
    });
  });
}
