//! The layouts of control groups as Amazon Linux 2023 (2), Amazon Linux 2 (1) and Ubuntu 20.04 (mixed) have them.

use super::*;
use proptest::prelude::*;

const ID: &str = "0f6fcf2a1e14d3f5a2c3b4d5e6f708192a3b4c5d6e7f8091a2b3c4d5e6f70819";

const MOUNTS_TWO: &str = "22 1 259:1 / / rw,noatime shared:1 - xfs /dev/nvme0n1p1 rw
30 23 0:26 / /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate,memory_recursiveprot
";
const MOUNTS_ONE: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/systemd rw shared:9 - cgroup cgroup rw,xattr,name=systemd
33 31 0:30 / /sys/fs/cgroup/cpu,cpuacct rw shared:10 - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/memory rw shared:11 - cgroup cgroup rw,memory
";
const MOUNTS_MIXED: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
34 31 0:31 / /sys/fs/cgroup/memory rw shared:11 - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw shared:12 - cgroup2 cgroup2 rw
";

fn group(mounts: &str, cgroup: &str, controller: &str) -> Option<(Version, String)> {
    let group = Hierarchies::of(mounts).group(cgroup, controller, ID)?;
    Some((group.version, group.folder.to_str().unwrap().to_owned()))
}

#[test]
fn in_version_two_all_controllers_are_in_one_folder() {
    let cgroup = format!("0::/system.slice/docker-{ID}.scope\n");
    let folder = format!("/sys/fs/cgroup/system.slice/docker-{ID}.scope");
    for controller in ["memory", "cpuacct"] {
        assert_eq!(group(MOUNTS_TWO, &cgroup, controller), Some((Version::Two, folder.clone())));
    }
}

#[test]
fn in_version_one_each_is_in_its_own() {
    let cgroup = format!("11:memory:/docker/{ID}\n4:cpu,cpuacct:/docker/{ID}\n1:name=systemd:/docker/{ID}\n");
    let folder = |name: &str| Some((Version::One, format!("/sys/fs/cgroup/{name}/docker/{ID}")));
    assert_eq!(group(MOUNTS_ONE, &cgroup, "memory"), folder("memory"));
    assert_eq!(group(MOUNTS_ONE, &cgroup, "cpuacct"), folder("cpu,cpuacct"));
}

#[test]
fn in_the_mixed_layout_each_is_where_the_process_says() {
    let cgroup = format!("9:memory:/docker/{ID}\n0::/docker/{ID}\n");
    let one = Some((Version::One, format!("/sys/fs/cgroup/memory/docker/{ID}")));
    assert_eq!(group(MOUNTS_MIXED, &cgroup, "memory"), one);
    let two = Some((Version::Two, format!("/sys/fs/cgroup/unified/docker/{ID}")));
    assert_eq!(group(MOUNTS_MIXED, &cgroup, "cpuacct"), two);
}

#[test]
fn a_process_that_is_another_ones_by_now_leads_nowhere() {
    for cgroup in ["0::/system.slice/sshd.service\n", "0::/\n", "", "garbage", "0::/docker/0f6f\n"] {
        assert_eq!(group(MOUNTS_TWO, cgroup, "memory"), None, "{cgroup}");
    }
    let nameless = Hierarchies::of(MOUNTS_TWO).group("0::/docker/anything\n", "memory", "");
    assert_eq!(nameless, None, "no id is the id of nobody");
}

#[test]
fn groups_that_a_container_made_below_its_own_are_counted_with_it() {
    let cgroup = format!("0::/system.slice/docker-{ID}.scope/init.scope (deleted)\n");
    let folder = format!("/sys/fs/cgroup/system.slice/docker-{ID}.scope");
    assert_eq!(group(MOUNTS_TWO, &cgroup, "memory"), Some((Version::Two, folder)));
}

#[test]
fn a_part_of_a_hierarchy_that_is_mounted_elsewhere_is_found_there() {
    let mounts = "30 23 0:26 /system.slice /my\\040groups rw - cgroup2 cgroup2 rw\n";
    let cgroup = format!("0::/system.slice/docker-{ID}.scope\n");
    assert_eq!(
        group(mounts, &cgroup, "memory"),
        Some((Version::Two, format!("/my groups/docker-{ID}.scope")))
    );
    let outside = format!("0::/../docker/{ID}\n");
    assert_eq!(group(MOUNTS_TWO, &outside, "memory"), None);
    let beside = format!("0::/docker/{ID}\n");
    assert_eq!(group(mounts, &beside, "memory"), None);
}

#[test]
fn what_the_files_of_both_versions_say() {
    assert_eq!(cpu_seconds(Version::One, "1234500000000\n"), Some(1234.5));
    assert_eq!(cpu_seconds(Version::Two, "usage_usec 1500000\nuser_usec 1\nsystem_usec 2\n"), Some(1.5));
    assert_eq!(cpu_seconds(Version::Two, "user_usec 1\n"), None);
    let one =
        memory(Version::One, "1000\n", "inactive_file 1\ntotal_inactive_file 300\n", "9223372036854771712\n");
    assert_eq!(one, Some(ContainerMemory { working_set_bytes: 700, limit_bytes: None }));
    let two = memory(Version::Two, "1000\n", "anon 5\ninactive_file 300\n", "536870912\n");
    assert_eq!(two, Some(ContainerMemory { working_set_bytes: 700, limit_bytes: Some(512 << 20) }));
    let most = memory(Version::Two, "10\n", "inactive_file 300\n", "max\n");
    assert_eq!(
        most,
        Some(ContainerMemory { working_set_bytes: 0, limit_bytes: None }),
        "read at different moments"
    );
    assert_eq!(memory(Version::Two, "", "", ""), None);
}

proptest! {
    #[test]
    fn no_text_makes_them_panic(
        cgroup in "(0::|4:memory:|1:)?(/[a-f0-9.]{0,6}|/\\.\\.|[a-z:]{0,6}){0,4}\n?",
        mounts in "([0-9 /a-z\\\\é-]{0,20}( - cgroup2? [a-z]{0,3} [a-z,]{0,9})?\n?){0,3}",
        text in "([a-z_]{0,12} ?-?[0-9]{0,22}\n?){0,3}",
    ) {
        let _ = Hierarchies::of(&mounts).group(&cgroup, "memory", "abc");
        for version in [Version::One, Version::Two] {
            let _ = (cpu_seconds(version, &text), memory(version, &text, &text, &text));
        }
    }
}
