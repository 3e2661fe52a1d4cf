// The page at `/`, a client of the sample application: src/app/echo.rs and src/app/chat.rs say what is asked and answered.
// Nothing is ever written as HTML, so that what others sent stays text.
"use strict";

const PATIENCE_MS = 5000;
const TRIP_PERIOD_MS = 2000;
const WHO_PERIOD_MS = 5000;
/** So many round trips are drawn. */
const TRIPS = 60;
/** So many lines are kept of each room, and of what happened. */
const LINES = 200;
/** So many characters of a text are shown, and of a name. */
const TEXT = 2000;
const NAME = 40;
/** So many members are named. */
const MEMBERS = 8;

/** Why a connection ended, in the client's words and in ours. */
const REASONS = {
  "transport close": "the connection ended: its worker did, or the server, or the network",
  "transport error": "the connection broke",
  "ping timeout": "the server was silent for too long",
  "parse error": "what came was no Socket.IO",
  "io server disconnect": "the server disconnected this window",
  "io client disconnect": "the page was left",
};
const TRANSPORTS = { polling: "long-polling", websocket: "WebSocket" };

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

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const ms = (value) => `${value < 10 ? value.toFixed(1) : whole.format(value)}\u00a0ms`;
const clock = () => element("time", {}, new Date().toTimeString().slice(0, 8));
const cut = (text, most) => (text.length > most ? `${text.slice(0, most)}…` : text);
const short = (id) => (typeof id === "string" ? id.slice(0, 8) : "?");
const pid = (value) => (Number.isSafeInteger(value) && value > 0 ? value : null);
/** The colour of a worker, the same in every window. */
const dot = (worker) => element("span", { class: worker ? `dot w${worker % 8}` : "dot", "aria-hidden": "true" });

/** Any payload as text. */
function worded(payload) {
  if (typeof payload === "string") return payload;
  if (payload instanceof ArrayBuffer) return `(${whole.format(payload.byteLength)} bytes)`;
  return JSON.stringify(payload) ?? "";
}

// What is shown of the connection

function showState(text, kind) {
  write(byId("state"), text);
  byId("state").className = `badge ${kind}`;
}

function happened(text, kind = "") {
  const list = byId("events");
  list.prepend(element("li", {}, clock(), element("span", { class: kind }, text)));
  while (list.children.length > LINES) list.lastElementChild.remove();
}

function showTransport(name, text) {
  for (const step of document.querySelectorAll("[data-step]")) {
    if (step.dataset.step === name) step.setAttribute("aria-current", "step");
    else step.removeAttribute("aria-current");
  }
  byId("line").className = `line ${name}`;
  write(byId("since"), text);
}

function tell(text, failed = false) {
  write(byId("news"), text);
  byId("news").className = failed ? "failed" : "";
}

// What is kept

let root;
let chat;
/** Of this connection: the process at the other end. */
let worker = null;
/** When the last connection was lost, and why. */
let lost = null;
let trips = [];
/** Each room's name, and what is shown of it. */
const rooms = new Map();
let current = null;

// The connection

function connect() {
  // As browsers do by default: polling first, then WebSocket. If the server allows one alone, that.
  const path = document.querySelector("meta[name=engine-path]").content;
  const options = { path, tryAllTransports: true, reconnectionDelay: 500, reconnectionDelayMax: 5000 };
  root = window.io("/", options);
  chat = window.io("/chat", options);
  const manager = root.io;
  let began = performance.now();
  manager.on("reconnect_attempt", () => (began = performance.now()));
  manager.on("open", () => watchTransport(manager.engine, began));

  root.on("connect", connected);
  root.on("disconnect", disconnected);
  root.on("connect_error", (error) => {
    showState(root.active ? "trying again" : "refused", "bad");
    // Who is refused is told why.
    const said = cut(error.context?.responseText || error.message, 200);
    if (lost?.said !== said) happened(`No connection: ${said}`, "bad");
    lost = { at: performance.now(), ...lost, said };
    byId("again").hidden = root.active;
  });
  chat.on("connect", enter);
  chat.on("message", (heard) => heardMessage(heard ?? {}));
  chat.on("announce", heardAnnouncement);
  chat.on("collect", (_, answer) => answer?.({ window: chat.id, worker }));
}

function watchTransport(engine, began) {
  const name = engine.transport.name;
  const opened = performance.now();
  showTransport(name, `open after ${ms(opened - began)}`);
  happened(`Open over ${TRANSPORTS[name]} after ${ms(opened - began)}`);
  engine.on("upgrading", () => write(byId("since"), "upgrading to WebSocket…"));
  engine.on("upgrade", (transport) => {
    const took = ms(performance.now() - opened);
    showTransport(transport.name, `upgraded after ${took}`);
    happened(`Upgraded from long-polling to ${TRANSPORTS[transport.name]} after ${took}, in the same session`, "good");
    // From here on they are those of the new transport.
    trips = [];
    measure();
  });
  engine.on("upgradeError", () => {
    write(byId("since"), "no WebSocket on this way: polling goes on");
    happened("No WebSocket comes through here; long-polling goes on");
  });
}

