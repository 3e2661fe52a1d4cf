//! A worker: takes connections from the master, runs the engine and the application.
//!
//! One thread, one current-thread runtime: two events of one client are handled in the order in
//! which they came. The worker never accepts a connection itself and never outlives its master.

mod admission;
mod context;
mod details;
mod drain;
mod ends;
mod figures;
mod head;
mod http1;
mod intake;
mod link;
mod memory;
mod opening;
mod operator;
mod peers;
mod repeats;
mod request;
mod search;
mod sessions;
mod stream;

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use engineioxide::EndReason;
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinError;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{info, warn};

use self::context::Worker;
use self::drain::Leave;
use self::link::Answer;
use self::opening::Opening;
use self::operator::Operator;
use crate::api::App;
use crate::config::Config;
use crate::ipc::bus::BusError;
use crate::ipc::link::{Inbox, Link, LinkError};
use crate::ipc::reserve::Reserve;
use crate::logging::{self, LogError, LogGuard, LogRole, RateLimit};
use crate::metrics;
use crate::process;
use crate::wire::link::{ToMaster, ToWorker};

/// Reports of counts to the master are at least this far apart.
const REPORT_PAUSE: Duration = Duration::from_millis(5);

/// How long the last broadcasts of a worker that leaves may take.
const FLUSH: Duration = Duration::from_millis(500);

/// The same trouble is told once in this time.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(10);

