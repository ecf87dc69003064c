//! Manifests as registries give them, and as they never should.

use super::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const CASES: u32 = 20_000;
const SEED: [u8; 32] = *b"the same cases in every test run";

fn digest(digit: char) -> String {
    format!("sha256:{}", digit.to_string().repeat(64))
}

fn descriptor(kind: &str, digit: char, size: &str) -> String {
    format!(
        r#"{{"mediaType":"application/vnd.ollama.image.{kind}","digest":"{}","size":{size}}}"#,
        digest(digit)
    )
}

fn manifest(config: &str, layers: &[String]) -> String {
    let layers = layers.join(",");
    format!(r#"{{"schemaVersion":2,"mediaType":"m","config":{config},"layers":[{layers}]}}"#)
}

#[test]
fn layers_come_with_their_sizes_and_whether_loading_reads_them() {
    let config = descriptor("config", 'c', "490");
    let kinds = ["model", "template", "projector", "license", "adapter", "tensor"];
    let layers: Vec<String> =
        kinds.iter().zip('0'..).map(|(kind, digit)| descriptor(kind, digit, "1000")).collect();
    let text = manifest(&config, &layers);
    let found = read(text.as_bytes()).unwrap();
    let shown: Vec<(char, u64, bool)> = found
        .layers
        .iter()
        .map(|layer| (layer.digest.chars().last().unwrap(), layer.size_bytes, layer.weights))
        .collect();
    assert_eq!(
        shown,
        [
            ('c', 490, false),
            ('0', 1000, true),
            ('1', 1000, false),
            ('2', 1000, true),
            ('3', 1000, false),
            ('4', 1000, true),
            ('5', 1000, true),
        ]
    );
    assert_eq!(found.size_bytes(), 6490);
    assert_eq!(found.digest, format!("sha256:{}", hexadecimal(&Sha256::digest(&text))));
    // `printf '{…}' | sha256sum`
    let known = read(manifest("null", &[descriptor("model", 'a', "5")]).as_bytes()).unwrap();
    assert_eq!(known.digest, "sha256:35b51e870d1c4f2632e314ca20b5a7e7606bddeb86e3cd0a2ef268049bdc6907");
}

#[test]
fn a_manifest_that_go_has_not_written_has_the_digest_of_what_go_writes_too() {
    let layer = descriptor("model", 'a', "5");
    let own = manifest(&descriptor("config", 'c', "3"), std::slice::from_ref(&layer));
    let own_read = read(own.as_bytes()).unwrap();
    assert_eq!(own_read.also, [""; 0], "it is Go's own");
    let strange = format!(
        "{{ \"layers\": [{{\"size\": 5, \"digest\": {:?}, \"annotations\": {{}}, \"mediaType\": \
         \"application/vnd.ollama.image.model\"}}],\n \"config\": {}, \"mediaType\": \"m\", \"schemaVersion\": 2 }}\n",
        digest('a'),
        descriptor("config", 'c', "3"),
    );
    let found = read(strange.as_bytes()).unwrap();
    assert_ne!(found.digest, own_read.digest);
    assert_eq!(found.also, std::slice::from_ref(&own_read.digest));
    assert_eq!(found.layers, own_read.layers);
    // The server has it under the one or the other.
    let of_the_bytes = found.digest.clone();
    assert_eq!(found.clone().known_as(|known| known == own_read.digest).digest, own_read.digest);
    assert_eq!(found.clone().known_as(|_| true).digest, of_the_bytes);
    assert_eq!(found.known_as(|_| false).digest, of_the_bytes);
}

#[test]
fn what_go_writes_has_its_escapes_its_zeros_and_the_names_that_a_server_knows() {
    let named = format!(r#"{{"mediaType":"a&b","digest":"{}","size":5,"name":"blk.0"}}"#, digest('a'));
    let found = read(format!(r#"{{"layers":[{named}]}}"#).as_bytes()).unwrap();
    let written = |name: &str| {
        format!(
            r#"{{"schemaVersion":0,"mediaType":"","config":{{"mediaType":"","digest":"","size":0}},"layers":[{{"mediaType":"a\u0026b","digest":"{}","size":5{name}}}]}}"#,
            digest('a')
        )
    };
    let expected = [r#","name":"blk.0""#, ""].map(|name| digest_of(written(name).as_bytes()));
    assert_eq!(found.also, expected);
}

#[test]
fn a_layer_that_is_named_twice_is_one_file() {
    let twice =
        [descriptor("license", 'a', "5"), descriptor("model", 'a', "5"), descriptor("model", 'b', "6")];
    let found = read(manifest(&descriptor("config", 'b', "6"), &twice).as_bytes()).unwrap();
    let layer = |digit, size_bytes| Layer { digest: digest(digit), size_bytes, weights: true };
    assert_eq!(found.layers, [layer('b', 6), layer('a', 5)]);
}

#[test]
fn what_is_no_manifest_is_refused_with_a_reason() {
    let model = |size| vec![descriptor("model", 'a', size)];
    let none = r#"{"digest":"","size":0}"#;
    assert_eq!(read(manifest(none, &model("0")).as_bytes()).unwrap().layers.len(), 1);
    let elsewhere = manifest(&descriptor("config", 'c', "3"), &[]);
    assert_eq!(read(elsewhere.as_bytes()).unwrap().layers.len(), 1, "a model that is served elsewhere");
    for (text, reason) in [
        (String::new(), "it is no manifest"),
        ("null".to_owned(), "it is no manifest"),
        ("{}".to_owned(), "it names no layers"),
        (manifest(none, &[]), "it names no layers"),
        (r#"{"layers":[]}"#.to_owned(), "it names no layers"),
        (r#"{"manifests":[{}]}"#.to_owned(), "it is a list"),
        (manifest(none, &model("-1")), "has -1 bytes"),
        (manifest(none, &model("1.5")), "it is no manifest"),
        (manifest(none, &model("18446744073709551615")), "it is no manifest"),
        (manifest(none, &model("9223372036854775807")), "has 9223372036854775807 bytes"),
        (manifest(none, &[model("5"), model("6")].concat()), "two sizes"),
        (manifest(none, &[r#"{"digest":"sha256:../../etc/passwd"}"#.to_owned()]), "it names a layer"),
        (manifest(none, &[format!(r#"{{"digest":"{}"}}"#, digest('A'))]), "it names a layer"),
    ] {
        let refused = read(text.as_bytes());
        assert!(refused.as_ref().is_err_and(|why| why.contains(reason)), "{text}: {refused:?}");
    }
    let full: Vec<String> =
        ('0'..='9').map(|digit| descriptor("model", digit, &(LARGEST_BYTES / 2).to_string())).collect();
    assert!(read(manifest(none, &full).as_bytes()).unwrap_err().contains("larger than any volume"));
}

#[test]
fn no_bytes_make_the_reader_panic_and_what_is_read_can_be_trusted() {
    let text = manifest(&descriptor("config", 'c', "1"), &[descriptor("model", 'a', "70368744177664")]);
    let edits = vec((any::<proptest::sample::Index>(), any::<u8>(), 0..3_u8), 0..6);
    let seed = String::from_utf8_lossy(&SEED);
    harness::requirements::tried(&format!("manifests: {CASES} cases, seed {seed:?}"));
    let config = Config { cases: CASES, failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &SEED));
    let outcome = runner.run(&edits, |edits| {
        let mut bytes = text.clone().into_bytes();
        for (index, byte, what) in edits {
            let at = index.index(bytes.len());
            match what {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ if bytes.len() > 1 => drop(bytes.remove(at)),
                _ => {}
            }
        }
        match read(&bytes) {
            Ok(found) => {
                prop_assert!(is_digest(&found.digest) && !found.layers.is_empty());
                prop_assert!(found.layers.iter().all(|layer| is_digest(&layer.digest)));
                prop_assert!(found.size_bytes() <= LARGEST_BYTES);
            }
            Err(why) => prop_assert!(!why.is_empty() && !why.contains('\n'), "{}", why),
        }
        Ok(())
    });
    outcome.unwrap();
}
