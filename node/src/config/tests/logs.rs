//! `[logs]` and `[services.NAME.logs]`: what is taken, and what is refused where.

use super::{check, lines, parse, settings};
use crate::config::settings::{Field, LogFile, Logs, Multiline, Sample, Shaping, Units};

/// `[logs]` with these lines, of which the first is line 3.
fn logs(more: &str) -> String {
    format!("[logs]\ngroup = \"g\"\n{more}\n")
}

/// `[services.a.logs]` with these lines, of which the first is line 6.
fn of_service(more: &str) -> String {
    format!("[logs]\ngroup = \"g\"\n[services.a]\nimage = \"a\"\n[services.a.logs]\n{more}\n")
}

fn each(text: impl Fn(&str) -> String, cases: &[(&str, &str)]) {
    for (more, wanted) in cases {
        assert_eq!(check(&text(more)), [*wanted], "\n{more}");
    }
}

#[test]
fn a_group_alone_has_every_default() {
    assert_eq!(settings(&logs("")).logs, Some(Logs::to_group("g")));
    let written = "tags = {}\nstream = \"{instance_id}/{service}\"\nfiles = []\njournal = []\nkernel = true\nqueue = \"1g\"\nmax_event = \"256k\"";
    assert_eq!(settings(&logs(written)).logs, Some(Logs::to_group("g")));
    assert_eq!(Logs::to_group("g").max_event_bytes, 262_118, "256 KiB less what CloudWatch adds");
}

#[test]
fn everything_that_is_shipped_besides_services() {
    let text = logs(
        r#"
tags = { team = "x", env = "${region}" }
stream = "{node}/{instance_id}/{service}"
files = ["/var/log/a.log", { path = "/srv/*/app-?.log", multiline = "java", exclude = ["DEBUG"], repeat = 1 }, { path = "/b", stream = "{instance_id}/b" }]
journal = ["*"]
kernel = false
queue = "16m"
max_event = "1m"
"#,
    );
    let logs = settings(&text).logs.unwrap();
    assert_eq!(
        logs.tags.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(),
        ["env=ap-northeast-2", "team=x"]
    );
    assert_eq!((logs.journal, logs.kernel), (Units::All, false));
    assert_eq!((logs.queue_bytes, logs.max_event_bytes), (16 << 20, (1 << 20) - 26));
    let shaping = Shaping {
        multiline: Some(Multiline::Java),
        exclude: vec!["DEBUG".to_owned()],
        repeat: Some(1),
        ..Shaping::default()
    };
    let plain = LogFile { path: "/var/log/a.log".to_owned(), stream: None, shaping: Shaping::default() };
    assert_eq!(
        logs.files[..2],
        [plain, LogFile { path: "/srv/*/app-?.log".to_owned(), stream: None, shaping }]
    );
    assert!(logs.files[2].stream.is_some());
}

#[test]
fn everything_that_shapes_a_service() {
    let text = of_service(
        r#"
include = ["ERROR", '^\d+ms$']
exclude = ["/health", "(?i)debug"]
multiline = { start = '^\[' }
sample = [{ pattern = "hit", one_in = 100 }, { pattern = ".*", one_in = 2 }]
repeat = 10
max_rate = "1m"
daily = "5g"
fields = ["instance_id", "service", "image_digest", "service"]
"#,
    );
    let sample = |pattern: &str, one_in| Sample { pattern: pattern.to_owned(), one_in };
    let wanted = Shaping {
        multiline: Some(Multiline::Start("^\\[".to_owned())),
        include: vec!["ERROR".to_owned(), "^\\d+ms$".to_owned()],
        exclude: vec!["/health".to_owned(), "(?i)debug".to_owned()],
        sample: vec![sample("hit", 100), sample(".*", 2)],
        repeat: Some(10),
        max_rate: Some(1 << 20),
        daily: Some(5 << 30),
        fields: vec![Field::Service, Field::ImageDigest, Field::InstanceId],
    };
    assert_eq!(settings(&text).services["a"].logs, wanted);
    assert_eq!(settings("services.a.image = \"a\"").services["a"].logs, Shaping::default());
    assert_eq!(
        settings(&of_service("multiline = \"python\"")).services["a"].logs.multiline,
        Some(Multiline::Python)
    );
}

