// What is compressed, and for whom: answers to polls, and messages over a WebSocket (RFC 7692).
import { constants, deflateRawSync } from "node:zlib";

const ENCODINGS = [
  "gzip",
  "deflate",
  "br",
  "identity",
  "",
  "*",
  "gzip, deflate, br, zstd",
  "deflate, gzip",
  "deflate;q=0.5, gzip;q=0.4",
  "gzip;q=0.1, *;q=0.9",
  "gzip;q=0",
  "gzip;q=0, *",
  "gzip;q=high",
  "GZIP",
];

const OFFERS = [
  "permessage-deflate",
  "permessage-deflate; client_max_window_bits",
  "permessage-deflate; client_max_window_bits=9",
  "permessage-deflate; server_max_window_bits=10",
  "permessage-deflate; server_max_window_bits=8",
  "permessage-deflate; server_no_context_takeover; client_no_context_takeover",
  "permessage-deflate; unknown",
  "permessage-deflate; unknown, permessage-deflate",
  "permessage-deflate; server_no_context_takeover=1",
  "permessage-deflate; server_max_window_bits",
  "permessage-deflate; server_max_window_bits=16",
  "permessage-deflate; client_max_window_bits=7",
  "permessage-deflate; client_max_window_bits; client_max_window_bits",
  'permessage-deflate; server_max_window_bits="11"',
  "permessage-deflate; server_max_window_bits = 11",
  "x-webkit-deflate-frame, permessage-deflate",
  "x-webkit-deflate-frame",
  "permessage-deflate;",
  ",",
  "",
];

function deflated(text) {
  const whole = deflateRawSync(text, { finishFlush: constants.Z_SYNC_FLUSH });
  return whole.subarray(0, -4);
}

const HELLO = deflated('42["hello"]');

/** Frames to a session that joined and agreed on deflating: what, and first bytes with payloads. */
const FRAMES = [
  ["a deflated text", [0xc1, HELLO]],
  ["a plain text", [0x81, '42["a"]']],
  ["a deflated text in two frames", [0x41, HELLO.subarray(0, 5)], [0x80, HELLO.subarray(5)]],
  ["a deflated text with a ping in it", [0x41, HELLO.subarray(0, 5)], [0x89, "p"], [0x80, HELLO.subarray(5)]],
  ["a later frame with the bit", [0x41, HELLO], [0xc0, ""]],
  ["a ping with the bit", [0xc9, "p"]],
  ["a close with the bit", [0xc8, Buffer.from([3, 232])]],
  ["the second bit", [0xa1, '42["a"]']],
  ["what is not deflated", [0xc1, Buffer.alloc(9, 0xff)]],
  ["deflated text that is no UTF-8", [0xc1, deflated(Buffer.from([0x34, 0x32, 0xff]))]],
  ["nothing, deflated", [0xc1, ""]],
  ["a text that breaks off", [0xc1, deflated('42["a"]__________').subarray(0, 9)]],
  ["a final block", [0xc1, deflateRawSync('42["a"]')]],
  ["a final block, and more", [0xc1, Buffer.concat([deflateRawSync('42["a"]'), HELLO])]],
  ["a text as long as allowed", [0xc1, deflated(`42["${"x".repeat(4994)}"]`)]],
  ["a text one too long", [0xc1, deflated(`42["${"x".repeat(4995)}"]`)]],
  ["a bomb", [0xc1, deflated(Buffer.alloc(1_000_000, 0x34))]],
];

/** An event whose echo is of so many bytes, with what stands around them. */
const event = (bytes) => `42["${"x".repeat(bytes - 6)}"]`;

export default (test) => {
  for (const encodings of ENCODINGS) {
    test(`an answer to who accepts "${encodings}"`, async (c) => {
      const session = await c.joined();
      await session.post(event(2000));
      await session.poll({ headers: { "Accept-Encoding": encodings } });
    });
  }
  for (const [server, bytes] of [["plain", 1023], ["plain", 1024], ["deflate", 2000]]) {
    test(`an answer of ${bytes} bytes (${server})`, server, async (c) => {
      const session = await c.joined();
      await session.post(event(bytes));
      await session.poll({ headers: { "Accept-Encoding": "gzip" } });
    });
  }
  test("a handshake, gzip accepted", (c) => c.open("EIO=4", { headers: { "Accept-Encoding": "gzip" } }));
  for (const offer of OFFERS) {
    test(offer || "an empty offer", "deflate", async (c) => {
      const socket = await c.ws("EIO=4", { headers: { "Sec-WebSocket-Extensions": offer } });
      await socket.rest();
    });
  }
  const headers = { "Sec-WebSocket-Extensions": "permessage-deflate; client_max_window_bits" };
  for (const [what, ...frames] of FRAMES) {
    test(`deflating, ${what}`, "deflate", async (c) => {
      const socket = await c.wsJoined("EIO=4", { headers });
      frames.forEach(([first, payload]) => socket.frame(first, payload));
      await socket.settle();
      await socket.alive();
    });
  }
  for (const bytes of [1023, 1024, 4000]) {
    test(`deflating, an echo of ${bytes} bytes`, "deflate", async (c) => {
      const socket = await c.wsJoined("EIO=4", { headers });
      socket.text(event(bytes));
      await socket.next();
    });
  }
  test("deflating, an upgrade", "deflate", async (c) => {
    const session = await c.joined();
    const socket = await c.ws(`${session.upgrade}`, { headers });
    const poll = await session.pending();
    socket.frame(0xc1, deflated("2probe"));
    await socket.next();
    await session.answer(poll);
    socket.frame(0xc1, deflated("5"));
    socket.text(event(2000));
    await socket.next();
    await socket.alive();
  });
};
