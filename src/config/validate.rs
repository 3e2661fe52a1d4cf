//! Checks of single strings: paths, origins, header names, networks. Pure functions; each error
//! says what to write instead.

use std::net::IpAddr;
use std::path::PathBuf;

use http::HeaderName;
use ipnet::IpNet;

use super::listen::{WorkerListen, is_host, parse_port};

/// The request path of the engine, with the slash at its end that Node adds, too.
pub(super) fn engine_path(text: &str) -> Result<String, &'static str> {
    if !text.starts_with('/') {
        return Err("a request path begins with \"/\", such as \"/socket.io/\"");
    }
    // To a browser this is another server's name.
    if text.starts_with("//") {
        return Err("a request path begins with one \"/\"");
    }
    if text.contains(['?', '#']) || text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err("a request path holds no \"?\", no \"#\", no space and no control character");
    }
    // Requests arrive percent-encoded, so such a path would never match one.
    if !text.is_ascii() {
        return Err("write what is not ASCII percent-encoded, as requests do");
    }
    Ok(if text.ends_with('/') {
        text.to_owned()
    } else {
        format!("{text}/")
    })
}

/// A file, of a process whose working directory is nobody's business: none for the empty string.
pub(super) fn file(text: &str) -> Result<Option<PathBuf>, &'static str> {
    match text {
        "" => Ok(None),
        _ if text.contains('\0') => Err("a path holds no NUL"),
        _ if !text.starts_with('/') => {
            Err("write the full path, from \"/\" on, or \"\" for no file")
        }
        _ if text.ends_with('/') => Err("a directory; write the path of a file"),
        _ => Ok(Some(text.into())),
    }
}

/// The control socket: none for the empty string.
pub(super) fn control_socket(text: &str) -> Result<Option<PathBuf>, &'static str> {
    // What a sockaddr_un has room for, less the NUL at its end (unix(7)).
    const LONGEST: usize = 107;
    match text {
        "" => Ok(None),
        _ if text.contains('\0') => Err("a path holds no NUL"),
        _ if !text.starts_with('/') => {
            Err("write the full path, from \"/\" on, or \"\" for no control socket")
        }
        _ if text.ends_with('/') => Err("a directory; write the path of a socket"),
        _ if text.len() > LONGEST => Err("a Unix socket's path has 107 bytes at most"),
        _ => Ok(Some(text.into())),
    }
}

/// The workers' own ports: none for the empty string.
pub(super) fn worker_listen(text: &str) -> Result<Option<WorkerListen>, String> {
    match text {
        "" => Ok(None),
        _ => text.parse().map(Some),
    }
}

/// One element of `cors_origins`, exactly as browsers write it in `Origin`: the server compares the
/// two byte by byte, so what can never match is refused.
pub(crate) fn origin(text: &str) -> Result<String, String> {
    const FORM: &str = "write scheme://host or scheme://host:port, such as \
                        \"https://example.com\", or \"*\" alone";
    if text == "*" {
        return Ok(text.to_owned());
    }
    let (scheme, authority) = text.split_once("://").ok_or(FORM)?;
    let valid_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    if !valid_scheme {
        return Err(FORM.to_owned());
    }
    if let Some(bare) = authority.strip_suffix('/').filter(|host| is_host(host)) {
        return Err(format!(
            "an origin has no slash at its end; write \"{scheme}://{bare}\""
        ));
    }
    if !authority.is_ascii() {
        return Err(
            "browsers send such a host in its ASCII form (\"xn--…\"); write that".to_owned(),
        );
    }
    let after_host = authority.rfind(']').unwrap_or(0);
    let (host, port) = match authority.rfind(':').filter(|at| *at > after_host) {
        Some(at) => authority.split_at(at),
        None => (authority, ""),
    };
    let valid_port = port.is_empty() || port.strip_prefix(':').and_then(parse_port).is_some();
    if !is_host(host) || !valid_port || port == ":" {
        return Err(FORM.to_owned());
    }
    let default_port = matches!((scheme, port), ("http", ":80") | ("https", ":443"));
    let sent = format!("{scheme}://{host}{}", if default_port { "" } else { port }).to_lowercase();
    if sent != text {
        return Err(format!(
            "browsers send this origin as \"{sent}\"; write that"
        ));
    }
    Ok(sent)
}

