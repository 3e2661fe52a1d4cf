//! An event's arguments as the workers' parser wants them.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::io::{self, Write};

use bytes::Bytes;
use rmp::encode;
use socketioxide_core::Value;

use super::{
    MAX_ATTACHMENTS, MAX_DEPTH, MAX_LENGTH, NotepackError, RESERVED, Reader, Token, date, number,
};

/// What the workers write packets with: `engine.parser`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::bridge) enum Parser {
    /// JSON, with binary beside it.
    Common,
    /// msgpack, as notepack 2 reads it.
    Msgpack,
}

/// Makes msgpack, a list of an event's name and its arguments, into what workers send their clients. `data` is a part
/// of `source`, which attachments share.
///
/// # Errors
/// When it is broken, too large, or something that clients would close their connections for.
pub(in crate::bridge) fn event(
    source: &Bytes,
    data: &[u8],
    parser: Parser,
) -> Result<Value, NotepackError> {
    named(data)?;
    list(source, data, parser)
}

/// Makes what a client acknowledged an event with, one value of msgpack, into what workers take from clients: a list.
///
/// # Errors
/// When it is broken or too large.
pub(in crate::bridge) fn acknowledgement(
    value: &[u8],
    parser: Parser,
) -> Result<Value, NotepackError> {
    let mut data = Vec::with_capacity(1 + value.len());
    data.push(rmp::Marker::FixArray(1).to_u8());
    data.extend_from_slice(value);
    let source = Bytes::from(data);
    list(&source, &source, parser)
}

fn list(source: &Bytes, data: &[u8], parser: Parser) -> Result<Value, NotepackError> {
    let mut reader = Reader::new(data);
    let value = match parser {
        Parser::Common => {
            let mut json = Json::new(source);
            json.value(&mut reader, MAX_DEPTH)?;
            json.finish()?
        }
        Parser::Msgpack => {
            let mut out = Limited(Vec::new());
            repack(&mut out, &mut reader, MAX_DEPTH)?;
            Value::Bytes(out.0.into())
        }
    };
    reader.end()?;
    Ok(value)
}

/// Makes any msgpack into JSON.
///
/// # Errors
/// When it is broken, too large, or has binary data.
pub(in crate::bridge) fn json(source: &Bytes) -> Result<String, NotepackError> {
    let mut reader = Reader::new(source);
    let mut json = Json::new(source);
    json.value(&mut reader, MAX_DEPTH)?;
    reader.end()?;
    match json.finish()? {
        Value::Str(text, None) => Ok(text.to_string()),
        _ => Err(NotepackError::Binary),
    }
}

/// Does an event begin with a name that clients take? It is text or a number.
fn named(data: &[u8]) -> Result<(), NotepackError> {
    let mut reader = Reader::new(data);
    let Token::List(1..) = reader.next()? else {
        return Err(NotepackError::Event);
    };
    match reader.next()? {
        Token::Text(name) if RESERVED.iter().any(|word| word.as_bytes() == name) => {
            Err(NotepackError::ReservedName)
        }
        Token::Text(_) | Token::Uint(_) | Token::Int(_) => Ok(()),
        Token::Float(name) if name.is_finite() => Ok(()),
        _ => Err(NotepackError::Event),
    }
}

/// Bytes that grow no longer than an event may be.
struct Limited(Vec<u8>);

impl Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.0.len() + bytes.len() > MAX_LENGTH {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Nothing else can go wrong with [`Limited`].
fn long<E>(_: E) -> NotepackError {
    NotepackError::Long
}

/// Was a value `undefined`?
#[derive(PartialEq, Eq)]
enum Written {
    Value,
    Undefined,
}

/// JSON as `JSON.stringify` makes it, and what stood in it in binary.
struct Json<'a> {
    source: &'a Bytes,
    text: Limited,
    attachments: VecDeque<Bytes>,
}

impl<'a> Json<'a> {
    fn new(source: &'a Bytes) -> Self {
        Self {
            source,
            text: Limited(Vec::new()),
            attachments: VecDeque::new(),
        }
    }

    fn finish(self) -> Result<Value, NotepackError> {
        let length = self.attachments.iter().map(Bytes::len).sum::<usize>();
        if self.text.0.len() + length > MAX_LENGTH {
            return Err(NotepackError::Long);
        }
        // All of it was written as text.
        let text = String::from_utf8(self.text.0).map_err(|_| NotepackError::Json)?;
        let attachments = (!self.attachments.is_empty()).then_some(self.attachments);
        Ok(Value::Str(text.into(), attachments))
    }

    fn put(&mut self, text: &[u8]) -> Result<(), NotepackError> {
        self.text.write_all(text).map_err(long)
    }

