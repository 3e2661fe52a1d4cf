//! How a record is written: pure functions from a record to one line.
//!
//! Log watchers parse these lines, so their form is part of the program's interface. Whatever the
//! values hold, one record is one line: nobody can forge a second one or steer a terminal.

use std::fmt::Write;

use tracing::Level;

use super::record::{Record, Value};
use crate::config::LogFormat;

/// The whole line with its end.
pub(super) fn line(record: &Record, format: LogFormat) -> String {
    let mut line = match format {
        LogFormat::Text => text(record),
        LogFormat::Json => json(record),
    };
    line.push('\n');
    line
}

/// The message and the fields, without time and level, which the journal has on its own.
pub(super) fn body(record: &Record) -> String {
    let mut body = String::new();
    push_body(&mut body, record);
    body
}

/// `fields` as a JSON object.
pub(super) fn object<'r>(fields: impl Iterator<Item = &'r (&'static str, Value)>) -> String {
    let mut object = String::from("{");
    for (name, value) in fields {
        if object.len() > 1 {
            object.push(',');
        }
        push_member(&mut object, name, value);
    }
    object.push('}');
    object
}

fn text(record: &Record) -> String {
    let mut line = time(record);
    // Most lines are of this level, and those of the Node server that they match have none.
    if record.level != Level::INFO {
        line.push(' ');
        line.push_str(record.level.as_str());
    }
    line.push(' ');
    push_body(&mut line, record);
    line
}

fn time(record: &Record) -> String {
    format!("{:.3}", record.time)
}

fn push_body(line: &mut String, record: &Record) {
    push_message(line, &record.message);
    for (index, (name, value)) in record.fields.iter().enumerate() {
        if index > 0 || !record.message.is_empty() {
            line.push(' ');
        }
        line.push_str(name);
        line.push('=');
        push_value(line, value.as_str());
    }
}

/// A message has spaces and quotes as they are; what could end the line or steer a terminal has
/// not.
fn push_message(line: &mut String, message: &str) {
    for c in message.chars() {
        if is_unsafe(c) {
            line.extend(c.escape_debug());
        } else {
            line.push(c);
        }
    }
}

fn push_value(line: &mut String, value: &str) {
    let plain = |c: char| !c.is_whitespace() && !is_unsafe(c) && !matches!(c, '"' | '\'' | '\\');
    if !value.is_empty() && value.chars().all(plain) {
        line.push_str(value);
    } else {
        // Writing to a string cannot fail.
        let _ = write!(line, "{value:?}");
    }
}

/// Control characters, the other two line ends of Unicode, and those that turn the direction of
/// text, with which one line can look like another.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{2028}'
                | '\u{2029}'
                | '\u{200e}'
                | '\u{200f}'
                | '\u{202a}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}

fn json(record: &Record) -> String {
    let mut line = format!(
        "{{\"time\":\"{}\",\"level\":\"{}\",",
        time(record),
        record.level
    );
    push_member(&mut line, "message", &Value::Text(record.message.clone()));
    for (name, value) in &record.fields {
        line.push(',');
        // The same name twice in an object is one value less for most readers.
        match *name {
            "time" | "level" => push_member(&mut line, &format!("{name}_"), value),
            name => push_member(&mut line, name, value),
        }
    }
    line.push('}');
    line
}

fn push_member(object: &mut String, name: &str, value: &Value) {
    push_string(object, name);
    object.push(':');
    match value {
        Value::Bare(value) => object.push_str(value),
        Value::Text(value) => push_string(object, value),
    }
}

fn push_string(json: &mut String, text: &str) {
    json.push('"');
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\n' => json.push_str("\\n"),
            '\r' => json.push_str("\\r"),
            '\t' => json.push_str("\\t"),
            // All of these lie in Unicode's first plane, so four digits do.
            c if is_unsafe(c) => drop(write!(json, "\\u{:04x}", u32::from(c))),
            c => json.push(c),
        }
    }
    json.push('"');
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn record(level: Level, message: &str, fields: &[(&'static str, Value)]) -> Record {
        let time = Timestamp::from_millisecond(1_664_183_202_422).unwrap();
        Record {
            time,
            fields: fields.to_vec(),
            ..Record::new(level, message.to_owned())
        }
    }

    fn field(name: &'static str, value: &str) -> (&'static str, Value) {
        (name, Value::Text(value.to_owned()))
    }

    #[test]
    fn lines_of_life_are_those_of_the_node_server() {
        for message in [
            "Master 437 is running",
            "Worker 712 started",
            "Worker 712 died",
            "Worker 712: 0 connected client(s)",
        ] {
            let line = line(&record(Level::INFO, message, &[]), LogFormat::Text);
            assert_eq!(line, format!("2022-09-26T09:06:42.422Z {message}\n"));
        }
    }

    #[test]
    fn a_whole_second_has_its_milliseconds_too() {
        let mut record = record(Level::INFO, "a", &[]);
        record.time = Timestamp::from_second(0).unwrap();
        assert_eq!(
            line(&record, LogFormat::Text),
            "1970-01-01T00:00:00.000Z a\n"
        );
    }

    #[test]
    fn other_levels_stand_before_the_message() {
        for level in [Level::ERROR, Level::WARN, Level::DEBUG, Level::TRACE] {
            let line = line(&record(level, "a b", &[field("k", "v")]), LogFormat::Text);
            assert_eq!(line, format!("2022-09-26T09:06:42.422Z {level} a b k=v\n"));
        }
    }

    #[test]
    fn values_that_could_be_misread_are_quoted() {
        for (value, shown) in [
            ("plain-1.5:/é=", "plain-1.5:/é="),
            ("", "\"\""),
            ("a b", "\"a b\""),
            ("say \"x\"", "\"say \\\"x\\\"\""),
            ("a\\b", "\"a\\\\b\""),
            ("a\nb\r\u{1b}[2J", "\"a\\nb\\r\\u{1b}[2J\""),
            ("\u{2028}", "\"\\u{2028}\""),
            ("\u{202e}txt", "\"\\u{202e}txt\""),
        ] {
            assert_eq!(
                body(&record(Level::INFO, "", &[field("k", value)])),
                format!("k={shown}")
            );
        }
    }

    #[test]
    fn nobody_can_forge_a_line_with_a_message() {
        let forged = record(
            Level::INFO,
            "a \"b\"\n2022-09-26T09:06:42.422Z \u{1b}[1mx",
            &[],
        );
        let escaped = "a \"b\"\\n2022-09-26T09:06:42.422Z \\u{1b}[1mx";
        assert_eq!(body(&forged), escaped);
    }

    #[test]
    fn a_json_line_is_one_object_with_typed_values() {
        let fields = [
            ("worker", Value::Bare("712".into())),
            field("text", "a\n\"\u{1b}\u{2028}"),
            field("level", "x"),
        ];
        let line = line(&record(Level::WARN, "m", &fields), LogFormat::Json);
        assert_eq!(
            line,
            "{\"time\":\"2022-09-26T09:06:42.422Z\",\"level\":\"WARN\",\"message\":\"m\",\
             \"worker\":712,\"text\":\"a\\n\\\"\\u001b\\u2028\",\"level_\":\"x\"}\n"
        );
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["text"], "a\n\"\u{1b}\u{2028}");
    }

    #[test]
    fn no_fields_are_an_empty_object() {
        assert_eq!(object([].iter()), "{}");
        assert_eq!(
            object([field("a", "b"), field("c", "d")].iter()),
            "{\"a\":\"b\",\"c\":\"d\"}"
        );
    }
}
