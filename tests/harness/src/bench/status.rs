//! `agentctl status` beside the commands that a person would otherwise type.

use super::samples::{Row, Samples};
use crate::stage::Stage;
use std::error::Error;

const RUNS: usize = 100;
const COMMANDS: [&str; 3] = ["agentctl status", "docker ps", "systemctl --no-pager status node-agent"];

/// Whole commands, from fork to exit, in turn, timed by a shell inside the instance.
pub(super) fn rows(stage: &Stage) -> Result<Vec<Row>, Box<dyn Error>> {
    let quoted = COMMANDS.map(|command| format!("'{command}'")).join(" ");
    let script = format!(
        "for i in $(seq {RUNS}); do for c in {quoted}; do s=$EPOCHREALTIME; $c >/dev/null || exit 1; \
         e=$EPOCHREALTIME; echo \"$(( ${{e/./}} - ${{s/./}} )) $c\"; done; done"
    );
    let text = stage.instance().run(["bash", "-c", &script]).expect_success();
    let samples = |command: &str| {
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let mine = lines.filter(|(_, name)| *name == command);
        Samples::of(mine.filter_map(|(time, _)| time.parse::<f64>().ok()).map(|time| time / 1000.0).collect())
    };
    let ours = samples(COMMANDS[0]);
    if ours.count() != RUNS {
        return Err(format!("{} of {RUNS} runs of agentctl status", ours.count()).into());
    }
    let row = |command: &str| {
        let other = samples(command);
        Row {
            what: format!("agentctl status, wall, median / max of {RUNS}"),
            bar: "20 ms".to_owned(),
            ours: ours.text(),
            instead: format!("{command}: {}", other.text()),
            ratio: Some(other.median() / ours.median()),
        }
    };
    Ok(vec![row(COMMANDS[1]), row(COMMANDS[2])])
}
