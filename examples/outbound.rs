//! A server whose handler reaches another service over TCP, and says what to do when it may not.
//!
//! ```text
//! cargo run --example outbound
//! socket.emit("fetch", "localhost:7000", "a line", (answer) => …)
//! ```
//!
//! The packaged service has no network: its connections come in through systemd's listeners, and it can
//! open none itself. An application that must asks for it with the drop-in `network.conf`.

use std::io;
use std::net::UdpSocket;
use std::process::ExitCode;
use std::time::Duration;

use my_app::api::{App, ClientAddr, Cluster, Io, Refusal, Responder, Socket};
use serde_json::json;
use socketioxide::extract::Data;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Whoever waits for another service has a deadline.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    my_app::main(App {
        namespaces,
        admit: |_: &http::request::Parts, _: ClientAddr| Ok::<(), Refusal>(()),
        routes: axum::Router::new,
    })
}

fn namespaces(io: &Io, _cluster: &Cluster) {
    io.ns("/", async |socket: Socket| socket.on("fetch", fetch));
}

/// Sends a line to the service at `address`, a name and a port, and acknowledges with its answer.
async fn fetch(Data((address, line)): Data<(String, String)>, ack: Responder) {
    let answer = match timeout(PATIENCE, exchange(&address, &line)).await {
        Ok(Ok(answer)) => json!({ "ok": true, "answer": answer }),
        Ok(Err(error)) => json!({ "ok": false, "error": explained(&error) }),
        Err(_) => json!({ "ok": false, "error": "no answer in time" }),
    };
    // An error means that the client is gone already.
    let _ = ack.send(&answer);
}

async fn exchange(address: &str, line: &str) -> io::Result<String> {
    let mut service = BufReader::new(TcpStream::connect(address).await?);
    service.write_all(format!("{line}\n").as_bytes()).await?;
    let mut answer = String::new();
    service.read_line(&mut answer).await?;
    Ok(answer.trim_end().to_owned())
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
