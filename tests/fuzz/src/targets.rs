//! One function for each reader of bytes from outside: given any bytes, it panics when a promise is broken.
//!
//! libFuzzer calls them with what it finds (`fuzz_targets/`), and an ordinary suite with what a seeded generator makes of
//! the seeds (`stable.rs`).

use bootstrap::volumes::identify;
use bootstrap::volumes::mark::{MARK_BYTES, Mark};
use bootstrap::volumes::signatures::{Content, PLACE_BYTES, PROBE_BYTES, inspect, places_between};
use node::config::{Draft, Source};
use node::identity::Facts;
use std::collections::BTreeMap;

/// A target and its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 5] = [
    ("signatures", signatures),
    ("partition_table", partition_table),
    ("mark", mark),
    ("identify", identify),
    ("node_toml", node_toml),
];

/// A device: its size, and what was written on it one after the other.
struct Device {
    size: u64,
    written: Vec<(u64, Vec<u8>)>,
}

impl Device {
    fn read(&self, offset: u64, buffer: &mut [u8]) {
        let end = offset + buffer.len() as u64;
        assert!(end <= self.size, "{} bytes are read at {offset} of {}", buffer.len(), self.size);
        for (at, bytes) in &self.written {
            let (from, until) = ((*at).max(offset), (at + bytes.len() as u64).min(end));
            if from < until {
                let place = |position: u64, base: u64| usize::try_from(position - base).expect("small");
                buffer[place(from, offset)..place(until, offset)]
                    .copy_from_slice(&bytes[place(from, *at)..place(until, *at)]);
            }
        }
    }

    fn is_zero(&self, from: u64, until: u64) -> bool {
        let mut bytes = vec![0; usize::try_from(until - from).expect("small")];
        self.read(from, &mut bytes);
        bytes.iter().all(|byte| *byte == 0)
    }

    /// What is promised of every device.
    fn check(&self) -> Content {
        let size = self.size;
        let read = &mut |offset: u64, buffer: &mut [u8]| {
            self.read(offset, buffer);
            Ok(())
        };
        let content = inspect(size, read).expect("every read succeeds");
        let mut mark = [0; MARK_BYTES];
        if let Some(place) = Mark::place(size) {
            self.read(place, &mut mark);
        }
        match &content {
            Content::Blank => {
                let ends = [(0, size.min(PROBE_BYTES)), (size.saturating_sub(PROBE_BYTES), size)];
                let places = places_between(size).into_iter().map(|at| (at, at + PLACE_BYTES));
                for (from, until) in ends.into_iter().chain(places) {
                    assert!(
                        self.is_zero(from, until),
                        "blank, but there is something from {from} to {until}"
                    );
                }
            }
            Content::HalfMade(found) => {
                assert_eq!(Mark::decode(&mark).as_ref(), Some(found));
                assert_eq!(found.size_bytes, size);
            }
            Content::Filesystem(found) => {
                if let Some(found_mark) = &found.mark {
                    assert_eq!(Mark::decode(&mark).as_ref(), Some(found_mark));
                    assert_eq!(
                        (Some(&found_mark.uuid), found_mark.filesystem),
                        (found.uuid.as_ref(), found.kind)
                    );
                    assert!(!found.condition.unfinished);
                }
            }
            Content::Partition(partition) => {
                let end = partition.start_bytes.checked_add(partition.size_bytes);
                assert!(partition.start_bytes >= 512 && partition.size_bytes > 0);
                assert!(end.is_some_and(|end| end <= size), "{partition:?} on {size} bytes");
                let Content::Filesystem(found) = &*partition.content else { panic!("{partition:?}") };
                assert_eq!(found.mark, None);
            }
            Content::NotBlank { offset } => assert!(!self.is_zero(*offset, offset + 1), "{offset} is zero"),
            Content::Other { what, at } => assert!(*at < size && !what.is_empty(), "{what} at {at}"),
        }
        assert!(!content.to_string().contains('\n'));
        content
    }
}

/// Takes bytes from the front; zeros when there are none left.
struct Bytes<'data>(&'data [u8]);

