// Starts the server under test by hand; the Rust test has a harness of its own.
import { spawn } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import net from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";

const children = [];
process.on("exit", () => children.forEach((child) => child.kill()));

async function freePort() {
  const listener = net.createServer();
  await new Promise((listening) => listener.listen(0, "127.0.0.1", listening));
  const { port } = listener.address();
  await new Promise((closed) => listener.close(closed));
  return port;
}

/** Starts `binary` (or an example beside it) with a table `[engine]`; gives its port when it listens. It ends with this process. */
export async function startOurs(binary, engine, application) {
  const program = application ? join(dirname(binary), "examples", application) : binary;
  const config = join(mkdtempSync(join(tmpdir(), "differential-")), "my-app.toml");
  writeFileSync(config, `[engine]\n${engine}\n[log]\nfile = ""\n`);
  const port = await freePort();
  const child = spawn(program, ["--config", config, "--workers", "1", "--listen", `127.0.0.1:${port}`], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  children.push(child);
  await new Promise((started, failed) => {
    child.stdout.on("data", (data) => / started/.test(data) && started());
    child.on("exit", (code) => failed(new Error(`${program} ended with ${code}`)));
  });
  child.removeAllListeners("exit");
  return port;
}
