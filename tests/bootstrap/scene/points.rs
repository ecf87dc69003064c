//! The points at which a run can be killed: each change that an undisturbed run makes, named by who makes it, how and
//! to what, and by which time it is. In: the calls of a run; out: all points, or a sample that has each kind of them.
//!
//! Named so, a point is the same one in every run, although what runs side by side is never in the same order.

use harness::tracer::{Call, Kind};
use std::collections::BTreeMap;

/// One change of a run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Point {
    pub(crate) change: String,
    pub(crate) time: usize,
}

impl std::fmt::Display for Point {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{} ({})", self.change, self.time)
    }
}

/// Counts how often each change was made so far.
#[derive(Debug, Default)]
pub(crate) struct Counter(BTreeMap<String, usize>);

impl Counter {
    /// The point that this call is, if it changes something.
    pub(crate) fn point(&mut self, call: &Call) -> Option<Point> {
        (call.kind == Kind::Change).then(|| self.count(call))
    }

    /// The point that this call is, whatever it does.
    pub(crate) fn count(&mut self, call: &Call) -> Point {
        let change = format!("{} {} {}", call.program, call.name, without_numbers(&call.object));
        let time = self.0.entry(change.clone()).or_default();
        *time += 1;
        Point { change, time: *time }
    }
}

/// Without the numbers of processes, descriptors and loop devices, which are others in every run. Temporary files end
/// in the number of the process that writes them.
fn without_numbers(object: &str) -> String {
    let is_digit = |character: char| character.is_ascii_digit();
    if ["/proc/", "/sys/"].iter().any(|root| object.starts_with(root)) {
        let pieces: Vec<&str> = object.split(is_digit).filter(|piece| !piece.is_empty()).collect();
        return pieces.join("N");
    }
    match object.trim_end_matches(is_digit).strip_suffix('.') {
        Some(bare) if object.contains("/.") => bare.to_owned(),
        _ => object.to_owned(),
    }
}

/// Of each change the first and last `ends` times, and `between` of those between them.
pub(crate) fn sample(points: &[Point], (ends, between): (usize, usize), seed: &mut Seed) -> Vec<Point> {
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    points.iter().for_each(|point| *times.entry(&point.change).or_default() += 1);
    let mut chosen = Vec::new();
    for (change, last) in times {
        let mut wanted: Vec<usize> = (1..=last).filter(|time| *time <= ends || last - time < ends).collect();
        if last > wanted.len() {
            wanted.extend((0..between).map(|_| ends + 1 + seed.below(last - 2 * ends)));
        }
        wanted.sort_unstable();
        wanted.dedup();
        chosen.extend(wanted.into_iter().map(|time| Point { change: change.to_owned(), time }));
    }
    chosen
}

/// Numbers that look random and follow from the first one (Vigna's splitmix64).
#[derive(Debug, Clone)]
pub(crate) struct Seed(pub(crate) u64);

impl Seed {
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound.max(1) as u64).unwrap_or_default()
    }
}
