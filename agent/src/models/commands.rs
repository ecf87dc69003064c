//! What an operator asks of the loop: taken into its memory or its record, where the next plan finds it, and answered at
//! once, or when a registry has answered; an answer that promises something has it on disk.

use super::files::ModelFiles;
use super::questions::Found;
use super::registry::ModelRegistry;
use super::server::ModelServer as Server;
use super::{Models as Loop, Unsaved, wishes};
use crate::command::{ModelCommand, ModelWish, Refused, Reply, Taken};
use crate::engine::Engine;
use node::config::did_you_mean;
use node::config::settings::{Model, ModelReference, Models};
use node::fault::one_line;

/// An update that waits for its registry.
pub(super) struct Asked {
    /// Full name.
    model: String,
    retry: bool,
    reply: Reply,
}

impl<S, R, F, E> Loop<S, R, F, E>
where
    S: Server,
    R: ModelRegistry,
    F: ModelFiles,
    E: Engine,
{
    pub(super) async fn command(&mut self, command: ModelCommand) {
        let ModelCommand { model, wish, reply } = command;
        let named = model.map(|name| known(&self.wanted.models, &name).cloned()).transpose();
        let answer = match (named, wish) {
            (Err(refused), _) => Err(refused),
            (Ok(None), ModelWish::Pull) => Ok(self.pull_all()),
            (Ok(None), ModelWish::Update { .. }) => Ok(self.update_all()),
            (Ok(None), _) => Err(unnamed(&self.wanted.models)),
            (Ok(Some(model)), ModelWish::Pull) => Ok(self.pull(&model)),
            (Ok(Some(model)), ModelWish::Update { retry }) => return self.update(&model, retry, reply),
            (Ok(Some(model)), wish) => self.wish(&model, &wish),
        };
        let answer = self.durably(answer).await;
        // Whoever asked may have gone; the command stands all the same.
        let _ = reply.send(answer);
    }

    fn pull_all(&mut self) -> Taken {
        for model in self.wanted.models.pull.clone().values() {
            self.begin_anew(model);
        }
        Taken::from("pulling what is missing of every model".to_owned())
    }

    fn pull(&mut self, model: &Model) -> Taken {
        self.begin_anew(model);
        Taken::from(format!("pulling what is missing of {}", model.reference))
    }

    fn update_all(&mut self) -> Taken {
        for model in self.wanted.models.pull.clone().values() {
            self.begin_anew(model);
            self.lookups.begin(&model.reference);
        }
        Taken::from("asking the registry for every model".to_owned())
    }

    /// Asks the registry; [`Loop::found`] goes on when it has answered.
    fn update(&mut self, model: &Model, retry: bool, reply: Reply) {
        let full = model.reference.full();
        let busy = self.asked.iter().any(|asked| asked.model == full);
        let refused = if busy {
            let message = format!("the registry is being asked for {} already", model.reference);
            Err(Refused::new("busy", message, "try again in a moment"))
        } else {
            wishes::refuse_configured(model).or_else(|refused| if retry { Ok(()) } else { Err(refused) })
        };
        if let Err(refused) = refused {
            // Whoever asked may have gone.
            let _ = reply.send(Err(refused));
            return;
        }
        self.lookups.begin(&model.reference);
        self.asked.push(Asked { model: full, retry, reply });
    }

    /// Takes over what a registry said, and goes on with the command that waited for it.
    pub(super) async fn found(&mut self, found: Found) {
        self.lookups.take(&found, (self.clock)());
        let Some(at) = self.asked.iter().position(|asked| asked.model == found.model) else { return };
        let Asked { model: full, retry, reply } = self.asked.swap_remove(at);
        let model = self.wanted.models.pull.values().find(|model| model.reference.full() == full).cloned();
        let answer = match (found.answer, model) {
            (Ok(manifest), Some(model)) => {
                self.follow(&model, &manifest.digest, retry)
            }
            (Ok(_), None) => Err(unnamed(&self.wanted.models)),
            (Err(error), _) => Err(Refused {
                code: error.code,
                message: format!("{}; nothing was changed", error.message),
                hint: error.hint,
            }),
        };
        let answer = self.durably(answer).await;
        // Whoever asked may have gone; the command stands all the same.
        let _ = reply.send(answer);
    }

    /// The model follows node.toml, whose tag names that version.
    fn follow(&mut self, model: &Model, named: &str, retry: bool) -> Result<Taken, Refused> {
        let installed = self.observer.digest(&model.reference);
        let (named, now) = ((named, installed.as_deref()), (self.clock)());
        let record = self.durable.record_mut(&model.reference.full());
        let taken = wishes::update(model, record, (named, retry), now)?;
        self.unsaved.get_or_insert(Unsaved::NotTried);
        self.begin_anew(model);
        tracing::info!("{}", taken.message);
        Ok(taken)
    }

    fn wish(&mut self, model: &Model, wish: &ModelWish) -> Result<Taken, Refused> {
        let full = model.reference.full();
        let known = self.versions(&full, model);
        let now = (self.clock)();
        let record = self.durable.record_mut(&full);
        let taken = match wish {
            ModelWish::Rollback => wishes::rollback(model, record, &known, now)?,
            ModelWish::Pin { digest } => wishes::pin(model, record, (digest.as_deref(), &known), now)?,
            ModelWish::Unpin => wishes::unpin(model, record)?,
            ModelWish::Pull | ModelWish::Update { .. } => return Ok(self.pull(model)),
        };
        self.unsaved.get_or_insert(Unsaved::NotTried);
        self.begin_anew(model);
        tracing::info!("{}", taken.message);
        Ok(taken)
    }

    /// The versions of a model that can be had, as far as that is known.
    fn versions(&self, full: &str, model: &Model) -> wishes::Versions {
        let lookup = self.lookups.answers().get(full).and_then(|lookup| lookup.known.as_ref());
        wishes::Versions {
            here: self.observer.digests(&model.reference),
            installed: self.observer.digest(&model.reference),
            at_registry: lookup.map(|manifest| manifest.digest.clone()),
        }
    }

    /// What failed with that model before counts no longer, and a registry that gave no answer is asked again.
    fn begin_anew(&mut self, model: &Model) {
        let full = model.reference.full();
        self.attempts.retain(|(model, _), attempt| *model != full || attempt.failure.is_none());
        if self.lookups.answers().get(&full).is_some_and(|lookup| lookup.answer.is_err()) {
            self.lookups.begin(&model.reference);
        }
        self.observer.forget();
    }

    /// Writes what was promised before it is. A disk that is full makes it a promise until the agent ends.
    async fn durably(&mut self, answer: Result<Taken, Refused>) -> Result<Taken, Refused> {
        let mut taken = answer?;
        self.save().await;
        if let Some(Unsaved::Failed(error)) = &self.unsaved {
            let forgotten = "it will be forgotten when the agent starts next";
            taken.message.push_str(&format!("; but {forgotten}: {}", one_line(error)));
        }
        Ok(taken)
    }
}

