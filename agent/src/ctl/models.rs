//! `agentctl models …`: what the models are doing, and the commands for them.

use super::arguments::{ModelsVerb, WaitForModel};
use super::command::{say, wait_with};
use super::follow::{Style, Teller};
use super::wait::Progress;
use super::wait::models::{ModelWish, ModelsSeen, pull, update};
use super::{Ending, Session, now, output, render};
use crate::control::api::{self, Fault};
use crate::control::client::ClientError;
use node::exit;

pub(super) async fn show(session: &Session, json: bool) -> Result<u8, Ending> {
    let models = session.client.models().await?;
    let text = if json {
        format!("{:#}\n", serde_json::to_value(&models).unwrap_or_default())
    } else {
        render::models::render(&models, now(), output::page())
    };
    output::data(text.as_bytes())?;
    Ok(exit::DONE)
}

pub(super) async fn command(session: &Session, verb: ModelsVerb) -> Result<u8, Ending> {
    let asked_at = now();
    match verb {
        ModelsVerb::Pull { name, wait, .. } => {
            say(&session.client.command(&api::models("pull", name.as_deref(), &[])).await?)?;
            until_done(session, wait, |seen| pull(seen, name.as_deref(), asked_at)).await
        }
        ModelsVerb::Update { name, retry, wait } => {
            let name = name.as_deref();
            let query: &[_] = if retry { &[("retry", "true")] } else { &[] };
            let path = api::models("update", name, query);
            say(&session.client.command_with_lookup(&path).await?)?;
            until_done(session, wait, |seen| update(seen, name, asked_at, retry)).await
        }
        ModelsVerb::Rollback { name, wait } => rollback(session, name, wait).await,
        ModelsVerb::Pin { name, digest } => {
            let accepted = match &digest {
                Some(digest) => {
                    let path = api::models("pin", Some(&name), &[("digest", digest)]);
                    session.client.command_with_lookup(&path).await?
                }
                None => session.client.command(&api::models("pin", Some(&name), &[])).await?,
            };
            say(&accepted)?;
            Ok(exit::DONE)
        }
        ModelsVerb::Unpin { name } => {
            say(&session.client.command(&api::models("unpin", Some(&name), &[])).await?)?;
            Ok(exit::DONE)
        }
    }
}

async fn rollback(session: &Session, model: String, wait: WaitForModel) -> Result<u8, Ending> {
    let accepted = session.client.command(&api::models("rollback", Some(&model), &[])).await?;
    say(&accepted)?;
    if !wait.wait {
        return Ok(exit::DONE);
    }
    let goal = accepted.target.ok_or_else(|| {
        let message = "the agent does not say which version it goes back to";
        ClientError::Refused(
            Fault::new("digest_unknown", message)
                .hinting("agentctl and node-agent should be of the same version"),
        )
    })?;
    let mut wish = ModelWish { model, digest: goal.digest, at: goal.at, seen: false };
    until_done(session, wait, move |seen| wish.progress(seen)).await
}

async fn until_done(
    session: &Session,
    wait: WaitForModel,
    progress: impl FnMut(&ModelsSeen) -> Progress,
) -> Result<u8, Ending> {
    if !wait.wait {
        return Ok(exit::DONE);
    }
    let teller = Teller::new(output::terminal_of_notes().map_or(Style::FewLines, Style::InPlace));
    wait_with(teller, async || look(session).await, progress, wait.timeout).await
}

async fn look(session: &Session) -> Result<ModelsSeen, ClientError> {
    let models = session.client.models().await?;
    let problems = session.client.status().await?.problems;
    Ok(ModelsSeen { models, problems, at: now() })
}