    fn value(&mut self, reader: &mut Reader, depth: usize) -> Result<Written, NotepackError> {
        match reader.next()? {
            Token::Nil => self.put(b"null")?,
            Token::Undefined => {
                self.put(b"null")?;
                return Ok(Written::Undefined);
            }
            Token::Bool(true) => self.put(b"true")?,
            Token::Bool(false) => self.put(b"false")?,
            Token::Uint(n) => number::write_uint(&mut self.text, n).map_err(long)?,
            Token::Int(n) => number::write_int(&mut self.text, n).map_err(long)?,
            Token::Float(n) => number::write_float(&mut self.text, n).map_err(long)?,
            Token::Text(text) => self.quote(&String::from_utf8_lossy(text))?,
            Token::Binary(bytes) => self.attach(bytes)?,
            Token::Date(ms) => date::write(&mut self.text, ms).map_err(long)?,
            Token::Ext(kind, bytes) => {
                self.put(format!("[{kind},").as_bytes())?;
                self.attach(bytes)?;
                self.put(b"]")?;
            }
            Token::List(len) => {
                let depth = depth.checked_sub(1).ok_or(NotepackError::Depth)?;
                self.list(reader, len, depth)?;
            }
            Token::Map(len) => {
                let depth = depth.checked_sub(1).ok_or(NotepackError::Depth)?;
                self.map(reader, len, depth)?;
            }
        }
        Ok(Written::Value)
    }

    fn list(&mut self, reader: &mut Reader, len: usize, depth: usize) -> Result<(), NotepackError> {
        self.put(b"[")?;
        for nth in 0..len {
            if nth > 0 {
                self.put(b",")?;
            }
            self.value(reader, depth)?;
        }
        self.put(b"]")
    }

    /// A key whose value is `undefined` is left out.
    fn map(&mut self, reader: &mut Reader, len: usize, depth: usize) -> Result<(), NotepackError> {
        self.put(b"{")?;
        let begin = self.text.0.len();
        for _ in 0..len {
            let before = self.text.0.len();
            if before > begin {
                self.put(b",")?;
            }
            self.quote(&key(reader)?)?;
            self.put(b":")?;
            if self.value(reader, depth)? == Written::Undefined {
                self.text.0.truncate(before);
            }
        }
        self.put(b"}")
    }

    fn quote(&mut self, text: &str) -> Result<(), NotepackError> {
        serde_json::to_writer(&mut self.text, text).map_err(long)
    }

    fn attach(&mut self, bytes: &[u8]) -> Result<(), NotepackError> {
        let number = self.attachments.len();
        if number >= MAX_ATTACHMENTS {
            return Err(NotepackError::Attachments);
        }
        // `slice_ref` asks for a part of the source that is one.
        self.attachments.push_back(match bytes {
            [] => Bytes::new(),
            _ => self.source.slice_ref(bytes),
        });
        let placeholder = format!(r#"{{"_placeholder":true,"num":{number}}}"#);
        self.put(placeholder.as_bytes())
    }
}

/// The key of a map, as JavaScript has it: text.
pub(super) fn key<'a>(reader: &mut Reader<'a>) -> Result<Cow<'a, str>, NotepackError> {
    let mut text = Vec::new();
    match reader.next()? {
        Token::Text(text) => return Ok(String::from_utf8_lossy(text)),
        Token::Uint(n) => number::write_uint(&mut text, n).map_err(long)?,
        Token::Int(n) => number::write_int(&mut text, n).map_err(long)?,
        Token::Float(n) if n.is_finite() => number::write_float(&mut text, n).map_err(long)?,
        _ => return Err(NotepackError::Key),
    }
    Ok(Cow::Owned(String::from_utf8_lossy(&text).into_owned()))
}

/// Writes a value once more, in the words of notepack 2: that is what clients of this parser have.
fn repack(out: &mut Limited, reader: &mut Reader, depth: usize) -> Result<(), NotepackError> {
    let before = reader.rest();
    let token = reader.next()?;
    let read = before.len() - reader.rest().len();
    let plain = before.get(..read).ok_or(NotepackError::Short)?;
    match token {
        Token::Date(ms) => {
            let ms = date::whole(ms).unwrap_or(0);
            out.write_all(&[0xd7, 0]).map_err(long)?;
            out.write_all(&ms.to_be_bytes()).map_err(long)
        }
        Token::List(len) => {
            let depth = depth.checked_sub(1).ok_or(NotepackError::Depth)?;
            out.write_all(plain).map_err(long)?;
            (0..len).try_for_each(|_| repack(out, reader, depth))
        }
        Token::Map(len) => {
            let depth = depth.checked_sub(1).ok_or(NotepackError::Depth)?;
            out.write_all(plain).map_err(long)?;
            (0..len).try_for_each(|_| {
                encode::write_str(out, &key(reader)?).map_err(long)?;
                repack(out, reader, depth)
            })
        }
        _ => out.write_all(plain).map_err(long),
    }
}
