//! Images that are bad in every way in which images are: each is taken back, the cause is told in plain words, and its
//! digest is barred on disk, under whatever tag it comes again.
//!
//! Each is asked for as a deploy over SSM does, by `agentctl update SERVICE --to TAG --wait`, whose exit code is the answer.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod scene;

use harness::images::{Image, Recipe};
use harness::instance::Answer;
use harness::requirements::tried;
use harness::stage::Stage;
use harness::wait::wait_for;
use scene::Scene;
use scene::web::{BLUE_GREEN, Web};
use std::time::Duration;

/// For a version that passes its gate and is found out later: three ends, and the waits between its starts.
const PROBATION: Duration = Duration::from_secs(90);
/// Where an ELF file says what machine it is for, and the number of AArch64 (System V ABI).
const MACHINE: std::ops::Range<usize> = 18..20;
const AARCH64: [u8; 2] = 183_u16.to_le_bytes();

/// One way to be bad.
struct Case {
    name: &'static str,
    /// What `MODE` the application is told, beside what `change` does.
    mode: &'static str,
    change: fn(Recipe) -> Recipe,
    /// Words of the cause: each of them.
    cause: &'static [&'static str],
    /// It passes its gate, so that only what comes after it tells.
    passes: bool,
    /// It comes to writing lines.
    writes: bool,
}

impl Case {
    const PLAIN: Case =
        Case { name: "", mode: "healthy", change: |recipe| recipe, cause: &[], passes: false, writes: true };
}

const CASES: [Case; 8] = [
    Case { name: "exits", mode: "exit", cause: &["exited with code 1"], ..Case::PLAIN },
    Case { name: "never-healthy", mode: "unhealthy", cause: &["health check fails", "503"], ..Case::PLAIN },
    Case { name: "crash-loops", mode: "crash-after=1.2", cause: &["exited with code 1"], ..Case::PLAIN },
    Case {
        name: "exits-later",
        mode: "crash-after=4",
        cause: &["passed its gate", "ended 3 times", "exited with code 1"],
        passes: true,
        ..Case::PLAIN
    },
    Case {
        name: "other-machine",
        change: other_machine,
        cause: &["platform (linux/arm64)", "does not match"],
        writes: false,
        ..Case::PLAIN
    },
    Case {
        name: "no-entry-point",
        change: |recipe| Recipe { entrypoint: vec!["/not-there".to_owned()], ..recipe },
        cause: &["/not-there", "no such file"],
        writes: false,
        ..Case::PLAIN
    },
    Case { name: "leaks", mode: "leak=128", cause: &["ran out of memory"], ..Case::PLAIN },
    Case {
        name: "other-port",
        change: |recipe| recipe.env("PORT", "9000"),
        cause: &["health check fails", "refused"],
        ..Case::PLAIN
    },
];

/// The same program as if it were compiled for another machine, in an image that says so.
fn other_machine(mut recipe: Recipe) -> Recipe {
    for entry in recipe.layers.iter_mut().flatten() {
        if let harness::images::Entry::File(path, _, content) = entry
            && path == "sample-app"
        {
            content[MACHINE].copy_from_slice(&AARCH64);
        }
    }
    Recipe { architecture: "arm64".to_owned(), ..recipe }
}

fn image(scene: &Scene, case: &Case) -> Image {
    let recipe = Recipe::of_program("/sample-app", scene.stage.sample().to_vec());
    let mut recipe = recipe.env("VERSION", case.name).env("MODE", case.mode);
    recipe.exposed_ports = vec!["8000/tcp".to_owned()];
    (case.change)(recipe).build().unwrap()
}

fn node_toml(stage: &Stage, tag: &str) -> String {
    let (more, asked_every, min_healthy) = ("memory = \"96m\"", "500ms", "2s");
    Web { tag, more, update: BLUE_GREEN, asked_every, min_healthy, ..Web::default() }.node_toml(stage)
}

/// A node that runs version `one` of `latest`.
fn serving() -> Option<Scene> {
    let mut scene = Scene::set()?;
    scene.push("one", "healthy");
    let node_toml = node_toml(&scene.stage, "latest");
    scene.boot(&node_toml);
    scene.serves("one");
    scene.settled(&scene.only().digest.unwrap(), &["current"]);
    Some(scene)
}

fn update_to(scene: &Scene, tag: &str) -> Answer {
    let command = ["agentctl", "update", "web", "--to", tag, "--wait", "--timeout", "90"];
    scene.stage.instance().run(command)
}

/// Runs of spaces and ends of lines are the page's, not the text's.
fn in_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn tells_the_cause(case: &Case, text: &str, story: &str) {
    let text = in_one_line(text);
    for words in case.cause {
        assert!(text.contains(words), "{}: no {words:?} in:\n{text}\n---\n{story}", case.name);
    }
}

