//! What the suites over whole instances share: a stage with one service, looks at the engine that take a millisecond,
//! and the death of the agent.

#![expect(clippy::disallowed_methods, reason = "finds and ends processes of the instance, and measures")]
#![expect(dead_code, reason = "each suite uses its part")]

pub(crate) mod engine;
pub(crate) mod foreign;
pub(crate) mod rules;
pub(crate) mod steps;
pub(crate) mod web;

use engine::{Container, Engine};
use harness::requirements::{is_root, skipped};
use harness::stage::Stage;
use harness::wait::wait_for;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use web::{RECREATE, Web};

/// For what takes seconds on an idle machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Log group of the stage.
pub(crate) const GROUP: &str = "/suite/local-node";

/// Two cores: whoever measures must not share them with another instance.
static TURN: Mutex<()> = Mutex::new(());

/// A stage, alone on this machine where it is its turn. The instance goes first, then the turn.
pub(crate) struct Scene {
    pub(crate) stage: Stage,
    _turn: Option<MutexGuard<'static, ()>>,
}

/// The service of the scene, moved by stopping the old container first; `more` is added to its section.
pub(crate) fn node_toml(stage: &Stage, more: &str, sections: &str) -> String {
    Web { more, sections, ..Web::default() }.node_toml(stage)
}

impl Scene {
    /// A stage, or `None` with a word on standard error where the host cannot carry one.
    pub(crate) fn set() -> Option<Scene> {
        Scene::on(|| Some(TURN.lock().unwrap_or_else(PoisonError::into_inner)))
    }

    /// The same beside others, for who waits more than works.
    pub(crate) fn beside() -> Option<Scene> {
        Scene::on(|| None)
    }

    fn on(turn: impl FnOnce() -> Option<MutexGuard<'static, ()>>) -> Option<Scene> {
        if !is_root() {
            skipped("not root: mounts, namespaces and block devices need it");
            return None;
        }
        let turn = turn();
        let stage = Stage::set(|_| {}).unwrap_or_else(|error| panic!("the stage: {error}"));
        Some(Scene { stage, _turn: turn })
    }

    /// A booted instance that serves version `one`.
    pub(crate) fn serving() -> Option<Scene> {
        Scene::serving_by(RECREATE)
    }

    /// The same, moved as `update` says.
    pub(crate) fn serving_by(update: &str) -> Option<Scene> {
        let mut scene = Scene::set()?;
        scene.push("one", "healthy");
        let node_toml = Web { update, ..Web::default() }.node_toml(&scene.stage);
        scene.boot(&node_toml);
        scene.serves("one");
        Some(scene)
    }

    pub(crate) fn boot(&mut self, node_toml: &str) {
        self.stage.boot(node_toml).unwrap_or_else(|error| panic!("boot: {error}"));
        let (code, output) = self.stage.wait_for_user_data(PATIENCE).unwrap();
        assert_eq!(code, 0, "{output}");
    }

    /// Pushes under the tag that the service follows.
    pub(crate) fn push(&self, version: &str, mode: &str) -> String {
        self.stage.push_sample("latest", version, mode).unwrap_or_else(|error| panic!("push: {error}"))
    }

    pub(crate) fn serves(&self, version: &str) {
        wait_for(&format!("version {version} on port 80"), PATIENCE, || match self.stage.get("/") {
            Ok((200, body)) if body.contains(&format!("\"{version}\"")) => Ok(()),
            other => Err(format!("{other:?}; {}", self.story())),
        })
        .unwrap();
    }

    /// Waits until the service runs `digest`, with nothing left to do.
    pub(crate) fn settled(&self, digest: &str, update: &[&str]) -> Value {
        let what = format!("{digest} to run well ({update:?})");
        let settled = self.stage.wait_for_status(&what, PATIENCE, |status| {
            let web = &status["services"][0];
            let state = web["update"]["state"].as_str().unwrap_or_default();
            status["node"]["state"] == "ready"
                && web["digest"] == digest
                && update.contains(&state)
                && self.ours().len() == 1
        });
        settled.unwrap_or_else(|error| panic!("{error}\n{}", self.story()))
    }

    pub(crate) fn engine(&self) -> Engine {
        Engine::of(self.stage.instance().leader())
    }

    /// Containers that carry our label.
    pub(crate) fn ours(&self) -> Vec<Container> {
        let all = self.engine().containers().unwrap_or_default();
        all.into_iter().filter(|container| container.digest.is_some()).collect()
    }

    /// The one container of ours, which must run.
    #[track_caller]
    pub(crate) fn only(&self) -> Container {
        let ours = self.ours();
        assert!(ours.len() == 1 && ours[0].running(), "exactly one, running: {ours:#?}\n{}", self.story());
        ours.into_iter().next().unwrap()
    }

