use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use super::*;
use crate::wire::control::{Reason, TransportName};

#[test]
fn names_and_units_are_as_prometheus_wants_them() {
    let mut names = BTreeSet::new();
    for metric in &TABLE {
        let Metric {
            name,
            kind,
            unit,
            help,
            ..
        } = metric;
        assert!(names.insert(name), "{name} stands there twice");
        assert!(name.starts_with("my_app_"), "{name}");
        assert!(
            name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
            "{name}"
        );
        assert_eq!(name.ends_with("_total"), *kind == Kind::Counter, "{name}");
        let bare = name.trim_end_matches("_total");
        assert_eq!(bare.ends_with("_bytes"), *unit == Unit::Bytes, "{name}");
        assert_eq!(bare.ends_with("_seconds"), *unit == Unit::Seconds, "{name}");
        assert!(
            help.ends_with('.') && !help.contains(['\\', '\n']),
            "{name}: {help}"
        );
        let label_fits = metric.label.is_none_or(|(label, values)| {
            let safe = |word: &&str| !word.is_empty() && !word.contains(['"', '\\', '\n']);
            label != "worker" && label != "le" && values.iter().all(|word| safe(&word))
        });
        assert!(label_fits, "{name}");
        if let Kind::Histogram(bounds) = kind {
            assert!(
                metric.label.is_none() && bounds.is_sorted() && *unit == Unit::Seconds,
                "{name}"
            );
        }
    }
}

#[test]
fn reasons_and_transports_are_called_as_everywhere() {
    for reason in Reason::ALL {
        assert_eq!(Reason::VALUES[reason.index()], reason.as_str());
    }
    assert_eq!(Reason::VALUES.len(), Reason::ALL.len());
    for transport in [TransportName::Polling, TransportName::WebSocket] {
        let word = serde_json::to_string(&transport).unwrap();
        assert_eq!(
            word.trim_matches('"'),
            TransportName::VALUES[transport.index()]
        );
    }
}

#[test]
fn the_values_of_a_process_fit_into_one_message() {
    let message = crate::wire::link::ToMaster::Metrics(vec![u64::MAX; LEN]);
    let bytes = postcard::to_stdvec(&message).unwrap().len();
    assert!(bytes < crate::wire::link::MAX_HEAD / 4, "{bytes}");
}

#[test]
fn each_constant_counts_in_its_own_place() {
    let before = values();
    REFUSED.count(Refused::Malformed);
    RESCUED.add(3);
    let changed: Vec<_> = values()
        .iter()
        .zip(&before)
        .enumerate()
        .filter(|(_, (now, before))| now != before)
        .map(|(at, (now, before))| (at, now - before))
        .collect();
    // Other tests may count meanwhile, too.
    assert!(
        changed.contains(&(REFUSED.0 + Refused::Malformed.index(), 1)),
        "{changed:?}"
    );
    assert!(changed.contains(&(RESCUED.0, 3)), "{changed:?}");
    let metric = TABLE
        .iter()
        .find(|metric| metric.name == "my_app_refused_total")
        .unwrap();
    assert_eq!(metric.width(), Refused::VALUES.len());
}

#[test]
fn a_histogram_has_cumulative_buckets_a_sum_and_a_count() {
    let mut all = vec![0; LEN];
    let before = values();
    MASTER_LAG.observe(Duration::from_millis(2));
    MASTER_LAG.observe(Duration::from_millis(3));
    MASTER_LAG.observe(Duration::from_secs(60));
    for (sum, (now, before)) in all.iter_mut().zip(values().iter().zip(&before)) {
        *sum = now - before;
    }
    let text = exposition(&[Sample {
        worker: None,
        values: all,
    }]);
    let lines: Vec<_> = text
        .lines()
        .filter(|line| line.starts_with("my_app_master_event_loop_lag_seconds"))
        .collect();
    let name = "my_app_master_event_loop_lag_seconds";
    assert_eq!(lines[0], format!("{name}_bucket{{le=\"0.002\"}} 1"));
    assert_eq!(lines[1], format!("{name}_bucket{{le=\"0.005\"}} 2"));
    assert_eq!(lines[10], format!("{name}_bucket{{le=\"5\"}} 2"));
    assert_eq!(lines[11], format!("{name}_bucket{{le=\"+Inf\"}} 3"));
    assert_eq!(lines[12], format!("{name}_sum 60.005"));
    assert_eq!(lines[13], format!("{name}_count 3"));
}

#[test]
fn what_workers_have_is_told_for_each_and_the_rest_once() {
    let sample = |worker| Sample {
        worker,
        values: vec![1; LEN],
    };
    let text = exposition(&[sample(Some(0)), sample(Some(7)), sample(None)]);
    for metric in &TABLE {
        let name = metric.name;
        assert_eq!(text.matches(&format!("# HELP {name} ")).count(), 1);
        assert_eq!(text.matches(&format!("# TYPE {name} ")).count(), 1);
        let of_workers = text
            .lines()
            .filter(|line| line.starts_with(name) && line.contains("worker=\""));
        assert_eq!(
            of_workers.count() > 0,
            metric.scope == Scope::Worker,
            "{name}"
        );
    }
    assert!(text.contains("\nmy_app_sessions{worker=\"7\",transport=\"polling\"} 1\n"));
    assert!(text.contains("\nmy_app_handoffs_total{worker=\"0\"} 1\n"));
    assert!(text.contains("\nmy_app_refused_total{reason=\"full\"} 1\n"));
    assert!(text.contains("\nmy_app_panics_total 1\n"));
}

