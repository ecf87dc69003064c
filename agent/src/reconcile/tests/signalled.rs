//! Containers that somebody else has signalled: an engine that goes down does it before it falls silent.

use super::*;
use crate::simulation::Trouble;

#[tokio::test(start_paused = true)]
async fn an_engine_that_goes_down_in_an_update_is_no_fault_of_the_new_image() {
    let agent = deployed().await;
    agent.node.push("api", Some("sha256:b"));
    while agent.deeds("start api-2") == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    agent.node.change(|world| {
        world.signal("api");
        // What it says to whoever asks it for something now.
        world.troubles = vec![Trouble::Refused("engine_refused")];
    });
    tokio::time::sleep(Duration::from_millis(700)).await;
    agent.node.change(|world| world.up = false);
    tokio::time::sleep(Duration::from_secs(3)).await;
    agent.node.change(|world| (world.up, world.breaks) = (true, world.breaks + 1));
    agent.until_runs("api", "sha256:b").await;
    let agents = agent.story();
    assert!(!agents.contains("bars"), "{agents}");
    assert_eq!(agent.problems(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_container_that_a_person_killed_runs_again_and_nothing_counts_as_a_crash() {
    let agent = deployed().await;
    for _ in 0..5 {
        let starts = agent.deeds("start api-1");
        agent.node.change(|world| world.signal("api"));
        let began = Instant::now();
        while agent.deeds("start api-1") == starts {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}\n{}", began.elapsed(), agent.story());
    }
    assert_eq!(agent.problems(), [""; 0]);
}
