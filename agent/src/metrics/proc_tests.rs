//! Files of `/proc` as Amazon Linux 2023 on a t3.small shows them, and anything else.

use super::*;
use proptest::prelude::*;

const MEMINFO: &str = "MemTotal:        1952760 kB
MemFree:          101560 kB
MemAvailable:    1311728 kB
Buffers:            2108 kB
Cached:          1284012 kB
SwapCached:            0 kB
Active:           512344 kB
SwapTotal:       2097148 kB
SwapFree:        2096892 kB
HugePages_Total:       0
Hugepagesize:       2048 kB
";

const STAT: &str = "cpu  10132153 290696 3084719 46828483 16683 0 25195 175628 12 3
cpu0 5066076 145348 1542359 23414241 8341 0 12597 87814 6 1
cpu1 5066077 145348 1542360 23414242 8342 0 12598 87814 6 2
intr 1462898 0 0
ctxt 115315
btime 1719300000
";

const NET_DEV: &str = "Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 3193      29    0    0    0     0          0         0     3193      29    0    0    0     0       0          0
  ens5:364878171   13314    1    2    0     0          0         0   708725    7068    3    4    0     0       0          0
";

const PROCESS_STAT: &str = "742 (node) agent) 1) S 1 742 742 0 -1 4194560 5312 0 12 0 250 150 0 0 20 0 5 0 812 \
    1300000000 4096 18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0";

#[test]
fn memory_is_in_bytes_under_the_names_of_the_kernel() {
    let memory = memory(MEMINFO).unwrap();
    assert_eq!(memory.total_bytes, 1_952_760 * 1024);
    assert_eq!((memory.free_bytes, memory.available_bytes), (101_560 * 1024, 1_311_728 * 1024));
    assert_eq!(
        (memory.cached_bytes, memory.buffers_bytes),
        (1_284_012 * 1024, 2_108 * 1024),
        "not SwapCached"
    );
    assert_eq!((memory.swap_total_bytes, memory.swap_free_bytes), (2_097_148 * 1024, 2_096_892 * 1024));
    assert_eq!(super::memory("MemTotal: 5 kB"), None, "half a file says nothing");
    assert_eq!(super::memory("MemTotal: 18446744073709551615 kB\nMemFree: 1 kB"), None);
}

#[test]
fn load_is_three_numbers() {
    let wanted = Load { one: 0.52, five: 0.58, fifteen: 10.59 };
    assert_eq!(load("0.52 0.58 10.59 2/1234 56789\n"), Some(wanted));
    for text in ["", "0.52 0.58", "0.52 x 0.59", "nan 1 1", "inf 1 1"] {
        assert_eq!(load(text), None, "{text}");
    }
}

#[test]
fn processor_time_is_that_of_all_processors_in_seconds() {
    let cpu = cpu(STAT, 100).unwrap();
    assert_eq!(cpu.count, 2);
    assert_eq!(cpu.seconds[0], ("user", 101_321.53));
    assert_eq!(cpu.seconds[7], ("steal", 1756.28));
    let (busy, all) = cpu.busy_and_all();
    assert!((all - 605_535.57).abs() < 0.01 && (busy - 137_083.91).abs() < 0.01, "{busy} of {all}");
    assert_eq!(super::cpu("cpu0 1 2 3 4 5 6 7 8", 100), None);
    assert_eq!(super::cpu("cpu  1 2 3", 100), None);
    assert!(super::cpu(STAT, 0).is_some(), "a kernel that counts nothing a second");
}

#[test]
fn an_interface_is_read_also_where_its_name_touches_the_first_number() {
    let all = interfaces(NET_DEV);
    assert_eq!(all.iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["lo", "ens5"]);
    assert_eq!(all[1].received, Traffic { bytes: 364_878_171, packets: 13_314, errors: 1, dropped: 2 });
    assert_eq!(all[1].sent, Traffic { bytes: 708_725, packets: 7_068, errors: 3, dropped: 4 });
}

#[test]
fn a_process_may_be_called_anything() {
    let status = "Name:\tnode-agent\nVmPeak:\t  9999 kB\nVmRSS:\t   16384 kB\nThreads:\t5\n";
    let process = process(PROCESS_STAT, status, 100).unwrap();
    assert_eq!(process, Process { cpu_seconds: 4.0, resident_bytes: 16 << 20 });
    assert_eq!(super::process(PROCESS_STAT, "", 100), None);
    assert_eq!(super::process("742 (x", status, 100), None);
}

/// Recorded text with parts of it cut out, doubled or replaced.
fn damaged() -> impl Strategy<Value = String> {
    let recorded =
        prop::sample::select(vec![MEMINFO, STAT, NET_DEV, PROCESS_STAT, "0.52 0.58 10.59 2/1234 56789\n"]);
    let words = prop::sample::select(vec![
        "",
        ":",
        " ",
        "\n",
        ")",
        "cpu",
        "99999999999999999999999",
        "-1",
        "kB",
        "é",
    ]);
    (recorded, 0_usize..700, 0_usize..40, words).prop_map(|(text, at, length, word)| {
        let bytes = text.as_bytes();
        let (from, to) = (at.min(bytes.len()), (at + length).min(bytes.len()));
        let joined = [&bytes[..from], word.as_bytes(), &bytes[to..]].concat();
        String::from_utf8_lossy(&joined).into_owned()
    })
}

proptest! {
    #[test]
    fn no_text_makes_them_panic(text in prop_oneof![damaged(), ".*"], ticks in 0_u64..2000) {
        let _ = (memory(&text), load(&text), interfaces(&text), process(&text, &text, ticks));
        for (_, seconds) in cpu(&text, ticks).into_iter().flat_map(|cpu| cpu.seconds) {
            prop_assert!(seconds.is_finite() && seconds >= 0.0);
        }
    }
}
