//! HTTP/1.1 for operators: how many connections, how long each thing may take, who may ask.
//!
//! It runs on the master's one thread, beside the router. So everything is bounded: connections, heads, bodies,
//! answers, time. Of more than [`MOST`] connections the one that has been idle for the longest is closed; only when
//! all are busy is the new one refused.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::debug;

use super::super::listeners::Listener;
use super::patient::Patient;
use super::problem::{Answer, Problem};
use crate::ipc::conn::Conn;
use crate::ipc::reserve::Reserve;
use crate::wire::link::Origin;

/// Connections at one time.
pub(super) const MOST: usize = 16;
/// An idle connection is not closed for another before it has been idle for so long.
const GRACE: Duration = Duration::from_millis(200);
/// How long a head may take, the time before it on a kept-alive connection included.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// How long a body may take.
pub(super) const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// How large a body may be, in bytes.
pub(super) const MAX_BODY: usize = 1 << 20;
/// What a head may have, in bytes.
const MAX_HEAD: usize = 32 * 1024;
/// How long a request may take in all, its body included.
pub(super) const DEADLINE: Duration = Duration::from_secs(15);
/// How long a client may take nothing of its answer.
const WRITE_PATIENCE: Duration = Duration::from_secs(10);
/// After an accept that failed.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Answers requests.
pub(super) trait Answers {
    /// The answer to a request that came over the connection of `caller`.
    async fn answer(&self, request: Request<Incoming>, caller: &Caller) -> Result<Answer, Problem>;

    /// How long the one to this request may take.
    fn deadline(&self, _: &Request<Incoming>) -> Duration {
        DEADLINE
    }
}

/// The connection of who asks, for an answer that somebody else writes.
pub(super) struct Caller(io::Result<OwnedFd>);

impl Caller {
    /// The connection once more.
    pub(super) fn conn(&self) -> Result<OwnedFd, Problem> {
        let conn = match &self.0 {
            Ok(conn) => conn.try_clone(),
            Err(error) => Err(error.kind().into()),
        };
        conn.map_err(|error| Problem::Unavailable(format!("no descriptor is left: {error}")))
    }
}

/// One for each listener.
pub(super) struct Server<A> {
    answers: A,
    reserve: Reserve,
    next: Cell<u64>,
    open: RefCell<BTreeMap<u64, Open>>,
    /// Connections that are only told that there are too many.
    refusing: Cell<usize>,
}

/// A connection.
struct Open {
    task: AbortHandle,
    state: Rc<Cell<State>>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Idle(Instant),
    Busy,
}

impl<A: Answers + 'static> Server<A> {
    pub(super) fn new(answers: A, reserve: Reserve) -> Rc<Self> {
        Rc::new(Self {
            answers,
            reserve,
            next: Cell::new(0),
            open: RefCell::default(),
            refusing: Cell::new(0),
        })
    }

    /// Accepts from `listener` and answers, for ever.
    pub(super) async fn run(self: Rc<Self>, listener: Listener) {
        loop {
            match listener.accept().await {
                Ok((conn, origin)) => {
                    let full = !self.make_room().await;
                    self.admit(conn, origin, full);
                }
                Err(error) => {
                    debug!(%error, "accept for operators");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(self: &Rc<Self>, conn: OwnedFd, origin: Origin, full: bool) {
        // The last descriptors are for starting workers.
        if !self.reserve.has_room_for_handoff(&conn) {
            return debug!("an operator's connection is closed: descriptors are few");
        }
        let conn = match Conn::from_fd(conn, origin) {
            Ok(conn) => conn,
            Err(error) => return debug!(%error, "an operator's connection is over"),
        };
        if full && self.refusing.get() >= MOST {
            return debug!("an operator's connection is closed: there are too many");
        }
        let state = Rc::new(Cell::new(State::Idle(Instant::now())));
        let number = self.next.get();
        self.next.set(number + 1);
        let server = Rc::clone(self);
        let its_state = Rc::clone(&state);
        if full {
            self.refusing.set(self.refusing.get() + 1);
            spawn_local(async move {
                server.serve(conn, &its_state, true).await;
                server.refusing.set(server.refusing.get() - 1);
            });
            return;
        }
        let task = spawn_local(async move {
            server.serve(conn, &its_state, false).await;
            server.open.borrow_mut().remove(&number);
        });
        let task = task.abort_handle();
        self.open.borrow_mut().insert(number, Open { task, state });
    }

    /// Is there room for one more connection, or can it be made? One that is new, and whose request may be about to
    /// be read, is left alone for a moment.
    async fn make_room(&self) -> bool {
        loop {
            if self.open.borrow().len() < MOST {
                return true;
            }
            match self.longest_idle() {
                None => return false,
                Some((since, number)) if since.elapsed() >= GRACE => {
                    let closed = self.open.borrow_mut().remove(&number);
                    return closed.map(|open| open.task.abort()).is_some();
                }
                Some((since, _)) => sleep_until(since + GRACE).await,
            }
        }
    }

    fn longest_idle(&self) -> Option<(Instant, u64)> {
        let open = self.open.borrow();
        let idle = open
            .iter()
            .filter_map(|(number, open)| match open.state.get() {
                State::Idle(since) => Some((since, *number)),
                State::Busy => None,
            });
        idle.min()
    }

    async fn serve(&self, conn: Conn, state: &Cell<State>, full: bool) {
        let caller = Caller(conn.as_fd().try_clone_to_owned());
        let service = service_fn(async |request| {
            state.set(State::Busy);
            let answer = if full {
                Err(Problem::Unavailable(format!(
                    "{MOST} requests are being answered; try again"
                )))
            } else {
                let deadline = self.answers.deadline(&request);
                timeout(deadline, self.answers.answer(request, &caller))
                    .await
                    .unwrap_or(Err(Problem::Late))
            };
            state.set(State::Idle(Instant::now()));
            Ok::<_, Infallible>(answer.unwrap_or_else(|problem| problem.answer()))
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_PATIENCE)
            .max_buf_size(MAX_HEAD)
            .keep_alive(!full)
            .serve_connection(TokioIo::new(Patient::new(conn, WRITE_PATIENCE)), service)
            .await;
        if let Err(error) = served {
            debug!(%error, "an operator's connection ended");
        }
    }
}
