//! What is in force, typed out: it means the same again.

use super::examples::examples;
use super::{check, facts, parse};

#[track_caller]
fn means_the_same_again(name: &str, text: &str) {
    let resolve = |text: &str| match parse(text).and_then(|draft| draft.resolve(&facts())) {
        Ok(resolved) => resolved,
        Err(mistakes) => panic!("{name}: {:#?}\n{text}", mistakes.lines().collect::<Vec<_>>()),
    };
    let first = resolve(text);
    let typed = first.to_toml();
    let second = resolve(&typed);
    assert_eq!(first.settings, second.settings, "{name}:\n{typed}");
    assert_eq!(typed, second.to_toml(), "{name}: typed out twice it is the same");
    assert_eq!(check(&typed), [""; 0], "{name}: no instance is needed to check it\n{typed}");
}

#[test]
fn every_example_and_the_whole_contract_typed_out_mean_the_same_again() {
    for (path, text) in examples() {
        means_the_same_again(&path.display().to_string(), &text);
    }
    means_the_same_again("contract", include_str!("contract.toml"));
    means_the_same_again("nothing", "");
}

#[test]
fn what_is_odd_typed_out_means_the_same_again() {
    let cases = [
        ("the host's network", "[services.a]\nimage = \"a\"\nnetwork = \"host\"\n"),
        (
            "logs of a service",
            "[services.a]\nimage = \"a\"\n[services.a.logs]\nrepeat = 3\n[logs]\ngroup = \"g\"\n",
        ),
        ("a variable", "[var]\nx = \"${tag:Stage}\"\n[services.a]\nimage = \"a:${var.x}\"\n"),
        (
            "what looks like a variable",
            "[services.a]\nimage = \"a\"\ncommand = [\"$${var.x}\", \"$$${x}\"]\n",
        ),
        ("quotes and line breaks", "[services.a]\nimage = \"a\"\ncommand = [\"say \\\"x\\\"\\n\\u007f\"]\n"),
        (
            "a server at a URL",
            "[models]\nserver = \"http://10.0.0.1:11434\"\n[models.pull.\"a:b\"]\nkeep_loaded = true\n",
        ),
    ];
    for (name, text) in cases {
        means_the_same_again(name, text);
    }
}

#[test]
fn the_keys_are_those_of_the_file_with_every_default_and_what_follows() {
    let draft =
        parse("[services.a]\nimage = \"a\"\nports = [\"80:8000\"]\n[services.a.health]\nhttp = \"/\"\n");
    let keys = draft.unwrap().resolve(&facts()).unwrap().to_keys();
    assert_eq!(keys["node"]["name"], "web-1");
    assert_eq!(keys["services"]["a"]["update"]["strategy"], "blue-green");
    assert_eq!(keys["services"]["a"]["stop_timeout"], "30s");
    assert!(keys.get("var").is_none() && keys["services"]["a"].get("logs").is_none(), "{keys:#}");
}
