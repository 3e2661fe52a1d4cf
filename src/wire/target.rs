//! Reads a request target: is it the engine's, and which session does it name?
//!
//! The router (on peeked bytes) and the workers (on a parsed request) both call this, so that
//! they agree on duplicates, percent-encoding and absolute-form targets.

use std::borrow::Cow;

use http::Uri;
use percent_encoding::percent_decode_str;

/// A request target taken apart; see [`Target::parse`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// The path, not decoded: Node compares it raw, too.
    pub path: &'a str,
    /// What stands behind the `?`, not decoded.
    pub query: Option<&'a str>,
}

/// How often a request names a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SidParam<'a> {
    /// Not at all, or by an empty name: a handshake, if the path is the engine's.
    Absent,
    /// Once. The value is percent-decoded and otherwise unchecked.
    One(Cow<'a, str>),
    /// More than once. Whichever value one picked, somebody else would pick the other.
    Repeated,
}

/// The engine's parameters of a query, percent-decoded. Of a repeated one the last counts, as in Node; `sid`
/// alone must not be repeated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EngineQuery<'a> {
    /// The protocol revision: `4`, or `3` for clients of Socket.IO v2.
    pub eio: Option<Cow<'a, str>>,
    /// `polling` or `websocket`.
    pub transport: Option<Cow<'a, str>>,
    /// The session.
    pub sid: SidParam<'a>,
    /// Revision 3: the client cannot read binary answers.
    pub b64: Option<Cow<'a, str>>,
}

impl<'a> Target<'a> {
    /// Takes a target apart: origin-form (`/path?query`) or absolute-form
    /// (`http://host/path?query`), RFC 9112 section 3.2. Anything else gives an empty path,
    /// which matches no route.
    #[must_use]
    pub(crate) fn parse(target: &'a str) -> Self {
        let target = target.split('#').next().unwrap_or_default();
        let origin = if target.starts_with('/') {
            target
        } else {
            match target.split_once("://") {
                Some((_, rest)) => match rest.find(['/', '?']).and_then(|at| rest.get(at..)) {
                    Some(query) if query.starts_with('?') => {
                        return Self {
                            path: "/",
                            query: query.get(1..),
                        };
                    }
                    Some(path) => path,
                    None => "/",
                },
                None => "",
            }
        };
        match origin.split_once('?') {
            Some((path, query)) => Self {
                path,
                query: Some(query),
            },
            None => Self {
                path: origin,
                query: None,
            },
        }
    }

    /// The same target as [`Target::parse`] reads it, from what hyper has read of it.
    #[must_use]
    pub(crate) fn of(uri: &'a Uri) -> Self {
        Self {
            path: uri.path(),
            query: uri.query(),
        }
    }

    /// Is this request the engine's? `engine_path` ends with a slash, and everything below it
    /// belongs to the engine, as in Node and in engineioxide.
    #[must_use]
    pub(crate) fn is_engine(&self, engine_path: &str) -> bool {
        self.path.starts_with(engine_path)
    }

    /// The engine's parameters of the query.
    #[must_use]
    pub(crate) fn engine_query(&self) -> EngineQuery<'a> {
        let query = self.query.unwrap_or_default();
        let mut found = EngineQuery {
            eio: None,
            transport: None,
            sid: SidParam::Absent,
            b64: None,
        };
        for (key, value) in pairs(query) {
            match key.as_ref() {
                "EIO" => found.eio = Some(decode(value)),
                "transport" => found.transport = Some(decode(value)),
                "b64" => found.b64 = Some(decode(value)),
                "sid" => {
                    found.sid = match found.sid {
                        SidParam::Absent => SidParam::One(decode(value)),
                        _ => SidParam::Repeated,
                    }
                }
                _ => {}
            }
        }
        if found.sid == SidParam::One(Cow::Borrowed("")) {
            found.sid = SidParam::Absent;
        }
        found
    }
}

fn pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, &str)> {
    query
        .split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), value)
        })
}

fn decode(text: &str) -> Cow<'_, str> {
    // Clients encode next to nothing of what is theirs.
    if !text.as_bytes().contains(&b'%') {
        return Cow::Borrowed(text);
    }
    percent_decode_str(text).decode_utf8_lossy()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sid(target: &str) -> SidParam<'_> {
        Target::parse(target).engine_query().sid
    }

    #[test]
    fn origin_and_absolute_form_are_the_same() {
        let origin = Target::parse("/socket.io/?EIO=4&sid=x");
        assert_eq!(
            origin,
            Target::parse("http://host:3000/socket.io/?EIO=4&sid=x")
        );
        assert_eq!(origin.path, "/socket.io/");
        assert!(origin.is_engine("/socket.io/"));
        assert_eq!(Target::parse("http://host").path, "/");
        let hidden = Target::parse("http://host?a=/socket.io/?EIO=4");
        assert_eq!(
            (hidden.path, hidden.query),
            ("/", Some("a=/socket.io/?EIO=4"))
        );
        assert_eq!(Target::parse("*").path, "");
        assert_eq!(Target::parse("host:443").path, "");
    }

    #[test]
    fn a_path_that_only_begins_like_the_engines_is_not_the_engines() {
        assert!(!Target::parse("/socket.io?EIO=4").is_engine("/socket.io/"));
        assert!(!Target::parse("/socket.io-admin/").is_engine("/socket.io/"));
        assert!(Target::parse("/socket.io/anything").is_engine("/socket.io/"));
    }

    #[test]
    fn an_encoded_sid_is_a_sid() {
        assert_eq!(sid("/socket.io/?s%69d=%41B"), SidParam::One("AB".into()));
        assert_eq!(sid("/socket.io/?sid=AB"), SidParam::One("AB".into()));
        assert_eq!(sid("/socket.io/?sid="), SidParam::Absent);
        assert_eq!(sid("/socket.io/?sid"), SidParam::Absent);
    }

    #[test]
    fn a_repeated_sid_is_noticed_however_it_is_spelt() {
        assert_eq!(sid("/socket.io/?sid=a&sid=b"), SidParam::Repeated);
        assert_eq!(sid("/socket.io/?sid=a&EIO=4&%73id=a"), SidParam::Repeated);
    }

    #[test]
    fn a_sid_elsewhere_is_none() {
        for target in [
            "/socket.io/sid=a",
            "/socket.io/?xsid=a",
            "/socket.io/?a=sid=b",
            "/s#?sid=a",
        ] {
            assert_eq!(sid(target), SidParam::Absent, "{target}");
        }
    }

    #[test]
    fn the_last_of_repeated_parameters_counts() {
        let query = Target::parse("/socket.io/?EIO=3&b64=0&EI%4F=%34&b64=1").engine_query();
        assert_eq!(query.eio.as_deref(), Some("4"));
        assert_eq!(query.b64.as_deref(), Some("1"));
        assert_eq!(query.transport, None);
    }
}
