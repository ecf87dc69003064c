//! The pages and completions that a release has: one page for each command, saying what `help` says, read by groff without a
//! warning; completions that their shells load. Where groff or a shell is not installed, the test says so.

#![expect(clippy::unwrap_used, reason = "a test that cannot run a program or read a page has failed")]
#![expect(clippy::disallowed_methods, reason = "runs groff and shells as a person would")]

use clap::{Arg, Command as Line};
use harness::requirements::{is_on_path, skipped, tried};
use pages::{File, files, programs};
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

/// Runs a program on what a file holds; `None`, said, where there is no such program.
fn read_by(program: &str, arguments: &[&str], file: &File) -> Option<Output> {
    if !is_on_path(program) {
        skipped(&format!("no {program}"));
        return None;
    }
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let content = file.content.clone();
    // Beside the reading of what it says: a pipe holds less than the longest page.
    let writer = std::thread::spawn(move || {
        let _ = input.write_all(&content);
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    Some(output)
}

fn pages_of_the_manual() -> Vec<File> {
    files().unwrap().into_iter().filter(|file| file.path.starts_with("man/")).collect()
}

/// A command, its page's name and all below it.
fn commands<'line>(command: &'line Line, section: &str, found: &mut Vec<(String, &'line Line)>) {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    found.push((format!("man/man{section}/{name}.{section}"), command));
    command.get_subcommands().for_each(|below| commands(below, section, found));
}

/// As a person reads it, on one line: words only.
fn words(text: &str) -> String {
    // groff sets quotation marks, dashes and hyphens for the eye.
    let plain = text.replace(['\u{2010}', '\u{2212}'], "-").replace(['\u{2018}', '\u{2019}'], "'");
    plain.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn shown(file: &File) -> Option<String> {
    let output = read_by("groff", &["-man", "-Tutf8", "-P-cbou", "-rLL=2000n", "-rHY=0"], file)?;
    Some(words(&String::from_utf8(output.stdout).unwrap()))
}

#[test]
fn every_command_has_a_page_and_every_page_a_command() {
    let programs = programs();
    let mut wanted = Vec::new();
    programs.iter().for_each(|program| commands(&program.command, program.section, &mut wanted));
    let mut wanted: Vec<String> = wanted.into_iter().map(|(path, _)| path).collect();
    wanted.push("man/man5/node.toml.5".to_owned());
    let mut there: Vec<String> = pages_of_the_manual().into_iter().map(|file| file.path).collect();
    wanted.sort();
    there.sort();
    assert_eq!(there, wanted);
    for page in ["man1/agentctl.1", "man1/agentctl-status.1", "man8/node-agent.8", "man8/node-bootstrap.8"] {
        assert!(there.contains(&format!("man/{page}")), "{page} is not among {there:?}");
    }
    tried(&format!("{} pages", there.len()));
}

#[test]
fn groff_has_nothing_to_warn_of() {
    for file in pages_of_the_manual() {
        // -ww: every warning there is.
        let Some(output) = read_by("groff", &["-man", "-Tutf8", "-ww", "-z"], &file) else { return };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{}: {said}", file.path);
    }
    let bad = File { path: "bad".to_owned(), content: b".TH x 1\n.SH NAME\n.nosuchmacro\n".to_vec() };
    let output = read_by("groff", &["-man", "-Tutf8", "-ww", "-z"], &bad).unwrap();
    assert!(!output.stderr.is_empty(), "it warns of nothing at all");
}

#[test]
fn a_page_says_what_help_says() {
    let programs = programs();
    let mut all = Vec::new();
    programs.iter().for_each(|program| commands(&program.command, program.section, &mut all));
    let pages = pages_of_the_manual();
    let mut compared = 0;
    for (path, command) in all {
        let page = pages.iter().find(|file| file.path == path).unwrap();
        let Some(page) = shown(page) else { return };
        let help = words(&command.clone().term_width(0).render_long_help().to_string());
        let about = words(&command.get_about().unwrap().to_string());
        for (what, text) in [("page", &page), ("help", &help)] {
            assert!(text.contains(&about), "the {what} {path} does not say: {about}\n{text}");
        }
        for argument in command.get_arguments().filter(|it| !it.is_hide_set()) {
            for part in parts(argument) {
                assert!(page.contains(&part), "the page {path} does not have: {part}\n{page}");
                assert!(help.contains(&part), "the help of {path} does not have: {part}\n{help}");
                compared += 1;
            }
        }
    }
    assert!(compared > 100, "{compared}");
}

/// What has to be said of an argument: its names, and what it is for.
fn parts(argument: &Arg) -> Vec<String> {
    let long = argument.get_long().map(|long| format!("--{long}"));
    let short = argument.get_short().map(|short| format!("-{short}"));
    let help = argument.get_help().map(|help| words(&help.to_string()));
    let values = argument.get_value_names().filter(|_| argument.is_positional());
    let values = values.into_iter().flatten().map(ToString::to_string);
    long.into_iter().chain(short).chain(help).chain(values).collect()
}

#[test]
fn the_page_of_node_toml_has_every_key_of_the_schema_with_its_description() {
    let pages = pages_of_the_manual();
    let page = pages.iter().find(|file| file.path.ends_with("node.toml.5")).unwrap();
    let Some(page) = shown(page) else { return };
    let mut keys = 0;
    every_key(&node::config::schema(), &mut |name, schema| {
        keys += 1;
        assert!(page.contains(name), "no {name}");
        let description = schema["description"].as_str().unwrap_or_default().replace('`', "");
        assert!(page.contains(&words(&description)), "not said of {name}: {description}");
        if let Some(default) = schema["default"].as_str() {
            assert!(page.contains(&format!("{name} = ")), "{name} is no entry");
            assert!(page.contains(&format!("(default: \"{default}\")")), "{name} has no default {default}");
        }
    });
    assert!(keys > 100, "{keys}");
    tried(&format!("{keys} keys"));
}

fn every_key(schema: &serde_json::Value, visit: &mut dyn FnMut(&str, &serde_json::Value)) {
    for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
        visit(name, inner);
        every_key(inner, visit);
    }
    for key in ["additionalProperties", "items"] {
        if let Some(inner) = schema.get(key) {
            every_key(inner, visit);
        }
    }
    for alternative in ["anyOf", "oneOf"].iter().flat_map(|key| schema[*key].as_array().into_iter().flatten())
    {
        every_key(alternative, visit);
    }
}

#[test]
fn shells_load_the_completions() {
    let files = files().unwrap();
    let completions: Vec<&File> = files.iter().filter(|file| !file.path.starts_with("man/")).collect();
    let paths: Vec<&str> = completions.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "bash-completion/completions/agentctl",
            "zsh/site-functions/_agentctl",
            "fish/vendor_completions.d/agentctl.fish",
            "bash-completion/completions/node-bootstrap",
            "zsh/site-functions/_node-bootstrap",
            "fish/vendor_completions.d/node-bootstrap.fish",
        ]
    );
    for file in completions {
        let (shell, flag) = match file.path.split('/').next() {
            Some("bash-completion") => ("bash", "-n"),
            Some("zsh") => ("zsh", "-n"),
            _ => ("fish", "--no-execute"),
        };
        let Some(output) = read_by(shell, &[flag], file) else { continue };
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{}: {said}", file.path);
    }
    if !is_on_path("bash") {
        return;
    }
    // Not only read: it offers what can be typed.
    let file = files.iter().find(|file| file.path == "bash-completion/completions/agentctl").unwrap();
    let asks = b"\nCOMP_WORDS=(agentctl sta); COMP_CWORD=1; _agentctl agentctl sta agentctl; echo \"${COMPREPLY[@]}\"\n";
    let asking = File { path: file.path.clone(), content: [&file.content[..], asks].concat() };
    let output = read_by("bash", &[], &asking).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "status start\n", "{output:?}");
}

#[test]
fn the_same_sources_give_the_same_bytes() {
    assert_eq!(files().unwrap(), files().unwrap());
    for file in files().unwrap() {
        let text = String::from_utf8(file.content).unwrap();
        assert!(
            !text.contains(env!("CARGO_MANIFEST_DIR")),
            "{} names the place where it was made",
            file.path
        );
    }
}
