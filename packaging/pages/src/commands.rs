//! One page for each command, from the command line that the program itself reads.

use crate::page::{Page, SOURCE, portable};
use crate::{File, extras};
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::bold;
use std::io;

/// Pages of `command` and of all below it.
pub(crate) fn pages(command: &Command, section: &str, files: &mut Vec<File>) -> io::Result<()> {
    let name = name(command);
    let mut content = Vec::new();
    Man::new(command.clone()).section(section).source(SOURCE).render(&mut content)?;
    let page = String::from_utf8(content).map_err(io::Error::other)?;
    let content = portable(&(page + &more(command, section)));
    files.push(File { path: format!("man/man{section}/{name}.{section}"), content });
    shown(command).try_for_each(|below| pages(below, section, files))
}

/// `agentctl-models-pull`
pub(crate) fn name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

fn shown(command: &Command) -> impl Iterator<Item = &Command> {
    command.get_subcommands().filter(|below| !below.is_hide_set())
}

/// What the command line does not say of itself.
fn more(command: &Command, section: &str) -> String {
    let name = name(command);
    let program = extras::program_of(&name);
    let mut page = Page::default();
    let examples = extras::examples_of(&name);
    if !examples.is_empty() {
        page.heading("EXAMPLES");
    }
    for (line, what) in examples {
        page.paragraph(what).lines(&[line]);
    }
    page.heading("EXIT STATUS");
    for (code, what) in extras::exit_codes(&name) {
        page.entry(vec![bold(code.to_string())], what);
    }
    page.heading("FILES");
    for (file, what) in extras::files_of(program) {
        page.entry(vec![bold(*file)], what);
    }
    page.heading("SEE ALSO");
    page.paragraph(&see_also(command, &name, section));
    page.render()
}

/// The command above, those below, and the pages that everybody needs.
fn see_also(command: &Command, name: &str, section: &str) -> String {
    let above = name.rsplit_once('-').map(|(above, _)| above).filter(|_| name != extras::program_of(name));
    let below = shown(command).map(|below| format!("{}({section})", self::name(below)));
    let others = ["agentctl(1)", "node-agent(8)", "node-bootstrap(8)", "node.toml(5)"];
    let own = format!("{name}({section})");
    let mut all: Vec<String> = above.map(|above| format!("{above}({section})")).into_iter().collect();
    for page in below.chain(others.map(str::to_owned)) {
        if page != own && !all.contains(&page) {
            all.push(page);
        }
    }
    all.join(", ")
}
