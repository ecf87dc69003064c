//! libFuzzer looks for bytes that make `fuzz::model_targets::model_manifest` panic.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz::model_targets::model_manifest(data));
