//! `[services.NAME.health]`

use crate::config::findings::{Findings, Wrong};
use crate::config::settings::{Health, Port, Probe, Protocol};
use crate::config::text::{port, quantity};
use crate::config::tree::Place;
use crate::config::written::{self, PortNumber};
use std::ops::RangeInclusive;
use std::time::Duration;

/// More often than this a check is a load test; more rarely it does not notice anything.
const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(60 * 60);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(5 * 60);
const START_PERIOD: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(24 * 60 * 60);
const RETRIES: RangeInclusive<u32> = 1..=100;

/// Checks `[services.NAME.health]`. `service` is the place of the service, `ports` what it publishes, if that is known.
pub(super) fn health(
    written: &written::Health,
    service: Place<'_>,
    ports: Option<&[Port]>,
    findings: &mut Findings,
) -> Option<Health> {
    let place = service.key("health");
    let probe = probe(written, place, ports, findings);
    let mut duration =
        |key, text: &str, range| findings.take(place.key(key).at(), quantity::duration_in(text, range));
    let interval = duration("interval", &written.interval, INTERVAL);
    let timeout = duration("timeout", &written.timeout, TIMEOUT);
    let start_period = duration("start_period", &written.start_period, START_PERIOD);
    let retries = u32::try_from(written.retries).ok().filter(|retries| RETRIES.contains(retries));
    let retries = retries.ok_or_else(|| {
        Wrong::new(format!("{} retries are out of range", written.retries))
            .hint("write a number from 1 to 100")
    });
    let retries = findings.take(place.key("retries").at(), retries);
    Some(Health {
        probe: probe?,
        interval: interval?,
        timeout: timeout?,
        retries: retries?,
        start_period: start_period?,
    })
}

fn probe(
    written: &written::Health,
    place: Place<'_>,
    ports: Option<&[Port]>,
    findings: &mut Findings,
) -> Option<Probe> {
    let written_keys =
        ["http", "tcp", "exec"].map(|key| place.key(key)).into_iter().filter(|key| key.is_written());
    let mut at: Vec<_> = written_keys.map(Place::key_at).collect();
    at.sort();
    for second in at.iter().skip(1) {
        findings.add(
            *second,
            Wrong::new("only one of `http`, `tcp` and `exec` can be asked").hint("leave the others out"),
        );
    }
    let http = written.http.as_deref().map(|text| findings.take(place.key("http").at(), http(text, ports)));
    let tcp = written.tcp.as_ref().map(|port| findings.take(place.key("tcp").at(), tcp(port)));
    let exec = written.exec.as_ref().map(|command| exec(command, place.key("exec"), findings));
    // A probe that could not be read must not look like one that was not written.
    if at.len() > 1 || (at.len() == 1 && http.is_none() && tcp.is_none() && exec.is_none()) {
        return None;
    }
    match http.map(Option::flatten).or(tcp).or(exec) {
        Some(probe) => probe,
        None => Some(Probe::ImageOrStayedUp),
    }
}

/// `Ok(None)` where the port depends on `ports` that are wrong themselves.
fn http(text: &str, ports: Option<&[Port]>) -> Result<Option<Probe>, Wrong> {
    let (port, path) = port::http_check(text)?;
    let first =
        |ports: &[Port]| ports.iter().find(|port| port.protocol == Protocol::Tcp).map(|port| port.container);
    let port = match (port, ports) {
        (Some(port), _) => port,
        (None, None) => return Ok(None),
        (None, Some(ports)) => first(ports).ok_or_else(|| {
            Wrong::new(format!("\"{text}\" needs the service's first TCP port, and it publishes none"))
                .hint(format!("write the port of the container, such as \"8000{path}\""))
        })?,
    };
    Ok(Some(Probe::Http { port, path }))
}

fn tcp(port: &PortNumber) -> Result<Probe, Wrong> {
    let text = match port {
        PortNumber::Number(number) => number.to_string(),
        PortNumber::Text(text) => text.clone(),
    };
    port::number(&text).map(|port| Probe::Tcp { port }).map_err(Wrong::new)
}

fn exec(command: &[String], place: Place<'_>, findings: &mut Findings) -> Option<Probe> {
    if command.is_empty() && !place.is_unusable() {
        findings.add(
            place.at(),
            Wrong::new("the command is empty").hint("write exec = [\"PROGRAM\", \"ARGUMENT\"]"),
        );
        return None;
    }
    super::command(command, place, findings).map(Probe::Exec)
}
