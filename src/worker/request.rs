//! What a request of the engine's wants, and whether it is right in every respect: as Node's engine.io and its
//! WebSocket library judge it, in their words.
//!
//! Both roads ask here.

use std::borrow::Cow;

use engineioxide::{Agreed, ProtocolVersion};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TE, TRANSFER_ENCODING,
    UPGRADE,
};
use http::{HeaderMap, Method};

use crate::api::Refusal;
use crate::config::{Engine, Transport};
use crate::wire::target::{EngineQuery, SidParam};

/// A request of the engine's that is right.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct EngineRequest<'a> {
    pub(crate) purpose: Purpose<'a>,
    pub(crate) protocol: ProtocolVersion,
    /// Does the client want binary data as text?
    pub(crate) base64: bool,
}

/// What it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Purpose<'a> {
    /// A new session.
    Handshake(Transport),
    /// A session, by the name that the client uses.
    Session(Cow<'a, str>, Action),
}

/// What is to be done with a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Wait for what it has for its client.
    Poll,
    /// Take what its client sends.
    Post,
    /// Go on by WebSocket.
    Upgrade,
    /// What no session does; it is said once it is known that there is one.
    Nothing,
}

/// Why a request cannot be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("Transport unknown")]
    UnknownTransport,
    #[error("Session ID unknown")]
    UnknownSession,
    #[error("Bad handshake method")]
    BadHandshakeMethod,
    #[error("Bad request")]
    BadRequest,
    /// A poll or a post while there is one already. It is answered without words.
    #[error("overlap from client")]
    Overlap,
    #[error(
        "Unsupported protocol version: clients of Socket.IO v2 need allow_eio3 = true in the server's configuration"
    )]
    UnsupportedProtocol,
    #[error("Invalid Upgrade header")]
    InvalidUpgrade,
    #[error("Missing or invalid Sec-WebSocket-Key header")]
    InvalidKey,
    #[error("Missing or invalid Sec-WebSocket-Version header")]
    InvalidVersion,
    #[error("Invalid Sec-WebSocket-Protocol header")]
    InvalidProtocol,
    #[error("Invalid or unacceptable Sec-WebSocket-Extensions header")]
    InvalidExtensions,
}

impl RequestError {
    /// The number in engine.io's `Server.errors`.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::UnknownTransport => 0,
            Self::UnknownSession => 1,
            Self::BadHandshakeMethod => 2,
            Self::UnsupportedProtocol => 5,
            _ => 3,
        }
    }
}

/// Why a request is not served: it is not right, or its client is not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    Request(RequestError),
    Client(Refusal),
}

impl From<RequestError> for Refused {
    fn from(error: RequestError) -> Self {
        Self::Request(error)
    }
}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        Self::Client(refusal)
    }
}

impl From<engineioxide::Refused> for RequestError {
    fn from(refused: engineioxide::Refused) -> Self {
        match refused {
            engineioxide::Refused::UnknownSession => Self::UnknownSession,
            engineioxide::Refused::BadRequest => Self::BadRequest,
            engineioxide::Refused::Overlap => Self::Overlap,
        }
    }
}

/// Reads a request whose path is the engine's.
///
/// # Errors
/// Why it is not right.
pub(crate) fn read<'a>(
    engine: &Engine,
    method: &Method,
    headers: &HeaderMap,
    query: EngineQuery<'a>,
) -> Result<EngineRequest<'a>, RequestError> {
    let transport = match query.transport.as_deref() {
        Some("polling") => Transport::Polling,
        Some("websocket") => Transport::Websocket,
        _ => return Err(RequestError::UnknownTransport),
    };
    if !engine.transports.contains(&transport) {
        return Err(RequestError::UnknownTransport);
    }
    let upgrades = is_upgrade(headers);
    // "4, else 3."
    let protocol = match query.eio.as_deref() {
        Some("4") => ProtocolVersion::V4,
        _ => ProtocolVersion::V3,
    };
    let purpose = match query.sid {
        SidParam::Repeated => return Err(RequestError::UnknownSession),
        SidParam::One(sid) => {
            let action = action(engine, transport, method, headers, upgrades)?;
            Purpose::Session(sid, action)
        }
        SidParam::Absent if method != Method::GET => return Err(RequestError::BadHandshakeMethod),
        SidParam::Absent => {
            if upgrades {
                check_websocket(engine, headers)?;
            }
            if upgrades != (transport == Transport::Websocket) {
                return Err(RequestError::BadRequest);
            }
            if protocol == ProtocolVersion::V3 && !engine.allow_eio3 {
                return Err(RequestError::UnsupportedProtocol);
            }
            Purpose::Handshake(transport)
        }
    };
    Ok(EngineRequest {
        purpose,
        protocol,
        base64: query.b64.is_some_and(|b64| !b64.is_empty()),
    })
}

fn action(
    engine: &Engine,
    transport: Transport,
    method: &Method,
    headers: &HeaderMap,
    upgrades: bool,
) -> Result<Action, RequestError> {
    if upgrades {
        check_websocket(engine, headers)?;
    }
    Ok(match transport {
        Transport::Websocket if upgrades && method == Method::GET => Action::Upgrade,
        Transport::Polling if upgrades => Action::Nothing,
        Transport::Polling if method == Method::GET => Action::Poll,
        Transport::Polling if method == Method::POST => Action::Post,
        _ => Action::Nothing,
    })
}

