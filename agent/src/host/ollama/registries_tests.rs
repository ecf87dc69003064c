//! Lookups against a scripted registry; time is virtual.

use super::super::scripted::{Do, ok, scripted, until_closed, with_status};
use super::*;
use harness::local_cloud::{Bind, Config, LocalCloud};
use node::fault::Hint;
use std::process::Stdio;

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const LOOKUP: &str = "GET /v2/team/tiny/manifests/1 ";

fn manifest_text() -> String {
    // Not as Go would write it: the digest is that of the bytes.
    format!(
        "{{ \"layers\": [{{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":\"{DIGEST}\",\"size\":7}}] }}\n"
    )
}

async fn looked_up(actions: Vec<Do>) -> Result<Manifest, RegistryError> {
    let registry = scripted([(LOOKUP, actions)]).await;
    let name = format!("http://{}/team/tiny:1", registry.address).parse().expect("a name");
    let found = ModelRegistries::default().manifest(&name).await;
    registry.bodies();
    let heads = registry.heads().concat().to_lowercase();
    assert!(
        heads.contains(&format!("accept: {MANIFEST}\r\n")) && !heads.contains("authorization"),
        "{heads}"
    );
    found
}

#[tokio::test(start_paused = true)]
async fn the_digest_is_that_of_the_bytes_that_came() {
    let text = manifest_text();
    let expected = manifest::read(text.as_bytes()).expect("a manifest");
    assert_eq!(looked_up(vec![ok(&text)]).await.expect("it is there"), expected);
    assert_ne!(expected.digest, manifest::read(text.trim().as_bytes()).expect("a manifest").digest);
    assert_eq!(expected.size_bytes(), 7);
}

