// Clients that each send one message which inflates to what nobody may send, and how they were told so.
//
//   node bombs.mjs --bombs 200 --size 1000000000 --url URL

import { constants, deflateRawSync } from "node:zlib";
import { WebSocket } from "ws";
import { count, script } from "./lib/script.mjs";

const options = {
  bombs: { type: "string", default: "100" },
  size: { type: "string", default: "1000000000" },
};

/** So many zeros, deflated: a megabyte of them, again and again. */
function bomb(size) {
  const piece = 1 << 20;
  const finishFlush = constants.Z_FULL_FLUSH;
  const zeros = deflateRawSync(Buffer.alloc(piece), { finishFlush, level: 9 });
  return Buffer.concat(Array(Math.ceil(size / piece)).fill(zeros));
}

/** A frame whose payload is deflated already. */
function frame(payload) {
  const head = Buffer.alloc(14);
  head[0] = 0xc2;
  head[1] = 0xff;
  head.writeBigUInt64BE(BigInt(payload.length), 2);
  return Buffer.concat([head, payload]);
}

await script({ options }, async (args) => {
  const size = count(args.size, "size");
  // What is too long before it is inflated is refused for that; so it is cut to just below a million bytes.
  const payload = bomb(size).subarray(0, 999_000);
  const bytes = frame(payload);
  const codes = new Set();
  for (let left = count(args.bombs, "bombs"); left > 0; left--) {
    const socket = new WebSocket(`${args.url.replace(/^http/, "ws")}${args.path}?EIO=4&transport=websocket`);
    await new Promise((opened) => socket.once("message", opened));
    socket._socket.write(bytes);
    socket.on("error", () => {});
    codes.add(await new Promise((closed) => socket.once("close", closed)));
  }
  const bombs = count(args.bombs, "bombs");
  return { codes: [...codes], sent: bombs * bytes.length, inflated: bombs * payload.length * 1000 };
});
