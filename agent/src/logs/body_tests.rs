//! Bodies beside the obvious way to make batches.

use super::*;
use crate::logs::cases::check;
use crate::logs::escape;
use proptest::prelude::*;
use serde_json::Value;

const SMALL: Limits = Limits { bytes: 150, events: 4, span_ms: 50, json: 600 };

fn destination() -> Destination {
    Destination { group: "/aws/ec2/\"api\"".to_owned(), stream: "i-0123/api".to_owned() }
}

/// Times and texts.
type Events = Vec<(i64, String)>;

fn read(body: &Body) -> Events {
    let request: Value = serde_json::from_slice(&body.json()).expect("JSON");
    assert_eq!(request["logGroupName"], destination().group);
    assert_eq!(request["logStreamName"], destination().stream);
    let event =
        |event: &Value| (event["timestamp"].as_i64().unwrap(), event["message"].as_str().unwrap().to_owned());
    request["logEvents"].as_array().expect("events").iter().map(event).collect()
}

fn push(builder: &mut Builder, time: i64, text: &str) -> bool {
    let mut inside = Vec::new();
    escape::push_escaped(&mut inside, text);
    let room = builder.room(time, text.len(), inside.len(), 1);
    if room {
        builder.push(time, &inside, text.len());
    }
    room
}

fn built(limits: Limits, events: &[(i64, String)]) -> Vec<Body> {
    let mut bodies = Vec::new();
    let mut builder = Builder::new(&destination(), limits);
    for (time, text) in events {
        if !push(&mut builder, *time, text) {
            bodies.extend(std::mem::replace(&mut builder, Builder::new(&destination(), limits)).finish());
            assert!(push(&mut builder, *time, text), "an empty body takes it");
        }
    }
    bodies.extend(builder.finish());
    bodies
}

fn within(limits: Limits, events: &Events) -> bool {
    let bytes: usize = events.iter().map(|(_, text)| text.len() + EVENT_OVERHEAD_BYTES).sum();
    let times = || events.iter().map(|(time, _)| *time);
    let span = times().max().unwrap_or(0) - times().min().unwrap_or(0);
    bytes <= limits.bytes && events.len() <= limits.events && span < limits.span_ms
}

fn stories() -> impl Strategy<Value = Events> {
    let text = prop_oneof!["[a-z]{1,20}", "[\"\\\\\n\u{1}é]{1,8}", Just("x".repeat(200))];
    prop::collection::vec((0i64..120, text), 0..30)
}

#[test]
fn bodies_hold_every_event_once_in_the_order_of_the_log_and_within_the_limits() {
    check("bodies", 5_000, stories(), |events| {
        let bodies = built(SMALL, &events);
        let mut rest = events.as_slice();
        for body in &bodies {
            let there = read(body);
            let (taken, tail) = rest.split_at(there.len());
            let mut sorted = taken.to_vec();
            sorted.sort_by_key(|(time, _)| *time);
            prop_assert_eq!(&there, &sorted);
            prop_assert!(there.len() == 1 || within(SMALL, &there), "{} events", there.len());
            prop_assert_eq!(
                body.message_bytes(0..body.len()),
                there.iter().map(|(_, text)| text.len()).sum::<usize>()
            );
            prop_assert_eq!((body.earliest_ms(), body.latest_ms()), (there[0].0, there[there.len() - 1].0));
            rest = tail;
        }
        prop_assert!(rest.is_empty(), "all events are in a body");
        Ok(())
    });
}

#[test]
fn a_body_is_full_only_when_one_more_event_would_be_over_a_limit() {
    check("full bodies", 2_000, stories(), |events| {
        let bodies = built(SMALL, &events);
        let mut begun = 0;
        for pair in bodies.windows(2) {
            let end = begun + pair[0].len();
            let with_the_next = events[begun..=end].to_vec();
            let json: usize = read(&pair[0]).iter().map(|(_, text)| text.len()).sum();
            prop_assert!(!within(SMALL, &with_the_next) || json > 100, "there was room for one more");
            begun = end;
        }
        Ok(())
    });
}

#[test]
fn the_halves_of_a_body_are_its_events() {
    check("halves", 2_000, stories(), |events| {
        for body in built(SMALL, &events) {
            let (first, second) = body.halves();
            let mut both = read(&first);
            both.extend(read(&second));
            prop_assert_eq!(both, read(&body));
            prop_assert!(second.len() <= first.len() && !first.is_empty());
        }
        Ok(())
    });
}

#[test]
fn nothing_is_no_body_and_what_an_application_wrote_does_not_show_in_debug_output() {
    assert_eq!(Builder::new(&destination(), SMALL).finish(), None);
    let body = built(SMALL, &[(1, "card 4111".to_owned())]).pop().unwrap();
    assert!(!format!("{body:?}").contains("4111"), "{body:?}");
}
