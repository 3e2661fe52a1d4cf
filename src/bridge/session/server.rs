//! What the session has the server between the machines do: attempts to be connected, and what Node's part wants done.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use tracing::warn;

use super::{Session, WARNING_INTERVAL};
use crate::bridge::Parts;
use crate::bridge::core::Inbound;
use crate::bridge::emitter::Emitter;
use crate::bridge::line::Arrived;
use crate::bridge::node;
use crate::bridge::transport::{Channel, Secrets, Server, Transport, TransportError};

type Attempting = Pin<Box<dyn Future<Output = Result<Arrived<Server>, TransportError>>>>;
pub(super) type Attempt = Box<dyn Fn() -> Attempting>;
pub(super) type Job = Pin<Box<dyn Future<Output = Done>>>;

/// What something that the server had to do for Node's part has come to.
pub(super) enum Done {
    Nothing,
    Failed(TransportError),
    Counted(u64, Option<u64>),
}

impl Session {
    /// Has the server do something for Node's part.
    pub(super) fn begin_job(&mut self, server: Rc<Server>, output: node::Output) {
        match output {
            node::Output::Publish { channel, payload } => {
                drop(server.publish_whole(&channel, payload));
                if !server.has_room() {
                    self.job = Some(Box::pin(async move {
                        server.room().await;
                        Done::Nothing
                    }));
                }
            }
            node::Output::Subscribe(channels) => {
                self.job = Some(Box::pin(async move {
                    let subscribed = server.subscribe(&channels).await;
                    subscribed.map_or_else(Done::Failed, |()| Done::Nothing)
                }));
            }
            node::Output::Unsubscribe(channels) => {
                self.job = Some(Box::pin(async move {
                    let unsubscribed = server.unsubscribe(&channels).await;
                    unsubscribed.map_or_else(Done::Failed, |()| Done::Nothing)
                }));
            }
            node::Output::NumSub { id, channel } => {
                self.counts.push(Box::pin(async move {
                    Done::Counted(id, server.numsub(&channel).await.ok())
                }));
            }
            _ => {}
        }
    }

    pub(super) fn done(&mut self, done: Done) {
        if !matches!(done, Done::Counted(..)) {
            self.job = None;
        }
        match done {
            Done::Nothing => {}
            Done::Failed(error) => {
                if self.warnings.allows(WARNING_INTERVAL) {
                    warn!("Node servers are not heard: {error}");
                }
                self.refused = Some(format!("Node servers are not heard: {error}"));
            }
            Done::Counted(id, subscribed) => {
                if let Some(node) = &mut self.node {
                    node.counted(std::time::Instant::now(), id, subscribed);
                }
            }
        }
    }
}

/// An attempt to be connected: the server, found and asked anew, subscribed to all channels.
pub(super) fn attempt(
    parts: &Rc<Parts>,
    channels: &[(String, Inbound)],
    emitter: Option<&Emitter>,
) -> Attempt {
    let own = channels
        .iter()
        .map(|(name, _)| Channel::Exact(name.clone()));
    let own: Rc<[Channel]> = own.collect();
    let emitters = emitter.map(Emitter::channels);
    let secrets = Rc::new(Secrets::new(parts.config.bridge.secret_file.as_deref()));
    let parts = Rc::clone(parts);
    Box::new(move || {
        let (parts, own, secrets) = (Rc::clone(&parts), Rc::clone(&own), Rc::clone(&secrets));
        let emitters = emitters.clone();
        Box::pin(async move {
            let ca_file = parts.config.bridge.ca_file.as_deref();
            let server = Server::connect(&parts.url, &secrets, ca_file).await?;
            server.subscribe(&own).await?;
            let mut refused = None;
            if let Some(channels) = &emitters {
                match server.subscribe(channels).await {
                    Err(error) if error.is_refusal() => refused = Some(error),
                    subscribed => subscribed?,
                }
            }
            Ok(Arrived { server, refused })
        })
    })
}
