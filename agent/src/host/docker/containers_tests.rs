//! From the engine's documents to our values.

use super::*;
use serde_json::{Value, json};

/// A running container as Docker 20.10 describes it, with `patch` merged over it.
fn document(patch: Value) -> ContainerInspectResponse {
    let mut document = json!({
        "Id": "0f6e2e8cf0b1", "Name": "/api-3", "Created": "2026-01-01T00:00:00.123456789Z",
        "Config": {"Labels": {
            "node-agent.service": "api", "node-agent.spec": "5ec", "node-agent.digest": "sha256:aa",
            "node-agent.generation": "3", "com.example": "kept"
        }},
        "State": {
            "Status": "running", "Running": true, "OOMKilled": false, "ExitCode": 0, "Error": "",
            "StartedAt": "2026-01-01T00:00:01Z", "FinishedAt": "0001-01-01T00:00:00Z", "Pid": 4711
        },
        "NetworkSettings": {"Networks": {"node-agent": {"IPAddress": "172.18.0.2", "IPPrefixLen": 16}}}
    });
    merge(&mut document, patch);
    serde_json::from_value(document).expect("an inspect document")
}

fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            for (key, value) in patch {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, patch) => *into = patch,
    }
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

fn running() -> Container {
    Container {
        id: "0f6e2e8cf0b1".to_owned(),
        name: "api-3".to_owned(),
        service: "api".to_owned(),
        spec: "5ec".to_owned(),
        digest: "sha256:aa".to_owned(),
        generation: 3,
        state: ContainerState::Running { started_at: at("2026-01-01T00:00:01Z") },
        created_at: at("2026-01-01T00:00:00.123456789Z"),
        address: Some(IpAddr::from([172, 18, 0, 2])),
        image_health: None,
        pid: Some(4711),
        routed_ports: Vec::new(),
        ipv6_ports: Vec::new(),
    }
}

#[test]
fn a_running_container() {
    assert_eq!(observed(document(json!({}))), Ok(running()));
}

#[test]
fn on_the_hosts_network_it_has_no_address() {
    let mut document = document(json!({}));
    document.network_settings = serde_json::from_value(json!({"Networks": {"host": {"IPAddress": ""}}})).ok();
    assert_eq!(observed(document), Ok(Container { address: None, ..running() }));
}

#[test]
fn a_routed_container() {
    let both = |v4: &str, v6: &str| json!([{"HostIp": "127.0.0.1", "HostPort": v4}, {"HostIp": "::", "HostPort": v6}]);
    let found = document(json!({
        "Config": {"Labels": {"node-agent.ports": "80:8000,8080:8000,53:5353/udp"}},
        "NetworkSettings": {"Ports": {
            "8000/tcp": both("32768", "32769"), "5353/udp": both("32770", "32771"), "9000/tcp": null
        }}
    }));
    let port = |host, container, protocol| Port { host, container, protocol };
    let proxy = |container, protocol, host| ProxyPort { container, protocol, host };
    let expected = Container {
        routed_ports: vec![
            port(80, 8000, Protocol::Tcp),
            port(8080, 8000, Protocol::Tcp),
            port(53, 5353, Protocol::Udp),
        ],
        ipv6_ports: vec![proxy(5353, Protocol::Udp, 32771), proxy(8000, Protocol::Tcp, 32769)],
        ..running()
    };
    assert_eq!(observed(found), Ok(expected));
}

#[test]
fn prefixes_of_a_network() {
    for (config, expected) in [
        (json!([{"Subnet": "172.18.0.0/16", "Gateway": "172.18.0.1"}]), vec![([172, 18, 0, 0], 16)]),
        (json!([{"Subnet": "172.18.0.0/16"}, {"Subnet": "fd00::/64"}]), vec![([172, 18, 0, 0], 16)]),
        (json!([{"Subnet": "10.1.2.3/24"}, {"Subnet": "10.9.0.0/33"}]), vec![([10, 1, 2, 0], 24)]),
        (json!([{}]), vec![]),
        (Value::Null, vec![]),
    ] {
        let ipam: Ipam = serde_json::from_value(json!({ "Config": config })).expect("a document");
        let expected = expected.into_iter().map(|(address, length)| (Ipv4Addr::from(address), length));
        assert_eq!(prefixes(&ipam), expected.collect(), "{config}");
    }
}

