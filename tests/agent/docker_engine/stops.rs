//! How containers are stopped: by which signal, with how much time, and whoever asked for it.

use crate::Situation;
use crate::bench::{Bench, within};
use agent::engine::{ContainerSpec, Engine};
use agent::observed::ContainerState;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::time::Instant;

pub(crate) const SITUATIONS: &[Situation] = &[
    ("each_kind_of_container_is_stopped_in_its_way", each_kind_is_stopped_in_its_way),
    ("a_container_that_is_paused_hears_its_signal", a_container_that_is_paused_hears_its_signal),
    ("a_container_that_is_restarted_by_somebody_is_stopped", a_container_that_is_restarted_is_stopped),
    ("who_asked_for_a_stop_goes_away_and_the_container_has_its_time", who_asked_goes_away),
    ("two_stops_at_once_send_one_signal", two_stops_at_once_send_one_signal),
    ("an_engine_that_is_away_while_a_container_ends", an_engine_that_is_away_meanwhile),
];

/// Far longer than anything here lasts.
const LONG: Duration = Duration::from_secs(40);

/// Writes down every signal of these, and ends by the last word `exit` of `then`.
fn hears(then: &str) -> String {
    let trap = |name: &str| format!("trap 'echo {name}; {then}' {name}; ");
    let traps: String = ["TERM", "INT", "QUIT"].into_iter().map(trap).collect();
    format!("{traps}echo ready; while :; do sleep 0.1; done")
}

/// Runs until it listens.
async fn run(bench: &Bench, spec: &ContainerSpec) -> String {
    let id = bench.run(spec).await.expect("runs");
    until_ready(bench, &id).await;
    id
}

async fn until_ready(bench: &Bench, id: &str) {
    within("its first word", async { while lines(bench, id).await.is_empty() {} }).await;
}

async fn lines(bench: &Bench, id: &str) -> Vec<String> {
    bench.docker.last_log_lines(id, 20).await.expect("lines")
}

/// The code with which it ended.
async fn code(bench: &Bench, name: &str) -> i64 {
    match bench.find(name).await.expect("listed").state {
        ContainerState::Exited { code, .. } => code,
        other => panic!("{name} has not ended: {other:?}"),
    }
}

fn each_kind_is_stopped_in_its_way(bench: &mut Bench, runtime: &Runtime) {
    let (ends, goes_on) = (hears("exit 3"), hears(":"));
    // What the image names, the container, the time that it gets, its code, what it heard and how long it may take.
    let cases: [(&str, &str, u64, u8, &[&str]); 6] = [
        ("", &ends, 40, 3, &["TERM"]),
        ("", &goes_on, 1, 137, &["TERM"]),
        ("SIGINT", &ends, 40, 3, &["INT"]),
        ("QUIT", &ends, 40, 3, &["QUIT"]),
        ("2", &ends, 40, 3, &["INT"]),
        ("SIGKILL", &goes_on, 40, 137, &[]),
    ];
    for (number, (signal, script, seconds, ended_with, heard)) in (1..).zip(cases) {
        runtime.block_on(bench.have_image());
        let instructions = if signal.is_empty() { vec![] } else { vec![format!("STOPSIGNAL {signal}")] };
        let instructions: Vec<&str> = instructions.iter().map(String::as_str).collect();
        let image = bench.derive(&instructions).expect("built");
        let name = format!("api-{number}");
        let arguments = ["run", "--detach", "--name", &name, &image, "sh", "-c", script];
        let id = bench.daemon.docker(&arguments, b"").expect("runs");
        runtime.block_on(async {
            until_ready(bench, &id).await;
            let (began, timeout) = (Instant::now(), Duration::from_secs(seconds));
            bench.docker.stop(&id, timeout).await.expect("stopped");
            let took = began.elapsed();
            let code = ["inspect", "--format", "{{.State.ExitCode}}", &name];
            let code = bench.daemon.docker(&code, b"").expect("its code");
            assert_eq!(code, ended_with.to_string(), "{name}, {signal}");
            assert_eq!(lines(bench, &id).await[1..], *heard, "{name}, {signal}");
            let all_its_time = ended_with == 137 && !heard.is_empty();
            assert_eq!(took >= timeout, all_its_time, "{name}, {signal}: {took:?}");
            // It does not run, and then it is gone.
            bench.docker.stop(&id, timeout).await.expect("does not run");
            bench.docker.remove(&id).await.expect("removed");
            bench.docker.stop(&id, timeout).await.expect("is gone");
            println!("{name}, {signal}: {took:.1?}");
        });
    }
    let made = runtime.block_on(bench.docker.create(&bench.spec("never", 1, &[]))).expect("made");
    runtime.block_on(bench.docker.stop(&made, LONG)).expect("never ran");
}

