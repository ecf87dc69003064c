//! Secrets: fetched side by side, written to tmpfs and nowhere else.
//!
//! A refresh that fails keeps the last good version of this boot, whatever the reason. That goes for a refusal too (not
//! allowed any more, deleted): what running containers have cannot be taken back, and taking the value from the next
//! restart only would be an outage that comes when nobody looks. The refusal is a problem with its own code, and the
//! value goes with the boot. Versions that no container uses any more stay until then as well: which ones are still
//! mounted is known to the engine alone.

use crate::clock::Clock;
use crate::outdated;
use crate::step::{Ending, Fault, Intent, PlannedStep};
use nix::mount::{MsFlags, mount};
use node::cloud::secrets_manager::SecretsManager;
use node::config::settings;
use node::handoff;
use node::paths::Paths;
use node::secrets::{Store, is_tmpfs};
use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::time::Duration;

/// Longer than the SDK's own deadlines with all retries, so that its error is seen; this is the end in any case.
const DEADLINE: Duration = Duration::from_secs(75);
/// 64 KiB a secret: room for a hundred of them in two versions, and a bound for a mistake.
const TMPFS_OPTIONS: &str = "mode=0700,size=16m";

/// Makes sure that the store's folder keeps nothing on a disk.
pub(crate) fn prepare_folder(paths: &Paths) -> Result<(), Fault> {
    let folder = paths.secrets();
    let failed = |operation: &'static str| {
        let shown = folder.display().to_string();
        move |error: io::Error| {
            let hint = "run node-bootstrap as root; `findmnt -T /run/node-agent/secrets` shows what is mounted there";
            Fault::new("secrets_folder", format!("cannot {operation} {shown}: {error}"), Some(hint))
        }
    };
    DirBuilder::new().recursive(true).mode(0o700).create(&folder).map_err(failed("create"))?;
    fs::set_permissions(&folder, Permissions::from_mode(0o700)).map_err(failed("protect"))?;
    if is_tmpfs(&folder).map_err(failed("examine"))? {
        return Ok(());
    }
    let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("tmpfs"), &folder, Some("tmpfs"), flags, Some(TMPFS_OPTIONS))
        .map_err(|errno| failed("mount a tmpfs at")(errno.into()))
}

/// What `run` would do.
pub(crate) fn preview(paths: &Paths, name: &str, secret: &settings::Secret) -> PlannedStep {
    let reason = match Store::new(paths).current(name) {
        Ok(Some(value)) => format!("fetch {} again (version {} is here)", secret.id, value.version_id),
        _ => format!("fetch {}", secret.id),
    };
    PlannedStep::new(format!("secret {name}"), Intent::Change, reason)
}

/// Fetches one secret. Whether a new version was written is the ending's outcome.
pub(crate) async fn run(
    paths: &Paths,
    clock: &Clock,
    cloud: &SecretsManager,
    (name, secret): (&str, &settings::Secret),
) -> (Ending, handoff::Secret) {
    let fetched = tokio::time::timeout(DEADLINE, cloud.fetch(name, secret, clock.now())).await;
    let store = Store::new(paths);
    let value = match fetched {
        Ok(Ok(value)) => value,
        Ok(Err(error)) => return failed(&store, name, Fault::from_error(error.code(), &error)),
        Err(_) => {
            let message =
                format!("secret {name}: Secrets Manager gave no answer within {} s", DEADLINE.as_secs());
            let hint = "check the route to AWS (NAT gateway or VPC endpoint), DNS and the security groups";
            return failed(&store, name, Fault::new("secret_unreachable", message, Some(hint)));
        }
    };
    let described = handoff::Secret {
        name: name.to_owned(),
        version_id: Some(value.version_id.clone()),
        fetched_at: Some(value.fetched_at),
    };
    if !matches!(store.current(name), Ok(Some(current)) if current.version_id == value.version_id) {
        outdated::note(paths);
    }
    match store.write(&value) {
        Ok(true) => (Ending::done(format!("fetched version {}", value.version_id)), described),
        Ok(false) => (Ending::unchanged(format!("version {} is current", value.version_id)), described),
        Err(error) => failed(&store, name, Fault::from_error("secret_not_stored", &error)),
    }
}

/// The last good version of this boot, if there is one, stays in use.
fn failed(store: &Store, name: &str, fault: Fault) -> (Ending, handoff::Secret) {
    let kept = store.current(name).ok().flatten();
    let mut ending = Ending::failed(fault);
    if let Some(kept) = &kept {
        ending.reason = format!("{}; keeps version {}", ending.reason, kept.version_id);
    }
    let described = handoff::Secret {
        name: name.to_owned(),
        version_id: kept.as_ref().map(|kept| kept.version_id.clone()),
        fetched_at: kept.as_ref().map(|kept| kept.fetched_at),
    };
    (ending, described)
}
