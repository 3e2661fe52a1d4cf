// What opens a session, and what does not.

/** Queries of a GET that shall open a polling session or be refused. */
const QUERIES = [
  null,
  "",
  "transport=polling",
  "EIO=4",
  "EIO=4&transport=polling",
  "transport=polling&EIO=4",
  "EIO=3&transport=polling",
  "EIO=2&transport=polling",
  "EIO=5&transport=polling",
  "EIO=&transport=polling",
  "EIO=04&transport=polling",
  "EIO=4.0&transport=polling",
  "EIO=%34&transport=polling",
  "%45IO=4&transport=polling",
  "eio=4&transport=polling",
  "EIO=4&EIO=4&transport=polling",
  "EIO=3&EIO=4&transport=polling",
  "EIO=4&transport=polling&transport=polling",
  "EIO=4&transport=polling&transport=websocket",
  "EIO=4&transport=",
  "EIO=4&transport",
  "EIO=4&transport=websocket",
  "EIO=4&transport=webtransport",
  "EIO=4&transport=flashsocket",
  "EIO=4&transport=POLLING",
  "EIO=4&transport=poll%69ng",
  "EIO=4&transport=constructor",
  "EIO=4&transport=polling&sid=",
  "EIO=4&transport=polling&sid",
  "EIO=4&transport=polling&sid=nobody",
  "EIO=4&transport=polling&sid=__proto__",
  "EIO=4&transport=polling&sid=a&sid=b",
  "EIO=4&transport=polling&sid=%ff",
  "EIO=4&transport=websocket&sid=nobody",
  "EIO=3&transport=polling&sid=nobody",
  "transport=polling&sid=nobody",
  "EIO=4&transport=polling&b64=1",
  "EIO=4&transport=polling&j=0",
  "EIO=4&transport=polling&j=abc",
  "EIO=4&transport=polling&j=",
  "EIO=4&transport=polling&t=Abc.1&token=%7B%22a%22%3A1%7D",
  'EIO=4&transport=polling&x="<>\'{}|^`',
  "EIO=4&transport=polling&a[b]=c",
  "EIO=4&transport=polling&x=%zz",
  "EIO=4&transport=polling&&&",
  "EIO=4;transport=polling",
  "EIO=4&transport=polling#fragment",
  "EIO=4&transport=polling?x",
  "+EIO=4&transport=polling",
];

