//! What a secret holds: its text or bytes, read into keys. Pure.

use crate::fault::Hint;
use secrecy::{ExposeSecret, SecretSlice};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The longest secret that Secrets Manager keeps; more than this is no secret but a mistake, and tmpfs is memory.
const LARGEST_BYTES: usize = 64 << 10;
/// The longest name of a file.
const LONGEST_KEY_BYTES: usize = 255;
/// Key of a secret that is no JSON object.
const ONLY_KEY: &str = "value";

/// Why a secret's contents cannot be used. Names keys, never values.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentsError {
    /// Keys that node.toml requires are not there.
    #[error("lacks the required {}", list(.keys))]
    KeysMissing {
        /// All of them.
        keys: Vec<String>,
        /// The secret is a JSON object, so that keys can be added to it.
        is_object: bool,
    },
    /// A key that is no name of a file or of an environment variable.
    #[error("has the key \"{}\", which cannot name a file or an environment variable", .key.escape_debug())]
    KeyUnusable {
        /// The key.
        key: String,
    },
    /// It is too large.
    #[error("is {bytes} bytes long, more than 65536")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
}

fn list(keys: &[String]) -> String {
    let word = if keys.len() == 1 { "key" } else { "keys" };
    format!("{word} {}", keys.join(", "))
}

impl Hint for ContentsError {
    fn hint(&self) -> Option<String> {
        Some(match self {
            ContentsError::KeysMissing { is_object: true, .. } => {
                "add them to the secret (null counts as absent), or take them out of `require`".to_owned()
            }
            ContentsError::KeysMissing { is_object: false, .. } => {
                "the secret is no JSON object: its whole text is the one key `value`".to_owned()
            }
            ContentsError::KeyUnusable { .. } => {
                "rename the key: no `/`, `=` or control characters, not `.` or `..`, 255 bytes at most"
                    .to_owned()
            }
            ContentsError::TooLarge { .. } => {
                "keep large data in S3 and its location in the secret".to_owned()
            }
        })
    }
}

/// The keys of a secret.
#[derive(Debug)]
pub struct Contents {
    values: BTreeMap<String, SecretSlice<u8>>,
    is_object: bool,
}

impl Contents {
    /// A JSON object gives its keys: strings as they are, everything else as the JSON text that was written (nested
    /// values without white space), `null` as absent. Any other text is the one key `value`.
    pub fn of_text(text: &str) -> Result<Contents, ContentsError> {
        check_size(text.len())?;
        let Ok(object) = serde_json::from_str::<BTreeMap<String, &RawValue>>(text) else {
            return Ok(Contents::plain(text.as_bytes()));
        };
        let mut values = BTreeMap::new();
        for (key, raw) in object {
            if !usable(&key) {
                return Err(ContentsError::KeyUnusable { key });
            }
            if raw.get() != "null" {
                values.insert(key, SecretSlice::from(plain_text(raw.get()).into_bytes()));
            }
        }
        Ok(Contents { values, is_object: true })
    }

    /// Bytes are the one key `value`.
    pub fn of_bytes(bytes: &[u8]) -> Result<Contents, ContentsError> {
        check_size(bytes.len())?;
        Ok(Contents::plain(bytes))
    }

    fn plain(bytes: &[u8]) -> Contents {
        let value = SecretSlice::from(bytes.to_vec());
        Contents { values: BTreeMap::from([(ONLY_KEY.to_owned(), value)]), is_object: false }
    }

    /// Names all of `required` that are not there, or are empty.
    pub fn require(&self, required: &[String]) -> Result<(), ContentsError> {
        let has = |key: &String| self.values.get(key).is_some_and(|value| !value.expose_secret().is_empty());
        let keys: Vec<String> = required.iter().filter(|key| !has(key)).cloned().collect();
        if keys.is_empty() {
            return Ok(());
        }
        Err(ContentsError::KeysMissing { keys, is_object: self.is_object })
    }

    /// Key to value.
    pub fn into_values(self) -> BTreeMap<String, SecretSlice<u8>> {
        self.values
    }
}

fn check_size(bytes: usize) -> Result<(), ContentsError> {
    if bytes > LARGEST_BYTES { Err(ContentsError::TooLarge { bytes }) } else { Ok(()) }
}

