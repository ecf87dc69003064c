//! Makes the file system on a device that was planned as blank, and brings to its end what a run before was killed at.
//!
//! The order is what keeps it safe: our mark first, with the UUID that the file system will bear; then `mkfs`; then the
//! mark is removed; then it is mounted. Nothing is ever mounted while the mark lies there, so that a file system beside
//! a mark has never held anybody's data.

use super::proven::Proven;
use super::{ApplyError, blocking, check, io_error};
use crate::command::Invocation;
use crate::volumes::mark::{MARK_BYTES, Mark};
use crate::volumes::observe;
use crate::volumes::plan::{Device, Finish};
use crate::volumes::signatures::{self, Content};
use node::config::settings::{Filesystem, Volume};
use node::paths::Paths;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// Lazy tables and no discard: seconds even on 16 TiB. More than that is a volume that does not answer.
const MKFS_DEADLINE: Duration = Duration::from_secs(300);

/// One volume that is formatted.
pub(super) struct Work<'run> {
    pub(super) paths: &'run Paths,
    pub(super) name: &'run str,
    pub(super) wanted: &'run Volume,
    pub(super) device: &'run Device,
}

impl Work<'_> {
    /// It is blank.
    pub(super) async fn blank(&self, device: &Proven) -> Result<(), ApplyError> {
        self.make(device).await
    }

    /// It bears our mark and no finished file system.
    pub(super) async fn again(&self, device: &Proven) -> Result<(), ApplyError> {
        self.clear(device).await?;
        self.make(device).await
    }

    /// It bears our mark and the whole file system; a note, if that was made once more.
    pub(super) async fn finish(
        &self,
        device: &Proven,
        finish: &Finish,
    ) -> Result<Option<String>, ApplyError> {
        let object = &self.device.node;
        match check::is_sound(self.wanted.filesystem, &device.path(), object).await? {
            None => {
                self.remove_mark(device, &finish.mark).await?;
                Ok(None)
            }
            Some(what) if finish.may_format_again => {
                self.have_mkfs()?;
                self.again(device).await?;
                Ok(Some(format!("it was not sound and never mounted, so it was made anew: {what}")))
            }
            Some(what) => {
                Err(ApplyError::Damaged { filesystem: self.wanted.filesystem, object: object.clone(), what })
            }
        }
    }

    /// Nothing is written for the sake of a program that is not there.
    pub(super) fn have_mkfs(&self) -> Result<(), ApplyError> {
        let installed = mkfs(self.wanted.filesystem, self.name, "", "").must_be_installed();
        installed.map(|_| ()).map_err(self.failed())
    }

    fn failed(&self) -> impl FnOnce(crate::command::CommandError) -> ApplyError {
        ApplyError::command("make the file system on", &self.device.node)
    }

    async fn make(&self, device: &Proven) -> Result<(), ApplyError> {
        let mark = self.write_mark(device).await?;
        let invocation = mkfs(self.wanted.filesystem, self.name, &mark.uuid, &device.path());
        if let Err(error) = invocation.run().await {
            self.undo(device, &mark).await;
            return Err(self.failed()(error));
        }
        let (file, node) = (device.file.clone(), self.device.node.clone());
        blocking("sync", self.device, move || file.sync_all().map_err(io_error("sync", node))).await?;
        self.remove_mark(device, &mark).await
    }

    /// A `mkfs` that has failed at a write may leave what looks finished and is not (mkfs.xfs says so in its superblock
    /// all the same). The next run could not tell whether anybody has used it since; this one knows, and makes it look
    /// half made. Where that fails, too, the next run refuses it as damaged, and a person decides.
    async fn undo(&self, device: &Proven, mark: &Mark) {
        if let Err(error) = self.clear_finished(device, mark).await {
            tracing::debug!("volume {}: leaves what mkfs has left: {error}", self.name);
        }
    }

    async fn clear_finished(&self, device: &Proven, mark: &Mark) -> Result<(), ApplyError> {
        let (file, node, size) = (device.file.clone(), self.device.node.clone(), self.device.size_bytes);
        let read = move || observe::read_content(&file, size).map_err(io_error("read", node));
        let content = blocking("read", self.device, read).await?;
        if !matches!(&content, Content::Filesystem(found) if found.mark.as_ref() == Some(mark)) {
            return Ok(());
        }
        // Somebody else may be why it has failed: nothing is written to what is in use.
        let alone = Proven::alone(self.paths, self.device, Some(content), true).await?;
        self.clear(&alone).await
    }

    /// Chooses the UUID and says on the device what is about to be made there.
    async fn write_mark(&self, device: &Proven) -> Result<Mark, ApplyError> {
        let mark = Mark {
            filesystem: self.wanted.filesystem.name(),
            uuid: random_uuid(self.paths).map_err(io_error("have a UUID for", &self.device.node))?,
            size_bytes: self.device.size_bytes,
            serial: self.device.serial.clone().unwrap_or_default(),
        };
        let place_and_sector = Mark::place(mark.size_bytes).zip(mark.encode());
        let Some((place, sector)) = place_and_sector else {
            let source = io::Error::other("it is too small or its serial number too long");
            return Err(io_error("mark", &self.device.node)(source));
        };
        let (file, node) = (device.file.clone(), self.device.node.clone());
        blocking("mark", self.device, move || {
            write(&file, place, &sector).map_err(io_error("mark", node))?;
            Ok(mark)
        })
        .await
    }

    /// Only if it is exactly this one.
    async fn remove_mark(&self, device: &Proven, mark: &Mark) -> Result<(), ApplyError> {
        let (device, mark) = (device.clone(), mark.clone());
        blocking("remove the mark from", self.device, move || {
            let node = &device.device.node;
            let mut sector = [0; MARK_BYTES];
            let place = Mark::place(device.device.size_bytes).unwrap_or_default();
            device.file.read_exact_at(&mut sector, place).map_err(io_error("read the mark on", node))?;
            if Mark::decode(&sector).as_ref() != Some(&mark) {
                return Err(device.changed("the mark is not there any more".to_owned()));
            }
            write(&device.file, place, &[0; MARK_BYTES]).map_err(io_error("remove the mark from", node))
        })
        .await
    }

    /// Zeros what a `mkfs` may have left where anybody looks for it, all but the mark.
    async fn clear(&self, device: &Proven) -> Result<(), ApplyError> {
        let (file, node, size) = (device.file.clone(), self.device.node.clone(), self.device.size_bytes);
        blocking("clear", self.device, move || clear(&file, size).map_err(io_error("clear", node))).await
    }
}

