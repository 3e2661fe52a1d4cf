//! A worker: takes connections from the master, runs the engine and the application.
//!
//! One thread, one current-thread runtime: two events of one client are handled in the order in
//! which they came. The worker never accepts a connection itself and never outlives its master.

mod admission;
mod drain;
mod forward;
mod frames;
mod http;
mod intake;
mod master;
mod memory;
mod opening;
mod request;
mod sessions;
mod stream;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ::http::{Request, Response};
use axum::body::Body;
use rustix::process::Signal;
use socketioxide::service::SocketIoService;
use socketioxide::{ParserConfig, SocketIo, TransportType};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinError;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tower::{Service, ServiceExt};
use tracing::{info, warn};

use self::admission::Admission;
use self::forward::Peers;
use self::http::Cors;
use self::master::{Answer, Master};
use self::opening::Opening;
use self::sessions::Sessions;
use self::stream::Stream;
use crate::api::{Adapter, App, Cluster};
use crate::bus::Bus;
use crate::config::{Config, Engine, Parser, Transport};
use crate::ipc::bus::BusError;
use crate::ipc::link::{Inbox, Link, LinkError};
use crate::logging::{self, LogError, LogGuard, LogRole};
use crate::process;
use crate::wire::link::{ToMaster, ToWorker, Welcome};
use crate::wire::session_id::{Home, Keyring};

/// Reports of counts to the master are at least this far apart.
const REPORT_PAUSE: Duration = Duration::from_millis(5);

/// What the engine reads a WebSocket with, in bytes. Each session keeps it; larger messages get a buffer of
/// their own for as long as they last, and the stream reads ahead.
const READ_BUFFER: usize = 64;

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

/// All that the parts of a worker share.
pub(crate) struct Worker {
    home: Home,
    keyring: Keyring,
    config: Config,
    sessions: Arc<Sessions>,
    admission: Admission,
    master: Master,
    bus: Bus,
    peers: Peers,
    engine: SocketIoService<axum::Router, Adapter>,
    cors: Option<Cors>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("home", &self.home)
            .finish_non_exhaustive()
    }
}

/// Runs a worker whose link to the master is its standard input, until the master ends it.
///
/// # Errors
/// When it cannot start, or the master is gone.
pub(crate) fn run(app: App, slot: u16) -> Result<(), WorkerError> {
    // If the master dies, this process does, whatever it is doing (prctl(2), PR_SET_PDEATHSIG).
    // Should it be dead already, the link is at its end.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| WorkerError::Start(error.into()))?;
    let link = take_stdin().map_err(WorkerError::Start)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .map_err(WorkerError::Start)?
        .block_on(serve(app, slot, link))
}

/// The link is standard input; the application's own children shall not inherit it.
fn take_stdin() -> io::Result<OwnedFd> {
    let link = io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(link)
}

