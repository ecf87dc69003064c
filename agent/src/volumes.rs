//! The volumes on the board: as bootstrap left them, with what is used now.
//!
//! In: the handoff document, read again at every look, because bootstrap may be run again for a volume that came late.
//! Out: volumes and bootstrap's problems on the board, and the volumes on a channel for the loop.
//! What holds: a device that does not answer holds up nobody but this task.

#![expect(clippy::disallowed_methods, reason = "a loop: it tells when it looked")]

use crate::board::{Board, Owner};
use crate::host::disk;
use crate::start::{read_handoff, standing_problems};
use crate::status;
use jiff::Timestamp;
use node::handoff;
use node::paths::Paths;
use node::problem::Problem;
use std::path::Path;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// From one look to the next.
const INTERVAL: Duration = Duration::from_secs(15);
/// For the file systems to say how full they are; they do so without touching the device as a rule.
const DEADLINE: Duration = Duration::from_secs(2);

/// The task.
#[derive(Debug)]
pub struct Volumes {
    /// Where the handoff is.
    pub paths: Paths,
    /// The kernel's id of this boot.
    pub boot_id: String,
    /// Gets volumes and problems.
    pub board: Board,
    /// Gets the volumes of the handoff when they change.
    pub handed_over: watch::Sender<Vec<handoff::Volume>>,
}

impl Volumes {
    /// Runs until `shutdown`.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut pending: Option<JoinHandle<Vec<status::Volume>>> = None;
        loop {
            // Cancelling a look loses one look.
            let looked = shutdown.run_until_cancelled(self.look(&mut pending)).await;
            if looked.is_none() || shutdown.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none()
            {
                return;
            }
        }
    }

    async fn look(&self, pending: &mut Option<JoinHandle<Vec<status::Volume>>>) {
        let (volumes, problems) = self.read();
        self.board.publish_problems(Owner::Bootstrap, problems, Timestamp::now());
        self.handed_over.send_if_modified(|current| {
            let changed = *current != volumes;
            current.clone_from(&volumes);
            changed
        });
        // A look that hangs in the kernel cannot be ended, only waited for: there is never a second one beside it.
        let measuring = pending.get_or_insert_with(|| {
            let (paths, volumes) = (self.paths.clone(), volumes.clone());
            tokio::task::spawn_blocking(move || {
                volumes.iter().map(|volume| measured(volume, &paths.at(&volume.mount))).collect()
            })
        });
        match tokio::time::timeout(DEADLINE, measuring).await {
            Ok(measured) => {
                *pending = None;
                self.board.publish_volumes(measured.unwrap_or_default(), Timestamp::now());
            }
            Err(_) => {
                let unmeasured = volumes.iter().map(|volume| as_status(volume, None));
                self.board.publish_volumes(unmeasured.collect(), Timestamp::now());
            }
        }
    }

    fn read(&self) -> (Vec<handoff::Volume>, Vec<Problem>) {
        match read_handoff(&self.paths, &self.boot_id) {
            Ok(handoff) => (handoff.volumes.clone(), standing_problems(&handoff)),
            Err(error) => (
                // What was mounted stays mounted, whatever became of the document.
                self.handed_over.borrow().clone(),
                vec![Problem::from_error(error.code(), &error, Timestamp::now())],
            ),
        }
    }
}

fn measured(volume: &handoff::Volume, mount: &Path) -> status::Volume {
    // Why it cannot be measured is the kernel's log's to tell; what matters here is that it is not usable.
    as_status(volume, disk::usage(mount).ok().flatten())
}

fn as_status(volume: &handoff::Volume, usage: Option<disk::Usage>) -> status::Volume {
    status::Volume {
        name: volume.name.clone(),
        volume_id: volume.volume_id.clone(),
        device: volume.device.clone(),
        mount: volume.mount.clone(),
        filesystem: volume.filesystem.clone(),
        size_bytes: usage.map(|usage| usage.size_bytes),
        used_bytes: usage.map(|usage| usage.used_bytes),
    }
}
