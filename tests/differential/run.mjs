// Drives two servers with the same bytes and compares all that a client sees.
//
//   node run.mjs --binary ../../target/debug/my-app   starts ours, compares; 1 if there is an unlisted difference
//   node run.mjs --ours plain=PORT --ours eio3=PORT … compares with servers that run
//   node run.mjs --configs                            what each of them needs in its table [engine], as JSON
//   node run.mjs --facts                              what Node does
//   … --only WORD                                     cases whose names hold it, or of this file
//   … --slow                                          says which cases take long
//   … --summary                                       one line for each difference
import { parseArgs } from "node:util";
import { Client } from "./lib/client.mjs";
import { startOurs } from "./lib/ours.mjs";
import { known, races, rules } from "./known.mjs";
import { startNode } from "./node-server.mjs";
import { SERVERS } from "./servers.mjs";

const FILES = ["handshake", "polling", "eio3", "heartbeat", "upgrade", "upgrade-ends", "websocket", "packets", "namespaces", "disconnect", "cors", "compression", "client"];
/** Cases that run at one time. */
const TOGETHER = 24;
/** How what is not as it should be is run again: cases at one time, patience. One by one only if few are left. */
const AGAIN = [[8, 2], [2, 6], [1, 6], [1, 6], [1, 6]];
const FEW = 10;

const { values: options } = parseArgs({
  options: {
    binary: { type: "string" },
    ours: { type: "string", multiple: true, default: [] },
    only: { type: "string", default: "" },
    configs: { type: "boolean" },
    facts: { type: "boolean" },
    slow: { type: "boolean" },
    summary: { type: "boolean" },
  },
});
if (options.configs) {
  const configs = Object.entries(SERVERS).map(([name, { ours, application }]) => [name, { engine: ours, application }]);
  console.log(JSON.stringify(Object.fromEntries(configs)));
  process.exit(0);
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
const ours = Object.fromEntries(options.ours.map((given) => given.split("=")));
for (const [name, pair] of Object.entries(SERVERS)) {
  node[name] = await startNode(pair.node, pair.application);
  if (options.binary) {
    ours[name] = await startOurs(options.binary, pair.ours, pair.application);
  }
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
    options.facts ? [] : transcript(Number(ours[one.server]), one, patience),
  ]);
  return { expected, got, same: alike(...compared(expected, got)) };
}

/** What is left to compare when the rules for whole transcripts have been. */
function compared(expected, got) {
  for (const rule of rules.filter(({ all }) => all)) {
    const before = expected;
    [expected, got] = rule.all(expected, got);
    rule.used ||= before !== expected;
  }
  return [expected, got];
}

/** The same, but for what the rules for lines allow. */
function alike(expected, got) {
  if (expected.length !== got.length) {
    return false;
  }
  return expected.every((line, index) => {
    let other = got[index];
    for (const rule of rules) {
      if (line === other) {
        break;
      }
      const before = [line, other];
      line = rule.node?.(line) ?? line;
      other = rule.ours?.(other) ?? other;
      rule.used ||= before[0] !== line || before[1] !== other;
    }
    return line === other;
  });
}

/** A diff that one can read: what both saw, what only Node showed, what only ours did. */
function diff({ expected, got }) {
  const same = (i, j) => alike([expected[i]], [got[j]]);
  // How many lines are common from here on.
  const common = Array.from({ length: expected.length + 1 }, () => Array(got.length + 1).fill(0));
  for (let i = expected.length - 1; i >= 0; i--) {
    for (let j = got.length - 1; j >= 0; j--) {
      common[i][j] = same(i, j) ? common[i + 1][j + 1] + 1 : Math.max(common[i + 1][j], common[i][j + 1]);
    }
  }
  const lines = [];
  for (let i = 0, j = 0; i < expected.length || j < got.length; ) {
    if (i < expected.length && j < got.length && same(i, j)) {
      lines.push(`      ${expected[i++]}`);
      j++;
    } else if (j === got.length || (i < expected.length && common[i + 1][j] >= common[i][j + 1])) {
      lines.push(`  node ${expected[i++]}`);
    } else {
      lines.push(`  ours ${got[j++]}`);
    }
  }
  return lines.join("\n");
}

const chosen = cases.filter(({ name, file }) => name.includes(options.only) || file === options.only);
const results = new Map();
const began = performance.now();

/** Runs cases, so many at one time; on a server that is `alone`, one after the other. */
async function runAll(list, together, patience) {
  const busy = new Set();
  const next = () => {
    const at = list.findIndex(({ server }) => !busy.has(server));
    return at < 0 ? undefined : list.splice(at, 1)[0];
  };
  const work = async () => {
    for (let one; (one = next()); busy.delete(one.server)) {
      if (SERVERS[one.server].alone) {
        busy.add(one.server);
      }
      const since = performance.now();
      results.set(one, await both(one, patience));
      const took = Math.round(performance.now() - since);
      if (options.slow && took > 2000) {
        console.log(`${took} ms: ${one.name}`);
      }
    }
  };
  await Promise.all(Array.from({ length: together }, work));
}

/** The same; or different, and listed. */
function isExpected(one) {
  const { same } = results.get(one);
  return races.has(one.name) || same === (known[one.name] === undefined);
}

await runAll([...chosen], TOGETHER, 1);
if (!options.facts) {
  // What is not as it should be may have been slow: again, with patience.
  for (const [together, patience] of AGAIN) {
    const left = chosen.filter((one) => !isExpected(one));
    if (together > 1 || left.length <= FEW) {
      await runAll(left, together, patience);
    }
  }
}

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
  if (isExpected(one)) {
    continue;
  }
  faults += 1;
  if (result.same) {
    console.log(`✗ ${name}: listed as different (${reason}), but is the same\n`);
  } else {
    console.log(options.summary ? `✗ ${name}` : `✗ ${name} [${one.server}]\n${diff(result)}\n`);
  }
}
for (const name of Object.keys(known)) {
  if (!names.has(name)) {
    faults += 1;
    console.log(`✗ ${name}: listed as different, but there is no such case\n`);
  }
}
for (const { used, reason } of options.only ? [] : rules) {
  if (!used) {
    faults += 1;
    console.log(`✗ a rule that is of no use: ${reason}\n`);
  }
}
const seconds = ((performance.now() - began) / 1000).toFixed(1);
console.log(JSON.stringify({ cases: chosen.length, listed: Object.keys(known).length, faults, seconds }));
process.exit(faults === 0 ? 0 : 1);
