//! Puts a WebSocket's bytes together: frames to messages, messages to Engine.IO packets.
//!
//! What arrives is read into a buffer that all sessions share. A message that is whole in it costs one copy; of
//! what is not, the piece that is there is kept, and nothing else. Memory grows with what has arrived, never with
//! what a header announces.

use bytes::Bytes;
use engineioxide_core::Str;

use crate::frame::{self, CloseCode, Header, MAX_CONTROL, MAX_HEADER, Opcode};
use crate::inflate::Inflater;
use crate::packet::Packet;

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Incoming {
    /// An Engine.IO packet.
    Packet(Packet),
    /// A WebSocket ping, to be answered with the same payload.
    Ping(Bytes),
    /// A close frame, to be answered with the same payload. Nothing comes after it.
    Close(Bytes),
    /// A message that is no Engine.IO packet.
    Malformed,
}

/// Where in its client's byte stream a WebSocket is. At rest, between two messages, it is empty.
#[derive(Debug, Default)]
pub struct Assembly(Option<Box<Partial>>);

#[derive(Debug, Default)]
struct Partial {
    /// Of a header that is not whole.
    header: Vec<u8>,
    /// The frame whose payload is arriving, and how much of it is there.
    frame: Option<(Header, usize)>,
    /// The message of which frames have arrived.
    message: Option<Begun>,
    /// The payload of a control frame that may stand between a message's frames.
    control: Vec<u8>,
    /// What was read before the connection came to the engine.
    unread: Vec<u8>,
    /// A close frame has come, or what no client may send: the rest means nothing.
    over: bool,
}

/// A message that is not whole.
#[derive(Debug)]
struct Begun {
    text: bool,
    deflated: bool,
    bytes: Vec<u8>,
}

impl Assembly {
    /// Takes in what has arrived, and takes the masks off in place. Where messages come to much
    /// more than their bytes, it stops; what is left is to be fed later, first of all.
    ///
    /// # Errors
    /// The code to close with; what was right before it is in `out`.
    pub fn feed(
        &mut self,
        bytes: &mut [u8],
        rules: Rules,
        inflater: &mut Inflater,
        out: &mut Vec<Incoming>,
    ) -> Result<(), CloseCode> {
        if self.is_over() {
            return Ok(());
        }
        let fed = self.feed_on(bytes, rules, inflater, out);
        if fed.is_err() || matches!(out.last(), Some(Incoming::Close(_))) {
            self.0.get_or_insert_default().over = true;
        }
        fed
    }

    fn feed_on(
        &mut self,
        mut bytes: &mut [u8],
        rules: Rules,
        inflater: &mut Inflater,
        out: &mut Vec<Incoming>,
    ) -> Result<(), CloseCode> {
        loop {
            if self.0.is_none() {
                bytes = whole_messages(bytes, rules, inflater, out)?;
            }
            if !bytes.is_empty() && !inflater.has_done_enough() {
                let partial = self.0.get_or_insert_default();
                bytes = partial.feed(bytes, rules, inflater, out)?;
                if partial.is_empty() {
                    self.0 = None;
                }
            }
            if bytes.is_empty() {
                return Ok(());
            }
            if inflater.has_done_enough() {
                self.set_unread(bytes);
                return Ok(());
            }
        }
    }

    /// Has its client closed, or broken the protocol? Whatever comes then means nothing.
    pub(crate) fn is_over(&self) -> bool {
        self.0.as_ref().is_some_and(|partial| partial.over)
    }

    /// Is there something that is to be fed first?
    pub(crate) fn has_unread(&self) -> bool {
        self.0
            .as_ref()
            .is_some_and(|partial| !partial.unread.is_empty())
    }

