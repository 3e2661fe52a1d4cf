// Where we differ from Node, and why that is right. Whatever is no longer true here is an error.

/** An event or an acknowledgement: what stands before its arguments, and they. */
const ARGUMENTS = /^(ws\d: < 4[2356](?:\d+-)?(?:\/[^,]*,)?\d*)(\[.*\])$/;

function canonical(line) {
  const [, head, text] = ARGUMENTS.exec(line) ?? [];
  try {
    return text ? head + JSON.stringify(JSON.parse(text)) : line;
  } catch {
    return line;
  }
}

/** What differs in many cases in the same way: a line of one is made to say what the other's does. */
export const rules = [
  {
    reason: "a cache that kept a refusal would keep it beyond its cause",
    ours: (line) => line.replace(/→ (4\d\d) \{content-type: application\/json; cache-control: no-store/g, "→ $1 {content-type: application/json"),
  },
  {
    reason: "the message also says which key of the configuration allows it",
    ours: (line) => line.replace(/("message":"(Unsupported protocol version|Forbidden)): [^"]*"/g, '$1"'),
  },
  {
    reason: "a preflight allows the methods that the engine has",
    node: (line) => line.replace("GET,HEAD,PUT,PATCH,POST,DELETE", "GET,POST"),
  },
  {
    reason: "the JSON of arguments is passed on as it was written; its values are the same",
    ours: canonical,
  },
];

const RACE = "CONNECT in one write with the handshake";

/** Where Node does now this and now that, so that a listed difference may also not be there. */
export const races = new Set([RACE]);

const origins = (servers, ...names) => servers.flatMap((server) => names.map((name) => `${name} (${server})`));

/** Reasons, and the names of the cases. */
const LISTED = [
  [
    "an origin that is not allowed is refused, and not only kept from reading the answer",
    [
      ...["http://elsewhere.example", "null", "http://a.example:80", "HTTP://A.EXAMPLE"].flatMap((origin) =>
        origins(["plain", "cors"], `origin "${origin}"`, `WebSocket from "${origin}"`),
      ),
      ...["http://a.example", "http://b.example"].flatMap((origin) => origins(["plain"], `origin "${origin}"`, `WebSocket from "${origin}"`)),
      "session of an allowed origin (plain)",
      "WebSocket handshake with an origin",
    ],
  ],
  [
    "an acknowledgement has the id that was sent; Node's is a double",
    ["29007199254740993", "218446744073709551615", "218446744073709551616", `2${"9".repeat(30)}`].map((id) => `packet "${id}[\\"a\\"]"`),
  ],
  ["requests may be written one behind the other; Node takes the second for one at the same time", ["two requests in one write"]],
  ["what follows the handshake in one write is lost on Node", [RACE]],
  [
    "a method that the engine does not have is the client's mistake, not a fault of the server",
    ["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"].map((method) => `${method} of a session`),
  ],
  [
    "no browser needs JSONP any more",
    ["GET ?EIO=4&transport=polling&j=0 (plain)", "GET ?EIO=4&transport=polling&j=abc (plain)", "GET ?EIO=4&transport=polling&j= (plain)", "revision 3 with JSONP"],
  ],
  [
    "what is no WebSocket handshake is refused as every bad request is; drafts before RFC 6455 are none",
    ["no key", "a short key", "a key that is no base64", "no version", "version 8", "version 12", "another protocol", "the method POST", "the method PUT"].map(
      (what) => `WebSocket handshake with ${what}`,
    ),
  ],
];

/** The name of a case, and the reason. */
export const known = Object.fromEntries(LISTED.flatMap(([reason, names]) => names.map((name) => [name, reason])));
