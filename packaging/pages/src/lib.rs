//! What a release has below `share`: manual pages and completions of the three programs, and the page of node.toml.
//!
//! In: the command lines as the programs themselves read them, and the JSON Schema of node.toml. Out: files, by their path
//! below `share`. What always holds: the same sources give the same bytes, and every command has a page. Not its job:
//! compressing and packing, which is `release.sh`.

mod commands;
mod completions;
mod extras;
mod node_toml;
mod page;

use clap::{Command, CommandFactory};
use std::io;

/// One file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Below `share`.
    pub path: String,
    /// As it is, not compressed.
    pub content: Vec<u8>,
}

/// A program and the section of the manual that it belongs to.
#[derive(Debug)]
pub struct Program {
    /// Its command line, built.
    pub command: Command,
    /// 1 for what anybody may type, 8 for what the machine runs.
    pub section: &'static str,
}

/// The three programs.
pub fn programs() -> [Program; 3] {
    [
        (agent::ctl::arguments::Arguments::command(), "1"),
        (agent::arguments::Arguments::command(), "8"),
        (bootstrap::cli::Arguments::command(), "8"),
    ]
    .map(|(command, section)| {
        // `help X` is what the pages are; a page about it would be one of many words.
        let mut command = command.disable_help_subcommand(true);
        command.build();
        Program { command, section }
    })
}

/// Every file.
///
/// # Errors
///
/// When a page cannot be written, which into memory does not happen.
pub fn files() -> io::Result<Vec<File>> {
    let mut files = Vec::new();
    for program in programs() {
        commands::pages(&program.command, program.section, &mut files)?;
    }
    files.push(node_toml::page()?);
    files.extend(completions::all());
    Ok(files)
}
