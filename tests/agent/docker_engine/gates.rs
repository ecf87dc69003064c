//! Health of real containers, asked over the bridge and inside.

use crate::Situation;
use crate::bench::{Bench, health, reference, right_login, within};
use agent::engine::{ContainerSpec, Engine};
use agent::health::{Health, Verdict};
use agent::host::docker::Docker;
use agent::observed::ContainerState;
use agent::status::HealthState;
use node::config::settings::{Network, Probe};
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

pub(crate) const SITUATIONS: &[Situation] = &[
    ("an_http_gate_over_the_bridge", an_http_gate_over_the_bridge),
    ("a_gate_by_command", a_gate_by_command),
    ("the_images_own_healthcheck", the_images_own_healthcheck),
];

fn probers(bench: &Bench) -> Health<Docker> {
    Health::new(Arc::new(bench.docker.clone()))
}

/// Watches the container of that name as the loop does: looks again whenever the engine or a verdict changes.
pub(crate) async fn verdict(
    bench: &Bench,
    probers: &Health<Docker>,
    name: &str,
    probe: &Probe,
    state: HealthState,
) -> Verdict {
    let waiting = async {
        loop {
            let container = bench.find(name).await.expect("the container");
            let id = container.id.clone();
            probers.watch(&[(container, health(probe.clone()), Network::Node)]);
            match probers.verdicts().remove(&id) {
                Some(verdict) if verdict.state == state => return verdict,
                _ => {}
            }
            tokio::select! {
                () = probers.changed() => {}
                () = bench.docker.changed() => {}
            }
        }
    };
    within(&format!("{name} to be {state:?}"), waiting).await
}

fn an_http_gate_over_the_bridge(bench: &mut Bench, runtime: &Runtime) {
    let probe = Probe::Http { port: 8000, path: "/index.html".to_owned() };
    // It starts to listen late, and later loses its page.
    let script = "sleep 0.5; httpd -p 8000 -h /www; sleep 3600";
    runtime.block_on(async {
        let probers = probers(bench);
        let id = bench.run(&bench.spec("api", 1, &["sh", "-c", script])).await.expect("runs");
        let address = bench.find("api-1").await.and_then(|container| container.address).expect("an address");
        let passing = verdict(bench, &probers, "api-1", &probe, HealthState::Passing).await;
        assert_eq!(passing.detail, format!("GET http://{address}:8000/index.html: 200"));
        let command = ["busybox", "rm", "/www/index.html"].map(str::to_owned);
        bench.docker.exec(&id, &command, Duration::from_secs(20)).await.expect("the page is gone");
        let failing = verdict(bench, &probers, "api-1", &probe, HealthState::Failing).await;
        let begins = format!("GET http://{address}:8000/index.html: 404 \"");
        assert!(failing.detail.starts_with(&begins), "{}", failing.detail);
        let nobody = Probe::Tcp { port: 9 };
        let refused = verdict(bench, &probers, "api-1", &nobody, HealthState::Failing).await;
        assert_eq!(refused.detail, format!("connect {address}:9: connection refused"));
    });
}

fn a_gate_by_command(bench: &mut Bench, runtime: &Runtime) {
    let probe = Probe::Exec(["test", "-e", "/tmp/ready"].map(str::to_owned).to_vec());
    runtime.block_on(async {
        let probers = probers(bench);
        let id = bench.run(&bench.spec("api", 1, &[])).await.expect("runs");
        let failing = verdict(bench, &probers, "api-1", &probe, HealthState::Failing).await;
        assert_eq!(failing.detail, "`test`: exit status 1");
        let command = ["touch", "/tmp/ready"].map(str::to_owned);
        bench.docker.exec(&id, &command, Duration::from_secs(20)).await.expect("made ready");
        verdict(bench, &probers, "api-1", &probe, HealthState::Passing).await;
    });
}

fn the_images_own_healthcheck(bench: &mut Bench, runtime: &Runtime) {
    let check = "HEALTHCHECK --interval=1s --retries=1 CMD test ! -e /tmp/broken";
    let digest = bench.publish("own-check", &["CMD [\"sleep\",\"3600\"]", check]).expect("published");
    let mut spec = ContainerSpec { digest, ..bench.spec("api", 1, &[]) };
    spec.settings.image = reference("own-check");
    runtime.block_on(async {
        let pulled = bench.docker.pull(&spec.settings.image, &spec.digest, Some(right_login()), &|_| {});
        pulled.await.expect("pulled");
        let probers = probers(bench);
        let id = bench.docker.create(&spec).await.expect("made");
        bench.docker.start(&id).await.expect("started");
        let probe = Probe::ImageOrStayedUp;
        let passing = verdict(bench, &probers, "api-1", &probe, HealthState::Passing).await;
        assert_eq!(passing.detail, "HEALTHCHECK of the image: healthy");
        let command = ["touch", "/tmp/broken"].map(str::to_owned);
        bench.docker.exec(&id, &command, Duration::from_secs(20)).await.expect("broken");
        verdict(bench, &probers, "api-1", &probe, HealthState::Failing).await;
        let state = bench.find("api-1").await.expect("listed").state;
        assert!(matches!(state, ContainerState::Running { .. }), "Docker leaves it running");
    });
}
