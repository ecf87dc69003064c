//! Completions of the programs that people type, each where its shell looks for it.

use crate::{File, programs};
use clap_complete::Shell;

/// Of every shell.
pub(crate) fn all() -> Vec<File> {
    let mut files = Vec::new();
    for program in programs() {
        let name = program.command.get_name().to_owned();
        // The machine types that one.
        if name == "node-agent" {
            continue;
        }
        let places = [
            (Shell::Bash, format!("bash-completion/completions/{name}")),
            (Shell::Zsh, format!("zsh/site-functions/_{name}")),
            (Shell::Fish, format!("fish/vendor_completions.d/{name}.fish")),
        ];
        for (shell, path) in places {
            let mut content = Vec::new();
            clap_complete::generate(shell, &mut program.command.clone(), name.clone(), &mut content);
            files.push(File { path, content });
        }
    }
    files
}
