//! Finds the request line in the first bytes of a connection, as they arrive.
//!
//! Pure: the router peeks, this decides whether what it saw is a line, the beginning of one, or
//! nothing that HTTP/1 knows.

/// The longest request line, in bytes. Node's and nginx's limits for a whole head are 16 and 8 KiB.
pub(crate) const MAX_LINE: usize = 8 * 1024;

/// How many bytes of empty lines may stand before the request line (RFC 9112 section 2.2).
const MAX_EMPTY: usize = 16;

/// A request line, RFC 9112 section 3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestLine<'a> {
    /// The method, as sent.
    pub method: &'a str,
    /// The target, as sent; visible ASCII.
    pub target: &'a str,
}

/// What the bytes so far are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    let line = std::str::from_utf8(line).ok()?;
    let (method, rest) = line.split_once(' ')?;
    let (target, version) = rest.split_once(' ')?;
    let good = !method.is_empty()
        && method.bytes().all(is_token)
        && !target.is_empty()
        && target.bytes().all(|b| b.is_ascii_graphic())
        && matches!(version, "HTTP/1.1" | "HTTP/1.0");
    good.then_some(RequestLine { method, target })
}

/// Is this a method, or a method and more? A TLS hello or a binary protocol is told at its first
/// byte, so that its sender does not hold a descriptor until the deadline.
fn could_become_a_line(bytes: &[u8]) -> bool {
    let method = bytes.split(|&b| b == b' ').next().unwrap_or_default();
    method.len() <= 32 && method.iter().all(|&b| is_token(b) || b == b'\r')
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
            target: "/socket.io/?EIO=4",
        };
        for cut in end + 1..=LINE.len() {
            assert_eq!(read(&LINE[..cut]), Peeked::Line(line));
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
            "GET /é HTTP/1.1\n",
            "GET / HTTP/3\n",
            "GET / \n",
        ] {
            assert_eq!(read(line.as_bytes()), Peeked::Garbage, "{line:?}");
        }
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
