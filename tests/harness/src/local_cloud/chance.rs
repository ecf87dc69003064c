//! Unpredictable names: tokens, keys, version ids.
//!
//! The standard library's hasher is keyed from the system's randomness; that is
//! enough for values that only must not be guessed or repeated in a test.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// `length` hexadecimal digits that nobody has seen before.
pub(super) fn hexadecimal(length: usize) -> String {
    let mut text = String::new();
    while text.len() < length {
        text.push_str(&format!("{:016x}", RandomState::new().build_hasher().finish()));
    }
    text.truncate(length);
    text
}

/// A version 4 shaped UUID.
pub(super) fn uuid() -> String {
    let digits = hexadecimal(32);
    format!("{}-{}-4{}-a{}-{}", &digits[..8], &digits[8..12], &digits[13..16], &digits[17..20], &digits[20..])
}
