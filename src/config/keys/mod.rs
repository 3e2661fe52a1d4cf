//! The keys of the configuration file: one line of [`KEYS`] for each, and nothing else to change
//! when one is added, except its field, its default and the shipped sample, which tests compare.
//!
//! Text goes in, a [`Parsed`] or all [`Faults`] come out. Never reads a file or the environment.

mod changes;
mod together;

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use super::error::{Fault, Faults};
use super::value::{Problem, Read, Value, kind};
use super::{Config, bridge, validate};
use crate::wire::session_id::FIELD_LIMIT;

pub(crate) use changes::Changes;

/// Below a tenth of a second, timers cost more than they tell. Above a day, a unit is mistyped.
const SPAN: RangeInclusive<Duration> = Duration::from_millis(100)..=DAY;
/// A worker that is busy for less than a second is not stuck.
const WATCHDOG: RangeInclusive<Duration> = Duration::from_secs(1)..=DAY;
const DAY: Duration = Duration::from_hours(24);
/// A session buffers whole messages, so a gibibyte is far beyond use; above, a digit is mistyped.
const PAYLOAD: RangeInclusive<usize> = 1..=1 << 30;
/// A machine that is gone for longer than five minutes is a new one to the others.
const CATCH_UP: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_mins(5);
/// The numbers that session ids have room for; 0 is made from /etc/machine-id.
pub(crate) const MACHINES: RangeInclusive<u16> = 0..=FIELD_LIMIT - 1;
/// In bytes; a pebibyte is beyond any machine.
const MEMORY: RangeInclusive<u64> = 0..=1 << 50;
/// More workers than any machine has cores.
pub(crate) const WORKERS: RangeInclusive<u16> = 0..=4096;

/// How one key is read: its full name, and where its value goes.
struct Key {
    name: &'static str,
    read: fn(&mut Config, Value<'_>) -> Read<()>,
    /// Does a change of it take effect in the workers that there are, or is it no matter of theirs?
    live: bool,
}

const fn key(name: &'static str, read: fn(&mut Config, Value<'_>) -> Read<()>) -> Key {
    let live = false;
    Key { name, read, live }
}

/// One that needs no new workers.
const fn live(name: &'static str, read: fn(&mut Config, Value<'_>) -> Read<()>) -> Key {
    let live = true;
    Key { name, read, live }
}

