//! Regular expressions over log lines: those of Rust's `regex`, with `\d`, `\w`, `\s` and `\b` about ASCII.
//!
//! They are checked by `regex-lite`, which the AWS SDK brings into both programs anyway: `regex` or its parser would make
//! the bootstrap larger than it may be. The agent finds with `regex`, and understands them the same; a test of the agent
//! holds that what is accepted here compiles there.

use crate::config::findings::Wrong;
use regex_lite::{Regex, RegexBuilder};

/// What a pattern may need in memory. A long list of words needs a few kilobytes; what needs more is a counted repetition
/// of counted repetitions. All patterns of a node together stay small in an agent that has 40 MB.
const MEMORY_AT_MOST: usize = 16 << 10;

/// Lines that have nothing in common: a pattern that is found in all of them is found in every line.
const ALL_KINDS: [&str; 6] = ["", "a", "0", " \t", "\u{1}", "é: a-0 _.,/ 가 [x] {y} \"z\" <=> 1.5 %"];

/// A pattern that finds some lines and not others.
pub(in crate::config) fn selective(text: &str) -> Result<String, Wrong> {
    let pattern = compile(text)?;
    if ALL_KINDS.iter().all(|line| pattern.is_match(line)) {
        return Err(Wrong::new(format!("\"{text}\" is found in every line"))
            .hint("leave it out, or write what has to be in the line"));
    }
    Ok(text.to_owned())
}

/// A pattern that may find every line.
pub(in crate::config) fn any(text: &str) -> Result<String, Wrong> {
    compile(text).map(|_| text.to_owned())
}

fn compile(text: &str) -> Result<Regex, Wrong> {
    if repeats_flags(text) {
        return Err(Wrong::new(format!("\"{text}\" is not a regular expression: flags cannot be repeated")));
    }
    RegexBuilder::new(text).size_limit(MEMORY_AT_MOST).build().map_err(|error| {
        let why = error.to_string();
        let why = why.lines().next().unwrap_or_default();
        let why = if why.contains("size limit") { "it repeats too much" } else { why };
        Wrong::new(format!("\"{text}\" is not a regular expression: {why}")).hint_if_any(hint(why))
    })
}

/// `(?i)*` and its like, which mean nothing, and which of the two libraries only this one takes.
fn repeats_flags(text: &str) -> bool {
    text.match_indices("(?").any(|(at, opening)| {
        let behind =
            text[at + opening.len()..].trim_start_matches(|c: char| c.is_ascii_alphabetic() || c == '-');
        behind.strip_prefix(')').is_some_and(|behind| behind.trim_start().starts_with(['*', '+', '?', '{']))
    })
}

fn hint(why: &str) -> Option<String> {
    let hint = match why {
        "it repeats too much" => "make the counts between { and } smaller",
        why if why.contains("look-around") => "use `exclude` for what may not be in the line",
        why if why.contains("Unicode") => "write the characters themselves in brackets",
        _ => return None,
    };
    Some(hint.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_that_are_taken() {
        for text in [
            "ERROR",
            r"^\d{4}-\d\d-\d\d",
            r"(?i)panic|fatal",
            "[ä가-힣]",
            r"^\s*$",
            "^.?$",
            r"\bGET /health\b",
            "a{100}",
        ] {
            assert_eq!(selective(text), Ok(text.to_owned()), "{text}");
        }
        assert!(any(".*").is_ok() && any("").is_ok());
    }

    #[test]
    fn patterns_that_are_refused_say_why_in_one_line() {
        for (text, wanted) in [
            ("(a", "\"(a\" is not a regular expression: found open group without closing ')'"),
            ("a)", "\"a)\" is not a regular expression: found closing ')' without matching '('"),
            ("a(?i)*", "\"a(?i)*\" is not a regular expression: flags cannot be repeated"),
            (r"\q", "\"\\q\" is not a regular expression: unrecognized escape sequence"),
        ] {
            assert_eq!(selective(text), Err(Wrong::new(wanted)), "{text}");
        }
        for text in ["(?=a)", r"\p{Greek}", "(a{1000}){1000}", "a{1000}{1000}"] {
            let (message, hint) = selective(text).unwrap_err().into_words();
            assert!(!message.contains('\n') && hint.is_some(), "{message} {hint:?}");
        }
    }

    #[test]
    fn a_pattern_that_matches_every_line_is_no_choice() {
        for text in ["", ".*", "a*", "x?|y", "()", "^", "$"] {
            assert!(selective(text).is_err(), "{text}");
        }
    }
}
