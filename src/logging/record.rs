//! One event, taken out of `tracing`'s borrowed world so that it can wait in a queue.

use std::error::Error;
use std::fmt::{self, Write};

use jiff::Timestamp;
use tracing::field::{Field, Visit};
use tracing::{Event, Level};

/// The most that is kept of one value, in bytes. Values come from clients, queues hold thousands of
/// lines: their product is what a flood of lines can cost in memory.
const VALUE_MAX: usize = 4096;

/// An event with everything that any sink shows of it.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) time: Timestamp,
    pub(super) level: Level,
    /// The module that the event comes from.
    pub(super) target: &'static str,
    pub(super) message: String,
    pub(super) fields: Vec<(&'static str, Value)>,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A number or a truth value, which JSON writes without quotes.
    Bare(String),
    /// Anything else.
    Text(String),
}

impl Value {
    pub(super) fn as_str(&self) -> &str {
        let (Self::Bare(text) | Self::Text(text)) = self;
        text
    }
}

impl Record {
    /// A record of this module's own, with nothing but a message.
    pub(super) fn new(level: Level, message: String) -> Self {
        let fields = Vec::new();
        Self {
            time: Timestamp::now(),
            level,
            target: module_path!(),
            message,
            fields,
        }
    }

    pub(super) fn from_event(event: &Event<'_>) -> Self {
        let metadata = event.metadata();
        let mut record = Self::new(*metadata.level(), String::new());
        record.target = metadata.target();
        event.record(&mut record);
        record
    }

    fn add(&mut self, field: &Field, value: Value) {
        match field.name() {
            "message" => value.as_str().clone_into(&mut self.message),
            name => self.fields.push((name.trim_start_matches("r#"), value)),
        }
    }

    fn add_text(&mut self, field: &Field, value: impl fmt::Display) {
        self.add(field, Value::Text(capped(format_args!("{value}"))));
    }

    fn add_bare(&mut self, field: &Field, value: impl fmt::Display) {
        self.add(field, Value::Bare(value.to_string()));
    }
}

impl Visit for Record {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, Value::Text(capped(format_args!("{value:?}"))));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add_text(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add_bare(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add_bare(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add_bare(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON knows no infinity and no NaN.
        if value.is_finite() {
            self.add_bare(field, value);
        } else {
            self.add_text(field, value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        let mut text = value.to_string();
        let mut source = value.source();
        while let Some(cause) = source {
            // Writing to a string cannot fail.
            let _ = write!(text, ": {cause}");
            source = cause.source();
        }
        self.add_text(field, text);
    }
}

/// The text of `value`, cut where it would be longer than [`VALUE_MAX`].
fn capped(value: fmt::Arguments<'_>) -> String {
    struct Capped(String, bool);

    impl Write for Capped {
        fn write_str(&mut self, piece: &str) -> fmt::Result {
            let Self(text, cut) = self;
            if *cut {
                return Ok(());
            }
            let fits = piece.floor_char_boundary(VALUE_MAX.saturating_sub(text.len()));
            let (kept, rest) = piece.split_at(fits);
            text.push_str(kept);
            if !rest.is_empty() {
                text.push('…');
                *cut = true;
            }
            Ok(())
        }
    }

    let mut text = Capped(String::new(), false);
    // A value whose own formatting fails is shown as far as it came.
    let _ = text.write_fmt(value);
    text.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_cut_between_characters() {
        assert_eq!(
            capped(format_args!("{}", "x".repeat(VALUE_MAX))).len(),
            VALUE_MAX
        );
        let text = capped(format_args!("x{}", "é".repeat(VALUE_MAX)));
        assert!(text.ends_with("é…") && text.len() <= VALUE_MAX + '…'.len_utf8());
    }
}
