//! The second boot: everything is attached from the start, and nothing changes.

use crate::Checked;
use crate::attached_late::{FILE, Models};
use crate::scene::{Scene, check, outcome, volume};
use serde_json::Value;

pub(crate) fn run(scene: &mut Scene, models: &Models) -> Checked {
    scene.begin("Second boot: a reboot changes nothing");
    let before = scene.machine.boot_id().to_owned();
    scene.machine.reboot()?;
    scene.took("a shell answers");
    check("it is another boot", scene.machine.boot_id() != before, &before)?;
    bootstrap_ended(scene)?;
    let handoff = scene.handoff()?;
    check("the handoff is of this boot", handoff["boot_id"] == scene.machine.boot_id(), &handoff)?;
    as_it_was(scene, models)?;
    // Not the engine: whether systemd or bootstrap started it first is nobody's promise.
    for step in ["configuration", "agent", "units"] {
        check(
            &format!("the step {step} found nothing to do"),
            outcome(&handoff, step) == "unchanged",
            &handoff,
        )?;
    }
    scene.degraded_but_serving()?;
    // cloud-init's last stage comes after multi-user.target, which waits for the unit.
    let ran = "test -e /run/cloud-init/result.json && grep -c 'config-scripts-user already ran' /var/log/cloud-init.log";
    let runs = scene.wait_inside("cloud-init to have nothing to run", ran)?;
    check("cloud-init did not run user data again", runs == "1", &runs)?;
    doctor(scene)
}

/// What the doctor sees on a machine and cannot see in a container: the kernel's messages, disks behind NVMe controllers,
/// control groups version 2; and the one volume that is amiss.
fn doctor(scene: &mut Scene) -> Checked {
    let answer = scene.machine.run("agentctl doctor --json")?;
    check("`agentctl doctor` ends with 1 on a degraded node", answer.code() == 1, &answer)?;
    let report: Value = serde_json::from_str(&answer.stdout)?;
    let findings = report["findings"].as_array().cloned().unwrap_or_default();
    let verdict = |name: &str| {
        let found = findings.iter().find(|finding| finding["check"] == name);
        found.and_then(|finding| finding["verdict"].as_str()).unwrap_or("absent").to_owned()
    };
    for (name, expected) in [
        ("node.toml", "pass"),
        ("engine", "pass"),
        ("volume models", "pass"),
        ("room on models", "pass"),
        ("volume foreign", "fail"),
        ("errors of disks", "pass"),
        ("NVMe time-outs", "warn"),
        ("nftables", "pass"),
        ("node-agent.service", "pass"),
    ] {
        check(&format!("the doctor says {expected} to {name}"), verdict(name) == expected, &answer)?;
    }
    // On an emulated processor the doctor itself takes longer than a good service may.
    let metadata = verdict("metadata service");
    let answers = ["pass", "warn"].contains(&metadata.as_str());
    check("the doctor says that the metadata service answers", answers, &answer)?;
    scene.took("the doctor has looked");
    Ok(())
}

/// Waits until the unit has ended; a required volume is refused, so it has failed, as user data did.
pub(crate) fn bootstrap_ended(scene: &mut Scene) -> Checked {
    let ended = "test \"$(systemctl show --property ExecMainExitTimestampMonotonic --value node-bootstrap)\" -gt 0 \
                 && systemctl show --property Result,ExecMainStatus node-bootstrap";
    let result = scene.wait_inside("node-bootstrap.service to end", ended)?;
    scene.took("node-bootstrap.service has ended");
    check("its unit says that the foreign volume is missing", result.contains("ExecMainStatus=1"), &result)
}

/// The volume is mounted, and is the one that was made in the first boot.
pub(crate) fn as_it_was(scene: &mut Scene, models: &Models) -> Checked {
    let handoff = scene.handoff()?;
    let now = volume(&handoff, "models");
    check("the volume is mounted", now["mounted"] == true, now)?;
    check("it is the same file system", now["uuid"] == models.uuid, now)?;
    let sum = scene.inside(&format!("sha256sum {FILE} | cut -d' ' -f1"))?;
    check("with the same data in it", sum == models.sum, &sum)
}