/// The model of that name: as node.toml has it, or as the server lists it.
fn known<'a>(models: &'a Models, name: &str) -> Result<&'a Model, Refused> {
    let full = name.parse::<ModelReference>().map(|reference| reference.full());
    let same = |model: &&Model| full.as_ref().is_ok_and(|full| model.reference.full() == *full);
    let found = models.pull.get(name).or_else(|| models.pull.values().find(same));
    found.ok_or_else(|| Refused {
        code: "model_unknown",
        message: format!("there is no model {name} in node.toml"),
        hint: did_you_mean(name, models.pull.keys().map(String::as_str)).or_else(|| names(models)),
    })
}

fn names(models: &Models) -> Option<String> {
    let names: Vec<_> = models.pull.keys().map(String::as_str).collect();
    (!names.is_empty()).then(|| format!("the models are {}", names.join(", ")))
}

fn unnamed(models: &Models) -> Refused {
    let message = "which model is meant has to be said".to_owned();
    Refused { code: "model_unnamed", message, hint: names(models) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::samples::settings;

    #[test]
    fn a_model_is_found_by_each_of_its_names_and_a_slip_is_pointed_out() {
        let models = settings(&["llama3.2:3b", "https://registry.ollama.ai/library/mistral"]);
        for name in ["llama3.2:3b", "registry.ollama.ai/library/llama3.2:3b"] {
            assert_eq!(known(&models, name).unwrap().reference.to_string(), "llama3.2:3b");
        }
        for name in ["mistral", "mistral:latest", "https://registry.ollama.ai/library/mistral"] {
            assert_eq!(known(&models, name).unwrap().reference.to_string(), "mistral:latest");
        }
        let slip = known(&models, "lama3.2:3b").unwrap_err();
        assert_eq!((slip.code, slip.hint.as_deref()), ("model_unknown", Some("did you mean `llama3.2:3b`?")));
        let strange = known(&models, "?").unwrap_err();
        assert!(strange.hint.unwrap().starts_with("the models are "));
    }
}