fn a_container_that_is_paused_hears_its_signal(bench: &mut Bench, runtime: &Runtime) {
    let id = runtime.block_on(run(bench, &bench.spec("api", 1, &["sh", "-c", &hears("exit 3")])));
    bench.daemon.docker(&["pause", "api-1"], b"").expect("paused");
    runtime.block_on(async {
        let began = Instant::now();
        bench.docker.stop(&id, LONG).await.expect("stopped");
        assert_eq!((code(bench, "api-1").await, began.elapsed() < LONG), (3, true));
    });
}

fn a_container_that_is_restarted_is_stopped(bench: &mut Bench, runtime: &Runtime) {
    let id = runtime.block_on(bench.run(&bench.spec("api", 1, &["sh", "-c", "exit 4"]))).expect("runs");
    bench.daemon.docker(&["update", "--restart", "always", "api-1"], b"").expect("updated");
    bench.daemon.docker(&["start", "api-1"], b"").expect("started");
    // The engine waits longer before each start.
    let restarting = |state: &ContainerState| matches!(state, ContainerState::Other(_));
    runtime.block_on(async {
        bench.wait_for("api-1", restarting).await;
        bench.docker.stop(&id, LONG).await.expect("stopped");
        assert_eq!(code(bench, "api-1").await, 4);
    });
}

/// As an agent that is killed while it stops a worker, and comes back.
fn who_asked_goes_away(bench: &mut Bench, runtime: &Runtime) {
    let script = hears("for i in $(seq 30); do sleep 0.1; done; exit 3");
    runtime.block_on(async {
        let id = run(bench, &bench.spec("api", 1, &["sh", "-c", &script])).await;
        let begun = Instant::now();
        let half = tokio::time::timeout(Duration::from_millis(600), bench.docker.stop(&id, LONG)).await;
        assert!(half.is_err(), "it needs three seconds");
        let running = bench.find("api-1").await.expect("listed").state;
        assert!(matches!(running, ContainerState::Running { .. }), "{running:?}");
        assert_eq!(lines(bench, &id).await, ["ready", "TERM"]);
        bench.docker.stop(&id, LONG).await.expect("stopped");
        assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
        assert_eq!(code(bench, "api-1").await, 3, "it finished what it was at");
        assert_eq!(lines(bench, &id).await, ["ready", "TERM"], "it was told once");

        // One that does not end has no more time for that whoever waited was another.
        let id = run(bench, &bench.spec("deaf", 1, &["sh", "-c", &hears(":")])).await;
        let (begun, time) = (Instant::now(), Duration::from_secs(3));
        let half = tokio::time::timeout(Duration::from_secs(1), bench.docker.stop(&id, time)).await;
        assert!(half.is_err());
        bench.docker.stop(&id, time).await.expect("stopped");
        let took = begun.elapsed();
        assert!(took >= time && took < time + Duration::from_millis(900), "{took:?}");
        assert_eq!((code(bench, "deaf-1").await, lines(bench, &id).await.len()), (137, 2));
        // Its next life is another matter.
        bench.docker.start(&id).await.expect("started");
        let ready = async { while lines(bench, &id).await.len() < 3 {} };
        within("its first word", ready).await;
        bench.docker.stop(&id, time * 2).await.expect("stopped");
        assert_eq!(lines(bench, &id).await, ["ready", "TERM", "ready", "TERM"]);
    });
}

fn two_stops_at_once_send_one_signal(bench: &mut Bench, runtime: &Runtime) {
    runtime.block_on(async {
        let script = hears("for i in $(seq 10); do sleep 0.1; done; exit 3");
        let id = run(bench, &bench.spec("api", 1, &["sh", "-c", &script])).await;
        let later = async {
            while lines(bench, &id).await.len() < 2 {}
            bench.docker.stop(&id, LONG).await
        };
        let (one, other) = tokio::join!(bench.docker.stop(&id, LONG), later);
        assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
        assert_eq!((code(bench, "api-1").await, lines(bench, &id).await.len()), (3, 2));
    });
}

/// Nobody takes the end of a process of an engine that hangs: it stays as a zombie.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// It hangs, and its answer comes late.
fn an_engine_that_is_away_meanwhile(bench: &mut Bench, runtime: &Runtime) {
    runtime.block_on(async {
        let script = hears("sleep 1; exit 3");
        let id = run(bench, &bench.spec("api", 1, &["sh", "-c", &script])).await;
        let pid = bench.find("api-1").await.and_then(|it| it.pid).expect("it runs");
        let frozen = async {
            while lines(bench, &id).await.len() < 2 {}
            bench.daemon.freeze().expect("frozen");
            within("the end of its process", async {
                while is_alive(pid) {
                    tokio::task::yield_now().await;
                }
            })
            .await;
            bench.daemon.thaw().expect("thawed");
        };
        let (stopped, ()) = tokio::join!(bench.docker.stop(&id, LONG), frozen);
        stopped.expect("it has ended");
        assert_eq!(code(bench, "api-1").await, 3);
    });
}
