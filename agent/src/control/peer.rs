//! Who is at the other end of a connection, and whether they may change something.
//!
//! Reading is for every local user. Changing is for root and for members of the group `node-agent`: the group may be
//! the process's own (as after `newgrp` or `sg`), or one that the user database gives the process's user. A process that
//! got the group by other means (`setpriv --groups`) is not recognised; run it with that group as its own instead.

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use std::ffi::CString;
use std::time::Duration;

/// The group whose members may change something.
pub const GROUP: &str = "node-agent";

/// The user database may be behind a network (sssd, LDAP); nobody waits longer for it.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(2);

/// The process at the other end, as the kernel says (`SO_PEERCRED`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Effective user id when it connected.
    pub uid: u32,
    /// Effective group id when it connected.
    pub gid: u32,
    /// Process id, where the kernel knows it.
    pub pid: Option<i32>,
}

impl Peer {
    /// Whether it may change something. Asks the user database for all but root, and says no if that gives no answer.
    pub async fn may_change(self) -> bool {
        if self.uid == 0 {
            return true;
        }
        let lookup = tokio::task::spawn_blocking(move || {
            let group = Group::from_name(GROUP).ok().flatten().map(|group| group.gid.as_raw());
            allowed(self, group, &groups_of(self.uid))
        });
        matches!(tokio::time::timeout(LOOKUP_DEADLINE, lookup).await, Ok(Ok(true)))
    }
}

/// The rule itself: `group` is the id of [`GROUP`] where it exists, `memberships` what the user database says.
fn allowed(peer: Peer, group: Option<u32>, memberships: &[u32]) -> bool {
    peer.uid == 0 || group.is_some_and(|group| peer.gid == group || memberships.contains(&group))
}

fn groups_of(uid: u32) -> Vec<u32> {
    let Ok(Some(user)) = User::from_uid(Uid::from_raw(uid)) else { return Vec::new() };
    let Ok(name) = CString::new(user.name) else { return Vec::new() };
    getgrouplist(&name, user.gid).unwrap_or_default().into_iter().map(Gid::as_raw).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_the_group_may_change_something() {
        let peer = |uid, gid| Peer { uid, gid, pid: None };
        let cases = [
            ("root without the group", peer(0, 0), None, &[][..], true),
            ("a stranger", peer(1000, 1000), Some(990), &[1000, 27][..], false),
            ("a member by the user database", peer(1000, 1000), Some(990), &[1000, 990][..], true),
            ("a member by its own group", peer(1000, 990), Some(990), &[1000][..], true),
            ("the group does not exist", peer(1000, 990), None, &[990][..], false),
        ];
        for (story, peer, group, memberships, expected) in cases {
            assert_eq!(allowed(peer, group, memberships), expected, "{story}");
        }
    }
}
