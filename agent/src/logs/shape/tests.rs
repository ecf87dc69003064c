//! The rules together, and what holds for any of them.

use super::*;
use crate::logs::cases::check;
use node::config::settings::Field;
use node::config::{Draft, Source};
use proptest::prelude::*;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

fn shape(rules: &Shaping) -> Shape {
    Shape::new(rules).unwrap()
}

fn texts(patterns: &[&str]) -> Vec<String> {
    patterns.iter().map(|pattern| (*pattern).to_owned()).collect()
}

fn one_in(pattern: &str, one_in: u32) -> Sample {
    Sample { pattern: pattern.to_owned(), one_in }
}

/// The verdicts on lines that come at the same moment.
fn verdicts(shape: &mut Shape, lines: &[&str]) -> Vec<Verdict> {
    lines.iter().map(|line| shape.line(0, 0, line.as_bytes())).collect()
}

#[test]
fn without_rules_there_is_nothing_to_do() {
    assert!(shape(&Shaping::default()).is_noop());
    assert!(shape(&Shaping::default()).with_labels(Labels::new(&[], |_| None)).is_noop());
    let labels = Labels::new(&[Field::Service], |_| Some("api"));
    assert!(!shape(&Shaping::default()).with_labels(labels).is_noop());
    assert!(!shape(&Shaping { repeat: Some(1), ..Shaping::default() }).is_noop());
    assert_eq!(verdicts(&mut shape(&Shaping::default()), &["a"]), [Verdict::Keep]);
}

#[test]
fn a_line_is_on_the_account_of_the_first_rule_that_says_no() {
    let rules = Shaping {
        include: texts(&["^k"]),
        exclude: texts(&["x", "y"]),
        sample: vec![one_in("s", 2), one_in("k", 1)],
        repeat: Some(2),
        daily: Some(27 * 5),
        ..Shaping::default()
    };
    let mut shape = shape(&rules);
    let found = verdicts(&mut shape, &["a", "kx", "kys", "ks", "ks", "ks", "k", "k", "k", "k1", "k2", "k3"]);
    let drop = Verdict::Drop;
    let keep = Verdict::Keep;
    let (excluded, sampled) = (drop(Reason::Excluded), drop(Reason::Sampled));
    let wanted = [
        excluded.clone(),
        excluded.clone(),
        excluded,
        keep.clone(),
        sampled,
        keep.clone(),
        keep.clone(),
        keep.clone(),
        drop(Reason::Repeated),
        keep,
        drop(Reason::Daily),
        drop(Reason::Daily),
    ];
    assert_eq!(found, wanted);
    let today = *shape.days().next().unwrap();
    assert_eq!((today.kept.events, today.dropped(Reason::Excluded).events), (5, 3));
    assert_eq!(today.dropped(Reason::Daily), Amount { events: 2, bytes: 2 * 28 });
}

#[test]
fn patterns_are_found_also_in_what_is_no_text() {
    let rules = Shaping { exclude: texts(&["(?i)secret", r"a.?\d", "^é$"]), ..Shaping::default() };
    let mut shape = shape(&rules);
    assert_eq!(shape.line(0, 0, b"\xffSECRET"), Verdict::Drop(Reason::Excluded));
    assert_eq!(shape.line(0, 0, b"\xffa!7"), Verdict::Drop(Reason::Excluded));
    assert_eq!(shape.line(0, 0, "é".as_bytes()), Verdict::Drop(Reason::Excluded));
    assert_eq!(shape.line(0, 0, b"a\xff7"), Verdict::Keep);
}

#[test]
fn repetitions_are_said_before_the_next_line_and_after_a_minute() {
    let mut shape = shape(&Shaping { repeat: Some(1), ..Shaping::default() });
    let mut said = Vec::new();
    for (at, line) in [(0, "a"), (1, "a"), (2, "a"), (3, "b"), (4, "b"), (60_003, "b"), (60_004, "b")] {
        let verdict = shape.line(at, at, line.as_bytes());
        said.push((
            verdict == Verdict::Keep,
            shape.notice().map(|notice| (notice.timestamp_ms, notice.message)),
        ));
    }
    let twice = "[node-agent] the line before this one came 2 times more; that is left out".to_owned();
    let once = "[node-agent] the line before this one came once more; that is left out".to_owned();
    let wanted = [
        (true, None),
        (false, None),
        (false, None),
        (true, Some((2, twice))),
        (false, None),
        (true, Some((4, once.clone()))),
        (false, None),
    ];
    assert_eq!(said, wanted);
    assert_eq!(shape.quiet(120_003), None, "less than a minute of silence");
    assert_eq!(shape.quiet(120_004), Some(Notice { timestamp_ms: 60_004, message: once }));
    assert_eq!((shape.quiet(999_999), shape.close()), (None, None), "said already");
}

