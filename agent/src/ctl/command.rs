//! The verbs that change something, and waiting for their end.
//!
//! Made for SSM Run Command as well as for a terminal: what will happen on standard output, what is waited for on
//! standard error in few lines, and the result as the last line.

use super::arguments::Wait;
use super::follow::{Style, Teller, Verdict, follow};
use super::render::explain::render_last_lines;
use super::wait::{self, Progress, Seen, Wish};
use super::{Ending, Session, now, output};
use crate::control::api::{self, Accepted, Fault};
use crate::control::client::ClientError;
use node::exit;

/// Follows node.toml, for one service or for all.
pub(super) async fn update(
    session: &Session,
    service: Option<&str>,
    retry: bool,
    wait: Wait,
) -> Result<u8, Ending> {
    let asked_at = now();
    let accepted = match service.filter(|_| retry) {
        Some(name) => session.client.command_with_lookup(&api::plain(name, "retry")).await?,
        None => session.client.command(&api::update(service)).await?,
    };
    say(&accepted)?;
    if !wait.wait {
        return Ok(exit::DONE);
    }
    let progress = |seen: &Seen| match service {
        Some(name) => wait::update(seen, name, asked_at, retry),
        None => wait::update_all(seen, asked_at),
    };
    until_done(session, wait.timeout, progress).await
}

/// Goes to the image that `path` names.
pub(super) async fn target(session: &Session, service: &str, path: &str, wait: Wait) -> Result<u8, Ending> {
    let accepted = session.client.command_with_lookup(path).await?;
    say(&accepted)?;
    if !wait.wait {
        return Ok(exit::DONE);
    }
    let goal = accepted.target.ok_or_else(|| {
        ClientError::Refused(
            Fault::new("digest_unknown", "the agent does not say which image it goes to")
                .hinting("agentctl and node-agent should be of the same version"),
        )
    })?;
    let mut wish = Wish { service: service.to_owned(), digest: goal.digest, at: goal.at, seen: false };
    until_done(session, wait.timeout, move |seen| wish.progress(seen)).await
}

/// What is done as soon as it is taken.
pub(super) async fn plain(session: &Session, service: &str, verb: &str) -> Result<u8, Ending> {
    say(&session.client.command(&api::plain(service, verb)).await?)?;
    Ok(exit::DONE)
}

pub(super) async fn stop(session: &Session, service: &str, wait: Wait) -> Result<u8, Ending> {
    plain(session, service, "stop").await?;
    match wait.wait {
        false => Ok(exit::DONE),
        true => until_done(session, wait.timeout, |seen| wait::stop(seen, service)).await,
    }
}

pub(super) async fn start(session: &Session, service: &str, wait: Wait) -> Result<u8, Ending> {
    let asked_at = now();
    plain(session, service, "start").await?;
    match wait.wait {
        false => Ok(exit::DONE),
        true => until_done(session, wait.timeout, |seen| wait::start(seen, service, asked_at)).await,
    }
}

pub(super) async fn restart(session: &Session, service: &str, wait: Wait) -> Result<u8, Ending> {
    let status = session.client.status().await?;
    let before = status.services.into_iter().find(|found| found.name == service);
    let asked_at = now();
    say(&session.client.command(&api::restart(service)).await?)?;
    if !wait.wait {
        return Ok(exit::DONE);
    }
    let Some(before) = before else {
        let message =
            format!("service {service} was not there before the restart; cannot tell when it is done");
        let fault = Fault::new("service_unknown", message).hinting("look at `agentctl status`");
        return Err(ClientError::Refused(fault).into());
    };
    until_done(session, wait.timeout, |seen| wait::restart(&seen.status, &before, asked_at)).await
}

pub(super) fn say(accepted: &Accepted) -> Result<(), Ending> {
    output::sentence(&accepted.message)?;
    Ok(())
}

async fn until_done(
    session: &Session,
    seconds: u64,
    progress: impl FnMut(&Seen) -> Progress,
) -> Result<u8, Ending> {
    let teller = Teller::new(output::terminal_of_notes().map_or(Style::Lines, Style::InPlace));
    wait_with(teller, async || look(session).await, progress, seconds).await
}

/// Waits, says meanwhile what it waits for, and gives the verdict as the last line.
pub(super) async fn wait_with<S>(
    mut teller: Teller,
    look: impl AsyncFnMut() -> Result<S, ClientError>,
    progress: impl FnMut(&S) -> Progress,
    seconds: u64,
) -> Result<u8, Ending> {
    let in_place = teller.is_in_place();
    let say = |pending: &str, now| match teller.say(pending, now) {
        Some(line) if in_place => output::in_place(&line),
        Some(line) => output::note(&line),
        None => {}
    };
    let verdict = follow(look, progress, seconds, say).await;
    if in_place {
        output::in_place("");
    }
    match verdict? {
        Verdict::Done(text) => {
            output::sentence(&text)?;
            return Ok(exit::DONE);
        }
        Verdict::Failed { text, failed } => {
            if let Some(quarantined) = failed {
                output::note(&render_last_lines(&quarantined, output::page()));
            }
            output::noted_sentence(&text);
        }
        Verdict::Late(pending) => {
            let hint = "it may still happen: `agentctl explain` says what it waits for";
            let late = format!("still under way, not done within {seconds} s: {pending} (hint: {hint})");
            output::noted_sentence(&late);
        }
    }
    Ok(exit::FAILED)
}

async fn look(session: &Session) -> Result<Seen, ClientError> {
    let status = session.client.status().await?;
    let explanations = session.client.explain(None).await?;
    Ok(Seen { status, explanations })
}
