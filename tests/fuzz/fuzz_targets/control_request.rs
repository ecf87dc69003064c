//! libFuzzer looks for bytes that make `fuzz::control_targets::control_request` panic.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::control_targets::control_request(data));
