//! Commands of an operator.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_rollback_brings_the_old_version_back_without_a_registry_and_it_stays() {
    let mut wanted = one_model();
    wanted.models.every = Some(Duration::from_secs(60));
    let agent = deployed_as(wanted).await;
    agent.node.world().registry.insert(A.to_owned(), TWO.to_owned());
    agent.until_good(TWO).await;
    let taken = agent.ask(Some("a:1"), ModelWish::Rollback).await.unwrap();
    assert_eq!(taken.target.map(|goal| goal.digest).as_deref(), Some(ONE));
    assert_eq!(
        agent.remembered().pin.map(|pin| pin.digest).as_deref(),
        Some(ONE),
        "on disk before the answer"
    );
    agent.until_good(ONE).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!(agent.model().digest.as_deref(), Some(ONE), "{}", agent.told());
    assert_eq!(agent.deeds(" pull a:1"), 2);
    let taken = agent.ask(Some("a:1"), ModelWish::Unpin).await.unwrap();
    assert!(taken.message.contains("follows its tag"), "{}", taken.message);
    agent.until_good(TWO).await;
}

#[tokio::test(start_paused = true)]
async fn an_update_asks_the_registry_at_once_and_says_what_it_names() {
    let agent = deployed().await;
    let lookups = agent.deeds("look up");
    let taken = agent.ask(Some("registry.ollama.ai/library/a:1"), ModelWish::Update { retry: false }).await;
    assert!(taken.unwrap().message.ends_with("which is there already"));
    assert_eq!(agent.deeds("look up"), lookups + 1);
    agent.node.world().registry.insert(A.to_owned(), TWO.to_owned());
    let taken = agent.ask(Some("a:1"), ModelWish::Update { retry: false }).await.unwrap();
    assert_eq!(taken.target.map(|goal| goal.digest).as_deref(), Some(TWO));
    agent.until_good(TWO).await;
    agent.node.world().registry.clear();
    let refused = agent.ask(Some("a:1"), ModelWish::Update { retry: false }).await.unwrap_err();
    assert_eq!(refused.code, "model_not_found");
    assert!(refused.message.ends_with("nothing was changed"), "{refused}");
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let model = agent.model();
    assert_eq!((model.state, model.digest.as_deref()), (ModelState::Loaded, Some(TWO)), "{}", agent.told());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_encodes_manifests_anew_is_followed_kept_and_taken_back_as_any_other() {
    let mut wanted = one_model();
    wanted.models.every = Some(Duration::from_secs(60));
    let node = simulated();
    node.world().encodes_anew = true;
    let agent = Agent::start(node, wanted);
    let (one, two) = (world::anew(ONE), world::anew(TWO));
    agent.until_good(&one).await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!((agent.deeds(" pull a:1"), agent.problems()), (1, Vec::new()), "{}", agent.told());
    let taken = agent.ask(Some("a:1"), ModelWish::Update { retry: false }).await.unwrap();
    assert!(taken.message.ends_with("which is there already"), "{}", taken.message);
    // A new version answers wrongly, is barred under the server's digest, and is not pulled again.
    agent.node.world().answers.insert(two.clone(), "five".to_owned());
    agent.node.world().registry.insert(A.to_owned(), TWO.to_owned());
    while agent.remembered().barred(&two).is_none() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tokio::time::sleep(Duration::from_secs(3600)).await;
    let model = agent.model();
    assert_eq!((model.state, model.digest.as_ref()), (ModelState::Loaded, Some(&one)), "{}", agent.told());
    assert_eq!(agent.deeds(" pull a:1"), 2, "{}", agent.told());
    agent.node.world().answers.clear();
    let refused = agent.ask(Some("a:1"), ModelWish::Update { retry: false }).await.unwrap_err();
    assert_eq!(refused.code, "quarantined");
    agent.ask(Some("a:1"), ModelWish::Update { retry: true }).await.unwrap();
    agent.until_good(&two).await;
    let remembered = agent.remembered();
    let moves: Vec<_> = remembered.past.iter().map(|step| (&step.to, step.end.is_some())).collect();
    assert_eq!(moves, [(&one, true), (&two, true), (&two, true)]);
    assert_eq!(remembered.previous, Some(one));
}

#[tokio::test(start_paused = true)]
async fn a_pin_is_taken_when_the_version_is_here_or_at_the_registry_and_a_slip_is_refused() {
    let agent = deployed().await;
    let slip = ONE.replace("sha256:1", "sha256:7");
    let pin = |digest: &str| ModelWish::Pin { digest: Some(digest.to_owned()) };
    let lookups = agent.deeds("look up");
    let refused = agent.ask(Some("a:1"), pin(&slip)).await.unwrap_err();
    assert_eq!(refused.code, "model_version_unknown");
    assert!(refused.message.contains(&slip) && refused.message.contains(ONE), "{refused}");
    assert_eq!((agent.deeds("look up"), agent.remembered().pin), (lookups + 1, None), "it was asked first");
    // One that was published after the last look is found.
    agent.node.world().registry.insert(A.to_owned(), TWO.to_owned());
    agent.ask(Some("a:1"), pin(TWO)).await.unwrap();
    agent.until_good(TWO).await;
    // And one that is kept needs no registry.
    agent.node.world().registry.clear();
    agent.ask(Some("a:1"), pin(ONE)).await.unwrap();
    agent.until_good(ONE).await;
    let refused = agent.ask(Some("a:1"), pin(&slip)).await.unwrap_err();
    assert_eq!((refused.code, refused.message.ends_with("nothing was changed")), ("model_not_found", true));
    assert_eq!(agent.remembered().pin.map(|pin| pin.digest).as_deref(), Some(ONE));
}

#[tokio::test(start_paused = true)]
async fn an_update_with_retry_takes_what_failed_before() {
    let mut wanted = one_model();
    wanted.models.every = Some(Duration::from_secs(60));
    let agent = deployed_as(wanted).await;
    agent.node.world().registry.insert(A.to_owned(), TWO.to_owned());
    agent.node.world().answers.insert(TWO.to_owned(), "five".to_owned());
    while agent.remembered().barred(TWO).is_none() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    agent.node.world().answers.clear();
    let refused = agent.ask(Some("a:1"), ModelWish::Update { retry: false }).await.unwrap_err();
    assert_eq!(refused.code, "quarantined");
    agent.ask(Some("a:1"), ModelWish::Update { retry: true }).await.unwrap();
    agent.until_good(TWO).await;
}

#[tokio::test(start_paused = true)]
async fn an_update_of_all_models_ends_pins_and_retries_as_one_by_its_name_does() {
    let mut wanted = one_model();
    wanted.models.every = Some(Duration::from_secs(60));
    let agent = deployed_as(wanted).await;
    agent.node.world().registry.insert(A.to_owned(), TWO.to_owned());
    agent.node.world().answers.insert(TWO.to_owned(), "five".to_owned());
    while agent.remembered().barred(TWO).is_none() {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    agent.ask(Some("a:1"), ModelWish::Pin { digest: None }).await.unwrap();
    assert!(agent.remembered().pin.is_some());
    agent.ask(None, ModelWish::Update { retry: false }).await.unwrap();
    tokio::time::sleep(Duration::from_secs(600)).await;
    let remembered = agent.remembered();
    assert!(remembered.pin.is_none() && remembered.barred(TWO).is_some(), "{}", agent.told());
    agent.node.world().answers.clear();
    agent.ask(None, ModelWish::Update { retry: true }).await.unwrap();
    agent.until_good(TWO).await;
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_refused_with_a_way_out() {
    let agent = deployed().await;
    let refused = agent.ask(Some("a:2"), ModelWish::Pull).await.unwrap_err();
    assert_eq!((refused.code, refused.hint.as_deref()), ("model_unknown", Some("did you mean `a:1`?")));
    for wish in [ModelWish::Rollback, ModelWish::Pin { digest: None }, ModelWish::Unpin] {
        assert_eq!(agent.ask(None, wish).await.unwrap_err().code, "model_unnamed");
    }
    let refused = agent.ask(Some("a:1"), ModelWish::Rollback).await.unwrap_err();
    assert_eq!(refused.code, "model_no_previous");
    assert!(agent.ask(None, ModelWish::Update { retry: false }).await.is_ok());
    assert!(agent.ask(None, ModelWish::Pull).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_person_who_asks_for_a_pull_need_not_wait_for_the_back_off() {
    let node = simulated();
    node.world().stalls_at = Some(900);
    let agent = Agent::start(node, one_model());
    // Ten failures in a row: the next try is five minutes off.
    while agent.deeds(" pull a:1") < 10 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tokio::time::sleep(Duration::from_secs(70)).await;
    agent.node.world().stalls_at = None;
    agent.ask(Some("a:1"), ModelWish::Pull).await.unwrap();
    let took = agent.until_state(ModelState::Loaded).await;
    assert!(took < Duration::from_secs(60), "{took:?}\n{}", agent.told());
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_is_full_is_said_in_the_answer_and_is_a_problem() {
    let agent = deployed().await;
    let path = Paths::under(agent.root.path()).state().join("models.json");
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir_all(path.join("occupied")).unwrap();
    let taken = agent.ask(Some("a:1"), ModelWish::Pin { digest: None }).await.unwrap();
    assert!(taken.message.contains("it will be forgotten when the agent starts next"), "{}", taken.message);
    agent
        .until("a problem", |status| {
            status.problems.iter().any(|problem| problem.code == "model_record_not_written")
        })
        .await;
    std::fs::remove_dir_all(&path).unwrap();
    agent.until("no problem", |status| status.problems.is_empty()).await;
    assert_eq!(agent.remembered().pin.map(|pin| pin.digest).as_deref(), Some(ONE));
}
