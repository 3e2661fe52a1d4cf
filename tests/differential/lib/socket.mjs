// A WebSocket, whose every frame is written down.
import { constants, inflateRawSync } from "node:zlib";
import { hex, short, shown } from "./show.mjs";
import { frame, readFrame } from "./wire.mjs";

export class Socket {
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
    let { first, payload } = got;
    if (first === 0xc1 || first === 0xc2) {
      first &= ~0x40;
      payload = inflateRawSync(payload, { finishFlush: constants.Z_SYNC_FLUSH });
      this.say("< deflated:");
    }
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
