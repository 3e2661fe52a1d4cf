//! Finds the request line in the first bytes of a connection, as they arrive.
//!
//! Pure: the router peeks, this decides whether what it saw is a line, the beginning of one, or
//! nothing that HTTP/1 knows.

use std::borrow::Cow;

/// The longest request line, in bytes: as long as Node lets a whole head be.
pub(crate) const MAX_LINE: usize = 16 * 1024;

/// The longest method, in bytes: none that is in use has half of it.
const MAX_METHOD: usize = 32;

/// How many bytes of empty lines may stand before the request line (RFC 9112 section 2.2).
const MAX_EMPTY: usize = 16;

/// A request line, RFC 9112 section 3.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestLine<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// The target, [escaped](escape); visible ASCII.
    pub target: Cow<'a, str>,
}

/// What the bytes so far are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Peeked<'a> {
    /// The beginning of a request line: wait for more.
    Partial,
    /// A request line.
    Line(RequestLine<'a>),
    /// Not HTTP/1: a TLS hello, an HTTP/2 preface, garbage.
    Garbage,
    /// A line longer than [`MAX_LINE`].
    TooLong,
}

/// Reads the bytes that a connection has sent so far.
#[must_use]
pub(crate) fn read(bytes: &[u8]) -> Peeked<'_> {
    let empty = bytes
        .iter()
        .take_while(|b| matches!(b, b'\r' | b'\n'))
        .count();
    if empty > MAX_EMPTY {
        return Peeked::Garbage;
    }
    let rest = bytes.get(empty..).unwrap_or_default();
    let window = rest.get(..MAX_LINE).unwrap_or(rest);
    match window.iter().position(|&b| b == b'\n') {
        Some(end) => {
            let line = window.get(..end).unwrap_or_default();
            parse(line.strip_suffix(b"\r").unwrap_or(line)).map_or(Peeked::Garbage, Peeked::Line)
        }
        None if !could_become_a_line(window) => Peeked::Garbage,
        None if rest.len() >= MAX_LINE => Peeked::TooLong,
        None => Peeked::Partial,
    }
}

fn parse(line: &[u8]) -> Option<RequestLine<'_>> {
    let mut parts = line.split(|&b| b == b' ');
    let (method, target, version) = (parts.next()?, parts.next()?, parts.next()?);
    let good = parts.next().is_none()
        && (1..=MAX_METHOD).contains(&method.len())
        && method.iter().copied().all(is_token)
        && !target.is_empty()
        && target.iter().all(|&b| b > b' ' && b != 0x7f)
        && matches!(version, b"HTTP/1.1" | b"HTTP/1.0");
    let target = match escape(target) {
        Cow::Borrowed(target) => Cow::Borrowed(std::str::from_utf8(target).ok()?),
        Cow::Owned(target) => Cow::Owned(String::from_utf8(target).ok()?),
    };
    let method = std::str::from_utf8(method).ok()?;
    good.then_some(RequestLine { method, target })
}

/// Must this byte be escaped in a target? Browsers leave some as they are in a query, and Node reads them
/// so; what reads targets here, and RFC 3986, do not.
#[must_use]
pub(crate) fn needs_escape(b: u8) -> bool {
    b >= 0x80
        || matches!(
            b,
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}'
        )
}

/// The same bytes with percent-encoding where it is [needed](needs_escape).
#[must_use]
pub(crate) fn escape(bytes: &[u8]) -> Cow<'_, [u8]> {
    if !bytes.iter().copied().any(needs_escape) {
        return Cow::Borrowed(bytes);
    }
    let mut escaped = Vec::with_capacity(bytes.len() + 64);
    for &b in bytes {
        if needs_escape(b) {
            escaped.extend_from_slice(percent_encoding::percent_encode_byte(b).as_bytes());
        } else {
            escaped.push(b);
        }
    }
    Cow::Owned(escaped)
}

/// Is this a method, or a method and more? A TLS hello or a binary protocol is told at its first
/// byte, so that its sender does not hold a descriptor until the deadline.
fn could_become_a_line(bytes: &[u8]) -> bool {
    let method = bytes.split(|&b| b == b' ').next().unwrap_or_default();
    method.len() <= MAX_METHOD && method.iter().all(|&b| is_token(b) || b == b'\r')
}