/// Asks for the bad image, and sees it taken back.
fn is_taken_back(scene: &Scene, case: &Case) {
    let old = scene.only();
    let good = old.digest.clone().unwrap();
    let image = image(scene, case);
    let bad = scene.stage.push(&image, case.name).unwrap();
    let answer = update_to(scene, case.name);
    let expected = if case.passes { 0 } else { 1 };
    assert_eq!(answer.code(), expected, "{}: {answer}\n{}", case.name, scene.story());
    if !case.passes {
        tells_the_cause(case, &format!("{}{}", answer.stdout, answer.stderr), &answer.to_string());
        let last_lines = answer.stderr.contains("\"event\":\"start\"");
        assert_eq!(last_lines, case.writes, "{}: its last lines: {answer}", case.name);
    }
    let barred = wait_for(&format!("{} to be barred", case.name), PROBATION, || {
        let quarantined = scene.quarantined();
        if quarantined.iter().any(|(digest, _)| *digest == bad) {
            Ok(())
        } else {
            Err(format!("{quarantined:?}"))
        }
    });
    barred.unwrap_or_else(|error| panic!("{error}\n{}", scene.story()));
    serves_again(scene, case, &good);
    if !case.passes {
        assert_eq!(scene.only().id, old.id, "{}: the old one was never touched", case.name);
    }
    let explained = scene.stage.instance().run(["agentctl", "explain", "web"]).expect_success();
    tells_the_cause(case, &explained, "agentctl explain web");

    // The same digest under another tag.
    let again = format!("{}-again", case.name);
    assert_eq!(scene.stage.push(&image, &again).unwrap(), bad);
    let answer = update_to(scene, &again);
    assert_eq!(answer.code(), 1, "{}: {answer}", case.name);
    tells_the_cause(case, &format!("{}{}", answer.stdout, answer.stderr), &answer.to_string());
    scene.stage.instance().run(["agentctl", "update", "web", "--wait"]).expect_success();
    serves_again(scene, case, &good);
    scene.never_again(&bad);
}

fn serves_again(scene: &Scene, case: &Case, good: &str) {
    scene.serves("one");
    let back = wait_for(&format!("the good version after {}", case.name), PROBATION, || {
        let only = scene.only_or_none().filter(|only| only.digest.as_deref() == Some(good));
        only.map(drop).ok_or_else(|| format!("{:#?}", scene.ours()))
    });
    back.unwrap_or_else(|error| panic!("{error}\n{}", scene.story()));
    scene.rules_are_of_what_runs(true);
}

#[test]
fn each_kind_of_bad_image_is_taken_back_told_and_barred_under_every_tag() {
    let Some(scene) = serving() else { return };
    for case in &CASES {
        is_taken_back(&scene, case);
    }
    let names: Vec<_> = CASES.iter().map(|case| case.name).collect();
    tried(&format!("{} bad images: {}", CASES.len(), names.join(", ")));
    let good = scene.stage.push_sample("good", "two", "healthy").unwrap();
    let answer = update_to(&scene, "good");
    assert_eq!(answer.code(), 0, "{answer}");
    let (status, body) = scene.stage.get("/").unwrap();
    assert!(status == 200 && body.contains("\"two\""), "exit code 0 means that it serves: {status} {body}");
    assert_eq!(scene.only().digest, Some(good));
}

#[test]
fn a_barred_digest_is_not_tried_when_node_toml_names_it_by_another_tag() {
    let Some(scene) = serving() else { return };
    let (old, exits) = (scene.only(), image(&scene, &CASES[0]));
    let bad = scene.stage.push(&exits, "latest").unwrap();
    let is_barred = || scene.quarantined().iter().any(|(digest, _)| *digest == bad);
    let barred =
        wait_for(
            "the image to be barred",
            PROBATION,
            || {
                if is_barred() { Ok(()) } else { Err(scene.story()) }
            },
        );
    barred.unwrap();
    scene.stage.push(&exits, "stable").unwrap();
    let answer = scene.stage.bootstrap("run", &node_toml(&scene.stage, "stable"));
    assert_eq!(answer.code(), 0, "{answer}");
    let told = scene.stage.wait_for_status("the other tag to be refused", PROBATION, |status| {
        let web = &status["services"][0];
        let refused = ["quarantined", "rolled_back"].iter().any(|state| web["update"]["state"] == *state);
        refused && web["image"].as_str().is_some_and(|image| image.ends_with(":stable"))
    });
    told.unwrap_or_else(|error| panic!("{error}\n{}", scene.story()));
    assert_eq!(scene.only().id, old.id);
    scene.never_again(&bad);
}
