//! Names of models: `[SCHEME://][HOST/][NAMESPACE/]MODEL[:TAG]`. Source: ollama `types/model/name.go`.

use std::path::PathBuf;

const HOST: &str = "registry.ollama.ai";
const NAMESPACE: &str = "library";

/// A whole name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub(crate) host: String,
    pub(crate) namespace: String,
    pub(crate) model: String,
    pub(crate) tag: String,
}

impl Name {
    /// What a request calls a model; `None` where that is no name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.split_once("://").map_or(text, |(_, rest)| rest);
        // A digest is part of the grammar, and dropped by the parser.
        let text = text.split_once('@').map_or(text, |(name, _)| name);
        let slash = text.rfind('/').map_or(0, |at| at + 1);
        let (path, tag) = match text[slash..].rfind(':') {
            Some(colon) => (&text[..slash + colon], &text[slash + colon + 1..]),
            None => (text, "latest"),
        };
        let (before, model) = path.rsplit_once('/').unwrap_or((NAMESPACE, path));
        let (host, namespace) = before.rsplit_once('/').unwrap_or((HOST, before));
        Self::of_parts([host, namespace, model, tag])
    }

    /// The four parts, each checked.
    pub(crate) fn of_parts([host, namespace, model, tag]: [&str; 4]) -> Option<Self> {
        let good = is_part(host, 350, ".-_:")
            && is_part(namespace, 80, "-_")
            && is_part(model, 80, "-_.")
            && is_part(tag, 80, "-_.");
        let [host, namespace, model, tag] = [host, namespace, model, tag].map(str::to_owned);
        good.then_some(Self { host, namespace, model, tag })
    }

    /// Its manifest's place below `manifests`.
    pub(crate) fn path(&self) -> PathBuf {
        [&self.host, &self.namespace, &self.model, &self.tag].into_iter().collect()
    }

    /// The shortest form that means the same; the tag is always there.
    pub(crate) fn short(&self) -> String {
        let Self { host, namespace, model, tag } = self;
        match (host == HOST, namespace == NAMESPACE) {
            (true, true) => format!("{model}:{tag}"),
            (true, false) => format!("{namespace}/{model}:{tag}"),
            (false, _) => format!("{host}/{namespace}/{model}:{tag}"),
        }
    }
}

fn is_part(text: &str, at_most: usize, marks: &str) -> bool {
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
    first && text.len() <= at_most && text.chars().all(|c| c.is_ascii_alphanumeric() || marks.contains(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_completed_and_shortened_as_the_server_does() {
        for (text, short, path) in [
            ("llama3.2", "llama3.2:latest", "registry.ollama.ai/library/llama3.2/latest"),
            ("me/m:1", "me/m:1", "registry.ollama.ai/me/m/1"),
            ("http://127.0.0.1:5000/me/m:1", "127.0.0.1:5000/me/m:1", "127.0.0.1:5000/me/m/1"),
            ("m:1@sha256:0", "m:1", "registry.ollama.ai/library/m/1"),
        ] {
            let name = Name::parse(text).unwrap();
            assert_eq!((name.short().as_str(), name.path().to_str().unwrap()), (short, path));
        }
        for wrong in ["", ":tag", "a b", "a/b/c/d:e", "-m", "m:"] {
            assert_eq!(Name::parse(wrong), None, "{wrong:?}");
        }
    }
}
