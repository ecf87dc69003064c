//! Questions whether an image exists, on behalf of a person who wants it: for each service at most one at a time, each a
//! task, so that a slow registry keeps neither the loop nor others waiting.

use crate::apply::Tools;
use crate::command::{LOOKUP_DEADLINE, Refused, Reply, Wish};
use crate::engine::Engine;
use crate::registry::{Registry, RegistryError};
use node::config::settings::{ImageReference, ImageVersion};
use std::collections::BTreeSet;
use tokio::task::JoinSet;

/// Whose question it is.
pub(super) struct Asked {
    pub(super) service: String,
    pub(super) wish: Wish,
    pub(super) image: ImageReference,
    pub(super) reply: Reply,
}

/// A question and its answer: the digest.
pub(super) struct Found {
    pub(super) asked: Asked,
    pub(super) result: Result<String, Refused>,
}

/// All questions under way.
#[derive(Default)]
pub(super) struct Lookups {
    services: BTreeSet<String>,
    tasks: JoinSet<Found>,
}

impl Lookups {
    /// Asks; refuses a second question for a service at once, for which of the two would win is anybody's guess.
    pub(super) fn begin<E: Engine, R: Registry>(&mut self, tools: &Tools<E, R>, asked: Asked) {
        if !self.services.insert(asked.service.clone()) {
            let message = format!("the registry is being asked for service {} already", asked.service);
            // Whoever asked may have gone.
            let _ = asked.reply.send(Err(Refused::new("busy", message, "try again in a moment")));
            return;
        }
        let tools = tools.clone();
        self.tasks.spawn(async move {
            let answer = tokio::time::timeout(LOOKUP_DEADLINE, look_up(&tools, &asked.image)).await;
            let result = answer.unwrap_or_else(|_| Err(no_answer(&asked.image))).map_err(|error| Refused {
                code: error.code,
                message: format!("{}; nothing was changed", error.message),
                hint: error.hint,
            });
            Found { asked, result }
        });
    }

    /// The next answer; never, while no question is under way. Cancel safe.
    pub(super) async fn next(&mut self) -> Found {
        loop {
            match self.tasks.join_next().await {
                Some(Ok(found)) => {
                    self.services.remove(&found.asked.service);
                    return found;
                }
                // A panic ends the process.
                Some(Err(error)) => tracing::error!("a look-up broke off: {error}"),
                None => std::future::pending().await,
            }
        }
    }
}

/// An image that the engine has can be run, whatever became of it in the registry.
async fn look_up<E: Engine, R: Registry>(
    tools: &Tools<E, R>,
    image: &ImageReference,
) -> Result<String, RegistryError> {
    let ImageVersion::Digest(digest) = &image.version else {
        return tools.registry.resolve(image).await.map(|resolved| resolved.digest);
    };
    if !matches!(tools.engine.image(image, digest).await, Ok(Some(_))) {
        tools.registry.resolve(image).await?;
    }
    Ok(digest.clone())
}

fn no_answer(image: &ImageReference) -> RegistryError {
    RegistryError {
        code: "registry_unreachable",
        message: format!("no answer for {image} within {} s", LOOKUP_DEADLINE.as_secs()),
        hint: Some("try again; `agentctl status` says whether the registry answers".to_owned()),
    }
}
