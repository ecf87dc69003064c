//! Every message of the programs that says what is wrong: all of them are read out of the sources, held against the form
//! that a person can use (what, why, what to do), and kept in `messages.txt`, so that a reviewer sees each new one.

#![expect(clippy::expect_used, reason = "a test that cannot read the tree has failed")]
#![expect(clippy::disallowed_methods, reason = "writes the list anew where that is asked for")]

#[path = "messages/scan.rs"]
mod scan;
#[path = "sources/mod.rs"]
mod sources;
#[path = "messages/text.rs"]
mod text;

use scan::{Found, Hint, Message, scan};
use sources::{product_sources, workspace};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;
use text::Text;

/// Set to anything: the list is written anew.
const WRITE: &str = "WRITE_MESSAGES";

/// Error types whose texts are part of another message, which says what to do.
const CAUSES: &[(&str, &str)] = &[
    ("agent/src/ctl/mod.rs: Ending", "the error in it is printed with its own hint"),
    ("agent/src/host/docker/refusal.rs: NoAnswer", "the cause of an EngineError"),
    ("agent/src/host/ollama/refusal.rs: Failure", "becomes a ServerError when it is known of which call"),
    ("agent/src/host/ollama/refusal.rs: NotNow", "the cause of a ServerError"),
    ("agent/src/host/ollama/transport.rs: NoAnswer", "the cause of a ServerError"),
    ("agent/src/host/ollama/transport.rs: NoClient", "the cause of a ServerError"),
    ("agent/src/logs/sink.rs: PutError", "the tally makes a problem of it, with a hint"),
    (
        "agent/src/logs/source.rs: SourceError",
        "a container that was removed is the end of its log, and no problem",
    ),
    ("agent/src/models/files.rs: FilesError", "becomes a problem of the models, with a hint"),
    (
        "node/src/cloud/failure.rs: AwsFailure",
        "who asked AWS knows what to do, and says it where this does not",
    ),
    ("node/src/cloud/secrets_manager.rs: FetchFailure", "the reason in a FetchError"),
];

/// Words that a message may begin with in capitals: they are names.
const NAMES: &[&str] = &["AWS", "CloudWatch", "Docker", "HTTP", "HTTPS", "IMDSv2", "TLS", "UTF-8"];

/// With them a message says that something was tried: then it has to say why it did not work.
const TRIED: &[&str] = &["cannot ", "could not ", "not allowed ", "failed "];

/// What stands for the why in a text: what it was answered, or a sentence that gives the reason.
const WHYS: &[&str] = &[
    ": ",
    "{error}",
    "{why}",
    "{reason}",
    "{message}",
    "{source}",
    ", which ",
    " because ",
    "(403)",
    " for ",
    " twice",
];

/// `#[cfg(test)] mod NAME;` in the module above.
fn is_declared_for_tests(path: &Path) -> bool {
    let (Some(folder), Some(name)) = (path.parent(), path.file_stem()) else { return false };
    let declaration = format!("#[cfg(test)]\nmod {};", name.to_string_lossy());
    let above = [folder.with_extension("rs"), folder.join("mod.rs"), folder.join("lib.rs")];
    above.iter().any(|file| fs::read_to_string(file).is_ok_and(|text| text.contains(&declaration)))
}

/// Everything that product code says, file by file.
fn found() -> &'static Found {
    static FOUND: OnceLock<Found> = OnceLock::new();
    FOUND.get_or_init(|| {
        let mut all = Found::default();
        for (name, source) in product_sources(|path| !is_declared_for_tests(path)) {
            let file = scan(&name, &source);
            all.messages.extend(file.messages);
            all.unreadable.extend(file.unreadable);
            let home = |kind: &str| format!("{name}: {kind}");
            all.errors.extend(file.errors.into_iter().map(|(kind, place)| (home(&kind), place)));
            all.hints.extend(file.hints.into_iter().map(|(kind, hint)| (home(&kind), hint)));
            all.from_errors += file.from_errors;
        }
        all
    })
}

fn place(message: &Message) -> String {
    let text = match &message.text {
        Text::Written(text) => format!("\"{text}\""),
        Text::HandedOn(expression) => format!("<{expression}>"),
    };
    format!("{}:{}: {text} ({})", message.file, message.line, message.form)
}

/// Messages whose text is written where they are made.
fn written() -> impl Iterator<Item = (&'static Message, &'static str)> {
    found().messages.iter().filter_map(|message| match &message.text {
        Text::Written(text) => Some((message, text.as_str())),
        Text::HandedOn(_) => None,
    })
}

fn report(rule: &str, offences: &[String]) {
    assert!(offences.is_empty(), "{rule} ({}):\n  {}", offences.len(), offences.join("\n  "));
}

