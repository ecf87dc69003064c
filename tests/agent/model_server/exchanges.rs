//! The exchanges, and what is kept of each: what must be the same of two servers, with nothing that may differ.

use crate::seen::shape;
use crate::server::Server;
use harness::http::Answer;
use harness::model_registry::{Door, Kept, Model, ModelRegistry, RegistryFault, Trouble, kept_in};
use harness::wait::wait_for_async;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::time::Duration;

const TINY: u64 = 200_000;
const MEBIBYTE: u64 = 1 << 20;
const DEADLINE: Duration = Duration::from_secs(30);

/// What the exchanges work with.
struct Scene<'a> {
    server: &'a Server,
    models: ModelRegistry,
    door: Door,
    seen: Value,
}

/// All of them, in order.
pub(crate) async fn all(server: &Server, seed: u64) -> Value {
    let models = ModelRegistry::default();
    let door = models.listen("127.0.0.1:0").await.unwrap();
    let mut scene = Scene { server, models, door, seen: json!({}) };
    server.until_it_answers().await;
    scene.nothing_there().await;
    scene.pulls(seed).await;
    scene.names(seed).await;
    scene.cut(seed).await;
    scene.memory().await;
    scene.seen
}

fn status_and_shape(answer: &Answer) -> Value {
    json!({"status": answer.status.as_u16(), "shape": shape(&answer.json())})
}

fn status_and_text(answer: &Answer) -> Value {
    json!({"status": answer.status.as_u16(), "text": answer.text()})
}

fn status_and_error(answer: &Answer) -> Value {
    json!({"status": answer.status.as_u16(), "error": answer.json()["error"]})
}

