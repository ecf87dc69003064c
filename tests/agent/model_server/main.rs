//! The stand-in for the model server, held against what is known of Ollama, and against a real one where `ollama` is on
//! the PATH: the same exchanges with both, and what is seen of them compared.

#![recursion_limit = "256"]
#![expect(clippy::unwrap_used, reason = "a failed step of a test ends it")]

mod exchanges;
mod seen;
mod server;

use harness::requirements::{is_on_path, skipped, tried};
use serde_json::{Value, json};
use server::Server;

const SEED: u64 = 20_261_122;
const STAND_IN: &str = "target/tools/model-double";

/// What is seen of the stand-in; `None` where it is not built, which is said.
async fn of_the_stand_in() -> Option<Value> {
    let program = harness::stage::workspace().join(STAND_IN);
    if !program.is_file() {
        skipped(&format!("no {STAND_IN}; run make dist"));
        return None;
    }
    Some(exchanges::all(&Server::start(&program, &[]), SEED).await)
}

/// Source: ollama `server/routes.go`, `server/images.go`, `api/types.go`, `docs/api.md`.
#[tokio::test(flavor = "multi_thread")]
async fn the_stand_in_answers_as_the_api_is_documented() {
    let Some(seen) = of_the_stand_in().await else { return };
    let details = json!({
        "parent_model": "text", "format": "text", "family": "text", "families": ["text"], "parameter_size": "text",
        "quantization_level": "text",
    });
    let missing = json!({"status": 404, "error": "model 'nobody:1' not found"});
    let expected = json!({
        "root": {"status": 200, "text": "Ollama is running"},
        "version": {"status": 200, "shape": {"version": "text"}},
        "no models": {"status": 200, "shape": {"models": []}},
        "none loaded": {"status": 200, "shape": {"models": []}},
        "show a missing one": missing, "load a missing one": missing, "delete a missing one": missing,
        "copy a missing one": {"status": 404, "error": "model \"nobody:1\" not found"},
        "pull without a body": {"status": 400, "error": "missing request body"},
        "pull a missing one": {
            "status": 200, "lines": ["pulling manifest"], "error": "pull model manifest: file does not exist",
        },
        "pull": {
            "status": 200, "fields": ["completed", "digest", "status", "total"],
            "lines": [
                "pulling manifest", "pulling LAYER", "verifying sha256 digest", "writing manifest", "success",
            ],
            "digests are shortened": true,
        },
        "its digest is that of the registry": true,
        "its size is that of the registry": true,
        "its name is short": true,
        "tags": {"status": 200, "shape": {"models": [{
            "name": "text", "model": "text", "modified_at": "time", "size": "number", "digest": "text",
            "details": details,
        }]}},
        "files": {"blobs": 4, "lengths are the manifest's": true, "manifest is the registry's": true},
        "pull again": {"blobs asked for": 0, "last": "success"},
        "pull without lines": {"status": 200, "shape": {"status": "text"}},
        "copy": {"status": 200, "text": ""},
        "both names mean the same": true,
        "pull what the tag means now": {"last": "success", "weights asked for": 0},
        "the copy means what it meant": true,
        "delete": {"status": 200, "text": "", "blobs before": 5, "blobs after": 4},
        "a cut pull leaves": {"blob": false, "partial of full length": true, "part": ["Completed", "N", "Offset", "Size"]},
        "taken up again": {"last": "success", "fetched again": 0},
        "show": {"status": 200, "shape": {
            "capabilities": ["text"], "details": details, "model_info": {"general.architecture": "text"},
            "modelfile": "text", "modified_at": "time", "template": "text",
        }},
        "load": {"status": 200, "shape": {
            "created_at": "time", "done": "flag", "done_reason": "text", "model": "text", "response": "text",
        }},
        "loaded": {"status": 200, "shape": {"models": [{
            "name": "text", "model": "text", "size": "number", "digest": "text", "details": details,
            "expires_at": "time", "size_vram": "number", "context_length": "number",
        }]}},
        "unload": {"status": 200, "reason": "unload"},
    });
    let differences = seen::differences(&expected, &seen, seen::Strict::Both);
    assert!(differences.is_empty(), "{}\nall that was seen: {seen:#}", differences.join("\n"));
    tried(&format!("{} exchanges, seed {SEED}", seen.as_object().map_or(0, serde_json::Map::len)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stand_in_answers_as_the_real_server_does() {
    if !is_on_path("ollama") {
        return skipped("no ollama on the PATH; the double was not compared with it");
    }
    let Some(mut seen) = of_the_stand_in().await else { return };
    let mut real = exchanges::all(&Server::start("ollama".as_ref(), &["serve"]), SEED).await;
    // The model has the head of one and no network behind it: a server may refuse to load it.
    if real["load"]["status"] != 200 {
        skipped(&format!("the real server does not load the model made here: {}", real["load"]));
        for name in ["load", "loaded", "unload"] {
            for side in [&mut seen, &mut real] {
                side.as_object_mut().map(|side| side.remove(name));
            }
        }
    }
    let differences = seen::differences(&seen, &real, seen::Strict::First);
    assert!(differences.is_empty(), "{}\nthe real server: {real:#}", differences.join("\n"));
    tried(&format!("{} exchanges with both", seen.as_object().map_or(0, serde_json::Map::len)));
}
