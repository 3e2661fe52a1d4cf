//! Connections to servers: TCP, TLS over it, Unix sockets.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustix::net::sockopt;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream, lookup_host};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::TransportError;
use crate::config::HostPort;

/// What Debian's ca-certificates makes of all authorities.
const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// What was sent is acknowledged within this, or the connection is over (`TCP_USER_TIMEOUT`, tcp(7)): the other end,
/// or the way to it, vanished without a word. The core's own echo is quicker; this ends what is left.
const UNACKNOWLEDGED: Duration = Duration::from_secs(20);
/// A connection that carries nothing is asked for after 10 s, then every 5 s; `UNACKNOWLEDGED` says when it is over.
const IDLE: Duration = Duration::from_secs(10);
const BETWEEN: Duration = Duration::from_secs(5);

/// A connection, of whatever kind.
#[derive(Debug)]
pub(super) enum Stream {
    /// Without TLS.
    Tcp(TcpStream),
    /// With it.
    Tls(Box<TlsStream<TcpStream>>),
    /// On this machine.
    Unix(UnixStream),
}

/// Who may sign a server's certificate.
pub(super) fn authorities(file: Option<&Path>) -> Result<Arc<ClientConfig>, TransportError> {
    let path = file.unwrap_or(Path::new(AUTHORITIES));
    let unusable = |reason: String| TransportError::Authorities(path.display().to_string(), reason);
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(path);
    let certificates = certificates.map_err(|error| unusable(error.to_string()))?;
    for certificate in certificates {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        let added = roots.add(certificate);
        // Of a system's hundred one may be of a kind that nobody takes any more.
        if file.is_some() {
            added.map_err(|error| unusable(error.to_string()))?;
        }
    }
    if roots.is_empty() {
        return Err(unusable("there is none".to_owned()));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// The addresses of a host, looked up anew.
pub(super) async fn resolve(
    at: &HostPort,
    deadline: Instant,
) -> Result<Vec<SocketAddr>, TransportError> {
    let found = timeout_at(deadline, lookup_host((at.host.as_str(), at.port)));
    let unknown = |reason: String| TransportError::Name(at.host.clone(), reason);
    let addresses: Vec<_> = match found.await {
        Ok(Ok(addresses)) => addresses.collect(),
        Ok(Err(error)) => return Err(unknown(error.to_string())),
        Err(_) => return Err(unknown("no name server answers".to_owned())),
    };
    if addresses.is_empty() {
        return Err(unknown("the answer is empty".to_owned()));
    }
    Ok(addresses)
}

/// Connects over TCP to the first of these addresses that takes it.
pub(super) async fn tcp(
    at: &HostPort,
    addresses: &[SocketAddr],
    deadline: Instant,
) -> Result<TcpStream, TransportError> {
    let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    let mut last = TransportError::Closed;
    for address in addresses {
        // One that answers nothing leaves its share to the others.
        let now = Instant::now();
        let share = deadline.saturating_duration_since(now) / left.max(1);
        left = left.saturating_sub(1);
        match timeout_at(now + share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                prepare(&stream).map_err(|error| TransportError::tcp(at.to_string(), &error))?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = TransportError::tcp(at.to_string(), &error),
            Err(_) => last = TransportError::late(format!("connecting to {at}")),
        }
    }
    Err(last)
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let millis = u32::try_from(UNACKNOWLEDGED.as_millis()).unwrap_or(u32::MAX);
    sockopt::set_tcp_user_timeout(stream, millis)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, IDLE)?;
    sockopt::set_tcp_keepintvl(stream, BETWEEN)?;
    Ok(())
}

/// Puts TLS on a connection. `without` says in an error how to do without it.
pub(super) async fn tls(
    at: &HostPort,
    stream: TcpStream,
    trusted: &Arc<ClientConfig>,
    without: &'static str,
    deadline: Instant,
) -> Result<Stream, TransportError> {
    let name = ServerName::try_from(at.host.clone())
        .map_err(|error| TransportError::Tls(at.to_string(), error.to_string()))?;
    let connector = TlsConnector::from(Arc::clone(trusted));
    match timeout_at(deadline, connector.connect(name, stream)).await {
        Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream))),
        Ok(Err(error)) => Err(TransportError::tls(at.to_string(), &error, without)),
        // Redis reads our hello as the beginning of a command, and waits for its end.
        Err(_) => Err(TransportError::late(format!(
            "TLS with {at} (if that port does not speak it, take {without})"
        ))),
    }
}

/// Connects to a Unix socket.
pub(super) async fn unix(path: &Path, deadline: Instant) -> Result<Stream, TransportError> {
    let name = path.display().to_string();
    match timeout_at(deadline, UnixStream::connect(path)).await {
        Ok(Ok(stream)) => Ok(Stream::Unix(stream)),
        Ok(Err(error)) => Err(match error.kind() {
            io::ErrorKind::NotFound => TransportError::NoSocket(name),
            io::ErrorKind::PermissionDenied => TransportError::SocketPermission(name),
            _ => TransportError::tcp(name, &error),
        }),
        Err(_) => Err(TransportError::late(name)),
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Unix(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bridge::transport::PATIENCE;

    #[test]
    fn authorities_that_cannot_be_read_are_told_with_their_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ca.pem");
        let text = |file: &Path| authorities(Some(file)).unwrap_err().to_string();
        assert!(text(&file).contains("ca.pem"), "{}", text(&file));
        std::fs::write(&file, "no certificate\n").unwrap();
        assert!(text(&file).contains("there is none"), "{}", text(&file));
    }

    #[tokio::test]
    async fn a_refusal_and_a_missing_socket_say_where() {
        let deadline = Instant::now() + PATIENCE;
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = HostPort {
            host: "127.0.0.1".to_owned(),
            port: free.local_addr().unwrap().port(),
        };
        drop(free);
        let addresses = resolve(&at, deadline).await.unwrap();
        let error = tcp(&at, &addresses, deadline).await.unwrap_err();
        assert!(matches!(error, TransportError::Refused(_)), "{error}");
        assert!(error.to_string().contains(&at.to_string()), "{error}");
        let error = unix(Path::new("/nowhere/redis.sock"), deadline).await;
        let error = error.unwrap_err();
        assert!(matches!(error, TransportError::NoSocket(_)), "{error}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_answers_is_given_up() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = HostPort {
            host: "127.0.0.1".to_owned(),
            port: listener.local_addr().unwrap().port(),
        };
        let config =
            ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(RootCertStore::empty());
        let config = Arc::new(config.with_no_client_auth());
        let deadline = Instant::now() + PATIENCE;
        let addresses = resolve(&at, deadline).await.unwrap();
        let stream = tcp(&at, &addresses, deadline).await.unwrap();
        let error = tls(&at, stream, &config, "", deadline).await.unwrap_err();
        assert!(matches!(error, TransportError::Timeout(..)), "{error}");
    }
}
