//! Redis, Valkey and what speaks like them: PUBLISH on one connection, SUBSCRIBE on another one.
//!
//! Pieces are of 256 KiB: one PUBLISH of more than `client-output-buffer-limit pubsub` (32 MiB) cuts off every
//! subscriber before a byte of it arrives, and many at once do the same to one that is a little slow.

use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesOrdered;
use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, RedisError,
    Value,
};
use rustls::ClientConfig;
use tokio::task::{JoinSet, unconstrained};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use super::dial::{self, Stream};
use super::inbox::Inbox;
use super::outbox::{Outbox, Outgoing};
use super::secret::{Secret, Secrets};
use super::sentinel;
use super::watched::{Side, Watched};
use super::{Channel, Event, IN_FLIGHT, PATIENCE, Receipt, Transport, TransportError};
use crate::config::{BridgeUrl, HostPort};

/// What is published at once, in bytes.
const PIECE: usize = 256 * 1024;
/// How often it is asked whether it is still the primary: one that was demoted takes what is published, passes it
/// to its own subscribers, this machine among them, and to nobody else.
const ROLE: Duration = Duration::from_secs(5);
/// As CLIENT LIST shows us.
const NAME: &str = "my-app-bridge";

/// See the module's text.
#[derive(Debug)]
pub(in crate::bridge) struct Redis {
    inbox: Arc<Inbox>,
    outbox: Arc<Outbox>,
    commands: MultiplexedConnection,
    subscriber: MultiplexedConnection,
    /// They end with it.
    _tasks: JoinSet<()>,
}

/// What moves a connection's bytes.
type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where the Redis is, once that is known.
#[derive(Debug)]
enum Place {
    Tcp(HostPort, Vec<SocketAddr>),
    Unix(std::path::PathBuf),
}

impl Redis {
    /// Connects twice, and asks whether it is a primary.
    ///
    /// # Errors
    /// What went wrong first.
    pub(super) async fn connect(
        url: &BridgeUrl,
        secrets: &Secrets,
        ca_file: Option<&Path>,
    ) -> Result<Self, TransportError> {
        let deadline = Instant::now() + PATIENCE;
        let secret = secrets.read()?;
        let trusted = url
            .has_tls()
            .then(|| dial::authorities(ca_file))
            .transpose()?;
        let mut place = Place::find(url, trusted.as_ref(), secret.as_ref(), deadline).await?;
        let inbox = Arc::new(Inbox::default());
        let mut tasks = JoinSet::new();
        let mut opened = Vec::new();
        for side in [Side::Publishing, Side::Subscribed] {
            let stream = place.dial(trusted.as_ref(), deadline).await?;
            let stream = Watched::new(stream, Arc::clone(&inbox), side);
            let (connection, driver) = open(url, secret.as_ref(), stream, &inbox, deadline).await?;
            let ended = Arc::clone(&inbox);
            tasks.spawn(async move {
                driver.await;
                ended.end(TransportError::Closed);
            });
            opened.push(connection);
        }
        let (Some(subscriber), Some(mut commands)) = (opened.pop(), opened.pop()) else {
            return Err(TransportError::Closed);
        };
        let checked = timeout_at(deadline, check_role(&mut commands, url));
        let knows_roles = checked
            .await
            .map_err(|_| TransportError::late(url.to_string()))??;
        let who = getrandom::u64().unwrap_or_default();
        let outbox = Arc::new(Outbox::new(who, PIECE));
        tasks.spawn(publish(
            Arc::clone(&outbox),
            Arc::clone(&inbox),
            commands.clone(),
        ));
        if knows_roles {
            let (inbox, commands, url) = (Arc::clone(&inbox), commands.clone(), url.clone());
            tasks.spawn(async move { inbox.end(demoted(commands, &url).await) });
        }
        Ok(Self {
            inbox,
            outbox,
            commands,
            subscriber,
            _tasks: tasks,
        })
    }

    /// What it said why, rather than that an answer did not come.
    fn reason(&self, step: &str, error: &RedisError) -> TransportError {
        let reason = TransportError::redis(step, error);
        match reason {
            TransportError::Lost(_) => self.inbox.ended().unwrap_or(reason),
            _ => reason,
        }
    }
}

