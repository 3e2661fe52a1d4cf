//! Accepts connections, looks at their first line, and gives them to a worker.
//!
//! It only peeks (`MSG_PEEK`, recv(2)): the worker finds every byte where the client put it. A
//! request for a session goes to the worker that has it; everything else goes where the balancing
//! method says. What is no request of HTTP/1 is refused here, and a client that sends none has
//! `head_timeout` for it.

use std::cell::RefCell;
use std::fmt::Display;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use rustix::net::RecvFlags;
use tokio::task::{AbortHandle, spawn_local, yield_now};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::{debug, warn};

use super::listeners::Listener;
use super::member::Unacknowledged;
use super::pool::Pool;
use super::refusal::{Refusal, answer_check, refuse};
use super::routing::Routing;
use crate::config::Config;
use crate::ipc::conn::Conn;
use crate::ipc::reserve::Reserve;
use crate::logging::RateLimit;
use crate::metrics;
use crate::wire::health::HealthCheck;
use crate::wire::link::{Handoff, Origin};
use crate::wire::request_line::{self, MAX_LINE, Peeked, RequestLine};
use crate::wire::session_id::{self, Home};
use crate::wire::target::{SidParam, Target};

/// After so many accepted connections the others have their turn.
const BURST: u32 = 64;
/// After an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The same trouble is told once in this time.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(10);
/// A connection that is one too many may still turn out to be a health check's for this long.
const CHECK_PATIENCE: Duration = Duration::from_secs(1);
/// How long a connection waits for a worker while there is none: a crashed one is replaced sooner.
const WORKER_PATIENCE: Duration = Duration::from_secs(5);

/// Where a connection should go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Destination {
    /// To whoever gets the next session.
    NewSession,
    /// To the worker that has its session.
    Home(Home),
    /// To any worker; no session comes of it.
    Anybody,
}

/// What the first bytes of a connection turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Request(Destination),
    Check {
        check: HealthCheck,
        head: bool,
    },
    Garbage,
    TooLong,
    /// The client is gone.
    Closed,
}

/// A place where connections are accepted.
#[derive(Debug, Clone)]
pub(crate) struct Accepting {
    /// As clients write it.
    pub(crate) place: String,
    /// The worker whose own port it is.
    pub(crate) port_of: Option<u16>,
}

/// One for all listeners. Connections that no worker has yet are its own.
#[derive(Debug)]
pub(crate) struct Router {
    config: Rc<Config>,
    pool: Rc<Pool>,
    /// What is peeked at; looked into and forgotten without a pause in between.
    window: RefCell<Box<[u8]>>,
    routing: Rc<Routing>,
    accepting: RefCell<Vec<AbortHandle>>,
    /// Where it accepts.
    places: RefCell<Vec<Accepting>>,
    reserve: Reserve,
    complaints: RateLimit,
}

impl Router {
    /// Accepts from `listeners` until [`Router::stop`].
    pub(crate) fn start(config: Rc<Config>, pool: Rc<Pool>, listeners: Vec<Listener>) -> Rc<Self> {
        let reserve = Reserve::of_the_master(config.workers);
        let router = Rc::new(Self {
            config,
            pool,
            window: RefCell::new(vec![0; MAX_LINE + 64].into()),
            routing: Rc::default(),
            accepting: RefCell::default(),
            places: RefCell::default(),
            reserve,
            complaints: RateLimit::default(),
        });
        for listener in listeners {
            router.listen(listener);
        }
        router
    }

    /// Accepts from this one, too.
    pub(crate) fn listen(self: &Rc<Self>, listener: Listener) {
        self.places.borrow_mut().push(Accepting {
            place: listener.place().to_owned(),
            port_of: listener.port_of(),
        });
        let task = spawn_local(Rc::clone(self).accept(listener));
        self.accepting.borrow_mut().push(task.abort_handle());
    }

    /// Where it accepts connections, or did until it was stopped.
    pub(crate) fn places(&self) -> Vec<Accepting> {
        self.places.borrow().clone()
    }

    /// Accepts nothing more. Our own listeners are closed; systemd keeps its.
    pub(crate) fn stop(&self) {
        self.accepting.take().iter().for_each(AbortHandle::abort);
    }

    async fn accept(self: Rc<Self>, listener: Listener) {
        // Until then whoever connects waits in the backlog, for as long as it likes.
        self.pool.all_ready(1).await;
        let mut accepted = 0_u32;
        loop {
            match listener.accept().await {
                Ok((conn, origin)) => {
                    metrics::ACCEPTED.count(origin.into());
                    let conn = if self.reserve.has_room_for(&conn) {
                        conn
                    } else {
                        self.complain(&"those that are left are for the workers");
                        self.wait_for_room(conn).await
                    };
                    let port_of = listener.port_of();
                    let route = Rc::clone(&self).route(conn, origin, port_of, Instant::now());
                    let mut route = Box::pin(route);
                    // Most are on their way at once; only who has to wait needs a task.
                    let polled = poll_fn(|cx| Poll::Ready(route.as_mut().poll(cx))).await;
                    if polled.is_pending() {
                        spawn_local(route);
                    }
                    accepted = accepted.wrapping_add(1);
                    if accepted.is_multiple_of(BURST) {
                        yield_now().await;
                    }
                }
                Err(error) if is_exhaustion(&error) => {
                    self.complain(&error);
                    sleep(ACCEPT_PAUSE).await;
                }
                // A client that left between its connect and our accept (accept(2), "Error
                // handling"): nothing of ours is wrong.
                Err(error) => debug!(%error, "accept"),
            }
        }
    }

