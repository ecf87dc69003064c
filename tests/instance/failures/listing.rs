//! All that an instance has written, mounted and been told to run: what `changes nothing` is measured by.

use harness::stage::Stage;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What a running machine writes by itself.
const ITS_OWN_LIFE: [&str; 3] = ["var/log/journal", "var/lib/systemd", "var/log/cloud-init-output.log"];

/// One line for each thing, by its name.
pub(crate) fn of(stage: &Stage) -> BTreeMap<String, String> {
    let mut listing = BTreeMap::new();
    let written = stage.instance().written();
    files_below(&written, &written, &mut listing);
    let ask = [
        ("mounts", "grep -v /docker/ /proc/self/mountinfo | cut -d' ' -f5,9- | sort"),
        ("/run", "ls -A /run/node-agent 2>&1"),
        ("groups", "cat /etc/group"),
        ("units", "systemctl list-unit-files --no-legend; systemctl is-active node-agent node-bootstrap"),
    ];
    for (name, line) in ask {
        listing.insert(name.to_owned(), stage.instance().shell(line).stdout);
    }
    listing.insert("the volume".to_owned(), volume_sum(&stage.volume));
    listing
}

/// What is in one and not, or not the same, in the other.
pub(crate) fn differences(
    before: &BTreeMap<String, String>,
    after: &BTreeMap<String, String>,
) -> Vec<String> {
    let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
    let changed = names.filter(|name| before.get(*name) != after.get(*name));
    changed.map(|name| format!("{name}: {:?} -> {:?}", before.get(name), after.get(name))).collect()
}

/// sha256 of every byte of the device.
pub(crate) fn volume_sum(volume: &harness::instance::Volume) -> String {
    let output = std::process::Command::new("sha256sum").arg(volume.device()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stdout).split(' ').next().unwrap_or_default().to_owned()
}

fn files_below(root: &Path, directory: &Path, listing: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        if ITS_OWN_LIFE.iter().any(|own| name.starts_with(own)) {
            continue;
        }
        let Ok(metadata) = path.symlink_metadata() else { continue };
        let content = if metadata.is_file() {
            format!("{:x}", Sha256::digest(fs::read(&path).unwrap_or_default()))
        } else {
            fs::read_link(&path).map(|target| target.display().to_string()).unwrap_or_default()
        };
        listing
            .insert(name, format!("{:o} {}:{} {content}", metadata.mode(), metadata.uid(), metadata.gid()));
        if metadata.is_dir() {
            files_below(root, &path, listing);
        }
    }
}