const METHODS = ["POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "TRACE"];

/** Header fields of a WebSocket handshake that are not as they should be. */
const HEADERS = [
  ["no Upgrade", { without: ["Upgrade"] }],
  ["no Connection", { without: ["Connection"] }],
  ["no key", { without: ["Sec-WebSocket-Key"] }],
  ["a short key", { headers: { "Sec-WebSocket-Key": "YWJj" } }],
  ["a key that is no base64", { headers: { "Sec-WebSocket-Key": "!!!!!!!!!!!!!!!!!!!!!!==" } }],
  ["no version", { without: ["Sec-WebSocket-Version"] }],
  ["version 8", { headers: { "Sec-WebSocket-Version": "8" } }],
  ["version 12", { headers: { "Sec-WebSocket-Version": "12" } }],
  ["another protocol", { headers: { Upgrade: "h2c" } }],
  ["Upgrade in capitals", { headers: { Upgrade: "WebSocket" } }],
  ["keep-alive too", { headers: { Connection: "keep-alive, Upgrade" } }],
  ["one subprotocol", { headers: { "Sec-WebSocket-Protocol": "chat" } }],
  ["two subprotocols", { headers: { "Sec-WebSocket-Protocol": "first, second" } }],
  ["an empty subprotocol", { headers: { "Sec-WebSocket-Protocol": "" } }],
  ["a subprotocol twice", { headers: { "Sec-WebSocket-Protocol": "a, a" } }],
  ["a subprotocol that is no token", { headers: { "Sec-WebSocket-Protocol": "a b" } }],
  ["permessage-deflate", { headers: { "Sec-WebSocket-Extensions": "permessage-deflate" } }],
  ["bad extensions", { headers: { "Sec-WebSocket-Extensions": "a;;b" } }],
  ["an origin", { headers: { Origin: "http://elsewhere.example" } }],
  ["the method POST", { method: "POST" }],
  ["the method PUT", { method: "PUT" }],
  ["HTTP/1.0", { version: "1.0" }],
];

const WEBSOCKET_QUERIES = [
  "EIO=4&transport=websocket",
  "EIO=3&transport=websocket",
  "EIO=5&transport=websocket",
  "transport=websocket",
  "EIO=4&transport=polling",
  "EIO=4&transport=nothing",
  "EIO=4&transport=websocket&sid=nobody",
  "EIO=4&transport=websocket&sid=",
  "EIO=4&transport=websocket&sid=a&sid=b",
  "EIO=4&transport=websocket&b64=1",
  "EIO=4&transport=websocket&j=0",
  "EIO=4&transport=websocket&transport=websocket",
];

const PATHS = ["/socket.io", "/socket.io/x", "/socket.io//", "/SOCKET.IO/", "/socket.iox/", "//socket.io/", "/%73ocket.io/", "/socket.io/socket.io.js"];

export default (test) => {
  for (const query of QUERIES) {
    for (const server of ["plain", "eio3"]) {
      const revision3 = /EIO=3|^transport=polling|eio=|%45IO|EIO=[25&0]|4\.0/.test(query ?? "");
      if (server === "plain" || revision3) {
        test(`GET ?${query} (${server})`, server, (c) => c.request(query));
      }
    }
  }
  for (const method of METHODS) {
    test(`${method} without a session`, (c) => c.request("EIO=4&transport=polling", { method, body: method === "POST" ? "40" : undefined }));
    test(`${method} without a transport`, (c) => c.request("EIO=4", { method }));
    test(`${method} of a session`, async (c) => {
      const session = await c.joined();
      await c.request(session.query, { method, body: method === "POST" ? "3" : undefined });
      await session.alive();
    });
  }
  for (const [what, options] of HEADERS) {
    test(`WebSocket handshake with ${what}`, async (c) => {
      const socket = await c.ws("EIO=4", options);
      await socket.rest();
    });
  }
  for (const query of WEBSOCKET_QUERIES) {
    for (const server of query.includes("EIO=4") ? ["plain"] : ["plain", "eio3"]) {
      test(`WebSocket ?${query} (${server})`, server, async (c) => {
        const socket = await c.ws(query);
        await socket.rest();
      });
    }
  }
  for (const path of PATHS) {
    test(`the path ${path}`, (c) => c.request("EIO=4&transport=polling", { path }));
    test(`WebSocket at the path ${path}`, (c) => c.ws("EIO=4", { path }));
  }
  for (const server of ["polling", "websocket"]) {
    test(`polling where only ${server} is allowed`, server, (c) => c.request("EIO=4&transport=polling"));
    test(`WebSocket where only ${server} is allowed`, server, async (c) => {
      const socket = await c.ws();
      await socket.rest();
    });
    test(`an upgrade where only ${server} is allowed`, server, async (c) => {
      const session = await c.open();
      const socket = await c.ws(session.upgrade);
      await socket.rest();
    });
  }
  test("a handshake over HTTP/1.0", (c) => c.request("EIO=4&transport=polling", { version: "1.0" }));
  test("a handshake whose origin has a bad character", (c) => c.request("EIO=4&transport=polling", { headers: { Origin: "http://\xe4\x01" } }));
  test("a handshake whose origin is Latin-1", (c) => c.request("EIO=4&transport=polling", { headers: { Origin: "http://\xe4" } }));
  test("a handshake with a body", (c) => c.request("EIO=4&transport=polling", { body: "40" }));
  test("a handshake with Upgrade: h2c", (c) => c.request("EIO=4&transport=polling", { headers: { Connection: "Upgrade, HTTP2-Settings", Upgrade: "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__" } }));
  test("a handshake from Internet Explorer", (c) => c.request("EIO=4&transport=polling", { headers: { "User-Agent": "Mozilla/5.0 (compatible;MSIE 10.0; Trident/6.0)" } }));
  test("a sid of another revision", "eio3", async (c) => {
    const session = await c.open("EIO=4");
    await c.request(session.query.replace("EIO=4", "EIO=3"));
    await c.request(session.query.replace("EIO=4&", ""));
    await session.there();
  });
  test("a request by WebSocket's transport for a polling session, without Upgrade", async (c) => {
    const session = await c.joined();
    await c.request(session.upgrade);
    await session.alive();
  });
  test("a WebSocket handshake for a polling session that names polling", async (c) => {
    const session = await c.joined();
    const socket = await c.ws(session.query);
    await socket.rest();
    await session.alive();
  });
};
