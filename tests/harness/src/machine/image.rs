//! The machine's root disk: Debian with its cloud kernel, cloud-init and Docker, made once and cached.
//!
//! In: the base tree of the disposable instance. Out: a disk image with one partition, which a run copies and never
//! changes, and the kernel beside it, which QEMU starts without a boot loader.

use crate::instance::{Base, BaseError, apt, install_packages, logged, run_on_host, write_file};
use sha2::{Digest, Sha256};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// cloud-init as Debian's own cloud images have it; the kernel has NVMe, ext4 and the serial port built in, and boots
/// without an initramfs. It has AppArmor too, and with it an engine that finds no `apparmor_parser` starts no container.
const PACKAGES: &str = "linux-image-cloud-amd64 udev kmod ifupdown isc-dhcp-client cloud-init apparmor";
const ANSWERS: &str = include_str!("answer-commands.sh");
const ANSWERS_UNIT: &str = "[Unit]\nDefaultDependencies=no\nAfter=systemd-remount-fs.service\n\
    [Service]\nExecStart=/usr/local/sbin/answer-commands\nRestart=always\n[Install]\nWantedBy=sysinit.target\n";
/// Names of NVMe devices change from boot to boot, those of partitions do not.
pub(super) const ROOT: &str = "ec2e1916-0000-4000-8000-000000000001";
const FSTAB: &str = "PARTUUID=ec2e1916-0000-4000-8000-000000000001 / ext4 defaults 0 1\n";
/// Generating locales takes minutes without acceleration, and nobody reads them.
const CLOUD_CONFIG: &str = "datasource_list: [Ec2, None]\nlocale: false\n";
/// An initramfs would have loaded the network's driver long before; cloud-init asks once what interfaces there are.
const INTERFACE_FIRST: &str = "[Unit]\nWants=sys-subsystem-net-devices-eth0.device\n\
    After=sys-subsystem-net-devices-eth0.device\n";
const DISK_BYTES: u64 = 6 << 30;
/// Where the partition begins, and what the second copy of the partition table needs at the end.
const PARTITION_BEGIN: u64 = 1 << 20;

/// A cached image.
#[derive(Debug)]
pub struct Image {
    cache: PathBuf,
    key: String,
}

impl Image {
    /// The image in `cache`, made now if it is not there; `progress` hears one line a stage. It downloads: the calling
    /// thread must still be in the host's network.
    ///
    /// # Errors
    /// What was being done, and why it failed.
    pub fn prepare(cache: &Path, base: &Base, mut progress: impl FnMut(&str)) -> Result<Image, BaseError> {
        let image = Image { cache: cache.to_owned(), key: key(base) };
        let mut stage = |name: &str, work: &dyn Fn() -> io::Result<()>| {
            progress(name);
            work().map_err(|why| BaseError { doing: name.to_owned(), why })
        };
        if image.disk().exists() {
            return Ok(image);
        }
        let (tree, disk) = (cache.join("unfinished"), cache.join("unfinished.img"));
        let log = cache.join("image.log");
        stage("copy the base tree", &|| copy_base(base, cache, &tree))?;
        stage("install a kernel and cloud-init into it", &|| {
            let packages: Vec<&str> = PACKAGES.split(' ').collect();
            install_packages(&tree, &packages, &log)?;
            apt(&tree, &["clean"], &log)
        })?;
        stage("write the disk image", &|| {
            furnish(&tree)?;
            copy_kernel(&tree, &image.kernel())?;
            write_disk(&tree, &disk, &log)?;
            fs::remove_dir_all(&tree)?;
            // Last: what is there under this name is whole.
            fs::rename(&disk, image.disk())
        })?;
        Ok(image)
    }

    pub(super) fn kernel(&self) -> PathBuf {
        self.cache.join(format!("vmlinuz-{}", self.key))
    }

    fn disk(&self) -> PathBuf {
        self.cache.join(format!("root-{}.img", self.key))
    }