#[test]
fn a_stream_that_mixes_nodes_or_sources_is_refused() {
    each(
        logs,
        &[
            (
                "stream = \"{node}/{service}\"",
                "3:10: \"{node}/{service}\" cannot name streams: two nodes would write to one stream (hint: write {instance_id} in it, without $; nodes of one Auto Scaling group may have one name)",
            ),
            (
                "stream = \"{instance_id}\"",
                "3:10: \"{instance_id}\" cannot name streams: two sources would write to one stream (hint: write {service} in it)",
            ),
            (
                "stream = \"{instance_id}/{container}\"",
                "3:10: \"{instance_id}/{container}\" cannot name streams: a placeholder is not known (hint: write one of {instance_id}, {service}, {node})",
            ),
            (
                "files = [\"/a\", { path = \"/b*\", stream = \"{instance_id}/b\" }]",
                "3:41: \"{instance_id}/b\" cannot name streams: two sources would write to one stream (hint: write {service} in it)",
            ),
            (
                "files = [{ path = \"/a\", stream = \"{instance_id}/x\" }, { path = \"/b\", stream = \"{instance_id}/x\" }]",
                "3:79: another file has this stream already (hint: write {service} in it)",
            ),
        ],
    );
    let same = "files = [{ path = \"/a\", stream = \"{instance_id}/x/{service}\" }, { path = \"/b\", stream = \"{instance_id}/x/{service}\" }]";
    assert_eq!(check(&logs(same)), [""; 0], "the path keeps them apart");
}

#[test]
fn a_bad_pattern_is_refused_where_it_stands() {
    each(
        of_service,
        &[
            (
                "include = [\"a\", \"(b\"]",
                "6:17: \"(b\" is not a regular expression: found open group without closing ')'",
            ),
            (
                "exclude = [\".*\"]",
                "6:12: \".*\" is found in every line (hint: leave it out, or write what has to be in the line)",
            ),
            (
                "multiline = { start = \"[é\" }",
                "6:23: \"[é\" is not a regular expression: non-empty character class has no closing bracket",
            ),
            (
                "sample = [{ pattern = \"a\", one_in = 2 }, { pattern = \"(a{999}){999}\", one_in = 2 }]",
                "6:54: \"(a{999}){999}\" is not a regular expression: it repeats too much (hint: make the counts between { and } smaller)",
            ),
        ],
    );
    let file = "files = [{ path = \"/a\", include = [\"*\"] }]";
    assert_eq!(
        check(&logs(file)),
        [
            "3:36: \"*\" is not a regular expression: uncounted repetition operator must be applied to a sub-expression"
        ]
    );
    let many = vec!["\"a\""; 33].join(", ");
    let wanted = "6:11: 33 patterns are more than 32 (hint: join some of them with |)";
    assert_eq!(check(&of_service(&format!("exclude = [{many}]"))), [wanted]);
}