    /// Keeps a connection, and so the next ones from being accepted, until another has gone to its worker.
    async fn wait_for_room(&self, conn: OwnedFd) -> OwnedFd {
        loop {
            sleep(ACCEPT_PAUSE).await;
            if let Some(conn) = self.reserve.renumber(&conn) {
                return conn;
            }
        }
    }

    fn complain(&self, error: &dyn Display) {
        if self.complaints.allows(COMPLAINT_PAUSE) {
            warn!(%error, "cannot accept connections; raise LimitNOFILE");
        }
    }

    /// What few connections need is boxed: the rest of the future is small.
    async fn route(
        self: Rc<Self>,
        conn: OwnedFd,
        origin: Origin,
        port_of: Option<u16>,
        accepted: Instant,
    ) {
        let limits = &self.config.limits;
        let limit = u64::from(limits.max_connections);
        if limit > 0 && self.pool.connections() + self.routing.count() >= limit {
            return Box::pin(self.turn_away(conn, origin, Refusal::Full)).await;
        }
        let limit = u64::from(limits.max_connections_per_address);
        let client = limits.client_of(origin).filter(|_| limit > 0);
        if let Some(client) = client
            && self.pool.connections_of(client) + self.routing.count_of(client) >= limit
        {
            return Box::pin(self.turn_away(conn, origin, Refusal::AddressFull)).await;
        }
        let _counted = self.routing.add(client);
        let deadline = accepted + self.config.limits.head_timeout;
        let (conn, seen) = match self.see(conn, origin, deadline).await {
            Ok(seen) => seen,
            Err(error) => return debug!(%error, "a connection was over before its dispatch"),
        };
        match seen {
            Some(Seen::Request(destination)) => {
                self.dispatch(conn, origin, port_of, accepted, destination)
                    .await;
            }
            Some(Seen::Check { check, head }) => {
                let answer = check.answer(self.pool.readiness());
                Box::pin(answer_check(conn, origin, answer, head)).await;
            }
            Some(Seen::Garbage) => Box::pin(refuse(conn, origin, Refusal::Malformed)).await,
            Some(Seen::TooLong) => Box::pin(refuse(conn, origin, Refusal::TooLong)).await,
            Some(Seen::Closed) => {}
            None => Box::pin(refuse(conn, origin, Refusal::HeadTimeout)).await,
        }
    }

    /// Refuses a connection that is one too many, unless it is a health check's: who looks after the server would
    /// take it for dead when it is full.
    async fn turn_away(&self, conn: OwnedFd, origin: Origin, why: Refusal) {
        let deadline = Instant::now() + CHECK_PATIENCE;
        match self.see(conn, origin, deadline).await {
            Ok((conn, Some(Seen::Check { check, head }))) => {
                let answer = check.answer(self.pool.readiness());
                answer_check(conn, origin, answer, head).await;
            }
            Ok((conn, _)) => refuse(conn, origin, why).await,
            Err(error) => debug!(%error, "a connection was over before its refusal"),
        }
    }

    /// What a connection wants; nothing if that cannot be told before `deadline`.
    async fn see(
        &self,
        conn: OwnedFd,
        origin: Origin,
        deadline: Instant,
    ) -> io::Result<(OwnedFd, Option<Seen>)> {
        // Most requests are there as soon as their connections are.
        if let Ok(seen) = self.peek(conn.as_fd()) {
            return Ok((conn, Some(seen)));
        }
        let wait = async move {
            let conn = Conn::from_fd(conn, origin)?;
            let seen = timeout_at(deadline, self.look(&conn)).await.ok();
            Ok((conn.into_fd()?, seen))
        };
        Box::pin(wait).await
    }

    /// Waits until it can be told what a connection wants.
    ///
    /// After half a line and an end-of-file the socket stays readable for ever, so that waiting
    /// for "readable" alone would never wait again.
    async fn look(&self, conn: &Conn) -> Seen {
        loop {
            let Ok(ready) = conn.readable().await else {
                return Seen::Closed;
            };
            match conn.try_read_with(|fd| self.peek(fd)) {
                Ok(seen) => return seen,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Seen::Closed,
                Err(_) if ready.is_read_closed() => return Seen::Closed,
                Err(_) => {}
            }
        }
    }

