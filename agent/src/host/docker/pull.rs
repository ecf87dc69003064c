//! Pulling an image by digest, and what the engine knows of one that it has.
//!
//! The answer to a pull is a 200 and then a line of JSON per step; a failure is one of these lines. A pull has no
//! limit as a whole, but one on silence; dropping the future closes the connection, which ends the pull in the engine.

use super::refusal::NoAnswer;
use super::{ASK_DEADLINE, Docker, Refusal};
use crate::engine::{EngineError, ImageFacts, PullProgress};
use crate::registry::Login;
use bollard::auth::DockerCredentials;
use bollard::models::{CreateImageInfo, ImageInspect};
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;
use node::config::settings::ImageReference;
use secrecy::ExposeSecret;
use std::collections::BTreeMap;
use std::time::Duration;

/// Silence after which a download is given up. The engine speaks several times a second while bytes arrive, and every
/// second while it waits before a try of its own.
const DOWNLOAD_SILENCE: Duration = Duration::from_secs(60);
/// Silence while layers are unpacked: a slow disk may flush for minutes without a word.
const UNPACK_SILENCE: Duration = Duration::from_secs(300);

impl Docker {
    pub(super) async fn pull_image(
        &self,
        image: &ImageReference,
        digest: &str,
        login: Option<Login>,
        progress: &(dyn Fn(PullProgress) + Send + Sync),
    ) -> Result<(), EngineError> {
        let name = image.pinned(digest);
        let operation = format!("pull {name}");
        let options = CreateImageOptionsBuilder::default().from_image(&name).build();
        let credentials = login.map(|login| credentials(image, &login));
        let mut lines = Box::pin(self.client().create_image(Some(options), None, credentials));
        let mut layers = Layers::default();
        loop {
            let silence = if layers.unpacking() { UNPACK_SILENCE } else { DOWNLOAD_SILENCE };
            let line = match tokio::time::timeout(silence, lines.next()).await {
                Ok(None) => break,
                Ok(Some(line)) => line.map_err(Refusal::from),
                Err(_) => Err(Refusal::Unreachable(Box::new(NoAnswer(silence)))),
            };
            let before = layers.progress();
            layers.note(line.map_err(|refusal| self.refused(&operation, refusal))?);
            if layers.progress() != before {
                progress(layers.progress());
            }
        }
        // The stream of a pull that the engine gave up midway can also just end.
        match self.image_facts(&name).await? {
            Some(_) => Ok(()),
            None => {
                let message = "the engine ended the pull without an error, and does not have the image";
                Err(self.refused(&operation, Refusal::Answered { status: 0, message: message.to_owned() }))
            }
        }
    }

    /// `name` is `registry/repository@digest`.
    pub(super) async fn image_facts(&self, name: &str) -> Result<Option<ImageFacts>, EngineError> {
        match self.ask(ASK_DEADLINE, self.client().inspect_image(name)).await {
            Ok(image) => Ok(Some(facts(image))),
            Err(refusal) if refusal.status() == Some(404) => Ok(None),
            Err(refusal) => Err(self.refused(&format!("inspect image {name}"), refusal)),
        }
    }
}

fn credentials(image: &ImageReference, login: &Login) -> DockerCredentials {
    DockerCredentials {
        username: Some(login.username.clone()),
        password: Some(login.password.expose_secret().to_owned()),
        serveraddress: Some(image.registry.clone()),
        ..DockerCredentials::default()
    }
}

/// A HEALTHCHECK of `["NONE"]` switches off one that the base image declares.
fn facts(image: ImageInspect) -> ImageFacts {
    let test = image.config.and_then(|config| config.healthcheck).and_then(|check| check.test);
    let has_healthcheck =
        test.is_some_and(|test| !matches!(test.first().map(String::as_str), None | Some("NONE")));
    ImageFacts { has_healthcheck }
}

/// The layers of one pull. Pure.
#[derive(Debug, Default)]
struct Layers {
    by_id: BTreeMap<String, Layer>,
}

#[derive(Debug, Default)]
struct Layer {
    current: u64,
    total: u64,
    unpacking: bool,
}

impl Layers {
    fn note(&mut self, line: CreateImageInfo) {
        let (Some(id), Some(status)) = (line.id, line.status) else { return };
        // The first line carries the digest as its id; only layers have one of the states below.
        let bytes =
            |bytes: Option<i64>| bytes.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or_default();
        match status.as_str() {
            "Downloading" => {
                let detail = line.progress_detail.unwrap_or_default();
                let layer = self.by_id.entry(id).or_default();
                layer.current = bytes(detail.current);
                layer.total = bytes(detail.total).max(layer.current);
            }
            "Download complete" | "Verifying Checksum" => {
                let layer = self.by_id.entry(id).or_default();
                layer.current = layer.total;
            }
            "Extracting" => {
                let layer = self.by_id.entry(id).or_default();
                layer.current = layer.total;
                layer.unpacking = true;
            }
            "Pull complete" => self.by_id.entry(id).or_default().unpacking = false,
            _ => {}
        }
    }

    fn unpacking(&self) -> bool {
        self.by_id.values().any(|layer| layer.unpacking)
    }

    fn progress(&self) -> PullProgress {
        let sum = |of: fn(&Layer) -> u64| self.by_id.values().map(of).sum();
        PullProgress { current_bytes: sum(|layer| layer.current), total_bytes: sum(|layer| layer.total) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lines: &str) -> Layers {
        let mut layers = Layers::default();
        for line in lines.lines() {
            layers.note(serde_json::from_str(line).expect("a line of the engine"));
        }
        layers
    }

    #[test]
    fn progress_is_the_sum_over_the_layers() {
        let layers = after(
            r#"{"status":"Pulling from app","id":"sha256:aa"}
{"status":"Pulling fs layer","progressDetail":{},"id":"l1"}
{"status":"Already exists","progressDetail":{},"id":"l0"}
{"status":"Downloading","progressDetail":{"current":10,"total":100},"progress":"[>  ]","id":"l1"}
{"status":"Downloading","progressDetail":{"current":5,"total":50},"id":"l2"}
{"status":"Download complete","progressDetail":{},"id":"l2"}"#,
        );
        assert_eq!(layers.progress(), PullProgress { current_bytes: 60, total_bytes: 150 });
        assert!(!layers.unpacking());
    }

    #[test]
    fn unpacking_is_not_counted_as_arriving() {
        let unpacking = r#"{"status":"Downloading","progressDetail":{"current":100,"total":100},"id":"l1"}
{"status":"Extracting","progressDetail":{"current":1,"total":100},"id":"l1"}"#;
        let layers = after(unpacking);
        assert_eq!(layers.progress(), PullProgress { current_bytes: 100, total_bytes: 100 });
        assert!(layers.unpacking());
        let done = format!("{unpacking}\n{}", r#"{"status":"Pull complete","progressDetail":{},"id":"l1"}"#);
        assert!(!after(&done).unpacking());
    }

    #[test]
    fn whether_an_image_declares_a_healthcheck() {
        for (config, expected) in [
            (r#"{}"#, false),
            (r#"{"Config":null}"#, false),
            (r#"{"Config":{"Healthcheck":{"Test":["CMD","true"]}}}"#, true),
            (r#"{"Config":{"Healthcheck":{"Test":["NONE"]}}}"#, false),
            (r#"{"Config":{"Healthcheck":{"Test":[]}}}"#, false),
        ] {
            let image = serde_json::from_str(config).expect("an inspect document");
            assert_eq!(facts(image).has_healthcheck, expected, "{config}");
        }
    }
}
