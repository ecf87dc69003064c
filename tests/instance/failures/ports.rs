//! A host port that somebody else has, for a service whose ports the engine opens: one that is updated beside itself has
//! its ports from the firewall, which asks nobody who listens.

use super::{SOON, boot, container_of, is_healthy, is_ready, line_of, problem, service, stage};

#[test]
fn a_port_in_use_is_named_and_the_service_starts_when_it_is_free() {
    let Some(mut stage) = stage() else { return };
    let other = [stage.agent_section(), service("other", 8001, "")].concat();
    let (code, output) = boot(&mut stage, &other);
    assert_eq!(code, 0, "{output}");
    let status = stage.wait_for_status("the other service to be healthy", SOON, is_ready).unwrap();
    let kept = container_of(&status, "other");

    let squat = "systemd-run --quiet --unit=squatter systemd-socket-activate -l 80 /bin/true";
    stage.instance().shell(squat).expect_success();
    let web = service("web", 80, "")
        .replace("[services.web.update]", "[services.web.update]\nstrategy = \"recreate\"");
    let added = stage.bootstrap("run", &[other, web].concat());
    assert_eq!(added.code(), 0, "{added}");
    let status = stage
        .wait_for_status("the port to be named", SOON, |status| {
            problem(status, "port_in_use", "80").is_some()
        })
        .unwrap();
    let line = line_of(&status, "port_in_use", "port 80");
    assert!(line.contains("web") && line.contains("ss -ltnp"), "{line}");
    assert!(is_healthy(&status, "other") && container_of(&status, "other") == kept, "{status:#}");

    stage.instance().run(["systemctl", "stop", "squatter"]).expect_success();
    let status = stage.wait_for_status("the service to start by itself", SOON, is_ready).unwrap();
    assert_eq!(container_of(&status, "other"), kept);
    assert_eq!(status["problems"], serde_json::json!([]));
}
