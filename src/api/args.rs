//! An event's arguments, whatever they are: for handlers that pass them on without looking.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq, SerializeTuple};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use socketioxide::adapter::Adapter;
use socketioxide::extract::AckSender;
use socketioxide::handler::FromMessageParts;
use socketioxide::socket::Socket;
use socketioxide_core::Value;

/// All arguments of an event, of any number and type, binary included. Serialised, they are the
/// arguments again: `socket.emit(event, &args)`.
#[derive(Debug, Clone)]
pub struct Args(Vec<Arg>);

/// The sender of the acknowledgement, if the client asked for one.
pub struct Ack<A: Adapter = super::Adapter>(pub Option<AckSender<A>>);

/// The arguments of an event could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ArgsError {
    /// Not JSON, or JSON with attachments nested deeper than `serde_json` goes (128).
    #[error("the event's arguments are not JSON: {0}")]
    Json(#[from] serde_json::Error),
    /// Not msgpack.
    #[error("the event's arguments are not msgpack: {0}")]
    Msgpack(#[from] rmp_serde::decode::Error),
    /// A placeholder for an attachment that did not come, or that has its place already.
    #[error("the event names an attachment that it does not have, or twice")]
    Attachment,
}

/// One argument, of any type, binary included. Serialised, alone or as a part of something else, it
/// is the argument again.
#[derive(Debug, Clone)]
pub struct Arg(Held);

#[derive(Debug, Clone)]
enum Held {
    /// JSON without attachments, to the letter: numbers keep their spelling, nesting has no limit.
    Text(Box<RawValue>),
    Tree(Tree),
}

/// A value with binary in it, or one that came as msgpack.
#[derive(Debug, Clone)]
enum Tree {
    Nil,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    Binary(Bytes),
    /// A msgpack extension: JavaScript's `Date` and `undefined` travel as such.
    Ext(i8, Bytes),
    Seq(Vec<Tree>),
    Map(Vec<(Tree, Tree)>),
}

impl Args {
    /// The arguments with `first` before them, as one acknowledgement.
    #[must_use]
    pub fn after<'a>(&'a self, first: &'a str) -> impl Serialize + 'a {
        After(first, self)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Are there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The arguments, if there are as many as this.
    #[must_use]
    pub fn exactly<const N: usize>(self) -> Option<[Arg; N]> {
        self.0.try_into().ok()
    }

    fn read(value: &Value) -> Result<Self, ArgsError> {
        match value {
            Value::Str(text, None) => Self::read_json(text, &VecDeque::new()),
            Value::Str(text, Some(attachments)) => Self::read_json(text, attachments),
            Value::Bytes(packed) => {
                let all: Vec<Tree> = rmp_serde::from_slice(packed)?;
                Ok(all.into_iter().skip(1).collect())
            }
        }
    }

    fn read_json(text: &str, attachments: &VecDeque<Bytes>) -> Result<Self, ArgsError> {
        let all: Vec<Box<RawValue>> = serde_json::from_str(text)?;
        // The first is the event's name.
        let mut left: Vec<_> = attachments.iter().cloned().map(Some).collect();
        let args = all.into_iter().skip(1).map(|raw| {
            if attachments.is_empty() || !raw.get().contains("_placeholder") {
                return Ok(Arg(Held::Text(raw)));
            }
            let tree: Tree = serde_json::from_str(raw.get())?;
            tree.with(&mut left).map(Arg::from)
        });
        args.collect::<Result<_, _>>().map(Self)
    }
}

impl Arg {
    /// The argument, if it is a text.
    #[must_use]
    pub fn into_text(self) -> Option<String> {
        match self.0 {
            Held::Text(raw) => serde_json::from_str(raw.get()).ok(),
            Held::Tree(Tree::Text(text)) => Some(text),
            Held::Tree(_) => None,
        }
    }
}

impl Default for Arg {
    /// JavaScript's `null`.
    fn default() -> Self {
        Tree::Nil.into()
    }
}

impl From<Tree> for Arg {
    fn from(tree: Tree) -> Self {
        Self(Held::Tree(tree))
    }
}

impl FromIterator<Tree> for Args {
    fn from_iter<I: IntoIterator<Item = Tree>>(trees: I) -> Self {
        Self(trees.into_iter().map(Arg::from).collect())
    }
}

impl IntoIterator for Args {
    type Item = Arg;
    type IntoIter = std::vec::IntoIter<Arg>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Tree {
    /// Puts the attachments where their placeholders are (`{"_placeholder":true,"num":0}`,
    /// Socket.IO protocol revision 5, "Sending and receiving binary data"). Each has one place:
    /// clients number every occurrence, and one that is named again and again would be copied as
    /// often.
    fn with(self, left: &mut [Option<Bytes>]) -> Result<Self, ArgsError> {
        Ok(match self {
            Self::Seq(items) => Self::Seq(
                items
                    .into_iter()
                    .map(|item| item.with(left))
                    .collect::<Result<_, _>>()?,
            ),
            Self::Map(entries) => match placeholder(&entries) {
                Some(num) => {
                    let place = usize::try_from(num).ok().and_then(|num| left.get_mut(num));
                    Self::Binary(place.and_then(Option::take).ok_or(ArgsError::Attachment)?)
                }
                None => Self::Map(
                    entries
                        .into_iter()
                        .map(|(key, value)| Ok((key, value.with(left)?)))
                        .collect::<Result<_, ArgsError>>()?,
                ),
            },
            leaf => leaf,
        })
    }
}

fn placeholder(entries: &[(Tree, Tree)]) -> Option<u64> {
    let get = |name: &str| {
        entries
            .iter()
            .find(|(key, _)| matches!(key, Tree::Text(key) if key == name))
    };
    match (get("_placeholder"), get("num")) {
        (Some((_, Tree::Bool(true))), Some((_, Tree::Unsigned(num)))) => Some(*num),
        _ => None,
    }
}

struct After<'a>(&'a str, &'a Args);

// A tuple is what socketioxide sends as several arguments.
impl Serialize for Args {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(self.0.len())?;
        self.0
            .iter()
            .try_for_each(|arg| tuple.serialize_element(arg))?;
        tuple.end()
    }
}

impl Serialize for After<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self(first, Args(args)) = self;
        let mut tuple = serializer.serialize_tuple(args.len() + 1)?;
        tuple.serialize_element(first)?;
        args.iter()
            .try_for_each(|arg| tuple.serialize_element(arg))?;
        tuple.end()
    }
}

