// A stand-in for the database of the example "messenger": each line that comes is a question in JSON, each line
// that goes is its answer. It forgets everything when it ends. The tokens it knows are token-of-NAME, good for an hour, and
// token-of-NAME-for-SECONDS.
//
//   node database.mjs PORT

import { createServer } from "node:net";
import { createInterface } from "node:readline";

const seen = new Map();
const messages = [];

const answers = {
  login({ token }) {
    const [, user, seconds = 3600] = /^token-of-([a-z]+)(?:-for-(\d+))?$/.exec(token) ?? [];
    if (!user) return null;
    if (!seen.has(token)) seen.set(token, Math.ceil(Date.now() / 1000) + Number(seconds));
    return { user, expires_at: seen.get(token) };
  },
  store({ from, to, text }) {
    const message = { id: messages.length + 1, from, to, text };
    messages.push(message);
    return message;
  },
  history({ between }) {
    return messages.filter(({ from, to }) => between.includes(from) && between.includes(to));
  },
};

const server = createServer((connection) => {
  const lines = createInterface({ input: connection });
  lines.on("line", (line) => {
    const question = JSON.parse(line);
    connection.write(`${JSON.stringify(answers[question.ask](question))}\n`);
  });
  connection.on("error", () => {});
});
server.listen(Number(process.argv[2] ?? 7000), "127.0.0.1", () => console.log("the database listens"));
