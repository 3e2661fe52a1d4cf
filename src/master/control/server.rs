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
use tokio::sync::Notify;
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

/// Why nobody is answered when descriptors are few.
const NO_DESCRIPTORS: &str = "the server has nearly as many files open as it may: what is left is for starting workers; \
    it answers when clients have gone, or with a higher limit of open files (LimitNOFILE=)";

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
pub(super) struct Caller {
    conn: io::Result<OwnedFd>,
    state: Rc<Cell<State>>,
}

impl Caller {
    /// The connection once more. Nobody waits for the answer of this program any more.
    pub(super) fn conn(&self) -> Result<OwnedFd, Problem> {
        self.state.set(State::Elsewhere);
        let conn = match &self.conn {
            Ok(conn) => conn.try_clone(),
            Err(error) => Err(error.kind().into()),
        };
        conn.map_err(|_| Problem::Unavailable(NO_DESCRIPTORS.to_owned()))
    }
}

/// One for each listener.
pub(super) struct Server<A> {
    answers: A,
    reserve: Reserve,
    next: Cell<u64>,
    open: RefCell<BTreeMap<u64, Open>>,
    /// Connections that are only told why they get no answer.
    refusing: Cell<usize>,
    /// Nobody is accepted.
    paused: Cell<bool>,
    changed: Notify,
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
    /// Somebody else may write the answer.
    Elsewhere,
}

impl<A: Answers + 'static> Server<A> {
    pub(super) fn new(answers: A, reserve: Reserve) -> Rc<Self> {
        Rc::new(Self {
            answers,
            reserve,
            next: Cell::new(0),
            open: RefCell::default(),
            refusing: Cell::new(0),
            paused: Cell::new(false),
            changed: Notify::new(),
        })
    }

    /// Accepts from `listener` and answers, for ever.
    pub(super) async fn run(self: Rc<Self>, listener: Rc<Listener>) {
        loop {
            let changed = self.changed.notified();
            if self.paused.get() {
                changed.await;
                continue;
            }
            let accepted = tokio::select! {
                biased;
                () = changed => continue,
                accepted = listener.accept() => accepted,
            };
            match accepted {
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

    /// Accepts nobody from now on, or everybody again.
    pub(super) fn pause(&self, paused: bool) {
        self.paused.set(paused);
        self.changed.notify_waiters();
    }

    /// Has everybody had an answer? One who is new, and whose request may be about to be read, has not.
    pub(super) fn rests(&self) -> bool {
        let open = self.open.borrow();
        let rests = |open: &Open| match open.state.get() {
            State::Idle(since) => since.elapsed() >= GRACE,
            State::Busy => false,
            State::Elsewhere => true,
        };
        self.refusing.get() == 0 && open.values().all(rests)
    }

    fn admit(self: &Rc<Self>, conn: OwnedFd, origin: Origin, full: bool) {
        // The last descriptors are for starting workers; one may be lent, to say so.
        let scarce = !self.reserve.has_room_for_handoff(&conn);
        if scarce && self.refusing.get() > 0 {
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
        let refusal = if scarce {
            Some(NO_DESCRIPTORS.to_owned())
        } else {
            full.then(|| format!("{MOST} requests are being answered; try again"))
        };
        if refusal.is_some() {
            self.refusing.set(self.refusing.get() + 1);
            spawn_local(async move {
                server.serve(conn, &its_state, refusal).await;
                server.refusing.set(server.refusing.get() - 1);
            });
            return;
        }
        let task = spawn_local(async move {
            server.serve(conn, &its_state, None).await;
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
                State::Busy | State::Elsewhere => None,
            });
        idle.min()
    }

    async fn serve(&self, conn: Conn, state: &Rc<Cell<State>>, refusal: Option<String>) {
        let caller = Caller {
            conn: match refusal {
                None => conn.as_fd().try_clone_to_owned(),
                Some(_) => Err(io::ErrorKind::Other.into()),
            },
            state: Rc::clone(state),
        };
        let keep_alive = refusal.is_none();
        let service = service_fn(async |request| {
            state.set(State::Busy);
            let answer = if let Some(why) = &refusal {
                Err(Problem::Unavailable(why.clone()))
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
            .keep_alive(keep_alive)
            .serve_connection(TokioIo::new(Patient::new(conn, WRITE_PATIENCE)), service)
            .await;
        if let Err(error) = served {
            debug!(%error, "an operator's connection ended");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::StatusCode;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;
    use tokio::task::LocalSet;

    use super::super::problem::answer;

    const SOON: Duration = Duration::from_secs(10);
    const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

    /// Answers when it is told to; at once who has asked for the connection.
    #[derive(Default)]
    struct Slow {
        go_on: Notify,
        takes_conn: Cell<bool>,
    }

    impl Answers for Rc<Slow> {
        async fn answer(&self, _: Request<Incoming>, caller: &Caller) -> Result<Answer, Problem> {
            if self.takes_conn.get() {
                drop(caller.conn()?);
            }
            self.go_on.notified().await;
            Ok(answer(StatusCode::OK, "text/plain", "done".into()))
        }
    }

    async fn until(mut is_so: impl FnMut() -> bool) {
        let wait = async {
            while !is_so() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(SOON, wait).await.unwrap();
    }

    #[tokio::test]
    async fn when_descriptors_are_few_one_at_a_time_is_told_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let listener = Rc::new(Listener::unix(listener, None).unwrap());
        let server = Server::new(Rc::<Slow>::default(), Reserve::exhausted());
        let test = async {
            spawn_local(Rc::clone(&server).run(listener));
            let mut first = UnixStream::connect(&path).await.unwrap();
            until(|| server.refusing.get() == 1).await;
            let mut second = UnixStream::connect(&path).await.unwrap();
            let mut said = String::new();
            second.read_to_string(&mut said).await.unwrap();
            assert_eq!(said, "");
            first.write_all(REQUEST).await.unwrap();
            first.read_to_string(&mut said).await.unwrap();
            assert!(said.starts_with("HTTP/1.1 503 "), "{said}");
            assert!(said.contains("LimitNOFILE="), "{said}");
            until(|| server.refusing.get() == 0 && server.rests()).await;
        };
        LocalSet::new().run_until(test).await;
    }

    #[tokio::test]
    async fn before_a_reload_who_is_being_answered_is_waited_for_and_who_comes_waits() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("s");
        let listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let listener = Rc::new(Listener::unix(listener, None).unwrap());
        let slow = Rc::<Slow>::default();
        let server = Server::new(Rc::clone(&slow), Reserve::of_the_master(1));
        let test = async {
            spawn_local(Rc::clone(&server).run(listener));
            let mut first = UnixStream::connect(&path).await.unwrap();
            first.write_all(REQUEST).await.unwrap();
            until(|| server.open.borrow().len() == 1 && !server.rests()).await;
            server.pause(true);
            let mut second = UnixStream::connect(&path).await.unwrap();
            second.write_all(REQUEST).await.unwrap();
            slow.go_on.notify_one();
            let mut said = String::new();
            first.read_to_string(&mut said).await.unwrap();
            assert!(said.ends_with("done"), "{said}");
            until(|| server.rests()).await;
            assert!(server.open.borrow().is_empty());
            // The one whose connection travels holds nobody up.
            slow.takes_conn.set(true);
            server.pause(false);
            until(|| !server.open.borrow().is_empty() && server.rests()).await;
            slow.go_on.notify_one();
            said.clear();
            second.read_to_string(&mut said).await.unwrap();
            assert!(said.ends_with("done"), "{said}");
        };
        LocalSet::new().run_until(test).await;
    }
}
