//! The verbs that only look: status, explain.

use super::arguments::Arguments;
use super::render;
use super::render::status::Stale;
use super::wait::models::same_model;
use super::{Ending, Session, absent, now, output};
use crate::control::api::Fault;
use crate::control::client::ClientError;
use crate::status::{Explanation, Model, NodeState, Status};
use clap::CommandFactory;
use clap_complete::Shell;
use jiff::Timestamp;
use node::exit;
use node::fault::with_hint;
use std::io;
use std::path::Path;

/// What could be learned of the node.
pub(super) struct Known {
    status: Status,
    stale: Option<Stale>,
}

pub(super) async fn status(session: &Session, json: bool) -> Result<u8, Ending> {
    match know(session, session.client.status().await).await {
        Ok(known) => {
            let text = if json { format!("{:#}\n", known.as_json()) } else { known.as_text() };
            output::data(text.as_bytes())?;
            Ok(known.exit_code())
        }
        Err(reason) => {
            output::note(&reason);
            Ok(exit::UNREACHABLE)
        }
    }
}

/// What the agent said, or the last that it wrote down; or why there is neither.
pub(super) async fn know(session: &Session, answer: Result<Status, ClientError>) -> Result<Known, String> {
    let error = match answer {
        Ok(status) => return Ok(Known { status, stale: None }),
        Err(error) => error,
    };
    let reason = with_hint(&error);
    let absent = absent::look(&session.paths).await;
    match read_last(&session.paths.last_status()) {
        Ok((status, written_at)) => Ok(Known { status, stale: Some(Stale { written_at, reason, absent }) }),
        Err(_) => Err(format!("{reason}\n{}", render::status::absent(&absent, output::page()))),
    }
}

fn read_last(path: &Path) -> io::Result<(Status, Timestamp)> {
    let written_at = std::fs::metadata(path)?.modified()?;
    let status = serde_json::from_slice(&std::fs::read(path)?)?;
    Ok((status, Timestamp::try_from(written_at).map_err(io::Error::other)?))
}

impl Known {
    fn exit_code(&self) -> u8 {
        match &self.stale {
            Some(_) => exit::UNREACHABLE,
            None if self.status.node.state == NodeState::Ready => exit::DONE,
            None => exit::FAILED,
        }
    }

    /// For a person, as of now.
    pub(super) fn as_text(&self) -> String {
        render::status::render(&self.status, self.stale.as_ref(), now(), output::page())
    }

    /// The contract's value; one that is not the present one says so in a field of its own.
    pub(super) fn as_json(&self) -> serde_json::Value {
        let mut value = serde_json::to_value(&self.status).unwrap_or_default();
        if let (Some(stale), Some(fields)) = (&self.stale, value.as_object_mut()) {
            let age = now().duration_since(stale.written_at).as_secs();
            let mark = serde_json::json!({
                "written_at": stale.written_at, "age_seconds": age, "reason": stale.reason,
                "unit": stale.absent.unit, "journal": stale.absent.journal,
            });
            fields.insert("stale".to_owned(), mark);
        }
        value
    }
}

/// The services, then the models; or the one that has that name. A service goes before a model of the same name.
pub(super) async fn explain(session: &Session, name: Option<&str>, json: bool) -> Result<u8, Ending> {
    let unknown = match session.client.explain(name).await {
        Ok(explanations) => return explain_services(session, &explanations, name.is_none(), json).await,
        Err(ClientError::Refused(fault)) if fault.code == "service_unknown" => fault,
        Err(error) => return Err(error.into()),
    };
    let mut models = session.client.models().await?;
    models.explanations.retain(|entry| name.is_some_and(|name| same_model(&entry.model, name)));
    if models.explanations.is_empty() {
        return Err(ClientError::Refused(no_such_name(unknown, name, &models.models)).into());
    }
    let text = if json {
        format!("{:#}\n", serde_json::to_value(&models.explanations).unwrap_or_default())
    } else {
        render::models::explain(&models.explanations, &models.models, now(), output::page())
    };
    output::data(text.as_bytes())?;
    Ok(exit::DONE)
}

/// To programs the services only: models have `agentctl models --json`.
async fn explain_services(
    session: &Session,
    explanations: &[Explanation],
    and_models: bool,
    json: bool,
) -> Result<u8, Ending> {
    if json {
        let value = serde_json::to_value(explanations).unwrap_or_default();
        output::data(format!("{value:#}\n").as_bytes())?;
        return Ok(exit::DONE);
    }
    let status = session.client.status().await?;
    let mut text = render::explain::render(explanations, &status, now(), output::page());
    if and_models {
        let models = session.client.models().await?;
        let more = render::models::explain(&models.explanations, &models.models, now(), output::page());
        match (explanations.is_empty(), more.is_empty()) {
            (_, true) => {}
            (true, false) => text = more,
            (false, false) => text.push_str(&format!("\n{more}")),
        }
    }
    output::data(text.as_bytes())?;
    Ok(exit::DONE)
}

/// The agent's word on a service, with what else the name could have been.
fn no_such_name(unknown: Fault, name: Option<&str>, models: &[Model]) -> Fault {
    if models.is_empty() {
        return unknown;
    }
    let names: Vec<&str> = models.iter().map(|model| model.name.as_str()).collect();
    let names = format!("models are: {}", names.join(", "));
    let hint = unknown.hint.map_or_else(|| names.clone(), |hint| format!("{hint}; {names}"));
    let message = format!("there is neither a service nor a model {} in node.toml", name.unwrap_or_default());
    Fault::new(&unknown.code, message).hinting(hint)
}

pub(super) fn completions(shell: Shell) -> Result<u8, Ending> {
    // The library insists that writing to its buffer succeeds; only ours may meet a reader that is gone.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "agentctl", &mut script);
    output::data(&script)?;
    Ok(exit::DONE)
}
