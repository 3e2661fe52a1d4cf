//! Every operator of socketioxide, and what applications say to each other, from a client's hand: an
//! application to try out what happens over all workers.
//!
//! ```text
//! cargo run --example operators
//! socket.emit("emit", { to: ["room"], except: [id] }, "event", payload, callback)
//! ```
//!
//! Every event is acknowledged with `{ok: true, …}` or `{ok: false, error}`; one whose arguments are of
//! other types is not an event of this application, and nothing happens.

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use my_app::api::{self, Ack, Adapter, App, Arg, Cluster, Event, Io, PublicData, Refusal, Socket};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use socketioxide::extract::{Data, SocketRef, State};
use socketioxide::handler::ConnectHandler;
use socketioxide::operators::BroadcastOperators;
use socketioxide::socket::Sid;

fn main() -> ExitCode {
    my_app::main(App {
        namespaces,
        ..my_app::app::APP
    })
}

/// What other workers' applications have said to this one.
type Heard = Arc<Mutex<Vec<Value>>>;

fn namespaces(io: &Io, cluster: &Cluster) {
    let heard = Heard::default();
    let told = Arc::clone(&heard);
    cluster.on("tell", move |data: Value| {
        let told = Arc::clone(&told);
        async move {
            let mut heard = told.lock().unwrap_or_else(PoisonError::into_inner);
            heard.push(data);
        }
    });
    cluster.on("ask", async |data: Value| {
        if data == "sleep" {
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        json!({ "echo": data })
    });
    io.ns("/", async move |socket: Socket| connected(&socket, &heard));
    io.ns("/guarded", guarded.with(joins_early));
}

/// A middleware that joins a room, and refuses whoever says no.
async fn joins_early(socket: Socket, Data(auth): Data<Value>) -> Result<(), Refusal> {
    let joined = socket.join("early");
    joined.map_err(|error| Refusal::forbidden(error.to_string()))?;
    if auth.get("no").is_some() {
        return Err(Refusal::forbidden("you said no"));
    }
    Ok(())
}

async fn guarded(io: Io, socket: Socket) {
    let early = io
        .of("/guarded")
        .map(|all| all.within("early").sockets().len());
    let _ = socket.emit("rooms", &(socket.rooms(), early));
}

fn connected(socket: &Socket, heard: &Heard) {
    let shown = json!({ "example": "operators" });
    socket.extensions.insert(PublicData(shown));
    socket.on("whereami", async |socket: Socket, ack: Ack| {
        let here = json!({ "ok": true, "worker": std::process::id(), "id": socket.id });
        give(ack, Ok(here));
    });
    socket.on(
        "join",
        async |socket: Socket, Data(room): Data<String>, ack: Ack| {
            let joined = socket.join(room).map(|()| ok());
            give(ack, joined.map_err(|error| error.to_string()));
        },
    );
    socket.on(
        "leave",
        async |socket: Socket, Data(room): Data<String>, ack: Ack| {
            socket.leave(room);
            give(ack, Ok(ok()));
        },
    );
    socket.on(
        "joinLate",
        async |socket: Socket, bare: SocketRef<Adapter>, Data(room): Data<String>| {
            while socket.connected() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            // A socket of ours joins nothing any more; socketioxide's own does.
            let _ = socket.join(room.clone());
            bare.join(format!("{room}, bare"));
        },
    );
    socket.on("emit", emit);
    socket.on("ask", ask);
    socket.on("fetch", fetch);
    socket.on("rooms", rooms);
    socket.on("joinAll", join_all);
    socket.on("leaveAll", leave_all);
    socket.on("disconnectAll", disconnect_all);
    socket.on("remote", remote);
    socket.on("servers", servers);
    socket.on("serverSideEmit", server_side_emit);
    socket.on("serverSideAsk", server_side_ask);
    // A name with characters that JSON escapes.
    let name = api::handler_name("say \"hello\"");
    socket.on(name, async |event: Event, ack: Ack| {
        give(ack, Ok(json!({ "ok": true, "said": *event })));
    });
    let heard = Arc::clone(heard);
    socket.on("heard", async move |ack: Ack| {
        let heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
        give(ack, Ok(json!({ "ok": true, "heard": *heard })));
    });
}

/// Which sockets, in Socket.IO's words.
#[derive(Deserialize, Default)]
#[serde(default, deny_unknown_fields)]
struct Selection {
    to: Vec<String>,
    within: Vec<String>,
    except: Vec<String>,
    /// `io` or `socket`.
    r#as: Option<String>,
    local: bool,
    volatile: bool,
    broadcast: bool,
    /// Milliseconds.
    timeout: Option<u64>,
}

impl Selection {
    fn of(self, io: &Io, socket: &Socket) -> BroadcastOperators<Adapter> {
        let mut selected = match self.r#as.as_deref() {
            Some("socket") => socket.within(Vec::<String>::new()),
            _ => io.broadcast(),
        };
        if !self.to.is_empty() {
            selected = selected.to(self.to);
        }
        if !self.within.is_empty() {
            selected = selected.within(self.within);
        }
        if !self.except.is_empty() {
            selected = selected.except(self.except);
        }
        if self.local {
            selected = selected.local();
        }
        if self.volatile {
            selected = selected.volatile();
        }
        if self.broadcast {
            selected = selected.broadcast();
        }
        if let Some(timeout) = self.timeout {
            selected = selected.timeout(Duration::from_millis(timeout));
        }
        selected
    }
}