/// Why a worker could not start, or had to leave.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkerError {
    /// Somebody else started it.
    #[error("a worker is started by the master only; run `my-app` without arguments")]
    NoMaster,
    /// The runtime or a signal handler could not be set up.
    #[error("the worker cannot start: {0}")]
    Start(#[source] io::Error),
    /// The link to the master broke.
    #[error("the link to the master: {0}")]
    Link(#[from] LinkError),
    /// The bus broke.
    #[error(transparent)]
    Bus(#[from] BusError),
    /// The engine serves nobody any more.
    #[error("the engine has stopped")]
    Engine,
    /// A task that runs as long as the worker does panicked.
    #[error("a task of the worker: {0}")]
    Task(#[from] JoinError),
    /// The configuration that the master sent could not be read.
    #[error("the master's configuration: {0}")]
    Config(#[source] io::Error),
    /// The log could not be opened.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Runs a worker whose link to the master is its standard input, until the master ends it.
///
/// # Errors
/// When it cannot start, or the master is gone.
pub(crate) fn run(app: App, slot: u16) -> Result<(), WorkerError> {
    process::raise_oom_score();
    // If the master dies, this process does, whatever it is doing (prctl(2), PR_SET_PDEATHSIG).
    // Should it be dead already, the link is at its end.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| WorkerError::Start(error.into()))?;
    let link = process::take_stdin().map_err(WorkerError::Start)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .map_err(WorkerError::Start)?
        .block_on(serve(app, slot, link))
}

async fn serve(app: App, slot: u16, link: OwnedFd) -> Result<(), WorkerError> {
    // A stop in a terminal, or of a whole service, reaches every process of it. What happens is the
    // master's to decide: a worker that left by itself would still be sent clients.
    let mut terminate = signal(SignalKind::terminate()).map_err(WorkerError::Start)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(WorkerError::Start)?;
    let mut hangup = signal(SignalKind::hangup()).map_err(WorkerError::Start)?;
    let mut reopen = signal(SignalKind::user_defined1()).map_err(WorkerError::Start)?;
    // The master's are held.
    process::release_signals().map_err(WorkerError::Start)?;
    let link = Link::new(link).map_err(|_| WorkerError::NoMaster)?;
    let mut inbox = Inbox::default();
    let Ok((ToWorker::Welcome(welcome), Some(config))) = link.recv(&mut inbox).await else {
        return Err(WorkerError::NoMaster);
    };
    let Ok((ToWorker::Bus, Some(bus))) = link.recv(&mut inbox).await else {
        return Err(WorkerError::NoMaster);
    };
    let bus = UnixStream::from(bus);
    let bus = bus.set_nonblocking(true).and_then(|()| bus.try_into());
    let bus: tokio::net::UnixStream = bus.map_err(WorkerError::Start)?;
    let config = read_config(config).map_err(WorkerError::Config)?;
    let log = logging::init(&config.log, LogRole::Worker { slot })?;
    let worker = Worker::new(app, link, welcome, config);

    let engine = worker.engine.clone();
    let engine = tokio::spawn(async move { engine.run().await });
    let mut bus = tokio::spawn(worker.bus.clone().run(bus));
    tokio::select! {
        () = worker.bus.joined() => {}
        broken = &mut bus => return Err(bus_error(broken)),
    }
    worker.link.tell(&ToMaster::Ready).await?;
    info!("Worker {} started", std::process::id());
    let (stop, stopped) = watch::channel(None);
    let leave = async {
        drain::run(&worker, stopped).await;
        // What handlers sent when their sockets were disconnected; and why they were.
        let told = async { tokio::join!(worker.bus.flushed(), all_ends_told(&worker)) };
        let _ = timeout(FLUSH, told).await;
        let _ = timeout(FLUSH, figures::tell_last(&worker, &log)).await;
    };
    tokio::select! {
        ended = listen(&worker, inbox, stop, &log) => Err(ended.into()),
        ended = report(&worker) => Err(ended.into()),
        broken = bus => Err(bus_error(broken)),
        stopped = engine => Err(stopped.map_or_else(WorkerError::Task, |()| WorkerError::Engine)),
        ended = figures::tell(&worker, &log) => Err(ended.into()),
        () = log_session_counts(&worker, &log) => Ok(()),
        () = memory::keep_below_ceiling(&worker) => Ok(()),
        () = process::give_memory_back() => Ok(()),
        () = async { while interrupt.recv().await.is_some() {} } => Ok(()),
        () = async { while terminate.recv().await.is_some() {} } => Ok(()),
        () = async { while hangup.recv().await.is_some() {} } => Ok(()),
        () = async { while reopen.recv().await.is_some() { log.reopen() } } => Ok(()),
        () = leave => Ok(()),
    }
}

/// The configuration in a memfd.
fn read_config(file: OwnedFd) -> io::Result<Config> {
    Ok(serde_json::from_reader(io::BufReader::new(File::from(
        file,
    )))?)
}

fn bus_error(broken: Result<BusError, JoinError>) -> WorkerError {
    broken.map_or_else(WorkerError::Task, WorkerError::Bus)
}

/// Hears the master until the link breaks.
async fn listen(
    worker: &Arc<Worker>,
    mut inbox: Inbox,
    stop: watch::Sender<Option<Leave>>,
    log: &LogGuard,
) -> LinkError {
    let mut operator = Operator::new(worker);
    let lost = RateLimit::default();
    let reserve = Reserve::of_a_worker();
    loop {
        let heard = match worker.link.listen(&mut inbox).await {
            // Those that are left are for requests of sessions that there are, for connections of our own, and for
            // those that come from other workers.
            Ok((ToWorker::Take(handoff), Some(conn)))
                if handoff.is_new()
                    && !(reserve.has_room_for(&conn)
                        && (!handoff.opens || reserve.has_room_for_session(&conn))) =>
            {
                worker.sessions.taken();
                drop(Opening::of(&worker.sessions, &handoff));
                intake::turn_away(&conn);
                complain_of_descriptors(&lost);
                Ok(())
            }
            Ok((ToWorker::Take(handoff), Some(conn))) => {
                // Counted at once: a drain does not end before it.
                let client = worker.config().limits.client_of(handoff.origin);
                let counted = worker.sessions.connection(handoff.origin, client);
                tokio::spawn(intake::serve(Arc::clone(worker), conn, handoff, counted));
                Ok(())
            }
            Ok((ToWorker::Eio3 { ticket, home }, _)) => {
                worker.link.answered(ticket, Answer::Eio3(home));
                Ok(())
            }
            Ok((ToWorker::Home { ticket, place }, _)) => {
                let place = place.map(|place| {
                    let opening = Opening::reserved(&worker.sessions, place.reservation);
                    (place.home, opening)
                });
                worker.link.answered(ticket, Answer::Home(place));
                Ok(())
            }
            Ok((ToWorker::Ping { taken_out }, _)) => {
                worker.taken_out.store(taken_out, Relaxed);
                worker.sessions.pinged();
                Ok(())
            }
            Ok((ToWorker::Stop { within_ms }, _)) => {
                stop.send_replace(Some(Leave {
                    over: Duration::from_millis(within_ms.into()),
                    reason: EndReason::Stopped,
                }));
                Ok(())
            }
            Ok((ToWorker::Retire { over_ms }, _)) => {
                worker.retires.store(true, Relaxed);
                stop.send_replace(Some(Leave {
                    over: Duration::from_millis(over_ms.into()),
                    reason: EndReason::Drain,
                }));
                Ok(())
            }
            // The kernel drops a passed descriptor when this process has too many already.
            Ok((ToWorker::Take(handoff), None)) => {
                metrics::REFUSED.count(metrics::Refused::Descriptors);
                worker.sessions.taken();
                drop(Opening::of(&worker.sessions, &handoff));
                complain_of_descriptors(&lost);
                Ok(())
            }
            Ok((ToWorker::Drain { over_ms }, _)) => {
                operator.drain(over_ms.map(|over_ms| Duration::from_millis(over_ms.into())));
                Ok(())
            }
            Ok((ToWorker::Ask { ticket, question }, passed)) => {
                operator.ask(ticket, question, passed);
                Ok(())
            }
            Ok((ToWorker::Log(command), _)) => {
                operator.log(&command, log);
                Ok(())
            }
            Ok((ToWorker::Config, config)) => {
                operator.reconfigure(config, log);
                Ok(())
            }
            Ok((ToWorker::Welcome(_) | ToWorker::Bus, _)) => Ok(()),
            Err(error) => Err(error),
        };
        if let Err(error) = heard {
            return error;
        }
    }
}

fn complain_of_descriptors(lost: &RateLimit) {
    if lost.allows(COMPLAINT_PAUSE) {
        warn!("connections are lost for want of descriptors; raise LimitNOFILE");
    }
}

/// Tells the master the counts whenever they changed.
async fn report(worker: &Worker) -> LinkError {
    let mut last = None;
    loop {
        worker.sessions.changed().await;
        let told = async {
            if worker.sessions.take_pinged() {
                worker.link.tell(&ToMaster::Pong).await?;
            }
            for sid in worker.sessions.take_ended_eio3() {
                worker.link.tell(&ToMaster::Eio3Close { sid }).await?;
            }
            // Before the counts, which have them no more.
            tell_ends(worker).await?;
            // In one message: a session is never seen both reserved and open, or neither.
            let released = worker.sessions.take_released();
            let clients = worker.sessions.take_clients();
            let counts = worker.sessions.report();
            let new = last.replace(counts) != Some(counts);
            if new || !released.is_empty() || !clients.is_empty() {
                let report = ToMaster::Report {
                    counts,
                    released,
                    clients,
                };
                worker.link.tell(&report).await?;
            }
            Ok(())
        };
        if let Err(error) = told.await {
            return error;
        }
        sleep(REPORT_PAUSE).await;
    }
}

/// Tells the master which sessions have ended, a bounded number at a time.
async fn tell_ends(worker: &Worker) -> Result<(), LinkError> {
    const BATCHES: usize = 8;
    for _ in 0..BATCHES {
        let Some(batch) = worker.ends.batch() else {
            return Ok(());
        };
        worker.link.tell(&ToMaster::Ended(batch)).await?;
        worker.ends.told();
    }
    worker.sessions.wake_report();
    Ok(())
}

/// Waits until the master knows of all sessions that have ended.
async fn all_ends_told(worker: &Worker) {
    while !worker.ends.all_told() {
        sleep(REPORT_PAUSE).await;
    }
}

/// The line that log watchers know from the Node server.
async fn log_session_counts(worker: &Worker, log: &LogGuard) {
    let mut reconfigured = worker.reconfigured();
    let mut last = Instant::now();
    loop {
        let every = worker.config().log.stats_interval;
        tokio::select! {
            changed = reconfigured.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
            () = sleep_until(last + every), if !every.is_zero() => last = Instant::now(),
        }
        info!(
            "Worker {}: {} connected client(s)",
            std::process::id(),
            worker.sessions.count()
        );
        log.report_losses();
    }
}
