//! Looks at a file system before it is mounted. XFS replays its own journal and is never repaired here; ext4 is only
//! given what `e2fsck -p` does, which is what every distribution does at boot. Everything else is a person's decision.

use super::proven::path_of;
use super::{ApplyError, Target, io_error};
use crate::command::{CommandError, Invocation};
use crate::volumes::observe;
use node::config::settings::Filesystem;
use std::fs::File;
use std::time::Duration;

/// A whole check reads all inodes: minutes on a full volume of some TiB.
const CHECK_DEADLINE: Duration = Duration::from_secs(900);

/// e2fsck(8): exit codes are bits; errors were corrected (1), and the machine had to be booted again if it were the
/// root (2); something is left (4), or it could not read what it needs (8).
const CORRECTED: i32 = 1 | 2;
const NOT_CORRECTED: i32 = 4 | 8;

/// Corrects what can be corrected without loss; a note of it. It is not bound to us: what it has begun it should end,
/// and the next run waits for it.
pub(super) async fn repair(target: &Target) -> Result<Option<String>, ApplyError> {
    let node = &target.node;
    let file = File::open(node).map_err(io_error("open", node))?;
    let metadata = file.metadata().map_err(io_error("examine", node))?;
    if observe::device_number(&metadata) != Some(target.number) {
        return Err(ApplyError::Changed { device: node.clone(), what: "another device number".to_owned() });
    }
    let path = path_of(&file);
    let invocation =
        Invocation::new("e2fsck", CHECK_DEADLINE).brought_by("e2fsprogs").arguments(["-p", path.as_str()]);
    tracing::info!("checks the file system on {node}");
    match invocation.run().await {
        Ok(_) => Ok(None),
        Err(error) => match error.exit_code() {
            Some(code) if code & !CORRECTED == 0 => Ok(Some("e2fsck corrected it".to_owned())),
            Some(code) if code & NOT_CORRECTED != 0 => Err(ApplyError::Damaged {
                filesystem: Filesystem::Ext4,
                object: target.node.clone(),
                what: last_words(&error, (&path, node)),
            }),
            _ => Err(ApplyError::command("check the file system on", &target.node)(error)),
        },
    }
}

/// Reads the whole file system and writes nothing; what is wrong with it, if anything.
pub(super) async fn is_sound(
    filesystem: Filesystem,
    path: &str,
    object: &str,
) -> Result<Option<String>, ApplyError> {
    let invocation = match filesystem {
        Filesystem::Ext4 => {
            Invocation::new("e2fsck", CHECK_DEADLINE).brought_by("e2fsprogs").arguments(["-f", "-n", path])
        }
        Filesystem::Xfs => {
            Invocation::new("xfs_repair", CHECK_DEADLINE).brought_by("xfsprogs").arguments(["-n", path])
        }
    };
    match (invocation.bound_to_us().run().await, filesystem) {
        (Ok(_), _) => Ok(None),
        (Err(error), Filesystem::Ext4) if error.exit_code().is_some_and(|code| code & 0x7 != 0) => {
            Ok(Some(last_words(&error, (path, object))))
        }
        // xfs_repair(8): 1 says that something is wrong, 2 that its log is not empty.
        (Err(error), Filesystem::Xfs) if matches!(error.exit_code(), Some(1 | 2)) => {
            Ok(Some(last_words(&error, (path, object))))
        }
        (Err(error), _) => Err(ApplyError::command("check the file system on", object)(error)),
    }
}

/// The checkers print their reason to standard output and their advice to standard error, and call the device by the
/// path that they were given.
fn last_words(error: &CommandError, (path, node): (&str, &str)) -> String {
    telling(error.output()).unwrap_or_else(|| error.to_string()).replace(path, node)
}

fn telling(output: &str) -> Option<String> {
    let lines = output.lines().map(str::trim).filter(|line| !line.is_empty());
    let telling = lines.filter(|line| !line.starts_with("(i.e.") && !line.contains("RUN fsck MANUALLY"));
    let last: Vec<&str> = telling.collect();
    let from = last.len().saturating_sub(2);
    last.get(from..).filter(|lines| !lines.is_empty()).map(|lines| lines.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_checker_are_its_reason_and_not_its_advice() {
        let output = "/dev/xvdf contains a file system with errors, check forced.\n\
                      /dev/xvdf: Root inode is not a directory.\n\n\
                      /dev/xvdf: UNEXPECTED INCONSISTENCY; RUN fsck MANUALLY.\n\t(i.e., without -a or -p options)\n";
        let reason = "/dev/xvdf contains a file system with errors, check forced.; /dev/xvdf: Root inode is not a \
                      directory.";
        assert_eq!(telling(output).as_deref(), Some(reason));
        assert_eq!(telling("\n \n"), None);
    }
}
