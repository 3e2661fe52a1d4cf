// Revision 3: the server says first that the namespace is joined, lengths are UTF-16, clients ping.

const BODIES = [
  "",
  "2:40",
  "1:2",
  "6:2probe",
  "1:3",
  "1:1",
  "1:5",
  "1:6",
  "1:x",
  "1:7",
  '7:42["a"]',
  '7:42["a"]7:42["b"]',
  '7:42["a"]1:1',
  '7:42["a"]1:17:42["b"]',
  '7:42["a"]1:x7:42["b"]',
  '8:42["a"]',
  '6:42["a"]',
  "0:",
  ":",
  "x:2",
  "-1:2",
  "01:2",
  "1e0:2",
  "42",
  "2",
  '7:42["ä"]',
  '8:42["ä"]',
  '8:42["😀"]',
  '9:42["😀"]',
  '7:42["€"]',
  '39:451-["a",{"_placeholder":true,"num":0}]6:b4AQID',
  '39:451-["a",{"_placeholder":true,"num":0}]2:b4',
  "6:b4AQID",
  "2:41",
  "4:4xyz",
  '9:42/chat,1',
  "8:40/chat,",
  "7:40/chat",
  "13:40/chat?a=b,",
  "12:40/nowhere,,",
  "10:40/nowhere",
];

/** A payload of bytes: kind, digits of the length, 255, content. */
const bytes = (...packets) =>
  Buffer.concat(
    packets.map((packet) => {
      const binary = Buffer.isBuffer(packet);
      const content = Buffer.from(packet);
      const digits = [...String(content.length)].map(Number);
      return Buffer.concat([Buffer.from([binary ? 1 : 0, ...digits, 255]), content]);
    }),
  );

const PLACEHOLDER = '451-["a",{"_placeholder":true,"num":0}]';

