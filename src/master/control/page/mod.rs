//! The operator's page, which asks what any other operator asks: nothing here knows the server.
//!
//! It is three files, and a policy under which a browser runs nothing but these and lets them reach nothing but this
//! socket: what clients sent is text there, whatever it is.

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_SECURITY_POLICY, HeaderName, HeaderValue, REFERRER_POLICY};

use super::problem::{Answer, answer};

/// No script, style or request but the page's own, and nobody may put the page into theirs. `data:` is the icon's, which is empty.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// What else browsers are told: nothing of another origin may have it, or hear of it.
const HEADERS: [(HeaderName, &str); 4] = [
    (CONTENT_SECURITY_POLICY, POLICY),
    (REFERRER_POLICY, "no-referrer"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

/// The file of the page that is at this path.
pub(super) fn file(path: &str) -> Option<Answer> {
    let (content_type, text) = match path {
        "/" => ("text/html; charset=utf-8", include_str!("index.html")),
        "/page.css" => ("text/css; charset=utf-8", include_str!("page.css")),
        "/page.js" => ("text/javascript; charset=utf-8", include_str!("page.js")),
        _ => return None,
    };
    let mut answer = answer(
        StatusCode::OK,
        content_type,
        Bytes::from_static(text.as_bytes()),
    );
    for (name, value) in HEADERS {
        answer
            .headers_mut()
            .insert(name, HeaderValue::from_static(value));
    }
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_no_script_or_style_but_its_files() {
        let page = include_str!("index.html");
        assert_eq!(page.matches("<script").count(), 1, "in a file of its own");
        for inline in [
            "<style",
            " style=",
            " onclick=",
            "javascript:",
            "http:",
            "https:",
        ] {
            assert!(!page.contains(inline), "{inline}");
        }
        let script = include_str!("page.js");
        for risky in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "eval(",
            ".style",
        ] {
            assert!(!script.contains(risky), "{risky}");
        }
    }

    #[test]
    fn each_file_comes_with_the_policy_and_nothing_else_is_there() {
        for path in ["/", "/page.css", "/page.js"] {
            let answer = file(path).unwrap();
            let policy = answer.headers().get(CONTENT_SECURITY_POLICY).unwrap();
            let policy = policy.to_str().unwrap();
            assert!(policy.starts_with("default-src 'none'; "), "{policy}");
            assert!(!policy.contains("unsafe"), "{policy}");
        }
        assert!(file("/index.html").is_none());
        assert!(file("/page.js/").is_none());
    }
}
