//! Many mistakes at once, of every stage, also beside broken syntax.

use super::{check, parse};
use crate::config::Mistake;

const MANY: &str = r#"[nod]
name = "x"

[services.api]
imgae = "nginx"
ports = ["127.0.0.1:80:8000", 80]
memory = 512
network = "nodes"
environment = { A = 4, B = { secret = "ap", key = "k" }, C = "${regoin}" }
gpus = "some"

[services.worker]
image = "Worker"
depends_on = ["api", "db"]
cpus = 0

[volumes.models]
device = "/dev/nvme1n1"
mount = "mnt"

[logs]
retention_days = 31
"#;

#[test]
fn every_mistake_of_every_stage_is_in_one_list_by_line_and_column() {
    let positions: Vec<String> =
        check(MANY).iter().map(|line| line.split(": ").next().unwrap_or_default().to_owned()).collect();
    assert_eq!(
        positions,
        [
            "1:2", "5:1", "6:10", "6:31", "7:10", "8:11", "9:21", "9:39", "9:63", "10:8", "13:9", "14:22",
            "15:8", "18:10", "19:9", "21:1", "22:18"
        ],
        "{:#?}",
        check(MANY)
    );
}

#[test]
fn syntax_errors_do_not_hide_what_else_is_wrong() {
    let text = r#"[services.api]
image = "nginx
ports = ["80:80"]
memroy = "1g"

[services.worker]
image "worker"
cpus = 0

[services.third
image = "third"
nonsense = 1

[logs]
group =
retention_days = 31
"#;
    assert_eq!(
        check(text),
        [
            "2:15: not TOML: invalid basic string, expected `\"`",
            "4:1: unknown key `memroy` in [services.api] (hint: did you mean `memory`?)",
            "7:7: not TOML: key with no value, expected `=`",
            "8:8: 0 cores are out of range (hint: write a number from 0.01, such as 0.5 or 2)",
            "10:16: not TOML: unclosed table, expected `]`",
            "15:8: a value is missing after `=`",
            "16:18: CloudWatch Logs cannot keep logs for 31 days (hint: write 60, or another of 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)",
        ]
    );
}

#[test]
fn an_unclosed_array_is_one_mistake_that_names_its_line() {
    let text =
        "[services.api]\nimage = \"a\"\nports = [\"80:80\"\nmemory = \"1g\"\n\n[logs]\ngroup = \"a b\"\n";
    assert_eq!(
        check(text),
        [
            "4:1: not TOML: missing comma between array elements, expected `,` (hint: what begins in line 3 may not be closed)",
            "7:9: \"a b\" cannot name a log group (hint: 1 to 512 of a-z, A-Z, 0-9, _ - / . and #)",
        ]
    );
}

#[test]
fn keys_behind_an_unclosed_inline_table_are_not_called_unknown() {
    let text =
        "[services.api]\nimage = \"a\"\nenvironment = { A = \"x\",\nB = \"y\"\n[logs]\ngroup = \"g\"\n";
    let lines = check(text);
    assert!(lines.iter().all(|line| line.contains("not TOML")), "{lines:#?}");
    assert!(!lines.is_empty());
}

#[test]
fn duplicate_keys_and_tables_are_named() {
    assert_eq!(
        check("[services.api]\nimage = \"a\"\nimage = \"b\"\n[services.api]\nmemory = \"1g\"\n"),
        ["3:1: `image` is written twice", "4:11: `api` is written twice"]
    );
}

#[test]
fn a_key_that_would_exhaust_the_stack_is_refused() {
    let deep = format!("x{} = 1", ".x".repeat(100_000));
    assert_eq!(check(&deep), ["1:34: a key with more than 16 dots"]);
    assert_eq!(check(&format!("a = {}", "[".repeat(100_000))).len(), 1);
    assert_eq!(check(&" ".repeat(2 << 20)), ["1:1: the file has 2097152 bytes; at most 1048576 are read"]);
}

#[test]
fn a_mistake_shows_its_line_with_a_mark_under_it() {
    let text = "[node]\n\tnmae = \"x\"\n";
    let mistakes = parse(text).unwrap().check().unwrap_err();
    assert_eq!(mistakes.to_string(), "1 mistake in the configuration");
    assert_eq!(mistakes.0[0].to_string(), "n:2:2: unknown key `nmae` in [node] (hint: did you mean `name`?)");
    assert_eq!(mistakes.0[0].excerpt(text), "2 | \tnmae = \"x\"\n  | \t^");
}

#[test]
fn of_a_long_line_the_part_around_the_mistake_is_shown() {
    let text = format!("[node]\nname = \"{}\"; x = 1 # {}\n", "a".repeat(200), "b".repeat(200));
    let mistake =
        |column| Mistake { file: "n".to_owned(), line: 2, column, message: "wrong".to_owned(), hint: None };
    for (column, begins, ends) in [(1, "2 | name", "a…"), (210, "2 | …aaa", "bb…"), (425, "2 | …bbb", "b")]
    {
        let shown = mistake(column).excerpt_within(&text, 60);
        let (line, caret) = shown.split_once('\n').unwrap();
        assert!(line.starts_with(begins) && line.ends_with(ends), "{column}:\n{shown}");
        assert!(line.chars().count() <= 60 && caret.chars().count() <= 61, "{column}:\n{shown}");
        let whole: Vec<char> = text.lines().nth(1).unwrap().chars().collect();
        let under = line.chars().nth(caret.chars().count() - 1);
        let wanted = whole.get(column - 1).copied();
        assert!(under == wanted || under == Some('…'), "{column}: {under:?} for {wanted:?}\n{shown}");
    }
    // Beyond the end of the file, and in no room at all.
    mistake(1000).excerpt_within(&text, 60);
    assert_eq!(Mistake { line: 9, ..mistake(3) }.excerpt_within(&text, 0), "9 | \n  | ^");
}

#[test]
fn a_value_cannot_forge_a_line_of_its_own() {
    for line in check("[services.api]\nimage = \"a\\nn:1:1: all is well\\u001b[2J\"") {
        assert!(!line.contains(['\n', '\u{1b}']), "{line:?}");
    }
}

#[test]
fn lines_that_end_as_on_windows_count_the_same() {
    assert_eq!(check("[node]\r\nname = 5\r\n[logs]\r\ngroup = \"g\"\r\nx = 1\r\n").len(), 2);
    assert_eq!(check("[logs]\r\ngroup =\r\nretention_days = 3\r\n"), ["2:8: a value is missing after `=`"]);
}

#[test]
fn what_is_not_closed_until_the_end_names_the_line_where_it_began() {
    for text in ["[logs]\ngroup = \"\"\"\nx\ny\n", "[logs]\ngroup = [\n\"x\",\n"] {
        let lines = check(text);
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(lines[0].ends_with("(hint: what begins in line 2 may not be closed)"), "{lines:#?}");
    }
}
