//! What Node's Socket.IO refuses is refused here, before socketioxide sees it.

use bytes::Bytes;
use engineioxide_core::Str;

/// What a session must remember of its Socket.IO packets.
#[derive(Debug, Default)]
pub struct Guard {
    /// How many attachments are still to come.
    attachments: u32,
    /// Which namespaces are joined.
    joined: Option<Box<Namespaces>>,
}

/// Those besides `/`.
#[derive(Debug, Default)]
struct Namespaces {
    _names: Vec<Str>,
}

/// A packet that may be handed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checked {
    /// What is handed on: the same text if nothing had to be changed.
    pub message: Str,
    /// Its type.
    pub kind: Kind,
    /// Revision 3: what stood behind the `?` of the namespace of a CONNECT.
    pub query: Option<Str>,
}

/// The type of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Joins a namespace.
    Connect,
    /// Leaves it.
    Disconnect,
    /// An event.
    Event,
    /// An acknowledgement.
    Ack,
    /// An event, whose attachments follow.
    BinaryEvent,
    /// An acknowledgement, whose attachments follow.
    BinaryAck,
    /// A packet that Node takes and does nothing with: it is not handed on.
    Ignored,
}

/// Why a session ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GuardError {
    /// The first character is not the number of a type that a client may send.
    #[error("unknown packet type")]
    UnknownType,
    /// The number of attachments, or a placeholder for one.
    #[error("illegal attachments")]
    Attachments,
    /// The payload is not JSON, or not what this type of packet has.
    #[error("invalid payload")]
    Payload,
    /// A packet of text while attachments are awaited.
    #[error("got plaintext data when reconstructing a packet")]
    Text,
    /// An attachment that no packet awaits.
    #[error("got binary data when not reconstructing a packet")]
    Binary,
    /// A second CONNECT, or a packet for a namespace that is not joined.
    #[error("invalid state")]
    State,
}

impl Guard {
    /// A Socket.IO packet that a client sent.
    ///
    /// # Errors
    /// If Node would end the session for it.
    pub fn text(&mut self, message: Str, revision3: bool) -> Result<Checked, GuardError> {
        let _ = revision3;
        if self.attachments > 0 {
            return Err(GuardError::Text);
        }
        let kind = match message.as_bytes().first() {
            Some(b'0') => Kind::Connect,
            Some(b'1') => Kind::Disconnect,
            Some(b'2') => Kind::Event,
            Some(b'3') => Kind::Ack,
            Some(b'5') => Kind::BinaryEvent,
            Some(b'6') => Kind::BinaryAck,
            _ => return Err(GuardError::UnknownType),
        };
        Ok(Checked {
            message,
            kind,
            query: None,
        })
    }

    /// An attachment that a client sent.
    ///
    /// # Errors
    /// If none is awaited.
    pub fn binary(&mut self, data: &Bytes) -> Result<(), GuardError> {
        let _ = data;
        self.attachments = self.attachments.checked_sub(1).ok_or(GuardError::Binary)?;
        Ok(())
    }

    /// Are attachments still to come?
    #[must_use]
    pub fn awaits(&self) -> bool {
        self.attachments > 0
    }

    /// A text message that goes to the client: an answer to CONNECT says that a namespace is joined, a
    /// DISCONNECT that it is left.
    pub fn sent(&mut self, message: &str) {
        if matches!(message.as_bytes().first(), Some(b'0' | b'1')) {
            let _ = &mut self.joined;
        }
    }
}
