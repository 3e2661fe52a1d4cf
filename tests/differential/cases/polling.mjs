// Long-polling of revision 4.
const SEPARATOR = "\x1e";

/** Bodies of a POST by a session that joined. */
const BODIES = [
  "",
  "4",
  "42",
  "40",
  "41",
  "3",
  "3probe",
  "2",
  "2probe",
  "5",
  "6",
  "0",
  '0{"sid":"x"}',
  "1",
  "7",
  "9",
  "x",
  "\x00",
  " 3",
  SEPARATOR,
  `3${SEPARATOR}`,
  `${SEPARATOR}3`,
  `3${SEPARATOR}3`,
  `3${SEPARATOR}${SEPARATOR}3`,
  `42["a"]${SEPARATOR}42["b"]`,
  `42["a"]${SEPARATOR}1`,
  `42["a"]${SEPARATOR}1${SEPARATOR}42["b"]`,
  `1${SEPARATOR}42["b"]`,
  `42["a"]${SEPARATOR}x${SEPARATOR}42["b"]`,
  `42["a"]${SEPARATOR}7${SEPARATOR}42["b"]`,
  `42["a"]${SEPARATOR}`,
  "bAAAA",
  "b",
  "b!!!",
  `451-["a",{"_placeholder":true,"num":0}]${SEPARATOR}bAQID`,
  `451-["a",{"_placeholder":true,"num":0}]${SEPARATOR}b`,
  `451-["a",{"_placeholder":true,"num":0}]${SEPARATOR}bAQ`,
  `451-["a",{"_placeholder":true,"num":0}]${SEPARATOR}b AQID`,
  `451-["a",{"_placeholder":true,"num":0}]${SEPARATOR}b_-__`,
  `452-["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]${SEPARATOR}bAQID${SEPARATOR}bBAUG`,
  '42["ä€😀"]',
  '42["a\\u001eb"]',
  '42["line\nbreak"]',
  '42["a","\\ud800"]',
  "d=42%5B%22a%22%5D",
];

const TYPES = [
  "text/plain;charset=UTF-8",
  "text/plain",
  "application/octet-stream",
  "application/octet-stream; charset=utf-8",
  "Application/Octet-Stream",
  "application/x-www-form-urlencoded",
  "application/json",
  "text/plain; charset=latin1",
  "",
];

