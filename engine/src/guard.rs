//! What Node's Socket.IO refuses is refused here, before socketioxide sees it; and what socketioxide would read
//! otherwise than Node is written so that it reads the same.
//!
//! The measure are socket.io-parser 4.2 (`Decoder`) and socket.io 4.8 (`Client.ondecoded`).

mod head;
mod json;
mod mend;
mod name;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use engineioxide_core::Str;

use head::Head;
pub use head::is_reserved;
pub use json::elements;
pub use name::{event_name, handler_name};

/// What a session must remember of its Socket.IO packets.
#[derive(Debug, Default)]
pub struct Guard {
    /// How many attachments are still to come.
    attachments: u32,
    root: Option<Member>,
    others: Option<Box<Namespaces>>,
}

/// How far a namespace is joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Member {
    /// The client asked; nothing was answered.
    Asked,
    Joined,
}

/// Those that are not `/`, sorted by name.
#[derive(Debug, Default)]
struct Namespaces(Vec<(Str, Member)>);

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
    /// Nothing is to be done, and nothing handed on: an event without a name, or a CONNECT while one is under way.
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
        if self.attachments > 0 {
            return Err(GuardError::Text);
        }
        let head = Head::read(&message, revision3)?;
        let rewritten = head.payload_checked()?;
        let mut kind = head.kind;
        match (kind, self.member(head.namespace)) {
            (Kind::Connect, None) => self.set(head.namespace, Some(Member::Asked)),
            (Kind::Connect, Some(Member::Asked)) => kind = Kind::Ignored,
            (Kind::Connect, Some(Member::Joined)) | (_, None | Some(Member::Asked)) => {
                return Err(GuardError::State);
            }
            (Kind::Disconnect, Some(Member::Joined)) => self.set(head.namespace, None),
            (Kind::BinaryEvent | Kind::BinaryAck, _) => {
                self.attachments = head.attachments;
            }
            _ => {}
        }
        if matches!(kind, Kind::Event | Kind::BinaryEvent) && head.payload.is_empty() {
            kind = Kind::Ignored;
        }
        let query = head
            .query
            .filter(|_| kind == Kind::Connect)
            .map(Str::copy_from_slice);
        let message = rewritten.map_or(message, Str::from);
        Ok(Checked {
            message,
            kind,
            query,
        })
    }

    /// An attachment that a client sent.
    ///
    /// # Errors
    /// If none is awaited.
    pub fn binary(&mut self, _data: &Bytes) -> Result<(), GuardError> {
        self.attachments = self.attachments.checked_sub(1).ok_or(GuardError::Binary)?;
        Ok(())
    }

    /// Are attachments still to come?
    #[must_use]
    pub fn awaits(&self) -> bool {
        self.attachments > 0
    }

    /// Is it in no namespace, and about to join none?
    #[must_use]
    pub fn is_outside(&self) -> bool {
        self.root.is_none() && self.others.is_none()
    }

    /// A text message that goes to the client: an answer to CONNECT says that a namespace is joined or
    /// that it cannot be, a DISCONNECT that it is left. Was it one that says it is joined, or left?
    pub fn sent(&mut self, message: &str) -> bool {
        let Some(kind @ (b'0' | b'1' | b'4')) = message.as_bytes().first() else {
            return false;
        };
        let rest = message.get(1..).unwrap_or_default();
        let namespace = if rest.starts_with('/') {
            rest.split_once(',')
                .map_or(rest, |(namespace, _)| namespace)
        } else {
            "/"
        };
        match kind {
            b'0' => self.set(namespace, Some(Member::Joined)),
            b'1' => self.set(namespace, None),
            _ => {
                if self.member(namespace) == Some(Member::Asked) {
                    self.set(namespace, None);
                }
                return false;
            }
        }
        true
    }

    fn member(&self, namespace: &str) -> Option<Member> {
        if namespace == "/" {
            return self.root;
        }
        let Namespaces(list) = self.others.as_deref()?;
        let place = Namespaces::place(list, namespace).ok()?;
        list.get(place).map(|(_, member)| *member)
    }

    fn set(&mut self, namespace: &str, member: Option<Member>) {
        if namespace == "/" {
            self.root = member;
            return;
        }
        let Namespaces(list) = self.others.get_or_insert_default().as_mut();
        match (Namespaces::place(list, namespace), member) {
            (Ok(place), Some(member)) => {
                if let Some((_, known)) = list.get_mut(place) {
                    *known = member;
                }
            }
            (Ok(place), None) => {
                list.remove(place);
            }
            (Err(place), Some(member)) => {
                list.insert(place, (Str::copy_from_slice(namespace), member));
            }
            (Err(_), None) => {}
        }
        if list.is_empty() {
            self.others = None;
        }
    }
}

impl Namespaces {
    fn place(list: &[(Str, Member)], namespace: &str) -> Result<usize, usize> {
        list.binary_search_by(|(name, _)| name.as_str().cmp(namespace))
    }
}
