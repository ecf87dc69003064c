//! What the pages say beyond the command line: examples, exit codes, files. The tests hold each example against the
//! command line, so that none shows what cannot be typed.

use node::exit;

/// Lines and what they do, by page.
const EXAMPLES: &[(&str, &str, &str)] = &[
    ("agentctl", "agentctl status", "Is the node all right, and if not, what is wrong:"),
    ("agentctl", "agentctl explain api", "Why is it not doing something, and until when:"),
    ("agentctl", "agentctl update api --to v1.4 --wait", "Deploy exactly this image, and stay there:"),
    ("agentctl-status", "agentctl status --json", "For a script:"),
    ("agentctl-status", "agentctl status --watch", "While something is under way:"),
    ("agentctl-explain", "agentctl explain api", "The reasons of the plan in force, and the last updates:"),
    ("agentctl-logs", "agentctl logs api -f --tail 20", "The last lines, and what comes:"),
    ("agentctl-update", "agentctl update api --wait", "Take the new image now, and tell how it went:"),
    (
        "agentctl-update",
        "agentctl update api --to v1.4 --wait",
        "From SSM Run Command: ends with 0 only when exactly that image runs and passes its health check:",
    ),
    ("agentctl-update", "agentctl update api --retry --wait", "Try an image again that was taken back:"),
    ("agentctl-rollback", "agentctl rollback api --wait", "Go back to the image before:"),
    ("agentctl-rollback", "agentctl rollback api --to 3f5ab2c19d04 --wait", "Go back to another one:"),
    ("agentctl-hold", "agentctl hold api", "Take no other image for now:"),
    ("agentctl-release", "agentctl release api", "Take others again:"),
    ("agentctl-restart", "agentctl restart api --wait", "Start it anew, and wait until it is healthy:"),
    ("agentctl-stop", "agentctl stop worker --wait", "Stop it, also over a reboot:"),
    ("agentctl-start", "agentctl start worker --wait", "Start it again:"),
    ("agentctl-models", "agentctl models", "Which are there, loaded, on their way, and why not:"),
    ("agentctl-models-pull", "agentctl models pull --all --wait", "For a bake: end when all are there:"),
    ("agentctl-models-update", "agentctl models update llama3.2:3b --wait", "Take what the tag names now:"),
    ("agentctl-models-rollback", "agentctl models rollback llama3.2:3b", "Go back without a download:"),
    ("agentctl-models-pin", "agentctl models pin llama3.2:3b", "Stay on the version that is there:"),
    ("agentctl-models-unpin", "agentctl models unpin llama3.2:3b", "Follow the tag again:"),
    ("agentctl-config-check", "agentctl config check node.toml", "Before it goes into user data:"),
    ("agentctl-config-schema", "agentctl config schema", "For the editor:"),
    ("agentctl-completions", "agentctl completions bash", "Where the release did not install them:"),
    ("node-agent", "node-agent --config /etc/node-agent/node.toml", "As its unit does it:"),
    ("node-bootstrap", "node-bootstrap plan", "What it would do, and why:"),
    ("node-bootstrap-run", "node-bootstrap run --config node.toml", "With a file of yours:"),
    ("node-bootstrap-run", "node-bootstrap run --config -", "With what a script gives on standard input:"),
    ("node-bootstrap-plan", "node-bootstrap plan --json", "For a script:"),
];

const PROGRAMS: [&str; 3] = ["agentctl", "node-agent", "node-bootstrap"];

/// The program that a page is of.
pub(crate) fn program_of(page: &str) -> &str {
    let is_of = |program: &&str| {
        page.strip_prefix(*program).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    PROGRAMS.into_iter().find(is_of).unwrap_or(page)
}

/// Examples of a page: the line, and what it does.
pub(crate) fn examples_of(page: &str) -> Vec<(&'static str, &'static str)> {
    EXAMPLES.iter().filter(|(of, ..)| *of == page).map(|(_, line, what)| (*line, *what)).collect()
}

/// Exit codes of a page.
pub(crate) fn exit_codes(page: &str) -> Vec<(u8, &'static str)> {
    let (done, failed) = match page {
        "agentctl-status" => ("The node is ready.", "It is not."),
        "agentctl-config-check" => ("There is no mistake.", "The file cannot be read."),
        _ => ("Everything asked for was done.", "It was tried and failed; the reason is on standard error."),
    };
    let unreachable = (exit::UNREACHABLE, "The agent cannot be reached.");
    let invalid =
        (exit::INVALID_CONFIGURATION, "The configuration is invalid; every mistake is on standard error.");
    let all = [(exit::DONE, done), (exit::FAILED, failed), (exit::USAGE, "Wrong usage of the command line.")];
    let of_this = match page {
        "agentctl" => vec![unreachable, invalid],
        "agentctl-config" | "agentctl-config-check" => vec![invalid],
        "agentctl-config-schema" | "agentctl-completions" => Vec::new(),
        page if program_of(page) == "agentctl" => vec![unreachable],
        _ => vec![invalid],
    };
    all.into_iter().chain(of_this).collect()
}

/// Files of a program, and what they are.
pub(crate) fn files_of(program: &str) -> &'static [(&'static str, &'static str)] {
    match program {
        "agentctl" => &[
            (
                "/run/node-agent/agent.sock",
                "Where the agent answers: reading is for every local user, changing for root and the group node-agent.",
            ),
            ("/etc/node-agent/node.toml", "The configuration, with the drop-ins in /etc/node-agent/node.d."),
        ],
        "node-agent" => &[
            ("/etc/node-agent/node.toml", "The configuration, with the drop-ins in /etc/node-agent/node.d."),
            ("/run/node-agent/handoff.json", "What node-bootstrap found and did."),
            ("/run/node-agent/secrets", "Secrets, in memory only."),
            ("/run/node-agent/agent.sock", "Where it answers agentctl."),
            ("/var/lib/node-agent", "History, quarantine, log cursors and queue."),
        ],
        _ => &[
            ("/etc/node-agent/node.toml", "The configuration, with the drop-ins in /etc/node-agent/node.d."),
            ("/run/node-agent/handoff.json", "What it found and did, for node-agent."),
            ("/var/log/node-bootstrap.log", "What it did at each boot."),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::name;

    /// Every command with its page's name.
    fn named(command: &clap::Command, found: &mut Vec<String>) {
        found.push(name(command));
        command.get_subcommands().for_each(|below| named(below, found));
    }

    #[test]
    fn every_example_can_be_typed_and_stands_on_the_page_of_its_command() {
        let programs = crate::programs();
        let mut pages = Vec::new();
        programs.iter().for_each(|program| named(&program.command, &mut pages));
        for (page, line, _) in EXAMPLES {
            assert!(pages.iter().any(|name| name == page), "no command has the page {page}");
            let words: Vec<&str> = line.split(' ').collect();
            let program = programs.iter().find(|it| it.command.get_name() == words[0]).unwrap();
            let parsed = program.command.clone().try_get_matches_from(&words);
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
            let prefix = format!(
                "{} ",
                page.strip_prefix("node-").map_or_else(
                    || page.replace('-', " "),
                    |rest| format!("node-{}", rest.replace('-', " "))
                )
            );
            let is_of_program = PROGRAMS.contains(page);
            assert!(is_of_program || format!("{line} ").starts_with(&prefix), "{line} is on the page {page}");
        }
    }
}
