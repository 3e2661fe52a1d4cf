//! The table itself.

use super::{
    Counter, Direction, Gauge, Histogram, Kind, Label, Listener, Metric, Plain, Purpose, Refused,
    Scope, Unit, Upgrade, offset,
};
use crate::wire::control::{Reason, TransportName};

const MS: u64 = 1_000_000;

/// The bounds of what keeps everybody waiting, in nanoseconds. The clock of the event loop ticks once in a millisecond.
const LAG: [u64; 11] = [
    2 * MS,
    5 * MS,
    10 * MS,
    20 * MS,
    50 * MS,
    100 * MS,
    200 * MS,
    500 * MS,
    1000 * MS,
    2000 * MS,
    5000 * MS,
];

/// The bounds of how long handlers take, in nanoseconds.
const HANDLER: [u64; 12] = [
    MS / 100,
    MS / 20,
    MS / 10,
    MS / 2,
    MS,
    5 * MS,
    10 * MS,
    50 * MS,
    100 * MS,
    500 * MS,
    1000 * MS,
    5000 * MS,
];

const fn label<L: Label>() -> Option<(&'static str, &'static [&'static str])> {
    if L::NAME.is_empty() {
        return None;
    }
    Some((L::NAME, L::VALUES))
}

/// What the version's label is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Version;

impl Label for Version {
    const NAME: &'static str = "version";
    const VALUES: &'static [&'static str] = &[env!("CARGO_PKG_VERSION")];

    fn index(self) -> usize {
        0
    }
}

/// Makes the table, and for each line a constant by which it is counted. A line: constant, kind, unit, who has it,
/// name, label if any, help.
macro_rules! table {
    (@kind Counter) => { Kind::Counter };
    (@kind Gauge) => { Kind::Gauge };
    (@kind Histogram $bounds:ident) => { Kind::Histogram(&$bounds) };
    (@label) => { Plain };
    (@label $label:ty) => { $label };
    (@id $id:ident Counter $($label:ty)?) => {
        pub(crate) const $id: Counter<table!(@label $($label)?)> = Counter::at(offset(Line::$id as usize));
    };
    (@id $id:ident Gauge $($label:ty)?) => {
        pub(crate) const $id: Gauge<table!(@label $($label)?)> = Gauge::at(offset(Line::$id as usize));
    };
    (@id $id:ident Histogram $bounds:ident) => {
        pub(crate) const $id: Histogram = Histogram::at(offset(Line::$id as usize), &$bounds);
    };
    ($($id:ident: $kind:ident$(($bounds:ident))? $(<$label:ty>)? of $unit:ident, $scope:ident, $name:literal, $help:literal;)*) => {
        #[expect(clippy::upper_case_acronyms, non_camel_case_types, reason = "a line has the name of its constant")]
        enum Line { $($id),* }

        /// Every metric of the program, in the order in which values are told.
        pub(crate) const TABLE: [Metric; [$($name),*].len()] = [$(
            Metric {
                name: $name,
                kind: table!(@kind $kind $($bounds)?),
                unit: Unit::$unit,
                scope: Scope::$scope,
                label: label::<table!(@label $($label)?)>(),
                help: $help,
            }
        ),*];

        $(table!(@id $id $kind $($bounds)? $($label)?);)*
    };
}

