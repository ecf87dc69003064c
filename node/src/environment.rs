//! The environment that the programs understand: the standard names and no others. Read once, in `main`.
//!
//! Credentials are not in this list on purpose: they are never copied from one program's environment to another's.

use std::collections::BTreeMap;
use std::path::Path;

/// Names that bootstrap passes on to the agent's unit; `AWS_ENDPOINT_URL_<SERVICE>` besides.
const PASSED_ON: [&str; 6] = [
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "DOCKER_HOST",
    "OLLAMA_HOST",
    "RUST_LOG",
];

/// The values that were set when the program started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    values: BTreeMap<String, String>,
}

impl Environment {
    /// Reads the process's environment. Values that are empty or not UTF-8 count as absent.
    pub fn of_this_process() -> Environment {
        std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// What [`Environment::to_environment_file`] wrote; names that are not ours are left out.
    pub fn of_file(path: &Path) -> std::io::Result<Environment> {
        Ok(Environment::of_lines(&std::fs::read_to_string(path)?))
    }

    fn of_lines(text: &str) -> Environment {
        let value = |quoted: &str| {
            let inner = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(quoted);
            let mut value = String::new();
            let mut characters = inner.chars();
            while let Some(character) = characters.next() {
                value.extend(if character == '\\' { characters.next() } else { Some(character) });
            }
            value
        };
        let pairs = text.lines().filter_map(|line| line.split_once('='));
        pairs.map(|(name, quoted)| (name.to_owned(), value(quoted))).collect()
    }

    /// These values, and in their place those that `over` has.
    #[must_use]
    pub fn overlaid(mut self, over: Environment) -> Environment {
        self.values.extend(over.values);
        self
    }

    /// The lines of a systemd `EnvironmentFile` that give another program the same view of the outside.
    pub fn to_environment_file(&self) -> String {
        self.values.iter().fold(String::new(), |mut lines, (name, value)| {
            let quoted = value.replace('\\', "\\\\").replace('"', "\\\"");
            lines.push_str(&format!("{name}=\"{quoted}\"\n"));
            lines
        })
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(pairs: T) -> Self {
        let known = |name: &str| PASSED_ON.contains(&name) || name.starts_with("AWS_ENDPOINT_URL_");
        Environment {
            values: pairs.into_iter().filter(|(name, value)| known(name) && !value.is_empty()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_standard_names_are_passed_on_and_no_credential() {
        let environment: Environment = [
            ("AWS_REGION", "eu-north-1"),
            ("AWS_ENDPOINT_URL_ECR", "http://10.0.0.1:80/a\"b"),
            ("AWS_SECRET_ACCESS_KEY", "hidden"),
            ("PATH", "/bin"),
            ("RUST_LOG", ""),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
        assert_eq!(
            environment.to_environment_file(),
            "AWS_ENDPOINT_URL_ECR=\"http://10.0.0.1:80/a\\\"b\"\nAWS_REGION=\"eu-north-1\"\n"
        );
        assert_eq!(Environment::of_lines(&environment.to_environment_file()), environment);
        let over = Environment::of_lines("AWS_REGION=us-east-1\nPATH=/bin");
        assert_eq!(environment.overlaid(over).get("AWS_REGION"), Some("us-east-1"));
    }
}
