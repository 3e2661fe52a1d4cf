//! Where attachments belong: `{"_placeholder":true,"num":0}` (Socket.IO protocol revision 5, "Sending and receiving
//! binary data"), in any order, and one in several places if they name it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::ArgsError;

/// What an event's attachments may hold that are named again, in bytes; each place counts for some more.
/// Each is copied into whatever is emitted, and a client needs but 33 bytes to name one.
const MAX_REPEATED: usize = 1024 * 1024;
const PLACE_SIZE: usize = 64;

/// The how manieth object of an argument it is, in the order in which they begin.
pub(super) type Place = usize;

/// The attachments of an event.
pub(super) struct Attachments<'a> {
    all: &'a VecDeque<Bytes>,
    /// Which of them have a place.
    placed: Vec<bool>,
    repeated: usize,
}

impl<'a> Attachments<'a> {
    pub(super) fn new(all: &'a VecDeque<Bytes>) -> Self {
        Self {
            all,
            placed: vec![false; all.len()],
            repeated: 0,
        }
    }

    pub(super) fn are_none(&self) -> bool {
        self.all.is_empty()
    }

    /// Those of one argument, with their places.
    pub(super) fn of(&mut self, json: &str) -> Result<Vec<(Place, Bytes)>, ArgsError> {
        let walk = Walk::default();
        (&walk).deserialize(&mut serde_json::Deserializer::from_str(json))?;
        let found = walk.found.into_inner().into_iter();
        let placed = found.map(|(place, num)| Ok((place, self.named(num)?)));
        placed.collect()
    }

    fn named(&mut self, num: Option<u64>) -> Result<Bytes, ArgsError> {
        let num = num.and_then(|num| usize::try_from(num).ok());
        let num = num.ok_or(ArgsError::Attachment)?;
        let named = self.all.get(num).zip(self.placed.get_mut(num));
        let (bytes, placed) = named.ok_or(ArgsError::Attachment)?;
        if std::mem::replace(placed, true) {
            self.repeated = self.repeated.saturating_add(bytes.len() + PLACE_SIZE);
            if self.repeated > MAX_REPEATED {
                return Err(ArgsError::Repeated);
            }
        }
        Ok(bytes.clone())
    }
}

/// Looks through a value for placeholders. As to Node, an object is one if its key `_placeholder` is `true`, whatever
/// else it has, and of two equal keys the last one counts.
#[derive(Default)]
pub(super) struct Walk {
    objects: Cell<Place>,
    /// Placeholders, and what they name.
    found: RefCell<Vec<(Place, Option<u64>)>>,
}

/// What a placeholder is made of.
#[derive(Clone, Copy, PartialEq)]
enum Value {
    True,
    Number(u64),
    Other,
}

#[derive(Clone, Copy, PartialEq)]
enum Key {
    Placeholder,
    Num,
    Other,
}

impl Walk {
    /// Behind so many objects.
    pub(super) fn from(objects: Place) -> Self {
        let objects = Cell::new(objects);
        Self {
            objects,
            ..Self::default()
        }
    }

    /// How many objects there were.
    pub(super) fn objects(&self) -> Place {
        self.objects.get()
    }
}

impl<'de> DeserializeSeed<'de> for &Walk {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(Look(self)).map(|_| ())
    }
}

struct Look<'a>(&'a Walk);

impl<'de> DeserializeSeed<'de> for Look<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Look<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(if value { Value::True } else { Value::Other })
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }
    fn visit_i64<E>(self, _: i64) -> Result<Value, E> {
        Ok(Value::Other)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Value, E> {
        Ok(Value::Other)
    }
    fn visit_str<E>(self, _: &str) -> Result<Value, E> {
        Ok(Value::Other)
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Other)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        while items.next_element_seed(self.0)?.is_some() {}
        Ok(Value::Other)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let place = self.0.objects.replace(self.0.objects.get() + 1);
        let before = self.0.found.borrow().len();
        let (mut is_placeholder, mut num) = (false, None);
        while let Some(key) = entries.next_key()? {
            let value = entries.next_value_seed(Look(self.0))?;
            match (key, value) {
                (Key::Placeholder, value) => is_placeholder = value == Value::True,
                (Key::Num, Value::Number(number)) => num = Some(number),
                (Key::Num, _) => num = None,
                (Key::Other, _) => {}
            }
        }
        if is_placeholder {
            let mut found = self.0.found.borrow_mut();
            // Whatever else it has.
            found.truncate(before);
            found.push((place, num));
        }
        Ok(Value::Other)
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct KeyVisitor;

        impl Visitor<'_> for KeyVisitor {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }
            fn visit_str<E: Error>(self, key: &str) -> Result<Key, E> {
                Ok(match key {
                    "_placeholder" => Key::Placeholder,
                    "num" => Key::Num,
                    _ => Key::Other,
                })
            }
        }

        reader.deserialize_str(KeyVisitor)
    }
}
