//! Windows of every week, such as `Mon-Fri 02:00-04:00 UTC`.

use crate::config::findings::Wrong;
use crate::config::settings::Window;

/// Monday first, as in [`Window::days`].
const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const MINUTES_OF_A_DAY: u16 = 24 * 60;

/// `[DAYS] HH:MM-HH:MM UTC`; the end may be on the next day, and no days are all days.
pub(in crate::config) fn window(text: &str) -> Result<Window, Wrong> {
    let wrong = |wrong: Wrong| wrong.about(&format!("\"{text}\" is not a window"));
    let words: Vec<&str> = text.split_whitespace().collect();
    let (written_days, times) = match words.as_slice() {
        [days, times, "UTC"] => (Some(*days), *times),
        [times, "UTC"] => (None, *times),
        [.., "UTC"] | [] => {
            return Err(wrong(Wrong::new("it is not days, times and UTC"))
                .hint("write \"Mon-Fri 02:00-04:00 UTC\", or without days for every day"));
        }
        _ => {
            return Err(wrong(Wrong::new("it does not end with UTC")).hint(
                "give the times in UTC: when clocks change, a window in local time comes twice or not at all",
            ));
        }
    };
    let days = written_days.map_or(Ok([true; 7]), days).map_err(wrong)?;
    let (opens_at_minute, open_for_minutes) = times_of_day(times).map_err(wrong)?;
    Ok(Window { days, opens_at_minute, open_for_minutes })
}

/// `Mon`, `Mon-Fri`, `Fri-Mon`, `Sat,Sun`, and lists of these.
fn days(text: &str) -> Result<[bool; 7], Wrong> {
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (day(first)?, day(last)?),
            None => (day(part)?, day(part)?),
        };
        if first == last && part.contains('-') {
            return Err(Wrong::new(format!("`{part}` is from a day to itself"))
                .hint(format!("write {} for one day, or no days for every day", DAYS[first])));
        }
        let length = (last + DAYS.len() - first) % DAYS.len();
        for index in first..=first + length {
            days[index % DAYS.len()] = true;
        }
    }
    Ok(days)
}

fn day(text: &str) -> Result<usize, Wrong> {
    DAYS.iter().position(|day| *day == text).ok_or_else(|| {
        let begins = text.get(..3).unwrap_or_default();
        let near = DAYS.iter().find(|day| day.eq_ignore_ascii_case(begins));
        Wrong::new(format!("`{text}` is not a day"))
            .hint(format!("days are {}", DAYS.join(", ")))
            .hint_if_any(near.map(|day| format!("did you mean `{day}`?")))
    })
}

/// `HH:MM-HH:MM` -> the minute at which it opens, and for how many.
fn times_of_day(text: &str) -> Result<(u16, u16), Wrong> {
    let Some((from, until)) = text.split_once('-') else {
        return Err(Wrong::new(format!("`{text}` is not from one time to another"))
            .hint("write HH:MM-HH:MM, such as 02:00-04:00"));
    };
    let (from, until) = (minute(from)?, minute(until)?);
    if from == MINUTES_OF_A_DAY {
        return Err(Wrong::new("no day begins at 24:00").hint("write 00:00, and the day after"));
    }
    if from == until {
        return Err(Wrong::new("it ends when it begins").hint("write 00:00-24:00 for the whole day"));
    }
    let length = if until > from { until - from } else { until + MINUTES_OF_A_DAY - from };
    Ok((from, length))
}

