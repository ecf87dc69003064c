//! The document that the engine gets, compared as a whole.

use super::*;
use node::config::settings::{
    Health, ImageReference, ImageVersion, Mount as MountSetting, Probe, Service, Update,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;

fn service() -> Service {
    Service {
        image: ImageReference {
            registry: "localhost:5000".to_owned(),
            repository: "team/app".to_owned(),
            version: ImageVersion::Tag("latest".to_owned()),
        },
        command: vec![],
        ports: vec![],
        environment: BTreeMap::new(),
        environment_from: vec![],
        secret_files: vec![],
        mounts: vec![],
        depends_on: vec![],
        memory_bytes: None,
        nano_cpus: None,
        gpus: None,
        user: None,
        read_only: false,
        capabilities: vec![],
        imds: false,
        stop_timeout: Duration::from_secs(30),
        network: Network::Node,
        health: Health {
            probe: Probe::ImageOrStayedUp,
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            retries: 3,
            start_period: Duration::ZERO,
        },
        update: Update {
            every: None,
            deadline: Duration::from_secs(300),
            min_healthy: Duration::from_secs(10),
            strategy: node::config::settings::Strategy::Recreate,
            min_age: Duration::ZERO,
            windows: Vec::new(),
            drain: Duration::from_secs(30),
            before: Vec::new(),
            after: Vec::new(),
        },
        logs: node::config::settings::Shaping::default(),
    }
}

fn spec(settings: Service) -> ContainerSpec {
    ContainerSpec {
        service: "api".to_owned(),
        settings,
        digest: "sha256:aa".to_owned(),
        spec_hash: "5ec".to_owned(),
        generation: 3,
        environment: vec![],
        secret_folders: vec![],
    }
}

fn body(spec: &ContainerSpec) -> Value {
    serde_json::to_value(create_body(spec, true)).expect("JSON")
}

#[test]
fn a_plain_service() {
    assert_eq!(
        body(&spec(service())),
        json!({
            "Image": "localhost:5000/team/app@sha256:aa",
            "Env": [],
            "Labels": {
                "node-agent.service": "api", "node-agent.spec": "5ec",
                "node-agent.digest": "sha256:aa", "node-agent.generation": "3"
            },
            "StopTimeout": 30,
            "HostConfig": {
                "NetworkMode": "node-agent",
                "Mounts": [],
                "PidsLimit": 4096,
                "ReadonlyRootfs": false,
                "CapDrop": ["ALL"], "CapAdd": [], "SecurityOpt": ["no-new-privileges:true"],
                "RestartPolicy": {"Name": "no"},
                "LogConfig": {"Type": "json-file", "Config": {"max-size": "10m", "max-file": "3"}}
            },
            "NetworkingConfig": {"EndpointsConfig": {"node-agent": {"Aliases": ["api"]}}}
        })
    );
}

#[test]
fn limits_user_command_and_capabilities() {
    let body = body(&spec(Service {
        command: vec!["gunicorn".to_owned(), "app.wsgi".to_owned()],
        memory_bytes: Some(512 << 20),
        nano_cpus: Some(500_000_000),
        gpus: None,
        user: Some("1000:1000".to_owned()),
        capabilities: vec!["NET_BIND_SERVICE".to_owned()],
        imds: false,
        stop_timeout: Duration::from_millis(1500),
        ..service()
    }));
    assert_eq!(body["Cmd"], json!(["gunicorn", "app.wsgi"]));
    assert_eq!(body["HostConfig"]["Memory"], json!(536_870_912));
    assert_eq!(body["HostConfig"]["MemorySwap"], json!(536_870_912), "no swap beyond the limit");
    assert_eq!(body["HostConfig"]["NanoCpus"], json!(500_000_000));
    assert_eq!(body["HostConfig"]["CapAdd"], json!(["NET_BIND_SERVICE"]));
    assert_eq!(body["User"], json!("1000:1000"));
    assert_eq!(body["StopTimeout"], json!(2), "rounded up, never cut short");
}

#[test]
fn ports_are_published_on_all_addresses() {
    let port = |host, container, protocol| Port { host, container, protocol };
    let ports =
        vec![port(80, 8000, Protocol::Tcp), port(8080, 8000, Protocol::Tcp), port(53, 5353, Protocol::Udp)];
    let body = body(&spec(Service { ports, ..service() }));
    assert_eq!(
        body["HostConfig"]["PortBindings"],
        json!({"8000/tcp": [{"HostPort": "80"}, {"HostPort": "8080"}], "5353/udp": [{"HostPort": "53"}]})
    );
    assert_eq!(body["ExposedPorts"], json!({"8000/tcp": {}, "5353/udp": {}}));
}

fn blue_green(ports: Vec<Port>) -> Service {
    let update = Update { strategy: node::config::settings::Strategy::BlueGreen, ..service().update };
    Service { ports, update, ..service() }
}

#[test]
fn ports_of_a_routed_container_are_published_where_nobody_connects() {
    let port = |host, container, protocol| Port { host, container, protocol };
    let ports =
        vec![port(80, 8000, Protocol::Tcp), port(8080, 8000, Protocol::Tcp), port(53, 5353, Protocol::Udp)];
    let spec = spec(blue_green(ports));
    let routed = body(&spec);
    let v4 = json!({"HostIp": "127.0.0.1", "HostPort": "0"});
    let both = json!([v4, {"HostIp": "::", "HostPort": "0"}]);
    assert_eq!(routed["HostConfig"]["PortBindings"], json!({"8000/tcp": both, "5353/udp": both}));
    assert_eq!(routed["ExposedPorts"], json!({"8000/tcp": {}, "5353/udp": {}}));
    assert_eq!(routed["Labels"]["node-agent.ports"], json!("80:8000,8080:8000,53:5353/udp"));
    let without = serde_json::to_value(create_body(&spec, false)).expect("JSON");
    assert_eq!(without["HostConfig"]["PortBindings"], json!({"8000/tcp": [v4], "5353/udp": [v4]}));
}

#[test]
fn without_ports_of_its_own_a_container_is_not_routed() {
    let port = Port { host: 80, container: 80, protocol: Protocol::Tcp };
    let on_host = Service { network: Network::Host, ..blue_green(vec![port]) };
    for settings in [blue_green(vec![]), on_host] {
        let body = body(&spec(settings));
        assert_eq!(body["HostConfig"]["PortBindings"], Value::Null);
        assert_eq!(body["Labels"]["node-agent.ports"], Value::Null);
    }
}

#[test]
fn gpus_are_asked_for_as_docker_run_does() {
    for (gpus, count) in [(Gpus::All, -1), (Gpus::Count(2), 2)] {
        let body = body(&spec(Service { gpus: Some(gpus), ..service() }));
        let expected = json!([{"Count": count, "Capabilities": [["gpu"]]}]);
        assert_eq!(body["HostConfig"]["DeviceRequests"], expected);
    }
    assert_eq!(body(&spec(service()))["HostConfig"]["DeviceRequests"], Value::Null);
}

#[test]
fn on_the_hosts_network_nothing_is_published() {
    let ports = vec![Port { host: 80, container: 80, protocol: Protocol::Tcp }];
    let body = body(&spec(Service { ports, network: Network::Host, ..service() }));
    assert_eq!(body["HostConfig"]["NetworkMode"], json!("host"));
    assert_eq!(body["HostConfig"]["PortBindings"], Value::Null);
    assert_eq!(body["ExposedPorts"], Value::Null);
    assert_eq!(body["NetworkingConfig"], Value::Null);
}

#[test]
fn mounts_and_secrets() {
    let mount = |host: &str, container: &str, read_only| MountSetting {
        host: host.to_owned(),
        container: container.to_owned(),
        read_only,
    };
    let mounts = vec![mount("/mnt/models", "/root/.ollama", false), mount("/etc/app:1", "/etc/app", true)];
    let mut spec = spec(Service { mounts, ..service() });
    spec.secret_folders = vec![("app".to_owned(), "/run/node-agent/secrets/app".into())];
    spec.environment = vec![("A".to_owned(), "b=c".to_owned().into())];
    let body = body(&spec);
    assert_eq!(
        body["HostConfig"]["Mounts"],
        json!([
            {"Type": "bind", "Source": "/mnt/models", "Target": "/root/.ollama", "ReadOnly": false},
            {"Type": "bind", "Source": "/etc/app:1", "Target": "/etc/app", "ReadOnly": true},
            {"Type": "bind", "Source": "/run/node-agent/secrets/app", "Target": "/run/secrets/app",
             "ReadOnly": true}
        ])
    );
    assert_eq!(body["Env"], json!(["A=b=c"]));
}

#[test]
fn a_read_only_root_has_a_writable_tmp() {
    let read_only = Service { read_only: true, ..service() };
    assert_eq!(body(&spec(read_only.clone()))["HostConfig"]["Tmpfs"], json!({"/tmp": "mode=1777"}));
    let mount = MountSetting { host: "/scratch".to_owned(), container: "/tmp/".to_owned(), read_only: false };
    let own_tmp = Service { mounts: vec![mount], ..read_only };
    assert_eq!(body(&spec(own_tmp))["HostConfig"]["Tmpfs"], Value::Null, "node.toml mounts its own");
}
