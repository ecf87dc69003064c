//! A models folder as a finished pull leaves it, for a disk that has its models before a server is started.

use super::{Content, MODEL_HOST, ModelRegistry, key};

impl ModelRegistry {
    /// The files of a folder that has the model: paths in it and what they hold.
    ///
    /// # Panics
    /// When there is no such model.
    #[must_use]
    pub fn files(&self, name: &str) -> Vec<(String, Vec<u8>)> {
        let layers = self.layers(name);
        let state = self.state();
        let mut files: Vec<(String, Vec<u8>)> = layers
            .iter()
            .map(|layer| {
                let path = format!("blobs/{}", layer.digest.replacen(':', "-", 1));
                (path, whole(&state.blobs[&layer.digest]))
            })
            .collect();
        let key = key(name);
        let path = format!("manifests/{MODEL_HOST}/{}", key.replacen(':', "/", 1));
        files.push((path, state.models[&key].manifest.clone()));
        files
    }
}

fn whole(content: &Content) -> Vec<u8> {
    let mut bytes = Vec::new();
    while (bytes.len() as u64) < content.size() {
        bytes.extend(content.read(bytes.len() as u64..content.size()));
    }
    bytes
}

#[cfg(test)]
mod tests {
    use crate::model_registry::{Model, ModelRegistry};
    use sha2::{Digest as _, Sha256};

    #[test]
    fn every_file_is_what_its_name_or_the_registry_says() {
        let models = ModelRegistry::default();
        let digest = models.push("me/tiny:1", &Model::new(1, 3_000_000));
        let mut files = models.files("me/tiny:1");
        let (path, manifest) = files.pop().unwrap();
        assert_eq!(path, "manifests/registry.ollama.ai/me/tiny/1");
        assert_eq!(format!("sha256:{:x}", Sha256::digest(&manifest)), digest);
        assert_eq!(files.len(), models.layers("me/tiny:1").len());
        for (path, bytes) in files {
            assert_eq!(path, format!("blobs/sha256-{:x}", Sha256::digest(&bytes)));
        }
    }
}
