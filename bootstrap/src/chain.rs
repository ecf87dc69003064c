//! The longest chain of steps: what made this run as long as it was. Pure.
//!
//! In: steps, each with the names of those that it waited for. Out: back from the step that ended last, always the one
//! of those that ended last. Whatever runs beside the chain costs no time.

use node::handoff::Step;

fn end(step: &Step) -> u64 {
    step.started_ms + step.duration_ms
}

/// The steps of the longest chain, first to last.
pub(crate) fn longest(steps: &[Step]) -> Vec<&Step> {
    let mut chain = Vec::new();
    let mut next = steps.iter().max_by_key(|step| end(step));
    while let Some(step) = next {
        chain.push(step);
        // Never twice the same: who is named twice in a report would lead round in a circle.
        let before = steps.iter().filter(|other| step.after.contains(&other.name) && !chain.contains(other));
        next = before.max_by_key(|other| end(other));
    }
    chain.reverse();
    chain
}

/// `longest chain: metadata 6 ms > volume models 300 ms = 306 ms of 310 ms`; `wall_ms` is the whole run.
pub(crate) fn sentence(chain: &[&Step], wall_ms: u64) -> String {
    let parts: Vec<String> =
        chain.iter().map(|step| format!("{} {} ms", step.name, step.duration_ms)).collect();
    let sum: u64 = chain.iter().map(|step| step.duration_ms).sum();
    format!("longest chain: {} = {sum} ms of {wall_ms} ms", parts.join(" > "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use node::handoff::Outcome;

    fn step(name: &str, after: &[&str], started_ms: u64, ended_ms: u64) -> Step {
        Step {
            name: name.to_owned(),
            outcome: Outcome::Done,
            reason: String::new(),
            started_ms,
            duration_ms: ended_ms - started_ms,
            after: after.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn boot() -> Vec<Step> {
        vec![
            step("metadata", &[], 1, 7),
            step("docker", &["metadata"], 7, 20),
            step("volume models", &["metadata"], 7, 307),
            step("agent", &["metadata"], 7, 250),
            step("units", &["agent"], 250, 260),
            step("handoff", &["docker", "volume models", "units"], 308, 309),
            step("start agent", &["handoff"], 309, 429),
        ]
    }

    #[test]
    fn the_chain_goes_through_the_longest_of_the_steps_that_ran_side_by_side() {
        let steps = boot();
        let chain = longest(&steps);
        let names: Vec<&str> = chain.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, ["metadata", "volume models", "handoff", "start agent"]);
        assert_eq!(
            sentence(&chain, 431),
            "longest chain: metadata 6 ms > volume models 300 ms > handoff 1 ms > start agent 120 ms = 427 ms of 431 ms"
        );
    }

    #[test]
    fn a_step_beside_the_chain_is_not_in_it_even_if_it_ended_just_before_the_next_began() {
        let mut steps = boot();
        steps[1] = step("docker", &["metadata"], 7, 308);
        steps[5].after.remove(0);
        assert!(longest(&steps).iter().all(|step| step.name != "docker"));
    }

    #[test]
    fn a_run_without_steps_or_with_steps_in_a_circle_has_an_end() {
        assert!(longest(&[]).is_empty());
        assert_eq!(longest(&[step("a", &["b"], 0, 1), step("b", &["a"], 1, 2)]).len(), 2);
    }
}
