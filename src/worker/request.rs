//! What a request to the engine wants, and whether it is right in every respect.
//!
//! Both roads ask here, and the engine sees only what passed, in the one spelling that
//! `EngineQuery::canonical` gives: engineioxide reads queries more loosely than we do, and whatever
//! only it understood would get past the admission.

use std::cell::RefCell;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, PAD};
use bytes::BytesMut;
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, SEC_WEBSOCKET_EXTENSIONS, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::uri::InvalidUri;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, Version};

use super::sessions::Revision;
use crate::api::Refusal;
use crate::config::{Engine, Transport};
use crate::wire::target::{EngineQuery, SidParam, Target};

/// Some clients draw the characters of their key, not its bits, so that the last has some too many.
const KEY: GeneralPurpose =
    GeneralPurpose::new(&STANDARD, PAD.with_decode_allow_trailing_bits(true));

/// What a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) transport: Transport,
    pub(crate) revision: Revision,
}

/// A request of the engine's that is right.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) wanted: Wanted,
    /// Its target, in the one spelling that the engine gets.
    pub(crate) target: Uri,
}

/// Reads a request whose path is the engine's.
///
/// # Errors
/// Engine.IO's refusals, with the codes of engine.io's `Server.errors`.
pub(crate) fn read(
    engine: &Engine,
    method: &Method,
    version: Version,
    headers: &HeaderMap,
    query: &EngineQuery<'_>,
) -> Result<Wanted, Refusal> {
    let transport = match query.transport.as_deref() {
        Some("polling") => Transport::Polling,
        Some("websocket") => Transport::Websocket,
        _ => return Err(unknown_transport()),
    };
    if !engine.transports.contains(&transport) {
        return Err(unknown_transport());
    }
    let revision = match query.eio.as_deref() {
        Some("4") => Revision::Four,
        Some("3") if engine.allow_eio3 => Revision::Three,
        Some("3") => return Err(eio3_not_allowed()),
        _ => return Err(refusal(5, "Unsupported protocol version")),
    };
    let method_is_good = match (&query.sid, transport) {
        (SidParam::Repeated, _) => return Err(bad_request()),
        (SidParam::Absent, _) if method != Method::GET => {
            return Err(refusal(2, "Bad handshake method"));
        }
        (_, Transport::Polling) => matches!(*method, Method::GET | Method::POST),
        (_, Transport::Websocket) => {
            method == Method::GET && version == Version::HTTP_11 && opens_websocket(headers)
        }
    };
    if !method_is_good {
        return Err(bad_request());
    }
    Ok(Wanted {
        transport,
        revision,
    })
}

/// The headers that a session keeps for its life: those of its handshake, but for what concerns the
/// connection alone (RFC 9110 section 7.6.1, RFC 6455 section 11.3). They are copied, into one piece: each
/// would pin the buffer that it was read into.
pub(super) fn kept(headers: &HeaderMap) -> HeaderMap {
    let keeps = |name: &HeaderName| !OF_THE_CONNECTION.contains(name);
    let all = || headers.iter().filter(|(name, _)| keeps(name));
    let mut values = BytesMut::with_capacity(all().map(|(_, value)| value.len()).sum());
    all().for_each(|(_, value)| values.extend_from_slice(value.as_bytes()));
    let mut values = values.freeze();
    let mut kept = HeaderMap::with_capacity(all().count());
    for (name, value) in all() {
        let copy = values.split_to(value.len());
        if let Ok(copy) = HeaderValue::from_maybe_shared(copy) {
            kept.append(name, copy);
        }
    }
    kept
}

/// What the engine reads of an upgrade's headers, copied.
pub(super) fn key(headers: &HeaderMap) -> HeaderMap {
    let value = headers.get(SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes);
    let copy = value.and_then(|value| HeaderValue::from_bytes(value).ok());
    let one = copy.map(|copy| (SEC_WEBSOCKET_KEY, copy));
    one.into_iter().collect()
}

const OF_THE_CONNECTION: [HeaderName; 7] = [
    CONNECTION,
    SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION,
    TE,
    UPGRADE,
];

/// Is this a client's opening handshake (RFC 6455 section 4.2.1), with nothing behind it?
fn opens_websocket(headers: &HeaderMap) -> bool {
    let key = headers
        .get(SEC_WEBSOCKET_KEY)
        .and_then(|key| KEY.decode(key).ok());
    has_token(headers, &UPGRADE, "websocket")
        && has_token(headers, &CONNECTION, "upgrade")
        && headers
            .get(SEC_WEBSOCKET_VERSION)
            .is_some_and(|version| version == "13")
        && key.is_some_and(|key| key.len() == 16)
        && !headers.contains_key(TRANSFER_ENCODING)
        && headers
            .get(CONTENT_LENGTH)
            .is_none_or(|length| length == "0")
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

/// The request's target, as the router read it.
pub(crate) fn target(uri: &Uri) -> Target<'_> {
    Target::parse(uri.path_and_query().map_or("", |target| target.as_str()))
}

impl Asked {
    /// What is wanted at this path, with `sid` in the place of the session's outer name.
    ///
    /// # Errors
    /// When that makes no URI, for a reason that nobody has thought of: then the engine gets nothing.
    pub(crate) fn new(
        wanted: Wanted,
        path: &str,
        query: &EngineQuery<'_>,
        sid: Option<&str>,
    ) -> Result<Self, Refusal> {
        let target = query.canonical(path, sid);
        let target = match sid {
            Some(_) => target.parse(),
            None => shared(&target),
        };
        let target = target.map_err(|_| bad_request())?;
        Ok(Self { wanted, target })
    }
}

thread_local! {
    static LAST: RefCell<Uri> = RefCell::default();
}

