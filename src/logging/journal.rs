//! journald as a sink, behind a bounded queue and on a thread of its own.
//!
//! `tracing_journald` sends within the event, on a blocking socket, and takes nothing but events.
//! So the thread owns a dispatcher that has only that layer, and emits each record anew, as one
//! event of a constant shape. Names of fields are constants in `tracing`, so what people filter by
//! has a field of the journal (`journalctl MY_APP_CLIENT_ADDR=::1`) and all else is one JSON object,
//! `MY_APP_FIELDS`. The message has all of them as text, too, since `journalctl` shows nothing else
//! by default. `TARGET` and `CODE_FILE` are this file's for all; `MY_APP_MODULE` tells where an
//! event comes from.
//!
//! Speaking the journal's protocol by hand would let us count what the socket refuses. It refuses
//! nothing in practice: systemd holds it while journald restarts, and large records travel as a
//! memfd.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use tracing::subscriber::Interest;
use tracing::{Dispatch, Level, Metadata, Subscriber, dispatcher, event};
use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry;

use super::LogRole;
use super::line;
use super::queue::{QUEUE_LINES, Tally};
use super::record::{Record, Value};
use super::threshold::Threshold;

/// The target of the events that only carry records. Nobody else's events pass the thread's filter,
/// so that a second dispatcher does not make every event of the process look wanted.
const TARGET: &str = "my_app_journal";

/// The fields that have their own name in the journal.
const NAMED: [&str; 4] = ["socket_id", "client_addr", "transport", "reason"];

/// Lets only those events pass that carry records.
struct OnlyRecords(Arc<Threshold>);

impl OnlyRecords {
    fn admits(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET && *metadata.level() <= self.0.get()
    }
}

impl<S: Subscriber> Layer<S> for OnlyRecords {
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.admits(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.admits(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.0.get())
    }
}

/// The way to journald.
#[derive(Debug)]
pub(super) struct Journal {
    queue: SyncSender<Record>,
    tally: Arc<Tally>,
}

impl Journal {
    /// Connects to journald and starts the thread. Fails when there is no journald.
    pub(super) fn start(role: LogRole, threshold: &Arc<Threshold>) -> io::Result<Self> {
        let layer = tracing_journald::layer()?
            .with_syslog_identifier("my-app".to_owned())
            .with_field_prefix(Some("MY_APP".to_owned()))
            .with_custom_fields(role.journal_fields())
            // syslog's meanings: "notice" and above is what an operator should read.
            .with_priority_mappings(PriorityMappings {
                info: Priority::Informational,
                debug: Priority::Debug,
                ..PriorityMappings::new()
            });
        let only_records = OnlyRecords(Arc::clone(threshold));
        Self::relay(
            registry().with(only_records).with(layer).into(),
            QUEUE_LINES,
        )
    }

    /// Starts the thread that emits records to `dispatch`.
    fn relay(dispatch: Dispatch, records: usize) -> io::Result<Self> {
        let (queue, waiting) = sync_channel(records);
        let tally = Arc::new(Tally::default());
        let thread_tally = Arc::clone(&tally);
        thread::Builder::new()
            .name("log-journal".to_owned())
            .spawn(move || {
                dispatcher::with_default(&dispatch, || emit_all(&waiting, &thread_tally));
            })?;
        Ok(Self { queue, tally })
    }

    /// Queues `record`, or counts it as lost. Never blocks.
    pub(super) fn push(&self, record: Record) {
        self.tally.queue();
        if self.queue.try_send(record).is_err() {
            self.tally.overflow();
        }
    }

    pub(super) fn overflowed(&self) -> u64 {
        self.tally.overflowed()
    }

    pub(super) fn drain(&self, deadline: Instant) {
        self.tally.drain(|| self.overflowed(), deadline);
    }
}

fn emit_all(waiting: &Receiver<Record>, tally: &Tally) {
    for record in waiting {
        emit(&record);
        tally.finish(true);
    }
}

