//! What is in memory: `/api/ps`, `/api/generate`, `/api/embed`.

use std::cmp::Reverse;
use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{Server, ended, model, refused};
use crate::answer::{self, Answer, Line};
use crate::host;
use crate::journal::Entry;
use crate::load::{Failed, Use, Wanted};
use crate::memory::KeepAlive;
use crate::weights::{self, Capability};

/// Tokens, by the memory of the GPUs.
const CONTEXT: [(u64, u32); 2] = [(47 << 30, 262_144), (23 << 30, 32_768)];
const SMALL_CONTEXT: u32 = 4096;

impl Server {
    pub(super) fn ps(&self) -> Value {
        let mut loaded = self.loader.loaded(host::now());
        loaded.sort_by_key(|loaded| Reverse(loaded.expires));
        let context = CONTEXT.iter().find(|(vram, _)| self.settings.vram >= *vram);
        let context = context.map_or(SMALL_CONTEXT, |(_, tokens)| *tokens);
        let models = loaded.into_iter().map(|loaded| {
            json!({
                "name": loaded.name, "model": loaded.name, "size": loaded.size, "digest": loaded.digest,
                "details": loaded.details, "expires_at": loaded.expires, "size_vram": loaded.vram,
                "context_length": context,
            })
        });
        json!({"models": models.collect::<Vec<Value>>()})
    }

    pub(super) async fn generate(&self, request: &Value, entry: Entry) -> Answer {
        let wanted = match self.wanted(request) {
            Ok(wanted) => wanted,
            Err((status, why)) => return refused(entry, status, &why),
        };
        let prompt = request["prompt"].as_str().unwrap_or_default();
        if prompt.is_empty() && wanted.keep_alive == Some(KeepAlive(Duration::ZERO)) {
            self.loader.unload(&wanted);
            return ended(entry, answer::json(200, &done(request, "", "unload")), "success");
        }
        if weights::capability(&wanted.file(&self.store)) != Some(Capability::Completion) {
            return refused(entry, 400, &format!("{:?} does not support generate", model(request)));
        }
        let began = host::now();
        let used = match self.loader.load(&wanted).await {
            Ok(used) => used,
            Err(Failed(status, why)) => return refused(entry, status, &why),
        };
        if prompt.is_empty() {
            return ended(entry, answer::json(200, &done(request, "", "load")), "success");
        }
        let answer = self.words(&wanted, &used, prompt);
        self.say(request, &answer, (entry, began))
    }

    /// What a prompt is answered with.
    fn words(&self, wanted: &Wanted, used: &Use, prompt: &str) -> String {
        let nonsense = "@@@@@@@@@@@@";
        match self.faults.take("wrong_answer", &wanted.subject()) {
            Some(fault) => fault.text(nonsense),
            None if used.sound => format!("You said: {prompt}"),
            None => nonsense.to_owned(),
        }
    }

    fn say(&self, request: &Value, text: &str, (entry, began): (Entry, Timestamp)) -> Answer {
        let nanoseconds = u64::try_from(host::now().duration_since(began).as_nanos()).unwrap_or(0);
        let mut last = done(request, text, "stop");
        let measured = json!({
            "context": [1, 2, 3], "total_duration": nanoseconds, "load_duration": nanoseconds,
            "prompt_eval_count": 3, "prompt_eval_duration": 1_000_000, "eval_count": 3, "eval_duration": 1_000_000,
        });
        if let (Some(last), Some(measured)) = (last.as_object_mut(), measured.as_object()) {
            last.extend(measured.clone());
        }
        if !request["stream"].as_bool().unwrap_or(true) {
            return ended(entry, answer::json(200, &last), "success");
        }
        let (lines, answered) = mpsc::channel(2);
        let mut first = done(request, text, "");
        first["done"] = json!(false);
        last["response"] = json!("");
        for line in [first, last] {
            lines.try_send(Line::Json(line)).ok();
        }
        entry.end(200, "success");
        answer::lines(answered)
    }

    pub(super) async fn embed(&self, request: &Value, entry: Entry) -> Answer {
        let wanted = match self.wanted(request) {
            Ok(wanted) => wanted,
            Err((status, why)) => return refused(entry, status, &why),
        };
        let texts = match &request["input"] {
            Value::Null => 0,
            Value::String(text) => usize::from(!text.is_empty()),
            Value::Array(texts) if texts.iter().all(Value::is_string) => texts.len(),
            _ => return refused(entry, 400, "invalid input type"),
        };
        let used = self.loader.load(&wanted).await;
        if let Err(Failed(status, why)) = used {
            return refused(entry, status, &why);
        }
        let mut embedded = json!({"model": request["model"], "embeddings": vec![[0.6, 0.8]; texts]});
        if texts > 0 {
            embedded["total_duration"] = json!(1_000_000);
            embedded["load_duration"] = json!(1_000_000);
            embedded["prompt_eval_count"] = json!(texts);
        }
        ended(entry, answer::json(200, &embedded), "success")
    }
}

fn done(request: &Value, text: &str, reason: &str) -> Value {
    let mut line = json!({
        "model": model(request), "created_at": host::now(), "response": text, "done": true,
    });
    if !reason.is_empty() {
        line["done_reason"] = json!(reason);
    }
    line
}