/// Every key there is.
const KEYS: &[Key] = &[
    live("listen", |c, v| {
        store(&mut c.listen, v.some(|v| v.checked(str::parse)))
    }),
    key("workers", |c, v| store(&mut c.workers, v.whole(WORKERS))),
    key("worker_listen", |c, v| {
        store(&mut c.worker_listen, v.checked(validate::worker_listen))
    }),
    live("balance", |c, v| store(&mut c.balance, v.word())),
    live("stop_drain", |c, v| {
        store(&mut c.stop_drain, v.duration_or_zero(SPAN))
    }),
    live("drain", |c, v| {
        store(&mut c.drain, v.duration_or_zero(SPAN))
    }),
    live("start_timeout", |c, v| {
        store(&mut c.start_timeout, v.duration(SPAN))
    }),
    live("watchdog", |c, v| {
        store(&mut c.watchdog, v.duration(WATCHDOG))
    }),
    key("engine.path", |c, v| {
        store(&mut c.engine.path, v.checked(validate::engine_path))
    }),
    key("engine.ping_interval", |c, v| {
        store(&mut c.engine.ping_interval, v.duration(SPAN))
    }),
    key("engine.ping_timeout", |c, v| {
        store(&mut c.engine.ping_timeout, v.duration(SPAN))
    }),
    key("engine.upgrade_timeout", |c, v| {
        store(&mut c.engine.upgrade_timeout, v.duration(SPAN))
    }),
    key("engine.connect_timeout", |c, v| {
        store(&mut c.engine.connect_timeout, v.duration(SPAN))
    }),
    key("engine.max_payload", |c, v| {
        store(&mut c.engine.max_payload, v.whole(PAYLOAD))
    }),
    key("engine.transports", |c, v| {
        store(&mut c.engine.transports, v.some(Value::word))
    }),
    key("engine.allow_eio3", |c, v| {
        store(&mut c.engine.allow_eio3, v.truth())
    }),
    key("engine.parser", |c, v| {
        store(&mut c.engine.parser, v.word())
    }),
    key("engine.per_message_deflate", |c, v| {
        store(&mut c.engine.per_message_deflate, v.truth())
    }),
    key("engine.http_compression", |c, v| {
        store(&mut c.engine.http_compression, v.truth())
    }),
    key("engine.compression_threshold", |c, v| {
        let most = *PAYLOAD.end();
        store(&mut c.engine.compression_threshold, v.whole(0..=most))
    }),
    live("engine.cors_origins", |c, v| {
        store(&mut c.engine.cors_origins, cors_origins(v))
    }),
    live("engine.cors_credentials", |c, v| {
        store(&mut c.engine.cors_credentials, v.truth())
    }),
    live("engine.cors_headers", |c, v| {
        store(
            &mut c.engine.cors_headers,
            v.list(|v| v.checked(validate::header_name)),
        )
    }),
    key("engine.write_stall_timeout", |c, v| {
        store(&mut c.engine.write_stall_timeout, v.duration(SPAN))
    }),
    key("engine.serve_client", |c, v| {
        store(&mut c.engine.serve_client, v.truth())
    }),
    live("limits.max_connections", |c, v| {
        store(&mut c.limits.max_connections, v.whole(0..=u32::MAX))
    }),
    live("limits.max_connections_per_address", |c, v| {
        let limit = v.whole(0..=u32::MAX);
        store(&mut c.limits.max_connections_per_address, limit)
    }),
    live("limits.head_timeout", |c, v| {
        store(&mut c.limits.head_timeout, v.duration(SPAN))
    }),
    live("limits.new_sessions_per_second", |c, v| {
        store(&mut c.limits.new_sessions_per_second, v.whole(0..=u32::MAX))
    }),
    live("limits.rooms_per_socket", |c, v| {
        store(&mut c.limits.rooms_per_socket, v.whole(0..=u32::MAX))
    }),
    live("limits.worker_memory", |c, v| {
        store(&mut c.limits.worker_memory, v.whole(MEMORY))
    }),
    live("limits.trusted_proxies", |c, v| {
        store(
            &mut c.limits.trusted_proxies,
            v.list(|v| v.checked(validate::network)),
        )
    }),
    live("log.level", |c, v| store(&mut c.log.level, v.word())),
    key("log.file", |c, v| {
        store(&mut c.log.file, v.checked(validate::file))
    }),
    key("log.format", |c, v| store(&mut c.log.format, v.word())),
    live("log.stats_interval", |c, v| {
        store(&mut c.log.stats_interval, v.duration_or_zero(SPAN))
    }),
    live("control.socket", |c, v| {
        store(&mut c.control.socket, v.checked(validate::control_socket))
    }),
    key("bridge.url", |c, v| {
        store(&mut c.bridge.url, v.secret(bridge::address))
    }),
    key("bridge.secret_file", |c, v| {
        store(&mut c.bridge.secret_file, v.checked(validate::file))
    }),
    key("bridge.ca_file", |c, v| {
        store(&mut c.bridge.ca_file, v.checked(validate::file))
    }),
    key("bridge.prefix", |c, v| {
        store(&mut c.bridge.prefix, v.checked(bridge::prefix))
    }),
    key("bridge.machine", |c, v| {
        store(&mut c.bridge.machine, v.whole(MACHINES))
    }),
    key("bridge.catch_up", |c, v| {
        store(&mut c.bridge.catch_up, v.duration(CATCH_UP))
    }),
    key("bridge.emitter", |c, v| {
        store(&mut c.bridge.emitter, v.truth())
    }),
    key("bridge.emitter_prefix", |c, v| {
        store(
            &mut c.bridge.emitter_prefix,
            v.checked(bridge::emitter_prefix),
        )
    }),
    key("bridge.node", |c, v| store(&mut c.bridge.node, v.truth())),
];

fn store<T>(field: &mut T, value: Read<T>) -> Read<()> {
    *field = value?;
    Ok(())
}

fn cors_origins(value: Value<'_>) -> Read<Vec<String>> {
    let origins = value.list(|v| v.checked(validate::origin))?;
    if origins.len() > 1 && origins.iter().any(|origin| origin == "*") {
        return Err(value.problem("\"*\" means every origin, so it stands alone"));
    }
    Ok(origins)
}

/// A good file: the configuration, and which keys it set (as opposed to their defaults).
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) config: Config,
    pub(super) given: Vec<&'static str>,
}

