//! Who the root folder of a volume belongs to and who may enter it: what is wanted beside what is there.

use node::config::settings::Volume;

/// Owner and permissions of the root folder of a mounted file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootFolder {
    /// Number of the user.
    pub uid: u32,
    /// Number of the group.
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
}

impl RootFolder {
    /// Its owner has to be changed.
    pub(crate) fn has_other_owner(self, wanted: &Volume) -> bool {
        let other_group = |gid: u32| gid != self.gid;
        wanted.owner.is_some_and(|owner| owner.uid != self.uid || owner.gid.is_some_and(other_group))
    }

    /// Its mode has to be changed.
    pub(crate) fn has_other_mode(self, wanted: &Volume) -> bool {
        wanted.mode.is_some_and(|mode| mode != self.mode)
    }
}

/// What would be changed of a root folder; `None` when nothing.
pub(super) fn difference(wanted: &Volume, folder: RootFolder) -> Option<String> {
    let owner = wanted.owner.filter(|_| folder.has_other_owner(wanted));
    let owner = owner.map(|owner| format!("owner {owner} (is {}:{})", folder.uid, folder.gid));
    let mode = wanted.mode.filter(|_| folder.has_other_mode(wanted));
    let mode = mode.map(|mode| format!("mode {mode:04o} (is {:04o})", folder.mode));
    sentence(owner, mode)
}

/// What the root folder gets that can be seen only when it is mounted; empty when nothing is wanted.
pub(super) fn after_mount(wanted: &Volume) -> String {
    let owner = wanted.owner.map(|owner| format!("owner {owner}"));
    let mode = wanted.mode.map(|mode| format!("mode {mode:04o}"));
    sentence(owner, mode).map(|sentence| format!("; {sentence}")).unwrap_or_default()
}

fn sentence(owner: Option<String>, mode: Option<String>) -> Option<String> {
    let both: Vec<String> = owner.into_iter().chain(mode).collect();
    (!both.is_empty()).then(|| format!("its root folder gets {}", both.join(" and ")))
}
