//! msgpack, token by token.

use rmp::Marker;

use super::{MAX_DEPTH, NotepackError, date, number};

/// What stands next.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(in crate::bridge) enum Token<'a> {
    /// `null`; in notepack 3 `undefined`, too.
    Nil,
    /// `undefined` of notepack 2.
    Undefined,
    /// Either.
    Bool(bool),
    /// A whole number.
    Uint(u64),
    /// A negative whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Text, which may be no UTF-8: a lone surrogate of JavaScript, say.
    Text(&'a [u8]),
    /// A `Buffer`, an `ArrayBuffer`, a typed array.
    Binary(&'a [u8]),
    /// A list. So many values follow.
    List(usize),
    /// A map. So many pairs of values follow.
    Map(usize),
    /// A `Date`, in milliseconds since 1970.
    Date(f64),
    /// An ext of another type. notepack reads it as a list of both.
    Ext(i8, &'a [u8]),
}

/// What is left of some msgpack.
#[derive(Debug, Clone, Copy)]
pub(in crate::bridge) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(in crate::bridge) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }

    /// The next token. A list or map is only begun by it.
    ///
    /// # Errors
    /// When there is none, or not all of it.
    pub(in crate::bridge) fn next(&mut self) -> Result<Token<'a>, NotepackError> {
        Ok(match Marker::from_u8(self.u8()?) {
            Marker::FixPos(n) => Token::Uint(n.into()),
            Marker::FixNeg(n) => Token::Int(n.into()),
            Marker::Null => Token::Nil,
            Marker::False => Token::Bool(false),
            Marker::True => Token::Bool(true),
            Marker::U8 => Token::Uint(self.u8()?.into()),
            Marker::U16 => Token::Uint(u16::from_be_bytes(self.fixed()?).into()),
            Marker::U32 => Token::Uint(u32::from_be_bytes(self.fixed()?).into()),
            Marker::U64 => Token::Uint(u64::from_be_bytes(self.fixed()?)),
            Marker::I8 => Token::Int(i8::from_be_bytes(self.fixed()?).into()),
            Marker::I16 => Token::Int(i16::from_be_bytes(self.fixed()?).into()),
            Marker::I32 => Token::Int(i32::from_be_bytes(self.fixed()?).into()),
            Marker::I64 => Token::Int(i64::from_be_bytes(self.fixed()?)),
            Marker::F32 => Token::Float(f32::from_be_bytes(self.fixed()?).into()),
            Marker::F64 => Token::Float(f64::from_be_bytes(self.fixed()?)),
            Marker::FixStr(len) => Token::Text(self.take(len.into())?),
            marker @ (Marker::Str8 | Marker::Str16 | Marker::Str32) => {
                let len = self.len(marker)?;
                Token::Text(self.take(len)?)
            }
            marker @ (Marker::Bin8 | Marker::Bin16 | Marker::Bin32) => {
                let len = self.len(marker)?;
                Token::Binary(self.take(len)?)
            }
            Marker::FixArray(len) => self.list(len.into())?,
            marker @ (Marker::Array16 | Marker::Array32) => {
                let len = self.len(marker)?;
                self.list(len)?
            }
            Marker::FixMap(len) => self.map(len.into())?,
            marker @ (Marker::Map16 | Marker::Map32) => {
                let len = self.len(marker)?;
                self.map(len)?
            }
            Marker::FixExt1 => self.ext(1)?.of_notepack_2(),
            Marker::FixExt2 => self.ext(2)?,
            Marker::FixExt4 => self.ext(4)?,
            Marker::FixExt8 => self.ext(8)?.of_notepack_2(),
            Marker::FixExt16 => self.ext(16)?,
            marker @ (Marker::Ext8 | Marker::Ext16 | Marker::Ext32) => {
                let len = self.len(marker)?;
                self.ext(len)?
            }
            Marker::Reserved => return Err(NotepackError::Reserved),
        })
    }

    /// All bytes of the next value.
    ///
    /// # Errors
    /// When it is not whole, or too deep.
    pub(in crate::bridge) fn skip(&mut self) -> Result<&'a [u8], NotepackError> {
        let before = self.0;
        self.pass(MAX_DEPTH)?;
        let len = before.len() - self.0.len();
        before.get(..len).ok_or(NotepackError::Short)
    }

    /// # Errors
    /// When there is something left.
    pub(in crate::bridge) fn end(&self) -> Result<(), NotepackError> {
        match self.0 {
            [] => Ok(()),
            _ => Err(NotepackError::Trailing),
        }
    }

    fn pass(&mut self, depth: usize) -> Result<(), NotepackError> {
        let values = match self.next()? {
            Token::List(len) => len,
            // No more pairs than there are bytes.
            Token::Map(len) => len * 2,
            _ => return Ok(()),
        };
        let depth = depth.checked_sub(1).ok_or(NotepackError::Depth)?;
        (0..values).try_for_each(|_| self.pass(depth))
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], NotepackError> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(NotepackError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], NotepackError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(NotepackError::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, NotepackError> {
        self.fixed().map(u8::from_be_bytes)
    }

    /// The length behind a marker that has one.
    fn len(&mut self, marker: Marker) -> Result<usize, NotepackError> {
        Ok(match marker {
            Marker::Str8 | Marker::Bin8 | Marker::Ext8 => self.u8()?.into(),
            Marker::Str16 | Marker::Bin16 | Marker::Ext16 | Marker::Array16 | Marker::Map16 => {
                u16::from_be_bytes(self.fixed()?).into()
            }
            _ => u32::from_be_bytes(self.fixed()?) as usize,
        })
    }

    /// A value has a byte at least.
    fn list(&self, len: usize) -> Result<Token<'a>, NotepackError> {
        if len > self.0.len() {
            return Err(NotepackError::Short);
        }
        Ok(Token::List(len))
    }

    fn map(&self, len: usize) -> Result<Token<'a>, NotepackError> {
        if len > self.0.len() / 2 {
            return Err(NotepackError::Short);
        }
        Ok(Token::Map(len))
    }

    /// The type of an ext of this length, and what it has.
    fn ext(&mut self, len: usize) -> Result<Token<'a>, NotepackError> {
        let kind = i8::from_be_bytes(self.fixed()?);
        let bytes = self.take(len)?;
        Ok(match kind {
            0 => Token::Binary(bytes),
            -1 => date::of_timestamp(bytes).map_or(Token::Ext(kind, bytes), Token::Date),
            _ => Token::Ext(kind, bytes),
        })
    }
}

impl Token<'_> {
    /// An ext that has one of msgpack's fixed lengths. notepack 2 writes no bytes so.
    fn of_notepack_2(self) -> Self {
        match self {
            Self::Binary([_]) => Self::Undefined,
            Self::Binary(bytes) => match bytes.first_chunk() {
                Some(ms) => Self::Date(number::double(i64::from_be_bytes(*ms))),
                None => self,
            },
            _ => self,
        }
    }
}
