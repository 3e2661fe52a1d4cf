//! The parts of a Socket.IO packet (`Decoder.decodeString`).

use super::json::{self, First, Shape, Top};
use super::mend::{self, Rules};
use super::name;
use super::{GuardError, Kind};

/// Event names that mean something else (socket.io-parser, `RESERVED_EVENTS`).
const RESERVED: [&str; 6] = [
    "connect",
    "connect_error",
    "disconnect",
    "disconnecting",
    "newListener",
    "removeListener",
];
/// Nothing was sent with this id. It stands for an id that is none, of an acknowledgement that Node ignores.
const NO_ID: &str = "9223372036854775807";
/// More attachments than Node takes (10), and few enough for socketioxide, which sums them up at each.
const MAX_ATTACHMENTS: u32 = 1_000;

/// A packet, cut into its parts.
pub(super) struct Head<'a> {
    pub(super) kind: Kind,
    pub(super) attachments: u32,
    pub(super) namespace: &'a str,
    pub(super) query: Option<&'a str>,
    /// Empty: there is none.
    id: &'a str,
    /// Empty: there is none.
    pub(super) payload: &'a str,
    /// Socketioxide does not read it as Node does.
    odd: bool,
}

impl<'a> Head<'a> {
    /// Cuts a packet into its parts.
    pub(super) fn read(message: &'a str, revision3: bool) -> Result<Self, GuardError> {
        let kind = match message.as_bytes().first() {
            Some(b'0') => Kind::Connect,
            Some(b'1') => Kind::Disconnect,
            Some(b'2') => Kind::Event,
            Some(b'3') => Kind::Ack,
            Some(b'5') => Kind::BinaryEvent,
            Some(b'6') => Kind::BinaryAck,
            _ => return Err(GuardError::UnknownType),
        };
        let mut rest = message.get(1..).unwrap_or_default();
        let mut odd = false;
        let mut attachments = 0;
        if matches!(kind, Kind::BinaryEvent | Kind::BinaryAck) {
            let (count, behind) = rest.split_once('-').ok_or(GuardError::Attachments)?;
            attachments = number(count).ok_or(GuardError::Attachments)?;
            rest = behind;
        }
        let (mut namespace, mut query) = ("/", None);
        if rest.starts_with('/') {
            (namespace, rest) = rest.split_once(',').unwrap_or((rest, ""));
            if revision3 && let Some(at) = memchr::memchr2(b'?', b'#', namespace.as_bytes()) {
                let (path, behind) = namespace.split_at(at);
                let behind = behind.split_once('#').map_or(behind, |(behind, _)| behind);
                query = behind.strip_prefix('?');
                namespace = path;
                odd = true;
            }
        }
        let (id, payload, blank) = split_id(rest)?;
        odd |= blank;
        let mut head = Self {
            kind,
            attachments,
            namespace,
            query,
            id,
            payload,
            odd,
        };
        head.mend_ack();
        Ok(head)
    }

    /// Node ignores an acknowledgement without an id, or with one that it never sent, and one without a
    /// payload has no arguments.
    fn mend_ack(&mut self) {
        // It takes attachments, and does nothing: an event without a name.
        if self.kind == Kind::BinaryEvent && self.payload.is_empty() {
            self.kind = Kind::BinaryAck;
            self.id = NO_ID;
            self.odd = true;
        }
        if !matches!(self.kind, Kind::Ack | Kind::BinaryAck) {
            return;
        }
        if self.id.parse::<i64>().is_err() {
            self.id = NO_ID;
            self.odd = true;
        }
        if self.payload.is_empty() {
            self.payload = "[]";
            self.odd = true;
        }
    }

    /// The packet as it must be written, if not as it is.
    pub(super) fn payload_checked(&self) -> Result<Option<String>, GuardError> {
        if self.payload.is_empty() {
            return Ok(self.odd.then(|| self.write()));
        }
        let shape = json::scan(self.payload, self.attachments > 0).ok_or(GuardError::Payload)?;
        if !self.is_valid(&shape) {
            return Err(GuardError::Payload);
        }
        let rules = Rules {
            event: matches!(self.kind, Kind::Event | Kind::BinaryEvent),
            attachments: self.attachments,
        };
        if self.kind != Kind::Connect && self.is_foreign(&shape, rules) {
            return mend::mend(self.payload, rules, self.write()).map(Some);
        }
        Ok(self.odd.then(|| self.write() + self.payload))
    }

    /// `Decoder.isPayloadValid`.
    fn is_valid(&self, shape: &Shape) -> bool {
        match (self.kind, shape.top) {
            (Kind::Connect, Top::Object) | (Kind::Ack | Kind::BinaryAck, Top::Array(_)) => true,
            (Kind::Event | Kind::BinaryEvent, Top::Array(first)) => match first {
                First::Number => true,
                First::Text {
                    start,
                    end,
                    escaped,
                } => {
                    let raw = self.payload.get(start..end).unwrap_or_default();
                    if escaped {
                        !is_reserved(&name::unescape(raw, name::Hard::Escaped))
                    } else {
                        !is_reserved(raw)
                    }
                }
                First::Other => false,
            },
            _ => false,
        }
    }

    /// Does socketioxide read this otherwise than Node?
    fn is_foreign(&self, shape: &Shape, rules: Rules) -> bool {
        let name = match shape.top {
            Top::Array(First::Number) => true,
            Top::Array(First::Text {
                start,
                end,
                escaped,
            }) => escaped || self.payload.get(start..end).is_some_and(name::may_stand_in),
            _ => false,
        };
        rules.event && name || shape.escaped_key || shape.placeholder
    }

    /// All before the payload.
    fn write(&self) -> String {
        let mut out = String::with_capacity(self.payload.len().saturating_add(64));
        out.push(match self.kind {
            Kind::Connect => '0',
            Kind::Disconnect => '1',
            Kind::Event | Kind::Ignored => '2',
            Kind::Ack => '3',
            Kind::BinaryEvent => '5',
            Kind::BinaryAck => '6',
        });
        if matches!(self.kind, Kind::BinaryEvent | Kind::BinaryAck) {
            out.push_str(&self.attachments.to_string());
            out.push('-');
        }
        if self.namespace != "/" {
            out.extend([self.namespace, ","]);
        }
        out.push_str(self.id);
        out
    }
}

/// Is this the name of an event of the connection itself (Node's `RESERVED_EVENTS`)? Nobody may emit one.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// The digits of an id, and what stands behind them. Node takes white space for digits, and no digits but
/// white space for 0.
fn split_id(rest: &str) -> Result<(&str, &str, bool), GuardError> {
    if let Some(b'[' | b'{') = rest.as_bytes().first() {
        return Ok(("", rest, false));
    }
    let behind = rest.trim_start_matches(|c: char| c.is_ascii_digit());
    let (id, _) = rest.split_at(rest.len().saturating_sub(behind.len()));
    let payload = behind.trim_start_matches([' ', '\t', '\n', '\r']);
    let blank = payload.len() < behind.len();
    if blank && payload.starts_with(|c: char| c.is_ascii_digit()) {
        return if id.is_empty() {
            split_id(payload).map(|(id, payload, _)| (id, payload, true))
        } else {
            Err(GuardError::Payload)
        };
    }
    Ok((
        if blank && id.is_empty() { "0" } else { id },
        payload,
        blank,
    ))
}

/// A number of attachments.
fn number(digits: &str) -> Option<u32> {
    let number = digits
        .bytes()
        .all(|digit| digit.is_ascii_digit())
        .then(|| digits.parse().ok())??;
    (1..=MAX_ATTACHMENTS).contains(&number).then_some(number)
}
