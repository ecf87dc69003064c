//! What is in memory, by bookkeeping: what fits, what must go first, and when something expires. Pure.
//!
//! Source: ollama `server/sched.go`. A model is known by its weights: two names of the same weights are one entry, under
//! the name that loaded it. When there is no room, the idle one with the shortest `keep_alive` goes, then the next, those
//! with -1 too (last, by the path of their weights); a model that is alone may lie partly outside the GPU.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

/// How long a model stays after it was last used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct KeepAlive(pub(crate) Duration);

impl KeepAlive {
    pub(crate) const DEFAULT: Self = Self(Duration::from_secs(5 * 60));
    /// The longest that fits Ollama's type, 292 years.
    pub(crate) const FOR_EVER: Self = Self(Duration::from_nanos(i64::MAX.unsigned_abs()));

    /// A value of a request: seconds, or a text such as `5m`; negative is for ever.
    pub(crate) fn of(value: &Value) -> Result<Option<Self>, String> {
        match value {
            Value::Null => Ok(None),
            Value::String(text) => Self::of_text(text).map(Some),
            _ => match value.as_f64() {
                Some(seconds) if seconds < 0.0 => Ok(Some(Self::FOR_EVER)),
                Some(seconds) => Ok(Duration::try_from_secs_f64(seconds).ok().map(Self)),
                None => Err(format!("Unsupported type: '{value}'")),
            },
        }
    }

    /// In the environment a plain number is seconds too.
    pub(crate) fn of_environment(text: &str) -> Result<Self, String> {
        match text.parse::<i64>() {
            Ok(seconds) => {
                Ok(u64::try_from(seconds).map_or(Self::FOR_EVER, |s| Self(Duration::from_secs(s))))
            }
            Err(_) => Self::of_text(text),
        }
    }

    /// A duration as Go writes it: numbers with units, one after the other.
    pub(crate) fn of_text(text: &str) -> Result<Self, String> {
        let wrong = || format!("time: invalid duration {text:?}");
        let (negative, mut rest) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        if rest == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let mut seconds = 0.0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
            let number: f64 = rest[..digits].parse().map_err(|_| wrong())?;
            rest = &rest[digits..];
            let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
            seconds += number
                * match &rest[..end] {
                    "ns" => 1e-9,
                    "us" | "µs" => 1e-6,
                    "ms" => 1e-3,
                    "s" => 1.0,
                    "m" => 60.0,
                    "h" => 3600.0,
                    _ => return Err(wrong()),
                };
            rest = &rest[end..];
        }
        match (text.is_empty(), negative) {
            (true, _) => Err(wrong()),
            (false, true) => Ok(Self::FOR_EVER),
            (false, false) => Duration::try_from_secs_f64(seconds).map(Self).map_err(|_| wrong()),
        }
    }

    fn end(self, now: Timestamp) -> Timestamp {
        let length = SignedDuration::try_from(self.0).unwrap_or(SignedDuration::MAX);
        now.checked_add(length).unwrap_or(Timestamp::MAX)
    }
}

/// A model in memory.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Loaded {
    /// Digest of its weights.
    pub(crate) key: String,
    /// The name that loaded it, short.
    pub(crate) name: String,
    /// Of the manifest that was loaded, hex.
    pub(crate) digest: String,
    /// As `/api/ps` shows them.
    pub(crate) details: Value,
    pub(crate) size: u64,
    pub(crate) vram: u64,
    pub(crate) keep_alive: KeepAlive,
    pub(crate) expires: Timestamp,
    /// Requests that use it now.
    pub(crate) users: u32,
    /// Whether the weights were what their digest says.
    pub(crate) sound: bool,
}

/// Whether there is room.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// So many bytes of it go to the GPU.
    Fits { vram: u64 },
    /// This one must go first.
    After { key: String },
    /// One must go first, and all are in use.
    Busy,
    /// Never, with what there is.
    TooBig { available: u64 },
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Memory {
    pub(crate) limit: Option<u64>,
    pub(crate) vram: u64,
    pub(crate) at_most: usize,
    pub(crate) loaded: Vec<Loaded>,
}

impl Memory {
    pub(crate) fn find(&mut self, key: &str) -> Option<&mut Loaded> {
        self.loaded.iter_mut().find(|loaded| loaded.key == key)
    }

    /// Lets go of what has expired and is not in use.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        self.loaded.retain(|loaded| loaded.users > 0 || loaded.expires > now);
    }

    pub(crate) fn unload(&mut self, key: &str) {
        self.loaded.retain(|loaded| loaded.key != key);
    }

    /// A request that used it is over.
    pub(crate) fn release(&mut self, key: &str, now: Timestamp) {
        if let Some(loaded) = self.find(key) {
            loaded.users = loaded.users.saturating_sub(1);
            loaded.expires = loaded.keep_alive.end(now);
        }
        self.expire(now);
    }

    /// Whether `size` bytes fit beside what is there; `share` of them would go to a GPU.
    pub(crate) fn room(&self, size: u64, share: f64) -> Room {
        if self.loaded.len() >= self.at_most {
            return self.next_to_go();
        }
        let outside: u64 = self.loaded.iter().map(|loaded| loaded.size - loaded.vram).sum();
        let on_gpu: u64 = self.loaded.iter().map(|loaded| loaded.vram).sum();
        let (free_gpu, free) = (
            self.vram.saturating_sub(on_gpu),
            self.limit.map_or(u64::MAX, |limit| limit.saturating_sub(outside)),
        );
        let wanted = if self.vram == 0 { 0 } else { part(size, share) };
        let alone = self.loaded.is_empty();
        if wanted > free_gpu && !alone {
            return self.next_to_go();
        }
        let vram = wanted.min(free_gpu);
        match (size - vram <= free, alone) {
            (true, _) => Room::Fits { vram },
            (false, false) => self.next_to_go(),
            (false, true) => Room::TooBig { available: free.saturating_add(free_gpu) },
        }
    }

    fn next_to_go(&self) -> Room {
        let idle = self.loaded.iter().filter(|loaded| loaded.users == 0);
        let first = idle.min_by(|a, b| (a.keep_alive, &a.key).cmp(&(b.keep_alive, &b.key)));
        first.map_or(Room::Busy, |loaded| Room::After { key: loaded.key.clone() })
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a share of a size, to the byte only where it is whole"
)]
fn part(size: u64, share: f64) -> u64 {
    if share >= 1.0 { size } else { (size as f64 * share.max(0.0)) as u64 }
}