#[test]
fn a_backlog_is_not_a_flood_and_the_future_is_not_a_refill() {
    let mut shape = shape(&Shaping { max_rate: Some(1024), ..Shaping::default() });
    let line = vec![b'x'; 1024 - 26];
    let hour_ago = |second: i64| second * 1000;
    let kept = (0..3600).filter(|second| shape.line(7_200_000, hour_ago(*second), &line) == Verdict::Keep);
    assert_eq!(kept.count(), 3600, "as fast as it was written");
    let kept =
        (0..1000).filter(|step| shape.line(7_200_000, 7_200_000 + step * 1000, &line) == Verdict::Keep);
    assert_eq!(kept.count(), 10, "what is stamped after it is read came at once");
}

#[test]
fn the_budget_of_a_day_survives_a_restart_and_is_new_at_midnight() {
    let rules = Shaping { daily: Some(100), sample: vec![one_in("s", 3)], ..Shaping::default() };
    let mut first = shape(&rules);
    assert_eq!(
        verdicts(&mut first, &["s", "s", "x"]),
        [Verdict::Keep, Verdict::Drop(Reason::Sampled), Verdict::Keep]
    );
    let written = serde_json::to_string(&first.state()).unwrap();
    assert!(!written.contains("\"s\"") && !written.contains("\"x\""), "{written}");
    let mut second = shape(&rules);
    second.resume(serde_json::from_str(&written).unwrap());
    assert_eq!(second.state(), first.state());
    let (drop, keep) = (Verdict::Drop, Verdict::Keep);
    assert_eq!(
        verdicts(&mut second, &["s", "s", "x", "x"]),
        [drop(Reason::Sampled), keep.clone(), keep.clone(), drop(Reason::Daily)]
    );
    assert_eq!(second.line(DAY_MS, DAY_MS, b"x"), keep);
    let days: Vec<_> = second.days().map(|day| (day.number, day.kept.bytes)).collect();
    assert_eq!(days, [(1, 27), (0, 4 * 27)]);
    let mut others = shape(&Shaping { sample: vec![one_in("a", 2), one_in("b", 2)], ..rules });
    others.resume(second.state());
    assert_eq!(others.state().sampled, [0, 0], "rules that are not the same begin anew");
    assert!(serde_json::from_str::<State>("{}").unwrap() == State::default());
}

#[test]
fn fields_are_added_to_what_is_kept_and_to_what_we_say() {
    let labels = Labels::new(&[Field::Service], |_| Some("api"));
    let mut shape = shape(&Shaping { repeat: Some(1), ..Shaping::default() }).with_labels(labels);
    let added = r#"{"a":1,"node_agent":{"service":"api"}}"#.to_owned();
    let size = added.len() as u64 + 26;
    assert_eq!(
        verdicts(&mut shape, &["{\"a\":1}", "{\"a\":1}"]),
        [Verdict::KeepAs(added), Verdict::Drop(Reason::Repeated)]
    );
    assert_eq!(shape.days().next().unwrap().kept.bytes, size, "what is charged is what is sent");
    let said: serde_json::Value = serde_json::from_str(&shape.close().unwrap().message).unwrap();
    assert_eq!(said["node_agent"]["service"], "api");
}

#[test]
fn what_an_application_wrote_does_not_show_in_debug_output() {
    assert_eq!(format!("{:?}", Verdict::KeepAs("card 4111".to_owned())), "KeepAs(9 bytes)");
}

