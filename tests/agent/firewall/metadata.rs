//! Who reaches the instance metadata, and what listens for the host alone.

use crate::Situation;
use crate::containers::Running;
use crate::peers::{BRIEF, flow, nobody, serve_at, who};
use crate::scene::{Scene, output};
use agent::rules::Rules;
use harness::netns::METADATA_ADDRESS;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

pub(crate) const SITUATIONS: &[Situation] = &[
    ("metadata_is_for_those_that_may", metadata_is_for_those_that_may),
    ("metadata_over_ipv6_is_for_no_container", metadata_over_ipv6_is_for_no_container),
    ("loopback_of_the_host_is_not_for_containers", loopback_of_the_host_is_not_for_containers),
];

const METADATA: (Ipv4Addr, u16) = (METADATA_ADDRESS, 80);
const METADATA_IPV6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

fn metadata_is_for_those_that_may(scene: &mut Scene) {
    let service = serve_at(scene.network.cloud.path(), "metadata", METADATA.into());
    let _service = service.expect("the metadata service");
    let (may, must_not, unknown) = (scene.routed("may"), scene.routed("must-not"), scene.routed("unknown"));
    let ask = |container: &Running| who(Some(container.network()), METADATA);
    for container in [&may, &must_not, &unknown] {
        assert_eq!(ask(container).expect("without rules"), "metadata", "{}", container.observed.name);
    }
    let known = Rules {
        with_metadata: [may.address()].into(),
        without_metadata: [must_not.address()].into(),
        ..may.rules()
    };
    scene.replace(&known);
    assert_eq!(ask(&may).expect("it may"), "metadata");
    let refused = nobody(Some(must_not.network()), METADATA);
    assert_eq!(refused, ErrorKind::ConnectionRefused, "it is told at once");
    let silent = nobody(Some(unknown.network()), METADATA);
    assert!(matches!(silent, ErrorKind::TimedOut | ErrorKind::WouldBlock), "no answer: {silent:?}");
    assert_eq!(who(None, METADATA).expect("the host itself"), "metadata");
    let swapped = Rules {
        with_metadata: known.without_metadata.clone(),
        without_metadata: known.with_metadata.clone(),
        ..known
    };
    scene.replace(&swapped);
    assert_eq!(ask(&must_not).expect("now it may"), "metadata");
    assert_eq!(nobody(Some(may.network()), METADATA), ErrorKind::ConnectionRefused);
}

/// Bridges have no IPv6 by themselves; a person may have given it to one.
fn metadata_over_ipv6_is_for_no_container(scene: &mut Scene) {
    let container = scene.routed("may");
    let bridge =
        output(scene.network.instance.command("ip").args(["-o", "-4", "route", "show", "proto", "kernel"]));
    let bridge = bridge.expect("routes");
    let (network, _) = container.bridge;
    let line = bridge.lines().find(|line| line.starts_with(&network.to_string())).expect("its route");
    let bridge = line.split_whitespace().skip_while(|word| *word != "dev").nth(1).expect("its interface");
    let run = |command: &mut std::process::Command| drop(output(command).expect("it does"));
    let instance = |words: &str| run(scene.network.instance.command("sh").args(["-c", words]));
    let pid = container.observed.pid.expect("it runs");
    instance(&format!("sysctl -qw net.ipv6.conf.{bridge}.disable_ipv6=0 net.ipv6.conf.all.forwarding=1"));
    instance(&format!("ip -6 address add fd00:200::1/64 dev {bridge} nodad"));
    let inside = "sysctl -qw net.ipv6.conf.all.disable_ipv6=0 && ip -6 address add fd00:200::2/64 dev eth0 nodad && \
                  ip -6 route add default via fd00:200::1";
    run(scene.network.cloud.command("nsenter").args([
        &format!("--net=/proc/{pid}/ns/net"),
        "sh",
        "-c",
        inside,
    ]));
    let cloud = format!(
        "ip -6 address add {METADATA_IPV6}/128 dev lo nodad; ip -6 route add fd00:200::/64 via fd00:198::2"
    );
    run(scene.network.cloud.command("sh").args(["-c", &cloud]));
    instance(&format!("ip -6 route replace {METADATA_IPV6}/128 via fd00:198::1"));
    let to = SocketAddr::from((METADATA_IPV6, 80));
    let service = serve_at(scene.network.cloud.path(), "metadata", to).expect("the metadata service");
    assert_eq!(who(Some(container.network()), to).expect("without rules"), "metadata");
    scene.replace(&Rules { with_metadata: [container.address()].into(), ..container.rules() });
    let refused = nobody(Some(container.network()), to);
    assert!(!matches!(refused, ErrorKind::TimedOut | ErrorKind::WouldBlock), "told at once: {refused:?}");
    assert_eq!(who(None, to).expect("the host itself"), "metadata");
    drop(service);
    instance(&format!("ip -6 address del fd00:200::1/64 dev {bridge}; ip -6 route del {METADATA_IPV6}/128"));
    let gone = format!("ip -6 address del {METADATA_IPV6}/128 dev lo; ip -6 route del fd00:200::/64");
    run(scene.network.cloud.command("sh").args(["-c", &gone]));
}

/// Name of the interface that the container's network has on the host.
fn bridge(scene: &Scene, container: &Running) -> String {
    let mut ip = scene.network.instance.command("ip");
    let routes = output(ip.args(["-o", "-4", "route", "show", "proto", "kernel"])).expect("routes");
    let (network, _) = container.bridge;
    let line = routes.lines().find(|line| line.starts_with(&network.to_string())).expect("its route");
    line.split_whitespace().skip_while(|word| *word != "dev").nth(1).expect("its interface").to_owned()
}

/// A container that may do all with its own network sends to the host's 127.0.0.1.
fn loopback_of_the_host_is_not_for_containers(scene: &mut Scene) {
    let container = scene.routed("curious");
    let bridge = bridge(scene, &container);
    let setting = format!("/proc/sys/net/ipv4/conf/{bridge}/route_localnet");
    let is_open = || {
        let mut cat = scene.network.instance.command("cat");
        output(cat.arg(&setting)).expect("a setting").trim() == "1"
    };
    let gateway = Ipv4Addr::from(u32::from(container.bridge.0) + 1);
    let inside = format!(
        "ip route del local 127.0.0.0/8 dev lo table local && ip route del local 127.0.0.1 dev lo table local && \
         ip route add 127.0.0.1/32 via {}",
        gateway
    );
    let network = format!("--net={}", container.network().display());
    let mut nsenter = scene.network.cloud.command("nsenter");
    output(nsenter.args([&network, "sh", "-c", &inside])).expect("routes of the container");
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, 4242));
    let listener = UdpSocket::bind(to).expect("for the host alone");
    listener.set_read_timeout(Some(BRIEF)).expect("set");
    let curious = flow(container.network(), to).expect("a socket");
    let arrives = || {
        curious.send(b"psst").expect("sent");
        listener.recv(&mut [0; 16]).is_ok()
    };
    assert!(!is_open() && !arrives());
    scene.replace(&container.rules());
    assert!(is_open(), "answers to 127.0.0.1 come in on the bridge");
    assert!(!arrives());
    scene.nft(&["flush chain inet node-agent spoofed"]);
    assert!(arrives(), "nothing else holds it off");
    scene.replace(&container.rules());
    assert!(!arrives());
    scene.replace(&Rules::default());
    assert!(!is_open() && !arrives(), "closed with the table");
}
