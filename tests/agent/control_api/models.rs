//! The models from outside: what is shown of them, what their loop is given, and how `--wait` ends.

use super::*;
use agent::command::{Goal, ModelWish};
use node::config::settings::{self, ModelServer as Server, Reclaim};

pub(super) fn digest(digit: &str) -> String {
    format!("sha256:{}", digit.repeat(64))
}

/// A model that is where it should be.
pub(super) fn model(name: &str) -> Model {
    Model {
        name: name.to_owned(),
        digest: Some(digest("a")),
        size_bytes: Some(2_019_393_189),
        state: ModelState::Loaded,
        progress: None,
        on_gpu: Some(true),
        memory_bytes: None,
        gpu_memory_bytes: None,
        required: true,
        keep_loaded: true,
        reason: None,
        since: Some(now()),
        pinned: None,
        previous: None,
        update: UpdateStatus {
            state: UpdateState::Current,
            candidate: None,
            reason: None,
            checked_at: Some(now() + Duration::from_secs(3600)),
        },
    }
}

/// Models of which the version that is there has passed.
pub(super) fn shown(models: Vec<Model>) -> Models {
    let explain = |model: &Model| ModelExplanation {
        model: model.name.clone(),
        reasons: vec![Reason { text: format!("{} is what its tag names", model.name), until: None }],
        good: model.digest.clone(),
        ..ModelExplanation::default()
    };
    let explanations = models.iter().map(explain).collect();
    let server = agent::status::ModelServer {
        service: Some("ollama".to_owned()),
        endpoint: Some("http://172.18.0.2:11434".to_owned()),
        version: Some("0.5.4".to_owned()),
        state: ModelServerState::Up,
        reason: None,
        gpus: Some(1),
        gpu_restarts: 0,
        directory: Some("/mnt/ollama-models/models".to_owned()),
        free_bytes: Some(45_204_000_000),
        prewarm: None,
    };
    Models { server: Some(server), models, explanations }
}

const NAMES: [&str; 3] =
    ["llama3.2:3b", "hf.co/team/odd-Name.v1_GGUF:Q4_K_M", "http://models.internal:5000/n/m"];

/// A node that looks after [`NAMES`].
pub(super) fn with_models() -> node::config::Settings {
    let wanted = |name: &str| {
        let reference = name.parse().unwrap();
        let model =
            settings::Model { reference, digest: None, keep_loaded: true, required: true, smoke: None };
        (name.to_owned(), model)
    };
    let models = settings::Models {
        server: Server::Service { name: "ollama".to_owned(), port: 11434 },
        directory: None,
        pull: NAMES.into_iter().map(wanted).collect(),
        every: None,
        reserve_bytes: 0,
        reclaim: Reclaim::Ours,
        unused_for: Duration::from_secs(3600),
        prewarm: settings::Prewarm::Off,
        load_deadline: Duration::from_secs(60),
    };
    node::config::Settings { models: Some(models), ..settings() }
}

impl Bench {
    /// Answers every command for models with what `answer` makes of its description.
    pub(super) fn take_model_commands(
        &mut self,
        answer: impl Fn(&str) -> Result<Taken, Refused> + Send + 'static,
    ) {
        let mut commands = self.model_commands.take().unwrap();
        self.runtime.spawn(async move {
            while let Some(ModelCommand { model, wish, reply }) = commands.recv().await {
                let text = format!("{}: {wish:?}", model.as_deref().unwrap_or("all"));
                let _ = reply.send(answer(&text));
            }
        });
    }

    /// The status and the body that the request line is answered with.
    pub(super) fn ask(&self, request: &str) -> (u16, String) {
        let mut stream = self.connect();
        stream.write_all(format!("{request} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let status = answer.get(9..12).and_then(|status| status.parse().ok());
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
        (status.unwrap_or_else(|| panic!("{request}: {answer}")), body.unwrap_or_default())
    }
}

/// Each command line that changes something, and what the loop of the models is given for it.
fn commands() -> Vec<(Vec<&'static str>, String)> {
    let of = |model: &str, wish: ModelWish| format!("{model}: {wish:?}");
    let [plain, odd, elsewhere] = NAMES;
    vec![
        (vec!["pull"], of("all", ModelWish::Pull)),
        (vec!["pull", "--all"], of("all", ModelWish::Pull)),
        (vec!["pull", plain], of(plain, ModelWish::Pull)),
        (vec!["pull", odd], of(odd, ModelWish::Pull)),
        (vec!["pull", elsewhere], of(elsewhere, ModelWish::Pull)),
        (vec!["update"], of("all", ModelWish::Update { retry: false })),
        (vec!["update", plain], of(plain, ModelWish::Update { retry: false })),
        (vec!["update", odd, "--retry"], of(odd, ModelWish::Update { retry: true })),
        (vec!["rollback", odd], of(odd, ModelWish::Rollback)),
        (vec!["pin", elsewhere], of(elsewhere, ModelWish::Pin { digest: None })),
        (
            vec!["pin", plain, "sha256:0&retry=true#?%20 +é"],
            of(plain, ModelWish::Pin { digest: Some("sha256:0&retry=true#?%20 +é".to_owned()) }),
        ),
        (vec!["unpin", plain], of(plain, ModelWish::Unpin)),
        (vec!["unpin", "registry.ollama.ai/library/llama3.2:3b"], {
            of("registry.ollama.ai/library/llama3.2:3b", ModelWish::Unpin)
        }),
    ]
}

fn models_verb<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["models"], arguments].concat()
}