async fn emit(
    io: Io,
    socket: Socket,
    Data((selection, event, payload)): Data<(Selection, String, Value)>,
    ack: Ack,
) {
    let sent = selection.of(&io, &socket).emit(event, &payload).await;
    give(ack, sent.map(|()| ok()).map_err(|error| error.to_string()));
}

async fn ask(
    io: Io,
    socket: Socket,
    Data((selection, event, payload)): Data<(Selection, String, Value)>,
    ack: Ack,
) {
    #[derive(Serialize)]
    struct Asked {
        ok: bool,
        acks: Vec<(Sid, Arg)>,
        errors: Vec<(Sid, String)>,
    }

    let asked = api::ask(selection.of(&io, &socket), event, &payload);
    let given = async {
        let mut stream = asked.await.map_err(|error| error.to_string())?;
        let (mut acks, mut errors) = (Vec::new(), Vec::new());
        while let Some((id, answer)) = stream.next().await {
            match answer {
                Ok(args) => acks.push((id, args.into_iter().next().unwrap_or_default())),
                Err(error) => errors.push((id, error.to_string())),
            }
        }
        Ok(Asked {
            ok: true,
            acks,
            errors,
        })
    };
    give(ack, given.await);
}

async fn fetch(io: Io, socket: Socket, Data(selection): Data<Selection>, ack: Ack) {
    let fetched = selection.of(&io, &socket).fetch_sockets().await;
    let fetched = fetched.map_err(|error| error.to_string());
    give(
        ack,
        fetched.map(|sockets| {
            let ids = sockets.iter().map(|socket| socket.data().id.to_string());
            let mut ids: Vec<_> = ids.collect();
            ids.sort();
            json!({ "ok": true, "sockets": ids })
        }),
    );
}

async fn rooms(io: Io, socket: Socket, Data(selection): Data<Selection>, ack: Ack) {
    let rooms = selection.of(&io, &socket).rooms().await;
    let rooms = rooms.map_err(|error| error.to_string());
    give(
        ack,
        rooms.map(|mut rooms| {
            rooms.sort();
            json!({ "ok": true, "rooms": rooms })
        }),
    );
}

async fn join_all(
    io: Io,
    socket: Socket,
    Data((selection, room)): Data<(Selection, String)>,
    ack: Ack,
) {
    let joined = selection.of(&io, &socket).join(room).await;
    give(
        ack,
        joined.map(|()| ok()).map_err(|error| error.to_string()),
    );
}

