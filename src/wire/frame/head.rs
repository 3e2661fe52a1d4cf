//! A frame's head, which is all that the hub reads of it: see the parent's table. Its layout is frozen.

use bytes::{Buf, Bytes, BytesMut};
use socketioxide_core::Sid;

use super::parts::read_id;
use super::{FrameError, HEAD, ID, MAX_FRAME, VERSION, kind};

/// Of the head, what is not counted in the length that it begins with.
pub(super) const LENGTH: usize = 4;
/// Where in the head the sender's number begins.
pub(super) const COUNTER: usize = 40;
/// Where in the head the hub's number begins.
const HUB_NUMBER: usize = 48;
/// Flag: it may be lost when its receiver cannot take it at once.
pub(super) const VOLATILE: u8 = 1;

/// What the hub and the bridge read of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Length of the whole frame, in bytes.
    pub len: usize,
    /// The member that it is for; `None`: all but the sender.
    pub to: Option<Sid>,
    /// The member that sends it; [`Sid::ZERO`]: the hub.
    pub from: Sid,
    /// Its number among all that this member sent.
    pub counter: u64,
    /// Its number among all that the hub passed to the bridge.
    pub hub_number: u64,
    /// May it be lost when its receiver cannot take it at once?
    pub volatile: bool,
    /// What the hub has to do about it, beside passing it on.
    pub kind: HeadKind,
}

/// How the hub treats a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HeadKind {
    /// The sender says who it is.
    Hello,
    /// A bridge tells the hub of other machines.
    Bridge,
    /// It is for the bridge, if there is one, and for nobody else.
    ForBridge,
    /// The sender must be told whom this was passed on to.
    Ask,
    /// It is passed on, and that is all.
    Pass,
}

/// The length of the frame that begins here, if its first bytes are there.
///
/// # Errors
/// When it is longer or shorter than any frame may be.
pub(crate) fn length(bytes: &[u8]) -> Result<Option<usize>, FrameError> {
    let Some(&rest) = bytes.first_chunk::<LENGTH>() else {
        return Ok(None);
    };
    let len = (u32::from_le_bytes(rest) as usize).saturating_add(LENGTH);
    match len {
        ..HEAD => Err(FrameError::Short),
        HEAD..=MAX_FRAME => Ok(Some(len)),
        _ => Err(FrameError::Long(len)),
    }
}

impl Head {
    /// Reads the head of a whole frame.
    ///
    /// # Errors
    /// When it is of another version.
    pub(crate) fn read(frame: &[u8]) -> Result<Self, FrameError> {
        let len = length(frame)?.ok_or(FrameError::Short)?;
        let mut rest = frame.get(LENGTH..HEAD).ok_or(FrameError::Short)?;
        let version = rest.get_u8();
        if version != VERSION {
            return Err(FrameError::Version(version));
        }
        let kind = match rest.get_u8() {
            kind::HELLO => HeadKind::Hello,
            kind::ELSEWHERE | kind::LINK | kind::REPORT | kind::HEARD => HeadKind::Bridge,
            kind::NAMESPACE => HeadKind::ForBridge,
            kind::ASK_SOCKETS..=kind::ASK_DETAILS => HeadKind::Ask,
            _ => HeadKind::Pass,
        };
        let volatile = rest.get_u16_le() & u16::from(VOLATILE) != 0;
        let to = read_member(&mut rest)?;
        let from = read_member(&mut rest)?.unwrap_or(Sid::ZERO);
        Ok(Self {
            len,
            to,
            from,
            counter: rest.get_u64_le(),
            hub_number: rest.get_u64_le(),
            volatile,
            kind,
        })
    }

    /// The number of the question that this frame asks.
    #[must_use]
    pub(crate) fn ticket(frame: &[u8]) -> Option<u64> {
        let ticket = frame.get(body_at(frame)?..)?.first_chunk()?;
        Some(u64::from_le_bytes(*ticket))
    }
}

/// Where a frame's body begins.
fn body_at(frame: &[u8]) -> Option<usize> {
    let namespace = frame.get(HEAD - 2..)?.first_chunk()?;
    Some(HEAD + usize::from(u16::from_le_bytes(*namespace)))
}

/// A member's id in a head, of which there is enough.
fn read_member(head: &mut &[u8]) -> Result<Option<Sid>, FrameError> {
    let (id, rest) = head.split_at_checked(ID).ok_or(FrameError::Short)?;
    *head = rest;
    match id {
        [0, ..] => Ok(None),
        id => read_id(id).map(Some),
    }
}

/// The frame with its number among those of its sender. It is written in place if nobody else has the frame.
pub(crate) fn number(frame: Bytes, counter: u64) -> Bytes {
    let mut frame = frame
        .try_into_mut()
        .unwrap_or_else(|frame| frame[..].into());
    put_number(&mut frame, COUNTER, counter);
    frame.freeze()
}

/// The frame with the hub's number, in two parts: a head of its own, and what all receivers share. A small one is copied:
/// it may wait for long, and shall not keep all that came with it in memory.
pub(crate) fn number_for_bridge(frame: &Bytes, number: u64) -> [Bytes; 2] {
    const SMALL: usize = 4096;
    let at = match frame.len() {
        len @ ..SMALL => len,
        _ => HEAD,
    };
    let mut head: BytesMut = frame.get(..at).unwrap_or_default().into();
    put_number(&mut head, HUB_NUMBER, number);
    [head.freeze(), frame.slice(at..)]
}

fn put_number(head: &mut [u8], at: usize, number: u64) {
    if let Some(place) = head.get_mut(at..at + 8) {
        place.copy_from_slice(&number.to_le_bytes());
    }
}
