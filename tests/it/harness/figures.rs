//! What the server tells of itself in Prometheus' format.

use std::collections::{BTreeMap, BTreeSet};

use super::{SOON, Server, eventually};

/// One scrape.
#[derive(Debug, Clone)]
pub struct Figures {
    /// As it came.
    pub text: String,
    series: BTreeMap<String, f64>,
}

impl Figures {
    /// What the server tells now.
    #[track_caller]
    pub fn of(server: &Server) -> Self {
        let answer = server.control().ask("GET", "/metrics", &[], "");
        assert_eq!(answer.status, 200, "{answer:?}");
        let kind = answer.header("content-type").unwrap();
        assert!(kind.starts_with("text/plain; version=0.0.4"), "{kind}");
        let lines = answer.body.lines().filter(|line| !line.starts_with('#'));
        let series = lines.map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        });
        Self {
            series: series.collect(),
            text: answer.body,
        }
    }

    /// Waits for a figure that tells `value`, summed up over all workers.
    #[track_caller]
    pub fn wait_for(server: &Server, name: &str, labels: &str, value: f64) -> Self {
        let mut figures = Self::of(server);
        let what = format!("{name} {labels} is {value}");
        eventually(&what, SOON, || {
            figures = Self::of(server);
            (figures.sum(name, labels) - value).abs() < 1e-9
        });
        figures
    }

    /// The sum of all series of this name that have all these labels: `transport="polling"`, separated by commas.
    #[track_caller]
    pub fn sum(&self, name: &str, labels: &str) -> f64 {
        let wanted = labels.split(',').filter(|label| !label.is_empty());
        let wanted: BTreeSet<_> = wanted.collect();
        let mut found = false;
        let fits = |series: &&String| {
            let (bare, has) = series.split_once('{').unwrap_or((series, ""));
            let has: BTreeSet<_> = has.trim_end_matches('}').split(',').collect();
            bare == name && wanted.is_subset(&has)
        };
        let sum = self.series.iter().filter(|(series, _)| fits(series));
        let sum = sum.map(|(_, value)| {
            found = true;
            value
        });
        let sum = sum.sum();
        assert!(found, "{name}{{{labels}}}");
        sum
    }

    /// Every series of a counter or a histogram.
    pub fn counters(&self) -> BTreeMap<&str, f64> {
        let is_counter = |name: &&String| {
            let bare = name.split('{').next().unwrap();
            ["_total", "_bucket", "_count", "_sum"]
                .iter()
                .any(|end| bare.ends_with(end))
        };
        let counters = self.series.iter().filter(|(name, _)| is_counter(name));
        counters
            .map(|(name, &value)| (name.as_str(), value))
            .collect()
    }
}
