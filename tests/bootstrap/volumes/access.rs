//! Owner and mode of the root folder, and the mount point without its volume.

use crate::disk::{Disk, MIB, configuration, outcome, run};
use crate::world::{World, is_root};
use harness::requirements::skipped;
use std::os::unix::fs::FileExt;

fn access(world: &World) -> String {
    let shown = world.inside("stat", &["--format=%u:%g %a", "/mnt/models", "/mnt/models/inner"]);
    String::from_utf8(shown.stdout).unwrap()
}

#[test]
fn the_root_folder_gets_owner_and_mode_at_every_run_and_only_where_they_differ() {
    if !is_root() {
        return;
    }
    for filesystem in ["xfs", "ext4"] {
        let disk = Disk::blank(512 * MIB);
        let world = World::with_everything();
        disk.attach(&world, "xvdf");
        let plain = configuration(filesystem, "");
        run(&world, &plain).0.expect(0);
        world.inside("mkdir", &["-m", "0700", "/mnt/models/inner"]);
        assert_eq!(access(&world), "0:0 755\n0:0 700\n", "a run that is told nothing changes nothing");

        let owned = configuration(filesystem, "owner = \"1000:100\"\nmode = \"2750\"");
        let planned = world.bootstrap(&["plan", "--config", "-"], &owned);
        let says = "its root folder gets owner 1000:100 (is 0:0) and mode 2750 (is 0755)";
        assert!(planned.expect(0).stdout.contains(says), "{}", planned.story());
        let (changed, handoff) = run(&world, &owned);
        assert_eq!(outcome(&handoff).0, "done", "{}", changed.expect(0).story());
        assert_eq!(access(&world), "1000:100 2750\n0:0 700\n", "what lies in it is left alone");

        let (same, handoff) = run(&world, &owned);
        assert_eq!(outcome(&handoff).0, "unchanged", "{}", same.expect(0).story());

        assert!(world.inside("chown", &["7", "/mnt/models"]).status.success());
        assert!(world.inside("umount", &["/mnt/models"]).status.success());
        run(&world, &owned).0.expect(0);
        assert_eq!(access(&world), "1000:100 2750\n0:0 700\n", "when it is mounted, too");
    }
}

#[test]
fn nothing_is_written_below_the_mount_point_of_a_volume_that_is_refused_or_does_not_come() {
    if !is_root() {
        return;
    }
    let foreign = Disk::blank(64 * MIB);
    foreign.file.as_file().write_all_at(b"somebody's", 0).unwrap();
    for attached in [true, false] {
        let world = World::with_everything();
        if attached {
            foreign.attach(&world, "xvdf");
        }
        let (run, handoff) = run(&world, &configuration("xfs", "wait = \"0s\""));
        assert_eq!(outcome(&handoff).0, "failed", "{}", run.expect(1).story());
        let written = world.inside("sh", &["-c", "echo lost > /mnt/models/model"]);
        if run.stderr.contains("could not be made immutable") {
            skipped("the file system of the mount point knows no immutable folder");
            return;
        }
        assert!(!written.status.success(), "it was written to the root volume: {}", run.story());
    }
}
