//! The third boot: switched off, the volume has grown, and both volumes have changed places.

use crate::Checked;
use crate::attached_late::Models;
use crate::rebooted::{as_it_was, bootstrap_ended};
use crate::scene::{MODELS_BYTES, Scene, check, volume};

const GROWN_BYTES: u64 = MODELS_BYTES + (5 << 30);

pub(crate) fn run(scene: &mut Scene, models: &Models) -> Checked {
    scene.begin("Third boot: the volume has grown, and the devices have other names");
    let size = "findmnt --noheadings --bytes --output SIZE /mnt/models";
    let before: u64 = scene.inside(size)?.parse()?;
    let old = scene.handoff()?;
    scene.machine.power_off()?;
    scene.took("it is off");
    scene.models.grow(GROWN_BYTES)?;
    let (first, second) = (scene.models.clone(), scene.foreign.clone());
    scene.machine.power_on(&[Some(&first), Some(&second)])?;
    scene.took("a shell answers");
    bootstrap_ended(scene)?;
    as_it_was(scene, models)?;
    let handoff = scene.handoff()?;
    let now = volume(&handoff, "models");
    let moved = now["device"] != volume(&old, "models")["device"];
    check("another device name is the same volume", moved, &handoff["volumes"])?;
    check("the volume is seen in its new size", now["size_bytes"] == GROWN_BYTES, now)?;
    let after: u64 = scene.inside(size)?.parse()?;
    let grown = after.saturating_sub(before);
    // All but what the file system keeps for itself.
    check("the file system has grown with it", grown > (5 << 30) * 9 / 10, format!("{before} -> {after}"))?;
    scene.degraded_but_serving().map(drop)
}
