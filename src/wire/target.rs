//! Reads a request target: is it the engine's, and which session does it name?
//!
//! The router (on peeked bytes) and the workers (on a parsed request) both call this, so that
//! they agree on duplicates, percent-encoding and absolute-form targets.

use std::borrow::Cow;

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
    /// Not at all: a handshake, if the path is the engine's.
    Absent,
    /// Once. The value is percent-decoded and otherwise unchecked.
    One(Cow<'a, str>),
    /// More than once. Whichever value one picked, somebody else would pick the other.
    Repeated,
}

/// The engine's parameters of a query, percent-decoded. Of a repeated one the first counts, as
/// in engineioxide; `sid` alone must not be repeated.
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
    query: &'a str,
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
            query,
        };
        for (key, value) in pairs(query) {
            match key.as_ref() {
                "EIO" => drop(found.eio.get_or_insert(decode(value))),
                "transport" => drop(found.transport.get_or_insert(decode(value))),
                "b64" => drop(found.b64.get_or_insert(decode(value))),
                "sid" => {
                    found.sid = match found.sid {
                        SidParam::Absent => SidParam::One(decode(value)),
                        _ => SidParam::Repeated,
                    }
                }
                _ => {}
            }
        }
        found
    }
}

impl EngineQuery<'_> {
    /// A target with this query in the one spelling that engineioxide reads: its own parameters first
    /// and not encoded, `sid` replaced by `sid`, the application's parameters behind them untouched.
    #[must_use]
    pub(crate) fn canonical(&self, path: &str, sid: Option<&str>) -> String {
        let mut out = String::with_capacity(path.len() + self.query.len() + 16);
        out.push_str(path);
        let mut separator = '?';
        let mut push = |parts: &[&str]| {
            out.push(separator);
            separator = '&';
            for part in parts {
                out.push_str(part);
            }
        };
        let own = [
            ("EIO", self.eio.as_deref()),
            ("transport", self.transport.as_deref()),
            ("sid", sid),
            ("b64", self.b64.as_deref()),
        ];
        for (key, value) in own {
            // A value that needs encoding is none that the engine knows: it is left out, and
            // the engine refuses the request for the lack of it.
            if let Some(value) = value
                && value
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
            {
                push(&[key, "=", value]);
            }
        }
        for pair in self.query.split('&').filter(|pair| !pair.is_empty()) {
            let key = decode(pair.split('=').next().unwrap_or_default());
            if !matches!(key.as_ref(), "EIO" | "transport" | "sid" | "b64") {
                push(&[pair]);
            }
        }
        out
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
        assert_eq!(sid("/socket.io/?sid="), SidParam::One("".into()));
        assert_eq!(sid("/socket.io/?sid"), SidParam::One("".into()));
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
    fn the_canonical_query_is_what_the_engine_reads() {
        let target = Target::parse("/socket.io/?token=a%20b&EI%4F=4&sid=tagged&transport=polling");
        let query = target.engine_query();
        assert_eq!(
            query.canonical(target.path, Some("bare")),
            "/socket.io/?EIO=4&transport=polling&sid=bare&token=a%20b"
        );
        assert_eq!(
            query.canonical(target.path, None),
            "/socket.io/?EIO=4&transport=polling&token=a%20b"
        );
    }

    #[test]
    fn the_first_of_repeated_parameters_counts() {
        let query = Target::parse("/socket.io/?EIO=4&EIO=3").engine_query();
        assert_eq!(query.eio.as_deref(), Some("4"));
        assert_eq!(query.canonical("/", None), "/?EIO=4");
    }

    #[test]
    fn a_value_that_needs_encoding_never_reaches_the_engine() {
        let query = Target::parse("/socket.io/?EIO=4%26sid%3Dx").engine_query();
        assert_eq!(query.canonical("/", None), "/");
    }
}