fn lines(answer: &Answer) -> Vec<Value> {
    answer.text().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The last line's status, or its error.
fn last(answer: &Answer) -> Value {
    let line = lines(answer).pop().unwrap_or_default();
    if line["status"].is_null() { line["error"].clone() } else { line["status"].clone() }
}

impl Scene<'_> {
    fn note(&mut self, name: &str, value: Value) {
        self.seen[name] = value;
    }

    /// A name at the registry here.
    fn name(&self, name: &str) -> String {
        format!("http://{}/me/{name}", self.door.authority())
    }

    /// As the server lists it.
    fn listed(&self, name: &str) -> String {
        format!("{}/me/{name}", self.door.authority())
    }

    async fn get(&self, path: &str) -> Answer {
        self.server.ask("GET", path, &Value::Null).await
    }

    async fn pull(&self, name: &str) -> Answer {
        let request = json!({"model": self.name(name), "insecure": true});
        self.server.ask("POST", "/api/pull", &request).await
    }

    /// Digest under which a model is listed, with its prefix.
    async fn digest(&self, name: &str) -> String {
        let tags = self.get("/api/tags").await.json();
        let name = self.listed(name);
        let model =
            tags["models"].as_array().and_then(|models| models.iter().find(|model| model["name"] == name));
        format!("sha256:{}", model.and_then(|model| model["digest"].as_str()).unwrap_or_default())
    }

    fn blobs(&self) -> Vec<(String, u64)> {
        let entries = std::fs::read_dir(self.server.folder().join("blobs")).into_iter().flatten().flatten();
        let blob = |entry: std::fs::DirEntry| {
            (entry.file_name().to_string_lossy().into_owned(), entry.metadata().map_or(0, |file| file.len()))
        };
        entries.map(blob).collect()
    }

    async fn nothing_there(&mut self) {
        let answer = self.get("/").await;
        self.note("root", status_and_text(&answer));
        for (name, path) in
            [("version", "/api/version"), ("no models", "/api/tags"), ("none loaded", "/api/ps")]
        {
            let answer = self.get(path).await;
            self.note(name, status_and_shape(&answer));
        }
        let missing = json!({"model": "nobody:1"});
        let copy = json!({"source": "nobody:1", "destination": "other:1"});
        for (name, method, path, request) in [
            ("show a missing one", "POST", "/api/show", &missing),
            ("load a missing one", "POST", "/api/generate", &missing),
            ("delete a missing one", "DELETE", "/api/delete", &missing),
            ("copy a missing one", "POST", "/api/copy", &copy),
            ("pull without a body", "POST", "/api/pull", &Value::Null),
        ] {
            let answer = self.server.ask(method, path, request).await;
            self.note(name, status_and_error(&answer));
        }
        let answer = self.pull("nobody:1").await;
        let mut said = lines(&answer);
        let error = said.pop().unwrap_or_default();
        let said: Vec<&Value> = said.iter().map(|line| &line["status"]).collect();
        let told = json!({"status": answer.status.as_u16(), "lines": said, "error": error["error"]});
        self.note("pull a missing one", told);
    }

    async fn pulls(&mut self, seed: u64) {
        let digest = self.models.push("me/tiny:1", &Model::new(seed, TINY));
        // Slow enough for lines about the weights.
        self.models.limit(Some(2 * TINY));
        let answer = self.pull("tiny:1").await;
        self.models.limit(None);
        self.note("pull", of_a_pull(&answer));
        let tags = self.get("/api/tags").await;
        self.note("tags", status_and_shape(&tags));
        let listed = &tags.json()["models"][0];
        self.note("its digest is that of the registry", json!(self.digest("tiny:1").await == digest));
        self.note("its size is that of the registry", json!(listed["size"] == self.models.size("me/tiny:1")));
        self.note("its name is short", json!(listed["name"] == self.listed("tiny:1")));
        let layers = self.models.layers("me/tiny:1");
        let blobs = self.blobs();
        let right = layers.iter().all(|layer| {
            blobs.iter().any(|(name, size)| *name == layer.digest.replace(':', "-") && *size == layer.size)
        });
        let place =
            self.server.folder().join("manifests").join(self.listed("tiny").replace("/tiny", "/tiny/1"));
        let manifest = std::fs::read(place).unwrap_or_default();
        let same = format!("sha256:{:x}", Sha256::digest(manifest)) == digest;
        let files = json!({
            "blobs": blobs.len(), "lengths are the manifest's": right, "manifest is the registry's": same,
        });
        self.note("files", files);
        let since = self.models.served().len();
        let again = self.pull("tiny:1").await;
        let asked = self.asked_for_blobs(since);
        self.note("pull again", json!({"blobs asked for": asked, "last": last(&again)}));
        let request = json!({"model": self.name("tiny:1"), "insecure": true, "stream": false});
        let whole = self.server.ask("POST", "/api/pull", &request).await;
        self.note("pull without lines", status_and_shape(&whole));
    }

    fn asked_for_blobs(&self, since: usize) -> usize {
        self.models.served().iter().skip(since).filter(|served| served.path.contains("/blobs/")).count()
    }

    async fn names(&mut self, seed: u64) {
        let before = self.digest("tiny:1").await;
        let copy = json!({"source": self.listed("tiny:1"), "destination": self.listed("tiny:1.kept-0")});
        let answer = self.server.ask("POST", "/api/copy", &copy).await;
        self.note("copy", status_and_text(&answer));
        self.note("both names mean the same", json!(self.digest("tiny:1.kept-0").await == before));
        self.models.push("me/tiny:1", &Model::new(seed, TINY).with_template("{{ .Prompt }} again"));
        let since = self.models.served().len();
        let moved = self.pull("tiny:1").await;
        let weights = self.models.layers("me/tiny:1")[0].digest.clone();
        let asked =
            self.models.served().iter().skip(since).filter(|served| served.path.ends_with(&weights)).count();
        self.note("pull what the tag means now", json!({"last": last(&moved), "weights asked for": asked}));
        let same = self.digest("tiny:1.kept-0").await == before && self.digest("tiny:1").await != before;
        self.note("the copy means what it meant", json!(same));
        let extra = self.blobs().len();
        let gone =
            self.server.ask("DELETE", "/api/delete", &json!({"model": self.listed("tiny:1.kept-0")})).await;
        let mut told = status_and_text(&gone);
        told["blobs before"] = json!(extra);
        told["blobs after"] = json!(self.blobs().len());
        self.note("delete", told);
    }

    /// A registry that falls silent, a client that goes away, and the pull that goes on.
    async fn cut(&mut self, seed: u64) {
        self.models.push("me/big:1", &Model::new(seed + 1, 4 * MEBIBYTE));
        let weights = self.models.layers("me/big:1")[0].clone();
        let trouble = Trouble::Stall(MEBIBYTE);
        self.models.fault(RegistryFault { path: weights.digest.clone(), trouble, times: None });
        let (models, folder) = (self.models.clone(), self.server.folder());
        let ranged = || {
            let of = |served: &harness::model_registry::Served| served.ranged && served.sent == MEBIBYTE;
            if models.served().iter().any(of) { Ok(()) } else { Err("it does not stall yet".to_owned()) }
        };
        let stalled = async {
            wait_for_async("the registry to fall silent", DEADLINE, async || ranged()).await.unwrap();
        };
        let request = json!({"model": self.name("big:1"), "insecure": true});
        self.server.ask_until("/api/pull", &request, stalled).await;
        let of_the_weights = || {
            let kept = kept_in(&folder).into_iter().filter(|kept| kept.digest == weights.digest);
            kept.collect::<Vec<Kept>>()
        };
        let look = async || {
            let kept = of_the_weights();
            if kept.is_empty() { Err("nothing is kept".to_owned()) } else { Ok(kept) }
        };
        let kept = wait_for_async("what came to be kept", DEADLINE, look).await.unwrap();
        let blob = folder.join("blobs").join(weights.digest.replace(':', "-"));
        let beside = |end: &str| std::path::PathBuf::from(format!("{}{end}", blob.display()));
        let part = std::fs::read_to_string(beside("-partial-0")).unwrap_or_default();
        let part: Value = serde_json::from_str(&part).unwrap_or_default();
        let fields: BTreeSet<&String> =
            part.as_object().into_iter().flat_map(serde_json::Map::keys).collect();
        let length = std::fs::metadata(beside("-partial")).map_or(0, |file| file.len());
        let left = json!({
            "blob": blob.exists(), "partial of full length": length == weights.size, "part": fields,
        });
        self.note("a cut pull leaves", left);
        self.models.clear_faults();
        let since = self.models.served().len();
        let again = self.pull("big:1").await;
        let twice = self.models.fetched_again(since, &kept).len();
        self.note("taken up again", json!({"last": last(&again), "fetched again": twice}));
    }

    async fn memory(&mut self) {
        let name = json!({"model": self.listed("tiny:1")});
        let shown = self.server.ask("POST", "/api/show", &name).await;
        self.note("show", status_and_shape(&shown));
        let mut request = name.clone();
        request["keep_alive"] = json!(-1);
        let loaded = self.server.ask("POST", "/api/generate", &request).await;
        self.note("load", status_and_shape(&loaded));
        let there = self.get("/api/ps").await;
        self.note("loaded", status_and_shape(&there));
        request["keep_alive"] = json!(0);
        let gone = self.server.ask("POST", "/api/generate", &request).await;
        let told = json!({"status": gone.status.as_u16(), "reason": gone.json()["done_reason"]});
        self.note("unload", told);
    }
}

/// The statuses in order, each once, and the fields that lines have. Layers are one: a blob that is there within the
/// 60 ms between two lines has none.
fn of_a_pull(answer: &Answer) -> Value {
    let lines = lines(answer);
    let status = |line: &Value| {
        let text = line["status"].as_str().unwrap_or_default();
        if line["digest"].is_string() { "pulling LAYER".to_owned() } else { text.to_owned() }
    };
    let mut said: Vec<String> = lines.iter().map(status).collect();
    said.dedup();
    let numbered = lines.iter().all(|line| {
        let short = line["digest"].as_str().and_then(|digest| digest.get(7..19)).unwrap_or("manifest");
        let text = line["status"].as_str().unwrap_or_default();
        !text.starts_with("pulling ") || text.ends_with(short)
    });
    let fields: BTreeSet<&String> =
        lines.iter().flat_map(|line| line.as_object().into_iter().flat_map(serde_json::Map::keys)).collect();
    json!({"status": answer.status.as_u16(), "fields": fields, "lines": said, "digests are shortened": numbered})
}
