//! Which system calls are looked at, and what each one is for: it changes something outside the process, it reads the
//! content of a file, or it looks at names and properties. In: a number and its arguments; out: name, kind and where
//! its object is written. Pure; the object itself is read by `tracee`.
//!
//! It always holds that every call by which a file, a device or the machine can be changed is in the table: what is not
//! there runs without being stopped.

use nix::libc;

/// What a call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It changes something outside the process, or starts another program.
    Change,
    /// It reads the content of a block device.
    Read,
    /// It looks at a name, a property or a folder, or opens something that exists.
    Look,
}

/// Where a call's object is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Object {
    /// The argument of that index points to a path.
    Path(usize),
    /// The argument of that index is a descriptor.
    Descriptor(usize),
    /// The call is about the whole machine, or another process.
    None,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) number: libc::c_long,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) object: Object,
}

const fn row(number: libc::c_long, name: &'static str, kind: Kind, object: Object) -> Row {
    Row { number, name, kind, object }
}

use Kind::{Change, Look, Read};
use Object::{Descriptor, Path};

/// An `open` is a look here; whether its flags make it a change is decided by [`kind`].
pub(super) const TABLE: &[Row] = &[
    row(libc::SYS_write, "write", Change, Descriptor(0)),
    row(libc::SYS_pwrite64, "pwrite64", Change, Descriptor(0)),
    row(libc::SYS_writev, "writev", Change, Descriptor(0)),
    row(libc::SYS_pwritev, "pwritev", Change, Descriptor(0)),
    row(libc::SYS_pwritev2, "pwritev2", Change, Descriptor(0)),
    row(libc::SYS_sendfile, "sendfile", Change, Descriptor(0)),
    row(libc::SYS_splice, "splice", Change, Descriptor(2)),
    row(libc::SYS_copy_file_range, "copy_file_range", Change, Descriptor(2)),
    row(libc::SYS_ftruncate, "ftruncate", Change, Descriptor(0)),
    row(libc::SYS_truncate, "truncate", Change, Path(0)),
    row(libc::SYS_fallocate, "fallocate", Change, Descriptor(0)),
    row(libc::SYS_fsync, "fsync", Change, Descriptor(0)),
    row(libc::SYS_fdatasync, "fdatasync", Change, Descriptor(0)),
    row(libc::SYS_sync_file_range, "sync_file_range", Change, Descriptor(0)),
    row(libc::SYS_syncfs, "syncfs", Change, Descriptor(0)),
    row(libc::SYS_sync, "sync", Change, Object::None),
    row(libc::SYS_rename, "rename", Change, Path(1)),
    row(libc::SYS_renameat, "renameat", Change, Path(3)),
    row(libc::SYS_renameat2, "renameat2", Change, Path(3)),
    row(libc::SYS_unlink, "unlink", Change, Path(0)),
    row(libc::SYS_unlinkat, "unlinkat", Change, Path(1)),
    row(libc::SYS_rmdir, "rmdir", Change, Path(0)),
    row(libc::SYS_mkdir, "mkdir", Change, Path(0)),
    row(libc::SYS_mkdirat, "mkdirat", Change, Path(1)),
    row(libc::SYS_link, "link", Change, Path(1)),
    row(libc::SYS_linkat, "linkat", Change, Path(3)),
    row(libc::SYS_symlink, "symlink", Change, Path(1)),
    row(libc::SYS_symlinkat, "symlinkat", Change, Path(2)),
    row(libc::SYS_mknod, "mknod", Change, Path(0)),
    row(libc::SYS_mknodat, "mknodat", Change, Path(1)),
    row(libc::SYS_creat, "creat", Change, Path(0)),
    row(libc::SYS_open, "open", Look, Path(0)),
    row(libc::SYS_openat, "openat", Look, Path(1)),
    row(libc::SYS_openat2, "openat2", Change, Path(1)),
    row(libc::SYS_chmod, "chmod", Change, Path(0)),
    row(libc::SYS_fchmod, "fchmod", Change, Descriptor(0)),
    row(libc::SYS_fchmodat, "fchmodat", Change, Path(1)),
    row(libc::SYS_chown, "chown", Change, Path(0)),
    row(libc::SYS_fchown, "fchown", Change, Descriptor(0)),
    row(libc::SYS_lchown, "lchown", Change, Path(0)),
    row(libc::SYS_fchownat, "fchownat", Change, Path(1)),
    row(libc::SYS_setxattr, "setxattr", Change, Path(0)),
    row(libc::SYS_lsetxattr, "lsetxattr", Change, Path(0)),
    row(libc::SYS_fsetxattr, "fsetxattr", Change, Descriptor(0)),
    row(libc::SYS_removexattr, "removexattr", Change, Path(0)),
    row(libc::SYS_fremovexattr, "fremovexattr", Change, Descriptor(0)),
    row(libc::SYS_utimensat, "utimensat", Change, Path(1)),
    row(libc::SYS_mount, "mount", Change, Path(1)),
    row(libc::SYS_umount2, "umount2", Change, Path(0)),
    row(libc::SYS_move_mount, "move_mount", Change, Path(3)),
    row(libc::SYS_fsconfig, "fsconfig", Change, Object::None),
    row(libc::SYS_fsmount, "fsmount", Change, Object::None),
    row(libc::SYS_ioctl, "ioctl", Look, Descriptor(0)),
    row(libc::SYS_execve, "execve", Change, Path(0)),
    row(libc::SYS_execveat, "execveat", Change, Path(1)),
    row(libc::SYS_kill, "kill", Change, Object::None),
    row(libc::SYS_pidfd_send_signal, "pidfd_send_signal", Change, Object::None),
    row(libc::SYS_sethostname, "sethostname", Change, Object::None),
    row(libc::SYS_swapon, "swapon", Change, Path(0)),
    row(libc::SYS_reboot, "reboot", Change, Object::None),
    // Nobody here does its input and output by rings today; who begins to must not go unseen.
    row(libc::SYS_io_uring_setup, "io_uring_setup", Change, Object::None),
    row(libc::SYS_io_submit, "io_submit", Change, Object::None),
];

