//! Connections that leave hyper: a WebSocket goes to the engine, or to the worker that has its session or is to
//! have it: from there on one worker less stands between.

use std::os::fd::AsFd;
use std::sync::PoisonError;

use bytes::Bytes;
use engineioxide::{Deflate, Handshake, Upgraded, Upgrading};
use http::Response;
use http::request::Parts;
use socketioxide::socket::Sid;
use tracing::debug;

use super::answer::Body;
use super::{Connection, take};
use crate::wire::link::{Handoff, LetIn, MAX_HEAD};
use crate::wire::session_id::Home;
use crate::worker::opening::Opening;
use crate::worker::stream::Stream;

/// Where a connection goes with the request that it has brought.
pub(super) enum Departure {
    /// To the engine, as a new session. `preface`: the answer to its handshake.
    Open {
        handshake: Handshake,
        preface: Vec<u8>,
        opening: Option<Opening>,
    },
    /// To the engine, for a session that polls.
    Upgrade {
        sid: Sid,
        upgrading: Upgrading,
        preface: Vec<u8>,
        deflate: Option<Deflate>,
    },
    /// To another worker, with the request's head.
    Pass {
        home: Home,
        head: Vec<u8>,
        /// If the request opens a session, for whom.
        opening: Option<(Opening, LetIn)>,
    },
}

impl Connection {
    /// Takes the connection away from hyper, and so from under the request that asks for it.
    pub(super) async fn leave(&self, departure: Departure) -> Response<Body> {
        *self
            .departure
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(departure);
        self.leaving.notify_one();
        std::future::pending().await
    }

    /// The connection has left. `read`: what hyper has read behind the request.
    pub(super) async fn depart(&self, mut stream: Stream, read: Bytes) {
        let Some(departure) = take(&self.departure) else {
            return;
        };
        let worker = &self.worker;
        let Some((conn, ahead, counted)) = stream.take() else {
            return debug!("a connection was over before it was passed on");
        };
        let mut unread = read.to_vec();
        unread.extend_from_slice(&ahead);
        match departure {
            Departure::Open {
                handshake,
                preface,
                opening,
            } => {
                worker.open_websocket(conn, &unread, preface, handshake);
                // The session is counted.
                drop((counted, opening));
            }
            Departure::Upgrade {
                sid,
                upgrading,
                preface,
                deflate,
            } => {
                worker.sessions.upgrades(sid);
                let upgraded = Upgraded {
                    conn: conn.into(),
                    preface,
                    deflate,
                };
                upgrading.start(upgraded, &unread);
                drop(counted);
            }
            Departure::Pass {
                home,
                mut head,
                opening,
            } => {
                head.extend_from_slice(&unread);
                if head.len() > MAX_HEAD {
                    return debug!("a connection has brought too much to be passed on");
                }
                let (opening, admitted) = opening.unzip();
                let handoff = Handoff {
                    origin: self.origin,
                    port_of: self.port_of,
                    opens: opening.is_some(),
                    reservation: None,
                    // An upgrade is let in by the worker that has its session.
                    admitted,
                    age_ms: 0,
                    head,
                };
                let number = opening.as_ref().and_then(Opening::reservation);
                let passed = match conn.into_fd() {
                    Ok(fd) => worker.link.pass(home, handoff, number, fd.as_fd()).await,
                    Err(error) => return debug!(%error, "a connection cannot be passed on"),
                };
                match (passed, opening) {
                    (Ok(()), Some(opening)) => opening.hand_over(),
                    (Ok(()), None) => {}
                    (Err(error), _) => debug!(%error, "a connection could not be passed on"),
                }
            }
        }
    }
}

/// The head of a request as it was sent, or near enough.
pub(super) fn head_of(request: &Parts) -> Vec<u8> {
    let target = request
        .uri
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let mut head = format!("{} {target} HTTP/1.1\r\n", request.method).into_bytes();
    for (name, value) in &request.headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}
