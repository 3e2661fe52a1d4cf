//! The log: where lines go, what they look like, and what happens when they cannot get there.
//!
//! ```text
//! event ─▶ layer (level) ─▶ record ─┬─▶ queue ─▶ thread: terminal (standard output)
//!                                   ├─▶ queue ─▶ thread: journal  (instead of it, under systemd)
//!                                   └─▶ queue ─▶ thread: file     (its troubles go to the others)
//! ```
//!
//! Every process of the server calls [`init`] once and keeps the [`LogGuard`]; after that everybody
//! logs with the macros of `tracing`. Fields of spans are not shown: an event carries its own.
//!
//! Logging never blocks, panics, or ends a process, and never keeps one from starting. What is too
//! much for a slow or broken sink is lost there, and counted: a server that waits for its log is
//! worse.

mod file;
mod journal;
mod layer;
mod line;
mod origin;
mod queue;
mod rate_limit;
mod record;
mod terminal;
mod threshold;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tracing_subscriber::layer::SubscriberExt;

use self::file::{LogFile, Trouble};
use self::journal::Journal;
use self::layer::{Fanout, FanoutLayer, Sinks};
use self::queue::{QUEUE_LINES, Queue};
pub(crate) use self::rate_limit::RateLimit;
use self::terminal::Terminal;
use self::threshold::Threshold;
use crate::{config, systemd};

/// How long the end of a process waits for lines that are still queued.
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// The least time between two lines that tell how many were lost.
const LOSS_INTERVAL: Duration = Duration::from_secs(5);

/// Which process is logging. The journal shows it as `MY_APP_ROLE`, and a worker also as `MY_APP_SLOT`
/// and, by its pid, as `MY_APP_WORKER`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogRole {
    /// The master.
    Master,
    /// A worker.
    Worker {
        /// The worker's number, from 0.
        slot: u16,
    },
    /// The bridge to other machines.
    Bridge,
}

impl LogRole {
    fn journal_fields(self) -> Vec<(&'static str, String)> {
        match self {
            Self::Master => vec![("MY_APP_ROLE", "master".to_owned())],
            Self::Bridge => vec![("MY_APP_ROLE", "bridge".to_owned())],
            Self::Worker { slot } => {
                let pid = std::process::id();
                vec![
                    ("MY_APP_ROLE", "worker".to_owned()),
                    ("MY_APP_SLOT", slot.to_string()),
                    ("MY_APP_WORKER", pid.to_string()),
                ]
            }
        }
    }
}

/// Why there is no log. A sink that does not work is no such reason.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    /// [`init`] was called before, or somebody else set `tracing`'s global subscriber.
    #[error("the log was started twice in one process")]
    StartedTwice,
    /// The system has no descriptor left.
    #[error("cannot duplicate standard output for the log: {0}")]
    StandardOutput(#[source] io::Error),
}

/// Holds the log of this process. When dropped, waits up to a second for the lines that are queued.
#[derive(Debug)]
#[must_use = "lines that are still queued when the process ends are lost without it"]
pub(crate) struct LogGuard {
    fanout: Arc<Fanout>,
    reopen: Arc<AtomicBool>,
    /// The file's.
    trouble: Trouble,
    /// The losses that were reported.
    reported: AtomicU64,
    reports: RateLimit,
}

/// Starts the log of this process. A file that cannot be opened is a warning on the other sinks,
/// and is tried again as long as the process runs.
///
/// # Errors
/// When it was called before, or when the system is out of descriptors.
pub(crate) fn init(config: &config::Log, role: LogRole) -> Result<LogGuard, LogError> {
    let (guard, layer) = assemble(config, role)?;
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer))
        .map_err(|_| LogError::StartedTwice)?;
    Ok(guard)
}

/// A log that nobody writes into, for tests.
#[cfg(test)]
pub(crate) fn unheard() -> LogGuard {
    assemble(&config::Log::default(), LogRole::Master)
        .unwrap()
        .0
}

