//! `my-app status`: the running server at a glance, once or again and again.

mod render;
mod terminal;
mod watch;

use clap::Args;
use serde_json::{Value, json};

use super::Exit;
use super::client::{Client, ClientError, SocketArgs};
use super::text::{Style, print};

/// How wide the text is where nobody says how wide the terminal is.
const WIDTH: usize = 80;

/// The options of `my-app status`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StatusArgs {
    /// Print what the server says as JSON; with --watch a line each second
    #[arg(long)]
    pub json: bool,

    /// Redraw every second, until q or Ctrl-C
    #[arg(long)]
    pub watch: bool,

    #[command(flatten)]
    pub at: SocketArgs,
}

/// Shows the status.
pub(super) async fn status(args: &StatusArgs) -> Result<Exit, ClientError> {
    let client = Client::new(&args.at)?;
    if args.watch {
        return watch::watch(&client, args.json).await;
    }
    let answer = client.get("/status").await;
    if args.json {
        return Ok(print_json(answer));
    }
    let (_, status) = answer?;
    print(&render::status(&status, Style::of_stdout(), WIDTH));
    Ok(exit_of(&status))
}

/// The exit code for a state.
fn exit_of(status: &Value) -> Exit {
    match status.get("state").and_then(Value::as_str) {
        Some("healthy") => Exit::Ok,
        _ => Exit::Degraded,
    }
}

/// The server's own JSON; without an answer JSON that says so, for whoever reads only that.
fn print_json(answer: Result<(String, Value), ClientError>) -> Exit {
    match answer {
        Ok((text, status)) => {
            print(&format!("{}\n", text.trim_end()));
            exit_of(&status)
        }
        Err(error) => {
            print(&format!("{}\n", unanswered(&error)));
            error.exit()
        }
    }
}

/// What stands in the place of a status.
fn unanswered(error: &ClientError) -> Value {
    let state = match error.exit() {
        Exit::NotRunning => "not-running",
        _ => "unknown",
    };
    json!({"state": state, "reasons": [error.to_string()]})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_says_the_state() {
        for (state, exit) in [
            ("healthy", Exit::Ok),
            ("degraded", Exit::Degraded),
            ("starting", Exit::Degraded),
            ("something new", Exit::Degraded),
        ] {
            assert_eq!(exit_of(&json!({"state": state})), exit);
        }
        assert_eq!(exit_of(&json!({})), Exit::Degraded);
    }

    #[test]
    fn without_an_answer_the_json_says_why() {
        let stopped = unanswered(&ClientError::NotRunning(Vec::new()));
        assert_eq!(stopped["state"], "not-running");
        assert!(
            stopped["reasons"][0]
                .as_str()
                .unwrap()
                .contains("systemctl start")
        );
        assert_eq!(unanswered(&ClientError::WentAway)["state"], "unknown");
    }
}
