//! The engine: the handle by which a worker reaches it.

use std::fmt;
use std::future::poll_fn;
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use engineioxide_core::{ProtocolVersion, Sid};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, sleep_until};

use crate::config::Settings;
use crate::conn::Conn;
use crate::counts::Stats;
use crate::extensions::Deflate;
use crate::head::Head;
use crate::hooks::{EndReason, Hooks};
use crate::live::Live;
use crate::polls::{PollAnswer, Posting};
use crate::pump::Pump;
use crate::upgrade::Upgrading;
use crate::work::Work;

/// Why a request of a session cannot be served, in Engine.IO's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Code 1.
    #[error("Session ID unknown")]
    UnknownSession,
    /// Code 3: the session has another transport, or is asked to upgrade twice.
    #[error("Bad request")]
    BadRequest,
    /// A poll or a post while there is one already. The session is over.
    #[error("overlap from client")]
    Overlap,
}

/// A handshake that was checked and admitted.
#[derive(Debug)]
pub struct Handshake {
    /// The revision that the client speaks.
    pub protocol: ProtocolVersion,
    /// Does it want binary data as text (`b64`)?
    pub base64: bool,
    /// May messages of its WebSocket be deflated?
    pub deflate: Option<Deflate>,
    /// For how long its client is admitted, if not for ever.
    pub left: Option<Duration>,
    /// What is kept of its head.
    pub head: Head,
}

/// A session that was opened by polling.
#[derive(Debug)]
pub struct Opened {
    /// Its socket id.
    pub sid: Sid,
    /// The body of the answer to the handshake.
    pub body: Vec<u8>,
    /// Is the body of bytes (revision 3), or text?
    pub binary: bool,
}

/// What one session has in memory.
#[derive(Debug, Clone, Copy)]
pub struct Weight {
    /// The socket id.
    pub sid: Sid,
    /// Bytes that wait for its client, or of it.
    pub bytes: usize,
    /// Has it joined anything?
    pub joined: bool,
}

/// The handle of an engine. All clones are the same one; it is born with its configuration and has sessions from
/// the moment in which a service is made of that.
#[derive(Clone, Default)]
pub struct Engine(Arc<OnceLock<Arc<dyn Port>>>);

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").finish_non_exhaustive()
    }
}

/// What the handle does, whatever handler stands behind it.
pub(crate) trait Port: Send + Sync {
    fn set_up(&self, settings: Settings, hooks: Arc<dyn Hooks>);
    fn turn(&self, pump: &mut Pump) -> bool;
    fn next_due(&self) -> Option<Instant>;
    fn open_websocket(
        &self,
        conn: Conn,
        unread: &[u8],
        preface: Vec<u8>,
        handshake: Handshake,
    ) -> Sid;
    fn open_polling(&self, handshake: Handshake) -> Opened;
    fn poll(&self, sid: Sid) -> Result<PollAnswer, Refused>;
    fn post(&self, sid: Sid) -> Result<Posting, Refused>;
    fn upgrade(&self, sid: Sid) -> Result<Upgrading, Refused>;
    fn end(&self, sid: Sid, reason: EndReason);
    fn disconnect(&self, sid: Sid) -> bool;
    fn live(&self, sid: Sid) -> Option<Live>;
    fn live_of(&self, client: IpAddr, most: usize) -> Vec<Live>;
    fn ends_in(&self, sid: Sid, left: Duration);
    fn sids(&self) -> Vec<Sid>;
    fn by_age(&self) -> Vec<(Sid, Duration)>;
    fn owed_polls(&self) -> usize;
    fn weights(&self) -> Vec<Weight>;
    fn work(&self) -> &Work;
}

impl Engine {
    pub(crate) fn install(&self, port: Arc<dyn Port>) {
        // A second service of one configuration has sessions of its own, which this handle does not see.
        let _ = self.0.set(port);
    }

    fn port(&self) -> Option<&dyn Port> {
        self.0.get().map(|port| &**port)
    }

    /// Gives the engine its settings, and the hooks that it calls; to be said once, before the first session.
    pub fn set_up(&self, settings: Settings, hooks: Arc<dyn Hooks>) {
        if let Some(port) = self.port() {
            port.set_up(settings, hooks);
        }
    }

    /// Serves all sessions: reads, hands on, writes, keeps time. Never returns; nothing happens without it.
    pub async fn run(&self) {
        let mut pump = Pump::default();
        let mut timer = Box::pin(sleep_until(Instant::now()));
        // It does the work of many tasks, and tokio's budget is for one.
        unconstrained(poll_fn(|cx| {
            let Some(port) = self.port() else {
                return Poll::Ready(());
            };
            port.work().register_pump(cx);
            loop {
                let more = port.turn(&mut pump);
                if let Some(due) = port.next_due() {
                    if timer.deadline() != due {
                        timer.as_mut().reset(due);
                    }
                    if timer.as_mut().poll(cx).is_ready() {
                        continue;
                    }
                }
                if more {
                    // Everybody else runs first.
                    cx.waker().wake_by_ref();
                }
                return Poll::<()>::Pending;
            }
        }))
        .await;
    }

