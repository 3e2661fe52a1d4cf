//! Words, figures and tables for people, and how they are written.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};

use serde_json::Value;

/// Whether what is written is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// For a terminal.
    Coloured,
    /// For a pipe, a file, or who has set `NO_COLOR`.
    Plain,
}

/// What a piece of text is to the reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    /// What is not shown in a colour.
    Normal,
    /// A heading.
    Heading,
    /// All is well.
    Good,
    /// Worth a look.
    Warning,
    /// Needs a person.
    Bad,
}

impl Style {
    /// Coloured in a terminal that has colours, for who does not refuse them (no-color.org).
    pub(super) fn of_stdout() -> Self {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let dumb = set("TERM").is_none_or(|term| term == "dumb");
        if !io::stdout().is_terminal() || set("NO_COLOR").is_some() || dumb {
            return Self::Plain;
        }
        Self::Coloured
    }

    /// The text in the colour of its tone.
    pub(super) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Normal => "",
            Tone::Heading => "1",
            Tone::Good => "32",
            Tone::Warning => "33",
            Tone::Bad => "31",
        };
        if self == Self::Plain || code.is_empty() {
            return text.to_owned();
        }
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// Writes to standard output. Whoever closed the pipe does not want to read on, and that is the answer.
pub(super) fn print(text: &str) -> bool {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())
        .and_then(|()| out.flush())
        .is_ok()
}

/// The number at a JSON pointer.
pub(super) fn number(value: &Value, pointer: &str) -> Option<f64> {
    value.pointer(pointer).and_then(Value::as_f64)
}

/// The text at a JSON pointer, without what would change a terminal.
pub(super) fn text(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer).and_then(Value::as_str).map(clean)
}

/// The elements of the list at a JSON pointer.
pub(super) fn list<'v>(value: &'v Value, pointer: &str) -> &'v [Value] {
    let list = value.pointer(pointer).and_then(Value::as_array);
    list.map_or(&[], Vec::as_slice)
}

/// A text without control characters: it may come from a client, and goes to a terminal.
pub(super) fn clean(text: &str) -> String {
    let clean = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.chars().map(clean).collect()
}

/// What stands where a server of another version says nothing.
pub(super) fn or_dash<T>(value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| "-".to_owned(), show)
}

/// A whole number, all digits of it.
pub(super) fn whole(number: f64) -> String {
    format!("{number:.0}")
}

/// A number in at most five characters: `0.5`, `999`, `12.3k`, `4.5M`.
pub(super) fn short(number: f64) -> String {
    scaled(number, 1000.0, ["", "k", "M", "G", "T"])
}

/// A size or a rate in bytes in at most five characters, in powers of 1024: `999`, `1.2K`, `12.3M`.
pub(super) fn short_bytes(number: f64) -> String {
    scaled(number, 1024.0, ["", "K", "M", "G", "T"])
}

fn scaled(number: f64, step: f64, units: [&str; 5]) -> String {
    let mut scaled = number.max(0.0);
    let mut units = units.into_iter();
    let mut unit = units.next().unwrap_or_default();
    // What would be rounded to four digits takes the next unit.
    while scaled >= 999.5 {
        let Some(next) = units.next() else { break };
        (scaled, unit) = (scaled / step, next);
    }
    let digits = usize::from(scaled < 99.95 && (!unit.is_empty() || scaled < 9.95));
    let digits = if scaled == 0.0 { 0 } else { digits };
    // A whole number has no fraction.
    let digits = if unit.is_empty() && scaled.fract() == 0.0 {
        0
    } else {
        digits
    };
    format!("{scaled:.digits$}{unit}")
}

/// A size in words: `512 bytes`, `1.2 MiB`.
pub(super) fn size(number: f64) -> String {
    let short = short_bytes(number);
    match short.strip_suffix(|c: char| c.is_ascii_alphabetic()) {
        Some(digits) => {
            let unit = short.trim_start_matches(|c: char| !c.is_ascii_alphabetic());
            format!("{digits}{TOGETHER}{unit}iB")
        }
        None => counted(number, "byte"),
    }
}

