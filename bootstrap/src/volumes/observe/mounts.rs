//! What is mounted, from `/proc/self/mountinfo`.

use super::device_number;
use node::paths::Paths;
use std::collections::BTreeMap;
use std::{fs, io};

/// One line of `/proc/self/mountinfo`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::volumes) struct Mount {
    pub(in crate::volumes) number: (u64, u64),
    pub(in crate::volumes) at: String,
    pub(in crate::volumes) filesystem: String,
    pub(in crate::volumes) source: String,
    pub(in crate::volumes) read_only: bool,
}

pub(in crate::volumes) fn mounts(paths: &Paths) -> io::Result<Vec<Mount>> {
    let text = fs::read_to_string(paths.at("/proc/self/mountinfo"))?;
    Ok(parse_mounts(&text))
}

/// proc(5): `ID PARENT MAJ:MIN ROOT MOUNT-POINT OPTIONS [TAGS…] - TYPE SOURCE SUPER-OPTIONS`
pub(super) fn parse_mounts(text: &str) -> Vec<Mount> {
    let line = |line: &str| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut mount = mount.split(' ').skip(2);
        let number = super::parse_number(mount.next()?)?;
        let at = unescape(mount.nth(1)?);
        let options = mount.next()?;
        let mut file_system = file_system.split(' ');
        let (kind, source) = (file_system.next()?.to_owned(), unescape(file_system.next()?));
        let has_ro = |options: &str| options.split(',').any(|option| option == "ro");
        let read_only = has_ro(options) || file_system.next().is_some_and(has_ro);
        Some(Mount { number, at, filesystem: kind, source, read_only })
    };
    text.lines().filter_map(line).collect()
}

/// Space, tab, newline and backslash are written in octal, `\040`.
pub(super) fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let octal = after.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                bytes.push(byte);
                rest = &after[3..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// btrfs and overlays have device numbers of their own: for them the source counts.
pub(super) fn mounts_by_device(paths: &Paths, mounts: &[Mount]) -> BTreeMap<(u64, u64), Vec<Mount>> {
    let mut by_device: BTreeMap<(u64, u64), Vec<Mount>> = BTreeMap::new();
    for mount in mounts {
        let source = fs::metadata(paths.at(&mount.source)).ok().and_then(|metadata| device_number(&metadata));
        let number = if mount.number.0 == 0 { source } else { Some(mount.number) };
        by_device.entry(number.unwrap_or(mount.number)).or_default().push(mount.clone());
    }
    by_device
}
