//! Durations, sizes of memory, numbers of cores, shares.

use crate::config::findings::Wrong;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Units of a duration with their length in milliseconds, in the order in which they may follow each other.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

const DURATION_HINT: &str = "write a duration such as \"250ms\", \"30s\", \"5m\" or \"1h30m\"";

/// A duration such as `250ms`, `30s`, `5m` or `1h30m`.
pub(in crate::config) fn duration(text: &str) -> Result<Duration, Wrong> {
    let refused = || Wrong::new(format!("\"{text}\" is not a duration")).hint(DURATION_HINT);
    let mut rest = text;
    let mut units = UNITS.iter();
    let mut milliseconds = 0_u64;
    if text.is_empty() {
        return Err(refused());
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (number, behind) = rest.split_at(digits);
        let unit = behind.find(|c: char| c.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(unit);
        let length = units.find(|(name, _)| *name == unit).ok_or_else(refused)?.1;
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(length));
        let sum = part.and_then(|part| milliseconds.checked_add(part));
        milliseconds = sum.ok_or_else(refused)?;
        rest = behind;
    }
    Ok(Duration::from_millis(milliseconds))
}

/// A duration inside `range`.
pub(in crate::config) fn duration_in(text: &str, range: RangeInclusive<Duration>) -> Result<Duration, Wrong> {
    let value = duration(text)?;
    if range.contains(&value) {
        return Ok(value);
    }
    let (least, most) = (written(*range.start()), written(*range.end()));
    Err(Wrong::new(format!("\"{text}\" is out of range"))
        .hint(format!("write a duration from {least} to {most}")))
}

/// A duration as it would be written, in the largest unit that fits.
pub(in crate::config) fn written(duration: Duration) -> String {
    let milliseconds = duration.as_millis();
    let unit = UNITS.iter().find(|(_, length)| milliseconds.is_multiple_of(u128::from(*length)));
    match unit {
        Some((name, length)) if milliseconds > 0 => format!("{}{name}", milliseconds / u128::from(*length)),
        _ => "0s".to_owned(),
    }
}

/// Docker refuses to make a container with less.
const MEMORY_AT_LEAST: u64 = 6 * 1024 * 1024;

/// Bytes of memory of a container, as [`size`] has them.
pub(in crate::config) fn memory(text: &str) -> Result<u64, Wrong> {
    let bytes = size(text)?;
    if bytes < MEMORY_AT_LEAST {
        return Err(Wrong::new(format!("\"{text}\" is less than the 6m that a container needs")));
    }
    Ok(bytes)
}

/// Bytes, in binary multiples: `512m`, `2g`, `1073741824`. A `b` may follow the unit, as with Docker.
pub(in crate::config) fn size(text: &str) -> Result<u64, Wrong> {
    let refused = || {
        Wrong::new(format!("\"{text}\" is not a size"))
            .hint("write a size such as \"512m\", \"2g\" or \"1073741824\"")
    };
    let lower = text.to_ascii_lowercase();
    let digits = lower.find(|c: char| !c.is_ascii_digit()).unwrap_or(lower.len());
    let (number, unit) = lower.split_at(digits);
    let shift = match unit {
        "" | "b" => 0,
        "k" | "kb" => 10,
        "m" | "mb" => 20,
        "g" | "gb" => 30,
        "t" | "tb" => 40,
        _ => return Err(refused()),
    };
    let number: u64 = number.parse().map_err(|_| refused())?;
    number.checked_mul(1 << shift).filter(|bytes| i64::try_from(*bytes).is_ok()).ok_or_else(refused)
}

/// Bytes inside `range`.
pub(in crate::config) fn size_in(text: &str, range: RangeInclusive<u64>) -> Result<u64, Wrong> {
    let bytes = size(text)?;
    if range.contains(&bytes) {
        return Ok(bytes);
    }
    let (least, most) = (written_size(*range.start()), written_size(*range.end()));
    Err(Wrong::new(format!("\"{text}\" is out of range"))
        .hint(format!("write a size from {least} to {most}")))
}