/// A blank at which [`paragraph`] breaks no line.
const TOGETHER: char = '\u{a0}';

/// A number with its noun: `1 byte`, `2 bytes`.
pub(super) fn counted(number: f64, noun: &str) -> String {
    let plural = if (number - 1.0).abs() < 0.5 { "" } else { "s" };
    format!("{number:.0} {noun}{plural}")
}

/// A short time in at most five characters: `0.1ms`, `12ms`, `1.2s`.
pub(super) fn lag(seconds: f64) -> String {
    let milliseconds = seconds.max(0.0) * 1000.0;
    if milliseconds < 9.95 {
        format!("{milliseconds:.1}ms")
    } else if milliseconds < 999.5 {
        format!("{milliseconds:.0}ms")
    } else {
        format!("{:.1}s", seconds.min(999.9))
    }
}

/// A time in words, the two largest units of it: `3.5 s`, `12 min 3 s`, `4 d 3 h`.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a negative one is zero, and one beyond 2^64 s does not matter"
)]
pub(super) fn span(seconds: f64) -> String {
    if seconds < 59.95 {
        return format!("{:.1}{TOGETHER}s", seconds.max(0.0));
    }
    let seconds = seconds.round() as u64;
    let units = [("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)];
    let first = units.iter().position(|(_, length)| seconds >= *length);
    let mut rest = seconds;
    let mut words = Vec::new();
    for (name, length) in units.iter().skip(first.unwrap_or(3)).take(2) {
        if rest >= *length || words.is_empty() {
            words.push(format!("{}{TOGETHER}{name}", rest / length));
        }
        rest %= length;
    }
    words.join(&TOGETHER.to_string())
}

/// A paragraph after a label, broken between words, further lines below the first one's text.
pub(super) fn paragraph(label: &str, indent: usize, text: &str, width: usize) -> String {
    let mut lines = format!("{label:<indent$}");
    let mut used = lines.chars().count();
    let mut at_start = true;
    for word in text.split(' ') {
        let length = word.chars().count();
        if !at_start && used + 1 + length > width {
            let _ = write!(lines, "\n{:indent$}", "");
            (used, at_start) = (indent, true);
        }
        if !at_start {
            lines.push(' ');
            used += 1;
        }
        lines.push_str(&word.replace(TOGETHER, " "));
        (used, at_start) = (used + length, false);
    }
    lines.push('\n');
    lines
}

/// A cell of a table.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    tone: Tone,
    left: bool,
    overhangs: bool,
}

impl Cell {
    /// A figure, which stands to the right.
    pub(super) fn right(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            tone: Tone::Normal,
            left: false,
            overhangs: false,
        }
    }

    /// A word, which stands to the left.
    pub(super) fn left(text: impl Into<String>, tone: Tone) -> Self {
        Self {
            tone,
            left: true,
            ..Self::right(text)
        }
    }

    /// The same as a heading.
    pub(super) fn heading(self) -> Self {
        Self {
            tone: Tone::Heading,
            ..self
        }
    }

    /// The same over empty cells to the left of it, which it may reach into.
    pub(super) fn overhanging(self) -> Self {
        Self {
            overhangs: true,
            ..self
        }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

/// Rows whose columns are as wide as their widest cell, a blank between them.
pub(super) fn table(rows: &[Vec<Cell>], style: Style) -> String {
    let mut widths = Vec::<usize>::new();
    for row in rows {
        widths.resize(widths.len().max(row.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            if !cell.overhangs {
                *width = (*width).max(cell.width());
            }
        }
    }
    let mut table = String::new();
    for row in rows {
        // Blanks are written before the next text, so that none stand at the end of a line.
        let mut blanks = 0;
        for (width, cell) in widths.iter().zip(row) {
            if cell.text.is_empty() {
                blanks += width + 1;
                continue;
            }
            let room = width.saturating_sub(cell.width());
            let (before, behind) = if cell.left {
                (blanks, room)
            } else {
                ((blanks + width).saturating_sub(cell.width()), 0)
            };
            let _ = write!(table, "{:before$}", "");
            table.push_str(&style.paint(cell.tone, &cell.text));
            blanks = behind + 1;
        }
        table.push('\n');
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short_and_never_rounded_to_a_wrong_unit() {
        for (number, decimal, binary) in [
            (0.0, "0", "0"),
            (0.04, "0.0", "0.0"),
            (0.5, "0.5", "0.5"),
            (7.0, "7", "7"),
            (9.96, "10", "10"),
            (43.4, "43", "43"),
            (999.0, "999", "999"),
            (999.6, "1.0k", "1.0K"),
            (1023.0, "1.0k", "1.0K"),
            (12_345.0, "12.3k", "12.1K"),
            (999_499.0, "999k", "976K"),
            (1_048_576.0, "1.0M", "1.0M"),
            (5e12, "5.0T", "4.5T"),
            (-1.0, "0", "0"),
        ] {
            assert_eq!(short(number), decimal, "{number}");
            assert_eq!(short_bytes(number), binary, "{number}");
            assert!(short(number).len() <= 5);
        }
    }

    #[test]
    fn times_and_sizes_have_their_words() {
        for (seconds, words) in [
            (0.0, "0.0 s"),
            (3.52, "3.5 s"),
            (59.96, "1 min"),
            (60.0, "1 min"),
            (723.0, "12 min 3 s"),
            (3600.0, "1 h"),
            (3661.0, "1 h 1 min"),
            (356_400.0, "4 d 3 h"),
        ] {
            assert_eq!(span(seconds).replace(TOGETHER, " "), words, "{seconds}");
        }
        assert_eq!(size(1.0), "1 byte");
        assert_eq!(size(20.0), "20 bytes");
        assert_eq!(size(1_258_291.0), "1.2\u{a0}MiB");
        for (seconds, words) in [
            (0.000_1, "0.1ms"),
            (0.012, "12ms"),
            (1.25, "1.2s"),
            (5000.0, "999.9s"),
        ] {
            assert_eq!(lag(seconds), words);
        }
    }

    #[test]
    fn a_paragraph_stays_within_its_width_and_beside_its_label() {
        let told = paragraph("limits", 8, "one two three four", 16);
        assert_eq!(told, "limits  one two\n        three\n        four\n");
        assert_eq!(paragraph("", 2, "", 10), "  \n");
        // What belongs together stays together.
        assert_eq!(paragraph("", 0, "one 2\u{a0}MiB", 6), "one\n2 MiB\n");
        // A word that is longer than the line has one of its own.
        assert_eq!(paragraph("", 0, "a bbbbbb c", 4), "a\nbbbbbb\nc\n");
    }

    #[test]
    fn a_table_is_aligned_and_colours_do_not_count() {
        let rows = [
            vec![
                Cell::left("state", Tone::Normal).heading(),
                Cell::right("n"),
            ],
            vec![Cell::left("ready", Tone::Good), Cell::right("10")],
            vec![Cell::left("", Tone::Good), Cell::right("7")],
        ];
        assert_eq!(table(&rows, Style::Plain), "state  n\nready 10\n       7\n");
        assert_eq!(
            table(&rows, Style::Coloured),
            "\x1b[1mstate\x1b[0m  n\n\x1b[32mready\x1b[0m 10\n       7\n"
        );
    }

    #[test]
    fn what_comes_from_outside_cannot_change_a_terminal() {
        let value = serde_json::json!({"a": "x\u{1b}[2J\ny"});
        assert_eq!(text(&value, "/a"), Some("x\u{fffd}[2J\u{fffd}y".to_owned()));
    }
}
