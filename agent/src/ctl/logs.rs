//! `agentctl logs`: what a service writes, and the last words of a container that failed and is gone.

use super::render::explain::failed_title;
use super::render::text::clean;
use super::{Ending, Session, now, output};
use crate::control::api::Fault;
use crate::control::client::ClientError;
use crate::status::Quarantined;
use node::exit;

/// The output at `path` of the API. Where there is no container, that of the one that failed last.
pub(super) async fn logs(session: &Session, service: &str, path: &str) -> Result<u8, Ending> {
    let mut stream = match session.client.logs(path).await {
        Err(ClientError::Refused(fault)) if fault.code == "no_container" => {
            return match last_failed(session, service).await? {
                Some(failed) => show(&failed, None),
                None => Err(ClientError::Refused(fault).into()),
            };
        }
        other => other?,
    };
    while let Some(piece) = stream.next().await? {
        if output::is_terminal() {
            // What an application writes comes from outside; it shall not steer the terminal.
            output::data(printable(&piece).as_bytes())?;
        } else {
            output::data(&piece)?;
        }
    }
    Ok(exit::DONE)
}

/// The last lines of the image that failed last.
pub(super) async fn of_failed(session: &Session, service: &str, tail: Option<usize>) -> Result<u8, Ending> {
    match last_failed(session, service).await? {
        Some(failed) => show(&failed, tail),
        None => {
            let message = format!("no image of {service} has failed, as far as is remembered");
            let hint = format!("`agentctl logs {service}` shows what its container writes");
            Err(ClientError::Refused(Fault::new("nothing_failed", message).hinting(hint)).into())
        }
    }
}

async fn last_failed(session: &Session, service: &str) -> Result<Option<Quarantined>, Ending> {
    let explanations = session.client.explain(Some(service)).await?;
    let failed = explanations.into_iter().flat_map(|explanation| explanation.quarantined);
    Ok(failed.max_by_key(|failed| failed.at))
}

fn show(failed: &Quarantined, tail: Option<usize>) -> Result<u8, Ending> {
    output::noted_sentence(&failed_title(failed, now()));
    let lines = &failed.last_log_lines;
    let skipped = tail.map_or(0, |tail| lines.len().saturating_sub(tail));
    let terminal = output::is_terminal();
    for line in lines.iter().skip(skipped) {
        let line = if terminal { clean(line) } else { line.clone() };
        output::data(format!("{line}\n").as_bytes())?;
    }
    Ok(exit::DONE)
}

/// Line by line without what could steer the terminal.
fn printable(piece: &[u8]) -> String {
    String::from_utf8_lossy(piece).split('\n').map(clean).collect::<Vec<_>>().join("\n")
}
