//! What a node promises, measured on a whole instance and on what is released: secrets stay where they belong, the
//! status is quick and true, the programs are what they claim to be, memory is small, no log line is lost.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]
#![expect(clippy::print_stdout, reason = "a suite prints what it measured")]
#![expect(clippy::disallowed_methods, reason = "a suite measures, and looks at the host")]

#[path = "promises/programs.rs"]
mod programs;
mod scene;
#[path = "promises/secrets.rs"]
mod secrets;

use harness::crowd::{Crowd, GOOD, Host};
use harness::local_cloud::{Fault, FaultKind};
use harness::wait::wait_for;
use scene::{PATIENCE, Scene, process_inside};
use serde_json::Value;
use std::fs;
use std::time::{Duration, Instant};

/// 50 times: milliseconds of `agentctl status`, sorted, and its exit codes.
fn fifty_answers(scene: &Scene) -> (Vec<f64>, String) {
    let line = "for i in $(seq 50); do s=$(date +%s%N); agentctl status > /dev/null 2>&1; c=$?; \
                e=$(date +%s%N); echo $((e - s)) $c; done";
    let answer = scene.stage.instance().shell(line).expect_success();
    let mut times = Vec::new();
    let mut codes = Vec::new();
    for line in answer.lines() {
        let (time, code) = line.split_once(' ').unwrap();
        times.push(time.parse::<f64>().unwrap() / 1e6);
        codes.push(code);
    }
    times.sort_by(f64::total_cmp);
    codes.dedup();
    (times, codes.join(","))
}

#[test]
fn the_status_is_quick_and_true_whatever_is_down() {
    let Some(scene) = Scene::serving() else { return };
    scene.settled(&scene.only().digest.unwrap(), &["current"]);
    let (times, codes) = fifty_answers(&scene);
    let (median, longest) = (times[25], times[49]);
    println!("agentctl status: median {median:.1} ms, longest {longest:.1} ms");
    assert_eq!(codes, "0");
    assert!(median < 20.0, "{times:?}");

    let instance = scene.stage.instance();
    let dockerd = process_inside(instance.leader(), "dockerd").unwrap();
    let stop = |signal| nix::sys::signal::kill(nix::unistd::Pid::from_raw(dockerd), signal).unwrap();
    stop(nix::sys::signal::Signal::SIGSTOP);
    engine_down(&scene, "hangs");
    stop(nix::sys::signal::Signal::SIGCONT);
    scene
        .stage
        .wait_for_status("the node to be ready", PATIENCE, |status| status["node"]["state"] == "ready")
        .unwrap();

    instance.run(["systemctl", "stop", "docker.socket", "docker.service"]).expect_success();
    engine_down(&scene, "is stopped");
    instance.run(["systemctl", "start", "docker.service"]).expect_success();
    scene
        .stage
        .wait_for_status("the node to be ready", PATIENCE, |status| status["node"]["state"] == "ready")
        .unwrap();

    instance.run(["systemctl", "stop", "node-agent"]).expect_success();
    let started = Instant::now();
    let answer = instance.run(["agentctl", "status"]);
    println!("agent stopped: {} ms, code {}", started.elapsed().as_millis(), answer.code());
    assert!(started.elapsed() < Duration::from_secs(1));
    assert_eq!(answer.code(), 3, "{answer}");
    assert!(answer.stdout.contains("web"), "the last status is shown: {answer}");
    let json = instance.run(["agentctl", "status", "--json"]);
    assert_eq!(json.code(), 3, "{json}");
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert!(json["stale"]["age_seconds"].is_i64(), "{json:#}");
}

#[test]
fn two_hundred_clients_of_every_kind_neither_keep_root_waiting_nor_harm_the_agent() {
    let Some(scene) = Scene::serving() else { return };
    scene.settled(&scene.only().digest.unwrap(), &["current"]);
    let (pid, before) = (scene.agent_pid(), resident(&scene));
    let alone = fifty_answers(&scene).0[25];
    for rest in [Duration::from_secs(1), Duration::from_millis(20)] {
        let host = Host::control_api(scene.stage.instance().path("/run/node-agent/agent.sock"));
        let crowd = Crowd::gather(host, 200, rest).unwrap();
        let (times, codes) = fifty_answers(&scene);
        let after = resident(&scene);
        let done = crowd.disperse().unwrap();
        let good: Vec<usize> = done.iter().filter(|(kind, _)| *kind == GOOD).map(|(_, done)| *done).collect();
        println!(
            "200 clients, each resting {rest:?}: status median {:.1} ms, longest {:.1} ms, alone {alone:.1} ms; {} \
             answers to {} good ones; {:.1} MB resident, {:.1} before",
            times[25],
            times[49],
            good.iter().sum::<usize>(),
            good.len(),
            after as f64 / 1e6,
            before as f64 / 1e6
        );
        assert_eq!(codes, "0");
        assert!(times[25] < 20.0, "{times:?}");
        assert!(good.iter().all(|answers| *answers > 0), "{done:?}");
        assert!(after < before + 24_000_000, "{after} bytes, {before} before");
    }
    assert_eq!(scene.agent_pid(), pid, "it is the same agent");
    assert_eq!(scene.stage.instance().run(["agentctl", "status"]).code(), 0);
}