impl Serialize for Arg {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Held::Text(raw) => raw.serialize(serializer),
            Held::Tree(tree) => tree.serialize(serializer),
        }
    }
}

/// serde's `[u8]` is a list of numbers; this is binary.
struct Binary<'a>(&'a [u8]);

impl Serialize for Binary<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nil => serializer.serialize_unit(),
            Self::Bool(value) => serializer.serialize_bool(*value),
            Self::Unsigned(value) => serializer.serialize_u64(*value),
            Self::Signed(value) => serializer.serialize_i64(*value),
            Self::Float(value) => serializer.serialize_f64(*value),
            Self::Text(value) => serializer.serialize_str(value),
            Self::Binary(value) => serializer.serialize_bytes(value),
            Self::Ext(tag, data) => serializer.serialize_newtype_struct(
                rmp_serde::MSGPACK_EXT_STRUCT_NAME,
                &(*tag, Binary(data)),
            ),
            Self::Seq(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                items
                    .iter()
                    .try_for_each(|item| seq.serialize_element(item))?;
                seq.end()
            }
            Self::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                entries
                    .iter()
                    .try_for_each(|(key, value)| map.serialize_entry(key, value))?;
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TreeVisitor;

        impl<'de> Visitor<'de> for TreeVisitor {
            type Value = Tree;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }
            fn visit_unit<E>(self) -> Result<Tree, E> {
                Ok(Tree::Nil)
            }
            fn visit_none<E>(self) -> Result<Tree, E> {
                Ok(Tree::Nil)
            }
            fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
                Ok(Tree::Bool(value))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
                Ok(Tree::Unsigned(value))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
                Ok(Tree::Signed(value))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
                Ok(Tree::Float(value))
            }
            fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
                Ok(Tree::Text(value.to_owned()))
            }
            fn visit_string<E>(self, value: String) -> Result<Tree, E> {
                Ok(Tree::Text(value))
            }
            fn visit_bytes<E>(self, value: &[u8]) -> Result<Tree, E> {
                Ok(Tree::Binary(Bytes::copy_from_slice(value)))
            }
            fn visit_byte_buf<E>(self, value: Vec<u8>) -> Result<Tree, E> {
                Ok(Tree::Binary(value.into()))
            }
            fn visit_newtype_struct<D: Deserializer<'de>>(self, ext: D) -> Result<Tree, D::Error> {
                let (tag, data) = <(i8, Tree)>::deserialize(ext)?;
                match data {
                    Tree::Binary(data) => Ok(Tree::Ext(tag, data)),
                    _ => Err(serde::de::Error::custom("an extension holds bytes")),
                }
            }
            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Tree, S::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Tree::Seq(items))
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Tree, M::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Tree::Map(entries))
            }
        }

        deserializer.deserialize_any(TreeVisitor)
    }
}