/// Starts the sinks, without telling `tracing`.
fn assemble(config: &config::Log, role: LogRole) -> Result<(LogGuard, FanoutLayer), LogError> {
    let threshold = Arc::new(Threshold::new(layer::filter(config.level)));
    let (others, trouble) = other_sinks(config, role, &threshold)?;
    let others = Arc::new(others);
    let reopen = Arc::<AtomicBool>::default();
    let mut file_trouble = Trouble::default();
    let file = config.file.as_ref().map(|path| {
        let notify = others.notifier(&threshold);
        let mut file = LogFile::new(path.clone(), Arc::clone(&reopen), notify);
        if role == LogRole::Master {
            file.speak_for_all();
        }
        file.open();
        file_trouble = file.trouble();
        Queue::start("log-file", QUEUE_LINES, config.format, file)
    });
    let fanout = Arc::new(Fanout {
        threshold,
        others,
        file,
    });
    if let Some(error) = trouble {
        fanout.say(format!(
            "journal: {error}; the log goes to standard output instead"
        ));
    }
    let layer = FanoutLayer(Arc::clone(&fanout));
    Ok((
        LogGuard {
            fanout,
            reopen,
            trouble: file_trouble,
            reported: AtomicU64::new(0),
            reports: RateLimit::default(),
        },
        layer,
    ))
}

/// The journal when it runs this process, the terminal otherwise or when the journal does not
/// answer.
fn other_sinks(
    config: &config::Log,
    role: LogRole,
    threshold: &Arc<Threshold>,
) -> Result<(Sinks, Option<io::Error>), LogError> {
    let mut trouble = None;
    if systemd::has_journal() {
        match Journal::start(role, threshold) {
            Ok(journal) => {
                return Ok((
                    Sinks {
                        terminal: None,
                        journal: Some(journal),
                    },
                    None,
                ));
            }
            Err(error) => trouble = Some(error),
        }
    }
    let terminal = Terminal::new().map_err(LogError::StandardOutput)?;
    let queue = Queue::start("log-terminal", QUEUE_LINES, config.format, terminal);
    Ok((
        Sinks {
            terminal: Some(queue),
            journal: None,
        },
        trouble,
    ))
}

impl LogGuard {
    /// From now on lines of this level, too, or no more.
    pub(crate) fn set_level(&self, level: config::LogLevel) {
        self.fanout.threshold.set(layer::filter(level));
    }

    /// Has the log file's path looked at before the next line, for after a rotation. Without it,
    /// that happens within a second.
    pub(crate) fn reopen(&self) {
        self.reopen.store(true, Ordering::Relaxed);
    }

    /// Does no line wait for the file? Then its trouble is known, if there is any.
    pub(crate) fn file_rests(&self) -> bool {
        self.fanout.file.as_ref().is_none_or(Queue::rests)
    }

    /// Why the file cannot be written now, if there is one and it cannot: a sentence.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.trouble.get()
    }

    /// How many lines did not arrive at a sink since the start; a line lost at two sinks counts
    /// twice.
    pub(crate) fn lost(&self) -> u64 {
        self.fanout.lost()
    }

    /// Tells how many lines found a full queue since this was told last, if any did, and not more
    /// often than every five seconds. Made to be called by a periodic tick. A file that cannot be
    /// written tells its own losses, when it can be written again; it is looked after here, too.
    pub(crate) fn report_losses(&self) {
        if let Some(file) = &self.fanout.file {
            file.look_after();
        }
        let count = self.fanout.overflowed();
        let reported = self.reported.load(Ordering::Relaxed);
        if count != reported && self.reports.allows(LOSS_INTERVAL) {
            self.fanout.say(lost(count - reported));
            self.reported.store(count, Ordering::Relaxed);
        }
    }

    /// Waits until the lines that are queued now are written, or until `limit` is over. To be
    /// called before the process becomes another one.
    pub(crate) fn flush(&self, limit: Duration) {
        self.fanout.drain(Instant::now() + limit);
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        self.flush(FLUSH_LIMIT);
    }
}

/// How losses are told, always in the same words.
fn lost(count: u64) -> String {
    match count {
        1 => "1 log line was lost".to_owned(),
        _ => format!("{count} log lines were lost"),
    }
}

#[cfg(test)]
mod tests;