function connected() {
  const again = lost ? ` again after ${ms(performance.now() - lost.at)}` : "";
  showState(`connected${again}`, "good");
  byId("again").hidden = true;
  write(byId("socket"), root.id);
  if (again) happened(`Connected${again}`, "good");
  lost = null;
  measure();
}

function disconnected(reason) {
  lost = { at: performance.now() };
  worker = null;
  trips = [];
  const comesBack = root.active;
  showState(comesBack ? "lost, trying again" : "disconnected", "bad");
  happened(`Lost: ${REASONS[reason] ?? reason}`, "bad");
  showTransport("", comesBack ? "connecting again…" : "no connection");
  write(byId("socket"), "–");
  write(byId("members"), "");
  showTrips();
  showWorker();
  byId("again").hidden = comesBack;
}

/** The rooms of a lost connection are lost on the server: they are joined anew. */
async function enter() {
  const here = await ask("whereami");
  worker = pid(here?.worker);
  showWorker();
  if (worker) happened(`Worker ${worker} has this session`);
  await Promise.all([...rooms.keys()].map((room) => ask("join", room)));
  look();
}

function showWorker() {
  write(byId("worker"), worker ? String(worker) : "–");
  byId("worker-dot").hidden = !worker;
  byId("worker-dot").className = dot(worker).className;
  write(byId("kill"), worker ? `kill -KILL ${worker}` : "kill -KILL …");
  document.title = worker ? `worker ${worker} – my-app` : "my-app";
}

/** Asks `/chat`; gives its answer, or nothing and says why. */
async function ask(event, ...args) {
  try {
    if (!chat.connected) throw new Error("there is no connection");
    const answer = await chat.timeout(PATIENCE_MS).emitWithAck(event, ...args);
    if (answer?.ok === false) throw new Error(answer.error);
    return answer;
  } catch (error) {
    tell(`No ${event}: ${cut(error.message, 200)}.`, true);
    return null;
  }
}

// Round trips, while somebody looks

function measure() {
  if (document.hidden || !root.connected) return;
  const began = performance.now();
  root.timeout(PATIENCE_MS).emit("round trip", (error) => {
    if (error || !root.connected) return;
    trips = [...trips, performance.now() - began].slice(-TRIPS);
    showTrips();
  });
}

function showTrips() {
  const middle = [...trips].sort((a, b) => a - b)[trips.length >> 1];
  const most = Math.max(...trips);
  const points = trips.map((trip, at) => `${TRIPS - trips.length + at},${(38 - (trip / most) * 36).toFixed(1)}`);
  write(byId("trip"), trips.length ? ms(trips.at(-1)) : "–");
  write(byId("trips"), trips.length > 1 ? `median of ${trips.length}: ${ms(middle)}` : "echo, acknowledged");
  byId("drawing").setAttribute("points", points.join(" "));
}

// Rooms

/** Shows a room, and makes it if need be. */
function open(name) {
  if (!rooms.has(name)) {
    const log = element("ol", { class: "log", role: "log", tabindex: "0", "aria-label": `Said in ${cut(name, NAME)}` });
    const label = element("span", { title: cut(name, 500) }, cut(name, NAME));
    const count = element("span", { class: "new" });
    const button = element("button", { type: "button" }, label, count);
    const item = element("li", {}, button);
    button.addEventListener("click", () => open(name));
    rooms.set(name, { log, count, button, item, unread: 0 });
    byId("rooms").append(item);
    byId("logs").append(log);
  }
  current = name;
  showRooms();
  look();
}

function showRooms() {
  for (const [name, room] of rooms) {
    const shown = name === current;
    if (shown) room.unread = 0;
    room.log.hidden = !shown;
    room.button.setAttribute("aria-pressed", String(shown));
    write(room.count, room.unread ? `${room.unread} new` : "");
  }
  byId("inside").hidden = current === null;
  byId("nowhere").hidden = current !== null;
  const place = `#${new URLSearchParams({ room: current ?? "lobby" })}`;
  byId("second").href = place;
  history.replaceState(null, "", place);
  write(byId("members"), "");
  toEnd();
}

function toEnd() {
  const log = rooms.get(current)?.log;
  if (log) log.scrollTop = log.scrollHeight;
}

async function join() {
  const name = byId("room").value;
  if (!(await ask("join", name))) return;
  byId("room").value = "";
  open(name);
  tell(`You are in ${cut(name, NAME)}.`);
}

async function leave() {
  const name = current;
  if (name === null || !(await ask("leave", name))) return;
  rooms.get(name).item.remove();
  rooms.get(name).log.remove();
  rooms.delete(name);
  current = rooms.keys().next().value ?? null;
  showRooms();
  // The button may be gone with the last room; whoever works with the keyboard stays near.
  if (current === null) byId("room").focus();
  tell(`You left ${cut(name, NAME)}.`);
  look();
}

