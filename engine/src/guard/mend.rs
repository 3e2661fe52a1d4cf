//! Writes a payload anew, so that socketioxide reads in it what Node does. Only for payloads that
//! `scan` found to need it.
//!
//! - An event's name and the first key of an object must be without escapes, for they are borrowed.
//! - A name is text.
//! - A placeholder has its two keys in one order and no others, and its number in one spelling.

use std::borrow::Cow;

use super::GuardError;
use super::json::Cursor;
use super::name;

/// How the payload is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// The first element is an event's name.
    pub(super) event: bool,
    /// How many attachments there will be; with none, nothing is a placeholder.
    pub(super) attachments: u32,
}

/// Writes `text`, which is JSON, behind `out`.
pub(super) fn mend(text: &str, rules: Rules, out: String) -> Result<String, GuardError> {
    let mut mender = Mender {
        text,
        cursor: Cursor::new(text.as_bytes()),
        out,
        copied: 0,
        open: Vec::new(),
        places: Vec::new(),
        rules,
    };
    mender.all().ok_or(GuardError::Payload)?;
    let bound = rules.attachments;
    if mender
        .places
        .iter()
        .all(|place| place.is_some_and(|place| place < bound))
    {
        Ok(mender.out)
    } else {
        Err(GuardError::Attachments)
    }
}

struct Mender<'a> {
    text: &'a str,
    cursor: Cursor<'a>,
    out: String,
    /// The text up to here is in `out`.
    copied: usize,
    open: Vec<Level>,
    /// The attachments' numbers, in the order of their placeholders. `None`: not a number of one.
    places: Vec<Option<u32>>,
    rules: Rules,
}

/// An array, or an object that may turn out to be a placeholder.
struct Level {
    is_object: bool,
    /// Where it begins in `out`, and among `places`.
    start: usize,
    places: usize,
    key: Key,
    is_placeholder: bool,
    num: Option<u32>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Key {
    Placeholder,
    Num,
    Other,
}

impl Mender<'_> {
    fn all(&mut self) -> Option<()> {
        self.cursor.blank();
        if self.rules.event {
            self.cursor.eat(b'[').then_some(())?;
            self.enter(false);
            self.cursor.blank();
            self.name()?;
            self.leave_values()?;
        }
        while !(self.open.is_empty() && self.cursor.peek().is_none()) {
            self.value()?;
            self.leave_values()?;
        }
        self.copy_to(self.text.len())
    }

    /// A value, or the opening of one that has a value.
    fn value(&mut self) -> Option<()> {
        loop {
            self.cursor.blank();
            let start = self.cursor.at();
            match self.cursor.take()? {
                open @ (b'{' | b'[') => {
                    let is_object = open == b'{';
                    self.copy_to(start)?;
                    self.enter(is_object);
                    self.cursor.blank();
                    let close = if is_object { b'}' } else { b']' };
                    if self.cursor.eat_blank(close) {
                        return self.leave();
                    }
                    if is_object {
                        self.key(true)?;
                    }
                    continue;
                }
                b'"' => {
                    self.cursor.text()?;
                }
                byte => self.cursor.scalar(byte)?,
            }
            let text = self.text.get(start..self.cursor.at())?;
            self.was(Some(text));
            return Some(());
        }
    }

    /// What stands behind a value, up to the next one or the end.
    fn leave_values(&mut self) -> Option<()> {
        loop {
            self.cursor.blank();
            let Some(level) = self.open.last() else {
                return Some(());
            };
            let is_object = level.is_object;
            if self.cursor.take()? == b',' {
                self.cursor.blank();
                return if is_object { self.key(false) } else { Some(()) };
            }
            self.leave()?;
        }
    }

    fn enter(&mut self, is_object: bool) {
        self.open.push(Level {
            is_object,
            start: self.out.len(),
            places: self.places.len(),
            key: Key::Other,
            is_placeholder: false,
            num: None,
        });
    }

    fn leave(&mut self) -> Option<()> {
        let level = self.open.pop()?;
        if level.is_placeholder && self.rules.attachments > 0 {
            self.out.truncate(level.start);
            self.places.truncate(level.places);
            self.places.push(level.num);
            self.copied = self.cursor.at();
            let num = level.num.unwrap_or_default();
            self.out.push_str(r#"{"_placeholder":true,"num":"#);
            self.out.push_str(&num.to_string());
            self.out.push('}');
        }
        self.was(None);
        Some(())
    }

    /// This was the value of the innermost object's last key; `None`: an array or object.
    fn was(&mut self, scalar: Option<&str>) {
        if let Some(level) = self.open.last_mut() {
            match level.key {
                Key::Placeholder => level.is_placeholder = scalar == Some("true"),
                Key::Num => level.num = scalar.and_then(index),
                Key::Other => {}
            }
        }
    }

    fn key(&mut self, first: bool) -> Option<()> {
        let key = self.cursor.key()?;
        let raw = self.text.get(key.start..key.end)?;
        let plain = if key.escaped {
            Cow::Owned(name::unescape(raw, name::Hard::Escaped))
        } else {
            Cow::Borrowed(raw)
        };
        if first && key.escaped {
            self.copy_to(key.start)?;
            self.out.push_str(&plain);
            self.copied = key.end;
        }
        self.open.last_mut()?.key = match &*plain {
            "_placeholder" => Key::Placeholder,
            "num" => Key::Num,
            _ => Key::Other,
        };
        Some(())
    }

    fn name(&mut self) -> Option<()> {
        let start = self.cursor.at();
        let first = self.cursor.take()?;
        let name = if first == b'"' {
            self.cursor.text()?;
            let raw = self
                .text
                .get(start.saturating_add(1)..self.cursor.at().saturating_sub(1))?;
            name::unescape(raw, name::Hard::StandIn)
        } else {
            self.cursor.scalar(first)?;
            name::of_number(self.text.get(start..self.cursor.at())?)?
        };
        self.copy_to(start)?;
        self.copied = self.cursor.at();
        self.out.extend(["\"", &name, "\""]);
        Some(())
    }

    fn copy_to(&mut self, end: usize) -> Option<()> {
        self.out.push_str(self.text.get(self.copied..end)?);
        self.copied = end;
        Some(())
    }
}

/// A number that counts attachments. JavaScript's numbers have many spellings.
fn index(number: &str) -> Option<u32> {
    let number: f64 = number.parse().ok()?;
    let whole = number.trunc();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::float_cmp,
        reason = "it is whole, and between the bounds of what it becomes"
    )]
    (number == whole && (0.0..f64::from(u32::MAX)).contains(&whole)).then_some(whole as u32)
}