impl Place {
    async fn find(
        url: &BridgeUrl,
        trusted: Option<&Arc<ClientConfig>>,
        secret: Option<&Secret>,
        deadline: Instant,
    ) -> Result<Self, TransportError> {
        let at = match url {
            BridgeUrl::RedisUnix { path, .. } => return Ok(Self::Unix(path.clone())),
            BridgeUrl::Redis { at, .. } => at.clone(),
            BridgeUrl::Sentinel {
                sentinels, name, ..
            } => sentinel::primary(sentinels, name, trusted, secret, deadline).await?,
            BridgeUrl::Postgres { .. } => return Err(TransportError::Unsupported("Redis")),
        };
        let addresses = dial::resolve(&at, deadline).await?;
        Ok(Self::Tcp(at, addresses))
    }

    /// Both connections go to one address: behind a name there may be several servers.
    async fn dial(
        &mut self,
        trusted: Option<&Arc<ClientConfig>>,
        deadline: Instant,
    ) -> Result<Stream, TransportError> {
        match self {
            Self::Unix(path) => dial::unix(path, deadline).await,
            Self::Tcp(at, addresses) => {
                let stream = dial::tcp(at, addresses, deadline).await?;
                if let Ok(address) = stream.peer_addr() {
                    *addresses = vec![address];
                }
                match trusted {
                    Some(trusted) => dial::tls(at, stream, trusted, "redis://", deadline).await,
                    None => Ok(Stream::Tcp(stream)),
                }
            }
        }
    }
}

/// Says hello: RESP3, user and password, a name.
async fn open(
    url: &BridgeUrl,
    secret: Option<&Secret>,
    stream: Watched,
    inbox: &Arc<Inbox>,
    deadline: Instant,
) -> Result<(MultiplexedConnection, Driver), TransportError> {
    let mut info = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP3)
        .set_skip_set_lib_name();
    let user = match url {
        BridgeUrl::Redis { user, .. }
        | BridgeUrl::RedisUnix { user, .. }
        | BridgeUrl::Sentinel { user, .. } => user.as_ref(),
        BridgeUrl::Postgres { .. } => None,
    };
    if let Some(user) = user {
        info = info.set_username(user);
    }
    if let Some(secret) = secret {
        info = info.set_password(secret.reveal());
    }
    let pushed = Arc::clone(inbox);
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(Some(PATIENCE))
        .set_push_sender(move |push: PushInfo| {
            take(&pushed, push);
            Ok::<(), redis::aio::SendError>(())
        });
    let name = url.to_string();
    let made = MultiplexedConnection::new_with_config(&info, stream, config);
    let made = timeout_at(deadline, made)
        .await
        .map_err(|_| TransportError::late(name.clone()))?;
    let (connection, driver) = made.map_err(|error| {
        if error.is_connection_dropped() && !url.has_tls() && error.code().is_none() {
            TransportError::Silent(name, "rediss://")
        } else {
            TransportError::redis(name, &error)
        }
    })?;
    // Who looks at CLIENT LIST shall know us; a user without that right loses nothing else by it.
    let mut named = connection.clone();
    let mut command = redis::cmd("CLIENT");
    command.arg("SETNAME").arg(NAME).set_no_response(true);
    let driver: Driver = Box::pin(driver);
    let driver = async move {
        let naming = async {
            let _ = command.exec_async(&mut named).await;
            drop(named);
        };
        tokio::join!(naming, driver);
    };
    Ok((connection, Box::pin(driver)))
}

/// Something came that is no answer.
fn take(inbox: &Inbox, push: PushInfo) {
    let mut data = push.data.into_iter();
    let mut next = || match data.next() {
        Some(Value::BulkString(bytes)) => Some(bytes),
        _ => None,
    };
    let text = |bytes: Vec<u8>| match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => String::from_utf8_lossy(error.as_bytes()).into_owned(),
    };
    let pattern = match push.kind {
        PushKind::Message => None,
        PushKind::PMessage => match next() {
            Some(pattern) => Some(text(pattern)),
            None => return,
        },
        _ => return,
    };
    if let (Some(channel), Some(payload)) = (next(), next()) {
        inbox.push(text(channel), pattern, Bytes::from(payload));
    }
}

/// Whether it can say what it is; an error if it is no primary.
async fn check_role(
    connection: &mut MultiplexedConnection,
    url: &BridgeUrl,
) -> Result<bool, TransportError> {
    let step = || url.to_string();
    match redis::cmd("ROLE")
        .query_async::<Vec<Value>>(connection)
        .await
    {
        Ok(role) => match role.first() {
            Some(Value::BulkString(role)) if role == b"master" => Ok(true),
            _ => Err(TransportError::Replica(step())),
        },
        // Some who rent it out have taken the command away; they see to the rest themselves.
        Err(error)
            if error
                .detail()
                .is_some_and(|said| said.contains("unknown command")) =>
        {
            Ok(false)
        }
        Err(error) => Err(TransportError::redis(step(), &error)),
    }
}

