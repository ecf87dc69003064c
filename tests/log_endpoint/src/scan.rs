//! A reader of JSON that makes nothing of it: it goes over the bytes once and hands out what it is asked for.

use memchr::memchr2;

/// What is wrong, and at which byte.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("byte {at}: {what}")]
pub(super) struct Malformed {
    at: usize,
    what: &'static str,
}

impl Malformed {
    pub(super) fn at(at: usize, what: &'static str) -> Malformed {
        Malformed { at, what }
    }
}

type Read<T> = Result<T, Malformed>;

/// A string as it is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Text<'a> {
    raw: &'a [u8],
    escaped: bool,
}

impl<'a> Text<'a> {
    /// Its bytes, where they are as written.
    pub(super) fn plain(&self) -> Option<&'a [u8]> {
        (!self.escaped).then_some(self.raw)
    }

    /// What is meant. A lone surrogate becomes U+FFFD, as the service makes of it.
    pub(super) fn unescape(&self, out: &mut Vec<u8>) {
        let mut rest = self.raw;
        while let Some(at) = memchr::memchr(b'\\', rest) {
            out.extend_from_slice(&rest[..at]);
            let code = rest.get(at + 1).copied().unwrap_or(b'\\');
            rest = rest.get(at + 2..).unwrap_or_default();
            match code {
                b'n' => out.push(b'\n'),
                b't' => out.push(b'\t'),
                b'r' => out.push(b'\r'),
                b'b' => out.push(8),
                b'f' => out.push(12),
                b'u' => {
                    let (meant, left) = unicode(rest);
                    out.extend_from_slice(meant.encode_utf8(&mut [0; 4]).as_bytes());
                    rest = left;
                }
                other => out.push(other),
            }
        }
        out.extend_from_slice(rest);
    }

    pub(super) fn to_string_lossy(self) -> String {
        let mut bytes = Vec::new();
        self.unescape(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

fn unit(digits: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits.get(..4)?).ok()?, 16).ok()
}

/// The character behind `\u`, and what follows it.
fn unicode(rest: &[u8]) -> (char, &[u8]) {
    let first = unit(rest).unwrap_or(0xfffd);
    let left = rest.get(4..).unwrap_or_default();
    if (0xd800..0xdc00).contains(&first)
        && let Some(second) = left.strip_prefix(b"\\u").and_then(unit)
        && (0xdc00..0xe000).contains(&second)
    {
        let both = 0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00);
        return (char::from_u32(both).unwrap_or('\u{fffd}'), &left[6..]);
    }
    (char::from_u32(first).unwrap_or('\u{fffd}'), left)
}

/// Where it is.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Scanner<'a> {
        Scanner { bytes, at: 0 }
    }

    pub(super) fn malformed(&self, what: &'static str) -> Malformed {
        Malformed::at(self.at, what)
    }

    /// The next byte that is no white space, without taking it.
    fn peek(&mut self) -> Read<u8> {
        while let Some(byte) = self.bytes.get(self.at) {
            if !byte.is_ascii_whitespace() {
                return Ok(*byte);
            }
            self.at += 1;
        }
        Err(self.malformed("it ends too soon"))
    }

    fn take(&mut self, wanted: u8, what: &'static str) -> Read<()> {
        if self.peek()? != wanted {
            return Err(self.malformed(what));
        }
        self.at += 1;
        Ok(())
    }

    /// An object; `field` takes the value of each key.
    pub(super) fn object(&mut self, mut field: impl FnMut(&mut Self, &[u8]) -> Read<()>) -> Read<()> {
        self.take(b'{', "no object")?;
        if self.peek()? == b'}' {
            return self.take(b'}', "");
        }
        loop {
            let key = self.text()?;
            self.take(b':', "no colon")?;
            field(self, key.raw)?;
            if !self.goes_on(b'}')? {
                return Ok(());
            }
        }
    }

    /// An array; `item` takes each of its values.
    pub(super) fn array(&mut self, mut item: impl FnMut(&mut Self) -> Read<()>) -> Read<()> {
        self.take(b'[', "no array")?;
        if self.peek()? == b']' {
            return self.take(b']', "");
        }
        loop {
            item(self)?;
            if !self.goes_on(b']')? {
                return Ok(());
            }
        }
    }

    /// Takes the comma, or the end.
    fn goes_on(&mut self, end: u8) -> Read<bool> {
        let next = self.peek()?;
        if next != b',' && next != end {
            return Err(self.malformed("neither a comma nor the end"));
        }
        self.at += 1;
        Ok(next == b',')
    }

    pub(super) fn text(&mut self) -> Read<Text<'a>> {
        self.take(b'"', "no string")?;
        let (start, mut escaped) = (self.at, false);
        loop {
            let rest = self.bytes.get(self.at..).unwrap_or_default();
            let Some(found) = memchr2(b'"', b'\\', rest) else {
                return Err(self.malformed("a string without end"));
            };
            if rest[found] == b'"' {
                let raw = &self.bytes[start..self.at + found];
                self.at += found + 1;
                return Ok(Text { raw, escaped });
            }
            escaped = true;
            self.at += found + 2;
        }
    }

    pub(super) fn integer(&mut self) -> Read<i64> {
        let negative = self.peek()? == b'-';
        self.at += usize::from(negative);
        let (start, mut value) = (self.at, 0_i64);
        while let Some(digit) = self.bytes.get(self.at).filter(|byte| byte.is_ascii_digit()) {
            value = value.saturating_mul(10).saturating_add(i64::from(digit - b'0'));
            self.at += 1;
        }
        if self.at == start {
            Err(self.malformed("no number"))
        } else {
            Ok(if negative { -value } else { value })
        }
    }

    /// Any value.
    pub(super) fn skip(&mut self) -> Read<()> {
        match self.peek()? {
            b'"' => self.text().map(drop),
            b'{' => self.object(|scanner, _| scanner.skip()),
            b'[' => self.array(Self::skip),
            _ => {
                let start = self.at;
                let word = |byte: &u8| byte.is_ascii_alphanumeric() || b"+-.".contains(byte);
                while self.bytes.get(self.at).is_some_and(word) {
                    self.at += 1;
                }
                if self.at == start { Err(self.malformed("no value")) } else { Ok(()) }
            }
        }
    }

    /// Nothing may follow.
    pub(super) fn end(&mut self) -> Read<()> {
        if self.peek().is_ok() { Err(self.malformed("something follows")) } else { Ok(()) }
    }
}
