//! References to images and the hosts of registries.
//! Grammar: <https://github.com/distribution/reference>, without the forms that name no registry content.

use crate::config::findings::Wrong;
use crate::config::settings::{ImageReference, ImageVersion};
use crate::fault::Hint;
use std::str::FromStr;

/// What short names are completed with.
const DOCKER_HUB: &str = "docker.io";

/// The registry's own limit on the name of a repository.
const REPOSITORY_AT_MOST: usize = 255;

/// `[HOST[:PORT]/]REPOSITORY[:TAG][@DIGEST]`. With both, the digest decides and the tag is a remark.
pub(in crate::config) fn reference(text: &str) -> Result<ImageReference, Wrong> {
    let wrong = |why: &str| Wrong::new(format!("\"{text}\" is not an image: {why}"));
    if text.contains("://") {
        return Err(wrong("it begins with a scheme").hint("write HOST/REPOSITORY:TAG"));
    }
    let (named, digest) = match text.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (text, None),
    };
    let slash = named.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match named[slash..].rfind(':') {
        Some(colon) => (&named[..slash + colon], Some(&named[slash + colon + 1..])),
        None => (named, None),
    };
    let (registry, repository) = split_registry(name);
    registry_host(&registry).map_err(|why| why.about(&format!("\"{text}\" is not an image")))?;
    check_repository(&repository).map_err(|why| {
        let lower = repository.to_lowercase();
        let hint = (lower != repository && check_repository(&lower).is_ok())
            .then(|| format!("write it in lower case: {}", text.replace(name, &name.to_lowercase())));
        wrong(&why).hint_if_any(hint)
    })?;
    if let Some(tag) = tag {
        check_tag(tag).map_err(|why| wrong(&why))?;
    }
    let version = match digest {
        Some(text) => ImageVersion::Digest(self::digest(text).map_err(|why| wrong(&why))?),
        None => ImageVersion::Tag(tag.unwrap_or("latest").to_owned()),
    };
    Ok(ImageReference { registry, repository, version })
}

/// A text that is no reference to an image or a model: which, why, and what to write instead where that is known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ReferenceError {
    message: String,
    hint: Option<String>,
}

impl Hint for ReferenceError {
    fn hint(&self) -> Option<String> {
        self.hint.clone()
    }
}

impl From<Wrong> for ReferenceError {
    fn from(wrong: Wrong) -> ReferenceError {
        let (message, hint) = wrong.into_words();
        ReferenceError { message, hint }
    }
}

/// As in node.toml, for what a person writes elsewhere.
impl FromStr for ImageReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<ImageReference, ReferenceError> {
        reference(text).map_err(ReferenceError::from)
    }
}

fn split_registry(name: &str) -> (String, String) {
    let is_host = |first: &str| first.contains(['.', ':']) || first == "localhost";
    let (registry, repository) = match name.split_once('/') {
        Some((first, rest)) if is_host(first) => (first, rest),
        _ => (DOCKER_HUB, name),
    };
    let registry = if registry == "index.docker.io" { DOCKER_HUB } else { registry };
    let repository = if registry == DOCKER_HUB && !repository.contains('/') {
        format!("library/{repository}")
    } else {
        repository.to_owned()
    };
    (registry.to_owned(), repository)
}

fn check_repository(repository: &str) -> Result<(), String> {
    let shown = repository.strip_prefix("library/").unwrap_or(repository);
    if repository.len() > REPOSITORY_AT_MOST {
        return Err(format!("the repository has more than {REPOSITORY_AT_MOST} characters"));
    }
    if shown.is_empty() {
        return Err("the repository is missing".to_owned());
    }
    if shown.chars().any(|c| c.is_uppercase()) {
        return Err(format!("the repository `{shown}` has upper-case letters"));
    }
    if repository.split('/').all(is_component) {
        Ok(())
    } else {
        Err(format!("`{shown}` is not the name of a repository"))
    }
}

/// Lower-case letters and digits, with single separators between them: `.`, `_`, `__`, or any number of `-`.
fn is_component(component: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let edges = component.starts_with(word) && component.ends_with(word);
    let mut separators = component.split(word).filter(|separator| !separator.is_empty());
    edges
        && separators
            .all(|separator| matches!(separator, "." | "_" | "__") || separator.bytes().all(|b| b == b'-'))
}

