//! What the applications of the workers say to each other. Socket.IO for Node calls it
//! `serverSideEmit`; socketioxide has nothing of the kind.

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use socketioxide_core::{Sid, Str};
use tokio::task::JoinHandle;
use tracing::debug;

use super::{Bus, ClusterError, Reply};
use crate::wire::frame::{Answer, Body, BusMember, Failure, Question};

/// Servers behind one name that are told as missing, at most.
const MOST_MISSING: u32 = 1_000;

/// All workers of the server, as the application of one sees them.
///
/// It is given to [`App::namespaces`](crate::api::App::namespaces), and handlers get it as
/// `State<Cluster>`.
///
/// ```no_run
/// # use my_app::api::Cluster;
/// # use std::time::Duration;
/// # async fn example(cluster: Cluster) -> Result<(), my_app::api::ClusterError> {
/// cluster.on("add", async |(a, b): (i64, i64)| a + b);
///
/// let answers = cluster.server_side_emit_with_ack("add", &(1, 2), Duration::from_secs(1)).await?;
/// for (worker, sum) in answers.answers {
///     let sum: i64 = sum;
///     println!("{worker} says {sum}");
/// }
/// for missing in answers.missing {
///     println!("{missing}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Cluster(Bus);

/// One worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerInfo {
    /// Its id, new with each process: the `server_id` of its sockets.
    pub id: Sid,
    /// Its number, the same for its successor.
    pub slot: u16,
    /// Its process.
    pub pid: u32,
    /// The name of its machine; empty for the own one.
    pub machine: Str,
}

/// What the other workers answered.
#[derive(Debug, Clone)]
pub struct Answers<R> {
    /// The answers, as they came.
    pub answers: Vec<(WorkerInfo, R)>,
    /// Who has not answered.
    pub missing: Vec<Missing>,
}

/// A worker whose answer is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Which.
    pub worker: WorkerInfo,
    /// Why.
    pub why: Why,
}

/// Why an answer is missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// The worker ended before it answered.
    Gone,
    /// It did not answer in time.
    Late,
    /// Its application does not listen for the event.
    NoHandler,
    /// Its handler failed, or what it answered could not be read.
    Failed(String),
}

impl fmt::Display for WorkerInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {} (pid {})", self.slot, self.pid)?;
        if self.machine.is_empty() {
            return Ok(());
        }
        write!(f, " of {}", self.machine)
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.worker, self.why)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gone => f.write_str("ended before it answered"),
            Self::Late => f.write_str("did not answer in time"),
            Self::NoHandler => f.write_str("does not listen for this event"),
            Self::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}

impl From<BusMember> for WorkerInfo {
    fn from(member: BusMember) -> Self {
        let BusMember {
            id,
            slot,
            pid,
            machine,
        } = member;
        Self {
            id,
            slot,
            pid,
            machine,
        }
    }
}

impl Cluster {
    pub(crate) fn new(bus: &Bus) -> Self {
        Self(bus.clone())
    }

    /// The workers of this moment, this one among them; none as long as namespaces are declared.
    #[must_use]
    pub fn workers(&self) -> Vec<WorkerInfo> {
        self.0.members().into_iter().map(WorkerInfo::from).collect()
    }

    /// Listens for an event of other workers, in the place of who listened before. What the handler
    /// returns is the answer, if one was asked for. A handler that panics, or data that is not a `T`,
    /// is [`Why::Failed`] to who asked, and harms nobody else.
    ///
    /// Events of one worker are begun in the order in which they were sent.
    pub fn on<T, R, F>(
        &self,
        event: impl Into<String>,
        handler: impl Fn(T) -> F + Send + Sync + 'static,
    ) where
        T: DeserializeOwned,
        R: Serialize,
        F: Future<Output = R> + Send + 'static,
    {
        let handler = Arc::new(handler);
        // Everything in the future: it is a task of its own, and may panic.
        let handler: Handler = Arc::new(move |data| {
            let handler = Arc::clone(&handler);
            Box::pin(async move {
                let answering = handler(serde_json::from_slice(&data)?);
                serde_json::to_vec(&answering.await)
            })
        });
        self.0.0.handlers.set(event.into(), handler);
    }

