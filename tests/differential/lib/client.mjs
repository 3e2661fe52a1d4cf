// A client that can be wrong. All that it sees of the server is written into a transcript.
import { ACCEPT, Connection, KEY, frame, readFrame, readResponse } from "./wire.mjs";

/** The headers that are compared, wherever they stand in an answer. */
const COMPARED = [
  "content-type",
  "cache-control",
  "content-encoding",
  "access-control-allow-origin",
  "access-control-allow-credentials",
  "access-control-allow-methods",
  "access-control-allow-headers",
  "access-control-max-age",
  "vary",
  "allow",
  "location",
  "set-cookie",
  "x-content-type-options",
  "x-xss-protection",
  "sec-websocket-protocol",
  "sec-websocket-extensions",
  "sec-websocket-version",
];

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
    const extra = Object.entries(headers).map(([name, value]) => ` [${name}: ${short(value)}]`).join("");
    const shownBody = body === undefined ? "" : ` ${shown(payload)}`;
    const label = `${method} ${target.replace("/socket.io/", "")}${extra}${shownBody}`;
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
    const sid = /"sid":"([^"]*)"/.exec(answer.body.toString())?.[1] ?? "none";
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
    const said = Object.entries(headers).map(([header, value]) => ` [${header}: ${short(value)}]`).join("");
    const missing = without.map((header) => ` [no ${header}]`).join("");
    let described = response ? describe(response) : connection.ended ?? "nothing";
    if (response?.status === 101 && response.headers["sec-websocket-accept"] !== ACCEPT) {
      described += " wrong accept";
    }
    const verb = method === "GET" ? "" : `${method} `;
    this.log(`${name}: ${verb}open ${target.replace("/socket.io/", "")}${said}${missing} → ${described}`);
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

class Polling {
  constructor(client, query, sid) {
    this.client = client;
    this.query = `${query}&transport=polling&sid=${sid}`;
    this.upgrade = `${query}&transport=websocket&sid=${sid}`;
    this.sid = sid;
  }

  /** A poll that is not waited for: `session.answer(poll)` does. */
  startPoll(options = {}) {
    const { query = "", ...rest } = options;
    const poll = this.client.send(this.query + query, { connection: this.getting, ...rest });
    poll.label = `poll${query}${labelled(rest)}`;
    return poll;
  }

  answer(sent, options) {
    return this.client.answer(sent, options);
  }

  async poll(options) {
    const poll = this.startPoll(options);
    const answer = await this.answer(poll);
    this.getting = poll.connection;
    return answer ?? { status: 0, headers: {}, body: Buffer.alloc(0) };
  }

  /** A poll that is to get nothing for now. */
  async pending(options) {
    const poll = this.startPoll({ connection: null, ...options });
    await this.client.quiet();
    if (poll.connection.bytes.length > 0 || poll.connection.ended) {
      this.client.log("  the poll did not wait");
    }
    return poll;
  }

  startPost(body, options = {}) {
    const { query = "", ...rest } = options;
    const headers = { "Content-Type": "text/plain;charset=UTF-8", ...rest.headers };
    const post = this.client.send(this.query + query, {
      method: "POST",
      connection: this.posting,
      body,
      ...rest,
      headers,
    });
    post.label = `post${query}${labelled(rest)} ${shown(Buffer.from(body))}`;
    return post;
  }

  async post(body, options) {
    const post = this.startPost(body, options);
    const answer = await this.answer(post);
    this.posting = post.connection;
    return answer ?? { status: 0, headers: {}, body: Buffer.alloc(0) };
  }

  /** What has become of it: an event comes back, or it is gone. */
  async alive() {
    const event = this.query.includes("EIO=4") ? '42["?"]' : '7:42["?"]';
    const post = await this.post(event);
    if (post.status === 200) {
      const poll = this.startPoll();
      await this.answer(poll);
      this.getting = poll.connection;
    }
  }

  /** A session without a namespace: is it there? */
  async there() {
    const poll = this.startPoll({ connection: null });
    await this.answer(poll, { quiet: true });
  }
}

class Socket {
  constructor(client, name, connection, opened) {
    Object.assign(this, { client, name, connection, opened });
  }

  say(line) {
    this.client.log(`${this.name}: ${line}`);
  }

  text(text) {
    this.say(`> ${short(text)}`);
    this.connection.write(frame(0x81, text));
  }

