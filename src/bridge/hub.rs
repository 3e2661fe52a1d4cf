//! The bridge's end of the bus: the way to the hub, and its first words.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use socketioxide_core::Sid;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::Parts;
use super::line::Pauses;
use crate::ipc::bus::{BusError, Queue, Reader};
use crate::wire::frame::{Body, Frame, FrameError, Role, Welcome};

/// How long the hub may take to say Welcome.
const PATIENCE: Duration = Duration::from_secs(5);

/// How the hub is reached.
#[derive(Debug)]
pub(super) enum Way {
    /// The master has given its end; it is used once.
    Given(Option<OwnedFd>),
    /// A socket, which may not be there yet.
    Path(PathBuf),
}

/// A connection to the hub, which has said Welcome.
#[derive(Debug)]
pub(super) struct HubEnd {
    pub(super) reader: Reader<OwnedReadHalf>,
    pub(super) write: OwnedWriteHalf,
    /// What waits for the hub.
    pub(super) queue: Queue,
    /// The bridge's id on the bus.
    pub(super) id: Sid,
    pub(super) welcome: Welcome,
}

/// The hub cannot be had.
#[derive(Debug, thiserror::Error)]
enum HubError {
    #[error(
        "nobody listens at {0} ({1}); is my-app.service running, with a bridge.url? A server that is started by hand has its bridge with it"
    )]
    Connect(String, #[source] io::Error),
    #[error(transparent)]
    Bus(#[from] BusError),
    #[error("the hub did not say Welcome within 5 s")]
    Late,
}

impl Way {
    /// Standard input. What this process starts shall not inherit it.
    pub(super) fn given() -> io::Result<Self> {
        let end = io::stdin().as_fd().try_clone_to_owned()?;
        rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
        Ok(Self::Given(Some(end)))
    }

    pub(super) fn is_given(&self) -> bool {
        matches!(self, Self::Given(_))
    }

    /// Tries until there is a hub. None: there is none any more, or the process is to stop.
    pub(super) async fn connect(&mut self, parts: &Parts) -> Option<HubEnd> {
        let mut pauses = Pauses::default();
        let mut told = false;
        loop {
            match self.attempt().await {
                Ok(end) => {
                    if told {
                        info!("the bus is there");
                    }
                    return Some(end);
                }
                Err(error) => {
                    parts.notify.status(&format!("{error}; trying again"));
                    if !told {
                        warn!("{error}; trying again");
                    }
                    told = true;
                    if self.is_given() {
                        return None;
                    }
                }
            }
            tokio::select! {
                () = sleep(pauses.next()) => {}
                () = parts.stopped() => return None,
            }
        }
    }

    async fn attempt(&mut self) -> Result<HubEnd, HubError> {
        let stream = match self {
            Self::Given(end) => {
                let stream =
                    std::os::unix::net::UnixStream::from(end.take().ok_or(BusError::Closed)?);
                stream.set_nonblocking(true).map_err(BusError::from)?;
                UnixStream::from_std(stream).map_err(BusError::from)?
            }
            Self::Path(path) => {
                let connected = UnixStream::connect(&path).await;
                connected.map_err(|error| HubError::Connect(path.display().to_string(), error))?
            }
        };
        timeout(PATIENCE, HubEnd::join(stream))
            .await
            .map_err(|_| HubError::Late)?
            .map_err(HubError::from)
    }
}

impl HubEnd {
    /// Says who it is, and hears what the hub is.
    async fn join(stream: UnixStream) -> Result<Self, BusError> {
        let (read, mut write) = stream.into_split();
        let mut reader = Reader::new(read);
        let id = Sid::new();
        let hello = Frame {
            to: None,
            from: id,
            body: Body::Hello(Role::Bridge),
        };
        write.write_all(&hello.encode()?).await?;
        let frame = Frame::decode(&reader.next().await?)?;
        let Body::Welcome(welcome) = frame.body else {
            return Err(FrameError::Kind(0).into());
        };
        Ok(Self {
            reader,
            write,
            queue: Queue::default(),
            id,
            welcome,
        })
    }

    /// Says something to the hub itself.
    pub(super) fn say(&self, body: Body) {
        let frame = Frame {
            to: None,
            from: self.id,
            body,
        };
        match frame.encode() {
            Ok(frame) => self.queue.push(frame),
            Err(error) => warn!(%error, "the bridge has too much to say"),
        }
    }
}
