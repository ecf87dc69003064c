//! Secrets that are missing, incomplete or not allowed: the services that need them wait, the others run.

use super::{SOON, boot, complaints, is_healthy, is_ready, line_of, named, service, stage};
use std::time::Duration;

/// From a failed question to the second after it, with some room.
const BY_ITSELF: Duration = Duration::from_secs(75);

#[test]
fn secrets_that_cannot_be_had_hold_up_only_the_services_that_need_them() {
    let Some(mut stage) = stage() else { return };
    stage.cloud.put_secret("half", r#"{"PRESENT":"marked-half"}"#);
    stage.cloud.put_secret("forbidden", r#"{"KEY":"marked-forbidden"}"#);
    stage.cloud.state().denied.insert("secretsmanager:GetSecretValue forbidden".to_owned());
    let secret =
        |name: &str, key: &str| format!("[secrets.{name}]\nid = \"{name}\"\nrequire = [\"{key}\"]\n");
    let using = |name: &str, port| service(name, port, &format!("environment_from = [\"{name}\"]"));
    let node_toml = [
        stage.agent_section(),
        secret("missing", "KEY"),
        secret("half", "ABSENT"),
        secret("forbidden", "KEY"),
        service("plain", 80, ""),
        using("missing", 81),
        using("half", 82),
        using("forbidden", 83),
    ]
    .concat();
    let (code, output) = boot(&mut stage, &node_toml);
    assert_eq!(code, 1, "{output}");
    let status = stage
        .wait_for_status("the service without a secret to be healthy", SOON, |status| {
            is_healthy(status, "plain")
        })
        .unwrap();
    let log = complaints(&stage);
    for (code, thing, wanted) in [
        ("secret_missing", "secret missing", ["does not exist", "create"]),
        ("secret_key_missing", "secret half", ["ABSENT", "secret"]),
        ("secret_denied", "secret forbidden", ["AccessDenied", "secretsmanager:GetSecretValue"]),
    ] {
        let line = line_of(&status, code, thing);
        assert!(wanted.iter().all(|word| line.contains(word)), "{wanted:?}: {line}");
        assert_eq!(log.iter().filter(|line| line.contains(thing)).count(), 1, "{thing}: {log:#?}");
        let logged = log.iter().find(|line| line.contains(thing));
        assert!(logged.is_some_and(|line| line.contains("(hint: ")), "{logged:?}");
    }
    for name in ["missing", "half", "forbidden"] {
        assert_eq!(named(&status, name)["state"], "waiting", "{status:#}");
        let why = stage.instance().run(["agentctl", "explain", name]).expect_success();
        assert!(why.contains(&format!("waits: secret {name}")), "{why}");
    }
    assert_eq!(stage.instance().run(["agentctl", "status"]).code(), 1);

    stage.cloud.put_secret("missing", r#"{"KEY":"marked-missing"}"#);
    stage
        .wait_for_status("the service to start by itself", BY_ITSELF, |status| is_healthy(status, "missing"))
        .unwrap();
    stage.cloud.put_secret("half", r#"{"PRESENT":"marked-half","ABSENT":"marked-absent"}"#);
    stage.cloud.state().denied.clear();
    let again = stage.bootstrap_again();
    assert_eq!(again.code(), 0, "{again}");
    let status = stage.wait_for_status("the node to be ready", SOON, is_ready).unwrap();
    assert_eq!(status["problems"], serde_json::json!([]));
    let (_, body) = stage.get("/env-sha?MISSING").unwrap();
    assert!(body.contains("absent"), "{body}");
}
