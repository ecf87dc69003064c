//! From the chunks of a streamed answer to its lines. Pure.
//!
//! A chunk ends where the network cut it: in the middle of a line, of a character, or after several lines. Lines end
//! with a line feed, the last one of a stream perhaps without; empty ones say nothing and are left out.

use bytes::{Bytes, BytesMut};

/// A line of a pull has a few hundred bytes. Without a limit a broken server fills the memory of the agent.
pub(super) const LONGEST_LINE_BYTES: usize = 1 << 20;

/// A line is longer than [`LONGEST_LINE_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooLong;

/// Puts lines together.
#[derive(Debug, Default)]
pub(super) struct Lines {
    unread: BytesMut,
    /// So many of them hold no line feed: each byte is looked at once, however it comes.
    searched: usize,
}

impl Lines {
    /// Takes the next chunk.
    pub(super) fn push(&mut self, chunk: &[u8]) {
        self.unread.extend_from_slice(chunk);
    }

    /// The next whole line without its end; `None` until more comes.
    ///
    /// # Errors
    /// The line is too long, whether its end has come or not. Nothing that follows can be trusted.
    pub(super) fn next_line(&mut self) -> Result<Option<Bytes>, TooLong> {
        while let Some(end) = self.unread[self.searched..].iter().position(|byte| *byte == b'\n') {
            let line = self.unread.split_to(self.searched + end + 1).freeze();
            self.searched = 0;
            if let Some(line) = text_of(&line)? {
                return Ok(Some(line));
            }
        }
        self.searched = self.unread.len();
        if self.searched > LONGEST_LINE_BYTES { Err(TooLong) } else { Ok(None) }
    }

    /// The stream ends here: what has come after the last line feed.
    pub(super) fn rest(self) -> Option<Bytes> {
        text_of(&self.unread.freeze()).ok().flatten()
    }
}

/// The line with its end, if it has one.
fn text_of(line: &Bytes) -> Result<Option<Bytes>, TooLong> {
    let line = line.slice_ref(line.strip_suffix(b"\n").unwrap_or(line));
    let text = line.trim_ascii();
    match (line.len(), text.len()) {
        (length, _) if length > LONGEST_LINE_BYTES => Err(TooLong),
        (_, 0) => Ok(None),
        _ => Ok(Some(line.slice_ref(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::ollama::cases::check;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// All lines of a stream that comes in these chunks.
    fn lines(chunks: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for chunk in chunks {
            lines.push(chunk);
            while let Some(line) = lines.next_line().expect("short lines") {
                found.push(line.to_vec());
            }
        }
        found.extend(lines.rest().map(|line| line.to_vec()));
        found
    }

    /// The same, slow and obvious: of the whole stream at once.
    fn obvious(stream: &[u8]) -> Vec<Vec<u8>> {
        let lines = stream.split(|byte| *byte == b'\n').map(|line| line.trim_ascii().to_vec());
        lines.filter(|line| !line.is_empty()).collect()
    }

    #[test]
    fn lines_are_the_same_however_the_stream_is_cut() {
        let byte = prop_oneof![Just(b'\n'), Just(b'\r'), Just(b' '), Just(b'{'), any::<u8>()];
        let chunks = vec(vec(byte, 0..12), 0..12);
        check("cuts", 20_000, chunks, |chunks| {
            prop_assert_eq!(lines(&chunks), obvious(&chunks.concat()));
            Ok(())
        });
    }

    #[test]
    fn a_line_of_the_longest_length_is_read_and_one_byte_more_is_refused() {
        let longest = vec![b'x'; LONGEST_LINE_BYTES];
        assert_eq!(lines(&[longest.clone(), b"\n{}\r\n".to_vec()]), [longest.clone(), b"{}".to_vec()]);
        for end in ["", "\n"] {
            let mut lines = Lines::default();
            lines.push(&longest);
            lines.push(format!("y{end}").as_bytes());
            assert_eq!(lines.next_line(), Err(TooLong), "{end:?}");
        }
    }

    #[test]
    fn a_line_that_comes_byte_by_byte_is_searched_once() {
        let mut lines = Lines::default();
        for _ in 0..LONGEST_LINE_BYTES {
            lines.push(b"x");
            assert_eq!(lines.next_line(), Ok(None));
        }
        lines.push(b"\n");
        assert_eq!(lines.next_line().map(|line| line.map(|line| line.len())), Ok(Some(LONGEST_LINE_BYTES)));
    }
}
