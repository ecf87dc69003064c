//! When another image is taken, and what becomes of images, over the whole loop in virtual time.

use super::*;
use crate::history::UpdateEnd;
use crate::observed::Disk;
use node::config::settings::{self, Window};

const FOUR: &str = "sha256:four";

fn wants_with(change: impl FnOnce(&mut settings::Update)) -> Desired {
    let mut desired = wants(&["api"]);
    change(&mut desired.services[0].settings.update);
    desired
}

/// `api` runs well with these settings, on the image `one`.
async fn deployed_with(desired: Desired) -> Agent {
    let node = Simulated::new();
    node.push("api", Some(ONE));
    let agent = Agent::start(node, desired);
    agent.until_good(ONE).await;
    agent
}

impl Agent {
    /// Until a failed update would return to it.
    async fn until_good(&self, digest: &str) {
        self.until_runs("api", digest).await;
        while self.remembered().good.is_none_or(|good| good.digest != digest) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    fn update(&self) -> (UpdateState, String) {
        let update = self.board.status().services[0].update.clone();
        (update.state, update.reason.unwrap_or_default())
    }

    async fn until_waits(&self, digest: &str) -> String {
        self.until(&format!("{digest} is seen"), |status| {
            status.services.iter().any(|service| service.update.candidate.as_deref() == Some(digest))
        })
        .await;
        self.update().1
    }
}

/// From the first sign of a permission to the container that runs: a pass, the pull, the switch.
const SWITCH: Duration = Duration::from_secs(5);

#[tokio::test(start_paused = true)]
async fn an_image_is_taken_when_the_window_opens_and_the_update_is_remembered() {
    // The stories begin at 22:13:20; the window opens at 23:00.
    let window = Window { days: [true; 7], opens_at_minute: 23 * 60, open_for_minutes: 60 };
    let agent = deployed_with(wants_with(|update| update.windows = vec![window])).await;
    agent.node.push("api", Some(TWO));
    let reason = agent.until_waits(TWO).await;
    assert_eq!((agent.update().0, reason.contains("the next window")), (UpdateState::Waiting, true));
    while agent.deeds("pull sha256:two") == 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let opens = crate::simulation::samples::at(46 * 60 + 40);
    let late = agent.node.now().duration_since(opens);
    assert!(
        (0..3).contains(&late.as_secs()),
        "{late:?} after the window opened, of which the pull takes 2 s"
    );
    agent.until_good(TWO).await;
    let updates = agent.remembered().updates;
    let ends: Vec<_> = updates.iter().map(|update| (&*update.version.digest, update.end.clone())).collect();
    let passed = Some(UpdateEnd::Passed);
    assert_eq!(ends, [(ONE, passed.clone()), (TWO, passed)], "{updates:#?}");
    assert_eq!(updates[1].from.as_ref().map(|from| from.digest.as_str()), Some(ONE));
}

#[tokio::test(start_paused = true)]
async fn how_old_an_image_is_survives_a_kill() {
    let desired = wants_with(|update| update.min_age = Duration::from_secs(1800));
    let agent = deployed_with(desired.clone()).await;
    agent.node.push("api", Some(TWO));
    agent.until_waits(TWO).await;
    let began = Instant::now();
    tokio::time::sleep(Duration::from_secs(900)).await;
    let (node, root) = agent.kill().await;
    let agent = Agent::start_in(root, node, desired);
    agent.until_waits(TWO).await;
    while agent.deeds("start api-2") == 0 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let took = began.elapsed();
    let expected = Duration::from_secs(1800);
    assert!((expected - SWITCH..expected + SWITCH).contains(&took), "{took:?}\n{}", agent.story());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_says_no_is_updated_when_it_says_yes() {
    let agent = deployed_with(wants_with(|update| update.before = vec!["may-stop".to_owned()])).await;
    agent.node.change(|world| world.says = 7);
    agent.node.push("api", Some(TWO));
    agent
        .until("refused", |status| {
            let reason = status.services[0].update.reason.as_deref().unwrap_or_default();
            reason == "its `before` command exited with 7: so it is"
        })
        .await;
    tokio::time::sleep(Duration::from_secs(3000)).await;
    assert_eq!((agent.deeds("pull sha256:two"), agent.deeds("create")), (1, 1), "{}", agent.story());
    assert_eq!(agent.problems(), [""; 0], "it is no trouble of the node");
    agent.node.change(|world| world.says = 0);
    let took = agent.until_runs("api", TWO).await;
    assert!(took <= Duration::from_secs(300) + SWITCH, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_after_command_that_says_no_rolls_the_update_back() {
    let agent = deployed_with(wants_with(|update| update.after = vec!["smoke-test".to_owned()])).await;
    agent.node.change(|world| world.says = 2);
    agent.node.push("api", Some(TWO));
    agent.until("rolled back", |status| status.services[0].update.state == UpdateState::RolledBack).await;
    agent.until_runs("api", ONE).await;
    let cause = "its `after` command exited with 2: so it is".to_owned();
    assert_eq!(agent.remembered().quarantine[0].cause, cause);
    assert_eq!(agent.remembered().updates[1].end, Some(UpdateEnd::Failed(cause)));
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_fills_loses_the_spare_image_and_takes_no_other_one() {
    let agent = deployed().await;
    for digest in [TWO, THREE] {
        agent.node.push("api", Some(digest));
        agent.until_good(digest).await;
    }
    let disk = |percent: u64| Some(Disk { free_bytes: percent * 1_000_000, total_bytes: 100_000_000 });
    let has = |digest: &str| agent.node.world().images.iter().any(|name| name.ends_with(digest));
    assert!(has(ONE) && has(TWO) && has(THREE), "with room enough all are kept for a week");
    agent.node.change(|world| world.disk = disk(5));
    while has(ONE) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tokio::time::sleep(PATIENCE).await;
    assert!(has(TWO) && has(THREE), "what is needed stays\n{}", agent.story());
    agent.node.push("api", Some(FOUR));
    agent.until("disk full", |status| status.problems.iter().any(|found| found.code == "disk_full")).await;
    assert!(agent.update().1.contains("sha256:four is not pulled: it needs 10.0 MB"), "{:?}", agent.update());
    assert_eq!(agent.deeds("pull sha256:four"), 0);
    agent.node.change(|world| world.disk = disk(50));
    agent.until_good(FOUR).await;
    agent.until("without problems", |status| status.problems.is_empty()).await;
    assert_eq!(agent.deeds("remove registry"), 1, "{}", agent.story());
}
