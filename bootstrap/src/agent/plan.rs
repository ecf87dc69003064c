//! What to do about the agent's programs and units: pure, from what is on the disk and what node.toml wants.
//!
//! A version that replaces another is on trial until it has reported READY. One that does not is taken back, and its
//! checksum is refused from then on, until node.toml names another (or, when it has refused the configuration, until
//! that changes).

use super::fetch::shown;
use super::version::{Refused, Trial, Version};
use crate::step::Fault;
use node::config::settings::AgentArtifact;

pub(super) const PROGRAM: &str = "/usr/bin/node-agent";

/// What is on the disk.
#[derive(Debug, Default)]
pub(super) struct Observed {
    /// What is installed, by its record; absent for an agent that came with the image.
    pub(super) installed: Option<Version>,
    /// All files of that are there.
    pub(super) complete: bool,
    /// There is an agent, from wherever.
    pub(super) has_program: bool,
    pub(super) trial: Option<Trial>,
    pub(super) refused: Option<Refused>,
    /// Of the configuration, as the agent will read it.
    pub(super) configuration: String,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan<'settings> {
    Keep(String),
    /// It is installed and has not reported READY yet.
    Try(Trial),
    /// The files of the version before are put back, then this is planned anew.
    Restore(Trial),
    /// The files of the version before are put back (once more), and that one is started.
    GoBack(Trial),
    Fetch(&'settings AgentArtifact),
    Refuse(Fault),
}

pub(super) fn plan<'settings>(
    observed: &Observed,
    artifact: Option<&'settings AgentArtifact>,
) -> Plan<'settings> {
    if let Some(trial) = &observed.trial {
        return continue_trial(observed, trial, artifact);
    }
    match (artifact, &observed.installed) {
        (None, _) if observed.has_program => Plan::Keep(format!("{PROGRAM} is installed")),
        (None, _) => Plan::Refuse(Fault::new(
            "agent_missing",
            format!("{PROGRAM} is not installed, and node.toml has no [agent] url"),
            Some("bake the agent into the AMI, or give url and sha256 of a release in [agent]"),
        )),
        (Some(artifact), Some(version)) if version.sha256 == artifact.sha256 && observed.complete => {
            Plan::Keep(format!("{} is installed", version.name))
        }
        (Some(artifact), _) => match &observed.refused {
            Some(refused) if refused.stands(&artifact.sha256, &observed.configuration) => {
                Plan::Refuse(refused.fault())
            }
            _ => Plan::Fetch(artifact),
        },
    }
}

/// What an earlier run has begun, and was killed or cut off from the machine before its end.
fn continue_trial<'settings>(
    observed: &Observed,
    trial: &Trial,
    artifact: Option<&AgentArtifact>,
) -> Plan<'settings> {
    let is_wanted = artifact.is_none_or(|artifact| artifact.sha256 == trial.new.sha256);
    let is_whole = observed.complete && observed.installed.as_ref() == Some(&trial.new);
    match (is_wanted, &trial.failure) {
        (true, Some(_)) => Plan::GoBack(trial.clone()),
        (true, None) if is_whole => Plan::Try(trial.clone()),
        _ => Plan::Restore(trial.clone()),
    }
}