fn emit(record: &Record) {
    let named = |name| {
        let field = record.fields.iter().find(|(known, _)| *known == name);
        field.map(|(_, value): &(_, Value)| value.as_str())
    };
    let rest = || {
        record
            .fields
            .iter()
            .filter(|(name, _)| !NAMED.contains(name))
    };
    let message = line::body(record);
    let fields = rest().next().map(|_| line::object(rest()));
    macro_rules! emit_at {
        ($level:ident) => {
            event!(
                target: TARGET,
                Level::$level,
                message = message.as_str(),
                module = record.target,
                socket_id = named("socket_id"),
                client_addr = named("client_addr"),
                transport = named("transport"),
                reason = named("reason"),
                fields = fields.as_deref(),
            )
        };
    }
    // The level of an event is a constant of its place in the source.
    match record.level {
        Level::ERROR => emit_at!(ERROR),
        Level::WARN => emit_at!(WARN),
        Level::INFO => emit_at!(INFO),
        Level::DEBUG => emit_at!(DEBUG),
        Level::TRACE => emit_at!(TRACE),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Sender, channel};
    use std::time::Duration;

    use tracing::Event;
    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::Context;

    use super::*;

    /// Stands for journald: shows the test what arrives.
    struct Arrived(Sender<Record>);

    impl<S: tracing::Subscriber> Layer<S> for Arrived {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let _ = self.0.send(Record::from_event(event));
        }
    }

    fn journal(records: usize) -> (Journal, Receiver<Record>) {
        let (sender, arrived) = channel();
        let dispatch = registry().with(Arrived(sender)).into();
        (Journal::relay(dispatch, records).unwrap(), arrived)
    }

    fn text(value: &str) -> Value {
        Value::Text(value.to_owned())
    }

    #[test]
    fn named_fields_have_their_own_place_and_the_rest_is_json() {
        let (journal, arrived) = journal(8);
        let mut record = Record::new(Level::WARN, "slow client".to_owned());
        record.target = "my_app::worker";
        record.fields = vec![
            ("stalled_ms", Value::Bare("10".into())),
            ("client_addr", text("::1")),
        ];
        journal.push(record);
        let arrived = arrived.recv_timeout(Duration::from_secs(10)).unwrap();
        assert_eq!(arrived.message, "slow client stalled_ms=10 client_addr=::1");
        assert_eq!((arrived.level, arrived.target), (Level::WARN, TARGET));
        assert_eq!(
            arrived.fields,
            [
                ("module", text("my_app::worker")),
                ("client_addr", text("::1")),
                ("fields", text("{\"stalled_ms\":10}")),
            ]
        );
    }

    #[test]
    fn every_level_keeps_its_rank() {
        let (journal, arrived) = journal(8);
        let levels = [
            Level::ERROR,
            Level::WARN,
            Level::INFO,
            Level::DEBUG,
            Level::TRACE,
        ];
        for level in levels {
            journal.push(Record::new(level, "Worker 712 started".to_owned()));
        }
        journal.drain(Instant::now() + Duration::from_secs(10));
        let arrived: Vec<_> = arrived.try_iter().collect();
        assert_eq!(
            arrived
                .iter()
                .map(|record| record.level)
                .collect::<Vec<_>>(),
            levels
        );
        assert!(
            arrived
                .iter()
                .all(|record| record.message == "Worker 712 started")
        );
    }

    #[test]
    fn a_slow_journal_loses_records_and_blocks_nobody() {
        struct Stuck(std::sync::Mutex<Receiver<()>>);
        impl<S: tracing::Subscriber> Layer<S> for Stuck {
            fn on_event(&self, _: &Event<'_>, _: Context<'_, S>) {
                let _ = self.0.lock().unwrap().recv();
            }
        }
        let (let_through, gate) = channel();
        let dispatch = registry().with(Stuck(gate.into())).into();
        let journal = Journal::relay(dispatch, 2).unwrap();
        for _ in 0..100 {
            journal.push(Record::new(Level::INFO, "a".to_owned()));
        }
        assert!(
            (97..=98).contains(&journal.overflowed()),
            "{}",
            journal.overflowed()
        );
        drop(let_through);
        journal.drain(Instant::now() + Duration::from_secs(10));
    }
}