/// Does this request want to leave HTTP, whatever for? Node gives it to another handler then, which refuses in
/// another form.
pub(crate) fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(UPGRADE) && has_token(headers, &CONNECTION, "upgrade")
}

/// Is this a client's opening handshake (RFC 6455 section 4.2.1), with nothing behind it?
fn check_websocket(engine: &Engine, headers: &HeaderMap) -> Result<(), RequestError> {
    if !has_token(headers, &UPGRADE, "websocket") {
        return Err(RequestError::InvalidUpgrade);
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
    if !key.is_some_and(is_key) {
        return Err(RequestError::InvalidKey);
    }
    let version = headers.get(SEC_WEBSOCKET_VERSION);
    if !version.is_some_and(|version| version == "13" || version == "8") {
        return Err(RequestError::InvalidVersion);
    }
    if headers.contains_key(SEC_WEBSOCKET_PROTOCOL) && subprotocol(headers).is_none() {
        return Err(RequestError::InvalidProtocol);
    }
    agree(engine, headers)?;
    let has_body = headers.contains_key(TRANSFER_ENCODING)
        || headers
            .get(CONTENT_LENGTH)
            .is_some_and(|length| length != "0");
    if has_body {
        return Err(RequestError::BadRequest);
    }
    Ok(())
}

/// Sixteen bytes as base64. Some clients draw the characters, not the bits, so that the last has some too many.
fn is_key(key: &[u8]) -> bool {
    let alphabet = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key.iter().take(22).all(alphabet)
}

/// The subprotocol that is answered: the first one that is named. None if none is, or the list is no list of
/// different tokens.
pub(crate) fn subprotocol(headers: &HeaderMap) -> Option<&str> {
    let mut names = Vec::new();
    for value in headers.get_all(SEC_WEBSOCKET_PROTOCOL) {
        for name in value.to_str().ok()?.split(',') {
            let name = name.trim_matches([' ', '\t']);
            let good = !name.is_empty() && name.bytes().all(is_token) && !names.contains(&name);
            names.push(good.then_some(name)?);
        }
    }
    names.first().copied()
}

/// What is agreed on with a WebSocket's client about deflating messages.
pub(crate) fn agreed(engine: &Engine, headers: &HeaderMap) -> Option<Agreed> {
    agree(engine, headers).ok().flatten()
}

fn agree(engine: &Engine, headers: &HeaderMap) -> Result<Option<Agreed>, RequestError> {
    // As in Node, nobody looks into the header otherwise.
    if !engine.per_message_deflate || !headers.contains_key(SEC_WEBSOCKET_EXTENSIONS) {
        return Ok(None);
    }
    let mut offers = Vec::new();
    for value in headers.get_all(SEC_WEBSOCKET_EXTENSIONS) {
        offers.push(
            value
                .to_str()
                .map_err(|_| RequestError::InvalidExtensions)?,
        );
    }
    engineioxide::negotiate(&offers.join(", ")).map_err(|_| RequestError::InvalidExtensions)
}

/// RFC 9110 section 5.6.2.
fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

/// Is `token` in the comma-separated list that is this header's value?
fn has_token(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let values = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|item| item.trim().eq_ignore_ascii_case(token))
}

/// Does a session keep this header of its handshake for its life? All but those that concern the connection
/// alone (RFC 9110 section 7.6.1, RFC 6455 section 11.3).
pub(crate) fn is_kept(name: &str) -> bool {
    const OF_THE_CONNECTION: [HeaderName; 7] = [
        CONNECTION,
        SEC_WEBSOCKET_EXTENSIONS,
        SEC_WEBSOCKET_KEY,
        SEC_WEBSOCKET_PROTOCOL,
        SEC_WEBSOCKET_VERSION,
        TE,
        UPGRADE,
    ];
    !OF_THE_CONNECTION
        .iter()
        .any(|of_the_connection| name.eq_ignore_ascii_case(of_the_connection.as_str()))
}

/// The answer to a WebSocket's handshake, in bytes. `extra`: headers that it has beside its own.
pub(crate) fn switching_protocols(
    headers: &HeaderMap,
    agreed: Option<Agreed>,
    extra: impl Iterator<Item = (HeaderName, HeaderValue)>,
) -> Vec<u8> {
    let key = headers
        .get(SEC_WEBSOCKET_KEY)
        .map_or(&[][..], HeaderValue::as_bytes);
    let accept = tungstenite::handshake::derive_accept_key(key);
    let mut answer = Vec::with_capacity(192);
    answer.extend_from_slice(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n",
    );
    let mut line = |name: &[u8], value: &[u8]| {
        for part in [name, b": ", value, b"\r\n"] {
            answer.extend_from_slice(part);
        }
    };
    line(b"Sec-WebSocket-Accept", accept.as_bytes());
    if let Some(protocol) = subprotocol(headers) {
        line(b"Sec-WebSocket-Protocol", protocol.as_bytes());
    }
    if let Some(agreed) = agreed {
        line(b"Sec-WebSocket-Extensions", agreed.to_string().as_bytes());
    }
    for (name, value) in extra {
        line(name.as_str().as_bytes(), value.as_bytes());
    }
    answer.extend_from_slice(b"\r\n");
    answer
}
