// Takes the place of the control socket, as a version that knows no reload has it.

import { renameSync, chmodSync } from "node:fs";
import { createServer } from "node:http";

const PATH = "/run/my-app-ctl/control.sock";
renameSync(PATH, `${PATH}.real`);
const server = createServer((request, answer) => {
  answer.writeHead(404, { "Content-Type": "application/json" });
  answer.end(JSON.stringify({ error: `there is no ${request.url}` }));
});
server.listen(PATH, () => {
  chmodSync(PATH, 0o666);
  console.log("{}");
});
process.stdin.resume().on("end", () => process.exit());
