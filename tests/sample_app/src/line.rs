//! A numbered line of 200 bytes, and its whole text given its number: who finds it somewhere can tell whether it is all
//! there and as it was written.
//!
//! Pure. The harness has this very file too, see its `numbered` module.

/// Of a line in UTF-8, without its end.
pub(crate) const LINE_BYTES: usize = 200;
/// Of the number; behind them comes a space.
pub(crate) const DIGITS: usize = 12;
/// Before the number.
pub(crate) const MARK: u8 = b'#';
/// What follows begins elsewhere in its text with each number, so that no line has the end of another.
const TURNS: u64 = 64;
/// Every so many lines have what JSON escapes.
const PLAIN: u64 = 16;
const REST: usize = LINE_BYTES - DIGITS - 2;
/// As applications write; twice, so that it can be read from anywhere in the first half.
const TEXT: &[u8; 258] =
    b"method=GET path=/api/v1/orders status=200 duration_ms=12.75 upstream=10.0.3.17:8080 \
request_id=7f9c2ba4 user_agent=Mozilla/5.0 message=request handled by the worker and answered from the cache \
level=info logger=app.http thread=worker-3 trace=4bf92f3577b34da6";
const ESCAPED: &[u8] = "\"C:\\new\" <tab>\there & é\u{1}".as_bytes();

/// The text of line `number`, without its end.
pub(crate) fn write(number: u64, line: &mut [u8; LINE_BYTES]) {
    let mut left = number;
    for digit in line[1..=DIGITS].iter_mut().rev() {
        *digit = b'0' + u8::try_from(left % 10).unwrap_or_default();
        left /= 10;
    }
    line[0] = MARK;
    line[DIGITS + 1] = b' ';
    let turn = usize::try_from(number % TURNS).unwrap_or_default();
    line[DIGITS + 2..].copy_from_slice(&TEXT[turn..turn + REST]);
    if number.is_multiple_of(PLAIN) {
        line[DIGITS + 2..DIGITS + 2 + ESCAPED.len()].copy_from_slice(ESCAPED);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_text_of_one_size_with_their_number_and_neighbours_end_differently() {
        let mut before = String::new();
        for number in (0..5000).chain([999_999_999_999]) {
            let mut line = [0; LINE_BYTES];
            write(number, &mut line);
            let text = std::str::from_utf8(&line).unwrap();
            assert!(text.starts_with(&format!("#{number:012} ")) && !text.contains('\n'), "{text}");
            assert_eq!(text.contains('"'), number % PLAIN == 0, "{text}");
            assert_ne!(text[LINE_BYTES - 100..], before, "{text}");
            text[LINE_BYTES - 100..].clone_into(&mut before);
        }
    }
}
