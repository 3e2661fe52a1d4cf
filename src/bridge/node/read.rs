//! What Node servers say: broadcasts, requests, answers, read from msgpack and JSON.

mod json;

use bytes::Bytes;
use serde_json::value::RawValue;
use socketioxide_core::adapter::Room;

use crate::bridge::notepack::{self, NotepackError, Reader, Token};

/// A name of a request that is longer is no name, in bytes.
const LONGEST_ID: usize = 256;
/// What a packet is that has an event: the second one, with binary, is never seen, and means the same.
const EVENT: [u64; 2] = [2, 5];

/// Bytes that say nothing that Node's adapter says.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// No msgpack.
    #[error(transparent)]
    Notepack(#[from] NotepackError),
    /// No JSON, or JSON of another form. The parser's own words would bring the message into the log.
    #[error("JSON of another form, from byte {} on", .0.column())]
    Json(#[from] serde_json::Error),
    /// msgpack of another form.
    #[error("msgpack without {0}")]
    Form(&'static str),
    /// A request that nobody knows.
    #[error("a request of unknown type {0}")]
    Type(u64),
}

/// Which sockets are meant.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Target {
    pub rooms: Vec<Room>,
    pub except: Vec<Room>,
    pub is_volatile: bool,
    /// How long clients may take to acknowledge, in milliseconds.
    pub timeout_ms: Option<u64>,
}

/// An event for sockets.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Broadcast<'a> {
    /// Who sends it.
    pub uid: String,
    pub ns: String,
    /// Its name and its arguments, as msgpack.
    pub data: &'a [u8],
    pub target: Target,
}

/// A question or an order.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request<'a> {
    /// Who sends it; empty if it is an emitter.
    pub uid: String,
    /// By what its answers are known, if it wants any.
    pub id: Option<String>,
    pub what: What<'a>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum What<'a> {
    /// 0: the ids of sockets.
    Sockets(Target),
    /// 1: the rooms of all sockets.
    Rooms,
    /// 2
    Join(Chosen, Vec<Room>),
    /// 3
    Leave(Chosen, Vec<Room>),
    /// 4
    Disconnect(Chosen),
    /// 5: what is known of sockets.
    Fetch(Target),
    /// 6: an event for applications: its name, and its arguments as [`data`] has them.
    ServerSide(String, Bytes),
    /// 7: an event that clients are to acknowledge.
    Acks {
        ns: String,
        data: &'a [u8],
        target: Target,
    },
}

/// Whom an order concerns.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Chosen {
    Target(Target),
    /// As version 7 also says it: one socket, whose server answers.
    Socket(Room),
}

/// An answer.
#[derive(Debug)]
pub(super) struct Response<'a> {
    /// To which request.
    pub id: String,
    pub what: Said<'a>,
}

#[derive(Debug)]
pub(super) enum Said<'a> {
    /// To 5, or to 0, which is not asked here: what [`sockets`] reads.
    Sockets(&'a RawValue),
    /// To 6: JSON.
    ServerSide(Bytes),
    /// To 7, once: how many clients will acknowledge it.
    Clients(u64),
    /// To 7, of each client: its acknowledgement's first argument, as msgpack.
    Ack(&'a [u8]),
    /// To something that is not asked here.
    Other,
}

/// Reads what comes on a broadcast's channel.
pub(super) fn broadcast(payload: &[u8]) -> Result<Broadcast<'_>, ReadError> {
    let mut reader = Reader::new(payload);
    let Token::List(len @ 3..) = reader.next()? else {
        return Err(ReadError::Form("a sender, a packet and its options"));
    };
    let uid = text(reader.next()?).ok_or(ReadError::Form("a sender"))?;
    let (ns, data) = packet(&mut reader)?;
    let target = target(&mut reader)?;
    for _ in 3..len {
        reader.skip()?;
    }
    reader.end()?;
    Ok(Broadcast {
        uid,
        ns,
        data,
        target,
    })
}

/// Reads what comes on a request's channel.
pub(super) fn request(payload: &Bytes) -> Result<Request<'_>, ReadError> {
    if payload.first() == Some(&b'{') {
        return json::request(payload);
    }
    let mut fields = Fields::default();
    fields.read(payload)?;
    if fields.kind != Some(7) {
        // Such a one is written in JSON by all who are known; its meaning is the same.
        return json::request(notepack::json(payload)?.as_bytes());
    }
    let (ns, data) = fields.packet.ok_or(ReadError::Form("a packet"))?;
    let target = fields.target.unwrap_or_default();
    Ok(Request {
        uid: fields.uid.unwrap_or_default(),
        id: fields.id,
        what: What::Acks { ns, data, target },
    })
}

/// Reads the ids of sockets, and the rooms of each.
pub(super) fn sockets(said: &RawValue) -> Result<Vec<(String, Vec<Room>)>, ReadError> {
    json::sockets(said)
}

