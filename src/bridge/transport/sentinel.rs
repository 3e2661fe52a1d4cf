//! Sentinels say which Redis is the primary at the moment. They are asked at each attempt.

use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, ProtocolVersion, RedisConnectionInfo};
use rustls::ClientConfig;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

use super::secret::Secret;
use super::{PATIENCE, TransportError, dial};
use crate::config::HostPort;

/// Where `name` is, as the first sentinel has it that knows.
pub(super) async fn primary(
    sentinels: &[HostPort],
    name: &str,
    trusted: Option<&Arc<ClientConfig>>,
    secret: Option<&Secret>,
    deadline: Instant,
) -> Result<HostPort, TransportError> {
    let mut reasons = Vec::new();
    let mut left = u32::try_from(sentinels.len()).unwrap_or(u32::MAX);
    for sentinel in sentinels {
        // One that hangs leaves their share to the others, and all of them half to the Redis.
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now) / left.saturating_add(1);
        left = left.saturating_sub(1);
        match ask(sentinel, name, trusted, secret, now + share).await {
            Ok(Some(primary)) => return Ok(primary),
            Ok(None) => reasons.push(format!("{sentinel} knows no such name")),
            Err(error) => reasons.push(error.to_string()),
        }
    }
    Err(TransportError::Sentinels(
        name.to_owned(),
        reasons.join("; "),
    ))
}

async fn ask(
    at: &HostPort,
    name: &str,
    trusted: Option<&Arc<ClientConfig>>,
    secret: Option<&Secret>,
    deadline: Instant,
) -> Result<Option<HostPort>, TransportError> {
    // Most sentinels have no password; of those that have one it is the Redis' own.
    let first = attempt(at, name, trusted, None, deadline).await;
    match (first, secret) {
        (Err(TransportError::Server { said, .. }), Some(secret)) if said.starts_with("NOAUTH") => {
            attempt(at, name, trusted, Some(secret), deadline).await
        }
        (answer, _) => answer,
    }
}

async fn attempt(
    at: &HostPort,
    name: &str,
    trusted: Option<&Arc<ClientConfig>>,
    secret: Option<&Secret>,
    deadline: Instant,
) -> Result<Option<HostPort>, TransportError> {
    let step = format!("asking the sentinel {at}");
    let addresses = dial::resolve(at, deadline).await?;
    let stream = dial::tcp(at, &addresses, deadline).await?;
    let stream = match trusted {
        Some(trusted) => dial::tls(at, stream, trusted, "redis+sentinel://", deadline).await?,
        None => dial::Stream::Tcp(stream),
    };
    let mut info = RedisConnectionInfo::default()
        .set_protocol(ProtocolVersion::RESP2)
        .set_skip_set_lib_name();
    if let Some(secret) = secret {
        info = info.set_password(secret.reveal());
    }
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(PATIENCE));
    let conversation = async {
        let made = MultiplexedConnection::new_with_config(&info, stream, config).await;
        let (mut connection, driver) = made?;
        let mut tasks = JoinSet::new();
        tasks.spawn(driver);
        let mut command = redis::cmd("SENTINEL");
        command.arg("GET-MASTER-ADDR-BY-NAME").arg(name);
        command
            .query_async::<Option<(String, u16)>>(&mut connection)
            .await
    };
    let answer = timeout_at(deadline, conversation)
        .await
        .map_err(|_| TransportError::late(step.clone()))?
        .map_err(|error| TransportError::redis(step, &error))?;
    Ok(answer.map(|(host, port)| HostPort { host, port }))
}
