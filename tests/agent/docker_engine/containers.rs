//! Containers from making to removing, and what they may do.

use crate::Situation;
use crate::bench::{Bench, within};
use agent::engine::{Engine, EngineError};
use agent::observed::ContainerState;
use node::config::settings::{Mount, Network, Port, Protocol, Strategy};
use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use tokio::runtime::Runtime;

pub(crate) const SITUATIONS: &[Situation] = &[
    ("a_container_from_making_to_removing", a_container_from_making_to_removing),
    ("what_is_not_ours_is_neither_listed_nor_touched", what_is_not_ours_is_neither_listed_nor_touched),
    ("a_container_has_no_rights_it_was_not_given", a_container_has_no_rights_it_was_not_given),
    ("secrets_arrive_as_environment_and_files", secrets_arrive_as_environment_and_files),
    ("services_reach_each_other_by_name", services_reach_each_other_by_name),
    ("a_port_in_use_is_named", a_port_in_use_is_named),
    ("a_routed_container_leaves_the_ports_of_the_host_free", a_routed_container_leaves_the_ports_free),
    ("a_start_that_cannot_work_says_why", a_start_that_cannot_work_says_why),
    ("a_missing_mount_is_not_made", a_missing_mount_is_not_made),
    ("how_containers_end", how_containers_end),
    ("the_last_lines_of_both_streams", the_last_lines_of_both_streams),
    ("commands_inside", commands_inside),
    ("events_wake", events_wake),
];

fn words(command: &[&str]) -> Vec<String> {
    command.iter().map(|word| (*word).to_owned()).collect()
}

/// What `sh -c SCRIPT` prints inside.
async fn shell(bench: &Bench, id: &str, script: &str) -> String {
    let outcome = bench.docker.exec(id, &words(&["sh", "-c", script]), Duration::from_secs(20)).await;
    outcome.expect("the script ran").output
}

fn a_container_from_making_to_removing(bench: &mut Bench, runtime: &Runtime) {
    runtime.block_on(async {
        bench.have_image().await;
        let spec = bench.spec("api", 3, &[]);
        let id = bench.docker.create(&spec).await.expect("made");
        assert_eq!(bench.docker.create(&spec).await.expect("found again"), id);
        let made = bench.find("api-3").await.expect("listed");
        assert_eq!(made.state, ContainerState::Created);
        assert_eq!((made.service.as_str(), made.generation, made.digest), ("api", 3, bench.digest.clone()));
        bench.docker.start(&id).await.expect("started");
        bench.docker.start(&id).await.expect("runs already");
        let running = bench.find("api-3").await.expect("listed");
        assert!(matches!(running.state, ContainerState::Running { .. }), "{running:?}");
        assert!(running.address.is_some_and(|address| address.is_ipv4()), "{running:?}");
        bench.docker.stop(&id, Duration::from_secs(1)).await.expect("stopped");
        bench.docker.stop(&id, Duration::from_secs(1)).await.expect("does not run");
        let stopped = bench.find("api-3").await.expect("listed");
        assert!(
            matches!(stopped.state, ContainerState::Exited { code: 137, .. }),
            "sleep ignores: {stopped:?}"
        );
        assert_eq!(stopped.address, None);
        bench.docker.remove(&id).await.expect("removed");
        bench.docker.remove(&id).await.expect("is gone");
        bench.docker.stop(&id, Duration::from_secs(1)).await.expect("is gone");
        assert_eq!(bench.docker.containers().await.expect("a list"), []);
    });
}

fn what_is_not_ours_is_neither_listed_nor_touched(bench: &mut Bench, runtime: &Runtime) {
    runtime.block_on(bench.have_image());
    let image = bench.spec("api", 1, &[]).settings.image.pinned(&bench.digest);
    let foreign = |arguments: &[&str]| {
        let arguments = [&["create"], arguments, &[image.as_str()]].concat();
        bench.daemon.docker(&arguments, b"").expect("made by somebody else")
    };
    foreign(&["--name", "api-1"]);
    foreign(&["--name", "half", "--label", "node-agent.service=api"]);
    runtime.block_on(async {
        assert_eq!(bench.docker.containers().await.expect("a list"), [], "labels that cannot be read");
        let error = bench.docker.create(&bench.spec("api", 1, &[])).await.expect_err("the name is taken");
        assert_eq!(error.code(), "name_in_use", "{error}");
        assert!(error.to_string().starts_with("cannot create container api-1: another container"), "{error}");
        let changed =
            agent::engine::ContainerSpec { spec_hash: "0ther".to_owned(), ..bench.spec("api", 2, &[]) };
        bench.docker.create(&bench.spec("api", 2, &[])).await.expect("made");
        let error = bench.docker.create(&changed).await.expect_err("another specification");
        assert_eq!(error.code(), "name_in_use", "{error}");
    });
}

