//! From user data to a service that answers: bootstrap and agent, beside a shell script that does the same by hand.
//!
//! The parts of our boot are the steps that bootstrap itself reports in its handoff.

#![expect(clippy::disallowed_methods, reason = "it tells how long things took")]

use super::report::Report;
use super::samples::{Row, Samples};
use super::{BOOT_DEADLINE, image, node_toml};
use crate::stage::{REGISTRY, Stage};
use crate::wait::wait_for;
use serde_json::Value;
use std::error::Error;
use std::fs;
use std::time::SystemTime;

const STARTED: &str = "var/lib/cloud/started";
/// What `times` of the shell printed before and after bootstrap.
const TIMES: &str = "var/lib/cloud/times";
const NOTHING_TO_DO_RUNS: usize = 5;
/// What was measured of our boot, milliseconds.
pub(super) struct Boot {
    answers: f64,
    report: Report,
    processor: f64,
    nothing_to_do: Samples,
}

/// Boots the blank instance and measures it.
pub(super) fn ours(stage: &mut Stage) -> Result<Boot, Box<dyn Error>> {
    let user_data = stage.user_data(&node_toml(stage));
    let user_data = user_data.replacen("set -e\n", &format!("set -e\ndate +%s%N > /{STARTED}\n"), 1);
    let user_data =
        user_data.replacen("exec node-bootstrap", &format!("times > /{TIMES}\nnode-bootstrap"), 1);
    stage.boot_with(&format!("{user_data}times >> /{TIMES}\n"))?;
    let answers = until_it_answers(stage)?;
    let (code, output) = stage.wait_for_user_data(BOOT_DEADLINE)?;
    if code != 0 {
        return Err(format!("node-bootstrap ended with {code}:\n{output}").into());
    }
    stage.wait_for_status("the node to be ready", BOOT_DEADLINE, |status| {
        status["node"]["state"] == "ready"
    })?;
    let text = stage.instance().run(["cat", "/run/node-agent/handoff.json"]).expect_success();
    let handoff: Value = serde_json::from_str(&text)?;
    let report = Report::read(&handoff)?;
    Ok(Boot { answers, report, processor: processor(stage)?, nothing_to_do: nothing_to_do(stage)? })
}

/// CPU time of bootstrap and of the programs that it ran and waited for.
fn processor(stage: &Stage) -> Result<f64, Box<dyn Error>> {
    let text = fs::read_to_string(stage.instance().root().join(TIMES))?;
    let children: Vec<f64> = text.lines().skip(1).step_by(2).map(cpu).collect();
    match children[..] {
        [before, after] => Ok(after - before),
        _ => Err(format!("the shell's times are not understood: {text}").into()),
    }
}

/// Milliseconds of a line such as `0m0.120000s 0m0.050000s`: user and system.
fn cpu(line: &str) -> f64 {
    let part = |text: &str| {
        let (minutes, seconds) = text.trim_end_matches('s').split_once('m')?;
        Some(minutes.parse::<f64>().ok()? * 60_000.0 + seconds.parse::<f64>().ok()? * 1000.0)
    };
    line.split_whitespace().map(|text| part(text).unwrap_or(f64::NAN)).sum()
}

/// `node-bootstrap run` where all is as wanted: nothing but looking, and the local cloud's answers.
fn nothing_to_do(stage: &Stage) -> Result<Samples, Box<dyn Error>> {
    let script = format!(
        "for i in $(seq {NOTHING_TO_DO_RUNS}); do s=$EPOCHREALTIME; \
         AWS_ENDPOINT_URL={aws} node-bootstrap run >/dev/null 2>/tmp/bench-error || {{ cat /tmp/bench-error >&2; exit 1; }}; \
         e=$EPOCHREALTIME; echo $(( ${{e/./}} - ${{s/./}} )); done",
        aws = stage.cloud.aws_url()
    );
    let text = stage.instance().run(["bash", "-c", &script]).expect_success();
    let times: Result<Vec<f64>, _> = text.lines().map(str::parse::<f64>).collect();
    Ok(Samples::of(times?.into_iter().map(|time| time / 1000.0).collect()))
}

