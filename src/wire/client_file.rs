//! The browser's client, which pages load from the server: which requests are for one of its files.
//!
//! The master asks, for no session comes of such a request, and the worker, which answers it.

use super::client_names::NAMES;
use super::target::Target;

/// The name of the file that a request with this method and target is for. Whoever names a WebSocket wants one, for
/// the engine takes whatever is below its path.
#[must_use]
pub(crate) fn named(method: &str, target: &Target<'_>, engine_path: &str) -> Option<&'static str> {
    let asked = target.path.strip_prefix(engine_path)?;
    let name = NAMES.into_iter().find(|name| *name == asked)?;
    let reads = matches!(method, "GET" | "HEAD");
    (reads && target.engine_query().transport.as_deref() != Some("websocket")).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(method: &str, target: &str) -> Option<&'static str> {
        named(method, &Target::parse(target), "/socket.io/")
    }

    #[test]
    fn a_file_is_told_by_its_method_and_its_whole_path() {
        for name in NAMES {
            assert_eq!(file("GET", &format!("/socket.io/{name}")), Some(name));
            assert_eq!(file("HEAD", &format!("/socket.io/{name}?v=1")), Some(name));
            let absolute = format!("http://host/socket.io/{name}?EIO=4&transport=polling&sid=a");
            assert_eq!(file("GET", &absolute), Some(name));
        }
        for (method, target) in [
            ("POST", "/socket.io/socket.io.js"),
            ("OPTIONS", "/socket.io/socket.io.js"),
            ("get", "/socket.io/socket.io.js"),
            ("GET", "/socket.io/"),
            ("GET", "/socket.io/socket.io.js/"),
            ("GET", "/socket.io//socket.io.js"),
            ("GET", "/socket.io/socket.io.slim.js"),
            ("GET", "/socket.io/Socket.io.js"),
            ("GET", "/socket.io/socket.io%2Ejs"),
            ("GET", "/socket.io/../socket.io.js"),
            ("GET", "/socket.io.js"),
            ("GET", "/socket.io/socket.io.js?EIO=4&transport=websocket"),
        ] {
            assert_eq!(file(method, target), None, "{method} {target}");
        }
    }
}