async fn serve(app: App, slot: u16, link: OwnedFd) -> Result<(), WorkerError> {
    // A stop in a terminal, or of a whole service, reaches every process of it. What happens is the
    // master's to decide: a worker that left by itself would still be sent clients.
    let mut terminate = signal(SignalKind::terminate()).map_err(WorkerError::Start)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(WorkerError::Start)?;
    let mut reopen = signal(SignalKind::user_defined1()).map_err(WorkerError::Start)?;
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
    let config: Config = serde_json::from_reader(io::BufReader::new(File::from(config)))
        .map_err(|error| WorkerError::Config(error.into()))?;
    let log = logging::init(&config.log, LogRole::Worker { slot })?;
    process::raise_oom_score();
    let ceiling = memory::ceiling(config.limits.worker_memory, welcome.workers);
    let worker = Worker::new(app, link, welcome, config);

    let mut bus = tokio::spawn(worker.bus.clone().run(bus));
    tokio::select! {
        () = worker.bus.joined() => {}
        broken = &mut bus => return Err(bus_error(broken)),
    }
    worker.master.tell(&ToMaster::Ready).await?;
    info!("Worker {} started", std::process::id());
    let (stop, mut stopped) = watch::channel(None);
    let leave = async {
        let within = stopped
            .wait_for(Option::is_some)
            .await
            .map(|within| *within);
        drain::run(&worker, within.ok().flatten().unwrap_or_default()).await;
        // What handlers sent when their sockets were disconnected.
        let _ = timeout(FLUSH, worker.bus.flushed()).await;
    };
    tokio::select! {
        ended = listen(&worker, inbox, stop) => Err(ended.into()),
        ended = report(&worker) => Err(ended.into()),
        broken = bus => Err(bus_error(broken)),
        () = count_aloud(&worker, &log) => Ok(()),
        () = drain::end_silent(&worker) => Ok(()),
        () = memory::keep_below_ceiling(&worker, ceiling) => Ok(()),
        () = async { while interrupt.recv().await.is_some() {} } => Ok(()),
        () = async { while terminate.recv().await.is_some() {} } => Ok(()),
        () = async { while reopen.recv().await.is_some() { log.reopen() } } => Ok(()),
        () = leave => Ok(()),
    }
}

fn bus_error(broken: Result<BusError, JoinError>) -> WorkerError {
    broken.map_or_else(WorkerError::Task, WorkerError::Bus)
}

