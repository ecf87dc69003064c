//! libFuzzer looks for bytes that make `fuzz::targets::node_toml` panic.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::targets::node_toml(data));
