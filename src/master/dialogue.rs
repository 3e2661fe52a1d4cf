//! What the master and one worker say to each other: the welcome, what is asked and answered, the last words.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::MemfdFlags;
use tokio::net::UnixStream;
use tokio::time::timeout;
use tracing::debug;

use super::member::Member;
use super::supervisor::Slot;
use crate::config::Config;
use crate::ipc::link::{Inbox, Link, LinkError};
use crate::wire::control;
use crate::wire::handover::workers::Reply;
use crate::wire::link::{ToMaster, ToWorker, Welcome};

/// How long a worker may take to receive a message.
const PATIENCE: Duration = Duration::from_secs(5);

impl Slot {
    /// Which sessions had ended, and how many had not, when the worker was gone.
    pub(super) async fn hear_last_words(&self, member: &Member) {
        let mut inbox = Inbox::default();
        while let Ok((message, _)) = member.link.recv(&mut inbox).await {
            match message {
                ToMaster::Ended(ended) => self.ended(member, ended),
                ToMaster::Report { counts, .. } => member.reported_sessions(counts.sessions),
                ToMaster::Metrics(values) => {
                    self.parts.totals.set(self.home.slot, member.pid, values);
                }
                _ => {}
            }
        }
    }

    fn ended(&self, member: &Member, ended: Vec<control::Ended>) {
        member.told_ends(ended.len());
        self.parts.ends.ended(self.home.slot, member.pid, ended);
    }

    pub(super) async fn welcome(
        &self,
        member: &Member,
        config: &Config,
        bus: UnixStream,
    ) -> Result<(), LinkError> {
        let message = Welcome {
            home: self.home,
            workers: config.workers,
            keyring: self.parts.pool.keyring().clone(),
        };
        welcome(&member.link, message, config, bus).await
    }

    /// Never waits.
    pub(super) fn obey(&self, member: &Rc<Member>, message: ToMaster, passed: Option<OwnedFd>) {
        let answer = match message {
            ToMaster::Report {
                counts,
                released,
                clients,
            } => {
                member.reported(counts);
                self.parts.pool.look_again();
                member.clients_changed(&clients);
                return released
                    .iter()
                    .for_each(|&number| self.parts.pool.release(number));
            }
            ToMaster::Ended(ended) => return self.ended(member, ended),
            ToMaster::Metrics(values) => {
                return self.parts.totals.set(self.home.slot, member.pid, values);
            }
            ToMaster::Eio3Close { sid } => return self.parts.pool.eio3_closed(&sid),
            ToMaster::Pass {
                to,
                handoff,
                reservation,
            } => {
                match (passed, reservation) {
                    (Some(conn), _) => self.parts.router.pass(to, conn, handoff, reservation),
                    // Without its descriptor, for want of places in this process, it is closed.
                    (None, Some(reservation)) => self.parts.pool.release(reservation),
                    (None, None) => {}
                }
                return;
            }
            ToMaster::Reserve {
                ticket,
                client,
                dispatched,
                port_of,
            } => {
                let place =
                    self.parts
                        .pool
                        .reserve(member, client.map(Into::into), dispatched, port_of);
                if let Err(why) = place {
                    self.parts.pool.refused(why, client);
                }
                Reply::Home { ticket, place }
            }
            ToMaster::Eio3Open { ticket, sid } => {
                self.parts.pool.eio3_opened(sid, self.home);
                Reply::Eio3 {
                    ticket,
                    home: Some(self.home),
                }
            }
            ToMaster::Eio3Find { ticket, sid } => Reply::Eio3 {
                ticket,
                home: self.parts.pool.eio3_home(&sid),
            },
            ToMaster::Answer { ticket, answer } => {
                return self.parts.questions.answered(ticket, member.pid, answer);
            }
            ToMaster::Ready | ToMaster::Pong | ToMaster::Unconfigured => return,
        };
        if let Err(reply) = member.reply(answer) {
            self.unheard(member, reply);
        }
    }

    /// A worker was not told what it has asked.
    pub(super) fn unheard(&self, member: &Member, reply: Reply) {
        debug!(pid = member.pid, "an answer was not heard");
        if let Some(reservation) = reply.reservation() {
            self.parts.pool.release(reservation);
        }
    }
}

/// Tells a new worker who it is, with its configuration and its end of the bus.
pub(super) async fn welcome(
    link: &Link,
    message: Welcome,
    config: &Config,
    bus: UnixStream,
) -> Result<(), LinkError> {
    let file = in_memory(config)?;
    let message = ToWorker::Welcome(message);
    let sent = async {
        link.send(&message, Some(file.as_fd())).await?;
        link.send(&ToWorker::Bus, Some(bus.as_fd())).await
    };
    timeout(PATIENCE, sent)
        .await
        .unwrap_or(Err(LinkError::Closed))
}

/// Tells a worker of another configuration; false: it takes nothing now, and is to be told later.
///
/// # Errors
/// When it cannot be written down, or the link is broken.
pub(super) async fn reconfigure(
    link: &Link,
    config: &Config,
    patience: Duration,
) -> Result<bool, LinkError> {
    let file = in_memory(config)?;
    let sent = link.send(&ToWorker::Config, Some(file.as_fd()));
    timeout(patience, sent)
        .await
        .map_or(Ok(false), |sent| sent.map(|()| true))
}

/// A configuration in a memfd, for it may be larger than a packet.
fn in_memory(config: &Config) -> io::Result<File> {
    let file = rustix::fs::memfd_create("my-app-config", MemfdFlags::CLOEXEC)?;
    let mut file = File::from(file);
    file.write_all(&serde_json::to_vec(config)?)?;
    io::Seek::rewind(&mut file)?;
    Ok(file)
}

/// Tells a worker something that is no connection. One that takes nothing is as good as gone.
pub(super) async fn tell(member: &Member, message: &ToWorker) -> Result<(), LinkError> {
    timeout(PATIENCE, member.link.send(message, None))
        .await
        .unwrap_or(Err(LinkError::Closed))
}

/// Milliseconds since 1970.
pub(super) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(since.unwrap_or_default().as_millis()).unwrap_or(u64::MAX)
}
