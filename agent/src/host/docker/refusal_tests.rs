//! Real messages of real engines.

use super::*;
use node::fault::{Hint, one_line};

fn code(message: &str) -> &'static str {
    meaning(message).code
}

const MESSAGES: &[(&str, &str)] = &[
    // 20.10
    (
        "driver failed programming external connectivity on endpoint api-3 (0f6e2e8cf0b1): Error starting userland proxy: listen tcp4 0.0.0.0:80: bind: address already in use",
        "port_in_use",
    ),
    (
        "driver failed programming external connectivity on endpoint api-3 (0f6e2e8cf0b1): Bind for 0.0.0.0:80 failed: port is already allocated",
        "port_in_use",
    ),
    (
        "driver failed programming external connectivity on endpoint web-2 (565e863a5b1f): (iptables failed: iptables --wait -t nat -A DOCKER -p tcp -d 127.0.0.1 --dport 32778 -j DNAT --to-destination 172.18.0.3:8000 ! -i br-bb3bd9043b08: iptables: No chain/target/match by that name.\n (exit status 1))",
        "engine_rules_missing",
    ),
    // 28
    (
        "failed to set up container networking: driver failed programming external connectivity on endpoint api-3 (0f6e): failed to bind host port for 0.0.0.0:80:172.18.0.2:8000/tcp: address already in use",
        "port_in_use",
    ),
    ("failed to bind host port 0.0.0.0:80/tcp: address already in use", "port_in_use"),
    (
        "pull access denied for team/app, repository does not exist or may require 'docker login': denied: requested access to the resource is denied",
        "pull_refused",
    ),
    (
        "Head \"https://123456789012.dkr.ecr.eu-north-1.amazonaws.com/v2/app/manifests/sha256:aa\": no basic auth credentials",
        "pull_refused",
    ),
    ("unauthorized: authentication required", "pull_refused"),
    ("denied: Your authorization token has expired. Reauthenticate and try again.", "pull_refused"),
    (
        "denied: User: arn:aws:sts::123456789012:assumed-role/node/i-0 is not authorized to perform: ecr:BatchGetImage on resource: arn:aws:ecr:eu-north-1:123456789012:repository/app because no identity-based policy allows the ecr:BatchGetImage action",
        "pull_refused",
    ),
    (
        "manifest for localhost:5000/app@sha256:aa not found: manifest unknown: manifest unknown",
        "image_not_found",
    ),
    (
        "manifest for 123456789012.dkr.ecr.eu-north-1.amazonaws.com/app:x not found: manifest unknown: Requested image not found",
        "image_not_found",
    ),
    (
        "name unknown: The repository with name 'app' does not exist in the registry with id '123456789012'",
        "image_not_found",
    ),
    ("No such image: localhost:5000/app@sha256:aa", "image_not_found"),
    ("toomanyrequests: You have reached your pull rate limit.", "pull_throttled"),
    (
        "Get \"https://registry.internal/v2/\": dial tcp: lookup registry.internal on 10.0.0.2:53: no such host",
        "registry_unreachable",
    ),
    (
        "Get \"https://registry.internal/v2/\": net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)",
        "registry_unreachable",
    ),
    (
        "Get \"https://registry.internal/v2/\": x509: certificate signed by unknown authority",
        "registry_unreachable",
    ),
    (
        "failed to register layer: Error processing tar file(exit status 1): write /usr/lib/libcublas.so: no space left on device",
        "disk_full",
    ),
    ("write /var/lib/docker/tmp/GetImageBlob123: no space left on device", "disk_full"),
    (
        "OCI runtime create failed: container_linux.go:380: starting container process caused: exec: \"gunicorn\": executable file not found in $PATH: unknown",
        "entrypoint_missing",
    ),
    (
        "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: exec: \"/app/run\": stat /app/run: no such file or directory: unknown",
        "entrypoint_missing",
    ),
    (
        "OCI runtime create failed: container_linux.go:380: starting container process caused: exec: \"/app\": permission denied: unknown",
        "entrypoint_missing",
    ),
    (
        "AppArmor enabled on system but the docker-default profile could not be loaded: running `apparmor_parser apparmor_parser --version` failed with output: error: exec: \"apparmor_parser\": executable file not found in $PATH",
        "engine_refused",
    ),
    (
        "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec /app/run: exec format error: unknown",
        "wrong_architecture",
    ),
    (
        "The requested image's platform (linux/arm64) does not match the detected host platform (linux/amd64) and no specific platform was requested",
        "wrong_architecture",
    ),
    ("no matching manifest for linux/amd64 in the manifest list entries", "wrong_architecture"),
    ("invalid mount config for type \"bind\": bind source path does not exist: /mnt/models", "mount_missing"),
    (
        "client version 1.39 is too old. Minimum supported API version is 1.44, please upgrade your client to a newer version",
        "engine_refused",
    ),
    ("the engine's API 1.39 is too old, 1.40 is needed", "engine_too_old"),
    ("Conflict. The container name \"/api-3\" is already in use by container \"0f6e\".", "engine_refused"),
    ("", "engine_refused"),
];

#[test]
fn messages_of_the_engines_are_recognised() {
    for (message, expected) in MESSAGES {
        assert_eq!(code(message), *expected, "{message}");
    }
}

#[test]
fn a_port_in_use_names_the_port_and_how_to_look() {
    for message in [
        "listen tcp4 0.0.0.0:80: bind: address already in use",
        "Bind for 0.0.0.0:80 failed: port is already allocated",
        "failed to bind host port for 0.0.0.0:80:172.18.0.2:8000/tcp: address already in use",
        "listen tcp6 [::]:80: bind: address already in use",
        "Bind for :::80 failed: port is already allocated",
    ] {
        assert_eq!(
            meaning(message),
            Meaning {
                code: "port_in_use",
                message: "host port 80 is in use".to_owned(),
                hint: Some("look for who listens with `ss -ltnp 'sport = :80'`".to_owned()),
            },
            "{message}"
        );
    }
}

#[test]
fn a_refusal_reads_as_one_line() {
    let refusal = Refusal::Answered { status: 500, message: "Error response from daemon: a\n\tb".to_owned() };
    let error = refusal.of("start container api-3", "/run/d.sock");
    assert_eq!(one_line(&error), "cannot start container api-3: a b");
    assert_eq!(error.code(), "engine_refused");
    assert!(error.hint().unwrap().contains("journalctl -u docker"), "{error:?}");
}

#[test]
fn no_connection_is_not_a_refusal() {
    let cause = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
    let error = Refusal::from(Error::IOError { err: cause }).of("list containers", "/run/d.sock");
    assert_eq!(
        one_line(&error),
        "the Docker engine at /run/d.sock does not answer (list containers): connection refused"
    );
    assert_eq!(error.code(), "docker_unresponsive");
    let late = Refusal::Unreachable(Box::new(NoAnswer(Duration::from_secs(5)))).of("list containers", "x");
    assert_eq!(
        one_line(&late),
        "the Docker engine at x does not answer (list containers): no answer within 5 s"
    );
}

#[test]
fn a_long_message_is_cut_between_characters() {
    let Meaning { message, .. } = meaning(&"ü".repeat(1000));
    assert_eq!(message.chars().count(), LONGEST_MESSAGE + 1);
}
