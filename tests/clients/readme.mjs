// Runs the JavaScript of README as it stands there, with this server's address: what it emits must come back.
//
//   node readme.mjs --url URL

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { script, withDeadline } from "./lib/script.mjs";
import { assertEqual, assertTrue } from "./lib/compare.mjs";

const { io } = createRequire(import.meta.url)("socket.io-client-v4");

await script({}, async ({ url }) => {
  const readme = readFileSync(new URL("../../README.md", import.meta.url), "utf8");
  const blocks = [...readme.matchAll(/^```js\n(.*?)^```/gms)].map(([, code]) => code);
  assertTrue("README has JavaScript", blocks.length > 0);
  const printed = [];
  for (const code of blocks) {
    assertTrue("it connects to where `make run` listens", code.includes("http://127.0.0.1:3000"));
    const line = new Promise((resolve) => {
      const log = (...words) => resolve(words);
      new Function("io", "console", code.replaceAll("http://127.0.0.1:3000", url))(io, { log });
    });
    printed.push(await withDeadline("what it prints", 10_000, line));
  }
  assertEqual("what comes back", ["echo:", 1, { two: [3] }, Buffer.from([4])], printed[0]);
  return { printed: printed.map((words) => words.map(String)) };
});
