//! The agent killed at every call that changes something: the next one goes on, and no byte is fetched twice.

use super::*;

/// Runs until killed, or until it is over. Whether it was killed.
async fn killed(agent: &Agent, over: impl Fn(&record::Record) -> bool) -> bool {
    let end = async {
        let began = Instant::now();
        while !over(&agent.remembered()) {
            assert!(began.elapsed() < PATIENCE, "it never came to its end\n{}", agent.told());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    };
    let stopped = Arc::clone(&agent.node.stopped);
    tokio::select! {
        () = stopped.notified() => true,
        () = end => false,
    }
}

/// What has to be so in the end, whatever happened on the way.
fn check(agent: &Agent, digest: &str, point: usize) {
    let world = agent.node.world();
    assert_eq!(
        world.names.get(A).map(String::as_str),
        Some(digest),
        "point {point}\n{}",
        world.story.join("\n")
    );
    for (layer, bytes) in &world.fetched {
        assert!(*bytes <= SIZE, "{layer}: {bytes} bytes at point {point}\n{}", world.story.join("\n"));
    }
}

fn good(digest: &'static str) -> impl Fn(&record::Record) -> bool {
    move |record| record.good.as_deref() == Some(digest)
}

#[tokio::test(start_paused = true)]
async fn a_kill_at_any_point_of_a_first_pull_is_gone_on_from() {
    let mut point = 0;
    loop {
        point += 1;
        let node = simulated();
        node.world().stop_at = Some(point);
        let agent = Agent::start(node, one_model());
        let was_killed = killed(&agent, good(ONE)).await;
        let (node, root) = agent.kill().await;
        node.world().stop_at = None;
        let agent = Agent::start_in(root, node, one_model());
        agent.until_good(ONE).await;
        agent.until_state(ModelState::Loaded).await;
        check(&agent, ONE, point);
        let record = agent.remembered();
        assert!(record.ours, "point {point}: it was noted before the pull\n{}", agent.told());
        assert!(record.past.iter().all(|past| past.end.is_some()), "point {point}: {record:?}");
        if !was_killed {
            break;
        }
    }
    harness::requirements::tried(&format!("{} kills in a first pull", point - 1));
    assert!(point > 15, "{point}");
}

async fn updates(bad: bool) {
    let mut point = 0;
    let mut wanted = one_model();
    wanted.models.every = Some(Duration::from_secs(60));
    let over = move |record: &record::Record| {
        if bad { record.barred(TWO).is_some() } else { record.good.as_deref() == Some(TWO) }
    };
    let end = if bad { ONE } else { TWO };
    loop {
        point += 1;
        let agent = deployed_as(wanted.clone()).await;
        {
            let mut world = agent.node.world();
            world.stop_at = Some(world.points + point);
            world.registry.insert(A.to_owned(), TWO.to_owned());
            if bad {
                world.answers.insert(TWO.to_owned(), "five".to_owned());
            }
        }
        let was_killed = killed(&agent, over).await;
        let (node, root) = agent.kill().await;
        node.world().stop_at = None;
        let agent = Agent::start_in(root, node, wanted.clone());
        let began = Instant::now();
        while !over(&agent.remembered()) {
            assert!(began.elapsed() < PATIENCE, "point {point}\n{}", agent.told());
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        agent
            .until("at its end", |status| {
                status.models[0].digest.as_deref() == Some(end)
                    && status.models[0].state == ModelState::Loaded
            })
            .await;
        check(&agent, end, point);
        let old = plan::kept_name(&"a:1".parse().unwrap(), ONE).full();
        let world = agent.node.world();
        let old = world.names.get(&old).map(String::as_str);
        assert!(bad || old == Some(ONE), "point {point}: the old one is kept\n{}", world.story.join("\n"));
        if !was_killed {
            break;
        }
    }
    let what = if bad { "an update that fails" } else { "an update" };
    harness::requirements::tried(&format!("{} kills in {what}", point - 1));
    assert!(point > 15, "{point}");
}

#[tokio::test(start_paused = true)]
async fn a_kill_at_any_point_of_an_update_is_gone_on_from() {
    updates(false).await;
}

#[tokio::test(start_paused = true)]
async fn a_kill_at_any_point_of_an_update_that_fails_ends_with_the_old_version() {
    updates(true).await;
}

#[tokio::test(start_paused = true)]
async fn what_a_plan_found_out_is_on_disk_before_its_pull_begins() {
    let node = simulated();
    node.world().stop_at = Some(1);
    let agent = Agent::start(node, one_model());
    assert!(killed(&agent, |_| false).await);
    let (node, root) = agent.kill().await;
    assert!(node.world().story.iter().any(|line| line.contains(" pull a:1")));
    let record = Store::new(&Paths::under(root.path())).load().0.record(A).cloned().unwrap();
    assert!(record.ours && record.needed_at.is_some(), "{record:?}");
    assert_eq!(record.under_way().map(|open| open.to.as_str()), Some(ONE));
}
