//! The verbs that change something: update and restart, and waiting for their end.

use super::arguments::Wait;
use super::render::explain::render_quarantined;
use super::wait::{self, Progress};
use super::{Ending, Session, now, output};
use crate::control::api;
use crate::control::api::Fault;
use crate::control::client::ClientError;
use crate::status::Status;
use node::exit;
use std::time::Duration;

/// From one look to the next: an answer costs the agent next to nothing.
const INTERVAL: Duration = Duration::from_millis(200);

pub(super) async fn update(session: &Session, service: Option<&str>, wait: Wait) -> Result<u8, Ending> {
    let asked_at = now();
    let accepted = session.client.command(&api::update(service)).await?;
    output::data(format!("{}\n", accepted.message).as_bytes())?;
    if !wait.wait {
        return Ok(exit::DONE);
    }
    let progress = |status: &Status| {
        let names = status.services.iter().map(|service| service.name.as_str());
        let names: Vec<&str> = service.map_or_else(|| names.collect(), |name| vec![name]);
        if names.is_empty() {
            return Progress::Pending("the agent says nothing of any service yet".to_owned());
        }
        wait::together(names.into_iter().map(|name| wait::update(status, name, asked_at)).collect())
    };
    let code = until_done(session, wait.timeout, progress).await?;
    if code != exit::DONE {
        last_words(session, service).await;
    }
    Ok(code)
}

pub(super) async fn restart(session: &Session, service: &str, wait: Wait) -> Result<u8, Ending> {
    let status = session.client.status().await?;
    let before = status.services.into_iter().find(|found| found.name == service);
    let asked_at = now();
    let accepted = session.client.command(&api::restart(service)).await?;
    output::data(format!("{}\n", accepted.message).as_bytes())?;
    if !wait.wait {
        return Ok(exit::DONE);
    }
    let Some(before) = before else {
        let message =
            format!("service {service} was not there before the restart; cannot tell when it is done");
        return Err(ClientError::Refused(Fault::new("service_unknown", message)).into());
    };
    until_done(session, wait.timeout, |status| wait::restart(status, &before, asked_at)).await
}

/// Looks again and again until `progress` ends. An agent that is away for a while (it may be restarted) is waited for.
async fn until_done(
    session: &Session,
    seconds: u64,
    progress: impl Fn(&Status) -> Progress,
) -> Result<u8, Ending> {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(seconds);
    let mut said = String::new();
    loop {
        let pending = match session.client.status().await {
            Ok(status) => match progress(&status) {
                Progress::Done(text) => {
                    output::data(format!("{text}\n").as_bytes())?;
                    return Ok(exit::DONE);
                }
                Progress::Failed(text) => {
                    output::note(&text);
                    return Ok(exit::FAILED);
                }
                Progress::Pending(text) => text,
            },
            Err(error) if error.is_unreachable() => node::fault::one_line(&error),
            Err(error) => return Err(error.into()),
        };
        if pending != said {
            output::note(&pending);
            said = pending;
        }
        if tokio::time::Instant::now() >= deadline {
            let hint = "it may still happen: `agentctl explain` says what it waits for";
            output::note(&format!("not done within {seconds} s: {said} (hint: {hint})"));
            return Ok(exit::FAILED);
        }
        tokio::time::sleep(INTERVAL).await;
    }
}

/// What is known of the image that failed. The failure is already told; without this it is only told less well.
async fn last_words(session: &Session, service: Option<&str>) {
    let Ok(explanations) = session.client.explain(service).await else { return };
    for explanation in explanations {
        if let Some(last) = explanation.quarantined.iter().max_by_key(|quarantined| quarantined.at) {
            let text = render_quarantined(last, output::page());
            output::note(&format!("{}:\n{text}", explanation.service));
        }
    }
}
