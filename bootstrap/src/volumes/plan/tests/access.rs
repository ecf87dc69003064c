//! Owner and mode of the root folder.

use super::*;
use node::config::settings::Owner;

fn owned() -> Volume {
    Volume { owner: Some(Owner { uid: 1000, gid: Some(100) }), mode: Some(0o750), ..wanted() }
}

fn seen(uid: u32, gid: u32, mode: u32) -> Observation {
    Observation { root_folder: Some(RootFolder { uid, gid, mode }), ..mounted("xfs", false) }
}

#[test]
fn plan_that_mounts_says_what_the_root_folder_gets() {
    let plan = plan(&owned(), &observation(device(), xfs(20 * GIB)));
    let reason =
        "nvme1n1 holds xfs: mount it at /mnt/models; its root folder gets owner 1000:100 and mode 0750";
    assert_eq!(plan, Plan::new(Action::Mount(Mounting::default()), reason));
}

#[test]
fn plan_root_folder_is_changed_only_where_it_differs() {
    assert_eq!(plan(&owned(), &seen(1000, 100, 0o750)).action, Action::Keep);
    let both = plan(&owned(), &seen(0, 0, 0o755));
    let reason = "xfs on nvme1n1 is mounted at /mnt/models; its root folder gets owner 1000:100 (is 0:0) and mode 0750 \
                  (is 0755)";
    assert_eq!(both, Plan::new(Action::SetAccess, reason));
    let mode = plan(&owned(), &seen(1000, 100, 0o755));
    let reason = "xfs on nvme1n1 is mounted at /mnt/models; its root folder gets mode 0750 (is 0755)";
    assert_eq!(mode, Plan::new(Action::SetAccess, reason));
    let user_only = Volume { owner: Some(Owner { uid: 1000, gid: None }), mode: None, ..wanted() };
    assert_eq!(plan(&user_only, &seen(1000, 7, 0o700)).action, Action::Keep);
    assert_eq!(plan(&wanted(), &seen(5, 6, 0o700)).action, Action::Keep, "nothing is wanted");
}

#[test]
fn plan_that_grows_changes_the_root_folder_too() {
    let observation = Observation { mounted_bytes: Some(10 * GIB), ..seen(0, 0, 0o755) };
    let plan = plan(&owned(), &observation);
    assert_eq!(plan.action, Action::Grow { partition: false });
    assert!(
        plan.reason.contains("grow it from") && plan.reason.contains("owner 1000:100"),
        "{}",
        plan.reason
    );
}