    /// A root disk of its own for one run, with these files written into it.
    pub(super) fn copy(&self, disk: &Path, files: &[(String, Vec<u8>)]) -> io::Result<()> {
        run_on_host("cp", &["--sparse=always", "--reflink=auto", &path(&self.disk())], Some(disk))?;
        let sources = disk.with_extension("files");
        fs::create_dir_all(&sources)?;
        let mut script = String::new();
        for (index, (name, content)) in files.iter().enumerate() {
            let source = sources.join(index.to_string());
            fs::write(&source, content)?;
            let folders: Vec<&Path> = Path::new(name).ancestors().skip(1).collect();
            for folder in folders.iter().rev().filter(|folder| folder.parent().is_some()) {
                script.push_str(&format!("mkdir {}\n", folder.display()));
            }
            script.push_str(&format!("rm {name}\nwrite {} {name}\n", source.display()));
        }
        let commands = sources.join("script");
        fs::write(&commands, script)?;
        let partition = format!("{}?offset={PARTITION_BEGIN}", path(disk));
        run_on_host("debugfs", &["-w", "-f", &path(&commands), &partition], None)?;
        // debugfs succeeds whatever its commands did: what was there, was not, or is full.
        for (name, content) in files {
            let output = Command::new("debugfs").args(["-R", &format!("cat {name}"), &partition]).output()?;
            if output.stdout != *content {
                return Err(io::Error::other(format!("{name} was not written to {}", disk.display())));
            }
        }
        Ok(())
    }
}

/// Of all that the image is made from.
fn key(base: &Base) -> String {
    let base = base.root();
    let base = base.file_name().unwrap_or_default().to_string_lossy();
    let sum = Sha256::digest([&*base, ANSWERS, include_str!("image.rs")].join("\0"));
    sum.iter().take(6).map(|byte| format!("{byte:02x}")).collect()
}

fn copy_base(base: &Base, cache: &Path, tree: &Path) -> io::Result<()> {
    fs::create_dir_all(cache)?;
    // Images of other recipes, and what an earlier run did not finish.
    for entry in fs::read_dir(cache)?.flatten() {
        let made = if entry.path().is_dir() { fs::remove_dir_all } else { fs::remove_file };
        made(entry.path())?;
    }
    run_on_host("cp", &["--archive", "--reflink=auto", &path(&base.root())], Some(tree))?;
    // What stands in for cloud-init and for the kernel in a container.
    for file in [
        "etc/systemd/system/cloud-final.service",
        "etc/systemd/system/multi-user.target.wants/cloud-final.service",
        "etc/systemd/system/control-groups.service",
        "etc/systemd/system/sysinit.target.wants/control-groups.service",
    ] {
        fs::remove_file(tree.join(file))?;
    }
    fs::remove_dir_all(tree.join(crate::instance::PACKAGES.trim_start_matches('/')))
}

fn furnish(tree: &Path) -> io::Result<()> {
    write_file(tree, "usr/local/sbin/answer-commands", ANSWERS.as_bytes(), 0o755)?;
    write_file(tree, "etc/systemd/system/answer-commands.service", ANSWERS_UNIT.as_bytes(), 0o644)?;
    write_file(tree, "etc/fstab", FSTAB.as_bytes(), 0o644)?;
    write_file(tree, "etc/cloud/cloud.cfg.d/90_test.cfg", CLOUD_CONFIG.as_bytes(), 0o644)?;
    let drop_in = "etc/systemd/system/cloud-init-local.service.d/interface.conf";
    write_file(tree, drop_in, INTERFACE_FIRST.as_bytes(), 0o644)?;
    // Every machine makes its own.
    write_file(tree, "etc/machine-id", b"", 0o444)?;
    fs::remove_file(tree.join("etc/resolv.conf"))?;
    run_on_host("systemctl", &["--root", &path(tree), "--quiet", "enable", "answer-commands.service"], None)
}

fn copy_kernel(tree: &Path, kernel: &Path) -> io::Result<()> {
    let files = fs::read_dir(tree.join("boot"))?.flatten().map(|entry| entry.path());
    let is_kernel = |file: &PathBuf| path(file).contains("/boot/vmlinuz-");
    let source = files.into_iter().find(is_kernel).ok_or_else(|| io::Error::other("no kernel in /boot"))?;
    fs::copy(source, kernel).map(drop)
}

fn write_disk(tree: &Path, disk: &Path, log: &Path) -> io::Result<()> {
    fs::File::create(disk)?.set_len(DISK_BYTES)?;
    let bytes = DISK_BYTES - 2 * PARTITION_BEGIN;
    let table = format!(
        "label: gpt\nstart={}, size={}, type=linux, uuid={ROOT}\n",
        PARTITION_BEGIN / 512,
        bytes / 512
    );
    run_on_host("sh", &["-c", "printf %s \"$0\" | sfdisk --quiet \"$1\"", &table], Some(disk))?;
    let mut make = Command::new("mkfs.ext4");
    make.args(["-q", "-E", &format!("offset={PARTITION_BEGIN}"), "-d"]).arg(tree).arg(disk);
    logged(make.arg(format!("{}k", bytes / 1024)), log)
}

fn path(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
