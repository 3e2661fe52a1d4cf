// A headless Chromium that reaches loopback and nothing else, and its DevTools.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { WebSocket } from "ws";
import { waiting } from "./script.mjs";

const FLAGS = [
  "--headless",
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--disable-dev-shm-usage",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
  "--disable-default-apps",
  "--no-proxy-server",
  "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost", // loopback only
  "--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets", // a page that a script hands in has no address
  "--enable-logging=stderr",
  "--remote-debugging-port=0", // keeps a headless browser open
];

let browser;
let profile;

function stopBrowser() {
  if (browser && browser.exitCode === null && browser.signalCode === null) {
    try {
      process.kill(-browser.pid, "SIGKILL"); // the group that only this browser is in
    } catch {
      // It ended by itself in between.
    }
  }
  if (profile) rmSync(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 50 });
}
process.on("exit", stopBrowser);
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(1));

/** Starts the browser on a page; `line` gets what it logs. The promise fails when it ends. */
export function startBrowser(program, address, line) {
  profile = mkdtempSync(path.join(tmpdir(), "browser-"));
  browser = spawn(program, [...FLAGS, `--user-data-dir=${profile}`, address], { detached: true, stdio: ["ignore", "ignore", "pipe"] });
  let rest = "";
  browser.stderr.setEncoding("utf8");
  browser.stderr.on("data", (text) => {
    const lines = (rest + text).split("\n");
    rest = lines.pop();
    for (const one of lines) line(one);
  });
  return new Promise((_, reject) => {
    browser.on("error", (error) => reject(new Error(`expected ${program} to start, came ${error.message}`)));
    browser.on("exit", (code, signal) => reject(new Error(`expected the browser to stay, it ended with ${code ?? signal}`)));
  });
}

/** Numbers the calls of all pages. */
let next = 1;

/** The DevTools of one page of a browser. */
export class Page {
  /** Starts a browser, and waits for an empty page of it. */
  static async start(program, line = () => {}) {
    let found;
    const listening = new Promise((resolve) => (found = resolve));
    const ended = startBrowser(program, "about:blank", (text) => {
      const address = /DevTools listening on (ws:\S+)/.exec(text)?.[1];
      if (address) found(address);
      line(text);
    });
    ended.catch(() => {});
    const address = await waiting("the browser's DevTools", Promise.race([listening, ended]));
    const page = new Page(new WebSocket(address));
    await waiting("a connection to DevTools", new Promise((resolve) => page.socket.once("open", resolve)));
    const { targetInfos } = await page.call("Target.getTargets");
    const { targetId } = targetInfos.find(({ type }) => type === "page");
    await page.attach(targetId);
    return page;
  }

  /** One more window of the same browser. */
  async another() {
    const page = new Page(this.socket);
    const { targetId } = await page.call("Target.createTarget", { url: "about:blank", newWindow: true });
    await page.attach(targetId);
    return page;
  }

  async attach(targetId) {
    ({ sessionId: this.session } = await this.call("Target.attachToTarget", { targetId, flatten: true }));
  }

  constructor(socket) {
    this.socket = socket;
    this.calls = new Map();
    this.heard = () => {};
    socket.on("message", (data) => {
      const { id, method, params, result, error, sessionId } = JSON.parse(data);
      if (method) return sessionId === this.session && this.heard(method, params);
      if (!this.calls.has(id)) return;
      const { resolve, reject, name } = this.calls.get(id);
      this.calls.delete(id);
      if (error) reject(new Error(`${name}: ${error.message}`));
      else resolve(result);
    });
  }

  /** Calls a method of DevTools. */
  call(name, params = {}) {
    const id = next++;
    this.socket.send(JSON.stringify({ id, method: name, params, sessionId: this.session }));
    return waiting(name, new Promise((resolve, reject) => this.calls.set(id, { resolve, reject, name })));
  }

  /** The value of an expression in the page. */
  async value(expression) {
    const { result, exceptionDetails } = await this.call("Runtime.evaluate", { expression, returnByValue: true, awaitPromise: true });
    if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.exception?.description ?? exceptionDetails.text}`);
    return result.value;
  }

  /** Presses a key, as a person does. */
  async press(key, { code = 0, text } = {}) {
    const common = { key, windowsVirtualKeyCode: code };
    await this.call("Input.dispatchKeyEvent", { type: text ? "keyDown" : "rawKeyDown", text, ...common });
    await this.call("Input.dispatchKeyEvent", { type: "keyUp", ...common });
  }
}