fn a_container_has_no_rights_it_was_not_given(bench: &mut Bench, runtime: &Runtime) {
    let mut spec = bench.spec("api", 1, &[]);
    spec.settings.read_only = true;
    spec.settings.user = Some("1000:1000".to_owned());
    spec.settings.memory_bytes = Some(64 << 20);
    spec.settings.nano_cpus = Some(500_000_000);
    let mut bound = bench.spec("bound", 1, &[]);
    bound.settings.capabilities = vec!["NET_BIND_SERVICE".to_owned()];
    runtime.block_on(async {
        let id = bench.run(&spec).await.expect("runs");
        let said = shell(bench, &id, "grep -E '^(Cap(Eff|Bnd)|NoNewPrivs)' /proc/self/status; id -u").await;
        let rights: Vec<&str> = said.split_whitespace().collect();
        let none = "0000000000000000";
        assert_eq!(rights, ["CapEff:", none, "CapBnd:", none, "NoNewPrivs:", "1", "1000"]);
        let said = shell(bench, &id, "touch /etc/x; touch /tmp/x && echo tmp works").await;
        assert!(said.contains("Read-only file system") && said.contains("tmp works"), "{said}");
        let bound = bench.run(&bound).await.expect("runs");
        let said = shell(bench, &bound, "grep CapBnd /proc/self/status").await;
        assert!(said.ends_with("0000000000000400"), "only NET_BIND_SERVICE: {said}");
    });
    let format = "{{.HostConfig.Memory}} {{.HostConfig.MemorySwap}} {{.HostConfig.NanoCpus}} \
                  {{.HostConfig.RestartPolicy.Name}} {{.HostConfig.LogConfig.Type}} {{json .HostConfig.LogConfig.Config}}";
    let limits = bench.daemon.docker(&["inspect", "--format", format, "api-1"], b"").expect("inspected");
    assert_eq!(limits, r#"67108864 67108864 500000000 no json-file {"max-file":"3","max-size":"10m"}"#);
}

fn secrets_arrive_as_environment_and_files(bench: &mut Bench, runtime: &Runtime) {
    let folder = bench.daemon.directory().join("secrets/app");
    fs::create_dir_all(&folder).expect("a folder");
    #[expect(clippy::disallowed_methods, reason = "a file of the test")]
    fs::write(folder.join("KEY"), "from a file").expect("a file");
    let mut spec = bench.spec("api", 1, &[]);
    spec.environment = vec![("KEY".to_owned(), "from = the environment".to_owned().into())];
    spec.secret_folders = vec![("app".to_owned(), folder)];
    runtime.block_on(async {
        let id = bench.run(&spec).await.expect("runs");
        // Both outputs as one: they come by two pipes, and meet in any order.
        let script = "exec 2>&1; echo $KEY; cat /run/secrets/app/KEY; touch /run/secrets/app/x";
        let said = shell(bench, &id, script).await;
        assert!(said.contains("from = the environment\nfrom a file"), "{said}");
        assert!(said.contains("Read-only file system"), "{said}");
    });
}

fn services_reach_each_other_by_name(bench: &mut Bench, runtime: &Runtime) {
    let command = ["httpd", "-f", "-p", "8000", "-h", "/www"];
    runtime.block_on(async {
        bench.run(&bench.spec("api", 7, &command)).await.expect("runs");
        let other = bench.run(&bench.spec("front", 1, &[])).await.expect("runs");
        let script = "until wget -q -O - http://api:8000/; do sleep 0.1; done";
        assert_eq!(shell(bench, &other, script).await.lines().last(), Some("welcome"));
    });
    let labels = bench.daemon.docker(&["network", "inspect", "--format", "{{.Labels}}", "node-agent"], b"");
    assert_eq!(labels.expect("the bridge"), "map[node-agent.network:node]");
}

fn a_port_in_use_is_named(bench: &mut Bench, runtime: &Runtime) {
    let mut first = bench.spec("api", 1, &[]);
    first.settings.ports = vec![Port { host: 8080, container: 8000, protocol: Protocol::Tcp }];
    let second = agent::engine::ContainerSpec { generation: 2, ..first.clone() };
    runtime.block_on(async {
        bench.run(&first).await.expect("runs");
        let error = bench.run(&second).await.expect_err("the port is taken by a container");
        assert_eq!((error.code(), error.to_string().as_str()), IN_USE);
    });
    bench.clear().expect("cleared");
    let _taken = std::net::TcpListener::bind("0.0.0.0:8080").expect("a free port");
    runtime.block_on(async {
        let error = bench.run(&second).await.expect_err("the port is taken by a process");
        assert_eq!((error.code(), error.to_string().as_str()), IN_USE);
    });
}

const IN_USE: (&str, &str) = ("port_in_use", "cannot start container api-2: host port 8080 is in use");

fn a_routed_container_leaves_the_ports_free(bench: &mut Bench, runtime: &Runtime) {
    let routed = |generation| {
        let mut spec = bench.spec("api", generation, &["httpd", "-f", "-p", "8000", "-h", "/www"]);
        let port = |host, container, protocol| Port { host, container, protocol };
        spec.settings.ports = vec![port(80, 8000, Protocol::Tcp), port(53, 5353, Protocol::Udp)];
        spec.settings.update.strategy = Strategy::BlueGreen;
        spec
    };
    runtime.block_on(async {
        assert!(bench.docker.bridges().await.expect("asked").len() <= 1);
        for generation in [1, 2] {
            bench.run(&routed(generation)).await.expect("beside the other");
        }
        let bridges = bench.docker.bridges().await.expect("asked");
        assert_eq!(bridges.len(), 1, "{bridges:?}");
        for name in ["api-1", "api-2"] {
            let found = bench.find(name).await.expect("listed");
            assert_eq!(found.routed_ports, routed(1).settings.ports);
            let status = fs::read_to_string(format!("/proc/{}/status", found.pid.expect("it runs")));
            assert!(status.expect("its process").contains("Name:\thttpd"), "{found:?}");
            let proxies: Vec<_> = found.ipv6_ports.iter().map(|it| (it.container, it.protocol)).collect();
            assert_eq!(proxies, [(5353, Protocol::Udp), (8000, Protocol::Tcp)], "{found:?}");
            let proxy = found.ipv6_ports.iter().find(|port| port.protocol == Protocol::Tcp);
            let to = (Ipv6Addr::LOCALHOST, proxy.expect("for TCP").host);
            within(name, tokio::net::TcpStream::connect(to)).await.expect("the engine's proxy listens");
        }
        for port in [80, 53] {
            assert!(std::net::TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).is_ok(), "{port} is free");
        }
        bench
            .docker
            .stop(&bench.find("api-1").await.expect("listed").id, Duration::ZERO)
            .await
            .expect("stopped");
        let stopped = bench.find("api-1").await.expect("listed");
        assert_eq!((stopped.pid, stopped.address), (None, None));
        assert_eq!((stopped.routed_ports.len(), stopped.ipv6_ports), (2, vec![]));
    });
}

