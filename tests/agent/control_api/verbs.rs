//! The verbs by which persons steer services: what goes to the loop, what comes back, and how `--wait` ends.

use super::*;
use agent::command::Goal;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

fn digest(digit: &str) -> String {
    format!("sha256:{}", digit.repeat(64))
}

/// Each command line that changes something, and what the loop is given for it.
fn verbs() -> Vec<(Vec<&'static str>, &'static str)> {
    vec![
        (vec!["update", "api", "--to", "v1.2"], "api: Target { to: \"v1.2\", retry: false }"),
        (
            vec!["update", "api", "--to", "h:5/a@sha256:0", "--retry"],
            "api: Target { to: \"h:5/a@sha256:0\", retry: true }",
        ),
        (
            vec!["update", "api", "--to", "a&retry=true#?%20 +é"],
            "api: Target { to: \"a&retry=true#?%20 +é\", retry: false }",
        ),
        (vec!["update", "api", "--retry"], "api: Retry"),
        (vec!["update", "api"], "update Some(\"api\")"),
        (vec!["update"], "update None"),
        (vec!["rollback", "api"], "api: Rollback { to: None }"),
        (vec!["rollback", "api", "--to", "abcdefabcdef"], "api: Rollback { to: Some(\"abcdefabcdef\") }"),
        (vec!["hold", "api"], "api: Hold"),
        (vec!["release", "api"], "api: Release"),
        (vec!["stop", "api"], "api: Stop"),
        (vec!["start", "api"], "api: Start"),
        (vec!["restart", "api"], "restart api"),
    ]
}

#[test]
fn every_verb_reaches_the_loop_as_it_was_meant_and_its_answer_comes_back() {
    let mut bench = Bench::new();
    bench.publish(vec![service("api")]);
    bench.answer_commands(|command| Ok(format!("took {command}")));
    for (arguments, command) in verbs() {
        expect(&bench.agentctl(&arguments), 0, &format!("took {command}\n"), "");
    }
}

#[test]
fn a_refusal_is_one_line_with_its_hint_and_exit_code_1_with_and_without_waiting() {
    let mut bench = Bench::new();
    bench.publish(vec![service("api")]);
    bench
        .answer_commands(|_| Err(Refused::new("held", "service api is held".to_owned(), "release it first")));
    for (mut arguments, _) in verbs() {
        expect(&bench.agentctl(&arguments), 1, "", "service api is held (hint: release it first)\n");
        if !["hold", "release"].contains(&arguments[0]) {
            arguments.push("--wait");
            expect(&bench.agentctl(&arguments), 1, "", "service api is held (hint: release it first)\n");
        }
    }
}

#[test]
fn a_service_that_is_not_there_is_refused_by_every_verb() {
    let mut bench = Bench::new();
    bench.publish(vec![service("api")]);
    bench.answer_commands(|command| panic!("the loop was given {command}"));
    let unknown = "there is no service nope in node.toml (hint: services are: api)\n";
    for (mut arguments, _) in verbs().into_iter().filter(|(arguments, _)| arguments.len() > 1) {
        arguments[1] = "nope";
        expect(&bench.agentctl(&arguments), 1, "", unknown);
    }
}

#[test]
fn every_verb_is_for_root_and_the_group_only() {
    if !is_root() {
        harness::requirements::skipped("other users can be tried by root only");
        return;
    }
    let mut bench = Bench::new();
    bench.publish(vec![service("api")]);
    bench.answer_commands(|command| panic!("the loop was given {command}"));
    for (arguments, _) in verbs() {
        let refusal = "user 65534 may read but not change anything (hint: use sudo, or join the group";
        expect(&bench.run_as(Some(NOBODY), &arguments), 1, "", refusal);
    }
}

/// Gives this thread, and those that it starts, an /etc/group of its own: the content of the returned file.
pub(super) fn own_group_file() -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let none = None::<&str>;
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
    mount(Some(file.path()), "/etc/group", none, MsFlags::MS_BIND, none).unwrap();
    file
}

