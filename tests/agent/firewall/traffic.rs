//! Clients from everywhere, while the target of their port is switched.

use crate::Situation;
use crate::containers::{INSIDE, Running, TCP, UDP};
use crate::peers::{Connection, exchange, flow, nobody, serve_at, who};
use crate::scene::{INSTANCE_IPV6, PLENTY, Scene};
use agent::firewall::Firewall;
use agent::rules::Rules;
use harness::netns::INSTANCE_ADDRESS;
use harness::requirements::{skipped, tried};
use harness::wait::wait_for;
use node::config::settings::Protocol;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

pub(crate) const SITUATIONS: &[Situation] = &[
    ("a_port_is_reached_from_everywhere", a_port_is_reached_from_everywhere),
    ("no_new_connection_fails_while_its_target_is_switched", no_new_connection_fails),
    ("an_open_connection_stays_with_the_old_container", an_open_connection_stays),
    ("what_is_over_is_forgotten_when_its_container_goes", what_is_over_is_forgotten),
    ("a_flow_of_udp_moves_on_after_a_switch", a_flow_of_udp_moves_on),
    ("a_flow_of_udp_from_before_there_was_a_route_is_led", a_flow_from_before_is_led),
    ("a_proxy_of_the_engine_is_reached_only_by_its_port_of_the_host", a_proxy_is_not_reached_directly),
    ("a_port_without_a_route_is_refused", a_port_without_a_route_is_refused),
];

fn outside(scene: &Scene) -> Option<std::path::PathBuf> {
    Some(scene.network.cloud.path())
}

fn a_port_is_reached_from_everywhere(scene: &mut Scene) {
    let (old, new, neighbour) = (scene.routed("old"), scene.routed("new"), scene.routed("neighbour"));
    for target in [&old, &new] {
        scene.replace(&target.rules());
        let gateway = who_is_gateway(target);
        for (from, network, to) in [
            ("outside", outside(scene), SocketAddr::from((INSTANCE_ADDRESS, TCP))),
            ("the host, by its address", None, (INSTANCE_ADDRESS, TCP).into()),
            ("the host, by 127.0.0.1", None, (Ipv4Addr::LOCALHOST, TCP).into()),
            ("the host, by its bridge", None, (gateway, TCP).into()),
            ("a neighbour, by the host's address", Some(neighbour.network()), (INSTANCE_ADDRESS, TCP).into()),
            ("a neighbour, by the bridge", Some(neighbour.network()), (gateway, TCP).into()),
            ("a neighbour, by its address", Some(neighbour.network()), (target.address(), INSIDE).into()),
            ("itself, by the host's address", Some(target.network()), (INSTANCE_ADDRESS, TCP).into()),
            ("outside, over IPv6", outside(scene), (INSTANCE_IPV6, TCP).into()),
            ("the host, by ::1", None, (Ipv6Addr::LOCALHOST, TCP).into()),
            ("the host, by its IPv6 address", None, (INSTANCE_IPV6, TCP).into()),
        ] {
            let answer = who(network, to).unwrap_or_else(|error| panic!("from {from}, {to}: {error}"));
            assert_eq!(answer, target.observed.name, "from {from}, {to}");
        }
    }
    let other_loopback = nobody(None, (Ipv4Addr::new(127, 0, 0, 53), TCP));
    assert_eq!(other_loopback, ErrorKind::ConnectionRefused, "it is a resolver's, not ours");
}

/// The host's address on the bridge.
fn who_is_gateway(target: &Running) -> Ipv4Addr {
    let (network, _) = target.bridge;
    Ipv4Addr::from(u32::from(network) + 1)
}

fn no_new_connection_fails(scene: &mut Scene) {
    const SWITCHES: usize = 20;
    let containers = [scene.routed("old"), scene.routed("new")];
    scene.replace(&containers[0].rules());
    let (stop, answered, failures) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::new(Vec::new()));
    let network = scene.network.cloud.path();
    let ask = |to: SocketAddr| {
        while !stop.load(Ordering::Relaxed) {
            match who(None, to) {
                Ok(_) => drop(answered.fetch_add(1, Ordering::Relaxed)),
                Err(error) => failures.lock().expect("a list").push(format!("{to}: {error}")),
            }
        }
    };
    std::thread::scope(|scope| {
        let clients: [SocketAddr; 3] =
            [(INSTANCE_ADDRESS, TCP).into(), (INSTANCE_ADDRESS, TCP).into(), (INSTANCE_IPV6, TCP).into()];
        for to in clients {
            let (network, ask) = (network.clone(), &ask);
            scope.spawn(move || {
                nix::sched::setns(
                    std::fs::File::open(network).expect("the cloud's side"),
                    nix::sched::CloneFlags::CLONE_NEWNET,
                )
                .expect("entered");
                ask(to);
            });
        }
        let switching = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for target in containers.iter().cycle().skip(1).take(SWITCHES) {
                scene.replace(&target.rules());
                let now = who(outside(scene), (INSTANCE_ADDRESS, TCP)).expect("an answer");
                assert_eq!(now, target.observed.name, "a new connection goes to the new target");
                let before = answered.load(Ordering::Relaxed);
                wait_for("30 more answers", PLENTY, || {
                    let more = answered.load(Ordering::Relaxed) - before;
                    if more >= 30 { Ok(()) } else { Err(format!("{more}")) }
                })
                .expect("clients go on");
            }
        }));
        stop.store(true, Ordering::Relaxed);
        switching.expect("switched");
    });
    let failures = failures.into_inner().expect("a list");
    let answered = answered.into_inner();
    assert!(failures.is_empty(), "{} of {answered} failed: {:?}", failures.len(), failures.first());
    tried(&format!("{answered} new connections over {SWITCHES} switches, none failed"));
}

