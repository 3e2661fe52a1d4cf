//! Is it JSON, and is there anything in it that socketioxide's parser cannot read? One pass, no tree.

use std::ops::Range;

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

/// Looks at a payload, for placeholders only if it may have some. `None`: it is not JSON, nested too
/// deep, or neither object nor array.
pub(super) fn scan(text: &str, placeholders: bool) -> Option<Shape> {
    let mut cursor = Cursor::new(text.as_bytes());
    let mut nested = Nested::default();
    let mut shape = Shape {
        top: Top::Object,
        escaped_key: false,
        placeholder: false,
    };
    cursor.blank();
    let mut at_value = true;
    match cursor.peek()? {
        b'{' => {}
        b'[' => {
            cursor.take();
            nested.push(false)?;
            cursor.blank();
            let first = First::at(&mut cursor)?;
            // The text is read; of an empty array only the end is left.
            at_value = !matches!(first, First::Text { .. }) && cursor.peek() != Some(b']');
            shape.top = Top::Array(first);
        }
        _ => return None,
    }
    loop {
        if at_value {
            match cursor.take()? {
                b'"' => {
                    cursor.text()?;
                }
                b'{' => {
                    if !cursor.eat_blank(b'}') {
                        nested.push(true)?;
                        shape.escaped_key |= shape.key(&mut cursor, placeholders)?;
                        continue;
                    }
                }
                b'[' => {
                    if !cursor.eat_blank(b']') {
                        nested.push(false)?;
                        continue;
                    }
                }
                b' ' | b'\t' | b'\n' | b'\r' => continue,
                byte => cursor.scalar(byte)?,
            }
        }
        at_value = true;
        loop {
            let Some(is_object) = nested.top() else {
                cursor.blank();
                return cursor.peek().is_none().then_some(shape);
            };
            match cursor.take()? {
                b',' => {
                    if is_object {
                        shape.key(&mut cursor, placeholders)?;
                    }
                    break;
                }
                b'}' if is_object => nested.pop(),
                b']' if !is_object => nested.pop(),
                b' ' | b'\t' | b'\n' | b'\r' => {}
                _ => return None,
            }
        }
    }
}

/// Where in an array its elements stand. It is for text that was checked: whether they are JSON is not looked at, but
/// for text that is no array at all, or one that does not end, there is nothing.
#[must_use]
pub fn elements(array: &str) -> Option<Vec<Range<usize>>> {
    let mut cursor = Cursor::new(array.as_bytes());
    let mut elements = Vec::new();
    cursor.eat_blank(b'[').then_some(())?;
    let mut ended = cursor.eat_blank(b']');
    while !ended {
        cursor.blank();
        let start = cursor.at();
        cursor.pass()?;
        elements.push(start..cursor.at());
        ended = cursor.eat_blank(b']');
        (ended || cursor.eat(b',')).then_some(())?;
    }
    cursor.blank();
    cursor.peek().is_none().then_some(elements)
}

impl Shape {
    /// Reads a key and its colon. Is there an escape in it?
    #[inline]
    fn key(&mut self, cursor: &mut Cursor, placeholders: bool) -> Option<bool> {
        if !placeholders {
            return cursor.key_unread();
        }
        let key = cursor.key()?;
        self.placeholder |= key.escaped || cursor.slice(key) == PLACEHOLDER;
        Some(key.escaped)
    }
}

impl First {
    /// The first element, which begins here or is not there. Only a text is read.
    fn at(cursor: &mut Cursor) -> Option<Self> {
        Some(match cursor.peek() {
            Some(b'"') => {
                cursor.take();
                let start = cursor.at();
                let escaped = cursor.text()?;
                Self::Text {
                    start,
                    end: cursor.at().wrapping_sub(1),
                    escaped,
                }
            }
            Some(b'-' | b'0'..=b'9') => Self::Number,
            _ => Self::Other,
        })
    }
}

/// A key of an object, without its quotes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) escaped: bool,
}

