//! What travels between the bridges of several machines: envelopes, as bytes and as values.
//!
//! Numbers are little-endian; a list is its length (`u16`) and its items.
//!
//! | bytes | what |
//! |---|---|
//! | 0 | [`VERSION`] |
//! | 1 | kind |
//! | 2 | flags |
//! | 3 | the version of the frames ([`frame::VERSION`]) |
//! | 4..12 | the sender's incarnation |
//! | 12..16 | the sender's epoch |
//! | 16..32 | the place for a MAC; zeros |
//! | 32.. | what the kind says |
//!
//! A batch has frames of the bus in it, as they are; see [`batch`]. Nothing is believed: each length is compared
//! with what is there, and memory is taken for what has come.

pub(crate) mod batch;
mod heartbeat;
mod hello;

use bytes::{BufMut, Bytes, BytesMut};

pub(crate) use self::batch::{Batch, Mark};
pub(crate) use self::heartbeat::{Heard, Heartbeat, Phase};
pub(crate) use self::hello::Hello;
use super::frame::{self, FrameError};

/// The version of the format; it is part of the channels' names.
pub(crate) const VERSION: u8 = 1;

/// The largest message that is no batch, in bytes.
pub(crate) const MAX_CONTROL: usize = 512 << 10;

/// Length of the head that all kinds share, in bytes.
const HEAD: usize = 32;
/// Length of the place for a MAC, in bytes.
const MAC: usize = 16;

mod kind {
    pub(super) const BATCH: u8 = 1;
    pub(super) const HEARTBEAT: u8 = 2;
    pub(super) const JOIN: u8 = 3;
    pub(super) const START: u8 = 4;
    pub(super) const ASK: u8 = 5;
    pub(super) const NO_MORE: u8 = 6;
    pub(super) const HEARD: u8 = 7;
}

/// One bridge of one master.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Address {
    /// The master's incarnation.
    pub incarnation: u64,
    /// Which of its bridges.
    pub epoch: u32,
}

/// How far a reader is in what a sender sends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// It needs no batch up to this number, and has to have every later one that is for it.
    pub n: u64,
    /// No frame up to this number of the sender's hub is missing behind `n`.
    pub hub: u64,
    /// How many frames for all there were up to `n`.
    pub common: u64,
    /// How many frames for this reader alone there were up to `n`.
    pub directed: u64,
}

/// How far the bridge was that this one follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Earlier {
    /// So far.
    pub at: Position,
    /// Did it say so itself when it left? Else it may have been further.
    pub exact: bool,
}

/// A message between bridges.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Envelope {
    /// Who sends it.
    pub from: Address,
    /// What it says.
    pub message: Message,
}

/// What a message says.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Message {
    /// Frames.
    Batch(Batch),
    /// The sender is there.
    Heartbeat(Heartbeat),
    /// "I heard you for the first time. From where on am I to have all?"
    Join {
        /// Who is asked.
        to: Address,
        /// The number that was heard first; what is behind it, is wanted.
        since: u64,
    },
    /// The answer to it.
    Start {
        /// Who asked.
        to: Address,
        /// From here on.
        at: Position,
        /// How far its predecessor was.
        earlier: Option<Earlier>,
    },
    /// "These are missing."
    Ask {
        /// Who has them.
        to: Address,
        /// All up to this number are there.
        have: u64,
        /// All up to this number are wanted.
        upto: u64,
    },
    /// "I have them no more; go on from here."
    NoMore {
        /// Who asked.
        to: Address,
        /// From where.
        at: Position,
    },
    /// To one that is about to leave: "I have all up to this number."
    Heard {
        /// Who leaves.
        to: Address,
        /// The number.
        n: u64,
    },
}

/// Bytes that are no message between bridges.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EnvelopeError {
    /// Of another version of the envelope.
    #[error("version {0} of the messages between machines; this is version {VERSION}")]
    Version(u8),
    /// With frames of another version.
    #[error("version {0} of the bus; this is version {version}", version = frame::VERSION)]
    FrameVersion(u8),
    /// An unknown kind.
    #[error("a message of unknown kind {0}")]
    Kind(u8),
    /// An unknown flag or tag.
    #[error("a value of unknown meaning {0}")]
    Tag(u8),
    /// Longer than any of its kind may be.
    #[error("a message of {0} bytes")]
    Long(usize),
    /// Shorter than what it says it holds.
    #[error("a message that ends too early")]
    Short,
    /// Longer than what it holds.
    #[error("a message that goes on behind its end")]
    Trailing,
    /// A text that is not UTF-8.
    #[error("a text that is not UTF-8")]
    Text,
    /// A member's id that is none.
    #[error("an id that is none")]
    Id,
    /// More workers than a machine may have.
    #[error("a machine with {0} workers")]
    Members(usize),
    /// A batch that does not follow what it says it follows.
    #[error("a batch of impossible numbers")]
    Numbers,
    /// A frame in it that is none.
    #[error("in a batch: {0}")]
    Frame(#[from] FrameError),
    /// A hello that is none.
    #[error("a hello that is no JSON of its kind")]
    Hello,
}

