//! The dashboard and the alerts ask for what there is, and Prometheus understands them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{PROJECT, read};

const DASHBOARD: &str = "monitoring/my-app-dashboard.json";
const ALERTS: &str = "monitoring/my-app-alerts.yml";

/// What Prometheus itself adds to every series, and the bound of a bucket.
const LABELS_OF_ALL: [&str; 3] = ["job", "instance", "le"];

/// The metrics of docs/METRICS.md, which a unit test compares with the program's table: their labels and values.
fn metrics() -> BTreeMap<String, BTreeMap<String, BTreeSet<String>>> {
    let page = read("docs/METRICS.md");
    let rows = page.lines().filter(|line| line.starts_with("| `my_app_"));
    let metrics: BTreeMap<_, _> = rows
        .map(|row| {
            let cells: Vec<_> = row.split('|').map(str::trim).collect();
            let labels = cells[3].split(';').filter(|label| !label.is_empty());
            let labels = labels.map(|label| {
                let (name, values) = label.split_once(':').unwrap_or((label, ""));
                let values = values.split(',').map(|value| value.trim().to_owned());
                (name.trim().trim_matches('`').to_owned(), values.collect())
            });
            (cells[1].trim_matches('`').to_owned(), labels.collect())
        })
        .collect();
    assert!(metrics.len() > 30, "{metrics:?}");
    metrics
}

/// What the panels ask, as Prometheus is sent it.
fn queries_of_the_dashboard() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.filter_map(|panel| panel["targets"].as_array());
    let queries: Vec<_> = targets
        .flatten()
        .map(|target| target["expr"].as_str().unwrap())
        .map(|query| query.replace("$__rate_interval", "5m"))
        .collect();
    assert!(queries.len() > 40, "{queries:?}");
    queries
}

/// The expressions of the rules: on the line of `expr:`, or indented below it.
fn queries_of_the_alerts() -> Vec<String> {
    let alerts = read(ALERTS);
    let parts = alerts.split("        expr: ").skip(1);
    let queries: Vec<_> = parts
        .map(|part| part.strip_prefix("|\n").unwrap_or(part))
        .map(|part| {
            let mut lines = part.lines();
            let first = lines.next().unwrap().trim().to_owned();
            let more = lines.take_while(|line| line.starts_with("          "));
            more.fold(first, |query, line| query + " " + line.trim())
        })
        .collect();
    assert_eq!(queries.len(), alerts.matches("- alert: ").count());
    queries
}

/// The words of a query: names of metrics, labels, functions.
fn words(query: &str) -> impl Iterator<Item = &str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    query.split(move |c| !is_part(c))
}

/// The labels that a query groups by, or selects by with a value of its own.
fn labels(query: &str) -> Vec<(String, Option<String>)> {
    let mut labels = Vec::new();
    for (at, _) in query.match_indices("by (") {
        let inside = query[at + 4..].split(')').next().unwrap();
        labels.extend(inside.split(", ").map(|label| (label.to_owned(), None)));
    }
    for selector in query.split('{').skip(1) {
        let selector = selector.split('}').next().unwrap();
        for matcher in selector.split(',') {
            let (label, value) = matcher.split_once('=').unwrap();
            let value = value.trim_start_matches('~').trim_matches('"');
            let label = label.trim_end_matches('!');
            labels.extend(
                value
                    .split('|')
                    .map(|value| (label.to_owned(), Some(value.to_owned()))),
            );
        }
    }
    labels
}

