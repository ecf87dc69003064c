//! Pieces of messages, joined and cut.

use super::*;
use crate::logs::body::{Body, Limits, PUT_LOG_EVENTS};
use crate::logs::cases::check;
use crate::logs::sink::Destination;
use proptest::prelude::*;
use std::collections::BTreeMap;

const MAX_EVENT: usize = 20;
const SMALL: Limits = Limits { bytes: 200, events: 5, span_ms: 100_000, json: 4_000 };

/// A piece as the engine wrote it: time, standard error or not, text, whether a line break follows.
type Piece = (i64, bool, String, bool);

fn builder() -> Builder {
    Builder::new(&Destination { group: "g".to_owned(), stream: "s".to_owned() }, SMALL)
}

fn texts(body: &Body) -> Vec<(i64, String)> {
    let request: serde_json::Value = serde_json::from_slice(&body.json()).unwrap();
    let event = |event: &serde_json::Value| {
        (event["timestamp"].as_i64().unwrap(), event["message"].as_str().unwrap().to_owned())
    };
    request["logEvents"].as_array().unwrap().iter().map(event).collect()
}

/// Runs a log through an assembler, a new builder whenever one is full; the events, and the places owed after each piece.
fn run(pieces: &[Piece]) -> (Vec<(i64, String)>, Vec<usize>) {
    let (mut events, mut owed) = (Vec::new(), Vec::new());
    let (mut assembler, mut into) = (Assembler::new(MAX_EVENT, None), builder());
    let mut again = |into: &mut Builder| {
        let full = std::mem::replace(into, builder()).finish().expect("a full builder has events");
        events.extend(texts(&full));
    };
    for (at, (timestamp_ms, stderr, text, ends)) in pieces.iter().enumerate() {
        let mut inside = Vec::new();
        escape::push_escaped(&mut inside, text);
        let entry = Entry {
            timestamp_ms: *timestamp_ms,
            stderr: *stderr,
            inside: &inside,
            decoded: text.len(),
            valid: true,
            ends: *ends,
        };
        while assembler.entry(&entry, at, &mut into) == Taken::Full {
            again(&mut into);
        }
        owed.push(assembler.owed_from(at + 1));
    }
    while assembler.close(Then::Silence, pieces.len(), &mut into) == Taken::Full {
        again(&mut into);
    }
    assert!(!assembler.is_open());
    if let Some(body) = into.finish() {
        events.extend(texts(&body));
    }
    (events, owed)
}

fn piece(stderr: bool, text: &str, ends: bool) -> Piece {
    (1, stderr, text.to_owned(), ends)
}

fn only_texts(pieces: &[Piece]) -> Vec<String> {
    run(pieces).0.into_iter().map(|(_, text)| text).collect()
}

#[test]
fn pieces_of_one_message_are_one_event_and_streams_are_joined_apart() {
    let pieces = [
        piece(false, "one ", false),
        piece(true, "error", true),
        piece(false, "message", true),
        piece(true, "x", false),
    ];
    let (events, owed) = run(&pieces);
    assert_eq!(
        events.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(),
        ["error", "one message", "x"]
    );
    assert_eq!(owed, [0, 0, 3, 3], "a message that is open is read again from its beginning");
}

#[test]
fn a_message_longer_than_an_event_is_cut_between_characters() {
    let long = "é".repeat(15);
    assert_eq!(only_texts(&[piece(false, &long, true)]), ["é".repeat(10), "é".repeat(5)]);
    let pieces =
        [piece(false, "0123456789abcde", false), piece(false, "fghijkl", false), piece(false, "m", true)];
    assert_eq!(only_texts(&pieces), ["0123456789abcde", "fghijklm"]);
}

#[test]
fn an_empty_line_has_no_event() {
    assert_eq!(only_texts(&[piece(false, "", true), piece(false, "a", true), piece(true, "", true)]), ["a"]);
}

#[test]
fn a_prompt_does_not_hold_up_what_is_written_after_it() {
    let pieces = [
        (1_000, false, "password: ".to_owned(), false),
        (1_500, true, "soon".to_owned(), true),
        (2_001, true, "later".to_owned(), true),
        (2_002, false, "rest".to_owned(), true),
    ];
    let (events, owed) = run(&pieces);
    let expected = [(1_000, "password: "), (1_500, "soon"), (2_001, "later"), (2_002, "rest")];
    assert_eq!(events, expected.map(|(time, text)| (time, text.to_owned())));
    assert_eq!(owed, [0, 0, 3, 4]);
}

#[test]
fn bytes_that_are_no_text_become_the_sign_for_that() {
    let mut into = builder();
    let mut assembler: Assembler<usize> = Assembler::new(MAX_EVENT, None);
    assert_eq!(assembler.text(1, b"a\xffb", 0, &mut into), Taken::Yes);
    let entry =
        Entry { timestamp_ms: 2, stderr: false, inside: b"c\xff\\x", decoded: 0, valid: false, ends: true };
    assert_eq!(assembler.entry(&entry, 0, &mut into), Taken::Yes);
    let body = into.finish().unwrap();
    assert_eq!(texts(&body), [(1, "a\u{fffd}b".to_owned()), (2, "c\u{fffd}\\x".to_owned())]);
    assert_eq!(body.message_bytes(0..2), 5 + 6);
}

/// What each stream wrote, piece after piece; pieces longer than an event are cut, so only the sum is compared.
fn by_stream(pieces: &[Piece]) -> BTreeMap<bool, String> {
    let mut whole: BTreeMap<bool, String> = BTreeMap::new();
    for (_, stderr, text, _) in pieces {
        whole.entry(*stderr).or_default().push_str(text);
    }
    whole.retain(|_, text| !text.is_empty());
    whole
}

#[test]
fn every_byte_is_in_one_event_whatever_the_pieces_are() {
    let piece = (any::<bool>(), "[a-z]{0,12}", prop::bool::weighted(0.6), 0i64..700);
    check("pieces", 10_000, prop::collection::vec(piece, 0..25), |raw| {
        let mut time = 0;
        // Texts of standard error are capitals: the stream can be told from the event.
        let pieces: Vec<Piece> = raw
            .into_iter()
            .map(|(stderr, text, ends, step)| {
                time += step;
                (time, stderr, if stderr { text.to_uppercase() } else { text }, ends)
            })
            .collect();
        let (events, owed) = run(&pieces);
        let mut found: BTreeMap<bool, String> = BTreeMap::new();
        for (_, text) in &events {
            prop_assert!(text.len() <= MAX_EVENT && !text.is_empty());
            let stderr = text.starts_with(|first: char| first.is_ascii_uppercase());
            found.entry(stderr).or_default().push_str(text);
        }
        prop_assert_eq!(found, by_stream(&pieces));
        prop_assert!(owed.is_sorted() && owed.iter().enumerate().all(|(at, owed)| *owed <= at + 1));
        Ok(())
    });
}

#[test]
fn the_limits_of_the_service_hold_one_event_of_the_largest_size() {
    let largest = crate::logs::event::EVENT_MESSAGE_BYTES;
    let mut into =
        Builder::new(&Destination { group: "g".to_owned(), stream: "s".to_owned() }, PUT_LOG_EVENTS);
    let mut assembler: Assembler<usize> = Assembler::new(largest, None);
    let mut taken = 0;
    while assembler.text(1, &vec![b'x'; largest], 0, &mut into) == Taken::Yes {
        taken += 1;
    }
    assert_eq!(taken, 4, "four of 256 KiB are a megabyte");
}