/// Not parts: they are said after something else.
fn is_whole(message: &Message) -> bool {
    !message.form.starts_with("part of ")
}

#[test]
fn every_message_is_found_and_read() {
    let found = found();
    report("a message is made in a form that this test cannot read", &found.unreadable);
    let count = |form: &str| {
        found.messages.iter().filter(|it| it.form.split([' ', ':']).next() == Some(form)).count()
    };
    for (form, at_least) in [
        ("error", 90),
        ("Fault", 45),
        ("Refused", 10),
        ("Problem", 12),
        ("Wrong", 120),
        ("note", 10),
        ("part", 80),
    ] {
        println!("{form}: {}", count(form));
        assert!(count(form) >= at_least, "only {} of the form {form} are found", count(form));
    }
    // Beside reading the sources as Rust: as text, which knows nothing of forms.
    let places: BTreeSet<(&str, usize)> =
        found.messages.iter().map(|it| (it.file.as_str(), it.line)).collect();
    let mut passed_over = Vec::new();
    for (name, source) in product_sources(|path| !is_declared_for_tests(path)) {
        let code = source.split("\n#[cfg(test)]\nmod tests {").next().expect("at least one part");
        for (index, line) in code.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"))
        {
            let makes = ["Wrong::new(", "Wrong::absent(", "Refused::new(", " Fault::new("]
                .iter()
                .any(|it| line.contains(it));
            if makes && !places.contains(&(name.as_str(), index + 1)) {
                passed_over.push(format!("{name}:{}: {}", index + 1, line.trim()));
            }
        }
    }
    report("a message is made and was not found", &passed_over);
}

#[test]
fn a_message_begins_small_ends_without_a_stop_and_shows_no_dump() {
    let mut offences = Vec::new();
    for (message, text) in written() {
        let first = text.split([' ', '/', ',', ':', '\'']).next().unwrap_or_default();
        // A variable of the environment, or a call of AWS.
        let is_variable = first.chars().all(|c| c.is_ascii_uppercase() || c == '_')
            || first.chars().filter(char::is_ascii_uppercase).count() > 1;
        let begins_large = first.starts_with(char::is_uppercase) && !NAMES.contains(&first) && !is_variable;
        let ends = text.ends_with(['.', '!', '\n', ' ']) && is_whole(message);
        let dump = text.contains(":?}");
        if text.is_empty() || begins_large || ends || dump {
            offences.push(place(message));
        }
    }
    report("a message begins with a capital, ends with a stop, or shows a dump", &offences);
}

#[test]
fn a_message_names_the_thing_and_does_not_only_say_that_it_failed() {
    let mut offences = Vec::new();
    for (message, text) in written().filter(|(message, _)| is_whole(message)) {
        let words: Vec<&str> = text.split_whitespace().collect();
        let names = text.contains('{')
            || words.iter().any(|it| ["the", "a", "an", "no", "this", "it", "its", "another"].contains(it));
        let filled_only = text.starts_with('{') && text.ends_with('}') && words.len() == 1;
        let bare = ["error", "failed", "failure", "invalid", "unknown error"].contains(&text);
        let stock =
            text.starts_with("failed to ") || text.starts_with("error ") || text.starts_with("unable to ");
        if bare || stock || (!names && !filled_only && words.len() < 3) {
            offences.push(place(message));
        }
    }
    report("a message does not say on which thing", &offences);
}

#[test]
fn what_was_tried_and_did_not_work_says_why() {
    let says_why =
        |message: &Message, text: &str| message.has_source || WHYS.iter().any(|why| text.contains(why));
    let offences: Vec<String> = written()
        .filter(|(message, text)| TRIED.iter().any(|tried| text.starts_with(tried)) && is_whole(message))
        .filter(|(message, text)| !says_why(message, text))
        .map(|(message, _)| place(message))
        .collect();
    report("a message says that something cannot be done and not why", &offences);
}

#[test]
fn every_fault_refusal_and_problem_says_what_to_do() {
    let missing = found().messages.iter().filter(|message| message.hint == Hint::Missing);
    report("a message has no hint", &missing.map(place).collect::<Vec<_>>());
}

#[test]
fn a_hint_is_one_sentence_in_the_imperative_without_a_stop() {
    let given = found().messages.iter().filter_map(|message| match &message.hint {
        Hint::Given(texts) => Some((place(message), texts)),
        Hint::Missing | Hint::Elsewhere => None,
    });
    let of_errors = found().hints.iter().map(|(kind, (_, texts))| (kind.clone(), texts));
    let mut offences = Vec::new();
    for (place, texts) in given.chain(of_errors) {
        for text in texts {
            let Text::Written(text) = text else { continue };
            if text.is_empty()
                || text.starts_with(char::is_uppercase) && !NAMES.iter().any(|name| text.starts_with(name))
                || text.ends_with(['.', '!'])
            {
                offences.push(format!("{place}: hint \"{text}\""));
            }
        }
    }
    report("a hint begins with a capital or ends with a stop", &offences);
}