/// Asks again and again what it is; returns when it is no primary any more, or does not answer.
async fn demoted(mut connection: MultiplexedConnection, url: &BridgeUrl) -> TransportError {
    let mut ticks = interval(ROLE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = check_role(&mut connection, url).await {
            return error;
        }
    }
}

/// Publishes what is in the outbox, several batches under way, in order.
async fn publish(outbox: Arc<Outbox>, inbox: Arc<Inbox>, connection: MultiplexedConnection) {
    let mut under_way = FuturesOrdered::new();
    let mut bytes: usize = 0;
    loop {
        let batch = tokio::select! {
            biased;
            Some(answered) = under_way.next() => {
                let (batch, answers): (Vec<Outgoing>, _) = answered;
                bytes -= cost(&batch);
                if let Err(error) = settle(&outbox, batch, answers) {
                    inbox.end(error.clone());
                    outbox.end(&error);
                    return;
                }
                continue;
            }
            batch = outbox.batch(IN_FLIGHT.saturating_sub(bytes)), if bytes < IN_FLIGHT => batch,
        };
        bytes += cost(&batch);
        // They are first polled in this order, and each has queued its bytes then, whatever else this task did.
        under_way.push_back(unconstrained(send(connection.clone(), batch)));
    }
}

fn cost(batch: &[Outgoing]) -> usize {
    batch
        .iter()
        .map(Outgoing::cost)
        .sum::<usize>()
        .min(IN_FLIGHT)
}

async fn send(
    mut connection: MultiplexedConnection,
    batch: Vec<Outgoing>,
) -> (Vec<Outgoing>, Result<Vec<Value>, RedisError>) {
    let mut pipeline = redis::Pipeline::with_capacity(batch.len());
    for outgoing in &batch {
        let publish = pipeline.cmd("PUBLISH").arg(&*outgoing.channel);
        if outgoing.piece.head.is_empty() {
            publish.arg(&outgoing.piece.body[..]);
        } else {
            publish.arg(&outgoing.piece.bytes()[..]);
        }
    }
    let answers = connection.send_packed_commands(&pipeline, 0, batch.len());
    let answers = answers.await;
    (batch, answers)
}

/// Passes the answers on. An error is one of the connection, or of the server as a whole.
fn settle(
    outbox: &Outbox,
    batch: Vec<Outgoing>,
    answers: Result<Vec<Value>, RedisError>,
) -> Result<(), TransportError> {
    const STEP: &str = "publishing";
    let answers = match answers {
        Ok(answers) => answers,
        Err(error) => {
            let error = TransportError::redis(STEP, &error);
            for outgoing in batch {
                outbox.answer(outgoing, Err(error.clone()));
            }
            return Err(error);
        }
    };
    let mut answers = answers.into_iter();
    let mut fault = None;
    for outgoing in batch {
        let answer = match answers.next() {
            Some(Value::Int(receivers)) => Ok(u64::try_from(receivers).unwrap_or_default()),
            Some(Value::ServerError(said)) => Err(TransportError::redis(STEP, &said.into())),
            _ => Err(TransportError::Closed),
        };
        if let Err(error) = &answer
            && !error.is_refusal()
        {
            fault.get_or_insert_with(|| error.clone());
        }
        outbox.answer(outgoing, answer);
    }
    fault.map_or(Ok(()), Err)
}

/// The names of those that are of this kind.
fn names(channels: &[Channel], patterns: bool) -> Vec<&str> {
    let of_kind = |channel: &&Channel| matches!(channel, Channel::Pattern(_)) == patterns;
    channels.iter().filter(of_kind).map(Channel::name).collect()
}

impl Transport for Redis {
    async fn subscribe(&self, channels: &[Channel]) -> Result<(), TransportError> {
        let _asked = self.inbox.asked();
        let mut connection = self.subscriber.clone();
        let failed = |error| self.reason("subscribing", &error);
        let exact = names(channels, false);
        if !exact.is_empty() {
            connection.subscribe(exact).await.map_err(failed)?;
        }
        let patterns = names(channels, true);
        if !patterns.is_empty() {
            connection.psubscribe(patterns).await.map_err(failed)?;
        }
        Ok(())
    }

