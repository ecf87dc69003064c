//! What looking costs, and that nothing is overlooked for it.

use crate::Situation;
use crate::bench::{Bench, reference, right_login, within};
use crate::wire::Wire;
use agent::engine::{ContainerSpec, Engine};
use agent::host::docker::Docker;
use agent::observed::{Container, ContainerState, ImageHealth};
use futures_util::future::join_all;
use std::time::Duration;
use tokio::runtime::Runtime;

pub(crate) const SITUATIONS: &[Situation] = &[
    ("an_idle_look_costs_one_call_however_many_containers", an_idle_look_costs_one_call),
    ("every_change_is_seen_and_costs_one_container", every_change_is_seen),
    ("a_missed_event_is_healed_by_the_list", a_missed_event_is_healed_by_the_list),
    ("many_containers_at_once_cost_calls_in_their_number", many_containers_at_once),
];

const LIST: &str = "GET /containers/json?";

/// Looks until a look costs one call: what the last step caused has come in.
async fn settle(wire: &Wire) {
    let settled = async {
        loop {
            wire.docker.containers().await.expect("a list");
            // An event may still be on its way.
            let quiet =
                tokio::time::timeout(Duration::from_millis(300), wire.docker.changed()).await.is_err();
            wire.requests();
            wire.docker.containers().await.expect("a list");
            if quiet && wire.requests().len() == 1 {
                return;
            }
        }
    };
    within("an idle look", settled).await;
}

/// Looks at every event until `seen` is true of a container, and compares with a client that knows nothing.
async fn see(wire: &Wire, bench: &Bench, name: &str, seen: impl Fn(&Container) -> bool) {
    let looking = async {
        loop {
            let containers = wire.docker.containers().await.expect("a list");
            if containers.iter().any(|container| container.name == name && seen(container)) {
                return;
            }
            // What no event tells is found by the next look, which the loop takes every ten seconds.
            let _ = tokio::time::timeout(Duration::from_millis(100), wire.docker.changed()).await;
        }
    };
    within(&format!("{name} to be seen changed"), looking).await;
    settle(wire).await;
    let stranger = Docker::connect(Some(&bench.daemon.docker_host())).expect("a client");
    let mut known = wire.docker.containers().await.expect("a list");
    let mut asked = stranger.containers().await.expect("a list");
    known.sort_by(|a, b| a.id.cmp(&b.id));
    asked.sort_by(|a, b| a.id.cmp(&b.id));
    assert_eq!(known, asked, "what is known without asking is what asking tells");
}

fn an_idle_look_costs_one_call(bench: &mut Bench, runtime: &Runtime) {
    runtime.block_on(async {
        let wire = Wire::to(bench);
        within("the first look", wire.docker.changed()).await;
        for service in ["a", "b", "c", "d", "e", "f"] {
            bench.run(&bench.spec(service, 1, &[])).await.expect("runs");
            settle(&wire).await;
            wire.requests();
            for _ in 0..10 {
                wire.docker.containers().await.expect("a list");
            }
            let requests = wire.requests();
            let lists = requests.iter().filter(|request| request.starts_with(LIST)).count();
            assert_eq!((lists, requests.len()), (10, 10), "{requests:#?}");
        }
    });
}

