//! The client of the control socket: finds it, asks, and says in words why there is no answer.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::Value;
use thiserror::Error;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::Exit;
use super::text::clean;
use crate::config::{Config, ConfigError, runtime_directory};

/// How long the server may take for an answer, from the first byte to the last.
const DEADLINE: Duration = Duration::from_secs(4);

/// How long it is waited whether a server ends that has closed the connection.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// More than any answer has.
const LARGEST_ANSWER: usize = 64 << 20;

/// Where the control socket is looked for.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SocketArgs {
    /// The configuration that names the control socket, instead of /etc/my-app/my-app.toml
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// The control socket itself
    #[arg(long, value_name = "PATH", conflicts_with = "config")]
    pub socket: Option<PathBuf>,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum ClientError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("control.socket is \"\" in the configuration: this server has no control socket")]
    SwitchedOff,
    #[error(
        "not running: {}. As a service: `systemctl start my-app.service`; by hand: `my-app`. If it \
         runs with another configuration or for another user, name its socket: --config FILE or \
         --socket PATH",
        .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    )]
    NotRunning(Vec<Nobody>),
    #[error("this user may not use {}: it is for {}. {}", path.display(), whose, remedy)]
    Denied {
        path: PathBuf,
        whose: String,
        remedy: String,
    },
    #[error(
        "no answer at {} within {} s: the server may be overloaded or stopped (SIGSTOP, a \
         debugger); `systemctl status my-app` and `top` tell more",
        .0.display(), .1
    )]
    TimedOut(PathBuf, u64),
    #[error("{} cannot be used: {source}", path.display())]
    Unusable { path: PathBuf, source: io::Error },
    #[error(
        "who listens at {} does not speak HTTP ({source}); is it my-app's control socket?",
        path.display()
    )]
    NotHttp { path: PathBuf, source: BoxError },
    #[error("the server went away while it answered; it may be restarting. Try again")]
    WentAway,
    #[error(
        "the server has closed the connection without an answer, and runs on: it may have no time, or no open files \
         left (LimitNOFILE=). Try again; the journal tells more"
    )]
    Unanswered,
    #[error("the answer at {} is no JSON; is it my-app's control socket?", .0.display())]
    NotJson(PathBuf),
    #[error("{words}")]
    Refused { status: StatusCode, words: String },
    #[error("this machine does not let the program run: {0}")]
    Runtime(io::Error),
}

/// An error of a library.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A place where nobody answers.
#[derive(Debug, Error)]
pub(super) enum Nobody {
    #[error("there is no {}", .0.display())]
    NoSocket(PathBuf),
    #[error("nobody listens at {}, which an earlier server has left", .0.display())]
    Left(PathBuf),
}

impl ClientError {
    /// The exit code that says the same.
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Config(_) => Exit::Config,
            Self::NotRunning(_) => Exit::NotRunning,
            // It runs, and is not as it should be.
            Self::TimedOut(..) | Self::WentAway | Self::Unanswered | Self::Refused { .. } => {
                Exit::Degraded
            }
            Self::SwitchedOff
            | Self::Denied { .. }
            | Self::Unusable { .. }
            | Self::NotHttp { .. }
            | Self::NotJson(_)
            | Self::Runtime(_) => Exit::Os,
        }
    }
}

/// Whoever asks.
#[derive(Debug)]
pub(super) struct Client {
    /// The places where the socket may be; the first where somebody listens is the one.
    candidates: Vec<PathBuf>,
}

impl Client {
    /// Looks up where the socket is.
    pub(super) fn new(args: &SocketArgs) -> Result<Self, ClientError> {
        let candidates = match &args.socket {
            Some(socket) => vec![socket.clone()],
            None => candidates(args.config.as_deref())?,
        };
        Ok(Self { candidates })
    }

    /// The answer to a question, as it came and as JSON.
    pub(super) async fn get(&self, target: &str) -> Result<(String, Value), ClientError> {
        self.ask(Method::GET, target, Bytes::new(), DEADLINE).await
    }

    /// The answer to a command.
    pub(super) async fn post(&self, target: &str, body: &Value) -> Result<Value, ClientError> {
        self.post_patiently(target, body, DEADLINE).await
    }

    /// The answer to a command that may take so long.
    pub(super) async fn post_patiently(
        &self,
        target: &str,
        body: &Value,
        patience: Duration,
    ) -> Result<Value, ClientError> {
        let body = Bytes::from(body.to_string());
        Ok(self.ask(Method::POST, target, body, patience).await?.1)
    }

    async fn ask(
        &self,
        method: Method,
        target: &str,
        body: Bytes,
        patience: Duration,
    ) -> Result<(String, Value), ClientError> {
        let mut nobody = Vec::new();
        for path in &self.candidates {
            let asked = ask_at(path, method.clone(), target, body.clone());
            match timeout(patience, asked).await {
                Err(_) => return Err(ClientError::TimedOut(path.clone(), patience.as_secs())),
                Ok(Err(ClientError::NotRunning(more))) => nobody.extend(more),
                Ok(answer) => return answer,
            }
        }
        Err(ClientError::NotRunning(nobody))
    }
}

