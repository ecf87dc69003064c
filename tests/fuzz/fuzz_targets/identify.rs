//! libFuzzer looks for bytes that make `fuzz::targets::identify` panic.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::identify(data));