    /// `WouldBlock`: there is only a part of a line yet.
    fn peek(&self, fd: BorrowedFd<'_>) -> io::Result<Seen> {
        let mut window = self.window.borrow_mut();
        let (count, _) = rustix::net::recv(fd, &mut window[..], RecvFlags::PEEK)?;
        if count == 0 {
            return Ok(Seen::Closed);
        }
        match request_line::read(window.get(..count).unwrap_or_default()) {
            Peeked::Line(line) => Ok(self.seen(&line)),
            Peeked::Garbage => Ok(Seen::Garbage),
            Peeked::TooLong => Ok(Seen::TooLong),
            Peeked::Partial => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn seen(&self, line: &RequestLine<'_>) -> Seen {
        let target = Target::parse(&line.target);
        match HealthCheck::of(line.method, &target) {
            Some(check) => Seen::Check {
                check,
                head: line.method == "HEAD",
            },
            None => Seen::Request(self.destination(line.method, &target)),
        }
    }

    /// Where a request goes. One for a session that nobody has goes anywhere: any worker refuses
    /// it in the engine's words, with the headers that browsers need.
    fn destination(&self, method: &str, target: &Target<'_>) -> Destination {
        let engine = &self.config.engine;
        // A page that loads the client opens no session by that.
        if !target.is_engine(&engine.path) || engine.client_file(method, target).is_some() {
            return Destination::Anybody;
        }
        match target.engine_query().sid {
            SidParam::Absent if method == "GET" => Destination::NewSession,
            SidParam::One(sid) => {
                let tagged = self.pool.keyring().open(&sid).map(|(_, home)| home);
                let bare = || {
                    let known = self.config.engine.allow_eio3 && session_id::is_bare(&sid);
                    let bare = sid.as_bytes().try_into().ok().filter(|_| known)?;
                    self.pool.eio3_home(bare)
                };
                tagged
                    .or_else(bare)
                    .map_or(Destination::Anybody, Destination::Home)
            }
            _ => Destination::Anybody,
        }
    }

    async fn dispatch(
        &self,
        mut conn: OwnedFd,
        origin: Origin,
        port_of: Option<u16>,
        accepted: Instant,
        destination: Destination,
    ) {
        let opens = destination == Destination::NewSession;
        let mut home = match destination {
            Destination::Home(home) => Some(home),
            _ => None,
        };
        let mut why = Refusal::NoWorker;
        let deadline = Instant::now() + WORKER_PATIENCE;
        while Instant::now() < deadline {
            // Connections are counted where they are accepted, sessions here.
            if opens && self.pool.is_full() {
                why = Refusal::Full;
                break;
            }
            let changed = self.pool.changed();
            let member = home.and_then(|home| self.pool.at(home));
            let Some(member) = member.or_else(|| self.pool.choose(opens, port_of)) else {
                // No worker, or none that answers.
                let _ = timeout(ACCEPT_PAUSE, changed).await;
                continue;
            };
            let age_ms = u32::try_from(accepted.elapsed().as_millis()).unwrap_or(u32::MAX);
            let handoff = Handoff {
                origin,
                port_of,
                opens,
                reservation: None,
                admitted: None,
                age_ms,
                head: Vec::new(),
            };
            match member.take(conn, handoff).await {
                Ok(()) => return,
                Err(back) => conn = back,
            }
            // Its worker is gone, and the session with it.
            home = None;
        }
        Box::pin(refuse(conn, origin, why)).await;
    }

    /// Gives connections that a worker took down with it to others, if that worker had not begun
    /// to read them.
    pub(crate) fn rescue(self: &Rc<Self>, lost: impl IntoIterator<Item = Unacknowledged>) {
        for Unacknowledged { conn, handoff } in lost {
            let age = Duration::from_millis(handoff.age_ms.into());
            let accepted = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
            if handoff.is_new() && matches!(self.peek(conn.as_fd()), Ok(Seen::Request(_))) {
                metrics::RESCUED.inc();
                let Handoff {
                    origin, port_of, ..
                } = handoff;
                spawn_local(Rc::clone(self).route(conn, origin, port_of, accepted));
            }
        }
    }

    /// Passes a connection from one worker on to another, where a place may be reserved for the session
    /// that it opens.
    pub(crate) fn pass(
        &self,
        to: Home,
        conn: OwnedFd,
        mut handoff: Handoff,
        reservation: Option<u64>,
    ) {
        if !self.reserve.has_room_for_handoff(&conn) {
            if let Some(number) = reservation {
                self.pool.release(number);
            }
            return self.complain(&"those that are left are for the workers");
        }
        let pool = Rc::clone(&self.pool);
        spawn_local(async move {
            let member = match handoff.origin {
                // The other worker reads its end, and refuses the request.
                Origin::Worker => pool.at(to),
                // A client's, whose worker has died: the one that takes its place answers.
                _ => timeout(WORKER_PATIENCE, pool.back(to)).await.ok().flatten(),
            };
            let Some(member) = member else {
                // What was reserved went with the worker.
                return debug!("a connection for a worker that is gone was closed");
            };
            if handoff.opens {
                handoff.reservation = pool.redeem(reservation, &member);
                handoff.opens = handoff.reservation.is_none();
            }
            let reservation = handoff.reservation;
            metrics::PASSED.inc();
            if member.take(conn, handoff).await.is_err() {
                debug!("a connection for a worker that is leaving was closed");
                if let Some(number) = reservation {
                    pool.release(number);
                }
            }
        });
    }
}

fn is_exhaustion(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
