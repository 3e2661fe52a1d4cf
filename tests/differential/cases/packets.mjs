// Socket.IO packets, sent by a WebSocket that joined `/`: what the parser takes and what it does not.

const P = (num) => `{"_placeholder":true,"num":${num}}`;
const LONG = "9".repeat(30);

/** Each is sent alone; binary messages are arrays. */
const PACKETS = [
  // JSON
  ['2["a"]x'], ['2["a"]["b"]'], ['2["a"] '], ['2 ["a"]'], ['2[ "a" , 1 ]'], ['2["a",]'], ['2["a"'], ["2["], ["2]"], ['2"a"'], ["2{}"], ['2{"0":"a"}'],
  ["2null"], ["2true"], ["2"], ["2[]"], ["2[[]]"], ["2[null]"], ["2[true]"], ['2[{"a":1}]'], ["2[1]"], ["2[0]"], ["2[-1.5,2]"], ["2[1e400]"], ['2[""]'],
  ['2["a",null,true,1.0,-0,1e2,"x",[],{}]'], ['2["a",NaN]'], ['2["a",01]'], ["2['a']"], ['2["a",1e999]'], ['2["a",12345678901234567890]'], ['2["a",0.1000]'],
  ['2["a",{"b":1,"b":2}]'], ['2["a",{"__proto__":1}]'], ['2["a",{"b":1, "a":2}]'], ['2["a",{"2":1,"1":2}]'], ['2["a","\\u0062"]'], ['2["\\u0061"]'], ['2["a\\n"]'], ['2["\\ud800"]'],
  ['2["a\\/b"]'], ['2["\\u00e4"]'], ['2["ä€😀"]'], ['2["a","\t"]'], ['2["a","\x7f"]'], ['2["a\u2028"]'], ['2["__proto__"]'], ['2["constructor"]'],
  // Event names
  ['2["connect"]'], ['2["connect_error"]'], ['2["disconnect"]'], ['2["disconnecting"]'], ['2["newListener"]'], ['2["removeListener"]'], ['2["error"]'], ['2["message"]'], ['2["ping"]'],
  ['2["connect",1]'], ['2["\\u0063onnect"]'], ['2["Connect"]'], ['2["reconnect"]'], ['2["new_listener"]'],
  // Ack ids
  ['20["a"]'], ['21["a",1]'], ['2007["a"]'], ['29007199254740991["a"]'], ['29007199254740992["a"]'], ['29007199254740993["a"]'], ['218446744073709551615["a"]'], ['218446744073709551616["a"]'],
  [`2${LONG}["a"]`], [`2${"9".repeat(400)}["a"]`], ['2-1["a"]'], ['21.5["a"]'], ['2+1["a"]'], ['2 1["a"]'], ['2\t1["a"]'], ['2１["a"]'],
  // Acks
  ["3"], ["3[]"], ["30"], ["30[]"], ['30["x"]'], ["399999[]"], ["30{}"], ['30"x"'], ["30null"], ["3-1[]"], ['3["a"]'],
  // CONNECT and CONNECT_ERROR
  ["0"], ["0{}"], ['0{"token":1}'], ["0[]"], ["0null"], ['0"x"'], ["01"], ["0x"], ["4"], ['4{"message":"x"}'], ['4"x"'], ["4[]"], ["4null"], ["41"], ["4/chat,{}"],
  // Other types
  ["7"], ["8"], ["9"], ["-"], ["a"], [" "], [""], ["/"], [","],
  // DISCONNECT
  ["1"], ["1{}"], ["1null"], ["1[]"], ["10"], ["1x"], ["1,"], ["1/,"], ["1/"], ["1/chat"], ["1/chat,"],
  // Attachments
  [`51-["a",${P(0)}]`, [1, 2]], [`52-["a",${P(0)},${P(1)}]`, [1], [2]], [`52-["a",${P(1)},${P(0)}]`, [1], [2]], [`52-["a",${P(0)},${P(0)}]`, [1], [2]], [`51-["a",${P(0)},${P(0)}]`, [1]],
  [`51-["a",${P(1)}]`, [1]], [`51-["a",${P(-1)}]`, [1]], [`51-["a",${P(0.5)}]`, [1]], [`51-["a",${P('"0"')}]`, [1]], [`51-["a",${P("null")}]`, [1]], ['51-["a",{"_placeholder":true}]', [1]],
  ['51-["a",{"num":0}]', [1]], ['51-["a",{"_placeholder":false,"num":0}]', [1]], ['51-["a",{"_placeholder":1,"num":0}]', [1]], ['51-["a",{"num":0,"_placeholder":true}]', [1]], ['51-["a",{"_placeholder":true,"num":0,"x":1}]', [1]],
  [`51-["a"]`, [1]], [`51-["a",{"b":[${P(0)}]}]`, [1]], [`51-[${P(0)}]`, [1]], [`51-["a",${P(0)}]`, "2[\"b\"]"], [`51-["a",${P(0)}]`, [1], [2]], [`52-["a",${P(0)}]`, [1], [2]],
  [`50-["a",${P(0)}]`], ['50-["a"]'], ['5-["a"]'], ['5["a"]'], ["51-"], ['51["a"]'], [`5-1-["a",${P(0)}]`], [`51.0-["a",${P(0)}]`, [1]], [`51.5-["a",${P(0)}]`], [`5 1-["a",${P(0)}]`, [1]], [`51e0-["a",${P(0)}]`, [1]], [`50x1-["a",${P(0)}]`, [1]],
  [`501-["a",${P(0)}]`, [1]], [`51-7["a",${P(0)}]`, [1]], [`51-["connect",${P(0)}]`], [`51-{}`, [1]], [`51-["a",${P(0)}]x`, [1]], [`510-["a"]`, ...Array(10).fill([1])], ['511-["a"]'], ['5999999999999-["a"]'],
  [`51-["a",${P(0)}]`, []], [`61-0[${P(0)}]`, [1]], [`61-[${P(0)}]`, [1]], [`60-0[]`], [`6["a"]`], [[1, 2, 3]], [`2["a",${P(0)}]`], [`2["a",{"_placeholder":true,"num":0}]`, [1]],
  [`51-/,["a",${P(0)}]`, [1]], [`51-/chat,["a",${P(0)}]`, [1]], [`51-["a",${P(0)}]`, "1"], [`51-["a",${P(0)}]`, "0/chat,"],
];

