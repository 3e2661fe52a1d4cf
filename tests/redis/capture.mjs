// Writes what the real emitters publish, one message in three lines: emitter, channel and what it is; the payload in hex; what
// a Node server sends its clients, as JSON. Unit tests read them in src/bridge/emitter/captured.txt, and a black-box
// test sees that they are still these. No Redis is needed: the emitters' client is a stub.
//
//   node capture.mjs > ../../src/bridge/emitter/captured.txt
import { Emitter as Emitter5 } from "@socket.io/redis-emitter";
import { Emitter as Emitter4 } from "@socket.io/redis-emitter-v4";
import notepack from "notepack.io";
import { Encoder } from "socket.io-parser";

const typed = () => new Uint8Array([1, 2, 3]);
// What is done with an emitter.
const cases = {
  "to all": (io) => io.emit("a", 1),
  "to a room": (io) => io.to("room").emit("a"),
  "to a socket id": (io) => io.to("AbCdEfGhIjKlMnOp").emit("a"),
  "to rooms but for one": (io) => io.to(["x", "y"]).except("z").emit("a"),
  "to a room that is a number": (io) => io.to(42).emit("a"),
  "in a namespace": (io) => io.of("/chat").to("room#1").emit("a"),
  flags: (io) => io.volatile.compress(false).emit("a"),
  numbers: (io) => io.emit("a", 2 ** 53 + 2, -(2 ** 53), 1e21, 0.1, -0, NaN, -1, 200, 70000, -70000, 1.5e-7, 1e300),
  binary: (io) => io.emit("a", Buffer.from([1, 2]), { b: Buffer.alloc(0) }),
  "typed arrays": (io) => io.emit("a", typed(), typed().buffer),
  dates: (io) => io.emit("a", new Date(1700000000000), new Date(1700000000123), new Date(-1), new Date(2e14)),
  undefined: (io) => io.emit("a", undefined, { b: undefined, c: null }),
  "text beyond ASCII": (io) => io.emit("é", { "😀": "\u0000\"\\\u2028" }),
  nested: (io) => io.emit("a", { list: [[], {}, [true, false]], five: 5 }),
  join: (io) => io.of("/chat").in(["x", "y"]).except("z").socketsJoin(["r", 7]),
  leave: (io) => io.socketsLeave("r"),
  disconnect: (io) => io.in("x").disconnectSockets(true),
  "tell servers nothing": (io) => io.serverSideEmit("tick"),
  "tell servers one thing": (io) => io.serverSideEmit("tick", { a: [1] }),
  "tell servers three things": (io) => io.of("/chat").serverSideEmit("tick", 1, "b", null),
};

// As a Node server encodes what its adapter hears: JSON, and attachments in hex.
function sent(payload) {
  if (typeof payload === "string") return [];
  const [text, ...attachments] = new Encoder().encode(notepack.decode(payload)[1]);
  return [text.slice(text.indexOf("[")), ...attachments.map((it) => Buffer.from(it).toString("hex"))];
}

for (const [version, Emitter] of Object.entries({ 4: Emitter4, 5: Emitter5 })) {
  for (const [name, emit] of Object.entries(cases)) {
    const publish = (channel, payload) => {
      console.log(`${version} ${channel} ${name}`);
      console.log(Buffer.from(payload).toString("hex"));
      console.log(JSON.stringify(sent(payload)));
    };
    emit(new Emitter({ publish }));
  }
}