/// As `plan` shows it.
pub(super) fn reason(plan: &Plan<'_>) -> String {
    match plan {
        Plan::Keep(reason) => reason.clone(),
        Plan::Try(trial) => format!("start {} and go back if it does not become ready", trial.new.name),
        Plan::Restore(trial) => format!("put {} back, whose replacement was cut off", trial.old.name),
        Plan::GoBack(trial) => {
            format!("put {} back, because {} did not become ready", trial.old.name, trial.new.name)
        }
        Plan::Fetch(artifact) => format!("fetch {}, check its sha256 and install it", shown(&artifact.url)),
        Plan::Refuse(fault) => fault.message.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::version::Failure;

    fn version(sha256: &str) -> Version {
        let files = vec![PROGRAM.to_owned()];
        Version { sha256: sha256.to_owned(), name: format!("node-agent-{sha256}"), files }
    }

    fn artifact(sha256: &str) -> AgentArtifact {
        AgentArtifact { url: "https://example.com/a.tar.gz".to_owned(), sha256: sha256.to_owned() }
    }

    fn holding(sha256: &str) -> Observed {
        Observed {
            installed: Some(version(sha256)),
            complete: true,
            has_program: true,
            ..Observed::default()
        }
    }

    fn trial(failure: Option<Failure>) -> Trial {
        Trial { old: version("old"), new: version("new"), failure }
    }

    fn failure() -> Failure {
        Failure { why: "exit status 1".to_owned(), refuses_configuration: false }
    }

    fn refused(configuration: Option<&str>) -> Refused {
        Refused {
            sha256: "new".to_owned(),
            name: "node-agent-new".to_owned(),
            why: "exit status 1".to_owned(),
            kept: "node-agent-old".to_owned(),
            at: jiff::Timestamp::UNIX_EPOCH,
            configuration: configuration.map(str::to_owned),
        }
    }

    #[test]
    fn an_installed_version_is_kept_until_another_is_wanted_or_a_file_is_missing() {
        let (old, new) = (artifact("old"), artifact("new"));
        assert!(matches!(plan(&holding("old"), Some(&old)), Plan::Keep(_)));
        assert_eq!(plan(&holding("old"), Some(&new)), Plan::Fetch(&new));
        let damaged = Observed { complete: false, ..holding("old") };
        assert_eq!(plan(&damaged, Some(&old)), Plan::Fetch(&old));
        assert_eq!(plan(&Observed::default(), Some(&old)), Plan::Fetch(&old));
    }

    #[test]
    fn without_a_url_the_agent_must_be_in_the_image() {
        assert!(matches!(plan(&Observed::default(), None), Plan::Refuse(_)));
        let baked = Observed { has_program: true, ..Observed::default() };
        assert!(matches!(plan(&baked, None), Plan::Keep(_)));
    }

    #[test]
    fn a_refused_version_is_fetched_again_only_when_node_toml_says_something_new() {
        let (old, new, newer) = (artifact("old"), artifact("new"), artifact("newer"));
        let with =
            |refused| Observed { refused: Some(refused), configuration: "c1".to_owned(), ..holding("old") };
        let Plan::Refuse(fault) = plan(&with(refused(None)), Some(&new)) else {
            panic!("it is fetched again")
        };
        assert!(
            fault.message.contains("node-agent-new") && fault.message.contains("exit status 1"),
            "{fault:?}"
        );
        assert!(matches!(plan(&with(refused(Some("c1"))), Some(&new)), Plan::Refuse(_)));
        assert_eq!(plan(&with(refused(Some("c0"))), Some(&new)), Plan::Fetch(&new));
        assert_eq!(plan(&with(refused(None)), Some(&newer)), Plan::Fetch(&newer));
        assert!(matches!(plan(&with(refused(None)), Some(&old)), Plan::Keep(_)));
    }

    #[test]
    fn a_trial_that_was_cut_off_is_continued_or_undone() {
        let (new, newer) = (artifact("new"), artifact("newer"));
        let on_trial =
            |installed: &str, failure| Observed { trial: Some(trial(failure)), ..holding(installed) };
        // Killed while files were replaced: the record is still the old one's.
        assert_eq!(plan(&on_trial("old", None), Some(&new)), Plan::Restore(trial(None)));
        // Killed before it was started, or before it was ready.
        assert_eq!(plan(&on_trial("new", None), Some(&new)), Plan::Try(trial(None)));
        assert_eq!(plan(&on_trial("new", None), None), Plan::Try(trial(None)));
        // Killed on the way back.
        let back = trial(Some(failure()));
        assert_eq!(plan(&on_trial("new", Some(failure())), Some(&new)), Plan::GoBack(back.clone()));
        assert_eq!(plan(&on_trial("old", Some(failure())), None), Plan::GoBack(back.clone()));
        // Another one is wanted by now: first the one that is known to work.
        assert_eq!(plan(&on_trial("new", None), Some(&newer)), Plan::Restore(trial(None)));
        assert_eq!(plan(&on_trial("new", Some(failure())), Some(&newer)), Plan::Restore(back));
    }
}
