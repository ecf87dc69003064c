//! Messages as servers give them.

use super::*;
use node::fault::{Hint, one_line};

#[test]
fn what_people_meet_has_a_code_and_a_hint() {
    for (text, code) in [
        ("write /root/.ollama/models/blobs/sha256-00-partial: no space left on device", "model_disk_full"),
        (
            "max retries exceeded: write /m/blobs/sha256-00-partial: no space left on device",
            "model_disk_full",
        ),
        ("pull model manifest: file does not exist", "model_not_found"),
        ("model \"tiny:1\" not found, try pulling it first", "model_not_found"),
        ("model requires more system memory (19.1 GiB) than is available (1.0 GiB)", "model_out_of_memory"),
        ("llama runner process has terminated: cudaMalloc failed: out of memory", "model_out_of_memory"),
        ("llama runner process has terminated: signal: killed", "model_out_of_memory"),
        ("llama runner process has terminated: exit status 2", "model_server_refused"),
        ("unable to load model: /root/.ollama/models/blobs/sha256-00", "model_server_refused"),
        (
            "do load request: Post \"http://127.0.0.1:36155/load\": dial tcp: connection refused",
            "model_server_refused",
        ),
        (
            "pull model manifest: Get \"https://r/v2/\": dial tcp: lookup r: no such host",
            "model_registry_unreachable",
        ),
        ("max retries exceeded: unexpected EOF", "model_registry_unreachable"),
        (
            "pull model manifest: tls: failed to verify certificate: x509: certificate signed by unknown authority",
            "model_registry_unreachable",
        ),
        ("unauthorized: access denied", "model_registry_denied"),
        ("insecure protocol http", "model_server_refused"),
        (
            "pull model manifest: 412: The model you are attempting to pull requires a newer version of Ollama.",
            "model_server_refused",
        ),
        (
            "digest mismatch, file must be downloaded again: want sha256:00, got sha256:11",
            "model_server_refused",
        ),
        ("", "model_server_refused"),
    ] {
        let meaning = meaning(None, text);
        assert_eq!(meaning.code, code, "{text}");
        assert!(!meaning.hint.is_empty() && !meaning.message.is_empty(), "{text}");
    }
    assert_eq!(meaning(Some(404), "404 page not found").code, "model_not_found");
}

#[test]
fn words_of_the_server_become_one_short_line_without_what_opens_doors() {
    for (text, expected) in [
        ("one\n two\t\u{1b}[31m three", "one two  [31m three"),
        ("", "it gave no reason"),
        (
            "Get \"https://u:p@r2.example/blobs/x?X-Amz-Signature=00&y=1\": dial tcp: i/o timeout",
            "Get \"https://r2.example/blobs/x\": dial tcp: i/o timeout",
        ),
        ("proxyconnect tcp: http://user:word@proxy:3128", "proxyconnect tcp: http://proxy:3128"),
        ("(see https://example.org/a#b)", "(see https://example.org/a)"),
        ("https://[::1]:5000/v2/", "https://[::1]:5000/v2/"),
        ("a://@?", "a://"),
    ] {
        assert_eq!(shown(text), expected);
    }
    let long = shown(&"ä".repeat(1000));
    assert_eq!((long.chars().count(), long.ends_with('…')), (LONGEST_MESSAGE + 1, true));
}

#[test]
fn errors_of_a_call_name_it_and_the_server() {
    let endpoint = Endpoint("http://10.0.0.2:11434".to_owned());
    let error = of_status(503, b"").of(&endpoint, "load tiny:1".to_owned());
    assert_eq!(
        one_line(&error),
        "the model server at http://10.0.0.2:11434 is busy (load tiny:1): status 503"
    );
    assert_eq!(error.code(), "model_server_busy");
    let error = of_status(504, b"").of(&endpoint, "load tiny:1".to_owned());
    assert_eq!(error.code(), "model_server_unreachable");
    let error = of_status(500, br#"{"error":"out of memory"}"#).of(&endpoint, "load tiny:1".to_owned());
    assert_eq!(
        (error.code(), one_line(&error)),
        ("model_out_of_memory", "cannot load tiny:1: out of memory".to_owned())
    );
    assert!(error.hint().is_some());
}
