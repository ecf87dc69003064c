//! Patterns of node.toml, compiled for `regex` on bytes as the check of the configuration (`regex-lite`) understood them.
//! Pure.
//!
//! There `\d`, `\w`, `\s` and the edges of words are about ASCII, and everything else about characters; `regex` means
//! Unicode by all of them, with tables of many kilobytes for each time that one is written. So these are written out. A
//! line need not be text: bytes that are no characters are found by nothing, and keep nothing behind them from being found.

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

/// What all patterns of one list may need in memory; lists are held to 32 when they are checked, and each of those to
/// 16 KiB as `regex-lite` counts, which knows no ranges of bytes.
const COMPILED_AT_MOST: usize = 32 << 20;
/// What one of them may remember of its search, to be faster at the next line.
const REMEMBERED_AT_MOST: usize = 1 << 20;

/// A pattern that does not compile. Those of settings do: it was tried when they were checked.
#[derive(Debug, thiserror::Error)]
#[error("a pattern of `{rule}` cannot be used")]
pub struct PatternError {
    rule: &'static str,
    source: Box<regex::Error>,
}

impl node::fault::Hint for PatternError {
    fn hint(&self) -> Option<String> {
        Some(format!("write a simpler pattern in `{}`, then `agentctl config check`", self.rule))
    }
}

/// One pattern.
pub(in crate::logs) fn compile(rule: &'static str, pattern: &str) -> Result<Regex, PatternError> {
    let mut builder = RegexBuilder::new(&written_out(pattern));
    builder.size_limit(COMPILED_AT_MOST).dfa_size_limit(REMEMBERED_AT_MOST);
    builder.build().map_err(|error| PatternError { rule, source: Box::new(error) })
}

/// A list of which any may be found; nothing for an empty one.
pub(super) fn any_of(rule: &'static str, patterns: &[String]) -> Result<Option<RegexSet>, PatternError> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let mut builder = RegexSetBuilder::new(patterns.iter().map(|pattern| written_out(pattern)));
    builder.size_limit(COMPILED_AT_MOST).dfa_size_limit(REMEMBERED_AT_MOST);
    builder.build().map(Some).map_err(|error| PatternError { rule, source: Box::new(error) })
}

/// The same pattern with its classes and edges of words as ASCII.
fn written_out(pattern: &str) -> String {
    const EDGES: [&str; 4] = ["{start}", "{end}", "{start-half}", "{end-half}"];
    let mut written = String::with_capacity(pattern.len());
    let mut rest = pattern;
    while let Some(character) = rest.chars().next() {
        let escaped = if character == '\\' { rest[1..].chars().next() } else { None };
        let length = character.len_utf8() + escaped.map_or(0, char::len_utf8);
        let (taken, behind) = rest.split_at(length);
        rest = behind;
        match escaped {
            Some('d') => written.push_str("[0-9]"),
            Some('D') => written.push_str("[^0-9]"),
            Some('w') => written.push_str("[0-9A-Za-z_]"),
            Some('W') => written.push_str("[^0-9A-Za-z_]"),
            Some('s') => written.push_str(r"[\t\n\v\f\r ]"),
            Some('S') => written.push_str(r"[^\t\n\v\f\r ]"),
            Some('b' | 'B' | '<' | '>') => {
                let which = EDGES.iter().find(|which| rest.starts_with(**which)).unwrap_or(&"");
                rest = &rest[which.len()..];
                written.push_str(&format!("(?-u:{taken}{which})"));
            }
            _ => written.push_str(taken),
        }
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_edges_are_written_out_and_nothing_else_is() {
        for (pattern, wanted) in [
            (r"\d+\.\\d", r"[0-9]+\.\\d"),
            (r"[\w.-]é\W", r"[[0-9A-Za-z_].-]é[^0-9A-Za-z_]"),
            (r"\bGET\b", r"(?-u:\b)GET(?-u:\b)"),
            (r"\b{start}a\b{2}", r"(?-u:\b{start})a(?-u:\b){2}"),
            (r"\<a\>\", r"(?-u:\<)a(?-u:\>)\"),
        ] {
            assert_eq!(written_out(pattern), wanted);
        }
    }

    #[test]
    fn what_is_no_text_is_looked_through_too() {
        let found = |pattern, line: &[u8]| compile("x", pattern).unwrap().is_match(line);
        assert!(found("(?i)secret", b"\xffSECRET\xff") && found(r"\ba\S", "é a.".as_bytes()));
        assert!(!found("^.$", b"\xff") && found("^.$", "가".as_bytes()) && !found(r"\d", "٣".as_bytes()));
    }
}
