//! What containers use and where the engine stores, as the metrics read it: beside the engine, not from it.

use crate::Situation;
use crate::bench::{Bench, within};
use agent::engine::Engine;
use agent::host::measures::Host;
use agent::metrics::Source;
use agent::metrics::collection::ContainerUse;
use agent::observed::ContainerState;
use node::paths::Paths;
use std::sync::Arc;
use tokio::runtime::Runtime;

pub(crate) const SITUATIONS: &[Situation] = &[
    ("what_a_container_uses_is_read_beside_the_engine", what_a_container_uses),
    ("where_the_engine_stores_is_known_once_it_was_asked", where_the_engine_stores),
];

const LIMIT: u64 = 64 << 20;

fn what_a_container_uses(bench: &mut Bench, runtime: &Runtime) {
    let host = Host::new(Paths::default(), Paths::default(), Arc::new(Vec::new));
    runtime.block_on(async {
        let mut spec = bench.spec("used", 1, &[]);
        spec.settings.memory_bytes = Some(LIMIT);
        let id = bench.run(&spec).await.expect("runs");
        let running = |state: &ContainerState| matches!(state, ContainerState::Running { .. });
        let container = bench.wait_for("used-1", running).await;
        let used = || -> Option<ContainerUse> {
            let mut uses = host.kernel(std::slice::from_ref(&container)).containers;
            uses.pop().filter(|it| it.cpu_seconds.is_some_and(|seconds| seconds > 0.0))
        };
        let measured = async {
            loop {
                match used() {
                    Some(used) => return used,
                    None => tokio::task::yield_now().await,
                }
            }
        };
        let measured = within("processor time of the container", measured).await;
        println!("{measured:?}");
        assert_eq!((measured.id.as_str(), measured.service.as_str()), (id.as_str(), "used"));
        let memory = measured.memory.expect("memory of the container");
        assert_eq!(memory.limit_bytes, Some(LIMIT));
        assert!((1..=LIMIT).contains(&memory.working_set_bytes), "{memory:?}");
        bench.docker.remove(&id).await.expect("removed");
        assert_eq!(host.kernel(&[container]).containers, Vec::new(), "what is gone uses nothing");
    });
}

fn where_the_engine_stores(bench: &mut Bench, runtime: &Runtime) {
    runtime.block_on(async {
        bench.docker.disk().await.expect("room").expect("a disk of this host");
        let folders = bench.docker.known_storage();
        assert!(folders.iter().any(|folder| folder.is_dir()), "{folders:?}");
        let docker = bench.docker.clone();
        let host = Host::new(Paths::default(), Paths::default(), Arc::new(move || docker.known_storage()));
        let all = host.file_systems(&[]);
        assert!(all.iter().any(|it| it.volume == "/") && all.len() <= 1 + folders.len(), "{all:?}");
    });
}
