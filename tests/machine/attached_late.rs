//! The first boot: user data waits for a volume that is attached 20 s later, while the machine is up.

use crate::Checked;
use crate::scene::{MODELS_BYTES, Scene, check, outcome, volume, words};
use harness::wait::wait_for;
use serde_json::Value;
use std::time::{Duration, Instant};

/// How long the volume is kept back once user data waits for it.
const LATE: Duration = Duration::from_secs(20);
const WAITS: &str = "grep -F 'volume models: ' /var/log/node-bootstrap.log | grep -F 'waits up to'";

/// What the later boots must find as it was.
pub(crate) struct Models {
    pub(crate) uuid: String,
    /// sha256sum of a file on the volume.
    pub(crate) sum: String,
}

/// Where a file is written that has to survive everything.
pub(crate) const FILE: &str = "/mnt/models/weights.bin";

pub(crate) fn run(scene: &mut Scene) -> Checked<Models> {
    scene.begin("First boot: cloud-init, user data, a foreign volume, and one that is attached late");
    let user_data = scene.stage.user_data(&scene.node_toml());
    scene.stage.cloud.state().user_data = Some(user_data);
    let foreign = scene.foreign.clone();
    scene.machine.power_on(&[Some(&foreign)])?;
    scene.took("a shell answers");
    scene.wait_inside("user data to wait for the volume", WAITS)?;
    scene.took("user data waits for the volume");
    while_it_waits(scene)?;
    let models = scene.models.clone();
    scene.machine.attach(1, &models)?;
    scene.took("the volume is attached");
    scene.wait_inside("cloud-init to end", "test -e /run/cloud-init/result.json")?;
    scene.took("cloud-init has ended");
    user_data_ended(scene)?;
    let handoff = scene.handoff()?;
    let models = volume_made(scene, &handoff)?;
    scene.degraded_but_serving()?;
    engine(scene)?;
    Ok(models)
}

/// The boot is over, although user data runs.
fn while_it_waits(scene: &mut Scene) -> Checked {
    let state = scene.wait_inside("the boot to be over", "systemctl is-active multi-user.target")?;
    check("multi-user.target is reached while the volume is awaited", state == "active", &state)?;
    let since = Instant::now();
    let machine = &mut scene.machine;
    wait_for("the volume to be late", LATE + Duration::from_secs(60), || {
        // The machine has to answer all the time.
        let answer = machine.run("true").map_err(|error| error.to_string())?;
        if since.elapsed() >= LATE { Ok(()) } else { Err(answer.to_string()) }
    })?;
    let waits = scene.machine.run("pgrep -x node-bootstrap && ! findmnt /mnt/models")?;
    check("20 s later user data still waits, and the machine answers", waits.code() == 0, &waits)
}

fn user_data_ended(scene: &mut Scene) -> Checked {
    let result: Value = serde_json::from_str(&scene.inside("cat /run/cloud-init/result.json")?)?;
    let source = result["v1"]["datasource"].as_str().unwrap_or_default();
    check("cloud-init took the Ec2 data source", source.contains("DataSourceEc2"), &result)?;
    let errors = result["v1"]["errors"].to_string();
    check(
        "and reports that user data failed: a required volume is refused",
        errors.contains("scripts-user"),
        &result,
    )
}

/// Made, mounted, and closed beneath.
fn volume_made(scene: &mut Scene, handoff: &Value) -> Checked<Models> {
    let models = volume(handoff, "models");
    let made =
        models["mounted"] == true && models["filesystem"] == "xfs" && models["size_bytes"] == MODELS_BYTES;
    check("the late volume has a file system and is mounted", made, models)?;
    check("its step was done", outcome(handoff, "volume models") == "done", handoff)?;
    let foreign = volume(handoff, "foreign");
    check("the foreign one is not mounted", foreign["mounted"] == false, foreign)?;
    let sum = format!(
        "dd if=/dev/urandom of={FILE} bs=1M count=8 status=none && sync && sha256sum {FILE} | cut -d' ' -f1"
    );
    let sum = scene.inside(&sum)?;
    // The folder beneath the mount is seen through a second mount of the root.
    let beneath = "mkdir -p /run/beneath && mount --bind / /run/beneath && lsattr -d /run/beneath/mnt/models; \
                   touch /run/beneath/mnt/models/stray; echo $?; umount /run/beneath";
    let answer = scene.machine.run(beneath)?;
    let closed = words(&answer).contains("----i") && words(&answer).contains("not permitted");
    check("the mount point beneath it is immutable", closed, &answer)?;
    Ok(Models { uuid: models["uuid"].as_str().unwrap_or_default().to_owned(), sum })
}

/// What a container of the suites cannot show.
fn engine(scene: &mut Scene) -> Checked {
    let info = scene.inside("docker info --format '{{.CgroupVersion}} {{.CgroupDriver}}'")?;
    check("the engine uses control groups version 2 by systemd", info == "2 systemd", &info)?;
    let groups = scene.inside("systemctl --no-legend --plain list-units 'docker-*.scope'")?;
    check("the two services' containers have scopes of their own", groups.lines().count() == 2, &groups)
}
