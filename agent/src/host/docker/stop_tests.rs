//! Answers while a container is being stopped that a healthy engine does not give, from a scripted one; time is virtual.

use super::super::wire_tests::{ScriptedEngine, Step, Then, engine, not_found, ok, ping};
use super::*;
use crate::engine::Engine as _;
use node::fault::one_line;

const INSPECT: &str = "GET /v1.41/containers/c1/json ";
const EVENTS: &str = "GET /v1.41/events?since=";
const TERM: &str = "POST /v1.41/containers/c1/kill?signal=SIGTERM";
const KILL: &str = "POST /v1.41/containers/c1/kill?signal=SIGKILL";
const WAIT: &str = "POST /v1.41/containers/c1/wait?condition=not-running";
const TIME: Duration = Duration::from_secs(60);

/// Before the signal: it runs, and the engine remembers what `events` say.
fn looked(events: String, then: Then) -> [Step; 3] {
    let running = ok(r#"{"Id":"c1","State":{"Running":true},"Config":{"StopSignal":""}}"#);
    [ping("1.41"), (INSPECT, running, Then::End), (EVENTS, events, then)]
}

fn runs() -> [Step; 3] {
    looked(ok(""), Then::End)
}

fn done() -> String {
    "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n".to_owned()
}

fn refused(status: &str, message: &str) -> String {
    format!("HTTP/1.1 {status}\r\nConnection: close\r\n\r\n{{\"message\":\"{message}\"}}")
}

fn ended(code: i64) -> Step {
    (WAIT, ok(&format!(r#"{{"StatusCode":{code}}}"#)), Then::End)
}

/// A wait whose head has come and nothing more: the engine answers when the container ends.
fn silent_wait() -> Step {
    (WAIT, ok(""), Then::Silence)
}

/// What a person reads when that engine is to stop a container, and the seconds that it took.
async fn stop(engine: &ScriptedEngine) -> (Result<(), String>, u64) {
    let began = Instant::now();
    let stopped = engine.docker.stop("c1", TIME).await;
    engine.assert_all_was_asked();
    (stopped.map_err(|error| one_line(&error)), began.elapsed().as_secs())
}

async fn stopped(script: impl IntoIterator<Item = Step>) -> (Result<(), String>, u64) {
    stop(&engine(script)).await
}

#[tokio::test(start_paused = true)]
async fn one_that_ends_by_its_signal() {
    for code in [0, 143] {
        assert_eq!(
            stopped(runs().into_iter().chain([(TERM, done(), Then::End), ended(code)])).await,
            (Ok(()), 0)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_ended_before_its_signal_came_or_vanished() {
    for answer in [refused("409 Conflict", "Container c1 is not running"), not_found("No such container: c1")]
    {
        let script = runs().into_iter().chain([(TERM, answer, Then::End)]);
        assert_eq!(stopped(script).await, (Ok(()), 0));
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_end_is_killed_when_its_time_is_over() {
    let script = [(TERM, done(), Then::End), silent_wait(), (KILL, done(), Then::End), ended(137)];
    assert_eq!(stopped(runs().into_iter().chain(script)).await, (Ok(()), 60));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_breaks_off_is_taken_up_again() {
    let broken = (WAIT, ok(""), Then::End);
    let busy = (WAIT, refused("500 Internal Server Error", "try later"), Then::End);
    // The engine's own word for a wait that it broke off.
    let given_up = (WAIT, ok(r#"{"StatusCode":-1,"Error":{"Message":"context canceled"}}"#), Then::End);
    let script = runs().into_iter().chain([(TERM, done(), Then::End), broken, busy, given_up, ended(0)]);
    let engine = engine(script);
    let (stopped, seconds) = stop(&engine).await;
    assert_eq!((stopped, seconds), (Ok(()), 1), "three pauses of half a second");
}

#[tokio::test(start_paused = true)]
async fn one_that_vanishes_while_it_is_waited_for() {
    let gone = (WAIT, not_found("No such container: c1"), Then::End);
    assert_eq!(stopped(runs().into_iter().chain([(TERM, done(), Then::End), gone])).await, (Ok(()), 0));
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_falls_silent_leaves_it_unknown() {
    let hangs = |request| (request, String::new(), Then::Silence);
    let inspect = [ping("1.41"), hangs(INSPECT)];
    let (said, seconds) = stopped(inspect).await;
    let said = said.expect_err("nobody knows");
    assert!(said.ends_with("does not answer (stop container c1): no answer within 5 s"), "{said}");
    assert_eq!(seconds, 5);

    let (said, seconds) = stopped(runs().into_iter().chain([hangs(TERM)])).await;
    assert!(said.expect_err("nobody knows").ends_with("no answer within 5 s"));
    assert_eq!(seconds, 5);

    let killing = [(TERM, done(), Then::End), silent_wait(), hangs(KILL)];
    let (said, seconds) = stopped(runs().into_iter().chain(killing)).await;
    assert!(said.expect_err("nobody knows").ends_with("no answer within 10 s"));
    assert_eq!(seconds, 70);

    let dying = [(TERM, done(), Then::End), silent_wait(), (KILL, done(), Then::End), silent_wait()];
    let (said, seconds) = stopped(runs().into_iter().chain(dying)).await;
    assert!(
        said.expect_err("nobody knows").ends_with("no answer within 10 s"),
        "a process that cannot be killed"
    );
    assert_eq!(seconds, 70);
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_refuses_the_signal_is_not_asked_to_kill() {
    let broken = refused("500 Internal Server Error", "Cannot kill container: connection error");
    let (said, seconds) = stopped(runs().into_iter().chain([(TERM, broken, Then::End)])).await;
    assert_eq!(seconds, 0);
    assert_eq!(said, Err("cannot stop container c1: Cannot kill container: connection error".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn a_signal_that_does_not_exist_is_not_waited_for() {
    let unknown = (TERM, refused("400 Bad Request", "Invalid signal: SIGTERM"), Then::End);
    let script = runs().into_iter().chain([unknown, (KILL, done(), Then::End), ended(137)]);
    assert_eq!(stopped(script).await, (Ok(()), 0));
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_does_not_say_what_it_did_is_told_again() {
    let signalled = || [(TERM, done(), Then::End), ended(0)];
    let silent = looked(String::new(), Then::Silence).into_iter();
    let script = silent.chain([ping("1.41")]).chain(signalled());
    assert_eq!(stopped(script).await, (Ok(()), 5), "the time of an answer");
    let refuses = looked(refused("400 Bad Request", "invalid filter"), Then::End);
    assert_eq!(stopped(refuses.into_iter().chain(signalled())).await, (Ok(()), 0));
}

/// An event of the engine, that long ago.
fn kill_event(signal: u8, ago: Duration) -> String {
    let at = now().saturating_sub(ago).expect("a time").as_nanosecond();
    format!(
        r#"{{"Type":"container","Action":"kill","Actor":{{"ID":"c1","Attributes":{{"signal":"{signal}"}}}},"timeNano":{at}}}"#
    ) + "\n"
}

#[tokio::test(start_paused = true)]
async fn one_that_was_told_less_than_its_time_ago_is_not_told_again_and_has_the_rest() {
    let seconds = Duration::from_secs;
    // The last one is of whoever told it twice: its time counts from the first.
    let events = kill_event(1, seconds(50)) + &kill_event(15, seconds(40)) + &kill_event(15, seconds(5));
    let killed = [silent_wait(), (KILL, done(), Then::End), ended(137)];
    let script = looked(ok(&events), Then::End).into_iter().chain(killed);
    let (stopped, took) = stop(&engine(script)).await;
    assert_eq!(stopped, Ok(()));
    assert!((19..=20).contains(&took), "{took} s");
}

#[tokio::test(start_paused = true)]
async fn another_signal_is_no_stop_and_neither_is_one_whose_time_is_over() {
    for (signal, ago) in [(1, 5), (9, 5), (15, 61)] {
        let events = ok(&kill_event(signal, Duration::from_secs(ago)));
        let script = looked(events, Then::End).into_iter().chain([(TERM, done(), Then::End), ended(0)]);
        assert_eq!(stopped(script).await, (Ok(()), 0), "signal {signal}, {ago} s ago");
    }
}

#[test]
fn signals_as_images_name_them() {
    for (text, number) in [
        ("SIGTERM", Some(15)),
        ("TERM", Some(15)),
        ("sigquit", Some(3)),
        ("3", Some(3)),
        ("SIGINT", Some(2)),
        ("SIGWINCH", Some(28)),
        ("SIGRTMIN+3", None),
        ("RTMIN", None),
        ("", None),
    ] {
        assert_eq!(number_of(text), number, "{text}");
    }
}

#[test]
fn the_engine_is_asked_from_a_time_to_a_time() {
    let time = |text: &str| text.parse::<Timestamp>().expect("a time");
    let options = kills_of("c1", time("2026-01-02T03:04:05.000000006Z"), time("2026-01-02T03:05:05.5Z"));
    assert_eq!(options.since.as_deref(), Some("1767323045.000000006"));
    assert_eq!(options.until.as_deref(), Some("1767323105.500000000"));
}
