//! Images that cannot be had or cannot run: each says why in one line, and the others run.

use super::{SOON, boot, is_healthy, line_of, named, problem, service, service_of, stage};
use harness::images::Recipe;

#[test]
fn refused_and_unusable_images_hold_up_only_their_own_service() {
    let Some(mut stage) = stage() else { return };
    let mut foreign = Recipe::of_program("/sample-app", b"not for this machine".to_vec());
    foreign.architecture = "arm64".to_owned();
    stage.push(&foreign.build().unwrap(), "foreign").unwrap();
    let mut empty = Recipe::of_program("/sample-app", b"text".to_vec());
    empty.entrypoint = vec!["/not-in-the-image".to_owned()];
    stage.push(&empty.build().unwrap(), "empty").unwrap();
    stage.cloud.state().denied.insert("ecr:GetAuthorizationToken".to_owned());
    let node_toml = [
        stage.agent_section(),
        service("plain", 80, ""),
        service_of("absent", "no-such-tag", 81, ""),
        service_of("foreign", "foreign", 82, ""),
        service_of("empty", "empty", 83, ""),
        service_of("pinned", "latest", 84, "").replace(":latest", &format!("@sha256:{}", "0".repeat(64))),
    ]
    .concat();
    let (code, output) = boot(&mut stage, &node_toml);
    assert_eq!(code, 0, "bootstrap has nothing to do with images: {output}");
    let status = stage
        .wait_for_status("the refused token to be told", SOON, |status| {
            problem(status, "registry_denied", "plain").is_some()
        })
        .unwrap();
    let line = line_of(&status, "registry_denied", "service plain");
    assert!(line.contains("ecr:GetAuthorizationToken"), "{line}");
    assert_eq!(stage.instance().run(["agentctl", "status"]).code(), 1);

    stage.cloud.state().denied.clear();
    let told = [
        ("image_not_found", "absent", "no-such-tag"),
        ("wrong_architecture", "foreign", "buildx"),
        ("entrypoint_missing", "empty", "/not-in-the-image"),
        ("image_not_found", "pinned", "sha256:0000"),
    ];
    let status = stage
        .wait_for_status("one service to be healthy, and each other one to say why not", SOON, |status| {
            is_healthy(status, "plain")
                && told.iter().all(|(code, thing, _)| problem(status, code, thing).is_some())
        })
        .unwrap();
    for (code, thing, word) in told {
        let line = line_of(&status, code, thing);
        assert!(line.contains(word), "{word}: {line}");
        assert_ne!(named(&status, thing)["state"], "running", "{status:#}");
    }
    assert!(problem(&status, "registry_denied", "").is_none(), "{status:#}");
}

#[test]
fn a_registry_that_does_not_take_the_token_is_named() {
    let Some(mut stage) = stage() else { return };
    let fault = harness::local_cloud::FaultKind::Status {
        code: 403,
        body: r#"{"errors":[{"code":"DENIED","message":"not for you"}]}"#.to_owned(),
    };
    stage.cloud.fault(harness::local_cloud::Fault::on("registry", fault));
    let node_toml = [stage.agent_section(), service("web", 80, "")].concat();
    let (code, output) = boot(&mut stage, &node_toml);
    assert_eq!(code, 0, "{output}");
    let status = stage
        .wait_for_status("the refused pull to be told", SOON, |status| {
            problem(status, "pull_refused", "web").is_some()
        })
        .unwrap();
    let line = line_of(&status, "pull_refused", "web");
    assert!(line.contains("ecr:BatchGetImage"), "{line}");
    stage.cloud.clear_faults();
    stage.wait_for_status("the service to come by itself", SOON, |status| is_healthy(status, "web")).unwrap();
}
