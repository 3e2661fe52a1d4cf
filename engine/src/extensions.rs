//! What a client offers in `Sec-WebSocket-Extensions` (RFC 6455 section 9.1), and what is agreed on with it: pure.
//!
//! `permessage-deflate` is the only extension there is. Of several offers the first is taken that can be; an offer
//! with a parameter that nobody knows, or with a value that it cannot have, is declined (RFC 7692 section 5.1).
//! Neither side keeps anything from one message to the next: so a session at rest needs no memory for it, and a
//! broadcast is deflated once for all who get it.

use std::fmt;

/// Of the window that a side deflates with: the base-2 logarithm of its size.
type Bits = u8;

const EXTENSION: &str = "permessage-deflate";
const SERVER_TAKEOVER: &str = "server_no_context_takeover";
const CLIENT_TAKEOVER: &str = "client_no_context_takeover";
const SERVER_BITS: &str = "server_max_window_bits";
const CLIENT_BITS: &str = "client_max_window_bits";

/// Messages may be deflated, in both directions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Deflate {
    /// What the client's memory has room for.
    bits: std::num::NonZeroU8,
}

impl Deflate {
    /// The largest window there is.
    pub const LARGEST: Bits = 15;
    /// The smallest one that we deflate with. Of 2^9 bytes it looks back no further than 2^8.
    pub const SMALLEST: Bits = 9;

    /// Ours is of so many bits.
    pub(crate) fn bits(self) -> Bits {
        self.bits.get().clamp(Self::SMALLEST, Self::LARGEST)
    }
}

/// What is agreed on, as the answer to the handshake says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Agreed {
    /// For the session.
    pub deflate: Deflate,
    server_bits: Option<Bits>,
    client_bits: Option<Bits>,
}

/// The value of the answer's `Sec-WebSocket-Extensions`.
impl fmt::Display for Agreed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{EXTENSION}; {SERVER_TAKEOVER}; {CLIENT_TAKEOVER}")?;
        if let Some(bits) = self.server_bits {
            write!(f, "; {SERVER_BITS}={bits}")?;
        }
        if let Some(bits) = self.client_bits {
            write!(f, "; {CLIENT_BITS}={bits}")?;
        }
        Ok(())
    }
}

/// A header that is no list of extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a list of WebSocket extensions")]
pub struct Malformed;

/// What is agreed on with a client that offers this; none if nothing that it offers can be had.
///
/// # Errors
/// If it is no list of extensions.
pub fn negotiate(offers: &str) -> Result<Option<Agreed>, Malformed> {
    let mut rest = Cursor(offers.as_bytes());
    let mut agreed = None;
    loop {
        let offer = rest.offer()?;
        if agreed.is_none() {
            agreed = offer;
        }
        if !rest.takes(b',') {
            break;
        }
    }
    if rest.0.is_empty() {
        Ok(agreed)
    } else {
        Err(Malformed)
    }
}

