//! Text for a terminal: cleaned, cut, wrapped, aligned, coloured. Pure.
//!
//! Names, messages and log lines come from registries, images and AWS; [`clean`] makes sure that none of them can send
//! an escape sequence to the operator's terminal.

use jiff::{SignedDuration, Timestamp};

/// What one row of output has to fit into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// Columns.
    pub width: usize,
    /// Whether the reader can see colours.
    pub colour: bool,
}

/// How a word is shown where there are colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it is.
    Plain,
    /// Titles.
    Bold,
    /// As wanted.
    Good,
    /// On its way.
    Busy,
    /// Wrong.
    Bad,
}

impl Page {
    /// `text` in `tone`.
    pub fn paint(self, text: &str, tone: Tone) -> String {
        let code = match tone {
            Tone::Plain => return text.to_owned(),
            _ if !self.colour || text.is_empty() => return text.to_owned(),
            Tone::Bold => "1",
            Tone::Good => "32",
            Tone::Busy => "33",
            Tone::Bad => "31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// `text` without colours and other escape sequences, and without control characters; tabs and line breaks become
/// spaces.
pub fn clean(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            // ECMA-48: ESC [ parameters, then one final character from @ to ~.
            '\x1b' if characters.next_if_eq(&'[').is_some() => {
                while characters.next_if(|next| !('@'..='~').contains(next) && !next.is_control()).is_some() {
                }
                characters.next_if(|next| ('@'..='~').contains(next));
            }
            '\t' | '\n' | '\r' => shown.push(' '),
            control if control.is_control() => shown.push('\u{fffd}'),
            other => shown.push(other),
        }
    }
    shown
}

/// At most `width` characters, with an ellipsis in the place of what is missing.
pub fn cut(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(width.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// `text` in lines of at most `width`, all indented by `indent` spaces. Words that are longer are broken.
pub fn wrap(text: &str, indent: usize, width: usize) -> String {
    let room = width.saturating_sub(indent).max(20);
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for word in clean(text).split_whitespace() {
        let mut rest: Vec<char> = word.chars().collect();
        let used = line.chars().count();
        if used > 0 && used + 1 + rest.len() > room {
            lines.push(std::mem::take(&mut line));
        }
        while rest.len() > room {
            lines.push(rest.drain(..room).collect());
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.extend(rest);
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines.iter().fold(String::new(), |text, line| format!("{text}{:indent$}{line}\n", ""))
}

/// `text` with the digests in it as the engine shows them, by their first twelve digits.
pub fn shortened(text: &str) -> String {
    const MARK: &str = "sha256:";
    const WHOLE: usize = 64;
    let mut short = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(MARK).map(|at| at + MARK.len()) {
        let digits = rest[at..].bytes().take_while(u8::is_ascii_hexdigit).count();
        let kept = if digits == WHOLE { 12 } else { digits };
        short.push_str(&rest[..at + kept]);
        rest = &rest[at + digits..];
    }
    short.push_str(rest);
    short
}

/// How long ago, in its two largest units: `42s`, `3m`, `2h 5m`, `3d 4h`. What lies ahead counts as now.
pub fn age(since: Timestamp, now: Timestamp) -> String {
    duration(now.duration_since(since))
}

/// See [`age`].
pub fn duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m"),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

/// A time to the second, in UTC.
pub fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// Bytes in the largest unit that leaves a whole number, with one decimal below 100.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut tenths = u128::from(bytes) * 10;
    let mut unit = "B";
    for larger in UNITS {
        if tenths < 10_240 {
            break;
        }
        tenths /= 1024;
        unit = larger;
    }
    if unit == "B" || tenths >= 1000 {
        format!("{} {unit}", tenths / 10)
    } else {
        format!("{}.{} {unit}", tenths / 10, tenths % 10)
    }
}

/// `part` of 1 in whole percent, 100 only when nothing is missing.
pub fn percent(part: f64) -> String {
    format!("{:.0}%", (part.clamp(0.0, 1.0) * 100.0).floor())
}

/// `12345678` as `12,345,678`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The first twelve digits of a digest, as the engine shows it.
pub fn short_digest(digest: &str) -> String {
    let digits = digest.strip_prefix("sha256:").unwrap_or(digest);
    clean(digits).chars().take(12).collect()
}

/// The last part of an image reference, without registry, path and digest.
pub fn short_image(image: &str) -> String {
    let named = image.split('@').next().unwrap_or(image);
    clean(named.rsplit('/').next().unwrap_or(named))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_counts_and_ages_are_short() {
        let sizes: Vec<String> = [0, 1023, 1024, 1536, 102_400, 13_207_024_435, u64::MAX].map(bytes).to_vec();
        assert_eq!(sizes, ["0 B", "1023 B", "1.0 KiB", "1.5 KiB", "100 KiB", "12.2 GiB", "16383 PiB"]);
        assert_eq!([0, 999, 1000, 12_345_678].map(count).to_vec(), ["0", "999", "1,000", "12,345,678"]);
        assert_eq!(
            [-1.0, 0.0, 0.437, 0.999, 1.0, 7.0].map(percent),
            ["0%", "0%", "43%", "99%", "100%", "100%"]
        );
        let ages: Vec<String> =
            [-5, 42, 180, 7500, 273_600].map(|s| duration(SignedDuration::from_secs(s))).to_vec();
        assert_eq!(ages, ["0s", "42s", "3m", "2h 5m", "3d 4h"]);
    }

    #[test]
    fn images_and_digests_are_shortened_to_what_differs() {
        assert_eq!(short_image("1.dkr.ecr.eu-north-1.amazonaws.com/team/app:latest"), "app:latest");
        assert_eq!(short_image("localhost:5000/app@sha256:00"), "app");
        assert_eq!(short_digest("sha256:0123456789abcdef"), "0123456789ab");
    }

    #[test]
    fn colours_of_an_application_are_taken_out() {
        assert_eq!(clean("\x1b[1;31mERROR\x1b[0m\tdisk\x07"), "ERROR disk\u{fffd}");
        assert_eq!(clean("cut off \x1b[3"), "cut off ");
    }

    proptest! {
        #[test]
        fn wrapped_text_fits_and_loses_nothing_but_spaces(text in "\\PC{0,300}", indent in 0usize..8, width in 40usize..100) {
            let wrapped = wrap(&text, indent, width);
            prop_assert!(wrapped.lines().all(|line| line.chars().count() <= width), "{wrapped}");
            let glyphs = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            prop_assert_eq!(glyphs(&wrapped), glyphs(&clean(&text)));
        }

        #[test]
        fn cleaned_text_cannot_steer_a_terminal(text in any::<String>()) {
            prop_assert!(!clean(&text).chars().any(char::is_control));
        }
    }

    #[test]
    fn whole_digests_are_shortened_and_nothing_else() {
        let whole = "ab12".repeat(16);
        let text = format!("r/app@sha256:{whole}, not sha256:{whole}0 nor sha256:ab12");
        assert_eq!(
            shortened(&text),
            format!("r/app@sha256:ab12ab12ab12, not sha256:{whole}0 nor sha256:ab12")
        );
        assert_eq!(shortened("none"), "none");
    }
}