    /// Keeps bytes that were read before the connection came here; they are to be fed first.
    pub fn set_unread(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.0.get_or_insert_default().unread = bytes.to_vec();
        }
    }

    /// Takes what [`Assembly::set_unread`] kept.
    pub fn take_unread(&mut self) -> Vec<u8> {
        let Some(partial) = &mut self.0 else {
            return Vec::new();
        };
        let unread = std::mem::take(&mut partial.unread);
        if partial.is_empty() {
            self.0 = None;
        }
        unread
    }

    /// What has arrived of a header that is not whole, or the frame whose payload is arriving, and how many bytes of
    /// that are to come.
    pub(crate) fn into_unfinished(self) -> (Vec<u8>, Option<(Opcode, u64)>) {
        let Some(partial) = self.0 else {
            return (Vec::new(), None);
        };
        let frame = partial
            .frame
            .map(|(header, have)| (header.opcode, header.len - have as u64));
        (partial.header, frame)
    }

    /// Bytes that are kept of what is not whole.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.0
            .as_ref()
            .map_or(0, |partial| partial.kept() + partial.unread.len())
    }
}

/// How messages are read.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    /// The longest message, in bytes.
    pub max_payload: usize,
    /// Revision 3: a binary message begins with the packet's type.
    pub revision3: bool,
    /// May they be deflated?
    pub deflate: bool,
}

/// Takes the messages that are whole and not fragmented; what is left begins with another frame.
fn whole_messages<'a>(
    mut bytes: &'a mut [u8],
    rules: Rules,
    inflater: &mut Inflater,
    out: &mut Vec<Incoming>,
) -> Result<&'a mut [u8], CloseCode> {
    loop {
        if inflater.has_done_enough() {
            return Ok(bytes);
        }
        let Some(header) = Header::read(bytes, rules.deflate)? else {
            return Ok(bytes);
        };
        if !header.fin || header.opcode == Opcode::Continuation {
            return Ok(bytes);
        }
        check_len(&header, 0, rules)?;
        let len = usize::try_from(header.len).map_err(|_| CloseCode::TooBig)?;
        if bytes.len() - header.size < len {
            return Ok(bytes);
        }
        let (frame, rest) = bytes.split_at_mut(header.size + len);
        let payload = frame.get_mut(header.size..).unwrap_or_default();
        frame::unmask(payload, header.mask, 0);
        match header.opcode {
            Opcode::Text | Opcode::Binary => {
                let text = header.opcode == Opcode::Text;
                out.push(message(text, header.deflated, payload, rules, inflater)?);
            }
            opcode => control(opcode, payload, out)?,
        }
        if matches!(out.last(), Some(Incoming::Close(_))) {
            return Ok(&mut []);
        }
        bytes = rest;
    }
}

impl Partial {
    fn is_empty(&self) -> bool {
        self.header.is_empty()
            && self.frame.is_none()
            && self.message.is_none()
            && self.unread.is_empty()
            && !self.over
    }

    /// Bytes of the message that is not whole.
    fn kept(&self) -> usize {
        self.message.as_ref().map_or(0, |begun| begun.bytes.len())
    }

