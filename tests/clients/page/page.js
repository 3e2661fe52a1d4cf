// Runs in the browser: connects, echoes, and posts what it saw to the page's server.

const settings = JSON.parse(document.getElementById("settings").textContent);

const TRANSPORTS = { polling: ["polling"], websocket: ["websocket"], upgrade: ["polling", "websocket"] };

function within(what, promise) {
  const late = new Promise((_, reject) => setTimeout(() => reject(new Error(`${what} did not come within ${settings.patience} ms`)), settings.patience));
  return Promise.race([promise, late]);
}

function bytesAsText(value) {
  if (!(value instanceof ArrayBuffer)) return `not an ArrayBuffer but ${Object.prototype.toString.call(value)}`;
  return Array.from(new Uint8Array(value)).join(",");
}

async function run(transport) {
  const result = { transport, connected: false, used: null, checks: 0, failures: [] };
  const socket = io(settings.url, {
    transports: TRANSPORTS[transport],
    path: settings.path,
    forceNew: true,
    autoConnect: false,
    reconnection: false,
    withCredentials: settings.withCredentials,
  });
  const check = (what, expected, came) => {
    result.checks++;
    const [one, other] = [JSON.stringify(expected), JSON.stringify(came)];
    if (one !== other) result.failures.push(`${what}: expected ${one}, came ${other}`);
  };
  const echo = (event, ...args) =>
    within(
      `the echo of ${event}`,
      new Promise((resolve) => {
        socket.once(event, (...came) => resolve(came));
        socket.emit(event, ...args);
      }),
    );
  const ask = (event, ...args) => within(`the acknowledgement of ${event}`, new Promise((resolve) => socket.emit(event, ...args, (...came) => resolve(came))));
  try {
    const connected = new Promise((resolve, reject) => {
      socket.on("connect", resolve);
      socket.on("connect_error", (error) => reject(new Error(`connect_error: ${error.message || error}`)));
    });
    socket.connect();
    const upgraded = new Promise((resolve) => socket.io.engine.on("upgrade", resolve));
    await within("the connection", connected);
    result.connected = true;
    if (transport === "upgrade") await within("the upgrade", upgraded);
    result.used = socket.io.engine.transport.name;
    check("the transport in use", transport === "polling" ? "polling" : "websocket", result.used);

    const data = { text: "ä 😀 שלום \u0000 \" \\", list: [1, -2.5, null, true, []], inner: { empty: {} } };
    check("the echo of JSON", [data, "two", 3], await echo("json", data, "two", 3));
    check("the acknowledgement of JSON", ["json-ack", data], await ask("json-ack", data));
    const bytes = Uint8Array.from({ length: 256 }, (_, i) => i);
    const [whole] = await echo("binary", bytes.buffer);
    check("the echo of an ArrayBuffer", bytesAsText(bytes.buffer), bytesAsText(whole));
    const [nested, empty] = await echo("nested", { list: [bytes.buffer], n: 1 }, new ArrayBuffer(0));
    check("the echo of a nested ArrayBuffer", bytesAsText(bytes.buffer), bytesAsText(nested.list[0]));
    check("the echo of an empty ArrayBuffer", "", bytesAsText(empty));
    const [name, acknowledged] = await ask("binary-ack", bytes.buffer);
    check("the acknowledgement's event name", "binary-ack", name);
    check("the acknowledgement of an ArrayBuffer", bytesAsText(bytes.buffer), bytesAsText(acknowledged));
  } catch (error) {
    result.failures.push(error.message);
  } finally {
    socket.disconnect();
  }
  return result;
}

(async () => {
  const results = [];
  for (const transport of settings.transports) results.push(await run(transport));
  await fetch("/results", { method: "POST", body: JSON.stringify({ agent: navigator.userAgent, origin: location.origin, results }) });
})();
