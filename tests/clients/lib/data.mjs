// Seeded data: the same seed gives the same arguments on every machine.

/** A small seeded generator of numbers in [0, 1). */
export function generator(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

export function randomBytes(random, length) {
  const bytes = Buffer.alloc(length);
  for (let i = 0; i < length; i++) bytes[i] = Math.floor(random() * 256);
  return bytes;
}

const ALPHABET = [..."abcXYZ 0189_-.,:;/\\\"'`<>&{}[]\n\r\t\b\f\0\x1b\x1e\x7fäßçñΩжשلกあ漢€\u2028\u2029\ufeff\ufffd😀🏳️‍🌈𝒳👩‍🚀"];

export function randomString(random, length) {
  let text = "";
  for (let i = 0; i < length; i++) text += ALPHABET[Math.floor(random() * ALPHABET.length)];
  return text;
}

/** A finite double of any magnitude, never -0 (which JSON cannot carry). */
function randomDouble(random) {
  const view = new DataView(new ArrayBuffer(8));
  for (;;) {
    for (let i = 0; i < 8; i++) view.setUint8(i, Math.floor(random() * 256));
    const number = view.getFloat64(0);
    if (Number.isFinite(number) && !Object.is(number, -0)) return number;
  }
}

export function randomValue(random, depth, options) {
  const pick = Math.floor(random() * (depth > 0 ? 10 : 7));
  switch (pick) {
    case 0:
      return null;
    case 1:
      return random() < 0.5;
    case 2:
      return Math.floor((random() - 0.5) * 2 ** Math.floor(random() * 53)) + 0;
    case 3: {
      // The MessagePack encoder of the official parser writes any whole number
      // as a 64-bit integer, so one beyond 64 bits does not survive the client.
      const number = randomDouble(random);
      return options.msgpack && Number.isInteger(number) ? 0.1 : number;
    }
    case 4:
    case 5:
      return randomString(random, Math.floor(random() * 20));
    case 6:
      return options.binary ? randomBytes(random, Math.floor(random() * 64)) : "no binary";
    case 7:
    case 8: {
      const object = {};
      for (let i = Math.floor(random() * 6); i > 0; i--) object[`k${randomString(random, 4)}`] = randomValue(random, depth - 1, options);
      return object;
    }
    default:
      return Array.from({ length: Math.floor(random() * 6) }, () => randomValue(random, depth - 1, options));
  }
}

// The official parsers refuse a packet with more, in clients and servers alike.
const MOST_ATTACHMENTS = 10;

function attachments(value) {
  if (Buffer.isBuffer(value)) return 1;
  if (value === null || typeof value !== "object") return 0;
  return Object.values(value).reduce((total, inner) => total + attachments(inner), 0);
}

function nested(depth, leaf) {
  let value = leaf;
  for (let i = 0; i < depth; i++) value = i % 2 ? [value] : { inner: value };
  return value;
}

/** Names of events that JSON writes with escapes, or that a server might do so. */
const NAMES = ['na"me \\ \0 \n', '"', "\\", '\\"', "\n", "\0", "a\tb\u2028\x7f", "\\u0022", "é", "😀", 'é"😀\\', "\u{f0022}", "\u{f005c}\u{f00ff}", '\u{f00ff}\u{f00ff}"\u{f0022}'];

/**
 * The echo cases: {name, event, args}, and `comes` if that is not the event that comes back.
 * `msgpack` leaves out what the official MessagePack encoder cannot carry.
 */
export function echoCases({ seed = 1, msgpack = false } = {}) {
  const random = generator(seed);
  const cases = [];
  const add = (name, event, ...args) => cases.push({ name, event, args });

  add("no arguments", "none");
  add("one string", "message", "hello");
  add("empty string", "empty", "");
  add("empty array and object", "empty", [], {});
  add("null and booleans", "plain", null, true, false, [null, [null]], { a: null, b: false });
  add("integers", "numbers", 0, 1, -1, 127, 128, -128, -129, 255, 256, 32767, 32768, -32769, 65535, 65536, 2 ** 31 - 1, 2 ** 31, -(2 ** 31), -(2 ** 31) - 1, 2 ** 32 - 1, 2 ** 32);
  add("large integers", "numbers", 2 ** 53, 2 ** 53 - 1, -(2 ** 53), -(2 ** 53) + 1);
  add("floats", "numbers", 0.1, -0.1, 1.5, Math.PI, -Math.E, 5e-324, 1.1e-308, 2.2250738585072014e-308, 0.30000000000000004, 123456789.12345679);
  if (!msgpack) add("numbers beyond 64 bits", "numbers", 1e308, -1e308, Number.MAX_VALUE, 2 ** 63, 2 ** 64, 1e21, 1e22, 123456789012345680000);
  add("many arguments", "many", ...Array.from({ length: 50 }, (_, i) => (i % 3 ? i : { i })));
  add("nested", "nested", { a: { b: [{ c: [[[{ d: "deep" }]]] }], e: {} }, f: [[], [[]], {}] });
  add("deeply nested", "nested", nested(60, "leaf"));
  add("unicode", "unicode", "äöü ß ç ñ", "Ελληνικά", "עברית و العربية", "日本語 漢字 ไทย", "e\u0301 \u202eRTL\u202c \u200b");
  add("astral", "astral", "😀", "👩‍👩‍👧‍👦🏳️‍🌈", "𝒳𝓨𝕫", "\u{10ffff}", "a😀b𝒳c");
  add("control characters", "control", "\0", "a\0b", "\x01\x02\x1b\x1e\x1f\x7f\x80\x9f", "\b\f\n\r\t\v", "\x1e", "4\x1e2[\"x\"]\x1e");
  add("characters with a meaning in JSON or HTML", "escapes", "\"", "\\", "\\\\", "\\\"", "\\n", "\\u0000", "/", "\\/", "</script>", "\u2028\u2029", "\ufeff", "\ufffd", "\ufffe\uffff");
  if (!msgpack) add("lone surrogates", "surrogates", "\ud800", "\udc00", "a\udbffb");
  add("strings that look like packets", "packets", "42[\"x\"]", "2probe", "b4AAEC", "51-[\"x\"]", "/nsp,1", "10:42[\"x\",1]", "%5B", "+ & =");
  add("keys", "keys", { "": 1, '"': 2, "\\": 3, "a b": 4, "'": 5, "\0": 6, "😀": 7, "שלום": 8, "\n": 9, constructor: 10, toString: 11, "0": 12, "1": 13, length: 14 });
  add("event name with unicode", "name 😀 שלום é", 1);
  for (const event of NAMES) {
    add(`event name ${JSON.stringify(event)}`, event, 1);
    add(`event name ${JSON.stringify(event)} with binary`, event, { [event]: Buffer.from("x"), [`${event} `]: 1 });
  }
  if (!msgpack) cases.push({ name: "event name with a lone surrogate", event: "a\ud800b", args: [1], comes: "a\ufffdb" });
  add("empty event name", "", "x");
  add("event name with a comma and slash", "/a,b?c=d", "x");
  add("the words of a placeholder, without binary", "placeholder", { _placeholder: true, num: 0 }, { _placeholder: true, num: 99 }, { _placeholder: "x" }, [{ _placeholder: false, num: -1 }]);

  const bytes = (length) => randomBytes(random, length);
  add("binary: 0 bytes", "binary", Buffer.alloc(0));
  add("binary: 1 byte", "binary", Buffer.from([0]));
  add("binary: every byte", "binary", Buffer.from(Array.from({ length: 256 }, (_, i) => i)));
  add("binary: 100 kB", "binary", bytes(100_000));
  add("binary: several in one event", "binary", bytes(3), "between", bytes(0), bytes(1), 7, bytes(1000));
  add("binary: nested", "binary", { a: bytes(5), b: [bytes(6), { c: bytes(7), d: null }], e: "text" }, [[[bytes(8)]]]);
  add("binary: as many attachments as clients take", "binary", Array.from({ length: MOST_ATTACHMENTS }, (_, i) => ({ i, data: bytes(i) })));
  add("binary: bytes that look like packets", "binary", Buffer.from("42[\"x\"]"), Buffer.from("bAAEC"), Buffer.from([4, 0x1e, 0x1e]), Buffer.from([0, 1, 255, 4]));
  add("binary: event name with unicode", "bïn 😀", bytes(4));
  add("binary: beside unicode", "binary", "😀 ä שלום", bytes(4), { "ключ": bytes(2) });

  add("long string: 500 kB", "long", randomAscii(random, 500_000));
  add("long string: 500 kB of unicode", "long", "ä€😀x".repeat(50_000));
  for (let i = 0; i < 40; i++) {
    let args;
    do args = Array.from({ length: Math.floor(random() * 5) }, () => randomValue(random, 4, { msgpack, binary: i % 2 === 1 }));
    while (attachments(args) > MOST_ATTACHMENTS);
    add(`random ${i}`, `random ${i % 7}`, ...args);
  }
  return cases;
}

function randomAscii(random, length) {
  const characters = "abcdefghijklmnopqrstuvwxyz ABCDEFGHIJKLMNOPQRSTUVWXYZ\"\\";
  let text = "";
  for (let i = 0; i < length; i++) text += characters[Math.floor(random() * characters.length)];
  return text;
}
