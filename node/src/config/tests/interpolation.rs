//! `${…}` in values.

use super::{check, facts, lines, parse, settings};
use crate::config::settings::EnvironmentValue;
use std::collections::BTreeSet;

fn environment(text: &str) -> String {
    let all = settings(text);
    match all.services.get("a").and_then(|service| service.environment.get("X")) {
        Some(EnvironmentValue::Literal(text)) => text.clone(),
        other => panic!("{other:?}"),
    }
}

fn service(value: &str) -> String {
    format!("[services.a]\nimage = \"a\"\nenvironment.X = \"{value}\"\n")
}

#[test]
fn facts_tags_variables_and_the_name_are_put_in() {
    let text = format!(
        "{}[node]\nname = \"${{var.team}}-${{tag:Stage}}\"\n[var]\nteam = \"a-${{region}}\"\n",
        service(
            "${instance_id} ${instance_type} ${region} ${availability_zone} ${account} ${tag:Stage} ${var.team} ${node.name}"
        )
    );
    assert_eq!(
        environment(&text),
        "i-0123456789abcdef0 t3.medium ap-northeast-2 ap-northeast-2a 123456789012 prod a-ap-northeast-2 a-ap-northeast-2-prod"
    );
}

#[test]
fn dollars_are_kept_where_they_name_nothing() {
    let cases = [
        ("$5 and $", "$5 and $"),
        ("$${region}", "${region}"),
        ("$$${region}", "$${region}"),
        ("a$${b}${region}", "a${b}ap-northeast-2"),
        ("$region", "$region"),
    ];
    for (value, wanted) in cases {
        assert_eq!(environment(&service(value)), wanted, "{value}");
    }
}

#[test]
fn the_name_is_the_tag_then_the_id() {
    assert_eq!(settings("").node_name, "web-1");
    let mut untagged = facts();
    untagged.tags.clear();
    let settings = parse("[logs]\ngroup = \"${node.name}\"").unwrap().settings(&untagged).unwrap();
    assert_eq!(settings.node_name, "i-0123456789abcdef0");
    assert_eq!(settings.logs.unwrap().group, "i-0123456789abcdef0");
}

#[test]
fn what_cannot_be_put_in_is_refused_at_its_dollar() {
    let cases = [
        ("x ${regoin}", "3:20: `${regoin}` is unknown (hint: did you mean `${region}`?)"),
        ("${HOME}", "3:18: `${HOME}` is unknown (hint: for the text itself write $${HOME})"),
        ("${}", "3:18: `${}` is unknown (hint: for the text itself write $${})"),
        ("${tag:}", "3:18: `${tag:}` names no tag (hint: write ${tag:KEY})"),
        ("${var.x}", "3:18: `${var.x}`: there is no `x` in [var]"),
        ("ab${region", "3:20: `${` without `}` (hint: for the text itself write $${)"),
        (
            "${secret.app.KEY}",
            "3:18: `${secret.app.KEY}`: a secret is never put into a string (hint: use environment_from, secret_files, or environment = { NAME = { secret = \"…\", key = \"…\" } })",
        ),
    ];
    for (value, wanted) in cases {
        assert_eq!(check(&service(value)), [wanted], "{value}");
    }
}

#[test]
fn nothing_can_be_made_from_itself() {
    assert_eq!(
        check("[node]\nname = \"x${node.name}\""),
        ["2:10: `${node.name}` cannot be used here: the name is made from this value"]
    );
    assert_eq!(
        check("[var]\na = \"${var.b}\"\nb = \"x\""),
        ["2:6: `${var.b}`: a variable cannot use another variable"]
    );
}

#[test]
fn what_depends_on_a_wrong_variable_is_not_reported_again() {
    let text = format!("[var]\nv = 5\n[logs]\ngroup = \"${{var.v}}\"\n{}", service("${var.v}"));
    assert_eq!(
        check(&text),
        ["2:5: `v` in [var] must be a string, not an integer (hint: put it in quotes: \"5\")"]
    );
}

#[test]
fn keys_are_not_substituted() {
    let lines = check("[registries.\"${account}.example.com\"]\nauth = \"ecr\"");
    assert_eq!(lines, ["1:13: `${account}.example.com`: `${…}` is not substituted in keys"]);
}

#[test]
fn enumerations_and_every_other_text_can_be_put_in() {
    let text = "[var]\nfs = \"ext4\"\nport = \"80:8000\"\n[volumes.a]\ndevice = \"/dev/sdf\"\nmount = \"/a\"\nfilesystem = \"${var.fs}\"\n[services.a]\nimage = \"a\"\nports = [\"${var.port}\"]";
    let settings = settings(text);
    assert_eq!(settings.volumes["a"].filesystem.name(), "ext4");
    assert_eq!(settings.services["a"].ports[0].host, 80);
}

#[test]
fn a_missing_tag_is_an_error_only_on_the_instance_and_its_value_is_not_judged_before() {
    let text = "[volumes.a]\ndevice = \"/dev/sdf\"\nmount = \"/a\"\nwait = \"${tag:Wait}\"";
    let draft = parse(text).unwrap();
    assert_eq!(draft.tags(), BTreeSet::from(["Wait".to_owned()]));
    assert_eq!(lines(draft.check()), [""; 0]);
    assert_eq!(
        lines(draft.settings(&facts())),
        [
            "4:9: `${tag:Wait}`: the instance metadata has no tag `Wait` (hint: tag the instance, and switch on tags in its metadata options (InstanceMetadataTags=enabled))"
        ]
    );
    let mut tagged = facts();
    tagged.tags.insert("Wait".to_owned(), "soon".to_owned());
    assert_eq!(lines(draft.settings(&tagged)).len(), 1, "a value from a tag is checked on the instance");
    tagged.tags.insert("Wait".to_owned(), "90s".to_owned());
    assert_eq!(draft.settings(&tagged).unwrap().volumes["a"].wait.as_secs(), 90);
}

#[test]
fn in_a_text_with_escapes_the_position_is_where_it_begins() {
    assert_eq!(check(&service("\\t${HOME}")).len(), 1);
    assert!(check(&service("\\t${HOME}"))[0].starts_with("3:17: "));
}