    async fn unsubscribe(&self, channels: &[Channel]) -> Result<(), TransportError> {
        let _asked = self.inbox.asked();
        let mut connection = self.subscriber.clone();
        let failed = |error| self.reason("unsubscribing", &error);
        let exact = names(channels, false);
        if !exact.is_empty() {
            connection.unsubscribe(exact).await.map_err(failed)?;
        }
        let patterns = names(channels, true);
        if !patterns.is_empty() {
            connection.punsubscribe(patterns).await.map_err(failed)?;
        }
        Ok(())
    }

    fn publish(&self, channel: &str, payload: Bytes) -> Receipt {
        self.outbox.publish(channel, payload, false)
    }

    fn publish_whole(&self, channel: &str, payload: Bytes) -> Receipt {
        self.outbox.publish(channel, payload, true)
    }

    fn has_room(&self) -> bool {
        self.outbox.has_room()
    }

    async fn room(&self) {
        self.outbox.room().await;
    }

    async fn event(&self) -> Event {
        let event = self.inbox.next().await;
        if let Event::Ended(error) = &event {
            self.outbox.end(error);
        }
        event
    }

    async fn numsub(&self, channel: &str) -> Result<u64, TransportError> {
        let mut connection = self.commands.clone();
        let mut command = redis::cmd("PUBSUB");
        command.arg("NUMSUB").arg(channel);
        let answer = command.query_async::<(String, u64)>(&mut connection).await;
        let answer = answer.map_err(|error| self.reason("PUBSUB NUMSUB", &error));
        answer.map(|(_, count)| count)
    }

    fn silence(&self, has_worked: bool) -> &'static str {
        if has_worked {
            return "the server answers, but the connection with what is published there is too slow for what all \
                    machines send, or brings nothing any more";
        }
        "the server answers, but what this machine publishes does not come back to it: both connections must reach \
         the same server, and its user must be allowed to read the channels (ACL SETUSER ... &<prefix>/*)"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(kind: PushKind, data: &[&[u8]]) -> PushInfo {
        let data = data.iter().map(|bytes| Value::BulkString(bytes.to_vec()));
        PushInfo {
            kind,
            data: data.collect(),
        }
    }

    #[tokio::test]
    async fn messages_come_with_their_channel_and_pattern_and_nothing_else_comes() {
        let inbox = Inbox::default();
        take(&inbox, push(PushKind::Subscribe, &[b"a", b"1"]));
        take(&inbox, push(PushKind::PMessage, &[b"a*"]));
        take(&inbox, push(PushKind::Message, &[b"a", b"x"]));
        take(&inbox, push(PushKind::PMessage, &[b"a*", b"ab", b"\xc1y"]));
        inbox.end(TransportError::Closed);
        for (expected, of, bytes) in [("a", None, &b"x"[..]), ("ab", Some("a*"), b"\xc1y")] {
            let event = inbox.next().await;
            let Event::Message {
                channel,
                pattern,
                payload,
            } = event
            else {
                panic!("{event:?}");
            };
            assert_eq!((&*channel, pattern.as_deref()), (expected, of));
            assert_eq!(payload, bytes);
        }
        assert!(matches!(inbox.next().await, Event::Ended(_)));
    }

    #[tokio::test]
    async fn a_refusal_is_one_messages_and_a_fault_is_everybodys() {
        let refused = redis::make_extension_error("NOPERM".to_owned(), Some("no".to_owned()));
        let refused = TransportError::redis("publishing", &refused);
        assert!(refused.is_refusal());
        let outbox = Outbox::new(1, PIECE);
        let receipts = [0, 1].map(|_| outbox.publish("a", Bytes::from_static(b"x"), false));
        let batch = outbox.batch(usize::MAX).await;
        settle(&outbox, batch, Ok(vec![Value::Int(3), Value::Int(0)])).unwrap();
        for (receipt, receivers) in receipts.into_iter().zip([3, 0]) {
            assert_eq!(receipt.await.unwrap(), receivers);
        }
        let receipt = outbox.publish("a", Bytes::from_static(b"x"), false);
        let batch = outbox.batch(usize::MAX).await;
        let lost = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        assert!(settle(&outbox, batch, Err(lost.into())).is_err());
        assert!(receipt.await.is_err());
    }
}
