//! Tracebacks as they are written, and what holds for any lines.

use super::*;
use crate::logs::cases::check;
use proptest::prelude::*;

const ROOM: usize = 1 << 20;

fn start(pattern: &str) -> Rule {
    Rule::new(&Multiline::Start(pattern.to_owned())).unwrap()
}

/// The events of these lines, with the end of the source behind them.
fn joined(rule: Rule, bytes: usize, lines: &[&str]) -> Vec<Joined> {
    let mut joiner = Joiner::new(rule, bytes);
    let mut events = Vec::new();
    for (at, line) in (0..).zip(lines) {
        joiner.line(at, line.as_bytes(), &mut events);
    }
    joiner.flush(&mut events);
    assert_eq!(joiner.pending(), None);
    events
}

fn texts(events: &[Joined]) -> Vec<String> {
    events.iter().map(|event| String::from_utf8(event.text.clone()).unwrap()).collect()
}

/// Between two lines of `=` in the fixture is one event.
fn holds(rule: Rule, fixture: &str) {
    let mut wanted: Vec<String> = vec![String::new()];
    let mut lines = Vec::new();
    for line in fixture.lines() {
        if line == "=====" {
            wanted.push(String::new());
            continue;
        }
        lines.push(line);
        let event = wanted.last_mut().unwrap();
        if lines.len() > 1 && !event.is_empty() {
            event.push('\n');
        }
        event.push_str(line);
    }
    let events = joined(rule, ROOM, &lines);
    assert_eq!(texts(&events), wanted);
    let first_of: Vec<i64> = events
        .iter()
        .scan(0, |line, event| {
            let first = *line;
            *line += i64::from(event.lines);
            Some(first)
        })
        .collect();
    assert_eq!(events.iter().map(|event| event.timestamp_ms).collect::<Vec<_>>(), first_of);
}

#[test]
fn tracebacks_of_python() {
    holds(Rule::Python, include_str!("fixtures/python.txt"));
}

#[test]
fn stack_traces_of_java() {
    holds(Rule::Java, include_str!("fixtures/java.txt"));
}

#[test]
fn events_that_begin_with_a_time() {
    let lines = ["tail of one", "2026-11-30 a", "  b", "", "c", "2026-11-30 d"];
    let events = joined(start(r"^\d{4}-\d\d-\d\d "), ROOM, &lines);
    assert_eq!(texts(&events), ["tail of one", "2026-11-30 a\n  b\n\nc", "2026-11-30 d"]);
    assert_eq!(events.iter().map(|event| event.timestamp_ms).collect::<Vec<_>>(), [0, 1, 5]);
}

#[test]
fn what_waits_is_said_and_given_out_when_nothing_comes() {
    let mut joiner = Joiner::new(Rule::Python, ROOM);
    let mut events = Vec::new();
    joiner.line(1, b"an ordinary line", &mut events);
    assert_eq!((events.len(), joiner.pending()), (1, None), "it has no more lines");
    for (at, line) in
        [(2, "Traceback (most recent call last):"), (3, "  File"), (4, "KeyError: 'a'"), (5, "")]
    {
        joiner.line(at, line.as_bytes(), &mut events);
    }
    assert_eq!(events.len(), 1);
    assert_eq!(joiner.pending(), Some(Pending { timestamp_ms: 2, lines: 4, bytes: 34 + 1 + 6 + 1 + 13 }));
    joiner.flush(&mut events);
    assert_eq!(
        events[1..].iter().map(|event| event.lines).collect::<Vec<_>>(),
        [3, 1],
        "the empty line is one"
    );
    joiner.line(6, b"During handling of the above exception, another exception occurred:", &mut events);
    joiner.line(7, b"", &mut events);
    joiner.line(8, b"Traceback (most recent call last):", &mut events);
    assert_eq!(
        joiner.pending().map(|pending| pending.lines),
        Some(3),
        "what comes late is together all the same"
    );
}

