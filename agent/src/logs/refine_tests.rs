//! Messages through the rules of a source, into builders of any size.

use super::super::body::{Body, Limits};
use super::super::sink::Destination;
use super::*;
use crate::logs::cases::check;
use node::config::settings::{Multiline, Sample};
use proptest::prelude::*;

const NOW_MS: i64 = 10_000_000;

fn builder(events: usize) -> Builder {
    let limits = Limits { bytes: 100_000, events, span_ms: 1 << 40, json: 1 << 20 };
    Builder::new(&Destination { group: "g".to_owned(), stream: "s".to_owned() }, limits)
}

fn texts(body: Option<Body>) -> Vec<String> {
    let Some(body) = body else { return Vec::new() };
    let request: serde_json::Value = serde_json::from_slice(&body.json()).unwrap();
    let text = |event: &serde_json::Value| event["message"].as_str().unwrap().to_owned();
    request["logEvents"].as_array().unwrap().iter().map(text).collect()
}

fn refine(rules: &Shaping) -> Refine<usize> {
    Refine::new(rules, 1000, |_| Some("value")).unwrap().expect("there are rules")
}

/// Runs messages through the rules, with builders of so many events.
fn run(rules: &Shaping, messages: &[(usize, String)], events: usize) -> Vec<String> {
    let (mut refine, mut into, mut all) = (refine(rules), builder(events), Vec::new());
    let mut again = |into: &mut Builder| all.extend(texts(std::mem::replace(into, builder(events)).finish()));
    for (at, (stream, text)) in messages.iter().enumerate() {
        while !refine.drain(&mut into) {
            again(&mut into);
        }
        refine.message(*stream, (i64::try_from(at).unwrap(), text.as_bytes()), at, NOW_MS);
        refine.drain(&mut into);
    }
    refine.close(Then::Silence, messages.len(), NOW_MS);
    while !refine.drain(&mut into) {
        again(&mut into);
    }
    again(&mut into);
    assert!(!refine.is_open());
    all
}

fn out(text: &str) -> (usize, String) {
    (0, text.to_owned())
}

#[test]
fn without_rules_nothing_is_refined() {
    assert!(Refine::<usize>::new(&Shaping::default(), 1000, |_| None).unwrap().is_none());
}

#[test]
fn what_is_excluded_is_left_out_and_a_traceback_is_one_event() {
    let rules = Shaping {
        exclude: vec!["GET /health".to_owned()],
        multiline: Some(Multiline::Java),
        ..Shaping::default()
    };
    let messages = [
        out("GET /health 200"),
        out("java.lang.Error: x"),
        (1, "something else".to_owned()),
        out("\tat a.B.c(B.java:1)"),
        out("next"),
    ];
    let all = run(&rules, &messages, 100);
    assert_eq!(all, ["java.lang.Error: x\n\tat a.B.c(B.java:1)", "something else", "next"]);
}

#[test]
fn events_are_owed_from_the_first_line_that_waits() {
    let mut refine = refine(&Shaping { multiline: Some(Multiline::Java), ..Shaping::default() });
    assert_eq!(refine.owed_from(7), 7);
    refine.message(0, (1, b"Error"), 3, NOW_MS);
    refine.message(0, (2, b"\tat x"), 4, NOW_MS);
    assert_eq!((refine.owed_from(5), refine.is_open()), (3, true));
    refine.message(0, (3, b"next"), 5, NOW_MS);
    assert_eq!(refine.owed_from(6), 3, "it is judged, and in no builder");
    assert!(refine.drain(&mut builder(10)));
    assert_eq!(refine.owed_from(6), 5);
}

#[test]
fn what_was_not_delivered_is_judged_again_as_it_was() {
    let rules = Shaping { sample: vec![Sample { pattern: "x".to_owned(), one_in: 3 }], ..Shaping::default() };
    let mut refine = refine(&rules);
    let noted = refine.noted();
    let judged = |refine: &mut Refine<usize>| {
        let mut into = builder(100);
        for at in 0..5 {
            refine.message(0, (1, format!("x{at}").as_bytes()), at, NOW_MS);
        }
        assert!(refine.drain(&mut into));
        texts(into.finish())
    };
    let first = judged(&mut refine);
    assert_eq!(first, ["x0", "x3"]);
    refine.go_back(Some(&noted));
    assert_eq!(judged(&mut refine), first);
}

#[test]
fn limits_say_how_much_they_left_out() {
    let mut refine = refine(&Shaping { daily: Some(100), ..Shaping::default() });
    for at in 0..10 {
        refine.message(0, (1, &[b'x'; 60]), at, NOW_MS);
    }
    let mut into = builder(100);
    refine.drain(&mut into);
    let shipped = texts(into.finish()).len() as u64;
    assert_eq!(refine.take_left_out() + shipped, 10);
    assert_eq!(refine.take_left_out(), 0);
}

#[test]
fn what_was_repeated_is_told_after_a_minute_of_silence_or_when_nothing_more_comes() {
    let rules = Shaping { repeat: Some(1), ..Shaping::default() };
    let told = |then: Then, now_ms: i64| {
        let mut refine = refine(&rules);
        for at in 0..4 {
            refine.message(0, (1_000, b"down"), at, NOW_MS);
        }
        let mut into = builder(100);
        assert!(refine.drain(&mut into));
        assert_eq!((texts(into.finish()), refine.says_at_ms()), (vec!["down".to_owned()], Some(61_000)));
        let noted = refine.noted();
        let mut said = || {
            let mut into = builder(100);
            refine.close(then, 4, now_ms);
            assert_eq!(refine.owed_from(4), 4, "no line is owed for it");
            assert!(refine.drain(&mut into));
            let left = refine.says_at_ms();
            refine.go_back(Some(&noted));
            (texts(into.finish()), left)
        };
        let (first, again) = (said(), said());
        assert_eq!(first, again, "what was not delivered is told again");
        first
    };
    let notice = vec!["[node-agent] the line before this one came 3 times more; that is left out".to_owned()];
    assert_eq!(told(Then::Silence, 60_999), (Vec::new(), Some(61_000)));
    assert_eq!(told(Then::Silence, 61_000), (notice.clone(), None));
    assert_eq!(told(Then::Nothing, 1_000), (notice, None));
}

#[test]
fn the_size_of_builders_changes_nothing() {
    let rules = Shaping {
        multiline: Some(Multiline::Start("^[a-m]".to_owned())),
        exclude: vec!["zz".to_owned()],
        sample: vec![Sample { pattern: "^b".to_owned(), one_in: 2 }],
        repeat: Some(2),
        ..Shaping::default()
    };
    let message = (0usize..2, "[abz]{1,3}");
    check("builders", 3_000, (prop::collection::vec(message, 0..40), 1usize..5), |(messages, events)| {
        // A body is in the order of times, and two streams are joined apart: only which events there are is compared.
        let sorted = |mut events: Vec<String>| {
            events.sort_unstable();
            events
        };
        prop_assert_eq!(sorted(run(&rules, &messages, events)), sorted(run(&rules, &messages, 1000)));
        Ok(())
    });
}
