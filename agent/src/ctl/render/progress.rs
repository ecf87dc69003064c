//! What is waited for, as one line of a terminal: with a bar where it says how much of it is done. Pure.

use super::text::{clean, cut, shortened};

/// Columns of a bar without its brackets.
const BAR: usize = 20;

/// One line of at most `width` columns.
pub fn line(pending: &str, width: usize) -> String {
    let text = shortened(&clean(pending));
    match part_of(&text) {
        Some(percent) => cut(&format!("{} {percent:>3}%  {text}", bar(percent)), width),
        None => cut(&text, width),
    }
}

fn bar(percent: usize) -> String {
    let done = percent.min(100) * BAR / 100;
    format!("[{}{}]", "#".repeat(done), "-".repeat(BAR - done))
}

/// Whole percent of what is done, where the words say it: `12.3 MB of 45.6 MB`, or `(43%)`.
fn part_of(text: &str) -> Option<usize> {
    let said = text.split(['(', ')']).find_map(|part| part.strip_suffix('%')?.parse::<usize>().ok());
    said.filter(|percent| *percent <= 100).or_else(|| of_sizes(text))
}

fn of_sizes(text: &str) -> Option<usize> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let at = words.windows(5).find_map(|words| match words {
        [done, unit, "of", whole, other] if unit.ends_with('B') => {
            Some((size(done, unit)?, size(whole, other.trim_end_matches([',', ';', '.', ')']))?))
        }
        _ => None,
    });
    let (done, whole) = at.filter(|(_, whole)| *whole > 0.0)?;
    // Between 0 and 100 by the clamp.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=100")]
    Some((done / whole * 100.0).clamp(0.0, 100.0) as usize)
}

fn size(number: &str, unit: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 7] = [
        ("B", 1.0),
        ("kB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
    ];
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit)?;
    Some(number.parse::<f64>().ok().filter(|number| number.is_finite())? * factor)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_how_much_is_done_has_a_bar() {
        for (text, expected) in [
            ("pulling 0a: 12.0 MB of 48.0 MB", "[#####---------------]  25%  pulling 0a: 12.0 MB of 48.0 MB"),
            (
                "m is pulled (43%): 841 MiB of 1.8 GiB",
                "[########------------]  43%  m is pulled (43%): 841 MiB of 1.8 GiB",
            ),
            ("pulling 0a: 0.0 MB of 0.0 MB", "pulling 0a: 0.0 MB of 0.0 MB"),
            ("2.0 GiB of 1.0 GiB", "[####################] 100%  2.0 GiB of 1.0 GiB"),
            ("waits for the volume models", "waits for the volume models"),
            ("is 500 MB of none", "is 500 MB of none"),
        ] {
            assert_eq!(line(text, 80), expected);
        }
    }

    #[test]
    fn a_line_is_no_wider_than_the_terminal_and_cannot_steer_it() {
        let long =
            format!("\u{1b}[31mpulling sha256:{}: 1.0 MB of 2.0 MB{}", "a".repeat(64), " x".repeat(50));
        let shown = line(&long, 70);
        assert!(
            shown.starts_with("[##########----------]  50%  pulling sha256:aaaaaaaaaaaa: 1.0"),
            "{shown}"
        );
        assert_eq!(shown.chars().count(), 70);
    }
}