    /// The one container of ours, if there is exactly one and it runs.
    pub(crate) fn only_or_none(&self) -> Option<Container> {
        let ours = self.ours();
        if ours.len() == 1 { ours.into_iter().next().filter(Container::running) } else { None }
    }

    /// What happened, for a failed assert.
    pub(crate) fn story(&self) -> String {
        let instance = self.stage.instance();
        let journal =
            instance.run(["journalctl", "-u", "node-agent", "-u", "docker", "-n", "60", "--no-pager"]);
        let containers = instance.run(["docker", "ps", "--all", "--no-trunc"]);
        let explain = instance.run(["agentctl", "explain"]);
        format!("{explain}\n{containers}\n{}", journal.stdout)
    }

    /// The agent's process as the host sees it.
    pub(crate) fn agent_pid(&self) -> Option<i32> {
        process_inside(self.stage.instance().leader(), "node-agent")
    }

    /// SIGKILL to the agent; systemd starts it again.
    #[track_caller]
    pub(crate) fn kill_agent(&self) {
        let pid = self.agent_pid().unwrap_or_else(|| panic!("no agent to kill\n{}", self.story()));
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    }

    /// Waits for another agent than `before` to answer.
    pub(crate) fn agent_answers(&self, before: Option<i32>) -> i32 {
        let answers = wait_for("the next agent to answer", PATIENCE, || {
            let pid = self.agent_pid().filter(|pid| Some(*pid) != before).ok_or("none runs")?;
            match self.stage.status() {
                Ok(status) if status.get("stale").is_none() => Ok(pid),
                Ok(_) => Err("only the last status is there".to_owned()),
                Err(answer) => Err(answer.to_string()),
            }
        });
        answers.unwrap_or_else(|error| panic!("{error}\n{}", self.story()))
    }

    /// What is remembered of the service on disk.
    pub(crate) fn record(&self) -> Value {
        let root = self.stage.instance().root();
        record_in(&root)
    }

    /// Quarantined digests and when they failed, as they are on disk.
    pub(crate) fn quarantined(&self) -> Vec<(String, String)> {
        let entries = self.record()["quarantine"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        entries.iter().map(|entry| (text(&entry["digest"]), text(&entry["at"]))).collect()
    }

    /// After the quarantine was written, the digest was not started.
    #[track_caller]
    pub(crate) fn never_again(&self, digest: &str) {
        let quarantined = self.quarantined();
        let at = quarantined.iter().find(|(found, _)| found == digest);
        let (_, at) = at.unwrap_or_else(|| panic!("{digest} is not in quarantine: {quarantined:?}"));
        let at: jiff::Timestamp = at.parse().unwrap();
        let at = u64::try_from(at.as_nanosecond()).unwrap();
        let events = self.engine().events();
        let started = events.iter().filter(|event| {
            event.action == "start" && event.digest.as_deref() == Some(digest) && event.nanoseconds > at
        });
        assert_eq!(started.count(), 0, "{digest} ran again after its quarantine: {events:#?}");
    }

    /// The service's messages in CloudWatch Logs.
    pub(crate) fn shipped(&self) -> Vec<String> {
        let state = self.stage.cloud.state();
        let stream = format!("{}/web", state.instance.id);
        state.logs.messages(GROUP, &stream)
    }
}

/// What is remembered of the service in the instance of that root directory; `null` where nothing is.
pub(crate) fn record_in(root: &Path) -> Value {
    let text = fs::read_to_string(root.join("var/lib/node-agent/history.json")).unwrap_or_default();
    let history: Value = serde_json::from_str(&text).unwrap_or_default();
    history["services"]["web"].clone()
}

/// The process of that name in the instance of that leader.
pub(crate) fn process_inside(leader: u32, name: &str) -> Option<i32> {
    let namespace = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let wanted = namespace(&leader.to_string())?;
    let processes = fs::read_dir("/proc").ok()?.flatten();
    let mut pids = processes.filter_map(|entry| entry.file_name().into_string().ok());
    let found = pids.find(|pid| {
        let comm = fs::read_to_string(Path::new("/proc").join(pid).join("comm")).unwrap_or_default();
        comm.trim() == name && namespace(pid).as_ref() == Some(&wanted)
    });
    found?.parse().ok()
}

/// Lets time pass that belongs to what is tested: a moment, a minute of load.
pub(crate) fn pass(time: Duration) {
    let never = wait_for::<()>("time to pass", time, || Err(String::new()));
    assert!(never.is_err());
}

/// Looks as fast as the looks are, for a state that lasts milliseconds.
pub(crate) fn catch<T>(deadline: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let started = Instant::now();
    while started.elapsed() < deadline {
        if let Some(value) = look() {
            return Some(value);
        }
    }
    None
}
