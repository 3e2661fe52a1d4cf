// From polling to WebSocket, in every order.
import { both, probed, upgraded } from "../lib/upgrading.mjs";

export default (test) => {
  test("an upgrade", upgraded);
  test("an upgrade of revision 3", "eio3", (c) => upgraded(c, "EIO=3"));
  test("an upgrade while a poll waits", async (c) => {
    const session = await c.joined();
    const poll = await session.pending();
    const socket = await c.ws(session.upgrade);
    socket.text("2probe");
    await socket.next();
    await session.answer(poll);
    socket.text("5");
    await socket.alive();
  });
  test("an upgrade of revision 3 while a poll waits", "eio3", async (c) => {
    const session = await c.open("EIO=3");
    await session.poll();
    const poll = await session.pending();
    const socket = await c.ws(session.upgrade);
    socket.text("2probe");
    await socket.next();
    await session.answer(poll);
    socket.text("5");
    await socket.alive();
  });
  test("how soon a poll is freed after the probe", async (c) => {
    const session = await c.joined();
    const poll = await session.pending();
    const socket = await c.ws(session.upgrade);
    const began = performance.now();
    socket.text("2probe");
    await socket.next();
    await session.answer(poll);
    const took = performance.now() - began;
    c.log(took < 60 ? "at once" : took < 180 ? "after 100 ms" : `after ${Math.round(took)} ms`);
    const next = session.startPoll({ connection: null });
    await session.answer(next);
    const later = performance.now() - began - took;
    c.log(later < 180 ? "the next within 100 ms" : "the next later");
  });
  test("an upgrade without a probe", async (c) => {
    const { socket } = await both(c);
    socket.text("5");
    await socket.alive();
  });
  test("an upgrade without a probe while a poll waits", async (c) => {
    const session = await c.joined();
    const poll = await session.pending();
    const socket = await c.ws(session.upgrade);
    socket.text("5");
    await session.answer(poll);
    await socket.alive();
  });
  test("an upgrade packet while a poll waits that was not freed", async (c) => {
    const session = await c.joined();
    const socket = await c.ws(session.upgrade);
    const poll = await session.pending();
    socket.text("2probe");
    socket.text("5");
    await socket.next();
    await session.answer(poll);
    await socket.alive();
  });
  test("two probes", async (c) => {
    const { socket } = await probed(c);
    socket.text("2probe");
    await socket.next();
    socket.text("5");
    await socket.alive();
  });
  test("the upgrade packet twice", async (c) => {
    const { socket } = await upgraded(c);
    socket.text("5");
    await socket.alive();
  });
  test("a probe after the upgrade", async (c) => {
    const { socket } = await upgraded(c);
    socket.text("2probe");
    await socket.alive();
  });
  test("an upgrade packet with data", async (c) => {
    const { session, socket } = await probed(c);
    socket.text("5now");
    await socket.alive();
    await session.there();
  });
  for (const packet of ["2", "2x", "2probe2", "2Probe", "3", "3probe", '42["a"]', "40", "4", "1", "6", "0", "7", "x", "", "bAAAA"]) {
    test(`${JSON.stringify(packet)} before the probe`, async (c) => {
      const { session, socket } = await both(c);
      socket.text(packet);
      await socket.rest();
      await session.alive();
    });
    test(`${JSON.stringify(packet)} after the probe`, async (c) => {
      const { session, socket } = await probed(c);
      socket.text(packet);
      await socket.rest();
      await session.alive();
    });
  }
  test("a binary message before the probe", async (c) => {
    const { session, socket } = await both(c);
    socket.binary([4, 1]);
    await socket.rest();
    await session.alive();
  });
  test("a probe as a binary message", async (c) => {
    const { session, socket } = await both(c);
    socket.binary(Buffer.from("2probe"));
    await socket.rest();
    await session.alive();
  });
  test("a fragmented probe", async (c) => {
    const { socket } = await both(c);
    socket.frame(0x01, "2pr");
    socket.frame(0x80, "obe");
    await socket.next();
    socket.text("5");
    await socket.alive();
  });
  test("a ping frame before and after the probe", async (c) => {
    const { socket } = await both(c);
    socket.frame(0x89, "a");
    await socket.next();
    socket.text("2probe");
    await socket.next();
    socket.frame(0x89, "b");
    await socket.next();
    socket.frame(0x8a, "c");
    socket.text("5");
    await socket.alive();
  });
  test("probe, upgrade and event in one write", async (c) => {
    const { socket } = await both(c);
    const { frame } = await import("../lib/wire.mjs");
    const bytes = ["2probe", "5", '42["a"]'].map((text) => frame(0x81, text));
    socket.raw(Buffer.concat(bytes), "2probe 5 42[\"a\"]");
    await socket.next();
    await socket.next();
    await socket.alive();
  });
  test("event behind the upgrade, then an event that waited", async (c) => {
    const { session, socket } = await probed(c);
    await session.post('42["waited"]');
    socket.text("5");
    await socket.next();
    await socket.alive();
  });
  test("events that waited before the probe come by the WebSocket", async (c) => {
    const session = await c.joined();
    await session.post('42["a"]');
    await session.post('42["b"]');
    const socket = await c.ws(session.upgrade);
    socket.text("2probe");
    await socket.next();
    socket.text("5");
    await socket.next();
    await socket.next();
    await socket.alive();
  });
  test("attachments that waited come as binary messages", async (c) => {
    const session = await c.joined();
    await session.post('451-["a",{"_placeholder":true,"num":0}]\x1ebAQID');
    const socket = await c.ws(session.upgrade);
    socket.text("2probe");
    await socket.next();
    socket.text("5");
    await socket.next();
    await socket.alive();
  });
  test("a post between probe and upgrade", async (c) => {
    const { session, socket } = await probed(c);
    await session.post('42["a"]');
    await session.poll();
    socket.text("5");
    await socket.alive();
  });
  test("polls during an upgrade get a noop", async (c) => {
    const { session, socket } = await probed(c);
    await session.poll();
    await session.poll();
    socket.text("5");
    await socket.alive();
  });
  test("a poll before the probe waits", async (c) => {
    const { session, socket } = await both(c);
    const poll = await session.pending();
    await c.wait(150);
    socket.text("2probe");
    await socket.next();
    await session.answer(poll);
    socket.text("5");
    await socket.alive();
  });
  test("two polls at one time during an upgrade", async (c) => {
    const { session, socket } = await both(c);
    const poll = await session.pending();
    await session.answer(session.startPoll({ connection: null }));
    await session.answer(poll);
    await socket.rest();
    await session.there();
  });
  test("a poll after the upgrade", async (c) => {
    const { session, socket } = await upgraded(c);
    await session.poll();
    await socket.alive();
  });
  test("a post after the upgrade", async (c) => {
    const { session, socket } = await upgraded(c);
    await session.post('42["a"]');
    await socket.alive();
  });
  test("a post that is under way while the session moves", async (c) => {
    const { session, socket } = await probed(c);
    const post = session.startPost("42[", { headers: { "Content-Length": "7" }, connection: null });
    await c.quiet();
    socket.text("5");
    await c.quiet();
    post.connection.write('"a"]');
    await session.answer(post, { quiet: true });
    await socket.alive();
  });
  test("a second upgrade while one is under way", async (c) => {
    const { session, socket } = await both(c);
    const second = await c.ws(session.upgrade);
    await second.rest();
    socket.text("2probe");
    await socket.next();
    socket.text("5");
    await socket.alive();
  });
  test("a second upgrade after the probe of the first", async (c) => {
    const { session, socket } = await probed(c);
    const second = await c.ws(session.upgrade);
    await second.rest();
    socket.text("5");
    await socket.alive();
  });
  test("a second upgrade after the first", async (c) => {
    const { session, socket } = await upgraded(c);
    const second = await c.ws(session.upgrade);
    await second.rest();
    await socket.alive();
  });
  test("an upgrade of a session that began as WebSocket", async (c) => {
    const socket = await c.ws();
    const opened = await socket.next();
    const { sid } = JSON.parse(opened.payload.toString().slice(1));
    c.ids.set(sid, "SID");
    const second = await c.ws(`EIO=4&transport=websocket&sid=${sid}`);
    await second.rest();
    await c.request(`EIO=4&transport=polling&sid=${sid}`);
    socket.text("40");
    await socket.next();
    await socket.alive();
  });
  test("an upgrade by another revision", "eio3", async (c) => {
    const session = await c.joined();
    const socket = await c.ws(session.upgrade.replace("EIO=4", "EIO=3"));
    await socket.rest();
    await session.alive();
  });
};