table! {
    BUILD_INFO: Gauge<Version> of Number, Server, "my_app_build_info",
        "The version that runs; always 1.";
    START_TIME: Gauge of Seconds, Server, "my_app_start_time_seconds",
        "When the server started, in seconds since 1970.";
    TAKEN_OUT: Gauge of Number, Server, "my_app_taken_out",
        "1 while this machine is taken out by drain.";
    WORKERS: Gauge of Number, Server, "my_app_workers",
        "How many workers there are to be.";
    WORKERS_READY: Gauge of Number, Server, "my_app_workers_ready",
        "How many workers take connections.";
    WORKER_RESTARTS: Counter of Number, Worker, "my_app_worker_restarts_total",
        "How often the worker of this slot was replaced.";
    RELOADS: Counter of Number, Server, "my_app_reloads_total",
        "How often a reload had a program take over; those that were refused are not counted.";
    RELOAD_PAUSE: Gauge of Seconds, Server, "my_app_reload_pause_seconds",
        "How long the master stood still in the last reload, until it could accept again; 0: there was none.";
    MASTER_MEMORY: Gauge of Bytes, Server, "my_app_master_memory_bytes",
        "What the master has in memory.";
    MASTER_LAG: Histogram(LAG) of Seconds, Server, "my_app_master_event_loop_lag_seconds",
        "How late the master does what is due; up to 2 ms are the clock's own.";
    PANICS: Counter of Number, Server, "my_app_panics_total",
        "Panics: each has cost one event, or one task.";
    LOG_LINES_LOST: Counter of Number, Server, "my_app_log_lines_lost_total",
        "Lines that the log could not take.";
    ACCEPTED: Counter<Listener> of Number, Server, "my_app_connections_accepted_total",
        "Connections that the master accepted.";
    REFUSED: Counter<Refused> of Number, Server, "my_app_refused_total",
        "Connections and requests that were refused before there was a session, or without one.";
    CONNECTIONS_WAITING: Gauge of Number, Server, "my_app_connections_waiting",
        "Connections for new sessions that wait until a worker may be given one more.";
    RESCUED: Counter of Number, Server, "my_app_connections_rescued_total",
        "Connections of a worker that ended, which it had not begun to read and another worker was given.";
    PASSED: Counter of Number, Server, "my_app_connections_passed_total",
        "Connections that went from one worker to another, whose session they are for.";
    HANDOFFS: Counter of Number, Worker, "my_app_handoffs_total",
        "Connections that the worker was handed by the master.";
    CONNECTIONS: Gauge of Number, Worker, "my_app_connections",
        "Open connections of clients.";
    HTTP_REQUESTS: Counter<Purpose> of Number, Worker, "my_app_http_requests_total",
        "Requests over HTTP, but for a WebSocket's handshake that opens its connection.";
    SESSIONS: Gauge<TransportName> of Number, Worker, "my_app_sessions",
        "Live sessions, by the transport that they have now.";
    SESSIONS_OPENED: Counter<TransportName> of Number, Worker, "my_app_sessions_opened_total",
        "Handshakes that opened a session, by the transport that it began with.";
    SESSIONS_ENDED: Counter<Reason> of Number, Worker, "my_app_sessions_ended_total",
        "Sessions that ended, and why; worker-gone is counted by the master.";
    UPGRADES: Counter<Upgrade> of Number, Worker, "my_app_upgrades_total",
        "WebSockets with which polling sessions tried to go on, and what became of them.";
    MESSAGES: Counter<Direction> of Number, Worker, "my_app_messages_total",
        "Engine.IO messages, from clients (in) and for them (out), when they are queued.";
    MESSAGE_BYTES: Counter<Direction> of Bytes, Worker, "my_app_message_bytes_total",
        "Bytes of Engine.IO messages, without frames and headers, before they are deflated.";
    ACKS: Counter<Direction> of Number, Worker, "my_app_acks_total",
        "Acknowledgements of events; with the msgpack parser they are not told from events.";
    EVENTS: Counter of Number, Worker, "my_app_events_total",
        "Events that were given to a handler.";
    HANDLER_SECONDS: Histogram(HANDLER) of Seconds, Worker, "my_app_handler_seconds",
        "How long handlers took until they were done, what they waited for included; one of 16 is measured.";
    LAG_SECONDS: Histogram(LAG) of Seconds, Worker, "my_app_event_loop_lag_seconds",
        "How late the worker does what is due; up to 2 ms are the clock's own.";
    LAG_LONGEST: Gauge of Seconds, Worker, "my_app_event_loop_lag_longest_seconds",
        "The longest that the worker was late within the last five seconds.";
    MEMORY: Gauge of Bytes, Worker, "my_app_worker_memory_bytes",
        "What the worker has in memory.";
    WAITING: Gauge of Bytes, Worker, "my_app_waiting_bytes",
        "Bytes that wait for clients, or of clients for handlers.";
    SLOW_CLIENTS: Counter of Number, Worker, "my_app_slow_clients_total",
        "How often a client did not take what was written to its WebSocket.";
    HELD_BACK: Counter of Number, Worker, "my_app_sessions_held_back_total",
        "How often a client's events were read no further: it had much to take, or its handlers, or the bus.";
    BROADCASTS: Counter of Number, Worker, "my_app_broadcasts_total",
        "Broadcasts of the worker's own application, to whichever worker's sockets.";
    QUESTIONS: Counter of Number, Worker, "my_app_bus_questions_total",
        "What the worker asked the others: sockets, rooms, acknowledgements, server-side events.";
    UNANSWERED: Counter of Number, Worker, "my_app_bus_answers_missing_total",
        "Answers of other workers that did not come, or could not be given.";
    BUS_FRAMES: Counter<Direction> of Number, Worker, "my_app_bus_frames_total",
        "Frames that the worker had from the bus (in), or sent over it (out).";
    BUS_BYTES: Counter<Direction> of Bytes, Worker, "my_app_bus_bytes_total",
        "Bytes of these frames.";
    BUS_WAITS: Counter of Number, Worker, "my_app_bus_waits_total",
        "How often a sender had to wait, for the bus took no more.";
    BUS_GATE: Counter of Number, Worker, "my_app_bus_gate_closed_total",
        "How often so many senders waited that clients were held back.";
    BUS_QUEUE: Gauge of Bytes, Worker, "my_app_bus_queue_bytes",
        "Bytes that wait in the worker for the hub.";
    HUB_QUEUE: Gauge of Bytes, Worker, "my_app_hub_queue_bytes",
        "Bytes that wait in the hub for the worker.";
    BRIDGE_UP: Gauge of Number, Server, "my_app_bridge_up",
        "1 while this machine is connected to the other machines.";
    BRIDGE_MACHINES: Gauge of Number, Server, "my_app_bridge_machines",
        "Other machines that this one is connected to.";
    BRIDGE_OUTAGES: Counter of Number, Server, "my_app_bridge_outages_total",
        "How often the link to the other machines was lost.";
    BRIDGE_FRAMES: Counter<Direction> of Number, Server, "my_app_bridge_frames_total",
        "Frames that came from other machines (in), or were for them (out).";
    BRIDGE_BYTES: Counter<Direction> of Bytes, Server, "my_app_bridge_bytes_total",
        "Bytes of these frames.";
    BRIDGE_REPAIRED: Counter of Number, Server, "my_app_bridge_repaired_total",
        "Batches of frames of other machines that were missing, were asked for, and came.";
    BRIDGE_LOST: Counter<Direction> of Number, Server, "my_app_bridge_lost_total",
        "Frames of other machines that are lost for this one (in), or of this one for all others (out).";
    BRIDGE_GARBLED: Counter of Number, Server, "my_app_bridge_garbled_total",
        "Messages on the bridge's channels that made no sense.";
    BRIDGE_EMITTED: Counter of Number, Server, "my_app_bridge_emitted_total",
        "Messages of Redis emitters that were passed to the workers.";
    BRIDGE_RING: Gauge of Bytes, Server, "my_app_bridge_ring_bytes",
        "Bytes that the bridge keeps for machines that missed something.";
    BRIDGE_WAITING: Gauge of Bytes, Server, "my_app_bridge_waiting_bytes",
        "Bytes that wait in the bridge to be published.";
    BRIDGE_HUB_QUEUE: Gauge of Bytes, Server, "my_app_bridge_hub_queue_bytes",
        "Bytes that wait in the hub for the bridge.";
    BRIDGE_MEMORY: Gauge of Bytes, Server, "my_app_bridge_memory_bytes",
        "What the bridge has in memory.";
}
