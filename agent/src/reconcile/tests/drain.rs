//! The machine goes down: the loop stops every service, in virtual time.

use super::*;
use crate::simulation::Trouble;

/// `api` depends on `cache`, that on `db`; `worker` on nothing.
async fn four_services() -> Agent {
    let names = ["db", "cache", "api", "worker"];
    let mut desired = wants(&names);
    desired.services[1].settings.depends_on = vec!["db".to_owned()];
    desired.services[2].settings.depends_on = vec!["cache".to_owned()];
    let node = Simulated::new();
    for name in names {
        node.push(name, Some(ONE));
    }
    let agent = Agent::start(node, desired);
    for name in names {
        agent.until_runs(name, ONE).await;
    }
    agent.until("ready", |status| status.node.state == NodeState::Ready).await;
    agent
}

/// Ends the loop as the whole agent does, and returns how long it took.
async fn drained(agent: &mut Agent) -> Duration {
    let began = Instant::now();
    agent.board.drain(agent.node.now());
    agent.drain.cancel();
    let reconcile = agent.tasks.remove(0);
    if tokio::time::timeout(PATIENCE, reconcile).await.is_err() {
        panic!("it goes on for ever\n{}", agent.story());
    }
    began.elapsed()
}

fn stops(agent: &Agent) -> Vec<String> {
    let story = agent.node.world().story.clone();
    let stops = story.iter().filter_map(|line| line.split_once(" stop ").map(|(_, name)| name.to_owned()));
    stops.collect()
}

fn nothing_runs(agent: &Agent) {
    let world = agent.node.world();
    let runs =
        world.containers.iter().any(|container| matches!(container.state, ContainerState::Running { .. }));
    assert!(!runs, "{:#?}", world.containers);
    assert_eq!(world.foreign, World::new().foreign);
}

#[tokio::test(start_paused = true)]
async fn services_stop_in_reverse_order_and_nothing_is_started_any_more() {
    let mut agent = four_services().await;
    let starts = agent.deeds(" start ");
    let took = drained(&mut agent).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    nothing_runs(&agent);
    let order = stops(&agent);
    let at = |name: &str| order.iter().position(|stopped| stopped.starts_with(name)).unwrap();
    assert_eq!(order.len(), 4, "{order:?}");
    assert!(at("api") < at("cache") && at("cache") < at("db") && at("worker") < at("cache"), "{order:?}");
    assert_eq!(agent.deeds(" start "), starts, "{}", agent.story());
    let status = agent.board.status();
    assert_eq!(status.node.state, NodeState::Draining);
    assert!(status.services.iter().all(|service| service.state == ServiceState::Stopped), "{status:#?}");
    let reasons = agent.board.explanations();
    assert!(reasons.iter().all(|one| one.reasons[0].text.starts_with("stopped: ")), "{reasons:#?}");
    let (reply, _answer) = oneshot::channel();
    let late = Command::Restart { service: "api".to_owned(), reply };
    assert!(agent.commands.send(late).await.is_err(), "who asks for something is told that it is too late");
}

#[tokio::test(start_paused = true)]
async fn a_pull_is_given_up_and_an_update_goes_no_further() {
    let mut agent = pulling().await;
    let took = drained(&mut agent).await;
    assert!(took < Duration::from_secs(6), "{took:?}");
    assert_eq!(agent.deeds(" create "), 0, "{}", agent.story());
}

#[tokio::test(start_paused = true)]
async fn an_engine_that_comes_back_is_asked_and_one_that_does_not_is_given_up() {
    let mut agent = four_services().await;
    agent.node.change(|world| world.up = false);
    let node = agent.node.clone();
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(40)).await;
        node.change(|world| world.up = true);
    });
    let took = drained(&mut agent).await;
    assert!((40..45).contains(&took.as_secs()), "{took:?}");
    nothing_runs(&agent);

    let mut agent = four_services().await;
    agent.node.change(|world| world.up = false);
    let took = drained(&mut agent).await;
    assert!((60..70).contains(&took.as_secs()), "{took:?}");
    assert_eq!(stops(&agent), [""; 0]);
    assert_eq!(agent.problems(), ["stop_failed"; 4]);
}

#[tokio::test(start_paused = true)]
async fn a_stop_that_fails_is_tried_again() {
    let mut agent = four_services().await;
    agent.node.change(|world| world.troubles = vec![Trouble::Refused("engine_refused"); 2]);
    let took = drained(&mut agent).await;
    assert!((1..6).contains(&took.as_secs()), "{took:?}");
    nothing_runs(&agent);
}
