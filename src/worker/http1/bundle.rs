//! The browser's client, as Node's server serves it: what a browser is told of its files.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH, VARY,
};
use http::request::Parts;
use http::{HeaderMap, Response, StatusCode};

use super::answer::{Body, bare};
use super::encoding;
use crate::client_files::{self, File};

/// A browser asks for a file once a day, and is told then in a few bytes whether it has changed. Not longer: its address
/// stays the same when the server, and the client with it, is a new one.
const DAY: HeaderValue = HeaderValue::from_static("public, max-age=86400");

/// The answer to a request for the client's file of this name.
pub(super) fn answer(name: &str, parts: &Parts) -> Response<Body> {
    match (client_files::VERSION, client_files::contents(name)) {
        (Some(version), Some(file)) => give(file, version, &parts.headers),
        _ => missing(name),
    }
}

fn give(file: &'static File, version: &str, request: &HeaderMap) -> Response<Body> {
    let tag = format!("\"{version}\"");
    let is_known = knows(request, &tag);
    let gzip = !is_known && encoding::accepts_gzip(request);
    let mut response = bare(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, DAY);
    headers.insert(VARY, HeaderValue::from_static("Accept-Encoding"));
    // Weak: it is that of the gzip, too.
    if let Ok(tag) = HeaderValue::try_from(format!("W/{tag}")) {
        headers.insert(ETAG, tag);
    }
    if is_known {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    let content_type = match file.name.rsplit_once('.') {
        Some((_, "map")) => "application/json; charset=utf-8",
        _ => "application/javascript; charset=utf-8",
    };
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    let mut bytes = file.plain;
    if gzip {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        bytes = file.gzip;
    }
    *response.body_mut() = Body::Whole(Bytes::from_static(bytes));
    response
}

/// Does the browser have what this tag is of (RFC 9110, section 13.1.2)?
fn knows(request: &HeaderMap, tag: &str) -> bool {
    let values = request.get_all(IF_NONE_MATCH).iter();
    let tags = values.filter_map(|value| value.to_str().ok());
    tags.flat_map(|tags| tags.split(',')).any(|known| {
        let known = known.trim();
        known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag
    })
}

/// Says what is missing to whoever looks why a page does nothing.
fn missing(name: &str) -> Response<Body> {
    let text = format!(
        "404: this my-app was built without the client's files, and {name} is one of them.\n\
         Where it is built: run \"make client\", which needs npm, then build and install it again.\n\
         Or let the page load the client from elsewhere: it is the npm package socket.io-client.\n"
    );
    let mut response = bare(StatusCode::NOT_FOUND);
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    *response.body_mut() = Body::Whole(text.into());
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderName;
    use http::header::ACCEPT_ENCODING;
    use http_body_util::BodyExt;

    const SCRIPT: File = File {
        name: "socket.io.min.js",
        plain: b"script",
        gzip: b"zipped",
    };
    const MAP: File = File {
        name: "socket.io.min.js.map",
        ..SCRIPT
    };

    /// Status, headers and body of the answer to a request with these headers.
    fn given(
        file: &'static File,
        headers: &[(HeaderName, &'static str)],
    ) -> (u16, HeaderMap, Bytes) {
        let headers = headers.iter().cloned();
        let headers = headers.map(|(name, value)| (name, HeaderValue::from_static(value)));
        read(give(file, "4.8.4", &headers.collect()))
    }

    fn read(response: Response<Body>) -> (u16, HeaderMap, Bytes) {
        let (parts, body) = response.into_parts();
        let body = futures_util::FutureExt::now_or_never(body.collect());
        let body = body.unwrap().unwrap().to_bytes();
        (parts.status.as_u16(), parts.headers, body)
    }

    #[test]
    fn a_browser_is_told_what_it_gets_and_how_long_it_may_keep_it() {
        let (status, headers, body) = given(&SCRIPT, &[]);
        assert_eq!((status, &body[..]), (200, &b"script"[..]));
        assert_eq!(
            headers[CONTENT_TYPE],
            "application/javascript; charset=utf-8"
        );
        assert_eq!(headers[ETAG], "W/\"4.8.4\"");
        assert_eq!(headers[CACHE_CONTROL], "public, max-age=86400");
        assert_eq!(headers[VARY], "Accept-Encoding");
        assert!(!headers.contains_key(CONTENT_ENCODING));
        let (_, headers, _) = given(&MAP, &[]);
        assert_eq!(headers[CONTENT_TYPE], "application/json; charset=utf-8");
    }

    #[test]
    fn who_accepts_gzip_is_given_gzip() {
        for (accepted, zipped) in [
            ("gzip, deflate, br, zstd", true),
            ("br;q=1, *;q=0.1", true),
            ("gzip;q=0", false),
            ("br, deflate", false),
        ] {
            let (_, headers, body) = given(&SCRIPT, &[(ACCEPT_ENCODING, accepted)]);
            assert_eq!(&body[..] == b"zipped", zipped, "{accepted}");
            assert_eq!(headers.contains_key(CONTENT_ENCODING), zipped, "{accepted}");
            assert_eq!(headers[VARY], "Accept-Encoding");
        }
    }

    #[test]
    fn who_has_it_is_told_so() {
        for (tags, known) in [
            ("\"4.8.4\"", true),
            ("W/\"4.8.4\"", true),
            ("*", true),
            ("\"4.8.3\" , W/\"4.8.4\"", true),
            ("\"4.8.3\"", false),
            ("4.8.4", false),
            ("", false),
        ] {
            let asked = [(IF_NONE_MATCH, tags), (ACCEPT_ENCODING, "gzip")];
            let (status, headers, body) = given(&SCRIPT, &asked);
            assert_eq!(status, if known { 304 } else { 200 }, "{tags}");
            assert_eq!(body.is_empty(), known);
            assert_eq!(headers.contains_key(CONTENT_ENCODING), !known);
            // Who keeps it may keep it for another while.
            for name in [ETAG, CACHE_CONTROL, VARY] {
                assert!(headers.contains_key(&name), "{name}");
            }
        }
    }

    #[test]
    fn a_program_without_the_client_names_the_command() {
        let (status, headers, body) = read(missing("socket.io.js"));
        assert_eq!(status, 404);
        assert_eq!(headers[CONTENT_TYPE], "text/plain; charset=utf-8");
        assert_eq!(headers[CACHE_CONTROL], "no-store");
        let text = std::str::from_utf8(&body).unwrap();
        assert!(text.contains("socket.io.js is one") && text.contains("\"make client\""));
    }
}