fn an_open_connection_stays(scene: &mut Scene) {
    let (old, new) = (scene.routed("old"), scene.routed("new"));
    scene.replace(&old.rules());
    for to in [SocketAddr::from((INSTANCE_ADDRESS, TCP)), (INSTANCE_IPV6, TCP).into()] {
        let (mut connection, name) = Connection::open(outside(scene), to, PLENTY).expect("a connection");
        assert_eq!(name, "old");
        scene.replace(&new.rules());
        assert_eq!(connection.say("still there?").expect("an answer"), "old still there?", "{to}");
        assert_eq!(who(outside(scene), to).expect("an answer"), "new", "{to}");
        let open = || {
            let pid = old.observed.pid.expect("it runs");
            scene.runtime.block_on(scene.firewall.connections(pid, &[INSIDE]))
        };
        assert_eq!(open(), Some(1), "{to}");
        assert_eq!(connection.say("and now?").expect("an answer"), "old and now?");
        drop(connection);
        wait_for("the old one to be left alone", PLENTY, || match open() {
            Some(0) => Ok(()),
            other => Err(format!("{other:?}")),
        })
        .expect("nobody is connected any more");
        scene.replace(&old.rules());
    }
}

/// The connections to the container that the kernel remembers in that state, a line each.
///
/// The engine gives an address again, and forgets of itself who was connected to the container that had it before: whose
/// they are is told by the port that they come from, see [`from`].
fn remembered(container: &Running, state: &str) -> std::io::Result<Vec<String>> {
    let answers = format!(" src={} dst=", container.address());
    let all = std::fs::read_to_string("/proc/thread-self/net/nf_conntrack")?;
    let of_it = |line: &&str| line.contains(&answers) && line.contains(state) && line.contains(" tcp ");
    Ok(all.lines().filter(of_it).map(str::to_owned).collect())
}

fn is_from(port: u16, line: &str) -> bool {
    line.contains(&format!(" sport={port} "))
}

/// How many of them come from these ports.
fn from(ports: &[u16], lines: &[String]) -> usize {
    lines.iter().filter(|line| ports.iter().any(|port| is_from(*port, line))).count()
}

/// Connects, hangs up, and returns the port of a connection that is remembered as over for two minutes.
///
/// Two processors may send the server's last two packets in the wrong order; what the client says to the second then
/// comes to nobody, is answered with a reset, and the connection is remembered for ten seconds only. So it tries again.
fn over(scene: &Scene, container: &Running) -> u16 {
    let to = SocketAddr::from((INSTANCE_ADDRESS, TCP));
    for _ in 0..50 {
        let (connection, name) = Connection::open(outside(scene), to, PLENTY).expect("a connection");
        assert_eq!(name, container.observed.name);
        let port = connection.port().expect("it has one");
        drop(connection);
        let mut end = "";
        wait_for("the connection to be over", PLENTY, || {
            let mut its = remembered(container, "").map_err(|error| error.to_string())?;
            its.retain(|line| is_from(port, line));
            let is_over = |state: &&str| its.iter().any(|line| line.contains(state));
            end = [" TIME_WAIT ", " CLOSE "].into_iter().find(is_over).ok_or(format!("{port}: {its:?}"))?;
            Ok(())
        })
        .expect("its end");
        if end == " TIME_WAIT " {
            return port;
        }
    }
    panic!("50 connections to {} ended in a reset", container.observed.name);
}

