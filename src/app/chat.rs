//! Namespace `/chat`: rooms over all workers. Every event may be acknowledged.
//!
//! | event | what clients get | acknowledgement |
//! |---|---|---|
//! | `join`(room), `leave`(room) | | `{ok, room}` |
//! | `message`(room, payload) | all others in the room: `message` `{room, from, payload}` | `{ok}` |
//! | `announce`(payload) | all, the sender too: `announce` payload | `{ok}` |
//! | `who`(room) | | `{ok, sockets}`: their ids, sorted |
//! | `whereami`() | | `{worker}`: its process |
//! | `collect`(payload) | all: `collect` payload, to be acknowledged | `{ok, responses}` |
//!
//! What is not as it should be is acknowledged with `{ok: false, error}` and does nothing else.

use std::fmt::Display;
use std::time::Duration;

use futures_util::StreamExt;
use serde::Serialize;
use serde_json::{Value, json};
use socketioxide::operators::BroadcastOperators;
use socketioxide::{AckError, SocketError};

use crate::api::{Ack, Adapter, Arg, Args, Io, Socket, ask};

/// How long a client may take to answer a `collect`.
const COLLECT_TIMEOUT: Duration = Duration::from_secs(2);

/// A client connected.
pub(super) async fn connected(socket: Socket) {
    socket.on("join", join);
    socket.on("leave", leave);
    socket.on("message", message);
    socket.on("announce", announce);
    socket.on("who", who);
    socket.on("whereami", whereami);
    socket.on("collect", collect);
}

/// Why an event was not obeyed.
#[derive(Debug, thiserror::Error)]
enum ChatError {
    #[error("the arguments must be {0}")]
    Arguments(&'static str),
    #[error("the server could not do it: {0}")]
    Server(String),
    #[error("the clients answered more than one may ask for")]
    TooMuch,
}

impl ChatError {
    fn server(error: impl Display) -> Self {
        Self::Server(error.to_string())
    }
}

async fn join(socket: Socket, args: Args, ack: Ack) {
    let joined = one_room(args).and_then(|room| {
        socket.join(room.clone()).map_err(ChatError::server)?;
        Ok(json!({ "ok": true, "room": room }))
    });
    answer(ack, joined);
}

async fn leave(socket: Socket, args: Args, ack: Ack) {
    let left = one_room(args).map(|room| {
        socket.leave(room.clone());
        json!({ "ok": true, "room": room })
    });
    answer(ack, left);
}

async fn message(socket: Socket, args: Args, ack: Ack) {
    #[derive(Serialize)]
    struct Message<'a> {
        room: &'a str,
        from: &'a str,
        payload: Arg,
    }

    let sent = async {
        let (room, payload) = room_and_payload(args)?;
        let message = Message {
            room: &room,
            from: socket.id.as_str(),
            payload,
        };
        let others = socket.to(room.clone());
        let sent = others.emit("message", &message).await;
        sent.map_err(ChatError::server).map(|()| done())
    };
    answer(ack, sent.await);
}

async fn announce(io: Io, socket: Socket, args: Args, ack: Ack) {
    let sent = async {
        let payload = one_payload(args)?;
        let sent = everybody(&io, &socket)?.emit("announce", &payload).await;
        sent.map_err(ChatError::server).map(|()| done())
    };
    answer(ack, sent.await);
}

async fn who(io: Io, socket: Socket, args: Args, ack: Ack) {
    let found = async {
        let room = one_room(args)?;
        let sockets = everybody(&io, &socket)?.within(room).fetch_sockets().await;
        let sockets = sockets.map_err(ChatError::server)?;
        let ids = sockets.iter().map(|socket| socket.data().id.as_str());
        let mut ids: Vec<_> = ids.collect();
        ids.sort_unstable();
        Ok(json!({ "ok": true, "sockets": ids }))
    };
    answer(ack, found.await);
}

async fn whereami(args: Args, ack: Ack) {
    let none = args.exactly().map(|[]| ());
    let here = none.ok_or(ChatError::Arguments("()"));
    let here = here.map(|()| json!({ "worker": std::process::id() }));
    answer(ack, here);
}

async fn collect(io: Io, socket: Socket, args: Args, ack: Ack) {
    #[derive(Serialize)]
    struct Collected {
        ok: bool,
        responses: Vec<Arg>,
    }

    let collected = async {
        let payload = one_payload(args)?;
        let everybody = everybody(&io, &socket)?.timeout(COLLECT_TIMEOUT);
        let acks = ask(everybody, "collect", &payload).await;
        let acks = acks.map_err(ChatError::server)?;
        let mut acks = std::pin::pin!(acks);
        let mut responses = Vec::new();
        while let Some((_, ack)) = acks.next().await {
            match ack {
                Ok(args) => responses.push(args.into_iter().next().unwrap_or_default()),
                Err(AckError::Socket(SocketError::InternalChannelFull)) => {
                    return Err(ChatError::TooMuch);
                }
                // Who gave no answer has none among the responses.
                Err(_) => {}
            }
        }
        Ok(Collected {
            ok: true,
            responses,
        })
    };
    answer(ack, collected.await);
}

/// All sockets of this namespace, this one too.
fn everybody(io: &Io, socket: &Socket) -> Result<BroadcastOperators<Adapter>, ChatError> {
    let gone = || ChatError::server("the namespace is gone");
    io.of(socket.ns()).ok_or_else(gone)
}

fn one_room(args: Args) -> Result<String, ChatError> {
    let room = args.exactly().and_then(|[room]| room.into_text());
    room.ok_or(ChatError::Arguments("(room: string)"))
}

fn one_payload(args: Args) -> Result<Arg, ChatError> {
    let payload = args.exactly().map(|[payload]| payload);
    payload.ok_or(ChatError::Arguments("(payload)"))
}

fn room_and_payload(args: Args) -> Result<(String, Arg), ChatError> {
    let both = args.exactly();
    let both = both.and_then(|[room, payload]| Some((room.into_text()?, payload)));
    both.ok_or(ChatError::Arguments("(room: string, payload)"))
}

fn done() -> Value {
    json!({ "ok": true })
}

fn answer<T: Serialize>(Ack(ack): Ack, outcome: Result<T, ChatError>) {
    let Some(ack) = ack else { return };
    // An error here means that the client is gone, and with it whoever would miss the answer.
    let _ = match outcome {
        Ok(outcome) => ack.send(&outcome),
        Err(error) => ack.send(&json!({ "ok": false, "error": error.to_string() })),
    };
}
