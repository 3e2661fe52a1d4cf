// A client that can be wrong. All that it sees of the server is written into a transcript.
import { Polling } from "./polling.mjs";
import { describe, headersShown, shown } from "./show.mjs";
import { Socket } from "./socket.mjs";
import { ACCEPT, Connection, KEY, readResponse } from "./wire.mjs";

/** For how long nothing must come before it is believed that nothing will. */
const QUIET = 200;
/** What must come comes within this time. */
const SOON = 3000;

export class Client {
  constructor({ port, patience, times }) {
    this.port = port;
    this.patience = patience;
    this.times = times;
    this.lines = [];
    this.open_ = [];
    this.ids = new Map();
    this.sockets = 0;
  }

  log(line) {
    this.lines.push(this.normal(line));
  }

  /** Ids are another's in each run. */
  normal(text) {
    for (const [id, name] of this.ids) {
      text = text.replaceAll(id, name);
    }
    return text
      // Of a handshake by revision 3; ids are not equally long.
      .replace(/\d+:0\{(\\?)"sid/g, "N:0{$1\"sid")
      .replace(/(\\?")(sid|from)\1:\1[\w-]+\1/g, "$1$2$1:$1…$1")
      // Numbers that a server gives its questions go on from client to client.
      .replace(/(42\/chat,)\d+(?=\["collect")/g, "$1#")
      .replace(/(43\/chat,)\d+(?=\["a)/g, "$1#")
      .replace(/"sockets":\[("[\w-]+",?)+\]/g, '"sockets":[…]');
  }

  quietTime() {
    return performance.now() + QUIET * this.patience;
  }

  soon() {
    return performance.now() + SOON * this.patience;
  }

  connect() {
    const connection = new Connection(this.port);
    this.open_.push(connection);
    return connection;
  }

  /** Says after which of the server's times something came. */
  when(since) {
    const took = performance.now() - since;
    const far = ([, time]) => Math.abs(time - took);
    const known = Object.entries({ "at once": 0, ...this.times });
    const [name] = known.reduce((best, next) => (far(next) < far(best) ? next : best));
    this.log(`  (${name})`);
  }

  end() {
    this.open_.forEach((connection) => connection.destroy());
  }

  static target(query, path = "/socket.io/") {
    return query === null ? path : `${path}?${query}`;
  }

  /** Sends a request; gives what waits for its answer and writes it down. */
  send(query, { method = "GET", path, headers = {}, body, raw, connection, version = "1.1" } = {}) {
    const target = Client.target(query, path);
    const on = connection && !connection.ended ? connection : this.connect();
    let head = `${method} ${target} HTTP/${version}\r\nHost: localhost\r\n`;
    for (const [name, value] of Object.entries(headers)) {
      head += `${name}: ${value}\r\n`;
    }
    let payload = body === undefined ? Buffer.alloc(0) : Buffer.from(body);
    const sized = Object.keys(headers).some((name) => /^(content-length|transfer-encoding)$/i.test(name));
    if (body !== undefined && !sized) {
      head += `Content-Length: ${payload.length}\r\n`;
    }
    on.write(raw ?? Buffer.concat([Buffer.from(`${head}\r\n`, "latin1"), payload]));
    const shownBody = body === undefined ? "" : ` ${shown(payload)}`;
    const label = `${method} ${target.replace("/socket.io/", "")}${headersShown(headers)}${shownBody}`;
    return { connection: on, label, method };
  }

  async answer({ connection, label, method }, { quiet = false } = {}) {
    const deadline = quiet ? this.quietTime() : this.soon();
    const response = await readResponse(connection, deadline, method !== "HEAD");
    this.log(`${label} → ${response ? describe(response) : connection.ended ?? "nothing"}`);
    if (!response || /close/i.test(response.headers.connection ?? "")) {
      if (response || connection.ended) {
        connection.ended ??= "closed";
      }
    }
    return response;
  }

  async request(query, options) {
    const sent = this.send(query, options);
    return (await this.answer(sent, options)) ?? { status: 0, headers: {}, body: Buffer.alloc(0) };
  }

  /** A polling session. */
  async open(query = "EIO=4", options) {
    const answer = await this.request(`${query}&transport=polling`, options);
    const sid = /sid\\?":\\?"([\w-]+)/.exec(answer.body.toString())?.[1] ?? "none";
    this.ids.set(sid, "SID");
    return new Polling(this, query, sid);
  }

  /** A polling session that joined `/`. */
  async joined(query = "EIO=4", options) {
    const session = await this.open(query, options);
    if (query.includes("EIO=4")) {
      await session.post("40");
    }
    await session.poll();
    return session;
  }

  /** A WebSocket, of a session of its own or, with `&sid=` in the query, of another's. */
  async ws(query = "EIO=4", { headers = {}, path, method = "GET", without = [], version = "1.1" } = {}) {
    const name = `ws${++this.sockets}`;
    const connection = this.connect();
    const all = {
      Connection: "Upgrade",
      Upgrade: "websocket",
      "Sec-WebSocket-Version": "13",
      "Sec-WebSocket-Key": KEY,
      ...headers,
    };
    without.forEach((header) => delete all[header]);
    const target = Client.target(query.includes("transport=") ? query : `${query}&transport=websocket`, path);
    const lines = Object.entries(all).map(([header, value]) => `${header}: ${value}\r\n`);
    connection.write(Buffer.from(`${method} ${target} HTTP/${version}\r\nHost: localhost\r\n${lines.join("")}\r\n`, "latin1"));
    const response = await readResponse(connection, this.soon());
    const missing = without.map((header) => ` [no ${header}]`).join("");
    let described = response ? describe(response) : connection.ended ?? "nothing";
    if (response?.status === 101 && response.headers["sec-websocket-accept"] !== ACCEPT) {
      described += " wrong accept";
    }
    const verb = method === "GET" ? "" : `${method} `;
    this.log(`${name}: ${verb}open ${target.replace("/socket.io/", "")}${headersShown(headers)}${missing} → ${described}`);
    return new Socket(this, name, connection, response?.status === 101);
  }

  /** A WebSocket session that joined `/`. */
  async wsJoined(query = "EIO=4", options) {
    const socket = await this.ws(query, options);
    await socket.next();
    if (query.includes("EIO=4")) {
      socket.text("40");
    }
    await socket.next();
    return socket;
  }

  /** Long enough for what comes at once to have come. */
  quiet() {
    return new Promise((resolve) => setTimeout(resolve, QUIET * this.patience));
  }

  wait(ms) {
    return new Promise((resolve) => setTimeout(resolve, ms));
  }
}
