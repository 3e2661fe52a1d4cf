// WebSocket sessions: frames as RFC 6455 has them, and not.

/** Frames to a session that joined: what, first byte, payload, options. */
const FRAMES = [
  ["a text", 0x81, '42["a"]'],
  ["an empty text", 0x81, ""],
  ["a binary message nobody announced", 0x82, [1, 2, 3]],
  ["an empty binary message", 0x82, []],
  ["an unmasked text", 0x81, '42["a"]', { mask: false }],
  ["reserved bit 1", 0xc1, '42["a"]'],
  ["reserved bit 2", 0xa1, '42["a"]'],
  ["reserved bit 3", 0x91, '42["a"]'],
  ["opcode 3", 0x83, "x"],
  ["opcode 7", 0x87, "x"],
  ["opcode 11", 0x8b, "x"],
  ["a continuation of nothing", 0x80, "x"],
  ["a ping", 0x89, "hello"],
  ["an empty ping", 0x89, ""],
  ["a ping of 125 bytes", 0x89, "x".repeat(125)],
  ["a ping of 126 bytes", 0x89, "x".repeat(126)],
  ["a fragmented ping", 0x09, "x"],
  ["a pong", 0x8a, "hello"],
  ["a close without a code", 0x88, []],
  ["a close of one byte", 0x88, [3]],
  ["a close of 126 bytes", 0x88, [0x03, 0xe8, ...Array(124).fill(0x78)]],
  ["invalid UTF-8", 0x81, [0x34, 0x32, 0xff]],
  ["a surrogate as UTF-8", 0x81, [0x34, 0xed, 0xa0, 0x80]],
  ["an overlong character", 0x81, [0x34, 0xc0, 0x80]],
  ["a message as long as allowed", 0x81, `42["${"x".repeat(4994)}"]`],
  ["a message one too long", 0x81, `42["${"x".repeat(4995)}"]`],
  ["a binary message one too long", 0x82, Buffer.alloc(5001)],
  ["a message that is announced as huge", 0x81, "", { length: 1e9 }],
  ["a message that is announced as beyond 2^53", 0x81, "", { length: 2 ** 60 }],
  ["a message with null bytes", 0x81, '42["a\x00"]'],
  ["a byte order mark", 0x81, '\ufeff42["a"]'],
];

const CODES = [999, 1000, 1001, 1002, 1003, 1004, 1005, 1006, 1007, 1008, 1011, 1012, 1014, 1015, 1016, 2999, 3000, 4000, 4999, 5000, 65535];

const PACKETS = ["3", "3x", "3probe", "2", "2probe", "5", "6", "6x", "0", '0{"sid":"x"}', "1", "1x", "7", "9", "x", " ", "\n", "bAAAA", "b", "4", "4x", "42", "4 ", "ä"];

