//! The bridge to other machines: let in by the hub's socket where it is a service of its own, else a child of the
//! master.
//!
//! The rule: a server that systemd runs as a service (it passes listeners, or wants to be told that it is ready) leaves
//! its bridge to my-app-bridge.service. Whoever runs the server otherwise, in a terminal or in a container, has it with
//! the server.

use std::cell::RefCell;
use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};

use super::Parts;
use super::child::{Process, Status};
use super::hub::Left;
use crate::cli::BridgeArgs;
use crate::ipc::carrier::Carrier;
use crate::wire::handover::workers::ChildState;

/// A bridge that lived for less died of something that will happen again.
const SHORT_LIFE: Duration = Duration::from_secs(10);
/// The pauses between attempts grow from the first up to the second.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long it may take to say goodbye to the other machines.
const GOODBYE: Duration = Duration::from_millis(1500);

/// What is missing where the bridge has a unit, and that does not run.
const UNSTARTED: &str =
    "no link to other machines: no bridge runs; `systemctl start my-app-bridge.service` starts it";

/// What lets bridges in, or starts them.
pub(super) struct Bridges {
    task: Option<JoinHandle<()>>,
    stop: watch::Sender<bool>,
    own: Rc<RefCell<Own>>,
}

/// The master's own bridge.
#[derive(Default)]
enum Own {
    /// There is none, or not yet again.
    #[default]
    Nobody,
    /// It runs.
    Running(Rc<Process>),
    /// It is about to end, or has ended, and what it had brought is passed on.
    Leaving,
}

/// A bridge of the program before this one: its process, and what goes on serving it.
pub(super) type Adopted = (Process, JoinHandle<Left>);

impl Bridges {
    /// Begins, if there is a server over which other machines are met. `own`: with these arguments the master starts it.
    /// `adopted`: there is one already.
    pub(super) fn start(parts: &Parts, args: Option<BridgeArgs>, adopted: Option<Adopted>) -> Self {
        let (stop, stopped) = watch::channel(false);
        let mut task = None;
        let own = Rc::<RefCell<Own>>::default();
        if parts.config.bridge.url.is_none() {
            // There may be one of the configuration before.
            parts.hub.expect_no_bridge();
            stop.send_replace(true);
        }
        if let Some((process, served)) = adopted {
            let process = Rc::new(process);
            own.replace(Own::Running(Rc::clone(&process)));
            let keeper = Keeper::new(parts, &own, args, stopped);
            task = Some(spawn_local(keeper.keep(Some((process, served)))));
        } else if parts.config.bridge.url.is_some() {
            let parts = parts.clone();
            let own = Rc::clone(&own);
            task = Some(spawn_local(async move {
                if args.is_some() {
                    return Keeper::new(&parts, &own, args, stopped).keep(None).await;
                }
                let path = parts.config.bus_socket();
                let complain = |what| parts.faults.record(what);
                Rc::clone(&parts.hub).listen(path, complain).await;
            }));
        }
        Self { task, stop, own }
    }

    /// Can it be packed?
    pub(super) fn is_settled(&self) -> bool {
        !matches!(*self.own.borrow(), Own::Leaving)
    }

    /// The master's own bridge, if it runs; nothing is changed.
    ///
    /// # Errors
    /// When its descriptor cannot be put in.
    pub(super) fn pack(&self, carrier: &mut Carrier) -> io::Result<Option<ChildState>> {
        match &*self.own.borrow() {
            Own::Running(process) => process.pack(carrier).map(Some),
            // Nobody would reap it.
            Own::Leaving if !carrier.only_counts() => Err(io::Error::other(
                "the bridge is being replaced at this moment; try again",
            )),
            Own::Nobody | Own::Leaving => Ok(None),
        }
    }

    /// Has the master's own bridge say goodbye, and waits for it.
    pub(super) async fn stop(&mut self) {
        self.stop.send_replace(true);
        if let Some(task) = &mut self.task {
            // One that is let in has a unit of its own.
            let _ = timeout(GOODBYE, &mut *task).await;
            task.abort();
        }
    }
}

/// Keeps the master's own bridge.
struct Keeper {
    parts: Parts,
    own: Rc<RefCell<Own>>,
    /// None: there is to be none any more when the one that there is has ended.
    args: Option<BridgeArgs>,
    stopped: watch::Receiver<bool>,
    /// Is the one that runs to end, for another one to be started?
    renews: bool,
}

