//! Pulling.

use crate::Situation;
use crate::bench::{Bench, login, reference, right_login};
use agent::engine::{Engine, EngineError, ImageFacts, PullProgress};
use agent::host::docker::Docker;
use agent::registry::Login;
use node::config::settings::ImageReference;
use std::sync::Mutex;
use tokio::runtime::Runtime;

pub(crate) const SITUATIONS: &[Situation] = &[
    ("a_refused_pull_says_why", a_refused_pull_says_why),
    ("a_pull_brings_the_image_and_shows_progress", a_pull_brings_the_image_and_shows_progress),
    ("an_image_with_a_healthcheck_is_known_as_such", an_image_with_a_healthcheck_is_known_as_such),
    ("images_are_listed_and_removed_when_nobody_uses_them", images_are_listed_and_removed),
    ("the_engines_disk_is_seen_where_it_is_on_this_host", the_engines_disk_is_seen),
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

fn images_are_listed_and_removed(bench: &mut Bench, runtime: &Runtime) {
    let digest = bench.publish("removable", &["CMD [\"busybox\",\"sleep\",\"3600\"]"]).expect("published");
    let image = reference("removable");
    let name = image.pinned(&digest);
    let mut spec = bench.spec("api", 1, &[]);
    (spec.settings.image, spec.digest) = (image.clone(), digest.clone());
    runtime.block_on(async {
        let docker = &bench.docker;
        docker.pull(&image, &digest, Some(right_login()), &|_| {}).await.expect("pulled");
        let local = async || {
            let images = docker.images().await.expect("a list of images");
            images.into_iter().find(|local| local.names.contains(&name))
        };
        let unused = local().await.expect("it is listed under the name that it was pulled by");
        assert!(
            unused.id.starts_with("sha256:") && unused.size_bytes > 100_000 && !unused.in_use,
            "{unused:?}"
        );
        // A container that never ran uses its image too.
        let id = docker.create(&spec).await.expect("made");
        assert!(local().await.expect("listed").in_use, "made of it, not started");
        for by in [&name, &unused.id] {
            let error = docker.remove_image(by).await.expect_err("a container needs it");
            assert_eq!(error.code(), "image_in_use", "{error}");
            assert!(error.to_string().starts_with(&format!("cannot remove image {by}: ")), "{error}");
        }
        docker.start(&id).await.expect("its image is still there");
        docker.remove(&id).await.expect("removed");
        docker.remove_image(&name).await.expect("nobody needs it");
        assert_eq!(local().await, None);
        docker.remove_image(&name).await.expect("it is gone already");
        assert_eq!(docker.image(&image, &digest).await.expect("an answer"), None);
    });
}

fn the_engines_disk_is_seen(bench: &mut Bench, runtime: &Runtime) {
    let disk = runtime.block_on(bench.docker.disk()).expect("an answer").expect("it is on this host");
    let numbers = nix::sys::statvfs::statvfs(&bench.daemon.directory().join("data")).expect("its data root");
    assert_eq!(disk.total_bytes, numbers.blocks() * numbers.fragment_size());
    assert!(disk.free_bytes > 0 && disk.free_bytes < disk.total_bytes, "{disk:?}");
    // Not asked, because what it would say is of another host.
    let elsewhere = Docker::connect(Some("tcp://127.0.0.1:1")).expect("connecting makes no call");
    assert_eq!(runtime.block_on(elsewhere.disk()).expect("no question"), None);
    let nobody = Docker::connect(Some("unix:///nowhere/docker.sock")).expect("connecting makes no call");
    let error = runtime.block_on(nobody.disk()).expect_err("nobody there");
    assert_eq!(error.code(), "docker_unresponsive", "{error}");
}
