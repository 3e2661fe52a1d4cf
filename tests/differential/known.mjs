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

const isUnknown = (line) => /^(poll|post).* → 400 .*"Session ID unknown"\}$/.test(line);
const isFarewell = (line) => /^poll.* → 200 .* (6␞1|1:61:1)$/.test(line);
/** A post that is taken, or what a poll of revision 3 gets that waited before. */
const isTaken = (line) => /^post.* → 200 .* ok$|^poll.* → 200 .* 2:40$/.test(line);

/** Cuts off what comes after the fault: on Node a farewell, before which posts are taken; here an unknown session. */
function halfOpen(node, ours) {
  const at = node.findIndex((line, index) => line !== ours[index]);
  const [half, none] = [node.slice(at), ours.slice(at)];
  const farewell = half.findIndex(isFarewell);
  const isAll =
    farewell >= 0 &&
    half.slice(0, farewell).every(isTaken) &&
    half.slice(farewell + 1).every(isUnknown) &&
    none.length > 0 &&
    none.every(isUnknown);
  return isAll ? [node.slice(0, at), ours.slice(0, at)] : [node, ours];
}

/** The answer to a request for a file of the client, as Node gives it. */
function asNodeServes(line) {
  if (!/^(GET|HEAD) socket\.io\.\S*js/.test(line)) {
    return line;
  }
  const mine = line.replace("; vary: accept-encoding}", "}").replace("vary: accept-encoding, ", "vary: ");
  return mine.includes(" → 304 ")
    ? mine.replace(/cache-control: public, max-age=86400; etag: W\/"4.8.4"(; )?/, "").replace(" {}", "")
    : mine.replace("max-age=86400", "max-age=0").replace("etag: W/", "etag: ");
}

