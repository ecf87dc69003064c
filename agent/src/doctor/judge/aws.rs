//! AWS: endpoints that are reached, what the role may do, and the clock that signatures are made with.

use crate::examined::{Attempt, Endpoint, KernelClock, Outcome};
use crate::finding::{Area, Finding};
use jiff::SignedDuration;

const ROUTE: &str = "check the route to AWS: NAT gateway or VPC endpoint, security groups, network ACLs";
const RESOLVER: &str = "check /etc/resolv.conf and the VPC's DNS settings (enableDnsSupport), and try `getent hosts` on the name";
/// AWS refuses signatures that are five minutes off (Signature Version 4).
const REFUSED: SignedDuration = SignedDuration::from_mins(5);
/// Nobody keeps a clock right that is so far off.
const DRIFTS: SignedDuration = SignedDuration::from_secs(20);

/// Endpoints, and what was tried there.
pub fn aws(endpoints: &[Endpoint], attempts: &[Attempt]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = endpoints.iter().map(endpoint).collect();
    findings.extend(attempts.iter().map(attempt));
    if findings.is_empty() {
        findings.push(Finding::skip(
            Area::Aws,
            "permissions",
            "node.toml needs nothing of AWS, or it is not known what it needs",
        ));
    }
    findings
}

fn endpoint(facts: &Endpoint) -> Finding {
    let check = format!("reach {}", facts.service);
    let host = &facts.host;
    match (&facts.addresses, &facts.connected) {
        (Err(why), _) => {
            Finding::fail(Area::Aws, check, format!("the name {host} cannot be looked up: {why}"), RESOLVER)
        }
        (Ok(_), Some(Err(why))) => {
            Finding::fail(Area::Aws, check, format!("no connection to {host}: {why}"), ROUTE)
        }
        (Ok(_), Some(Ok(took))) => {
            Finding::pass(Area::Aws, check, format!("{host} is connected in {} ms", took.as_millis()))
        }
        (Ok(addresses), None) => {
            Finding::pass(Area::Aws, check, format!("{host} has {addresses} addresses; not connected"))
        }
    }
}

fn attempt(attempt: &Attempt) -> Finding {
    let check = attempt.check.clone();
    let remedy = |hint: &Option<String>| hint.clone().unwrap_or_else(|| ROUTE.to_owned());
    match &attempt.outcome {
        Outcome::Allowed(seen) => Finding::pass(Area::Aws, check, seen.clone()),
        Outcome::Amiss(why) => Finding::warn(Area::Aws, check, why.message.clone(), remedy(&why.remedy)),
        Outcome::Refused(why) => Finding::fail(Area::Aws, check, why.message.clone(), remedy(&why.remedy)),
        Outcome::NotTried(why) => Finding::skip(Area::Aws, check, why.clone()),
    }
}

/// The clock: beside that of AWS, and whether somebody keeps it right.
pub fn clock(endpoints: &[Endpoint], kernel: Option<KernelClock>) -> Vec<Finding> {
    vec![skew(endpoints), synchronised(kernel)]
}

fn skew(endpoints: &[Endpoint]) -> Finding {
    const CHECK: &str = "clock";
    const SET: &str =
        "set it: `chronyc makestep`, or `systemctl restart systemd-timesyncd`; 169.254.169.123 is Amazon's";
    let Some((host, ahead)) = endpoints.iter().find_map(|at| Some((&at.host, at.ahead?))) else {
        return Finding::skip(Area::Clock, CHECK, "no endpoint of AWS answered with its time");
    };
    let off = ahead.abs();
    let seconds = off.as_secs();
    let way = if ahead.is_positive() { "behind" } else { "ahead of" };
    if off >= REFUSED {
        let message = format!("{seconds} s {way} {host}: AWS refuses signatures from 300 s on");
        return Finding::fail(Area::Clock, CHECK, message, SET);
    }
    if off >= DRIFTS {
        return Finding::warn(Area::Clock, CHECK, format!("{seconds} s {way} {host}"), SET);
    }
    // An answer says its time in whole seconds.
    Finding::pass(Area::Clock, CHECK, format!("within {} s of {host}", seconds.max(1)))
}

fn synchronised(kernel: Option<KernelClock>) -> Finding {
    const CHECK: &str = "synchronisation";
    match kernel {
        Some(clock) if clock.synchronised => {
            let error = clock.maximum_error.as_millis();
            Finding::pass(Area::Clock, CHECK, format!("kept right, to {error} ms at worst"))
        }
        Some(_) => Finding::warn(
            Area::Clock,
            CHECK,
            "nobody keeps the clock right, as the kernel sees it",
            "start chrony, or `systemctl enable --now systemd-timesyncd`",
        ),
        None => Finding::skip(Area::Clock, CHECK, "the kernel does not say"),
    }
}