/// The minute of the day that `HH:MM` is, from 00:00 to 24:00.
fn minute(text: &str) -> Result<u16, Wrong> {
    let two_digits = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u16>().ok().filter(|_| digits)
    };
    let parts = text.split_once(':').and_then(|(hours, rest)| two_digits(hours).zip(two_digits(rest)));
    let minute = parts.filter(|(_, minutes)| *minutes < 60).map(|(hours, minutes)| hours * 60 + minutes);
    minute.filter(|minute| *minute <= MINUTES_OF_A_DAY).ok_or_else(|| {
        Wrong::new(format!("`{text}` is not a time of day")).hint("write HH:MM, from 00:00 to 24:00")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn days_of(text: &str) -> String {
        let window = window(text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"));
        window.days.iter().map(|opens| if *opens { 'x' } else { '-' }).collect()
    }

    #[test]
    fn days_alone_in_lists_and_over_the_end_of_the_week() {
        let cases = [
            ("Mon 02:00-04:00 UTC", "x------"),
            ("Mon-Fri 02:00-04:00 UTC", "xxxxx--"),
            ("Sat,Sun 02:00-04:00 UTC", "-----xx"),
            ("Fri-Mon 02:00-04:00 UTC", "x---xxx"),
            ("Sun-Sat 02:00-04:00 UTC", "xxxxxxx"),
            ("Tue-Wed,Sun,Tue 02:00-04:00 UTC", "-xx---x"),
            ("02:00-04:00 UTC", "xxxxxxx"),
            ("  Mon \t 02:00-04:00  UTC ", "x------"),
        ];
        for (text, wanted) in cases {
            assert_eq!(days_of(text), wanted, "{text}");
        }
    }

    #[test]
    fn times_within_a_day_over_midnight_and_until_its_end() {
        let cases = [
            ("02:00-04:30", 120, 150),
            ("22:00-02:00", 1320, 240),
            ("22:00-24:00", 1320, 120),
            ("22:00-00:00", 1320, 120),
            ("00:00-24:00", 0, 1440),
            ("00:01-00:00", 1, 1439),
            ("23:59-23:58", 1439, 1439),
        ];
        for (text, opens, length) in cases {
            let window = window(&format!("{text} UTC")).unwrap();
            assert_eq!((window.opens_at_minute, window.open_for_minutes), (opens, length), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_window_is_answered_with_why_and_what_to_write() {
        let form = "it is not days, times and UTC";
        let form_hint = "write \"Mon-Fri 02:00-04:00 UTC\", or without days for every day";
        let zone = "it does not end with UTC";
        let zone_hint =
            "give the times in UTC: when clocks change, a window in local time comes twice or not at all";
        let names = "days are Mon, Tue, Wed, Thu, Fri, Sat, Sun";
        let time_hint = "write HH:MM, from 00:00 to 24:00";
        let cases = [
            ("", form, form_hint),
            ("UTC", form, form_hint),
            ("Sat, Sun 02:00-04:00 UTC", form, form_hint),
            ("02:00 - 04:00 UTC", form, form_hint),
            ("02:00 Mon UTC", "`02:00` is not a day", names),
            ("Mon-Fri 02:00-04:00", zone, zone_hint),
            ("02:00-04:00 CET", zone, zone_hint),
            ("02:00-04:00 utc", zone, zone_hint),
            ("Monday 02:00-04:00 UTC", "`Monday` is not a day", "did you mean `Mon`?"),
            ("mon-Fri 02:00-04:00 UTC", "`mon` is not a day", "did you mean `Mon`?"),
            ("Mo 02:00-04:00 UTC", "`Mo` is not a day", names),
            ("日曜日 02:00-04:00 UTC", "`日曜日` is not a day", names),
            (", 02:00-04:00 UTC", "`` is not a day", names),
            ("Mon- 02:00-04:00 UTC", "`` is not a day", names),
            (
                "Mon-Mon 02:00-04:00 UTC",
                "`Mon-Mon` is from a day to itself",
                "write Mon for one day, or no days for every day",
            ),
            ("Mon UTC", "`Mon` is not from one time to another", "write HH:MM-HH:MM, such as 02:00-04:00"),
            ("2:00-04:00 UTC", "`2:00` is not a time of day", time_hint),
            ("02:00-04:60 UTC", "`04:60` is not a time of day", time_hint),
            ("02:00-24:01 UTC", "`24:01` is not a time of day", time_hint),
            ("02:00-99:00 UTC", "`99:00` is not a time of day", time_hint),
            ("+2:00-04:00 UTC", "`+2:00` is not a time of day", time_hint),
            ("0200-0400 UTC", "`0200` is not a time of day", time_hint),
            ("02:00-04:00-06:00 UTC", "`04:00-06:00` is not a time of day", time_hint),
            ("24:00-04:00 UTC", "no day begins at 24:00", "write 00:00, and the day after"),
            ("02:00-02:00 UTC", "it ends when it begins", "write 00:00-24:00 for the whole day"),
        ];
        for (text, why, hint) in cases {
            let wanted = Wrong::new(format!("\"{text}\" is not a window: {why}")).hint(hint);
            assert_eq!(window(text), Err(wanted), "{text}");
        }
    }
}
