//! Batches: frames of one sender, with numbers by which a reader knows that it has all.
//!
//! Behind the head that all kinds share:
//!
//! | bytes | what |
//! |---|---|
//! | 32..40 | `n`: its number among all batches of this sender, from 1; zero: volatile, without a number |
//! | 40..48 | the number of the batch before it that its reader must have |
//! | 48..56 | the hub's number of its last frame |
//! | 56..64 | how many frames for all there were before it |
//! | 64..72 | how many frames for its reader alone there were before it; else zero |
//! | 72..80 | its reader's incarnation; zero: it is for all |
//! | 80..84 | how old its oldest frame was when it was published, in milliseconds |
//! | 84..88 | how many frames it has |
//! | 88..92 | how many bytes they are |
//! | 92.. | the frames; then a list of marks |
//!
//! Batches for all and for single readers are one order. So a batch for all has a mark for each reader that had one of
//! its own since the batch for all before it.

use bytes::{BufMut, Bytes, BytesMut};

use super::{Address, EnvelopeError, HEAD, Input, kind, put_head, put_list};
use crate::wire::frame;

/// The longest batch of more than one frame, in bytes of frames.
pub(crate) const MAX_BATCH: usize = 64 << 10;

/// Where the frames begin.
pub(crate) const FRAMES: usize = HEAD + 60;
/// Where the age stands.
const AGE: usize = HEAD + 48;
/// Length of a mark, in bytes.
const MARK: usize = 24;

/// A batch of frames.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Batch {
    /// Its number; zero: volatile.
    pub n: u64,
    /// The number of the batch before it that its reader must have, if it has no mark.
    pub after: u64,
    /// The hub's number of its last frame.
    pub hub: u64,
    /// How many frames for all there were before it.
    pub common: u64,
    /// How many frames for its reader alone there were before it.
    pub directed: u64,
    /// Its reader's incarnation; `None`: it is for all.
    pub reader: Option<u64>,
    /// How old its oldest frame was when it was published, in milliseconds.
    pub age: u32,
    /// How many frames it has.
    pub count: u32,
    /// The frames, one behind the other.
    pub frames: Bytes,
    /// Readers that had batches of their own since the batch for all before it.
    pub marks: Vec<Mark>,
}

/// What a reader must have before a batch for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// The reader's incarnation.
    pub reader: u64,
    /// The number of the last batch that was for it alone.
    pub n: u64,
    /// How many frames for it alone there were, up to that batch.
    pub directed: u64,
}

/// A batch that is being filled: frames are copied once, into the bytes that are published.
#[derive(Debug)]
pub(crate) struct Builder {
    bytes: BytesMut,
    count: u32,
}

/// What is written into a batch's head when it is finished.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Numbers {
    /// See [`Batch::n`].
    pub n: u64,
    /// See [`Batch::after`].
    pub after: u64,
    /// See [`Batch::hub`].
    pub hub: u64,
    /// See [`Batch::common`].
    pub common: u64,
    /// See [`Batch::directed`].
    pub directed: u64,
    /// See [`Batch::reader`].
    pub reader: Option<u64>,
    /// See [`Batch::age`].
    pub age: u32,
}

impl Builder {
    /// A batch with its first frame.
    #[must_use]
    pub(crate) fn new(frame: &[u8]) -> Self {
        let mut bytes = BytesMut::with_capacity(FRAMES + frame.len() + 2);
        bytes.put_bytes(0, FRAMES);
        bytes.put_slice(frame);
        Self { bytes, count: 1 }
    }

    /// One more frame.
    pub(crate) fn push(&mut self, frame: &[u8]) {
        self.bytes.put_slice(frame);
        self.count = self.count.saturating_add(1);
    }

    /// Is there room for a frame of this length?
    #[must_use]
    pub(crate) fn has_room(&self, len: usize) -> bool {
        self.bytes.len() - FRAMES + len <= MAX_BATCH
    }

    /// How many frames it has.
    #[must_use]
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    /// How much memory it takes, in bytes.
    #[must_use]
    pub(crate) fn cost(&self) -> usize {
        self.bytes.capacity()
    }