/// What is left to be read.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    /// An extension and its parameters; what would be agreed on, if it can be.
    fn offer(&mut self) -> Result<Option<Agreed>, Malformed> {
        self.blanks();
        let mut good = self.token()? == EXTENSION.as_bytes();
        let (mut server, mut client) = (None, None);
        let (mut server_takeover, mut client_takeover) = (None, None);
        while self.takes(b';') {
            self.blanks();
            let name = self.token()?;
            let value = self.value()?;
            // A parameter may be there once, and with a value that it can have.
            good &= match std::str::from_utf8(name) {
                Ok(SERVER_TAKEOVER) => value.is_none() && server_takeover.replace(()).is_none(),
                Ok(CLIENT_TAKEOVER) => value.is_none() && client_takeover.replace(()).is_none(),
                Ok(SERVER_BITS) => {
                    let bits = value.and_then(|value| bits(&value));
                    bits.is_some() && server.replace(bits).is_none()
                }
                Ok(CLIENT_BITS) => {
                    let bits = value.as_deref().map(bits);
                    bits != Some(None) && client.replace(bits.flatten()).is_none()
                }
                _ => false,
            };
        }
        let server_bits = server.flatten();
        let most = server_bits.unwrap_or(Deflate::LARGEST);
        let deflate = std::num::NonZeroU8::new(most).map(|bits| Deflate { bits });
        Ok(deflate.filter(|_| good).map(|deflate| Agreed {
            deflate,
            server_bits,
            client_bits: client.flatten(),
        }))
    }

    /// Blanks, and this character behind them.
    fn takes(&mut self, wanted: u8) -> bool {
        let before = self.0;
        self.blanks();
        match self.0.split_first() {
            Some((&first, rest)) if first == wanted => {
                self.0 = rest;
                true
            }
            _ => {
                self.0 = before;
                false
            }
        }
    }

    fn blanks(&mut self) {
        while let Some((b' ' | b'\t', rest)) = self.0.split_first() {
            self.0 = rest;
        }
    }

    fn token(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.0.iter().take_while(|&&byte| is_token(byte)).count();
        let (token, rest) = self.0.split_at(len);
        self.0 = rest;
        if token.is_empty() {
            Err(Malformed)
        } else {
            Ok(token)
        }
    }

    /// What stands behind a parameter's name: a token, in quotes or not, or nothing.
    fn value(&mut self) -> Result<Option<Vec<u8>>, Malformed> {
        let Some((b'=', rest)) = self.0.split_first() else {
            return Ok(None);
        };
        self.0 = rest;
        let Some((b'"', rest)) = rest.split_first() else {
            return Ok(Some(self.token()?.to_vec()));
        };
        self.0 = rest;
        let mut value = Vec::new();
        loop {
            let (&first, mut rest) = self.0.split_first().ok_or(Malformed)?;
            let byte = match first {
                b'"' => {
                    self.0 = rest;
                    return if value.is_empty() {
                        Err(Malformed)
                    } else {
                        Ok(Some(value))
                    };
                }
                b'\\' => {
                    let (&escaped, behind) = rest.split_first().ok_or(Malformed)?;
                    rest = behind;
                    escaped
                }
                plain => plain,
            };
            if !is_token(byte) {
                return Err(Malformed);
            }
            value.push(byte);
            self.0 = rest;
        }
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// From 8 to 15, without a zero before it (RFC 7692 section 7.1.2.1).
fn bits(value: &[u8]) -> Option<Bits> {
    match value {
        [digit @ (b'8' | b'9')] => Some(digit - b'0'),
        [b'1', digit @ b'0'..=b'5'] => Some(10 + digit - b'0'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str =
        "permessage-deflate; server_no_context_takeover; client_no_context_takeover";

    fn answer(offers: &str) -> Result<Option<String>, Malformed> {
        negotiate(offers).map(|agreed| agreed.map(|agreed| agreed.to_string()))
    }

    // As ws 8.
    #[test]
    fn the_first_offer_that_can_be_had_is_taken() {
        for (offers, behind) in [
            ("permessage-deflate", ""),
            ("permessage-deflate; client_max_window_bits", ""),
            (
                "permessage-deflate;server_no_context_takeover ;\tclient_no_context_takeover",
                "",
            ),
            (
                "permessage-deflate; client_max_window_bits=9",
                "; client_max_window_bits=9",
            ),
            (
                "permessage-deflate; server_max_window_bits=\"1\\0\"",
                "; server_max_window_bits=10",
            ),
            (
                "permessage-deflate; server_max_window_bits=8; client_max_window_bits=15",
                "; server_max_window_bits=8; client_max_window_bits=15",
            ),
            ("x-webkit-deflate-frame, permessage-deflate", ""),
            (
                "permessage-deflate; server_max_window_bits=12, permessage-deflate",
                "; server_max_window_bits=12",
            ),
        ] {
            assert_eq!(
                answer(offers),
                Ok(Some(format!("{PLAIN}{behind}"))),
                "{offers}"
            );
        }
    }

    #[test]
    fn an_offer_that_cannot_be_had_is_declined_and_the_next_one_is_looked_at() {
        for parameter in [
            "unknown",
            "unknown=1",
            "server_no_context_takeover=1",
            "client_no_context_takeover; client_no_context_takeover",
            "server_max_window_bits",
            "server_max_window_bits=7",
            "server_max_window_bits=16",
            "server_max_window_bits=010",
            "server_max_window_bits=ten",
            "server_max_window_bits=10; server_max_window_bits=10",
            "client_max_window_bits=16",
            "client_max_window_bits; client_max_window_bits",
        ] {
            let offer = format!("permessage-deflate; {parameter}");
            assert_eq!(answer(&offer), Ok(None), "{offer}");
            let two = format!("{offer}, permessage-deflate; server_max_window_bits=11");
            let expected = format!("{PLAIN}; server_max_window_bits=11");
            assert_eq!(answer(&two), Ok(Some(expected)), "{two}");
        }
        for others in [
            "x-webkit-deflate-frame",
            "Permessage-Deflate",
            "a; b=\"c\", d",
        ] {
            assert_eq!(answer(others), Ok(None), "{others}");
        }
    }

    #[test]
    fn what_is_no_list_of_extensions_is_malformed() {
        for offers in [
            "",
            " ",
            ",",
            "permessage-deflate,",
            "permessage-deflate;",
            "permessage-deflate; ;",
            "permessage-deflate; a=",
            "permessage-deflate; a =1",
            "permessage-deflate; a= 1",
            "permessage-deflate; a=\"\"",
            "permessage-deflate; a=\"b",
            "permessage-deflate; a=\"b c\"",
            "permessage-deflate; a=\"b\\",
            "permessage-deflate a",
            "permessage-déflate",
        ] {
            assert_eq!(answer(offers), Err(Malformed), "{offers}");
        }
    }

    #[test]
    fn a_session_has_a_byte_for_it() {
        assert_eq!(size_of::<Option<Deflate>>(), 1);
        let smallest = negotiate("permessage-deflate; server_max_window_bits=8");
        assert_eq!(smallest.unwrap().unwrap().deflate.bits(), 9);
    }
}
