//! `my-app why`: what became of a client's sessions, in sentences.

use std::time::SystemTime;

use clap::Args;
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use super::Exit;
use super::client::{Client, ClientError, SocketArgs};
use super::text::{
    Style, Tone, clean, counted, list, number, or_dash, paragraph, print, size, span, text, whole,
};

/// How wide the text is.
const WIDTH: usize = 80;
/// How many sessions are told one by one, of those that are open and of those that have ended.
const OPEN_SHOWN: usize = 3;
const ENDS_SHOWN: usize = 20;

/// The options of `my-app why`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WhyArgs {
    /// A socket id, as logs and handlers show it, or a client's IP address
    #[arg(value_name = "SOCKET-ID|ADDRESS")]
    pub of: String,

    /// Print what the server says as JSON
    #[arg(long)]
    pub json: bool,

    #[command(flatten)]
    pub at: SocketArgs,
}

/// Each reason, and what happened. The words are those of docs/CONTROL.md.
const REASONS: [(&str, &str); 13] = [
    ("client-left", "the client closed it"),
    (
        "transport-closed",
        "its connection ended without a word: the client's machine, its network or a proxy dropped it",
    ),
    (
        "ping-timeout",
        "the client did not answer a ping within ping_timeout: it sleeps, hangs, or its network is gone",
    ),
    (
        "write-stall",
        "the client took nothing of what it was sent for write_stall_timeout",
    ),
    (
        "memory",
        "its worker's memory was full (limits.worker_memory), and this client had much of it: it read slowly, or sent half of something",
    ),
    (
        "too-large",
        "the client sent a message that is larger than engine.max_payload",
    ),
    (
        "protocol-error",
        "the client broke the protocol, or sent two polls or two posts at once",
    ),
    (
        "connect-timeout",
        "the client joined no namespace within engine.connect_timeout",
    ),
    ("application", "it was disconnected by the server's side"),
    (
        "until",
        "the time for which the application had let it in was over",
    ),
    (
        "drain",
        "this machine is taken out, or the server was reloaded; the client was to come back",
    ),
    ("stopped", "the server stopped; the client was to come back"),
    ("worker-gone", "its worker's process ended"),
];

/// Whose doing it was.
fn whose(by: &str) -> String {
    match by {
        "client" => "The client's doing".to_owned(),
        "network" => "The network's doing".to_owned(),
        "application" => "The application's doing".to_owned(),
        "operator" => "An operator's doing".to_owned(),
        "server" => "The server's own doing".to_owned(),
        other => format!("Whose doing: {other}"),
    }
}

/// Tells what is known.
pub(super) async fn why(args: &WhyArgs) -> Result<Exit, ClientError> {
    let client = Client::new(&args.at)?;
    let of = utf8_percent_encode(&args.of, NON_ALPHANUMERIC);
    let (answer, ends) = client.get(&format!("/why?of={of}")).await?;
    let found = !list(&ends, "/ends").is_empty();
    let exit = if found { Exit::Ok } else { Exit::Degraded };
    if args.json {
        print(&format!("{}\n", answer.trim_end()));
        return Ok(exit);
    }
    let now = Timestamp::try_from(SystemTime::now()).unwrap_or_default();
    let style = Style::of_stdout();
    let live = live(&client, &args.of).await;
    print(&(open(&live, style) + &ended(&args.of, &ends, &live, now, style)));
    Ok(if list(&live, "/sessions").is_empty() {
        exit
    } else {
        Exit::Ok
    })
}

/// The sessions that have not ended. Who cannot be asked for them does not matter: ends were asked for.
async fn live(client: &Client, of: &str) -> Value {
    let is_address = of.parse::<std::net::IpAddr>().is_ok();
    let key = if is_address { "address" } else { "id" };
    let of = utf8_percent_encode(of, NON_ALPHANUMERIC);
    let found = client.get(&format!("/search?{key}={of}")).await;
    found.map(|(_, found)| found).unwrap_or_default()
}

/// Sentences about sessions that are open.
fn open(live: &Value, style: Style) -> String {
    let sessions = list(live, "/sessions");
    let told = sessions.iter().take(OPEN_SHOWN).map(|session| {
        let id = or_dash(text(session, "/socket_id"), |id| id);
        let open = or_dash(number(session, "/open_seconds"), span);
        let open = paragraph("", 0, &format!("{id}: open for {open}"), usize::MAX);
        let open = open.replacen("open for", &style.paint(Tone::Good, "open for"), 1);
        let told = format!("{}. {}", place(session, "It is"), traffic(session));
        format!("{open}{}", paragraph("", 2, &told, WIDTH))
    });
    let mut told: String = told.collect();
    let others = sessions.len().saturating_sub(OPEN_SHOWN);
    if others > 0 {
        let least = if has_more(live) { "at least " } else { "" };
        told += &paragraph("", 0, &format!("{least}{others} more are open"), WIDTH);
    }
    told
}

