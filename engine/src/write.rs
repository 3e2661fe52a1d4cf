//! Writes what waits for a WebSocket: once a turn, as much as the socket takes.
//!
//! Small pieces are put together in one buffer that all sessions share; a large payload is written from where it
//! is, whoever else gets it. What a socket does not take stays as it was queued: of a piece that went out in part
//! only the length of that part is kept.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::task::Context;

use bytes::Bytes;

use crate::conn::Conn;
use crate::deflate::Deflater;
use crate::frame::{self, Opcode};
use crate::line::{Line, Out, Transport};
use crate::packet::{Packet, base64_len, encode_base64};
use crate::wheel::Millis;
use crate::work::Work;

/// A payload up to this size is copied, in bytes.
const COPIED: usize = 2 * 1024;
/// What one call writes, at least if there is so much, in bytes.
pub(crate) const BATCH: usize = 64 * 1024;
/// Pieces of one call (sendmsg(2) takes 1024).
const MAX_PIECES: usize = 64;
/// What one session may write in a turn, in bytes.
const TURN: usize = 512 * 1024;

/// How often a socket without room is asked again, in milliseconds.
pub(crate) const ASK: Millis = 500;

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Written {
    /// Nothing waits.
    All,
    /// The client has to read first.
    Waits,
    /// There is more, and others have their turn.
    More,
    /// The connection is broken.
    Broken,
}

/// How binary data is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Form {
    /// As it is.
    Plain,
    /// Revision 3: behind the packet's type.
    Typed,
    /// Revision 3, and the client asked for text: base64 behind [`BASE64`].
    Base64,
}

/// What base64 stands behind in revision 3: that it is base64, and the packet's type.
pub(crate) const BASE64: &[u8] = b"b4";

/// A piece of one call: of the shared buffer, or a payload where it is.
enum Piece {
    Shared(Range<usize>),
    Payload(Bytes),
}

/// The buffers that all sessions share.
#[derive(Default)]
pub(crate) struct Scratch {
    pub(crate) deflater: Deflater,
    shared: Vec<u8>,
    pieces: Vec<Piece>,
}

impl Scratch {
    fn begin(&mut self) {
        self.shared.clear();
        self.pieces.clear();
    }

    /// Appends a frame, or raw bytes; how long is it?
    fn push(&mut self, out: &Out, form: Form) -> usize {
        let start = self.shared.len();
        let before = self.pieces.len();
        let mut behind: &[u8] = &[];
        let payload = match out {
            Out::Raw(bytes) => bytes.clone(),
            Out::WsPong(data) => {
                frame::write_header(Opcode::Pong, data.len(), &mut self.shared);
                data.clone()
            }
            Out::Packet(Packet::Binary(data)) if form == Form::Base64 => {
                let len = base64_len(data.len()) + BASE64.len();
                frame::write_header(Opcode::Text, len, &mut self.shared);
                self.shared.extend_from_slice(BASE64);
                encode_base64(data, &mut self.shared);
                Bytes::new()
            }
            Out::Packet(Packet::Binary(data)) if form == Form::Typed => {
                frame::write_header(Opcode::Binary, data.len() + 1, &mut self.shared);
                self.shared.push(4);
                data.clone()
            }
            Out::Packet(Packet::Binary(data)) => {
                frame::write_header(Opcode::Binary, data.len(), &mut self.shared);
                data.clone()
            }
            Out::Packet(Packet::Spliced(spliced)) => {
                if spliced.is_binary() {
                    frame::write_header(Opcode::Binary, spliced.len(), &mut self.shared);
                } else {
                    frame::write_header(Opcode::Text, spliced.len() + 1, &mut self.shared);
                    self.shared.push(b'4');
                }
                self.shared.extend_from_slice(spliced.before());
                behind = spliced.behind();
                spliced.payload().clone()
            }
            Out::Packet(packet) => {
                frame::write_header(Opcode::Text, packet.data_len() + 1, &mut self.shared);
                self.shared.push(packet.type_digit());
                if packet.data_len() <= COPIED {
                    self.shared.extend_from_slice(&packet.data());
                    Bytes::new()
                } else {
                    packet.bytes()
                }
            }
        };
        if payload.len() <= COPIED {
            self.shared.extend_from_slice(&payload);
        }
        let shared = start..self.shared.len();
        let mut len = shared.len();
        match self.pieces.last_mut() {
            // Neighbours in the shared buffer are one piece.
            Some(Piece::Shared(last)) if before > 0 => last.end = shared.end,
            _ => self.pieces.push(Piece::Shared(shared)),
        }
        if payload.len() > COPIED {
            len += payload.len();
            self.pieces.push(Piece::Payload(payload));
        }
        if !behind.is_empty() {
            let start = self.shared.len();
            self.shared.extend_from_slice(behind);
            len += behind.len();
            self.pieces.push(Piece::Shared(start..self.shared.len()));
        }
        len
    }

    /// Writes the pieces without the first `skip` bytes, as much as the socket takes.
    fn write(&self, conn: &Conn, skip: usize) -> io::Result<usize> {
        match self.pieces[..] {
            // Most writes are one piece.
            [Piece::Shared(_)] => {
                conn.write(&[IoSlice::new(self.shared.get(skip..).unwrap_or_default())])
            }
            _ => conn.write(&self.slices(skip)),
        }
    }

