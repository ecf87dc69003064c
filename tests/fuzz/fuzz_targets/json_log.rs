//! libFuzzer looks for bytes that make `fuzz::log_targets::json_log` panic.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::log_targets::json_log(data));
