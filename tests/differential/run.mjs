// Drives two servers with the same bytes and compares all that a client sees.
//
//   node run.mjs --ours plain=PORT --ours eio3=PORT …   compares; 1 if there is an unlisted difference
//   node run.mjs --facts                                what Node does
//   node run.mjs --only WORD                            cases whose names hold it
import { Client } from "./lib/client.mjs";
import { startNode } from "./node-server.mjs";
import { SERVERS } from "./servers.mjs";
import { known } from "./known.mjs";

const FILES = ["handshake", "polling", "eio3", "heartbeat", "upgrade", "websocket", "packets", "namespaces", "cors"];
/** Cases that run at one time. */
const TOGETHER = 24;

const options = { ours: {}, only: "", facts: false };
for (let args = process.argv.slice(2); args.length > 0; ) {
  const option = args.shift();
  if (option === "--ours") {
    const [name, port] = args.shift().split("=");
    options.ours[name] = Number(port);
  } else if (option === "--only") {
    options.only = args.shift();
  } else if (option === "--facts") {
    options.facts = true;
  } else {
    throw new Error(`unknown option ${option}`);
  }
}

const cases = [];
for (const file of FILES) {
  const { default: define } = await import(`./cases/${file}.mjs`);
  define((name, ...rest) => {
    const run = rest.pop();
    const server = rest.pop() ?? "plain";
    cases.push({ name, server, run, file });
  });
}
const names = new Set(cases.map(({ name }) => name));
if (names.size !== cases.length) {
  throw new Error("two cases have one name");
}

const node = {};
for (const [name, { node: settings }] of Object.entries(SERVERS)) {
  node[name] = await startNode(settings);
}

async function transcript(port, { server, run }, patience) {
  const client = new Client({ port, patience, times: SERVERS[server].times ?? {} });
  try {
    await run(client);
  } catch (error) {
    client.log(`the case itself failed: ${error.stack}`);
  }
  client.end();
  return client.lines;
}

async function both(one, patience) {
  const [expected, got] = await Promise.all([
    transcript(node[one.server], one, patience),
    options.facts ? [] : transcript(options.ours[one.server], one, patience),
  ]);
  return { expected, got, same: expected.join("\n") === got.join("\n") };
}

/** A diff that one can read: what both said, and at the first line that differs, who said what. */
function diff({ expected, got }) {
  const lines = [];
  const count = Math.max(expected.length, got.length);
  for (let i = 0; i < count; i++) {
    if (expected[i] === got[i]) {
      lines.push(`      ${expected[i]}`);
    } else {
      lines.push(`  node ${expected[i] ?? "(no more)"}`, `  ours ${got[i] ?? "(no more)"}`);
    }
  }
  return lines.join("\n");
}

const chosen = cases.filter(({ name, file }) => name.includes(options.only) || file === options.only);
const queue = [...chosen];
const results = new Map();
const began = performance.now();
await Promise.all(
  Array.from({ length: TOGETHER }, async () => {
    for (let one; (one = queue.shift()); ) {
      results.set(one, await both(one, 1));
    }
  }),
);
// What differed may have been slow: once more, with patience.
const again = options.facts ? [] : chosen.filter((one) => !results.get(one).same);
await Promise.all(
  Array.from({ length: 4 }, async () => {
    for (let one; (one = again.shift()); ) {
      results.set(one, await both(one, 3));
    }
  }),
);

if (options.facts) {
  let file = "";
  for (const one of chosen) {
    if (one.file !== file) {
      file = one.file;
      console.log(`\n## ${file}`);
    }
    const where = one.server === "plain" ? "" : ` [${one.server}]`;
    console.log(`- **${one.name}**${where}`);
    results.get(one).expected.forEach((line) => console.log(`    ${line}`));
  }
  process.exit(0);
}

let faults = 0;
for (const one of chosen) {
  const { name } = one;
  const result = results.get(one);
  const reason = known[name];
  if (result.same && reason !== undefined) {
    faults += 1;
    console.log(`✗ ${name}: listed as different (${reason}), but is the same\n`);
  } else if (!result.same && reason === undefined) {
    faults += 1;
    console.log(`✗ ${name} [${one.server}]\n${diff(result)}\n`);
  }
}
for (const name of Object.keys(known)) {
  if (!names.has(name)) {
    faults += 1;
    console.log(`✗ ${name}: listed as different, but there is no such case\n`);
  }
}
const seconds = ((performance.now() - began) / 1000).toFixed(1);
console.log(JSON.stringify({ cases: chosen.length, listed: Object.keys(known).length, faults, seconds }));
process.exit(faults === 0 ? 0 : 1);
