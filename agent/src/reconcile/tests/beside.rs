//! Blue-green updates by the whole loop: no client of the port ever misses an answer.

use super::*;
use crate::rules::Rules;
use crate::simulation::samples::{WEB, routed};

fn wants_routed() -> Desired {
    let mut desired = wants(&["api"]);
    desired.services = desired.services.into_iter().map(routed).collect();
    desired
}

/// Deployed, with clients that count every gap from now on.
async fn serving() -> Agent {
    let agent = deployed_as(wants_routed()).await;
    watch(&agent);
    agent
}

fn watch(agent: &Agent) {
    let mut world = agent.node.world();
    world.watched = vec![("api".to_owned(), WEB)];
    assert!(world.answers("api", WEB), "port 80 does not lead to what runs");
}

fn behaves(agent: &Agent, digest: &str, behaviour: Behaviour) {
    agent.node.change(|world| {
        world.behaviours.insert(digest.to_owned(), behaviour);
    });
}

fn check_no_gap(agent: &Agent) {
    let world = agent.node.world();
    assert_eq!(world.gaps, [], "{}", world.story.join("\n"));
    assert!(world.answers("api", WEB), "{}", world.story.join("\n"));
}

async fn alone(agent: &Agent) {
    agent.until("alone", |_| true).await;
    while agent.node.world().containers.len() != 1 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn started(agent: &Agent, name: &str) {
    while agent.deeds(&format!("start {name}")) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn rolled_back(agent: &Agent) {
    agent
        .until("rolled back", |status| {
            let service = &status.services[0];
            service.update.state == UpdateState::RolledBack && service.state == ServiceState::Running
        })
        .await;
}

#[tokio::test(start_paused = true)]
async fn ten_updates_leave_no_gap_and_nothing_behind() {
    let agent = serving().await;
    for number in 0..10 {
        let digest = format!("sha256:{number}");
        agent.node.push("api", Some(&digest));
        agent.until_runs("api", &digest).await;
        alone(&agent).await;
        check_no_gap(&agent);
    }
    assert_eq!(agent.deeds("create"), 11, "{}", agent.story());
    assert_eq!(agent.problems(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_old_container_drains_until_its_clients_are_gone_or_its_time_is_over() {
    for (stay, longest) in [(10, 12), (1000, 32)] {
        let agent = serving().await;
        let old = agent.node.world().running("api")[0].id.clone();
        agent.node.change(|world| {
            world.clients.insert(old, 3);
        });
        agent.node.push("api", Some(TWO));
        let drains = |status: &Status| {
            let update = &status.services[0].update;
            update.reason.as_deref().is_some_and(|reason| reason.contains("3 connections"))
        };
        agent.until("draining", drains).await;
        let service = agent.board.status().services.remove(0);
        assert_eq!((service.state, service.digest.as_deref()), (ServiceState::Updating, Some(TWO)));
        let began = Instant::now();
        tokio::time::sleep(Duration::from_secs(stay.min(longest - 4))).await;
        assert_eq!(agent.node.world().running("api").len(), 2, "{}", agent.story());
        if stay < longest {
            agent.node.world().clients.clear();
        }
        alone(&agent).await;
        assert!(began.elapsed() < Duration::from_secs(longest), "{:?}\n{}", began.elapsed(), agent.story());
        agent.until_runs("api", TWO).await;
        check_no_gap(&agent);
        let story = agent.node.world().story.clone();
        let place = |words: &str| story.iter().position(|line| line.contains(words));
        let (forgotten, stopped) = (place("forget connections"), place("stop api-1"));
        assert!(forgotten.is_some() && forgotten < stopped, "{}", agent.story());
        assert_eq!(agent.deeds("forget connections"), 1, "{}", agent.story());
    }
}

#[tokio::test(start_paused = true)]
async fn a_bad_image_never_has_the_port_and_the_old_container_is_never_touched() {
    let bad = [
        Behaviour::Failing,
        Behaviour::Silent,
        Behaviour::Ends { code: 1, after: 0 },
        Behaviour::Ends { code: 137, after: 4 },
        Behaviour::StartRefused,
        Behaviour::CreateRefused,
    ];
    for behaviour in bad {
        let agent = serving().await;
        behaves(&agent, TWO, behaviour);
        let old = agent.node.world().running("api")[0].clone();
        agent.node.push("api", Some(TWO));
        rolled_back(&agent).await;
        alone(&agent).await;
        assert_eq!(agent.node.world().running("api"), [&old], "{behaviour:?}\n{}", agent.story());
        check_no_gap(&agent);
        tokio::time::sleep(PATIENCE).await;
        assert!(agent.deeds("start api-2") <= 1, "tried once\n{}", agent.story());
        assert_eq!(agent.deeds("forget connections"), 0, "nobody was ever led to it\n{}", agent.story());
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_crashes_again_and_again_after_its_gate_is_returned_from() {
    let agent = serving().await;
    behaves(&agent, TWO, Behaviour::Ends { code: 3, after: 25 });
    agent.node.push("api", Some(TWO));
    agent.until("taken", |status| status.services[0].digest.as_deref() == Some(TWO)).await;
    rolled_back(&agent).await;
    let record = agent.remembered();
    assert_eq!(record.good.map(|good| good.digest).as_deref(), Some(ONE));
    let causes: Vec<_> = record.quarantine.iter().map(|entry| entry.cause.as_str()).collect();
    assert_eq!(causes, ["it passed its gate and then ended 3 times: it exited with code 3"]);
    assert_eq!(agent.deeds("start api-2"), 3, "{}", agent.story());
    alone(&agent).await;
    assert!(agent.node.world().answers("api", WEB));
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_moment_of_an_update_no_client_notices() {
    let (mut kills, mut after_the_note) = (0, 0);
    for moment in 0..60 {
        let agent = serving().await;
        let old = agent.node.world().running("api")[0].id.clone();
        agent.node.change(|world| {
            world.clients.insert(old, 1);
        });
        agent.node.push("api", Some(TWO));
        while agent.deeds("create api-2") == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(moment * 850)).await;
        let good = agent.remembered().good.map(|good| good.digest);
        kills += 1;
        after_the_note += u32::from(good.as_deref() == Some(TWO) && agent.deeds("stop") == 0);
        let (node, root) = agent.kill().await;
        let agent = Agent::start_in(root, node, wants_routed());
        agent.until_runs("api", TWO).await;
        alone(&agent).await;
        check_no_gap(&agent);
        assert!(agent.remembered().quarantine.is_empty(), "{}", agent.story());
    }
    assert!(after_the_note > 0, "no kill fell between the note and the end of the old container");
    println!("{kills} kills, {after_the_note} of them while the old container drained");
}

#[tokio::test(start_paused = true)]
async fn killed_between_the_note_and_the_switch_the_next_agent_switches() {
    let agent = serving().await;
    agent.node.push("api", Some(TWO));
    started(&agent, "api-2").await;
    // The note is taken, and the rules cannot be.
    agent.node.world().firewall_works = false;
    while agent.remembered().good.is_none_or(|good| good.digest != TWO) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let (node, root) = agent.kill().await;
    assert_eq!(node.world().running("api").len(), 2);
    node.world().firewall_works = true;
    let agent = Agent::start_in(root, node, wants_routed());
    agent.until_runs("api", TWO).await;
    alone(&agent).await;
    check_no_gap(&agent);
}

#[tokio::test(start_paused = true)]
async fn rules_that_somebody_flushed_are_back_at_once() {
    let agent = serving().await;
    agent.node.change(|world| world.rules = Rules::default());
    assert!(!agent.node.world().answers("api", WEB));
    let began = Instant::now();
    while !agent.node.world().answers("api", WEB) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    assert!(began.elapsed() < Duration::from_millis(50), "{:?}", began.elapsed());
    assert_eq!(agent.deeds("stop"), 0, "{}", agent.story());
}

#[tokio::test(start_paused = true)]
async fn a_firewall_that_fails_is_a_problem_and_the_old_container_runs_until_it_works() {
    let agent = serving().await;
    agent.node.push("api", Some(TWO));
    started(&agent, "api-2").await;
    agent.node.change(|world| world.firewall_works = false);
    agent
        .until("a problem", |status| status.problems.iter().any(|problem| problem.code == "firewall_failed"))
        .await;
    tokio::time::sleep(Duration::from_secs(900)).await;
    assert_eq!(agent.problems(), ["firewall_failed"]);
    assert_eq!(agent.deeds("stop"), 0, "{}", agent.story());
    check_no_gap(&agent);
    agent.node.change(|world| world.firewall_works = true);
    agent.until_runs("api", TWO).await;
    alone(&agent).await;
    agent.until("without problems", |status| status.problems.is_empty()).await;
    check_no_gap(&agent);
}

#[tokio::test(start_paused = true)]
async fn a_restart_that_was_asked_for_takes_the_port_away_before_the_stop() {
    let agent = serving().await;
    let answer = agent.ask(|reply| Command::Restart { service: "api".to_owned(), reply }).await;
    assert_eq!(answer, Ok("restarting api".to_owned()));
    agent.until("restarted", |status| status.services[0].restarts == 1).await;
    agent.until_runs("api", ONE).await;
    while !agent.node.world().answers("api", WEB) {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let gaps = agent.node.world().gaps.clone();
    assert_eq!(gaps.len(), 1, "{gaps:?}");
    assert!(gaps[0].deed.contains("rules {}"), "the stop came before the rules: {gaps:?}");
}

#[tokio::test(start_paused = true)]
async fn a_strategy_is_changed_both_ways() {
    let mut recreate = wants_routed();
    recreate.services[0].settings.update.strategy = node::config::settings::Strategy::Recreate;
    let agent = deployed_as(recreate.clone()).await;
    watch(&agent);
    agent.desired.send_modify(|desired| {
        *desired = wants_routed();
        desired.services[0].spec_hash = "routed".to_owned();
    });
    agent.until("beside", |_| agent.node.world().running("api").iter().any(|it| it.spec == "routed")).await;
    alone(&agent).await;
    check_no_gap(&agent);
    agent.desired.send_replace(recreate);
    agent.until("recreated", |_| agent.node.world().running("api").iter().any(|it| it.spec == "spec")).await;
    alone(&agent).await;
    let world = agent.node.world();
    assert!(world.answers("api", WEB) && world.rules.routes.is_empty(), "{}", world.story.join("\n"));
    assert!(world.gaps.iter().all(|gap| gap.deed.contains("rules {}")), "{:?}", world.gaps);
}
