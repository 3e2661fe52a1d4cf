//! Messages that are larger than what a server takes at once: cut before they are published, joined after.
//!
//! A message goes as it is where it can. A piece begins with a byte that no message of ours and no msgpack begins
//! with (0xC1), a version, who cuts (64 random bits, drawn for each connection), which message of theirs it is, its
//! place, and how many there are. A server passes on one connection's messages in order, so pieces are joined in
//! order or not at all. Whoever publishes there can write such a piece: what is kept of them is bounded.

use std::collections::HashMap;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::time::Instant;

/// What a piece begins with: the one byte that msgpack never uses, and this format's version.
const MARK: [u8; 2] = [0xC1, 1];
/// Bytes before a piece's part of the message.
const HEAD: usize = MARK.len() + 8 + 8 + 4 + 4;
/// The largest message that is joined: a frame of the bus and what the core puts around it.
const LARGEST: usize = 40 * 1024 * 1024;
/// Bytes of all messages that are not whole yet.
const KEPT: usize = 128 * 1024 * 1024;
/// Messages that are not whole yet.
const MESSAGES: usize = 1024;
/// What gets no further piece for so long is forgotten: its sender is gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// One thing to publish.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Before the rest; empty for a message that goes as it is.
    pub(super) head: Bytes,
    /// A part of the message, or all of it.
    pub(super) body: Bytes,
}

impl Piece {
    /// Bytes to publish.
    pub(super) fn len(&self) -> usize {
        self.head.len() + self.body.len()
    }

    /// Head and body.
    pub(super) fn bytes(&self) -> Bytes {
        if self.head.is_empty() {
            return self.body.clone();
        }
        let mut bytes = BytesMut::with_capacity(self.len());
        bytes.extend_from_slice(&self.head);
        bytes.extend_from_slice(&self.body);
        bytes.freeze()
    }
}

/// Cuts one connection's messages.
#[derive(Debug)]
pub(super) struct Cutter {
    who: u64,
    messages: u64,
    /// Bytes that are published at once.
    largest: usize,
}

impl Cutter {
    /// For a server that is to get `largest` bytes at once.
    pub(super) fn new(who: u64, largest: usize) -> Self {
        Self {
            who,
            messages: 0,
            largest: largest.max(HEAD + 1),
        }
    }

    /// What is to be published for `payload`, in this order.
    pub(super) fn cut(&mut self, payload: Bytes) -> impl Iterator<Item = Piece> + use<> {
        let as_it_is = payload.len() <= self.largest && payload.first() != Some(&MARK[0]);
        let part = if as_it_is {
            payload.len().max(1)
        } else {
            self.largest - HEAD
        };
        let count = payload.len().div_ceil(part).max(1);
        if !as_it_is {
            self.messages += 1;
        }
        let (who, message) = (self.who, self.messages);
        let mut rest = payload;
        (0..count).map(move |index| {
            let body = rest.split_to(part.min(rest.len()));
            let mut head = BytesMut::new();
            if !as_it_is {
                head.reserve(HEAD);
                head.put_slice(&MARK);
                head.put_u64(who);
                head.put_u64(message);
                // A message of more pieces has more bytes than an address space.
                head.put_u32(u32::try_from(index).unwrap_or(u32::MAX));
                head.put_u32(u32::try_from(count).unwrap_or(u32::MAX));
            }
            Piece {
                head: head.freeze(),
                body,
            }
        })
    }
}

/// Joins what comes by one connection.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    open: HashMap<(u64, u64), Open>,
    /// Bytes of all that is open.
    bytes: usize,
    /// Pieces that belong to nothing, and messages that were given up.
    lost: u64,
}

/// A message that is not whole yet.
#[derive(Debug)]
struct Open {
    /// Pieces that have come.
    next: u32,
    count: u32,
    bytes: BytesMut,
    last: Instant,
}

impl Joiner {
    /// The message that is whole with these bytes, if one is.
    pub(super) fn join(&mut self, now: Instant, mut payload: Bytes) -> Option<Bytes> {
        if payload.first() != Some(&MARK[0]) {
            return Some(payload);
        }
        if payload.len() < HEAD || payload.get(1) != Some(&MARK[1]) {
            self.lost += 1;
            return None;
        }
        payload.advance(MARK.len());
        let key = (payload.get_u64(), payload.get_u64());
        let (index, count) = (payload.get_u32(), payload.get_u32());
        if index == 0 {
            self.give_up(key);
            if count == 1 {
                return Some(payload);
            }
            self.make_room(now, payload.len());
            let open = Open {
                next: 0,
                count,
                bytes: BytesMut::new(),
                last: now,
            };
            self.open.insert(key, open);
        }
        let Some(open) = self.open.get_mut(&key) else {
            self.lost += 1;
            return None;
        };
        let fits = open.bytes.len() + payload.len() <= LARGEST;
        if index != open.next || count != open.count || !fits {
            self.give_up(key);
            return None;
        }
        open.next += 1;
        open.last = now;
        open.bytes.extend_from_slice(&payload);
        self.bytes += payload.len();
        if open.next < open.count {
            self.make_room(now, 0);
            return None;
        }
        let whole = self.open.remove(&key)?.bytes.freeze();
        self.bytes -= whole.len();
        Some(whole)
    }

    /// Pieces and messages that came to nothing.
    #[cfg(test)]
    fn lost(&self) -> u64 {
        self.lost
    }