/// Hears the master until the link breaks.
async fn listen(
    worker: &Arc<Worker>,
    mut inbox: Inbox,
    stop: watch::Sender<Option<Duration>>,
) -> LinkError {
    let mut complained = None;
    loop {
        let heard = match worker.master.listen(&mut inbox).await {
            Ok((ToWorker::Take(handoff), Some(conn))) => {
                worker.sessions.taken();
                // Counted at once: a report between this and the task would show it nowhere.
                let counted = worker.sessions.connection(handoff.origin);
                tokio::spawn(intake::take(Arc::clone(worker), conn, handoff, counted));
                Ok(())
            }
            Ok((ToWorker::Eio3 { ticket, home }, _)) => {
                worker.master.answered(ticket, Answer::Eio3(home));
                Ok(())
            }
            Ok((ToWorker::Home { ticket, place }, _)) => {
                let place = place.map(|place| {
                    let opening = Opening::reserved(&worker.sessions, place.reservation);
                    (place.home, opening)
                });
                worker.master.answered(ticket, Answer::Home(place));
                Ok(())
            }
            Ok((ToWorker::Ping, _)) => {
                worker.sessions.pinged();
                Ok(())
            }
            Ok((ToWorker::Stop { within_ms }, _)) => {
                stop.send_replace(Some(Duration::from_millis(within_ms.into())));
                Ok(())
            }
            // The kernel drops a passed descriptor when this process has too many already.
            Ok((ToWorker::Take(handoff), None)) => {
                worker.sessions.taken();
                if handoff.opens {
                    worker.sessions.resolved();
                }
                if complained.is_none_or(|at: Instant| at.elapsed() > COMPLAINT_PAUSE) {
                    complained = Some(Instant::now());
                    warn!("connections are lost for want of descriptors; raise LimitNOFILE");
                }
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

/// Tells the master the counts whenever they changed.
async fn report(worker: &Worker) -> LinkError {
    let mut last = None;
    loop {
        worker.sessions.changed().await;
        // In one message: a session is never seen both reserved and open, or neither.
        let released = worker.sessions.take_released();
        let counts = worker.sessions.report();
        let told = async {
            if worker.sessions.take_pinged() {
                worker.master.tell(&ToMaster::Pong).await?;
            }
            for sid in worker.sessions.take_ended_eio3() {
                worker.master.tell(&ToMaster::Eio3Close { sid }).await?;
            }
            if last.replace(counts) != Some(counts) || !released.is_empty() {
                let report = ToMaster::Report { counts, released };
                worker.master.tell(&report).await?;
            }
            Ok(())
        };
        if let Err(error) = told.await {
            return error;
        }
        sleep(REPORT_PAUSE).await;
    }
}

/// The line that log watchers know from the Node server.
async fn count_aloud(worker: &Worker, log: &LogGuard) {
    let every = worker.config.log.stats_interval;
    if every.is_zero() {
        return std::future::pending().await;
    }
    let mut tick = interval(every);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tick.tick().await;
    loop {
        tick.tick().await;
        info!(
            "Worker {}: {} connected client(s)",
            std::process::id(),
            worker.sessions.count()
        );
        log.report_losses();
    }
}

impl Worker {
    fn new(app: App, link: Link, welcome: Welcome, config: Config) -> Arc<Self> {
        let bus = Bus::default();
        let (engine, io) = engine(&config.engine, (app.routes)(), &bus);
        bus.hello(*io.config().server_id);
        (app.namespaces)(&io, &Cluster::new(&bus));
        Arc::new_cyclic(|worker| Self {
            home: welcome.home,
            keyring: welcome.keyring,
            sessions: Sessions::new(Arc::clone(bus.gate()), config.engine.write_stall_timeout),
            admission: Admission::new(app, &config, welcome.workers),
            master: Master::new(link),
            bus,
            peers: Peers::default(),
            engine,
            cors: http::cors(Weak::clone(worker), &config.engine),
            config,
        })
    }

    /// How long a session may be silent before the engine ends it.
    fn session_lifetime(&self) -> Duration {
        self.config.engine.ping_interval + self.config.engine.ping_timeout
    }

    /// Lets the engine, or the application's routes, answer.
    async fn call_engine(&self, request: Request<Body>) -> Response<Body> {
        let Ok(response) = self.engine.clone().oneshot(request).await;
        response.map(Body::new)
    }

    /// Gives the engine a WebSocket whose handshake was checked.
    fn open_websocket(&self, stream: Stream, request: Request<()>) -> Result<(), String> {
        let mut engine = self.engine.clone();
        // The engine's task has room for several of what it is given.
        let stream = Box::new(stream);
        let opened = Service::<(Box<Stream>, Request<()>)>::call(&mut engine, (stream, request));
        opened.into_inner().map_err(|error| error.to_string())
    }
}

/// socketioxide with this configuration around the application's routes.
fn engine(
    engine: &Engine,
    routes: axum::Router,
    bus: &Bus,
) -> (SocketIoService<axum::Router, Adapter>, SocketIo<Adapter>) {
    let limit = engine.max_payload;
    let builder = SocketIo::builder()
        .with_adapter::<Adapter>(bus.clone())
        .with_state(Cluster::new(bus))
        .req_path(engine.path.clone())
        .ping_interval(engine.ping_interval)
        .ping_timeout(engine.ping_timeout)
        .upgrade_timeout(engine.upgrade_timeout)
        .connect_timeout(engine.connect_timeout)
        // One limit for whatever a client sends, as Node's maxHttpBufferSize.
        .max_payload(limit as u64)
        .ws_max_message_size(limit)
        .ws_max_frame_size(limit)
        .ws_read_buffer_size(READ_BUFFER)
        // A full queue would lose packets without a word. Bytes are bounded instead: by the
        // write-stall rule, and, for polling, by how much a client may post, and how long it may wait,
        // before it polls.
        .max_buffer_size(Semaphore::MAX_PERMITS);
    let both = engine.transports.len() > 1;
    let builder = match engine.transports.first() {
        Some(Transport::Polling) if !both => builder.transports([TransportType::Polling]),
        Some(Transport::Websocket) if !both => builder.transports([TransportType::Websocket]),
        _ => builder,
    };
    match engine.parser {
        Parser::Common => builder
            .with_parser(ParserConfig::common().max_incoming_binary_buf_size(limit))
            .build_with_inner_svc(routes),
        Parser::Msgpack => builder
            .with_parser(ParserConfig::msgpack())
            .build_with_inner_svc(routes),
    }
}
