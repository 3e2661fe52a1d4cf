// Users of the example "messenger", with its stand-in for a database, which is started here. The scenes: talk, private,
// outside, away, slow, strange, expires.
//
//   node messenger.mjs --scene talk --database 7000 --url URL
//   node messenger.mjs --scene outside --program my-app --socket CONTROL-SOCKET --database 7000 --url URL

import { execFile, spawn } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { createRequire } from "node:module";
import { connect as dial, createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { progress, script, withDeadline } from "./lib/script.mjs";
import { assertEqual, assertTrue } from "./lib/compare.mjs";

const { io } = createRequire(import.meta.url)("socket.io-client-v4");
const run = promisify(execFile);

const options = {
  scene: { type: "string", default: "talk" },
  database: { type: "string" },
  program: { type: "string" },
  socket: { type: "string" },
};

/** What takes no time may take so long, on a busy machine. */
const SOON_MS = 10_000;

/** A page's socket, as docs/APPLICATION.md has it. */
function connect(url, token, renewed = () => token) {
  const socket = io(url, { query: { token } });

  socket.on("connect_error", (error) => {
    if (error.description === 401) return logInAgain();
    if (!socket.active) setTimeout(() => socket.connect(), 1000);
  });
  socket.io.on("reconnect_attempt", () => {
    socket.io.opts.query.token = renewed();
  });
  return socket;

  function logInAgain() {
    socket.disconnect();
  }
}

/** A window of a user, with all that it heard. */
class Window {
  constructor({ url }, token, renewed) {
    this.socket = connect(url, token, renewed);
    this.heard = [];
    this.errors = [];
    this.connects = 0;
    this.ends = [];
    this.wakes = new Set();
    const remember = (list, thing) => {
      list.push(thing);
      for (const wake of this.wakes) wake();
    };
    this.socket.onAny((name, payload) => remember(this.heard, { name, payload }));
    this.socket.on("connect_error", (error) => remember(this.errors, error.description ?? error.message));
    this.socket.on("disconnect", (reason) => remember(this.ends, reason));
  }

  static async open(args, token, renewed) {
    const window = new Window(args, token, renewed);
    window.welcome = await window.hears("welcome");
    return window;
  }

  /** Waits until something about it is true. */
  becomes(what, condition) {
    const state = () => JSON.stringify([this.heard, this.errors, this.ends]);
    const come = new Promise((resolve) => {
      const wake = () => condition() && (this.wakes.delete(wake), resolve());
      this.wakes.add(wake);
      wake();
    });
    return withDeadline(`${what}; so far ${state()}`, SOON_MS, come);
  }

  /** The payload of an event's `nth` occurrence. */
  async hears(name, nth = 1) {
    const all = () => this.heard.filter((event) => event.name === name);
    await this.becomes(`${name}, number ${nth}`, () => all().length >= nth);
    return all()[nth - 1].payload;
  }

  ask(...event) {
    return withDeadline(`the answer to ${event[0]}`, SOON_MS, this.socket.emitWithAck(...event));
  }

  close() {
    this.socket.disconnect();
  }
}

/** The stand-in, started here. */
async function database(port) {
  const program = fileURLToPath(new URL("../../examples/messenger/database.mjs", import.meta.url));
  const child = spawn(process.execPath, [program, port], { stdio: ["ignore", "pipe", "inherit"] });
  process.on("exit", () => child.kill("SIGKILL"));
  const ended = new Promise((resolve) => child.on("exit", resolve));
  const [line] = await withDeadline("the database", SOON_MS, new Promise((resolve) => createInterface({ input: child.stdout }).on("line", (...line) => resolve(line))));
  assertEqual("the database says", "the database listens", line);
  return {
    stall: () => child.kill("SIGSTOP"),
    resume: () => child.kill("SIGCONT"),
    end: () => (child.kill("SIGKILL"), ended),
  };
}

/** Lines that come from a stream, as many. */
function linesOf(what, stream, many) {
  let all = "";
  stream.setEncoding("utf8");
  const come = new Promise((resolve) =>
    stream.on("data", (data) => {
      all += data;
      const lines = all.split("\n");
      if (lines.length > many) resolve(lines.slice(0, many));
    }),
  );
  return withDeadline(what, SOON_MS, come);
}

/** The page's program for a terminal, with `npm install socket.io-client` beside it. */
function terminal(...words) {
  const folder = mkdtempSync(join(tmpdir(), "messenger-"));
  process.on("exit", () => rmSync(folder, { recursive: true }));
  const at = (path) => fileURLToPath(new URL(path, import.meta.url));
  mkdirSync(join(folder, "node_modules"));
  symlinkSync(at("node_modules/socket.io-client-v4"), join(folder, "node_modules/socket.io-client"));
  copyFileSync(at("../../examples/messenger/window.mjs"), join(folder, "window.mjs"));
  const child = spawn(process.execPath, ["window.mjs", ...words], { cwd: folder, stdio: ["pipe", "pipe", "inherit"] });
  process.on("exit", () => child.kill("SIGKILL"));
  return child;
}

/** The status of `POST /notify` with a body of which perhaps not all is sent. */
function posts({ url }, secret, length, body) {
  const { hostname, port } = new URL(url);
  const connection = dial(Number(port), hostname);
  connection.write(`POST /notify HTTP/1.1\r\nHost: here\r\nAuthorization: Bearer ${secret}\r\nContent-Length: ${length}\r\n\r\n${body}`);
  const status = new Promise((resolve, reject) => {
    connection.once("data", (data) => (resolve(Number(String(data).split(" ")[1])), connection.destroy()));
    connection.on("error", reject);
  });
  return withDeadline("a status", 2 * SOON_MS, status);
}

const SECRET = "the-back-ends-secret";

/** The ways to emit from outside, as docs/APPLICATION.md has them. */
const page = readFileSync(new URL("../../docs/APPLICATION.md", import.meta.url), "utf8");
const commands = page.match(/^    (my-app emit|curl) (.*\\\n)*.*$/gm);

/** Runs a command of the page as it stands there, but with this server's addresses. */
async function sh(command, { url, socket, program }) {
  const here = command.replace("http://127.0.0.1:3000", url).replace("/run/my-app-ctl/control.sock", socket);
  // `my-app` finds the socket of a server that was started by hand below this.
  const env = { ...process.env, BACKEND_SECRET: SECRET, PATH: `${dirname(program)}:${process.env.PATH}`, XDG_RUNTIME_DIR: dirname(dirname(socket)) };
  const { stdout } = await run("sh", ["-euc", here], { env });
  return stdout;
}

const AWAY = { ok: false, error: "the database is away, try again later" };

const scenes = {
  async talk(args) {
    await database(args.database);
    const bob = await Window.open(args, "token-of-bob");
    const ann = [await Window.open(args, "token-of-ann")];
    assertEqual("ann comes", { user: "ann", online: true }, await bob.hears("presence"));
    while (new Set(ann.map(({ welcome }) => welcome.worker)).size < 2 && ann.length < 10) {
      ann.push(await Window.open(args, "token-of-ann"));
    }
    const workers = new Set(ann.map(({ welcome }) => welcome.worker)).size;
    assertEqual("ann's windows are at several workers", 2, workers);
    const again = await Window.open(args, "token-of-bob");

    const { ok, id } = await bob.ask("say", "ann", "hello");
    assertTrue("it was said", ok);
    const message = { id, from: "bob", to: "ann", text: "hello" };
    for (const window of [...ann, again]) assertEqual("every other window hears it", message, await window.hears("message"));
    assertEqual("the history", { ok: true, messages: [message] }, await ann[0].ask("history", "bob"));
    const long = await bob.ask("say", "ann", "x".repeat(1001));
    assertEqual("too long", { ok: false, error: "a message needs a text of at most 1000 characters" }, long);

    for (const window of ann.slice(1)) window.close();
    await bob.ask("say", "ann", "still there?");
    await ann[0].hears("message", 2);
    assertEqual("ann has a window left", { ok: true, online: true }, await bob.ask("online", "ann"));
    ann[0].close();
    assertEqual("ann went", { user: "ann", online: false }, await bob.hears("presence", 2));
    assertEqual("ann has none left", { ok: true, online: false }, await bob.ask("online", "ann"));
    const heard = new Set(bob.heard.map(({ name }) => name));
    assertEqual("who says it hears nothing of it", ["welcome", "presence"], [...heard]);
    return { windows: ann.length, workers };
  },

  async private(args) {
    await database(args.database);
    const [ann, bob] = [await Window.open(args, "token-of-ann"), await Window.open(args, "token-of-bob")];
    // A character that ends a line for some, but not in JSON.
    const note = await bob.ask("say", "bob", "not\u2028yours");
    assertTrue("bob says it to himself", note.ok);
    assertTrue("and to carl", (await bob.ask("say", "carl", "not yours either")).ok);
    assertEqual("what ann may read", { ok: true, messages: [] }, await ann.ask("history", "bob"));
    const own = [{ id: note.id, from: "bob", to: "bob", text: "not\u2028yours" }];
    assertEqual("what bob may read", { ok: true, messages: own }, await bob.ask("history", "bob"));

    await Promise.all(Array.from({ length: 101 }, () => bob.ask("say", "ann", "hello")));
    const { messages } = await ann.ask("history", "bob");
    assertEqual("the newest hundred", Array.from({ length: 100 }, (_, n) => n + 4), messages.map(({ id }) => id));
    const long = "x".repeat(65);
    for (const event of [["say", long, "hello"], ["history", long], ["online", long]]) {
      assertEqual(`${event[0]}, a long name`, { ok: false, error: "a user's name has at most 64 characters" }, await ann.ask(...event));
    }

    const line = dial(Number(args.database), "127.0.0.1");
    line.write('no\nnull\n{"ask": "nothing"}\n{"ask": "login", "token": 1}\n');
    const answers = await linesOf("the database's answers", line, 4);
    assertTrue(`errors, not ${answers}`, answers.slice(0, 3).every((answer) => JSON.parse(answer).error));
    assertEqual("it lives on", "null", answers[3]);

    const eve = terminal("eve", "bob", args.url);
    assertEqual("the terminal", "welcome { user: 'eve', worker: ", (await linesOf("a line", eve.stdout, 1))[0].replace(/\d+ }$/, ""));
    eve.stdin.write("hello\n");
    const { from, text } = await bob.hears("message");
    assertEqual("what was typed", ["eve", "hello"], [from, text]);
    return { messages: messages.length };
  },

  async outside(args) {
    await database(args.database);
    const late = posts(args, SECRET, 10, "");
    const ann = [await Window.open(args, "token-of-ann"), await Window.open(args, "token-of-ann")];
    const bob = await Window.open(args, "token-of-bob");
    const reaches = async (name, nth, payload) => {
      for (const window of ann) assertEqual(`${name} for every window`, payload, await window.hears(name, nth));
    };
    const [emit, control, route] = commands.map((command) => () => sh(command, args));
    assertEqual("my-app emit", "2 workers took it\n", await emit());
    await reaches("notice", 1, { text: "it is on its way" });
    assertEqual("the control socket", { workers: 2, unanswered: [] }, JSON.parse(await control()));
    await reaches("notice", 2, { text: "it is there" });
    assertEqual("the route", "sent\n", await route());
    await reaches("notice", 3, { text: "how was it?" });

    const notify = async (secret, body) => {
      const headers = { authorization: `Bearer ${secret}` };
      const answer = await fetch(`${args.url}/notify`, { method: "POST", headers, body });
      return [answer.status, await answer.text()];
    };
    const notice = '{"user": "ann", "notice": {"text": "how was it?"}}';
    assertEqual("a wrong secret", [401, "who are you?\n"], await notify("no", notice));
    assertEqual("no notice", 400, (await notify(SECRET, "{}"))[0]);
    assertEqual("a notice", [200, "sent\n"], await notify(SECRET, notice));
    await reaches("notice", 4, { text: "how was it?" });
    assertEqual("without the secret no body is waited for", 401, await posts(args, "no", 10, ""));
    const most = 64 * 1024;
    assertEqual("64 KiB, which are no notice", 400, await posts(args, SECRET, most, "x".repeat(most)));
    assertEqual("more", 413, await posts(args, SECRET, most + 1, "x".repeat(most + 1)));
    assertEqual("a body that does not come", 408, await late);
    await bob.ask("online", "ann");
    assertEqual("nobody else hears it", 0, bob.heard.filter(({ name }) => name === "notice").length);
    return { workers: new Set(ann.map(({ welcome }) => welcome.worker)).size };
  },

  async away(args) {
    const ann = new Window(args, "token-of-ann");
    await ann.becomes("it was refused", () => ann.errors.length > 0);
    assertEqual("how", 503, ann.errors[0]);
    let there = await database(args.database);
    await ann.hears("welcome");
    progress("the client came in by itself");
    await there.end();
    assertEqual("an event that needs it", AWAY, await ann.ask("say", "bob", "hello"));
    assertEqual("one that does not", { ok: true, online: true }, await ann.ask("online", "ann"));
    there = await database(args.database);
    assertTrue("it is back", (await ann.ask("say", "bob", "hello")).ok);
    assertEqual("the session lived on", [], ann.ends);
    const wrong = new Window(args, "token-of-NOBODY");
    await wrong.becomes("it was refused", () => wrong.errors.length > 0);
    assertEqual("a wrong token", [401], wrong.errors);
    assertTrue("it does not try again", !wrong.socket.active);
    return { refused: ann.errors.length };
  },

  async slow(args) {
    const there = await database(args.database);
    const ann = await Window.open(args, "token-of-ann");
    there.stall();
    const began = performance.now();
    const bob = new Window(args, "token-of-bob");
    const asked = ann.ask("say", "bob", "hello");
    let slowest = 0;
    for (let n = 0; n < 20; n++) {
      const before = performance.now();
      assertEqual("who needs no database", { ok: true, online: true }, await ann.ask("online", "ann"));
      slowest = Math.max(slowest, performance.now() - before);
    }
    assertTrue("nobody else waits with them", slowest < 1500);
    assertEqual("who needs it", { ok: false, error: "the database takes too long, try again later" }, await asked);
    await bob.becomes("it was refused", () => bob.errors.length > 0);
    const refusedAfter = performance.now() - began;
    assertEqual("how", 503, bob.errors[0]);
    assertTrue(`after its deadline, not after ${refusedAfter} ms`, refusedAfter > 2900 && refusedAfter < 9000);
    there.resume();
    await bob.hears("welcome");
    return { slowest: Math.round(slowest), refusedAfter: Math.round(refusedAfter) };
  },

  /** A database that says more than it was asked, and ends that no clock can show. */
  async strange(args) {
    let end = "18446744073709551615";
    const strange = createServer((connection) => {
      const answer = (user) => `{"user": "${user}", "expires_at": ${end}}\n`;
      connection.on("data", () => connection.write(answer("ann") + answer("eve")));
      connection.on("error", () => {});
    });
    await new Promise((resolve) => strange.listen(Number(args.database), "127.0.0.1", resolve));
    const refused = new Window(args, "token-of-ann");
    await refused.becomes("it was refused", () => refused.errors.length > 0);
    assertEqual("how", [401], refused.errors);
    end = String(Math.ceil(Date.now() / 1000) + 60);
    const users = [];
    while (users.length < 4) users.push((await Window.open(args, "token-of-ann")).welcome.user);
    assertEqual("nobody gets another's answer", ["ann", "ann", "ann", "ann"], users);
    return { windows: users.length };
  },

  async expires(args) {
    await database(args.database);
    let token = "token-of-ann-for-2";
    const ann = await Window.open(args, token, () => token);
    const { id } = ann.socket;
    token = "token-of-ann-for-60";
    await ann.hears("welcome", 2);
    assertEqual("how it ended", ["transport close"], ann.ends);
    assertEqual("nobody was refused", [], ann.errors);
    return { id };
  },
};

await script({ options }, (args) => scenes[args.scene](args));
