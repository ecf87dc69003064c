//! Who this instance is. From the instance metadata service; where that does not answer, from the handoff that an
//! earlier run of the same boot wrote. What an earlier boot knew is not used: the disk may have become an AMI and this
//! may be another instance.

use crate::step::{Ending, Fault};
use node::fault::Hint;
use node::identity::Facts;
use node::imds::{Client, Patience};
use node::paths::Paths;
use std::collections::BTreeSet;
use std::time::Duration;

/// For the first run of a boot. The network is up when bootstrap starts, fresh tokens are refused for half a minute at
/// most, and a boot that waits longer only keeps the machine from saying what is wrong with it.
const PATIENCE: Patience = Patience::of(Duration::from_secs(60));
/// The client's patience and one request more; this is for what its own deadlines do not cover.
const DEADLINE: Duration = Duration::from_secs(120);
const HINT: &str = "check that the instance metadata service is enabled (HttpEndpoint) and that nothing blocks \
                    169.254.169.254; AWS_EC2_METADATA_SERVICE_ENDPOINT replaces the address";

/// Asks, with a deadline.
pub(crate) async fn ask(client: &Client, tags: &BTreeSet<String>) -> Result<Facts, Fault> {
    match tokio::time::timeout(DEADLINE, client.facts(tags)).await {
        Ok(Ok(facts)) => Ok(facts),
        Ok(Err(error)) => {
            let mut fault = Fault::from_error("imds_unreachable", &error);
            fault.hint = error.hint().or_else(|| Some(HINT.to_owned()));
            Err(fault)
        }
        Err(_) => {
            let message =
                format!("the instance metadata service gave no answer within {} s", DEADLINE.as_secs());
            Err(Fault::new("imds_unreachable", message, Some(HINT)))
        }
    }
}

fn known(paths: &Paths) -> Option<Facts> {
    crate::handoff::of_this_boot(paths).and_then(|handoff| handoff.identity)
}

/// For a run's first question. What is known already is not worth a long wait.
pub(crate) fn patience(paths: &Paths) -> Patience {
    if known(paths).is_some() { Patience::BRIEF } else { PATIENCE }
}

/// The step: facts if there are any, and how it ended. `in_vain`: the long wait is over, and there was no answer.
pub(crate) async fn run(
    paths: &Paths,
    client: &Client,
    tags: &BTreeSet<String>,
    in_vain: bool,
) -> (Option<Facts>, Ending) {
    let known = known(paths);
    let patience = if in_vain { Patience::BRIEF } else { patience(paths) };
    match ask(&client.with_patience(patience), tags).await {
        Ok(facts) => {
            let Facts { instance_id, instance_type, availability_zone, .. } = &facts;
            let reason = format!("{instance_id}, {instance_type} in {availability_zone}");
            (Some(facts), Ending::unchanged(reason))
        }
        Err(fault) => {
            let mut ending = Ending::failed(fault);
            if let Some(facts) = &known {
                ending.reason = format!(
                    "{}; goes on as {}, known from earlier in this boot",
                    ending.reason, facts.instance_id
                );
            }
            (known, ending)
        }
    }
}