#[tokio::test(start_paused = true)]
async fn every_answer_that_is_no_manifest_has_its_code_and_a_hint() {
    let large = "x".repeat(LARGEST_BYTES + 1);
    for (answer, code) in [
        (
            with_status("401 Unauthorized\r\nWWW-Authenticate: Bearer realm=\"https://r/token\"", ""),
            "model_registry_denied",
        ),
        (with_status("403 Forbidden", ""), "model_registry_denied"),
        (with_status("404 Not Found", r#"{"errors":[{"code":"MANIFEST_UNKNOWN"}]}"#), "model_not_found"),
        (with_status("429 Too Many Requests", ""), "model_registry_unreachable"),
        (with_status("503 Service Unavailable", ""), "model_registry_unreachable"),
        (with_status("418 I'm a teapot", ""), "model_registry_broken_answer"),
        (with_status("304 Not Modified", ""), "model_registry_broken_answer"),
        (ok("<html>Sign in</html>"), "model_registry_broken_answer"),
        (ok(r#"{"manifests":[]}"#), "model_registry_broken_answer"),
        (until_closed(&large), "model_registry_broken_answer"),
        // It ends before it is complete.
        (Do::Say("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{".to_owned()), "model_registry_unreachable"),
    ] {
        let error = looked_up(vec![answer]).await.expect_err("no manifest");
        assert_eq!(error.code, code, "{error}");
        assert!(error.hint().is_some() && error.to_string().contains("/team/tiny:1"), "{error}");
        assert!(error.to_string().len() < 300, "{error}");
    }
}

#[test]
fn a_registry_that_wants_a_login_is_got_round_by_the_servers_own_key() {
    let name = "models.internal/team/tiny:1".parse().expect("a name");
    let hint = of_status(&name, 401).hint().expect("a hint");
    assert!(hint.contains("`ollama pull models.internal/team/tiny:1`") && hint.contains("never"), "{hint}");
}

#[tokio::test(start_paused = true)]
async fn silence_ends_after_twenty_seconds() {
    for beginning in ["", "HTTP/1.1 200 OK\r\n\r\n{"] {
        let began = tokio::time::Instant::now();
        let error = looked_up(vec![Do::Say(beginning.to_owned()), Do::UntilLeft]).await.expect_err("silence");
        assert_eq!((error.code, began.elapsed().as_secs()), ("model_registry_unreachable", 20));
        assert!(error.to_string().ends_with("no answer within 20 s"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_few_redirects_are_followed() {
    let moved = |to: &str| with_status(&format!("307 Temporary Redirect\r\nLocation: {to}"), "");
    let elsewhere = scripted([("GET /there ", vec![ok(&manifest_text())])]).await;
    let found = looked_up(vec![moved(&format!("http://{}/there", elsewhere.address))]).await;
    found.expect("it is there");
    elsewhere.bodies();
    let again = || vec![moved("/again")];
    let round =
        [(LOOKUP, again())].into_iter().chain((0..REDIRECTS_AT_MOST).map(|_| ("GET /again ", again())));
    let registry = scripted(round.collect::<Vec<_>>()).await;
    let name = format!("http://{}/team/tiny:1", registry.address).parse().expect("a name");
    let error = ModelRegistries::default().manifest(&name).await.expect_err("it goes round");
    assert_eq!(error.code, "model_registry_broken_answer");
    registry.bodies();
}

#[test]
fn no_redirect_leads_from_tls_to_none() {
    let url = |text: &str| text.parse::<Url>().expect("a URL");
    let (plain, secure) = (url("http://r/v2/"), url("https://r/v2/"));
    let is_followed = |before: &Url, next: &Url| is_followed(std::slice::from_ref(before), next);
    assert!(is_followed(&plain, &plain) && is_followed(&plain, &secure) && is_followed(&secure, &secure));
    assert!(!is_followed(&secure, &plain));
}

#[tokio::test(start_paused = true)]
async fn nobody_listens_and_a_name_that_is_no_address() {
    for name in ["http://127.0.0.1:1/team/tiny:1", "http://a:b:c/team/tiny:1"] {
        let error =
            ModelRegistries::default().manifest(&name.parse().expect("a name")).await.expect_err("nobody");
        assert_eq!(error.code, "model_registry_unreachable", "{error}");
        assert!(!error.to_string().contains("manifests"), "{error}");
    }
}

/// The other process of the test below looks up this one.
const LOOKS_UP: &str = "MODEL_THAT_IS_LOOKED_UP";

/// The store is named to the libraries by an environment variable: each of the two is a process of its own.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "starts this test in a process with another environment")]
async fn an_authority_in_the_hosts_store_is_trusted_and_no_other() {
    if let Ok(name) = std::env::var(LOOKS_UP) {
        let error =
            ModelRegistries::default().manifest(&name.parse().expect("a name")).await.expect_err("no login");
        println!("{} ({:?})", error, error.hint());
        return;
    }
    let registry_backend = Some("http://127.0.0.1:1".to_owned());
    let config = Config { registry: Some(Bind::loopback()), registry_backend, ..Config::default() };
    let cloud = LocalCloud::start(config).await.expect("a cloud");
    let host = cloud.registry_url().replace("https://", "");
    let folder = tempfile::tempdir().expect("a folder");
    let authority = folder.path().join("authority.pem");
    std::fs::write(&authority, cloud.authority_pem()).expect("written");
    let lookup = async |store: Option<&std::path::Path>| {
        let mut command = tokio::process::Command::new(std::env::current_exe().expect("this program"));
        let test = "host::ollama::registries::tests::an_authority_in_the_hosts_store_is_trusted_and_no_other";
        command.args(["--exact", test, "--nocapture"]).env(LOOKS_UP, format!("{host}/team/tiny:1"));
        store.map(|store| command.env("SSL_CERT_FILE", store));
        let output = command.stdin(Stdio::null()).output().await.expect("it runs");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let said = lookup(Some(&authority)).await;
    assert!(said.contains("status 401") && said.contains("without a login"), "{said}");
    let said = lookup(None).await;
    assert!(said.contains("certificate") && said.contains("add the registry's authority"), "{said}");
}
