//! What user data may look like, and that nothing of it breaks the reader.

use super::*;
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use std::io::Write;

const NODE_TOML: &str = "[services.web]\nimage = \"nginx:1\"\n";

fn sections() -> BTreeSet<String> {
    ["node", "services", "volumes", "agent"].map(str::to_owned).into()
}

fn judged(bytes: impl AsRef<[u8]>) -> UserData {
    read(bytes.as_ref(), &sections())
}

fn plain(text: &str) -> UserData {
    UserData::NodeToml { text: text.to_owned(), is_part: false }
}

fn part(text: &str) -> UserData {
    UserData::NodeToml { text: text.to_owned(), is_part: true }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let quads = bytes.chunks(3).map(|chunk| {
        let padded = [chunk[0], *chunk.get(1).unwrap_or(&0), *chunk.get(2).unwrap_or(&0)];
        let bits = padded.iter().fold(0_usize, |bits, byte| bits << 8 | usize::from(*byte));
        let digit = |at: usize| char::from(DIGITS[bits >> (18 - 6 * at) & 63]);
        (0..4).map(|at| if at <= chunk.len() { digit(at) } else { '=' }).collect::<String>()
    });
    // Lines, as mail programs make them.
    quads.collect::<Vec<_>>().chunks(19).map(|line| line.concat() + "\n").collect()
}

/// A message of a shell script and this part.
fn message(headers: &str, body: &str) -> String {
    format!(
        "Content-Type: multipart/mixed; boundary=\"==a=b==\"\nMIME-Version: 1.0\n\nfor people\n\
         --==a=b==\nContent-Type: text/x-shellscript; charset=\"us-ascii\"\n\n#!/bin/sh\necho [services.x]\n\n\
         --==a=b==\n{headers}\n\n{body}\n--==a=b==--\n"
    )
}

#[test]
fn a_node_toml_is_told_by_a_section_or_by_its_first_line() {
    let long = format!("\n\n# notes\n{NODE_TOML}");
    for text in [
        NODE_TOML,
        long.as_str(),
        "[ node ]\r\nname = \"x\"\r\n",
        "[[volumes]]\n",
        "# node.toml of the web servers\n",
        "# /etc/node-agent/node.toml\nservices.web = 1\n",
        "# node.toml\n[servcies.web]\n",
        // A mistake must be reported as one, wherever it is.
        "[services.web\nimage = \n[services.api]\n",
    ] {
        assert_eq!(judged(text), plain(text), "{text}");
    }
    assert_eq!(judged(format!("\u{feff}{NODE_TOML}")), plain(NODE_TOML), "a byte order mark is no text");
}

#[test]
fn what_is_somebody_elses_is_said_by_its_kind_and_left_alone() {
    let script = format!("#!/bin/sh\ncat > /etc/node-agent/node.toml <<EOF\n{NODE_TOML}EOF\n");
    let config = format!("#cloud-config\nwrite_files:\n- content: |\n{NODE_TOML}");
    for (bytes, what) in [
        ("", "is empty"),
        (" \n\t\n", "is empty"),
        (script.as_str(), "is a script"),
        (&format!("\n{script}"), "is a script"),
        (config.as_str(), "is cloud-config"),
        ("#cloud-config-archive\n", "is cloud-config"),
        ("#include-once\nhttps://example.com/node.toml\n", "is an include list of cloud-init"),
        ("## template: jinja\n#cloud-config\n", "is a template of cloud-init"),
        ("<powershell>\n", "is a script for Windows"),
        ("{\"ignition\": {}}", "is JSON"),
        ("ECS_CLUSTER=web\n", "is text without a section of node.toml"),
        ("[settings.kernel]\nx = 1\n[servicesx]\n[nodes.a]\n", "is text without a section of node.toml"),
        ("hello", "is text without a section of node.toml"),
        ("\u{1}\u{2}", "is text without a section of node.toml"),
    ] {
        assert_eq!(judged(bytes), UserData::Other(what), "{bytes}");
    }
    assert_eq!(judged(b"\xff\xfe\x00"), UserData::Other("is not text"));
    assert_eq!(
        judged(message("Content-Type: text/plain", NODE_TOML)),
        UserData::Other("is a MIME message without a node.toml")
    );
}

#[test]
fn gzip_and_base64_are_undone_and_bounded() {
    assert_eq!(judged(gzip(NODE_TOML.as_bytes())), plain(NODE_TOML));
    assert_eq!(judged(base64(NODE_TOML.as_bytes())), plain(NODE_TOML));
    assert_eq!(judged(base64(&gzip(NODE_TOML.as_bytes()))), plain(NODE_TOML));
    let mime = message("Content-Type: text/x-node-toml", NODE_TOML);
    assert_eq!(judged(gzip(mime.as_bytes())), part(NODE_TOML));
    let script = base64(b"#!/bin/sh\n");
    assert_eq!(judged(script), UserData::Other("is a script"));
    let broken = UserData::Other("is gzip data that cannot be unpacked");
    let whole = gzip(NODE_TOML.as_bytes());
    assert_eq!(judged(&whole[..whole.len() - 9]), broken);
    let largest = usize::try_from(UNPACKED_BYTES_AT_MOST).unwrap();
    let bomb = gzip(format!("{NODE_TOML}{}", "#".repeat(largest)).as_bytes());
    assert!(bomb.len() < 16 << 10, "it would fit into user data");
    assert_eq!(judged(bomb), broken);
    let nested = (0..9).fold(NODE_TOML.as_bytes().to_vec(), |inside, _| gzip(&inside));
    assert_eq!(judged(nested), broken);
}

