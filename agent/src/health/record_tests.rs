//! Answers and what they amount to, by table and by property.

use super::*;
use node::config::settings::Probe;
use proptest::prelude::*;
use std::time::Duration;

fn health(interval: u64, retries: u32, start_period: u64) -> Health {
    Health {
        probe: Probe::Tcp { port: 1 },
        interval: Duration::from_secs(interval),
        timeout: Duration::from_secs(5),
        retries,
        start_period: Duration::from_secs(start_period),
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp::new(1_700_000_000 + second, 0).expect("a time")
}

fn reply(letter: char) -> Reply {
    let answer = match letter {
        'P' => Answer::Passed,
        'F' => Answer::Failed,
        _ => Answer::Unanswered,
    };
    Reply { answer, detail: letter.to_string() }
}

/// One letter per second: `P`assed, `F`ailed, `U`nanswered, `.` not asked; and the verdict after each: `p`, `f`, `u`.
fn verdicts(answers: &str, health: &Health) -> String {
    let mut record = Record::new(at(0));
    let letter = |record: &Record| match record.verdict().state {
        HealthState::Passing => 'p',
        HealthState::Failing => 'f',
        HealthState::Unknown | HealthState::None => 'u',
    };
    let after = answers.chars().zip(0..).map(|(answer, second)| {
        if answer != '.' {
            record.note(reply(answer), at(second), health);
        }
        letter(&record)
    });
    after.collect()
}

#[test]
fn what_answers_amount_to() {
    for (situation, answers, health, expected) in [
        ("passes at once", "PPP", health(1, 3, 0), "ppp"),
        ("fails three times in a row", "PFFFF", health(1, 3, 0), "pppff"),
        ("a pass between failures starts the count anew", "PFFPFFP", health(1, 3, 0), "ppppppp"),
        ("comes back with one pass", "PFFFP", health(1, 3, 0), "pppfp"),
        ("one failure is enough with retries of 1", "PF", health(1, 1, 0), "pf"),
        ("retries of 0 mean 1", "PF", health(1, 0, 0), "pf"),
        ("never passed and fails", "FFF", health(1, 3, 0), "uuf"),
        ("failures while it starts do not count", "FFFFFFFF", health(1, 3, 5), "uuuuuuuf"),
        ("but do when it had passed", "PFFF", health(1, 3, 60), "pppf"),
        ("asked in a hurry, it has as long as the interval says", "FFFFFFFFF", health(4, 3, 0), "uuuuuuuuf"),
        ("the engine's silence is no failure", "PUUUUUF", health(1, 1, 0), "puuuuuf"),
        ("after silence what was known holds", "PFUF", health(1, 3, 0), "ppup"),
        ("silence neither counts nor clears failures", "PFFUF", health(1, 3, 0), "pppuf"),
        ("failing, silent, failing", "PFUF", health(1, 1, 0), "pfuf"),
        ("not asked", "..P", health(1, 3, 0), "uup"),
    ] {
        assert_eq!(verdicts(answers, &health), expected, "{situation}: {answers}");
    }
}

#[test]
fn since_moves_with_the_state_and_detail_with_every_answer() {
    let health = health(1, 3, 0);
    let mut record = Record::new(at(0));
    record.note(reply('P'), at(1), &health);
    record.note(reply('F'), at(2), &health);
    let expected = Verdict { state: HealthState::Passing, since: at(1), detail: "F".to_owned() };
    assert_eq!(record.verdict(), &expected);
}

#[test]
fn the_images_own_check() {
    let starting = of_image(None, ImageHealth::Starting, at(1));
    assert_eq!((starting.state, starting.since), (HealthState::Unknown, at(1)));
    let healthy = of_image(Some(&starting), ImageHealth::Healthy, at(2));
    assert_eq!((healthy.state, healthy.since), (HealthState::Passing, at(2)));
    let still = of_image(Some(&healthy), ImageHealth::Healthy, at(3));
    assert_eq!(still, healthy);
    let unhealthy = of_image(Some(&still), ImageHealth::Unhealthy, at(4));
    assert_eq!(unhealthy.state, HealthState::Failing);
    assert_eq!(unhealthy.detail, "HEALTHCHECK of the image: unhealthy");
}

fn answers() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(vec!['P', 'F', 'U', '.']), 0..40)
        .prop_map(|letters| letters.into_iter().collect())
}

proptest! {
    #[test]
    fn never_failing_without_enough_failures_since_the_last_pass(
        answers in answers(), interval in 1_u64..5, retries in 1_u32..5, start in 0_u64..20,
    ) {
        let said = verdicts(&answers, &health(interval, retries, start));
        for (second, verdict) in said.chars().enumerate() {
            let before: Vec<char> = answers.chars().take(second + 1).collect();
            let row = before.iter().rev().take_while(|letter| **letter != 'P');
            let failures = row.filter(|letter| **letter == 'F').count();
            prop_assert!(verdict != 'f' || failures >= retries as usize, "{answers} -> {said} at {second}");
        }
    }

    #[test]
    fn the_last_answer_decides_where_it_can(
        answers in answers(), interval in 1_u64..5, retries in 1_u32..5, start in 0_u64..20,
    ) {
        let said = verdicts(&answers, &health(interval, retries, start));
        for (answer, verdict) in answers.chars().zip(said.chars()) {
            match answer {
                'P' => prop_assert_eq!(verdict, 'p', "{} -> {}", answers, said),
                'U' => prop_assert_eq!(verdict, 'u', "{} -> {}", answers, said),
                _ => {}
            }
        }
    }

    #[test]
    fn without_a_pass_it_is_never_failing_before_its_time(
        interval in 1_u64..5, retries in 1_u32..5, start in 0_u64..20, length in 0_usize..60,
    ) {
        let said = verdicts(&"F".repeat(length), &health(interval, retries, start));
        let due = usize::try_from(start + interval * (u64::from(retries) - 1)).expect("small");
        let expected: String = (0..length).map(|second| if second < due { 'u' } else { 'f' }).collect();
        prop_assert_eq!(said, expected);
    }
}
