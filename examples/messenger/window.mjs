// A user's window in a terminal: what comes is printed, each line that is typed is said to somebody.
//   node window.mjs ann bob
import { createInterface } from "node:readline";
import { io } from "socket.io-client";

const [user, other, url = "http://127.0.0.1:3000"] = process.argv.slice(2);
const socket = io(url, { query: { token: `token-of-${user}` } });
socket.onAny((event, payload) => console.log(event, payload));
socket.on("connect_error", (error) => console.log(error.message, error.description));
createInterface({ input: process.stdin }).on("line", async (text) => {
  console.log(await socket.emitWithAck("say", other, text));
});