#[test]
fn a_part_is_found_by_its_type_or_by_either_file_name() {
    for headers in [
        "Content-Type: text/x-node-toml",
        "content-type:TEXT/X-Node-Toml;charset=utf-8",
        "Content-Type: text/plain\nContent-Disposition: attachment; filename=\"node.toml\"",
        "Content-Disposition: attachment;\n  filename=/etc/node-agent/node.toml",
        "Content-Type: text/plain; name=\"web \\\"a; b\\\" node.toml\"; charset=utf-8",
        "Content-Type: text/plain; format; filename=x; name=node.toml",
    ] {
        assert_eq!(judged(message(headers, NODE_TOML)), part(NODE_TOML), "{headers}");
        let with_returns = message(headers, NODE_TOML).replace('\n', "\r\n");
        assert_eq!(judged(with_returns), part(&NODE_TOML.replace('\n', "\r\n")), "{headers}");
    }
    let alone = format!("Content-Type: text/x-node-toml\nMIME-Version: 1.0\n\n{NODE_TOML}");
    assert_eq!(judged(alone), part(NODE_TOML));
}

#[test]
fn transfer_encodings_are_undone_and_broken_ones_refused() {
    let of = |encoding: &str, body: &str| {
        let headers = format!("Content-Type: text/x-node-toml\nContent-Transfer-Encoding: {encoding}");
        judged(message(&headers, body))
    };
    let umlauts = "# Gr\u{fc}\u{df}e = 1\n[services.web]\n";
    assert_eq!(of("8bit", umlauts), part(umlauts));
    assert_eq!(of("BASE64", &base64(umlauts.as_bytes())), part(umlauts));
    assert_eq!(of("quoted-printable", "# Gr=C3=bc=C3=9Fe =3D =\n1\n[services.web]\n"), part(umlauts));
    for (encoding, body) in [
        ("base64", "AAA"),
        ("base64", "AB=="),
        ("base64", "A==="),
        ("base64", "AA==AA=="),
        ("base64", "A*AA"),
        ("quoted-printable", "a =G1"),
        ("quoted-printable", "a =\t\n"),
        ("x-uuencode", "begin"),
        ("base64", "/w=="),
    ] {
        let judged = of(encoding, body);
        let wanted = matches!(judged, UserData::Unreadable(reason) if reason.contains("node.toml"));
        assert!(wanted, "{encoding} {body}: {judged:?}");
    }
}

#[test]
fn two_node_tomls_are_refused_and_none_is_chosen() {
    let one = "Content-Type: text/x-node-toml\n\n[node]\n--==a=b==\nContent-Type: text/x-node-toml";
    assert_eq!(judged(message(one, NODE_TOML)), UserData::Unreadable(TWO_PARTS));
}

#[test]
fn nested_messages_are_opened_and_lines_that_look_like_delimiters_are_text() {
    let inner = format!(
        "Content-Type: multipart/alternative; boundary=in\n\n--in\nContent-Type: text/x-node-toml\n\n\
         # --in\n--inner\n--==a=b==x\n{NODE_TOML}\n--in--\nafter\n"
    );
    let (headers, body) = inner.split_once("\n\n").unwrap();
    assert_eq!(judged(message(headers, body)), part(&format!("# --in\n--inner\n--==a=b==x\n{NODE_TOML}")));
    let unclosed = message("Content-Type: text/x-node-toml", NODE_TOML).replace("--==a=b==--\n", "");
    assert_eq!(judged(unclosed), part(&format!("{NODE_TOML}\n")));
    let mut deep = format!("Content-Type: text/x-node-toml\n\n{NODE_TOML}");
    for level in 0..9 {
        deep =
            format!("Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n{deep}\n--b{level}--\n");
    }
    assert_eq!(judged(deep), UserData::Other("is a MIME message that nests too deeply"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn any_bytes_get_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = judged(&bytes);
        let _ = judged([&GZIP[..], &bytes].concat());
    }

    #[test]
    fn any_message_gets_an_answer(
        pieces in proptest::collection::vec(
            prop_oneof![
                Just("Content-Type: multipart/mixed; boundary=b\r\n".to_owned()),
                Just("Content-Type: text/x-node-toml\n".to_owned()),
                Just("Content-Transfer-Encoding: base64\n".to_owned()),
                Just("Content-Transfer-Encoding: quoted-printable\n".to_owned()),
                Just("MIME-Version: 1.0\n".to_owned()),
                Just("--b\n".to_owned()), Just("--b--".to_owned()), Just("\r\n".to_owned()), Just("\n".to_owned()),
                Just("; boundary=\"".to_owned()), Just(NODE_TOML.to_owned()),
                "[ -~\u{e9}=\t\"\\\\;:]{0,12}",
            ],
            0..24,
        ),
    ) {
        let _ = judged(pieces.concat());
        let _ = judged(format!("Content-Type: multipart/mixed; boundary=b\n{}", pieces.concat()));
    }

    #[test]
    fn a_text_comes_through_every_encoding_as_it_was(text in "[ -~\n\u{e9}\u{4e16}]{0,200}", cut in 0_usize..6) {
        let text = format!("{}# node.toml\n{text}", "\n".repeat(cut));
        let headers = |encoding: &str| {
            format!("Content-Type: text/x-node-toml\nContent-Transfer-Encoding: {encoding}")
        };
        let quoted: String = text.bytes().map(|byte| format!("={byte:02X}")).collect();
        prop_assert_eq!(judged(message(&headers("8bit"), &text)), part(&text));
        prop_assert_eq!(judged(message(&headers("base64"), &base64(text.as_bytes()))), part(&text));
        prop_assert_eq!(judged(message(&headers("quoted-printable"), &quoted)), part(&text));
        prop_assert_eq!(judged(&text), plain(&text));
        prop_assert_eq!(judged(gzip(text.as_bytes())), plain(&text));
    }
}
