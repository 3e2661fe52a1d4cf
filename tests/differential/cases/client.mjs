// The browser's client, which pages load from the server.

const FILES = ["socket.io.js", "socket.io.min.js", "socket.io.esm.min.js", "socket.io.msgpack.min.js"].flatMap((name) => [name, `${name}.map`]);

const TAGS = ['"4.8.4"', 'W/"4.8.4"', '"4.8.3"', "4.8.4", '"4.8.3", "4.8.4"', "*", ""];

const ENCODINGS = ["gzip", "br", "deflate", "identity", "", "*", "gzip, deflate, br, zstd", "gzip, deflate", "deflate, gzip", "gzip;q=0", "gzip;q=0, *", "br;q=0.5, gzip;q=0.6"];

const ORIGINS = ["http://a.example", "http://elsewhere.example", "null"];

export default (test) => {
  const ask = (c, name, options) => c.request(null, { path: `/socket.io/${name}`, ...options });

  for (const name of FILES) {
    test(`the file ${name}`, "client", (c) => ask(c, name));
    test(`the file ${name}, where it is not served`, (c) => ask(c, name));
  }
  for (const path of [
    "/socket.io/socket.io.js?v=1",
    "/socket.io/socket.io.js?EIO=4&transport=polling",
    "/socket.io/socket.io.js?EIO=4&transport=polling&sid=nobody",
    "/socket.io/socket.io.slim.js",
    "/socket.io/SOCKET.IO.JS",
    "/socket.io/socket.io%2Ejs",
    "/socket.io/socket.io.js/",
    "/socket.io//socket.io.js",
    "/socket.io/package.json",
    "/socket.io.js",
  ]) {
    test(`the client at ${path}`, "client", (c) => c.request(null, { path }));
  }
  for (const method of ["HEAD", "POST", "PUT", "DELETE", "OPTIONS"]) {
    test(`${method} of the client`, "client", (c) => ask(c, "socket.io.js", { method }));
  }
  for (const tag of TAGS) {
    test(`the client for who has ${tag}`, "client", (c) => ask(c, "socket.io.js", { headers: { "If-None-Match": tag } }));
  }
  for (const accepted of ENCODINGS) {
    test(`the client for who accepts ${JSON.stringify(accepted)}`, "client", (c) => ask(c, "socket.io.min.js", { headers: { "Accept-Encoding": accepted } }));
  }
  for (const server of ["client", "client-cors"]) {
    for (const Origin of ORIGINS) {
      test(`the client for a page of ${Origin} (${server})`, server, async (c) => {
        await ask(c, "socket.io.esm.min.js", { headers: { Origin } });
        await ask(c, "socket.io.esm.min.js", { headers: { Origin, "If-None-Match": '"4.8.4"' } });
      });
    }
  }
  test("a WebSocket at the client's path", "client", async (c) => {
    const socket = await c.ws("EIO=4", { path: "/socket.io/socket.io.js" });
    await socket.next();
    socket.text("40");
    await socket.next();
  });
};