fn every_change_is_seen(bench: &mut Bench, runtime: &Runtime) {
    let check = "HEALTHCHECK --interval=1s --retries=1 CMD test ! -e /tmp/broken";
    let digest = bench.publish("looked-at", &["CMD [\"sleep\",\"3600\"]", check]).expect("published");
    let mut checked = ContainerSpec { digest, ..bench.spec("checked", 1, &[]) };
    checked.settings.image = reference("looked-at");
    let docker = |arguments: &[&str]| bench.daemon.docker(arguments, b"").expect("done behind our back");
    runtime.block_on(async {
        let wire = Wire::to(bench);
        within("the first look", wire.docker.changed()).await;
        let pulled =
            bench.docker.pull(&checked.settings.image, &checked.digest, Some(right_login()), &|_| {});
        pulled.await.expect("pulled");
        let id = bench.docker.create(&checked).await.expect("made");
        bench.docker.start(&id).await.expect("started");
        for service in ["a", "b", "c"] {
            bench.run(&bench.spec(service, 1, &[])).await.expect("runs");
        }
        let health = |health| move |it: &Container| it.image_health == Some(health);
        see(&wire, bench, "checked-1", health(ImageHealth::Healthy)).await;
        docker(&["exec", "checked-1", "touch", "/tmp/broken"]);
        see(&wire, bench, "checked-1", health(ImageHealth::Unhealthy)).await;
        docker(&["pause", "a-1"]);
        let paused = |it: &Container| it.state == ContainerState::Other("paused".to_owned());
        see(&wire, bench, "a-1", paused).await;
        docker(&["unpause", "a-1"]);
        see(&wire, bench, "a-1", |it| matches!(it.state, ContainerState::Running { .. })).await;
        docker(&["rename", "a-1", "renamed"]);
        see(&wire, bench, "renamed", |it| it.service == "a").await;
        docker(&["network", "disconnect", "node-agent", "b-1"]);
        see(&wire, bench, "b-1", |it| it.address.is_none()).await;
        docker(&["network", "connect", "node-agent", "b-1"]);
        see(&wire, bench, "b-1", |it| it.address.is_some()).await;
        wire.requests();
        docker(&["kill", "c-1"]);
        see(&wire, bench, "c-1", |it| matches!(it.state, ContainerState::Exited { code: 137, .. })).await;
        let others = |request: &String| request.starts_with("GET /containers/") && !request.starts_with(LIST);
        let c = bench.find("c-1").await.expect("listed").id;
        assert!(wire.requests().iter().filter(|request| others(request)).all(|request| request.contains(&c)));
        docker(&["rm", "--force", "renamed"]);
        within("its removal to be seen", async {
            while wire.docker.containers().await.expect("a list").iter().any(|it| it.service == "a") {}
        })
        .await;
    });
}

fn a_missed_event_is_healed_by_the_list(bench: &mut Bench, runtime: &Runtime) {
    let docker = |arguments: &[&str]| bench.daemon.docker(arguments, b"").expect("done behind our back");
    let started_at = |it: &Container| match it.state {
        ContainerState::Running { started_at } => Some(started_at),
        _ => None,
    };
    runtime.block_on(async {
        let wire = Wire::to(bench);
        within("the first look", wire.docker.changed()).await;
        bench.run(&bench.spec("api", 1, &[])).await.expect("runs");
        settle(&wire).await;
        wire.mute();
        docker(&["kill", "api-1"]);
        see(&wire, bench, "api-1", |it| matches!(it.state, ContainerState::Exited { .. })).await;
        docker(&["start", "api-1"]);
        see(&wire, bench, "api-1", |it| started_at(it).is_some()).await;
        // The list tells a start from the one before by its age in seconds.
        within("an age of some seconds", async {
            while docker(&["ps", "--format", "{{.Status}}"]) < "Up 2".to_owned() {}
        })
        .await;
        let containers = wire.docker.containers().await.expect("a list");
        let first = containers.iter().find_map(started_at).expect("it runs");
        docker(&["restart", "--time", "0", "api-1"]);
        see(&wire, bench, "api-1", |it| started_at(it).is_some_and(|again| again > first)).await;
    });
}

fn many_containers_at_once(bench: &mut Bench, runtime: &Runtime) {
    const MANY: usize = 20;
    runtime.block_on(async {
        bench.have_image().await;
        let wire = Wire::to(bench);
        within("the first look", wire.docker.changed()).await;
        let names: Vec<String> = (0..MANY).map(|number| format!("s{number}")).collect();
        let make = join_all(names.iter().map(|name| async {
            let id = wire.docker.create(&bench.spec(name, 1, &[])).await.expect("made");
            wire.docker.start(&id).await.expect("started");
        }));
        // As the loop does: a look for every bell, while the steps go on.
        let look = async {
            loop {
                let containers = wire.docker.containers().await.expect("a list");
                let running = |it: &&Container| matches!(it.state, ContainerState::Running { .. });
                if containers.iter().filter(running).count() == MANY {
                    return;
                }
                wire.docker.changed().await;
            }
        };
        within("all to run", async { tokio::join!(make, look) }).await;
        let requests = wire.requests();
        let inspections = requests.iter().filter(|request| request.ends_with("/json")).count();
        // Made and started are two events each, and the list may lag behind either by one look.
        assert!(inspections <= 4 * MANY + MANY, "{inspections} of {} requests", requests.len());
        let looks = requests.iter().filter(|request| request.starts_with(LIST)).count();
        let cost = format!("{MANY} containers made at once: {looks} looks, {inspections} inspections");
        harness::requirements::tried(&cost);
    });
}
