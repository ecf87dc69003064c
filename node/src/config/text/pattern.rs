//! Regular expressions over log lines: those of Rust's `regex` on bytes, without its Unicode mode.
//!
//! They are parsed and compiled here as the agent will do it, by the same libraries one layer below `regex` itself: both
//! programs have these linked for their own log filter, and `regex` would make the bootstrap larger than it may be.
//! What is accepted here therefore compiles there; a test of the agent holds it.

use crate::config::findings::Wrong;
use regex_automata::nfa::thompson;
use regex_syntax::hir::Hir;

/// What a pattern may need in memory. A long list of words needs a few kilobytes; what needs more is a counted repetition
/// of counted repetitions. All patterns of a node together stay small in an agent that has 40 MB.
const MEMORY_AT_MOST: usize = 64 << 10;

/// A pattern that finds some lines and not others.
pub(in crate::config) fn selective(text: &str) -> Result<String, Wrong> {
    let parsed = parse(text)?;
    let properties = parsed.properties();
    if properties.minimum_len() == Some(0) && properties.look_set().is_empty() {
        return Err(Wrong::new(format!("\"{text}\" matches every line, for it matches nothing at all"))
            .hint("leave it out, or write what has to be in the line"));
    }
    Ok(text.to_owned())
}

/// A pattern that may find every line.
pub(in crate::config) fn any(text: &str) -> Result<String, Wrong> {
    parse(text).map(|_| text.to_owned())
}

fn parse(text: &str) -> Result<Hir, Wrong> {
    let wrong = |why: String| Wrong::new(format!("\"{text}\" is not a regular expression: {why}"));
    let mut parser = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build();
    let parsed = parser.parse(text).map_err(|error| explain(&error, text))?;
    let limits = thompson::Config::new().utf8(false).nfa_size_limit(Some(MEMORY_AT_MOST));
    match thompson::Compiler::new().configure(limits).build_from_hir(&parsed) {
        Ok(_) => Ok(parsed),
        Err(error) if error.size_limit().is_some() => {
            Err(wrong("it repeats too much".to_owned()).hint("make the counts between { and } smaller"))
        }
        Err(error) => Err(wrong(error.to_string())),
    }
}

/// The library's own words without its drawing of the place, which we say as a number: a mistake is one line.
fn explain(error: &regex_syntax::Error, text: &str) -> Wrong {
    let (why, at) = match error {
        regex_syntax::Error::Parse(error) => (error.kind().to_string(), error.span().start.offset),
        regex_syntax::Error::Translate(error) => (error.kind().to_string(), error.span().start.offset),
        error => (error.to_string(), 0),
    };
    // Some go on with the features of the library that would be needed.
    let why = why.lines().next().unwrap_or_default();
    let why = why.split(" (make sure").next().unwrap_or_default().trim_end_matches('.').to_owned();
    let character = text.get(..at).map_or(0, |before| before.chars().count()) + 1;
    let wrong = Wrong::new(format!("\"{text}\" is not a regular expression: {why} (character {character})"));
    wrong.hint_if_any(hint(&why))
}

fn hint(why: &str) -> Option<String> {
    let hint = match why {
        why if why.contains("Unicode not allowed") => "write (?u:…) around it to match characters, not bytes",
        why if why.contains("look-around") => "use `exclude` for what may not be in the line",
        why if why.contains("Unicode property") => {
            "write the characters themselves in brackets, inside (?u:…)"
        }
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
            "ä",
            "(?u:[가-힣])",
            r"^\s*$",
            r"\x00\xff",
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
            ("(a", "\"(a\" is not a regular expression: unclosed group (character 1)"),
            ("a)", "\"a)\" is not a regular expression: unopened group (character 2)"),
            ("ä[", "\"ä[\" is not a regular expression: unclosed character class (character 2)"),
            ("*", "\"*\" is not a regular expression: repetition operator missing expression (character 1)"),
            (r"\q", "\"\\q\" is not a regular expression: unrecognized escape sequence (character 1)"),
        ] {
            assert_eq!(selective(text), Err(Wrong::new(wanted)), "{text}");
        }
        for text in ["(?=a)", "[ä]", r"\p{Greek}", "(a{1000}){1000}", "a{1000}{1000}"] {
            let (message, hint) = selective(text).unwrap_err().into_words();
            assert!(!message.contains('\n') && hint.is_some(), "{message} {hint:?}");
        }
    }

    #[test]
    fn a_pattern_that_matches_every_line_is_no_choice() {
        for text in ["", ".*", "a*", "x?|y", "()"] {
            assert!(selective(text).is_err(), "{text}");
        }
    }
}
