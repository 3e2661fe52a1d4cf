//! Who waits for a reload, the one whose turn it is first, and how far that is.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use tokio::sync::{Notify, oneshot};
use tracing::debug;

use super::{ReloadError, Report};
use crate::ipc::carrier::{Carrier, CarrierError, Luggage};
use crate::wire::handover::Fd;

/// So many may wait.
const MOST: usize = 8;

/// How far a reload is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Stage {
    /// There is none.
    #[default]
    None,
    /// The new program is tried.
    Trying,
    /// Waits until everything may stand still for a moment.
    Settling,
    /// The new program runs, and tells the workers what has changed.
    Telling,
    /// The new program runs, and starts this generation of workers.
    Starting(u16),
}

impl Stage {
    /// In a word, for programs; none: there is no reload.
    pub(crate) fn word(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Trying => Some("trying"),
            Self::Settling => Some("settling"),
            Self::Telling => Some("telling"),
            Self::Starting(_) => Some("starting"),
        }
    }

    /// In words, for `systemctl status`.
    pub(crate) fn words(self) -> Option<String> {
        Some(match self {
            Self::None => return None,
            Self::Trying => "reloading: the new program is tried".to_owned(),
            Self::Settling => "reloading: the new program is about to take over".to_owned(),
            Self::Telling => "reloading: the workers are told what has changed".to_owned(),
            Self::Starting(generation) => {
                format!("reloading: generation {generation} of the workers starts")
            }
        })
    }
}

/// What becomes of a reload, for who asked for it.
type Outcome = Result<Report, ReloadError>;

/// Somebody who asked for a reload.
#[derive(Debug)]
struct Waiter {
    /// The connection to the control socket.
    conn: OwnedFd,
    /// Whoever answers over it; none: somebody did in the program before, and the answer is written as it is.
    answer: Option<oneshot::Sender<Outcome>>,
}

impl Waiter {
    fn is_gone(&self) -> bool {
        if let Some(answer) = &self.answer {
            return answer.is_closed();
        }
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        match rustix::net::recv(&self.conn, &mut [0; 1], flags) {
            Ok((count, _)) => count == 0,
            Err(error) => error != Errno::AGAIN && error != Errno::INTR,
        }
    }
}

/// See the module's text.
#[derive(Debug, Default)]
pub(crate) struct Reloads {
    waiting: RefCell<VecDeque<Waiter>>,
    arrived: Notify,
    stage: Cell<Stage>,
}

impl Reloads {
    /// Those who waited in the program before.
    ///
    /// # Errors
    /// When a connection did not come along.
    pub(crate) fn adopt(waiting: &[Fd], luggage: &mut Luggage) -> Result<Self, CarrierError> {
        let waiting = waiting.iter().map(|&fd| {
            let conn = luggage.take(fd)?;
            Ok(Waiter { conn, answer: None })
        });
        let waiting: Result<_, CarrierError> = waiting.collect();
        Ok(Self {
            waiting: RefCell::new(waiting?),
            ..Self::default()
        })
    }

    /// Their connections, for the program that takes over.
    ///
    /// # Errors
    /// When there is no room for one.
    pub(crate) fn pack(&self, carrier: &mut Carrier) -> io::Result<Vec<Fd>> {
        let waiting = self.waiting.borrow();
        waiting
            .iter()
            .map(|waiter| carrier.put(waiter.conn.as_fd()))
            .collect()
    }

    /// Waits for a reload that is asked for over this connection.
    ///
    /// # Errors
    /// Why it was not done.
    pub(crate) async fn ask(&self, conn: OwnedFd) -> Outcome {
        let (answer, answered) = oneshot::channel();
        {
            let mut waiting = self.waiting.borrow_mut();
            // The first is told what becomes of the reload that is under way, even if nobody hears it: the next one's
            // is another.
            let mut is_under_way = self.stage.get() != Stage::None;
            waiting.retain(|waiter| {
                let answer = waiter.answer.as_ref();
                std::mem::take(&mut is_under_way) || answer.is_none_or(|it| !it.is_closed())
            });
            if waiting.len() >= MOST {
                return Err(ReloadError::TooMany(waiting.len()));
            }
            waiting.push_back(Waiter {
                conn,
                answer: Some(answer),
            });
        }
        self.arrived.notify_one();
        // It is dropped only with an answer, or with the server.
        answered
            .await
            .unwrap_or(Err(ReloadError::Phase("stopping")))
    }

    /// Waits until a reload is wanted, which is by nobody who has gone since.
    pub(crate) async fn wanted(&self) {
        loop {
            self.waiting.borrow_mut().retain(|waiter| !waiter.is_gone());
            if !self.waiting.borrow().is_empty() {
                return;
            }
            self.arrived.notified().await;
        }
    }

    /// Tells the first of those who wait.
    pub(crate) fn done(&self, outcome: Outcome) {
        self.stage.set(Stage::None);
        let Some(Waiter { conn, answer }) = self.waiting.borrow_mut().pop_front() else {
            return;
        };
        let Some(answer) = answer else {
            let answer = written(&outcome);
            let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
            // Nothing was sent over it before: it has room.
            if let Err(error) = rustix::net::send(&conn, answer.as_bytes(), flags) {
                debug!(%error, "whoever asked for a reload is gone");
            }
            return;
        };
        // Who is gone does not want to know.
        let _ = answer.send(outcome);
    }

    /// The server stops: there is no reload any more, and all who wait for one are told.
    pub(crate) fn stop(&self) {
        while !self.waiting.borrow().is_empty() {
            self.done(Err(ReloadError::Phase("stopping")));
        }
    }

