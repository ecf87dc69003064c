//! Waiting for a condition, with a deadline and a story when it never comes.
//!
//! This is the one place of the tests that sleeps: between two looks at
//! something that has no event to wait for (another process, the engine).

#![expect(clippy::disallowed_methods, reason = "polling other processes needs a clock and a pause")]

use std::fmt;
use std::future::Future;
use std::time::{Duration, Instant};

/// Pause between two looks: short beside what is waited for, long beside a look.
const PAUSE: Duration = Duration::from_millis(25);

/// The condition did not come in time.
pub struct TimedOut {
    what: String,
    waited: Duration,
    looks: u32,
    last: String,
}

impl fmt::Display for TimedOut {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.waited.as_secs_f64();
        write!(
            out,
            "waited {seconds:.1} s ({} looks) for: {}; last seen: {}",
            self.looks, self.what, self.last
        )
    }
}

/// The story, so that `unwrap` in a test prints it.
impl fmt::Debug for TimedOut {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl std::error::Error for TimedOut {}

/// Looks until `look` gives a value; its `Err` is what it saw instead.
///
/// # Errors
/// [`TimedOut`] with the last thing seen, when `deadline` has passed.
pub fn wait_for<T>(
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> Result<T, String>,
) -> Result<T, TimedOut> {
    let started = Instant::now();
    let mut looks = 0;
    loop {
        looks += 1;
        match look() {
            Ok(value) => return Ok(value),
            Err(last) if started.elapsed() >= deadline => {
                return Err(TimedOut { what: what.to_owned(), waited: started.elapsed(), looks, last });
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// As [`wait_for`], for a look that is itself asynchronous. A look that hangs
/// is given up at the deadline.
///
/// # Errors
/// [`TimedOut`] with the last thing seen, when `deadline` has passed.
pub async fn wait_for_async<T, L: Future<Output = Result<T, String>>>(
    what: &str,
    deadline: Duration,
    mut look: impl FnMut() -> L,
) -> Result<T, TimedOut> {
    let started = Instant::now();
    let mut looks = 0;
    let mut last = String::from("nothing: the first look never returned");
    let polling = async {
        loop {
            looks += 1;
            match look().await {
                Ok(value) => return value,
                Err(seen) => last = seen,
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    match tokio::time::timeout(deadline, polling).await {
        Ok(value) => Ok(value),
        Err(_) => Err(TimedOut { what: what.to_owned(), waited: started.elapsed(), looks, last }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_comes_gives_its_value() {
        let mut left = 3;
        let seen = wait_for("three looks", Duration::from_secs(5), || {
            left -= 1;
            if left == 0 { Ok("there") } else { Err(format!("{left} left")) }
        });
        assert_eq!(seen.unwrap(), "there");
    }

    #[test]
    fn a_condition_that_never_comes_tells_what_was_last_seen() {
        let story = wait_for::<()>("the sea to dry", Duration::ZERO, || Err("waves".into())).unwrap_err();
        let story = story.to_string();
        assert!(story.contains("the sea to dry") && story.ends_with("last seen: waves"), "{story}");
    }

    #[tokio::test]
    async fn a_look_that_hangs_is_given_up() {
        let story =
            wait_for_async::<(), _>("an answer", Duration::from_millis(30), std::future::pending).await;
        assert!(story.unwrap_err().to_string().contains("never returned"));
    }
}
