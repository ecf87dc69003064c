//! Namespaces joined by a cable, and the local cloud served into them from this
//! process, and by its program.

#![expect(clippy::unwrap_used, reason = "a failed step of a test ends it")]
#![expect(clippy::disallowed_methods, reason = "runs programs inside of namespaces")]

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use harness::local_cloud::{Bind, Config, Initial, LocalCloud};
use harness::netns::{METADATA_ADDRESS, Namespace, Network};
use harness::processes::Process;
use harness::requirements::{is_root, skipped};

const DEADLINE: Duration = Duration::from_secs(20);
const TOKEN: &str = "PUT /latest/api/token HTTP/1.1\r\nHost: imds\r\nConnection: close\r\n\
                     X-aws-ec2-metadata-token-ttl-seconds: 60\r\nContent-Length: 0\r\n\r\n";

fn network() -> Option<Network> {
    if !is_root() {
        skipped("namespaces need root");
        return None;
    }
    Some(Network::new().unwrap())
}

/// Asks for an IMDS token from inside a namespace.
fn token_from_inside(namespace: &Namespace, deadline: Duration) -> std::io::Result<String> {
    let ask = move || {
        use std::io::{Read as _, Write as _};
        let address = SocketAddr::from((METADATA_ADDRESS, 80));
        let mut stream = std::net::TcpStream::connect_timeout(&address, DEADLINE)?;
        stream.set_read_timeout(Some(deadline))?;
        stream.write_all(TOKEN.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    namespace.enter(ask).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_instance_finds_its_metadata_where_it_expects_it() {
    let Some(network) = network() else { return };
    let imds = network.cloud.listen((METADATA_ADDRESS, 80)).unwrap();
    // One hop is enough for the instance itself.
    let initial = Initial { hop_limit: Some(1), ..Initial::default() };
    let config = Config { imds: Some(Bind::Listener(imds)), initial, ..Config::default() };
    let cloud = LocalCloud::start(config).await.unwrap();
    let answer = token_from_inside(&network.instance, DEADLINE).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(cloud.requests("imds", "PutToken"), 1);
}

/// A namespace one hop behind the instance, as a container on a bridge is.
fn container_behind(network: &Network) -> Namespace {
    let container = Namespace::new("container").unwrap();
    let ip = |namespace: &Namespace, line: &str| {
        let output = namespace.command("ip").args(line.split(' ')).output().unwrap();
        assert!(output.status.success(), "ip {line}: {}", String::from_utf8_lossy(&output.stderr));
    };
    ip(&network.instance, &format!("link add bridge0 type veth peer name eth0 netns {}", container.name()));
    ip(&network.instance, "address add 172.17.0.1/16 dev bridge0");
    ip(&network.instance, "link set bridge0 up");
    ip(&container, "address add 172.17.0.2/16 dev eth0");
    ip(&container, "link set eth0 up");
    ip(&container, "route add default via 172.17.0.1");
    ip(&network.cloud, "route add 172.17.0.0/16 via 198.18.0.2");
    let forward = || std::fs::write("/proc/sys/net/ipv4/ip_forward", "1");
    network.instance.enter(forward).unwrap().unwrap();
    container
}

#[tokio::test(flavor = "multi_thread")]
async fn beyond_the_hop_limit_the_answer_never_comes() {
    let Some(network) = network() else { return };
    let container = container_behind(&network);
    let imds = network.cloud.listen((METADATA_ADDRESS, 80)).unwrap();
    let config = Config { imds: Some(Bind::Listener(imds)), ..Config::default() };
    let cloud = LocalCloud::start(config).await.unwrap();
    assert!(token_from_inside(&container, DEADLINE).unwrap().starts_with("HTTP/1.1 200"));
    cloud.state().hop_limit = Some(1);
    let error = token_from_inside(&container, Duration::from_millis(500)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}");
    assert!(token_from_inside(&network.instance, DEADLINE).unwrap().starts_with("HTTP/1.1 200"));
}

#[test]
fn the_program_serves_into_a_namespace_and_logs_without_secrets() {
    let Some(network) = network() else { return };
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.json");
    std::fs::write(&state, r#"{"secrets": {"app": {"KEY": "marked-value"}}, "tags": {"Name": "demo"}}"#)
        .unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_local-cloud"));
    command.args(["--imds", "169.254.169.254:80", "--aws", "198.18.0.1:4566", "--control", "127.0.0.1:0"]);
    command.arg("--netns").arg(network.cloud.path()).arg("--state").arg(&state);
    let mut program = Process::start("local-cloud", command).unwrap();
    let ready = program.wait_for_line("\"ready\":true", DEADLINE).unwrap();
    assert!(ready.contains("198.18.0.1:4566") && ready.contains("127.0.0.1:"), "{ready}");
    assert!(token_from_inside(&network.instance, DEADLINE).unwrap().starts_with("HTTP/1.1 200"));
    let line = program.wait_for_line("PutToken", DEADLINE).unwrap();
    assert!(line.contains("\"status\":200"), "{line}");
    assert!(!program.output().contains("marked-value"));
    program.signal(nix::sys::signal::Signal::SIGTERM).unwrap();
    assert!(program.wait_for_exit(DEADLINE).unwrap().success());
}

#[test]
fn both_namespaces_are_gone_afterwards() {
    let Some(network) = network() else { return };
    let paths = [network.cloud.path(), network.instance.path()];
    assert!(paths.iter().all(|path| path.exists()));
    let route = network.instance.command("ip").args(["route", "get", "169.254.169.254"]).output().unwrap();
    let route = String::from_utf8_lossy(&route.stdout).into_owned();
    assert!(route.contains("via 198.18.0.1"), "{route}");
    drop(network);
    assert!(paths.iter().all(|path| !path.exists()));
}
