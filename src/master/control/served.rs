//! The sockets at which operators and collectors ask, for as long as they are answered.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::super::bind;
use super::super::listeners::Listener;
use super::Control;
use super::routes::{Metrics, Operators};
use super::server::{Answers, Server};
use crate::ipc::carrier::{Carrier, CarrierError, Luggage};
use crate::ipc::reserve::Reserve;
use crate::wire::handover::control::AskedState;

/// How often it is looked whether all have their answers.
const LOOK: Duration = Duration::from_millis(10);

/// The tasks that accept. With them the control socket's file goes.
#[must_use = "nobody is answered any more without it"]
pub(crate) struct Served {
    tasks: Vec<AbortHandle>,
    operators: Rc<Server<Operators>>,
    control: Option<Rc<Listener>>,
    collectors: Rc<Server<Metrics>>,
    metrics: Vec<Rc<Listener>>,
    /// Why the control socket is not where it should be.
    trouble: Option<String>,
}

/// Nobody is accepted until this is dropped: who comes waits.
pub(crate) struct Settled<'a>(&'a Served);

impl Control {
    /// Answers operators, and whoever collects metrics, until what this returns is dropped. A socket that cannot be
    /// had is told; the server runs on without it. `control`: one that was open before.
    pub(crate) fn serve(
        self: &Rc<Self>,
        metrics: Vec<Listener>,
        control: Option<Listener>,
    ) -> Served {
        let reserve = Reserve::of_the_master(self.parts.config.workers);
        let (control, trouble) = self.open(control);
        let mut served = Served {
            tasks: Vec::new(),
            operators: Server::new(Operators(Rc::clone(self)), reserve),
            control: control.map(Rc::new),
            collectors: Server::new(Metrics(Rc::clone(self)), reserve),
            metrics: metrics.into_iter().map(Rc::new).collect(),
            trouble,
        };
        if let Some(listener) = &served.control {
            served.tasks.push(accept(&served.operators, listener));
        }
        for listener in &served.metrics {
            served.tasks.push(accept(&served.collectors, listener));
        }
        served
    }

    /// The control socket; if it cannot be had the one before stays, and why is told.
    fn open(&self, before: Option<Listener>) -> (Option<Listener>, Option<String>) {
        let Some(path) = &self.parts.config.control.socket else {
            return (None, None);
        };
        let place = format!("unix:{}", path.display());
        // Another one goes with its file.
        if before
            .as_ref()
            .is_some_and(|listener| listener.place() == place)
        {
            return (before, None);
        }
        match bind::bind_control(path) {
            Ok(listener) => (Some(listener), None),
            Err(error) => {
                let trouble = match &before {
                    Some(before) => {
                        format!("{error}; operators are answered at {}", before.place())
                    }
                    None => format!("{error}; the server runs on without its control socket"),
                };
                warn!("{trouble}");
                self.parts.faults.record(trouble.clone());
                (before, Some(trouble))
            }
        }
    }
}

fn accept<A: Answers + 'static>(server: &Rc<Server<A>>, listener: &Rc<Listener>) -> AbortHandle {
    spawn_local(Rc::clone(server).run(Rc::clone(listener))).abort_handle()
}

impl Served {
    /// Accepts nobody any more, and waits until all have their answers, but for those who are answered by the program that
    /// takes over. Who has none after `patience` gets none.
    pub(crate) async fn settle(&self, patience: Duration) -> Settled<'_> {
        let deadline = Instant::now() + patience;
        self.pause(true);
        let settled = Settled(self);
        while !(self.operators.rests() && self.collectors.rests()) && Instant::now() < deadline {
            sleep(LOOK).await;
        }
        settled
    }

    /// Why the control socket is not where it should be.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    fn pause(&self, paused: bool) {
        self.operators.pause(paused);
        self.collectors.pause(paused);
    }

    /// The sockets, for the program that takes over.
    ///
    /// # Errors
    /// When there are no more descriptors.
    pub(crate) fn pack(&self, carrier: &mut Carrier) -> io::Result<AskedState> {
        let control = self.control.as_ref().map(|it| it.pack(carrier));
        let control = control.transpose()?;
        let metrics = self.metrics.iter().map(|it| it.pack(carrier));
        let metrics = metrics.collect::<Result<_, _>>()?;
        Ok(AskedState { control, metrics })
    }
}

