// The pairs of servers: options of socket.io and the same as a configuration of ours.
const LIMIT = 5000;

function pair(node, engine, times) {
  return {
    node: { maxHttpBufferSize: LIMIT, serveClient: false, ...node },
    ours: [`max_payload = ${LIMIT}`, `serve_client = ${node.serveClient === true}`, ...engine].join("\n"),
    times,
  };
}

export const SERVERS = {
  plain: pair({}, []),
  // Its clients see each other: one case at a time.
  chat: { ...pair({}, []), alone: true },
  // An application that ends sockets: an example of ours.
  operators: { ...pair({}, []), application: "operators", alone: true },
  eio3: pair({ allowEIO3: true }, ["allow_eio3 = true"]),
  fast: pair(
    { pingInterval: 500, pingTimeout: 300, upgradeTimeout: 250, connectTimeout: 1300, allowEIO3: true },
    [
      'ping_interval = "500ms"',
      'ping_timeout = "300ms"',
      'upgrade_timeout = "250ms"',
      'connect_timeout = "1300ms"',
      "allow_eio3 = true",
    ],
    {
      upgrade_timeout: 250,
      ping_interval: 500,
      "ping_interval + ping_timeout": 800,
      connect_timeout: 1300,
    },
  ),
  polling: pair({ transports: ["polling"] }, ['transports = ["polling"]']),
  websocket: pair({ transports: ["websocket"] }, ['transports = ["websocket"]']),
  cors: pair(
    { cors: { origin: ["http://a.example", "http://b.example"], credentials: true } },
    ['cors_origins = ["http://a.example", "http://b.example"]', "cors_credentials = true"],
  ),
  // Node's window is not kept from message to message either, as ours never is.
  deflate: pair(
    { perMessageDeflate: { serverNoContextTakeover: true, clientNoContextTakeover: true }, httpCompression: false },
    ["per_message_deflate = true", "http_compression = false"],
  ),
  client: pair({ serveClient: true }, []),
  "client-cors": pair({ serveClient: true, cors: { origin: ["http://a.example"] } }, ['cors_origins = ["http://a.example"]']),
  star: pair({ cors: { origin: "*" } }, ['cors_origins = ["*"]']),
};
