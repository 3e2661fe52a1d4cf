// Bytes: a TCP connection, HTTP answers, WebSocket frames. Nothing here knows what is right.
import net from "node:net";
import { createHash } from "node:crypto";

/** A connection whose bytes are read as they are wanted. */
export class Connection {
  constructor(port) {
    this.bytes = Buffer.alloc(0);
    this.ended = null;
    this.waiting = [];
    this.socket = net.connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    this.socket.setNoDelay(true);
    this.socket.on("data", (data) => {
      this.bytes = Buffer.concat([this.bytes, data]);
      this.wake();
    });
    this.socket.on("end", () => {
      this.finish("FIN");
      this.socket.end();
    });
    // A peer that is gone before it read all that was written to it looks like one that resets.
    this.socket.on("error", (error) => {
      this.finish(error.code === "ECONNRESET" || error.code === "EPIPE" ? "RST" : error.code);
    });
    this.socket.on("close", () => this.finish("closed"));
  }

  finish(how) {
    this.ended ??= how;
    this.wake();
  }

  wake() {
    const waiting = this.waiting.splice(0);
    waiting.forEach((resolve) => resolve());
  }

  write(data) {
    if (this.socket.writable) {
      this.socket.write(data);
    }
  }

  /** Waits for more bytes or the end, until `deadline` (performance.now()). Is there something new? */
  async more(deadline) {
    const left = deadline - performance.now();
    if (this.ended || left <= 0) {
      return false;
    }
    let timer;
    const came = await Promise.race([
      new Promise((resolve) => this.waiting.push(() => resolve(true))),
      new Promise((resolve) => (timer = setTimeout(() => resolve(false), left))),
    ]);
    clearTimeout(timer);
    return came;
  }

  /** Takes `count` bytes, or null if they do not come. */
  async take(count, deadline) {
    while (this.bytes.length < count) {
      if (!(await this.more(deadline))) {
        return null;
      }
    }
    const taken = this.bytes.subarray(0, count);
    this.bytes = this.bytes.subarray(count);
    return taken;
  }

  /** Takes all up to and with `mark`. */
  async until(mark, deadline) {
    let at;
    while ((at = this.bytes.indexOf(mark)) < 0) {
      if (!(await this.more(deadline))) {
        return null;
      }
    }
    return this.take(at + mark.length, deadline);
  }

  destroy() {
    this.socket.destroy();
  }

  reset() {
    this.socket.resetAndDestroy();
  }
}

/** Reads one HTTP answer: `{status, headers, body}`, or null if none comes whole. */
export async function readResponse(connection, deadline, hasBody = true) {
  const head = await connection.until("\r\n\r\n", deadline);
  if (!head) {
    return null;
  }
  const [first, ...lines] = head.toString("latin1").trimEnd().split("\r\n");
  const headers = {};
  for (const line of lines) {
    const colon = line.indexOf(":");
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    headers[name] = name in headers ? `${headers[name]}, ${value}` : value;
  }
  const status = Number(first.split(" ")[1]);
  let body = Buffer.alloc(0);
  if (!hasBody || status === 101 || status === 204 || status === 100) {
    // No body.
  } else if (headers["transfer-encoding"] === "chunked") {
    for (;;) {
      const size = await connection.until("\r\n", deadline);
      const length = size && parseInt(size.toString(), 16);
      const chunk = size && (await connection.take(length + 2, deadline));
      if (!chunk) {
        return null;
      }
      if (length === 0) {
        break;
      }
      body = Buffer.concat([body, chunk.subarray(0, length)]);
    }
  } else if ("content-length" in headers) {
    body = await connection.take(Number(headers["content-length"]), deadline);
    if (!body) {
      return null;
    }
  } else {
    while (await connection.more(deadline));
    body = connection.bytes;
    connection.bytes = Buffer.alloc(0);
  }
  return { status, headers, body };
}

/** A frame from a client. `first` is its first byte: 0x81 is a whole text. */
export function frame(first, payload, { mask = true, length } = {}) {
  payload = Buffer.from(payload);
  const declared = length ?? payload.length;
  const bit = mask ? 0x80 : 0;
  let head;
  if (declared < 126) {
    head = Buffer.from([first, bit | declared]);
  } else if (declared < 65536) {
    head = Buffer.from([first, bit | 126, declared >> 8, declared & 255]);
  } else {
    head = Buffer.alloc(10);
    head[0] = first;
    head[1] = bit | 127;
    head.writeBigUInt64BE(BigInt(declared), 2);
  }
  if (!mask) {
    return Buffer.concat([head, payload]);
  }
  const key = Buffer.from([0x11, 0x22, 0x33, 0x44]);
  const masked = Buffer.from(payload.map((byte, index) => byte ^ key[index % 4]));
  return Buffer.concat([head, key, masked]);
}

/** Reads one frame: `{first, payload}`; null at the end or when none comes. */
export async function readFrame(connection, deadline) {
  // Nothing is taken before all of it is there.
  for (;;) {
    const bytes = connection.bytes;
    let size = 2;
    let length = bytes.length > 1 ? bytes[1] & 127 : 0;
    if (bytes.length > 1 && length === 126) {
      size = 4;
      length = bytes.length >= 4 ? bytes.readUInt16BE(2) : Infinity;
    } else if (bytes.length > 1 && length === 127) {
      size = 10;
      length = bytes.length >= 10 ? Number(bytes.readBigUInt64BE(2)) : Infinity;
    }
    if (bytes.length >= size && bytes.length >= size + length) {
      connection.bytes = bytes.subarray(size + length);
      return { first: bytes[0], payload: bytes.subarray(size, size + length) };
    }
    if (!(await connection.more(deadline))) {
      return null;
    }
  }
}

export const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
export const ACCEPT = createHash("sha1")
  .update(`${KEY}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
  .digest("base64");
