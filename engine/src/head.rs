//! The head of a session's handshake, as it is kept for the session's life: as bytes, read when somebody asks.

use std::fmt;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::OnceLock;

use http::request::Parts;
use http::{HeaderName, HeaderValue, Request, Uri};

/// Adds to a head what was not sent in it.
pub type Complete = fn(&mut Parts, Option<IpAddr>);

/// A handshake's target and headers. It is a [`Parts`] to whoever looks: it is read at the first look, and then
/// kept. Most sessions are never asked.
pub struct Head {
    /// The target, then a line for each header: its name, a colon, its value.
    bytes: Box<[u8]>,
    address: Option<IpAddr>,
    complete: Complete,
    parts: OnceLock<Box<Parts>>,
}

impl Head {
    /// Keeps a head. `headers` are those that a session shall keep; `complete` adds what its reader is to find
    /// beside them, and is given the client's address.
    pub fn new<'a>(
        target: &str,
        headers: impl Iterator<Item = (&'a str, &'a [u8])>,
        address: Option<IpAddr>,
        complete: Complete,
    ) -> Self {
        let mut bytes = Vec::with_capacity(512);
        bytes.extend_from_slice(target.as_bytes());
        bytes.push(b'\n');
        for (name, value) in headers {
            bytes.extend_from_slice(name.as_bytes());
            bytes.push(b':');
            bytes.extend_from_slice(value);
            bytes.push(b'\n');
        }
        Self {
            bytes: bytes.into(),
            address,
            complete,
            parts: OnceLock::new(),
        }
    }

    /// The client's address.
    pub(crate) fn address(&self) -> Option<IpAddr> {
        self.address
    }

    fn read(&self) -> Box<Parts> {
        let (mut parts, ()) = Request::new(()).into_parts();
        let mut lines = self.bytes.split(|&byte| byte == b'\n');
        parts.uri = lines
            .next()
            .and_then(|target| Uri::try_from(target).ok())
            .unwrap_or_default();
        for line in lines {
            let Some(colon) = line.iter().position(|&byte| byte == b':') else {
                continue;
            };
            let (name, value) = line.split_at(colon);
            let name = HeaderName::from_bytes(name);
            let value = HeaderValue::from_bytes(value.get(1..).unwrap_or_default());
            if let (Ok(name), Ok(value)) = (name, value) {
                parts.headers.append(name, value);
            }
        }
        (self.complete)(&mut parts, self.address);
        Box::new(parts)
    }
}

impl Deref for Head {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        self.parts.get_or_init(|| self.read())
    }
}

impl Default for Head {
    fn default() -> Self {
        Self::new("/", std::iter::empty(), None, |_, _| {})
    }
}

impl fmt::Debug for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A target may have secrets in it.
        f.debug_struct("Head")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderMap;

    #[test]
    fn a_head_reads_as_it_was_sent() {
        let mut headers = HeaderMap::new();
        headers.append("cookie", "a=1: 2".parse().unwrap());
        headers.append("cookie", HeaderValue::from_bytes(b"b=\xe9").unwrap());
        headers.append("x-empty", HeaderValue::from_static(""));
        let address = "192.0.2.1".parse().ok();
        let sent = headers.iter();
        let head = Head::new(
            "/socket.io/?EIO=4&token=x",
            sent.map(|(name, value)| (name.as_str(), value.as_bytes())),
            address,
            |parts, ip| {
                parts.extensions.insert(ip);
            },
        );
        assert_eq!(head.uri, "/socket.io/?EIO=4&token=x");
        assert_eq!(head.headers, headers);
        assert_eq!(head.extensions.get(), Some(&address));
    }
}
