// The application ends a socket.

export default (defined) => {
  const test = (name, run) => defined(name, "operators", run);
  const socket = async (c) => {
    const socket = await c.wsJoined();
    socket.text('420["join","gone"]');
    await socket.next();
    return socket;
  };
  const end = async (other) => {
    other.text('42["disconnectAll",{"to":["gone"]}]');
    await other.rest();
  };
  test("the application ends a socket of a WebSocket", async (c) => {
    const one = await socket(c);
    await end(await c.wsJoined());
    await one.rest();
  });
  test("an event after the application ended the socket", async (c) => {
    const one = await socket(c);
    await end(await c.wsJoined());
    await one.next();
    one.text('421["join","again"]');
    await one.rest();
  });
  test("CONNECT after the application ended the socket", async (c) => {
    const one = await socket(c);
    await end(await c.wsJoined());
    await one.next();
    one.text("40");
    await one.next();
    one.text('421["join","again"]');
    await one.rest();
  });
  test("DISCONNECT after the application ended the socket", async (c) => {
    const one = await socket(c);
    await end(await c.wsJoined());
    await one.next();
    one.text("41");
    await one.rest();
  });
  test("an event and then the end of its own socket", async (c) => {
    const one = await socket(c);
    one.text('421["join","first"]');
    await one.next();
    one.text('422["disconnectAll",{"to":["gone"]}]');
    await one.rest();
  });
  test("the application ends a polling session's socket while a poll waits", async (c) => {
    const session = await c.joined();
    await session.post('420["join","gone"]');
    await session.poll();
    const poll = await session.pending();
    await end(await c.wsJoined());
    await session.answer(poll);
    await session.there();
    await session.post("40");
    await session.there();
  });
  test("the application ends a polling session's socket while no poll waits", async (c) => {
    const session = await c.joined();
    await session.post('420["join","gone"]');
    await session.poll();
    await session.post('42["disconnectAll",{"to":["gone"]}]');
    await session.there();
    await session.post('421["join","again"]');
    await session.there();
    await session.there();
  });
};
