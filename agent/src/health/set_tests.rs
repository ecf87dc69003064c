//! Probers in virtual time: commands answered by a script, second by second.

use super::*;
use crate::engine::{EngineError, ExecOutcome};
use crate::health::commands::Commands;
use crate::status::HealthState;
use futures_util::FutureExt;
use std::ops::Range;

type Answering = Box<dyn Fn() -> Result<ExecOutcome, EngineError> + Send + Sync>;
/// The seconds at which a command ran.
type Asked = Arc<Mutex<Vec<u64>>>;

const EPOCH: Timestamp = Timestamp::UNIX_EPOCH;

fn at(second: u64) -> Timestamp {
    EPOCH + Duration::from_secs(second)
}

/// Probers on a clock that starts at the epoch and goes with the test's time. Commands pass within `passes`, in seconds.
fn probers(passes: Range<u64>) -> (Asked, Health<Commands<Answering>>) {
    let began = Instant::now();
    let asked = Asked::default();
    let notes = Arc::clone(&asked);
    let answer: Answering = Box::new(move || {
        let second = began.elapsed().as_secs();
        notes.lock().expect("no panic").push(second);
        Ok(ExecOutcome { code: i64::from(!passes.contains(&second)), output: String::new() })
    });
    let clock: Clock = Arc::new(move || EPOCH + began.elapsed());
    (asked, Health::with_clock(Arc::new(Commands(answer)), clock))
}

fn container(id: &str, started_at: Timestamp) -> Container {
    Container {
        id: id.to_owned(),
        name: format!("{id}-1"),
        service: id.to_owned(),
        spec: String::new(),
        digest: String::new(),
        generation: 1,
        state: ContainerState::Running { started_at },
        created_at: EPOCH,
        address: None,
        image_health: None,
        pid: None,
        routed_ports: Vec::new(),
        ipv6_ports: Vec::new(),
    }
}

fn health(probe: Probe) -> settings::Health {
    settings::Health {
        probe,
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(5),
        retries: 3,
        start_period: Duration::ZERO,
    }
}

fn exec() -> settings::Health {
    health(Probe::Exec(vec!["check".to_owned()]))
}

/// Waits for a verdict of container `c` in this state.
async fn verdict(probers: &Health<Commands<Answering>>, state: HealthState) -> Verdict {
    loop {
        match probers.verdicts().remove("c") {
            Some(verdict) if verdict.state == state => return verdict,
            _ => probers.changed().await,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn asked_at_once_then_quickly_then_at_the_interval() {
    let (asked, probers) = probers(3..30);
    probers.watch(&[(container("c", EPOCH), exec(), Network::Node)]);
    assert_eq!(verdict(&probers, HealthState::Unknown).await.detail, "not asked yet");
    let passing = verdict(&probers, HealthState::Passing).await;
    assert_eq!((passing.since, passing.detail.as_str()), (at(3), "`check`: exit status 0"));
    let failing = verdict(&probers, HealthState::Failing).await;
    assert_eq!((failing.since, failing.detail.as_str()), (at(53), "`check`: exit status 1"));
    assert_eq!(*asked.lock().expect("no panic"), [0, 1, 2, 3, 13, 23, 33, 43, 53]);
}

#[tokio::test(start_paused = true)]
async fn what_runs_on_is_not_asked_anew() {
    let (asked, probers) = probers(0..99);
    let watched = [(container("c", EPOCH), exec(), Network::Node)];
    probers.watch(&watched);
    verdict(&probers, HealthState::Passing).await;
    probers.watch(&watched);
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(probers.verdicts()["c"].state, HealthState::Passing);
    assert_eq!(*asked.lock().expect("no panic"), [0]);
}

#[tokio::test(start_paused = true)]
async fn a_new_start_begins_with_nothing_known() {
    let (_, probers) = probers(0..99);
    probers.watch(&[(container("c", EPOCH), exec(), Network::Node)]);
    verdict(&probers, HealthState::Passing).await;
    tokio::time::advance(Duration::from_secs(5)).await;
    probers.watch(&[(container("c", at(5)), exec(), Network::Node)]);
    assert_eq!(probers.verdicts()["c"].state, HealthState::Unknown);
    assert_eq!(verdict(&probers, HealthState::Passing).await.since, at(5));
}

#[tokio::test(start_paused = true)]
async fn what_is_no_longer_watched_is_neither_asked_nor_judged() {
    let (asked, probers) = probers(0..99);
    probers.watch(&[(container("c", EPOCH), exec(), Network::Node)]);
    verdict(&probers, HealthState::Passing).await;
    let stopped = Container { state: ContainerState::Created, ..container("c", EPOCH) };
    probers.watch(&[(stopped, exec(), Network::Node)]);
    assert_eq!(probers.verdicts(), BTreeMap::new());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(*asked.lock().expect("no panic"), [0]);
}

#[tokio::test(start_paused = true)]
async fn staying_up_for_one_interval_passes() {
    let (_, probers) = probers(0..0);
    tokio::time::advance(Duration::from_secs(4)).await;
    probers.watch(&[(container("c", EPOCH), health(Probe::ImageOrStayedUp), Network::Node)]);
    let passing = verdict(&probers, HealthState::Passing).await;
    assert_eq!((passing.since, passing.detail.as_str()), (at(10), "stayed up for 10 s"));
}

#[tokio::test(start_paused = true)]
async fn the_images_own_check_is_taken_over() {
    let (_, probers) = probers(0..0);
    let watch = |image_health| {
        let container = Container { image_health: Some(image_health), ..container("c", EPOCH) };
        probers.watch(&[(container, health(Probe::ImageOrStayedUp), Network::Node)]);
        probers.verdicts()["c"].state
    };
    assert_eq!(watch(ImageHealth::Starting), HealthState::Unknown);
    assert_eq!(watch(ImageHealth::Healthy), HealthState::Passing);
    assert_eq!(probers.changed().now_or_never(), Some(()), "a change wakes");
    assert_eq!(watch(ImageHealth::Healthy), HealthState::Passing);
    assert_eq!(probers.changed().now_or_never(), None, "the same again does not");
    assert_eq!(watch(ImageHealth::Unhealthy), HealthState::Failing);
}
