// What every script has in common: arguments, progress lines, the deadline,
// and the way it ends (one line of JSON and 0, or an explanation and 1).

import { parseArgs } from "node:util";

const COMMON = {
  url: { type: "string" },
  path: { type: "string", default: "/socket.io/" },
  deadline: { type: "string", default: "60" },
  help: { type: "boolean", default: false },
};

/** A check that did not hold; its message says what was expected and what came. */
export class Failed extends Error {}

export const fail = (message) => {
  throw new Failed(message);
};

export const progress = (message) => console.log(message);

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const waits = new Map();
let nextWait = 0;

/** Awaits `promise`; until it settles, the deadline's message names `what`. */
export async function waiting(what, promise) {
  const key = nextWait++;
  waits.set(key, what);
  try {
    return await promise;
  } finally {
    waits.delete(key);
  }
}

/** Awaits `promise` for at most `ms`, then fails with what was awaited. */
export async function withDeadline(what, ms, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Failed(`${what}: expected within ${ms} ms, did not come`)), ms);
  });
  try {
    return await waiting(what, Promise.race([promise, late]));
  } finally {
    clearTimeout(timer);
  }
}

function describeWaits() {
  const texts = [...waits.values()].map((what) => (typeof what === "function" ? what() : what));
  if (texts.length === 0) return "nothing in particular";
  const shown = texts.slice(0, 5).join("; ");
  return texts.length > 5 ? `${shown}; and ${texts.length - 5} more` : shown;
}

function end(code) {
  // stdout may be a pipe whose reader is slow: leave only when it has it all.
  process.stdout.write("", () => process.exit(code));
}

/** A positive whole number from an argument. */
export function count(value, name) {
  const number = Number(value);
  if (!Number.isInteger(number) || number < 0) fail(`--${name}: expected a whole number, came ${value}`);
  return number;
}

/**
 * Runs a script: `body(args)` gives the figures for the last line.
 * `onDeadline`, if given, is called for figures to print when time runs out.
 */
export async function script({ options = {}, needsUrl = true, onDeadline }, body) {
  const known = { ...COMMON, ...options };
  let args;
  try {
    args = parseArgs({ options: known }).values;
    if (args.help) {
      console.log(Object.keys(known).map((name) => `--${name}`).join(" "));
      return end(0);
    }
    if (needsUrl && !args.url) fail("--url: expected the server's address, came nothing");
    args.deadline = Number(args.deadline);
    if (!(args.deadline > 0)) fail("--deadline: expected a number of seconds");
  } catch (error) {
    console.log(`FAILED: ${error.message}`);
    return end(1);
  }

  const timer = setTimeout(() => {
    console.log(`FAILED: not done after ${args.deadline} s; waiting for ${describeWaits()}`);
    if (onDeadline) console.log(JSON.stringify(onDeadline()));
    end(1);
  }, args.deadline * 1000);

  try {
    const figures = await body(args);
    clearTimeout(timer);
    console.log(JSON.stringify(figures));
    end(0);
  } catch (error) {
    clearTimeout(timer);
    console.log(`FAILED: ${error instanceof Failed ? error.message : error.stack}`);
    end(1);
  }
}

process.on("unhandledRejection", (error) => {
  console.log(`FAILED: unhandled: ${error?.stack ?? error}`);
  end(1);
});
