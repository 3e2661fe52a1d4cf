//! Ends the sessions of a worker at a set pace, at the transport.
//!
//! Never with a Socket.IO DISCONNECT packet: after that one clients do not come back. A WebSocket's
//! client sees a close frame (1001), a polling client's poll returns, and both connect anew.

use std::sync::Arc;
use std::time::Duration;

use ::http::{Request, StatusCode};
use axum::body::Body;
use tokio::time::{Instant, sleep, sleep_until};

use tracing::debug;

use super::Worker;
use super::sessions::{BareSid, Revision};
use super::stream::Control;

/// How long the last answers and close frames may take to get away.
const GRACE: Duration = Duration::from_millis(500);

/// A session, as a drain ends it.
pub(crate) enum Session {
    WebSocket(Arc<Control>),
    Polling(BareSid, Revision),
}

/// Ends the sessions that there are, spread evenly over `within`, and then those that began meanwhile.
/// A handshake whose connection was accepted before the stop is served like any other: there is nobody
/// else who could, and its client would see an error instead of a short session.
pub(crate) async fn run(worker: &Worker, within: Duration) {
    let begun = Instant::now();
    let sessions = all(worker);
    let total = u32::try_from(sessions.len()).unwrap_or(u32::MAX);
    for (nth, session) in (0..total).zip(sessions) {
        sleep_until(begun + within * nth / total).await;
        end(worker, session).await;
    }
    let deadline = Instant::now() + GRACE;
    while Instant::now() < deadline {
        // Some were upgraded meanwhile, some had half a frame to finish.
        for session in all(worker) {
            end(worker, session).await;
        }
        if worker.sessions.abort_idle() == 0 {
            break;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// Ends polling sessions that nobody polls any more. A client that posts its pongs is alive to the
/// engine, although everything that is sent to it piles up.
pub(crate) async fn end_silent(worker: &Worker) {
    let lifetime = worker.session_lifetime();
    loop {
        sleep(lifetime / 8).await;
        for (sid, revision) in worker.sessions.polling(lifetime) {
            debug!("a session that is not polled was ended");
            end(worker, Session::Polling(sid, revision)).await;
        }
    }
}

fn all(worker: &Worker) -> Vec<Session> {
    let websockets = worker
        .sessions
        .websockets()
        .into_iter()
        .map(Session::WebSocket);
    let polling = worker.sessions.polling(Duration::ZERO).into_iter();
    websockets
        .chain(polling.map(|(sid, revision)| Session::Polling(sid, revision)))
        .collect()
}

/// Ends one session.
pub(crate) async fn end(worker: &Worker, session: Session) {
    let (sid, revision) = match session {
        Session::WebSocket(control) => return control.close(),
        Session::Polling(sid, revision) => (sid, revision),
    };
    // A close packet, as the client itself would post it: it releases the poll and ends the
    // session. One that was upgraded is not closed by it, and needs not.
    let (eio, packet) = match revision {
        Revision::Three => (3, "1:1"),
        Revision::Four => (4, "1"),
    };
    let path = &worker.config.engine.path;
    let bare = sid;
    let sid = String::from_utf8_lossy(&bare);
    let uri = format!("{path}?EIO={eio}&transport=polling&sid={sid}");
    if let Ok(request) = Request::post(uri).body(Body::from(packet)) {
        let closed = worker.call_engine(request).await.status() == StatusCode::OK;
        if closed {
            worker.sessions.ended(&bare);
        }
    }
}