  binary(bytes) {
    this.say(`> ${hex(Buffer.from(bytes))}`);
    this.connection.write(frame(0x82, bytes));
  }

  frame(first, payload, options) {
    const said = options ? ` ${JSON.stringify(options)}` : "";
    this.say(`> frame ${first.toString(16)} ${shown(Buffer.from(payload))}${said}`);
    this.connection.write(frame(first, payload, options));
  }

  raw(bytes, what) {
    this.say(`> ${what}`);
    this.connection.write(bytes);
  }

  close(code, reason = "") {
    const payload = Buffer.alloc(code === undefined ? 0 : 2 + Buffer.byteLength(reason));
    if (code !== undefined) {
      payload.writeUInt16BE(code);
      payload.write(reason, 2);
    }
    this.say(`> close ${code ?? ""} ${reason}`.trimEnd());
    this.connection.write(frame(0x88, payload));
  }

  fin() {
    this.say("> FIN");
    this.connection.socket.end();
  }

  reset() {
    this.say("> RST");
    this.connection.reset();
  }

  /** Reads one frame and writes it down. False when there is none. */
  async next(deadline = this.client.soon(), silent = false) {
    const got = await readFrame(this.connection, deadline);
    if (!got) {
      if (this.connection.ended ? !this.over : !silent) {
        this.say(`< ${this.connection.ended ?? "nothing"}`);
      }
      this.over = this.connection.ended !== null;
      return null;
    }
    const { first, payload } = got;
    if (first === 0x81) {
      this.say(`< ${short(payload.toString())}`);
    } else if (first === 0x82) {
      this.say(`< ${hex(payload)}`);
    } else if (first === 0x88) {
      const code = payload.length > 1 ? payload.readUInt16BE() : "";
      this.say(`< close ${code} ${payload.subarray(2)}`.trimEnd());
      if (!this.stubborn) {
        this.connection.write(frame(0x88, payload.subarray(0, 2)));
      }
    } else {
      this.say(`< frame ${first.toString(16)} ${shown(payload)}`);
    }
    return got;
  }

  /** What `send` sends leaves in one piece. */
  together(send) {
    this.connection.socket.cork();
    send();
    this.connection.socket.uncork();
  }

  /** Reads all that comes for now. */
  async settle() {
    while (await this.next(this.client.quietTime(), true));
  }

  /** Reads until it ends or nothing comes any more. */
  async rest() {
    await this.settle();
    if (!this.connection.ended) {
      this.say("stays open");
    }
  }

  /** Reads until it ends, however long that takes. */
  async toEnd() {
    while (await this.next());
  }

  /** What has become of it, when it joined `/`: an event comes back, or it is gone. */
  async alive() {
    if (this.connection.ended) {
      return;
    }
    this.text('42["?"]');
    for (;;) {
      const got = await this.next();
      if (!got || got.payload.toString() === '42["?"]') {
        return;
      }
    }
  }
}

function labelled({ headers = {}, method }) {
  const verb = method ? ` ${method}` : "";
  return verb + Object.entries(headers).map(([name, value]) => ` [${name}: ${short(value)}]`).join("");
}

function describe({ status, headers, body }) {
  const told = COMPARED.filter((name) => name in headers).map((name) => `${name}: ${value(name, headers[name])}`);
  const binary = headers["content-type"] === "application/octet-stream" || headers["content-encoding"];
  const text = binary ? hex(body) : short(body.toString());
  return `${status}${told.length ? ` {${told.join("; ")}}` : ""}${body.length ? ` ${text}` : ""}`;
}

/** Field names in a `Vary` have no case. */
function value(name, given) {
  return name === "vary" ? given.toLowerCase().split(/, */).sort().join(", ") : given;
}

const LONG = 160;

function short(text) {
  text = String(text).replaceAll("\x1e", "␞").replaceAll("\r", "␍").replaceAll("\n", "␊");
  const length = [...text].length;
  return length > LONG ? `${text.slice(0, 40)}… (${length} characters)` : text;
}

function hex(bytes) {
  const text = bytes.toString("hex").replace(/../g, "$& ").trim();
  return bytes.length > LONG / 2 ? `<${text.slice(0, 60)}… (${bytes.length} bytes)>` : `<${text}>`;
}

function shown(bytes) {
  const text = bytes.toString();
  return Buffer.from(text).equals(bytes) && !/[\x00-\x09\x0b\x0c\x0e-\x1d]/.test(text) ? short(text) : hex(bytes);
}