impl<'de> Deserialize<'de> for Arg {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Tree::deserialize(deserializer).map(Self::from)
    }
}

/// For acknowledgements: an `AckStream<Args>` has all that each client answered.
impl<'de> Deserialize<'de> for Args {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ArgsVisitor;

        impl<'de> Visitor<'de> for ArgsVisitor {
            type Value = Args;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("arguments")
            }
            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Args, S::Error> {
                std::iter::from_fn(|| seq.next_element::<Tree>().transpose()).collect()
            }
        }

        // To socketioxide a tuple is a list of arguments; how long it says it is does not matter.
        deserializer.deserialize_tuple(usize::MAX, ArgsVisitor)
    }
}

impl<A: Adapter> FromMessageParts<A> for Args {
    type Error = ArgsError;

    fn from_message_parts(
        _: &Arc<Socket<A>>,
        value: &mut Value,
        _: &Option<i64>,
    ) -> Result<Self, ArgsError> {
        Self::read(value)
    }
}

impl<A: Adapter> FromMessageParts<A> for Ack<A> {
    type Error = Infallible;

    fn from_message_parts(
        socket: &Arc<Socket<A>>,
        value: &mut Value,
        ack_id: &Option<i64>,
    ) -> Result<Self, Infallible> {
        match ack_id {
            Some(_) => {
                AckSender::from_message_parts(socket, value, ack_id).map(|ack| Self(Some(ack)))
            }
            None => Ok(Self(None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socketioxide_core::parser::Parse;
    use socketioxide_parser_common::CommonParser;
    use socketioxide_parser_msgpack::MsgPackParser;

    fn echo(parser: impl Parse, event: &Value) -> Value {
        parser
            .encode_value(&Args::read(event).unwrap(), Some("e"))
            .unwrap()
    }

    fn text(json: &str, attachments: &[&[u8]]) -> Value {
        let attachments: VecDeque<_> = attachments
            .iter()
            .map(|&bytes| Bytes::copy_from_slice(bytes))
            .collect();
        Value::Str(
            json.to_owned().into(),
            (!attachments.is_empty()).then_some(attachments),
        )
    }

    #[test]
    fn json_comes_back_to_the_letter() {
        let deep = format!("[\"e\",{}1{}]", "[".repeat(5000), "]".repeat(5000));
        for json in [
            r#"["e"]"#,
            r#"["e",1,2.50,-0,1e400,12345678901234567890123,"\u0000é😀",null,{},[]]"#,
            r#"["e",{"_placeholder":true,"num":0}]"#,
            &deep,
        ] {
            let event = text(json, &[]);
            assert_eq!(echo(CommonParser, &event), event, "{json}");
        }
    }

    #[test]
    fn attachments_come_back_in_their_places() {
        let event = text(
            r#"["e",{"a":{"_placeholder":true,"num":0},"n":0.1},[{"_placeholder":true,"num":1}],1.0]"#,
            &[b"", b"\x00\xff"],
        );
        assert_eq!(echo(CommonParser, &event), event);
    }

    #[test]
    fn an_attachment_that_is_missing_or_named_twice_is_an_error() {
        let event = text(r#"["e",{"_placeholder":true,"num":9}]"#, &[b"x"]);
        assert!(matches!(Args::read(&event), Err(ArgsError::Attachment)));
        let placeholder = r#"{"_placeholder":true,"num":0}"#;
        let event = text(&format!(r#"["e",{placeholder},{placeholder}]"#), &[b"x"]);
        assert!(matches!(Args::read(&event), Err(ArgsError::Attachment)));
    }

    #[test]
    fn msgpack_comes_back_with_dates_undefined_and_binary() {
        // ["e", undefined, Date, bin 2, -1, {"k": 1.5}, 2^53], as notepack writes it.
        let packed = b"\x97\xa1e\xd4\0\0\xd7\0\0\0\x01\x8b\xcf\xe5h\0\xc4\x02\0\xff\xff\
            \x81\xa1k\xcb\x3f\xf8\0\0\0\0\0\0\xcf\0\x20\0\0\0\0\0\0";
        let event = Value::Bytes(Bytes::from_static(packed));
        assert_eq!(echo(MsgPackParser, &event), event);
    }

    #[test]
    fn an_acknowledgement_carries_the_name_first() {
        let args = Args::read(&text(r#"["a",1]"#, &[])).unwrap();
        let ack = CommonParser.encode_value(&args.after("a"), None).unwrap();
        assert_eq!(ack, text(r#"["a",1]"#, &[]));
    }
}
