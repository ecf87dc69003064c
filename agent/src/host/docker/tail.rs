//! The last lines that a container wrote, for a person who asks why it failed.

use super::Docker;
use crate::engine::EngineError;
use bollard::container::LogOutput;
use bollard::query_parameters::LogsOptionsBuilder;
use futures_util::StreamExt;
use std::time::Duration;

/// Reading the end of a log file; the engine may have to unpack a rotated one.
const DEADLINE: Duration = Duration::from_secs(10);
/// Bytes kept of one line.
const LONGEST_LINE: usize = 4096;

impl Docker {
    pub(super) async fn tail(&self, container_id: &str, count: usize) -> Result<Vec<String>, EngineError> {
        let options =
            LogsOptionsBuilder::default().stdout(true).stderr(true).tail(&count.to_string()).build();
        let mut pieces = Box::pin(self.client().logs(container_id, Some(options)));
        let read = async {
            let mut lines = Lines::default();
            while let Some(piece) = pieces.next().await {
                lines.note(&piece?);
            }
            Ok(lines.last(count))
        };
        let lines = self.ask(DEADLINE, read).await;
        let operation = || format!("read the log of container {}", self.called(container_id));
        lines.map_err(|refusal| self.refused(&operation(), refusal))
    }
}

/// Lines put together from pieces: the engine splits long ones, and those of the two streams may alternate. Pure.
#[derive(Debug, Default)]
struct Lines {
    done: Vec<String>,
    output: Vec<u8>,
    error: Vec<u8>,
}

impl Lines {
    fn note(&mut self, piece: &LogOutput) {
        let pending = match piece {
            LogOutput::StdErr { .. } => &mut self.error,
            _ => &mut self.output,
        };
        for part in piece.as_ref().split_inclusive(|byte| *byte == b'\n') {
            let (text, ended) = match part.strip_suffix(b"\n") {
                Some(text) => (text, true),
                None => (part, false),
            };
            let room = LONGEST_LINE.saturating_sub(pending.len()).min(text.len());
            pending.extend_from_slice(&text[..room]);
            if ended {
                self.done.push(line(pending));
                pending.clear();
            }
        }
    }

    fn last(mut self, count: usize) -> Vec<String> {
        for rest in [&self.output, &self.error] {
            if !rest.is_empty() {
                self.done.push(line(rest));
            }
        }
        let surplus = self.done.len().saturating_sub(count);
        self.done.split_off(surplus)
    }
}

fn line(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\r').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(pieces: &[(char, &[u8])], count: usize) -> Vec<String> {
        let mut lines = Lines::default();
        for (stream, bytes) in pieces {
            let message = bytes::Bytes::copy_from_slice(bytes);
            lines.note(&match stream {
                'e' => LogOutput::StdErr { message },
                _ => LogOutput::StdOut { message },
            });
        }
        lines.last(count)
    }

    #[test]
    fn split_lines_of_two_streams_are_put_together() {
        let pieces: &[(char, &[u8])] =
            &[('o', b"one\n"), ('o', b"t"), ('e', b"oops\r\n"), ('o', b"wo\nthree\n"), ('e', b"unended")];
        assert_eq!(lines(pieces, 10), ["one", "oops", "two", "three", "unended"]);
        assert_eq!(lines(pieces, 2), ["three", "unended"]);
        assert_eq!(lines(pieces, 0), [""; 0]);
    }

    #[test]
    fn a_long_line_is_cut_and_the_next_one_is_whole() {
        let long = [b'x'; 10_000];
        assert_eq!(
            lines(&[('o', &long), ('o', &long), ('o', b"\nnext\n")], 9),
            ["x".repeat(4096), "next".into()]
        );
    }

    #[test]
    fn bytes_that_are_no_text_are_replaced() {
        assert_eq!(lines(&[('o', b"a\xffb\n")], 1), ["a\u{fffd}b"]);
    }
}
