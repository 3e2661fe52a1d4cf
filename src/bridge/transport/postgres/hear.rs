//! What a session of Postgres hears: messages, and at the beginning the other session.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_postgres::Client;

use super::open::{NAME, refused};
use super::publish::read;
use crate::bridge::transport::TransportError;
use crate::bridge::transport::channels::{Names, quoted};
use crate::bridge::transport::inbox::Inbox;
use crate::config::BridgeUrl;

/// A notification to ourselves takes this long at most. The server writes it out when its commit is done.
pub(super) const ECHO: Duration = Duration::from_secs(2);

/// Who waits for a notification to itself, and by which channel it comes.
#[derive(Debug, Default)]
pub(super) struct Echo(Mutex<Option<(String, oneshot::Sender<()>)>>);

impl Echo {
    fn expect(&self, channel: String) -> oneshot::Receiver<()> {
        let (heard, echo) = oneshot::channel();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((channel, heard));
        echo
    }

    /// Whether it was that.
    fn is(&self, channel: &str) -> bool {
        let mut expected = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let it_is = expected.as_ref().is_some_and(|(name, _)| name == channel);
        if it_is && let Some((_, heard)) = expected.take() {
            // Too late is as good as never.
            let _ = heard.send(());
        }
        it_is
    }
}

/// What a session's messages become.
pub(super) struct Hears {
    /// Where messages go.
    pub(super) inbox: Arc<Inbox>,
    /// The channels that they come by.
    pub(super) names: Arc<Names>,
    /// Takes what is for ourselves.
    pub(super) echo: Arc<Echo>,
}

impl Hears {
    /// A notification came.
    pub(super) fn take(&self, channel: &str, text: &str) {
        if self.echo.is(channel) {
            return;
        }
        let channel = self.names.of(channel);
        // What is none of ours is for whoever counts such things.
        let payload = read(text).unwrap_or_else(|| Bytes::copy_from_slice(text.as_bytes()));
        self.inbox.push(channel, None, payload);
    }
}

/// One session notifies, and the other one has to hear it.
pub(super) async fn hear_oneself(
    url: &BridgeUrl,
    publisher: &Client,
    listener: &Client,
    echo: &Echo,
    who: u64,
) -> Result<(), TransportError> {
    let failed = |error: tokio_postgres::Error| refused(url, &url.to_string(), &error);
    let standby = publisher.query_typed_one("SELECT pg_is_in_recovery()", &[]);
    let standby = standby.await.map_err(failed)?;
    if standby.try_get::<_, bool>(0).map_err(failed)? {
        return Err(TransportError::Standby(url.to_string()));
    }
    let channel = format!("{NAME}-{who:016x}");
    let heard = echo.expect(channel.clone());
    let name = quoted(&channel);
    let listen = format!("LISTEN {name}");
    listener.batch_execute(&listen).await.map_err(failed)?;
    let notify = format!("NOTIFY {name}");
    publisher.batch_execute(&notify).await.map_err(failed)?;
    if !matches!(timeout(ECHO, heard).await, Ok(Ok(()))) {
        return Err(TransportError::Pooled);
    }
    let unlisten = format!("UNLISTEN {name}");
    listener.batch_execute(&unlisten).await.map_err(failed)
}
