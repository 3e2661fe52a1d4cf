//! What this road has to do with other workers: where a new session goes, connections that leave with their
//! request, and what workers say to each other beside a request.

use std::os::fd::AsFd;
use std::sync::PoisonError;

use axum::body::Body;
use http::header::HeaderName;
use http::request::Parts;
use http::{HeaderMap, Request, Response};
use tracing::debug;

use super::answer::Verdict;
use super::{Connection, First, Judgement, take};
use crate::api::{ClientAddr, Refusal};
use crate::config::Transport;
use crate::wire::link::{Handoff, Origin};
use crate::wire::session_id::Home;
use crate::worker::admission::Wish;
use crate::worker::opening::Opening;
use crate::worker::request::Asked;
use crate::worker::stream::Stream;

/// Tells, between our workers alone, who the client is.
pub(crate) const CLIENT: HeaderName = HeaderName::from_static("x-my-app-client");

/// Tells, between our workers alone, under which number the master counts the session that a handshake
/// opens. Such a handshake was let in by the worker that sends it.
pub(crate) const RESERVATION: HeaderName = HeaderName::from_static("x-my-app-reservation");

/// Where a connection goes with the request that it has brought.
pub(super) struct Leaving {
    home: Home,
    head: Vec<u8>,
    /// If the request opens a session.
    opening: Option<Opening>,
}

/// What another worker says of a request.
pub(super) struct Said {
    pub(super) client: ClientAddr,
    pub(super) reservation: Option<u64>,
}

impl Said {
    pub(super) fn take(headers: &mut HeaderMap) -> Self {
        let client = headers.remove(CLIENT);
        let client = client.as_ref().and_then(|value| value.to_str().ok());
        let reservation = headers.remove(RESERVATION);
        let reservation = reservation.as_ref().and_then(|value| value.to_str().ok());
        Self {
            client: client
                .and_then(|text| text.parse().ok())
                .unwrap_or(ClientAddr(None)),
            reservation: reservation.and_then(|text| text.parse().ok()),
        }
    }
}

impl Connection {
    /// Where is the session of a handshake to be opened? What is balanced are sessions, not connections,
    /// so that for one that comes over a connection in use the master is asked; last of all, for it counts
    /// the session from then on.
    pub(super) async fn place(
        &self,
        request: &Parts,
        asked: Asked,
        client: ClientAddr,
        first: &mut First,
    ) -> Judgement {
        let worker = &self.worker;
        let wish = match asked.wanted.transport {
            Transport::Polling => Wish::Polling,
            Transport::Websocket => Wish::WebSocket,
        };
        if !first.admitted
            && let Err(refusal) = worker.admission.check(wish, request, client)
        {
            return Judgement::refuse(refusal);
        }
        // Requests from another worker go no further.
        if first.opening.is_some() || self.origin == Origin::Worker {
            return Judgement::Answer(Verdict::Handshake(asked));
        }
        match worker.master.reserve(client).await {
            Ok(Some((home, opening))) if home != worker.home => {
                Judgement::Open(home, asked, opening)
            }
            Ok(Some((_, opening))) => {
                first.opening = Some(opening);
                Judgement::Answer(Verdict::Handshake(asked))
            }
            Ok(None) => Judgement::refuse(Refusal::busy(
                "the server has as many sessions as it may, try again later",
            )),
            Err(error) => {
                debug!(%error, "a session is opened here, for the master does not say where");
                Judgement::Answer(Verdict::Handshake(asked))
            }
        }
    }

    /// A WebSocket takes its connection to the worker that has its session, or is to have it: from here on
    /// one worker less stands between.
    pub(super) async fn leave(
        &self,
        home: Home,
        head: Vec<u8>,
        opening: Option<Opening>,
    ) -> Response<Body> {
        let leaving = Leaving {
            home,
            head,
            opening,
        };
        *self.leaving.lock().unwrap_or_else(PoisonError::into_inner) = Some(leaving);
        self.left.notify_one();
        // The connection is taken away from under this.
        std::future::pending().await
    }

    pub(super) async fn pass_on(&self) {
        let Some(leaving) = take(&self.leaving) else {
            return;
        };
        let Leaving {
            home,
            head,
            opening,
        } = leaving;
        let conn = match self.stream.with(Stream::take) {
            Ok(conn) => conn,
            Err(error) => return debug!(%error, "a connection was over before it was passed on"),
        };
        let opens = opening.is_some();
        let handoff = Handoff {
            origin: self.origin,
            opens,
            // An upgrade is let in by the worker that has its session.
            admitted: opens,
            age_ms: 0,
            head,
        };
        let number = opening.as_ref().and_then(Opening::reservation);
        let passed = self.worker.master.pass(home, handoff, number, conn.as_fd());
        match (passed.await, opening) {
            (Ok(()), Some(opening)) => opening.hand_over(),
            (Ok(()), None) => {}
            (Err(error), _) => debug!(%error, "a connection could not be passed on"),
        }
    }
}

/// The head of a request as it was sent, or near enough.
pub(super) fn head_of<B>(request: &Request<B>) -> Vec<u8> {
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", |target| target.as_str());
    let mut head = format!("{} {target} HTTP/1.1\r\n", request.method()).into_bytes();
    for (name, value) in request.headers() {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}
