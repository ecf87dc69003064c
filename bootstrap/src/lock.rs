//! The lock that makes one bootstrap work at a time: user data and the unit may start it at the same moment.
//!
//! The one that comes second waits, then runs all its steps, finds each done and changes nothing. The kernel frees the
//! lock when its holder dies, however it dies.

use crate::clock::Clock;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use node::fault::Hint;
use node::paths::Paths;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

/// Longer than any run that still makes progress: a volume's wait, a package installation and a pull of the agent.
const DEADLINE: Duration = Duration::from_secs(30 * 60);
const POLL: Duration = Duration::from_millis(100);

/// Why the lock could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    #[error("cannot open the lock {path}")]
    Open {
        path: String,
        #[source]
        source: io::Error,
    },
    #[error("another node-bootstrap still holds {path} after {} minutes", DEADLINE.as_secs() / 60)]
    Held { path: String },
}

impl Hint for LockError {
    fn hint(&self) -> Option<String> {
        match self {
            LockError::Open { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("run node-bootstrap as root".to_owned())
            }
            LockError::Held { .. } => Some("see its progress in /var/log/node-bootstrap.log".to_owned()),
            LockError::Open { .. } => Some("look at `df /run` and `findmnt -T /run`".to_owned()),
        }
    }
}

/// Waits until no other bootstrap works. The lock is held until the value is dropped.
pub(crate) async fn acquire(paths: &Paths, clock: &Clock) -> Result<Flock<File>, LockError> {
    let path = paths.bootstrap_lock();
    let shown = path.display().to_string();
    let open_error = |source| LockError::Open { path: shown.clone(), source };
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(open_error)?;
    }
    let open = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = open.map_err(open_error)?;
    let until = clock.elapsed() + DEADLINE;
    let mut said = false;
    loop {
        file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((file, Errno::EWOULDBLOCK)) => file,
            Err((_, errno)) => return Err(open_error(errno.into())),
        };
        if clock.elapsed() >= until {
            return Err(LockError::Held { path: shown });
        }
        if !said {
            said = true;
            tracing::info!("another node-bootstrap is at work; waits for it");
        }
        tokio::time::sleep(POLL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_second_one_waits_for_the_first() {
        let root = tempfile::tempdir().unwrap();
        let (paths, clock) = (Paths::under(root.path()), Clock::start());
        let first = acquire(&paths, &clock).await.unwrap();
        let second = tokio::spawn({
            let paths = paths.clone();
            async move { acquire(&paths, &clock).await.map(|_| clock.elapsed()) }
        });
        tokio::task::yield_now().await;
        assert!(!second.is_finished());
        drop(first);
        second.await.unwrap().unwrap();
    }
}