impl Bytes<'_> {
    fn number(&mut self, bytes: usize) -> u64 {
        let taken = self.0.split_off(..bytes.min(self.0.len())).unwrap_or_default();
        taken.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
    }

    /// Size of a device: of all orders of magnitude, mostly in whole sectors.
    fn size(&mut self) -> u64 {
        let (number, shift) = (self.number(3), self.number(1));
        if shift & 0x80 == 0 { (number * 512) << (shift % 22) } else { number }
    }

    /// Pieces: an anchor, an offset, a length, and the bytes.
    fn pieces(&mut self, size: u64) -> Vec<(u64, Vec<u8>)> {
        let mut pieces = Vec::new();
        let places = places_between(size);
        while !self.0.is_empty() && pieces.len() < 64 {
            let (anchor, offset, length) = (self.number(1), self.number(3), self.number(2) % 4096);
            let at = match anchor % 5 {
                0 => offset,
                1 => size.saturating_sub(offset),
                2 => {
                    let place = places.get(usize::try_from(offset % 256).unwrap_or(0));
                    place.copied().unwrap_or(0) + (offset >> 8) % 4096
                }
                3 => offset << 9,
                _ => Mark::place(size).unwrap_or(0) + offset % 4096,
            };
            let length = usize::try_from(length).unwrap_or(0).min(self.0.len());
            let bytes = self.0.split_off(..length).unwrap_or_default();
            pieces.push((at, bytes.to_vec()));
        }
        pieces
    }
}

/// A device as bytes, for seeds: the inverse of what [`signatures`] reads, of sectors that are not zero.
#[must_use]
pub fn encode_device(size: u64, sectors: &[(u64, Vec<u8>)]) -> Vec<u8> {
    let little = |number: u64, length: usize| number.to_le_bytes()[..length].to_vec();
    let shift = (0_u8..22).find(|shift| (size / 512) >> shift < (1 << 24)).unwrap_or(0);
    let mut bytes = [little((size / 512) >> shift, 3), vec![shift]].concat();
    for (at, sector) in sectors {
        let (anchor, offset) = match (*at, size - at) {
            (at, _) if at < 1 << 24 => (0, at),
            (_, from_end) if from_end < 1 << 24 => (1, from_end),
            (at, _) => (3, at >> 9),
        };
        bytes.push(anchor);
        bytes.extend(little(offset, 3));
        bytes.extend(little(sector.len() as u64, 2));
        bytes.extend(sector);
    }
    bytes
}

/// The signature reader over any device. A mark of the device's size is put on it when the first byte says so: its
/// checksum is nothing that is found by chance.
pub fn signatures(data: &[u8]) {
    let mut bytes = Bytes(data);
    let size = bytes.size();
    let mut written = bytes.pieces(size);
    for uuid in [None, Some("00112233-4455-6677-8899-aabbccddeeff")] {
        if let (Some(uuid), Some(place)) = (uuid, Mark::place(size)) {
            let mark =
                Mark { filesystem: "xfs", uuid: uuid.to_owned(), size_bytes: size, serial: String::new() };
            written.push((place, mark.encode().expect("it fits").to_vec()));
            let device = Device { size, written: written.clone() };
            assert_ne!(device.check(), Content::Blank);
        } else {
            Device { size, written: written.clone() }.check();
        }
    }
}

/// Tables whose checksums are right, with any numbers in them, then damaged anywhere.
pub fn partition_table(data: &[u8]) {
    const ENTRIES: u32 = 4;
    let mut bytes = Bytes(data);
    let (size, choices) = (bytes.size(), bytes.number(1));
    let sector = if choices & 1 == 0 { 512 } else { 4096 };
    let last = (size / sector).saturating_sub(1);
    let mut is_right = choices >> 1 == 0 && last > 100;
    // What is right, or anything.
    let mut number = |right: u64| {
        let other = bytes.number(1) % 4 == 3;
        is_right &= !other;
        if other { bytes.number(8) } else { right }
    };
    let entries: Vec<u8> = (0..u64::from(ENTRIES))
        .flat_map(|index| {
            let used = index == 0 || choices & (2 << index) != 0;
            let numbers = [u64::from(used), 0, 0, 0, number(64 + index), number(64 + index)];
            numbers.iter().flat_map(|number| number.to_le_bytes()).chain([0; 80]).collect::<Vec<u8>>()
        })
        .collect();
    let mut header = |own: u64, other: u64, entries_at: u64| {
        let mut header = b"EFI PART\0\0\x01\0\x5c\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        for field in
            [number(own), number(other), number(6), number(last.saturating_sub(2)), 7, 7, number(entries_at)]
        {
            header.extend(field.to_le_bytes());
        }
        header.extend([ENTRIES, 128, crc32(&entries)].iter().flat_map(|number| number.to_le_bytes()));
        let checksum = crc32(&header);
        header[16..20].copy_from_slice(&checksum.to_le_bytes());
        header
    };
    let mut protective = vec![0; 66];
    protective[4] = 0xee;
    protective[8] = 1;
    protective[64..].copy_from_slice(&[0x55, 0xaa]);
    let backup_entries = last.saturating_sub(1);
    let (primary, backup) = (header(1, last, 2), header(last, 1, backup_entries));
    let mut written = vec![
        (446, protective),
        (sector, primary),
        (2 * sector, entries.clone()),
        (backup_entries * sector, entries.clone()),
        (last * sector, backup),
        (64 * sector, b"XFSB".to_vec()),
        (64 * sector + 100, vec![1]),
    ];
    let pieces = bytes.pieces(size);
    is_right &= pieces.is_empty();
    written.extend(pieces);
    let content = Device { size, written }.check();
    assert!(!is_right || matches!(content, Content::Partition(_)), "{content:?}");
}