#[test]
fn dashboard_and_alerts_ask_for_metrics_and_labels_that_there_are() {
    let metrics = metrics();
    let queries = queries_of_the_dashboard().into_iter();
    for query in queries.chain(queries_of_the_alerts()) {
        let names = words(&query).filter(|word| word.starts_with("my_app_"));
        let names: Vec<_> = names
            .map(|name| name.strip_suffix("_bucket").unwrap_or(name))
            .collect();
        assert!(
            !names.is_empty() || query.starts_with("up{"),
            "{query} asks for nothing of ours"
        );
        let mut known = BTreeMap::<&str, BTreeSet<&str>>::new();
        for name in names {
            let labels = metrics.get(name);
            let labels = labels.unwrap_or_else(|| panic!("{query}: there is no {name}"));
            for (label, values) in labels {
                let values = values.iter().map(String::as_str);
                known.entry(label).or_default().extend(values);
            }
        }
        for (label, value) in labels(&query) {
            if LABELS_OF_ALL.contains(&label.as_str()) || label == "version" {
                continue;
            }
            let values = known.get(label.as_str());
            let values = values.unwrap_or_else(|| panic!("{query}: no label {label}"));
            if let Some(value) = value {
                assert!(values.contains(value.as_str()), "{query}: no {value}");
            }
        }
    }
}

#[test]
fn every_alert_has_a_reason_and_something_to_do() {
    let alerts = read(ALERTS);
    let lines: Vec<_> = alerts.lines().map(str::trim).collect();
    for (n, line) in lines.iter().enumerate() {
        if let Some(alert) = line.strip_prefix("- alert: ") {
            assert!(lines[n - 1].starts_with("# "), "{alert} has no reason");
            let next = lines[n + 1..].iter();
            let rule: Vec<_> = next.take_while(|line| !line.is_empty()).collect();
            for part in ["severity: ", "summary: ", "action: "] {
                let has = rule.iter().any(|line| line.starts_with(part));
                assert!(has, "{alert} has no {part}");
            }
        }
    }
}

#[test]
fn panels_have_titles_and_places_of_their_own() {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let mut taken = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let place = ["x", "y", "w", "h"].map(|key| panel["gridPos"][key].as_u64().unwrap());
        let [x, y, w, h] = place;
        assert!(x + w <= 24, "{panel}");
        for cell in (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y))) {
            assert!(taken.insert(cell), "two panels at one place: {panel}");
        }
        let is_row = panel["type"] == "row";
        let describes = |key: &str| panel[key].as_str().is_some_and(|text| !text.is_empty());
        assert!(
            describes("title") && (is_row || describes("description")),
            "{panel}"
        );
    }
}

/// What promtool says, which must be that all is well.
fn promtool(arguments: &[&str], directory: &Path) -> String {
    let output = Command::new("promtool")
        .args(arguments)
        .current_dir(directory)
        .output()
        .expect("promtool is there (`make test-deps` installs it)");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8(said).unwrap();
    assert!(output.status.success(), "{said}");
    said
}

#[test]
fn promtool_finds_nothing_in_the_alerts_and_their_tests_pass() {
    let folder = Path::new(PROJECT).join("monitoring");
    promtool(&["check", "rules", "my-app-alerts.yml"], &folder);
    promtool(&["test", "rules", "my-app-alerts-test.yml"], &folder);
    let tests = read("monitoring/my-app-alerts-test.yml");
    for part in read(ALERTS).split("- alert: ").skip(1) {
        let alert = part.lines().next().unwrap();
        assert!(tests.contains(alert), "{alert} has no test");
    }
}

#[test]
fn prometheus_takes_the_configuration_of_the_page() {
    let page = read("docs/OPERATING.md");
    let (_, block) = page
        .split_once("\n    scrape_configs:\n")
        .expect("it is there");
    let (block, _) = block.split_once("\n\n").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let configuration = format!("    scrape_configs:\n{block}\n");
    std::fs::write(dir.path().join("prometheus.yml"), configuration).unwrap();
    promtool(&["check", "config", "prometheus.yml"], dir.path());
}

#[test]
fn prometheus_understands_every_query_of_the_dashboard() {
    let mut rules = String::from("groups:\n  - name: dashboard\n    rules:\n");
    for (n, query) in queries_of_the_dashboard().iter().enumerate() {
        let query = serde_json::to_string(query).unwrap();
        writeln!(rules, "      - record: query:{n}\n        expr: {query}").unwrap();
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("rules.yml"), rules).unwrap();
    promtool(&["check", "rules", "rules.yml"], dir.path());
}
