//! `agentctl bundle`: everything that somebody elsewhere needs to understand this node, in one tar, without its secrets.
//!
//! In: files of the node, answers of the agent and of programs. Out: `NAME.tar.gz` of text. What always holds: every byte
//! went through [`redact`], which knows the values of all secrets on the node; whoever cannot read these gets no bundle.
//! What could not be had is listed, and keeps the rest from nothing.

mod archive;
mod gather;
mod redact;

use super::{Ending, Session, doctor, now, output};
use archive::Archive;
use gather::Gathered;
use jiff::Timestamp;
use node::exit;
use node::fault::one_line;
use redact::Redactor;
use std::io;
use std::path::{Path, PathBuf};

/// Writes it to `path`, or under a name of its own into the present folder.
pub(super) async fn bundle(session: &Session, path: Option<PathBuf>) -> Result<u8, Ending> {
    let redactor = match Redactor::knowing(&session.paths.secrets()) {
        Ok(redactor) => redactor,
        Err(error) => {
            let place = session.paths.secrets().display().to_string();
            output::note(&format!(
                "cannot make a bundle: the secrets at {place}, which have to be kept out of it, cannot be read: {error} \
                 (hint: run it as root)"
            ));
            return Ok(exit::FAILED);
        }
    };
    let at = now();
    let mut gathered = gather::all(session).await;
    let report = doctor::report(session).await;
    gathered.json("doctor.json", &report);
    let name = format!("node-agent-{}-{}", gathered.instance, at.strftime("%Y%m%dT%H%M%SZ"));
    let path = path.unwrap_or_else(|| PathBuf::from(format!("{name}.tar.gz")));
    match write(&path, &name, &gathered, &redactor, at) {
        Ok(files) => {
            let shown = path.display();
            output::data(format!("{shown}: {files} files, without the values of secrets\n").as_bytes())?;
            Ok(exit::DONE)
        }
        Err(error) => {
            let hint = "name another place with --output";
            output::note(&format!("cannot write {}: {} (hint: {hint})", path.display(), one_line(&error)));
            Ok(exit::FAILED)
        }
    }
}

/// All of it, in a folder of its own, so that unpacking litters nothing.
fn write(
    path: &Path,
    folder: &str,
    gathered: &Gathered,
    redactor: &Redactor,
    at: Timestamp,
) -> io::Result<usize> {
    let mut archive = Archive::create(path, folder, at)?;
    for (name, text) in &gathered.files {
        archive.add(name, redactor.redacted(text).as_bytes())?;
    }
    archive.add("README.txt", redactor.redacted(&about(gathered, redactor, at)).as_bytes())?;
    archive.finish()?;
    Ok(gathered.files.len() + 1)
}

fn about(gathered: &Gathered, redactor: &Redactor, at: Timestamp) -> String {
    let mut text = format!(
        "A bundle of node-agent {} from {}, made at {at}.\n\nTaken out: {} values of secrets in every form that they \
         may have, access keys, passwords in URLs, private keys, and what names itself a password or token. Values of \
         fewer than {} bytes stay: there are {} of them.\n",
        node::VERSION,
        gathered.instance,
        redactor.values(),
        redact::SHORTEST,
        redactor.too_short(),
    );
    if !gathered.missing.is_empty() {
        text.push_str("\nNot in it:\n");
        gathered.missing.iter().for_each(|(name, why)| text.push_str(&format!("  {name}: {why}\n")));
    }
    text
}