/// The target of a handshake, which the session keeps. Most have the same one as the session before, and
/// share it.
fn shared(target: &str) -> Result<Uri, InvalidUri> {
    LAST.with_borrow_mut(|last| {
        if last.path_and_query().is_none_or(|last| last != target) {
            *last = target.parse()?;
        }
        Ok(last.clone())
    })
}

pub(crate) fn unknown_session() -> Refusal {
    refusal(1, "Session ID unknown")
}

pub(crate) fn bad_request() -> Refusal {
    refusal(3, "Bad request")
}

fn unknown_transport() -> Refusal {
    refusal(0, "Transport unknown")
}

fn eio3_not_allowed() -> Refusal {
    refusal(
        5,
        "Unsupported protocol version: clients of Socket.IO v2 need allow_eio3 = true in the \
         server's configuration",
    )
}

fn refusal(code: u8, message: &str) -> Refusal {
    Refusal {
        status: StatusCode::BAD_REQUEST,
        code,
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(method: &Method, target: &str, headers: &[(&str, &str)]) -> Result<Wanted, u8> {
        let headers = headers
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()));
        let query = Target::parse(target).engine_query();
        read(
            &Engine::default(),
            method,
            Version::HTTP_11,
            &headers.collect(),
            &query,
        )
        .map_err(|refusal| refusal.code)
    }

    const HANDSHAKE: [(&str, &str); 4] = [
        ("upgrade", "WebSocket"),
        ("connection", "keep-alive, Upgrade"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];

    #[test]
    fn a_request_that_is_right_is_read() {
        let polling = Wanted {
            transport: Transport::Polling,
            revision: Revision::Four,
        };
        assert_eq!(
            ask(&Method::GET, "/?EIO=4&transport=polling", &[]),
            Ok(polling)
        );
        assert_eq!(
            ask(&Method::POST, "/?EIO=4&transport=polling&sid=x", &[]),
            Ok(polling)
        );
        let websocket = Wanted {
            transport: Transport::Websocket,
            ..polling
        };
        assert_eq!(
            ask(&Method::GET, "/?EIO=4&transport=websocket", &HANDSHAKE),
            Ok(websocket)
        );
    }

    #[test]
    fn every_other_spelling_is_refused_in_the_engines_words() {
        for (target, code) in [
            ("/", 0),
            ("/?EIO=4", 0),
            ("/?EIO=4&transport=websocket=", 0),
            ("/?EIO=4&transport=flashsocket", 0),
            ("/?transport=polling", 5),
            ("/?EIO=4=&transport=polling", 5),
            ("/?EIO&EIO=4&transport=polling", 5),
            ("/?EIO=3&transport=polling", 5),
            ("/?EIO=3=&transport=polling", 5),
            ("/?EIO=5&transport=polling", 5),
            ("/?EIO=4&transport=polling&sid=a&sid=a", 3),
        ] {
            assert_eq!(ask(&Method::GET, target, &HANDSHAKE), Err(code), "{target}");
        }
        assert_eq!(ask(&Method::POST, "/?EIO=4&transport=polling", &[]), Err(2));
        assert_eq!(
            ask(&Method::PUT, "/?EIO=4&transport=polling&sid=x", &[]),
            Err(3)
        );
    }

    #[test]
    fn a_websocket_handshake_that_lacks_anything_is_refused() {
        let target = "/?EIO=4&transport=websocket";
        for missing in 0..HANDSHAKE.len() {
            let mut headers = HANDSHAKE.to_vec();
            headers.remove(missing);
            assert_eq!(ask(&Method::GET, target, &headers), Err(3));
        }
        for wrong in [
            ("upgrade", "foo"),
            ("connection", "close"),
            ("sec-websocket-version", "8"),
            ("sec-websocket-key", "short"),
        ] {
            let mut headers = HANDSHAKE.to_vec();
            headers.retain(|(name, _)| *name != wrong.0);
            headers.push(wrong);
            assert_eq!(ask(&Method::GET, target, &headers), Err(3), "{wrong:?}");
        }
        let with_body = [HANDSHAKE.as_slice(), &[("content-length", "3")]].concat();
        assert_eq!(ask(&Method::GET, target, &with_body), Err(3));
        assert_eq!(
            ask(
                &Method::POST,
                "/?EIO=4&transport=websocket&sid=x",
                &HANDSHAKE
            ),
            Err(3)
        );
    }

    #[test]
    fn handshakes_get_the_target_that_they_asked_for() {
        let wanted = Wanted {
            transport: Transport::Websocket,
            revision: Revision::Four,
        };
        for target in [
            "/a/?EIO=4",
            "/a/?EIO=4&x=1",
            "/a/?EIO=4&x=1",
            "/b/?EIO=4",
            "/b/",
        ] {
            let Target { path, .. } = Target::parse(target);
            let query = Target::parse(target).engine_query();
            let asked = Asked::new(wanted, path, &query, None).unwrap();
            assert_eq!(asked.target, target);
        }
    }

    #[test]
    fn a_session_keeps_its_headers_but_for_those_of_the_connection() {
        let cookies = [("cookie", "a=1"), ("x-id", "7"), ("cookie", "b=\u{e9}")];
        let sent = HANDSHAKE.iter().chain(&cookies);
        let sent: HeaderMap = sent
            .map(|(name, value)| {
                let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
                (name, HeaderValue::from_bytes(value.as_bytes()).unwrap())
            })
            .collect();
        let kept = kept(&sent);
        let kept: Vec<_> = kept
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()))
            .collect();
        let expected = [("cookie", "a=1"), ("cookie", "b=\u{e9}"), ("x-id", "7")];
        assert_eq!(kept, expected.map(|(name, value)| (name, value.as_bytes())));
        assert_eq!(key(&sent).len(), 1);
    }
}