#[test]
fn other_mistakes_of_a_service() {
    each(
        of_service,
        &[
            (
                "multiline = \"pyhton\"",
                "6:13: `multiline` in [services.a.logs] must be \"python\" or \"java\", not \"pyhton\" (hint: did you mean \"python\"?)",
            ),
            ("multiline = {}", "6:13: `start` is missing in [services.a.logs.multiline]"),
            (
                "sample = [{ pattern = \"a\" }]",
                "6:11: `one_in` is missing in [services.a.logs.\"sample[0]\"]",
            ),
            (
                "sample = [{ pattern = \"a\", one_in = 1 }]",
                "6:37: 1 is out of range (hint: write a number from 2 to 1000000)",
            ),
            ("repeat = 0", "6:10: 0 is out of range (hint: write a number from 1 to 1000000)"),
            ("max_rate = \"1b\"", "6:12: \"1b\" is out of range (hint: write a size from 1k to 1g)"),
            ("daily = \"17t\"", "6:9: \"17t\" is out of range (hint: write a size from 1m to 16t)"),
            (
                "fields = [\"image\"]",
                "6:11: `fields[0]` in [services.a.logs] must be \"service\" or \"image_digest\" or \"instance_id\", not \"image\"",
            ),
            ("exlude = []", "6:1: unknown key `exlude` in [services.a.logs] (hint: did you mean `exclude`?)"),
        ],
    );
}

#[test]
fn other_mistakes_of_the_node() {
    each(
        logs,
        &[
            (
                "tags = { \"aws:a\" = \"x\" }",
                "3:10: `aws:a` cannot be a tag of a log group: `aws:` is for AWS itself",
            ),
            ("files = [\"a.log\"]", "3:10: \"a.log\" is not an absolute path (hint: begin it with /)"),
            (
                "files = [\"/var/**/a\"]",
                "3:10: \"/var/**/a\" has `**`, and no pattern reaches over directories (hint: write one `*` for each of them)",
            ),
            ("files = [\"/a\", { path = \"/a\" }]", "3:25: `/a` is named twice"),
            ("files = [{ exclude = [\"a\"] }]", "3:10: `path` is missing in [logs.\"files[0]\"]"),
            (
                "files = [{ path = \"/a\", fields = [\"service\"] }]",
                "3:25: unknown key `fields` in [logs.\"files[0]\"] (hint: `fields` belongs in [services.NAME.logs])",
            ),
            (
                "journal = [\"docker\"]",
                "3:12: \"docker\" is not the name of a unit: its kind is missing (hint: write \"docker.service\")",
            ),
            (
                "journal = [\"*\", \"docker.service\"]",
                "3:12: \"*\" stands for all units (hint: write [\"*\"] alone, or name the units)",
            ),
            ("journal = [\"a.service\", \"a.service\"]", "3:25: \"a.service\" is named twice"),
            ("queue = \"8m\"", "3:9: \"8m\" is out of range (hint: write a size from 16m to 1t)"),
            ("max_event = \"2m\"", "3:13: \"2m\" is out of range (hint: write a size from 16k to 1m)"),
            (
                "kernel = \"yes\"",
                "3:10: `kernel` in [logs] must be a boolean, not a string (hint: write true or false, without quotes)",
            ),
        ],
    );
}

#[test]
fn shaping_what_is_not_shipped_is_a_mistake() {
    let text = "[services.a]\nimage = \"a\"\nlogs.repeat = 1\n";
    let wanted =
        "3:1: no log is shipped: there is no [logs] (hint: write [logs] with a `group`, or leave this out)";
    assert_eq!(check(text), [wanted]);
    assert_eq!(check(&format!("{text}[lgos]\ngroup = \"g\"\n")).len(), 1, "it may be meant");
    assert_eq!(check(&format!("{text}[logs]\ngroup = \"g\"\n")), [""; 0]);
}

#[test]
fn what_comes_from_tags_is_checked_on_the_instance() {
    let draft = parse(&of_service("include = [\"${tag:Stage}\"]\ndaily = \"${tag:Daily}\"")).unwrap();
    assert_eq!(lines(draft.check()), [""; 0]);
    let mut facts = super::facts();
    facts.tags.insert("Daily".to_owned(), "1g".to_owned());
    let settings = draft.settings(&facts).unwrap();
    assert_eq!(settings.services["a"].logs.include, ["prod"]);
    facts.tags.insert("Stage".to_owned(), "(".to_owned());
    assert_eq!(lines(draft.settings(&facts)).len(), 1);
}
