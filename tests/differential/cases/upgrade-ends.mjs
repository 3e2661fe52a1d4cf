// Upgrades that end: by the client, by a fault, by time.
import { both, probed, upgraded } from "../lib/upgrading.mjs";

export default (test) => {
  test("the WebSocket closes before the probe", async (c) => {
    const { session, socket } = await both(c);
    socket.close(1000);
    await socket.rest();
    await session.alive();
  });
  test("the WebSocket closes after the probe", async (c) => {
    const { session, socket } = await probed(c);
    socket.close(1000);
    await socket.rest();
    await session.alive();
  });
  test("the WebSocket ends before the probe", async (c) => {
    const { session, socket } = await both(c);
    socket.fin();
    await socket.rest();
    await session.alive();
  });
  test("the WebSocket is reset after the probe", async (c) => {
    const { session, socket } = await probed(c);
    socket.reset();
    await c.quiet();
    await session.alive();
  });
  test("another upgrade after one that ended", async (c) => {
    const { session, socket } = await probed(c);
    socket.close(1000);
    await socket.rest();
    const second = await c.ws(session.upgrade);
    second.text("2probe");
    await second.next();
    second.text("5");
    await second.alive();
  });
  test("another upgrade after one that was wrong", async (c) => {
    const { session, socket } = await both(c);
    socket.text("x");
    await socket.rest();
    const second = await c.ws(session.upgrade);
    second.text("2probe");
    await second.next();
    second.text("5");
    await second.alive();
  });
  test("an unmasked frame instead of the probe", async (c) => {
    const { session, socket } = await both(c);
    socket.frame(0x81, "2probe", { mask: false });
    await socket.rest();
    await session.alive();
  });
  test("invalid UTF-8 instead of the probe", async (c) => {
    const { session, socket } = await both(c);
    socket.frame(0x81, Buffer.from([0x32, 0xff]));
    await socket.rest();
    await session.alive();
  });
  test("a message that is too large instead of the probe", async (c) => {
    const { session, socket } = await both(c);
    socket.text("x".repeat(5001));
    await socket.rest();
    await session.alive();
  });
  test("a close packet by polling during an upgrade", async (c) => {
    const { session, socket } = await probed(c);
    await session.post("1");
    await socket.rest();
    await session.there();
  });
  test("an upgrade packet by polling", async (c) => {
    const { session, socket } = await probed(c);
    await session.post("5");
    await session.poll();
    socket.text("5");
    await socket.alive();
  });
  test("a session that joined nothing is upgraded, then joins", async (c) => {
    const session = await c.open();
    const socket = await c.ws(session.upgrade);
    socket.text("2probe");
    await socket.next();
    socket.text("5");
    socket.text("40");
    await socket.next();
    await socket.alive();
  });
  test("an upgraded session closes", async (c) => {
    const { session, socket } = await upgraded(c);
    socket.close(1000);
    await socket.rest();
    await session.there();
  });
  test("an upgraded session sends the close packet", async (c) => {
    const { session, socket } = await upgraded(c);
    socket.text("1");
    await socket.alive();
    await session.there();
  });

  test("upgrade timeout before the probe", "fast", async (c) => {
    const began = performance.now();
    const { session, socket } = await both(c);
    await socket.toEnd();
    c.when(began);
    await session.alive();
  });
  test("upgrade timeout after the probe", "fast", async (c) => {
    const began = performance.now();
    const { session, socket } = await probed(c);
    await socket.toEnd();
    c.when(began);
    await session.alive();
  });
  test("upgrade timeout while a poll waits", "fast", async (c) => {
    const session = await c.joined();
    const socket = await c.ws(session.upgrade);
    const poll = session.startPoll({ connection: null });
    await socket.toEnd();
    await session.post('42["a"]');
    await session.answer(poll);
  });
  test("upgrade timeout of a client that does not answer the close", "fast", async (c) => {
    const { session, socket } = await both(c);
    socket.stubborn = true;
    await socket.next();
    socket.text("2probe");
    await socket.rest();
    await session.alive();
  });
  test("the session ends by ping timeout during an upgrade", "fast", async (c) => {
    const session = await c.joined();
    await session.poll();
    await c.wait(150);
    const socket = await c.ws(session.upgrade);
    const began = performance.now();
    await socket.toEnd();
    c.log(performance.now() - began < 220 ? "at the ping timeout" : "at the upgrade timeout");
    await session.there();
  });
};