/// Rules of all kinds over lines of few kinds, at times that step forward and now and then back.
fn any_rules() -> impl Strategy<Value = Shaping> {
    let pattern = || prop::sample::select(vec!["a", "b", "^c", "aa", "[ab]c"]).prop_map(str::to_owned);
    let patterns = || prop::collection::vec(pattern(), 0..2);
    let sample = (pattern(), 2..5_u32).prop_map(|(pattern, one_in)| Sample { pattern, one_in });
    let numbers = (prop::option::of(1..4_u32), prop::option::of(20..500_u64), prop::option::of(50..5000_u64));
    (patterns(), patterns(), prop::collection::vec(sample, 0..3), numbers).prop_map(
        |(include, exclude, sample, (repeat, max_rate, daily))| Shaping {
            include,
            exclude,
            sample,
            repeat,
            max_rate,
            daily,
            ..Shaping::default()
        },
    )
}

fn any_lines() -> impl Strategy<Value = Vec<(i64, String)>> {
    let step = prop_oneof![8 => 0..50_i64, 2 => 0..70_000_i64, 1 => -90_000..0_i64, 1 => 0..2 * DAY_MS];
    prop::collection::vec((step, "[abc]{0,3}"), 0..120).prop_map(|lines| {
        let mut at = 10 * DAY_MS;
        lines
            .into_iter()
            .map(|(step, line)| {
                at += step;
                (at, line)
            })
            .collect()
    })
}

/// What an unhurried reader of the rules would do, with all of the past at hand.
fn model(rules: &Shaping, lines: &[(i64, String)]) -> Vec<Option<Reason>> {
    let found = |pattern: &String, line: &str| regex::Regex::new(pattern).unwrap().is_match(line);
    let mut verdicts: Vec<Option<Reason>> = Vec::new();
    let mut sampled: Vec<u32> = vec![0; rules.sample.len()];
    // What was asked whether it repeats: index, and whether it was kept then.
    let mut asked: Vec<(usize, bool)> = Vec::new();
    for (index, (_, line)) in lines.iter().enumerate() {
        let any = |patterns: &[String]| patterns.iter().any(|pattern| found(pattern, line));
        let excluded = (!rules.include.is_empty() && !any(&rules.include)) || any(&rules.exclude);
        let sample = rules.sample.iter().position(|sample| found(&sample.pattern, line));
        let verdict = if excluded {
            Some(Reason::Excluded)
        } else if let Some(which) = sample.filter(|which| {
            sampled[*which] += 1;
            !(sampled[*which] - 1).is_multiple_of(rules.sample[*which].one_in)
        }) {
            assert!(which < sampled.len());
            Some(Reason::Sampled)
        } else {
            let repeats = rules.repeat.is_some_and(|most| repeats(most, lines, index, &asked));
            asked.push((index, !repeats));
            repeats.then_some(Reason::Repeated)
        };
        verdicts.push(verdict);
    }
    verdicts
}

/// Cuts the run of lines equal to this one, backwards from it, into minutes from its beginning.
fn repeats(most: u32, lines: &[(i64, String)], index: usize, asked: &[(usize, bool)]) -> bool {
    let run: Vec<_> =
        asked.iter().rev().take_while(|(before, _)| lines[*before].1 == lines[index].1).collect();
    let mut since: Option<i64> = None;
    let mut kept = 0;
    let times =
        run.iter().rev().map(|(before, kept)| (lines[*before].0, *kept)).chain([(lines[index].0, false)]);
    for (at, was_kept) in times {
        if since.is_none_or(|since| !(since..since + 60_000).contains(&at)) {
            (since, kept) = (Some(at), 0);
        }
        kept += u32::from(was_kept);
    }
    kept >= most
}

#[test]
fn patterns_samples_and_repetitions_are_what_an_obvious_model_says() {
    let rules = any_rules().prop_map(|rules| Shaping { max_rate: None, daily: None, ..rules });
    check("shaping beside its model", 3000, (rules, any_lines()), |(rules, lines)| {
        let mut shape = shape(&rules);
        let found: Vec<Option<Reason>> = lines
            .iter()
            .map(|(at, line)| match shape.line(*at, *at, line.as_bytes()) {
                Verdict::Drop(reason) => Some(reason),
                _ => None,
            })
            .collect();
        prop_assert_eq!(found, model(&rules, &lines));
        Ok(())
    });
}

