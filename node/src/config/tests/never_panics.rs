//! No text makes it panic, and whatever it refuses it gives a reason for, inside the text.

use super::{examples, facts, source};
use crate::config::Draft;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestRunner};

const SEED: u64 = 20_250_101;
const CASES: u32 = 400;

fn run(name: &str, strategy: impl Strategy<Value = String>) {
    println!("{name}: seed {SEED}, {CASES} cases");
    let config = Config {
        cases: CASES,
        rng_seed: RngSeed::Fixed(SEED),
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&strategy, |text| {
            holds(&text);
            Ok(())
        })
        .unwrap();
}

/// Either there are settings, or mistakes whose positions are in the text.
fn holds(text: &str) {
    let draft = Draft::parse(vec![source("n", text)]);
    let mistakes = match draft.and_then(|draft| draft.check().and_then(|()| draft.settings(&facts()))) {
        Ok(_) => return,
        Err(mistakes) => mistakes,
    };
    assert!(!mistakes.0.is_empty());
    for mistake in &mistakes.0 {
        let line =
            text.split('\n').nth(mistake.line - 1).unwrap_or_else(|| panic!("{mistake} is behind the end"));
        assert!(mistake.column <= line.chars().count() + 1, "{mistake} is behind its line");
        mistake.excerpt(text);
    }
}

/// Every example and the contract, in which everything is written.
fn seeds() -> Vec<String> {
    let contract = include_str!("contract.toml").to_owned();
    examples::examples().into_iter().map(|(_, text)| text).chain([contract]).collect()
}

#[test]
fn random_characters() {
    run("random characters", "\\PC{0,200}");
    run("characters of TOML", "[a-z0-9 =.\"'\\[\\]{},$:\\n#\\\\]{0,300}");
}

#[test]
fn examples_with_pieces_taken_out_put_in_and_doubled() {
    let pieces =
        ["[", "]", "{", "}", "\"", "'", "\n", "=", ".", "${", "}", "\\", "\u{0}", "é", "5", "\"\"\"", "# "];
    let change = (any::<prop::sample::Index>(), 0..40_usize, prop::sample::select(pieces.to_vec()));
    let strategy = (prop::sample::select(seeds()), prop::collection::vec(change, 1..6));
    run(
        "changed examples",
        strategy.prop_map(|(text, changes)| {
            let mut characters: Vec<char> = text.chars().collect();
            for (at, remove, insert) in changes {
                let at = at.index(characters.len() + 1);
                let end = (at + remove).min(characters.len());
                characters.splice(at..end, insert.chars());
            }
            characters.into_iter().collect()
        }),
    );
}

#[test]
fn windows_of_the_characters_that_windows_are_made_of() {
    let word = "[A-Za-z0-9:,é-]{0,12}";
    let times = "[0-2]?[0-9]:[0-6][0-9]-[0-2][0-9]:[0-6][0-9]";
    let days = "((Mon|Wed|Sun|mon)[,-]?){1,3}";
    let text = (prop_oneof![word, days], prop_oneof![word, times], prop_oneof!["UTC", "CET", word]);
    run(
        "windows",
        text.prop_map(|(days, times, zone)| {
            format!("[services.a]\nimage = \"a\"\nupdate.window = [\"{days} {times} {zone}\"]")
        }),
    );
}

#[test]
fn models_of_the_characters_that_their_names_and_addresses_are_made_of() {
    let address = "(http://|https://|)[a-z0-9.:\\[\\]@/]{0,12}(:[0-9]{0,6})?";
    let name = "(http://)?([a-zA-Z.:]{0,6}/){0,3}[a-z0-9.:@é_-]{0,8}";
    let path = "(/[a-z.]{0,4}){0,3}";
    let text = (address, prop_oneof![address, "o"], name, name, path, path);
    run(
        "models",
        text.prop_map(|(listen, server, first, second, inside, mount)| {
            format!(
                "[services.o]\nimage = \"a\"\nmounts = [\"/m:{mount}\"]\nenvironment = {{ OLLAMA_HOST = \"{listen}\", OLLAMA_MODELS = \"{inside}\" }}\n[models]\nserver = \"{server}\"\n[models.pull]\n\"{first}\" = {{}}\n\"{second}\" = {{}}"
            )
        }),
    );
}

#[test]
fn patterns_and_streams_of_the_characters_that_they_are_made_of() {
    let pattern = "[a-zé()\\[\\]{}*+?|^$\\\\.,0-9:<>=!-]{0,16}";
    let stream = "([a-z:*/é]|\\{(instance_id|service|node|x)\\}|[{}]){0,6}";
    let text = (pattern, pattern, stream, "(/[a-z*?.\\[]{0,4}){0,4}", "[a-z@.*]{0,10}");
    run(
        "patterns and streams",
        text.prop_map(|(first, second, stream, path, unit)| {
            format!(
                "[logs]\ngroup = \"g\"\nstream = '{stream}'\nfiles = [{{ path = '{path}', stream = '{stream}', include = ['{first}'], multiline = {{ start = '{second}' }} }}]\njournal = ['{unit}']\n[services.a]\nimage = \"a\"\nlogs.sample = [{{ pattern = '{first}', one_in = 2 }}]"
            )
        }),
    );
}

#[test]
fn lines_of_the_examples_in_any_order() {
    let lines: Vec<String> = seeds().iter().flat_map(|text| text.lines().map(str::to_owned)).collect();
    let strategy = prop::collection::vec(prop::sample::select(lines), 0..60);
    run("shuffled lines", strategy.prop_map(|lines| lines.join("\n")));
}

#[test]
fn values_of_another_kind_in_every_place() {
    let contract = include_str!("contract.toml");
    let others = [
        "5",
        "-1",
        "true",
        "1.5",
        "[]",
        "{}",
        "\"\"",
        "\"x\"",
        "[1]",
        "1979-05-27",
        "{ a = 1 }",
        "\"${tag:X}\"",
        "nan",
        "[\"\"]",
        "\"10%\"",
        "\"blue-green\"",
        "[\"Sun-Mon 23:00-24:00 UTC\"]",
        "[\"02:00-${tag:X} UTC\"]",
        "\"http://u@h:1/\"",
        "{ \"a:b\" = { digest = \"sha256:0\" } }",
        "[{ path = \"/a*\", sample = [{}], multiline = { start = \"(\" } }, \"/a\", 5]",
        "{ start = \"${tag:X}\" }",
    ];
    for (index, line) in contract.lines().enumerate().filter(|(_, line)| line.contains(" = ")) {
        for other in others {
            let key = line.split(" = ").next().unwrap_or_default();
            let mut lines: Vec<String> = contract.lines().map(str::to_owned).collect();
            lines[index] = format!("{key} = {other}");
            holds(&lines.join("\n"));
        }
    }
}
