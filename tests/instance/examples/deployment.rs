//! What an example needs of its account before an instance can start: images, secrets, tags, files of the AMI.

use super::node::Node;
use harness::images::{Entry, Recipe};
use harness::requirements::{is_on_path, is_root, skipped};
use harness::stage::Stage;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// User data, from first download to the end; a slow host included.
const BOOTSTRAP_DEADLINE: Duration = Duration::from_secs(120);
/// From the end of user data until every service is healthy.
const READY_DEADLINE: Duration = Duration::from_secs(90);
/// Where a stand-in has its program, as an image with a shell would find it in its PATH.
const PROGRAM: &str = "usr/local/bin/app";

/// The repository's root.
pub(super) fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// An example whose account is being set up.
pub(super) struct Deployment {
    stage: Stage,
    node_toml: String,
}

impl Deployment {
    /// The example of that name; `None` where the host cannot have an instance, which is said.
    pub(super) fn of(example: &str) -> Option<Deployment> {
        let needed = ["systemd-nspawn", "debootstrap", "docker-registry", "losetup", "ip", "nsenter"];
        let missing = needed.into_iter().find(|program| !is_on_path(program));
        if !is_root() {
            skipped("not root");
            return None;
        } else if let Some(missing) = missing {
            skipped(&format!("no {missing} on this host"));
            return None;
        } else if !harness::stage::dist().join("node-bootstrap").is_file() {
            skipped("nothing in target/dist; run make dist");
            return None;
        }
        let path = workspace().join("packaging/examples").join(example).join("node.toml");
        let node_toml = std::fs::read_to_string(path).unwrap();
        let mut deployment = Deployment { stage: Stage::set(|_| {}).unwrap(), node_toml };
        let agent = deployment.stage.agent_section();
        deployment.file("/etc/node-agent/node.d/00-agent.toml", &agent);
        Some(deployment)
    }

    /// The cloud and what the instance is made of.
    pub(super) fn stage(&mut self) -> &mut Stage {
        &mut self.stage
    }

    /// A file of the AMI.
    pub(super) fn file(&mut self, path: &str, text: &str) {
        self.stage.description().files.push((path.to_owned(), text.as_bytes().to_vec(), 0o644));
    }

    /// A secret with these keys; each value is marked, and the same wherever [`value`] is asked for it.
    pub(super) fn secret(&mut self, name: &str, keys: &[&str]) {
        let values = keys.iter().map(|key| ((*key).to_owned(), serde_json::json!(value(key))));
        let values: serde_json::Map<_, _> = values.collect();
        self.stage.cloud.put_secret(name, &serde_json::Value::Object(values).to_string());
    }

    /// See [`push`].
    pub(super) fn image(&self, repository: &str, tag: &str, environment: &[(&str, &str)]) {
        push(&self.stage, repository, tag, environment);
    }

    /// Boots the instance, waits until user data has ended well and the node is ready.
    #[track_caller]
    pub(super) fn start(self) -> Node {
        self.start_seeing(|_| {})
    }

    /// The same; every status up to there is shown to `seen`.
    #[track_caller]
    pub(super) fn start_seeing(self, seen: impl Fn(&serde_json::Value)) -> Node {
        let node = self.start_until("the node to be ready", |status| {
            seen(status);
            status["node"]["state"] == "ready"
        });
        assert_eq!(node.status["problems"], serde_json::json!([]));
        node
    }

    /// Boots the instance, waits until user data has ended well and the status is as wanted.
    #[track_caller]
    pub(super) fn start_until(mut self, what: &str, wanted: impl Fn(&serde_json::Value) -> bool) -> Node {
        self.stage.boot(&self.node_toml).unwrap();
        let (code, output) = self.stage.wait_for_user_data(BOOTSTRAP_DEADLINE).unwrap();
        assert_eq!(code, 0, "{output}");
        let status = self.stage.wait_for_status(what, READY_DEADLINE, wanted).unwrap();
        Node::new(self.stage, status)
    }
}

/// Pushes an image of the sample application, told how to behave by `environment`, with accounts as most base images
/// have them (`node` is that of Node's). No entry point, so that `command` is looked up in the PATH.
pub(super) fn push(stage: &Stage, repository: &str, tag: &str, environment: &[(&str, &str)]) {
    let mut recipe = Recipe::of_program(PROGRAM, stage.sample().to_vec());
    recipe.entrypoint.clear();
    recipe.command = vec!["app".to_owned()];
    let accounts = "root:x:0:0::/root:/\nnode:x:1000:1000::/home/node:/\n";
    recipe.layers.push(vec![
        Entry::File("etc/passwd".to_owned(), 0o644, accounts.into()),
        Entry::Link("usr/local/bin/celery".to_owned(), "app".to_owned()),
    ]);
    let told = environment.iter().chain(&[("PATH", "/usr/local/bin:/usr/bin:/bin")]);
    let recipe = told.fold(recipe, |recipe, (name, value)| recipe.env(name, value));
    stage.push_to(repository, &recipe.build().unwrap(), tag).unwrap();
}

/// The value of a secret's key: marked, so that a search finds where it went.
pub(super) fn value(key: &str) -> String {
    format!("marked-7c1d90-{key}")
}
