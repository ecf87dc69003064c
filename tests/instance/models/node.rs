//! A node with a model server, and what is looked at on it.

use super::scene::{PATIENCE, Scene};
use harness::instance::Answer;
use harness::stage::REGISTRY;
use harness::wait::wait_for;
use serde_json::Value;

/// Where the volume is mounted, and the server's folder on it.
pub(crate) const VOLUME: &str = "/mnt/models";
pub(crate) const FOLDER: &str = "/mnt/models/models";

/// A scene in which models are served.
pub(crate) struct Node {
    pub(crate) scene: Scene,
}

/// The volume at [`VOLUME`].
pub(crate) const ON_A_VOLUME: (&str, &str) =
    ("[volumes.models]\ndevice = \"/dev/sdf\"\nmount = \"/mnt/models\"\nwait = \"1s\"\n", VOLUME);

/// `[agent]`, the sections of `place` and its path for the server's folder, the server with `service` in its section,
/// `models` at the end.
pub(crate) fn node_toml(scene: &Scene, place: (&str, &str), service: &str, models: &str) -> String {
    let agent = scene.stage.agent_section();
    let (volumes, path) = place;
    format!(
        r#"{agent}
{volumes}
[services.ollama]
image = "{REGISTRY}/ollama/ollama:0.5.4"
mounts = ["{path}:/root/.ollama"]
stop_timeout = "2s"
{service}
health.http = "11434/"
update.every = "never"

{models}
"#
    )
}

/// Model `name` in what `agentctl models --json` or `agentctl status --json` said.
pub(crate) fn model<'a>(said: &'a Value, name: &str) -> &'a Value {
    let models = said["models"].as_array().map(Vec::as_slice).unwrap_or_default();
    models.iter().find(|model| model["name"] == name).unwrap_or(&Value::Null)
}

/// A digest as pages for people show it.
pub(crate) fn short(digest: &str) -> &str {
    &digest["sha256:".len()..][..12]
}

impl Node {
    pub(crate) fn shell(&self, line: &str) -> Answer {
        self.scene.stage.instance().shell(line)
    }

    /// `agentctl models --json`; `null` where it says nothing.
    pub(crate) fn models(&self) -> Value {
        let answer = self.scene.stage.instance().run(["agentctl", "models", "--json"]);
        serde_json::from_str(&answer.stdout).unwrap_or_default()
    }

    /// Waits until `agentctl models` is as wanted.
    #[track_caller]
    pub(crate) fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let seen = wait_for(what, 2 * PATIENCE, || {
            let models = self.models();
            if wanted(&models) { Ok(models) } else { Err(format!("{models:#}")) }
        });
        seen.unwrap_or_else(|error| panic!("{error}\n{}", self.scene.story()))
    }

    /// Waits until a model is in that state and of that version.
    #[track_caller]
    pub(crate) fn until_model(&self, name: &str, state: &str, digest: &str) -> Value {
        self.until(&format!("{name} to be {state}, {digest}"), |models| {
            let model = model(models, name);
            model["state"] == state && model["digest"] == digest
        })
    }

    /// `agentctl models ARGUMENTS`
    pub(crate) fn command(&self, arguments: &[&str]) -> Answer {
        let command = ["agentctl", "models"].into_iter().chain(arguments.iter().copied());
        self.scene.stage.instance().run(command)
    }

    /// Codes and messages of `problems[]`.
    fn complaints(&self) -> Vec<(String, String)> {
        let status = self.scene.stage.status().unwrap_or_else(|answer| panic!("{answer}"));
        let problems = status["problems"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        problems.iter().map(|problem| (text(&problem["code"]), text(&problem["message"]))).collect()
    }

    /// Codes of `problems[]`.
    pub(crate) fn problems(&self) -> Vec<String> {
        self.complaints().into_iter().map(|(code, _)| code).collect()
    }

    /// The message of the problem with that code.
    pub(crate) fn problem(&self, code: &str) -> Option<String> {
        self.complaints().into_iter().find(|(found, _)| found == code).map(|(_, message)| message)
    }

    /// Asks the server itself, where the agent finds it.
    #[track_caller]
    pub(crate) fn server(&self, path: &str, body: Option<&Value>) -> Value {
        let endpoint = self.models()["server"]["endpoint"].as_str().unwrap_or_default().to_owned();
        let url = format!("{endpoint}{path}");
        let told = body.map(Value::to_string);
        let data = told.iter().flat_map(|text| ["--data", text.as_str()]);
        let command =
            ["curl", "-sS", "--fail", "--max-time", "20"].into_iter().chain(data).chain([url.as_str()]);
        let text = self.scene.stage.instance().run(command).expect_success();
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Names and digests in the server's memory, and the bytes of each in all and on GPUs.
    pub(crate) fn in_memory(&self) -> Vec<(String, String, u64, u64)> {
        let loaded = self.server("/api/ps", None)["models"].as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let number = |value: &Value| value.as_u64().unwrap_or_default();
        let one = |model: &Value| {
            let digest = format!("sha256:{}", text(&model["digest"]));
            (text(&model["name"]), digest, number(&model["size"]), number(&model["size_vram"]))
        };
        loaded.iter().map(one).collect()
    }

    /// The server's container: id and when it was started.
    #[track_caller]
    pub(crate) fn container(&self) -> String {
        let list = "docker ps -q --no-trunc --filter label=node-agent.service=ollama";
        let inspect = format!("docker inspect --format '{{{{.Id}}}} {{{{.State.StartedAt}}}}' $({list})");
        self.shell(&inspect).expect_success().trim().to_owned()
    }

    /// Paths in the server's folder.
    pub(crate) fn files(&self) -> Vec<String> {
        let listed =
            self.shell(&format!("cd {FOLDER} && find blobs manifests -type f | sort")).expect_success();
        listed.lines().map(str::to_owned).collect()
    }

    /// Requests for layers that the registry has had.
    pub(crate) fn layers_asked(&self) -> usize {
        let served = self.scene.stage.models().served();
        served.iter().filter(|served| served.path.contains("/blobs/")).count()
    }
}
