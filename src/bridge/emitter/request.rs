//! Something to be done with sockets, or told to applications.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::de::{self, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Number;
use serde_json::value::RawValue;
use socketioxide_core::adapter::Room;

use super::{EmitterError, MAX_ROOMS, Message, is_server, scope};
use crate::bridge::notepack;
use crate::wire::frame::{Body, Command};

/// A request, whoever makes it.
#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow, default)]
    uid: Option<Cow<'a, str>>,
    #[serde(borrow, rename = "requestId", default)]
    id: Option<&'a RawValue>,
    #[serde(rename = "type")]
    kind: u64,
    #[serde(borrow, default)]
    opts: Option<&'a RawValue>,
    #[serde(borrow, default)]
    rooms: Option<&'a RawValue>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

/// Which sockets. What is not there is empty, as for Node.
#[derive(Deserialize)]
struct Scope {
    #[serde(default)]
    rooms: Rooms,
    #[serde(default)]
    except: Rooms,
}

/// Names of rooms; numbers are their text.
#[derive(Default)]
struct Rooms(Vec<Room>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Number(Number),
}

/// An event, and what a handler of [`Cluster::on`] is given.
///
/// [`Cluster::on`]: crate::api::Cluster::on
struct ServerSide {
    event: String,
    data: String,
}

/// Reads a request. `address`: what stands behind `K-request#` in the channel's name.
pub(super) fn decode(address: &str, payload: &Bytes) -> Result<Message, EmitterError> {
    let ns = address.strip_suffix('#').ok_or(EmitterError::Channel)?;
    // As Node tells them apart.
    let json = match payload.first() {
        Some(b'{') => String::from_utf8_lossy(payload),
        _ => Cow::Owned(notepack::json(payload)?),
    };
    let request: Request = read(&json)?;
    // Emitters await no answers.
    let uid = request.uid.as_deref().unwrap_or("");
    if is_server(uid.as_bytes()) || request.id.is_some() {
        return Ok(Message::OfServer);
    }
    let part = |part: Option<&'_ RawValue>, name| match part {
        Some(part) => Ok(part.get().to_owned()),
        None => Err(EmitterError::Lacks(name)),
    };
    let command = match request.kind {
        2 => Command::Join(read::<Rooms>(&part(request.rooms, "rooms")?)?.0),
        3 => Command::Leave(read::<Rooms>(&part(request.rooms, "rooms")?)?.0),
        // Whether the connection shall be closed, too, is more than can be done with a namespace here.
        4 => Command::Disconnect,
        6 => {
            let ServerSide { event, data } = read(&part(request.data, "data")?)?;
            return Ok(Message::Emitted(Box::new(Body::ServerSide {
                event: event.into(),
                data: data.into(),
            })));
        }
        kind => return Err(EmitterError::Request(kind)),
    };
    let Scope { rooms, except } = read(&part(request.opts, "opts")?)?;
    Ok(Message::Emitted(Box::new(Body::Command {
        ns: ns.to_owned().into(),
        opts: scope(rooms.0, except.0, false),
        command,
    })))
}

/// What is wrong is told by its place: the words of a parser would bring the message into the log.
fn read<'a, T: Deserialize<'a>>(json: &'a str) -> Result<T, EmitterError> {
    serde_json::from_str(json).map_err(|error| EmitterError::Json(error.column()))
}

impl<'de> Deserialize<'de> for Rooms {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = Rooms;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("names of rooms")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<Rooms, A::Error> {
                let mut rooms = Vec::new();
                while let Some(name) = names.next_element()? {
                    if rooms.len() == MAX_ROOMS {
                        return Err(de::Error::custom("too many rooms"));
                    }
                    rooms.push(Room::Owned(match name {
                        Name::Text(name) => name,
                        Name::Number(name) => name.to_string(),
                    }));
                }
                Ok(Rooms(rooms))
            }
        }
        deserializer.deserialize_seq(List)
    }
}

impl<'de> Deserialize<'de> for ServerSide {
    /// `serverSideEmit(event, …args)`, for a handler that is given one value: the argument when there is one, a
    /// list of them when there are more, `null` when there are none.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List;
        impl<'de> Visitor<'de> for List {
            type Value = ServerSide;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an event's name and its arguments")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<ServerSide, A::Error> {
                let event = values.next_element()?;
                let event = event.ok_or_else(|| de::Error::invalid_length(0, &self))?;
                let first: Option<&RawValue> = values.next_element()?;
                let mut data = first.map_or("null", RawValue::get).to_owned();
                let mut more = 0;
                while let Some(value) = values.next_element::<&RawValue>()? {
                    if more == 0 {
                        data.insert(0, '[');
                    }
                    data.push(',');
                    data.push_str(value.get());
                    more += 1;
                }
                if more > 0 {
                    data.push(']');
                }
                Ok(ServerSide { event, data })
            }
        }
        deserializer.deserialize_seq(List)
    }
}