/// Does the server know more than it told?
fn has_more(answer: &Value) -> bool {
    answer.get("more") == Some(&Value::Bool(true))
}

/// Sentences about those that have ended.
fn ended(of: &str, ends: &Value, live: &Value, now: Timestamp, style: Style) -> String {
    let of = clean(of);
    let known = list(ends, "/ends");
    let since = text(ends, "/known_since");
    if known.is_empty() {
        let is_open = !list(live, "/sessions").is_empty();
        let others = if is_open { " other" } else { "" };
        let since = since.map_or_else(
            || "no session has ended yet".to_owned(),
            |since| format!("the oldest end that is known was at {since}"),
        );
        let told = format!(
            "No{others} end of a session of {of} is known: {since}. The last 10000 ends of this \
             machine are remembered, until the server stops."
        );
        return paragraph("", 0, &told, WIDTH);
    }
    let shown = known.iter().take(ENDS_SHOWN);
    let mut told: String = shown.map(|end| one(end, now, style)).collect();
    if known.len() > ENDS_SHOWN {
        told += "Older ones are known, too: --json tells a hundred.\n";
    } else if has_more(ends) {
        told += "Older ones are known, too.\n";
    }
    told
}

fn one(end: &Value, now: Timestamp, style: Style) -> String {
    let at = or_dash(text(end, "/at"), |at| at);
    let ago = at.parse::<Timestamp>().ok();
    let ago = ago.map_or_else(String::new, |at| {
        let seconds = (now.as_millisecond() - at.as_millisecond()).max(0);
        #[expect(clippy::cast_precision_loss, reason = "it is told in two digits")]
        let seconds = seconds as f64 / 1000.0;
        format!(", {} ago", span(seconds))
    });
    let reason = or_dash(text(end, "/reason"), |reason| reason);
    let meaning = REASONS.iter().find(|(word, _)| *word == reason);
    let meaning = meaning.map_or("", |(_, meaning)| *meaning);
    let by = or_dash(text(end, "/by"), |by| by);
    let (who, told) = if let Some(id) = text(end, "/socket_id") {
        let lived = or_dash(number(end, "/lived_seconds"), span);
        let place = place(end, "It was");
        (id, format!("{place}, and lived {lived}. {}", traffic(end)))
    } else {
        // A worker that was killed told nobody whom it had.
        let sessions = number(end, "/sessions").unwrap_or(1.0);
        let worker = worker(end);
        let told = format!(
            "{worker} was killed. Which sessions it had is not known: this one may be among them."
        );
        (counted(sessions, "session"), told)
    };
    let headline = paragraph("", 0, &format!("{who}: {reason} at {at}{ago}"), usize::MAX);
    let why = format!("{}: {meaning}.", whose(&by)).replace(": .", ".");
    [
        headline.replacen(&reason, &style.paint(Tone::Heading, &reason), 1),
        paragraph("", 2, &why, WIDTH),
        paragraph("", 2, &told, WIDTH),
    ]
    .concat()
}

/// Where a session is or was.
fn place(session: &Value, verb: &str) -> String {
    let transport = or_dash(text(session, "/transport"), |it| it);
    let address = text(session, "/address");
    let address = address.map_or_else(String::new, |address| format!(" from {address}"));
    format!(
        "{verb} a {transport} session{address} at {}",
        worker(session).to_lowercase()
    )
}

fn worker(session: &Value) -> String {
    let get = |pointer| or_dash(number(session, pointer), whole);
    format!(
        "Worker {} (pid {})",
        get("/worker/slot"),
        get("/worker/pid")
    )
}

