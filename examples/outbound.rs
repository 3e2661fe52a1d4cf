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

use my_app::api::{App, ClientAddr, Cluster, Io, Responder, Socket};
use serde_json::json;
use socketioxide::extract::Data;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tracing::warn;

/// Whoever waits for another service has a deadline.
const PATIENCE: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    my_app::main(App {
        namespaces,
        ..my_app::app::APP
    })
}

fn namespaces(io: &Io, _cluster: &Cluster) {
    io.ns("/", async |socket: Socket| socket.on("fetch", fetch));
}

/// Sends a line to the service at `address`, a name and a port, and acknowledges with its answer.
async fn fetch(socket: Socket, Data((address, line)): Data<(String, String)>, ack: Responder) {
    let answered = match timeout(PATIENCE, exchange(&address, &line)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(explained(&error)),
        Err(_) => Err("no answer in time".to_owned()),
    };
    let answer = match answered {
        Ok(answer) => json!({ "ok": true, "answer": answer }),
        Err(error) => {
            // Fields of the journal: `journalctl -u my-app MY_APP_SOCKET_ID=…`.
            let client = socket.req_parts().extensions.get::<ClientAddr>().copied();
            let client_addr = client.unwrap_or(ClientAddr(None));
            warn!(socket_id = %socket.id, %client_addr, address, error, "a service was not reached");
            json!({ "ok": false, "error": error })
        }
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