/// Reads what comes on an answer's channel: other servers' answers to each other, too.
pub(super) fn response(payload: &Bytes) -> Result<Response<'_>, ReadError> {
    if payload.first() == Some(&b'{') {
        return json::response(payload);
    }
    let mut fields = Fields::default();
    fields.read(payload)?;
    let id = fields
        .id
        .ok_or(ReadError::Form("the number of a request"))?;
    let what = match (fields.kind, fields.raw_packet) {
        (Some(9), Some(packet)) => Said::Ack(packet),
        _ => Said::Other,
    };
    Ok(Response { id, what })
}

/// What the fields of a request or an answer in msgpack are.
#[derive(Debug, Default)]
struct Fields<'a> {
    uid: Option<String>,
    id: Option<String>,
    kind: Option<u64>,
    /// Its namespace, and its event.
    packet: Option<(String, &'a [u8])>,
    raw_packet: Option<&'a [u8]>,
    target: Option<Target>,
}

impl<'a> Fields<'a> {
    fn read(&mut self, payload: &'a [u8]) -> Result<(), ReadError> {
        let mut reader = Reader::new(payload);
        let Token::Map(len) = reader.next()? else {
            return Err(ReadError::Form("fields"));
        };
        for _ in 0..len {
            let key = text(reader.next()?).unwrap_or_default();
            let raw = reader.skip()?;
            let mut value = Reader::new(raw);
            match key.as_str() {
                "uid" => self.uid = text(value.next()?),
                "requestId" => {
                    self.id = text(value.next()?).filter(|id| id.len() <= LONGEST_ID);
                }
                "type" => self.kind = number(value.next()?),
                "packet" => {
                    self.packet = packet(&mut value).ok();
                    self.raw_packet = Some(raw);
                }
                "opts" => self.target = Some(target(&mut value)?),
                _ => {}
            }
        }
        Ok(reader.end()?)
    }
}

/// A packet's namespace and event.
fn packet<'a>(reader: &mut Reader<'a>) -> Result<(String, &'a [u8]), ReadError> {
    let Token::Map(len) = reader.next()? else {
        return Err(ReadError::Form("a packet"));
    };
    let (mut kind, mut ns, mut data) = (None, None, None);
    for _ in 0..len {
        let key = text(reader.next()?).unwrap_or_default();
        let raw = reader.skip()?;
        let mut value = Reader::new(raw);
        match key.as_str() {
            "type" => kind = number(value.next()?),
            "nsp" => ns = text(value.next()?),
            "data" => data = Some(raw),
            _ => {}
        }
    }
    match (kind, data) {
        (Some(kind), Some(data)) if EVENT.contains(&kind) => {
            Ok((ns.unwrap_or_else(|| "/".to_owned()), data))
        }
        _ => Err(ReadError::Form("an event")),
    }
}

fn target(reader: &mut Reader<'_>) -> Result<Target, ReadError> {
    let Token::Map(len) = reader.next()? else {
        return Err(ReadError::Form("options"));
    };
    let mut target = Target::default();
    for _ in 0..len {
        let key = text(reader.next()?).unwrap_or_default();
        let mut value = Reader::new(reader.skip()?);
        match (key.as_str(), value.next()?) {
            ("rooms", Token::List(len)) => target.rooms = rooms(&mut value, len)?,
            ("except", Token::List(len)) => target.except = rooms(&mut value, len)?,
            ("flags", Token::Map(len)) => {
                for _ in 0..len {
                    let flag = text(value.next()?).unwrap_or_default();
                    let mut of = Reader::new(value.skip()?);
                    match (flag.as_str(), of.next()?) {
                        ("volatile", Token::Bool(is)) => target.is_volatile = is,
                        ("timeout", token) => target.timeout_ms = number(token),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    Ok(target)
}

fn rooms(reader: &mut Reader<'_>, len: usize) -> Result<Vec<Room>, ReadError> {
    let mut rooms = Vec::new();
    for _ in 0..len {
        let mut value = Reader::new(reader.skip()?);
        let token = value.next()?;
        let name = match token {
            Token::Int(it) => Some(it.to_string()),
            token => text(token).or_else(|| number(token).map(|it| it.to_string())),
        };
        rooms.extend(name.map(Room::Owned));
    }
    Ok(rooms)
}

fn text(token: Token<'_>) -> Option<String> {
    match token {
        Token::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
        _ => None,
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "JavaScript's whole numbers up to 2^53 are exact as doubles"
)]
fn number(token: Token<'_>) -> Option<u64> {
    const EXACT: f64 = (1_u64 << 53) as f64;
    match token {
        Token::Uint(it) => Some(it),
        Token::Float(it) if (0.0..=EXACT).contains(&it) && it.fract() == 0.0 => Some(it as u64),
        _ => None,
    }
}
