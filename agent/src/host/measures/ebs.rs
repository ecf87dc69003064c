//! What volumes of EBS count, asked of their controllers.

use crate::metrics::collection::EbsVolume;
use crate::metrics::ebs;
use node::nvme;
use node::paths::Paths;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// All that are attached, in the order of their ids; none where there is no EBS.
pub(super) fn volumes(system: &Paths) -> Vec<EbsVolume> {
    let entries = fs::read_dir(system.at("/sys/class/nvme")).into_iter().flatten().flatten();
    let root = root_device(system);
    let mut volumes: Vec<EbsVolume> =
        entries.filter_map(|entry| volume(system, &entry.path(), root.as_deref())).collect();
    volumes.sort_by(|one, other| one.volume_id.cmp(&other.volume_id));
    volumes
}

/// `controller` is its folder in sysfs, and named as it is.
fn volume(system: &Paths, controller: &Path, root: Option<&Path>) -> Option<EbsVolume> {
    if attribute(controller, "model")? != nvme::EBS_MODEL {
        return None;
    }
    let volume_id = nvme::volume_id(&attribute(controller, "serial")?)?;
    let name = controller.file_name()?;
    let device = system.at("/dev").join(name);
    // A controller that is reset, or of an instance type whose controllers do not count, does not answer.
    let page = File::open(&device).and_then(|device| nvme::log_page(&device, ebs::PAGE));
    let page =
        page.inspect_err(|error| tracing::debug!("cannot ask {} what it counts: {error}", device.display()));
    let counters = ebs::counters(&page.ok()?)?;
    let is_root = root.is_some_and(|root| root.components().any(|part| part.as_os_str() == name));
    Some(EbsVolume { volume_id, is_root, counters })
}

/// Where the device of the root lies in sysfs, below its controller: `…/nvme/nvme0/nvme0n1/nvme0n1p1`.
fn root_device(system: &Paths) -> Option<PathBuf> {
    let number = fs::metadata(system.at("/")).ok()?.dev();
    let (major, minor) = (nix::sys::stat::major(number), nix::sys::stat::minor(number));
    fs::canonicalize(system.at("/sys/dev/block").join(format!("{major}:{minor}"))).ok()
}

fn attribute(folder: &Path, name: &str) -> Option<String> {
    fs::read_to_string(folder.join(name)).ok().map(|text| text.trim().to_owned())
}
