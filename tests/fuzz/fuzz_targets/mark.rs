//! libFuzzer looks for bytes that make `fuzz::targets::mark` panic.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::mark(data));