/// What is left of a text.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cursor<'a> {
    text: &'a [u8],
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, rest: text }
    }

    pub(super) fn slice(&self, key: Key) -> &'a [u8] {
        self.text.get(key.start..key.end).unwrap_or_default()
    }

    /// Where it is.
    #[inline]
    pub(super) fn at(&self) -> usize {
        self.text.len().wrapping_sub(self.rest.len())
    }

    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    #[inline]
    pub(super) fn take(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    #[inline]
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if *first == byte => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Passes over white space.
    #[inline]
    pub(super) fn blank(&mut self) {
        while let Some((b' ' | b'\t' | b'\n' | b'\r', rest)) = self.rest.split_first() {
            self.rest = rest;
        }
    }

    /// Passes over this character and white space before it.
    #[inline]
    pub(super) fn eat_blank(&mut self, byte: u8) -> bool {
        self.eat(byte) || self.blank_and(byte)
    }

    #[cold]
    fn blank_and(&mut self, byte: u8) -> bool {
        self.blank();
        self.eat(byte)
    }

    /// Passes over a value that was checked.
    fn pass(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.take()? {
                b'"' => {
                    self.text()?;
                }
                b'{' | b'[' => depth = depth.wrapping_add(1),
                b'}' | b']' => depth = depth.checked_sub(1)?,
                byte if depth == 0 => self.scalar(byte)?,
                _ => {}
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// A key with its colon.
    pub(super) fn key(&mut self) -> Option<Key> {
        let mut at = *self;
        at.eat_blank(b'"').then_some(())?;
        let start = at.at();
        at.text()?;
        let end = at.at().wrapping_sub(1);
        let escaped = self.key_unread()?;
        Some(Key {
            start,
            end,
            escaped,
        })
    }

    /// A key with its colon. Is there an escape in it?
    #[inline]
    fn key_unread(&mut self) -> Option<bool> {
        self.eat_blank(b'"').then_some(())?;
        let escaped = self.text()?;
        self.eat_blank(b':').then_some(escaped)
    }

    /// The rest of a text, with its closing quote. Is there an escape in it?
    #[inline]
    pub(super) fn text(&mut self) -> Option<bool> {
        let mut escaped = false;
        loop {
            self.plain();
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

    /// Passes, eight bytes at a time, over what is no quote, no backslash and no control character.
    #[inline]
    fn plain(&mut self) {
        const ONES: u64 = u64::from_ne_bytes([1; 8]);
        const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
        let mut wide = false;
        while let Some((chunk, rest)) = self.rest.split_first_chunk::<8>() {
            let word = u64::from_le_bytes(*chunk);
            // With bit 1 turned a quote is 0x20, and control characters stay below. A byte whose high bit is
            // set after the subtraction, but not before, was below the bound; the lowest of them was, those
            // above it may be wrong.
            let low = (word ^ (ONES << 1)).wrapping_sub(ONES.wrapping_mul(0x21));
            let backslash = (word ^ ONES.wrapping_mul(b'\\'.into())).wrapping_sub(ONES);
            let stop = (low | backslash) & !word & HIGH;
            if stop != 0 {
                let len = stop.trailing_zeros() as usize / 8;
                self.rest = self.rest.get(len..).unwrap_or_default();
                return;
            }
            self.rest = rest;
            if wide {
                self.plain_wide();
            }
            wide = true;
        }
    }

    /// For long texts: the compiler makes a few instructions of each round.
    #[inline(never)]
    fn plain_wide(&mut self) {
        while let Some((chunk, rest)) = self.rest.split_first_chunk::<64>() {
            let stops = |&byte: &u8| byte < 0x20 || byte == b'"' || byte == b'\\';
            if chunk.iter().fold(false, |stop, byte| stop | stops(byte)) {
                return;
            }
            self.rest = rest;
        }
    }

    #[cold]
    fn escape(&mut self) -> Option<()> {
        match self.take()? {
            b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(()),
            b'u' => {
                let (digits, rest) = self.rest.split_first_chunk::<4>()?;
                self.rest = rest;
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

    fn word(&mut self, word: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(word)?;
        Some(())
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
        while let Some((b'0'..=b'9', rest)) = self.rest.split_first() {
            self.rest = rest;
        }
    }
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