/// Looked at only when faults are put into what is read.
pub(super) const READS: &[Row] = &[
    row(libc::SYS_read, "read", Read, Descriptor(0)),
    row(libc::SYS_pread64, "pread64", Read, Descriptor(0)),
    row(libc::SYS_readv, "readv", Read, Descriptor(0)),
    row(libc::SYS_preadv, "preadv", Read, Descriptor(0)),
    row(libc::SYS_preadv2, "preadv2", Read, Descriptor(0)),
    row(libc::SYS_stat, "stat", Look, Path(0)),
    row(libc::SYS_lstat, "lstat", Look, Path(0)),
    row(libc::SYS_newfstatat, "newfstatat", Look, Path(1)),
    row(libc::SYS_statx, "statx", Look, Path(1)),
    row(libc::SYS_readlink, "readlink", Look, Path(0)),
    row(libc::SYS_readlinkat, "readlinkat", Look, Path(1)),
    row(libc::SYS_access, "access", Look, Path(0)),
    row(libc::SYS_faccessat2, "faccessat2", Look, Path(1)),
];

/// The row of a call, if it is in one of the tables.
pub(super) fn find(number: u64) -> Option<&'static Row> {
    TABLE.iter().chain(READS).find(|row| u64::try_from(row.number) == Ok(number))
}

/// Requests that change what they are sent to, from linux/fs.h, ext4 and xfs.
const CHANGING_REQUESTS: &[u64] = &[
    0x4008_6602, // FS_IOC_SETFLAGS
    0x401c_5820, // FS_IOC_FSSETXATTR
    0x1277,      // BLKDISCARD
    0x127d,      // BLKSECDISCARD
    0x127f,      // BLKZEROOUT
    0x125f,      // BLKRRPART
    0x125d,      // BLKROSET
    0x1261,      // BLKFLSBUF
    0x1269,      // BLKPG
    0x4008_6610, // EXT4_IOC_RESIZE_FS
    0x4008_6607, // EXT4_IOC_GROUP_EXTEND
    0x4010_586e, // XFS_IOC_FSGROWFSDATA
];

/// What a call does with these arguments.
pub(super) fn kind(row: &Row, arguments: &[u64; 6]) -> Kind {
    let creates = |flags: u64| {
        let bits = libc::O_CREAT | libc::O_TRUNC | (libc::O_TMPFILE & !libc::O_DIRECTORY);
        flags & u64::from(bits.unsigned_abs()) != 0
    };
    match row.name {
        "open" if creates(arguments[1]) => Change,
        "openat" if creates(arguments[2]) => Change,
        "ioctl" if CHANGING_REQUESTS.contains(&arguments[1]) => Change,
        _ => row.kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opening_is_a_change_only_when_it_makes_or_empties_a_file() {
        let open = find(libc::SYS_openat.unsigned_abs()).unwrap();
        let with = |flags: i32| kind(open, &[0, 0, u64::from(flags.unsigned_abs()), 0, 0, 0]);
        assert_eq!(with(libc::O_RDWR | libc::O_EXCL | libc::O_CLOEXEC | libc::O_DIRECTORY), Look);
        assert_eq!(with(libc::O_WRONLY | libc::O_CREAT), Change);
        assert_eq!(with(libc::O_WRONLY | libc::O_TRUNC), Change);
        assert_eq!(with(libc::O_WRONLY | libc::O_TMPFILE), Change);
    }

    #[test]
    fn asking_a_device_for_its_size_is_a_look_and_discarding_a_change() {
        let ioctl = find(libc::SYS_ioctl.unsigned_abs()).unwrap();
        assert_eq!(kind(ioctl, &[3, 0x8008_1272, 0, 0, 0, 0]), Look);
        assert_eq!(kind(ioctl, &[3, 0x1277, 0, 0, 0, 0]), Change);
    }

    #[test]
    fn no_call_is_in_the_tables_twice() {
        let mut numbers: Vec<_> = TABLE.iter().chain(READS).map(|row| row.number).collect();
        let all = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), all);
    }
}
