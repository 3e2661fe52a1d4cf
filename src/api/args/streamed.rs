//! Arguments that are kept as they came, and read when they are written: as a tree of values, small ones take fifty
//! times their text.

use std::cell::{Cell, RefCell};
use std::fmt;

use bytes::Bytes;
use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{Error as _, SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use socketioxide_core::Str;

use super::ArgsError;
use super::places::{Place, Walk};
use super::tree::Tree;

/// How deep what is in msgpack may be nested; in JSON `serde_json` goes 128 deep.
const DEPTH: usize = 128;

type Unpacker<'a> = rmp_serde::Deserializer<rmp_serde::decode::ReadRefReader<'a, [u8]>>;

/// JSON with attachments.
#[derive(Debug, Clone)]
pub(super) struct Json {
    pub(super) text: Str,
    pub(super) attachments: Vec<(Place, Bytes)>,
}

/// Msgpack, which has been looked through.
#[derive(Debug, Clone)]
pub(super) struct Packed(Bytes);

impl Packed {
    /// The items of a list.
    pub(super) fn items(list: &Bytes) -> Result<Vec<Self>, ArgsError> {
        let (count, mut at) = list_head(list).ok_or(ArgsError::NoList)?;
        let mut items = Vec::new();
        for _ in 0..count {
            let rest = list.get(at..).unwrap_or_default();
            let mut unpacker = rmp_serde::Deserializer::new(std::io::Cursor::new(rest));
            unpacker.set_max_depth(DEPTH);
            IgnoredAny::deserialize(&mut unpacker)?;
            let end = at.saturating_add(usize::try_from(unpacker.position()).unwrap_or(usize::MAX));
            items.push(Self(list.slice(at..end.min(list.len()))));
            at = end;
        }
        Ok(items)
    }

    /// The text, if it is one.
    pub(super) fn text(&self) -> Option<String> {
        match self.0.first() {
            Some(0xa0..=0xbf | 0xd9..=0xdb) => rmp_serde::from_slice(&self.0).ok(),
            _ => None,
        }
    }
}

/// How many items a list in msgpack has, and how long its head is.
fn list_head(list: &[u8]) -> Option<(usize, usize)> {
    match *list {
        [head @ 0x90..=0x9f, ..] => Some((usize::from(head & 0x0f), 1)),
        [0xdc, a, b, ..] => Some((usize::from(u16::from_be_bytes([a, b])), 3)),
        [0xdd, a, b, c, d, ..] => {
            let count = u32::from_be_bytes([a, b, c, d]);
            Some((usize::try_from(count).ok()?, 5))
        }
        _ => None,
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let placing = Placing::of(&self.attachments);
        let mut reader = serde_json::Deserializer::from_str(&self.text);
        Once::new(&mut reader, &placing).serialize(serializer)
    }
}

impl Serialize for Packed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let placing = Placing::of(&[]);
        let mut unpacker: Unpacker<'_> = rmp_serde::Deserializer::from_read_ref(&*self.0);
        unpacker.set_max_depth(DEPTH);
        Once::new(&mut unpacker, &placing).serialize(serializer)
    }
}

/// How far an argument is written.
struct Placing<'a> {
    attachments: Cell<&'a [(Place, Bytes)]>,
    /// Objects so far.
    objects: Cell<Place>,
}

impl<'a> Placing<'a> {
    fn of(attachments: &'a [(Place, Bytes)]) -> Self {
        Self {
            attachments: Cell::new(attachments),
            objects: Cell::default(),
        }
    }

    /// An object begins. Is an attachment in its place?
    fn begin_object(&self) -> Option<&'a Bytes> {
        let place = self.objects.get();
        self.objects.set(place.saturating_add(1));
        let (first, rest) = self.attachments.get().split_first()?;
        if first.0 != place {
            return None;
        }
        self.attachments.set(rest);
        Some(&first.1)
    }
}

/// A value that can be read, and written, once.
struct Once<'a, 'p, D> {
    reader: Cell<Option<D>>,
    placing: &'a Placing<'p>,
}

impl<'a, 'p, D> Once<'a, 'p, D> {
    fn new(reader: D, placing: &'a Placing<'p>) -> Self {
        Self {
            reader: Cell::new(Some(reader)),
            placing,
        }
    }
}

impl<'de, D: Deserializer<'de>> Serialize for Once<'_, '_, D> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let reader = self.reader.take();
        let reader = reader.ok_or_else(|| S::Error::custom("it was written already"))?;
        let written = reader.deserialize_any(Writer(serializer, self.placing));
        written.map_err(S::Error::custom)
    }
}

/// Writes a value as it is read.
struct Writer<'a, 'p, S>(S, &'a Placing<'p>);

macro_rules! write_as {
    ($($visit:ident($type:ty) = $serialize:ident)*) => {
        $(fn $visit<E: serde::de::Error>(self, value: $type) -> Result<S::Ok, E> {
            self.0.$serialize(value).map_err(E::custom)
        })*
    };
}

impl<'de, S: Serializer> Visitor<'de> for Writer<'_, '_, S> {
    type Value = S::Ok;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }
    fn visit_unit<E: serde::de::Error>(self) -> Result<S::Ok, E> {
        self.0.serialize_unit().map_err(E::custom)
    }
    fn visit_none<E: serde::de::Error>(self) -> Result<S::Ok, E> {
        self.visit_unit()
    }
    write_as! {
        visit_bool(bool) = serialize_bool
        visit_u64(u64) = serialize_u64
        visit_i64(i64) = serialize_i64
        visit_f64(f64) = serialize_f64
        visit_str(&str) = serialize_str
        visit_bytes(&[u8]) = serialize_bytes
    }
    fn visit_newtype_struct<D: Deserializer<'de>>(self, ext: D) -> Result<S::Ok, D::Error> {
        let ext = Tree::of_ext(ext)?;
        ext.serialize(self.0).map_err(D::Error::custom)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<S::Ok, A::Error> {
        let list = self.0.serialize_seq(items.size_hint());
        let list = RefCell::new(list.map_err(A::Error::custom)?);
        while items.next_element_seed(Item(&list, self.1))?.is_some() {}
        list.into_inner().end().map_err(A::Error::custom)
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<S::Ok, A::Error> {
        if let Some(attachment) = self.1.begin_object() {
            let walk = Walk::from(self.1.objects.get());
            while entries.next_key::<IgnoredAny>()?.is_some() {
                entries.next_value_seed(&walk)?;
            }
            self.1.objects.set(walk.objects());
            return self.0.serialize_bytes(attachment).map_err(A::Error::custom);
        }
        let map = self.0.serialize_map(entries.size_hint());
        let map = RefCell::new(map.map_err(A::Error::custom)?);
        while entries.next_key_seed(Key(&map, self.1))?.is_some() {
            entries.next_value_seed(Entry(&map, self.1))?;
        }
        map.into_inner().end().map_err(A::Error::custom)
    }
}

/// Writes the next item, key or value of what is being written.
macro_rules! write_next {
    ($name:ident, $compound:ident, $serialize:ident) => {
        struct $name<'a, 'p, C>(&'a RefCell<C>, &'a Placing<'p>);

        impl<'de, C: $compound> DeserializeSeed<'de> for $name<'_, '_, C> {
            type Value = ();

            fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
                let written = self.0.borrow_mut().$serialize(&Once::new(reader, self.1));
                written.map_err(D::Error::custom)
            }
        }
    };
}

write_next!(Item, SerializeSeq, serialize_element);
write_next!(Key, SerializeMap, serialize_key);
write_next!(Entry, SerializeMap, serialize_value);
