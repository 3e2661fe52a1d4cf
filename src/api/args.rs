//! An event's arguments, whatever they are: for handlers that pass them on without looking.

mod places;
mod streamed;
#[cfg(test)]
mod tests;
mod tree;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use engineioxide::guard;
use serde::de::{SeqAccess, Visitor};
use serde::ser::{SerializeStruct, SerializeTuple};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use socketioxide::adapter::Adapter;
use socketioxide::extract::AckSender;
use socketioxide::handler::FromMessageParts;
use socketioxide::socket::Socket;
use socketioxide_core::{Str, Value};

use self::places::Attachments;
use self::streamed::{Json, Packed};
use self::tree::Tree;

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
    /// There is no list of them.
    #[error("the event's arguments are no list")]
    NoList,
    /// Not msgpack, or nested deeper than 128.
    #[error("the event's arguments are not msgpack: {0}")]
    Msgpack(#[from] rmp_serde::decode::Error),
    /// A placeholder for an attachment that did not come.
    #[error("the event names an attachment that it does not have")]
    Attachment,
    /// Placeholders that name the same attachments again, for more than a MiB of them.
    #[error("the event names its attachments too often")]
    Repeated,
}

/// One argument, of any type, binary included. Serialised, alone or as a part of something else, it
/// is the argument again.
#[derive(Debug, Clone)]
pub struct Arg(Held);

#[derive(Debug, Clone)]
enum Held {
    /// JSON without attachments, to the letter: numbers keep their spelling, nesting has no limit.
    Text(Str),
    /// The same with attachments.
    Json(Json),
    Packed(Packed),
    Tree(Tree),
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

    /// Of an event, whose name comes first.
    fn of_event(value: &Value) -> Result<Self, ArgsError> {
        Self::read(value, 1)
    }

    /// Of an acknowledgement.
    pub(super) fn of_ack(value: &Value) -> Result<Self, ArgsError> {
        Self::read(value, 0)
    }

    fn read(value: &Value, skip: usize) -> Result<Self, ArgsError> {
        match value {
            Value::Str(text, None) => Self::read_json(text, &VecDeque::new(), skip),
            Value::Str(text, Some(attachments)) => Self::read_json(text, attachments, skip),
            Value::Bytes(packed) => {
                let all = Packed::items(packed)?.into_iter().skip(skip);
                Ok(Self(all.map(|item| Arg(Held::Packed(item))).collect()))
            }
        }
    }

    /// Of JSON. The engine has checked it: it is read no further than to where each argument ends, and kept as it is.
    fn read_json(
        text: &Str,
        attachments: &VecDeque<Bytes>,
        skip: usize,
    ) -> Result<Self, ArgsError> {
        let all = guard::elements(text).ok_or(ArgsError::NoList)?;
        let mut attachments = Attachments::new(attachments);
        let args = all.into_iter().skip(skip).map(|place| {
            let text = text.slice(place);
            if attachments.are_none() || !text.contains("_placeholder") {
                return Ok(Arg(Held::Text(text)));
            }
            let placed = attachments.of(&text)?;
            if placed.is_empty() {
                return Ok(Arg(Held::Text(text)));
            }
            Ok(Arg(Held::Json(Json {
                text,
                attachments: placed,
            })))
        });
        args.collect::<Result<_, _>>().map(Self)
    }
}

impl Arg {
    /// The argument, if it is a text.
    #[must_use]
    pub fn into_text(self) -> Option<String> {
        match self.0 {
            Held::Text(text) => serde_json::from_str(&text).ok(),
            Held::Packed(packed) => packed.text(),
            Held::Tree(Tree::Text(text)) => Some(text),
            Held::Json(_) | Held::Tree(_) => None,
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

struct After<'a>(&'a str, &'a Args);

/// JSON that is written as it is: `serde_json`'s `RawValue`, but for the look at whether it is JSON.
struct Raw<'a>(&'a str);

impl Raw<'_> {
    /// What `serde_json` knows it by.
    const TOKEN: &'static str = "$serde_json::private::RawValue";
}

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut raw = serializer.serialize_struct(Self::TOKEN, 1)?;
        raw.serialize_field(Self::TOKEN, self.0)?;
        raw.end()
    }
}

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
            Held::Text(text) => Raw(text).serialize(serializer),
            Held::Json(json) => json.serialize(serializer),
            Held::Packed(packed) => packed.serialize(serializer),
            Held::Tree(tree) => tree.serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Arg {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Tree::deserialize(deserializer).map(Self::from)
    }
}

/// For acknowledgements: an `AckStream<Args>` has all that each client answered. What serde is shown of them
/// is less than their text: see [`ask`](super::ask()).
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
        Self::of_event(value)
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
