//! libFuzzer looks for bytes that make `fuzz::targets::partition_table` panic.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::partition_table(data));