#[test]
fn members_of_the_group_may_change_by_their_own_group_or_by_the_user_database() {
    if !is_root() {
        harness::requirements::skipped("groups can be tried by root only");
        return;
    }
    const MEMBERS: u32 = 64990;
    let groups = own_group_file();
    let mut bench = Bench::new();
    bench.publish(vec![service("api")]);
    bench.answer_commands(|command| Ok(format!("took {command}")));
    for (story, members, group, allowed) in [
        ("no member", "", NOBODY, false),
        ("its own group", "", MEMBERS, true),
        ("a member by the user database", "nobody", NOBODY, true),
        ("a member of another group", "daemon", NOBODY, false),
    ] {
        let content = format!("root:x:0:\nnogroup:x:{NOBODY}:\nnode-agent:x:{MEMBERS}:{members}\n");
        std::fs::write(groups.path(), content).unwrap();
        println!("{story}");
        for (arguments, command) in verbs() {
            let ended = bench.run_as_member(Some(NOBODY), Some(group), &arguments);
            match allowed {
                true => expect(&ended, 0, &format!("took {command}\n"), ""),
                false => expect(&ended, 1, "", "user 65534 may read but not change anything"),
            }
        }
    }
}

#[test]
fn what_makes_no_sense_is_wrong_usage() {
    let bench = Bench::new();
    for arguments in [
        &["update", "--to", "v1"][..],
        &["update", "--retry"],
        &["update", "api", "--timeout", "5"],
        &["rollback"],
        &["hold"],
        &["hold", "api", "--wait"],
        &["stop", "api", "web"],
    ] {
        expect(&bench.agentctl(arguments), 2, "", "Usage: agentctl");
    }
    for (request, status) in [
        ("POST /v1/services/api/target", 400),
        ("POST /v1/services/api/target?to=v1&retry=perhaps", 400),
        ("POST /v1/services/api/explode", 404),
        ("GET /v1/services/api/hold", 404),
        ("PUT /v1/services/api/hold", 404),
    ] {
        let mut stream = bench.connect();
        stream.write_all(format!("{request} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request}: {answer}");
        assert!(answer.contains("\"code\":"), "{request}: {answer}");
    }
}

/// Takes every wish as one to go to `c`, and then publishes what `becomes` makes of the service.
fn goes_to_c(bench: &mut Bench, becomes: impl Fn(&mut Service, &mut Explanation) + Send + 'static) {
    bench.publish(vec![service("api")]);
    let board = bench.board.clone();
    bench.take_commands(move |_| {
        let at = now();
        let target = Target { digest: digest("c"), named: "v3".to_owned(), at };
        let mut shown = service("api");
        let mut explanation =
            Explanation { service: "api".to_owned(), target: Some(target), ..Explanation::default() };
        becomes(&mut shown, &mut explanation);
        board.publish_services(vec![shown], vec![explanation], Vec::new(), now());
        let message = format!("service api goes to {}", digest("c"));
        Ok(Taken { message, target: Some(Goal { digest: digest("c"), at }) })
    });
}

#[test]
fn an_update_that_is_waited_for_exits_with_0_only_when_exactly_that_image_passes() {
    let mut bench = Bench::new();
    goes_to_c(&mut bench, |service, explanation| {
        service.digest = Some(digest("c"));
        explanation.good = Some(digest("c"));
    });
    for arguments in [&["update", "api", "--to", "v3", "--wait"][..], &["rollback", "api", "--wait"]] {
        let ended = bench.agentctl(arguments);
        let goes = format!("service api goes to {0}\napi runs {0} and passes\n", digest("c"));
        expect(&ended, 0, &goes, "");
    }
}

#[test]
fn an_update_that_was_rolled_back_exits_with_1_the_last_lines_and_the_cause_as_the_last_line() {
    let mut bench = Bench::new();
    goes_to_c(&mut bench, |service, explanation| {
        service.update.state = UpdateState::RolledBack;
        explanation.quarantined = vec![Quarantined {
            digest: digest("c"),
            at: now(),
            cause: "it exited with code 3".to_owned(),
            last_log_lines: vec!["KeyError: DATABASE_URL".to_owned()],
        }];
    });
    let ended = bench.agentctl(&["update", "api", "--to", "v3", "--wait"]);
    let verdict = format!(
        "the last lines of cccccccccccc:\n  | KeyError: DATABASE_URL\n\
         api was not updated to {}: it exited with code 3; it runs {}\n",
        digest("c"),
        format_args!("sha256:{}", "ab".repeat(32))
    );
    expect(&ended, 1, "", &verdict);
    assert!(String::from_utf8_lossy(&ended.stderr).ends_with(&verdict), "the verdict is the last line");
}

#[test]
fn an_update_that_is_not_done_in_time_says_that_it_is_still_under_way() {
    let mut bench = Bench::new();
    goes_to_c(&mut bench, |_, explanation| {
        let text = "pulling sha256:cccccccccccc: 1.5 MB of 80.2 MB".to_owned();
        explanation.reasons = vec![Reason { text, until: None }];
    });
    let ended = bench.agentctl(&["update", "api", "--to", "v3", "--wait", "--timeout", "0"]);
    let late = "still under way, not done within 0 s: api does not run it yet: pulling sha256:cccccccccccc";
    expect(&ended, 1, "", late);
}

#[test]
fn an_update_is_overtaken_by_the_next_and_ended_by_a_stop() {
    for (becomes, verdict) in [
        (
            (|explanation: &mut Explanation| {
                explanation.target.as_mut().unwrap().at = now() + Duration::from_secs(1);
            }) as fn(&mut Explanation),
            "v3 was asked for at ",
        ),
        (|explanation| explanation.stopped_since = Some(now()), "api is stopped, and takes sha256:cccc"),
        (|explanation| explanation.held_since = Some(now()), "api is held, and does not take sha256:cccc"),
    ] {
        let mut bench = Bench::new();
        goes_to_c(&mut bench, move |_, explanation| becomes(explanation));
        expect(&bench.agentctl(&["update", "api", "--to", "v3", "--wait"]), 1, "", verdict);
    }
}

#[test]
fn stopping_and_starting_are_waited_for() {
    let mut bench = Bench::new();
    bench.publish(vec![service("api")]);
    let board = bench.board.clone();
    bench.answer_commands(move |command| {
        let mut shown = service("api");
        let mut explanation = Explanation { service: "api".to_owned(), ..Explanation::default() };
        if command.ends_with("Stop") {
            (shown.state, shown.health, shown.digest) = (ServiceState::Stopped, HealthState::None, None);
            explanation.stopped_since = Some(now());
        }
        board.publish_services(vec![shown], vec![explanation], Vec::new(), now());
        Ok(command.to_owned())
    });
    expect(&bench.agentctl(&["stop", "api", "--wait"]), 0, "api: Stop\napi is stopped\n", "");
    expect(&bench.agentctl(&["status"]), 0, "    stopped on purpose, until `agentctl start api`\n", "");
    expect(&bench.agentctl(&["explain"]), 0, "  stopped since ", "");
    expect(&bench.agentctl(&["start", "api", "--wait"]), 0, "api: Start\napi runs and passes\n", "");
}

#[test]
fn an_update_of_all_does_not_fail_on_those_that_are_held() {
    let mut bench = Bench::new();
    bench.publish(vec![service("api")]);
    let board = bench.board.clone();
    bench.answer_commands(move |command| {
        let mut held = service("api");
        held.update.state = UpdateState::Held;
        let services = vec![held, service("web")];
        let explanations = services.iter().map(|service| service.name.clone());
        let explanations = explanations.map(|service| Explanation { service, ..Explanation::default() });
        board.publish_services(services.clone(), explanations.collect(), Vec::new(), now());
        Ok(command.to_owned())
    });
    let ended = bench.agentctl(&["update", "--wait"]);
    expect(&ended, 0, "web is current", "");
    assert!(!String::from_utf8_lossy(&ended.stdout).contains("api is"), "{ended:?}");
    expect(&bench.agentctl(&["update", "api", "--wait"]), 1, "", "api is held\n");
}

#[test]
fn explain_gives_history_and_wishes_to_programs_too() {
    let bench = Bench::new();
    let update = PastUpdate {
        digest: digest("c"),
        from: Some(digest("b")),
        began: now(),
        ended: Some(now()),
        state: PastUpdateState::Failed,
        cause: Some("it exited with code 3".to_owned()),
    };
    let explanation = Explanation {
        service: "api".to_owned(),
        previous: Some(digest("a")),
        held_since: Some(now()),
        updates: vec![update],
        ..Explanation::default()
    };
    bench.board.publish_services(vec![service("api")], vec![explanation], Vec::new(), now());
    let ended = bench.agentctl(&["explain", "api", "--json"]);
    expect(&ended, 0, "", "");
    let value: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(value[0]["updates"][0]["state"], "failed");
    assert_eq!(value[0]["updates"][0]["cause"], "it exited with code 3");
    assert_eq!(value[0]["previous"], serde_json::json!(digest("a")));
    assert!(value[0]["held_since"].is_string() && value[0]["stopped_since"].is_null(), "{value}");
    expect(&bench.agentctl(&["explain", "api"]), 0, "failed after 0s: bbbbbbbbbbbb -> cccccccccccc: it", "");
}
