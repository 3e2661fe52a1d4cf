//! Heartbeats: who a bridge is, how far it is, and whom it hears.

use bytes::{BufMut, BytesMut};
use socketioxide_core::{Sid, Str};

use super::batch::{Mark, put_mark};
use super::{Address, EnvelopeError, Input, put_address, put_list};
use crate::wire::frame::BusMember;

/// The longest name of a machine, in bytes.
const MAX_NAME: usize = 255;
/// As many workers as a machine may have, in two generations while they are renewed.
const MAX_MEMBERS: usize = 2 * 4096;
const ID: usize = 16;
/// Lengths of what lists are made of, in bytes.
const MEMBER: usize = ID + 6;
const HEARD: usize = 20;
const MARK: usize = 24;

/// "I am there."
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Heartbeat {
    /// Does it stay?
    pub phase: Phase,
    /// The number of this heartbeat, from 1.
    pub beat: u64,
    /// How many frames its hub had for bridges before this bridge's first.
    pub passed: u64,
    /// The number of its last batch for all.
    pub tail: u64,
    /// No frame up to this number of its hub still waits to be published.
    pub hub: u64,
    /// How many frames for all there were so far.
    pub common: u64,
    /// The machine's number in its session ids.
    pub machine: u16,
    /// The machine's name, for people.
    pub name: Str,
    /// Its workers.
    pub members: Vec<BusMember>,
    /// Whom it hears, and up to which number it has all.
    pub heard: Vec<Heard>,
    /// Readers that had batches of their own of late.
    pub marks: Vec<Mark>,
}

/// A bridge that is heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Which.
    pub of: Address,
    /// Up to which number.
    pub n: u64,
}

/// Does a bridge stay?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It does.
    Stays,
    /// It is about to leave, and wants to know that all have heard all.
    Leaving,
    /// It has left: this is the last that it says, and `heard` is where its successor goes on.
    Left,
}

impl Phase {
    pub(super) fn flag(self) -> u8 {
        match self {
            Self::Stays => 0,
            Self::Leaving => 1,
            Self::Left => 2,
        }
    }

    pub(super) fn of(flag: u8) -> Result<Self, EnvelopeError> {
        match flag {
            0 => Ok(Self::Stays),
            1 => Ok(Self::Leaving),
            2 => Ok(Self::Left),
            flag => Err(EnvelopeError::Tag(flag)),
        }
    }
}

impl Heartbeat {
    pub(super) fn encode(&self, out: &mut BytesMut) {
        for number in [self.beat, self.passed, self.tail, self.hub, self.common] {
            out.put_u64_le(number);
        }
        out.put_u16_le(self.machine);
        let name: &str = &self.name;
        let end = name.floor_char_boundary(MAX_NAME);
        let name = name.get(..end).unwrap_or_default();
        out.put_u8(u8::try_from(name.len()).unwrap_or(0));
        out.put_slice(name.as_bytes());
        put_list(out, &self.members, |out, member| {
            out.put_slice(member.id.as_str().as_bytes());
            out.put_u16_le(member.slot);
            out.put_u32_le(member.pid);
        });
        put_list(out, &self.heard, |out, heard| {
            put_address(out, heard.of);
            out.put_u64_le(heard.n);
        });
        put_list(out, &self.marks, put_mark);
    }

    pub(super) fn decode(phase: Phase, input: &mut Input<'_>) -> Result<Self, EnvelopeError> {
        let [beat, passed, tail] = [input.u64()?, input.u64()?, input.u64()?];
        let [hub, common] = [input.u64()?, input.u64()?];
        let machine = input.u16()?;
        let [len] = input.array()?;
        let name = std::str::from_utf8(input.take(len.into())?).map_err(|_| EnvelopeError::Text)?;
        if name.contains(char::is_control) {
            return Err(EnvelopeError::Text);
        }
        let name = Str::copy_from_slice(name);
        let members = input.list(MEMBER, |input| {
            Ok(BusMember {
                id: read_id(input.array::<ID>()?)?,
                slot: input.u16()?,
                pid: input.u32()?,
                machine: name.clone(),
            })
        })?;
        if members.len() > MAX_MEMBERS {
            return Err(EnvelopeError::Members(members.len()));
        }
        let heard = input.list(HEARD, |input| {
            Ok(Heard {
                of: input.address()?,
                n: input.u64()?,
            })
        })?;
        let marks = input.list(MARK, |input| {
            Ok(Mark {
                reader: input.u64()?,
                n: input.u64()?,
                directed: input.u64()?,
            })
        })?;
        Ok(Self {
            phase,
            beat,
            passed,
            tail,
            hub,
            common,
            machine,
            name,
            members,
            heard,
            marks,
        })
    }

    /// What it says of the batches that this reader alone had.
    #[must_use]
    pub(crate) fn mark(&self, reader: u64) -> Option<&Mark> {
        self.marks.iter().find(|mark| mark.reader == reader)
    }
}

fn read_id(bytes: [u8; ID]) -> Result<Sid, EnvelopeError> {
    std::str::from_utf8(&bytes)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or(EnvelopeError::Id)
}
