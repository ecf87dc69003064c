//! The poller in virtual time against a scripted registry.

use super::*;
use crate::registry::Login;
use crate::simulation::samples::{at, image, service};
use jiff::Timestamp;
use std::sync::Mutex;

/// Answers what it is told, and notes when it was asked.
struct Scripted {
    began: Instant,
    answer: Mutex<Option<&'static str>>,
    asked: Mutex<Vec<Duration>>,
}

impl Registry for Scripted {
    async fn resolve(&self, image: &ImageReference) -> Result<Resolved, RegistryError> {
        self.asked.lock().unwrap().push(self.began.elapsed());
        match *self.answer.lock().unwrap() {
            Some(digest) => {
                Ok(Resolved { digest: digest.to_owned(), pushed_at: Some(at(-50)), size_bytes: Some(700) })
            }
            None => Err(RegistryError {
                code: "image_not_found",
                message: format!("{image} is not in the registry"),
                hint: Some("push it".to_owned()),
            }),
        }
    }

    async fn login(&self, _image: &ImageReference) -> Result<Option<Login>, RegistryError> {
        Ok(None)
    }
}

struct Polling {
    registry: Arc<Scripted>,
    desired: watch::Sender<Desired>,
    asks: mpsc::Sender<Ask>,
    candidates: watch::Receiver<Candidates>,
    task: tokio::task::JoinHandle<()>,
    shutdown: CancellationToken,
}

fn wants(change: impl FnOnce(&mut Service)) -> Desired {
    let mut wanted = service("api", "spec");
    change(&mut wanted);
    Desired { services: vec![wanted], ..Desired::default() }
}

fn poll(desired: Desired, answer: Option<&'static str>) -> Polling {
    let began = Instant::now();
    let registry = Arc::new(Scripted { began, answer: Mutex::new(answer), asked: Mutex::default() });
    let clock: Clock = Arc::new(move || -> Timestamp { at(0) + began.elapsed() });
    let (desired, wanted) = watch::channel(desired);
    let (asks, asks_taken) = mpsc::channel(4);
    let (candidates, seen) = watch::channel(Candidates::new());
    let shutdown = CancellationToken::new();
    let inputs = Inputs {
        desired: wanted,
        asks: asks_taken,
        candidates,
        seed: "i-1".to_owned(),
        shutdown: shutdown.clone(),
    };
    let task = tokio::spawn(run(Arc::clone(&registry), clock, inputs));
    Polling { registry, desired, asks, candidates: seen, task, shutdown }
}

