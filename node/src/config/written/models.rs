//! `[models]` as typed.

use super::Reclaim;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Models that a model server has to have.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Models {
    /// Who serves them: the name of a service, or the `http://HOST:PORT` (or `https://`) of a server that is there already.
    /// Without it the service `ollama` where there is one, else `http://127.0.0.1:11434`. A service is reached on the port
    /// of its `OLLAMA_HOST`, else 11434, and gets `OLLAMA_NOPRUNE = "1"` unless its `environment` says otherwise: the agent
    /// cleans up itself.
    pub(in crate::config) server: Option<String>,
    /// Where a server at a URL has its models on this host: the folder with `blobs` and `manifests`. Without it nothing is
    /// known of the room for them, and nothing is read ahead. A service's is found through its `mounts`, from its
    /// `OLLAMA_MODELS`, else `/root/.ollama/models`; it is not written for one.
    pub(in crate::config) directory: Option<String>,
    /// How often the registry is asked what a tag names, from `1s` to `720h`, or `never`. Models with a `digest` are not asked
    /// for.
    pub(in crate::config) every: String,
    /// How much of the file system with the models stays free: a pull that would leave less is refused. A size such as `2g`;
    /// `0` for none.
    pub(in crate::config) reserve: String,
    /// Which models that are not in `pull` are removed. Of a model that is, the version before this one stays, whatever is
    /// written here.
    pub(in crate::config) reclaim: Reclaim,
    /// For how long a model stays after it was in `pull` last, and what came of a pull that nobody wants any more, from `0s` to
    /// `8760h`. Where there is no room for a model that is wanted, they go before their time.
    pub(in crate::config) unused_for: String,
    /// Whether the files of a model are read into memory before its first load after boot, fast and in order, since a
    /// volume made from a snapshot is slow at first: `"unlimited"`, `"off"`, or at most so much per second, such as
    /// `"100m"`, from `1m`.
    pub(in crate::config) prewarm: String,
    /// For the server to load one model, from `1s` to `24h`.
    pub(in crate::config) load_deadline: String,
    /// Models to have, by name as Ollama reads it: `[HOST/][NAMESPACE/]MODEL[:TAG]`, `http://` before a registry without TLS. The
    /// name is the key: in another file, such as a copy of `models.lock` in `node.d`, a model has to be spelt the same, with
    /// or without `:latest`. Tags have at most 60 characters, and none has `.kept-` in it.
    pub(in crate::config) pull: BTreeMap<String, Model>,
}

impl Default for Models {
    fn default() -> Models {
        Models {
            server: None,
            directory: None,
            every: "1h".to_owned(),
            reserve: "2g".to_owned(),
            reclaim: Reclaim::Ours,
            unused_for: "168h".to_owned(),
            prewarm: "unlimited".to_owned(),
            load_deadline: "30m".to_owned(),
            pull: BTreeMap::new(),
        }
    }
}

/// A model to have.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct Model {
    /// Pins it to the version with this digest, `sha256:` and 64 hexadecimal digits: another one is refused. Without it the
    /// tag is followed.
    pub(in crate::config) digest: Option<String>,
    /// It stays in the server's memory, and is loaded again after a restart of the server.
    pub(in crate::config) keep_loaded: bool,
    /// The node is not ready without it: loaded where it is kept loaded, else present. Without it, what `keep_loaded` says.
    pub(in crate::config) required: Option<bool>,
    /// What a new version has to answer before it counts as good; one that fails is taken back. Without it nothing is asked.
    pub(in crate::config) smoke: Option<Smoke>,
}

/// What a new version has to answer.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["prompt"]))]
pub(in crate::config) struct Smoke {
    /// What it is asked.
    pub(in crate::config) prompt: Option<String>,
    /// What its answer has to contain, in upper or lower case. Without it any answer will do that is not empty.
    pub(in crate::config) expect: Option<String>,
    /// For the answer, from `1s` to `10m`.
    pub(in crate::config) within: String,
}

impl Default for Smoke {
    fn default() -> Smoke {
        Smoke { prompt: None, expect: None, within: "2m".to_owned() }
    }
}