/// The status names the engine within seconds, and answers within one.
fn engine_down(scene: &Scene, how: &str) {
    let since = Instant::now();
    let instance = scene.stage.instance();
    let named = wait_for("the status to name the engine", PATIENCE, || {
        let started = Instant::now();
        let answer = instance.run(["agentctl", "status", "--json"]);
        assert!(started.elapsed() < Duration::from_secs(1), "{:?}: {answer}", started.elapsed());
        let status: Value = serde_json::from_str(&answer.stdout).map_err(|_| answer.to_string())?;
        let named = status["problems"]
            .as_array()
            .unwrap()
            .iter()
            .any(|problem| problem["code"] == "docker_unresponsive");
        if named { Ok(answer.code()) } else { Err(answer.to_string()) }
    });
    assert_eq!(named.unwrap(), 1, "not ready");
    let (times, codes) = fifty_answers(scene);
    println!(
        "engine {how}: named after {:.1} s; status: median {:.1} ms, longest {:.1} ms",
        since.elapsed().as_secs_f64(),
        times[25],
        times[49]
    );
    assert_eq!(codes, "1");
    assert!(times[49] < 1000.0, "{times:?}");
}

/// Resident bytes of the agent.
fn resident(scene: &Scene) -> u64 {
    let pid = scene.agent_pid().unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// Numbers of the heartbeats of one run of the sample application.
fn heartbeats(lines: &[String]) -> Vec<u64> {
    let lines = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.filter(|line| line["event"] == "heartbeat").filter_map(|line| line["number"].as_u64()).collect()
}

#[test]
fn no_log_line_is_lost_over_a_kill_and_a_throttle_and_memory_stays_small() {
    let Some(scene) = Scene::serving() else { return };
    let arrived = |number: u64| {
        wait_for(&format!("heartbeat {number} in CloudWatch Logs"), PATIENCE, || {
            let numbers = heartbeats(&scene.shipped());
            if numbers.iter().any(|found| *found >= number) {
                Ok(numbers)
            } else {
                Err(format!("{numbers:?}"))
            }
        })
        .unwrap()
    };
    let last = *arrived(3).last().unwrap();
    let pid = scene.agent_pid();
    scene.kill_agent();
    scene.agent_answers(pid);
    let last = *arrived(last + 3).last().unwrap();
    scene.stage.cloud.fault(Fault::on("logs", FaultKind::Throttle));
    load(&scene, Duration::from_secs(20));
    scene.stage.cloud.clear_faults();
    arrived(last + 20);
    load(&scene, Duration::from_secs(40));
    let rss = resident(&scene);
    println!("node-agent, one service, after a minute of load: {:.1} MB resident", rss as f64 / 1e6);
    assert!(rss < 30_000_000, "{rss}");
    let pid = scene.agent_pid();
    scene.kill_agent();
    scene.agent_answers(pid);
    let last = heartbeats(&scene.shipped()).last().copied().unwrap();
    let numbers = arrived(last + 3);
    let mut distinct = numbers.clone();
    distinct.dedup();
    let mut sorted = numbers.clone();
    sorted.sort_unstable();
    sorted.dedup();
    println!("{} heartbeats, {} duplicates", sorted.len(), numbers.len() - sorted.len());
    assert_eq!(sorted, (1..=sorted.len() as u64).collect::<Vec<_>>(), "a line is missing");
    assert!(distinct.windows(2).filter(|pair| pair[1] < pair[0]).count() <= 2, "out of order: {distinct:?}");
}

/// Requests, each of which writes a line, as fast as one client makes them.
fn load(scene: &Scene, time: Duration) {
    let started = Instant::now();
    let mut answers = 0_u64;
    while started.elapsed() < time {
        answers += u64::from(scene.stage.get("/").is_ok());
    }
    println!("load: {:.0} requests a second", answers as f64 / time.as_secs_f64());
    assert!(answers > 0);
}
