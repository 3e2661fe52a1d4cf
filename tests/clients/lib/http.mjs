// Requests by hand, each on a new TCP connection unless an agent keeps them, and Engine.IO 4
// polling spoken by hand.

import http from "node:http";
import { fail, waiting } from "./script.mjs";

/** Gives {status, headers, body}; rejects on a connection error. */
export function request(method, url, { body, headers = {}, agent = false } = {}) {
  return waiting(
    `the answer to ${method} ${url}`,
    new Promise((resolve, reject) => {
      const outgoing = http.request(
        url,
        {
          method,
          agent,
          headers: body === undefined ? headers : { "content-type": "text/plain;charset=UTF-8", "content-length": Buffer.byteLength(body), ...headers },
        },
        (incoming) => {
          const chunks = [];
          incoming.on("data", (chunk) => chunks.push(chunk));
          incoming.on("end", () => resolve({ status: incoming.statusCode, headers: incoming.headers, body: Buffer.concat(chunks).toString("utf8") }));
          incoming.on("error", reject);
          incoming.on("aborted", () => reject(new Error("the answer was cut short")));
        },
      );
      outgoing.on("error", reject);
      outgoing.end(body);
    }),
  );
}

/** The address of the polling endpoint, with the given query. */
export function endpoint(url, path, query) {
  const address = new URL(path, url);
  for (const [name, value] of Object.entries(query)) address.searchParams.set(name, value);
  return address.href;
}

/** One Engine.IO 4 polling session; `exchange(method, url, body)` makes the requests. */
export class RawPolling {
  constructor(url, path, exchange) {
    this.url = url;
    this.path = path;
    this.exchange = exchange;
    this.messages = [];
  }

  address() {
    return endpoint(this.url, this.path, { EIO: 4, transport: "polling", ...(this.sid ? { sid: this.sid } : {}) });
  }

  async open() {
    const body = await this.exchange("GET", this.address());
    if (!body.startsWith("0{")) fail(`the handshake: expected an open packet, came ${JSON.stringify(body)}`);
    this.sid = JSON.parse(body.slice(1)).sid;
    await this.post("40");
    const answer = await this.message("the answer to CONNECT");
    if (!answer.startsWith("0{\"sid\":")) fail(`the answer to CONNECT: expected 40{"sid":…}, came 4${answer}`);
    this.id = JSON.parse(answer.slice(1)).sid;
  }

  async post(body) {
    const answer = await this.exchange("POST", this.address(), body);
    if (answer !== "ok") fail(`a POST: expected the body "ok", came ${JSON.stringify(answer)}`);
  }

  /** The next message packet's text, answering pings on the way. */
  async message(what) {
    while (this.messages.length === 0) {
      const body = await this.exchange("GET", this.address());
      for (const packet of body.split("\x1e")) {
        if (packet[0] === "4") this.messages.push(packet.slice(1));
        else if (packet === "2") await this.post("3");
        else if (packet !== "6") fail(`${what}: expected a message, came the packet ${JSON.stringify(packet)}`);
      }
    }
    return this.messages.shift();
  }

  async close() {
    await this.post("1");
  }
}
