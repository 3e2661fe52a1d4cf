//! msgpack that both versions of notepack read: without any ext, for notepack 2 takes those of 3 for a list.

use std::collections::VecDeque;
use std::fmt;

use bytes::Bytes;
use rmp::encode::{self, ByteBuf};
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use socketioxide_core::Value;

use super::{MAX_DEPTH, NotepackError, Reader, Token, date};

/// msgpack that grows. Lists and maps are begun with how many values, or pairs, will follow.
#[derive(Debug, Default)]
pub(in crate::bridge) struct Writer(ByteBuf);

impl Writer {
    pub(in crate::bridge) fn new() -> Self {
        Self::default()
    }

    pub(in crate::bridge) fn nil(&mut self) {
        let Ok(()) = encode::write_nil(&mut self.0);
    }

    pub(in crate::bridge) fn bool(&mut self, it: bool) {
        let Ok(()) = encode::write_bool(&mut self.0, it);
    }

    pub(in crate::bridge) fn uint(&mut self, it: u64) {
        let Ok(_) = encode::write_uint(&mut self.0, it);
    }

    pub(in crate::bridge) fn int(&mut self, it: i64) {
        let Ok(_) = encode::write_sint(&mut self.0, it);
    }

    pub(in crate::bridge) fn float(&mut self, it: f64) {
        let Ok(()) = encode::write_f64(&mut self.0, it);
    }

    pub(in crate::bridge) fn text(&mut self, it: &str) {
        let Ok(()) = encode::write_str(&mut self.0, it);
    }

    pub(in crate::bridge) fn binary(&mut self, it: &[u8]) {
        let Ok(()) = encode::write_bin(&mut self.0, it);
    }

    /// A value that was read, or written by another.
    pub(in crate::bridge) fn raw(&mut self, it: &[u8]) {
        self.0.as_mut_vec().extend_from_slice(it);
    }

    pub(in crate::bridge) fn list(&mut self, len: usize) {
        let Ok(_) = encode::write_array_len(&mut self.0, count(len));
    }

    pub(in crate::bridge) fn map(&mut self, len: usize) {
        let Ok(_) = encode::write_map_len(&mut self.0, count(len));
    }

    /// An event's name and its arguments, or what acknowledges it, as a worker has it.
    ///
    /// # Errors
    /// When it is nested too deep, or no JSON, or no msgpack.
    pub(in crate::bridge) fn value(&mut self, value: &Value) -> Result<(), NotepackError> {
        let none = VecDeque::new();
        match value {
            Value::Str(text, attachments) => {
                let attachments = attachments.as_ref().unwrap_or(&none);
                self.json(text, attachments)
            }
            Value::Bytes(bytes) => {
                let mut reader = Reader::new(bytes);
                self.copy(&mut reader, MAX_DEPTH)?;
                reader.end()
            }
        }
    }

    fn json(&mut self, text: &str, attachments: &VecDeque<Bytes>) -> Result<(), NotepackError> {
        let mut json = serde_json::Deserializer::from_str(text);
        let from = FromJson {
            out: self,
            attachments,
            depth: MAX_DEPTH,
        };
        let read = from.deserialize(&mut json).and_then(|_| json.end());
        read.map_err(|_| NotepackError::Json)
    }

    /// Writes a value of either dialect once more.
    fn copy(&mut self, reader: &mut Reader, depth: usize) -> Result<(), NotepackError> {
        match reader.next()? {
            Token::Nil | Token::Undefined => self.nil(),
            Token::Bool(it) => self.bool(it),
            Token::Uint(it) => self.uint(it),
            Token::Int(it) => self.int(it),
            Token::Float(it) => self.float(it),
            Token::Text(it) => self.text(&String::from_utf8_lossy(it)),
            Token::Binary(it) => self.binary(it),
            Token::Date(ms) => {
                let mut text = Vec::new();
                let written = date::write(&mut text, ms).ok();
                match written.and_then(|()| serde_json::from_slice::<&str>(&text).ok()) {
                    Some(text) => self.text(text),
                    None => self.nil(),
                }
            }
            Token::Ext(kind, bytes) => {
                self.list(2);
                self.int(kind.into());
                self.binary(bytes);
            }
            Token::List(len) => {
                let depth = depth.checked_sub(1).ok_or(NotepackError::Depth)?;
                self.list(len);
                for _ in 0..len {
                    self.copy(reader, depth)?;
                }
            }
            Token::Map(len) => {
                let depth = depth.checked_sub(1).ok_or(NotepackError::Depth)?;
                self.map(len);
                for _ in 0..len {
                    self.text(&super::event::key(reader)?);
                    self.copy(reader, depth)?;
                }
            }
        }
        Ok(())
    }

