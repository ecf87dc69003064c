//! The log page in which a controller of EBS counts: bytes in, counters out. Pure.
//!
//! Layout of the page, all of it little-endian: a magic number of 32 bits, 32 bits reserved, eleven counters of 64 bits;
//! then two histograms of latency, which are left out here. Source: `ebsnvme` of amazon-ec2-utils, the plug-in `amzn` of
//! nvme-cli.

use super::collection::EbsCounters;

/// Number of the page.
pub const PAGE: u8 = 0xD0;

/// What the page begins with.
const MAGIC: u32 = 0x3C23_B510;

/// Where the first counter stands.
const COUNTERS: usize = 8;

/// Reads the page; `None` if it is another one, or too short.
pub fn counters(page: &[u8]) -> Option<EbsCounters> {
    let magic = u32::from_le_bytes(page.get(..4)?.try_into().ok()?);
    if magic != MAGIC {
        return None;
    }
    let counter = |index: usize| {
        let at = COUNTERS + index * 8;
        Some(u64::from_le_bytes(page.get(at..at + 8)?.try_into().ok()?))
    };
    Some(EbsCounters {
        read_operations: counter(0)?,
        write_operations: counter(1)?,
        read_bytes: counter(2)?,
        write_bytes: counter(3)?,
        read_microseconds: counter(4)?,
        write_microseconds: counter(5)?,
        volume_iops_exceeded_microseconds: counter(6)?,
        volume_throughput_exceeded_microseconds: counter(7)?,
        instance_iops_exceeded_microseconds: counter(8)?,
        instance_throughput_exceeded_microseconds: counter(9)?,
        queue_length: counter(10)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A page in the layout that amazon-ec2-utils reads, of a volume that was throttled. The rest, reserved bytes and
    /// histograms, is filled with what is no counter.
    fn recorded() -> Vec<u8> {
        let mut page = vec![0xAA; 4096];
        let head = "10b5233c000000003930000000000000\
            0de00000000000000000000a00000000\
            0000c00d0000000040420f0000000000\
            80841e0000000000c027090000000000\
            e8030000000000000000000000000000\
            07000000000000002000000000000000";
        for (index, byte) in page.iter_mut().take(head.len() / 2).enumerate() {
            *byte = u8::from_str_radix(&head[index * 2..index * 2 + 2], 16).unwrap();
        }
        page
    }

    #[test]
    fn every_counter_of_a_recorded_page_is_read_from_its_place() {
        let wanted = EbsCounters {
            read_operations: 12_345,
            write_operations: 57_357,
            read_bytes: 160 << 20,
            write_bytes: 220 << 20,
            read_microseconds: 1_000_000,
            write_microseconds: 2_000_000,
            volume_iops_exceeded_microseconds: 600_000,
            volume_throughput_exceeded_microseconds: 1_000,
            instance_iops_exceeded_microseconds: 0,
            instance_throughput_exceeded_microseconds: 7,
            queue_length: 32,
        };
        assert_eq!(counters(&recorded()), Some(wanted));
    }

    #[test]
    fn a_page_of_another_kind_or_a_part_of_one_is_none() {
        let mut instance_store = recorded();
        instance_store[..4].copy_from_slice(&0xEC2C_0D7E_u32.to_le_bytes());
        assert_eq!(counters(&instance_store), None);
        assert_eq!(counters(&[0; 4096]), None);
        assert_eq!(counters(&recorded()[..95]), None);
        assert!(counters(&recorded()[..96]).is_some());
    }

    proptest! {
        #[test]
        fn no_page_makes_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), ours in any::<bool>()) {
            let mut page = bytes;
            if ours && page.len() >= 4 {
                page[..4].copy_from_slice(&MAGIC.to_le_bytes());
            }
            let read = counters(&page);
            prop_assert_eq!(read.is_some(), ours && page.len() >= 96);
        }
    }
}
