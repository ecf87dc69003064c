//! Over every content, use and setting: what is formatted, and that everything else is left alone.

use super::*;
use proptest::prelude::*;

const SERIAL: &str = "vol0a1b2c3d4e5f60718";

fn any_mark() -> impl Strategy<Value = Mark> {
    let kinds = prop::sample::select(vec!["xfs", "ext4"]);
    let sizes = prop::sample::select(vec![20 * GIB, 20 * GIB, 10 * GIB]);
    let serials = prop::sample::select(vec![SERIAL, SERIAL, "", "vol0b"]);
    (kinds, sizes, serials).prop_map(|(filesystem, size_bytes, serial)| Mark {
        filesystem,
        uuid: "u".to_owned(),
        size_bytes,
        serial: serial.to_owned(),
    })
}

fn any_found() -> impl Strategy<Value = Found> {
    let kinds = prop::sample::select(vec!["xfs", "ext4", "btrfs", "vfat"]);
    let condition = (any::<[bool; 4]>()).prop_map(|[unfinished, never_mounted, has_errors, needs_check]| {
        Condition { unfinished, never_mounted, has_errors, needs_check }
    });
    (kinds, prop::option::of(0..40 * GIB), condition, prop::option::of(any_mark())).prop_map(
        |(kind, size_bytes, condition, mark)| Found {
            kind,
            uuid: None,
            label: None,
            size_bytes,
            condition,
            mark,
        },
    )
}

fn any_plain() -> impl Strategy<Value = Content> {
    prop_oneof![
        2 => Just(Content::Blank),
        1 => (0..1_u64 << 40).prop_map(|offset| Content::NotBlank { offset }),
        1 => (0..1_u64 << 40).prop_map(|at| Content::Other { what: "something".to_owned(), at }),
        3 => any_mark().prop_map(Content::HalfMade),
        3 => any_found().prop_map(Content::Filesystem),
    ]
}

fn any_content() -> impl Strategy<Value = Content> {
    let partition = (any_plain(), 1..3_u32, 1..20 * GIB).prop_map(|(content, number, size_bytes)| {
        let (table, start_bytes) = ("GPT", 1 << 20);
        Content::Partition(Partition { table, number, start_bytes, size_bytes, content: Box::new(content) })
    });
    prop_oneof![4 => any_plain(), 1 => partition]
}

fn any_uses() -> impl Strategy<Value = Vec<Use>> {
    let (filesystem, read_only) = ("xfs".to_owned(), false);
    let mount = |at: &str| Use::Mounted { at: at.to_owned(), filesystem: filesystem.clone(), read_only };
    let at = "/mnt/models".to_owned();
    let partition = Use::PartitionMounted { index: 1, at, filesystem: filesystem.clone(), read_only };
    let held = Use::Held { by: "md0".to_owned() };
    let uses = vec![mount("/mnt/models"), mount("/"), partition, Use::Root, Use::Swap, held];
    prop_oneof![2 => Just(Vec::new()), 1 => prop::collection::vec(prop::sample::select(uses), 0..3)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn only_a_free_device_that_is_blank_or_half_made_by_us_is_ever_formatted(
        content in prop::option::of(any_content()),
        uses in any_uses(),
        settings: [bool; 3],
        read_only in prop::bool::weighted(0.2),
        taken in prop::bool::weighted(0.2),
    ) {
        let [format_if_blank, ext4, has_serial] = settings;
        let filesystem = if ext4 { Filesystem::Ext4 } else { Filesystem::Xfs };
        let wanted = Volume { format_if_blank, filesystem, ..wanted() };
        let mount_point = if taken {
            MountPoint::Taken { number: (1, 1), source: "other".to_owned() }
        } else {
            MountPoint::Free { holds_files: false }
        };
        let serial = has_serial.then(|| SERIAL.to_owned());
        let observation = Observation {
            device: Match::One(Device { uses: uses.clone(), read_only, serial: serial.clone(), ..device() }),
            content: content.clone().map(Ok),
            mount_point,
            mounted_bytes: None,
            root_folder: None,
        };
        let plan = plan(&wanted, &observation);
        let ours = |mark: &Mark| {
            mark.size_bytes == 20 * GIB
                && mark.serial == serial.clone().unwrap_or_default()
                && mark.filesystem == filesystem.name()
        };
        let may = format_if_blank && uses.is_empty() && !taken && !read_only;
        let blank = may && content == Some(Content::Blank);
        prop_assert_eq!(plan.action == Action::Format, blank, "{:?}", &plan);
        let half_made = matches!(&content, Some(Content::HalfMade(mark)) if may && ours(mark));
        prop_assert_eq!(matches!(plan.action, Action::FormatAgain(_)), half_made, "{:?}", &plan);
        if let Action::Mount(Mounting { finish: Some(finish), .. }) = &plan.action {
            prop_assert!(ours(&finish.mark) && plan.partition.is_none(), "{:?}", &plan);
            let never_mounted = matches!(&content, Some(Content::Filesystem(found)) if found.condition.never_mounted);
            prop_assert!(!finish.may_format_again || (may && never_mounted && ext4), "{:?}", &plan);
        }
        if plan.changes() && !matches!(plan.action, Action::Grow { .. } | Action::SetAccess) {
            prop_assert!(uses.is_empty() && !taken && !read_only, "{:?}", &plan);
        }
        prop_assert!(!plan.reason.is_empty());
    }
}
