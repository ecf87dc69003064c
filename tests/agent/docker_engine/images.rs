//! Pulling.

use crate::Situation;
use crate::bench::{Bench, login, reference, right_login};
use agent::engine::{Engine, EngineError, ImageFacts, PullProgress};
use agent::registry::Login;
use node::config::settings::ImageReference;
use std::sync::Mutex;
use tokio::runtime::Runtime;

pub(crate) const SITUATIONS: &[Situation] = &[
    ("a_refused_pull_says_why", a_refused_pull_says_why),
    ("a_pull_brings_the_image_and_shows_progress", a_pull_brings_the_image_and_shows_progress),
    ("an_image_with_a_healthcheck_is_known_as_such", an_image_with_a_healthcheck_is_known_as_such),
];

fn a_refused_pull_says_why(bench: &mut Bench, runtime: &Runtime) {
    let unknown = format!("sha256:{}", "a".repeat(64));
    let nowhere = ImageReference { registry: "127.0.0.1:1".to_owned(), ..reference("app") };
    let cases: [(ImageReference, &str, Option<Login>, &str); 4] = [
        (reference("app"), &bench.digest, None, "pull_refused"),
        (reference("app"), &bench.digest, Some(login("wrong")), "pull_refused"),
        (reference("app"), &unknown, Some(right_login()), "image_not_found"),
        (nowhere, &bench.digest, Some(right_login()), "registry_unreachable"),
    ];
    for (image, digest, login, expected) in cases {
        let pulled = runtime.block_on(bench.docker.pull(&image, digest, login, &|_| {}));
        let error = pulled.expect_err("a refusal");
        assert_eq!(error.code(), expected, "{error}");
        let begins = format!("cannot pull {}: ", image.pinned(digest));
        assert!(error.to_string().starts_with(&begins), "{error}");
        let has_hint = matches!(&error, EngineError::Refused { hint: Some(_), .. });
        assert!(has_hint && !error.to_string().contains("wrong"), "{error:?}");
        let image = runtime.block_on(bench.docker.image(&image, digest)).expect("an answer");
        assert_eq!(image, None, "nothing was pulled");
    }
}

fn a_pull_brings_the_image_and_shows_progress(bench: &mut Bench, runtime: &Runtime) {
    let seen = Mutex::new(Vec::new());
    let note = |progress: PullProgress| seen.lock().expect("no panic").push(progress);
    let app = reference("app");
    let pulled = runtime.block_on(bench.docker.pull(&app, &bench.digest, Some(right_login()), &note));
    pulled.expect("the image is pulled");
    let seen = seen.into_inner().expect("no panic");
    let last = seen.last().copied().expect("some progress");
    assert!(last.total_bytes > 100_000 && last.current_bytes == last.total_bytes, "{seen:?}");
    let facts = runtime.block_on(bench.docker.image(&app, &bench.digest)).expect("an answer");
    assert_eq!(facts, Some(ImageFacts { has_healthcheck: false }));
    // Again: nothing to do is a success.
    runtime.block_on(bench.have_image());
}

fn an_image_with_a_healthcheck_is_known_as_such(bench: &mut Bench, runtime: &Runtime) {
    let digest = bench.publish("checked", &["HEALTHCHECK CMD true"]).expect("published");
    let image = reference("checked");
    runtime.block_on(bench.docker.pull(&image, &digest, Some(right_login()), &|_| {})).expect("pulled");
    let facts = runtime.block_on(bench.docker.image(&image, &digest)).expect("an answer");
    assert_eq!(facts, Some(ImageFacts { has_healthcheck: true }));
}