#[test]
fn every_command_for_models_reaches_their_loop_as_it_was_meant() {
    let mut bench = Bench::of(Some(with_models()));
    bench.take_model_commands(|command| Ok(Taken::from(format!("took {command}"))));
    for (arguments, command) in commands() {
        expect(&bench.agentctl(&models_verb(&arguments)), 0, &format!("took {command}\n"), "");
    }
}

#[test]
fn commands_for_models_are_for_root_and_the_group_and_looking_is_for_everybody() {
    if !is_root() {
        harness::requirements::skipped("other users can be tried by root only");
        return;
    }
    let mut bench = Bench::of(Some(with_models()));
    bench.publish(vec![service("api")]);
    bench.board.publish_models(shown(vec![model(NAMES[0])]), now());
    bench.take_model_commands(|command| panic!("the loop was given {command}"));
    for (arguments, _) in commands() {
        let refusal = "user 65534 may read but not change anything (hint: use sudo, or join the group";
        expect(&bench.run_as(Some(NOBODY), &models_verb(&arguments)), 1, "", refusal);
    }
    for look in [&["models"][..], &["models", "--json"], &["explain", NAMES[0]], &["explain"]] {
        expect(&bench.run_as(Some(NOBODY), look), 0, "llama3.2:3b", "");
    }
}

#[test]
fn a_refusal_of_the_loop_is_one_line_with_and_without_waiting() {
    let mut bench = Bench::of(Some(with_models()));
    bench.take_model_commands(|_| Err(Refused::new("no_previous", "nothing is kept".to_owned(), "pin one")));
    for (mut arguments, _) in commands() {
        expect(&bench.agentctl(&models_verb(&arguments)), 1, "", "nothing is kept (hint: pin one)\n");
        if !["pin", "unpin"].contains(&arguments[0]) {
            arguments.push("--wait");
            expect(&bench.agentctl(&models_verb(&arguments)), 1, "", "nothing is kept (hint: pin one)\n");
        }
    }
}

#[test]
fn a_node_without_models_says_so_and_a_name_that_is_not_there_gets_those_that_are() {
    let mut none = Bench::new();
    none.publish(vec![service("api")]);
    none.take_model_commands(|command| panic!("the loop was given {command}"));
    for (arguments, _) in commands() {
        let refusal =
            "this node looks after no models (hint: name them in node.toml: [models.pull.\"NAME\"])\n";
        expect(&none.agentctl(&models_verb(&arguments)), 1, "", refusal);
    }
    expect(&none.agentctl(&["models"]), 0, "no models: node.toml has no [models]", "");
    expect(
        &none.agentctl(&["explain", "nope"]),
        1,
        "",
        "there is no service nope in node.toml (hint: services",
    );
    let (status, body) = none.ask("POST /v1/models/pull");
    assert_eq!(status, 404, "{body}");
    assert!(body.contains("\"models_not_configured\""), "{body}");

    let mut bench = Bench::of(Some(with_models()));
    bench.publish(vec![service("api")]);
    bench.board.publish_models(shown(vec![model(NAMES[0])]), now());
    bench.take_model_commands(|command| panic!("the loop was given {command}"));
    let names =
        "models are: hf.co/team/odd-Name.v1_GGUF:Q4_K_M, models.internal:5000/n/m:latest, llama3.2:3b";
    for verb in ["pull", "update", "rollback", "pin", "unpin"] {
        let ended = bench.agentctl(&["models", verb, "llama3.2"]);
        expect(&ended, 1, "", &format!("there is no model llama3.2:latest in node.toml (hint: {names})\n"));
        expect(
            &bench.agentctl(&["models", verb, "a b"]),
            1,
            "",
            "\"a b\" is not a model: its name has a ' '",
        );
    }
    let neither =
        "there is neither a service nor a model nope in node.toml (hint: services are: api; models are:";
    expect(&bench.agentctl(&["explain", "nope"]), 1, "", neither);
    let unknown = Bench::of(None);
    expect(&unknown.agentctl(&["models", "pull"]), 1, "", "the configuration depends on the instance");
}

