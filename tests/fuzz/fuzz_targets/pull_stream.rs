//! libFuzzer looks for bytes that make `fuzz::model_targets::pull_stream` panic.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::model_targets::pull_stream(data));