    pub(in crate::bridge) fn finish(self) -> Bytes {
        self.0.into_vec().into()
    }

    fn len(&self) -> usize {
        self.0.as_slice().len()
    }

    /// Begins a list or a map of which nobody knows yet how long it will be.
    fn begin(&mut self, marker: rmp::Marker) -> usize {
        let at = self.len();
        let bytes = self.0.as_mut_vec();
        bytes.push(marker.to_u8());
        bytes.extend([0; 4]);
        at
    }

    /// Writes how long it has become.
    fn end(&mut self, at: usize, len: u32) {
        let place = self.0.as_mut_vec().get_mut(at + 1..at + 5);
        if let Some(place) = place {
            place.copy_from_slice(&len.to_be_bytes());
        }
    }

    fn truncate(&mut self, len: usize) {
        self.0.as_mut_vec().truncate(len);
    }
}

/// Nothing is as long as that: a frame has 32 MiB.
fn count(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

/// JSON on its way into msgpack.
struct FromJson<'w, 'a> {
    out: &'w mut Writer,
    attachments: &'a VecDeque<Bytes>,
    depth: usize,
}

/// What a value was, as far as a placeholder's are concerned.
enum Seen {
    True,
    Number(u64),
    Other,
}

impl FromJson<'_, '_> {
    fn deeper<E: de::Error>(&mut self) -> Result<FromJson<'_, '_>, E> {
        let depth = self.depth.checked_sub(1);
        Ok(FromJson {
            out: self.out,
            attachments: self.attachments,
            depth: depth.ok_or_else(|| E::custom(NotepackError::Depth))?,
        })
    }
}

impl<'de> DeserializeSeed<'de> for FromJson<'_, '_> {
    type Value = Seen;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Seen, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for FromJson<'_, '_> {
    type Value = Seen;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Seen, E> {
        self.out.nil();
        Ok(Seen::Other)
    }

    fn visit_bool<E>(self, it: bool) -> Result<Seen, E> {
        self.out.bool(it);
        Ok(if it { Seen::True } else { Seen::Other })
    }

    fn visit_u64<E>(self, it: u64) -> Result<Seen, E> {
        self.out.uint(it);
        Ok(Seen::Number(it))
    }

    fn visit_i64<E>(self, it: i64) -> Result<Seen, E> {
        self.out.int(it);
        Ok(Seen::Other)
    }

    fn visit_f64<E>(self, it: f64) -> Result<Seen, E> {
        self.out.float(it);
        Ok(Seen::Other)
    }

    fn visit_str<E>(self, it: &str) -> Result<Seen, E> {
        self.out.text(it);
        Ok(Seen::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut values: A) -> Result<Seen, A::Error> {
        let at = self.out.begin(rmp::Marker::Array32);
        let mut len = 0;
        while values.next_element_seed(self.deeper()?)?.is_some() {
            len += 1;
        }
        self.out.end(at, len);
        Ok(Seen::Other)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut pairs: A) -> Result<Seen, A::Error> {
        let at = self.out.begin(rmp::Marker::Map32);
        let (mut len, mut is_placeholder, mut number) = (0, false, None);
        while let Some(key) = pairs.next_key::<String>()? {
            len += 1;
            self.out.text(&key);
            match (pairs.next_value_seed(self.deeper()?)?, key.as_str()) {
                (Seen::True, "_placeholder") => is_placeholder = true,
                (Seen::Number(it), "num") => number = Some(it),
                _ => {}
            }
        }
        let Some(number) = number.filter(|_| is_placeholder) else {
            self.out.end(at, len);
            return Ok(Seen::Other);
        };
        let number = usize::try_from(number).ok();
        let attachment = number.and_then(|number| self.attachments.get(number));
        let attachment = attachment.ok_or_else(|| de::Error::custom("no such attachment"))?;
        self.out.truncate(at);
        self.out.binary(attachment);
        Ok(Seen::Other)
    }
}