impl Keeper {
    fn new(
        parts: &Parts,
        own: &Rc<RefCell<Own>>,
        args: Option<BridgeArgs>,
        stopped: watch::Receiver<bool>,
    ) -> Self {
        Self {
            parts: parts.clone(),
            own: Rc::clone(own),
            args: args.filter(|_| parts.config.bridge.url.is_some()),
            stopped,
            renews: false,
        }
    }

    /// Has one bridge at a time, until it is to stop.
    async fn keep(mut self, mut adopted: Option<(Rc<Process>, JoinHandle<Left>)>) {
        let (first, longest) = PAUSES;
        let mut pause = first;
        loop {
            let began = Instant::now();
            let ended = match (adopted.take(), self.args.clone()) {
                (Some((process, served)), _) => self.serve(process, served).await,
                (None, Some(args)) => self.run(&args).await,
                (None, None) => return,
            };
            self.own.replace(Own::Nobody);
            if *self.stopped.borrow() {
                return;
            }
            if std::mem::take(&mut self.renews) {
                info!("the bridge is started anew, with what has changed");
                pause = first;
                continue;
            }
            let what = match ended {
                Ok((pid, status)) => format!("the bridge (pid {pid}) ended: {status}"),
                Err(error) => format!("the bridge could not be started: {error}"),
            };
            warn!("{what}; it is started again");
            self.parts.faults.record(what);
            pause = if began.elapsed() < SHORT_LIFE {
                (pause * 2).min(longest)
            } else {
                first
            };
            tokio::select! {
                () = sleep(pause) => {}
                _ = self.stopped.wait_for(|stopped| *stopped) => return,
            }
        }
    }

    /// Starts a bridge, and serves it until it has ended.
    async fn run(&mut self, args: &BridgeArgs) -> io::Result<(u32, Status)> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let ours = UnixStream::from_std(ours)?;
        let child = Rc::new(Process::bridge(args, OwnedFd::from(theirs))?);
        let pid = child.pid();
        info!("Bridge {pid} started");
        let hub = Rc::clone(&self.parts.hub);
        let served = spawn_local(async move { hub.serve_bridge(pid, ours).await });
        self.own.replace(Own::Running(Rc::clone(&child)));
        self.serve(child, served).await
    }

    /// Serves a bridge until it has ended.
    async fn serve(
        &mut self,
        child: Rc<Process>,
        mut served: JoinHandle<Left>,
    ) -> io::Result<(u32, Status)> {
        let pid = child.pid();
        let mut told_to_stop = false;
        let status = loop {
            tokio::select! {
                status = child.wait() => break status,
                left = &mut served => {
                    self.own.replace(Own::Leaving);
                    if let Ok(Left::GivenUp(why)) = left {
                        warn!(pid, why, "the bridge was given up");
                    }
                    break end(&child).await;
                }
                _ = self.stopped.wait_for(|stopped| *stopped), if !told_to_stop => {
                    told_to_stop = true;
                    terminate(&child);
                }
                () = self.parts.renew_bridge.notified(), if !told_to_stop => {
                    told_to_stop = true;
                    self.renews = true;
                    terminate(&child);
                }
            }
        };
        self.own.replace(Own::Leaving);
        // What it had brought is passed on to the end, which comes with its process.
        if !served.is_finished() && timeout(Duration::from_secs(1), &mut served).await.is_err() {
            served.abort();
        }
        Ok((pid, status?))
    }
}

/// It has left the bus, and is to end soon.
async fn end(child: &Process) -> io::Result<Status> {
    if let Ok(status) = timeout(GOODBYE, child.wait()).await {
        return status;
    }
    child.kill()?;
    child.wait().await
}

fn terminate(child: &Process) {
    if let Err(error) = child.terminate() {
        warn!(%error, "the bridge could not be told to stop");
    }
}

/// What is missing of the link to other machines, if there is to be one and it is not there.
pub(super) fn missing(parts: &Parts) -> Option<String> {
    let url = parts.config.bridge.url.as_ref()?;
    let bridge = parts.hub.bridge();
    match (&bridge.report, bridge.pid) {
        (Some(report), _) if report.up => None,
        (Some(report), _) => Some(format!(
            "no link to other machines: {}",
            report.missing.join("; ")
        )),
        (None, Some(_)) => Some(format!("no link to other machines: connecting to {url}")),
        (None, None) if parts.has_own_bridge => {
            Some("no link to other machines: the bridge is being started".to_owned())
        }
        (None, None) => Some(UNSTARTED.to_owned()),
    }
}
