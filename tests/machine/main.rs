//! A whole machine through three boots: a volume that comes late, a foreign one, a reboot, a volume that has grown.
//!
//! In: the programs of `make dist`. What is real: the kernel, NVMe controllers (QEMU's), udev, cloud-init with the Ec2
//! data source, control groups version 2, Docker with the systemd driver. A program of its own, not a test of `cargo
//! test`: it takes minutes, and needs the first thread to take everything down when it is interrupted.

#![expect(clippy::print_stderr, reason = "a program for people")]
#![expect(clippy::print_stdout, reason = "a suite prints what it measured")]
#![expect(clippy::disallowed_methods, reason = "boots are timed, and volumes are made on the host")]

mod attached_late;
mod grown;
mod rebooted;
mod scene;

use harness::instance;
use harness::requirements::{is_on_path, is_root, skipped};
use scene::Scene;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

type Checked<T = ()> = Result<T, Box<dyn Error>>;

fn target() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target")
}

fn main() -> ExitCode {
    instance::sweep_on_signal(target().join("instance/run"));
    if let Some(why) = unmet() {
        skipped(&why);
        return ExitCode::SUCCESS;
    }
    let mut scene = match Scene::set() {
        Ok(scene) => scene,
        Err(error) => {
            eprintln!("the machine could not be set up: {error}");
            return ExitCode::FAILURE;
        }
    };
    match boots(&mut scene) {
        Ok(()) => {
            scene.summary();
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("\nFAILED: {error}\n{}", scene.story());
            ExitCode::FAILURE
        }
    }
}

fn boots(scene: &mut Scene) -> Checked {
    let models = attached_late::run(scene)?;
    rebooted::run(scene, &models)?;
    grown::run(scene, &models)
}

/// What this host lacks.
fn unmet() -> Option<String> {
    if !is_root() {
        return Some("not root: network namespaces and tap devices need it".to_owned());
    }
    let needed =
        ["qemu-system-x86_64", "dnsmasq", "debootstrap", "docker-registry", "setpriv", "sfdisk", "ip"];
    if let Some(missing) = needed.into_iter().find(|program| !is_on_path(program)) {
        return Some(format!("no {missing} on this host; run tests/prepare.sh test-vm"));
    }
    if !Path::new("/dev/net/tun").exists() {
        return Some("no /dev/net/tun on this host (try: modprobe tun)".to_owned());
    }
    let built = harness::stage::dist().join("node-bootstrap").is_file();
    (!built).then(|| "nothing in target/dist; run make dist".to_owned())
}