#[test]
fn a_process_rests_when_only_time_goes_on() {
    let before = vec![5; LEN];
    let with = |at: usize| {
        let mut now = before.clone();
        now[at] += 1;
        now
    };
    assert!(rests(&before, &before));
    for at in [
        LAG_SECONDS.0,
        LAG_SECONDS.0 + LAG_SECONDS.width() - 1,
        LAG_LONGEST.0,
        MEMORY.0,
    ] {
        assert!(rests(&before, &with(at)));
    }
    for at in [EVENTS.0, SESSIONS.0, LAG_SECONDS.0 - 1, WAITING.0] {
        assert!(!rests(&before, &with(at)), "{at}");
    }
    assert!(!rests(&[], &before), "nothing was told yet");
}

#[test]
fn every_event_counts_and_one_handler_of_16_is_measured() {
    let counted = || {
        let values = values();
        let buckets = HANDLER_SECONDS.0..HANDLER_SECONDS.0 + HANDLER_SECONDS.width() - 1;
        (values[EVENTS.0], values[buckets].iter().sum::<u64>())
    };
    let before = counted();
    (0..160).for_each(|_| drop(Timer::of_an_event()));
    let after = counted();
    // Other tests may handle events meanwhile, too.
    assert!(after.0 >= before.0 + 160, "{before:?} {after:?}");
    assert!(after.1 >= before.1 + 10, "{before:?} {after:?}");
}

#[tokio::test(start_paused = true)]
async fn the_longest_lag_is_forgotten_after_five_seconds() {
    let mut lag = Lag::new();
    let late = Duration::from_millis(300);
    tokio::time::advance(lag::TICK + late).await;
    lag.tick(&LAG_SECONDS).await;
    assert_eq!(lag.longest(), late);
    for _ in 0..39 {
        lag.tick(&LAG_SECONDS).await;
    }
    assert_eq!(lag.longest(), late);
    lag.tick(&LAG_SECONDS).await;
    assert!(
        lag.longest() < Duration::from_millis(2),
        "{:?}",
        lag.longest()
    );
}

const PAGE: &str = "docs/METRICS.md";
const MANUAL: &str = "debian/my-app.8";

fn kind(metric: &Metric) -> &'static str {
    match metric.kind {
        Kind::Counter => "counter",
        Kind::Gauge => "gauge",
        Kind::Histogram(_) => "histogram",
    }
}

/// What a metric's labels are, each with its values.
fn labels_of(metric: &Metric, quote: &str) -> Vec<String> {
    let worker = (metric.scope == Scope::Worker).then(|| format!("{quote}worker{quote}"));
    let own = metric.label.map(|(name, values)| match name {
        // Which one, the page need not tell.
        "version" => format!("{quote}{name}{quote}"),
        _ => format!("{quote}{name}{quote}: {}", values.join(", ")),
    });
    worker.into_iter().chain(own).collect()
}

/// The table of the page.
fn page_table() -> String {
    let mut text = "| metric | type | labels | what it tells |\n|---|---|---|---|\n".to_owned();
    for metric in &TABLE {
        let labels = labels_of(metric, "`").join("; ");
        let (name, help) = (metric.name, metric.help);
        let _ = writeln!(text, "| `{name}` | {} | {labels} | {help} |", kind(metric));
    }
    text
}

/// The list of the manual.
fn manual_list() -> String {
    let mut text = String::new();
    for metric in &TABLE {
        let Metric { name, help, .. } = metric;
        let labels = labels_of(metric, "");
        let labels = labels.iter().map(|label| format!(" ({label})"));
        let labels: String = labels.collect();
        let _ = writeln!(text, ".TP\n.BR {name} \"{labels}\"\n{help}");
    }
    text
}

/// What stands between the lines that begin and end a generated part is this; with UPDATE_METRICS set, it is from now
/// on.
fn assert_generated(file: &str, (begin, end): (&str, &str), part: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(begin).unwrap();
    let (now, after) = rest.split_once(end).unwrap();
    if std::env::var_os("UPDATE_METRICS").is_some() {
        fs::write(&path, format!("{before}{begin}{part}{end}{after}")).unwrap();
    } else {
        let hint = "UPDATE_METRICS=1 cargo test --lib metrics";
        assert!(now == part, "{file} is not what the table says: {hint}");
    }
}

#[test]
fn the_page_and_the_manual_list_every_metric() {
    let (begin, end) = ("<!-- the table -->\n\n", "\n<!-- its end -->");
    assert_generated(PAGE, (begin, end), &page_table());
    let (begin, end) = (".\\\" The table.\n", ".\\\" Its end.\n");
    assert_generated(MANUAL, (begin, end), &manual_list());
}
