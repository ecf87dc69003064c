//! Models on a stage: the registry that has them, and the image of the server that serves them.

use super::{Stage, workspace};
use crate::images::{Entry, Recipe};
use crate::model_registry::ModelRegistry;
use std::error::Error;
use std::fs;

/// Repository of the server, as the examples name it.
const MODEL_SERVER: &str = "ollama/ollama";
/// Where its image has the program.
const PROGRAM: &str = "/bin/ollama";

impl Stage {
    /// The registry of models: `https://registry.ollama.ai` for the instance, plain HTTP for the server's stand-in.
    #[must_use]
    pub fn models(&self) -> &ModelRegistry {
        &self.models
    }

    /// Base URL of the same over plain HTTP, as containers of the instance reach it.
    #[must_use]
    pub fn models_url(&self) -> &str {
        self.models_door.url()
    }

    /// Pushes an image `ollama/ollama` of the stand-in for the model server under `tag` and returns its digest. Its
    /// environment is that of Ollama's image and where the registry is; `environment` comes on top. The image has
    /// `nvidia-smi`.
    ///
    /// # Errors
    /// The program is not built, or what the registry refused.
    pub fn push_model_server(
        &self,
        tag: &str,
        environment: &[(&str, &str)],
    ) -> Result<String, Box<dyn Error>> {
        let program = workspace().join("target/tools/model-double");
        let program =
            fs::read(&program).map_err(|error| format!("{}: {error}; run make dist", program.display()))?;
        let mut recipe = Recipe::of_program(PROGRAM, program)
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("OLLAMA_HOST", "0.0.0.0:11434")
            .env("DOUBLE_REGISTRY", self.models_url());
        for (name, value) in environment {
            recipe = recipe.env(name, value);
        }
        recipe.layers.push(vec![
            Entry::Directory("root".to_owned(), 0o700),
            Entry::Link("usr/bin/nvidia-smi".to_owned(), PROGRAM.to_owned()),
        ]);
        recipe.exposed_ports = vec!["11434/tcp".to_owned()];
        recipe.command = vec!["serve".to_owned()];
        self.push_to(MODEL_SERVER, &recipe.build()?, tag)
    }
}
