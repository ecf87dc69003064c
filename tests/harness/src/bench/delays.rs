//! Several first boots, each of a blank instance with a blank volume: bootstrap's own work where the cloud answers at
//! once, and its whole run where the cloud takes its usual time.
//!
//! The chain and its waits are bootstrap's own report; the wall is measured outside, by the shell that runs it.

#![expect(clippy::disallowed_methods, reason = "writes to sysfs, where nothing can be replaced")]

use super::report::Report;
use super::samples::{Row, Samples};
use super::{BOOT_DEADLINE, node_toml};
use crate::local_cloud::{Fault, FaultKind};
use crate::stage::Stage;
use crate::wait::wait_for;
use std::error::Error;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

const BOOTS: usize = 5;
const CLOCK: &str = "var/lib/cloud/clock";
/// There when the volume has a name in the instance.
const ATTACHED: &str = "var/lib/cloud/attached";
const ATTACHED_AFTER_SECONDS: &str = "0.3";

struct Boot {
    report: Report,
    /// By the clock of the shell around it.
    outside: f64,
}

pub(super) fn rows(stage: &mut Stage) -> Result<Vec<Row>, Box<dyn Error>> {
    let prompt = boots(stage, "")?;
    let own = Samples::of(prompt.iter().map(|boot| boot.outside - boot.report.waits()).collect());
    let delays = [
        Fault::on("imds", FaultKind::Delay { milliseconds: 2 }),
        Fault::on("secretsmanager", FaultKind::Delay { milliseconds: 40 }),
        Fault::on("files", FaultKind::Rate { bytes_per_second: 50_000_000 }),
    ];
    delays.into_iter().for_each(|delay| stage.cloud.fault(delay));
    let late = boots(stage, ATTACHED_AFTER_SECONDS);
    stage.cloud.clear_faults();
    let late = late?;
    let ratio = Samples::of(late.iter().map(|boot| boot.outside / boot.report.chain_length()).collect());
    let wall = Samples::of(late.iter().map(|boot| boot.outside).collect());
    let chain = Samples::of(late.iter().map(|boot| boot.report.chain_length()).collect());
    let names = late.first().map(|boot| boot.report.chain.iter().map(|(name, _)| name.as_str()));
    let names = names.into_iter().flatten().collect::<Vec<_>>().join(" > ");
    Ok(vec![
        Row::alone(
            &format!("bootstrap, first boot, prompt cloud: own work, median / max of {BOOTS}"),
            "100 ms",
            own.text(),
        ),
        Row::alone(
            &format!("bootstrap, first boot, usual delays: wall, median of {BOOTS}"),
            "1.1 x longest chain",
            format!("{:.2} x: {:.0} ms of {:.0} ms ({names})", ratio.median(), wall.median(), chain.median()),
        ),
    ])
}

/// `attached_after`: seconds, or empty for a volume that is there from the beginning.
fn boots(stage: &mut Stage, attached_after: &str) -> Result<Vec<Boot>, Box<dyn Error>> {
    (0..BOOTS).map(|_| boot(stage, attached_after)).collect()
}

fn boot(stage: &mut Stage, attached_after: &str) -> Result<Boot, Box<dyn Error>> {
    stage.renew_volume()?;
    let mut attach = String::new();
    if !attached_after.is_empty() {
        let device = fs::metadata(stage.volume.device())?.rdev();
        let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
        attach = format!(
            "(sleep {attached_after}; mknod -m 0660 /dev/xvdf b {major} {minor}; touch /{ATTACHED}) &\n"
        );
        stage.description().volumes.clear();
    }
    let script = stage.user_data(&node_toml(stage));
    let now = format!("date +%s%N >> /{CLOCK}\n");
    let script = script.replacen("exec node-bootstrap", &format!("{attach}{now}node-bootstrap"), 1);
    stage.boot_with(&format!("{script}{now}"))?;
    if !attached_after.is_empty() {
        let attached = stage.instance().root().join(ATTACHED);
        wait_for("the volume to be attached", BOOT_DEADLINE, || {
            if attached.exists() { Ok(()) } else { Err(stage.instance().console()) }
        })?;
        // The event that the kernel sends with a disk; this one has been there since before the instance was.
        let name = stage.volume.device().file_name().unwrap_or_default();
        fs::write(Path::new("/sys/block").join(name).join("uevent"), "change")?;
    }
    let (code, output) = stage.wait_for_user_data(BOOT_DEADLINE)?;
    if code != 0 {
        return Err(format!("node-bootstrap ended with {code}:\n{output}").into());
    }
    let root = stage.instance().root();
    let text = fs::read_to_string(root.join(CLOCK))?;
    let clock: Vec<u64> = text.lines().filter_map(|line| line.parse().ok()).collect();
    let [before, after] = clock[..] else { return Err(format!("the clock says {text}").into()) };
    let handoff = stage.instance().run(["cat", "/run/node-agent/handoff.json"]).expect_success();
    let report = Report::read(&serde_json::from_str(&handoff)?)?;
    let outside = std::time::Duration::from_nanos(after.saturating_sub(before)).as_secs_f64() * 1000.0;
    Ok(Boot { report, outside })
}
