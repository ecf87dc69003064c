//! node.toml changes while the agent runs: by a command, by a signal, by itself; right and wrong.

use super::{Agent, FIVE_MISTAKES, PATIENCE, Tree, VALID, story};
use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use std::time::{Duration, Instant};

/// A node that runs, with the text of its node.toml.
fn running(text: &str) -> (Tree, Agent) {
    let tree = Tree::new(text);
    tree.hand_over(|_| {});
    let agent = tree.start();
    tree.until_notified("READY=1", &agent);
    (tree, agent)
}

fn write(tree: &Tree, text: &str) {
    tree.write(&tree.paths().configuration(), text);
}

/// What is in force, as a node.toml.
fn in_force(tree: &Tree) -> String {
    let shown = tree.agentctl(&["config", "show"]);
    assert!(shown.status.success(), "{}", story(&shown));
    String::from_utf8(shown.stdout).unwrap()
}

#[track_caller]
fn until(what: &str, agent: &Agent, mut holds: impl FnMut() -> Result<(), String>) {
    let begun = Instant::now();
    while let Err(seen) = holds() {
        assert!(begun.elapsed() < PATIENCE, "not {what}: {seen}\n{}", agent.log());
        std::thread::yield_now();
    }
}

#[track_caller]
fn until_in_force(tree: &Tree, agent: &Agent, word: &str) {
    until(&format!("{word} in force"), agent, || {
        let text = in_force(tree);
        if text.contains(word) { Ok(()) } else { Err(text) }
    });
}

