//! The log of all processes: its level, for which an operator may ask for a while, and its file, which is opened anew
//! when it was rotated. Workers are told with their pings, new ones with the first.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use tokio::task::{AbortHandle, spawn_local};
use tokio::time::{Instant, sleep};
use tracing::info;

use super::faults::Faults;
use crate::config::LogLevel;
use crate::logging::LogGuard;
use crate::wire::control::LogCommand;
use crate::wire::handover::control::LogState;

/// How long lines are waited for that are not written yet.
const LAST_LINES: Duration = Duration::from_millis(500);

/// How often it is looked whether they are.
const LOOK: Duration = Duration::from_millis(5);

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Log {
    guard: LogGuard,
    configured: LogLevel,
    wanted: Cell<Wanted>,
    until: Cell<Option<SystemTime>>,
    /// Of the file, as it was last looked at.
    trouble: RefCell<Option<String>>,
    timer: RefCell<Option<AbortHandle>>,
}

/// What is to hold in every process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Wanted {
    /// None: the configured one.
    level: Option<LogLevel>,
    /// How often the file was to be opened anew.
    reopened: u64,
}

/// What a worker has been told.
#[derive(Debug, Default)]
pub(crate) struct Told(Wanted);

impl Log {
    pub(crate) fn new(guard: LogGuard, configured: LogLevel) -> Rc<Self> {
        Rc::new(Self {
            guard,
            configured,
            wanted: Cell::default(),
            until: Cell::new(None),
            trouble: RefCell::default(),
            timer: RefCell::default(),
        })
    }

    /// What is wanted of it, for the program that takes over.
    pub(crate) fn pack(&self) -> LogState {
        let wanted = self.wanted.get();
        let left = |until: SystemTime| until.duration_since(SystemTime::now()).unwrap_or_default();
        let left = self.until.get().map(left);
        LogState {
            level: wanted.level.map(|level| level.to_string()),
            for_ms: left.map(|left| u64::try_from(left.as_millis()).unwrap_or(u64::MAX)),
            reopened: wanted.reopened,
        }
    }

    /// The same is wanted of it as in the program before.
    pub(crate) fn adopt(self: &Rc<Self>, state: &LogState) {
        let level = state.level.as_deref().and_then(LogLevel::of_word);
        let reopened = state.reopened;
        self.wanted.set(Wanted { level, reopened });
        self.guard.set_level(self.level());
        self.reopen();
        if let Some(ms) = state.for_ms {
            self.for_a_time(Duration::from_millis(ms));
        }
    }

    /// The level in force.
    pub(crate) fn level(&self) -> LogLevel {
        self.wanted.get().level.unwrap_or(self.configured)
    }

    /// That another level than the configured one is in force, for an operator wanted it, if that is so.
    pub(crate) fn override_words(&self) -> Option<String> {
        let level = self.wanted.get().level?;
        let until = self.until.get().map(|until| {
            let left = until.duration_since(SystemTime::now()).unwrap_or_default();
            let left = Duration::from_secs(left.as_secs());
            format!(" for {} yet", humantime::format_duration(left))
        });
        let until = until.unwrap_or_default();
        Some(format!(
            "the log stays at {level}{until}, as an operator asked by command"
        ))
    }

    /// Until when it is, if it is not for good.
    pub(crate) fn until(&self) -> Option<SystemTime> {
        self.until.get()
    }

    /// The log of the master itself.
    pub(crate) fn guard(&self) -> &LogGuard {
        &self.guard
    }

    /// Waits until what was logged is in the file, or cannot be, for a moment.
    pub(crate) async fn settle(&self) {
        let until = Instant::now() + LAST_LINES;
        while !self.guard.file_rests() && Instant::now() < until {
            sleep(LOOK).await;
        }
    }

    /// Why the master cannot write into the file now, if it cannot. When that begins it is a fault.
    pub(crate) fn trouble(&self, faults: &Faults) -> Option<String> {
        let trouble = self.guard.trouble();
        let before = self.trouble.replace(trouble.clone());
        if let (None, Some(trouble)) = (before, &trouble) {
            faults.record(trouble.clone());
        }
        trouble
    }

    /// From now on this level in all processes; after `time`, if it is given, the configured one again.
    pub(crate) fn set_level(self: &Rc<Self>, level: LogLevel, time: Option<Duration>) {
        if let Some(timer) = self.timer.take() {
            timer.abort();
        }
        self.until.set(None);
        // Which level it was is told while that is in force: "off" would hide it.
        let how_long = time.map(|time| format!(" for {}", humantime::format_duration(time)));
        let how_long = how_long.unwrap_or_default();
        info!("an operator wants the log at level {level}{how_long}");
        self.apply((level != self.configured).then_some(level));
        if let Some(time) = time {
            self.for_a_time(time);
        }
    }

    fn for_a_time(self: &Rc<Self>, time: Duration) {
        self.until.set(SystemTime::now().checked_add(time));
        let log = Rc::clone(self);
        let timer = spawn_local(async move {
            sleep(time).await;
            log.until.set(None);
            log.apply(None);
            info!(
                "the log is at its configured level, {}, again",
                log.configured
            );
        });
        self.timer.replace(Some(timer.abort_handle()));
    }

    fn apply(&self, level: Option<LogLevel>) {
        let wanted = self.wanted.get();
        self.wanted.set(Wanted { level, ..wanted });
        self.guard.set_level(self.level());
    }

    /// The file is opened anew before the next line, in all processes.
    pub(crate) fn reopen(&self) {
        self.guard.reopen();
        let wanted = self.wanted.get();
        let reopened = wanted.reopened + 1;
        self.wanted.set(Wanted { reopened, ..wanted });
    }

    /// What a worker is to be told next that it has not been told, if anything.
    pub(crate) fn news(&self, Told(told): &Told) -> Option<LogCommand> {
        let wanted = self.wanted.get();
        if told.level != wanted.level {
            let level = wanted.level.map(|level| level.to_string());
            return Some(LogCommand::Level(level));
        }
        (told.reopened != wanted.reopened).then_some(LogCommand::Reopen)
    }
}

impl Told {
    /// A worker that starts now opens the file as it is.
    pub(crate) fn newly(log: &Log) -> Self {
        Self(Wanted {
            level: None,
            ..log.wanted.get()
        })
    }

    /// What a worker of the program before has been told.
    pub(crate) fn adopt(level: Option<&str>, reopened: u64) -> Self {
        let level = level.and_then(LogLevel::of_word);
        Self(Wanted { level, reopened })
    }

    /// The level, and how often the file was to be opened anew.
    pub(crate) fn pack(&self) -> (Option<String>, u64) {
        (self.0.level.map(|level| level.to_string()), self.0.reopened)
    }

    /// It has heard what was [new](Log::news).
    pub(crate) fn heard(&mut self, log: &Log, command: &LogCommand) {
        let wanted = log.wanted.get();
        match command {
            LogCommand::Level(_) => self.0.level = wanted.level,
            LogCommand::Reopen => self.0.reopened = wanted.reopened,
        }
    }
}