export default (test) => {
  for (const [what, first, payload, options] of FRAMES) {
    test(`frame: ${what}`, async (c) => {
      const socket = await c.wsJoined();
      socket.frame(first, payload, options);
      await socket.rest();
    });
  }
  for (const code of CODES) {
    test(`close with ${code}`, async (c) => {
      const socket = await c.wsJoined();
      socket.close(code, "why");
      await socket.rest();
    });
  }
  for (const packet of PACKETS) {
    test(`WebSocket packet ${JSON.stringify(packet)}`, async (c) => {
      const socket = await c.wsJoined();
      socket.text(packet);
      await socket.settle();
      await socket.alive();
    });
    test(`WebSocket packet ${JSON.stringify(packet)} before CONNECT`, async (c) => {
      const socket = await c.ws();
      await socket.next();
      socket.text(packet);
      await socket.rest();
    });
  }
  test("the first packet of a WebSocket session", async (c) => {
    const socket = await c.ws();
    await socket.rest();
  });
  test("CONNECT in one write with the handshake", async (c) => {
    const { frame, KEY } = await import("../lib/wire.mjs");
    const { connection } = c.send(null, {
      raw: Buffer.concat([
        Buffer.from(`GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${KEY}\r\n\r\n`),
        frame(0x81, "40"),
      ]),
    });
    const deadline = performance.now() + 500;
    const head = await connection.until("\r\n\r\n", deadline);
    c.log(head?.toString().split("\r\n")[0] ?? "nothing");
    const { readFrame } = await import("../lib/wire.mjs");
    for (let count = 0; count < 2; count++) {
      const got = await readFrame(connection, deadline);
      c.log(got?.payload.toString() ?? "nothing");
    }
  });
  test("a fragmented event", async (c) => {
    const socket = await c.wsJoined();
    socket.frame(0x01, '42["');
    socket.frame(0x00, "a");
    socket.frame(0x80, '"]');
    await socket.rest();
  });
  test("a ping inside a fragmented event", async (c) => {
    const socket = await c.wsJoined();
    socket.frame(0x01, '42["');
    socket.frame(0x89, "ping");
    await socket.next();
    socket.frame(0x80, 'a"]');
    await socket.rest();
  });
  test("a new text inside a fragmented event", async (c) => {
    const socket = await c.wsJoined();
    socket.frame(0x01, '42["');
    socket.frame(0x81, '42["b"]');
    await socket.rest();
  });
  test("a close inside a fragmented event", async (c) => {
    const socket = await c.wsJoined();
    socket.frame(0x01, '42["');
    socket.close(1000);
    await socket.rest();
  });
  test("a character cut in two fragments", async (c) => {
    const socket = await c.wsJoined();
    socket.frame(0x01, Buffer.from('42["\xe2', "latin1"));
    socket.frame(0x80, Buffer.from('\x82\xac"]', "latin1"));
    await socket.rest();
  });
  test("invalid UTF-8 in the first of two fragments", async (c) => {
    const socket = await c.wsJoined();
    socket.frame(0x01, Buffer.from('42["\xff', "latin1"));
    await socket.rest();
  });
  test("fragments that are too large together", async (c) => {
    const socket = await c.wsJoined();
    socket.frame(0x01, "x".repeat(3000));
    socket.frame(0x00, "x".repeat(3000));
    await socket.rest();
  });
  test("many empty fragments", async (c) => {
    const socket = await c.wsJoined();
    socket.frame(0x01, '42["a"]');
    for (let count = 0; count < 5; count++) {
      socket.frame(0x00, "");
    }
    socket.frame(0x80, "");
    await socket.rest();
  });
  test("a frame byte by byte", async (c) => {
    const { frame } = await import("../lib/wire.mjs");
    const socket = await c.wsJoined();
    for (const byte of frame(0x81, '42["a"]')) {
      socket.connection.write(Buffer.from([byte]));
      await c.wait(2);
    }
    await socket.rest();
  });
  test("a length that is longer than needed", async (c) => {
    const socket = await c.wsJoined();
    socket.raw(Buffer.from([0x81, 0xfe, 0, 7, 0, 0, 0, 0, ...Buffer.from('42["a"]')]), "a length of 16 bits for 7");
    await socket.rest();
  });
  test("the client ends without a close", async (c) => {
    const socket = await c.wsJoined();
    socket.fin();
    await socket.rest();
  });
  test("the client ends inside a frame", async (c) => {
    const socket = await c.wsJoined();
    socket.raw(Buffer.from([0x81, 0x87, 1, 2]), "half a frame");
    socket.fin();
    await socket.rest();
  });
  test("data after a close", async (c) => {
    const socket = await c.wsJoined();
    socket.together(() => {
      socket.text('42["a"]');
      socket.close(1000);
      socket.text('42["b"]');
    });
    await socket.rest();
  });
  test("events before a close are answered", async (c) => {
    const socket = await c.wsJoined();
    socket.together(() => {
      for (const name of "abc") {
        socket.text(`42["${name}"]`);
      }
      socket.close(1000);
    });
    await socket.rest();
  });
  test("events before an error are answered", async (c) => {
    const socket = await c.wsJoined();
    socket.together(() => {
      socket.text('42["a"]');
      socket.text("4x");
      socket.text('42["b"]');
    });
    await socket.rest();
  });
  test("events before a broken frame are answered", async (c) => {
    const socket = await c.wsJoined();
    socket.together(() => {
      socket.text('42["a"]');
      socket.frame(0x81, Buffer.from([0xff]));
    });
    await socket.rest();
  });
  test("events before a frame that is too large are answered", async (c) => {
    const socket = await c.wsJoined();
    socket.together(() => {
      socket.text('42["a"]');
      socket.text("x".repeat(6000));
    });
    await socket.rest();
  });
  test("a client that does not answer the server's close", async (c) => {
    const socket = await c.wsJoined();
    socket.stubborn = true;
    socket.text("4x");
    await socket.next();
    socket.text('42["b"]');
    await socket.rest();
  });
  test("a probe on a session that began as WebSocket", async (c) => {
    const socket = await c.wsJoined();
    socket.text("2probe");
    await socket.alive();
  });
  test("no polling for a session that began as WebSocket", async (c) => {
    const socket = await c.ws();
    const opened = await socket.next();
    const { sid } = JSON.parse(opened.payload.toString().slice(1));
    c.ids.set(sid, "SID");
    await c.request(`EIO=4&transport=polling&sid=${sid}`);
    await c.request(`EIO=4&transport=polling&sid=${sid}`, { method: "POST", body: "40" });
    socket.text("40");
    await socket.next();
    await socket.alive();
  });
};
