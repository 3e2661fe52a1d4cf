// Deep comparison whose failures name the place, what was expected and what came.

import { fail } from "./script.mjs";

const MOST = 8;

/** The bytes of a Buffer, ArrayBuffer or view of one; null for anything else. */
export function bytesOf(value) {
  if (Buffer.isBuffer(value)) return value;
  if (value instanceof ArrayBuffer) return Buffer.from(value);
  if (ArrayBuffer.isView(value)) return Buffer.from(value.buffer, value.byteOffset, value.byteLength);
  return null;
}

function show(value) {
  const bytes = bytesOf(value);
  if (bytes) return `${bytes.length} bytes <${bytes.subarray(0, 16).toString("hex")}${bytes.length > 16 ? "…" : ""}>`;
  if (Object.is(value, -0)) return "-0";
  if (typeof value === "number" || value === undefined) return String(value);
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 120 ? `${text.slice(0, 120)}… (${text.length} characters)` : text;
}

function showStringDifference(expected, came) {
  let at = 0;
  while (at < expected.length && expected[at] === came[at]) at++;
  const around = (text) => JSON.stringify(text.slice(Math.max(0, at - 10), at + 30));
  if (expected.length <= 80 && came.length <= 80) return null;
  return `first difference at ${at}: expected …${around(expected)}… (length ${expected.length}), came …${around(came)}… (length ${came.length})`;
}

function collect(expected, came, path, found) {
  if (found.length >= MOST) return;
  const differ = (detail) => found.push(`  at ${path || "the top"}: ${detail ?? `expected ${show(expected)}, came ${show(came)}`}`);

  const expectedBytes = bytesOf(expected);
  const cameBytes = bytesOf(came);
  if (expectedBytes || cameBytes) {
    if (!expectedBytes || !cameBytes) return differ();
    if (expectedBytes.equals(cameBytes)) return undefined;
    let at = 0;
    while (at < expectedBytes.length && expectedBytes[at] === cameBytes[at]) at++;
    return differ(`expected ${show(expected)}, came ${show(came)} (first different byte: ${at})`);
  }
  if (typeof expected === "string" && typeof came === "string") {
    if (expected !== came) differ(showStringDifference(expected, came));
    return undefined;
  }
  if (Array.isArray(expected) && Array.isArray(came)) {
    if (expected.length !== came.length) differ(`expected ${expected.length} items ${show(expected)}, came ${came.length} items ${show(came)}`);
    for (let i = 0; i < Math.min(expected.length, came.length); i++) collect(expected[i], came[i], `${path}[${i}]`, found);
    return undefined;
  }
  const plain = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  if (plain(expected) && plain(came)) {
    for (const key of Object.keys(expected)) {
      const place = `${path}.${JSON.stringify(key)}`;
      if (Object.hasOwn(came, key)) collect(expected[key], came[key], place, found);
      else found.push(`  at ${place}: expected ${show(expected[key])}, the key is missing`);
    }
    for (const key of Object.keys(came)) {
      if (!Object.hasOwn(expected, key)) found.push(`  at ${path}.${JSON.stringify(key)}: expected no such key, came ${show(came[key])}`);
    }
    return undefined;
  }
  if (!Object.is(expected, came)) differ();
  return undefined;
}

/** The differences as text, one a line; empty when the two are equal. */
export function differences(expected, came) {
  const found = [];
  collect(expected, came, "", found);
  return found.slice(0, MOST).join("\n");
}

export function assertEqual(what, expected, came) {
  const found = differences(expected, came);
  if (found) fail(`${what}:\n${found}`);
}

export function assertTrue(what, holds) {
  if (!holds) fail(`expected ${what}`);
}