fn usable(key: &str) -> bool {
    !key.is_empty()
        && !matches!(key, "." | "..")
        && key.len() <= LONGEST_KEY_BYTES
        && !key.contains(|character: char| matches!(character, '/' | '=') || character.is_control())
}

/// The value as a program wants it: the content of a string, else the JSON text. Numbers stay as they were written;
/// `1.10` is a version somewhere.
fn plain_text(raw: &str) -> String {
    serde_json::from_str::<String>(raw).unwrap_or_else(|_| without_white_space(raw))
}

/// Valid JSON without the white space between its tokens.
fn without_white_space(json: &str) -> String {
    let mut compact = String::with_capacity(json.len());
    let (mut in_string, mut escaped) = (false, false);
    for character in json.chars() {
        if in_string {
            in_string = escaped || character != '"';
            escaped = !escaped && character == '\\';
        } else if character.is_ascii_whitespace() {
            continue;
        } else {
            in_string = character == '"';
        }
        compact.push(character);
    }
    compact
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values(text: &str) -> Vec<(String, String)> {
        let show = |value: &SecretSlice<u8>| String::from_utf8(value.expose_secret().to_vec()).unwrap();
        let contents = Contents::of_text(text).unwrap();
        contents.values.iter().map(|(key, value)| (key.clone(), show(value))).collect()
    }

    #[test]
    fn a_json_object_gives_its_keys_with_values_as_written() {
        let text = r#"{"KEY": "a\nb", "PORT": 8000, "VERSION": 1.10, "DEBUG": false, "NONE": null, "EMPTY": "",
            "LIST": [1, "x y", {"b": 1, "a": "\" q"}]}"#;
        let wanted = [
            ("DEBUG", "false"),
            ("EMPTY", ""),
            ("KEY", "a\nb"),
            ("LIST", r#"[1,"x y",{"b":1,"a":"\" q"}]"#),
            ("PORT", "8000"),
            ("VERSION", "1.10"),
        ];
        assert_eq!(values(text), wanted.map(|(key, value)| (key.to_owned(), value.to_owned())));
    }

    #[test]
    fn anything_else_is_the_one_key_value() {
        for text in ["hunter2", "", "[1, 2]", "\"quoted\"", "{broken", "17"] {
            assert_eq!(values(text), [("value".to_owned(), text.to_owned())]);
        }
    }

    #[test]
    fn all_missing_keys_are_named_at_once_and_an_empty_one_is_missing() {
        let contents = Contents::of_text(r#"{"A": "1", "B": "", "C": null}"#).unwrap();
        let required = ["A", "B", "C", "D"].map(str::to_owned);
        let error = contents.require(&required).unwrap_err();
        assert_eq!(error.to_string(), "lacks the required keys B, C, D");
        assert_eq!(contents.require(&required[..1]), Ok(()));
    }

    #[test]
    fn keys_that_name_no_file_or_variable_are_refused() {
        for key in ["", ".", "..", "a/b", "a\\u0000b", "a=b", "a\\nb", &"k".repeat(256)] {
            let outcome = Contents::of_text(&format!("{{\"{key}\": 1}}"));
            assert!(matches!(outcome, Err(ContentsError::KeyUnusable { .. })), "{key:?}: {outcome:?}");
        }
    }

    #[test]
    fn more_than_64_kib_is_refused() {
        assert!(Contents::of_bytes(&vec![0; LARGEST_BYTES]).is_ok());
        let error = Contents::of_bytes(&vec![0; LARGEST_BYTES + 1]).unwrap_err();
        assert_eq!(error.to_string(), "is 65537 bytes long, more than 65536");
    }

    proptest! {
        #[test]
        fn removing_white_space_keeps_the_meaning(text in "[a-z \"\\\\\t{}\\[\\]:,0-9.]{0,40}") {
            let nested = serde_json::json!({"a": [text, {"b": text}], "c": 1.5});
            let spaced = serde_json::to_string_pretty(&nested).unwrap();
            let compact = without_white_space(&spaced);
            prop_assert_eq!(&compact, &serde_json::to_string(&nested).unwrap());
        }

        #[test]
        fn any_text_is_read_or_refused_and_never_panics(text in ".{0,200}") {
            let _ = Contents::of_text(&text);
        }
    }
}