async fn ask_at(
    path: &Path,
    method: Method,
    target: &str,
    body: Bytes,
) -> Result<(String, Value), ClientError> {
    let stream = UnixStream::connect(path)
        .await
        .map_err(|error| not_connected(path, error))?;
    let process = listening(&stream);
    let not_http = |source: hyper::Error| {
        if is_over(&source) {
            return without_answer(process.as_ref());
        }
        ClientError::NotHttp {
            path: path.to_owned(),
            source: source.into(),
        }
    };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(not_http)?;
    // It ends with the answer; what goes wrong is the answer's error.
    tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(target)
        .header(header::HOST, "localhost")
        .header(header::CONNECTION, "close")
        .header(header::CONTENT_TYPE, "application/json")
        // What a page of another origin cannot send.
        .header("x-requested-with", "my-app")
        .body(Full::new(body))
        .map_err(|source| ClientError::NotHttp {
            path: path.to_owned(),
            source: source.into(),
        })?;
    let answer = sender.send_request(request).await.map_err(not_http)?;
    let status = answer.status();
    let body = Limited::new(answer.into_body(), LARGEST_ANSWER)
        .collect()
        .await
        .map_err(|_| without_answer(process.as_ref()))?
        .to_bytes();
    let text = String::from_utf8_lossy(&body).into_owned();
    let value: Option<Value> = serde_json::from_str(&text).ok();
    if status.is_client_error() || status.is_server_error() {
        let words = value.as_ref().and_then(|value| value.get("error"));
        let words = words.and_then(Value::as_str).map(clean);
        let words = words.unwrap_or_else(|| format!("my-app answers {status} to {target}"));
        return Err(ClientError::Refused { status, words });
    }
    let value = value.ok_or_else(|| ClientError::NotJson(path.to_owned()))?;
    Ok((text, value))
}

/// Is the connection over? Closed with a request that nobody has read, it is reset, or cannot be written to.
fn is_over(error: &hyper::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    let system = std::error::Error::source(error).and_then(|it| it.downcast_ref::<io::Error>());
    error.is_incomplete_message()
        || error.is_canceled()
        || error.is_closed()
        || system.is_some_and(|it| matches!(it.kind(), BrokenPipe | ConnectionReset))
}

/// The process that listens there (unix(7), `SO_PEERCRED`); an exec does not change it.
fn listening(stream: &UnixStream) -> Option<OwnedFd> {
    let pid = Pid::from_raw(stream.peer_cred().ok()?.pid()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// The connection is over. A process closes its connections before it has ended.
fn without_answer(process: Option<&OwnedFd>) -> ClientError {
    let Some(process) = process else {
        return ClientError::WentAway;
    };
    let patience = Timespec::try_from(LAST_MOMENT).ok();
    match poll(
        &mut [PollFd::new(process, PollFlags::IN)],
        patience.as_ref(),
    ) {
        Ok(0) => ClientError::Unanswered,
        _ => ClientError::WentAway,
    }
}

fn not_connected(path: &Path, error: io::Error) -> ClientError {
    let path = path.to_owned();
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            ClientError::NotRunning(vec![Nobody::NoSocket(path)])
        }
        io::ErrorKind::ConnectionRefused => ClientError::NotRunning(vec![Nobody::Left(path)]),
        io::ErrorKind::PermissionDenied => denied(path),
        _ => ClientError::Unusable {
            path,
            source: error,
        },
    }
}

/// Whose the socket is, or the folder that it is in, and how to become one of them.
fn denied(path: PathBuf) -> ClientError {
    use std::os::unix::fs::MetadataExt;
    let known = |path: &Path| path.metadata().ok();
    let group = known(&path).or_else(|| path.parent().and_then(known));
    let group = group
        .map(|metadata| metadata.gid())
        .filter(|gid| *gid != 0)
        .and_then(|gid| said("getent", ["group", &gid.to_string()]))
        .and_then(|entry| entry.split(':').next().map(ToOwned::to_owned));
    let user = said("id", ["-un"]).unwrap_or_else(|| "USER".to_owned());
    let (whose, remedy) = match group {
        Some(group) => (
            format!("root and the group {group}"),
            format!("Use sudo, or for good: `sudo usermod -aG {group} {user}`, and log in anew"),
        ),
        None => ("root and its owner".to_owned(), "Use sudo".to_owned()),
    };
    ClientError::Denied {
        path,
        whose,
        remedy,
    }
}

/// The places where the socket of this machine's server may be.
fn candidates(file: Option<&Path>) -> Result<Vec<PathBuf>, ClientError> {
    let (configured, has_file) = match Config::load(file) {
        Ok(loaded) => {
            let has_file = loaded.file.is_some();
            let socket = loaded.config.control.socket;
            if has_file && socket.is_none() {
                return Err(ClientError::SwitchedOff);
            }
            (socket, has_file)
        }
        // The server that runs may have started with a better one.
        Err(error) if file.is_none() => {
            eprintln!("my-app: {error}");
            (None, false)
        }
        Err(error) => return Err(error.into()),
    };
    if file.is_some() {
        return Ok(configured.into_iter().collect());
    }
    // Without a configuration it is run by hand, or is the service whose configuration was removed.
    let by_hand = (!has_file).then(|| runtime_directory().join("control.sock"));
    // The service may have been started before its configuration named another one.
    let standard = Config::default().control.socket;
    let mut candidates = Vec::new();
    for path in configured.into_iter().chain(by_hand).chain(standard) {
        if !candidates.contains(&path) {
            candidates.push(path);
        }
    }
    Ok(candidates)
}

/// What another program prints.
fn said<A: AsRef<OsStr>>(program: &str, args: impl IntoIterator<Item = A>) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}

#[cfg(test)]
mod tests;
