//! What is asked of node.toml: who may ask, what the agent's loop gets to see, and what `agentctl` makes of its answers.

use super::{Bench, NOBODY, expect, is_root};
use agent::change::{Change, Fate, Key, Service};
use agent::reload::{Refusal, Request, Taken};
use node::config::{Mistake, Mistakes, Source};
use std::io::{Read, Write};
use std::sync::{Arc, Mutex};

/// Texts that were sent to be compared.
type Sent = Arc<Mutex<Vec<Option<Vec<Source>>>>>;

impl Bench {
    /// Answers every question with these.
    fn answer_requests(&mut self, reload: Result<Taken, Refusal>, compare: Result<Change, Refusal>) -> Sent {
        let sent = Sent::default();
        let (seen, mut requests) = (Arc::clone(&sent), self.requests.take().unwrap());
        self.runtime.spawn(async move {
            while let Some(request) = requests.recv().await {
                match request {
                    Request::Reload { reply } => drop(reply.send(reload.clone())),
                    Request::Show { reply } => drop(reply.send(Ok("[node]\nname = \"x\"\n".to_owned()))),
                    Request::Compare { sources, reply } => {
                        seen.lock().unwrap().push(sources);
                        let _ = reply.send(compare.clone());
                    }
                }
            }
        });
        sent
    }
}

/// A loop that takes everything, with all there can be in a change.
pub(super) fn take_requests(bench: &mut Bench) {
    let key = |old: Option<&str>, new: Option<&str>| Key {
        key: "services.api.memory".to_owned(),
        old: old.map(Into::into),
        new: new.map(Into::into),
    };
    let fates = [Fate::Started, Fate::Removed, Fate::Recreated];
    let service = |fate| Service { name: "api".to_owned(), fate, what: "what".to_owned() };
    let change = Change {
        keys: vec![key(None, Some("1g")), key(Some("1g"), None), key(Some("1g"), Some("2g"))],
        services: fates.into_iter().map(service).collect(),
        sections: Vec::new(),
        bootstrap: vec!["volumes".to_owned()],
    };
    bench.answer_requests(taken(), Ok(change));
}

/// One that finds two mistakes.
pub(super) fn refuse_requests(bench: &mut Bench) {
    bench.answer_requests(Err(mistakes("node.toml")), Err(mistakes("node.toml")));
}

fn taken() -> Result<Taken, Refusal> {
    Ok(Taken { message: "service api gets a new container".to_owned() })
}

fn mistakes(file: &str) -> Refusal {
    let mistake = |line| Mistake {
        file: file.to_owned(),
        line,
        column: 2,
        message: format!("mistake in line {line}"),
        hint: Some("write another".to_owned()),
    };
    Refusal::from(Mistakes(vec![mistake(1), mistake(2)]))
}

#[test]
fn whoever_may_change_something_reloads_and_compares_and_everybody_sees_what_is_in_force() {
    let mut bench = Bench::new();
    let change = Change {
        keys: vec![Key { key: "services.api.memory".to_owned(), old: None, new: Some("1g".into()) }],
        services: vec![Service {
            name: "api".to_owned(),
            fate: Fate::Recreated,
            what: "is stopped and started as a new container".to_owned(),
        }],
        ..Change::default()
    };
    let sent = bench.answer_requests(taken(), Ok(change));
    expect(&bench.agentctl(&["config", "reload"]), 0, "service api gets a new container\n", "");
    expect(&bench.agentctl(&["config", "diff"]), 1, "+ services.api.memory: \"1g\"\n", "");
    assert_eq!(sent.lock().unwrap().pop().unwrap(), None, "the agent reads its own files");
    let file = bench.root.path().join("other.toml");
    node::files::replace(&file, b"# other\n", 0o600).unwrap();
    let path = file.to_str().unwrap();
    let compared = bench.agentctl(&["config", "diff", "--json", path]);
    expect(&compared, 1, "\"same\": false", "");
    let source = Source { name: path.to_owned(), text: "# other\n".to_owned() };
    assert_eq!(
        sent.lock().unwrap().pop().unwrap(),
        Some(vec![source]),
        "and another as who asks may read it"
    );
    expect(&bench.agentctl(&["config", "diff", "/nonexistent"]), 1, "", "cannot read /nonexistent: ");
    if is_root() {
        expect(&bench.run_as(Some(NOBODY), &["config", "show"]), 0, "name = \"x\"", "");
        for verb in ["reload", "diff"] {
            expect(&bench.run_as(Some(NOBODY), &["config", verb]), 1, "", "may read but not change");
        }
        assert!(sent.lock().unwrap().is_empty(), "nothing reached the loop");
    }
}

#[test]
fn what_the_agent_finds_wrong_is_shown_with_the_lines_of_the_files() {
    let mut bench = Bench::new();
    let file = bench.root.path().join("node.toml");
    node::files::replace(&file, b"first = 1\nsecond = 2\n", 0o644).unwrap();
    let name = file.display().to_string();
    bench.answer_requests(Err(mistakes(&name)), Err(mistakes(&name)));
    for verb in ["reload", "diff"] {
        let ended = bench.agentctl(&["config", verb]);
        expect(&ended, 78, "", &format!("{name}:1:2: mistake in line 1\n    1 | first = 1\n      |  ^\n"));
        expect(&ended, 78, "", &format!("{name}:2:2: mistake in line 2\n    2 | second = 2\n"));
    }
}

#[test]
fn a_refusal_without_a_place_and_an_agent_that_stops_have_their_own_codes() {
    let mut bench = Bench::new();
    let empty = Refusal::new(agent::reload::INVALID, "node.toml is empty", "write a comment");
    let undecided = Refusal::new(agent::reload::UNDECIDED, "the tags are not known", "wait");
    bench.answer_requests(Err(empty), Err(undecided));
    expect(&bench.agentctl(&["config", "reload"]), 78, "", "node.toml is empty (hint: write a comment)");
    expect(&bench.agentctl(&["config", "diff"]), 1, "", "the tags are not known (hint: wait)");

    let mut stopping = Bench::new();
    drop(stopping.requests.take());
    expect(&stopping.agentctl(&["config", "reload"]), 1, "", "reads no configuration while it stops");
}

#[test]
fn a_body_that_is_no_list_of_texts_is_refused() {
    let mut bench = Bench::new();
    let sent = bench.answer_requests(taken(), Ok(Change::default()));
    let mut stream = bench.connect();
    let request = "POST /v1/config/diff HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\n{\"a\":";
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("query_invalid"), "{answer}");
    assert!(sent.lock().unwrap().is_empty());
}
