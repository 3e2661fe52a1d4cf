//! Is it JSON, and is there anything in it that socketioxide's parser cannot read? One pass, no tree.

/// How deep arrays and objects may lie in each other. Node has no bound but that of its stack, which is near.
const MAX_DEPTH: usize = 8192;
const PLACEHOLDER: &[u8] = b"_placeholder";

/// What a payload is, seen from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) top: Top,
    /// The first key of an object is written with an escape.
    pub(super) escaped_key: bool,
    /// An object has the key of a placeholder, or a key with an escape that may be it.
    pub(super) placeholder: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Top {
    Object,
    /// With its first element.
    Array(First),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum First {
    /// A text between these places, its quotes not included.
    Text {
        start: usize,
        end: usize,
        escaped: bool,
    },
    Number,
    /// Something else, or the array is empty.
    Other,
}

/// Looks at a payload. `None`: it is not JSON, nested too deep, or neither object nor array.
pub(super) fn scan(text: &str) -> Option<Shape> {
    let mut cursor = Cursor::new(text.as_bytes());
    cursor.blank();
    let top = cursor.peek()?;
    let mut shape = Shape {
        top: match top {
            b'{' => Top::Object,
            b'[' => Top::Array(First::at(cursor)),
            _ => return None,
        },
        escaped_key: false,
        placeholder: false,
    };
    let mut nested = Nested::default();
    loop {
        match cursor.take()? {
            b'"' => {
                cursor.text()?;
            }
            b'{' => {
                cursor.blank();
                if !cursor.eat(b'}') {
                    nested.push(true)?;
                    shape.escaped_key |= shape.key(&mut cursor)?;
                    continue;
                }
            }
            b'[' => {
                cursor.blank();
                if !cursor.eat(b']') {
                    nested.push(false)?;
                    continue;
                }
            }
            byte => cursor.scalar(byte)?,
        }
        loop {
            cursor.blank();
            let Some(is_object) = nested.top() else {
                return cursor.peek().is_none().then_some(shape);
            };
            match cursor.take()? {
                b',' => {
                    cursor.blank();
                    if is_object {
                        shape.key(&mut cursor)?;
                    }
                    break;
                }
                b'}' if is_object => nested.pop(),
                b']' if !is_object => nested.pop(),
                _ => return None,
            }
        }
    }
}

impl Shape {
    /// Reads a key and its colon. Is there an escape in it?
    fn key(&mut self, cursor: &mut Cursor) -> Option<bool> {
        let key = cursor.key()?;
        self.placeholder |= key.escaped || cursor.slice(key.start, key.end) == PLACEHOLDER;
        Some(key.escaped)
    }
}

impl First {
    /// Of the array that begins here.
    fn at(mut cursor: Cursor) -> Self {
        cursor.take();
        cursor.blank();
        match cursor.take() {
            Some(b'"') => {
                let start = cursor.at;
                cursor.text().map_or(Self::Other, |escaped| Self::Text {
                    start,
                    end: cursor.at.saturating_sub(1),
                    escaped,
                })
            }
            Some(b'-' | b'0'..=b'9') => Self::Number,
            _ => Self::Other,
        }
    }
}

/// A key of an object, without its quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) escaped: bool,
}