fn codes(tree: &Tree) -> Vec<String> {
    let status = tree.status();
    let problems = status["problems"].as_array().unwrap();
    problems.iter().map(|problem| problem["code"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn ends_with(ended: &Output, code: i32, words: &[&str]) {
    assert_eq!(ended.status.code(), Some(code), "{}", story(ended));
    let all = story(ended);
    assert!(words.iter().all(|word| all.contains(word)), "{words:?}\n{all}");
}

#[test]
fn a_reload_says_what_changes_and_a_comparison_said_it_before() {
    let (tree, agent) = running(VALID);
    ends_with(&tree.agentctl(&["config", "diff"]), 0, &["mean what is in force"]);
    let other = VALID.replace("80:8000", "81:8000");
    let copy = tree.root.path().join("other.toml");
    tree.write(&copy, &other);
    let compared = tree.agentctl(&["config", "diff", copy.to_str().unwrap()]);
    ends_with(
        &compared,
        1,
        &["~ services.api.ports: [\"80:8000\"] -> [\"81:8000\"]", "service api gets a new"],
    );
    assert!(in_force(&tree).contains("80:8000"), "comparing changes nothing");
    let json = tree.agentctl(&["config", "diff", "--json", copy.to_str().unwrap()]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(
        (&json["same"], &json["services"][0]["fate"]),
        (&false.into(), &"blue-green".into()),
        "{json:#}"
    );

    write(&tree, &other);
    ends_with(&tree.agentctl(&["config", "reload"]), 0, &["service api gets a new container"]);
    until_in_force(&tree, &agent, "81:8000");
    ends_with(&tree.agentctl(&["config", "diff"]), 0, &[]);
    write(&tree, &format!("# only a comment\n{other}"));
    ends_with(&tree.agentctl(&["config", "reload"]), 0, &["nothing has changed"]);
}

#[test]
fn what_is_shown_is_a_node_toml_that_means_the_same() {
    let (tree, _agent) = running(VALID);
    let shown = tree.root.path().join("shown.toml");
    tree.write(&shown, &in_force(&tree));
    ends_with(&tree.agentctl(&["config", "check", shown.to_str().unwrap()]), 0, &["is valid"]);
    ends_with(&tree.agentctl(&["config", "diff", shown.to_str().unwrap()]), 0, &[]);
    let json = tree.agentctl(&["config", "show", "--json"]);
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!(json["services"]["api"]["stop_timeout"], "30s", "{json:#}");
}

#[test]
fn wrong_files_change_nothing_are_told_with_every_mistake_and_forgotten_when_they_are_right() {
    let (tree, agent) = running(VALID);
    write(&tree, FIVE_MISTAKES);
    let reloaded = tree.agentctl(&["config", "reload"]);
    let file = tree.paths().configuration().display().to_string();
    ends_with(
        &reloaded,
        78,
        &[&format!("{file}:3:1: "), "    3 | imagee = ", "      | ^", "nothing was changed"],
    );
    let problem = tree.until_problem("configuration_invalid", &agent);
    let message = problem["message"].as_str().unwrap();
    assert!(message.starts_with(&format!("{file}:")) && message.contains("more)"), "{problem:#}");
    assert!(problem["hint"].as_str().unwrap().contains("agentctl config check"), "{problem:#}");
    assert_eq!(tree.status()["node"]["state"], "degraded");
    for line in [3, 4, 5, 9, 12] {
        assert!(agent.log().contains(&format!("{file}:{line}:")), "line {line}\n{}", agent.log());
    }
    assert!(in_force(&tree).contains("80:8000"), "what ran before runs on");
    ends_with(&tree.agentctl(&["config", "diff"]), 78, &["imagee"]);

    // Without any command.
    write(&tree, &VALID.replace("80:8000", "82:8000"));
    until_in_force(&tree, &agent, "82:8000");
    assert!(!codes(&tree).contains(&"configuration_invalid".to_owned()), "{:?}", codes(&tree));
    fs::remove_file(tree.paths().configuration()).unwrap();
    tree.until_problem("configuration_unreadable", &agent);
    write(&tree, "");
    let problem = tree.until_problem("configuration_invalid", &agent);
    assert!(problem["message"].as_str().unwrap().contains("is empty"), "{problem:#}");
    write(&tree, &VALID.replace("80:8000", "82:8000"));
    until("without a problem", &agent, || {
        let codes = codes(&tree);
        if codes.iter().any(|code| code.starts_with("configuration_")) {
            Err(format!("{codes:?}"))
        } else {
            Ok(())
        }
    });
}

#[test]
fn a_drop_in_that_comes_a_signal_and_a_named_file_are_followed() {
    let (tree, agent) = running(VALID);
    let drop_in = tree.paths().drop_ins().join("10.toml");
    tree.write(&drop_in, "[services.api]\nmemory = \"512m\"\n");
    until_in_force(&tree, &agent, "512m");
    tree.write(&drop_in, "[services.api]\nmemory = \"600m\"\n");
    agent.signal(nix::sys::signal::Signal::SIGHUP);
    until_in_force(&tree, &agent, "600m");
    drop(agent);

    let tree = Tree::new(FIVE_MISTAKES);
    tree.hand_over(|_| {});
    let named = tree.root.path().join("named.toml");
    tree.write(&named, VALID);
    let agent = tree.start_with(&["--config", named.to_str().unwrap()]);
    tree.until_notified("READY=1", &agent);
    tree.write(&named, &VALID.replace("80:8000", "83:8000"));
    until_in_force(&tree, &agent, "83:8000");
    ends_with(&tree.agentctl(&["config", "diff"]), 0, &[]);
}

#[test]
fn sections_come_and_go_and_leave_nothing_on_the_board_nor_in_the_process() {
    let (tree, agent) = running(VALID);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let more = format!(
        "{VALID}[metrics]\nlisten = \"127.0.0.1:{port}\"\n[logs]\ngroup = \"/g\"\n[secrets.app]\nid = \"app\"\n\
         [models]\nserver = \"http://127.0.0.1:1\"\n[models.pull.\"a:b\"]\nkeep_loaded = true\n"
    );
    let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
    let parts = |tree: &Tree| {
        let status = tree.status();
        (status["models"].as_array().unwrap().len(), status["secrets"].as_array().unwrap().len())
    };
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", agent.child.id())).unwrap().count();
    let mut after_two = 0;
    for round in 0..6 {
        write(&tree, &more);
        let taken = tree.agentctl(&["config", "reload"]);
        ends_with(
            &taken,
            0,
            &["logs are shipped", "metrics are shown", "models are looked after", "secrets are"],
        );
        until("all there", &agent, || {
            if listens() && parts(&tree) == (1, 1) { Ok(()) } else { Err(format!("{:#}", tree.status())) }
        });
        if round == 0 {
            tree.until_problem("aws_credentials_missing", &agent);
        }
        write(&tree, VALID);
        ends_with(&tree.agentctl(&["config", "reload"]), 0, &["no longer"]);
        until("all gone", &agent, || {
            let (status, gone) = (tree.status(), !listens() && parts(&tree) == (0, 0));
            let left =
                codes(&tree).iter().any(|code| !code.starts_with("docker_") && !code.starts_with("image"));
            let gone = gone && status["model_server"].is_null() && !left;
            if gone { Ok(()) } else { Err(format!("{status:#}")) }
        });
        if round == 1 {
            after_two = descriptors();
        }
    }
    // A reader of the journal sees within seconds that nobody takes anything any more.
    until("without what earlier rounds opened", &agent, || {
        let now = descriptors();
        if now <= after_two {
            Ok(())
        } else {
            Err(format!("{now} descriptors, after two rounds {after_two}"))
        }
    });
}

#[test]
fn it_ends_when_told_in_the_middle_of_a_reload_and_the_watchdog_is_fed_all_along() {
    let logs = format!("{VALID}[logs]\ngroup = \"/g\"\n");
    let (tree, mut agent) = running(&logs);
    for round in 0..5 {
        write(&tree, &logs.replace("/g", &format!("/g{round}")));
        ends_with(&tree.agentctl(&["config", "reload"]), 0, &["logs are shipped by the new rules"]);
        tree.until_notified("WATCHDOG=1", &agent);
    }
    write(&tree, &logs.replace("/g", "/last"));
    ends_with(&tree.agentctl(&["config", "reload"]), 0, &[]);
    let (code, took) = agent.terminate();
    assert_eq!(code, Some(0), "{}", agent.log());
    assert!(took < Duration::from_secs(15), "{took:?}");
}

#[test]
fn while_the_instance_is_unknown_the_newest_files_are_those_that_come_into_force() {
    let tree = Tree::new(VALID);
    let agent = tree.start();
    tree.until_notified("READY=1", &agent);
    ends_with(&tree.agentctl(&["config", "diff"]), 1, &["unknown so far"]);
    write(&tree, FIVE_MISTAKES);
    ends_with(&tree.agentctl(&["config", "reload"]), 78, &["imagee"]);
    write(&tree, &VALID.replace("80:8000", "84:8000"));
    ends_with(&tree.agentctl(&["config", "reload"]), 0, &["as soon as it is known"]);
    tree.hand_over(|_| {});
    until("known", &agent, || {
        let id = tree.status()["node"]["instance_id"].to_string();
        if id.contains("i-0123456789abcdef0") { Ok(()) } else { Err(id) }
    });
    until_in_force(&tree, &agent, "84:8000");
}

#[test]
fn what_only_bootstrap_does_is_a_problem_that_leaves_the_node_as_ready_as_it_was() {
    let (tree, agent) = running(VALID);
    write(&tree, &format!("{VALID}[volumes.data]\ndevice = \"/dev/sdf\"\nmount = \"/data\"\n"));
    let taken = tree.agentctl(&["config", "reload"]);
    ends_with(&taken, 0, &["[volumes] applies when bootstrap runs: run `systemctl restart node-bootstrap`"]);
    tree.until_problem("bootstrap_awaited", &agent);
    write(&tree, VALID);
    ends_with(&tree.agentctl(&["config", "reload"]), 0, &[]);
    until("without it", &agent, || {
        let codes = codes(&tree);
        if codes.contains(&"bootstrap_awaited".to_owned()) { Err(format!("{codes:?}")) } else { Ok(()) }
    });
}

#[test]
fn mistakes_are_told_to_programs_as_values_and_to_people_in_eighty_columns() {
    let tree = Tree::new(VALID);
    let drop_in = tree.paths().drop_ins().join("10.toml");
    let long = format!(
        "[services.api]\ncommand = [\"{}\"]\nmemory = \"lots\" # {}\n",
        "x".repeat(300),
        "y".repeat(300)
    );
    tree.write(&drop_in, &long);
    let checked = tree.agentctl(&["config", "check"]);
    ends_with(&checked, 78, &[&format!("{}:3:10: ", drop_in.display()), "    3 | memory = \"lots\" # yyy"]);
    let lines = String::from_utf8_lossy(&checked.stderr).into_owned();
    let shown = lines.lines().filter(|line| line.starts_with(' '));
    assert!(
        shown.clone().count() >= 3 && shown.into_iter().all(|line| line.chars().count() <= 80),
        "{lines}"
    );
    assert!(!lines.contains('\u{1b}'), "no colours where nobody sees them: {lines:?}");
    let json = tree.agentctl(&["config", "check", "--json"]);
    assert_eq!(json.status.code(), Some(78), "{}", story(&json));
    let json: serde_json::Value = serde_json::from_slice(&json.stdout).unwrap();
    assert_eq!((&json[0]["line"], &json[0]["column"]), (&3.into(), &10.into()), "{json:#}");
    assert_eq!(json[0]["file"], drop_in.display().to_string());
    fs::remove_file(&drop_in).unwrap();
    let right = tree.agentctl(&["config", "check", "--json"]);
    assert_eq!((right.status.code(), right.stdout.as_slice()), (Some(0), &b"[]\n"[..]), "{}", story(&right));
    tree.write(&drop_in, "[secrets.app]\nid = \"app\"\n");
    ends_with(&tree.agentctl(&["config", "check"]), 0, &["with 1 drop-in is valid: 1 service, 1 secret"]);
    for verb in [&["config", "show"][..], &["config", "diff"], &["config", "reload"]] {
        ends_with(
            &tree.agentctl(verb),
            3,
            &["cannot reach node-agent", "`agentctl config check` works without it"],
        );
    }
}

#[test]
fn a_file_that_is_written_slowly_is_read_when_it_is_closed() {
    let (tree, agent) = running(VALID);
    let path = tree.paths().configuration();
    let mut open = fs::OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    for line in VALID.replace("80:8000", "85:8000").split_inclusive('\n') {
        open.write_all(line.as_bytes()).unwrap();
    }
    drop(open);
    until_in_force(&tree, &agent, "85:8000");
    assert!(!agent.log().contains("was not taken"), "{}", agent.log());
}