    /// Sends an event to the applications of all other workers, and waits until the bus has taken
    /// it.
    ///
    /// # Errors
    /// When it cannot be had as JSON or is too large for the bus.
    pub async fn server_side_emit<T: Serialize + ?Sized>(
        &self,
        event: impl Into<String>,
        data: &T,
    ) -> Result<(), ClusterError> {
        let body = Body::ServerSide {
            event: event.into().into(),
            data: serde_json::to_vec(data)?.into(),
        };
        self.0.send(None, body).await
    }

    /// Asks the applications of all other workers. Every one of them is among the answers or, with the
    /// reason, among the missing. Who ends is not waited for; `timeout` is for all of it, the wait for
    /// room on the bus included.
    ///
    /// # Errors
    /// When the event cannot be had as JSON or is too large for the bus.
    pub async fn server_side_emit_with_ack<T: Serialize + ?Sized, R: DeserializeOwned>(
        &self,
        event: impl Into<String>,
        data: &T,
        timeout: Duration,
    ) -> Result<Answers<R>, ClusterError> {
        let question = Question::ServerSide {
            event: event.into().into(),
            data: serde_json::to_vec(data)?.into(),
        };
        let gathered = self.0.gather(None, None, question, timeout).await?;
        let mut answers = Answers {
            answers: Vec::new(),
            missing: Vec::new(),
        };
        let mut miss = |member: BusMember, why| {
            let worker = member.into();
            answers.missing.push(Missing { worker, why });
        };
        for (from, answer) in gathered.answers {
            match answer {
                Answer::ServerSide(data) => match serde_json::from_slice(&data) {
                    Ok(answer) => answers.answers.push((from.into(), answer)),
                    Err(error) => miss(from, Why::Failed(format!("its answer: {error}"))),
                },
                // All Node servers have one name on the bus, and each its answer.
                Answer::ServerSides {
                    answers: all,
                    missing,
                } => {
                    for data in all {
                        match serde_json::from_slice(&data) {
                            Ok(answer) => answers.answers.push((from.clone().into(), answer)),
                            Err(error) => {
                                miss(from.clone(), Why::Failed(format!("its answer: {error}")));
                            }
                        }
                    }
                    for _ in 0..missing.min(MOST_MISSING) {
                        miss(from.clone(), Why::Late);
                    }
                }
                Answer::Failed(Failure::NoHandler) => miss(from, Why::NoHandler),
                Answer::Failed(Failure::Other(why)) => miss(from, Why::Failed(why.to_string())),
                _ => miss(from, Why::Failed("another kind of answer".to_owned())),
            }
        }
        for member in gathered.gone {
            miss(member, Why::Gone);
        }
        for member in gathered.late {
            miss(member, Why::Late);
        }
        Ok(answers)
    }
}

type Answering = Pin<Box<dyn Future<Output = serde_json::Result<Vec<u8>>> + Send>>;
type Handler = Arc<dyn Fn(Bytes) -> Answering + Send + Sync>;

/// What the application of this worker listens for.
#[derive(Default)]
pub(super) struct Handlers(RwLock<HashMap<String, Handler>>);

impl Handlers {
    fn set(&self, event: String, handler: Handler) {
        let mut handlers = self.0.write().unwrap_or_else(PoisonError::into_inner);
        handlers.insert(event, handler);
    }

    /// Begins to handle an event, in a task of its own.
    fn begin(&self, event: &str, data: Bytes) -> Option<JoinHandle<serde_json::Result<Vec<u8>>>> {
        let handlers = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let handler = handlers.get(event)?;
        Some(tokio::spawn(handler(data)))
    }

    /// An event that nobody awaits the answer of.
    pub(super) fn tell(&self, event: &str, data: Bytes) {
        // A handler that panics is told by the panic hook.
        if self.begin(event, data).is_none() {
            debug!(event, "nobody listens for another worker's event");
        }
    }

    /// An event whose answer is awaited.
    pub(super) fn ask(&self, event: &str, data: Bytes, reply: Reply) {
        let Some(answering) = self.begin(event, data) else {
            return reply.give(Answer::Failed(Failure::NoHandler));
        };
        tokio::spawn(async move {
            let answer = match answering.await {
                Ok(Ok(answer)) => Answer::ServerSide(answer.into()),
                Ok(Err(error)) => Answer::Failed(Failure::Other(error.to_string().into())),
                Err(_) => Answer::Failed(Failure::from("its handler panicked")),
            };
            reply.send(answer).await;
        });
    }
}