    fn give_up(&mut self, key: (u64, u64)) {
        if let Some(open) = self.open.remove(&key) {
            self.bytes -= open.bytes.len();
            self.lost += 1;
        }
    }

    /// Gives up what is stale, and the stalest while there is too much.
    fn make_room(&mut self, now: Instant, bytes: usize) {
        let stalest = |open: &HashMap<_, Open>| {
            let stalest = open.iter().min_by_key(|(_, open)| open.last);
            stalest.map(|(key, open)| (*key, open.last))
        };
        while let Some((key, last)) = stalest(&self.open) {
            let full = self.bytes + bytes > KEPT || self.open.len() >= MESSAGES;
            if !full && now.saturating_duration_since(last) < PATIENCE {
                break;
            }
            self.give_up(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: usize) -> Bytes {
        (0..len).map(|i| u8::try_from(i % 251).unwrap()).collect()
    }

    fn cut(cutter: &mut Cutter, payload: &Bytes) -> Vec<Bytes> {
        let pieces = cutter.cut(payload.clone());
        pieces.map(|piece| piece.bytes()).collect()
    }

    #[test]
    fn what_fits_goes_as_it_is() {
        let mut cutter = Cutter::new(7, 100);
        for len in [0, 1, 99, 100] {
            let payload = message(len);
            let pieces = cut(&mut cutter, &payload);
            assert_eq!(pieces, std::slice::from_ref(&payload), "{len}");
            let joined = Joiner::default().join(Instant::now(), payload.clone());
            assert_eq!(joined, Some(payload));
        }
    }

    #[test]
    fn what_is_larger_is_cut_to_what_the_server_takes_and_joined() {
        let mut cutter = Cutter::new(7, 100);
        let mut joiner = Joiner::default();
        for len in [101, 148, 149, 1000, 12_345] {
            let payload = message(len);
            let mut pieces = cut(&mut cutter, &payload);
            assert!(pieces.len() > 1);
            assert!(pieces.iter().all(|piece| piece.len() <= 100));
            let last = pieces.pop().unwrap();
            for piece in pieces {
                assert_eq!(joiner.join(Instant::now(), piece), None);
            }
            assert_eq!(joiner.join(Instant::now(), last), Some(payload), "{len}");
            assert_eq!((joiner.bytes, joiner.open.len(), joiner.lost()), (0, 0, 0));
        }
    }

    #[test]
    fn a_message_that_looks_like_a_piece_arrives_as_it_was() {
        let payload = Bytes::from_static(&[0xC1, 1, 2, 3]);
        let pieces = cut(&mut Cutter::new(7, 100), &payload);
        assert_eq!(pieces.len(), 1);
        let joined = Joiner::default().join(Instant::now(), pieces[0].clone());
        assert_eq!(joined, Some(payload));
    }

    #[test]
    fn pieces_of_several_senders_may_be_mixed() {
        let (a, b) = (message(1000), message(999));
        let pieces_of_a = cut(&mut Cutter::new(1, 100), &a);
        let pieces_of_b = cut(&mut Cutter::new(2, 100), &b);
        let mut joiner = Joiner::default();
        let mut whole = Vec::new();
        for (of_a, of_b) in pieces_of_a.into_iter().zip(pieces_of_b) {
            whole.extend(joiner.join(Instant::now(), of_a));
            whole.extend(joiner.join(Instant::now(), of_b));
        }
        assert_eq!(whole, [a, b]);
    }

    #[test]
    fn a_missing_piece_costs_its_message_alone() {
        let mut cutter = Cutter::new(1, 100);
        let mut joiner = Joiner::default();
        let mut pieces = cut(&mut cutter, &message(1000));
        pieces.remove(3);
        for piece in pieces {
            assert_eq!(joiner.join(Instant::now(), piece), None);
        }
        assert!(joiner.lost() > 0);
        assert_eq!((joiner.bytes, joiner.open.len()), (0, 0));
        let next = message(500);
        let pieces = cut(&mut cutter, &next);
        let whole: Vec<_> = pieces
            .into_iter()
            .filter_map(|piece| joiner.join(Instant::now(), piece))
            .collect();
        assert_eq!(whole, [next]);
    }

    #[test]
    fn what_is_never_completed_is_bounded_and_forgotten() {
        let mut joiner = Joiner::default();
        let now = Instant::now();
        let large = Bytes::from(vec![0; 3 * 1024 * 1024]);
        for who in 0..200 {
            let pieces = Cutter::new(who, large.len() / 3).cut(large.clone());
            for piece in pieces.take(2) {
                assert_eq!(joiner.join(now, piece.bytes()), None);
            }
            assert!(joiner.bytes <= KEPT);
        }
        for who in 0..1500 {
            let mut pieces = Cutter::new(who, 100).cut(message(300));
            joiner.join(now, pieces.next().unwrap().bytes());
            assert!(joiner.open.len() <= MESSAGES);
        }
        let mut pieces = Cutter::new(1, 100).cut(message(300));
        joiner.join(now + PATIENCE, pieces.next().unwrap().bytes());
        assert_eq!(joiner.open.len(), 1);
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let mut joiner = Joiner::default();
        for len in 0..HEAD + 3 {
            for fill in [0, 1, 0xC1, 0xFF] {
                let mut bytes = vec![fill; len];
                for (byte, mark) in bytes.iter_mut().zip(MARK) {
                    *byte = mark;
                }
                joiner.join(Instant::now(), bytes.into());
            }
        }
    }
}