fn a_start_that_cannot_work_says_why(bench: &mut Bench, runtime: &Runtime) {
    runtime.block_on(async {
        let error = bench.run(&bench.spec("api", 1, &["/no/such/program"])).await.expect_err("no program");
        assert_eq!(error.code(), "entrypoint_missing", "{error}");
        assert!(error.to_string().starts_with("cannot start container api-1: "), "{error}");
        let failed = bench.find("api-1").await.expect("listed").state;
        let named = matches!(&failed, ContainerState::Exited { error: Some(error), .. } if error.contains("/no/such"));
        assert!(named, "it is not `created` as if nothing had happened: {failed:?}");
    });
}

fn a_missing_mount_is_not_made(bench: &mut Bench, runtime: &Runtime) {
    let missing = bench.daemon.directory().join("models");
    let mut spec = bench.spec("api", 1, &[]);
    let host = missing.display().to_string();
    spec.settings.mounts =
        vec![Mount { host: host.clone(), container: "/models".to_owned(), read_only: false }];
    runtime.block_on(async {
        let error = bench.run(&spec).await.expect_err("nothing to mount");
        assert_eq!(error.code(), "mount_missing", "{error}");
        assert!(error.to_string().contains(&host) && !missing.exists(), "{error}");
        fs::create_dir(&missing).expect("a folder");
        let id = bench.run(&spec).await.expect("runs now");
        assert_eq!(shell(bench, &id, "touch /models/x").await, "");
    });
    assert!(missing.join("x").exists(), "written through the mount");
}

