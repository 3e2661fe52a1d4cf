//! Opens a connection to Redis, and asks what is at its end.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, PushInfo, RedisConnectionInfo, Value};
use rustls::ClientConfig;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};

use super::hear::take;
use crate::bridge::transport::dial::{self, Stream};
use crate::bridge::transport::inbox::Inbox;
use crate::bridge::transport::secret::Secret;
use crate::bridge::transport::watched::Watched;
use crate::bridge::transport::{PATIENCE, TransportError, sentinel};
use crate::config::{BridgeUrl, HostPort};

/// How often it is asked whether it is still the primary: one that was demoted takes what is published, passes it
/// to its own subscribers, this machine among them, and to nobody else.
const ROLE: Duration = Duration::from_secs(5);
/// As CLIENT LIST shows us.
const NAME: &str = "my-app-bridge";

/// What moves a connection's bytes.
pub(super) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Where the Redis is, once that is known.
#[derive(Debug)]
pub(super) enum Place {
    /// By TCP, with its addresses.
    Tcp(HostPort, Vec<SocketAddr>),
    /// By its socket.
    Unix(PathBuf),
}

impl Place {
    /// Where it is, as the URL or a sentinel has it.
    pub(super) async fn find(
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
    pub(super) async fn dial(
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
pub(super) async fn open(
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

/// Whether it can say what it is; an error if it is no primary.
pub(super) async fn check_role(
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
pub(super) async fn demoted(
    mut connection: MultiplexedConnection,
    url: &BridgeUrl,
) -> TransportError {
    let mut ticks = interval(ROLE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if let Err(error) = check_role(&mut connection, url).await {
            return error;
        }
    }
}