/// What went over it.
fn traffic(session: &Value) -> String {
    let get = |pointer| number(session, pointer);
    let way = |messages, bytes| {
        let messages = or_dash(get(messages), |it| counted(it, "message"));
        let bytes = or_dash(get(bytes), size);
        format!("{messages} ({bytes})")
    };
    format!(
        "The client sent {}, and was sent {}.",
        way("/messages_in", "/bytes_in"),
        way("/messages_out", "/bytes_out")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::wire::control::Reason;

    fn now() -> Timestamp {
        "2026-11-27T03:05:00Z".parse().unwrap()
    }

    #[test]
    fn every_reason_has_its_sentence() {
        let words = REASONS.map(|(word, _)| word);
        assert_eq!(words, Reason::ALL.map(Reason::as_str));
    }

    #[test]
    fn an_end_is_told_in_sentences() {
        let ends = json!({"ends": [{
            "at": "2026-11-27T03:00:00.123Z", "socket_id": "dHQtbGV0IG1lIGlu", "sessions": 1,
            "address": "192.0.2.7", "worker": {"slot": 0, "pid": 712}, "transport": "websocket",
            "lived_seconds": 83.5, "bytes_in": 10, "bytes_out": 2048, "messages_in": 1, "messages_out": 2,
            "reason": "ping-timeout", "by": "network"
        }], "more": true, "known_since": "2026-11-27T02:00:00Z"});
        let told = ended("192.0.2.7", &ends, &Value::Null, now(), Style::Plain);
        assert_eq!(
            told,
            "\
dHQtbGV0IG1lIGlu: ping-timeout at 2026-11-27T03:00:00.123Z, 5 min ago
  The network's doing: the client did not answer a ping within ping_timeout: it
  sleeps, hangs, or its network is gone.
  It was a websocket session from 192.0.2.7 at worker 0 (pid 712), and lived
  1 min 24 s. The client sent 1 message (10 bytes), and was sent 2 messages
  (2.0 KiB).
Older ones are known, too.
"
        );
    }

    #[test]
    fn of_a_killed_worker_only_the_number_of_sessions_is_known() {
        let ends = json!({"ends": [{
            "at": "2026-11-27T03:00:00Z", "socket_id": null, "sessions": 40, "address": null,
            "worker": {"slot": 1, "pid": 713}, "reason": "worker-gone", "by": "server"
        }]});
        let told = ended("x", &ends, &Value::Null, now(), Style::Plain);
        assert_eq!(
            told,
            "\
40 sessions: worker-gone at 2026-11-27T03:00:00Z, 5 min ago
  The server's own doing: its worker's process ended.
  Worker 1 (pid 713) was killed. Which sessions it had is not known: this one
  may be among them.
"
        );
    }

    #[test]
    fn what_a_server_of_another_version_says_is_told_as_far_as_it_goes() {
        let ends = json!({"ends": [{"reason": "eaten", "socket_id": "a", "colour": "red"}]});
        let told = ended("a", &ends, &Value::Null, now(), Style::Plain);
        assert!(
            told.starts_with("a: eaten at -\n  Whose doing: -.\n"),
            "{told}"
        );
    }

    #[test]
    fn who_is_not_known_may_be_open() {
        let nothing = json!({"ends": [], "more": false, "known_since": null});
        let told = ended("a", &nothing, &Value::Null, now(), Style::Plain);
        assert!(
            told.starts_with("No end of a session of a is known: no session has ended"),
            "{told}"
        );
        let live = json!({"sessions": [{
            "socket_id": "a", "address": "192.0.2.7", "worker": {"slot": 0, "pid": 712},
            "transport": "polling", "open_seconds": 3.5, "bytes_in": 0, "bytes_out": 1,
            "messages_in": 0, "messages_out": 1
        }]});
        assert_eq!(
            open(&live, Style::Plain),
            "\
a: open for 3.5 s
  It is a polling session from 192.0.2.7 at worker 0 (pid 712). The client sent
  0 messages (0 bytes), and was sent 1 message (1 byte).
"
        );
        assert!(ended("a", &nothing, &live, now(), Style::Plain).starts_with("No other end"));
    }

    #[test]
    fn many_sessions_are_not_all_told() {
        let session = json!({"socket_id": "a"});
        let live = json!({"sessions": vec![&session; 100], "more": true});
        let told = open(&live, Style::Plain);
        assert!(told.ends_with("at least 97 more are open\n"), "{told}");
        assert_eq!(told.matches("a: open").count(), OPEN_SHOWN);
        let ends = json!({"ends": vec![&session; 50], "more": false});
        let told = ended("a", &ends, &live, now(), Style::Plain);
        assert_eq!(told.matches("a: - at -").count(), ENDS_SHOWN);
        assert!(told.ends_with("--json tells a hundred.\n"), "{told}");
    }
}
