// Time: pings, pongs, and what happens without them. All on the pair with short intervals.

import { readFrame } from "../lib/wire.mjs";

export default (defined) => {
  const test = (name, run) => defined(name, "fast", run);
  test("the first ping over WebSocket, and no pong", async (c) => {
    const began = performance.now();
    const socket = await c.wsJoined();
    await socket.next();
    c.when(began);
    await socket.toEnd();
    c.when(began);
  });
  test("pongs keep a WebSocket", async (c) => {
    const socket = await c.wsJoined();
    for (let beat = 0; beat < 3; beat++) {
      const began = performance.now();
      await socket.next();
      c.when(began);
      socket.text("3");
    }
    await socket.alive();
  });
  test("a late pong keeps a WebSocket", async (c) => {
    const socket = await c.wsJoined();
    await socket.next();
    await c.wait(150);
    socket.text("3");
    const began = performance.now();
    await socket.next();
    c.when(began);
    socket.text("3");
    await socket.alive();
  });
  test("a pong before any ping", async (c) => {
    const socket = await c.wsJoined();
    await c.wait(250);
    socket.text("3");
    const began = performance.now();
    await socket.next();
    c.when(began);
    await socket.toEnd();
  });
  test("a pong with data", async (c) => {
    const socket = await c.wsJoined();
    await socket.next();
    socket.text("3probe");
    const began = performance.now();
    await socket.next();
    c.when(began);
  });
  test("an event instead of a pong, once", async (c) => {
    const socket = await c.wsJoined();
    await socket.next();
    await c.wait(200);
    const began = performance.now();
    socket.text('42["a"]');
    await socket.next();
    await socket.toEnd();
    const took = performance.now() - began;
    c.log(took > 225 ? "the ping timeout began anew" : "the ping timeout went on");
  });
  test("an event instead of a pong, again and again", async (c) => {
    const socket = await c.wsJoined();
    await socket.next();
    const began = performance.now();
    for (let sent = 0; sent < 5; sent++) {
      await c.wait(100);
      socket.text('42["a"]');
    }
    const answers = [];
    let got;
    while ((got = await readFrame(socket.connection, c.soon())) && got.first === 0x81) {
      answers.push(got.payload.toString());
    }
    c.log(performance.now() - began > 450 ? "the ping timeout began anew, once" : "the ping timeout went on");
  });
  test("a ping frame instead of a pong", async (c) => {
    const socket = await c.wsJoined();
    await socket.next();
    await c.wait(200);
    socket.frame(0x89, "x");
    await socket.next();
    const began = performance.now();
    await socket.toEnd();
    c.log(performance.now() - began > 200 ? "the ping timeout began anew" : "the ping timeout went on");
  });
  test("a session that only shook hands by WebSocket is pinged", async (c) => {
    const began = performance.now();
    const socket = await c.ws();
    await socket.next();
    await socket.next();
    c.when(began);
    socket.text("3");
    await socket.next();
    socket.text("3");
    await socket.toEnd();
    c.when(began);
  });
  test("a polling session that joined nothing", async (c) => {
    const began = performance.now();
    const session = await c.open();
    await session.poll();
    await session.post("3");
    await session.poll();
    await session.post("3");
    await session.poll();
    c.when(began);
    await session.there();
  });
  test("a polling session that joined nothing and never polls", async (c) => {
    const session = await c.open();
    await c.wait(600);
    await session.post("3");
    await c.wait(300);
    await session.post("3");
    await c.wait(800);
    await session.there();
  });
  test("the first ping by polling, and no pong", async (c) => {
    const session = await c.joined();
    const began = performance.now();
    await session.poll();
    c.when(began);
    const poll = session.startPoll();
    await session.answer(poll);
    c.when(began);
    await session.there();
  });
  test("a polling session that never polls again", async (c) => {
    const session = await c.joined();
    await c.wait(1000);
    await session.there();
  });
  test("pongs keep a polling session", async (c) => {
    const session = await c.joined();
    for (let beat = 0; beat < 3; beat++) {
      const began = performance.now();
      await session.poll();
      c.when(began);
      await session.post("3");
    }
    await session.alive();
  });
  test("a poll that comes late gets the ping", async (c) => {
    const session = await c.joined();
    await c.wait(560);
    await session.poll();
    await session.post("3");
    await session.alive();
  });
  test("a ping from the client over WebSocket", async (c) => {
    const socket = await c.wsJoined();
    socket.text("2");
    await socket.rest();
  });
  test("a ping with data from the client over WebSocket", async (c) => {
    const socket = await c.wsJoined();
    socket.text("2probe");
    await socket.rest();
  });
  test("revision 3: no ping over WebSocket", async (c) => {
    const began = performance.now();
    const socket = await c.wsJoined("EIO=3");
    await socket.toEnd();
    c.when(began);
  });
  test("revision 3: pings keep a WebSocket", async (c) => {
    const socket = await c.wsJoined("EIO=3");
    for (let beat = 0; beat < 3; beat++) {
      await c.wait(450);
      socket.text("2");
      await socket.next();
    }
    const began = performance.now();
    await socket.toEnd();
    c.when(began);
  });
  test("revision 3: events do not keep a WebSocket", async (c) => {
    const began = performance.now();
    const socket = await c.wsJoined("EIO=3");
    await c.wait(450);
    socket.text('42["a"]');
    await socket.next();
    await socket.toEnd();
    c.when(began);
  });
  test("revision 3: no ping by polling", async (c) => {
    const began = performance.now();
    const session = await c.open("EIO=3");
    await session.there();
    await session.poll();
    c.when(began);
    await session.there();
  });
  test("revision 3: pings keep a polling session", async (c) => {
    const session = await c.open("EIO=3");
    await session.poll();
    for (let beat = 0; beat < 3; beat++) {
      await c.wait(450);
      await session.post("1:2");
      await session.poll();
    }
    await session.alive();
  });
  test("the pings go on after an upgrade", async (c) => {
    const session = await c.joined();
    const socket = await c.ws(session.upgrade);
    socket.text("2probe");
    await socket.next();
    socket.text("5");
    await socket.next();
    socket.text("3");
    await socket.next();
    await socket.toEnd();
  });
  test("an upgrade between ping and pong", async (c) => {
    const session = await c.joined();
    await session.poll();
    const socket = await c.ws(session.upgrade);
    socket.text("2probe");
    await socket.next();
    socket.text("5");
    await c.wait(350);
    await socket.rest();
  });
  test("a WebSocket that joins in time", async (c) => {
    const socket = await c.ws();
    await socket.next();
    await socket.next();
    socket.text("3");
    socket.text("40");
    await socket.next();
    await socket.next();
    socket.text("3");
    await socket.next();
    socket.text("3");
    await socket.alive();
  });
  test("an unknown namespace does not count as joining", async (c) => {
    const began = performance.now();
    const socket = await c.ws();
    await socket.next();
    socket.text("40/nowhere,");
    await socket.next();
    await socket.next();
    socket.text("3");
    await socket.next();
    socket.text("3");
    await socket.toEnd();
    c.when(began);
  });
  test("a namespace that was left counts as joined", async (c) => {
    const socket = await c.wsJoined();
    socket.text("41");
    for (let beat = 0; beat < 3; beat++) {
      await socket.next();
      socket.text("3");
    }
    await socket.rest();
  });
};