    /// The batch as bytes.
    #[must_use]
    pub(crate) fn finish(mut self, from: Address, numbers: &Numbers, marks: &[Mark]) -> Bytes {
        let len = u32::try_from(self.bytes.len() - FRAMES).unwrap_or(u32::MAX);
        let mut head = BytesMut::with_capacity(FRAMES);
        put_head(&mut head, kind::BATCH, 0, from);
        for number in [
            numbers.n,
            numbers.after,
            numbers.hub,
            numbers.common,
            numbers.directed,
            numbers.reader.unwrap_or(0),
        ] {
            head.put_u64_le(number);
        }
        for number in [numbers.age, self.count, len] {
            head.put_u32_le(number);
        }
        if let Some(place) = self.bytes.get_mut(..FRAMES) {
            place.copy_from_slice(&head);
        }
        put_list(&mut self.bytes, marks, put_mark);
        self.bytes.freeze()
    }
}

/// The same batch for being published again, with its age of now.
#[must_use]
pub(crate) fn aged(batch: &Bytes, age: u32) -> Bytes {
    let mut again = BytesMut::from(&batch[..]);
    if let Some(place) = again.get_mut(AGE..AGE + 4) {
        place.copy_from_slice(&age.to_le_bytes());
    }
    again.freeze()
}

impl Batch {
    pub(super) fn encode(&self, from: Address) -> Bytes {
        let mut builder = Builder::new(&self.frames);
        builder.count = self.count;
        let numbers = Numbers {
            n: self.n,
            after: self.after,
            hub: self.hub,
            common: self.common,
            directed: self.directed,
            reader: self.reader,
            age: self.age,
        };
        builder.finish(from, &numbers, &self.marks)
    }

    pub(super) fn decode(bytes: &Bytes, input: &mut Input<'_>) -> Result<Self, EnvelopeError> {
        let [n, after] = [input.u64()?, input.u64()?];
        let [hub, common, directed] = [input.u64()?, input.u64()?, input.u64()?];
        let reader = Some(input.u64()?).filter(|reader| *reader != 0);
        let [age, count] = [input.u32()?, input.u32()?];
        if n != 0 && after >= n {
            return Err(EnvelopeError::Numbers);
        }
        let frames = input.u32()? as usize;
        let start = bytes.len() - input.0.len();
        let mut rest = input.take(frames)?;
        let frames = bytes.slice(start..start + frames);
        let mut found = 0_u32;
        while !rest.is_empty() {
            let len = frame::length(rest)?.ok_or(EnvelopeError::Short)?;
            rest = rest.get(len..).ok_or(EnvelopeError::Short)?;
            found = found.saturating_add(1);
        }
        if found != count || count == 0 {
            return Err(EnvelopeError::Numbers);
        }
        let marks = input.list(MARK, |input| {
            Ok(Mark {
                reader: input.u64()?,
                n: input.u64()?,
                directed: input.u64()?,
            })
        })?;
        if n != 0 && marks.iter().any(|mark| mark.n >= n) {
            return Err(EnvelopeError::Numbers);
        }
        Ok(Self {
            n,
            after,
            hub,
            common,
            directed,
            reader,
            age,
            count,
            frames,
            marks,
        })
    }

    /// The number of the batch that this reader must have before it.
    #[must_use]
    pub(crate) fn after(&self, reader: u64) -> u64 {
        self.mark(reader)
            .map_or(self.after, |mark| mark.n.max(self.after))
    }

    /// What a batch for all says of this reader.
    #[must_use]
    pub(crate) fn mark(&self, reader: u64) -> Option<&Mark> {
        self.marks.iter().find(|mark| mark.reader == reader)
    }

    /// Its frames, each for itself.
    pub(crate) fn each(&self) -> impl Iterator<Item = Bytes> {
        let mut rest = self.frames.clone();
        std::iter::from_fn(move || {
            let len = frame::length(&rest).ok()??;
            (len <= rest.len()).then(|| rest.split_to(len))
        })
    }
}

/// The mark as it stands in a list.
pub(super) fn put_mark(out: &mut BytesMut, mark: &Mark) {
    for number in [mark.reader, mark.n, mark.directed] {
        out.put_u64_le(number);
    }
}