/// One element of `cors_headers`, in the lower case in which headers are compared.
pub(super) fn header_name(text: &str) -> Result<String, &'static str> {
    if text == "*" {
        return Err("an empty list already allows whatever the browser asks for");
    }
    HeaderName::from_bytes(text.as_bytes())
        .map(|name| name.as_str().to_owned())
        .map_err(|_| "not the name of an HTTP header, such as \"authorization\"")
}

/// One element of `trusted_proxies`; an address alone is the network of that one address.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(address.into());
    }
    let network: IpNet = text.parse().map_err(|_| {
        "write an IP address or a network, such as \"10.0.0.5\" or \"10.0.0.0/8\"".to_owned()
    })?;
    // One mistyped digit here decides whose headers are believed, so nothing is rounded.
    if network != network.trunc() {
        let (least, bits) = (network.trunc(), network.prefix_len());
        return Err(format!(
            "not the first address of a network of {bits} bits; write \"{least}\""
        ));
    }
    Ok(network)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_path_ends_in_a_slash_and_matches_requests() {
        assert_eq!(engine_path("/socket.io"), Ok("/socket.io/".into()));
        assert_eq!(engine_path("/a/b/"), Ok("/a/b/".into()));
        for wrong in [
            "",
            "socket.io/",
            "//a/b",
            "/a?b",
            "/a#b",
            "/a b",
            "/a\tb",
            "/\u{7f}",
            "/é",
        ] {
            assert!(engine_path(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn an_origin_is_taken_as_browsers_write_it_or_refused() {
        for right in [
            "*",
            "https://example.com",
            "http://localhost:8080",
            "https://[::1]:8443",
            "http://10.0.0.1",
            "capacitor://localhost",
        ] {
            assert_eq!(origin(right), Ok(right.into()));
        }
        for wrong in [
            "",
            "null",
            "example.com",
            "https://",
            "https://:80",
            "https://a:",
            "https://a:b",
            "https://a/b",
            "https://user@a",
            "https://a b",
            "https://*.example.com",
            "://a",
        ] {
            assert!(
                origin(wrong).unwrap_err().contains("scheme://host"),
                "{wrong:?}"
            );
        }
        for (wrong, right) in [
            ("https://example.com/", "\"https://example.com\""),
            ("https://Example.com", "\"https://example.com\""),
            ("https://example.com:443", "\"https://example.com\""),
            ("https://bücher.example", "xn--"),
        ] {
            assert!(origin(wrong).unwrap_err().contains(right), "{wrong:?}");
        }
    }

    #[test]
    fn a_header_name_is_lower_case_and_never_a_star() {
        assert_eq!(header_name("Authorization"), Ok("authorization".into()));
        for wrong in ["", "a b", "a:", "*", "é"] {
            assert!(header_name(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_proxy_is_an_address_or_a_whole_network() {
        assert_eq!(network("10.0.0.1").unwrap().to_string(), "10.0.0.1/32");
        assert_eq!(network("::1").unwrap().to_string(), "::1/128");
        assert_eq!(network("10.0.0.0/8").unwrap().to_string(), "10.0.0.0/8");
        assert!(
            network("10.0.0.1/8")
                .unwrap_err()
                .contains("\"10.0.0.0/8\"")
        );
        assert!(network("nginx").is_err());
    }

    #[test]
    fn a_control_socket_is_a_full_path_or_none() {
        assert_eq!(control_socket(""), Ok(None));
        assert_eq!(control_socket("/run/a"), Ok(Some("/run/a".into())));
        let long = format!("/{}", "a".repeat(107));
        for wrong in ["control.sock", "/run/", "/a\0b", &long] {
            assert!(control_socket(wrong).is_err(), "{wrong:?}");
        }
        assert!(control_socket(&long[..107]).is_ok());
    }

    #[test]
    fn a_file_is_a_full_path_or_none() {
        assert_eq!(file(""), Ok(None));
        assert_eq!(file("/var/log/a"), Ok(Some("/var/log/a".into())));
        for wrong in ["a", "app.log", "/var/log/", "/a\0b"] {
            assert!(file(wrong).is_err(), "{wrong:?}");
        }
    }
}
