//! `[metrics]`

use super::Document;
use crate::config::findings::{Findings, Wrong};
use crate::config::settings::{Metrics, Protocol};
use crate::config::text::{name, port, quantity};
use crate::config::written;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

/// CloudWatch keeps points of a second for three hours and those of a minute for weeks: more often than that costs and
/// shows nothing. After more than an hour nobody is alarmed in time.
const EVERY: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(60 * 60);

/// `[metrics]`
pub(super) fn metrics(
    document: Document<'_>,
    written: &written::Metrics,
    findings: &mut Findings,
) -> Option<Metrics> {
    let place = document.root.key("metrics");
    let listen = port::listens(&written.listen).and_then(|listen| free(document, listen));
    let listen = findings.take(place.key("listen").at(), listen);
    let every = findings.take(place.key("every").at(), quantity::duration_in(&written.every, EVERY));
    let namespace = findings.take(place.key("namespace").at(), name::namespace(&written.namespace));
    let cloudwatch = findings.take(place.key("cloudwatch").at(), with_logs(document, written.cloudwatch));
    Some(Metrics { listen: listen?, cloudwatch: cloudwatch?, every: every?, namespace: namespace? })
}

/// A service is reached on every address of the host, whatever the agent listens on.
fn free(document: Document<'_>, listen: SocketAddr) -> Result<SocketAddr, Wrong> {
    let taken = |text: &String| {
        port::published(text).is_ok_and(|it| it.protocol == Protocol::Tcp && it.host == listen.port())
    };
    let services = &document.written.services;
    match services.iter().find(|(_, service)| service.ports.iter().any(taken)) {
        Some((name, _)) => {
            Err(Wrong::new(format!("port {} is already taken by the service `{name}`", listen.port()))
                .hint("write another port"))
        }
        None => Ok(listen),
    }
}

/// The lines go where the logs go.
fn with_logs(document: Document<'_>, cloudwatch: bool) -> Result<bool, Wrong> {
    if cloudwatch && document.written.logs.is_none() && !document.root.has_or_means("logs") {
        return Err(Wrong::new("metrics go to CloudWatch with the logs, and there is no [logs]")
            .hint("write [logs] with a `group`"));
    }
    Ok(cloudwatch)
}
