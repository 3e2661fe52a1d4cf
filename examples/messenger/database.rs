//! The database, over TCP. A stand-in: a question is a line of JSON, and so is its answer.
//!
//! A real one has a crate (`tokio-postgres`, `sqlx`, `redis`) that does what is private here; the rest of the application
//! knows the three questions only.

use std::env;
use std::io;
use std::net::UdpSocket;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::warn;

/// Each worker has its own, and so its own connections.
pub(crate) static DATABASE: LazyLock<Database> = LazyLock::new(|| Database {
    address: env::var("DATABASE").unwrap_or_else(|_| "127.0.0.1:7000".to_owned()),
    idle: Mutex::default(),
    turns: Semaphore::new(CONNECTIONS),
});

/// Connections of a worker at one time. Who finds all in use waits for a turn.
const CONNECTIONS: usize = 8;

/// Messages of a history, at most.
const HISTORY: usize = 100;

/// Less than the ten seconds that `admit` has: then it can say itself what is wrong.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    /// Why, the log says: clients need not know.
    #[error("the database is away, try again later")]
    Away,
    #[error("the database takes too long, try again later")]
    Late,
}

/// Whose token it is, and until when it is good.
#[derive(Debug, Deserialize)]
pub(crate) struct Login {
    pub(crate) user: String,
    /// In seconds since 1970, as tokens have it.
    expires_at: u64,
}

impl Login {
    /// None, if it is beyond what a clock can show.
    pub(crate) fn until(&self) -> Option<SystemTime> {
        SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(self.expires_at))
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Message {
    pub(crate) id: u64,
    from: String,
    to: String,
    text: String,
}

pub(crate) struct Database {
    address: String,
    idle: Mutex<Vec<Connection>>,
    turns: Semaphore,
}

type Connection = BufReader<TcpStream>;

impl Database {
    pub(crate) async fn login(&self, token: &str) -> Result<Option<Login>, DatabaseError> {
        self.ask(&json!({ "ask": "login", "token": token })).await
    }

    pub(crate) async fn store(
        &self,
        from: &str,
        to: &str,
        text: &str,
    ) -> Result<Message, DatabaseError> {
        let question = json!({ "ask": "store", "from": from, "to": to, "text": text });
        self.ask(&question).await
    }

    /// The newest of what two users said to each other, oldest first.
    pub(crate) async fn history(
        &self,
        one: &str,
        other: &str,
    ) -> Result<Vec<Message>, DatabaseError> {
        let question = json!({ "ask": "history", "between": [one, other], "newest": HISTORY });
        self.ask(&question).await
    }

    async fn ask<T: DeserializeOwned>(&self, question: &Value) -> Result<T, DatabaseError> {
        let answered = timeout(PATIENCE, self.exchange(question)).await;
        let answer = answered.map_err(|_| {
            warn!(database = self.address, "the database takes too long");
            DatabaseError::Late
        })?;
        let read = answer.and_then(|answer| Ok(serde_json::from_str(&answer)?));
        read.map_err(|error| {
            let error = explained(&error);
            warn!(database = self.address, error, "the database is away");
            DatabaseError::Away
        })
    }

    async fn exchange(&self, question: &Value) -> io::Result<String> {
        let _turn = self.turns.acquire().await.map_err(io::Error::other)?;
        let mut connection = match self.idle() {
            Some(connection) => connection,
            None => BufReader::new(TcpStream::connect(&self.address).await?),
        };
        let question = format!("{question}\n");
        connection.write_all(question.as_bytes()).await?;
        let mut answer = String::new();
        if connection.read_line(&mut answer).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // Only now: a connection whose answer nobody waited for would give it to the next question.
        self.kept().push(connection);
        Ok(answer)
    }

    /// A connection that still is one, and on which nothing came that nobody asked for: the database may have been
    /// started anew, or have said too much.
    fn idle(&self) -> Option<Connection> {
        loop {
            let connection = self.kept().pop()?;
            let nothing_more = connection.buffer().is_empty();
            match connection.get_ref().try_read(&mut [0]) {
                Err(error) if nothing_more && error.kind() == io::ErrorKind::WouldBlock => {
                    return Some(connection);
                }
                _ => {}
            }
        }
    }

    fn kept(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error of the network, and what the operator can do if there is no network. A name that could not
/// be resolved does not tell why; whether any network socket can be had does.
fn explained(error: &io::Error) -> String {
    match UdpSocket::bind("0.0.0.0:0") {
        Ok(_) => error.to_string(),
        Err(refused) => format!(
            "{error}; this service may open no network socket ({refused}): \
             see /usr/share/doc/my-app/examples/network.conf"
        ),
    }
}