impl Boot {
    pub(super) fn rows(&self) -> Vec<Row> {
        let Report { wall, chain, sum, .. } = &self.report;
        let length = self.report.chain_length();
        let names: Vec<String> = chain.iter().map(|(name, took)| format!("{name} {took:.0}")).collect();
        vec![
            Row::alone(
                "bootstrap, first boot: wall",
                "1.1 x longest chain",
                format!("{wall:.0} ms = {:.2} x chain", wall / length),
            ),
            Row::alone(
                "bootstrap, first boot: longest chain (ms)",
                "-",
                format!("{length:.0} ms: {}", names.join(", ")),
            ),
            Row::alone("bootstrap, first boot: sum of all steps", "-", format!("{sum:.0} ms")),
            Row::alone(
                "bootstrap, first boot: wall without the chain's waits",
                "100 ms",
                format!("{:.0} ms", wall - self.report.waits()),
            ),
            Row::alone(
                "bootstrap, first boot: CPU, with the programs it runs",
                "-",
                format!("{:.0} ms", self.processor),
            ),
            Row::alone(
                &format!("bootstrap where all is done, wall, median / max of {}", self.nothing_to_do.count()),
                "-",
                self.nothing_to_do.text(),
            ),
        ]
    }
}

/// Boots another blank instance with a script that does the same by hand.
pub(super) fn beside_shell(stage: &mut Stage, ours: &Boot) -> Result<Vec<Row>, Box<dyn Error>> {
    let (password, _) = stage.cloud.state().registry_tokens.issue(jiff::Timestamp::now());
    let value = crate::stage::MARKED_VALUE;
    let metadata = crate::instance::METADATA_ADDRESS;
    let script = format!(
        "#!/bin/sh\nset -e\ndate +%s%N > /{STARTED}\n\
         token=$(curl -fsS -X PUT -H 'X-aws-ec2-metadata-token-ttl-seconds: 300' http://{metadata}/latest/api/token)\n\
         curl -fsS -H \"X-aws-ec2-metadata-token: $token\" \
         http://{metadata}/latest/dynamic/instance-identity/document >/dev/null\n\
         mkfs.xfs -q -f /dev/xvdf\nmkdir -p /mnt/models\nmount /dev/xvdf /mnt/models\n\
         systemctl start docker\n\
         echo '{password}' | docker login --username AWS --password-stdin {REGISTRY} >/dev/null\n\
         docker pull --quiet {image}\n\
         docker run --detach --restart always --name web --publish 80:8000 --env SECRET_KEY={value} \
         --volume /mnt/models:/models {image}\n",
        image = image()
    );
    stage.boot_with(&script)?;
    let shell = until_it_answers(stage)?;
    Ok(vec![Row {
        what: "start of user data to the service's first answer".to_owned(),
        bar: "-".to_owned(),
        ours: format!("{:.0} ms", ours.answers),
        instead: format!("shell script without its calls of `aws`: {shell:.0} ms"),
        ratio: Some(shell / ours.answers),
    }])
}

/// Milliseconds from the first line of user data to an answer on port 80 from outside.
fn until_it_answers(stage: &Stage) -> Result<f64, Box<dyn Error>> {
    wait_for("the service to answer from outside", BOOT_DEADLINE, || match stage.get("/") {
        Ok((200, _)) => Ok(()),
        other => Err(format!("{other:?}; console: {}", stage.instance().console())),
    })?;
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    let started: u64 = fs::read_to_string(stage.instance().root().join(STARTED))?.trim().parse()?;
    let took = now.saturating_sub(std::time::Duration::from_nanos(started));
    Ok(took.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_both_shells_are_read() {
        assert!((cpu("0m0.120000s 0m0.050000s") - 170.0).abs() < 1e-6);
        assert!((cpu("1m0.10s 0m0.05s") - 60_150.0).abs() < 1e-6);
    }
}
