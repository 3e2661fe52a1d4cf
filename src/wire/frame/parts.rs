//! The parts that bodies are made of, as they are written and read: numbers, texts, lists, ids,
//! values.

use std::collections::VecDeque;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use socketioxide_core::adapter::{BroadcastFlags, BroadcastOptions, Room};
use socketioxide_core::{Sid, Str, Value};

use super::{BusMember, FrameError, ID};
use crate::wire::envelope::{Address, Position};

/// Nothing longer than a frame is ever sent: a length that does not fit is a frame that is refused.
pub(super) fn put_len(out: &mut BytesMut, len: usize) {
    out.put_u32_le(u32::try_from(len).unwrap_or(u32::MAX));
}

pub(super) fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_len(out, bytes.len());
    out.put_slice(bytes);
}

pub(super) fn put_list<T>(out: &mut BytesMut, items: &[T], mut put: impl FnMut(&mut BytesMut, &T)) {
    put_len(out, items.len());
    for item in items {
        put(out, item);
    }
}

pub(super) fn put_id(out: &mut BytesMut, id: &Sid) {
    out.put_slice(id.as_str().as_bytes());
}

pub(super) fn put_heard(out: &mut BytesMut, (of, at): &(Address, Position)) {
    out.put_u64_le(of.incarnation);
    out.put_u32_le(of.epoch);
    for number in [at.n, at.hub, at.common, at.directed] {
        out.put_u64_le(number);
    }
}

pub(super) fn put_room(out: &mut BytesMut, room: &Room) {
    put_bytes(out, room.as_bytes());
}

pub(super) fn put_scope(out: &mut BytesMut, opts: &BroadcastOptions) {
    out.put_u8(opts.flags());
    match &opts.sid {
        Some(sid) => put_id(out, sid),
        None => out.put_bytes(0, ID),
    }
    put_list(out, &opts.rooms, put_room);
    put_list(out, &opts.except, put_room);
}

pub(super) fn put_value(out: &mut BytesMut, value: &Value) {
    match value {
        Value::Str(text, None) => {
            out.put_u8(0);
            put_bytes(out, text.as_bytes());
        }
        Value::Str(text, Some(attachments)) => {
            out.put_u8(1);
            put_bytes(out, text.as_bytes());
            put_len(out, attachments.len());
            for attachment in attachments {
                put_bytes(out, attachment);
            }
        }
        Value::Bytes(bytes) => {
            out.put_u8(2);
            put_bytes(out, bytes);
        }
    }
}

pub(super) fn read_id(bytes: &[u8]) -> Result<Sid, FrameError> {
    std::str::from_utf8(bytes)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(FrameError::Id)
}

/// What is left of a body.
pub(super) struct Input(pub(super) Bytes);

impl Input {
    pub(super) fn take(&mut self, len: usize) -> Result<Bytes, FrameError> {
        if len > self.0.len() {
            return Err(FrameError::Short);
        }
        Ok(self.0.split_to(len))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        let array = *self.0.first_chunk().ok_or(FrameError::Short)?;
        self.0.advance(N);
        Ok(array)
    }

    pub(super) fn u8(&mut self) -> Result<u8, FrameError> {
        self.array().map(u8::from_le_bytes)
    }

    pub(super) fn bool(&mut self) -> Result<bool, FrameError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            tag => Err(FrameError::Tag(tag)),
        }
    }

    pub(super) fn u64(&mut self) -> Result<u64, FrameError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(super) fn len(&mut self) -> Result<usize, FrameError> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    pub(super) fn bytes(&mut self) -> Result<Bytes, FrameError> {
        let len = self.len()?;
        self.take(len)
    }

    /// A small one does not keep all that came with it in memory.
    pub(super) fn attachment(&mut self) -> Result<Bytes, FrameError> {
        const SMALL: usize = 4096;
        let bytes = self.bytes()?;
        Ok(match bytes.len() {
            ..SMALL => Bytes::copy_from_slice(&bytes),
            _ => bytes,
        })
    }

    pub(super) fn string(&mut self) -> Result<String, FrameError> {
        let bytes = self.bytes()?;
        String::from_utf8(bytes.into()).map_err(|_| FrameError::Text)
    }

    pub(super) fn text(&mut self) -> Result<Str, FrameError> {
        self.string().map(Str::from)
    }

    pub(super) fn room(&mut self) -> Result<Room, FrameError> {
        self.string().map(Room::Owned)
    }

    pub(super) fn id(&mut self) -> Result<Sid, FrameError> {
        read_id(&self.array::<ID>()?)
    }

    /// Memory is taken for what has come, not for what is said to come.
    pub(super) fn list<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, FrameError>,
    ) -> Result<Vec<T>, FrameError> {
        let len = self.len()?;
        let mut items = Vec::with_capacity(len.min(self.0.len() / ID));
        for _ in 0..len {
            // An item has a byte at least.
            if self.0.is_empty() {
                return Err(FrameError::Short);
            }
            items.push(item(self)?);
        }
        Ok(items)
    }

    pub(super) fn member(&mut self) -> Result<BusMember, FrameError> {
        Ok(BusMember {
            id: self.id()?,
            slot: u16::from_le_bytes(self.array()?),
            pid: u32::from_le_bytes(self.array()?),
            machine: self.text()?,
        })
    }

    pub(super) fn heard(&mut self) -> Result<(Address, Position), FrameError> {
        let of = Address {
            incarnation: self.u64()?,
            epoch: u32::from_le_bytes(self.array()?),
        };
        let at = Position {
            n: self.u64()?,
            hub: self.u64()?,
            common: self.u64()?,
            directed: self.u64()?,
        };
        Ok((of, at))
    }

    pub(super) fn scope(&mut self) -> Result<BroadcastOptions, FrameError> {
        let mut opts = BroadcastOptions::default();
        let flags = self.u8()?;
        for flag in [
            BroadcastFlags::Local,
            BroadcastFlags::Broadcast,
            BroadcastFlags::Volatile,
        ] {
            if flags & flag as u8 != 0 {
                opts.add_flag(flag);
            }
        }
        opts.sid = match self.array::<ID>()? {
            [0, ..] => None,
            id => Some(read_id(&id)?),
        };
        opts.rooms.extend(self.list(Self::room)?);
        opts.except.extend(self.list(Self::room)?);
        Ok(opts)
    }

    pub(super) fn value(&mut self) -> Result<Value, FrameError> {
        Ok(match self.u8()? {
            0 => Value::Str(self.text()?, None),
            1 => {
                let text = self.text()?;
                let attachments: VecDeque<_> = self.list(Self::attachment)?.into();
                Value::Str(text, Some(attachments))
            }
            2 => Value::Bytes(self.bytes()?),
            tag => return Err(FrameError::Tag(tag)),
        })
    }
}