#[test]
fn every_line_is_kept_or_on_one_account_and_notices_name_what_repeated() {
    check("accounts of shaping", 3000, (any_rules(), any_lines()), |(rules, lines)| {
        let mut shape = shape(&rules);
        let mut seen = [0_u64; 6];
        let mut said = 0;
        let mut count = |notice: Option<Notice>| {
            let Some(notice) = notice else { return };
            let number = notice.message.split_whitespace().find_map(|word| word.parse::<u64>().ok());
            said += number.unwrap_or(1);
        };
        let mut kept_by_day = std::collections::BTreeMap::new();
        for (at, line) in &lines {
            match shape.line(*at, *at, line.as_bytes()) {
                Verdict::Drop(reason) => seen[reason as usize] += 1,
                _ => seen[5] += 1,
            }
            count(shape.notice());
            let today = shape.days().next().unwrap();
            kept_by_day.insert(today.number, today.kept.bytes);
        }
        count(shape.close());
        prop_assert_eq!(seen.iter().sum::<u64>(), lines.len() as u64);
        prop_assert_eq!(said, seen[Reason::Repeated as usize]);
        if let Some(daily) = rules.daily {
            let largest = kept_by_day.values().copied().max().unwrap_or_default();
            prop_assert!(largest < daily + 29, "one event over it at most: {} of {}", largest, daily);
        }
        Ok(())
    });
}

#[test]
fn a_rate_lets_through_what_it_says_and_ten_seconds_more() {
    let lines = prop::collection::vec((0..3000_i64, 0..300_usize), 1..200);
    check("rates of shaping", 2000, (1024..20_000_u64, lines), |(rate, lines)| {
        let mut shape = shape(&Shaping { max_rate: Some(rate), ..Shaping::default() });
        let (mut at, mut kept) = (0, Vec::new());
        for (step, size) in lines {
            at += step;
            if shape.line(at, at, &vec![b'x'; size]) == Verdict::Keep {
                kept.push((at, size as u64 + 26));
            }
        }
        for (index, (from, _)) in kept.iter().enumerate() {
            let mut sum = 0;
            for (until, size) in &kept[index..] {
                sum += size;
                let passed = u64::try_from(until - from).unwrap();
                prop_assert!(sum * 1000 <= rate * (10_000 + passed) + 326 * 1000, "{} in {} ms", sum, passed);
            }
        }
        Ok(())
    });
}

/// Whether the check of the configuration accepts it.
fn accepts(pattern: &str) -> bool {
    let text = format!(
        "[logs]\ngroup = \"g\"\nfiles = [{{ path = \"/a\", sample = [{{ pattern = '{pattern}', one_in = 2 }}] }}]"
    );
    let draft = Draft::parse(vec![Source { name: "n".to_owned(), text }]);
    draft.unwrap().check().is_ok()
}

#[test]
fn whatever_the_check_of_the_configuration_accepts_compiles() {
    let atom = r"(a|b|é|\.|\\[dDwWsSbB<>]|\\b\{start\}|\^|\$|\[a-c\]|\[\^x\]|\[[\\\^é][wsd]-\]|\(\?i\)|\(\?[imsUx-]{1,3}:é\)|\\x\{e9\}|[a-z()\[\]{}\\?*+|^$-])";
    let pattern = format!(r"({atom}(\*|\+|\?|\{{[0-9]{{1,3}}(,[0-9]{{0,3}})?\}})?){{1,8}}");
    let accepted = std::cell::Cell::new(0);
    check("patterns that were accepted", 2000, pattern.as_str(), |pattern| {
        if accepts(&pattern) {
            accepted.set(accepted.get() + 1);
            let exclude = vec![pattern.clone()];
            let rules = Shaping { exclude, sample: vec![one_in(&pattern, 2)], ..Shaping::default() };
            prop_assert!(Shape::new(&rules).is_ok());
        }
        Ok(())
    });
    println!("{} were accepted", accepted.get());
    assert!(accepted.get() > 500, "{}", accepted.get());
}

#[test]
fn a_list_of_the_largest_patterns_compiles() {
    for atom in [r"é|[가-힣]", r"a?b|[^c]", r"(?i)\bx\b", ".", r"\W"] {
        let pattern = |count: usize| format!("({atom}){{{count}}}x");
        let largest = (1..2000).rev().find(|count| accepts(&pattern(*count))).unwrap();
        println!("{largest} of them");
        assert!(largest < 1999, "the limit was not met");
        let rules = Shaping { exclude: vec![pattern(largest); 32], ..Shaping::default() };
        assert!(Shape::new(&rules).is_ok(), "{atom}");
    }
}
