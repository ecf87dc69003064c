//! Names of models, as Ollama reads them: `[SCHEME://][HOST/][NAMESPACE/]MODEL[:TAG]`.
//! Source: ollama `types/model/name.go`. A digest behind `@` is in its grammar, and its parser drops it: refused here.

use super::image::ReferenceError;
use crate::config::findings::Wrong;
use crate::config::settings::{DEFAULT_MODEL_HOST, DEFAULT_NAMESPACE, ModelReference};
use std::str::FromStr;

/// Ollama's own limits, in bytes.
const HOST_AT_MOST: usize = 350;
const PART_AT_MOST: usize = 80;

/// A name, taken apart.
pub(in crate::config) fn reference(text: &str) -> Result<ModelReference, Wrong> {
    let wrong = |why: String| Wrong::new(format!("\"{text}\" is not a model: {why}"));
    if text.contains('@') {
        let hint = "write the name with its tag, and the digest as `digest = \"sha256:…\"`";
        return Err(wrong("the server reads no digest in a name".to_owned()).hint(hint));
    }
    let (insecure, name) = match text.split_once("://") {
        Some(("http", name)) => (true, name),
        Some(("https", name)) => (false, name),
        Some((scheme, _)) => {
            return Err(wrong(format!("`{scheme}` is no scheme of a registry")).hint("write http or https"));
        }
        None => (false, text),
    };
    let slash = name.rfind('/').map_or(0, |slash| slash + 1);
    let (path, tag) = match name[slash..].rfind(':') {
        Some(colon) => (&name[..slash + colon], &name[slash + colon + 1..]),
        None => (name, "latest"),
    };
    let (before, model) = path.rsplit_once('/').unwrap_or((DEFAULT_NAMESPACE, path));
    let (host, namespace) = before.rsplit_once('/').unwrap_or((DEFAULT_MODEL_HOST, before));
    check("host", host, HOST_AT_MOST, ":.-_").map_err(wrong)?;
    check("namespace", namespace, PART_AT_MOST, "-_").map_err(wrong)?;
    check("name", model, PART_AT_MOST, "-_.").map_err(wrong)?;
    check("tag", tag, PART_AT_MOST, "-_.").map_err(wrong)?;
    let owned = str::to_owned;
    Ok(ModelReference {
        insecure,
        host: owned(host),
        namespace: owned(namespace),
        model: owned(model),
        tag: owned(tag),
    })
}

fn check(part: &str, text: &str, at_most: usize, marks: &str) -> Result<(), String> {
    let odd = text.chars().find(|c| !c.is_ascii_alphanumeric() && !marks.contains(*c));
    match (text.chars().next(), odd) {
        (None, _) => Err(format!("its {part} is empty")),
        (_, Some(odd)) => Err(format!("its {part} has a {odd:?}")),
        (Some(first), _) if !first.is_ascii_alphanumeric() && first != '_' => {
            Err(format!("its {part} begins with {first:?}"))
        }
        _ if text.len() > at_most => Err(format!("its {part} is longer than {at_most} characters")),
        _ => Ok(()),
    }
}

/// As in node.toml, for what a person or a server writes elsewhere.
impl FromStr for ModelReference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<ModelReference, ReferenceError> {
        reference(text).map_err(ReferenceError::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(text: &str) -> String {
        reference(text).unwrap().full()
    }

    #[test]
    fn what_is_left_out_is_filled_in_and_left_out_again() {
        assert_eq!(full("llama3.2:3b"), "registry.ollama.ai/library/llama3.2:3b");
        assert_eq!(full("mistral"), "registry.ollama.ai/library/mistral:latest");
        assert_eq!(full("team/tuned:v2"), "registry.ollama.ai/team/tuned:v2");
        assert_eq!(full("models.internal:5000/team/tuned:v2"), "models.internal:5000/team/tuned:v2");
        for (text, shown) in [
            ("registry.ollama.ai/library/llama3.2:3b", "llama3.2:3b"),
            ("https://registry.ollama.ai/library/llama3.2", "llama3.2:latest"),
            ("registry.ollama.ai/team/tuned:v2", "team/tuned:v2"),
            ("http://models.internal:5000/library/tiny:1", "models.internal:5000/library/tiny:1"),
        ] {
            assert_eq!(reference(text).unwrap().to_string(), shown);
        }
        assert!(reference("http://h/n/m").unwrap().insecure);
        assert!(!reference("https://h/n/m").unwrap().insecure);
    }

    #[test]
    fn what_the_server_would_not_read_is_refused_with_the_part_that_is_wrong() {
        for (text, part) in [
            ("", "name is empty"),
            ("llama3:", "tag is empty"),
            ("a//b", "namespace is empty"),
            ("/llama", "is empty"),
            ("a b", "name has a ' '"),
            (".hidden", "name begins with '.'"),
            ("te.am/m", "namespace has a '.'"),
            ("ftp://h/n/m", "no scheme"),
            ("llama3@sha256:00", "reads no digest"),
            (&"x".repeat(81), "longer than 80"),
        ] {
            let wrong = text.parse::<ModelReference>();
            assert!(wrong.as_ref().is_err_and(|wrong| wrong.to_string().contains(part)), "{text}: {wrong:?}");
        }
    }
}