/** Who is in the room that is shown; told aloud only to who asked. */
async function look(aloud = false) {
  const name = current;
  if (name === null || !chat.connected || (document.hidden && !aloud)) return;
  const found = await ask("who", name);
  if (!Array.isArray(found?.sockets) || name !== current) return;
  const others = found.sockets.filter((id) => id !== chat.id);
  const you = others.length < found.sockets.length ? ["you"] : [];
  const named = [...you, ...others.slice(0, MEMBERS).map(short)].join(", ");
  const more = others.length - MEMBERS;
  const text = `${whole.format(found.sockets.length)} here: ${named}${more > 0 ? ` and ${whole.format(more)} more` : ""}`;
  write(byId("members"), text);
  if (aloud) tell(text);
}

// Messages

/** Adds to a room's log; who has scrolled up stays there. */
function add(room, meta, text, kind = "") {
  const { log } = room;
  const low = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  const rest = text.length - TEXT;
  const more = rest > 0 ? [element("p", { class: "meta" }, `and ${whole.format(rest)} more characters`)] : [];
  log.append(element("li", { class: kind }, element("p", { class: "meta" }, ...meta), element("p", { class: "text" }, cut(text, TEXT)), ...more));
  while (log.children.length > LINES) log.firstElementChild.remove();
  if (low) log.scrollTop = log.scrollHeight;
}

/** Who says it, from which worker (as the sender says) and to which. */
function whose(name, from) {
  const meta = [element("span", {}, dot(from), element("b", {}, name))];
  if (!from) return [...meta, clock()];
  const crossed = worker && from !== worker;
  const way = crossed ? element("span", { class: "crossed" }, `worker ${from} → ${worker}`) : `worker ${from}`;
  return [...meta, way, clock()];
}

/** What pages send is `{text, worker, from}`; other clients may send anything. */
function unpacked(payload) {
  const ours = typeof payload?.text === "string" && pid(payload.worker);
  return ours ? { text: payload.text, from: payload.worker, id: payload.from } : { text: worded(payload), from: null };
}

function heardMessage({ room: name, from: id, payload }) {
  const room = rooms.get(name);
  if (!room) return;
  const { text, from } = unpacked(payload);
  if (name !== current) write(room.count, `${(room.unread += 1)} new`);
  add(room, whose(short(id), from), text);
}

function heardAnnouncement(payload) {
  const { text, from, id } = unpacked(payload);
  const name = `${from ? short(id) : "Somebody"}, to everybody`;
  for (const room of rooms.values()) add(room, whose(name, from), text, "announced");
  if (current === null) tell(`${name}: ${cut(text, 200)}`);
}

async function say(announces) {
  const field = byId("message");
  const text = field.value;
  const name = current;
  if (!text.trim()) return field.focus();
  if (!announces && name === null) return tell("You are in no room: join one, or announce.", true);
  const payload = { text, worker, from: chat.id };
  const sent = await (announces ? ask("announce", payload) : ask("message", name, payload));
  // What was not sent stays to be sent again.
  if (!sent) return;
  if (field.value === text) field.value = "";
  tell("");
  if (!announces && rooms.has(name)) add(rooms.get(name), whose("You", worker), text, "mine");
}

// Without the client's file

async function explain() {
  const address = document.querySelector("script[src*='socket.io']").src;
  const answer = await fetch(address).catch(() => null);
  const said = answer?.status === 404 ? cut(await answer.text(), 1000) : "Is serve_client = false? Or was the server built without the client’s files? make client gets them.";
  byId("missing").append(
    element("p", {}, `This page cannot connect: ${new URL(address).pathname} could not be loaded, or did not run.`),
    element("p", { class: "said" }, said),
  );
  byId("missing").hidden = false;
  showState("no client", "bad");
}

function start() {
  if (typeof window.io !== "function") return explain();
  byId("join").addEventListener("submit", (event) => [event.preventDefault(), join()]);
  byId("say").addEventListener("submit", (event) => [event.preventDefault(), say(false)]);
  byId("announce").addEventListener("click", () => say(true));
  byId("leave").addEventListener("click", leave);
  byId("who").addEventListener("click", () => look(true));
  byId("again").addEventListener("click", () => [root, chat].forEach((socket) => socket.connect()));
  document.addEventListener("visibilitychange", () => [measure(), look()]);
  addEventListener("resize", toEnd);
  // A browser keeps pages that were left, for the way back, and their connections: nobody would be there.
  addEventListener("pagehide", () => [root, chat].forEach((socket) => socket.disconnect()));
  addEventListener("pageshow", ({ persisted }) => persisted && [root, chat].forEach((socket) => socket.connect()));
  connect();
  open(new URLSearchParams(location.hash.slice(1)).get("room") || "lobby");
  setInterval(measure, TRIP_PERIOD_MS);
  setInterval(look, WHO_PERIOD_MS);
}

start();