fn how_containers_end(bench: &mut Bench, runtime: &Runtime) {
    let mut hungry = bench.spec("hungry", 1, &["sh", "-c", "x=x; while :; do x=$x$x; done"]);
    hungry.settings.memory_bytes = Some(16 << 20);
    let mut host = bench.spec("host", 1, &["sh", "-c", "exit 7"]);
    host.settings.network = Network::Host;
    let ended = |state: &ContainerState| matches!(state, ContainerState::Exited { .. });
    runtime.block_on(async {
        bench.run(&host).await.expect("runs");
        let ContainerState::Exited { code, out_of_memory, error, .. } =
            bench.wait_for("host-1", ended).await.state
        else {
            unreachable!("it ended")
        };
        assert_eq!((code, out_of_memory, error), (7, false, None));
        bench.run(&hungry).await.expect("runs");
        let ContainerState::Exited { code, out_of_memory, .. } =
            bench.wait_for("hungry-1", ended).await.state
        else {
            unreachable!("it ended")
        };
        assert!(out_of_memory && code != 0, "out of memory: {out_of_memory}, code {code}");
    });
}

fn the_last_lines_of_both_streams(bench: &mut Bench, runtime: &Runtime) {
    let script =
        "echo first; echo second; echo oops >&2; yes x | busybox head -n 40000 | busybox tr -d '\\n'; echo";
    let ended = |state: &ContainerState| matches!(state, ContainerState::Exited { .. });
    runtime.block_on(async {
        let id = bench.run(&bench.spec("api", 1, &["sh", "-c", script])).await.expect("runs");
        bench.wait_for("api-1", ended).await;
        let lines = bench.docker.last_log_lines(&id, 20).await.expect("lines");
        let mut short: Vec<&str> = lines.iter().map(String::as_str).filter(|line| line.len() < 10).collect();
        short.sort_unstable();
        assert_eq!(short, ["first", "oops", "second"]);
        let longest = lines.iter().map(String::len).max();
        assert_eq!((lines.len(), longest), (4, Some(4096)), "40,000 bytes in one line are cut");
        let one = bench.docker.last_log_lines(&id, 1).await.expect("lines");
        assert_eq!(one.len(), 1);
    });
}

fn commands_inside(bench: &mut Bench, runtime: &Runtime) {
    runtime.block_on(async {
        let id = bench.run(&bench.spec("api", 1, &[])).await.expect("runs");
        let script = "echo out; echo err >&2; seq 10000; exit 3";
        let outcome = bench.docker.exec(&id, &words(&["sh", "-c", script]), Duration::from_secs(20)).await;
        let outcome = outcome.expect("it ran");
        assert!(outcome.code == 3 && (1000..=1024).contains(&outcome.output.len()), "{outcome:?}");
        let missing = bench.docker.exec(&id, &words(&["nope"]), Duration::from_secs(20)).await;
        // Engines differ: an exit status of 126 or 127, or a refusal.
        match missing {
            Ok(outcome) => assert!(outcome.code == 126 || outcome.code == 127, "{outcome:?}"),
            Err(error) => assert_eq!(error.code(), "entrypoint_missing", "{error}"),
        }
        let late = bench.docker.exec(&id, &words(&["sleep", "1234"]), Duration::from_millis(300)).await;
        let late = late.expect_err("it does not end");
        let said = "cannot run `sleep` in container api-1: it did not end within 0.3 s";
        assert_eq!((late.code(), late.to_string().as_str()), ("exec_timeout", said));
        let gone =
            async { while !shell(bench, &id, "ps | grep -v grep | grep 'sleep 1234'").await.is_empty() {} };
        within("the end of the late command", gone).await;
        let nobody = bench.docker.exec("nobody", &words(&["id"]), Duration::from_secs(20)).await;
        assert!(matches!(nobody, Err(EngineError::Refused { .. })), "{nobody:?}");
    });
}

fn events_wake(bench: &mut Bench, runtime: &Runtime) {
    runtime.block_on(async {
        let listener = bench.docker.clone();
        within("the first look", listener.changed()).await;
        let spec = bench.spec("api", 1, &["sh", "-c", "exit 0"]);
        let id = bench.run(&spec).await.expect("runs");
        let ended = |state: &ContainerState| matches!(state, ContainerState::Exited { .. });
        bench.wait_for("api-1", ended).await;
        within("what happened meanwhile", listener.changed()).await;
        // Quiet until something happens: the events of the end may still trickle in.
        while tokio::time::timeout(Duration::from_millis(300), listener.changed()).await.is_ok() {}
        let (removed, ()) = tokio::join!(bench.docker.remove(&id), within("removal", listener.changed()));
        removed.expect("removed");
    });
}
