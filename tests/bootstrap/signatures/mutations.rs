//! Ten thousand images that were damaged at random: nothing panics, and nothing that may hold data is planned to be
//! formatted.
//!
//! `SIGNATURES_SEED` and `SIGNATURES_CASES` set what is tried.

use super::images;
use super::sparse::{PAGE, Sparse};
use super::{MIB, blkid};
use bootstrap::volumes::mark::Mark;
use bootstrap::volumes::plan::{Action, Device, Match, MountPoint, Observation, plan};
use bootstrap::volumes::signatures::Content;
use node::config::settings::{Filesystem, Volume, VolumeIdentity};
use std::time::Duration;

/// `splitmix64`: enough to choose with.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }

    /// Small as often as large.
    fn length(&mut self, longest: u64) -> u64 {
        let bits = self.below(u64::from(longest.max(1).ilog2()) + 1);
        1 + self.below(1 << bits)
    }
}

fn from_environment(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// One change, and its name for the story of a failure.
fn mutate(device: &mut Sparse, random: &mut Random) -> String {
    let size = device.size;
    let pages: Vec<u64> = device.not_zero().collect();
    let somewhere = |random: &mut Random| match pages.as_slice() {
        [] => random.below(size),
        pages => pages[usize::try_from(random.below(pages.len() as u64)).unwrap()] + random.below(PAGE),
    };
    match random.below(9) {
        0 | 1 => {
            let (at, value) = (somewhere(random), random.next().to_le_bytes());
            let length = usize::try_from(1 + random.below(8)).unwrap();
            device.write(at, &value[..length]);
            format!("{length} bytes at {at}")
        }
        2 => {
            let (at, length) = (somewhere(random), random.length(16 * MIB));
            device.zero(at, at + length);
            format!("{length} zeros at {at}")
        }
        3 | 4 => {
            let length = random.length(size);
            device.zero(0, length);
            format!("{length} zeros at the beginning")
        }
        5 => {
            let length = random.length(size);
            device.zero(size - length.min(size), size);
            format!("{length} zeros at the end")
        }
        6 => {
            let (from, to) = (somewhere(random) / 512 * 512, random.below(size) / 512 * 512);
            let mut bytes = vec![0; usize::try_from(4096.min(size - from.min(size))).unwrap()];
            device.read(from.min(size), &mut bytes);
            device.write(to, &bytes);
            format!("a block from {from} to {to}")
        }
        7 => {
            let cut = random.below(size) / 512 * 512;
            device.resize(cut);
            format!("cut to {cut}")
        }
        _ => {
            let grown = size + random.below(4 * size + 4096) / 512 * 512;
            device.resize(grown);
            format!("grown to {grown}")
        }
    }
}

/// Whether anything is where something would be: written anew from the formats, without a look at what the reader
/// reads. Copies of ext superblocks, the groups of a plain xfs, round numbers of MiB and GiB, and both ends.
fn holds_something(device: &Sparse) -> Option<u64> {
    let size = device.size;
    let mut ranges = vec![(0, MIB), (size.saturating_sub(MIB), size)];
    let ext = [8 * MIB, 32 * MIB, 128 * MIB].into_iter();
    let ext = ext.flat_map(|group| [1, 3, 5, 7, 9, 25, 27, 49].map(|number| number * group));
    let quarter = (size / 4096).div_ceil(4) * 4096;
    let round = (1..=16).map(|mib| mib * MIB).chain((1..=64).map(|gib| gib * 1024 * MIB));
    let places = ext.chain([quarter, 2 * quarter, 3 * quarter]).chain(round);
    // What does not lie wholly between the ends is theirs, or past the end.
    ranges.extend(places.filter(|at| at + PAGE + MIB <= size).map(|at| (at, at + PAGE)));
    ranges.into_iter().find(|(from, until)| !device.is_zero(*from, *until)).map(|(from, _)| from)
}

/// What our own runs leave when they are killed: the mark alone, beside an unfinished xfs, beside an ext4 without its
/// first superblock, and beside a whole one.
fn marked(images: &[(&'static str, Sparse)]) -> Vec<(&'static str, Sparse)> {
    let device =
        |name: &str| images.iter().find(|(found, _)| *found == name).map(|(_, device)| device.clone());
    let beside = |name, device: Option<Sparse>, change: fn(&mut Sparse)| {
        let mut device = device?;
        let Content::Filesystem(found) = device.inspect() else { return None };
        let mark = mark(found.kind, &found.uuid?, device.size);
        device.write(Mark::place(device.size)?, &mark.encode()?);
        change(&mut device);
        Some((name, device))
    };
    let mut alone = Sparse::of(images::SIZE);
    let sector = mark("xfs", "0b6f5a0e-7a3c-4f52-9f1e-2f6c3b8d9a10", images::SIZE).encode().unwrap();
    alone.write(Mark::place(images::SIZE).unwrap(), &sector);
    let others = [
        beside("marked, xfs", device("xfs"), |device| device.write(126, &[1])),
        beside("marked, ext4", device("ext4"), |device| device.zero(1024, 2048)),
        beside("marked, whole", device("ext4"), |_| {}),
    ];
    others.into_iter().flatten().chain([("marked, alone", alone)]).collect()
}

fn mark(filesystem: &'static str, uuid: &str, size_bytes: u64) -> Mark {
    Mark { filesystem, uuid: uuid.to_owned(), size_bytes, serial: String::new() }
}

fn mark_of(device: &Sparse) -> Option<Mark> {
    let mut sector = [0; 512];
    device.read(Mark::place(device.size)?, &mut sector);
    Mark::decode(&sector)
}

fn planned(content: &Content, size: u64) -> Action {
    let wanted = Volume {
        identity: VolumeIdentity::AttachName("sdf".to_owned()),
        mount: "/mnt/models".to_owned(),
        filesystem: if size.is_multiple_of(1024) { Filesystem::Xfs } else { Filesystem::Ext4 },
        format_if_blank: true,
        wait: Duration::ZERO,
        optional: false,
        owner: None,
        mode: None,
    };
    let device = Device {
        name: "nvme1n1".to_owned(),
        node: "/dev/nvme1n1".to_owned(),
        number: (259, 1),
        size_bytes: size,
        model: None,
        serial: None,
        volume_id: None,
        attach_names: vec!["sdf".to_owned()],
        read_only: false,
        partitions: Vec::new(),
        uses: Vec::new(),
    };
    let observation = Observation {
        device: Match::One(device),
        content: Some(Ok(content.clone())),
        mount_point: MountPoint::Free { holds_files: false },
        mounted_bytes: None,
        root_folder: None,
    };
    plan(&wanted, &observation).action
}

#[test]
fn no_damaged_image_is_blank_or_formatted_while_anything_is_left_where_something_would_be() {
    let seed = from_environment("SIGNATURES_SEED", 1);
    let cases = from_environment("SIGNATURES_CASES", 10_000);
    harness::requirements::tried(&format!("SIGNATURES_SEED={seed} SIGNATURES_CASES={cases}"));
    let mut images = images::all();
    images.extend(marked(&images));
    let (mut blank, mut half_made, mut compared) = (0, 0, 0);
    for case in 0..cases {
        let mut random = Random(seed.wrapping_mul(1_000_003).wrapping_add(case));
        let (name, image) = &images[usize::try_from(random.below(images.len() as u64)).unwrap()];
        let mut device = image.clone();
        let mut story = format!("SIGNATURES_SEED={seed}, case {case}: {name}");
        for _ in 0..=random.below(3) {
            let change = mutate(&mut device, &mut random);
            story = format!("{story}, {change}");
        }
        let content = device.inspect();
        let is_blank = content == Content::Blank;
        blank += u32::from(is_blank);
        if let Some(at) = holds_something(&device) {
            assert!(!is_blank, "{story}: blank, but there is something in what begins at {at}");
        }
        if let Content::HalfMade(mark) = &content {
            assert_eq!(mark_of(&device).as_ref(), Some(mark), "{story}");
            assert!(name.starts_with("marked"), "{story}: begun by whom?");
            half_made += 1;
        }
        let may_be_made = is_blank || matches!(content, Content::HalfMade(_));
        let action = planned(&content, device.size);
        let formats = matches!(action, Action::Format | Action::FormatAgain(_));
        assert!(may_be_made || !formats, "{story}: {content:?} is formatted");
        // The opinion of others costs a file and two processes.
        if case % 25 == 0 && device.size < 1 << 40 {
            let file = device.to_file();
            let theirs = blkid(file.path(), "TYPE").or_else(|| blkid(file.path(), "PTTYPE"));
            let wipefs = images::run("wipefs --no-act IMAGE", file.path()).unwrap();
            assert!(
                !is_blank || (theirs.is_none() && wipefs.trim().is_empty()),
                "{story}: {theirs:?} {wipefs}"
            );
            compared += 1;
        }
    }
    let kinds = images.len();
    harness::requirements::tried(&format!(
        "{cases} damaged images of {kinds} kinds: {blank} blank, {half_made} half made, {compared} compared"
    ));
    assert!(half_made > 0);
    assert!(blank > 0 && blank < cases.try_into().unwrap(), "{blank} of {cases} are blank");
}
