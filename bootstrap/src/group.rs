//! The group whose members may change things over the control API. It needs nothing that other steps bring, and is made
//! beside them.

use crate::command::{CommandError, Invocation};
use crate::step::Ending;
use node::fault::one_line;
use node::paths::Paths;
use std::fs;
use std::time::Duration;

const NAME: &str = "node-agent";
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) fn exists(paths: &Paths) -> bool {
    let groups = fs::read_to_string(paths.at("/etc/group")).unwrap_or_default();
    groups.lines().any(|line| line.split(':').next() == Some(NAME))
}

/// The step. What it cannot do is tried again, and complained of, with the units: the release may bring a way.
pub(crate) async fn run(paths: &Paths) -> Ending {
    if exists(paths) {
        return Ending::unchanged("the group node-agent exists");
    }
    match make(paths).await {
        Ok(()) => Ending::done("made the group node-agent"),
        Err(error) => Ending::unchanged(format!("not made yet: {}", one_line(&error))),
    }
}

/// By groupadd, which every distribution has; by sysusers.d where a small image has left it out.
pub(crate) async fn make(paths: &Paths) -> Result<(), CommandError> {
    let add = Invocation::new("groupadd", DEADLINE).brought_by("passwd or shadow-utils");
    match add.arguments(["--system", NAME]).run().await {
        Err(CommandError::NotInstalled { .. })
            if paths.at("/usr/lib/sysusers.d/node-agent.conf").is_file() =>
        {
            let users = Invocation::new("systemd-sysusers", DEADLINE).arguments(["node-agent.conf"]);
            users.run().await.map(|_| ())
        }
        // Another program has made it in the meantime.
        Err(_) if exists(paths) => Ok(()),
        other => other.map(|_| ()),
    }
}
