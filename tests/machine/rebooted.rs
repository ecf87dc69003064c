//! The second boot: everything is attached from the start, and nothing changes.

use crate::Checked;
use crate::attached_late::{FILE, Models};
use crate::scene::{Scene, check, outcome, volume};

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
    check("cloud-init did not run user data again", runs == "1", &runs)
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