fn clear(file: &File, size: u64) -> io::Result<()> {
    let mark = Mark::place(size).unwrap_or(size);
    zero(file, 0, signatures::PROBE_BYTES.min(mark))?;
    for place in signatures::places_between(size) {
        zero(file, place, (place + signatures::PLACE_BYTES).min(mark))?;
    }
    zero(file, mark + MARK_BYTES as u64, size)?;
    file.sync_all()
}

fn zero(file: &File, from: u64, to: u64) -> io::Result<()> {
    let length = usize::try_from(to.saturating_sub(from)).map_err(io::Error::other)?;
    file.write_all_at(&vec![0; length], from)
}

fn write(file: &File, at: u64, sector: &[u8]) -> io::Result<()> {
    file.write_all_at(sector, at)?;
    file.sync_all()
}

/// The kernel makes a new one for each reader: version 4, RFC 9562.
fn random_uuid(paths: &Paths) -> io::Result<String> {
    let text = fs::read_to_string(paths.at("/proc/sys/kernel/random/uuid"))?;
    Ok(text.trim().to_owned())
}

/// Without a force option: mkfs looks for itself, too, and refuses what it knows.
fn mkfs(filesystem: Filesystem, name: &str, uuid: &str, target: &str) -> Invocation {
    let invocation = match filesystem {
        // -K: no discard.
        Filesystem::Xfs => Invocation::new("mkfs.xfs", MKFS_DEADLINE).brought_by("xfsprogs").arguments([
            "-q",
            "-K",
            "-m",
            &format!("uuid={uuid}"),
            "-L",
            &label(name, 12),
            target,
        ]),
        Filesystem::Ext4 => Invocation::new("mkfs.ext4", MKFS_DEADLINE).brought_by("e2fsprogs").arguments([
            "-q",
            "-E",
            "nodiscard,lazy_itable_init=1,lazy_journal_init=1",
            "-U",
            uuid,
            "-L",
            &label(name, 16),
            target,
        ]),
    };
    invocation.bound_to_us()
}

/// Labels have few bytes (xfs 12, ext4 16) and no room for anything odd.
fn label(name: &str, longest: usize) -> String {
    let plain = |character: &char| character.is_ascii_alphanumeric() || "-_.".contains(*character);
    name.chars().filter(plain).take(longest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_fit_and_hold_nothing_odd() {
        assert_eq!(label("models-of-the-team", 12), "models-of-th");
        assert_eq!(label("a b/c", 16), "abc");
    }

    #[test]
    fn a_uuid_is_random_and_of_version_4() {
        let uuid = || random_uuid(&Paths::default()).unwrap();
        let (first, second) = (uuid(), uuid());
        assert_ne!(first, second);
        let groups: Vec<usize> = first.split('-').map(str::len).collect();
        assert_eq!(groups, [8, 4, 4, 4, 12], "{first}");
        assert!(first.as_bytes()[14] == b'4' && b"89ab".contains(&first.as_bytes()[19]), "{first}");
    }

    #[test]
    fn clearing_leaves_nothing_but_the_mark_where_anybody_looks() {
        let size: u64 = 160 << 20;
        let file = tempfile::tempfile().unwrap();
        file.set_len(size).unwrap();
        let mark = Mark { filesystem: "xfs", uuid: "u".to_owned(), size_bytes: size, serial: String::new() };
        let (place, sector) = (Mark::place(size).unwrap(), mark.encode().unwrap());
        let probes: Vec<u64> = signatures::places_between(size);
        assert!(!probes.is_empty());
        for at in probes.iter().chain(&[0, 4096, (1 << 20) - 512, place + 512, size - 512]) {
            file.write_all_at(&[0xff; 512], *at).unwrap();
        }
        file.write_all_at(&[0x11; 512], 53 << 20).unwrap();
        file.write_all_at(&sector, place).unwrap();
        clear(&file, size).unwrap();
        let read = |at: u64| {
            let mut sector = [0; 512];
            file.read_exact_at(&mut sector, at).unwrap();
            sector
        };
        assert_eq!(Mark::decode(&read(place)), Some(mark));
        for at in probes.iter().chain(&[0, 4096, (1 << 20) - 512, place + 512, size - 512]) {
            assert_eq!(read(*at), [0; 512], "at {at}");
        }
        assert_eq!(read(53 << 20), [0x11; 512], "what nobody looks at is left");
    }
}
