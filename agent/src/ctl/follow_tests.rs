//! Stories of waiting in virtual time: what the agent answers look by look, what is said meanwhile, and the verdict.

use super::*;
use crate::control::api::Fault;
use std::collections::VecDeque;
use std::io;

/// One answer of the agent, and how often it is given.
type Scene = (usize, Answer);

#[derive(Clone)]
enum Answer {
    Pending(String),
    Done,
    Failed,
    Away,
    Silent,
    No,
}

fn pending(text: &str) -> Answer {
    Answer::Pending(text.to_owned())
}

/// An agent that answers by a script; the last scene never ends.
struct Scripted {
    scenes: VecDeque<Scene>,
}

impl Scripted {
    async fn look(&mut self) -> Result<Progress, ClientError> {
        let (left, answer) = self.scenes.front_mut().unwrap();
        *left = left.saturating_sub(1);
        let (over, answer) = (*left == 0, answer.clone());
        if over && self.scenes.len() > 1 {
            self.scenes.pop_front();
        }
        let path = || "/run/node-agent/agent.sock".into();
        match answer {
            Answer::Pending(text) => Ok(Progress::Pending(text)),
            Answer::Done => Ok(Progress::Done("llama3.2:3b is loaded".to_owned())),
            Answer::Failed => Ok(Progress::Failed { text: "no room".to_owned(), failed: None }),
            Answer::Away => {
                let source = io::Error::from(io::ErrorKind::ConnectionRefused);
                Err(ClientError::Unreachable { path: path(), source })
            }
            Answer::Silent => {
                let deadline = Duration::from_secs(1);
                tokio::time::sleep(deadline).await;
                Err(ClientError::TimedOut { path: path(), deadline })
            }
            Answer::No => Err(ClientError::Refused(Fault::new("path_unknown", "not part of this API"))),
        }
    }
}

struct Told {
    verdict: Result<Verdict, ClientError>,
    /// What was said, with the second at which it was.
    lines: Vec<(u64, String)>,
    took: Duration,
}

async fn play(style: Style, scenes: Vec<Scene>, seconds: u64) -> Told {
    let mut agent = Scripted { scenes: scenes.into() };
    let (mut teller, mut lines) = (Teller::new(style), Vec::new());
    let begun = Instant::now();
    let say = |pending: &str, now: Instant| {
        let line = teller.say(pending, now);
        lines.extend(line.map(|line| (now.duration_since(begun).as_secs(), line)));
    };
    let verdict = follow(async || agent.look().await, Progress::clone, seconds, say).await;
    Told { verdict, lines, took: begun.elapsed() }
}

fn verdict(told: &Told) -> &Verdict {
    told.verdict.as_ref().unwrap()
}

/// A pull of a hundred steps, each five looks long: a percent a second.
fn pull() -> Vec<Scene> {
    (0..100).map(|percent| (5, pending(&format!("llama3.2:3b is being pulled ({percent}%)")))).collect()
}

#[tokio::test(start_paused = true)]
async fn what_ends_ends_the_waiting_at_once() {
    let told = play(Style::FewLines, vec![(1, Answer::Done)], 600).await;
    assert_eq!(verdict(&told), &Verdict::Done("llama3.2:3b is loaded".to_owned()));
    assert_eq!((told.lines.len(), told.took), (0, Duration::ZERO));
    let told = play(Style::FewLines, vec![(3, pending("waits")), (1, Answer::Failed)], 600).await;
    assert_eq!(verdict(&told), &Verdict::Failed { text: "no room".to_owned(), failed: None });
    assert_eq!(told.lines, [(0, "waits".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_restarted_meanwhile_is_waited_for() {
    let scenes = vec![
        (10, pending("llama3.2:3b is being pulled (10%)")),
        (30, Answer::Away),
        (2, Answer::Silent),
        (5, pending("the agent says nothing of any model yet")),
        (100, pending("llama3.2:3b is being pulled (10%)")),
        (1, Answer::Done),
    ];
    let told = play(Style::FewLines, scenes, 600).await;
    assert_eq!(verdict(&told), &Verdict::Done("llama3.2:3b is loaded".to_owned()));
    let lines: Vec<&str> = told.lines.iter().map(|(_, line)| line.as_str()).collect();
    assert_eq!(lines[0], "llama3.2:3b is being pulled (10%)");
    assert!(told.lines.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 10), "{:?}", told.lines);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_no_ends_the_waiting() {
    let told = play(Style::Lines, vec![(3, pending("waits")), (1, Answer::No)], 600).await;
    assert!(matches!(&told.verdict, Err(ClientError::Refused(_))), "{:?}", told.verdict);
}

#[tokio::test(start_paused = true)]
async fn waiting_ends_when_its_time_is_over_and_says_what_for() {
    for (seconds, looks) in [(0, 1), (1, 6), (30, 151)] {
        let told = play(Style::FewLines, vec![(1, pending("waits for the registry"))], seconds).await;
        assert_eq!(verdict(&told), &Verdict::Late("waits for the registry".to_owned()));
        assert_eq!(told.took, Duration::from_secs(seconds), "{looks} looks");
    }
    let told = play(Style::FewLines, vec![(1, Answer::Away)], 5).await;
    let Verdict::Late(text) = verdict(&told) else { panic!("{:?}", told.verdict) };
    assert!(text.starts_with("cannot reach node-agent at /run/node-agent/agent.sock: "), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_long_pull_is_told_in_few_lines_and_in_one_place_on_a_terminal() {
    let mut scenes = pull();
    scenes.push((1, Answer::Done));
    let told = play(Style::FewLines, scenes.clone(), 600).await;
    let seconds: Vec<u64> = told.lines.iter().map(|(second, _)| *second).collect();
    assert_eq!(seconds, [0, 60], "{:?}", told.lines);
    let told = play(Style::Lines, scenes.clone(), 600).await;
    assert_eq!(told.lines.len(), 1, "numbers are not worth a line: {:?}", told.lines);
    let told = play(Style::InPlace(30), scenes, 600).await;
    assert_eq!(told.lines.len(), 100);
    assert!(told.lines.iter().all(|(_, line)| line.chars().count() < 30), "{:?}", told.lines);
}

#[tokio::test(start_paused = true)]
async fn what_changes_all_the_time_is_told_every_ten_seconds_at_most() {
    let flapping = (0..600).map(|look| (1, pending(if look % 2 == 0 { "asks" } else { "waits" })));
    let mut scenes: Vec<Scene> = flapping.collect();
    scenes.push((1, Answer::Done));
    let told = play(Style::FewLines, scenes, 600).await;
    assert!(told.lines.windows(2).all(|pair| pair[1].0 - pair[0].0 >= 10), "{:?}", told.lines);
    assert!((6..=13).contains(&told.lines.len()), "{:?}", told.lines);
}

#[test]
fn a_line_in_place_cannot_steer_the_terminal() {
    let line = Teller::new(Style::InPlace(80)).say("m: \x1b[31mno\x07\n", Instant::now());
    assert_eq!(line.as_deref(), Some("m: no\u{fffd} "));
}
