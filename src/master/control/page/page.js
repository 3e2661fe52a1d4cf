// The operator's page: asks for the totals of /status once a second while somebody looks, and for sessions only when
// they are searched. docs/CONTROL.md has the answers. Nothing is ever written as HTML, so that what clients sent
// stays text.
"use strict";

const PERIOD_MS = 1000;
const PATIENCE_MS = 10_000;
/** How many samples the lines show: two minutes. */
const SAMPLES = 120;
/** Ends are counted over so many samples, too. */
const RECENT = 60;
/** So many rooms of a session are named. */
const ROOMS = 8;

const REASONS = {
  "client-left": "the client closed it",
  "transport-closed": "the connection ended without a word",
  "ping-timeout": "no answer to a ping in time",
  "write-stall": "the client took nothing of what it was sent",
  memory: "the worker’s memory was full, and much was waiting for it",
  "too-large": "a message larger than max_payload",
  "protocol-error": "it broke a protocol",
  "connect-timeout": "it joined no namespace in time",
  application: "the application, or an operator, disconnected it",
  until: "the time for which it was admitted ran out",
  drain: "this machine is taken out, or reloads",
  stopped: "the server stopped",
  "worker-gone": "its worker ended",
};

const byId = (id) => document.getElementById(id);

/** An element with attributes and children, which are elements or text. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Changes a text only where it is another one, so that nobody is told twice. */
function write(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

// Figures

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat("en", { maximumFractionDigits: 1 });

const number = (value) => (typeof value === "number" ? whole.format(value) : "–");
const rate = (value) => (typeof value === "number" ? (value < 10 ? short : whole).format(value) : "–");

function bytes(value) {
  if (typeof value !== "number") return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${(value < 10 && unit > 0 ? short : whole).format(value)} ${units[unit]}`;
}

function duration(seconds) {
  if (typeof seconds !== "number") return "–";
  if (seconds < 1) return seconds === 0 ? "0 s" : `${short.format(seconds * 1000)} ms`;
  if (seconds < 60) return `${whole.format(Math.floor(seconds))} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} min ${Math.floor(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  if (hours < 48) return `${hours} h ${minutes % 60} min`;
  return `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** `2026-11-27 03:00:00`, as the log has it. */
const time = (text) => (typeof text === "string" ? text.replace("T", " ").replace(/(\.\d+)?Z$/, "") : "–");

const total = (counts) => Object.values(counts ?? {}).reduce((sum, count) => sum + count, 0);

// Requests

/** The server said no, in words. */
class Refused extends Error {}

async function ask(target, options = {}) {
  let answer;
  try {
    answer = await fetch(target, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS), ...options });
  } catch (error) {
    throw new Refused(error.name === "TimeoutError" ? "the server does not answer" : "the server cannot be reached");
  }
  let body;
  try {
    body = await answer.json();
  } catch {
    throw new Refused(`the server answered ${answer.status} without words`);
  }
  if (!answer.ok) throw new Refused(body.error ?? `the server answered ${answer.status}`);
  return body;
}

// Tables

/**
 * Fills a table; a column is [name, cell(row), class]. Rows that are there are changed, not made anew, so that a
 * selection lasts. Roles are said again, because narrow screens show rows as cards.
 */
function fill(table, columns, rows, nothing) {
  if (!table.tHead) {
    const head = columns.map(([name, , kind]) => element("th", { scope: "col", role: "columnheader", class: kind ?? "" }, name));
    table.append(element("thead", { role: "rowgroup" }, element("tr", { role: "row" }, ...head)), element("tbody", { role: "rowgroup" }));
  }
  const body = table.tBodies[0];
  const empty = rows.length === 0;
  table.tHead.hidden = empty;
  if (empty) {
    const cell = element("td", { role: "cell", class: "quiet", colspan: columns.length }, element("span", {}, nothing));
    body.replaceChildren(element("tr", { role: "row" }, cell));
    delete table.dataset.filled;
    return;
  }
  if (!table.dataset.filled) body.replaceChildren();
  table.dataset.filled = "yes";
  while (body.rows.length > rows.length) body.lastElementChild.remove();
  rows.forEach((row, at) => {
    let line = body.rows[at];
    if (!line) {
      const cells = columns.map(([name, , kind]) => element("td", { role: "cell", "data-column": name, class: kind ?? "" }, element("span")));
      line = element("tr", { role: "row" }, ...cells);
      body.append(line);
    }
    line.removeAttribute("class");
    columns.forEach(([, cell], column) => {
      const place = line.cells[column].firstElementChild;
      const value = cell(row);
      if (!(value instanceof Node)) write(place, value);
      // A button is one session's, whatever it says.
      else if (value.nodeName === "BUTTON" || place.textContent !== value.textContent) place.replaceChildren(value);
    });
  });
}

/** A value, and a smaller one below it. */
function two(above, below) {
  const both = document.createDocumentFragment();
  both.append(above, element("small", {}, below));
  return both;
}

const transports = (counts) =>
  Object.entries(counts ?? {})
    .map(([name, count]) => `${number(count)} ${name}`)
    .join(", ");

const WORKERS = [
  ["Worker", ({ slot, pid }) => two(String(slot), pid === null ? "no process" : `pid ${pid}`)],
  ["State", (worker) => (worker.state === "ready" ? "ready" : element("span", { class: "bad" }, worker.why ? `${worker.state}: ${worker.why}` : worker.state))],
  ["Up", (worker) => duration(worker.uptime_seconds)],
  ["Restarts", (worker) => number(worker.restarts), "number"],
  ["Sessions", (worker) => two(number(total(worker.sessions)), transports(worker.sessions)), "number"],
  ["Messages", (worker) => two(`${rate(worker.messages_in_per_second)}/s in`, `${rate(worker.messages_out_per_second)}/s out`), "number"],
  ["Bytes", (worker) => two(`${bytes(worker.bytes_in_per_second)}/s in`, `${bytes(worker.bytes_out_per_second)}/s out`), "number"],
  ["Memory", (worker) => bytes(worker.memory_bytes), "number"],
  ["Lag", (worker) => duration(worker.event_loop_lag_seconds), "number"],
  ["Queue to the bus", (worker) => bytes(worker.bus_queue_bytes), "number"],
];

const ENDED = [
  ["Reason", ([reason]) => two(reason, REASONS[reason] ?? "")],
  ["Last minute", ([reason]) => number(recently(reason)), "number"],
  ["All", ([, count]) => number(count), "number"],
];

const REFUSED = [
  ["Reason", ([reason]) => reason],
  ["All", ([, count]) => number(count), "number"],
];

const LISTENERS = [
  ["Address", (listener) => listener.address, "long"],
  ["State", (listener) => (listener.state === "listening" ? "listening" : element("span", { class: "bad" }, `${listener.state}: ${listener.why}`)), "long"],
];

const LIMITS = [
  ["Key", ([key]) => key.replace(/_bytes$/, "")],
  ["Limit", ([key, value]) => (value === 0 ? "none" : key.endsWith("_bytes") ? bytes(value) : number(value)), "number"],
];

const FAULTS = [
  ["At", (fault) => time(fault.at)],
  ["What", (fault) => fault.what, "long"],
];

const worker = (session) => (session.worker ? two(`worker ${session.worker.slot}`, `pid ${session.worker.pid}`) : "–");
const traffic = (messages, size) => two(`${number(messages)} ${messages === 1 ? "message" : "messages"}`, bytes(size));

const LIVE = [
  ["Socket id", (session) => session.socket_id, "id"],
  ["Address", (session) => session.address ?? "unknown", "long address"],
  ["Worker", worker],
  ["Transport", (session) => session.transport],
  ["Open for", (session) => duration(session.open_seconds)],
  ["In", (session) => traffic(session.messages_in, session.bytes_in), "number"],
  ["Out", (session) => traffic(session.messages_out, session.bytes_out), "number"],
  ["Namespaces and rooms", (session) => rooms(session.namespaces), "long"],
  ["", (session) => disconnectButton(session)],
];

const GONE = [
  ["Ended at", (end) => time(end.at)],
  ["Socket id", (end) => end.socket_id ?? `${number(end.sessions)} sessions, whose ids are not known`, "id"],
  ["Address", (end) => end.address ?? "unknown", "long address"],
  ["Worker", worker],
  ["Reason", (end) => two(end.reason, REASONS[end.reason] ?? "")],
  ["Whose doing", (end) => end.by],
  ["Lived", (end) => duration(end.lived_seconds)],
  ["In", (end) => traffic(end.messages_in, end.bytes_in), "number"],
  ["Out", (end) => traffic(end.messages_out, end.bytes_out), "number"],
];

function rooms(namespaces) {
  const lines = Object.entries(namespaces ?? {}).map(([namespace, list]) => {
    const named = (list ?? []).slice(0, ROOMS).join(", ");
    const more = (list ?? []).length - ROOMS;
    return element("div", {}, named ? `${namespace}: ${named}` : namespace, more > 0 ? ` and ${number(more)} more` : "");
  });
  const all = document.createDocumentFragment();
  all.append(...(lines.length ? lines : ["none"]));
  return all;
}

// The state, once a second

const TILES = [
  ["Sessions", (status) => total(status.sessions), number, (status) => transports(status.sessions)],
  ["Messages in", (status) => status.rates?.messages_in_per_second, (value) => `${rate(value)}/s`],
  ["Messages out", (status) => status.rates?.messages_out_per_second, (value) => `${rate(value)}/s`],
  ["Bytes in", (status) => status.rates?.bytes_in_per_second, (value) => `${bytes(value)}/s`],
  ["Bytes out", (status) => status.rates?.bytes_out_per_second, (value) => `${bytes(value)}/s`],
  ["Sessions opened", (status) => status.rates?.sessions_opened_per_second, (value) => `${rate(value)}/s`],
  ["Sessions ended", (status) => status.rates?.sessions_ended_per_second, (value) => `${rate(value)}/s`],
];

const SVG = "http://www.w3.org/2000/svg";
let tiles = [];
/** Of each tile, and of `ended`, the last samples. */
let history = [];
let ends = [];
let startedAt = null;

function makeTiles() {
  tiles = TILES.map(([name]) => {
    const value = element("dd");
    const more = element("dd", { class: "more" });
    const drawing = document.createElementNS(SVG, "svg");
    drawing.setAttribute("viewBox", `0 0 ${SAMPLES - 1} 40`);
    drawing.setAttribute("preserveAspectRatio", "none");
    drawing.setAttribute("aria-hidden", "true");
    const line = document.createElementNS(SVG, "polyline");
    drawing.append(line);
    byId("tiles").append(element("div", {}, element("dt", {}, name), value, more, element("dd", {}, drawing)));
    return { value, more, line };
  });
  forget();
}

/** Another server answers: what was drawn is not its. */
function forget() {
  history = TILES.map(() => []);
  ends = [];
}

function draw(line, samples) {
  const most = Math.max(1, ...samples);
  const first = SAMPLES - samples.length;
  line.setAttribute("points", samples.map((value, at) => `${first + at},${(38 - (value / most) * 36).toFixed(1)}`).join(" "));
}

function keep(samples, sample, most) {
  samples.push(sample);
  if (samples.length > most) samples.shift();
}

function recently(reason) {
  const [oldest, newest] = [ends[0], ends.at(-1)];
  return oldest ? (newest[reason] ?? 0) - (oldest[reason] ?? 0) : 0;
}

function show(status) {
  if (startedAt !== status.started_at) forget();
  startedAt = status.started_at;
  const sessions = total(status.sessions);
  const state = status.taken_out ? `${status.state}, taken out` : status.state;
  showState(state, status.state === "healthy" && !status.taken_out ? "healthy" : "degraded");
  document.title = `${number(sessions)} sessions, ${state} – my-app`;
  write(byId("version"), status.version);
  write(byId("about"), `master ${status.pid}, up ${duration(status.uptime_seconds)}, log level ${status.log?.level ?? "?"}`);
  const reasons = status.reasons ?? [];
  const list = byId("reasons");
  if (list.children.length !== reasons.length || reasons.some((reason, at) => list.children[at].textContent !== reason)) {
    list.replaceChildren(...reasons.map((reason) => element("li", {}, reason)));
  }
  list.hidden = reasons.length === 0;

  TILES.forEach(([, value, words, more], at) => {
    const sample = value(status);
    keep(history[at], sample ?? 0, SAMPLES);
    write(tiles[at].value, words(sample));
    write(tiles[at].more, more ? more(status) : "");
    draw(tiles[at].line, history[at]);
  });
  keep(ends, status.ended ?? {}, RECENT + 1);

  fill(byId("workers"), WORKERS, status.workers ?? [], "There are none.");
  const happened = ([, count]) => count > 0;
  fill(byId("ended"), ENDED, Object.entries(status.ended ?? {}).filter(happened), "None has ended.");
  fill(byId("refused"), REFUSED, Object.entries(status.refused ?? {}).filter(happened), "Nobody was refused.");
  fill(byId("listeners"), LISTENERS, status.listeners ?? [], "There are none.");
  fill(byId("limits"), LIMITS, Object.entries(status.limits ?? {}), "There are none.");
  fill(byId("faults"), FAULTS, status.faults ?? [], "There were none.");
}

function showState(text, kind) {
  write(byId("state"), text);
  byId("state").className = `badge ${kind}`;
}

let paused = false;
let timer = null;
let asking = false;

/** Asks now, and a second after each answer, while somebody looks. */
async function update() {
  clearTimeout(timer);
  if (asking || paused || document.hidden) return;
  asking = true;
  try {
    show(await ask("/status"));
  } catch (error) {
    showState(error instanceof Refused ? error.message : "an answer was not understood", "degraded");
    if (!(error instanceof Refused)) console.error(error);
  }
  asking = false;
  timer = setTimeout(update, PERIOD_MS);
}

// The search

const HINTS = {
  address: ["Address", "192.0.2.7"],
  id: ["Socket id", "dHQtbGV0IG1lIGlu"],
  room: ["Room", "news"],
};

function tell(text, failed = false) {
  write(byId("news"), text);
  byId("news").className = failed ? "failed" : "";
}

function chooseField() {
  const by = byId("by").value;
  const [label, hint] = HINTS[by];
  write(byId("sought-label"), label);
  byId("sought").placeholder = hint;
  byId("namespace-field").hidden = by !== "room";
}

async function search() {
  const by = byId("by").value;
  const sought = byId("sought").value.trim();
  if (!sought) return;
  const query = new URLSearchParams({ [by]: sought });
  if (by === "room") query.set("namespace", byId("namespace").value.trim() || "/");
  tell("Searching…");
  try {
    const none = { ends: [], more: false };
    const [live, gone] = await Promise.all([ask(`/search?${query}`), by === "room" ? none : ask(`/why?${new URLSearchParams({ of: sought })}`)]);
    byId("found").hidden = false;
    fill(byId("live"), LIVE, live.sessions, "There are none.");
    const known = by !== "room";
    for (const id of ["gone", "gone-title"]) byId(id).hidden = !known;
    fill(byId("gone"), GONE, gone.ends, "None is known.");
    const count = (list, more) => (more ? `the first ${number(list.length)}` : number(list.length));
    const ended = known ? `, ended sessions: ${count(gone.ends, gone.more)}` : "";
    tell(`Live sessions: ${count(live.sessions, live.more)}${ended}.`);
  } catch (error) {
    byId("found").hidden = true;
    tell(`The search failed: ${error.message}.`, true);
    if (!(error instanceof Refused)) console.error(error);
  }
}

function disconnectButton(session) {
  const button = element("button", { type: "button", class: "danger", "aria-label": `Disconnect ${session.socket_id}` }, "Disconnect");
  button.addEventListener("click", () => disconnect(session, button));
  return button;
}

function confirmed(text) {
  const dialog = byId("confirm");
  write(byId("confirm-text"), text);
  dialog.returnValue = "cancel";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "disconnect"), { once: true });
  });
}

async function disconnect({ socket_id: id, address }, button) {
  const whose = address ? `, from ${address},` : "";
  if (!(await confirmed(`The session of socket ${id}${whose} ends now. Its client may come back.`))) return;
  try {
    const query = new URLSearchParams({ id });
    const { disconnected } = await ask(`/disconnect?${query}`, { method: "POST", headers: { "X-Requested-With": "my-app" } });
    // The button goes; whoever works with the keyboard stays at the table.
    const row = button.closest("tr");
    row?.classList.add("over");
    button.replaceWith(disconnected ? "disconnected" : "was gone");
    byId("found").focus();
    tell(disconnected ? `${id} was disconnected.` : `${id} had ended already.`);
  } catch (error) {
    tell(`${id} was not disconnected: ${error.message}.`, true);
    if (!(error instanceof Refused)) console.error(error);
  }
}

makeTiles();
chooseField();
byId("by").addEventListener("change", chooseField);
byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  search();
});
byId("pause").addEventListener("click", (event) => {
  paused = !paused;
  event.currentTarget.setAttribute("aria-pressed", String(paused));
  update();
});
document.addEventListener("visibilitychange", update);
update();