/// A place in the text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    pub(super) fn slice(&self, start: usize, end: usize) -> &'a [u8] {
        self.bytes.get(start..end).unwrap_or_default()
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    pub(super) fn take(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at = self.at.wrapping_add(1);
        Some(byte)
    }

    #[inline]
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at = self.at.wrapping_add(usize::from(there));
        there
    }

    /// Passes over white space.
    #[inline]
    pub(super) fn blank(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at = self.at.wrapping_add(1);
        }
    }

    /// A key with its colon, up to the value.
    #[inline]
    pub(super) fn key(&mut self) -> Option<Key> {
        self.eat(b'"').then_some(())?;
        let start = self.at;
        let escaped = self.text()?;
        let end = self.at.saturating_sub(1);
        self.blank();
        self.eat(b':').then_some(())?;
        self.blank();
        Some(Key {
            start,
            end,
            escaped,
        })
    }

    /// The rest of a text, with its closing quote. Is there an escape in it?
    #[inline]
    pub(super) fn text(&mut self) -> Option<bool> {
        let mut escaped = false;
        loop {
            self.at = self.at.wrapping_add(plain(self.bytes.get(self.at..)?));
            match self.take()? {
                b'"' => return Some(escaped),
                b'\\' => {
                    escaped = true;
                    self.escape()?;
                }
                0..0x20 => return None,
                _ => {}
            }
        }
    }

    fn escape(&mut self) -> Option<()> {
        match self.take()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => {
                let digits = self.bytes.get(self.at..)?.first_chunk::<4>()?;
                self.at = self.at.wrapping_add(4);
                digits.iter().all(u8::is_ascii_hexdigit).then_some(())
            }
            _ => None,
        }
    }

    /// A number, `true`, `false` or `null`, of which this is the first character.
    #[inline]
    pub(super) fn scalar(&mut self, first: u8) -> Option<()> {
        match first {
            b't' => self.word(b"rue"),
            b'f' => self.word(b"alse"),
            b'n' => self.word(b"ull"),
            b'-' => {
                let first = self.take()?;
                self.number(first)
            }
            first => self.number(first),
        }
    }

    fn word(&mut self, rest: &[u8]) -> Option<()> {
        let there = self.bytes.get(self.at..)?.starts_with(rest);
        self.at = self.at.wrapping_add(rest.len());
        there.then_some(())
    }

    fn number(&mut self, first: u8) -> Option<()> {
        match first {
            b'0' => {}
            b'1'..=b'9' => self.digits(),
            _ => return None,
        }
        if self.eat(b'.') {
            self.take()?.is_ascii_digit().then_some(())?;
            self.digits();
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.take();
            if !self.eat(b'+') {
                self.eat(b'-');
            }
            self.take()?.is_ascii_digit().then_some(())?;
            self.digits();
        }
        Some(())
    }

    #[inline]
    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.at = self.at.wrapping_add(1);
        }
    }
}

/// How many bytes there are, eight at a time, before a quote, a backslash or a control character.
#[inline]
fn plain(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    // The lowest bit that is set tells the first byte that is below; those above it may be wrong.
    let below = |word: u64, bound: u8| word.wrapping_sub(ONES.wrapping_mul(bound.into())) & !word;
    let zero_where = |word: u64, byte: u8| word ^ ONES.wrapping_mul(byte.into());
    let mut len = 0_usize;
    while let Some(chunk) = bytes.get(len..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*chunk);
        let stop = (below(word, 0x20)
            | below(zero_where(word, b'"'), 1)
            | below(zero_where(word, b'\\'), 1))
            & HIGH;
        if stop != 0 {
            return len.wrapping_add(stop.trailing_zeros() as usize / 8);
        }
        len = len.wrapping_add(8);
    }
    len
}

/// What the place that is read lies in: a bit for each level, the innermost the lowest.
#[derive(Debug, Default)]
struct Nested {
    depth: usize,
    levels: u64,
    /// Levels that `levels` has no room for, 64 in one.
    outer: Vec<u64>,
}

impl Nested {
    #[inline]
    fn push(&mut self, is_object: bool) -> Option<()> {
        if self.depth > 0 && self.depth.is_multiple_of(64) {
            if self.depth >= MAX_DEPTH {
                return None;
            }
            self.outer.push(self.levels);
        }
        self.levels = self.levels << 1 | u64::from(is_object);
        self.depth = self.depth.wrapping_add(1);
        Some(())
    }

    #[inline]
    fn pop(&mut self) {
        self.depth = self.depth.saturating_sub(1);
        self.levels >>= 1;
        if self.depth > 0
            && self.depth.is_multiple_of(64)
            && let Some(levels) = self.outer.pop()
        {
            self.levels = levels;
        }
    }

    /// Is the innermost an object? `None`: it lies in nothing.
    #[inline]
    fn top(&self) -> Option<bool> {
        (self.depth > 0).then_some(self.levels & 1 == 1)
    }
}
