//! Lines of the engine beside the libraries for JSON and time.

use super::*;
use crate::logs::cases::check;
use proptest::prelude::*;

fn parsed(line: &str) -> Option<(i64, bool, String, bool)> {
    let mut parser = Parser::default();
    let entry = parser.line(line.as_bytes())?;
    let text = escape::decode(entry.inside);
    if entry.valid {
        assert_eq!(entry.decoded, text.len(), "{line}");
    }
    Some((entry.timestamp_ms, entry.stderr, text, entry.ends))
}

#[test]
fn a_line_of_the_engine_is_read_with_its_time_stream_and_text() {
    let line = r#"{"log":"hello \"you\"\n","stream":"stdout","time":"2026-11-30T13:13:39.123456789Z"}"#;
    assert_eq!(parsed(line), Some((1_796_044_419_123, false, "hello \"you\"".to_owned(), true)));
    let line = r#"{"log":"no end","stream":"stderr","time":"2026-11-30T13:13:39Z"}"#;
    assert_eq!(parsed(line), Some((1_796_044_419_000, true, "no end".to_owned(), false)));
    let line = r#"{"log":"\n","stream":"stdout","time":"2026-11-30T13:13:39.5Z"}"#;
    assert_eq!(parsed(line), Some((1_796_044_419_500, false, String::new(), true)));
}

#[test]
fn attributes_between_stream_and_time_are_passed_over() {
    let line = r#"{"log":"a\n","stream":"stdout","attrs":{"tag":"x\",\"time\":\"y"},"time":"2026-11-30T13:13:39.1Z"}"#;
    assert_eq!(parsed(line), Some((1_796_044_419_100, false, "a".to_owned(), true)));
}

#[test]
fn a_backslash_before_n_that_is_escaped_itself_is_no_line_break() {
    let line = |log: &str| format!(r#"{{"log":"{log}","stream":"stdout","time":"2026-11-30T13:13:39Z"}}"#);
    assert_eq!(parsed(&line(r"C:\\n")).unwrap().2, r"C:\n");
    assert!(!parsed(&line(r"C:\\n")).unwrap().3);
    assert_eq!(parsed(&line(r"C:\\\n")).unwrap(), (1_796_044_419_000, false, r"C:\".to_owned(), true));
    assert!(!parsed(&line("plain n")).unwrap().3);
}

#[test]
fn what_is_not_of_this_shape_is_no_entry() {
    let good = r#"{"log":"a\n","stream":"stdout","time":"2026-11-30T13:13:39.1Z"}"#;
    assert!(parsed(good).is_some());
    for end in 0..good.len() {
        assert_eq!(parsed(&good[..end]), None, "cut after {end} bytes");
    }
    for bad in ["", "text", "{}", r#"{"log":"a","stream":"x","time":"2026-11-30T13:13:39Z"}"#] {
        assert_eq!(parsed(bad), None, "{bad}");
    }
    for time in [
        "",
        "x",
        "2026-11-30T13:13:39",
        "2026-11-30T13:13:39.Z",
        "2026-13-30T13:13:39Z",
        "2026-11-30T13:13:39.1xZ",
    ] {
        assert_eq!(parsed(&format!(r#"{{"log":"a","stream":"stdout","time":"{time}"}}"#)), None, "{time}");
    }
}

#[test]
fn a_torn_line_gives_its_text_and_the_line_that_was_appended_to_it() {
    let torn = r#"{"log":"begun \"and {"log":"whole\n","stream":"stdout","time":"2026-11-30T13:13:39Z"}"#;
    let at = second_beginning(torn.as_bytes()).unwrap();
    assert_eq!(torn_text(&torn.as_bytes()[..at]), "begun \"and ");
    assert_eq!(parsed(&torn[at..]).unwrap().2, "whole");
    assert_eq!(second_beginning(br#"{"log":"alone"#), None);
}

#[test]
fn lines_are_read_as_the_json_library_and_the_time_library_read_them() {
    let second = 0i64..4_000_000_000;
    let line = (any::<String>(), any::<bool>(), second, 0u32..1_000_000_000, any::<bool>());
    let lines = prop::collection::vec(line, 1..6);
    check("lines of the engine", 5_000, lines, |lines| {
        let mut parser = Parser::default();
        for (text, stderr, second, nanosecond, ends) in lines {
            let time = Timestamp::new(second, i32::try_from(nanosecond).unwrap()).unwrap();
            let whole = if ends { format!("{text}\n") } else { text.clone() };
            let stream = if stderr { "stderr" } else { "stdout" };
            let log = serde_json::to_string(&whole).unwrap();
            let line = format!(r#"{{"log":{log},"stream":"{stream}","time":"{time}"}}"#);
            let entry = parser.line(line.as_bytes()).expect(&line);
            let expected = whole.strip_suffix('\n').unwrap_or(&whole);
            prop_assert!(entry.valid);
            prop_assert_eq!(entry.timestamp_ms, time.as_millisecond());
            prop_assert_eq!(entry.stderr, stderr);
            prop_assert_eq!(entry.ends, whole.ends_with('\n'));
            prop_assert_eq!(escape::decode(entry.inside), expected);
            prop_assert_eq!(entry.decoded, expected.len());
        }
        Ok(())
    });
}

#[test]
fn no_bytes_make_it_panic() {
    let good = br#"{"log":"a\u00e9\n","stream":"stdout","time":"2026-11-30T13:13:39.1Z"}"#;
    let strategy = (prop::collection::vec(any::<u8>(), 0..40), 0..good.len(), any::<u8>());
    check("damaged lines", 20_000, strategy, |(bytes, at, byte)| {
        let mut line = good.to_vec();
        line[at] = byte;
        for line in [&bytes, &line] {
            if let Some(entry) = Parser::default().line(line) {
                let _ = escape::decode(entry.inside);
            }
            if let Some(at) = second_beginning(line) {
                let _ = torn_text(&line[..at]);
            }
        }
        Ok(())
    });
}
