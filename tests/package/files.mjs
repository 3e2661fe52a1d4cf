// A web server for the files of a directory: node files.mjs DIRECTORY PORT. It prints what it was asked for.

import { createReadStream } from "node:fs";
import { createServer } from "node:http";
import { join, normalize } from "node:path";

const [directory, port] = process.argv.slice(2);

createServer((request, response) => {
  const { pathname } = new URL(request.url, "http://localhost");
  const file = createReadStream(join(directory, normalize(decodeURIComponent(pathname))));
  file.on("open", () => {
    console.log(200, pathname);
    file.pipe(response);
  });
  file.on("error", () => {
    console.log(404, pathname);
    response.writeHead(404).end();
  });
}).listen(Number(port), "127.0.0.1");
