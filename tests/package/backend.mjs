// A TCP service on port 7000 that answers each line, and a name server on port 53 to which every name
// is at 127.0.0.1.

import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import { createInterface } from "node:readline";

createServer((connection) => {
  createInterface({ input: connection }).on("line", (line) => connection.write(`heard ${line}\n`));
  connection.on("error", () => {});
}).listen(7000);

// RFC 1035: the question comes back, with an answer if it was for an IPv4 address.
const names = createSocket("udp4");
names.on("message", (asked, from) => {
  let end = 12;
  while (asked[end] !== 0) end += asked[end] + 1;
  end += 5;
  const isA = asked.readUInt16BE(end - 4) === 1;
  const head = Buffer.from(asked.subarray(0, 12));
  head.writeUInt16BE(0x8180, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(isA ? 1 : 0, 6);
  head.writeUInt32BE(0, 8);
  const answer = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 127, 0, 0, 1]);
  names.send(Buffer.concat([head, asked.subarray(12, end), ...(isA ? [answer] : [])]), from.port, from.address);
});
names.bind(53);