impl Envelope {
    /// The message as bytes. A batch is made by [`batch::Builder`] instead, without a copy of its frames.
    #[must_use]
    pub(crate) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(HEAD + 128);
        let (kind, flags) = match &self.message {
            Message::Batch(batch) => return batch.encode(self.from),
            Message::Heartbeat(beat) => (kind::HEARTBEAT, beat.phase.flag()),
            Message::Join { .. } => (kind::JOIN, 0),
            Message::Start { earlier, .. } => (
                kind::START,
                earlier.map_or(0, |earlier| 1 | u8::from(earlier.exact) << 1),
            ),
            Message::Ask { .. } => (kind::ASK, 0),
            Message::NoMore { .. } => (kind::NO_MORE, 0),
            Message::Heard { .. } => (kind::HEARD, 0),
        };
        put_head(&mut out, kind, flags, self.from);
        match &self.message {
            Message::Batch(_) => {}
            Message::Heartbeat(beat) => beat.encode(&mut out),
            Message::Join { to, since } => {
                put_address(&mut out, *to);
                out.put_u64_le(*since);
            }
            Message::Start { to, at, earlier } => {
                put_address(&mut out, *to);
                put_position(&mut out, at);
                if let Some(earlier) = earlier {
                    put_position(&mut out, &earlier.at);
                }
            }
            Message::Ask { to, have, upto } => {
                put_address(&mut out, *to);
                out.put_u64_le(*have);
                out.put_u64_le(*upto);
            }
            Message::NoMore { to, at } => {
                put_address(&mut out, *to);
                put_position(&mut out, at);
            }
            Message::Heard { to, n } => {
                put_address(&mut out, *to);
                out.put_u64_le(*n);
            }
        }
        out.freeze()
    }

    /// The message that these bytes are. The frames of a batch share their memory, and of each the length alone was read.
    ///
    /// # Errors
    /// When they are not one message, whole and nothing else.
    pub(crate) fn decode(bytes: &Bytes) -> Result<Self, EnvelopeError> {
        let mut input = Input(bytes);
        let [version, kind, flags, frames] = input.array()?;
        if version != VERSION {
            return Err(EnvelopeError::Version(version));
        }
        if frames != frame::VERSION {
            return Err(EnvelopeError::FrameVersion(frames));
        }
        if kind != kind::BATCH && bytes.len() > MAX_CONTROL {
            return Err(EnvelopeError::Long(bytes.len()));
        }
        let from = input.address()?;
        let _mac: [u8; MAC] = input.array()?;
        let flags_of = |known: u8| match flags & !known {
            0 => Ok(flags),
            _ => Err(EnvelopeError::Tag(flags)),
        };
        let message = match kind {
            kind::BATCH => {
                flags_of(0)?;
                Message::Batch(Batch::decode(bytes, &mut input)?)
            }
            kind::HEARTBEAT => {
                Message::Heartbeat(Heartbeat::decode(Phase::of(flags)?, &mut input)?)
            }
            kind::JOIN => Message::Join {
                to: input.address()?,
                since: input.u64()?,
            },
            kind::START => {
                let (to, at) = (input.address()?, input.position()?);
                let earlier = match flags_of(3)? {
                    0 => None,
                    2 => return Err(EnvelopeError::Tag(flags)),
                    flags => Some(Earlier {
                        at: input.position()?,
                        exact: flags & 2 != 0,
                    }),
                };
                Message::Start { to, at, earlier }
            }
            kind::ASK => Message::Ask {
                to: input.address()?,
                have: input.u64()?,
                upto: input.u64()?,
            },
            kind::NO_MORE => Message::NoMore {
                to: input.address()?,
                at: input.position()?,
            },
            kind::HEARD => Message::Heard {
                to: input.address()?,
                n: input.u64()?,
            },
            kind => return Err(EnvelopeError::Kind(kind)),
        };
        if !input.0.is_empty() {
            return Err(EnvelopeError::Trailing);
        }
        Ok(Self { from, message })
    }
}

fn put_head(out: &mut BytesMut, kind: u8, flags: u8, from: Address) {
    out.put_slice(&[VERSION, kind, flags, frame::VERSION]);
    put_address(out, from);
    out.put_bytes(0, MAC);
}

fn put_address(out: &mut impl BufMut, address: Address) {
    out.put_u64_le(address.incarnation);
    out.put_u32_le(address.epoch);
}

fn put_position(out: &mut BytesMut, at: &Position) {
    for number in [at.n, at.hub, at.common, at.directed] {
        out.put_u64_le(number);
    }
}

/// What is longer is cut: nobody has lists of that length.
fn put_list<T>(out: &mut BytesMut, items: &[T], mut put: impl FnMut(&mut BytesMut, &T)) {
    let len = u16::try_from(items.len()).unwrap_or(u16::MAX);
    out.put_u16_le(len);
    for item in items.iter().take(len.into()) {
        put(out, item);
    }
}

/// What is left of a message.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], EnvelopeError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(EnvelopeError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], EnvelopeError> {
        let (array, rest) = self.0.split_first_chunk().ok_or(EnvelopeError::Short)?;
        self.0 = rest;
        Ok(*array)
    }

    fn u16(&mut self) -> Result<u16, EnvelopeError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, EnvelopeError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, EnvelopeError> {
        self.array().map(u64::from_le_bytes)
    }

    fn address(&mut self) -> Result<Address, EnvelopeError> {
        Ok(Address {
            incarnation: self.u64()?,
            epoch: self.u32()?,
        })
    }

    fn position(&mut self) -> Result<Position, EnvelopeError> {
        Ok(Position {
            n: self.u64()?,
            hub: self.u64()?,
            common: self.u64()?,
            directed: self.u64()?,
        })
    }

    /// A list of items of `size` bytes each.
    fn list<T>(
        &mut self,
        size: usize,
        mut item: impl FnMut(&mut Self) -> Result<T, EnvelopeError>,
    ) -> Result<Vec<T>, EnvelopeError> {
        let len = usize::from(self.u16()?);
        if self.0.len() / size < len {
            return Err(EnvelopeError::Short);
        }
        (0..len).map(|_| item(self)).collect()
    }
}

#[cfg(test)]
mod tests;
