//! What operators ask of the loop: what is answered, when, and what is on disk by then.

use super::*;
use crate::command::{Taken, Wish};
use crate::history::Record;

fn digest(digit: &str) -> String {
    format!("sha256:{}", digit.repeat(64))
}

/// Runs `a`, then `b` under `latest`; the registry has `c` as `v3`, and still `a`.
async fn twice_deployed() -> Agent {
    let node = Simulated::new();
    node.push("api", Some(&digest("a")));
    node.push("api:v1", Some(&digest("a")));
    node.push("api:v3", Some(&digest("c")));
    let agent = Agent::start(node, wants(&["api"]));
    good(&agent, "a").await;
    agent.node.push("api", Some(&digest("b")));
    good(&agent, "b").await;
    agent.until_runs("api", &digest("b")).await;
    agent
}

async fn good(agent: &Agent, digit: &str) {
    while agent.remembered().good.is_none_or(|good| good.digest != digest(digit)) {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

async fn wish(agent: &Agent, wish: Wish) -> Result<Taken, Refused> {
    let (reply, answer) = oneshot::channel();
    agent.commands.send(Command::Wish { service: "api".to_owned(), wish, reply }).await.unwrap();
    answer.await.unwrap()
}

fn to(reference: &str) -> Wish {
    Wish::Target { to: reference.to_owned(), retry: false }
}

/// The digest that a person asked for, as it is on disk.
fn asked_for(record: &Record) -> Option<&str> {
    record.target.as_ref().map(|target| target.digest.as_str())
}

#[tokio::test(start_paused = true)]
async fn a_wish_is_on_disk_and_shown_when_it_is_answered_for() {
    let agent = twice_deployed().await;
    let taken = wish(&agent, to("v3")).await.unwrap();
    let goal = taken.target.expect("the digest that it goes to");
    assert_eq!(goal.digest, digest("c"));
    assert_eq!(asked_for(&agent.remembered()), Some(digest("c").as_str()));
    agent
        .until("shown", |_| {
            let shown = agent.board.explanations().remove(0).target;
            shown.is_some_and(|target| (target.named.as_str(), target.at) == ("v3", goal.at))
        })
        .await;
    wish(&agent, Wish::Rollback { to: None }).await.unwrap();
    assert_eq!(asked_for(&agent.remembered()), Some(digest("a").as_str()));
    for (asked, held, stopped) in [
        (Wish::Hold, true, false),
        (Wish::Stop, true, true),
        (Wish::Release, false, true),
        (Wish::Start, false, false),
    ] {
        wish(&agent, asked.clone()).await.unwrap();
        let record = agent.remembered();
        assert_eq!(
            (record.held_since.is_some(), record.stopped_since.is_some()),
            (held, stopped),
            "{asked:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_update_ends_what_was_asked_for_and_an_update_of_all_does_not() {
    let agent = twice_deployed().await;
    wish(&agent, to("v1")).await.unwrap();
    agent.ask(|reply| Command::Update { service: None, reply }).await.unwrap();
    assert_eq!(asked_for(&agent.remembered()), Some(digest("a").as_str()));
    let answer = agent.ask(|reply| Command::Update { service: Some("api".to_owned()), reply }).await;
    let ended = format!("asking the registry for api; it no longer stays on {}", digest("a"));
    assert_eq!(answer, Ok(ended));
    assert_eq!(agent.remembered().target, None);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_does_not_exist_is_refused_and_nothing_is_changed() {
    let agent = twice_deployed().await;
    let before = agent.remembered();
    for (asked, code) in [
        (to("v9"), "image_not_found"),
        (to(&digest("9")), "image_not_found"),
        (Wish::Rollback { to: Some(digest("9")) }, "image_not_found"),
        (to("other.example/api:v3"), "other_repository"),
    ] {
        let refused = wish(&agent, asked.clone()).await.unwrap_err();
        assert_eq!(refused.code, code, "{asked:?}: {refused:?}");
    }
    agent.node.push("api", None);
    let refused = wish(&agent, Wish::Retry).await.unwrap_err();
    assert_eq!(refused.message, "registry.example does not answer; nothing was changed");
    assert_eq!(agent.remembered(), before);
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_still_here_needs_no_registry() {
    let agent = twice_deployed().await;
    for name in ["api", "api:v1", "api:v3"] {
        agent.node.push(name, None);
    }
    wish(&agent, Wish::Rollback { to: Some("aaaaaaaaaaaa".to_owned()) }).await.unwrap();
    assert_eq!(asked_for(&agent.remembered()), Some(digest("a").as_str()));
}

#[tokio::test(start_paused = true)]
async fn a_registry_that_says_nothing_is_given_up_and_keeps_nobody_waiting() {
    let agent = twice_deployed().await;
    agent.node.change(|world| world.registry_hangs = true);
    let began = Instant::now();
    let (reply, slow) = oneshot::channel();
    let asked = Command::Wish { service: "api".to_owned(), wish: to("v3"), reply };
    agent.commands.send(asked).await.unwrap();
    assert_eq!(wish(&agent, to("v1")).await.unwrap_err().code, "busy");
    wish(&agent, Wish::Stop).await.unwrap();
    wish(&agent, Wish::Start).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
    let refused = slow.await.unwrap().unwrap_err();
    assert_eq!(began.elapsed().as_secs(), crate::command::LOOKUP_DEADLINE.as_secs());
    let late = "no answer for registry.example/api:v3 within 30 s; nothing was changed";
    assert_eq!(refused.message, late);
    assert_eq!(agent.remembered().target, None);
}

#[tokio::test(start_paused = true)]
async fn a_retry_tries_what_had_failed_once_more() {
    let agent = twice_deployed().await;
    let ends = Behaviour::Ends { code: 3, after: 2 };
    agent.node.change(|world| {
        world.behaviours.insert(digest("d"), ends);
    });
    agent.node.push("api", Some(&digest("d")));
    agent.until("rolled back", |status| status.services[0].update.state == UpdateState::RolledBack).await;
    let refused = wish(&agent, to(&digest("d"))).await.unwrap_err();
    let cause = format!("{} failed on service api before: it exited with code 3", digest("d"));
    assert_eq!((refused.code, refused.message), ("quarantined", cause));
    agent.node.change(|world| world.behaviours.clear());
    let taken = wish(&agent, Wish::Retry).await.unwrap();
    let named = "which registry.example/api:latest names, is tried again on service api";
    assert_eq!(taken.message, format!("{}, {named}", digest("d")));
    good(&agent, "d").await;
    assert_eq!(agent.remembered().quarantine, [], "{}", agent.story());
}

#[tokio::test(start_paused = true)]
async fn a_first_image_that_failed_is_tried_once_more_by_a_container_of_its_own() {
    let node = Simulated::new();
    node.push("api", Some(&digest("d")));
    node.change(|world| {
        world.behaviours.insert(digest("d"), Behaviour::Ends { code: 3, after: 2 });
    });
    let agent = Agent::start(node, wants(&["api"]));
    agent.until("failed", |status| status.services.iter().any(|s| s.state == ServiceState::Failed)).await;
    agent.node.change(|world| world.behaviours.clear());
    wish(&agent, Wish::Retry).await.unwrap();
    good(&agent, "d").await;
    agent.until_runs("api", &digest("d")).await;
}

#[tokio::test(start_paused = true)]
async fn held_and_stopped_services_say_what_to_do_first() {
    let agent = twice_deployed().await;
    wish(&agent, Wish::Hold).await.unwrap();
    let refused =
        agent.ask(|reply| Command::Update { service: Some("api".to_owned()), reply }).await.unwrap_err();
    assert_eq!(refused.hint.as_deref(), Some("release it first: `agentctl release api`"));
    wish(&agent, Wish::Stop).await.unwrap();
    let refused = agent.ask(|reply| Command::Restart { service: "api".to_owned(), reply }).await.unwrap_err();
    assert_eq!(refused.hint.as_deref(), Some("`agentctl start api` starts it"));
}

#[tokio::test(start_paused = true)]
async fn a_pinned_service_goes_elsewhere_and_comes_back() {
    let node = Simulated::new();
    node.push("api", Some(&digest("a")));
    node.push("api:v3", Some(&digest("c")));
    let mut desired = wants(&["api"]);
    let pinned = node::config::settings::ImageVersion::Digest(digest("a"));
    desired.services[0].settings.image.version = pinned;
    let agent = Agent::start(node, desired);
    good(&agent, "a").await;
    let follow = |reply| Command::Update { service: Some("api".to_owned()), reply };
    assert_eq!(agent.ask(follow).await.unwrap_err().code, "image_pinned");
    wish(&agent, to("v3")).await.unwrap();
    let back = agent.ask(follow).await.unwrap();
    let ended =
        format!("service api goes to {} of node.toml; it no longer stays on {}", digest("a"), digest("c"));
    assert_eq!(back, ended);
    assert_eq!(agent.remembered().target, None);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_written_is_said_to_be_forgotten() {
    let root = tempfile::tempdir().unwrap();
    let state = Paths::under(root.path()).state();
    node::files::replace(&state, b"a file where the folder should be", 0o644).unwrap();
    let node = Simulated::new();
    node.push("api", Some(&digest("a")));
    let agent = Agent::start_in(root, node, wants(&["api"]));
    agent.until_runs("api", &digest("a")).await;
    let taken = wish(&agent, Wish::Hold).await.unwrap();
    let forgotten = "; but it will be forgotten when the agent starts next: cannot write the history to ";
    assert!(taken.message.contains(forgotten), "{}", taken.message);
    std::fs::remove_file(&state).unwrap();
    let again = wish(&agent, Wish::Hold).await.unwrap();
    assert!(!again.message.contains("forgotten"), "{}", again.message);
    assert!(agent.remembered().held_since.is_some());
}
