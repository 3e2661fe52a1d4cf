// A stand-in for the database of the example "messenger": each line that comes is a question in JSON, each line
// that goes is its answer. It forgets everything when it ends. The tokens it knows are token-of-NAME, good for an hour, and
// token-of-NAME-for-SECONDS.
//
//   node database.mjs PORT

import { createServer } from "node:net";

const seen = new Map();
const messages = [];

const answers = {
  __proto__: null,
  login({ token }) {
    const [, user, seconds = 3600] = /^token-of-([a-z]{1,64})(?:-for-(\d{1,9}))?$/.exec(token) ?? [];
    if (!user) return null;
    if (!seen.has(token)) seen.set(token, Math.ceil(Date.now() / 1000) + Number(seconds));
    return { user, expires_at: seen.get(token) };
  },
  store({ from, to, text }) {
    const message = { id: messages.length + 1, from, to, text };
    messages.push(message);
    return message;
  },
  history({ between: [a, b], newest }) {
    // Who asks is one of the two. What the other says to themselves, or to a third, is not theirs to read.
    const theirs = messages.filter(({ from, to }) => (from === a && to === b) || (from === b && to === a));
    return theirs.slice(-newest);
  },
};

function answer(line) {
  try {
    const question = JSON.parse(line);
    return answers[question.ask](question);
  } catch (error) {
    return { error: error.message };
  }
}

const server = createServer((connection) => {
  let rest = "";
  connection.setEncoding("utf8");
  connection.on("data", (data) => {
    // Not with node:readline: it also ends lines at U+2028, which stands in JSON as it is.
    const lines = (rest + data).split("\n");
    rest = lines.pop();
    for (const line of lines) connection.write(`${JSON.stringify(answer(line))}\n`);
  });
  connection.on("error", () => {});
});
server.listen(Number(process.argv[2] ?? 7000), "127.0.0.1", () => console.log("the database listens"));
