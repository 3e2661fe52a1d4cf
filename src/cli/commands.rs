//! `my-app emit`, `log` and `drain`: what an operator tells the running server.

use std::time::Duration;

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};
use thiserror::Error;

use super::Exit;
use super::client::{Client, ClientError, SocketArgs};
use super::text::{clean, counted, number, print};

/// What `my-app log` takes for a level; `reopen` is none.
const LOG_WORDS: [&str; 7] = ["reopen", "off", "error", "warn", "info", "debug", "trace"];

/// The options of `my-app emit`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct EmitArgs {
    /// To the sockets of this namespace
    #[arg(long, value_name = "N", default_value = "/")]
    pub namespace: String,

    /// Only to those in this room; may be given more than once
    #[arg(long, value_name = "R")]
    pub room: Vec<String>,

    /// The event's name
    #[arg(value_name = "EVENT")]
    pub event: String,

    /// Its arguments, each as JSON: 1, true, '"text"', '{"a": [1]}'
    #[arg(value_name = "JSON", value_parser = json, allow_negative_numbers = true)]
    pub args: Vec<Value>,

    #[command(flatten)]
    pub at: SocketArgs,
}

/// The options of `my-app log`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogArgs {
    /// The level to log at until the server ends; reopen: open the log file again
    #[arg(value_name = "LEVEL|reopen", value_parser = PossibleValuesParser::new(LOG_WORDS))]
    pub level: String,

    /// Only for this time, such as 5m
    #[arg(long = "for", value_name = "TIME", value_parser = time)]
    pub time: Option<Duration>,

    #[command(flatten)]
    pub at: SocketArgs,
}

/// The options of `my-app drain`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
#[group(id = "way", required = true, args = ["over", "undo"])]
pub(crate) struct DrainArgs {
    /// End the sessions spread over this time, such as 5m
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "undo")]
    pub over: Option<Duration>,

    /// Put this machine back into service
    #[arg(long)]
    pub undo: bool,

    #[command(flatten)]
    pub at: SocketArgs,
}

/// A word of the command line that is not what it should be.
#[derive(Debug, Error)]
enum WordError {
    #[error("no JSON ({0}). A text needs quotes of its own, inside those of the shell: '\"{1}\"'")]
    Json(serde_json::Error, String),
    #[error("write a number with a unit, such as 30s, 5m or 1h30m")]
    Time,
    #[error("write at least a second")]
    TooShort,
}

fn json(word: &str) -> Result<Value, WordError> {
    let quoted = || word.replace('\\', "\\\\").replace('"', "\\\"");
    serde_json::from_str(word).map_err(|error| WordError::Json(error, quoted()))
}

fn time(word: &str) -> Result<Duration, WordError> {
    let time = humantime::parse_duration(word).map_err(|_| WordError::Time)?;
    if time < Duration::from_secs(1) {
        return Err(WordError::TooShort);
    }
    Ok(time)
}

/// Emits to this machine's clients.
pub(super) async fn emit(args: &EmitArgs) -> Result<Exit, ClientError> {
    let client = Client::new(&args.at)?;
    let answer = client.post("/emit", &event(args)).await?;
    let workers = number(&answer, "/workers");
    print(&format!("{}\n", emitted(workers)));
    // Nobody got it.
    Ok(match workers {
        Some(0.0) => Exit::Degraded,
        _ => Exit::Ok,
    })
}

fn event(args: &EmitArgs) -> Value {
    let EmitArgs {
        namespace,
        room,
        event,
        args,
        ..
    } = args;
    // As in `io.of("chat")`.
    let slash = if namespace.starts_with('/') { "" } else { "/" };
    json!({"namespace": format!("{slash}{namespace}"), "rooms": room, "event": event, "args": args})
}

fn emitted(workers: Option<f64>) -> String {
    match workers {
        Some(0.0) => "no worker took it: none is running, or none has this namespace".to_owned(),
        Some(workers) => format!("{} took it", counted(workers, "worker")),
        None => "the server took it".to_owned(),
    }
}

