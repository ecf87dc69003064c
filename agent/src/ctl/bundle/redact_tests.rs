//! A value that goes in does not come out, in whatever form; what is no secret stays.

use super::*;
use proptest::prelude::*;

fn knowing(values: &[(&str, &str, &[u8])]) -> Redactor {
    let folder = tempfile::tempdir().unwrap();
    for (secret, key, value) in values {
        let version = folder.path().join(secret).join("v-1");
        fs::create_dir_all(&version).unwrap();
        node::files::replace(&version.join(key), value, 0o444).unwrap();
        node::files::replace(&folder.path().join(secret).join("v-1.json"), b"{\"version\": \"v-1\"}", 0o444)
            .unwrap();
        let _ = std::os::unix::fs::symlink("v-1", folder.path().join(secret).join("current"));
    }
    Redactor::knowing(folder.path()).unwrap()
}

#[test]
fn a_value_is_taken_out_in_every_form_and_its_name_stays() {
    let redactor = knowing(&[("app", "DB", b"pa\"ss w\xc3\xb6rd/1")]);
    assert_eq!((redactor.values(), redactor.too_short()), (1, 0));
    let value = "pa\"ss w\u{f6}rd/1";
    let json = serde_json::to_string(value).unwrap();
    let twice = serde_json::to_string(&json).unwrap();
    for text in [
        value.to_owned(),
        json,
        twice,
        percent_encoded(value.as_bytes()),
        STANDARD.encode(value),
        URL_SAFE_NO_PAD.encode(value),
        node::hexadecimal::hexadecimal(value.as_bytes()),
    ] {
        let redacted = redactor.redacted(&format!("before {text} behind"));
        assert!(redacted.contains("[secret app/DB]"), "{redacted}");
        assert!(redacted.starts_with("before ") && redacted.ends_with(" behind"), "{redacted}");
        assert!(!redacted.contains("ss w"), "{redacted}");
    }
}

#[test]
fn lines_of_a_value_and_what_is_around_it_do_not_help() {
    let redactor =
        knowing(&[("app", "PEM", b"first line of it\nsecond line of it\n"), ("app", "PIN", b"123\n")]);
    assert_eq!((redactor.values(), redactor.too_short()), (1, 1));
    assert_eq!(redactor.redacted("x second line of it"), "x [secret app/PEM]");
    assert_eq!(redactor.redacted("first line of it\nsecond line of it"), "[secret app/PEM]");
    assert_eq!(redactor.redacted("PIN is 123"), "PIN is 123");
}

#[test]
fn what_has_the_shape_of_a_secret_is_taken_out_although_nobody_knows_it() {
    let nothing = Redactor::default();
    for (text, expected) in [
        ("postgres://app:hunter2@db:5432/x?y", "postgres://app:[password]@db:5432/x?y"),
        ("see https://example.com/a:b@c", "see https://example.com/a:b@c"),
        ("key AKIAIOSFODNN7EXAMPLE of", "key [access key id] of"),
        ("AKIA is short", "AKIA is short"),
        ("DB_PASSWORD = \"hun\\\"ter2\", OTHER = \"x\"", "DB_PASSWORD = \"[taken out]\", OTHER = \"x\""),
        ("{\"api_token\":\"abc\",\"n\":1}", "{\"api_token\":\"[taken out]\",\"n\":1}"),
        ("Authorization: Bearer abc.def", "Authorization: [taken out]"),
        ("X_API_KEY=abc", "X_API_KEY=[taken out]"),
        ("secret = \"app\", key = \"DB\"", "secret = \"app\", key = \"DB\""),
        ("[secrets.app]", "[secrets.app]"),
        ("token = { secret = \"app\" }", "token = { secret = \"app\" }"),
        ("a -----BEGIN RSA PRIVATE KEY-----\nMII\n-----END RSA PRIVATE KEY----- b", "a [private key] b"),
        ("-----BEGIN CERTIFICATE-----\nMII", "-----BEGIN CERTIFICATE-----\nMII"),
        ("-----BEGIN PRIVATE KEY-----\nMII, and no end", "[private key]"),
    ] {
        assert_eq!(nothing.redacted(text), expected);
    }
}

#[test]
fn a_store_that_is_not_there_is_empty_and_one_that_cannot_be_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(Redactor::knowing(&folder.path().join("none")).unwrap().values(), 0);
    let file = folder.path().join("file");
    node::files::replace(&file, b"x", 0o600).unwrap();
    assert!(Redactor::knowing(&file).is_err());
}

proptest! {
    #[test]
    fn no_value_comes_out_of_any_text(value in "[ -~]{6,40}", before in "[ -~\n]{0,40}", behind in "[ -~\n]{0,40}") {
        prop_assume!(value.trim().len() >= 6);
        let redactor = knowing(&[("s", "K", value.as_bytes())]);
        let redacted = redactor.redacted(&format!("{before}{value}{behind}"));
        // What stands in its place may itself hold a part of a very short value; six characters cannot come from it twice.
        prop_assert!(!redacted.replace("[secret s/K]", "").contains(value.trim()), "{redacted}");
    }

    #[test]
    fn any_text_is_taken(text in "\\PC{0,200}") {
        let _ = Redactor::default().redacted(&text);
    }
}