    /// Takes in a header, or a piece of payload; what is left comes behind it.
    fn feed<'a>(
        &mut self,
        bytes: &'a mut [u8],
        rules: Rules,
        inflater: &mut Inflater,
        out: &mut Vec<Incoming>,
    ) -> Result<&'a mut [u8], CloseCode> {
        let (header, have, bytes) = match self.frame {
            Some((header, have)) => (header, have, bytes),
            None => match self.read_header(bytes, rules.deflate)? {
                (None, rest) => return Ok(rest),
                (Some(header), rest) => {
                    self.begin(&header, rules)?;
                    (header, 0, rest)
                }
            },
        };
        let len = usize::try_from(header.len).map_err(|_| CloseCode::TooBig)?;
        let (piece, rest) = bytes.split_at_mut(bytes.len().min(len - have));
        frame::unmask(piece, header.mask, have);
        match &mut self.message {
            Some(begun) if !header.opcode.is_control() => begun.bytes.extend_from_slice(piece),
            _ => self.control.extend_from_slice(piece),
        }
        let have = have + piece.len();
        self.frame = (have < len).then_some((header, have));
        if have == len {
            self.end(&header, rules, inflater, out)?;
        }
        if matches!(out.last(), Some(Incoming::Close(_))) {
            return Ok(&mut []);
        }
        Ok(rest)
    }

    fn read_header<'a>(
        &mut self,
        bytes: &'a mut [u8],
        deflate: bool,
    ) -> Result<(Option<Header>, &'a mut [u8]), CloseCode> {
        let before = self.header.len();
        let taken = bytes.len().min(MAX_HEADER - before);
        let (more, _) = bytes.split_at(taken);
        self.header.extend_from_slice(more);
        let header = Header::read(&self.header, deflate)?;
        let used = header.map_or(taken, |header| header.size - before);
        if header.is_some() {
            self.header = Vec::new();
        }
        Ok((header, bytes.get_mut(used..).unwrap_or_default()))
    }

    /// A frame begins: may it, here?
    fn begin(&mut self, header: &Header, rules: Rules) -> Result<(), CloseCode> {
        let begins = matches!(header.opcode, Opcode::Text | Opcode::Binary);
        if !header.opcode.is_control() && begins == self.message.is_some() {
            return Err(CloseCode::Protocol);
        }
        check_len(header, self.kept(), rules)?;
        if begins {
            self.message = Some(Begun {
                text: header.opcode == Opcode::Text,
                deflated: header.deflated,
                bytes: Vec::new(),
            });
        }
        Ok(())
    }

    /// A frame is whole.
    fn end(
        &mut self,
        header: &Header,
        rules: Rules,
        inflater: &mut Inflater,
        out: &mut Vec<Incoming>,
    ) -> Result<(), CloseCode> {
        if header.opcode.is_control() {
            return control(header.opcode, &std::mem::take(&mut self.control), out);
        }
        if header.fin
            && let Some(begun) = self.message.take()
        {
            let Begun {
                text,
                deflated,
                bytes,
            } = begun;
            out.push(message(text, deflated, &bytes, rules, inflater)?);
        }
        Ok(())
    }
}

fn check_len(header: &Header, kept: usize, rules: Rules) -> Result<(), CloseCode> {
    let most = if header.opcode.is_control() {
        MAX_CONTROL
    } else {
        rules.max_payload.saturating_sub(kept)
    };
    if header.len > most as u64 {
        return Err(CloseCode::TooBig);
    }
    Ok(())
}

fn control(opcode: Opcode, payload: &[u8], out: &mut Vec<Incoming>) -> Result<(), CloseCode> {
    match opcode {
        Opcode::Close => {
            frame::check_close(payload)?;
            out.push(Incoming::Close(Bytes::copy_from_slice(payload)));
        }
        Opcode::Ping => out.push(Incoming::Ping(Bytes::copy_from_slice(payload))),
        _ => {}
    }
    Ok(())
}

/// A message whose frames are all there.
fn message(
    text: bool,
    deflated: bool,
    payload: &[u8],
    rules: Rules,
    inflater: &mut Inflater,
) -> Result<Incoming, CloseCode> {
    if !deflated {
        return plain_message(text, payload, rules);
    }
    inflater.inflate(payload, rules.max_payload, |payload| {
        plain_message(text, payload, rules)
    })
}

/// A whole message is a packet.
fn plain_message(text: bool, payload: &[u8], rules: Rules) -> Result<Incoming, CloseCode> {
    if !text {
        let data = Bytes::copy_from_slice(payload);
        let packet = Packet::decode_binary(&data, rules.revision3);
        return Ok(Incoming::Packet(packet));
    }
    let text = std::str::from_utf8(payload).map_err(|_| CloseCode::InvalidData)?;
    if let Some(message) = text.strip_prefix('4') {
        let message = Packet::Message(Str::copy_from_slice(message));
        return Ok(Incoming::Packet(message));
    }
    let packet = Packet::decode_text(&Str::copy_from_slice(text), rules.revision3);
    Ok(packet.map_or(Incoming::Malformed, Incoming::Packet))
}

#[cfg(test)]
mod tests;