#[test]
fn what_makes_no_sense_of_models_is_wrong_usage() {
    let mut bench = Bench::of(Some(with_models()));
    bench.take_model_commands(|command| Ok(Taken::from(command.to_owned())));
    for arguments in [
        &["pull", "llama3.2:3b", "--all"][..],
        &["pull", "--timeout", "5"],
        &["rollback"],
        &["pin"],
        &["pin", "llama3.2:3b", "--wait"],
        &["unpin"],
        &["--json", "pull"],
    ] {
        expect(&bench.agentctl(&models_verb(arguments)), 2, "", "Usage: agentctl");
    }
    for (request, expected) in [
        ("GET /v1/models", 200),
        ("POST /v1/models", 404),
        ("GET /v1/models/pull", 404),
        ("DELETE /v1/models/pull", 404),
        ("POST /v1/models/explode", 404),
        ("POST /v1/models/explode?retry=perhaps", 404),
        ("POST /v1/models/llama3.2:3b/pull", 404),
        ("POST /v1/models/update?model=llama3.2:3b&retry=perhaps", 400),
        ("POST /v1/models/update?model=llama3.2:3b&digest=sha256:0", 400),
        ("POST /v1/models/pull?model=llama3.2:3b&retry=true", 400),
        ("POST /v1/models/pull?name=llama3.2:3b", 400),
        ("POST /v1/models/rollback", 400),
        ("POST /v1/models/pin?digest=sha256:0", 400),
        ("POST /v1/models/unpin", 400),
        ("POST /v1/models/pull?model=", 400),
        ("POST /v1/models/pull?model=..%2F..%2Fetc%2Fpasswd", 400),
        ("POST /v1/models/pull?model=%00%0A", 400),
        ("POST /v1/models/pull?model=llama3.2%3A3b", 200),
        ("POST /v1/models/pull?model=llama3.2:3b", 200),
    ] {
        let (status, body) = bench.ask(request);
        assert_eq!(status, expected, "{request}: {body}");
        assert!(status == 200 || body.contains("\"code\":"), "{request}: {body}");
    }
}

#[test]
fn the_models_are_shown_to_persons_and_to_programs() {
    let bench = Bench::of(Some(with_models()));
    bench.publish(vec![service("api")]);
    let coming = Model {
        state: ModelState::Pulling,
        progress: Some(0.437),
        on_gpu: None,
        memory_bytes: None,
        gpu_memory_bytes: None,
        required: false,
        keep_loaded: false,
        reason: Some("pulling what its tag names".to_owned()),
        ..model(NAMES[1])
    };
    let published = shown(vec![model(NAMES[0]), coming]);
    bench.board.publish_models(published.clone(), now());
    expect(&bench.agentctl(&["models"]), 0, "####......  43%", "");
    expect(&bench.agentctl(&["status"]), 0, "pulling 43%", "");
    let ended = bench.agentctl(&["models", "--json"]);
    expect(&ended, 0, "", "");
    let value: Models = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(value, published);
    let (status, body) = bench.ask("GET /v1/models");
    assert_eq!((status, serde_json::from_str::<Models>(&body).unwrap()), (200, published));

    expect(&bench.agentctl(&["explain"]), 0, "\nllama3.2:3b\n  state: loaded", "");
    expect(&bench.agentctl(&["explain", "api"]), 0, "gate: GET /health", "");
    let one = bench.agentctl(&["explain", "hf.co/team/odd-Name.v1_GGUF:Q4_K_M"]);
    expect(&one, 0, "hf.co/team/odd-Name.v1_GGUF:Q4_K_M\n  state: pulling", "");
    assert!(!String::from_utf8_lossy(&one.stdout).contains("llama3.2"), "{one:?}");
    let ended = bench.agentctl(&["explain", NAMES[0], "--json"]);
    let value: Vec<ModelExplanation> = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(value.len(), 1);
    expect(&bench.agentctl(&["completions", "bash"]), 0, "pull update rollback pin unpin", "");
}

