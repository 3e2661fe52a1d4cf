//! Compressed answers to polls: which encoding a client is given, and how it is made.

use std::cmp::Reverse;
use std::io::Write;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use http::HeaderMap;
use http::header::ACCEPT_ENCODING;
use tokio::task::yield_now;

use crate::config::Engine;

/// What is compressed before others have their turn, in bytes.
const TURN: usize = 64 * 1024;

/// How an answer is compressed. Of two that a client likes as much, the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Gzip,
    Deflate,
}

impl Encoding {
    /// That of an answer of this length to a request with these headers; none: it goes out as it is.
    pub(super) fn of(engine: &Engine, headers: &HeaderMap, len: usize) -> Option<Self> {
        if !engine.http_compression || len < engine.compression_threshold {
            return None;
        }
        Self::preferred(&accepted(headers))
    }

    /// Its name in `Content-Encoding`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// What a client with this `Accept-Encoding` likes best, as Node's `accepts` finds it: the highest quality, what
    /// is named before what `*` stands for, then what is named first.
    fn preferred(accepted: &str) -> Option<Self> {
        let mut best: Option<(Self, Accepted)> = None;
        for encoding in [Self::Gzip, Self::Deflate] {
            let Some(found) = Accepted::find(accepted, encoding.name()) else {
                continue;
            };
            if found.quality > 0.0 && best.is_none_or(|(_, best)| found.is_before(best)) {
                best = Some((encoding, found));
            }
        }
        best.map(|(encoding, _)| encoding)
    }

    /// Compresses an answer, with pauses for others.
    pub(super) async fn encode(self, body: Bytes) -> Bytes {
        let out = Vec::with_capacity(body.len() / 4);
        let level = Compression::default();
        let encoded = match self {
            Self::Gzip => {
                let mut encoder = GzEncoder::new(out, level);
                feed(&mut encoder, &body).await;
                encoder.finish()
            }
            Self::Deflate => {
                let mut encoder = ZlibEncoder::new(out, level);
                feed(&mut encoder, &body).await;
                encoder.finish()
            }
        };
        // Memory takes all that is written into it.
        encoded.unwrap_or_default().into()
    }
}

/// May a client with these headers be given gzip?
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let found = Accepted::find(&accepted(headers), Encoding::Gzip.name());
    found.is_some_and(|found| found.quality > 0.0)
}

/// What a client accepts, in one list.
fn accepted(headers: &HeaderMap) -> String {
    let values = headers.get_all(ACCEPT_ENCODING).iter();
    let accepted: Vec<_> = values.filter_map(|value| value.to_str().ok()).collect();
    accepted.join(", ")
}

async fn feed(encoder: &mut impl Write, body: &[u8]) {
    for (nth, piece) in body.chunks(TURN).enumerate() {
        if nth > 0 {
            yield_now().await;
        }
        let _ = encoder.write_all(piece);
    }
}

/// How a client accepts an encoding.
#[derive(Debug, Clone, Copy)]
struct Accepted {
    quality: f64,
    /// By its name, or by `*`?
    named: bool,
    /// Which one of the list.
    nth: usize,
}

impl Accepted {
    fn find(accepted: &str, name: &str) -> Option<Self> {
        let mut best: Option<Self> = None;
        for (nth, item) in accepted.split(',').enumerate() {
            let mut parts = item.split(';').map(str::trim);
            let named = match parts.next() {
                Some(it) if it.eq_ignore_ascii_case(name) => true,
                Some("*") => false,
                _ => continue,
            };
            let quality = parts.find_map(|part| part.strip_prefix("q="));
            let found = Self {
                quality: quality.map_or(1.0, |quality| quality.parse().unwrap_or_default()),
                named,
                nth,
            };
            // A name says more than `*`, whatever its quality.
            if best.is_none_or(|best| (best.named, best.quality) < (named, found.quality)) {
                best = Some(found);
            }
        }
        best
    }

    fn is_before(self, other: Self) -> bool {
        let rank = |it: Self| (it.quality, it.named, Reverse(it.nth));
        rank(self) > rank(other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::{GzDecoder, ZlibDecoder};
    use http::HeaderValue;
    use std::io::Read;

    // What accepts 1.3 with negotiator 0.6 says.
    #[test]
    fn a_client_is_given_what_it_likes_best() {
        const GZIP: Option<Encoding> = Some(Encoding::Gzip);
        const DEFLATE: Option<Encoding> = Some(Encoding::Deflate);
        for (accepted, expected) in [
            ("", None),
            ("identity", None),
            ("br", None),
            ("gzip", GZIP),
            ("GZIP", GZIP),
            ("deflate", DEFLATE),
            ("gzip, deflate, br, zstd", GZIP),
            ("deflate, gzip", DEFLATE),
            ("deflate;q=0.5, gzip;q=0.4", DEFLATE),
            ("deflate;q=0.4, gzip; q=0.5", GZIP),
            ("gzip;q=0", None),
            ("gzip;q=0, *", DEFLATE),
            ("*", GZIP),
            ("*;q=0", None),
            ("*, deflate", DEFLATE),
            ("gzip;q=0.1, *;q=0.9", DEFLATE),
            ("gzip;q=high", None),
            ("gzip;level=9;q=0.5, deflate;q=0.6", DEFLATE),
            (", gzip", GZIP),
        ] {
            assert_eq!(Encoding::preferred(accepted), expected, "{accepted}");
        }
    }

    #[test]
    fn what_is_short_or_not_asked_for_stays_as_it_is() {
        let mut headers = HeaderMap::new();
        let engine = Engine::default();
        assert_eq!(Encoding::of(&engine, &headers, 5000), None);
        headers.append(ACCEPT_ENCODING, HeaderValue::from_static("br"));
        headers.append(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        assert_eq!(Encoding::of(&engine, &headers, 1023), None);
        let gzip = Some(Encoding::Gzip);
        assert_eq!(Encoding::of(&engine, &headers, 1024), gzip);
        let off = Engine {
            http_compression: false,
            ..engine
        };
        assert_eq!(Encoding::of(&off, &headers, 5000), None);
    }

    #[tokio::test]
    async fn an_answer_is_read_back_as_it_was() {
        for len in [0, 1, 1024, TURN, 5 * TURN + 7] {
            let body: Bytes = b"42[\"a\",1]\x1e"
                .iter()
                .copied()
                .cycle()
                .take(len)
                .collect();
            let (mut gzip, mut deflate) = (Vec::new(), Vec::new());
            let encoded = Encoding::Gzip.encode(body.clone()).await;
            GzDecoder::new(&encoded[..]).read_to_end(&mut gzip).unwrap();
            let encoded = Encoding::Deflate.encode(body.clone()).await;
            ZlibDecoder::new(&encoded[..])
                .read_to_end(&mut deflate)
                .unwrap();
            assert!(gzip == body && deflate == body, "{len}");
        }
    }
}
