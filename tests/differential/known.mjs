// Where we differ from Node, and why that is right. Whatever is no longer true here is an error.

/** What differs in many cases in the same way: a line of Node's is made to say what ours does, and the other way round. */
export const rules = [
  {
    reason: "a cache that keeps a refusal would keep it beyond its cause",
    ours: (line) => line.replace(/→ (4\d\d) \{content-type: application\/json; cache-control: no-store/g, "→ $1 {content-type: application/json"),
  },
  {
    reason: "the message also says which key of the configuration allows it",
    ours: (line) => line.replace(/("message":"(Unsupported protocol version|Forbidden)): [^"]*"/g, '$1"'),
  },
  {
    reason: "a preflight allows the methods that the engine has",
    node: (line) => line.replace("GET,HEAD,PUT,PATCH,POST,DELETE", "GET,POST"),
  },
];

/** The name of a case, and the reason. */
export const known = {};
