use std::fs;
use std::path::Path;

use tracing::{Level, debug, error, info, trace, warn};

use super::queue::LineWriter;
use super::*;
use crate::config::{LogFormat, LogLevel};

/// What the file holds after `events` were logged with `config`.
fn logged(level: LogLevel, format: LogFormat, events: impl FnOnce()) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.log");
    let config = config::Log {
        level,
        format,
        file: Some(path.clone()),
        ..config::Log::default()
    };
    let (guard, layer) = assemble(&config, LogRole::Master).unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, events);
    guard.flush(Duration::from_secs(10));
    assert_eq!(guard.lost(), 0);
    fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

/// A line without its time, which must have its form.
fn untimed(line: &str) -> &str {
    let (time, rest) = line.split_once(' ').unwrap();
    let parsed: jiff::Timestamp = time.parse().unwrap();
    assert_eq!(format!("{parsed:.3}"), time);
    rest
}

#[test]
fn an_event_becomes_one_line_with_its_fields() {
    let lines = logged(LogLevel::Info, LogFormat::Text, || {
        info!("Master {} is running", 437);
        warn!(
            worker = 712,
            reason = "too slow",
            ok = true,
            ratio = 0.5,
            "client left"
        );
        let missing = fs::read("/nonexistent").unwrap_err();
        error!(error = &missing as &dyn std::error::Error, path = ?Path::new("/a b"), "no\nfile");
        info!(only = %"a\nfield");
    });
    assert_eq!(
        lines.iter().map(|line| untimed(line)).collect::<Vec<_>>(),
        [
            "Master 437 is running",
            "WARN client left worker=712 reason=\"too slow\" ok=true ratio=0.5",
            "ERROR no\\nfile error=\"No such file or directory (os error 2)\" path=\"\\\"/a b\\\"\"",
            "only=\"a\\nfield\"",
        ]
    );
}

#[test]
fn json_lines_hold_the_same() {
    let lines = logged(LogLevel::Info, LogFormat::Json, || {
        info!(worker = 712, name = "é", "Worker {} started", 712);
    });
    let line: serde_json::Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(line["level"], "INFO");
    assert_eq!(line["message"], "Worker 712 started");
    assert_eq!((&line["worker"], &line["name"]), (&712.into(), &"é".into()));
}

/// One event of each level from us and from an application's crate.
fn chatter() {
    macro_rules! all {
        ($target:literal) => {
            error!(target: $target, $target);
            warn!(target: $target, $target);
            info!(target: $target, $target);
            debug!(target: $target, $target);
            trace!(target: $target, $target);
        };
    }
    all!("my_app::worker");
    all!("acme_chat::rooms");
}

#[test]
fn a_level_holds_for_us_and_the_application_and_libraries_only_warn() {
    for (level, ours, theirs) in [
        (LogLevel::Off, 0, 0),
        (LogLevel::Error, 1, 1),
        (LogLevel::Warn, 2, 2),
        (LogLevel::Info, 3, 2),
        (LogLevel::Debug, 4, 2),
        (LogLevel::Trace, 5, 5),
    ] {
        let lines = logged(level, LogFormat::Text, chatter);
        let count = |target: &str| lines.iter().filter(|line| line.ends_with(target)).count();
        assert_eq!(
            (count("my_app::worker"), count("acme_chat::rooms")),
            (ours, ours),
            "{level}"
        );
        let of_a_library = layer::limit(layer::filter(level), true);
        let shown = [
            Level::ERROR,
            Level::WARN,
            Level::INFO,
            Level::DEBUG,
            Level::TRACE,
        ]
        .into_iter()
        .filter(|level| *level <= of_a_library);
        assert_eq!(shown.count(), theirs, "{level}");
    }
}

#[test]
fn a_level_may_change_while_the_process_runs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.log");
    let config = config::Log {
        file: Some(path.clone()),
        ..config::Log::default()
    };
    let (guard, layer) = assemble(&config, LogRole::Master).unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || {
        // The same place in the source each time: what `tracing` remembers of it must change.
        for level in [
            LogLevel::Info,
            LogLevel::Debug,
            LogLevel::Off,
            LogLevel::Trace,
            LogLevel::Info,
        ] {
            guard.set_level(level);
            debug!("at {level}");
        }
    });
    guard.flush(Duration::from_secs(10));
    let lines = fs::read_to_string(path).unwrap();
    let lines: Vec<_> = lines.lines().map(untimed).collect();
    assert_eq!(lines, ["DEBUG at debug", "DEBUG at trace"]);
}

#[test]
fn a_log_file_that_cannot_be_opened_does_not_stop_the_start() {
    let config = config::Log {
        file: Some("/nonexistent/app.log".into()),
        ..config::Log::default()
    };
    let (guard, layer) = assemble(&config, LogRole::Worker { slot: 3 }).unwrap();
    let subscriber = tracing_subscriber::registry().with(layer);
    tracing::subscriber::with_default(subscriber, || info!("a line"));
    guard.flush(Duration::from_secs(10));
    assert_eq!(guard.lost(), 1);
}

/// Shows the test its lines, one at a time, and waits for it after each.
struct Stepped(std::sync::mpsc::SyncSender<String>);

impl LineWriter for Stepped {
    fn write_line(&mut self, line: &[u8]) -> bool {
        self.0
            .send(String::from_utf8(line.to_vec()).unwrap())
            .is_ok()
    }
}

#[test]
fn losses_are_told_once_and_not_too_often() {
    let (sender, lines) = std::sync::mpsc::sync_channel(0);
    let terminal = Queue::start("test", 1, LogFormat::Text, Stepped(sender));
    let others = Arc::new(Sinks {
        terminal: Some(terminal),
        journal: None,
    });
    let fanout = Arc::new(Fanout {
        threshold: Arc::new(Threshold::new(layer::filter(LogLevel::Info))),
        others,
        file: None,
    });
    let guard = LogGuard {
        fanout,
        reopen: Arc::default(),
        trouble: Trouble::default(),
        reported: AtomicU64::new(0),
        reports: RateLimit::default(),
    };
    guard.report_losses();
    assert_eq!(guard.lost(), 0);
    for _ in 0..10 {
        guard.fanout.say("a".to_owned());
    }
    let count = guard.lost();
    assert!((8..=9).contains(&count), "{count}");
    // Take what is queued, so that the report finds room.
    for _ in 0..10 - count {
        assert!(lines.recv().unwrap().ends_with("WARN a\n"));
    }
    guard.report_losses();
    guard.fanout.say("b".to_owned());
    guard.report_losses();
    let told = lines.recv().unwrap();
    assert!(
        told.ends_with(&format!("WARN {count} log lines were lost\n")),
        "{told}"
    );
    drop(lines);
}

#[test]
fn one_line_is_told_as_one() {
    assert_eq!(
        (lost(0).as_str(), lost(1).as_str()),
        ("0 log lines were lost", "1 log line was lost")
    );
}
