//! The page at `/`: a client of this server like any other, in a browser.
//!
//! It is four files, and a policy under which a browser runs nothing but these and the client's, and reaches nothing but
//! this server: what others write in a room is text there, whatever it is. A page cannot know where the engine is
//! (`engine.path`), so that is written into it when it is asked for.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::routing::get;
use axum::{Extension, Router};
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HOST, HeaderMap, HeaderName,
    HeaderValue, IF_NONE_MATCH, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use http::{Response, StatusCode};

use crate::api::Endpoint;

const HTML: &str = include_str!("index.html");
const CSS: &str = include_str!("page.css");
const JS: &str = include_str!("page.js");
const ICON: &str = include_str!("icon.svg");

/// No script, style or request but this server's own, and nobody may put the page into theirs.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; \
                      form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; connect-src 'self'";

/// What else browsers are told: nothing of another origin may have it, or hear of it; it may be kept, and asked about
/// each time, so that the page is never older than the server.
const HEADERS: [(HeaderName, &str); 5] = [
    (CACHE_CONTROL, "no-cache"),
    (REFERRER_POLICY, "no-referrer"),
    (X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

/// The page and its files.
pub(super) fn routes() -> Router {
    let file = |kind, text: &'static str| {
        get(move |headers: HeaderMap| async move { answer(&headers, kind, text.to_owned()) })
    };
    Router::new()
        .route("/", get(page))
        .route("/page/page.css", file("text/css; charset=utf-8", CSS))
        .route("/page/page.js", file("text/javascript; charset=utf-8", JS))
        .route("/page/icon.svg", file("image/svg+xml", ICON))
}

async fn page(Extension(endpoint): Extension<Endpoint>, headers: HeaderMap) -> Response<String> {
    let mut answer = answer(&headers, "text/html; charset=utf-8", html(&endpoint));
    let policy = policy(headers.get(HOST).and_then(|host| host.to_str().ok()));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        answer.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    answer
}

/// The page, with the place of the engine in it.
fn html(endpoint: &Endpoint) -> String {
    let client = if endpoint.msgpack {
        "socket.io.msgpack.min.js"
    } else {
        "socket.io.min.js"
    };
    HTML.replace("{{path}}", &escaped(&endpoint.path))
        .replace("{{client}}", client)
}

/// As the value of an attribute.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('"', "&quot;")
        .replace('<', "&lt;")
}

/// To Safari before 16 a WebSocket is not of the page's own origin: there the host must be named.
fn policy(host: Option<&str>) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-:".contains(c);
    match host.filter(|host| !host.is_empty() && host.chars().all(plain)) {
        Some(host) => format!("{POLICY} ws://{host} wss://{host}"),
        None => POLICY.to_owned(),
    }
}

/// A file, or that the browser has it.
fn answer(headers: &HeaderMap, kind: &'static str, text: String) -> Response<String> {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let tag = format!("\"{:016x}\"", hasher.finish());
    let asked = headers.get(IF_NONE_MATCH);
    let known = asked.is_some_and(|tags| tags.to_str().is_ok_and(|tags| tags.contains(&tag)));
    let mut answer = Response::new(if known { String::new() } else { text });
    if known {
        *answer.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let all = answer.headers_mut();
    all.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        all.insert(ETAG, tag);
    }
    for (name, value) in HEADERS {
        all.insert(name, HeaderValue::from_static(value));
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_no_script_or_style_but_its_files() {
        assert_eq!(HTML.matches("<script").count(), 2, "the client, the page");
        for inline in ["<style", " style=", " onclick=", "javascript:", "http:"] {
            assert!(!HTML.contains(inline), "{inline}");
        }
        for risky in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "eval(",
            ".style",
        ] {
            assert!(!JS.contains(risky), "{risky}");
        }
    }

    #[test]
    fn the_page_is_told_where_the_engine_is() {
        let endpoint = |path: &str, msgpack| Endpoint {
            path: path.into(),
            msgpack,
        };
        let page = html(&endpoint("/live/", false));
        assert!(page.contains("src=\"/live/socket.io.min.js\""), "{page}");
        assert!(page.contains("content=\"/live/\""), "{page}");
        let page = html(&endpoint("/a\"><b>&/", true));
        let client = "src=\"/a&quot;>&lt;b>&amp;/socket.io.msgpack.min.js\"";
        assert!(page.contains(client), "{page}");
        assert!(!page.contains("{{"), "{page}");
    }

    #[test]
    fn the_policy_names_the_host_where_it_is_a_plain_one() {
        let named = policy(Some("my-app.test:8080"));
        assert!(named.ends_with("connect-src 'self' ws://my-app.test:8080 wss://my-app.test:8080"));
        for odd in [None, Some(""), Some("[::1]"), Some("a; script-src *")] {
            assert_eq!(policy(odd), POLICY);
        }
        assert!(!POLICY.contains("unsafe"));
    }

    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        let first = answer(&HeaderMap::new(), "text/css", "a{}".to_owned());
        assert_eq!(
            (first.status(), first.body().as_str()),
            (StatusCode::OK, "a{}")
        );
        let mut again = HeaderMap::new();
        again.insert(IF_NONE_MATCH, first.headers()[ETAG].clone());
        let second = answer(&again, "text/css", "a{}".to_owned());
        assert_eq!(second.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(second.body(), "");
        let third = answer(&again, "text/css", "b{}".to_owned());
        assert_eq!(third.body(), "b{}");
    }
}
