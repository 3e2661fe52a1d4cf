// Sessions on their way from polling to WebSocket.

/** A session that joined, and a WebSocket that is to take it over. */
export async function both(c, query = "EIO=4") {
  const session = await c.joined(query);
  const socket = await c.ws(session.upgrade);
  return { session, socket };
}

export async function probed(c, query) {
  const all = await both(c, query);
  all.socket.text("2probe");
  await all.socket.next();
  return all;
}

export async function upgraded(c, query) {
  const all = await probed(c, query);
  all.socket.text("5");
  await all.socket.alive();
  return all;
}