/// CRC-32, bit by bit: written apart from the reader's.
fn crc32(bytes: &[u8]) -> u32 {
    let bits =
        |sum: u32| (0..8).fold(sum, |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 });
    !bytes.iter().fold(!0, |sum, byte| bits(sum ^ u32::from(*byte)))
}

/// What is read as a mark is written as the same bytes, and what is written is read as the same mark.
pub fn mark(data: &[u8]) {
    if let Some(mark) = Mark::decode(data) {
        assert_eq!(mark.encode().expect("it was read").as_slice(), data);
    }
    let mut sector = data.to_vec();
    sector.resize(MARK_BYTES, 0);
    if let Some(mark) = Mark::decode(&sector) {
        assert_eq!(mark.encode().expect("it was read").as_slice(), sector);
    }
    let text = String::from_utf8_lossy(data);
    let (uuid, serial) = text.split_once('|').unwrap_or((&text, ""));
    let size_bytes = data.len() as u64 * 0x1_0001_0001;
    let mark = Mark { filesystem: "ext4", uuid: uuid.to_owned(), size_bytes, serial: serial.to_owned() };
    if let Some(sector) = mark.encode() {
        assert_eq!(Mark::decode(&sector), Some(mark));
    }
}

/// Names are the same when they are normalised again.
pub fn identify(data: &[u8]) {
    let named = |name: String| {
        assert!(name.starts_with("sd") && name.len() <= 6, "{name}");
        assert_eq!(identify::normalise(&name).as_deref(), Some(name.as_str()));
    };
    identify::attach_name(data).into_iter().for_each(named);
    // The vendor area of a controller that says it is EBS.
    let mut controller = vec![b' '; identify::IDENTIFY_BYTES];
    controller[24..24 + identify::EBS_MODEL.len()].copy_from_slice(identify::EBS_MODEL.as_bytes());
    let length = data.len().min(1024);
    controller[3072..3072 + length].copy_from_slice(&data[..length]);
    identify::attach_name(&controller).into_iter().for_each(named);
    if let Ok(text) = std::str::from_utf8(data) {
        identify::normalise(text).into_iter().for_each(named);
        if let Some(id) = identify::volume_id(text) {
            assert_eq!(identify::volume_id(&id), Some(id));
        }
    }
}

/// What is refused is refused with a reason on one line each; what is accepted is accepted again, with the same
/// settings, and by every instance when nothing in it depends on tags.
pub fn node_toml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let parse = || Draft::parse(vec![Source { name: "node.toml".to_owned(), text: text.to_owned() }]);
    let draft = match parse() {
        Ok(draft) => draft,
        Err(mistakes) => return assert!(mistakes.lines().next().is_some(), "refused without a reason"),
    };
    let facts = facts();
    let (checked, settings) = (draft.check(), draft.settings(&facts));
    if draft.tags().is_empty() {
        assert_eq!(checked.is_ok(), settings.is_ok(), "{checked:?}\n{settings:?}");
    }
    match settings {
        Ok(settings) => {
            let again = parse().expect("it was accepted").settings(&facts).expect("it was accepted");
            assert_eq!(again, settings);
        }
        Err(mistakes) => assert!(mistakes.lines().next().is_some(), "refused without a reason"),
    }
}

fn facts() -> Facts {
    Facts {
        instance_id: "i-0123456789abcdef0".to_owned(),
        instance_type: "t3.small".to_owned(),
        region: "eu-north-1".to_owned(),
        availability_zone: "eu-north-1a".to_owned(),
        account: "123456789012".to_owned(),
        image_id: "ami-0123456789abcdef0".to_owned(),
        tags: BTreeMap::new(),
    }
}