#[test]
fn a_bake_waits_until_every_model_is_in_place() {
    let mut bench = Bench::of(Some(with_models()));
    let absent = Model { state: ModelState::Absent, digest: None, on_gpu: None, ..model(NAMES[0]) };
    bench.board.publish_models(shown(vec![absent, model(NAMES[1])]), now());
    let board = bench.board.clone();
    let (told, tell) = std::sync::mpsc::channel();
    bench.take_model_commands(move |_| {
        let _ = told.send(());
        Ok(Taken::from("every model that is missing is tried again".to_owned()))
    });
    let later = std::thread::spawn(move || {
        tell.recv_timeout(Duration::from_secs(20)).unwrap();
        board.publish_models(shown(vec![model(NAMES[0]), model(NAMES[1])]), now());
    });
    let ended = bench.agentctl(&["models", "pull", "--all", "--wait", "--timeout", "60"]);
    later.join().unwrap();
    let done = format!(
        "every model that is missing is tried again\nllama3.2:3b is loaded ({0}, 1.8 GiB)\n{1} is loaded ({0}, 1.8 GiB)\n",
        digest("a"),
        NAMES[1]
    );
    expect(&ended, 0, &done, "");
}

#[test]
fn a_bake_that_does_not_fit_ends_with_the_numbers() {
    let mut bench = Bench::of(Some(with_models()));
    let failed = Model { state: ModelState::Failed, digest: None, on_gpu: None, ..model(NAMES[0]) };
    bench.board.publish_models(shown(vec![failed]), now());
    let board = bench.board.clone();
    bench.take_model_commands(move |_| {
        let problem = Problem {
            code: "model_disk_full".to_owned(),
            message: "model llama3.2:3b does not fit: needs 1.8 GiB, free 1.0 GiB, reserve 2.0 GiB"
                .to_owned(),
            hint: Some("enlarge the volume".to_owned()),
            since: now(),
        };
        board.publish_problems(Owner::Models, vec![problem], now());
        Ok(Taken::from("tried again".to_owned()))
    });
    let ended = bench.agentctl(&["models", "pull", "--wait"]);
    let verdict = "needs 1.8 GiB, free 1.0 GiB, reserve 2.0 GiB (hint: enlarge the volume)\n";
    expect(&ended, 1, "tried again\n", verdict);
    assert!(String::from_utf8_lossy(&ended.stderr).ends_with(verdict), "the verdict is the last line");
}

#[test]
fn a_roll_back_that_is_waited_for_ends_with_that_version() {
    let mut bench = Bench::of(Some(with_models()));
    bench.board.publish_models(shown(vec![model(NAMES[0])]), now());
    let board = bench.board.clone();
    bench.take_model_commands(move |_| {
        let back = Model { digest: Some(digest("b")), pinned: Some(digest("b")), ..model(NAMES[0]) };
        board.publish_models(shown(vec![back]), now());
        let target = Some(Goal { digest: digest("b"), at: now() });
        Ok(Taken { message: "llama3.2:3b goes back".to_owned(), target })
    });
    let ended = bench.agentctl(&["models", "rollback", NAMES[0], "--wait"]);
    expect(
        &ended,
        0,
        &format!("llama3.2:3b goes back\nllama3.2:3b is loaded ({}, 1.8 GiB)\n", digest("b")),
        "",
    );
}

#[test]
fn an_update_that_went_back_exits_with_1_and_the_cause() {
    let mut bench = Bench::of(Some(with_models()));
    bench.board.publish_models(shown(vec![model(NAMES[0])]), now());
    let board = bench.board.clone();
    bench.take_model_commands(move |_| {
        let mut back = shown(vec![model(NAMES[0])]);
        back.models[0].update.state = UpdateState::RolledBack;
        back.explanations[0].updates.push(PastUpdate {
            digest: digest("c"),
            from: Some(digest("a")),
            began: now(),
            ended: Some(now()),
            state: PastUpdateState::Failed,
            cause: Some("the smoke prompt was answered with nonsense".to_owned()),
        });
        board.publish_models(back, now());
        Ok(Taken::from("asking the registry".to_owned()))
    });
    let ended = bench.agentctl(&["models", "update", NAMES[0], "--wait"]);
    let verdict = "llama3.2:3b did not go to cccccccccccc: the smoke prompt was answered with nonsense; it has aaaaaaaaaaaa\n";
    expect(&ended, 1, "asking the registry\n", verdict);
}

#[test]
fn waiting_for_models_has_an_end_of_its_own() {
    let mut bench = Bench::of(Some(with_models()));
    let stuck = Model {
        state: ModelState::Failed,
        reason: Some("the registry does not answer, tried again in 4m".to_owned()),
        ..model(NAMES[0])
    };
    bench.board.publish_models(shown(vec![stuck]), now());
    bench.take_model_commands(|_| Ok(Taken::from("tried again".to_owned())));
    let ended = bench.agentctl(&["models", "pull", NAMES[0], "--wait", "--timeout", "0"]);
    let late =
        "not done within 0 s: llama3.2:3b is tried again: the registry does not answer, tried again in 4m";
    expect(&ended, 1, "", late);
}