/** Packets of Engine.IO in the payload of one POST, by a session that joined. */
const POSTED = ['42["a"]x', "42{}", '42["connect"]', "40", "40{}", "44{}", `451-["a",${P(1)}]\x1ebAQ==`, `451-["a",${P(0)}]\x1e42["b"]`, "bAQ==", '42["a"]\x1e4x', "41", "41\x1e40", '41\x1e42["b"]', "47"];

export default (test) => {
  PACKETS.forEach((packets) => {
    const name = packets.map((packet) => JSON.stringify(packet)).join(" ");
    test(`packet ${name.length > 120 ? `${name.slice(0, 100)}… ${name.length}` : name}`, async (c) => {
      const socket = await c.wsJoined();
      socket.together(() => {
        for (const packet of packets) {
          if (Array.isArray(packet)) {
            socket.binary(packet);
          } else {
            socket.text(`4${packet}`);
          }
        }
      });
      await socket.settle();
      await socket.alive();
    });
  });
  for (const body of POSTED) {
    test(`posted packets ${JSON.stringify(body)}`, async (c) => {
      const session = await c.joined();
      await session.post(body);
      await session.there();
      await session.there();
      await session.post('42["?"]');
    });
  }
  test("nothing follows a packet whose attachment lacks, then the close", async (c) => {
    const socket = await c.wsJoined();
    socket.text(`451-["a",${P(0)}]`);
    await socket.rest();
    socket.close(1000);
    await socket.rest();
  });
  test("deep arrays come back", async (c) => {
    const socket = await c.wsJoined();
    socket.text(`42["a",${"[".repeat(1000)}${"]".repeat(1000)}]`);
    await socket.alive();
  });
  test("attachments with heartbeats between them", async (c) => {
    const socket = await c.wsJoined();
    socket.text(`452-["a",${P(0)},${P(1)}]`);
    socket.text("3");
    socket.binary([1]);
    socket.text("6");
    socket.binary([2]);
    await socket.alive();
  });
  test("order of events, acks and binary events", async (c) => {
    const socket = await c.wsJoined();
    socket.text('42["a"]');
    socket.text('421["b"]');
    socket.text(`451-["c",${P(0)}]`);
    socket.binary([1]);
    socket.text(`451-2["d",${P(0)}]`);
    socket.binary([2]);
    socket.text('42["e"]');
    await socket.alive();
  });
};
