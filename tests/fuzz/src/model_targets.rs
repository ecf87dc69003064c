//! The readers of what model servers and registries of models send, as targets; they are the agent's.

use agent::host::ollama::pulling::Stream;
use agent::models::manifest;
use agent::models::server::PullProgress;

/// A target and its name.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 2] = [("pull_stream", pull_stream), ("model_manifest", model_manifest)];

/// The first byte says how the stream is cut into chunks. Cut otherwise, it means the same.
pub fn pull_stream(data: &[u8]) {
    let (size, stream) = data.split_first().unwrap_or((&0, &[]));
    let at_once = read(stream, stream.len().max(1));
    assert_eq!(
        read(stream, usize::from(*size).max(1)),
        at_once,
        "in chunks of {size} it means something else"
    );
    match at_once {
        Ok(PullProgress { completed_bytes, total_bytes }) => assert!(completed_bytes <= total_bytes),
        Err(why) => is_a_short_line(&why),
    }
}

fn read(stream: &[u8], size: usize) -> Result<PullProgress, String> {
    let mut reader = Stream::default();
    let mut before = reader.progress();
    for chunk in stream.chunks(size) {
        let moved = reader.chunk(chunk).map_err(|failure| failure.to_string())?;
        let now = reader.progress();
        assert!(moved || now.completed_bytes <= before.completed_bytes, "bytes came, and it did not move");
        before = now;
    }
    reader.end().map_err(|failure| failure.to_string())
}

/// What is read can be used without a further look: as names of files, and for sums.
pub fn model_manifest(data: &[u8]) {
    match manifest::read(data) {
        Ok(found) => {
            assert!(manifest::is_digest(&found.digest) && !found.layers.is_empty());
            let mut digests: Vec<&str> = found.layers.iter().map(|layer| layer.digest.as_str()).collect();
            assert!(digests.iter().all(|digest| manifest::is_digest(digest)), "{digests:?}");
            digests.sort_unstable();
            assert!(digests.windows(2).all(|pair| pair[0] < pair[1]), "a layer comes twice: {digests:?}");
            assert!(found.size_bytes() <= 1 << 46);
            let moved = manifest::read(&[b" ", data].concat()).expect("a space before it changes nothing");
            assert!(moved.layers == found.layers && moved.digest != found.digest);
        }
        Err(why) => is_a_short_line(&why),
    }
}

fn is_a_short_line(text: &str) {
    assert!(!text.is_empty() && text.chars().count() < 500 && !text.contains(char::is_control), "{text:?}");
}

/// Target and input: as servers and registries send them.
#[must_use]
pub fn seeds() -> Vec<(&'static str, Vec<u8>)> {
    let streams = [PULLED, FAILED].map(|text| ("pull_stream", format!("\u{7}{text}").into_bytes()));
    let manifests = [MANIFEST, LIST].map(|text| ("model_manifest", text.as_bytes().to_vec()));
    streams.into_iter().chain(manifests).collect()
}

const PULLED: &str = r#"{"status":"pulling manifest"}
{"status":"pulling dde5aa3fc5ff","digest":"sha256:dde5aa3fc5ffc17176b5e8bdc82f587b24b2678c6c66101bf7da77af9f7ccdff","total":2019377376}
{"status":"pulling dde5aa3fc5ff","digest":"sha256:dde5aa3fc5ffc17176b5e8bdc82f587b24b2678c6c66101bf7da77af9f7ccdff","total":2019377376,"completed":2019377376}
{"status":"pulling 966de95ca8a6","digest":"sha256:966de95ca8a62200913e3f8bfbf84c8494536f1b94b49166851e76644e966396","total":1429,"completed":1429}
{"status":"verifying sha256 digest"}
{"status":"writing manifest"}
{"status":"success"}
"#;

const FAILED: &str = r#"{"status":"pulling manifest"}
{"status":"pulling 966de95ca8a6","digest":"sha256:966de95ca8a6","total":1429,"completed":14}
{"error":"Get \"https://r.example/b?X-Amz-Signature=00\": write sha256-96-partial: no space left on device"}
"#;

const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{"mediaType":"application/vnd.docker.container.image.v1+json","digest":"sha256:34bb5ab01051a11372a91f95f3fbbc51173eed8e7f13ec395b9ae9b8bd0e242b","size":561},"layers":[{"mediaType":"application/vnd.ollama.image.model","digest":"sha256:dde5aa3fc5ffc17176b5e8bdc82f587b24b2678c6c66101bf7da77af9f7ccdff","size":2019377376},{"mediaType":"application/vnd.ollama.image.template","digest":"sha256:966de95ca8a62200913e3f8bfbf84c8494536f1b94b49166851e76644e966396","size":1429}]}"#;

const LIST: &str = r#"{"schemaVersion":2,"manifests":[{"digest":"sha256:34bb5ab01051a11372a91f95f3fbbc51173eed8e7f13ec395b9ae9b8bd0e242b","size":561}]}"#;
