//! The instance metadata service: that it answers, to whom, and whose credentials it gives.

use crate::examined::Metadata;
use crate::finding::{Area, Finding};
use jiff::Timestamp;

/// An answer that takes longer comes from a service that throttles, or from another machine.
const SLOW_MS: u128 = 500;
/// What the kernel starts a packet with where nobody set a limit: not one of the service's.
const NO_LIMIT: u8 = 64;

/// All of it.
pub fn metadata(facts: &Metadata, now: Timestamp) -> Vec<Finding> {
    const ANSWERS: &str = "metadata service";
    let took = match &facts.answer {
        Ok(took) => took.as_millis(),
        Err(why) => {
            let remedy = why.remedy.clone().unwrap_or_else(|| {
                "check that http_endpoint is enabled in the instance's metadata options".to_owned()
            });
            return vec![Finding::fail(Area::Metadata, ANSWERS, why.message.clone(), remedy)];
        }
    };
    let elsewhere = facts.elsewhere.as_ref().map_or_else(String::new, |url| format!(" at {url}"));
    let message = format!("answers in {took} ms{elsewhere}");
    let answers = if took > SLOW_MS {
        let remedy = "see who asks it too often: `ethtool -S` counts linklocal_allowance_exceeded";
        Finding::warn(Area::Metadata, ANSWERS, message, remedy)
    } else {
        Finding::pass(Area::Metadata, ANSWERS, message)
    };
    vec![answers, version(facts.version_1), hops(facts), role(facts, now)]
}

fn version(version_1: Option<bool>) -> Finding {
    const CHECK: &str = "version 2 only";
    match version_1 {
        Some(false) => Finding::pass(Area::Metadata, CHECK, "a request without a token is refused"),
        Some(true) => Finding::warn(
            Area::Metadata,
            CHECK,
            "version 1 is answered too: a program that can be made to fetch a URL can get the role's credentials",
            "aws ec2 modify-instance-metadata-options --http-tokens required --instance-id …",
        ),
        None => Finding::skip(Area::Metadata, CHECK, "whether version 1 is answered could not be seen"),
    }
}

fn hops(facts: &Metadata) -> Finding {
    const CHECK: &str = "hop limit";
    const MODIFY: &str =
        "aws ec2 modify-instance-metadata-options --instance-id … --http-put-response-hop-limit";
    let needed = facts.needed_by.join(", ");
    match (facts.hop_limit, facts.needed_by.is_empty()) {
        (None, _) => Finding::skip(Area::Metadata, CHECK, "cannot be seen: run as root"),
        (Some(1), true) => Finding::pass(Area::Metadata, CHECK, "1: no container on a bridge gets an answer"),
        (Some(1), false) => Finding::fail(
            Area::Metadata,
            CHECK,
            format!("1, and {needed} shall reach the service (imds = true): containers get no answer"),
            format!("{MODIFY} 2"),
        ),
        (Some(limit), _) if limit >= NO_LIMIT => {
            let message = format!("cannot be told: answers arrive with {limit} hops left");
            Finding::skip(Area::Metadata, CHECK, message)
        }
        (Some(limit), false) => {
            Finding::pass(Area::Metadata, CHECK, format!("{limit}, as {needed} needs (imds = true)"))
        }
        (Some(limit), true) => Finding::warn(
            Area::Metadata,
            CHECK,
            format!(
                "{limit}, and no service needs more than 1: only the agent's firewall keeps containers out"
            ),
            format!("{MODIFY} 1"),
        ),
    }
}

fn role(facts: &Metadata, now: Timestamp) -> Finding {
    const CHECK: &str = "role";
    match &facts.role {
        Ok((role, Some(end))) if *end <= now => Finding::fail(
            Area::Metadata,
            CHECK,
            format!("the credentials of the role {role} ended at {end}"),
            "check the clock with `timedatectl`; if it is right, the metadata service is behind: wait, or stop and start \
             the instance",
        ),
        Ok((role, Some(end))) => {
            let minutes = end.duration_since(now).as_secs() / 60;
            let message = format!("{role}, its credentials are good for {minutes} min more");
            Finding::pass(Area::Metadata, CHECK, message)
        }
        Ok((role, None)) => Finding::pass(Area::Metadata, CHECK, role.clone()),
        Err(why) => {
            let remedy =
                why.remedy.clone().unwrap_or_else(|| "attach an instance profile with a role".to_owned());
            Finding::fail(Area::Metadata, CHECK, why.message.clone(), remedy)
        }
    }
}