/// RFC 9110 section 5.6.2.
fn is_token(b: u8) -> bool {
    b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = b"GET /socket.io/?EIO=4 HTTP/1.1\r\nHost: x\r\n";

    #[test]
    fn a_line_is_found_only_once_it_is_whole() {
        let end = LINE.iter().position(|&b| b == b'\n').unwrap();
        for cut in 0..=end {
            assert_eq!(read(&LINE[..cut]), Peeked::Partial, "{cut}");
        }
        let line = RequestLine {
            method: "GET",
            target: "/socket.io/?EIO=4".into(),
        };
        for cut in end + 1..=LINE.len() {
            assert_eq!(read(&LINE[..cut]), Peeked::Line(line.clone()));
        }
    }

    #[test]
    fn a_few_empty_lines_before_it_are_skipped() {
        assert!(matches!(
            read(b"\r\n\r\nGET / HTTP/1.1\r\n"),
            Peeked::Line(_)
        ));
        assert!(matches!(read(b"\nGET / HTTP/1.0\n"), Peeked::Line(_)));
        assert_eq!(read(b"\r\n"), Peeked::Partial);
        assert_eq!(read(&b"\r\n".repeat(9)), Peeked::Garbage);
    }

    #[test]
    fn what_is_not_http_is_told_at_once() {
        assert_eq!(read(b"\x16\x03\x01\x02"), Peeked::Garbage);
        assert_eq!(read(b"\0"), Peeked::Garbage);
        assert_eq!(read("é".as_bytes()), Peeked::Garbage);
        assert_eq!(read(&[b'A'; 33]), Peeked::Garbage);
        assert_eq!(read(b"PRI * HTTP/2.0\r\n"), Peeked::Garbage);
    }

    #[test]
    fn a_bad_line_is_refused_when_it_is_whole() {
        for line in [
            "GET\n",
            "GET /\n",
            "GET / HTTP/1.1 x\n",
            "GET  / HTTP/1.1\n",
            " / HTTP/1.1\n",
            "GET /\x01 HTTP/1.1\n",
            "GET / HTTP/3\n",
            "GET / \n",
        ] {
            assert_eq!(read(line.as_bytes()), Peeked::Garbage, "{line:?}");
        }
    }

    #[test]
    fn what_browsers_leave_in_a_query_is_escaped() {
        let Peeked::Line(line) = read("GET /?a=\"<>\\^`{|}é&b=%22 HTTP/1.1\n".as_bytes()) else {
            panic!("no line");
        };
        assert_eq!(line.target, "/?a=%22%3C%3E%5C%5E%60%7B%7C%7D%C3%A9&b=%22");
        let Peeked::Line(line) = read(b"GET /\xe9 HTTP/1.1\n") else {
            panic!("no line");
        };
        assert_eq!(line.target, "/%E9");
    }

    #[test]
    fn a_method_is_too_long_before_its_line_is_whole_and_after() {
        let line = |len| [&vec![b'A'; len][..], b" / HTTP/1.1\r\n"].concat();
        assert!(matches!(read(&line(MAX_METHOD)), Peeked::Line(_)));
        let long = line(MAX_METHOD + 1);
        assert_eq!(read(&long[..=MAX_METHOD]), Peeked::Garbage);
        assert_eq!(read(&long), Peeked::Garbage);
    }

    #[test]
    fn a_line_without_end_is_too_long() {
        let mut bytes = b"GET /".to_vec();
        bytes.resize(MAX_LINE - 1, b'a');
        assert_eq!(read(&bytes), Peeked::Partial);
        bytes.push(b'a');
        assert_eq!(read(&bytes), Peeked::TooLong);
    }

    #[test]
    fn whatever_comes_nothing_panics() {
        for first in 0..=255_u8 {
            for second in 0..=255_u8 {
                let _ = read(&[first, second, b' ', first, b' ', second, b'\n']);
            }
        }
    }
}