#[test]
fn every_error_says_what_to_do_or_is_the_cause_of_one_that_does() {
    let found = found();
    let mut offences = Vec::new();
    for (home, place) in &found.errors {
        let is_cause = CAUSES.iter().any(|(cause, _)| home == cause);
        match found.hints.get(home) {
            None if !is_cause => offences.push(format!("{home} does not implement Hint ({place})")),
            Some((false, _)) if !is_cause => offences.push(format!("{home}: there is a case without a hint")),
            _ => {}
        }
    }
    let gone = CAUSES.iter().filter(|(cause, _)| !found.errors.contains_key(*cause));
    offences.extend(gone.map(|(cause, _)| format!("{cause} is listed as a cause and is not there")));
    report("an error type leaves a person without a hint", &offences);
}

#[test]
fn the_list_of_all_messages_is_up_to_date() {
    let path = workspace().join("tests/messages.txt");
    let list = list();
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, &list).expect("the list can be written");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let (kept, now): (Vec<&str>, Vec<&str>) = (kept.lines().collect(), list.lines().collect());
    let new = now.iter().filter(|line| !kept.contains(line)).map(|line| format!("+ {line}"));
    let gone = kept.iter().filter(|line| !now.contains(line)).map(|line| format!("- {line}"));
    let changes: Vec<String> = new.chain(gone).collect();
    let hint = format!(
        "look at each, then write the list anew: {WRITE}=1 cargo test --locked -p agent --test messages"
    );
    assert!(
        kept == now,
        "tests/messages.txt is not what the sources say; {hint}\n  {}",
        changes.join("\n  ")
    );
}

/// By file, and in it in the order in which they stand; without line numbers, so that only a message changes the list.
fn list() -> String {
    let mut list = String::from(
        "# Every message of the programs, by file. Written by tests/messages.rs; do not edit.\n",
    );
    let mut file = "";
    let shown = |text: &Text| match text {
        Text::Written(text) => text.replace('\n', "\\n"),
        Text::HandedOn(expression) => format!("<{expression}>"),
    };
    for message in &found().messages {
        if message.file != file {
            file = &message.file;
            let _ = writeln!(list, "\n{file}");
        }
        let _ = writeln!(list, "  {}: {}", message.form, shown(&message.text));
        if let Hint::Given(texts) = &message.hint {
            texts.iter().for_each(|text| {
                let _ = writeln!(list, "    hint: {}", shown(text));
            });
        }
    }
    list.push_str("\nhints of errors\n");
    for (kind, (_, texts)) in &found().hints {
        let _ = writeln!(list, "  {kind}");
        texts.iter().for_each(|text| {
            let _ = writeln!(list, "    hint: {}", shown(text));
        });
    }
    list
}

#[test]
fn what_breaks_a_rule_is_seen() {
    let source = r##"
        fn unknown() -> Fault { Fault::made_up("x") }
        fn bare(name: &str) -> Problem {
            let message = format!("{name} Failed: {:?}", name);
            Problem { code: "x".to_owned(), message, hint: None, since: now() }
        }
        fn given() -> Fault { Fault::new("x", "the thing is not there").hinting("make it") }
        fn carried() -> Result<(), Wrong> {
            let wrong = |why: &str| Wrong::new(format!("\"x\" is nothing: {why}"));
            Err(wrong("it is empty"))
        }
        #[derive(Debug, thiserror::Error)]
        enum Error { #[error("cannot do {what}")] Doing { what: String } }
        #[cfg(test)]
        mod tests { fn not_seen() { Fault::new("x", "y"); } }
    "##;
    let found = scan("agent/src/x.rs", source);
    assert_eq!(found.unreadable.len(), 1, "{:?}", found.unreadable);
    let seen: Vec<(&str, &Text, &Hint)> =
        found.messages.iter().map(|it| (it.form.as_str(), &it.text, &it.hint)).collect();
    let written = |text: &str| Text::Written(text.to_owned());
    assert_eq!(
        seen,
        [
            ("Problem", &written("{name} Failed: {name:?}"), &Hint::Missing),
            ("Fault", &written("the thing is not there"), &Hint::Given(vec![written("make it")])),
            ("Wrong", &written("\"x\" is nothing: {why}"), &Hint::Elsewhere),
            ("part of wrong", &written("it is empty"), &Hint::Elsewhere),
            ("error Error::Doing", &written("cannot do {what}"), &Hint::Elsewhere),
        ]
    );
    assert!(found.errors.contains_key("Error") && !found.hints.contains_key("Error"));
}
