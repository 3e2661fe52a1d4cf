// The official clients behind one vocabulary: connect() gives a Session, on
// which every event that comes is kept in order and a lost connection is an error.

import { createRequire } from "node:module";
import { Failed, fail, waiting } from "./script.mjs";
import { assertEqual } from "./compare.mjs";

const require = createRequire(import.meta.url);

const MODULES = {
  v4: () => require("socket.io-client-v4").io,
  v3: () => require("socket.io-client-v3").io,
  v2: () => require("socket.io-client-v2"),
  msgpack: () => require("socket.io-client-v4").io,
};

export const TRANSPORTS = {
  polling: ["polling"],
  websocket: ["websocket"],
  upgrade: ["polling", "websocket"],
};

/** The text of a client's error, with the HTTP status and body where it has them. */
export function describeError(error) {
  if (!(error instanceof Error)) return typeof error === "string" ? error : JSON.stringify(error);
  const parts = [error.message];
  const { description, context, data } = error;
  if (typeof description === "number" || typeof description === "string") parts.push(`description: ${description}`);
  else if (description?.message) parts.push(`description: ${description.message}`);
  // Where the connection failed, the text is the inner error with its stack.
  if (context?.responseText) parts.push(`body: ${context.responseText.split("\n    at ")[0]}`);
  if (data) parts.push(`data: ${JSON.stringify(data)}`);
  return parts.join(", ");
}

/** A client that is not yet connecting; call .connect() on it. */
export function client(version, url, { transport = "websocket", path = "/socket.io/", ...more } = {}) {
  if (!MODULES[version]) fail(`--client: expected ${Object.keys(MODULES).join(", ")}; came ${version}`);
  if (!TRANSPORTS[transport]) fail(`--transport: expected ${Object.keys(TRANSPORTS).join(", ")}; came ${transport}`);
  return MODULES[version]()(url, {
    transports: TRANSPORTS[transport],
    forceNew: true,
    autoConnect: false,
    reconnection: false,
    path,
    ...(version === "msgpack" ? { parser: require("socket.io-msgpack-parser") } : {}),
    ...more,
  });
}

export class Session {
  constructor(socket, version) {
    this.socket = socket;
    this.version = version;
    this.upgraded = false;
    this.arrived = [];
    this.wanted = [];
    this.lost = null;
    this.closing = false;
    this.onAsked = null; // (answer, name, ...arguments), for an event that wants an acknowledgement
    this.onLost = new Promise((_, reject) => (this.rejectLost = reject));
    this.onLost.catch(() => {});
    // v2 has no onAny(), but the same inner method behind which all events pass.
    const take = (event, ...args) => {
      const answer = typeof args.at(-1) === "function" ? args.pop() : null;
      if (answer) this.onAsked?.(answer, event, ...args);
      const given = [event, ...args];
      const want = this.wanted.shift();
      if (want) want.resolve(given);
      else this.arrived.push(given);
    };
    if (version === "v2") socket.onevent = ({ id, data }) => take(...data, ...(id == null ? [] : [socket.ack(id)]));
    else socket.onAny(take);
    socket.on("disconnect", (reason) => this.lose(new Failed(`expected to stay connected, was disconnected: ${reason}`)));
  }

  lose(error) {
    if (this.closing || this.lost) return;
    this.lost = error;
    this.rejectLost(error);
    for (const want of this.wanted.splice(0)) want.reject(new Failed(`${error.message}, waiting for ${want.what}`));
  }

  get engine() {
    return this.socket.io.engine;
  }

  get transport() {
    return this.engine.transport.name;
  }

  /** The next event that comes, as [name, ...arguments]. */
  next(what) {
    if (this.arrived.length) return Promise.resolve(this.arrived.shift());
    if (this.lost) return Promise.reject(this.lost);
    return waiting(what, new Promise((resolve, reject) => this.wanted.push({ what, resolve, reject })));
  }

  emit(...args) {
    this.socket.emit(...args);
  }

  /** Emits with an acknowledgement; gives the arguments it came back with. */
  ask(what, event, ...args) {
    const lost = this.onLost.catch((error) => fail(`${error.message}, waiting for ${what}`));
    const answer = new Promise((resolve) => this.socket.emit(event, ...args, (...came) => resolve(came)));
    return waiting(what, Promise.race([answer, lost]));
  }

  assertNothingMore(what) {
    assertEqual(`${what}: events that nobody asked for`, [], this.arrived);
    if (this.lost) throw this.lost;
  }

  close() {
    this.closing = true;
    this.socket.disconnect();
  }
}

/**
 * Connects. With transport "upgrade" it waits until the upgrade has happened,
 * unless `awaitUpgrade` is false; with `holdUpgrade` the client does not try to
 * upgrade before session.releaseUpgrade() is called.
 */
export async function connect(version, url, { transport = "websocket", awaitUpgrade = transport === "upgrade", holdUpgrade = false, onConnect, ...options } = {}) {
  const socket = client(version, url, { transport, ...options });
  const session = new Session(socket, version);
  const connected = new Promise((resolve, reject) => {
    socket.on("connect", () => {
      onConnect?.(session);
      resolve();
    });
    const refuse = (error) => reject(new Failed(`${version} over ${transport}: expected to connect, came ${describeError(error)}`));
    socket.on("connect_error", refuse);
    if (version === "v2") socket.on("error", refuse);
  });
  socket.connect();
  const engine = session.engine;
  session.onUpgrade = new Promise((resolve) =>
    engine.on("upgrade", () => {
      session.upgraded = true;
      resolve();
    }),
  );
  if (holdUpgrade) {
    const name = typeof engine._probe === "function" ? "_probe" : "probe";
    const probe = engine[name];
    const held = [];
    engine[name] = (...args) => held.push(args);
    session.releaseUpgrade = () => {
      engine[name] = probe;
      if (held.length === 0) fail("expected the server to offer an upgrade to WebSocket, it offered none");
      for (const args of held.splice(0)) probe.apply(engine, args);
    };
  }
  await waiting(`the ${version} client to connect over ${transport}`, connected);
  if (awaitUpgrade && !holdUpgrade) await session.expectUpgrade();
  else if (transport !== "upgrade") assertEqual("the transport in use", transport, session.transport);
  return session;
}

Session.prototype.expectUpgrade = async function expectUpgrade() {
  await waiting(`the ${this.version} client's upgrade to WebSocket`, Promise.race([this.onUpgrade, this.onLost]));
  assertEqual("the transport after the upgrade", "websocket", this.transport);
};