    /// The pieces without the first `skip` bytes.
    fn slices(&self, mut skip: usize) -> Vec<IoSlice<'_>> {
        let bytes = self.pieces.iter().map(|piece| match piece {
            Piece::Shared(range) => self.shared.get(range.clone()).unwrap_or_default(),
            Piece::Payload(payload) => payload,
        });
        bytes
            .filter_map(|bytes| {
                let skipped = skip.min(bytes.len());
                skip -= skipped;
                let bytes = bytes.get(skipped..).unwrap_or_default();
                (!bytes.is_empty()).then(|| IoSlice::new(bytes))
            })
            .collect()
    }
}

/// How long a piece is when it is written.
fn written_len(out: &Out, form: Form) -> usize {
    let framed = |len: usize| frame::header_len(len) + len;
    match out {
        Out::Raw(bytes) => bytes.len(),
        Out::WsPong(data) => framed(data.len()),
        Out::Packet(Packet::Binary(data)) if form == Form::Plain => framed(data.len()),
        Out::Packet(Packet::Binary(data)) if form == Form::Base64 => {
            framed(base64_len(data.len()) + BASE64.len())
        }
        Out::Packet(Packet::Spliced(spliced)) if spliced.is_binary() => framed(spliced.len()),
        Out::Packet(packet) => framed(packet.data_len() + 1),
    }
}

impl Line {
    /// Writes what waits for the WebSocket; room for more wakes `cx`.
    pub(crate) fn write(
        &mut self,
        work: &Work,
        now: Millis,
        scratch: &mut Scratch,
        cx: &mut Context<'_>,
    ) -> Written {
        let mut left = TURN;
        loop {
            let form = self.form();
            let ready = self.deflate_next(work, &mut scratch.deflater);
            let Transport::WebSocket(socket) = &mut self.transport else {
                return Written::All;
            };
            if socket.broken {
                return Written::Broken;
            }
            if self.queue.is_empty() {
                return Written::All;
            }
            if left == 0 || ready == 0 {
                return Written::More;
            }
            scratch.begin();
            let mut total = 0;
            for out in self.queue.iter().take(ready) {
                total += scratch.push(out, form);
                if total >= BATCH || scratch.pieces.len() >= MAX_PIECES - 1 {
                    break;
                }
            }
            let wrote = match scratch.write(&socket.conn, socket.written) {
                Ok(wrote) => wrote,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    socket.conn.wait_writable(cx);
                    if socket.stalled.is_none() {
                        work.counts.slow.one_more();
                    }
                    socket.stalled.get_or_insert(now);
                    socket.ask = now + ASK;
                    return Written::Waits;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => {
                    socket.broken = true;
                    return Written::Broken;
                }
            };
            socket.stalled = None;
            left = left.saturating_sub(wrote);
            self.advance(work, wrote);
        }
    }

    pub(crate) fn form(&self) -> Form {
        match (self.revision3, self.base64) {
            (false, _) => Form::Plain,
            (true, false) => Form::Typed,
            (true, true) => Form::Base64,
        }
    }

    /// So many bytes went out.
    fn advance(&mut self, work: &Work, wrote: usize) {
        let Transport::WebSocket(socket) = &mut self.transport else {
            return;
        };
        let mut gone = std::mem::take(&mut socket.written) + wrote;
        while let Some(out) = self.queue.front() {
            let len = written_len(out, self.form());
            if gone < len {
                break;
            }
            gone -= len;
            self.pop_out(work);
        }
        if let Transport::WebSocket(socket) = &mut self.transport {
            socket.written = gone;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packets() -> Vec<Out> {
        vec![
            Out::Raw(Bytes::from_static(b"HTTP/1.1 101\r\n\r\n")),
            Out::Packet(Packet::Message("2[\"a\"]".into())),
            Out::Packet(Packet::Message("m".repeat(5000).into())),
            Out::Packet(Packet::Binary(vec![1; 3].into())),
            Out::Packet(Packet::Binary(vec![2; 70_000].into())),
            Out::WsPong(Bytes::from_static(b"p")),
            Out::Packet(Packet::Ping("".into())),
            spliced(5000, 2),
            spliced(70_000, usize::MAX),
            spliced(10, 1),
        ]
    }

    /// A message with a payload that others have, too.
    fn spliced(len: usize, at: usize) -> Out {
        let complete = || crate::spliced::complete(Packet::Message("2767".into()), false);
        Out::Packet(crate::sharing(vec![b'x'; len].into(), at, complete))
    }

    #[test]
    fn a_piece_is_as_long_as_it_is_said_to_be() {
        for form in [Form::Plain, Form::Typed, Form::Base64] {
            let mut scratch = Scratch::default();
            for out in &packets() {
                scratch.begin();
                let len = scratch.push(out, form);
                let slices = scratch.slices(0);
                assert_eq!(len, written_len(out, form), "{out:?}");
                assert_eq!(len, slices.iter().map(|slice| slice.len()).sum::<usize>());
            }
        }
    }

    #[test]
    fn what_was_written_in_part_goes_on_where_it_stopped() {
        let mut scratch = Scratch::default();
        scratch.begin();
        let total: usize = packets()
            .iter()
            .map(|out| scratch.push(out, Form::Plain))
            .sum();
        let whole = scratch.slices(0).concat_bytes();
        assert_eq!(whole.len(), total);
        for skip in [1, 16, 17, 30, 4000, 5100, 75_000, total - 1] {
            assert_eq!(scratch.slices(skip).concat_bytes(), whole[skip..]);
        }
    }

    trait Concat {
        fn concat_bytes(&self) -> Vec<u8>;
    }

    impl Concat for Vec<IoSlice<'_>> {
        fn concat_bytes(&self) -> Vec<u8> {
            self.iter()
                .flat_map(|slice| slice.iter().copied())
                .collect()
        }
    }
}
