//! An engine that is absent, hangs, or goes away and comes back.

use crate::Situation;
use crate::bench::{Bench, within};
use crate::gates::verdict;
use agent::engine::{Engine, EngineError};
use agent::health::Health;
use agent::host::docker::Docker;
use agent::status::HealthState;
use node::config::settings::Probe;
use node::fault::one_line;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::Instant;

pub(crate) const SITUATIONS: &[Situation] = &[
    ("no_engine_at_all", no_engine_at_all),
    ("a_hanging_engine_is_unknown_not_gone", a_hanging_engine_is_unknown_not_gone),
    ("a_hanging_engine_is_named_although_nothing_is_asked", a_hanging_engine_is_named),
    ("an_engine_that_comes_back_is_noticed", an_engine_that_comes_back_is_noticed),
];

fn no_engine_at_all(_: &mut Bench, runtime: &Runtime) {
    let docker = Docker::connect(Some("unix:///nowhere/docker.sock")).expect("connecting makes no call");
    let error = runtime.block_on(docker.containers()).expect_err("nobody there");
    assert_eq!(error.code(), "docker_unresponsive");
    let said = "the Docker engine at /nowhere/docker.sock does not answer (list containers): No such file";
    assert!(one_line(&error).starts_with(said), "{}", one_line(&error));
}

fn a_hanging_engine_is_unknown_not_gone(bench: &mut Bench, runtime: &Runtime) {
    let probe = Probe::Exec(vec!["id".to_owned()]);
    runtime.block_on(async {
        let probers = Health::new(Arc::new(bench.docker.clone()));
        bench.run(&bench.spec("api", 1, &[])).await.expect("runs");
        verdict(bench, &probers, "api-1", &probe, HealthState::Passing).await;
        // It may still list, and be frozen before it has told about each.
        bench.daemon.freeze().expect("frozen");
        let began = Instant::now();
        let error = bench.docker.containers().await.expect_err("no answer");
        assert!(matches!(error, EngineError::Unreachable { .. }), "{error:?}");
        assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
        let said = one_line(&error);
        // Whichever question came first: the list, or the one whether the engine is there.
        assert!(
            ["4", "5"].iter().any(|limit| said.ends_with(&format!(": no answer within {limit} s"))),
            "{said}"
        );
        let unknown = async {
            while probers.verdicts().values().any(|verdict| verdict.state != HealthState::Unknown) {
                probers.changed().await;
            }
        };
        within("an unknown verdict", unknown).await;
        bench.daemon.thaw().expect("thawed");
        within("answers", async { while bench.docker.containers().await.is_err() {} }).await;
        verdict(bench, &probers, "api-1", &probe, HealthState::Passing).await;
    });
}

/// Five seconds on an idle host: one until the next question whether it is there, four for the answer.
fn a_hanging_engine_is_named(bench: &mut Bench, runtime: &Runtime) {
    runtime.block_on(async {
        let docker = bench.docker.clone();
        within("the first look", docker.changed()).await;
        bench.run(&bench.spec("api", 1, &[])).await.expect("runs");
        while tokio::time::timeout(Duration::from_millis(300), docker.changed()).await.is_ok() {}
        bench.daemon.freeze().expect("frozen");
        let began = Instant::now();
        within("the silence to be heard", docker.changed()).await;
        // The loop looks when it is woken, and is not kept waiting once more.
        let error = docker.containers().await.expect_err("no answer");
        assert!(matches!(error, EngineError::Unreachable { .. }), "{error:?}");
        let named = began.elapsed();
        assert!(
            named < Duration::from_secs(8),
            "named after {named:?}, five seconds and a busy host's delay"
        );
        bench.daemon.thaw().expect("thawed");
        within("the answers to come back", docker.changed()).await;
        let again = async { while docker.containers().await.is_err() {} };
        within("a list", again).await;
    });
}

fn an_engine_that_comes_back_is_noticed(bench: &mut Bench, runtime: &Runtime) {
    let listener = bench.docker.clone();
    runtime.block_on(within("the first look", listener.changed()));
    bench.daemon.stop().expect("stopped");
    runtime.block_on(within("the loss of the engine", listener.changed()));
    let gone = runtime.block_on(bench.docker.containers()).expect_err("nobody there");
    assert_eq!(gone.code(), "docker_unresponsive", "{gone}");
    bench.daemon.launch().expect("started again");
    let back = async {
        while listener.containers().await.is_err() {
            listener.changed().await;
        }
    };
    runtime.block_on(within("the return of the engine", back));
    runtime.block_on(bench.run(&bench.spec("api", 1, &[]))).expect("its images are still there");
}