    /// How far the one is that goes on.
    pub(crate) fn stage(&self) -> Stage {
        self.stage.get()
    }

    pub(super) fn set_stage(&self, stage: Stage) {
        self.stage.set(stage);
    }
}

/// The answer as it goes over a connection on which nobody speaks HTTP any more. The same as the control socket's others.
fn written(outcome: &Outcome) -> String {
    let (status, body) = match outcome {
        Ok(report) => match serde_json::to_string(report) {
            Ok(body) => ("200 OK", body),
            Err(error) => ("500 Internal Server Error", refusal(&error)),
        },
        Err(error) => ("409 Conflict", refusal(error)),
    };
    let length = body.len() + 1;
    format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncache-control: no-store\r\n\
         x-content-type-options: nosniff\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}\n"
    )
}

fn refusal(error: &dyn std::error::Error) -> String {
    serde_json::json!({ "error": error.to_string() }).to_string()
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixStream;

    use futures_util::FutureExt;

    use super::*;

    fn report() -> Report {
        Report {
            changed: Vec::new(),
            new_workers: true,
            version_before: "1".to_owned(),
            version: "2".to_owned(),
            pause_ms: 4.1,
            generation: 1,
            workers: 2,
            sessions_before: 0,
            drain_seconds: 30.0,
            remarks: Vec::new(),
        }
    }

    #[tokio::test]
    async fn they_are_answered_in_the_order_in_which_they_asked() {
        let reloads = Reloads::default();
        let conn = || OwnedFd::from(UnixStream::pair().unwrap().0);
        let answer = async {
            reloads.wanted().await;
            reloads.done(Ok(report()));
            reloads.wanted().await;
            reloads.done(Err(ReloadError::KnowsNoReload));
        };
        let (first, second, ()) = tokio::join!(reloads.ask(conn()), reloads.ask(conn()), answer);
        assert_eq!(first.unwrap().version, "2");
        assert!(second.is_err());
    }

    #[tokio::test]
    async fn who_asked_the_program_before_is_answered_by_this_one() {
        let reloads = Reloads::default();
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let (mut carrier, far) = Carrier::new().unwrap();
        let asks = reloads.ask(ours.into());
        let packs = async { reloads.pack(&mut carrier).unwrap() };
        let packed = tokio::select! {
            biased;
            _ = asks => panic!("nobody has answered"),
            packed = packs => packed,
        };
        carrier.finish(b"").unwrap();
        let mut luggage = Luggage::receive(far).unwrap();
        let adopted = Reloads::adopt(&packed, &mut luggage).unwrap();
        drop(reloads);
        adopted.wanted().await;
        adopted.done(Ok(report()));
        let mut said = String::new();
        theirs.read_to_string(&mut said).unwrap();
        let (head, body) = said.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.ends_with(&format!("content-length: {}", body.len())));
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["generation"], 1);
    }

    #[tokio::test]
    async fn who_leaves_during_its_reload_leaves_the_outcome_to_nobody_else() {
        let reloads = Reloads::default();
        let conn = || OwnedFd::from(UnixStream::pair().unwrap().0);
        let mut leaves = Box::pin(reloads.ask(conn()));
        let arrives = std::future::poll_fn(|cx| {
            assert!(leaves.as_mut().poll(cx).is_pending());
            std::task::Poll::Ready(())
        });
        arrives.await;
        reloads.wanted().await;
        reloads.set_stage(Stage::Trying);
        drop(leaves);
        let next = async {
            reloads.done(Err(ReloadError::KnowsNoReload));
            reloads.done(Ok(report()));
        };
        let (asked, ()) = tokio::join!(reloads.ask(conn()), next);
        assert!(asked.is_ok(), "{asked:?}");
    }

    #[tokio::test]
    async fn a_reload_that_has_not_begun_is_not_done_for_who_has_gone() {
        let reloads = Reloads::default();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let adopted = Waiter {
            conn: ours.into(),
            answer: None,
        };
        assert!(!adopted.is_gone());
        reloads.waiting.borrow_mut().push_back(adopted);
        reloads.wanted().await;
        drop(theirs);
        let mut leaves = Box::pin(reloads.ask(UnixStream::pair().unwrap().0.into()));
        assert!((&mut leaves).now_or_never().is_none());
        drop(leaves);
        assert!(reloads.wanted().now_or_never().is_none());
        assert!(reloads.waiting.borrow().is_empty());
    }

    #[tokio::test]
    async fn who_waits_when_the_server_stops_is_told_so() {
        let reloads = Reloads::default();
        let conn = || OwnedFd::from(UnixStream::pair().unwrap().0);
        let stop = async { reloads.stop() };
        let (first, second, ()) = tokio::join!(reloads.ask(conn()), reloads.ask(conn()), stop);
        for refused in [first, second] {
            let why = refused.unwrap_err().to_string();
            assert!(why.contains("the server is stopping"), "{why}");
        }
        // What was under way ends later.
        reloads.done(Ok(report()));
    }

    #[tokio::test]
    async fn more_than_a_few_do_not_wait() {
        let reloads = Reloads::default();
        let conn = || OwnedFd::from(UnixStream::pair().unwrap().0);
        let all = futures_util::future::join_all((0..MOST).map(|_| reloads.ask(conn())));
        let one_more = async {
            let refused = reloads.ask(conn()).await.unwrap_err();
            assert!(matches!(refused, ReloadError::TooMany(MOST)));
            (0..MOST).for_each(|_| reloads.done(Ok(report())));
        };
        let (all, ()) = tokio::join!(all, one_more);
        assert!(all.iter().all(Result::is_ok));
    }
}