export default (test) => {
  const open = (c, query = "EIO=3") => c.open(query);
  test("revision 3 is told that it joined", "eio3", async (c) => {
    const session = await open(c);
    await session.there();
  });
  test("revision 3 by no EIO at all", "eio3", async (c) => {
    const session = await c.open("x=y");
    await session.alive();
  });
  for (const body of BODIES) {
    test(`revision 3 posts ${JSON.stringify(body)}`, "eio3", async (c) => {
      const session = await open(c);
      await session.post(body);
      await session.there();
      await session.alive();
    });
  }
  const BYTES = [
    ["an event", bytes('42["a"]')],
    ["two events", bytes('42["a"]', '42["b"]')],
    ["an event and its attachment", bytes(PLACEHOLDER, Buffer.from([4, 1, 2, 3]))],
    ["an event with €", bytes('42["€"]')],
    ["an attachment of another type", bytes(PLACEHOLDER, Buffer.from([3, 1, 2, 3]))],
    ["a length too long", Buffer.from([0, 9, 255, 0x32])],
    ["no end of a length", Buffer.from([0, 1, 1, 1, 1, 1, 1, 1, 1])],
    ["an endless length", Buffer.concat([Buffer.from([0]), Buffer.alloc(400, 1), Buffer.from([255, 0x32])])],
    ["another kind", Buffer.from([2, 1, 255, 0x32])],
    ["nothing", Buffer.alloc(0)],
  ];
  for (const [what, body] of BYTES) {
    test(`revision 3 posts bytes: ${what}`, "eio3", async (c) => {
      const session = await open(c);
      await session.post(body, { headers: { "Content-Type": "application/octet-stream" } });
      await session.there();
      await session.alive();
    });
  }
  test("revision 3 gets bytes", "eio3", async (c) => {
    const session = await open(c);
    await session.post(bytes(PLACEHOLDER, Buffer.from([4, 1, 2, 3])), { headers: { "Content-Type": "application/octet-stream" } });
    await session.poll();
  });
  test("revision 3 gets an attachment and events together", "eio3", async (c) => {
    const session = await open(c);
    await session.post(`39:${PLACEHOLDER}6:b4AQID`);
    await session.post('7:42["€"]');
    await session.poll();
  });
  test("revision 3 with b64=1 gets base64", "eio3", async (c) => {
    const session = await open(c, "EIO=3&b64=1");
    await session.post(`39:${PLACEHOLDER}6:b4AQID`);
    await session.poll();
  });
  test("revision 3 with b64=1 in the poll only", "eio3", async (c) => {
    const session = await open(c);
    await session.post(`39:${PLACEHOLDER}6:b4AQID`);
    await session.poll({ query: "&b64=1" });
  });
  test("revision 3 with b64=0", "eio3", async (c) => {
    const session = await open(c, "EIO=3&b64=0");
    await session.post(`39:${PLACEHOLDER}6:b4AQID`);
    await session.poll();
  });
  test("revision 3 with JSONP", "eio3", async (c) => {
    const session = await open(c, "EIO=3&j=1");
    await session.post("d=7%3A42%5B%22a%22%5D", { headers: { "Content-Type": "application/x-www-form-urlencoded" } });
    await session.poll();
  });
  test("revision 3: two polls at one time", "eio3", async (c) => {
    const session = await c.joined("EIO=3");
    const first = await session.pending();
    await session.answer(session.startPoll({ connection: null }));
    await session.answer(first);
    await session.there();
  });
  test("revision 3: parse error while a poll waits", "eio3", async (c) => {
    const session = await c.joined("EIO=3");
    const poll = await session.pending();
    await session.post("1:x");
    await session.answer(poll);
    await session.there();
  });
  test("revision 3 pings over WebSocket", "eio3", async (c) => {
    const socket = await c.wsJoined("EIO=3");
    socket.text("2");
    await socket.next();
    socket.text("2hello");
    await socket.rest();
  });
  for (const packet of ["3", "3probe", "2probe", "5", "6", "0", "1", "x", "7", "", "4", "40", "41", "40/chat,", "40/chat?a=b,", "40/chat?a=b", "42/chat,", "42/chat?a=b,0[\"who\",\"r\"]", "bAAAA", "b4AQID"]) {
    test(`revision 3 sends ${JSON.stringify(packet)} over WebSocket`, "eio3", async (c) => {
      const socket = await c.wsJoined("EIO=3");
      socket.text(packet);
      await socket.settle();
      await socket.alive();
    });
  }
  test("revision 3 joins a namespace with a query, and uses it", "eio3", async (c) => {
    const socket = await c.wsJoined("EIO=3");
    socket.text("40/chat?a=b,");
    await socket.next();
    socket.text('42/chat,0["who","r"]');
    await socket.next();
    socket.text('42/chat?a=b,1["who","r"]');
    await socket.next();
    socket.text("41/chat?a=b,");
    await socket.settle();
    socket.text('42/chat,2["who","r"]');
    await socket.rest();
  });
  test("revision 3 joins an unknown namespace", "eio3", async (c) => {
    const socket = await c.wsJoined("EIO=3");
    socket.text("40/nowhere?a=b,");
    await socket.rest();
  });
  test("revision 3 sends attachments over WebSocket", "eio3", async (c) => {
    const socket = await c.wsJoined("EIO=3");
    socket.text(PLACEHOLDER);
    socket.binary([4, 1, 2, 3]);
    await socket.rest();
  });
  test("revision 3 with b64=1 gets attachments over WebSocket", "eio3", async (c) => {
    const socket = await c.wsJoined("EIO=3&b64=1");
    socket.text(PLACEHOLDER);
    socket.text("b4AQID");
    await socket.rest();
  });
  for (const content of [[], [2], [3], [4], [1], [255, 1]]) {
    test(`revision 3 sends binary ${JSON.stringify(content)} over WebSocket`, "eio3", async (c) => {
      const socket = await c.wsJoined("EIO=3");
      socket.text(PLACEHOLDER);
      socket.binary(content);
      await socket.settle();
      await socket.alive();
    });
  }
};
