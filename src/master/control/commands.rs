//! What operators have the workers do, or tell.

use engineioxide::guard::is_reserved;
use std::fs::File;
use std::io::Write;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, SystemTime};

use jiff::Unit;
use rustix::fs::MemfdFlags;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tracing::info;

use super::super::drains::Whose;
use super::super::questions::{Gathered, Unanswered};
use super::Control;
use super::problem::{Answer, Problem, json};
use super::status::time;
use crate::config::LogLevel;
use crate::wire::control::{self, Question, Sought};
use crate::wire::emit::Emit;
use crate::wire::link::ToWorker;

/// Sessions that a search tells.
const MOST_SESSIONS: u16 = 100;
/// Of a shorter time nobody would see anything, and of a longer one a number is mistyped.
const LONGEST: u64 = 7 * 24 * 60 * 60;

impl Control {
    async fn ask(&self, question: &Question, passed: Option<&OwnedFd>) -> Gathered {
        let members = self.parts.pool.members();
        self.parts.questions.ask(&members, question, passed).await
    }

    /// `GET /search`.
    pub(super) async fn search(
        &self,
        [id, address, room, namespace]: [Option<String>; 4],
    ) -> Result<Answer, Problem> {
        #[derive(Serialize)]
        struct Found {
            sessions: Vec<Box<RawValue>>,
            more: bool,
            unanswered: Vec<Unanswered>,
        }
        let sought = match (id, address, room) {
            (Some(id), None, None) => Sought::Id(id),
            (None, Some(address), None) => Sought::Address(parse_address(&address)?),
            (None, None, Some(room)) => Sought::Room {
                namespace: namespace.clone().unwrap_or_else(|| "/".to_owned()),
                room,
            },
            _ => return Err(bad("one of id, address and room is needed")),
        };
        if namespace.is_some() && !matches!(sought, Sought::Room { .. }) {
            return Err(bad("namespace goes with room"));
        }
        let most = MOST_SESSIONS;
        let gathered = self.ask(&Question::Search { sought, most }, None).await;
        let mut found = Found {
            sessions: Vec::new(),
            more: false,
            unanswered: gathered.unanswered,
        };
        for answer in gathered.answers {
            let control::Answer::Found { sessions, more } = answer else {
                continue;
            };
            let sessions: Vec<Box<RawValue>> = serde_json::from_str(&sessions)
                .map_err(|error| Problem::Internal(error.to_string()))?;
            found.sessions.extend(sessions);
            found.more |= more;
        }
        found.more |= found.sessions.len() > usize::from(most);
        found.sessions.truncate(most.into());
        json(&found)
    }

    /// `POST /disconnect`.
    pub(super) async fn disconnect(&self, socket_id: String) -> Result<Answer, Problem> {
        #[derive(Serialize)]
        struct Disconnected {
            disconnected: usize,
            unanswered: Vec<Unanswered>,
        }
        let question = Question::Disconnect {
            socket_id: socket_id.clone(),
        };
        let gathered = self.ask(&question, None).await;
        let done = Done::of(&gathered);
        if done.times == 0 && gathered.unanswered.is_empty() {
            return Err(Problem::Missing(format!(
                "no session has the socket id {}",
                socket_id.chars().take(40).collect::<String>()
            )));
        }
        if done.times > 0 {
            info!(socket_id, "an operator disconnected a session");
        }
        json(&Disconnected {
            disconnected: done.times,
            unanswered: gathered.unanswered,
        })
    }

    /// `POST /emit`.
    pub(super) async fn emit(&self, emit: Emit<Vec<Box<RawValue>>>) -> Result<Answer, Problem> {
        #[derive(Serialize)]
        struct Emitted {
            workers: usize,
            unanswered: Vec<Unanswered>,
        }
        if !emit.namespace.starts_with('/') {
            return Err(bad("a namespace begins with \"/\""));
        }
        if is_reserved(&emit.event) {
            return Err(bad(&format!(
                "{} is reserved: clients would take it for an event of their connection",
                emit.event
            )));
        }
        let file = memfd(&emit).map_err(|error| Problem::Internal(error.to_string()))?;
        let gathered = self.ask(&Question::Emit, Some(&file)).await;
        let done = Done::of(&gathered);
        match done.error {
            Some(error) if done.times == 0 => return Err(Problem::BadRequest(error)),
            None if done.times == 0 && !gathered.answers.is_empty() => {
                return Err(Problem::Missing(format!(
                    "there is no namespace {}",
                    emit.namespace
                )));
            }
            _ => {}
        }
        json(&Emitted {
            workers: done.times,
            unanswered: gathered.unanswered,
        })
    }