impl Polling {
    async fn later(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    fn asked(&self) -> usize {
        self.registry.asked.lock().unwrap().len()
    }

    fn candidate(&self) -> Candidate {
        self.candidates.borrow()["api"].clone()
    }
}

#[tokio::test(start_paused = true)]
async fn a_tag_is_asked_for_at_once_and_then_every_so_often_with_jitter() {
    let polling = poll(wants(|_| {}), Some("sha256:one"));
    polling.later(3600).await;
    let asked = polling.registry.asked.lock().unwrap().clone();
    assert_eq!(asked[0], Duration::ZERO);
    assert!((55..=68).contains(&asked.len()), "{asked:?}");
    let gaps = asked.windows(2).map(|pair| pair[1] - pair[0]);
    let apart = gaps.map(|gap| gap.as_secs_f64()).collect::<Vec<_>>();
    assert!(apart.iter().all(|gap| (53.9..=66.1).contains(gap)), "{apart:?}");
    assert!(apart.windows(2).any(|pair| pair[0] != pair[1]), "{apart:?}");
    polling.shutdown.cancel();
    polling.task.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn pinned_references_are_never_asked_for_and_never_updated_ones_once() {
    let pinned =
        wants(|wanted| wanted.settings.image.version = ImageVersion::Digest("sha256:pin".to_owned()));
    let polling = poll(pinned, Some("sha256:one"));
    polling.later(3600).await;
    assert_eq!(polling.asked(), 0);
    let polling = poll(wants(|wanted| wanted.settings.update.every = None), Some("sha256:one"));
    polling.later(3600).await;
    assert_eq!(polling.asked(), 1);
    polling.asks.send(Ask { service: Some("api".to_owned()) }).await.unwrap();
    polling.later(1).await;
    assert_eq!(polling.asked(), 2);
    assert!(polling.candidate().answer.unwrap().requested);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_with_its_beginning_beside_the_last_answer_and_asked_again_sooner() {
    let polling = poll(wants(|_| {}), Some("sha256:one"));
    polling.later(1).await;
    *polling.registry.answer.lock().unwrap() = None;
    polling.later(69).await;
    let failing = polling.candidate();
    assert_eq!(failing.answer.unwrap().digest, "sha256:one");
    let failure = failing.failure.unwrap();
    assert_eq!(failure.message, "registry.example/api:latest is not in the registry");
    let asked = polling.asked();
    polling.later(20).await;
    assert!(polling.asked() > asked, "sooner than the next turn");
    assert_eq!(polling.candidate().failure.unwrap().since, failure.since);
    *polling.registry.answer.lock().unwrap() = Some("sha256:two");
    polling.later(60).await;
    let answered = polling.candidate();
    assert_eq!((answered.answer.unwrap().digest.as_str(), answered.failure), ("sha256:two", None));
}

#[tokio::test(start_paused = true)]
async fn a_new_reference_forgets_the_old_answer_and_is_asked_for_at_once() {
    let polling = poll(wants(|_| {}), Some("sha256:one"));
    polling.later(1).await;
    *polling.registry.answer.lock().unwrap() = Some("sha256:two");
    polling.desired.send_replace(wants(|wanted| {
        wanted.settings.image.version = ImageVersion::Tag("v2".to_owned());
    }));
    polling.later(1).await;
    let candidate = polling.candidate();
    assert_eq!(candidate.reference.to_string(), "registry.example/api:v2");
    assert_eq!(candidate.answer.unwrap().digest, "sha256:two");
    polling.desired.send_replace(Desired::default());
    polling.later(1).await;
    assert!(polling.candidates.borrow().is_empty());
}

#[tokio::test(start_paused = true)]
async fn services_that_follow_one_reference_share_its_answers() {
    let follower = |name: &str| Service { name: name.to_owned(), ..service("api", "spec") };
    let two = Desired { services: vec![follower("api"), follower("worker")], ..Desired::default() };
    let polling = poll(two.clone(), Some("sha256:one"));
    polling.later(3600).await;
    let asked = polling.registry.asked.lock().unwrap().clone();
    assert!((55..=75).contains(&asked.len()), "as often as one of them alone: {asked:?}");
    let answers = polling.candidates.borrow().clone();
    assert_eq!(answers["api"], answers["worker"]);
    let answer = answers["api"].answer.clone().unwrap();
    assert_eq!((answer.pushed_at, answer.size_bytes), (Some(at(-50)), Some(700)));
    // A third one comes, and a person asks for one of them: both within a second of one question.
    let count = || polling.registry.asked.lock().unwrap().len();
    while count() == asked.len() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let before = count();
    polling.desired.send_modify(|desired| desired.services.push(follower("beat")));
    polling.asks.send(Ask { service: Some("worker".to_owned()) }).await.unwrap();
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(count(), before, "no second question within a second");
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(count(), before + 1);
    let answers = polling.candidates.borrow().clone();
    let requested = |name: &str| answers[name].answer.as_ref().unwrap().requested;
    assert_eq!(["api", "beat", "worker"].map(requested), [false, false, true]);
    // A failure is shared as well, and asked about once.
    *polling.registry.answer.lock().unwrap() = None;
    polling.later(66).await;
    let failing = polling.candidates.borrow().clone();
    assert!(failing.values().all(|candidate| candidate.failure.is_some() && candidate.answer.is_some()));
}

#[test]
fn jitter_is_the_same_in_every_replay_and_differs_between_nodes() {
    let every = Duration::from_secs(60);
    assert_eq!(jittered(every, "i-1", "api", 1), jittered(every, "i-1", "api", 1));
    assert_ne!(jittered(every, "i-1", "api", 1), jittered(every, "i-2", "api", 1));
    assert_eq!(image("api").to_string(), "registry.example/api:latest");
}

#[test]
fn retries_double_and_are_never_later_than_the_regular_turn() {
    let seconds = |failures| retry(failures, Some(Duration::from_secs(60))).as_secs();
    assert_eq!([1, 2, 3, 4, 5, 50].map(seconds), [5, 10, 20, 40, 60, 60]);
    assert_eq!(retry(50, None), LONGEST_RETRY);
}