/// What [`Control::serve`] takes, as it was packed.
///
/// # Errors
/// When a socket did not come along.
pub(crate) fn adopt(
    state: AskedState,
    luggage: &mut Luggage,
) -> Result<(Vec<Listener>, Option<Listener>), CarrierError> {
    let control = state.control.map(|it| Listener::adopt(it, luggage));
    let control = control.transpose()?;
    let metrics = state.metrics.into_iter();
    let metrics = metrics.map(|it| Listener::adopt(it, luggage));
    Ok((metrics.collect::<Result<_, _>>()?, control))
}

impl Drop for Served {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Drop for Settled<'_> {
    fn drop(&mut self) {
        self.0.pause(false);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::path::Path;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpStream, UnixStream};
    use tokio::task::LocalSet;
    use tokio::time::timeout;

    use super::super::super::Parts;
    use super::*;
    use crate::wire::handover::pool::PoolState;

    const DEADLINE: Duration = Duration::from_secs(20);

    fn control(path: &Path) -> Rc<Control> {
        let mut parts = Parts::for_tests(PoolState::default());
        let mut config = (*parts.config).clone();
        config.control.socket = Some(path.to_owned());
        parts.config = Rc::new(config);
        Control::new(parts)
    }

    async fn ask(path: &Path) -> UnixStream {
        let mut conn = UnixStream::connect(path).await.unwrap();
        let request = b"GET /status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        conn.write_all(request).await.unwrap();
        conn
    }

    async fn ask_for_metrics(at: SocketAddr) -> TcpStream {
        let mut conn = TcpStream::connect(at).await.unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        conn.write_all(request).await.unwrap();
        conn
    }

    async fn is_answered(mut conn: impl AsyncReadExt + Unpin) {
        let mut said = String::new();
        let read = timeout(DEADLINE, conn.read_to_string(&mut said)).await;
        read.expect("an answer").unwrap();
        assert!(said.starts_with("HTTP/1.1 200 OK\r\n"), "{said}");
    }

    #[tokio::test]
    async fn who_asks_while_another_program_takes_over_is_answered_by_that_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let listener = bind::bind_tcp(([127, 0, 0, 1], 0).into()).unwrap();
        let at = listener.local_addr().unwrap();
        let (mut carrier, stdin) = Carrier::new().unwrap();
        let before = LocalSet::new();
        let waiting = before
            .run_until(async {
                let listener = Listener::tcp(listener).unwrap();
                let served = control(&path).serve(vec![listener], None);
                is_answered(ask(&path).await).await;
                is_answered(ask_for_metrics(at).await).await;
                let settled = served.settle(DEADLINE).await;
                let waiting = (ask(&path).await, ask_for_metrics(at).await);
                let state = served.pack(&mut carrier).unwrap();
                carrier
                    .finish(&postcard::to_stdvec(&state).unwrap())
                    .unwrap();
                drop(settled);
                // An exec drops nothing: the socket's file stays.
                std::mem::forget(served);
                waiting
            })
            .await;
        drop(before);

        let mut luggage = Luggage::receive(stdin).unwrap();
        let state: AskedState = postcard::from_bytes(luggage.state()).unwrap();
        let going_on = async {
            let (metrics, socket) = adopt(state, &mut luggage).unwrap();
            assert_eq!((metrics.len(), luggage.left()), (1, 0));
            assert!(socket.is_some());
            let _served = control(&path).serve(metrics, socket);
            is_answered(waiting.0).await;
            is_answered(waiting.1).await;
            is_answered(ask(&path).await).await;
            is_answered(ask_for_metrics(at).await).await;
        };
        LocalSet::new().run_until(going_on).await;
    }

    #[tokio::test]
    async fn who_does_not_finish_a_request_is_not_waited_for_and_then_all_are_accepted_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control");
        let test = async {
            let served = control(&path).serve(Vec::new(), None);
            let mut slow = UnixStream::connect(&path).await.unwrap();
            slow.write_all(b"GET /sta").await.unwrap();
            is_answered(ask(&path).await).await;
            drop(
                timeout(DEADLINE, served.settle(Duration::from_secs(1)))
                    .await
                    .unwrap(),
            );
            is_answered(ask(&path).await).await;
        };
        LocalSet::new().run_until(test).await;
    }
}