#[test]
fn an_event_that_is_full_goes_on_as_the_next_one() {
    let frame = "\tat a.b.C.d(C.java:1)";
    let lines: Vec<&str> = std::iter::once("java.lang.StackOverflowError").chain([frame; 2500]).collect();
    let events = joined(Rule::Java, ROOM, &lines);
    assert_eq!(events.iter().map(|event| event.lines).collect::<Vec<_>>(), [1000, 1000, 501]);
    let events = joined(Rule::Java, 60, &lines[..4]);
    assert_eq!(events.iter().map(|event| event.text.len()).collect::<Vec<_>>(), [28 + 1 + 21, 21 + 1 + 21]);
    let long = "x".repeat(100);
    let events = joined(Rule::Java, 60, &[&long, frame, &long]);
    assert_eq!(events.iter().map(|event| event.text.len()).collect::<Vec<_>>(), [100, 21, 100]);
}

#[test]
fn what_an_application_wrote_does_not_show_in_debug_output() {
    assert_eq!(format!("{:?}", joined(Rule::Java, ROOM, &["card 4111"])), "[Joined(0 ms, 1 lines, 9 bytes)]");
}

/// How many lines belong to the event that begins at `from`, by looking at all lines: a grammar, not a machine.
fn length(rule: &Rule, lines: &[&str], from: usize) -> usize {
    let rest = &lines[from..];
    match rule {
        Rule::Start(pattern) => {
            1 + rest[1..].iter().take_while(|line| !pattern.is_match(line.as_bytes())).count()
        }
        Rule::Java => {
            let below = regex::Regex::new(
                r"^(\s*(Caused by|Suppressed): |\s+(at |\.\.\. \d|\[CIRCULAR REFERENCE|- (locked|waiting|parking) ))",
            );
            let below = below.unwrap();
            1 + rest[1..].iter().take_while(|line| below.is_match(line)).count()
        }
        Rule::Python => python(rest).max(1),
    }
}

