//! The client against answers on the wire: those of a healthy server, and all that it does not give. Time is virtual.

use super::scripted::{Do, Scripted, chunk, end, in_chunks, ok, scripted, until_closed, with_status};
use super::*;
use harness::local_cloud::{Bind, Config, LocalCloud};
use node::fault::{Hint, one_line};
use std::sync::{Arc, Mutex};

fn at(server: &Scripted) -> Endpoint {
    Endpoint(format!("http://{}", server.address))
}

fn model(name: &str) -> ModelReference {
    name.parse().expect("a name")
}

const MINUTE: Duration = Duration::from_secs(60);
const DIGITS: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// What a person reads when a pull of `tiny:1` meets this answer, what was told of its progress, and the time it took.
async fn pulled(actions: Vec<Do>) -> (Result<(), ServerError>, Vec<(u64, u64)>, Duration) {
    let server = scripted([("POST /api/pull ", actions)]).await;
    let told = Mutex::new(Vec::new());
    let tell =
        |now: PullProgress| told.lock().expect("no panic").push((now.completed_bytes, now.total_bytes));
    let began = Instant::now();
    let result = Ollama::default().pull(&at(&server), &model("tiny:1"), &tell).await;
    assert_eq!(server.bodies(), [r#"{"insecure":false,"model":"tiny:1","stream":true}"#]);
    (result, told.into_inner().expect("no panic"), began.elapsed())
}

fn layer(digest: &str, total: u64, completed: u64) -> String {
    format!(
        "{{\"status\":\"pulling {digest}\",\"digest\":\"sha256:{digest}\",\"total\":{total},\"completed\":{completed}}}\n"
    )
}

fn status(text: &str) -> String {
    format!("{{\"status\":\"{text}\"}}\n")
}

/// The first lines of a pull, of 100 bytes.
fn first_lines() -> String {
    status("pulling manifest") + &layer("aa", 100, 10)
}

/// All lines after the layers.
fn last_lines() -> String {
    ["verifying sha256 digest", "writing manifest", "success"].map(status).concat()
}

#[tokio::test(start_paused = true)]
async fn every_call_asks_what_the_server_understands() {
    let tiny = model("http://models.internal:5000/team/tiny:1");
    let kept = tiny.tagged("1.kept-0123456789ab".to_owned());
    let list = format!(r#"{{"models":[{{"name":"tiny:1","digest":"{DIGITS}","size":5}}]}}"#);
    let server = scripted([
        ("GET /api/version ", vec![ok(r#"{"version":"0.12.3"}"#)]),
        ("GET /api/tags ", vec![ok(&list)]),
        ("GET /api/ps ", vec![ok(&list)]),
        ("POST /api/show ", vec![ok(r#"{"capabilities":["embedding"]}"#)]),
        ("POST /api/copy ", vec![ok("")]),
        ("DELETE /api/delete ", vec![ok("")]),
        ("POST /api/generate ", vec![ok(r#"{"done":true,"done_reason":"load"}"#)]),
        ("POST /api/embed ", vec![ok(r#"{"embeddings":[]}"#)]),
        ("POST /api/generate ", vec![ok(r#"{"done":true,"done_reason":"unload"}"#)]),
        ("POST /api/generate ", vec![ok(r#"{"response":"4","done":true}"#)]),
        ("POST /api/pull ", vec![ok(&last_lines())]),
    ])
    .await;
    let (client, at) = (Ollama::default(), at(&server));
    assert_eq!(client.version(&at).await.unwrap(), "0.12.3");
    assert_eq!(client.installed(&at).await.unwrap()[0].digest, format!("sha256:{DIGITS}"));
    assert_eq!(client.loaded(&at).await.unwrap()[0].name, "tiny:1");
    assert_eq!(client.kind(&at, &tiny).await.unwrap(), Kind::Embeds);
    client.copy(&at, &tiny, &kept).await.unwrap();
    client.delete(&at, &kept).await.unwrap();
    client.load(&at, &tiny, Kind::Generates, MINUTE).await.unwrap();
    client.load(&at, &tiny, Kind::Embeds, MINUTE).await.unwrap();
    client.unload(&at, &tiny, Kind::Embeds).await.unwrap();
    assert_eq!(client.answer(&at, &tiny, "2+2?", MINUTE).await.unwrap(), "4");
    client.pull(&at, &tiny, &|_| ()).await.unwrap();
    let name = "models.internal:5000/team/tiny:1";
    assert_eq!(
        server.bodies(),
        [
            String::new(),
            String::new(),
            String::new(),
            format!(r#"{{"model":"{name}"}}"#),
            format!(r#"{{"destination":"{name}.kept-0123456789ab","source":"{name}"}}"#),
            format!(r#"{{"model":"{name}.kept-0123456789ab"}}"#),
            format!(r#"{{"keep_alive":-1,"model":"{name}","stream":false}}"#),
            format!(r#"{{"input":"","keep_alive":-1,"model":"{name}"}}"#),
            format!(r#"{{"keep_alive":0,"model":"{name}","stream":false}}"#),
            format!(
                r#"{{"model":"{name}","options":{{"num_predict":200,"seed":0,"temperature":0}},"prompt":"2+2?","stream":false}}"#
            ),
            format!(r#"{{"insecure":true,"model":"{name}","stream":true}}"#),
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_pull_is_read_the_same_when_every_byte_comes_alone() {
    let lines = first_lines() + &layer("bb", 20, 20) + &layer("aa", 100, 100) + &last_lines();
    let alone: String = lines.chars().map(|byte| chunk(&byte.to_string())).collect();
    let seen = [(0, 0), (10, 100), (30, 120), (120, 120)];
    for (body, expected) in [(chunk(&lines), &seen[3..]), (alone, &seen[..])] {
        let (result, told, _) = pulled(vec![in_chunks(), Do::Say(body), end()]).await;
        result.expect("it succeeded");
        assert_eq!(told.last(), Some(&(120, 120)));
        assert!(told.iter().all(|now| seen.contains(now)) && told.ends_with(expected), "{told:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_drops_in_the_middle_of_a_line_says_nothing() {
    let half = first_lines() + r#"{"status":"succ"#;
    let (result, told, _) = pulled(vec![in_chunks(), Do::Say(chunk(&half))]).await;
    let error = result.expect_err("it is not complete");
    assert_eq!(
        (error.code(), told.last()),
        ("model_server_unreachable", Some(&(10, 100))),
        "{}",
        one_line(&error)
    );
    // Where the end of the connection is the end of the answer, the line is whole, and makes no sense.
    let (result, _, _) = pulled(vec![until_closed(&half)]).await;
    assert_eq!(result.expect_err("it is not complete").code(), "model_server_broken_answer");
}

#[tokio::test(start_paused = true)]
async fn a_pull_that_just_ends_did_not_succeed() {
    for (lines, said) in [
        (String::new(), "its answer ended before it began"),
        (status("pulling manifest"), "its answer ended before the manifest was there"),
        (first_lines(), "its answer ended before all layers were there"),
        (
            first_lines() + &status("writing manifest"),
            "its answer ended after the last layer, without `success`",
        ),
        (
            status("success") + &status("writing manifest"),
            "its answer ended after the last layer, without `success`",
        ),
        (status("success") + &layer("aa", 9, 1), "its answer ended before all layers were there"),
    ] {
        let (result, _, _) = pulled(vec![in_chunks(), Do::Say(chunk(&(lines + "\n"))), end()]).await;
        let error = result.expect_err("it ended too early");
        assert_eq!(one_line(&error), format!("cannot pull tiny:1: {said}"));
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_within_a_pull_that_began_well() {
    for (words, code) in [
        ("write /root/.ollama/models/blobs/sha256-aa-partial: no space left on device", "model_disk_full"),
        ("pull model manifest: file does not exist", "model_not_found"),
        ("dial tcp: lookup registry.ollama.ai on 10.0.0.2:53: no such host", "model_registry_unreachable"),
        ("something else", "model_server_refused"),
    ] {
        let failed = format!("{{\"error\":\"{words}\"}}\n");
        // After `success`, too: any line may be the one that counts.
        for before in [first_lines(), first_lines() + &last_lines()] {
            let (result, _, _) = pulled(vec![in_chunks(), Do::Say(chunk(&(before + &failed))), end()]).await;
            let error = result.expect_err("it says so");
            assert_eq!((error.code(), one_line(&error)), (code, format!("cannot pull tiny:1: {words}")));
            assert!(error.hint().is_some());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn silence_is_borne_as_long_as_the_step_may_be_silent() {
    let large = layer("aa", 100 << 30, 100 << 30);
    for (lines, seconds) in [
        (status("pulling manifest"), 120),
        (first_lines(), 60),
        (first_lines() + &status("verifying sha256 digest"), 900),
        (first_lines() + &status("writing manifest"), 900),
        // 100 GiB at 32 MiB/s.
        (large + &status("verifying sha256 digest"), 3200),
    ] {
        let (result, _, took) = pulled(vec![in_chunks(), Do::Say(chunk(&lines)), Do::UntilLeft]).await;
        let error = result.expect_err("it never ends");
        assert_eq!((error.code(), took.as_secs()), ("model_pull_stalled", seconds), "{}", one_line(&error));
        assert_eq!(one_line(&error), format!("cannot pull tiny:1: no byte came for {seconds} s"));
    }
    // Not even a beginning: nothing is known.
    let (result, _, took) = pulled(vec![Do::UntilLeft]).await;
    assert_eq!((result.expect_err("silence").code(), took.as_secs()), ("model_server_unreachable", 120));
}

#[tokio::test(start_paused = true)]
async fn lines_without_a_new_byte_are_no_progress() {
    let tick = Duration::from_millis(60);
    // At 99 %: the server says so 16 times a second, for ever.
    let line = chunk(&layer("aa", 100, 99));
    let (result, told, took) =
        pulled(vec![in_chunks(), Do::Say(line.clone()), Do::Repeat(line, tick, 10_000)]).await;
    assert_eq!(result.expect_err("it stands still").code(), "model_pull_stalled");
    assert_eq!((told, took.as_secs()), (vec![(99, 100)], 60));
    // What is taken back and not fetched again is none, either, and `pulling manifest` in between is none.
    let back = chunk(&(layer("aa", 100, 50) + &status("pulling manifest") + &layer("aa", 100, 50)));
    let (result, told, took) =
        pulled(vec![in_chunks(), Do::Say(chunk(&layer("aa", 100, 99))), Do::Repeat(back, tick, 10_000)])
            .await;
    assert_eq!(result.expect_err("it stands still").code(), "model_pull_stalled");
    assert_eq!((told, took.as_secs()), (vec![(99, 100), (50, 100)], 60));
}

#[tokio::test(start_paused = true)]
async fn bytes_that_come_slowly_are_progress() {
    let mut actions = vec![in_chunks(), Do::Say(chunk(&first_lines()))];
    for byte in 11..=100 {
        actions.push(Do::Wait(Duration::from_secs(59)));
        actions.push(Do::Say(chunk(&layer("aa", 100, byte))));
    }
    // A verification that takes long, and one step after it that does, too.
    actions.extend([Do::Say(chunk(&status("verifying sha256 digest"))), Do::Wait(14 * MINUTE)]);
    actions.extend([Do::Say(chunk(&status("writing manifest"))), Do::Wait(14 * MINUTE)]);
    actions.extend([Do::Say(chunk(&status("success"))), end()]);
    let (result, told, took) = pulled(actions).await;
    result.expect("it succeeded");
    assert_eq!((told.len(), took.as_secs()), (91, 90 * 59 + 28 * 60));
}

#[tokio::test(start_paused = true)]
async fn after_success_nothing_is_waited_for() {
    let all = chunk(&(first_lines() + &last_lines()));
    let hung = vec![in_chunks(), Do::Say(all.clone()), Do::UntilLeft];
    let (result, _, took) = pulled(hung).await;
    result.expect("it said so");
    assert_eq!(took.as_secs(), 5);
    // The connection breaks instead of ending.
    pulled(vec![in_chunks(), Do::Say(all)]).await.0.expect("it said so");
}

#[tokio::test(start_paused = true)]
async fn a_future_that_is_dropped_closes_the_connection() {
    let pulling = vec![in_chunks(), Do::Say(chunk(&first_lines())), Do::UntilLeft];
    let server = scripted([("POST /api/pull ", pulling), ("POST /api/generate ", vec![Do::UntilLeft])]).await;
    let (client, at, tiny) = (Ollama::default(), at(&server), model("tiny:1"));
    let first = Arc::new(tokio::sync::Notify::new());
    let came = Arc::clone(&first);
    let told = move |_| came.notify_one();
    tokio::select! {
        result = client.pull(&at, &tiny, &told) => panic!("it ended: {result:?}"),
        () = first.notified() => {}
    }
    server.left.notified().await;
    let load = client.load(&at, &tiny, Kind::Generates, 30 * MINUTE);
    assert!(tokio::time::timeout(MINUTE, load).await.is_err(), "it answered");
    server.left.notified().await;
    server.bodies();
}

#[tokio::test(start_paused = true)]
async fn a_load_may_take_as_long_as_its_deadline() {
    let tiny = model("tiny:1");
    for (takes, loaded) in [(9 * MINUTE, true), (11 * MINUTE, false)] {
        let answer = vec![Do::Wait(takes), ok(r#"{"done":true}"#)];
        let server = scripted([("POST /api/generate ", answer)]).await;
        let began = Instant::now();
        let result = Ollama::default().load(&at(&server), &tiny, Kind::Generates, 10 * MINUTE).await;
        assert_eq!((result.is_ok(), began.elapsed()), (loaded, takes.min(10 * MINUTE)), "{result:?}");
        if let Err(error) = result {
            assert_eq!(error.code(), "model_server_unreachable");
            assert!(one_line(&error).ends_with("(load tiny:1): no answer within 600 s"), "{error}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn questions_and_steps_have_their_deadlines() {
    let silence = || vec![Do::UntilLeft];
    let server = scripted([
        ("GET /api/version ", silence()),
        // An answer that begins and never ends.
        ("GET /api/tags ", vec![Do::Say("HTTP/1.1 200 OK\r\n\r\n{\"models\":".to_owned()), Do::UntilLeft]),
        ("GET /api/ps ", silence()),
        ("POST /api/show ", silence()),
        ("POST /api/copy ", silence()),
        ("POST /api/generate ", silence()),
        ("DELETE /api/delete ", silence()),
    ])
    .await;
    let (client, at, tiny) = (Ollama::default(), at(&server), model("tiny:1"));
    let mut began = Instant::now();
    let mut lap = |error: Option<ServerError>| {
        let took = std::mem::replace(&mut began, Instant::now()).elapsed().as_secs();
        (took, error.map(|error| error.code()))
    };
    let laps = [
        lap(client.version(&at).await.err()),
        lap(client.installed(&at).await.err()),
        lap(client.loaded(&at).await.err()),
        lap(client.kind(&at, &tiny).await.err()),
        lap(client.copy(&at, &tiny, &tiny).await.err()),
        lap(client.unload(&at, &tiny, Kind::Generates).await.err()),
        lap(client.delete(&at, &tiny).await.err()),
    ];
    assert_eq!(laps, [5, 5, 5, 5, 30, 30, 60].map(|seconds| (seconds, Some("model_server_unreachable"))));
}

/// The other process of the test below asks this server.
const ASKS: &str = "MODEL_SERVER_THAT_IS_ASKED";

/// The store is named to the libraries by an environment variable: each of the two is a process of its own.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "starts this test in a process with another environment")]
async fn a_server_with_tls_is_trusted_by_the_hosts_store_and_by_nothing_else() {
    if let Ok(url) = std::env::var(ASKS) {
        let error = Ollama::default().version(&Endpoint(url)).await.expect_err("no server of models");
        println!("{}", one_line(&error));
        return;
    }
    let registry_backend = Some("http://127.0.0.1:1".to_owned());
    let config = Config { registry: Some(Bind::loopback()), registry_backend, ..Config::default() };
    let cloud = LocalCloud::start(config).await.expect("a cloud");
    let folder = tempfile::tempdir().expect("a folder");
    let authority = folder.path().join("authority.pem");
    std::fs::write(&authority, cloud.authority_pem()).expect("written");
    let asked = async |store: Option<&std::path::Path>| {
        let mut command = tokio::process::Command::new(std::env::current_exe().expect("this program"));
        let test =
            "host::ollama::wire_tests::a_server_with_tls_is_trusted_by_the_hosts_store_and_by_nothing_else";
        command.args(["--exact", test, "--nocapture"]).env(ASKS, cloud.registry_url());
        store.map(|store| command.env("SSL_CERT_FILE", store));
        let output = command.stdin(std::process::Stdio::null()).output().await.expect("it runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let said = asked(Some(&authority)).await;
    assert!(said.contains("read its version") && !said.contains("certificate"), "{said}");
    let said = asked(None).await;
    assert!(said.contains("does not answer (read its version)") && said.contains("certificate"), "{said}");
}

#[tokio::test(start_paused = true)]
async fn nobody_listens() {
    let server = scripted([]).await;
    let at = at(&server);
    drop(server);
    tokio::task::yield_now().await;
    let error = Ollama::default().version(&at).await.expect_err("nobody is there");
    assert_eq!(error.code(), "model_server_unreachable");
    let said = one_line(&error);
    assert!(
        said.contains(&at.0) && said.contains("(read its version)") && said.contains("refused"),
        "{said}"
    );
    let unusable = Endpoint("http://[::broken".to_owned());
    assert_eq!(
        Ollama::default().version(&unusable).await.expect_err("no URL").code(),
        "model_server_unreachable"
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_server_refuses_is_told_from_what_it_cannot_say_now() {
    let busy = r#"{"error":"server busy, please try again.  maximum pending requests exceeded"}"#;
    let memory = r#"{"error":"model requires more system memory (44.0 GiB) than is available (7.6 GiB)"}"#;
    let missing = r#"{"error":"model \"tiny:1\" not found, try pulling it first"}"#;
    for (answer, code, said) in [
        (with_status("503 Service Unavailable", busy), "model_server_busy", "status 503: server busy"),
        (
            with_status("502 Bad Gateway", "<html>no\nupstream</html>"),
            "model_server_unreachable",
            "status 502: <html>no",
        ),
        (with_status("500 Internal Server Error", memory), "model_out_of_memory", "(44.0 GiB)"),
        (with_status("404 Not Found", missing), "model_not_found", "try pulling"),
        (with_status("404 Not Found", "404 page not found"), "model_not_found", "page not found"),
        (with_status("400 Bad Request", ""), "model_server_refused", "cannot load tiny:1: status 400"),
        (with_status("307 Temporary Redirect", ""), "model_server_broken_answer", "elsewhere (status 307)"),
        (
            ok(r#"{"error":"llama runner process has terminated: cudaMalloc failed"}"#),
            "model_out_of_memory",
            "runner",
        ),
        (Do::Say("SSH-2.0-OpenSSH_9.2\r\n\r\n".to_owned()), "model_server_unreachable", "(load tiny:1)"),
    ] {
        let server = scripted([("POST /api/generate ", vec![answer])]).await;
        let loaded = Ollama::default().load(&at(&server), &model("tiny:1"), Kind::Generates, MINUTE).await;
        let error = loaded.expect_err("it did not load");
        let line = one_line(&error);
        assert_eq!(error.code(), code, "{line}");
        assert!(line.contains(said) && !line.contains('\n'), "{line}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_gone_is_deleted_and_what_embeds_is_unloaded_by_old_servers_too() {
    let server = scripted([
        (
            "DELETE /api/delete ",
            vec![with_status("404 Not Found", r#"{"error":"model 'tiny:1' not found"}"#)],
        ),
        (
            "DELETE /api/delete ",
            vec![with_status("500 Internal Server Error", r#"{"error":"input/output error"}"#)],
        ),
        (
            "POST /api/generate ",
            vec![with_status("400 Bad Request", r#"{"error":"\"e\" does not support generate"}"#)],
        ),
        ("POST /api/embed ", vec![ok("{}")]),
        ("POST /api/generate ", vec![with_status("400 Bad Request", r#"{"error":"no"}"#)]),
    ])
    .await;
    let (client, at, tiny) = (Ollama::default(), at(&server), model("tiny:1"));
    client.delete(&at, &tiny).await.expect("it is gone");
    assert_eq!(client.delete(&at, &tiny).await.expect_err("it is there").code(), "model_server_refused");
    client.unload(&at, &tiny, Kind::Embeds).await.expect("by the other call");
    client.unload(&at, &tiny, Kind::Generates).await.expect_err("there is no other call");
    assert_eq!(server.bodies()[3], r#"{"input":"","keep_alive":0,"model":"tiny:1"}"#);
}

#[tokio::test(start_paused = true)]
async fn answers_that_are_none_of_a_model_server_are_not_read_as_empty() {
    let huge = format!("{{\"models\":[\"{}\"]}}", "x".repeat(4 << 20));
    for body in ["", "{}", "[]", "<html></html>", r#"{"models":7}"#, huge.as_str()] {
        let server = scripted([("GET /api/tags ", vec![until_closed(body)])]).await;
        let error = Ollama::default().installed(&at(&server)).await.expect_err("no list");
        assert_eq!(error.code(), "model_server_broken_answer", "{:.40}", body);
    }
}