async fn leave_all(
    io: Io,
    socket: Socket,
    Data((selection, room)): Data<(Selection, String)>,
    ack: Ack,
) {
    let left = selection.of(&io, &socket).leave(room).await;
    give(ack, left.map(|()| ok()).map_err(|error| error.to_string()));
}

async fn disconnect_all(io: Io, socket: Socket, Data(selection): Data<Selection>, ack: Ack) {
    let gone = selection.of(&io, &socket).disconnect().await;
    give(ack, gone.map(|()| ok()).map_err(|error| error.to_string()));
}

/// Does something with one socket, wherever it is.
async fn remote(
    io: Io,
    Data((id, action, first, second)): Data<(String, String, Value, Value)>,
    ack: Ack,
) {
    let done = async {
        let found = io.within(id).fetch_sockets().await;
        let found = found.map_err(|error| error.to_string())?;
        let socket = found.into_iter().next().ok_or("there is no such socket")?;
        let text = first.as_str().unwrap_or_default().to_owned();
        match action.as_str() {
            "emit" => {
                let sent = socket.emit(text, &second).await;
                sent.map_err(|error| error.to_string())?;
            }
            "ask" => {
                let asked = socket.emit_with_ack::<_, Value>(text, &second).await;
                let answer = asked.map_err(|error| error.to_string())?.await;
                let answer = answer.map_err(|error| error.to_string())?;
                return Ok(json!({ "ok": true, "ack": answer }));
            }
            "join" => socket.join(text).await.map_err(|error| error.to_string())?,
            "leave" => socket
                .leave(text)
                .await
                .map_err(|error| error.to_string())?,
            "rooms" => {
                let rooms = socket.rooms().await.map_err(|error| error.to_string())?;
                return Ok(json!({ "ok": true, "rooms": rooms }));
            }
            "disconnect" => {
                let gone = socket.disconnect().await;
                gone.map_err(|error| error.to_string())?;
            }
            _ => return Err("there is no such action".to_owned()),
        }
        Ok(ok())
    };
    give(ack, done.await);
}

async fn servers(State(cluster): State<Cluster>, ack: Ack) {
    give(
        ack,
        Ok(json!({ "ok": true, "count": cluster.workers().len() })),
    );
}

async fn server_side_emit(State(cluster): State<Cluster>, Data(data): Data<Value>, ack: Ack) {
    let told = cluster.server_side_emit("tell", &data).await;
    give(ack, told.map(|()| ok()).map_err(|error| error.to_string()));
}

async fn server_side_ask(
    State(cluster): State<Cluster>,
    Data((data, timeout)): Data<(Value, u64)>,
    ack: Ack,
) {
    let timeout = Duration::from_millis(timeout);
    let asked = cluster
        .server_side_emit_with_ack("ask", &data, timeout)
        .await;
    let asked = asked.map_err(|error| error.to_string());
    give(
        ack,
        asked.map(|asked| {
            let answers = asked.answers.into_iter();
            let answers: Vec<_> = answers
                .map(|(server, answer): (_, Value)| json!({ "worker": server.pid, "answer": answer }))
                .collect();
            let missing = asked.missing.into_iter();
            let missing: Vec<_> = missing
                .map(|missing| json!({ "worker": missing.worker.pid, "why": missing.why.to_string() }))
                .collect();
            json!({ "ok": true, "answers": answers, "missing": missing })
        }),
    );
}

fn ok() -> Value {
    json!({ "ok": true })
}

fn give<T: Serialize>(Ack(ack): Ack, outcome: Result<T, String>) {
    let Some(ack) = ack else { return };
    // An error means that the client is gone.
    let _ = match outcome {
        Ok(answer) => ack.send(&answer),
        Err(error) => ack.send(&json!({ "ok": false, "error": error })),
    };
}
