//! An event for clients.

use bytes::Bytes;
use socketioxide_core::adapter::Room;

use super::{EmitterError, MAX_ROOMS, Message, is_server, scope};
use crate::bridge::notepack::{self, Parser, Reader, Token};
use crate::wire::frame::{Body, Command};

/// The packet type of an event, and that of one with attachments, which old emitters tell apart.
const EVENT: [u64; 2] = [2, 5];

/// What a packet has of what is needed.
#[derive(Default)]
struct Packet<'a> {
    kind: Option<u64>,
    nsp: Option<&'a [u8]>,
    data: Option<&'a [u8]>,
}

/// What the options have of what is needed.
#[derive(Default)]
struct Options {
    rooms: Vec<Room>,
    except: Vec<Room>,
    volatile: bool,
}

/// Reads `[uid, packet, options]`. `address`: what stands behind `K#` in the channel's name.
pub(super) fn decode(
    address: &str,
    payload: &Bytes,
    parser: Parser,
) -> Result<Message, EmitterError> {
    let mut reader = Reader::new(payload);
    let Token::List(3..) = reader.next()? else {
        return Err(EmitterError::Shape);
    };
    if let Token::Text(uid) = reader.next()?
        && is_server(uid)
    {
        return Ok(Message::OfServer);
    }
    let packet = Packet::read(&mut reader)?;
    let options = Options::read(&mut reader)?;
    let kind = packet.kind.ok_or(EmitterError::Shape)?;
    if !EVENT.contains(&kind) {
        return Err(EmitterError::Packet(kind));
    }
    let (ns, room) = destination(address, packet.nsp)?;
    let mut rooms = options.rooms;
    // What is published for a room never reaches everybody.
    if let Some(room) = room.filter(|_| rooms.is_empty()) {
        rooms.push(Room::Owned(room.to_owned()));
    }
    let data = packet.data.ok_or(EmitterError::Shape)?;
    let value = notepack::event(payload, data, parser)?;
    Ok(Message::Emitted(Box::new(Body::Command {
        ns: ns.to_owned().into(),
        opts: scope(rooms, options.except, options.volatile),
        command: Command::Emit(value),
    })))
}

/// The namespace and, if there is one, the room of a channel. A namespace may have the mark between both in its name, so
/// what the packet says counts; Node sends it nowhere if it does not fit. A packet that does not say it is for the channel's.
fn destination<'a>(
    address: &'a str,
    nsp: Option<&[u8]>,
) -> Result<(&'a str, Option<&'a str>), EmitterError> {
    let len = match nsp {
        Some(nsp) => nsp.len(),
        None => address.find('#').ok_or(EmitterError::Channel)?,
    };
    let (ns, rest) = address
        .split_at_checked(len)
        .ok_or(EmitterError::Namespace)?;
    let rest = rest.strip_prefix('#').ok_or(EmitterError::Namespace)?;
    if nsp.is_some_and(|nsp| nsp != ns.as_bytes()) {
        return Err(EmitterError::Namespace);
    }
    Ok((ns, rest.strip_suffix('#')))
}

/// Calls `field` with each key of a map, and all bytes of its value.
fn each_field<'a>(
    reader: &mut Reader<'a>,
    mut field: impl FnMut(&[u8], &'a [u8]) -> Result<(), EmitterError>,
) -> Result<(), EmitterError> {
    let Token::Map(len) = reader.next()? else {
        return Err(EmitterError::Shape);
    };
    for _ in 0..len {
        let Token::Text(key) = reader.next()? else {
            return Err(EmitterError::Shape);
        };
        field(key, reader.skip()?)?;
    }
    Ok(())
}

impl<'a> Packet<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, EmitterError> {
        let mut packet = Self::default();
        each_field(reader, |key, value| {
            match (key, Reader::new(value).next()?) {
                (b"type", Token::Uint(kind)) => packet.kind = Some(kind),
                (b"nsp", Token::Text(nsp)) => packet.nsp = Some(nsp),
                (b"nsp", Token::Nil | Token::Undefined) => {}
                (b"type" | b"nsp", _) => return Err(EmitterError::Shape),
                (b"data", _) => packet.data = Some(value),
                // `id`, `options` and others: nobody here answers, nobody needs them.
                _ => {}
            }
            Ok(())
        })?;
        Ok(packet)
    }
}

impl Options {
    /// What is not there is empty, as for Node.
    fn read(reader: &mut Reader) -> Result<Self, EmitterError> {
        let mut options = Self::default();
        each_field(reader, |key, value| {
            match key {
                b"rooms" => options.rooms = rooms(value)?,
                b"except" => options.except = rooms(value)?,
                b"flags" => options.volatile = is_volatile(value)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(options)
    }
}

/// Of all flags that there are this one concerns a receiver: `local` and `broadcast` are the sender's, `timeout` and
/// `expectSingleResponse` need acknowledgements, `binary` is seen, and `compress` is the connection's.
fn is_volatile(flags: &[u8]) -> Result<bool, EmitterError> {
    let mut reader = Reader::new(flags);
    if let Token::Nil | Token::Undefined = reader.next()? {
        return Ok(false);
    }
    let mut volatile = false;
    each_field(&mut Reader::new(flags), |key, value| {
        if key == b"volatile" {
            volatile = Reader::new(value).next()? == Token::Bool(true);
        }
        Ok(())
    })?;
    Ok(volatile)
}

/// A list of rooms. A number is its text, as in the name of the channel.
fn rooms(list: &[u8]) -> Result<Vec<Room>, EmitterError> {
    let mut reader = Reader::new(list);
    let len = match reader.next()? {
        Token::List(len) => len,
        Token::Nil | Token::Undefined => 0,
        _ => return Err(EmitterError::Room),
    };
    if len > MAX_ROOMS {
        return Err(EmitterError::Rooms);
    }
    let mut rooms = Vec::with_capacity(len);
    for _ in 0..len {
        rooms.push(match reader.next()? {
            Token::Text(room) => Room::Owned(String::from_utf8_lossy(room).into_owned()),
            Token::Uint(n) => Room::Owned(n.to_string()),
            Token::Int(n) => Room::Owned(n.to_string()),
            Token::Float(n) => Room::Owned(n.to_string()),
            _ => return Err(EmitterError::Room),
        });
    }
    Ok(rooms)
}
