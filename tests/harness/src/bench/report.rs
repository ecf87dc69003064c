//! What bootstrap says of its own run, in the handoff: steps, and the longest chain of them.

use serde_json::Value;

/// Steps that wait for AWS, mkfs, Docker, a download or systemd, by the first word of their names; the others are our
/// own work.
const WAITS: [&str; 6] = ["metadata", "volume", "secret", "docker", "agent", "start"];

/// Milliseconds.
pub(super) struct Report {
    pub(super) wall: f64,
    /// Of all steps.
    pub(super) sum: f64,
    /// Name and duration, first to last.
    pub(super) chain: Vec<(String, f64)>,
}

impl Report {
    pub(super) fn read(handoff: &Value) -> Result<Report, String> {
        let moment = |name: &str| {
            let text = handoff[name].as_str().unwrap_or_default();
            text.parse::<jiff::Timestamp>().map_err(|error| format!("{name} of the handoff: {error}"))
        };
        let wall = moment("finished_at")?.duration_since(moment("started_at")?).as_secs_f64() * 1000.0;
        let steps = handoff["steps"].as_array().cloned().unwrap_or_default();
        let took = |step: &Value| step["duration_ms"].as_f64().unwrap_or(f64::NAN);
        let names = handoff["longest_chain"].as_array().into_iter().flatten();
        let chain: Vec<(String, f64)> = names
            .filter_map(|name| {
                let step = steps.iter().find(|step| step["name"] == *name)?;
                Some((name.as_str()?.to_owned(), took(step)))
            })
            .collect();
        if chain.is_empty() {
            return Err("the handoff has no longest chain".to_owned());
        }
        Ok(Report { wall, sum: steps.iter().map(took).sum(), chain })
    }

    pub(super) fn chain_length(&self) -> f64 {
        self.chain.iter().map(|(_, took)| took).sum()
    }

    /// The part of the chain that was spent waiting for others.
    pub(super) fn waits(&self) -> f64 {
        let is_wait = |name: &str| name.split(' ').next().is_some_and(|word| WAITS.contains(&word));
        self.chain.iter().filter(|(name, _)| is_wait(name)).map(|(_, took)| took).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_waits_of_the_chain_are_told_from_our_own_work() {
        let step = |name: &str, took: u32| json!({"name": name, "duration_ms": took});
        let handoff = json!({
            "started_at": "2026-01-01T00:00:00Z",
            "finished_at": "2026-01-01T00:00:00.5Z",
            "steps": [step("metadata", 6), step("volume models", 300), step("docker", 90), step("units", 20)],
            "longest_chain": ["metadata", "volume models", "units"],
        });
        let report = Report::read(&handoff).unwrap();
        let near = |one: f64, other: f64| (one - other).abs() < 1e-9;
        assert!(near(report.wall, 500.0) && near(report.sum, 416.0));
        assert!(near(report.chain_length(), 326.0) && near(report.waits(), 306.0));
        assert!(Report::read(&json!({})).is_err());
    }
}
