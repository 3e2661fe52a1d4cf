//! The line that `systemctl status` shows: how the server is, and what is missing with the command that
//! mends it.

use std::time::Duration;

use humantime::format_duration;

use super::drains::Draining;
use super::slots::{Vacancy, Vacant};

/// So many slots are named; of the others only the number is told.
const NAMED: usize = 3;

/// What there is to say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Health {
    /// How many workers there are to be.
    pub(crate) workers: u16,
    /// The slots without a worker that takes connections.
    pub(crate) vacant: Vec<Vacant>,
    /// Open sessions.
    pub(crate) clients: u64,
    /// How far a reload is.
    pub(crate) reload: Option<String>,
    /// The drains that are under way.
    pub(crate) drains: Vec<Draining>,
    /// The listeners that could not be had, each with what mends it.
    pub(crate) deaf: Vec<String>,
    /// What is missing of the link to other machines.
    pub(crate) apart: Option<String>,
}

impl Health {
    /// The line.
    pub(crate) fn line(&self) -> String {
        let (version, workers, clients) = (env!("CARGO_PKG_VERSION"), self.workers, self.clients);
        let ready = self.ready_of();
        let figures = format!("my-app {version}: {ready}{workers} worker(s), {clients} client(s)");
        let mut parts = vec![figures];
        parts.extend(self.reload.clone());
        parts.extend(self.drains.iter().map(Draining::words));
        parts.extend(self.missing());
        parts.join("; ")
    }

    /// Before the number of workers: how many of them are ready, if not all.
    fn ready_of(&self) -> String {
        match u16::try_from(self.vacant.len()) {
            Ok(0) => String::new(),
            vacant => {
                let vacant = vacant.unwrap_or(self.workers);
                format!("{} of ", self.workers.saturating_sub(vacant))
            }
        }
    }

    /// The first line of a server that serves: where, and with how many workers.
    pub(crate) fn listening(&self, places: &[String]) -> String {
        let (places, workers) = (places.join(", "), self.workers);
        let ready = self.ready_of();
        let plural = if workers == 1 { "" } else { "s" };
        format!("Listening on {places} ({ready}{workers} worker{plural})")
    }

    /// What is missing, each in a few words; nothing if all is well.
    pub(crate) fn missing(&self) -> Vec<String> {
        let mut missing: Vec<_> = self.vacant.iter().take(NAMED).map(describe).collect();
        if let Some(more) = self.vacant.len().checked_sub(NAMED).filter(|&n| n > 0) {
            missing.push(format!("{more} more workers are missing"));
        }
        missing.extend(self.deaf.iter().cloned());
        missing.extend(self.apart.clone());
        missing
    }
}

fn describe(
    Vacant {
        slot,
        vacancy,
        next,
    }: &Vacant,
) -> String {
    // In whole seconds, rounded up; a pause that nobody would see is none.
    let next = next.filter(|next| next.as_secs() > 0);
    let next = next.map(|next| format_duration(Duration::from_secs(next.as_secs() + 1)));
    match (vacancy, next) {
        (Vacancy::Starting, _) => format!("worker {slot} is still starting"),
        (Vacancy::Failed(why), Some(next)) => {
            format!("worker {slot} does not start ({why}) and is tried again in {next}")
        }
        (Vacancy::Failed(why), None) => {
            format!("worker {slot} does not start ({why}) and is tried again")
        }
        (Vacancy::Died, Some(next)) => {
            format!("worker {slot} ended again and again; another one is started in {next}")
        }
        (Vacancy::Died, None) => format!("worker {slot} is being replaced"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::drains::Whose;
    use super::*;

    fn vacant(vacant: Vec<(u16, Vacancy)>) -> Vec<Vacant> {
        let vacant = vacant.into_iter().map(|(slot, vacancy)| Vacant {
            slot,
            vacancy,
            next: None,
        });
        vacant.collect()
    }

    fn line(workers: u16, missing: Vec<(u16, Vacancy)>, deaf: &[&str]) -> String {
        let health = Health {
            reload: None,
            workers,
            vacant: vacant(missing),
            clients: 7,
            drains: vec![],
            deaf: deaf.iter().map(ToString::to_string).collect(),
            apart: None,
        };
        let line = health.line();
        let version = format!("my-app {}: ", env!("CARGO_PKG_VERSION"));
        line.strip_prefix(&version).unwrap().to_owned()
    }

    #[test]
    fn when_all_is_well_there_are_two_figures() {
        assert_eq!(line(4, vec![], &[]), "4 worker(s), 7 client(s)");
    }

    #[test]
    fn the_first_line_says_where_and_with_how_many_workers() {
        let listening = |workers, missing| {
            let health = Health {
                workers,
                vacant: vacant(missing),
                ..Health::default()
            };
            health.listening(&["http://127.0.0.1:3000".into(), "unix:/run/a".into()])
        };
        assert_eq!(
            listening(2, vec![]),
            "Listening on http://127.0.0.1:3000, unix:/run/a (2 workers)"
        );
        assert!(listening(1, vec![]).ends_with("(1 worker)"));
        let starting = vec![(1, Vacancy::Starting)];
        assert!(listening(2, starting).ends_with("(1 of 2 workers)"));
    }

    #[test]
    fn what_is_missing_is_named() {
        let vacant = vec![
            (1, Vacancy::Starting),
            (3, Vacancy::Failed("exit code 101".into())),
        ];
        assert_eq!(
            line(4, vacant, &["nobody hears port 80"]),
            "2 of 4 worker(s), 7 client(s); worker 1 is still starting; \
             worker 3 does not start (exit code 101) and is tried again; nobody hears port 80"
        );
    }

    #[test]
    fn a_drain_is_told_with_what_is_left_of_it() {
        let health = Health {
            workers: 1,
            drains: vec![Draining {
                whose: Whose::TakenOut,
                sessions: 3,
                left: Duration::from_secs(9),
            }],
            ..Health::default()
        };
        let line = health.line();
        assert!(
            line.ends_with("; taken out: 3 session(s) left, the old ones end within 9s"),
            "{line}"
        );
    }

    #[test]
    fn when_a_worker_is_tried_again_is_told() {
        let died = |next| {
            describe(&Vacant {
                slot: 0,
                vacancy: Vacancy::Died,
                next: Some(next),
            })
        };
        assert_eq!(
            died(Duration::from_millis(12_300)),
            "worker 0 ended again and again; another one is started in 13s"
        );
        assert_eq!(
            died(Duration::from_millis(300)),
            "worker 0 is being replaced"
        );
        let failed = describe(&Vacant {
            slot: 3,
            vacancy: Vacancy::Failed("exit code 101".into()),
            next: Some(Duration::from_millis(3999)),
        });
        assert_eq!(
            failed,
            "worker 3 does not start (exit code 101) and is tried again in 4s"
        );
    }

    #[test]
    fn a_link_that_is_down_is_named() {
        let health = Health {
            workers: 1,
            apart: Some("no link to other machines: connecting".into()),
            ..Health::default()
        };
        assert!(
            health
                .line()
                .ends_with("; no link to other machines: connecting")
        );
    }

    #[test]
    fn many_slots_are_not_all_named() {
        let vacant = (0..16).map(|slot| (slot, Vacancy::Starting)).collect();
        assert_eq!(
            line(16, vacant, &[]),
            "0 of 16 worker(s), 7 client(s); worker 0 is still starting; worker 1 is still starting; \
             worker 2 is still starting; 13 more workers are missing"
        );
    }
}