/// Changes the log's level, or has its file opened anew.
pub(super) async fn log(args: &LogArgs) -> Result<Exit, ClientError> {
    let client = Client::new(&args.at)?;
    client.post("/log", &log_command(args)).await?;
    print(&format!("{}\n", logged(args)));
    Ok(Exit::Ok)
}

fn log_command(args: &LogArgs) -> Value {
    match (args.level.as_str(), args.time) {
        ("reopen", _) => json!({"reopen": true}),
        (level, Some(time)) => json!({"level": level, "for_seconds": time.as_secs()}),
        (level, None) => json!({"level": level}),
    }
}

fn logged(args: &LogArgs) -> String {
    let level = clean(&args.level);
    match args.time {
        _ if level == "reopen" => "the log file is opened anew".to_owned(),
        Some(time) => {
            let time = humantime::format_duration(time);
            format!("the log has level {level} for {time}")
        }
        None => format!("the log has level {level} until the server ends, or another is set"),
    }
}

/// Takes this machine out, or back.
pub(super) async fn drain(args: &DrainArgs) -> Result<Exit, ClientError> {
    let client = Client::new(&args.at)?;
    let (body, words) = match args.over {
        Some(over) => (
            json!({"over_seconds": over.as_secs()}),
            format!(
                "taken out: /readyz answers 503, and the sessions end within {}; `my-app drain --undo` \
                 takes this machine back",
                humantime::format_duration(over)
            ),
        ),
        None => (
            json!({"undo": true}),
            "taken back: /readyz answers 200".to_owned(),
        ),
    };
    client.post("/drain", &body).await?;
    print(&format!("{words}\n"));
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_is_no_json_is_told_how_to_quote_it() {
        for right in ["1", "true", "\"a\"", "{\"a\": [1]}", "null", "-5"] {
            assert!(json(right).is_ok(), "{right}");
        }
        let error = json("hello").unwrap_err().to_string();
        assert!(error.ends_with("'\"hello\"'"), "{error}");
        let error = json("a \"b\"").unwrap_err().to_string();
        assert!(error.ends_with(r#"'"a \"b\""'"#), "{error}");
    }

    #[test]
    fn an_event_is_what_the_line_says() {
        let args = EmitArgs {
            namespace: "chat".to_owned(),
            room: vec!["a".to_owned(), "b".to_owned()],
            event: "news".to_owned(),
            args: vec![json!(1), json!("x")],
            at: SocketArgs::default(),
        };
        let body =
            json!({"namespace": "/chat", "rooms": ["a", "b"], "event": "news", "args": [1, "x"]});
        assert_eq!(event(&args), body);
        assert_eq!(emitted(Some(1.0)), "1 worker took it");
        assert!(emitted(Some(0.0)).starts_with("no worker"));
        assert_eq!(emitted(None), "the server took it");
    }

    #[test]
    fn a_level_holds_for_its_time() {
        let args = |level: &str, time: Option<u64>| LogArgs {
            level: level.to_owned(),
            time: time.map(Duration::from_secs),
            at: SocketArgs::default(),
        };
        let five = args("debug", Some(300));
        assert_eq!(
            log_command(&five),
            json!({"level": "debug", "for_seconds": 300})
        );
        assert_eq!(logged(&five), "the log has level debug for 5m");
        assert_eq!(log_command(&args("info", None)), json!({"level": "info"}));
        let reopen = args("reopen", None);
        assert_eq!(log_command(&reopen), json!({"reopen": true}));
        assert_eq!(logged(&reopen), "the log file is opened anew");
    }

    #[test]
    fn times_have_units_and_are_not_too_short() {
        assert_eq!(time("5m").unwrap(), Duration::from_mins(5));
        for wrong in ["5", "soon", "", "0s", "100ms"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