export default (test) => {
  for (const body of BODIES) {
    test(`post ${JSON.stringify(body)}`, async (c) => {
      const session = await c.joined();
      await session.post(body);
      await session.alive();
      await session.there();
    });
  }
  for (const type of TYPES) {
    test(`post with the type ${JSON.stringify(type)}`, async (c) => {
      const session = await c.joined();
      await session.post('42["a"]', { headers: { "Content-Type": type } });
      await session.alive();
    });
  }
  test("post of bytes that are no UTF-8", async (c) => {
    const session = await c.joined();
    await session.post(Buffer.from('42["a\xff\xfe"]', "latin1"));
    await session.alive();
  });
  test("post of a character cut in two chunks", async (c) => {
    const session = await c.joined();
    const body = Buffer.from("11\r\n42[\"\xe2\r\n".replace("11", "5") + "7\r\n\x82\xac\"]   \r\n0\r\n\r\n", "latin1");
    await session.post(body, { headers: { "Transfer-Encoding": "chunked" } });
    await session.alive();
  });
  test("post before CONNECT", async (c) => {
    const session = await c.open();
    await session.post('42["a"]');
    await session.there();
    await session.there();
  });
  test("the answer to CONNECT", async (c) => {
    const session = await c.open();
    await session.post("40");
    await session.poll();
  });
  test("a poll that waits gets what comes", async (c) => {
    const session = await c.joined();
    const poll = await session.pending();
    await session.post('42["a"]');
    await session.answer(poll);
    await session.alive();
  });
  test("all that waits comes with one poll", async (c) => {
    const session = await c.joined();
    for (const name of "abcde") {
      await session.post(`42["${name}"]`);
    }
    await session.poll();
  });
  test("more waits than one answer may be long", async (c) => {
    const session = await c.joined();
    for (const name of "abc") {
      await session.post(`42["${name}","${name.repeat(2500)}"]`);
    }
    await session.poll();
    await session.alive();
  });
  test("binary in answers is base64", async (c) => {
    const session = await c.joined();
    await session.post(`451-["a",{"_placeholder":true,"num":0}]${SEPARATOR}bAQID`);
    await session.poll();
  });
  test("binary in answers is base64, with b64=1 in the poll", async (c) => {
    const session = await c.joined();
    await session.post(`451-["a",{"_placeholder":true,"num":0}]${SEPARATOR}bAQID`);
    await session.poll({ query: "&b64=1" });
  });
  test("b64=1 changes nothing", async (c) => {
    const session = await c.joined("EIO=4&b64=1");
    await session.post(`451-["a",{"_placeholder":true,"num":0}]${SEPARATOR}bAQID`);
    await session.poll();
  });
  test("two polls at one time", async (c) => {
    const session = await c.joined();
    const first = await session.pending();
    const second = session.startPoll({ connection: null });
    await session.answer(second);
    await session.answer(first);
    await session.alive();
  });
  test("two polls at one time, then a poll", async (c) => {
    const session = await c.joined();
    const first = await session.pending();
    await session.answer(session.startPoll({ connection: null }));
    await session.answer(first);
    await session.there();
  });
  test("two posts at one time", async (c) => {
    const session = await c.joined();
    const first = session.startPost("42[", { headers: { "Content-Length": "7" } });
    await c.quiet();
    const second = session.startPost('42["b"]', { connection: null });
    await session.answer(second);
    first.connection.write('"a"]');
    await session.answer(first);
    await session.there();
  });
  test("a poll and a post at one time", async (c) => {
    const session = await c.joined();
    const poll = await session.pending();
    const post = session.startPost("42[", { headers: { "Content-Length": "7" } });
    await c.quiet();
    post.connection.write('"a"]');
    await session.answer(post);
    await session.answer(poll);
  });
  test("two requests in one write", async (c) => {
    const session = await c.joined();
    const first = session.startPost('42["a"]');
    const second = session.startPost('42["b"]', { connection: first.connection });
    await session.answer(first);
    await session.answer(second);
    await session.poll();
  });
  test("a poll whose connection ends", async (c) => {
    const session = await c.joined();
    const poll = await session.pending();
    poll.connection.destroy();
    await c.quiet();
    await session.alive();
  });
  test("a poll whose connection is half closed", async (c) => {
    const session = await c.joined();
    const poll = await session.pending();
    poll.connection.socket.end();
    await c.quiet();
    await session.post('42["a"]');
    await session.answer(poll, { quiet: true });
  });
  test("a post whose connection ends in the middle", async (c) => {
    const session = await c.joined();
    const post = session.startPost("42[", { headers: { "Content-Length": "7" } });
    await c.quiet();
    post.connection.destroy();
    await c.quiet();
    await session.alive();
  });
  test("close while a poll waits", async (c) => {
    const session = await c.joined();
    const poll = await session.pending();
    await session.post("1");
    await session.answer(poll);
    await session.there();
  });
  test("a parse error while a poll waits", async (c) => {
    const session = await c.joined();
    const poll = await session.pending();
    await session.post("x");
    await session.answer(poll);
    await session.there();
  });
  test("a Socket.IO error while a poll waits", async (c) => {
    const session = await c.joined();
    const poll = await session.pending();
    await session.post("4x");
    await session.answer(poll);
    await session.there();
  });
  test("a Socket.IO error while no poll waits", async (c) => {
    const session = await c.joined();
    await session.post("4x");
    await session.post('42["a"]');
    await session.poll();
    await session.there();
  });
  test("a Socket.IO error behind an event, while no poll waits", async (c) => {
    const session = await c.joined();
    await session.post(`42["a"]${SEPARATOR}4x${SEPARATOR}42["b"]`);
    await session.poll();
    await session.there();
    await session.there();
  });
  test("a Socket.IO error behind an event, while a poll waits", async (c) => {
    const session = await c.joined();
    const poll = await session.pending();
    await session.post(`42["a"]${SEPARATOR}4x${SEPARATOR}42["b"]`);
    await session.answer(poll);
    await session.there();
    await session.there();
  });
  for (const [what, size] of [["as long as allowed", 5000], ["one too long", 5001], ["far too long", 200000]]) {
    const event = `42["${"x".repeat(size - 6)}"]`;
    test(`post ${what}, by its length`, async (c) => {
      const session = await c.joined();
      await session.post(event);
      await session.alive();
    });
    test(`post ${what}, chunked`, async (c) => {
      const session = await c.joined();
      const chunked = `${event.length.toString(16)}\r\n${event}\r\n0\r\n\r\n`;
      await session.post(chunked, { headers: { "Transfer-Encoding": "chunked" } });
      await session.alive();
    });
  }
  test("post too long, only announced", async (c) => {
    const session = await c.joined();
    const post = session.startPost("42[", { headers: { "Content-Length": "100000" } });
    await session.answer(post, { quiet: true });
  });
  test("post too long while a poll waits", async (c) => {
    const session = await c.joined();
    const poll = await session.pending();
    await session.post("x".repeat(6000));
    await session.answer(poll, { quiet: true });
  });
  test("post with Expect: 100-continue", async (c) => {
    const session = await c.joined();
    const post = session.startPost("", { headers: { Expect: "100-continue", "Content-Length": "7" } });
    await session.answer(post);
    post.connection.write('42["a"]');
    await session.answer(post);
    await session.alive();
  });
  test("post without a length", async (c) => {
    const session = await c.joined();
    await c.request(session.query, { method: "POST" });
    await session.alive();
  });
  test("an answer above the compression threshold, gzip accepted", async (c) => {
    const session = await c.joined();
    await session.post(`42["${"x".repeat(2000)}"]`);
    const answer = await session.poll({ headers: { "Accept-Encoding": "gzip" } });
    c.log(`compressed: ${answer.headers["content-encoding"]}`);
  });
  test("a session id that is cut, or longer", async (c) => {
    const session = await c.open();
    c.ids.set(session.sid.slice(0, -1), "CUT");
    await c.request(`EIO=4&transport=polling&sid=${session.sid.slice(0, -1)}`);
    await c.request(`EIO=4&transport=polling&sid=${session.sid}A`);
    await session.there();
  });
};
