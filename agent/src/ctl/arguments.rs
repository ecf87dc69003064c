//! The command line of `agentctl`.

use crate::control::api::LARGEST_TAIL;
use clap::{Args, Parser, Subcommand};
use jiff::{SignedDuration, Timestamp};
use std::path::PathBuf;

/// Asks the node-agent of this instance what it does and why, and tells it what to do.
#[derive(Debug, Parser)]
#[command(name = "agentctl", version = node::VERSION, arg_required_else_help = true)]
pub struct Arguments {
    /// Takes every file from below DIR, as for a container seen from outside (/proc/PID/root)
    #[arg(long, global = true, value_name = "DIR", default_value = "/", hide_default_value = true)]
    pub root: PathBuf,
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Shows the state of the node; exits with 0 when it is ready, 1 when not, 3 when the agent cannot be reached
    Status {
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
        /// Again whenever it changes, until Ctrl-C
        #[arg(long)]
        watch: bool,
    },
    /// Says why services and models do what they do, and until when
    Explain {
        /// Only this one: a service or a model
        name: Option<String>,
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Shows what a service wrote
    Logs {
        /// Name in node.toml
        service: String,
        /// Goes on with what it writes from now on, also after a restart
        #[arg(short, long)]
        follow: bool,
        /// How many lines of the past [default: 100, or all since --since]
        #[arg(short = 'n', long, value_name = "N", value_parser = tail)]
        tail: Option<usize>,
        /// Only what was written since: 10m, 2h, 2026-11-30T03:00:00Z
        #[arg(long, value_name = "WHEN")]
        since: Option<Since>,
        /// The last lines of the image that failed last, whose container is gone
        #[arg(long, conflicts_with_all = ["follow", "since"])]
        failed: bool,
    },
    /// Looks for a new image now instead of at the next interval, and takes what node.toml names; or goes to another one
    Update {
        /// Only this one
        service: Option<String>,
        /// Goes to this image and stays there until `update SERVICE`: a tag, a digest or a reference of its repository
        #[arg(long, value_name = "REF", requires = "service")]
        to: Option<String>,
        /// Also if it failed before
        #[arg(long, requires = "service")]
        retry: bool,
        /// How to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// Goes back to the image that a service ran before, and stays there until `update SERVICE`
    Rollback {
        /// Name in node.toml
        service: String,
        /// To this one instead: a digest, or the first 12 digits of one that `explain` lists
        #[arg(long, value_name = "DIGEST")]
        to: Option<String>,
        /// How to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// Keeps a service on the image that it runs, until `release`
    Hold {
        /// Name in node.toml
        service: String,
    },
    /// Lets a service take other images again
    Release {
        /// Name in node.toml
        service: String,
    },
    /// Stops a service's container and starts it again
    Restart {
        /// Name in node.toml
        service: String,
        /// How to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// Stops a service until `start`, also over a reboot
    Stop {
        /// Name in node.toml
        service: String,
        /// How to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// Starts a service that was stopped
    Start {
        /// Name in node.toml
        service: String,
        /// How to wait.
        #[command(flatten)]
        wait: Wait,
    },
    /// Shows the models of this node; or fetches, moves and pins them
    #[command(args_conflicts_with_subcommands = true)]
    Models {
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
        /// What to do with them.
        #[command(subcommand)]
        verb: Option<ModelsVerb>,
    },
    /// Looks at all that the node needs, and says what is wrong and what to do; needs neither agent nor Docker
    Doctor {
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
        /// Also what is well, in full
        #[arg(short, long)]
        verbose: bool,
    },
    /// Packs state, journal, configuration and the doctor's findings into one file, without the values of secrets
    Bundle {
        /// Where to [default: a file in this folder, named after the instance and the time]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Prints the completions of a shell, to be put where it looks for them
    Completions {
        /// Which one
        shell: clap_complete::Shell,
    },
    /// Checks, shows, compares, reloads and documents node.toml
    Config {
        /// What to do with it.
        #[command(subcommand)]
        verb: ConfigVerb,
    },
}

/// How to wait.
#[derive(Debug, Clone, Copy, Args)]
pub struct Wait {
    /// Waits until it is done and exits with 1 when it failed
    #[arg(long)]
    pub wait: bool,
    /// Waits no longer than this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 600, requires = "wait")]
    pub timeout: u64,
}

/// `agentctl models …`
#[derive(Debug, Subcommand)]
pub enum ModelsVerb {
    /// Tries again now what is missing, whatever it waits for; with --wait, until every model is where it should be
    Pull {
        /// Only this one, by its name in node.toml
        #[arg(conflicts_with = "all")]
        name: Option<String>,
        /// Every model of node.toml, which is also what no name means
        #[arg(long)]
        all: bool,
        /// How to wait.
        #[command(flatten)]
        wait: WaitForModel,
    },
    /// Asks the registry now instead of at the next interval, and takes what is new; ends what `rollback` and `pin` began
    Update {
        /// Only this one
        name: Option<String>,
        /// Also a version that failed before
        #[arg(long)]
        retry: bool,
        /// How to wait.
        #[command(flatten)]
        wait: WaitForModel,
    },
    /// Goes back to the version that was good before, and stays there until `models update NAME`
    Rollback {
        /// Name in node.toml
        name: String,
        /// How to wait.
        #[command(flatten)]
        wait: WaitForModel,
    },
    /// Stays on a version until `models unpin NAME`
    Pin {
        /// Name in node.toml
        name: String,
        /// Which one, or the beginning of one that is known [default: the one that is there]
        digest: Option<String>,
    },
    /// Follows the tag of node.toml again
    Unpin {
        /// Name in node.toml
        name: String,
    },
}

/// How to wait for models. Gigabytes take their time: the limit is for a bake that would never end.
#[derive(Debug, Clone, Copy, Args)]
pub struct WaitForModel {
    /// Waits until it is done and exits with 1 when it failed
    #[arg(long)]
    pub wait: bool,
    /// Waits no longer than this many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 7200, requires = "wait")]
    pub timeout: u64,
}

/// `agentctl config …`
#[derive(Debug, Subcommand)]
pub enum ConfigVerb {
    /// Reports every mistake with its line and column; needs neither agent nor instance
    Check {
        /// A node.toml, or - for standard input [default: the node's own, with its drop-ins]
        path: Option<PathBuf>,
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Shows the configuration in force, with every default, as a node.toml; secrets are names
    Show {
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Compares the files on disk with the configuration in force, and says what a reload would do; exits with 0 when
    /// they mean the same, 1 when not, 78 when the files are wrong
    Diff {
        /// A node.toml, or - for standard input [default: the node's own, with its drop-ins]
        path: Option<PathBuf>,
        /// As JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Has the agent read the files now, and says what changes; files that are wrong change nothing, and exit with 78
    Reload,
    /// Prints the JSON Schema of node.toml
    Schema,
}

/// A moment, or how long ago it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Since {
    /// The moment.
    At(Timestamp),
    /// So long ago.
    Ago(SignedDuration),
}

impl std::str::FromStr for Since {
    type Err = String;

    fn from_str(text: &str) -> Result<Since, String> {
        let ago = || text.parse::<SignedDuration>().ok().filter(|ago| !ago.is_negative()).map(Since::Ago);
        let at = || text.parse::<Timestamp>().ok().map(Since::At);
        ago()
            .or_else(at)
            .ok_or_else(|| "neither a time such as 2026-11-30T03:00:00Z nor an age such as 10m".to_owned())
    }
}

impl Since {
    /// The moment, seen from `now`.
    pub fn moment(self, now: Timestamp) -> Timestamp {
        match self {
            Since::At(at) => at,
            Since::Ago(ago) => now.checked_sub(ago).unwrap_or(Timestamp::UNIX_EPOCH),
        }
    }
}

fn tail(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(lines) if lines <= LARGEST_TAIL => Ok(lines),
        Ok(_) => Err(format!("at most {LARGEST_TAIL}; older lines are in the log group")),
        Err(_) => Err("not a number of lines".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_when_is_a_moment_or_an_age() {
        let now: Timestamp = "2026-11-30T03:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("10m", "2026-11-30T02:50:00Z"),
            ("1h30m", "2026-11-30T01:30:00Z"),
            ("90s", "2026-11-30T02:58:30Z"),
            ("2026-11-29T00:00:00Z", "2026-11-29T00:00:00Z"),
            ("2026-11-29T02:00:00+02:00", "2026-11-29T00:00:00Z"),
        ] {
            assert_eq!(text.parse::<Since>().unwrap().moment(now).to_string(), expected, "{text}");
        }
        for text in ["", "yesterday", "-5m", "10"] {
            assert!(text.parse::<Since>().is_err(), "{text}");
        }
    }
}