/** What differs in many cases in the same way: a line of one is made to say what the other's does, or `all` lines of both. */
export const rules = [
  {
    reason: "the message also says which key of the configuration allows it",
    ours: (line) => line.replace(/("message":"(Unsupported protocol version|Forbidden)): [^"]*"/g, '$1"'),
  },
  {
    reason: "the JSON of arguments is passed on as it was written; its values are the same",
    ours: canonical,
  },
  {
    reason: "clients take a close packet for a farewell, and some never come back: it is sent only if the application ended the session",
    node: (line) => line.replace(/^(poll.* → 200 .* (?:1:)?)1$/, "$16"),
  },
  {
    reason: "a polling session that ends for a client's mistake is unknown at once, and not only after the next poll; what it answered before it is not kept",
    all: halfOpen,
  },
  {
    reason: "the client's files may be kept for a day; caches are told that there are two encodings, of which the weak tag is, and 304 says all that again",
    ours: asNodeServes,
  },
];

const RACE = "CONNECT in one write with the handshake";

/** Where Node does now this and now that, so that a listed difference may also not be there. */
export const races = new Set([RACE]);

const on = (server, names) => names.map((name) => `${name} (${server})`);
const packets = (...texts) => texts.map((text) => `packet ${text}`);

const FOREIGN = ["http://elsewhere.example", "null", "http://a.example:80"];
const OF_PLAIN = [...FOREIGN, "HTTP://A.EXAMPLE", "http://a.example", "http://b.example"];
const OF_CORS = [...FOREIGN, "HTTP://A.EXAMPLE"];
const PLACEHOLDER = '{\\"_placeholder\\":true,\\"num\\":0}';

/** Reasons, and the names of the cases. */
const LISTED = [
  [
    "an origin that is not allowed is refused, and not only kept from reading the answer",
    [
      ...["origin", "WebSocket from", "preflight from"].flatMap((what) => [
        ...on("plain", OF_PLAIN.map((origin) => `${what} "${origin}"`)),
        ...on("cors", FOREIGN.map((origin) => `${what} "${origin}"`)),
      ]),
      ...on("plain", [
        "session of an allowed origin",
        "preflight without headers",
        "preflight of many headers",
        "preflight for another method",
        "OPTIONS that is no preflight",
        "preflight without a transport",
        "private network preflight",
      ]),
      "WebSocket handshake with an origin",
      "a handshake whose origin is Latin-1",
    ],
  ],
  ["origins are compared without regard to case", on("cors", ["origin", "WebSocket from", "preflight from"].map((what) => `${what} "HTTP://A.EXAMPLE"`))],
  [
    "a WebSocket that is refused gets an HTTP answer that says why, in one form, and no 101",
    [
      ...on("plain", ["EIO=3&transport=websocket", "EIO=5&transport=websocket", "transport=websocket", "EIO=4&transport=polling"].map((query) => `WebSocket ?${query}`)),
      ...["/socket.io", "/SOCKET.IO/", "/socket.iox/", "//socket.io/", "/%73ocket.io/"].map((path) => `WebSocket at the path ${path}`),
      "WebSocket where only polling is allowed",
      "an upgrade where only polling is allowed",
      "a WebSocket handshake for a polling session that names polling",
      "a second upgrade while one is under way",
      "a second upgrade after the probe of the first",
      "a second upgrade after the first",
      "an upgrade of a session that began as WebSocket",
    ],
  ],
  ["what follows the handshake in one write is lost on Node", [RACE]],
  ["requests may be written one behind the other; Node takes the second for one at the same time", ["two requests in one write"]],
  ["a post that was begun is read to its end, also after the session has ended or moved", ["two posts at one time", "a post that is under way while the session moves"]],
  [
    "a connection whose body is too large is closed at once; Node reads all of it",
    ["post far too long, by its length", "post far too long, chunked", "post too long, only announced"],
  ],
  ["a polling session that ends for a client's mistake is unknown at once", on("cors", ["session of an allowed origin"]).concat(on("star", ["session of an allowed origin"]))],
  [
    "what was emitted before a session's end is still sent",
    [
      "a Socket.IO error behind an event, while a poll waits",
      "data after a close",
      "events before a close are answered",
      "events before an error are answered",
      ...packets(`"51-[\\"a\\",${PLACEHOLDER}]" [1] [2]`, `"2[\\"a\\",${PLACEHOLDER}]" [1]`),
    ],
  ],
  [
    "the connection of an upgrade that has failed is shut at once; Node waits 30 seconds for the answer to its close frame",
    ["upgrade timeout of a client that does not answer the close"],
  ],
  ["a poll is freed for an upgrade at once, and then every 100 ms; Node waits 100 ms first", ["how soon a poll is freed after the probe"]],
  ["a ping that was sent by polling must be answered after the upgrade, too; on Node the session then has no heartbeat any more", ["an upgrade between ping and pong"]],
  [
    "an acknowledgement has the number that was sent, if it is below 2⁶³; on Node it is a double",
    packets(
      ...["29007199254740993", "218446744073709551615", "218446744073709551616", `2${"9".repeat(30)}`].map((id) => `"${id}[\\"a\\"]"`),
      `"2${"9".repeat(98)}… 410`,
    ),
  ],
  ["an event without a name is given to no handler", ['post "42"', 'WebSocket packet "42"', 'packet "2"', 'first ["40","42/,"]']],
  ["the name of an event is a text: a number is the text that JavaScript makes of it", packets('"2[1]"', '"2[0]"', '"2[-1.5,2]"', '"2[1e400]"')],
  ["a text is Unicode: half a surrogate pair in a name becomes U+FFFD", packets('"2[\\"\\\\ud800\\"]"')],
  ["an event has up to 1,000 attachments; with Node's newest parser 10", packets('"511-[\\"a\\"]"')],
  [
    "types, lengths and numbers of attachments are digits; no client writes them in JavaScript's other ways",
    [
      'revision 3 posts "1e0:2"',
      'WebSocket packet "4 " before CONNECT',
      ...packets(...["51.0", "5 1", "51e0", "50x1"].map((count) => `"${count}-[\\"a\\",${PLACEHOLDER}]" [1]`), '"51-[\\"a\\",{\\"_placeholder\\":true,\\"num\\":0.5}]" [1]'),
    ],
  ],
  [
    "a packet for a namespace that is not joined ends the session before its attachments come",
    ["first", "first posted"].map((how) => `${how} ["451-[\\"a\\",${PLACEHOLDER}]"]`),
  ],
  [
    "packets of one write are handled one after the other; on Node the second finds the namespace as it was before the first",
    ['first ["40","40"] in one write', 'first ["40","40/"] in one write', 'first ["40/chat,","40/chat,"] in one write', 'first posted ["40/chat,","40/chat,"]', 'posted packets "41\\u001e40"', 'posted packets "41\\u001e42[\\"b\\"]"'],
  ],
  [
    "a method that the engine does not have is the client's mistake, not a fault of the server",
    ["PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"].map((method) => `${method} of a session`),
  ],
  [
    "no browser needs JSONP any more",
    [...on("plain", ["0", "abc", ""].map((index) => `GET ?EIO=4&transport=polling&j=${index}`)), "revision 3 with JSONP"],
  ],
  ["no browser needs X-XSS-Protection any more", ["a handshake from Internet Explorer"]],
  [
    "an offer of permessage-deflate that cannot be had is declined, and the session goes on without, as RFC 7692 has it; Node refuses the handshake",
    [
      "unknown",
      "server_no_context_takeover=1",
      "server_max_window_bits",
      "server_max_window_bits=16",
      "client_max_window_bits=7",
      "client_max_window_bits; client_max_window_bits",
      "unknown, permessage-deflate",
    ].map((offer) => `permessage-deflate; ${offer}`),
  ],
  ["the client's files are there as gzip, and in no other encoding", ["br", "deflate", "*", "deflate, gzip", "gzip;q=0, *"].map((accepted) => `the client for who accepts ${JSON.stringify(accepted)}`)],
  ["the client's files are read; no other method gets them", ["POST", "PUT", "DELETE", "OPTIONS"].map((method) => `${method} of the client`)],
  ["a browser may have more than one version, or any", ['"4.8.3", "4.8.4"', "*"].map((tag) => `the client for who has ${tag}`)],
];

/** The name of a case, and the reason. */
export const known = Object.fromEntries(LISTED.flatMap(([reason, names]) => names.map((name) => [name, reason])));