#[test]
fn while_it_does_not_run_it_has_neither_process_nor_address() {
    let found = document(json!({
        "State": {"Status": "created", "Pid": 0, "StartedAt": "0001-01-01T00:00:00Z"},
        "NetworkSettings": {"Ports": {}, "Networks": {"node-agent": {"IPAddress": "", "IPPrefixLen": 0}}}
    }));
    let expected = Container { state: ContainerState::Created, pid: None, address: None, ..running() };
    assert_eq!(observed(found), Ok(expected));
}

#[test]
fn states() {
    let exited = |code, at: &str, out_of_memory, error: Option<&str>| ContainerState::Exited {
        code,
        at: at.parse().expect("a time"),
        out_of_memory,
        error: error.map(str::to_owned),
    };
    let never = "0001-01-01T00:00:00Z";
    for (state, expected) in [
        (json!({"Status": "created", "StartedAt": never}), ContainerState::Created),
        (
            json!({"Status": "created", "StartedAt": never, "ExitCode": 127, "Error": "exec: not found"}),
            exited(127, "2026-01-01T00:00:00.123456789Z", false, Some("exec: not found")),
        ),
        (
            json!({"Status": "exited", "ExitCode": 137, "OOMKilled": true, "FinishedAt": "2026-01-01T00:00:09Z"}),
            exited(137, "2026-01-01T00:00:09Z", true, None),
        ),
        (json!({"Status": "paused"}), ContainerState::Other("paused".to_owned())),
        (json!({"Status": "removing"}), ContainerState::Other("removing".to_owned())),
        (json!({"Status": "dead"}), ContainerState::Other("dead".to_owned())),
    ] {
        let story = state.to_string();
        let observed = observed(document(json!({ "State": state }))).expect("readable");
        assert_eq!(observed.state, expected, "{story}");
    }
}

#[test]
fn the_images_healthcheck() {
    for (health, expected) in [
        (json!({"Status": "starting"}), Some(ImageHealth::Starting)),
        (json!({"Status": "healthy"}), Some(ImageHealth::Healthy)),
        (json!({"Status": "unhealthy"}), Some(ImageHealth::Unhealthy)),
        (json!({"Status": "none"}), None),
        (Value::Null, None),
    ] {
        let observed = observed(document(json!({"State": {"Health": health}}))).expect("readable");
        assert_eq!(observed.image_health, expected);
    }
}

#[test]
fn odd_labels_leave_a_container_out() {
    for (labels, reason) in [
        (json!({"node-agent.generation": "three"}), "label node-agent.generation is `three`, not a number"),
        (json!({"node-agent.ports": "80"}), "label node-agent.ports is `80`, not a list of ports"),
        (
            json!({"node-agent.ports": "80:8000/sctp"}),
            "label node-agent.ports is `80:8000/sctp`, not a list of ports",
        ),
        (json!({"node-agent.generation": "-1"}), "label node-agent.generation is `-1`, not a number"),
    ] {
        let observed = observed(document(json!({"Config": {"Labels": labels}})));
        let expected = Unreadable { id: "0f6e2e8cf0b1".to_owned(), reason: reason.to_owned() };
        assert_eq!(observed, Err(expected));
    }
    let mut missing = document(json!({}));
    if let Some(labels) = missing.config.as_mut().and_then(|config| config.labels.as_mut()) {
        labels.remove("node-agent.spec");
    }
    assert_eq!(observed(missing).map_err(|it| it.reason), Err("it has no label node-agent.spec".to_owned()));
}
