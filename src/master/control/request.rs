//! What an operator's request says, and whether it may be one.

use http::header::HOST;
use http::{HeaderMap, Method, Request};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::problem::Problem;
use super::server::{BODY_PATIENCE, MAX_BODY};

/// What whoever changes something sends, for a page of a foreign origin cannot.
const REQUESTED_WITH: &str = "x-requested-with";
const OURS: &str = "my-app";
/// So much of a body that is too large is read.
const FORGOTTEN: usize = 16 * MAX_BODY;

/// Refuses what a browser may have been made to send by a foreign page.
///
/// A name in `Host` that is not this machine's own is another site's, which its owner had lead here (DNS rebinding);
/// and a page can post to wherever it likes, but not with a header of its own.
pub(super) fn judge(method: &Method, headers: &HeaderMap) -> Result<(), Problem> {
    let mut hosts = headers.get_all(HOST).iter();
    let is_ours = match (hosts.next(), hosts.next()) {
        (None, _) => true,
        (Some(host), None) => host.to_str().is_ok_and(is_this_machine),
        _ => false,
    };
    if !is_ours {
        return Err(Problem::Forbidden(
            "Host must be localhost, 127.0.0.1 or [::1], with any port".to_owned(),
        ));
    }
    let asked = headers.get(REQUESTED_WITH);
    if method == Method::POST && asked.is_none_or(|value| value != OURS) {
        return Err(Problem::Forbidden(format!(
            "a request that changes something has the header X-Requested-With: {OURS}"
        )));
    }
    Ok(())
}

fn is_this_machine(host: &str) -> bool {
    let names = ["localhost", "127.0.0.1", "[::1]"];
    names.iter().any(|name| {
        let is_named = host
            .get(..name.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(name));
        let port = host.get(name.len()..).unwrap_or_default();
        let port = port.strip_prefix(':').map_or(port.is_empty(), |port| {
            port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok()
        });
        is_named && port
    })
}

/// The parameters of a query, each of which is known, and there once at most.
pub(super) fn query<const N: usize>(
    text: Option<&str>,
    known: [&str; N],
) -> Result<[Option<String>; N], Problem> {
    let mut values = [const { None }; N];
    for pair in text
        .unwrap_or_default()
        .split('&')
        .filter(|p| !p.is_empty())
    {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let slot = known.iter().position(|known| *known == name);
        let Some(slot) = slot.and_then(|at| values.get_mut(at)) else {
            let known = known.join(", ");
            return Err(Problem::BadRequest(format!(
                "{} is no parameter here; there is {known}",
                name.escape_debug()
            )));
        };
        let spaces = value.replace('+', " ");
        let value = percent_decode_str(&spaces).decode_utf8();
        let value = value.map_err(|_| Problem::BadRequest(format!("{name} is no UTF-8")))?;
        if slot.replace(value.into_owned()).is_some() {
            return Err(Problem::BadRequest(format!("{name} is there twice")));
        }
    }
    Ok(values)
}

/// Reads the body, which is JSON of this shape.
pub(super) async fn body<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Problem> {
    let read = timeout(BODY_PATIENCE, collect(request.into_body()));
    let bytes = read.await.unwrap_or(Err(Problem::SlowBody))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| Problem::BadRequest(format!("the body is not what is expected: {error}")))
}

/// Reads a body. More than is taken is read and forgotten, up to a point: a client that still sends would not read
/// why it was refused.
async fn collect(mut body: Incoming) -> Result<Vec<u8>, Problem> {
    let (mut bytes, mut length) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Problem::BadRequest(format!("the body broke off: {error}")))?;
        let data = frame.into_data().unwrap_or_default();
        length += data.len();
        if length <= MAX_BODY {
            bytes.extend_from_slice(&data);
        } else if length > FORGOTTEN {
            break;
        }
    }
    if length > MAX_BODY {
        return Err(Problem::TooLarge);
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(method: &Method, headers: &[(&'static str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        judge(method, &map).is_ok()
    }

    #[test]
    fn only_names_of_this_machine_are_hosts() {
        for good in [
            "localhost",
            "LOCALHOST:8080",
            "127.0.0.1",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:65535",
        ] {
            assert!(judged(&Method::GET, &[("host", good)]), "{good}");
        }
        for bad in [
            "",
            "example.com",
            "localhost.example.com",
            "127.0.0.1.example.com",
            "[::2]",
            "[::1",
            "[::1]x",
            "localhost:",
            "localhost:x",
            "localhost:70000",
        ] {
            assert!(!judged(&Method::GET, &[("host", bad)]), "{bad}");
        }
        assert!(judged(&Method::GET, &[]));
        let twice = [("host", "localhost"), ("host", "localhost")];
        assert!(!judged(&Method::GET, &twice));
    }

    #[test]
    fn who_changes_something_says_that_it_is_no_page_of_others() {
        assert!(!judged(&Method::POST, &[]));
        assert!(!judged(
            &Method::POST,
            &[("x-requested-with", "XMLHttpRequest")]
        ));
        assert!(judged(&Method::POST, &[("x-requested-with", "my-app")]));
    }

    #[test]
    fn a_query_has_known_parameters_once() {
        let read = |text| query(Some(text), ["id", "room"]);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(read("id=a%20b+c&room="), Ok([some("a b c"), some("")]));
        assert_eq!(query(None, ["id"]), Ok([None]));
        for bad in ["ids=1", "id=1&id=2", "id=%ff", "x"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
