// Joining, leaving, and who may speak when.

/** What a WebSocket sends first, each packet of Engine.IO. */
const FIRST = [
  ["40"], ["40/"], ["40/,"], ["40{}"], ['40{"token":"x"}'], ['40/,{"token":"x"}'], ["40[]"], ["40null"], ['40"x"'], ["401"], ["40x"], ["40,"],
  ["40/chat"], ["40/chat,"], ['40/chat,{"a":1}'], ["40/chat{}"], ["40/chat,[]"], ["40/chat?a=b,"], ["40/chat?a=b"], ["40/chat?a,b,"], ["40/nowhere,"], ["40/nowhere"], ['40/nowhere,{"a":1}'], ["40/CHAT,"], ["40/chat/,"], ["40//chat,"], ["40/ä,"], ["40/a b,"], ['40/a"b,'], ["40/__proto__,"], ["40/chat,1{}"], ["40?a=b"], ["40/?a=b,"],
  ["40", "40"], ["40", "40/"], ["40", "40/chat,"], ["40/chat,", "40/chat,"], ["40/nowhere,", "40"], ["40/nowhere,", "40/nowhere,"], ["40", "40/nowhere,"], ["40/chat,", '42["a"]'], ["40", '42/chat,["who","r"]'], ["40", '42/nowhere,["a"]'],
  ["41"], ["41/chat,"], ["42"], ['42["a"]'], ['42/chat,["a"]'], ["43"], ["430[]"], ["44"], ['44{"message":"x"}'], ['451-["a",{"_placeholder":true,"num":0}]'], ["46"], ["47"], ["4"],
  ["40", "41"], ["40", "41", "40"], ["40", "41", '42["a"]'], ["40", "41/chat,"], ["40", "41/nowhere,"], ["40", "40/chat,", "41"], ["40", "40/chat,", "41/chat,", '42["?"]'], ["40", "40/chat,", "41", '42/chat,0["who","r"]'], ["40", "40/chat,", "41/chat,", "40/chat,"], ["40", "41", "41"], ["40", "40/chat,", "41", "41"], ["40", "41,"], ["40", "41/,", "40"],
  ["40", "44"], ["40", "44/chat,"], ["40", '44/chat,{"message":"x"}'], ["40", '42/,["a"]'], ["40", '42/["a"]'], ["40", "42/,"], ["40", '42/chat["a"]'], ["40", '42/chat?a=b,["a"]'],
];

const CHAT = [
  ['0["join","r"]'], ['0["join"]'], ['0["join",1]'], ['0["join","a","b"]'], ['["join","r"]', '0["leave","r"]'], ['0["message","r",1]'], ['0["announce",{"a":[1]}]'], ['0["who","r"]'], ['["unknown",1]'], ['0["unknown",1]'], ['0["collect",1]'],
];

export default (test) => {
  for (const packets of FIRST) {
    test(`first ${JSON.stringify(packets)}`, async (c) => {
      const socket = await c.ws();
      await socket.next();
      for (const packet of packets) {
        if (!socket.connection.ended) {
          socket.text(packet);
          await socket.settle();
        }
      }
      await socket.rest();
    });
    if (packets.length > 1) {
      test(`first ${JSON.stringify(packets)} in one write`, async (c) => {
        const socket = await c.ws();
        await socket.next();
        socket.together(() => packets.forEach((packet) => socket.text(packet)));
        await socket.rest();
      });
    }
  }
  for (const packets of FIRST.filter(([first, second]) => first !== "40" || !second)) {
    test(`first posted ${JSON.stringify(packets)}`, async (c) => {
      const session = await c.open();
      await session.post(packets.join("\x1e"));
      await session.there();
      await session.there();
    });
  }
  for (const packets of CHAT) {
    test(`chat ${JSON.stringify(packets)}`, "chat", async (c) => {
      const socket = await c.ws();
      await socket.next();
      socket.text("40/chat,");
      await socket.next();
      for (const packet of packets) {
        socket.text(`42/chat,${packet}`);
      }
      await socket.rest();
    });
  }
  test("chat: acknowledging a collect", "chat", async (c) => {
    const socket = await c.ws();
    await socket.next();
    socket.text("40/chat,");
    await socket.next();
    socket.text('42/chat,7["collect","x"]');
    const asked = await socket.next();
    const id = /\d+(?=\[)/.exec(asked.payload.toString())[0];
    socket.text(`43/chat,${id}["answer"]`);
    await socket.rest();
    socket.text(`43/chat,${id}["again"]`);
    await socket.rest();
  });
  test("chat: binary to another", "chat", async (c) => {
    const one = await c.ws();
    await one.next();
    one.text("40/chat,");
    await one.next();
    const other = await c.ws();
    await other.next();
    other.text("40/chat,");
    await other.next();
    other.text('42/chat,0["join","bytes"]');
    await other.next();
    one.text('451-/chat,1["message","bytes",{"_placeholder":true,"num":0}]');
    one.binary([1, 2, 3]);
    await one.next();
    await other.rest();
  });
  test("binary and ack in a namespace", async (c) => {
    const socket = await c.wsJoined();
    socket.text('451-12["a",{"_placeholder":true,"num":0}]');
    socket.binary([9]);
    await socket.rest();
  });
};
