//! libFuzzer looks for bytes that make `fuzz::targets::signatures` panic.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::signatures(data));
