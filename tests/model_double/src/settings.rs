//! What the environment says.
//!
//! As Ollama reads it: `OLLAMA_HOST` (127.0.0.1:11434), `OLLAMA_MODELS` (/root/.ollama/models), `OLLAMA_NOPRUNE`,
//! `OLLAMA_KEEP_ALIVE` (5m), `OLLAMA_MAX_LOADED_MODELS` (3). The double's own: `DOUBLE_REGISTRY` (base URL that is asked
//! instead of `https://HOST`), `DOUBLE_PART_BYTES` (a part of a blob; Ollama's rule when absent), `DOUBLE_RETRY_SECONDS`
//! (1; first wait after a part failed, doubled each time), `DOUBLE_STALL_SECONDS` (30; a part that brings nothing so long
//! is asked again), `DOUBLE_MEMORY` and `DOUBLE_VRAM` (bytes; absent: no limit, no GPU), `DOUBLE_VERSION`,
//! `DOUBLE_FAULTS` (JSON as `POST /double/faults` takes it).

use std::path::PathBuf;
use std::time::Duration;

use crate::memory::KeepAlive;

/// The program's configuration.
pub(crate) struct Settings {
    /// `HOST:PORT`
    pub(crate) listen: String,
    pub(crate) models: PathBuf,
    pub(crate) prunes: bool,
    pub(crate) keep_alive: KeepAlive,
    pub(crate) loaded_at_most: usize,
    pub(crate) registry: Option<String>,
    pub(crate) part_bytes: Option<u64>,
    pub(crate) retry: Duration,
    pub(crate) stall: Duration,
    pub(crate) memory: Option<u64>,
    pub(crate) vram: u64,
    pub(crate) version: String,
    pub(crate) faults: Option<String>,
}

impl Settings {
    /// `told` gives what the environment says under a name.
    pub(crate) fn read(told: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let number = |name: &str| {
            let parse = |text: String| {
                text.parse::<u64>().map_err(|error| format!("{name} is {text:?}, not a number: {error}"))
            };
            told(name).map(parse).transpose()
        };
        let seconds = |name: &str, default: f64| {
            let parse = |text: String| text.parse::<f64>().ok().filter(|seconds| *seconds >= 0.0);
            let value = told(name).map_or(Some(default), parse).map(Duration::from_secs_f64);
            value.ok_or_else(|| format!("{name} is not a number of seconds"))
        };
        let keep_alive = match told("OLLAMA_KEEP_ALIVE") {
            Some(text) => KeepAlive::of_environment(&text)?,
            None => KeepAlive::DEFAULT,
        };
        let models = told("OLLAMA_MODELS").unwrap_or_else(|| "/root/.ollama/models".to_owned());
        Ok(Self {
            listen: authority(&told("OLLAMA_HOST").unwrap_or_default()),
            models: PathBuf::from(models),
            prunes: !told("OLLAMA_NOPRUNE").is_some_and(|value| value != "0" && value != "false"),
            keep_alive,
            loaded_at_most: usize::try_from(number("OLLAMA_MAX_LOADED_MODELS")?.unwrap_or(0))
                .ok()
                .filter(|most| *most > 0)
                .unwrap_or(3),
            registry: told("DOUBLE_REGISTRY").map(|url| url.trim_end_matches('/').to_owned()),
            part_bytes: number("DOUBLE_PART_BYTES")?,
            retry: seconds("DOUBLE_RETRY_SECONDS", 1.0)?,
            stall: seconds("DOUBLE_STALL_SECONDS", 30.0)?,
            memory: number("DOUBLE_MEMORY")?,
            vram: number("DOUBLE_VRAM")?.unwrap_or(0),
            version: told("DOUBLE_VERSION").unwrap_or_else(|| "0.12.6".to_owned()),
            faults: told("DOUBLE_FAULTS"),
        })
    }

    /// Where the program itself can be asked, on this host.
    pub(crate) fn own_url(&self) -> String {
        format!("http://{}", self.listen.replace("0.0.0.0", "127.0.0.1"))
    }
}

/// `OLLAMA_HOST` may have a scheme, and lack its host or port.
fn authority(text: &str) -> String {
    let text = text.split_once("://").map_or(text, |(_, rest)| rest).trim_end_matches('/');
    let (host, port) = text.rsplit_once(':').unwrap_or((text, "11434"));
    format!("{}:{port}", if host.is_empty() { "127.0.0.1" } else { host })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_completed_as_ollama_does() {
        for (text, whole) in [
            ("", "127.0.0.1:11434"),
            ("0.0.0.0", "0.0.0.0:11434"),
            (":8000", "127.0.0.1:8000"),
            ("http://0.0.0.0:11434/", "0.0.0.0:11434"),
        ] {
            assert_eq!(authority(text), whole, "{text:?}");
        }
    }

    #[test]
    fn a_number_that_is_none_is_refused_by_name() {
        let told = |name: &str| (name == "DOUBLE_VRAM").then(|| "much".to_owned());
        let Err(why) = Settings::read(told) else { panic!("it was taken") };
        assert!(why.contains("DOUBLE_VRAM"), "{why}");
    }
}
