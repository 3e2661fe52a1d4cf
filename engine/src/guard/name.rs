//! An event's name, as JSON may write it and as socketioxide can read it.

use std::borrow::Cow;
use std::fmt::Write as _;

/// What must be escaped in JSON stands in a name as the character with this added: socketioxide reads
/// names without unescaping. They are for private use.
const STAND_IN: u32 = 0xf_0000;
/// Stands before a character that the client wrote and that would be taken for a stand-in, or for this.
const LITERAL: char = '\u{f00ff}';
/// The first byte of them all, in UTF-8.
const FIRST_BYTE: u8 = 0xf3;

/// What becomes of a character that JSON does not allow without an escape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hard {
    Escaped,
    StandIn,
}

/// The name as the client wrote it, of one that an event has: quotes, backslashes and control characters stand
/// in it as characters for private use. Halves of surrogate pairs, which no text of Rust can have, become U+FFFD.
#[must_use]
pub fn event_name(name: &str) -> Cow<'_, str> {
    if !may_stand_in(name) {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len());
    let mut chars = name.chars();
    while let Some(character) = chars.next() {
        out.push(match character {
            LITERAL => chars.next().unwrap_or(LITERAL),
            stand_in => original(stand_in).unwrap_or(stand_in),
        });
    }
    Cow::Owned(out)
}

/// The name that an event has whose client wrote this one: what [`event_name`] gives, the other way.
#[must_use]
pub fn handler_name(name: &str) -> Cow<'_, str> {
    if !may_stand_in(name) && !name.contains(is_hard) {
        return Cow::Borrowed(name);
    }
    let mut out = String::with_capacity(name.len());
    for character in name.chars() {
        write(character.into(), Hard::StandIn, &mut out);
    }
    Cow::Owned(out)
}

/// Is there perhaps a character in it that is a stand-in, or would be taken for one?
pub(super) fn may_stand_in(name: &str) -> bool {
    name.as_bytes().contains(&FIRST_BYTE)
}

/// What this stands for.
fn original(stand_in: char) -> Option<char> {
    let hard = u32::from(stand_in).checked_sub(STAND_IN)?;
    match hard {
        0xd800..0xe000 => Some(char::REPLACEMENT_CHARACTER),
        _ => char::from_u32(hard).filter(|&hard| is_hard(hard)),
    }
}

/// JSON does not allow it without an escape.
fn is_hard(character: char) -> bool {
    matches!(character, '\0'..' ' | '"' | '\\')
}

/// A text of JSON without the escapes that it does not need.
pub(super) fn unescape(raw: &str, hard: Hard) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((plain, escape)) = rest.split_once('\\') {
        write_plain(plain, hard, &mut out);
        let (unit, mut behind) = unit(escape);
        let low = behind.strip_prefix('\\').map(self::unit);
        let code = match (unit, low) {
            (0xd800..0xdc00, Some((low @ 0xdc00..0xe000, after))) => {
                behind = after;
                0x1_0000 + ((unit & 0x3ff) << 10 | low & 0x3ff)
            }
            _ => unit,
        };
        write(code, hard, &mut out);
        rest = behind;
    }
    write_plain(rest, hard, &mut out);
    out
}

fn write_plain(plain: &str, hard: Hard, out: &mut String) {
    if hard == Hard::StandIn && may_stand_in(plain) {
        for character in plain.chars() {
            write(character.into(), hard, out);
        }
    } else {
        out.push_str(plain);
    }
}

/// The UTF-16 unit of an escape, without its backslash, and what stands behind it.
fn unit(escape: &str) -> (u32, &str) {
    let mut chars = escape.chars();
    let unit = match chars.next() {
        Some('u') => {
            let behind = chars.as_str();
            let (digits, behind) = behind.split_at_checked(4).unwrap_or((behind, ""));
            return (u32::from_str_radix(digits, 16).unwrap_or_default(), behind);
        }
        Some('b') => 0x08,
        Some('f') => 0x0c,
        Some('n') => 0x0a,
        Some('r') => 0x0d,
        Some('t') => 0x09,
        other => other.map_or(0, u32::from),
    };
    (unit, chars.as_str())
}

fn write(code: u32, hard: Hard, out: &mut String) {
    let easy = char::from_u32(code).filter(|&easy| !is_hard(easy));
    if let Some(easy) = easy {
        if hard == Hard::StandIn && (easy == LITERAL || original(easy).is_some()) {
            out.push(LITERAL);
        }
        out.push(easy);
    } else if hard == Hard::StandIn {
        out.extend(char::from_u32(code.wrapping_add(STAND_IN)));
    } else if let Some(kept) = char::from_u32(code).filter(|&kept| kept >= ' ') {
        out.extend(['\\', kept]);
    } else {
        // To a String nothing fails.
        let _ = write!(out, "\\u{code:04x}");
    }
}

/// The name that JavaScript makes of a number, for its listeners are properties (ECMA-262, `Number::toString`).
pub(super) fn of_number(number: &str) -> Option<String> {
    let number: f64 = number.parse().ok()?;
    if number == 0.0 {
        return Some("0".into());
    }
    let sign = if number < 0.0 { "-" } else { "" };
    if number.is_infinite() {
        return Some(format!("{sign}Infinity"));
    }
    let scientific = format!("{:e}", number.abs());
    let (mantissa, exponent) = scientific.split_once('e')?;
    let exponent: i32 = exponent.parse().ok()?;
    let digits = mantissa.replace('.', "");
    let behind = usize::try_from(exponent.unsigned_abs()).ok()?;
    Some(match exponent {
        0..=20 => {
            let whole = behind.saturating_add(1);
            match digits.split_at_checked(whole) {
                Some((whole, "")) => format!("{sign}{whole}"),
                Some((whole, part)) => format!("{sign}{whole}.{part}"),
                None => format!("{sign}{digits:0<whole$}"),
            }
        }
        -6..=-1 => format!("{sign}0.{}{digits}", "0".repeat(behind.saturating_sub(1))),
        _ => format!("{sign}{mantissa}e{exponent:+}"),
    })
}