fn is_blank(line: &&&str) -> bool {
    line.trim().is_empty()
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// A chain of tracebacks at the beginning of these lines; 0 where there is none.
fn python(lines: &[&str]) -> usize {
    let one = one_traceback(lines);
    let is_whole = one > 0 && ends_with_its_exception(lines, one);
    if !is_whole {
        return one;
    }
    let rest = &lines[one..];
    let blank = usize::from(rest.first().is_some_and(|line| is_blank(&line)));
    let is_sentence =
        |line: &&str| line.trim() == "During handling of the above exception, another exception occurred:";
    if !rest.get(blank).is_some_and(is_sentence) {
        return one;
    }
    let behind = &rest[blank + 1..];
    let blanks = behind.iter().take_while(is_blank).count();
    one + blank + 1 + blanks + python(&behind[blanks..])
}

fn is_group(line: &str) -> bool {
    line.trim().ends_with("+ Exception Group Traceback (most recent call last):")
}

fn is_header(line: &str) -> bool {
    line.trim().ends_with("Traceback (most recent call last):")
}

fn one_traceback(lines: &[&str]) -> usize {
    match lines.split_first() {
        Some((first, rest)) if is_group(first) => {
            let drawn = |line: &&&str| {
                indentation(line) > 0 && line.trim_start().starts_with(['|', '+']) && !is_header(line)
            };
            1 + rest.iter().take_while(drawn).count()
        }
        Some((first, rest)) if is_header(first) => {
            let deeper = |line: &&&str| !is_blank(line) && indentation(line) > indentation(first);
            let frames = rest.iter().take_while(deeper).count();
            let exception = rest.get(frames).is_some_and(|line| !is_blank(&line) && !is_header(line));
            1 + frames + usize::from(exception)
        }
        _ => 0,
    }
}

/// It is not cut off after a frame by a line that is no exception.
fn ends_with_its_exception(lines: &[&str], one: usize) -> bool {
    let last = lines[one - 1];
    is_group(lines[0]) || (one > 1 && indentation(last) <= indentation(lines[0]))
}

/// The events of all lines: as the grammar says, cut where they are full.
fn model(rule: &Rule, bytes: usize, lines: &[&str]) -> Vec<String> {
    let mut events = Vec::new();
    let mut from = 0;
    while from < lines.len() {
        let length = length(rule, lines, from);
        let mut event: Vec<&str> = Vec::new();
        for line in &lines[from..from + length] {
            let size: usize = event.iter().map(|line| line.len() + 1).sum();
            if !event.is_empty() && size + line.len() > bytes {
                events.push(event.join("\n"));
                event.clear();
            }
            event.push(line);
        }
        events.push(event.join("\n"));
        from += length;
    }
    events
}

const WORDS: [&str; 24] = [
    "Traceback (most recent call last):",
    "Traceback (most recent call last):",
    "  Traceback (most recent call last):",
    "ERROR Traceback (most recent call last):",
    "  + Exception Group Traceback (most recent call last):",
    "  | ExceptionGroup: two (2 sub-exceptions)",
    "  +-+---------------- 1 ----------------",
    "    | Traceback (most recent call last):",
    "  File \"a.py\", line 1, in <module>",
    "    f()",
    "KeyError: 'a'",
    "KeyError: 'a'",
    "",
    "",
    "  ",
    "During handling of the above exception, another exception occurred:",
    "During handling of the above exception, another exception occurred:",
    "java.lang.IllegalStateException: a",
    "\tat a.b.C.d(C.java:1)",
    "\t... 12 more",
    "Caused by: java.io.IOException: b",
    "\tSuppressed: java.io.IOException: c",
    "2026-11-30 an ordinary line",
    "INFO: another",
];

#[test]
fn lines_in_any_order_are_joined_as_an_obvious_model_says() {
    let lines = prop::collection::vec(prop::sample::select(WORDS.to_vec()), 0..40);
    let rule = prop_oneof![3 => Just(Rule::Python), 1 => Just(Rule::Java), 1 => Just(start("^2026|^INFO"))];
    let bytes = prop_oneof![Just(ROOM), 1..200_usize];
    check("joined lines beside their model", 20_000, (rule, bytes, lines), |(rule, bytes, lines)| {
        let events = joined(rule.clone(), bytes, &lines);
        prop_assert_eq!(texts(&events), model(&rule, bytes, &lines));
        Ok(())
    });
}

#[test]
fn whenever_it_is_not_waited_any_longer_no_line_is_lost_doubled_or_moved() {
    let line = prop_oneof![prop::sample::select(WORDS.to_vec()).prop_map(str::to_owned), "\\PC{0,20}"];
    let lines = prop::collection::vec((line, prop::bool::weighted(0.1)), 0..60);
    let rule = prop_oneof![Just(Rule::Python), Just(Rule::Java), Just(start("a"))];
    check("joined lines, flushed at any time", 5000, (rule, 1..200_usize, lines), |(rule, bytes, lines)| {
        let mut joiner = Joiner::new(rule, bytes);
        let mut events = Vec::new();
        for (index, (line, flush)) in lines.iter().enumerate() {
            let before = events.len();
            joiner.line(7, line.as_bytes(), &mut events);
            prop_assert!(events.len() - before <= 3);
            if *flush {
                joiner.flush(&mut events);
            }
            let given: u32 = events.iter().map(|event: &Joined| event.lines).sum();
            let waiting = joiner.pending().map_or(0, |pending| pending.lines);
            prop_assert!(joiner.pending().is_none_or(|pending| pending.lines <= LINES_AT_MOST + 1));
            prop_assert_eq!((given + waiting) as usize, index + 1);
        }
        joiner.flush(&mut events);
        let all: Vec<&str> = lines.iter().map(|(line, _)| line.as_str()).collect();
        prop_assert_eq!(texts(&events).join("\n"), all.join("\n"));
        prop_assert_eq!(events.iter().map(|event| event.lines as usize).sum::<usize>(), lines.len());
        for event in &events {
            prop_assert!(event.lines == 1 || event.text.len() <= bytes);
        }
        Ok(())
    });
}
