//! `my-app reload`: the running server goes on with the program and the configuration that are there now.

use std::time::Duration;

use clap::Args;
use http::StatusCode;
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};

use super::Exit;
use super::client::{Client, ClientError, SocketArgs};
use super::text::{counted, list, number, print, text};

/// How long a reload may take, those included that were asked for before. Each step of the server has a shorter
/// time of its own.
const PATIENCE: Duration = Duration::from_mins(10);

/// What is said of a server of a version before there was a reload.
const KNOWS_NO_RELOAD: &str = "not reloaded: the server that runs is of a version that knows no reload: \
    'systemctl restart my-app.service' starts the new one";

/// What is said when there is no answer.
const WENT_AWAY: &str =
    "the server ended while it was reloaded; the journal tells why, and systemd starts it again";

/// The options of `my-app reload`.
#[derive(Args, Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReloadArgs {
    #[command(flatten)]
    pub at: SocketArgs,
}

/// Has the server reload, and tells what has changed.
pub(super) async fn reload(args: &ReloadArgs) -> Result<Exit, ClientError> {
    let client = Client::new(&args.at)?;
    // Sent to all processes of the unit, they are for the server; whoever only asks it would be ended by them.
    let _unheard = [SignalKind::hangup(), SignalKind::user_defined1()].map(signal);
    let answer = match client.post_patiently("/reload", &json!({}), PATIENCE).await {
        Err(ClientError::Refused { status, .. }) if status == StatusCode::NOT_FOUND => {
            let words = KNOWS_NO_RELOAD.to_owned();
            return Err(ClientError::Refused { status, words });
        }
        Err(ClientError::WentAway) => {
            return Err(ClientError::Refused {
                status: StatusCode::SERVICE_UNAVAILABLE,
                words: WENT_AWAY.to_owned(),
            });
        }
        answer => answer?,
    };
    print(&format!("{}\n", reloaded(&answer)));
    Ok(Exit::Ok)
}

fn reloaded(answer: &Value) -> String {
    let told = |pointer| text(answer, pointer).unwrap_or_default();
    let (before, version) = (told("/version_before"), told("/version"));
    let version = if before == version {
        format!("version {version} as before")
    } else {
        format!("version {before} → {version}")
    };
    let pause = number(answer, "/pause_ms");
    let pause = pause.map_or_else(String::new, |ms| format!(" after a pause of {ms:.1} ms"));
    let count = |pointer| number(answer, pointer).unwrap_or_default();
    let workers = counted(count("/workers"), "worker");
    let changed = list(answer, "/changed").iter().filter_map(Value::as_str);
    let changed = changed
        .map(super::text::clean)
        .collect::<Vec<_>>()
        .join(", ");
    let mut remarks = String::new();
    for remark in list(answer, "/remarks").iter().filter_map(Value::as_str) {
        remarks.push_str("; ");
        remarks.push_str(&super::text::clean(remark));
    }
    if answer.pointer("/new_workers") == Some(&Value::Bool(false)) {
        return format!(
            "reloaded: {workers} and their sessions go on{pause}; changed: {changed}{remarks}"
        );
    }
    let drain = Duration::try_from_secs_f64(count("/drain_seconds")).unwrap_or_default();
    let old = match (count("/sessions_before"), drain) {
        (0.0, _) => "the old ones had no sessions".to_owned(),
        (sessions, Duration::ZERO) => {
            format!(
                "the old ones end their {} now",
                counted(sessions, "session")
            )
        }
        (sessions, drain) => format!(
            "the old ones end their {} within {}",
            counted(sessions, "session"),
            humantime::format_duration(drain)
        ),
    };
    let generation = count("/generation");
    let changed = match &*changed {
        "" => String::new(),
        keys => format!("; changed: {keys}"),
    };
    format!(
        "reloaded: {version}{pause}, generation {generation}, {workers}; {old}{changed}{remarks}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_is_told_in_a_line() {
        let answer = json!({
            "version_before": "1.0.0", "version": "1.1.0", "pause_ms": 4.123, "generation": 2, "workers": 2,
            "sessions_before": 12, "drain_seconds": 30.0, "remarks": [],
        });
        assert_eq!(
            reloaded(&answer),
            "reloaded: version 1.0.0 → 1.1.0 after a pause of 4.1 ms, generation 2, 2 workers; the old ones end their 12 \
             sessions within 30s"
        );
        let answer = json!({
            "version_before": "1.0.0", "version": "1.0.0", "generation": 3, "workers": 1,
            "changed": ["workers"], "new_workers": true,
            "sessions_before": 0, "drain_seconds": 0.0, "remarks": ["1 of 2 workers is not ready"],
        });
        assert_eq!(
            reloaded(&answer),
            "reloaded: version 1.0.0 as before, generation 3, 1 worker; the old ones had no sessions; \
             changed: workers; 1 of 2 workers is not ready"
        );
        let answer = json!({
            "version_before": "1.0.0", "version": "1.0.0", "generation": 3, "workers": 2,
            "pause_ms": 4.123, "changed": ["drain", "log.level"], "new_workers": false,
            "sessions_before": 0, "drain_seconds": 0.0, "remarks": [],
        });
        assert_eq!(
            reloaded(&answer),
            "reloaded: 2 workers and their sessions go on after a pause of 4.1 ms; changed: drain, log.level"
        );
    }
}
