//! What is written in JSON: most requests, and most answers.

use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use socketioxide_core::adapter::Room;

use super::{Chosen, LONGEST_ID, ReadError, Request, Response, Said, Target, What};

/// A room or an id: rooms may be numbers in JavaScript.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Int(i64),
    Other(IgnoredAny),
}

#[derive(Debug, Default, Deserialize)]
struct JsonTarget {
    #[serde(default)]
    rooms: Vec<Name>,
    #[serde(default)]
    except: Vec<Name>,
}

#[derive(Debug, Deserialize)]
struct JsonSocket {
    id: String,
    #[serde(default)]
    rooms: Vec<Name>,
}

#[derive(Debug, Deserialize)]
struct JsonRequest<'a> {
    #[serde(default)]
    uid: String,
    #[serde(rename = "requestId")]
    id: Option<String>,
    #[serde(rename = "type")]
    kind: u64,
    opts: Option<JsonTarget>,
    #[serde(default)]
    rooms: Vec<Name>,
    sid: Option<String>,
    room: Option<Name>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize)]
struct JsonResponse<'a> {
    #[serde(rename = "requestId")]
    id: String,
    #[serde(rename = "type")]
    kind: Option<u64>,
    #[serde(borrow)]
    sockets: Option<&'a RawValue>,
    #[serde(rename = "clientCount")]
    clients: Option<u64>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

pub(super) fn request<'a>(json: &[u8]) -> Result<Request<'a>, ReadError> {
    let read: JsonRequest = serde_json::from_slice(json)?;
    let chosen = match (read.opts, read.sid) {
        (Some(opts), _) => Some(Chosen::Target(opts.into())),
        (None, Some(sid)) => Some(Chosen::Socket(sid.into())),
        (None, None) => None,
    };
    let needed = || chosen.ok_or(ReadError::Form("a socket"));
    let rooms = || match read.room {
        Some(room) => names(vec![room]),
        None => names(read.rooms),
    };
    let what = match read.kind {
        0 => What::Sockets(Target {
            rooms: rooms(),
            ..Target::default()
        }),
        1 => What::Rooms,
        2 => What::Join(needed()?, rooms()),
        3 => What::Leave(needed()?, rooms()),
        4 => What::Disconnect(needed()?),
        5 => match needed()? {
            Chosen::Target(target) => What::Fetch(target),
            Chosen::Socket(id) => What::Fetch(Target {
                rooms: vec![id],
                ..Target::default()
            }),
        },
        6 => {
            let arguments: Vec<&RawValue> = match read.data {
                Some(data) => serde_json::from_str(data.get())?,
                None => Vec::new(),
            };
            let (event, arguments) = arguments
                .split_first()
                .ok_or(ReadError::Form("an event's name"))?;
            What::ServerSide(serde_json::from_str(event.get())?, data(arguments))
        }
        kind => return Err(ReadError::Type(kind)),
    };
    Ok(Request {
        uid: read.uid,
        id: read.id.filter(|id| id.len() <= LONGEST_ID),
        what,
    })
}

/// An event's arguments as one value, as our applications have it: nothing is `null`, one is itself, more are a list.
fn data(arguments: &[&RawValue]) -> Bytes {
    match arguments {
        [] => Bytes::from_static(b"null"),
        [one] => Bytes::copy_from_slice(one.get().as_bytes()),
        more => {
            let all: Vec<_> = more.iter().map(|it| it.get()).collect();
            format!("[{}]", all.join(",")).into()
        }
    }
}

pub(super) fn response(json: &[u8]) -> Result<Response<'_>, ReadError> {
    let read: JsonResponse = serde_json::from_slice(json)?;
    let what = match (read.kind, read.sockets, read.clients) {
        (Some(6), _, _) => Said::ServerSide(match read.data {
            Some(data) => Bytes::copy_from_slice(data.get().as_bytes()),
            None => Bytes::from_static(b"null"),
        }),
        (Some(8), _, Some(clients)) => Said::Clients(clients),
        (None, Some(sockets), _) => Said::Sockets(sockets),
        _ => Said::Other,
    };
    Ok(Response { id: read.id, what })
}

/// The ids of sockets, and the rooms of each.
pub(super) fn sockets(json: &RawValue) -> Result<Vec<(String, Vec<Room>)>, ReadError> {
    let sockets: Vec<JsonSocket> = serde_json::from_str(json.get())?;
    let sockets = sockets.into_iter();
    Ok(sockets.map(|it| (it.id, names(it.rooms))).collect())
}

fn names(names: Vec<Name>) -> Vec<Room> {
    let names = names.into_iter().filter_map(|name| match name {
        Name::Text(text) => Some(text),
        Name::Int(number) => Some(number.to_string()),
        Name::Other(_) => None,
    });
    names.map(Room::Owned).collect()
}

impl From<JsonTarget> for Target {
    fn from(read: JsonTarget) -> Self {
        Self {
            rooms: names(read.rooms),
            except: names(read.except),
            ..Self::default()
        }
    }
}