fn what_is_over_is_forgotten(scene: &mut Scene) {
    let (old, new) = (scene.routed("old"), scene.routed("new"));
    if let Err(error) = remembered(&old, "") {
        return skipped(&format!("the kernel does not list what it remembers: {error}"));
    }
    let to = SocketAddr::from((INSTANCE_ADDRESS, TCP));
    scene.replace(&old.rules());
    let (mut connection, _) = Connection::open(outside(scene), to, PLENTY).expect("a connection");
    let of_old: [u16; 3] = std::array::from_fn(|_| over(scene, &old));
    scene.replace(&new.rules());
    let of_new = [over(scene, &new)];
    let now = |container, state| remembered(container, state).expect("a list");
    assert_eq!(from(&of_old, &now(&old, "TIME_WAIT")), of_old.len(), "{:#?}", now(&old, ""));
    scene.runtime.block_on(scene.firewall.let_closed_go(old.address()));
    assert_eq!(now(&old, "TIME_WAIT"), [""; 0], "whoever connected");
    let open = [connection.port().expect("it has one")];
    assert_eq!(from(&open, &now(&old, "ESTABLISHED")), 1, "{:#?}", now(&old, ""));
    assert_eq!(from(&of_new, &now(&new, "TIME_WAIT")), 1, "{:#?}", now(&new, ""));
    assert_eq!(connection.say("still there?").expect("an answer"), "old still there?");
}

fn a_flow_of_udp_moves_on(scene: &mut Scene) {
    let (old, new) = (scene.routed("old"), scene.routed("new"));
    scene.replace(&old.rules());
    let targets = [SocketAddr::from((INSTANCE_ADDRESS, UDP)), (INSTANCE_IPV6, UDP).into()];
    let flows = targets.map(|to| (to, flow(scene.network.cloud.path(), to).expect("a socket")));
    for target in [&old, &new, &old] {
        scene.replace(&target.rules());
        for (to, socket) in &flows {
            let answer = exchange(socket, "who?").unwrap_or_else(|error| panic!("{to}: {error}"));
            assert_eq!(answer, format!("{} who?", target.observed.name), "{to}");
        }
    }
    scene.replace(&Rules { routes: [].into(), ..old.rules() });
    for (to, socket) in &flows {
        socket.set_read_timeout(Some(Duration::from_secs(2))).expect("set");
        let refused = exchange(socket, "who?").expect_err("nobody is led any more").kind();
        assert_eq!(refused, ErrorKind::ConnectionRefused, "{to}");
    }
}

fn a_flow_from_before_is_led(scene: &mut Scene) {
    let target = scene.routed("new");
    let to = SocketAddr::from((INSTANCE_ADDRESS, UDP));
    let socket = flow(scene.network.cloud.path(), to).expect("a socket");
    let refused = exchange(&socket, "who?").expect_err("nobody listens").kind();
    assert_eq!(refused, ErrorKind::ConnectionRefused);
    scene.replace(&target.rules());
    assert_eq!(exchange(&socket, "who?").expect("an answer"), "new who?");
}

fn a_proxy_is_not_reached_directly(scene: &mut Scene) {
    let target = scene.routed("new");
    let (tcp, udp) = (target.proxy(Protocol::Tcp), target.proxy(Protocol::Udp));
    let (tcp, udp) = (tcp.expect("a proxy for TCP"), udp.expect("a proxy for UDP"));
    assert_eq!(who(outside(scene), (INSTANCE_IPV6, tcp)).expect("no rules yet"), "new");
    scene.replace(&target.rules());
    let refused = nobody(outside(scene), (INSTANCE_IPV6, tcp));
    assert_eq!(refused, ErrorKind::ConnectionRefused);
    let socket = flow(scene.network.cloud.path(), (INSTANCE_IPV6, udp).into()).expect("a socket");
    assert_eq!(exchange(&socket, "who?").expect_err("refused").kind(), ErrorKind::ConnectionRefused);
    assert_eq!(who(None, (INSTANCE_IPV6, tcp)).expect("from the host itself"), "new");
    assert_eq!(who(outside(scene), (INSTANCE_IPV6, TCP)).expect("by its port"), "new");
    let other = serve_at(scene.network.instance.path(), "other", (INSTANCE_ADDRESS, tcp).into());
    let _other = other.expect("a program of the host");
    assert_eq!(who(outside(scene), (INSTANCE_ADDRESS, tcp)).expect("over IPv4 it is another port"), "other");
}

fn a_port_without_a_route_is_refused(scene: &mut Scene) {
    let target = scene.routed("new");
    scene.replace(&target.rules());
    scene.replace(&Rules { routes: [].into(), ..target.rules() });
    for to in [SocketAddr::from((INSTANCE_ADDRESS, TCP)), (INSTANCE_IPV6, TCP).into()] {
        assert_eq!(nobody(outside(scene), to), ErrorKind::ConnectionRefused, "{to}");
    }
}
