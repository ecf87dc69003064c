//! The seccomp filter that stops a program at the calls of the tables and at no others: everything else runs at full
//! speed. In: whether reads are wanted; out: the instructions. Pure; installing it is `child`'s job.

use super::calls::{READS, TABLE};
use nix::libc;

/// `offsetof(struct seccomp_data, nr)` and `arch`, linux/seccomp.h
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// linux/audit.h
const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;

fn load(offset: u32) -> libc::sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, (0, 0))
}

fn give_back(action: u32) -> libc::sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, action, (0, 0))
}

/// Goes on with the next instruction when the loaded word is `value`, else leaves one out.
fn unless_equal_skip(value: u32) -> libc::sock_filter {
    instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, (0, 1))
}

fn instruction(code: u32, k: u32, (jt, jf): (u8, u8)) -> libc::sock_filter {
    libc::sock_filter { code: u16::try_from(code).unwrap_or_default(), jt, jf, k }
}

/// The whole filter.
pub(super) fn instructions(with_reads: bool) -> Vec<libc::sock_filter> {
    let mut filter = vec![
        load(ARCHITECTURE),
        instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, AUDIT_ARCH_X86_64, (1, 0)),
        give_back(libc::SECCOMP_RET_ALLOW),
        load(NUMBER),
    ];
    let reads = if with_reads { READS } else { &[] };
    for row in TABLE.iter().chain(reads) {
        filter.push(unless_equal_skip(u32::try_from(row.number).unwrap_or(u32::MAX)));
        filter.push(give_back(libc::SECCOMP_RET_TRACE));
    }
    filter.push(give_back(libc::SECCOMP_RET_ALLOW));
    filter
}