    /// Opens a session on a WebSocket whose handshake was checked. `unread`: what was read behind its head;
    /// `preface`: what is written first, in one piece with the open packet.
    pub fn open_websocket(
        &self,
        conn: Conn,
        unread: &[u8],
        preface: Vec<u8>,
        handshake: Handshake,
    ) -> Option<Sid> {
        let port = self.port()?;
        Some(port.open_websocket(conn, unread, preface, handshake))
    }

    /// Opens a session by polling.
    pub fn open_polling(&self, handshake: Handshake) -> Option<Opened> {
        Some(self.port()?.open_polling(handshake))
    }

    /// Begins a poll.
    ///
    /// # Errors
    /// When there is no such session, it does not poll, or a poll waits already: that ends it.
    pub fn poll(&self, sid: Sid) -> Result<PollAnswer, Refused> {
        self.port().ok_or(Refused::UnknownSession)?.poll(sid)
    }

    /// Begins a post.
    ///
    /// # Errors
    /// As [`Engine::poll`].
    pub fn post(&self, sid: Sid) -> Result<Posting, Refused> {
        self.port().ok_or(Refused::UnknownSession)?.post(sid)
    }

    /// Begins an upgrade. To be said before its `101` is sent.
    ///
    /// # Errors
    /// When there is no such session, it does not poll, or another upgrade is under way.
    pub fn upgrade(&self, sid: Sid) -> Result<Upgrading, Refused> {
        self.port().ok_or(Refused::UnknownSession)?.upgrade(sid)
    }

    /// Ends a session. What was queued is sent first, unless the reason is that the client does not read.
    pub fn end(&self, sid: Sid, reason: EndReason) {
        if let Some(port) = self.port() {
            port.end(sid, reason);
        }
    }

    /// Ends a session because an operator wants it: [`EndReason::Application`]. Was it open?
    #[must_use]
    pub fn disconnect(&self, sid: Sid) -> bool {
        self.port().is_some_and(|port| port.disconnect(sid))
    }

    /// A session's client is admitted for so long, and no longer than it was before: whoever brings a second admission
    /// need not be who brought the first.
    pub fn ends_in(&self, sid: Sid, left: Duration) {
        if let Some(port) = self.port() {
            port.ends_in(sid, left);
        }
    }

    /// An open session.
    #[must_use]
    pub fn live(&self, sid: Sid) -> Option<Live> {
        self.port()?.live(sid)
    }

    /// The open sessions of a client, the oldest first, `most` of them. It looks at all that there are.
    #[must_use]
    pub fn live_of(&self, client: IpAddr, most: usize) -> Vec<Live> {
        self.port()
            .map_or_else(Vec::new, |port| port.live_of(client, most))
    }

    /// The sessions of this moment, the oldest first.
    #[must_use]
    pub fn sids(&self) -> Vec<Sid> {
        self.port().map_or_else(Vec::new, Port::sids)
    }

    /// The open sessions and how long each has lived, the oldest first.
    #[must_use]
    pub fn by_age(&self) -> Vec<(Sid, Duration)> {
        self.port().map_or_else(Vec::new, Port::by_age)
    }

    /// How many sessions have ended whose polls are yet to bring what was queued, or to be answered. It looks at all
    /// that there are.
    #[must_use]
    pub fn owed_polls(&self) -> usize {
        self.port().map_or(0, Port::owed_polls)
    }

    /// How many sessions are over of which something is to be written to a `WebSocket` yet.
    #[must_use]
    pub fn closing(&self) -> usize {
        self.port()
            .map_or(0, |port| port.work().closing.load(Relaxed))
    }

    /// How many sessions are over whose client is to answer the close frame of their `WebSocket` yet.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.port()
            .map_or(0, |port| port.work().unanswered.load(Relaxed))
    }

    /// Closes the `WebSockets` of sessions that are over for which much waits still: the memory is needed.
    pub fn give_up_closing(&self) {
        if let Some(port) = self.port() {
            port.work().given_up.fetch_add(1, Relaxed);
        }
    }

    /// What each session has in memory beside itself.
    #[must_use]
    pub fn weights(&self) -> Vec<Weight> {
        self.port().map_or_else(Vec::new, Port::weights)
    }

    /// What it has, and has counted.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.port()
            .map_or_else(Stats::default, |port| port.work().stats())
    }

    /// How many sessions there are.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.port()
            .map_or(0, |port| port.work().sessions.load(Relaxed))
    }

    /// Bytes that wait for clients, or of clients for handlers.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.port()
            .map_or(0, |port| port.work().waiting.load(Relaxed))
    }
}
