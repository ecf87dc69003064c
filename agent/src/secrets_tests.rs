//! The task against a scripted source and a real store in a temporary tree; the clock stands still and jumps.

use super::*;
use crate::status::{Node, NodeState};
use node::paths::Paths;
use secrecy::SecretSlice;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

/// Gives one prepared answer after the other (`Ok` is a version id), then the last one for ever.
#[derive(Clone)]
struct Scripted {
    answers: Arc<Mutex<VecDeque<Result<&'static str, &'static str>>>>,
    asked: watch::Sender<usize>,
}

impl SecretSource for Scripted {
    async fn fetch(&self, name: &str, _: &settings::Secret, now: Timestamp) -> Result<SecretValue, Problem> {
        let answer = {
            let mut answers = self.answers.lock().unwrap();
            let next = answers.front().copied().unwrap();
            if answers.len() > 1 {
                answers.pop_front();
            }
            next
        };
        self.asked.send_modify(|asked| *asked += 1);
        answer.map(|version| value(name, version, now)).map_err(|code| Problem {
            code: code.to_owned(),
            message: format!("cannot read secret {name}"),
            hint: None,
            since: now,
        })
    }
}

fn value(name: &str, version: &str, now: Timestamp) -> SecretValue {
    SecretValue {
        name: name.to_owned(),
        version_id: version.to_owned(),
        fetched_at: now,
        values: [("KEY".to_owned(), SecretSlice::from(version.as_bytes().to_vec()))].into(),
    }
}

struct Story {
    _root: tempfile::TempDir,
    store: Store,
    board: Board,
    versions: watch::Receiver<Versions>,
    asked: watch::Receiver<usize>,
    shutdown: CancellationToken,
}

impl Story {
    /// Starts the task on a store that has `stored`, with `answers` to come.
    fn start(
        stored: Option<&str>,
        restart_on_change: bool,
        answers: &[Result<&'static str, &'static str>],
    ) -> Story {
        let root = tempfile::tempdir().unwrap();
        let store = Store::new(&Paths::under(root.path()));
        let now = Timestamp::UNIX_EPOCH;
        if let Some(version) = stored {
            store.write(&value("app", version, now)).unwrap();
        }
        let board = Board::new(Node {
            name: String::new(),
            instance_id: String::new(),
            instance_type: String::new(),
            region: String::new(),
            availability_zone: String::new(),
            state: NodeState::Starting,
            since: now,
            version: String::new(),
            boot: String::new(),
        });
        let (asked, asked_receiver) = watch::channel(0);
        let source = Scripted { answers: Arc::new(Mutex::new(answers.iter().copied().collect())), asked };
        let secret = settings::Secret { id: "prod/app".to_owned(), require: Vec::new(), restart_on_change };
        let secrets = BTreeMap::from([("app".to_owned(), secret)]);
        let (sender, versions) = watch::channel(Versions::new());
        let refresh = Refresh::new(source, store.clone(), &secrets, board.clone(), sender);
        let shutdown = CancellationToken::new();
        tokio::spawn(refresh.run(7, shutdown.clone()));
        Story { _root: root, store, board, versions, asked: asked_receiver, shutdown }
    }

    /// Waits until the source was asked `count` times and the answer is on the board.
    async fn asked(&mut self, count: usize) {
        self.asked.wait_for(|asked| *asked >= count).await.unwrap();
        // The task is between its answer and its next sleep; paused time only moves once it sleeps.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    fn version(&self) -> Option<String> {
        self.versions.borrow().get("app").cloned()
    }

    fn codes(&self) -> Vec<String> {
        self.board.status().problems.into_iter().map(|problem| problem.code).collect()
    }
}

impl Drop for Story {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

#[tokio::test(start_paused = true)]
async fn what_bootstrap_fetched_is_there_at_once_and_a_new_version_is_noticed_within_minutes() {
    let begun = tokio::time::Instant::now();
    let mut story = Story::start(Some("v1"), true, &[Ok("v1"), Ok("v2")]);
    assert_eq!(story.version().as_deref(), Some("v1"), "before any question");
    story.asked(2).await;
    assert_eq!(story.version().as_deref(), Some("v2"));
    assert_eq!(story.store.current("app").unwrap().unwrap().version_id, "v2");
    assert_eq!(story.board.status().secrets[0].version_id.as_deref(), Some("v2"));
    let waited = begun.elapsed();
    assert!(waited >= 2 * INTERVAL && waited <= 2 * INTERVAL.mul_f64(1.1) + INTERVAL / 100, "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_bootstrap_could_not_get_is_tried_at_once_and_again_soon() {
    let begun = tokio::time::Instant::now();
    let mut story = Story::start(None, true, &[Err("secret_missing"), Err("secret_missing"), Ok("v1")]);
    story.asked(1).await;
    assert_eq!((story.version(), story.codes()), (None, vec!["secret_missing".to_owned()]));
    assert!(begun.elapsed() < Duration::from_secs(1), "at once: {:?}", begun.elapsed());
    story.asked(3).await;
    assert_eq!((story.version().as_deref(), story.codes()), (Some("v1"), vec![]));
    assert!(begun.elapsed() < Duration::from_secs(60), "soon: {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn failures_keep_the_last_good_version_and_are_told_from_the_second_on() {
    let answers = [Err("secrets_unreachable"), Err("secrets_unreachable"), Ok("v1")];
    let mut story = Story::start(Some("v1"), true, &answers);
    story.asked(1).await;
    assert_eq!((story.version().as_deref(), story.codes()), (Some("v1"), vec![]), "one is a hiccup");
    story.asked(2).await;
    assert_eq!(story.version().as_deref(), Some("v1"));
    assert_eq!(story.codes(), ["secrets_unreachable"]);
    story.asked(3).await;
    assert_eq!(story.codes(), [""; 0], "over");
}

#[tokio::test(start_paused = true)]
async fn a_secret_whose_changes_nobody_wants_is_not_asked_for_again() {
    let story = Story::start(Some("v1"), false, &[Ok("v2")]);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!((story.version().as_deref(), *story.asked.borrow()), (Some("v1"), 0));
}

#[tokio::test(start_paused = true)]
async fn no_value_reaches_the_board() {
    let mut story = Story::start(None, true, &[Ok("marked-value")]);
    story.asked(1).await;
    let mut status = story.board.status();
    // The version id is the one thing that this test made of the same text.
    status.secrets[0].version_id = None;
    assert!(!serde_json::to_string(&status).unwrap().contains("marked-value"));
}

#[test]
fn nodes_spread_over_a_tenth_of_the_interval() {
    let jitters: Vec<Duration> = (0..100).map(|seed| jitter(seed, 1)).collect();
    assert!(jitters.iter().all(|jitter| *jitter < INTERVAL / 10));
    let distinct: std::collections::BTreeSet<_> = jitters.iter().collect();
    assert!(distinct.len() > 50, "{} distinct", distinct.len());
}