/// Bytes as Ollama writes them for people.
#[expect(clippy::cast_precision_loss, reason = "one decimal is shown")]
pub(crate) fn human(bytes: u64) -> String {
    let units = [(1_u64 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(size, _)| bytes >= *size) {
        Some((size, unit)) => format!("{:.1} {unit}", bytes as f64 / size as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn memory(limit: Option<u64>, vram: u64, loaded: &[(&str, u64, u64, KeepAlive, u32)]) -> Memory {
        let loaded = loaded.iter().map(|(key, size, vram, keep_alive, users)| Loaded {
            key: (*key).to_owned(),
            name: (*key).to_owned(),
            digest: String::new(),
            details: Value::Null,
            size: *size,
            vram: *vram,
            keep_alive: *keep_alive,
            expires: keep_alive.end(Timestamp::UNIX_EPOCH),
            users: *users,
            sound: true,
        });
        Memory { limit, vram, at_most: 3, loaded: loaded.collect() }
    }

    const SHORT: KeepAlive = KeepAlive(Duration::from_secs(1));

    #[test]
    fn keep_alive_is_read_as_seconds_or_as_a_duration_of_go() {
        let read = |value: Value| KeepAlive::of(&value);
        assert_eq!(read(json!(null)), Ok(None));
        assert_eq!(read(json!(-1)), Ok(Some(KeepAlive::FOR_EVER)));
        assert_eq!(read(json!("-1m")), Ok(Some(KeepAlive::FOR_EVER)));
        assert_eq!(read(json!(0)), Ok(Some(KeepAlive(Duration::ZERO))));
        assert_eq!(read(json!("1h30m")), Ok(Some(KeepAlive(Duration::from_secs(5400)))));
        assert_eq!(KeepAlive::of_environment("-1"), Ok(KeepAlive::FOR_EVER));
        assert_eq!(KeepAlive::of_environment("24h"), Ok(KeepAlive(Duration::from_secs(86_400))));
        for wrong in [json!("soon"), json!("5"), json!(""), json!([])] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_idle_one_with_the_shortest_stay_goes_first_and_pinned_ones_too() {
        let loaded = [
            ("b", 40, 0, KeepAlive::FOR_EVER, 0),
            ("a", 40, 0, KeepAlive::FOR_EVER, 0),
            ("c", 10, 0, SHORT, 0),
        ];
        let mut memory = memory(Some(100), 0, &loaded);
        memory.at_most = 9;
        assert_eq!(memory.room(10, 1.0), Room::Fits { vram: 0 });
        assert_eq!(memory.room(30, 1.0), Room::After { key: "c".into() });
        memory.unload("c");
        assert_eq!(memory.room(30, 1.0), Room::After { key: "a".into() });
        memory.loaded.iter_mut().for_each(|loaded| loaded.users = 1);
        assert_eq!(memory.room(30, 1.0), Room::Busy);
        memory.loaded.clear();
        assert_eq!(memory.room(101, 1.0), Room::TooBig { available: 100 });
    }

    #[test]
    fn one_that_is_alone_may_lie_partly_outside_the_gpu_and_one_beside_it_may_not() {
        assert_eq!(memory(None, 60, &[]).room(100, 1.0), Room::Fits { vram: 60 });
        assert_eq!(memory(None, 60, &[]).room(50, 0.5), Room::Fits { vram: 25 });
        assert_eq!(memory(None, 60, &[]).room(50, 0.0), Room::Fits { vram: 0 });
        let beside = memory(None, 60, &[("a", 40, 40, SHORT, 0)]);
        assert_eq!(beside.room(30, 1.0), Room::After { key: "a".into() });
        assert_eq!(beside.room(20, 1.0), Room::Fits { vram: 20 });
    }

    #[test]
    fn what_has_expired_goes_unless_it_is_in_use() {
        let later = Timestamp::UNIX_EPOCH + SignedDuration::from_secs(2);
        let mut memory = memory(None, 0, &[("a", 1, 0, SHORT, 1), ("b", 1, 0, KeepAlive::FOR_EVER, 0)]);
        memory.expire(later);
        assert_eq!(memory.loaded.len(), 2);
        memory.release("a", later);
        memory.expire(later + SignedDuration::from_secs(2));
        assert_eq!(memory.loaded.iter().map(|loaded| loaded.key.as_str()).collect::<Vec<_>>(), ["b"]);
    }
}
