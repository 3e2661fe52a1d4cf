// How what was seen is written into a transcript.
import { brotliDecompressSync, unzipSync } from "node:zlib";

/** The headers that are compared, wherever they stand in an answer. */
const COMPARED = [
  "content-type",
  "cache-control",
  "content-encoding",
  "etag",
  "access-control-allow-origin",
  "access-control-allow-credentials",
  "access-control-allow-methods",
  "access-control-allow-headers",
  "access-control-max-age",
  "vary",
  "allow",
  "location",
  "set-cookie",
  "x-content-type-options",
  "x-xss-protection",
  "sec-websocket-protocol",
  "sec-websocket-extensions",
  "sec-websocket-version",
];

export function headersShown(headers) {
  return Object.entries(headers).map(([name, value]) => ` [${name}: ${short(value)}]`).join("");
}

export function describe({ status, headers, body }) {
  const told = COMPARED.filter((name) => name in headers).map((name) => `${name}: ${value(name, headers[name])}`);
  const encoding = headers["content-encoding"];
  const decoded = encoding === "br" ? brotliDecompressSync : unzipSync;
  const whole = encoding && body.length > 0 ? decoded(body) : body;
  const binary = headers["content-type"] === "application/octet-stream";
  const text = binary ? hex(whole) : short(whole.toString());
  return `${status}${told.length ? ` {${told.join("; ")}}` : ""}${body.length ? ` ${text}` : ""}`;
}

/** Field names in a `Vary` have no case, and parameters of an extension no order. */
function value(name, given) {
  if (name === "sec-websocket-extensions") {
    return given.split(/; */).sort().join("; ");
  }
  return name === "vary" ? given.toLowerCase().split(/, */).sort().join(", ") : given;
}

const LONG = 160;

export function short(text) {
  text = String(text).replaceAll("\x1e", "␞").replaceAll("\r", "␍").replaceAll("\n", "␊");
  const length = [...text].length;
  return length > LONG ? `${text.slice(0, 40)}… (${length} characters)` : text;
}

export function hex(bytes) {
  const text = bytes.toString("hex").replace(/../g, "$& ").trim();
  return bytes.length > LONG / 2 ? `<${text.slice(0, 60)}… (${bytes.length} bytes)>` : `<${text}>`;
}

export function shown(bytes) {
  const text = bytes.toString();
  return Buffer.from(text).equals(bytes) && !/[\x00-\x09\x0b\x0c\x0e-\x1d]/.test(text) ? short(text) : hex(bytes);
}
