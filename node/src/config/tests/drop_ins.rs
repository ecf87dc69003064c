//! Several files: later ones win key by key.

use super::{lines, source};
use crate::config::{Draft, LoadError};
use crate::fault::Hint;
use crate::files;
use crate::paths::Paths;

fn merged(first: &str, second: &str) -> Result<Draft, crate::config::Mistakes> {
    Draft::parse(vec![source("node.toml", first), source("node.d/10.toml", second)])
}

#[test]
fn a_later_file_completes_and_replaces_key_by_key() {
    let draft = merged(
        "[services.api]\nports = [\"80:80\", \"81:81\"]\nenvironment = { A = \"1\", B = \"2\" }\n",
        "[services.api]\nimage = \"nginx\"\nports = [\"82:82\"]\nenvironment.B = \"3\"\n[services.api.health]\nhttp = \"/\"\n",
    );
    let settings = draft.unwrap().settings(&super::facts()).unwrap();
    let api = &settings.services["api"];
    assert_eq!(api.ports.iter().map(|port| port.host).collect::<Vec<_>>(), [82]);
    let environment = serde_json::to_value(&api.environment).unwrap();
    assert_eq!(environment, serde_json::json!({"A": "1", "B": "3"}));
}

#[test]
fn mistakes_are_in_the_file_that_made_them_in_the_order_of_files() {
    let draft =
        merged("[services.api]\nmemory = \"x\"\ncpus = 0\n", "[services.api]\ncpus = -1\nimgae = \"a\"\n");
    assert_eq!(
        lines(draft.and_then(|draft| draft.check())),
        [
            "node.toml:2:10: \"x\" is not a size (hint: write a size such as \"512m\", \"2g\" or \"1073741824\")",
            "node.d/10.toml:2:8: -1 cores are out of range (hint: write a number from 0.01, such as 0.5 or 2)",
            "node.d/10.toml:3:1: unknown key `imgae` in [services.api] (hint: did you mean `image`?)",
        ]
    );
}

#[test]
fn a_broken_drop_in_does_not_hide_mistakes_in_other_files() {
    let draft = merged("nod = 1\n", "[logs\n");
    let lines = lines(draft);
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines[0].starts_with("node.toml:1:1: unknown key `nod`"), "{lines:#?}");
    assert!(lines[1].starts_with("node.d/10.toml:1:6: not TOML"), "{lines:#?}");
}

#[test]
fn drop_ins_are_read_by_name_and_only_those_that_are_meant() {
    let root = tempfile::tempdir().unwrap();
    let paths = Paths::under(root.path());
    let write = |name: &str, text: &str| {
        files::replace(&root.path().join("etc/node-agent").join(name), text.as_bytes(), 0o644).unwrap();
    };
    write("node.toml", "[node]\nname = \"base\"\n");
    assert_eq!(Draft::read(&paths).unwrap().settings(&super::facts()).unwrap().node_name, "base");
    write("node.d/20.toml", "[node]\nname = \"twenty\"\n");
    write("node.d/10.toml", "[node]\nname = \"ten\"\n");
    write("node.d/30.toml.disabled", "[node]\nname = \"thirty\"\n");
    write("node.d/.40.toml", "[node]\nname = \"forty\"\n");
    assert_eq!(Draft::read(&paths).unwrap().settings(&super::facts()).unwrap().node_name, "twenty");
}

#[test]
fn a_file_that_is_not_there_is_named_with_a_hint() {
    let root = tempfile::tempdir().unwrap();
    let error = Draft::read(&Paths::under(root.path())).unwrap_err();
    assert!(matches!(error, LoadError::Read { .. }));
    assert!(error.to_string().ends_with("etc/node-agent/node.toml"), "{error}");
    assert_eq!(error.hint().as_deref(), Some("write it, or name another file"));
}
