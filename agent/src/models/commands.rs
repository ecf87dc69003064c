//! What an operator asks of the loop: taken into its memory or its record, where the next plan finds it, and answered at
//! once, or when a registry has answered; an answer that promises something has it on disk.

use super::files::ModelFiles;
use super::questions::Found;
use super::record::{self, Durable};
use super::registry::{Manifest, ModelRegistry};
use super::server::ModelServer as Server;
use super::{Models as Loop, Unsaved};
use crate::command::{Goal, ModelCommand, ModelWish, Refused, Reply, Taken};
use crate::engine::Engine;
use node::config::did_you_mean;
use node::config::settings::{Model, ModelReference, Models};
use node::fault::one_line;

/// A command that waits for its registry.
pub(super) struct Asked {
    /// Full name.
    model: String,
    wish: ModelWish,
    /// Absent where whoever asked has been answered.
    reply: Option<Reply>,
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
            (Ok(Some(model)), wish @ ModelWish::Update { .. }) => {
                return self.ask_first(&model, wish, reply);
            }
            (Ok(Some(model)), wish) if self.may_be_at_the_registry(&model, &wish) => {
                return self.ask_first(&model, wish, reply);
            }
            (Ok(Some(model)), wish) => self.wish(&model, &wish),
            (Ok(None), ModelWish::Pull) => Ok(self.pull_all()),
            (Ok(None), ModelWish::Update { retry }) => Ok(self.update_all(retry)),
            (Ok(None), _) => Err(unnamed(&self.wanted.models)),
        };
        let answer = self.durably(answer).await;
        // Whoever asked may have gone; the command stands all the same.
        let _ = reply.send(answer);
    }

    fn pull_all(&mut self) -> Taken {
        for model in self.wanted.models.pull.clone().values() {
            self.begin_anew(model);
        }
        Taken::from("what is missing of every model is tried again now".to_owned())
    }

    /// As for one by its name, of each that node.toml does not pin, but for the answer, which comes at once.
    fn update_all(&mut self, retry: bool) -> Taken {
        for model in self.wanted.models.pull.clone().values() {
            let wish = ModelWish::Update { retry };
            if let Err(refused) = self.wish(model, &wish) {
                tracing::info!("{}", one_line(&refused));
                continue;
            }
            // What was published since is lifted from quarantine, too, as soon as the registry names it.
            self.lookups.begin(&model.reference);
            let model = model.reference.full();
            if !self.asked.iter().any(|asked| asked.model == model) {
                self.asked.push(Asked { model, wish, reply: None });
            }
        }
        Taken::from("asking the registry for every model".to_owned())
    }

    /// The version is not known here, and the registry may have been asked too long ago to know it.
    fn may_be_at_the_registry(&mut self, model: &Model, wish: &ModelWish) -> bool {
        let mut durable = self.durable.clone();
        let pins = matches!(wish, ModelWish::Pin { digest: Some(_) });
        pins && self.changed(&mut durable, model, wish).is_err_and(|refused| refused.code == record::UNKNOWN)
    }

    /// Asks the registry; [`Loop::found`] goes on when it has answered.
    fn ask_first(&mut self, model: &Model, wish: ModelWish, reply: Reply) {
        let full = model.reference.full();
        let busy = self.asked.iter().any(|asked| asked.model == full);
        let refused = if busy {
            let message = format!("the registry is being asked for {} already", model.reference);
            Err(Refused::new("busy", message, "try again in a moment"))
        } else if let ModelWish::Update { .. } = wish {
            // On a copy: nothing is changed before the registry has answered.
            let mut durable = self.durable.clone();
            self.changed(&mut durable, model, &wish)
        } else {
            Ok(String::new())
        };
        match refused {
            // Whoever asked may have gone.
            Err(refused) => drop(reply.send(Err(refused))),
            Ok(_) => {
                self.lookups.begin(&model.reference);
                self.asked.push(Asked { model: full, wish, reply: Some(reply) });
            }
        }
    }

    /// Takes over what a registry said, and goes on with the command that waited for it.
    pub(super) async fn found(&mut self, found: Found) {
        self.lookups.take(&found, (self.clock)());
        let Some(at) = self.asked.iter().position(|asked| asked.model == found.model) else { return };
        let Asked { model: full, wish, reply } = self.asked.swap_remove(at);
        let model = self.wanted.models.pull.values().find(|model| model.reference.full() == full).cloned();
        let answer = match (found.answer, model, &wish) {
            (Ok(manifest), Some(model), ModelWish::Update { retry }) => {
                let known = self.lookups().remove(&full).and_then(|lookup| lookup.known);
                self.follow(&model, &known.map_or(manifest.digest, |known| known.digest), *retry)
            }
            (Ok(_), Some(model), wish) => self.wish(&model, wish),
            (Ok(_), None, _) => Err(unnamed(&self.wanted.models)),
            (Err(error), _, _) => Err(Refused {
                code: error.code,
                message: format!("{}; nothing was changed", error.message),
                hint: error.hint,
            }),
        };
        let answer = self.durably(answer).await;
        match (reply, answer) {
            // Whoever asked may have gone; the command stands all the same.
            (Some(reply), answer) => drop(reply.send(answer)),
            (None, Ok(taken)) => tracing::info!("{}", taken.message),
            (None, Err(refused)) => tracing::info!("{}", one_line(&refused)),
        }
    }

    /// The model follows node.toml, whose tag names that version.
    fn follow(&mut self, model: &Model, named: &str, retry: bool) -> Result<Taken, Refused> {
        let name = &model.reference;
        let to = model.digest.as_deref().unwrap_or(named);
        let barred = self.durable.record(&name.full()).and_then(|record| record.barred(to));
        if let Some(barred) = barred.filter(|_| !retry) {
            let message = format!("{name} names {to}, which failed before: {}", barred.cause);
            let hint = format!("`agentctl models update {name} --retry` tries it once more");
            return Err(Refused::new("quarantined", message, hint));
        }
        self.wish(model, &ModelWish::Update { retry })?;
        let who = if model.digest.is_some() { "node.toml" } else { "the registry" };
        let there = self.observer.digest(name).as_deref() == Some(to);
        let what = if there { "which is there already" } else { "to which it goes" };
        let target = Some(Goal { digest: to.to_owned(), at: (self.clock)() });
        Ok(Taken { message: format!("{name}: {who} names {to}, {what}"), target })
    }

    fn wish(&mut self, model: &Model, wish: &ModelWish) -> Result<Taken, Refused> {
        let mut durable = self.durable.clone();
        let message = self.changed(&mut durable, model, wish)?;
        self.durable = durable;
        self.unsaved.get_or_insert(Unsaved::NotTried);
        self.begin_anew(model);
        tracing::info!("{message}");
        let pin = self.durable.record(&model.reference.full()).and_then(|record| record.pin.as_ref());
        let target = pin.map(|pin| Goal { digest: pin.digest.clone(), at: pin.at });
        Ok(Taken { message, target })
    }

    /// The record as the wish makes it, and what will happen.
    fn changed(&mut self, durable: &mut Durable, model: &Model, wish: &ModelWish) -> Result<String, Refused> {
        let now = (self.clock)();
        let observed = self.observed(now);
        record::wish(durable, &record::Asked { model, observed: &observed, now }, wish)
    }

    /// What failed with that model before counts no longer, and a registry that gave no answer, or had not the version
    /// that the model is pinned to, is asked again.
    fn begin_anew(&mut self, model: &Model) {
        let full = model.reference.full();
        self.attempts.retain(|(model, _), attempt| *model != full || attempt.failure.is_none());
        let pin = self.durable.record(&full).and_then(|record| record.pin.as_ref()).map(|pin| &pin.digest);
        let lacks = model
            .digest
            .as_ref()
            .or(pin)
            .filter(|pin| self.observer.digest(&model.reference).as_ref() != Some(*pin));
        let elsewhere = |manifest: &Manifest| lacks.is_some_and(|lacks| *lacks != manifest.digest);
        let lookup = self.lookups.answers().get(&full);
        if lookup.is_some_and(|lookup| lookup.answer.as_ref().map_or(true, elsewhere)) {
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
    use crate::models::tests::samples::settings;

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