fn check_tag(tag: &str) -> Result<(), String> {
    let good = |(index, c): (usize, char)| {
        c.is_ascii_alphanumeric() || c == '_' || (index > 0 && (c == '.' || c == '-'))
    };
    if !tag.is_empty() && tag.len() <= 128 && tag.chars().enumerate().all(good) {
        Ok(())
    } else {
        Err(format!("`{tag}` is not a tag"))
    }
}

/// `sha256:` and 64 digits, of an image's or a model's manifest.
pub(in crate::config) fn digest(text: &str) -> Result<String, String> {
    match text.strip_prefix("sha256:") {
        Some(hex) if is_lower_hex(hex) && hex.len() == 64 => Ok(text.to_owned()),
        _ => Err("a digest is sha256: and 64 hexadecimal digits in lower case".to_owned()),
    }
}

pub(in crate::config) fn is_lower_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// `HOST` or `HOST:PORT` of a registry.
pub(in crate::config) fn registry_host(text: &str) -> Result<(), Wrong> {
    let wrong = |why: &str| Wrong::new(format!("`{text}` is not the host of a registry: {why}"));
    if text.contains("://") || text.contains('/') {
        return Err(wrong("only HOST or HOST:PORT is").hint("leave out the scheme and the path"));
    }
    let (host, port) = match text.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    let label = |label: &str| {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        !label.is_empty() && !label.starts_with('-') && !label.ends_with('-') && label.chars().all(inner)
    };
    if host.chars().any(|c| c.is_ascii_uppercase()) {
        return Err(wrong("it has upper-case letters").hint(format!("write {}", text.to_lowercase())));
    }
    if !host.split('.').all(label) {
        return Err(wrong("it is not a host name"));
    }
    match port.map(str::parse::<u16>) {
        Some(Err(_) | Ok(0)) => Err(wrong("the port is not a number from 1 to 65535")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_that_are_taken() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        let cases = [
            ("nginx".to_owned(), "docker.io/library/nginx:latest".to_owned()),
            ("ollama/ollama:0.5".to_owned(), "docker.io/ollama/ollama:0.5".to_owned()),
            ("index.docker.io/nginx".to_owned(), "docker.io/library/nginx:latest".to_owned()),
            ("localhost/app".to_owned(), "localhost/app:latest".to_owned()),
            (
                "localhost:5000/a/b_c__d-e.f:V1.0-rc".to_owned(),
                "localhost:5000/a/b_c__d-e.f:V1.0-rc".to_owned(),
            ),
            (
                "123456789012.dkr.ecr.eu-north-1.amazonaws.com/algoitny:latest".to_owned(),
                "123456789012.dkr.ecr.eu-north-1.amazonaws.com/algoitny:latest".to_owned(),
            ),
            (format!("host.example/app@{digest}"), format!("host.example/app@{digest}")),
            (format!("host.example:5000/app:v1@{digest}"), format!("host.example:5000/app@{digest}")),
        ];
        for (text, wanted) in cases {
            assert_eq!(reference(&text).map(|image| image.to_string()), Ok(wanted), "{text}");
        }
    }

    #[test]
    fn references_that_are_refused() {
        let cases = [
            "",
            ":",
            "/",
            "@",
            "nginx:",
            "nginx@",
            "nginx@sha256:00",
            "Nginx",
            "host.example/App",
            "a//b",
            "a/b/",
            "https://host/app",
            "-a",
            "a-",
            "a..b",
            "host:port/app",
            "host:0/app",
            "app:-tag",
            "app: tag",
            "ünï",
            "HOST.example/app",
            "app@sha512:00",
            "a b",
        ];
        for text in cases {
            assert!(reference(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_upper_case_repository_is_answered_with_the_lower_case_one() {
        let wrong = reference("host.example/App:V1").unwrap_err();
        let wanted = Wrong::new(
            "\"host.example/App:V1\" is not an image: the repository `App` has upper-case letters",
        )
        .hint("write it in lower case: host.example/app:V1");
        assert_eq!(wrong, wanted);
        let error = "host.example/App:V1".parse::<ImageReference>().unwrap_err();
        assert_eq!(error.hint().as_deref(), Some("write it in lower case: host.example/app:V1"));
    }
}
