//! What operators ask of this worker, and have it do; the master passes it on.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

use engineioxide::EndReason;
use socketioxide::BroadcastError;
use tokio::task::AbortHandle;
use tracing::{debug, warn};

use super::context::Worker;
use super::drain::{self, Newcomers};
use super::{read_config, search};
use crate::api::Args;
use crate::config::LogLevel;
use crate::logging::LogGuard;
use crate::wire::control::{Answer, LogCommand, Question};
use crate::wire::emit::Emit;
use crate::wire::link::ToMaster;

/// One for each worker.
pub(super) struct Operator {
    worker: Arc<Worker>,
    /// Ends sessions at a set pace.
    draining: Option<AbortHandle>,
    /// The level of the log that is in force; none: the configured one.
    log_level: Option<LogLevel>,
}

impl Operator {
    pub(super) fn new(worker: &Arc<Worker>) -> Self {
        Self {
            worker: Arc::clone(worker),
            draining: None,
            log_level: None,
        }
    }

    /// Ends the sessions that there are, spread over this time; none: ends no more of them.
    pub(super) fn drain(&mut self, over: Option<Duration>) {
        if let Some(before) = self.draining.take() {
            before.abort();
        }
        if let Some(over) = over {
            let worker = Arc::clone(&self.worker);
            let task = tokio::spawn(async move {
                drain::spread(&worker, over, EndReason::Drain, Newcomers::Stay).await;
            });
            self.draining = Some(task.abort_handle());
        }
    }

    /// What becomes of this process' log.
    pub(super) fn log(&mut self, command: &LogCommand, log: &LogGuard) {
        match command {
            LogCommand::Reopen => return log.reopen(),
            LogCommand::Level(None) => self.log_level = None,
            LogCommand::Level(Some(word)) => self.log_level = LogLevel::of_word(word),
        }
        self.set_log_level(log);
    }

    fn set_log_level(&self, log: &LogGuard) {
        let configured = self.worker.config().log.level;
        log.set_level(self.log_level.unwrap_or(configured));
    }

    /// Another configuration holds, of which this worker takes over what it can.
    pub(super) fn reconfigure(&self, config: Option<OwnedFd>, log: &LogGuard) {
        let config = config.ok_or_else(|| io::Error::other("no descriptor is left for it"));
        match config.and_then(read_config) {
            Ok(config) => {
                self.worker.reconfigure(config);
                self.set_log_level(log);
            }
            Err(error) => {
                warn!(%error, "a changed configuration did not arrive, and is asked for again");
                let worker = Arc::clone(&self.worker);
                // If the link is broken, so is the worker.
                tokio::spawn(async move { worker.link.tell(&ToMaster::Unconfigured).await });
            }
        }
    }

    /// Answers a question. Nobody waits for that here.
    pub(super) fn ask(&self, ticket: u64, question: Question, passed: Option<OwnedFd>) {
        let worker = Arc::clone(&self.worker);
        tokio::spawn(async move {
            let answer = answer(&worker, question, passed).await;
            let answer = ToMaster::Answer { ticket, answer };
            if let Err(error) = worker.link.tell(&answer).await {
                debug!(%error, "an operator's question was not answered");
            }
        });
    }
}

async fn answer(worker: &Worker, question: Question, passed: Option<OwnedFd>) -> Answer {
    match question {
        Question::Search { sought, most } => search::search(worker, &sought, most).await,
        Question::Disconnect { socket_id } => {
            let sid = socket_id.parse();
            Answer::Done(Ok(sid.is_ok_and(|sid| worker.engine.disconnect(sid))))
        }
        Question::Emit => Answer::Done(emit(worker, passed).await),
    }
}

/// Emits to this worker's own sockets: each worker is asked to.
async fn emit(worker: &Worker, passed: Option<OwnedFd>) -> Result<bool, String> {
    let file = File::from(passed.ok_or("the worker has no descriptor left")?);
    let json = read(&file).map_err(|error| error.to_string())?;
    let Emit {
        namespace,
        rooms,
        event,
        args,
    } = serde_json::from_slice::<Emit<Args>>(&json).map_err(|error| error.to_string())?;
    let Some(sockets) = worker.io.of(&namespace) else {
        // Nobody has connected to it here, or nobody can.
        return Ok(false);
    };
    match sockets.local().within(rooms).emit(event, &args).await {
        Err(BroadcastError::Serialize(error)) => Err(error.to_string()),
        Err(error) => {
            warn!(%error, "an operator's event did not reach every socket");
            Ok(true)
        }
        Ok(()) => Ok(true),
    }
}

/// All of a file, from its beginning: the workers share its position.
fn read(file: &File) -> io::Result<Vec<u8>> {
    let size = usize::try_from(file.metadata()?.len()).unwrap_or(0);
    let mut bytes = vec![0; size];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}
