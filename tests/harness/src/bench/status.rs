//! `agentctl status` beside the commands that a person would otherwise type: alone, and among two hundred clients of the
//! same socket.

use super::samples::{Row, Samples};
use crate::crowd::{Crowd, Host};
use crate::stage::Stage;
use std::error::Error;
use std::time::Duration;

const RUNS: usize = 100;
const OURS: &str = "agentctl status";
const ENGINES: &str = "docker ps";
const UNITS: &str = "systemctl --no-pager status node-agent";
const CLIENTS: usize = 200;
/// Between two runs, seconds: all of them together see a client several times.
const PAUSE: &str = "0.03";
/// Of a client, from one act to its next.
const REST: Duration = Duration::from_secs(1);

/// Whole commands, from fork to exit, in turn, timed by a shell inside the instance.
fn timed<const COUNT: usize>(
    stage: &Stage,
    commands: [&'static str; COUNT],
) -> Result<[Samples; COUNT], Box<dyn Error>> {
    let quoted = commands.map(|command| format!("'{command}'")).join(" ");
    let script = format!(
        "for i in $(seq {RUNS}); do sleep {PAUSE}; for c in {quoted}; do s=$EPOCHREALTIME; $c >/dev/null || exit 1; \
         e=$EPOCHREALTIME; echo \"$(( ${{e/./}} - ${{s/./}} )) $c\"; done; done"
    );
    let answer = stage.instance().run(["bash", "-c", &script]);
    let samples = commands.map(|command| {
        let lines = answer.stdout.lines().filter_map(|line| line.split_once(' '));
        let mine = lines.filter(|(_, name)| *name == command);
        Samples::of(mine.filter_map(|(time, _)| time.parse::<f64>().ok()).map(|time| time / 1000.0).collect())
    });
    match samples.iter().find(|samples| samples.count() != RUNS) {
        Some(few) => Err(format!("{} of {RUNS} runs of {commands:?}\n{answer}", few.count()).into()),
        None => Ok(samples),
    }
}

fn row(what: &str, ours: &Samples, command: &str, other: &Samples) -> Row {
    Row {
        what: format!("{what}, wall, median / max of {RUNS}"),
        bar: "20 ms".to_owned(),
        ours: ours.text(),
        instead: format!("{command}: {}", other.text()),
        ratio: Some(other.median() / ours.median()),
    }
}

/// With nobody else there.
pub(super) fn rows(stage: &Stage) -> Result<Vec<Row>, Box<dyn Error>> {
    let [ours, engines, units] = timed(stage, [OURS, ENGINES, UNITS])?;
    Ok(vec![row(OURS, &ours, ENGINES, &engines), row(OURS, &ours, UNITS, &units)])
}

/// Among two hundred clients of every kind, ours of the agent's socket and the engine's of its own.
pub(super) fn crowded_rows(stage: &Stage) -> Result<Vec<Row>, Box<dyn Error>> {
    let among = |host: Host, command| {
        let crowd = Crowd::gather(host, CLIENTS, REST)?;
        let [samples] = timed(stage, [command])?;
        crowd.disperse()?;
        Ok::<_, Box<dyn Error>>(samples)
    };
    let inside = |path| stage.instance().path(path);
    let ours = among(Host::control_api(inside("/run/node-agent/agent.sock")), OURS)?;
    let engines = among(Host::engine(inside("/run/docker.sock")), ENGINES)?;
    let what = format!("{OURS} among {CLIENTS} clients of the same socket");
    Ok(vec![row(&what, &ours, ENGINES, &engines)])
}