    /// `POST /log`.
    pub(super) fn log(&self, command: &LogBody) -> Result<Answer, Problem> {
        #[derive(Serialize)]
        struct Level {
            level: String,
            until: Option<String>,
        }
        #[derive(Serialize)]
        struct Reopened {
            reopened: bool,
        }
        let log = &self.parts.log;
        match *command {
            LogBody {
                level: Some(level),
                for_seconds,
                reopen: false,
            } => {
                let time_of = |seconds| bounded("for_seconds", seconds, 1);
                log.set_level(level, for_seconds.map(time_of).transpose()?);
                json(&Level {
                    level: log.level().to_string(),
                    until: log.until().map(as_time),
                })
            }
            LogBody {
                level: None,
                for_seconds: None,
                reopen: true,
            } => {
                log.reopen();
                json(&Reopened { reopened: true })
            }
            _ => Err(bad(
                "write {\"level\": …}, perhaps with \"for_seconds\", or {\"reopen\": true}",
            )),
        }
    }

    /// `POST /drain`.
    pub(super) async fn drain(&self, command: &DrainBody) -> Result<Answer, Problem> {
        #[derive(Serialize)]
        struct Drained {
            taken_out: bool,
            sessions: u64,
        }
        let over = match *command {
            DrainBody {
                over_seconds: Some(seconds),
                undo: false,
            } => Some(bounded("over_seconds", seconds, 0)?),
            DrainBody {
                over_seconds: None,
                undo: true,
            } => None,
            _ => return Err(bad("write {\"over_seconds\": …} or {\"undo\": true}")),
        };
        let pool = &self.parts.pool;
        pool.set_taken_out(over.is_some());
        if let Some(over) = over {
            self.parts.drains.begin(Whose::TakenOut, over);
            let over = humantime::format_duration(over);
            info!("an operator takes this machine out: its sessions end within {over}");
        } else {
            self.parts.drains.end(Whose::TakenOut);
            info!("an operator takes this machine in again");
        }
        let over_ms = over.map(|over| u32::try_from(over.as_millis()).unwrap_or(u32::MAX));
        self.tell_all(&ToWorker::Drain { over_ms }).await?;
        json(&Drained {
            taken_out: over.is_some(),
            sessions: pool.sessions(),
        })
    }

    /// Tells all workers; those that do not take it are an error.
    async fn tell_all(&self, message: &ToWorker) -> Result<(), Problem> {
        let members = self.parts.pool.members();
        let told = members.iter().map(|member| async move {
            let sent = member.link.send(message, None);
            let sent = tokio::time::timeout(super::super::questions::PATIENCE, sent).await;
            (!matches!(sent, Ok(Ok(())))).then_some(member.home.slot)
        });
        let deaf: Vec<_> = futures_util::future::join_all(told).await;
        let deaf: Vec<_> = deaf
            .into_iter()
            .flatten()
            .map(|slot| slot.to_string())
            .collect();
        if deaf.is_empty() {
            return Ok(());
        }
        let deaf = deaf.join(", ");
        Err(Problem::Unavailable(format!(
            "worker {deaf} does not hear; the others do it"
        )))
    }
}

/// The body of `POST /log`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogBody {
    level: Option<LogLevel>,
    for_seconds: Option<f64>,
    #[serde(default)]
    reopen: bool,
}

/// The body of `POST /drain`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DrainBody {
    over_seconds: Option<f64>,
    #[serde(default)]
    undo: bool,
}

/// What workers answered that were to do something.
struct Done {
    /// How many did it.
    times: usize,
    /// Why one did not.
    error: Option<String>,
}

impl Done {
    fn of(gathered: &Gathered) -> Self {
        let mut done = Self {
            times: 0,
            error: None,
        };
        for answer in &gathered.answers {
            match answer {
                control::Answer::Done(Ok(true)) => done.times += 1,
                control::Answer::Done(Err(error)) => done.error = Some(error.clone()),
                control::Answer::Done(Ok(false)) | control::Answer::Found { .. } => {}
            }
        }
        done
    }
}

/// A time within bounds.
fn bounded(name: &str, seconds: f64, least: u64) -> Result<Duration, Problem> {
    let time = Duration::try_from_secs_f64(seconds).ok();
    let bounds = Duration::from_secs(least)..=Duration::from_secs(LONGEST);
    time.filter(|time| bounds.contains(time)).ok_or_else(|| {
        bad(&format!(
            "{name} is a number from {least} to {LONGEST}, which are seven days"
        ))
    })
}

fn parse_address(address: &str) -> Result<IpAddr, Problem> {
    let parsed = address.parse();
    parsed.map_err(|_| bad("an address is one such as 192.0.2.7 or 2001:db8::7"))
}

fn as_time(at: SystemTime) -> String {
    time(at, Unit::Second)
}

fn bad(words: &str) -> Problem {
    Problem::BadRequest(words.to_owned())
}

/// JSON in a file without a name, for it may be larger than a message.
fn memfd(value: &impl Serialize) -> std::io::Result<OwnedFd> {
    let mut file = File::from(rustix::fs::memfd_create(
        "my-app-emit",
        MemfdFlags::CLOEXEC,
    )?);
    file.write_all(&serde_json::to_vec(value)?)?;
    Ok(file.into())
}
