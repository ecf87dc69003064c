//! The inside of JSON strings: how long it is as text, whether it is valid as it stands, and there and back.
//!
//! In: bytes. Out: sizes, text, bytes. What always holds: what [`measure`] calls valid is the inside of a valid JSON
//! string (RFC 8259, section 7) in UTF-8, and the length it gives is that of the decoded text. It copies nothing: most
//! lines have no escape but the line break at their end.

use std::borrow::Cow;

/// What the inside of a string is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// Bytes up to the closing quote, as they stand.
    pub raw: usize,
    /// Bytes of the decoded text in UTF-8; meaningless when it is not valid.
    pub decoded: usize,
    /// It may be copied into another document as it is.
    pub valid: bool,
}

/// Whether any of eight bytes is a quote, a backslash, or below a space.
fn is_special(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let zero_in = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let quote = zero_in(word ^ (ONES * b'"' as u64));
    let backslash = zero_in(word ^ (ONES * b'\\' as u64));
    let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
    (quote | backslash | control) != 0
}

/// The first quote, backslash or control character at or behind `from`.
fn next_special(bytes: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some(word) = bytes.get(at..at + 8).and_then(|word| word.try_into().ok()) {
        if is_special(u64::from_le_bytes(word)) {
            break;
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    let found = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f))?;
    Some(at + found)
}

/// Measures a string whose opening quote lies before `bytes`. `None`: its closing quote is not there.
pub fn measure(bytes: &[u8]) -> Option<Measured> {
    let (mut at, mut saved, mut valid) = (0, 0, true);
    loop {
        at = next_special(bytes, at)?;
        match bytes[at] {
            b'"' => break,
            b'\\' => match escape(&bytes[at..]) {
                Some((raw, decoded)) => {
                    saved += raw - decoded;
                    at += raw;
                }
                None => {
                    valid = false;
                    at += 2;
                }
            },
            _ => {
                valid = false;
                at += 1;
            }
        }
    }
    let valid = valid && std::str::from_utf8(&bytes[..at]).is_ok();
    Some(Measured { raw: at, decoded: at.saturating_sub(saved), valid })
}

/// The length of the escape that `bytes` begin with, as it stands and as text. `None`: it is none, or one half of a pair of
/// surrogates without the other.
fn escape(bytes: &[u8]) -> Option<(usize, usize)> {
    match bytes.get(1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some((2, 1)),
        b'u' => match code_unit(bytes)? {
            0xd800..=0xdbff => match code_unit(bytes.get(6..)?)? {
                0xdc00..=0xdfff => Some((12, 4)),
                _ => None,
            },
            0xdc00..=0xdfff => None,
            unit => Some((6, char::from_u32(unit)?.len_utf8())),
        },
        _ => None,
    }
}

/// Of `\uXXXX`.
fn code_unit(bytes: &[u8]) -> Option<u32> {
    let digits = bytes.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |unit, digit| Some(unit * 16 + char::from(*digit).to_digit(16)?))
}

/// The text of a string's inside. What is no valid escape is kept as it stands, and no valid UTF-8 becomes U+FFFD.
pub fn decode(inside: &[u8]) -> String {
    let text = String::from_utf8_lossy(inside);
    if !text.contains('\\') {
        return text.into_owned();
    }
    let mut decoded = String::with_capacity(text.len());
    let mut rest = text.as_ref();
    while let Some(at) = rest.find('\\') {
        decoded.push_str(&rest[..at]);
        rest = &rest[at..];
        match escape(rest.as_bytes()) {
            Some((raw, _)) => {
                decoded.push_str(&escaped_text(&rest.as_bytes()[..raw]));
                rest = &rest[raw..];
            }
            None => {
                decoded.push('\\');
                rest = &rest[1..];
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

/// The text of one valid escape.
fn escaped_text(escape: &[u8]) -> Cow<'static, str> {
    let plain = match escape[1] {
        b'b' => "\u{8}",
        b'f' => "\u{c}",
        b'n' => "\n",
        b'r' => "\r",
        b't' => "\t",
        b'"' => "\"",
        b'/' => "/",
        b'\\' => "\\",
        _ => {
            let units = escape.chunks(6).filter_map(code_unit).filter_map(|unit| u16::try_from(unit).ok());
            return char::decode_utf16(units).filter_map(Result::ok).collect::<String>().into();
        }
    };
    plain.into()
}

/// Appends a text as the inside of a JSON string.
pub fn push_escaped(json: &mut Vec<u8>, text: &str) {
    let bytes = text.as_bytes();
    let mut from = 0;
    while let Some(at) = next_special(bytes, from) {
        json.extend_from_slice(&bytes[from..at]);
        match bytes[at] {
            b'"' => json.extend_from_slice(b"\\\""),
            b'\\' => json.extend_from_slice(b"\\\\"),
            b'\n' => json.extend_from_slice(b"\\n"),
            b'\r' => json.extend_from_slice(b"\\r"),
            b'\t' => json.extend_from_slice(b"\\t"),
            control => json.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
        from = at + 1;
    }
    json.extend_from_slice(&bytes[from..]);
}

#[cfg(test)]
#[path = "escape_tests.rs"]
mod tests;
