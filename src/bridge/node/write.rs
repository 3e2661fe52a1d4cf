//! What Node servers are told, written so that versions 7 and 8 of the adapter read it: requests as JSON, events as
//! msgpack without any ext.

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use socketioxide_core::Value;
use socketioxide_core::adapter::{BroadcastFlags, BroadcastOptions, Room};

use super::stand_ins::StandIns;
use crate::bridge::notepack::{NotepackError, Reader, Token, Writer};

/// JavaScript's whole numbers are exact up to here.
const EXACT: u64 = 1 << 53;

/// Which of Node's sockets are meant.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Target {
    rooms: Vec<Name>,
    except: Vec<Name>,
    #[serde(skip)]
    pub is_volatile: bool,
}

/// A room. One whose name is a whole number may be that number in Node: it is named in both ways.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Number(i64),
}

/// A question or an order, as JSON.
#[derive(Debug, Serialize)]
pub(super) struct Request<'a> {
    uid: &'a str,
    #[serde(rename = "requestId", skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    #[serde(rename = "type")]
    kind: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    opts: Option<&'a Target>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rooms: Option<Vec<Name>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Vec<&'a RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    close: Option<bool>,
}

/// An answer, as JSON.
#[derive(Debug, Default, Serialize)]
pub(super) struct Response<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<u8>,
    #[serde(rename = "requestId")]
    pub id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sockets: Option<Vec<&'a RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rooms: Option<Vec<&'a str>>,
    #[serde(rename = "clientCount", skip_serializing_if = "Option::is_none")]
    pub clients: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<&'a RawValue>,
}

impl Target {
    /// Node's sockets that these options mean; `None` if they mean none.
    pub(super) fn of(opts: &BroadcastOptions, stand_ins: &StandIns) -> Option<Self> {
        let all = opts.has_flag(BroadcastFlags::Broadcast);
        let mut target = Self {
            is_volatile: opts.has_flag(BroadcastFlags::Volatile),
            ..Self::default()
        };
        target.rooms = named(&opts.rooms, stand_ins);
        target.except = named(&opts.except, stand_ins);
        match opts.sid {
            Some(sid) if all => target
                .except
                .push(Name::Text(real(sid.as_str(), stand_ins))),
            Some(sid) if opts.rooms.is_empty() => {
                let id = stand_ins.real(sid)?;
                target.rooms.push(Name::Text(id.to_owned()));
            }
            None if opts.rooms.is_empty() && !all => return None,
            _ => {}
        }
        Some(target)
    }

    /// The one room that is named, if it is one: it has a channel of its own.
    pub(super) fn room(&self) -> Option<&str> {
        match &self.rooms[..] {
            [Name::Text(room)] => Some(room),
            _ => None,
        }
    }
}

impl<'a> Request<'a> {
    pub(super) fn new(uid: &'a str, id: Option<&'a str>, kind: u8) -> Self {
        Self {
            uid,
            id,
            kind,
            opts: None,
            rooms: None,
            data: None,
            close: None,
        }
    }

    pub(super) fn with_target(mut self, target: &'a Target) -> Self {
        self.opts = Some(target);
        self
    }

    pub(super) fn with_data(mut self, data: Vec<&'a RawValue>) -> Self {
        self.data = Some(data);
        self
    }

    /// Rooms to join are texts, and rooms to leave may be either.
    pub(super) fn with_rooms(mut self, rooms: &[Room], stand_ins: &StandIns) -> Self {
        let joins = self.kind == 2;
        let mut rooms = named(rooms, stand_ins);
        rooms.retain(|room| !joins || matches!(room, Name::Text(_)));
        self.rooms = Some(rooms);
        self
    }

    pub(super) fn with_close(mut self, close: bool) -> Self {
        self.close = Some(close);
        self
    }

    pub(super) fn json(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

impl Response<'_> {
    pub(super) fn json(&self) -> Bytes {
        serde_json::to_vec(self).unwrap_or_default().into()
    }
}

fn real(room: &str, stand_ins: &StandIns) -> String {
    stand_ins.room(room).to_owned()
}

fn named(rooms: &[Room], stand_ins: &StandIns) -> Vec<Name> {
    let mut names = Vec::with_capacity(rooms.len());
    for room in rooms {
        names.push(Name::Text(real(room, stand_ins)));
        names.extend(whole_number(room).map(Name::Number));
    }
    names
}

/// The number that is written exactly so, if there is one.
fn whole_number(room: &str) -> Option<i64> {
    let number: i64 = room.parse().ok()?;
    (number.unsigned_abs() <= EXACT && number.to_string() == room).then_some(number)
}

/// Writes an event for Node's sockets.
pub(super) fn broadcast(
    uid: &str,
    ns: &str,
    value: &Value,
    target: &Target,
) -> Result<Bytes, NotepackError> {
    let mut out = Writer::new();
    out.list(3);
    out.text(uid);
    put_packet(&mut out, ns, value)?;
    let flags = usize::from(target.is_volatile);
    put_target(&mut out, target, flags);
    if target.is_volatile {
        out.text("volatile");
        out.bool(true);
    }
    Ok(out.finish())
}

/// Writes an event that Node's clients are to acknowledge.
pub(super) fn acks_request(
    uid: &str,
    id: &str,
    ns: &str,
    value: &Value,
    target: &Target,
    timeout_ms: u64,
) -> Result<Bytes, NotepackError> {
    let mut out = Writer::new();
    out.map(5);
    out.text("uid");
    out.text(uid);
    out.text("requestId");
    out.text(id);
    out.text("type");
    out.uint(7);
    out.text("packet");
    put_packet(&mut out, ns, value)?;
    out.text("opts");
    put_target(&mut out, target, 1);
    out.text("timeout");
    out.uint(timeout_ms);
    Ok(out.finish())
}

/// Writes what a client acknowledges an event of Node's with: its first argument.
pub(super) fn ack(id: &str, value: &Value) -> Result<Bytes, NotepackError> {
    let mut all = Writer::new();
    all.value(value)?;
    let all = all.finish();
    let mut reader = Reader::new(&all);
    let first = match reader.next()? {
        Token::List(1..) => Some(reader.skip()?),
        _ => None,
    };
    let mut out = Writer::new();
    out.map(3);
    out.text("type");
    out.uint(9);
    out.text("requestId");
    out.text(id);
    out.text("packet");
    match first {
        Some(first) => out.raw(first),
        None => out.nil(),
    }
    Ok(out.finish())
}

fn put_packet(out: &mut Writer, ns: &str, value: &Value) -> Result<(), NotepackError> {
    out.map(3);
    out.text("type");
    out.uint(2);
    out.text("data");
    out.value(value)?;
    out.text("nsp");
    out.text(ns);
    Ok(())
}

/// Options, whose last part, the flags, is only begun.
fn put_target(out: &mut Writer, target: &Target, flags: usize) {
    out.map(3);
    for (key, names) in [("rooms", &target.rooms), ("except", &target.except)] {
        out.text(key);
        out.list(names.len());
        for name in names {
            match name {
                Name::Text(text) => out.text(text),
                Name::Number(number) => out.int(*number),
            }
        }
    }
    out.text("flags");
    out.map(flags);
}

/// An application's value as the arguments of an event: the reverse of what `read` makes of them. A list is the
/// arguments themselves.
pub(super) fn arguments(data: &[u8]) -> Vec<&RawValue> {
    if data == b"null" {
        return Vec::new();
    }
    if let Ok(arguments) = serde_json::from_slice(data) {
        return arguments;
    }
    serde_json::from_slice(data).into_iter().collect()
}
