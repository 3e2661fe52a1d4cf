//! Cross-origin requests: which pages of other origins may use this server, and how browsers are told.
//!
//! A page of an origin that is not allowed is refused, with words: a session that it can open and not read would
//! help nobody. Browsers do not apply CORS to `WebSockets`, so for those, too, the server looks at `Origin` itself
//! (RFC 6455 section 10.2). Clients that are no browsers send none.

use std::time::Duration;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_REQUEST_HEADERS, HOST, HeaderName, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue};
use tracing::warn;

use crate::api::Refusal;
use crate::config::Engine;
use crate::logging::RateLimit;
use crate::metrics::Refused;

/// A refused origin is told once in this time.
const TOLD_EVERY: Duration = Duration::from_mins(1);

/// As Node's `cors` answers.
const METHODS: HeaderValue = HeaderValue::from_static("GET,HEAD,PUT,PATCH,POST,DELETE");

/// The rules, made once of the configuration.
#[derive(Debug)]
pub(crate) struct Cors {
    origins: Vec<String>,
    credentials: bool,
    /// The headers that pages may send; none: whatever the browser asks for.
    headers: Option<HeaderValue>,
    refused: RateLimit,
}

impl Cors {
    pub(crate) fn new(engine: &Engine) -> Self {
        let headers = engine.cors_headers.join(",");
        Self {
            origins: engine.cors_origins.clone(),
            credentials: engine.cors_credentials,
            headers: headers
                .parse()
                .ok()
                .filter(|headers: &HeaderValue| !headers.is_empty()),
            refused: RateLimit::default(),
        }
    }

    /// Are there other origins that may use this server?
    pub(crate) fn is_on(&self) -> bool {
        !self.origins.is_empty()
    }

    fn allows_all(&self) -> bool {
        self.origins.iter().any(|origin| origin == "*")
    }

    fn names(&self, origin: &HeaderValue) -> bool {
        let named = |allowed: &String| allowed.as_bytes().eq_ignore_ascii_case(origin.as_bytes());
        self.origins.iter().any(named)
    }

    /// May a page of this request's origin do what it wants?
    ///
    /// # Errors
    /// It may not; the log tells what to change.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let Some(origin) = headers.get(ORIGIN).filter(|origin| !origin.is_empty()) else {
            return Ok(());
        };
        let host = headers.get(HOST).map_or(&[][..], HeaderValue::as_bytes);
        let (text, host) = (
            String::from_utf8_lossy(origin.as_bytes()),
            String::from_utf8_lossy(host),
        );
        if self.allows_all() || self.names(origin) || is_same(&text, &host) {
            return Ok(());
        }
        if self.refused.allows(TOLD_EVERY) {
            warn!(
                origin = %text,
                host = %host,
                "a page of another origin was refused; if it may connect, add it to \
                 engine.cors_origins (to try it: --cors), or let the proxy pass Host on unchanged"
            );
        }
        Err(Refusal::forbidden(
            "Forbidden: this Origin is not one of cors_origins in the server's configuration",
        )
        .because(Refused::Origin))
    }

    /// The headers of every answer to a request of this origin.
    pub(crate) fn headers(
        &self,
        origin: Option<&HeaderValue>,
    ) -> impl Iterator<Item = (HeaderName, HeaderValue)> + use<> {
        let mut all = [None, None, None];
        if self.is_on() {
            let any = self.allows_all();
            let allowed = if any {
                Some(HeaderValue::from_static("*"))
            } else {
                origin.filter(|origin| self.names(origin)).cloned()
            };
            let credentials = self.credentials.then(|| HeaderValue::from_static("true"));
            let vary = (!any).then(|| HeaderValue::from_static("Origin"));
            all = [
                allowed.map(|value| (ACCESS_CONTROL_ALLOW_ORIGIN, value)),
                credentials.map(|value| (ACCESS_CONTROL_ALLOW_CREDENTIALS, value)),
                vary.map(|value| (VARY, value)),
            ];
        }
        all.into_iter().flatten()
    }

    /// The headers that only the answer to a preflight has.
    pub(crate) fn preflight(&self, request: &HeaderMap) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        let asked = request.get(ACCESS_CONTROL_REQUEST_HEADERS);
        if self.headers.is_none() {
            headers.append(VARY, ACCESS_CONTROL_REQUEST_HEADERS.into());
        }
        if let Some(allowed) = self.headers.as_ref().or(asked) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, allowed.clone());
        }
        headers
    }
}

/// Is a page of this origin served by this host? The default port may stand or not: some clients
/// (Starscream) always write it into `Host`.
fn is_same(origin: &str, host: &str) -> bool {
    let Some((scheme, authority)) = origin.split_once("://") else {
        return false;
    };
    let default = match scheme {
        "http" | "ws" => ":80",
        "https" | "wss" => ":443",
        _ => "",
    };
    let bare = |authority: &str| {
        authority
            .strip_suffix(default)
            .unwrap_or(authority)
            .to_ascii_lowercase()
    };
    !host.is_empty() && bare(authority) == bare(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: &[&str]) -> Cors {
        Cors::new(&Engine {
            cors_origins: origins.iter().map(ToString::to_string).collect(),
            ..Engine::default()
        })
    }

    fn allows(origins: &[&str], origin: &str, host: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(ORIGIN, origin.parse().unwrap());
        headers.insert(HOST, host.parse().unwrap());
        cors(origins).check(&headers).is_ok()
    }

    #[test]
    fn a_page_of_another_origin_is_refused() {
        assert!(cors(&[]).check(&HeaderMap::new()).is_ok());
        assert!(allows(&[], "https://example.test", "example.test"));
        assert!(allows(&[], "http://Example.test:3000", "example.test:3000"));
        assert!(allows(&[], "https://example.test", "example.test:443"));
        assert!(!allows(&[], "https://example.test", "example.test:80"));
        assert!(!allows(&[], "https://example.test:8443", "example.test"));
        assert!(!allows(&[], "https://evil.test", "example.test"));
        assert!(!allows(&[], "null", "example.test"));
        let page = "https://page.test";
        assert!(allows(&[page], page, "example.test"));
        assert!(!allows(&[page], "http://page.test", "example.test"));
        assert!(allows(&["*"], "null", "example.test"));
    }

    #[test]
    fn an_allowed_origin_is_told_so_and_others_nothing() {
        let told = |cors: &Cors, origin: &str| -> Vec<_> {
            let origin = origin.parse().unwrap();
            let headers = cors.headers(Some(&origin));
            headers
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
                .collect()
        };
        let page = "https://page.test";
        assert!(told(&cors(&[]), page).is_empty());
        assert_eq!(
            told(&cors(&[page]), page),
            [
                "access-control-allow-origin: https://page.test",
                "vary: Origin"
            ]
        );
        assert_eq!(told(&cors(&[page]), "https://evil.test"), ["vary: Origin"]);
        assert_eq!(
            told(&cors(&["*"]), page),
            ["access-control-allow-origin: *"]
        );
    }
}