/// A size as it would be written, in the largest unit that fits.
fn written_size(bytes: u64) -> String {
    let units = [("t", 40), ("g", 30), ("m", 20), ("k", 10)];
    let unit = units.into_iter().find(|(_, shift)| bytes > 0 && bytes.is_multiple_of(1 << shift));
    unit.map_or_else(|| bytes.to_string(), |(name, shift)| format!("{}{name}", bytes >> shift))
}

/// Far above every instance type.
const CPUS_AT_MOST: f64 = 4096.0;

/// Below this the kernel's quota rounds to nothing.
const CPUS_AT_LEAST: f64 = 0.01;

/// Cores -> billionths of a core.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
pub(in crate::config) fn nano_cpus(cores: f64) -> Result<i64, Wrong> {
    if (CPUS_AT_LEAST..=CPUS_AT_MOST).contains(&cores) {
        Ok((cores * 1e9).round() as i64)
    } else {
        Err(Wrong::new(format!("{cores} cores are out of range"))
            .hint("write a number from 0.01, such as 0.5 or 2"))
    }
}

/// A share in whole percent, such as `10%`.
pub(in crate::config) fn percent(text: &str) -> Result<u8, Wrong> {
    let number = text.strip_suffix('%').filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    number
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| Wrong::new(format!("\"{text}\" is not a share")).hint("write a share such as \"10%\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_that_are_taken() {
        let cases = [
            ("0s", 0),
            ("250ms", 250),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h30m", 5_400_000),
            ("1h0m1s5ms", 3_601_005),
        ];
        for (text, milliseconds) in cases {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn durations_that_are_refused() {
        for text in
            ["", "5", "s", "-5s", "1.5h", "5 m", "5M", "1m1h", "1s1s", "1d", "18446744073709551616s", "5µs"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
        assert!(duration("18446744073709551615h").is_err(), "overflow");
    }

    #[test]
    fn a_duration_reads_back_as_it_is_written() {
        for text in ["0s", "250ms", "30s", "5m", "24h", "90s"] {
            assert_eq!(written(duration(text).unwrap()), if text == "90s" { "90s" } else { text });
        }
    }

    #[test]
    fn sizes() {
        let taken = [
            ("512m", 512 << 20),
            ("2g", 2 << 30),
            ("1073741824", 1 << 30),
            ("1GB", 1 << 30),
            ("6144k", 6 << 20),
        ];
        for (text, bytes) in taken {
            assert_eq!(memory(text), Ok(bytes), "{text}");
        }
        for text in ["", "m", "1.5g", "512mib", "-1", "5m", "99999999t", "512 m"] {
            assert!(memory(text).is_err(), "{text}");
            assert_eq!(size(text).is_ok(), text == "5m", "only a container needs so much: {text}");
        }
        assert_eq!((size("0"), size("1k")), (Ok(0), Ok(1024)));
    }

    #[test]
    fn a_size_outside_its_range_is_refused_with_the_range_as_it_would_be_written() {
        assert_eq!(size_in("16m", 16 << 20..=1 << 40), Ok(16 << 20));
        assert_eq!(size_in("1t", 16 << 20..=1 << 40), Ok(1 << 40));
        let wanted = Wrong::new("\"15m\" is out of range").hint("write a size from 16m to 1t");
        assert_eq!(size_in("15m", 16 << 20..=1 << 40), Err(wanted));
        assert_eq!([0, 1, 1025, 3 << 10, 5 << 30].map(written_size), ["0", "1", "1025", "3k", "5g"]);
    }

    #[test]
    fn shares() {
        for (text, percent_of_it) in [("0%", 0), ("10%", 10), ("007%", 7), ("255%", 255)] {
            assert_eq!(percent(text), Ok(percent_of_it), "{text}");
        }
        for text in ["", "%", "10", "10 %", "+5%", "-5%", "1.5%", "256%", "5%%", "５%"] {
            assert!(percent(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cores() {
        assert_eq!(nano_cpus(0.5), Ok(500_000_000));
        for cores in [0.0, -1.0, 1e9, f64::NAN] {
            assert!(nano_cpus(cores).is_err(), "{cores}");
        }
    }
}