/// Reads a whole file's text.
pub(super) fn parse(text: &str) -> Result<Parsed, Faults> {
    let table = DeTable::parse(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let problem = format!("not TOML: {}", error.message());
        Faults::new(vec![Fault {
            line: line_at(text, at),
            key: None,
            value: None,
            problem,
        }])
    })?;
    let mut reader = Reader {
        text,
        config: Config::default(),
        given: BTreeMap::new(),
        faults: Vec::new(),
    };
    reader.walk("", table.get_ref());
    reader.check_together();
    let Reader {
        config,
        given,
        faults,
        ..
    } = reader;
    if faults.is_empty() {
        Ok(Parsed {
            config,
            given: given.into_keys().collect(),
        })
    } else {
        Err(Faults::new(faults))
    }
}

struct Reader<'a> {
    text: &'a str,
    config: Config,
    /// The keys that were read without a fault, with the places of their values.
    given: BTreeMap<&'static str, Range<usize>>,
    faults: Vec<Fault>,
}

impl Reader<'_> {
    /// Reads the keys of `table`, the section whose name with a dot behind it is `prefix`.
    fn walk(&mut self, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let full = format!("{prefix}{}", name.get_ref());
            // A dot inside a quoted key is no path into a section.
            let key = KEYS
                .iter()
                .find(|k| k.name == full && !name.get_ref().contains('.'));
            let section = format!("{full}.");
            if let Some(key) = key {
                match (key.read)(&mut self.config, Value(value)) {
                    Ok(()) => {
                        self.given.insert(key.name, value.span());
                    }
                    Err(problems) => self.blame(key.name, problems),
                }
            } else if KEYS.iter().any(|key| key.name.starts_with(&section)) {
                match value.get_ref() {
                    DeValue::Table(inner) => self.walk(&section, inner),
                    other => {
                        let text = format!("expected a section [{full}], found {}", kind(other));
                        self.blame(
                            &full,
                            vec![Problem {
                                span: value.span(),
                                text,
                            }],
                        );
                    }
                }
            } else {
                let problem = unknown(&full, matches!(value.get_ref(), DeValue::Table(_)));
                self.faults.push(Fault {
                    line: line_at(self.text, name.span().start),
                    key: Some(full.escape_debug().to_string()),
                    value: None,
                    problem,
                });
            }
        }
    }

    fn blame(&mut self, key: &str, problems: Vec<Problem>) {
        for Problem { span, text } in problems {
            self.faults.push(Fault {
                line: line_at(self.text, span.start),
                key: Some(key.to_owned()),
                value: self
                    .text
                    .get(span)
                    .filter(|text| !text.is_empty())
                    .map(shown),
                problem: text,
            });
        }
    }
}

/// What is said about a key or section that does not exist.
fn unknown(name: &str, is_section: bool) -> String {
    let sections = KEYS
        .iter()
        .filter_map(|key| key.name.split_once('.'))
        .map(|(s, _)| s);
    if is_section {
        return match nearest(name, sections) {
            Some(section) => format!("unknown section; did you mean [{section}]?"),
            None => "unknown section".to_owned(),
        };
    }
    let suggestion = nearest(name, KEYS.iter().map(|key| key.name)).or_else(|| {
        // The right key in the wrong section, which is also what a missing section header does.
        let last = name.rsplit('.').next().unwrap_or(name);
        let same = |key: &&Key| key.name.rsplit('.').next() == Some(last);
        KEYS.iter().find(same).map(|key| key.name)
    });
    match suggestion.and_then(|known| known.split_once('.')) {
        Some((section, key)) => format!("unknown key; did you mean {key} in [{section}]?"),
        None => suggestion.map_or_else(
            || "unknown key".to_owned(),
            |known| format!("unknown key; did you mean {known}?"),
        ),
    }
}

/// The known name most like `name`, if one is like it at all: at most a third of it differs.
fn nearest<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    known
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .filter(|(distance, known)| distance * 3 <= known.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// The line, from 1, that holds byte `at` of `text`.
pub(super) fn line_at(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

/// A value as the file writes it, on one line and not longer than a terminal is wide.
fn shown(source: &str) -> String {
    const WIDTH: usize = 60;
    let mut shown = String::new();
    for (index, c) in source.chars().enumerate() {
        if index == WIDTH {
            shown.push('…');
            break;
        }
        if c.is_control() {
            shown.extend(c.escape_debug());
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests;
