//! Frames as engine 20.10 gave them (texts shortened).

use super::*;

const FIRST: &str = "2026-11-20T19:22:15.968938146Z";
const SECOND: &str = "2026-11-20T19:22:15.969775616Z";

fn frame(stream: char, text: impl AsRef<[u8]>) -> LogOutput {
    let message = Bytes::copy_from_slice(text.as_ref());
    match stream {
        'e' => LogOutput::StdErr { message },
        't' => LogOutput::Console { message },
        _ => LogOutput::StdOut { message },
    }
}

fn lines(frames: impl IntoIterator<Item = LogOutput>) -> Vec<(String, Vec<u8>)> {
    let mut joiner = Joiner::default();
    for frame in frames {
        joiner.frame(frame).expect("a line");
    }
    joiner.end();
    std::iter::from_fn(|| joiner.line())
        .map(|line| (line.timestamp.to_string(), line.message.to_vec()))
        .collect()
}

fn expected(rows: &[(&str, &str)]) -> Vec<(String, Vec<u8>)> {
    rows.iter().map(|(time, text)| ((*time).to_owned(), text.as_bytes().to_vec())).collect()
}

#[test]
fn lines_of_both_streams_keep_their_text_and_time() {
    let given = [
        frame('o', format!("{FIRST} one\n")),
        frame('e', format!("{SECOND} two  with spaces \r\n")),
        frame('o', format!("{SECOND} \n")),
    ];
    assert_eq!(lines(given), expected(&[(FIRST, "one"), (SECOND, "two  with spaces \r"), (SECOND, "")]));
}

#[test]
fn a_long_line_in_several_frames_is_one_line_even_with_the_other_stream_between() {
    let given = [
        frame('o', format!("{FIRST} aaa")),
        frame('o', format!("{FIRST} bbb")),
        frame('e', format!("{FIRST} other\n")),
        frame('o', format!("{FIRST} ccc\n")),
    ];
    assert_eq!(lines(given), expected(&[(FIRST, "other"), (FIRST, "aaabbbccc")]));
}

#[test]
fn a_line_that_was_never_ended_is_not_joined_with_the_first_one_after_a_restart() {
    let given = [frame('o', format!("{FIRST} unended")), frame('o', format!("{SECOND} next\n"))];
    assert_eq!(lines(given), expected(&[(FIRST, "unended"), (SECOND, "next")]));
}

#[test]
fn the_local_driver_leaves_out_the_break_of_a_long_line() {
    let given = [
        frame('o', format!("{FIRST} aaa")),
        frame('o', format!("{FIRST} bbb")),
        frame('o', format!("{SECOND} next\n")),
    ];
    assert_eq!(lines(given), expected(&[(FIRST, "aaabbb"), (SECOND, "next")]));
}

#[test]
fn a_terminal_ends_lines_with_two_characters() {
    assert_eq!(lines([frame('t', format!("{FIRST} a\r\n"))]), expected(&[(FIRST, "a")]));
}

#[test]
fn a_line_without_end_is_given_out_in_pieces_between_characters() {
    let chunk = "é".repeat(8 * 1024);
    let given = (0..200).map(|_| frame('o', format!("{FIRST} {chunk}")));
    // One byte in front, so that every cut at a power of two falls inside a character.
    let lines = lines([frame('o', format!("{FIRST} x"))].into_iter().chain(given));
    assert!(lines.len() > 2, "{} pieces", lines.len());
    for (_, piece) in &lines {
        assert!(piece.len() <= LONGEST_LINE_BYTES + 16 * 1024, "{} bytes in one piece", piece.len());
        assert!(std::str::from_utf8(piece).is_ok(), "a character was cut");
    }
    let whole: Vec<u8> = lines.into_iter().flat_map(|(_, piece)| piece).collect();
    assert_eq!(whole, format!("x{}", chunk.repeat(200)).into_bytes());
}

#[test]
fn only_a_character_that_lacks_bytes_is_held_back() {
    for (bytes, tail) in [
        (&b""[..], 0),
        (b"abc", 0),
        ("é".as_bytes(), 0),
        (&"é".as_bytes()[..1], 1),
        (&"a€".as_bytes()[..3], 2),
        (&"😀".as_bytes()[..3], 3),
        (b"\xff", 0),
        (b"\x80\x80\x80\x80", 0),
    ] {
        assert_eq!(incomplete_tail(bytes), tail, "{bytes:x?}");
    }
}

#[test]
fn what_is_no_line_is_told_without_repeating_its_text() {
    let mut joiner = Joiner::default();
    assert_eq!(joiner.frame(frame('o', "no time in front\n")), Err(NotALine::NoTimestamp));
    assert_eq!(joiner.frame(frame('o', "")), Err(NotALine::NoTimestamp));
    let engine = frame('t', b"\x03\0\0\0\0\0\0\x1aError grabbing logs: EOF\n");
    assert_eq!(joiner.frame(engine), Err(NotALine::Engine("Error grabbing logs: EOF".to_owned())));
}
