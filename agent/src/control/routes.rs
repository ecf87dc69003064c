//! The calls of the control API as one table. Pure.
//!
//! In: nothing. Out: [`ENDPOINTS`], from which the router ([`super::server`]), the description ([`super::openapi`]) and
//! the tests of who may do what are made, and [`CODES`], what a refusal is called and which HTTP status it has.
//! Invariant: a call that is not in the table is answered by nobody. Not its job: answering.

use super::api;

/// One call.
#[derive(Debug, Clone, Copy)]
pub struct Endpoint {
    /// How it is asked.
    pub method: Method,
    /// With names in braces for its parameters.
    pub path: &'static str,
    /// One line: what it does.
    pub summary: &'static str,
    /// What it can be asked for more precisely.
    pub parameters: &'static [Parameter],
    /// What its body may have; most have none.
    pub body: Option<Body>,
    /// What a successful answer has.
    pub answer: Answer,
    /// What it may be refused with, beside what every call of its kind may ([`Endpoint::codes`]).
    pub refusals: &'static [&'static str],
    pub(super) call: Call,
}

/// Reading is for everybody on the instance, changing for root and one group: the method says which it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Looks.
    Get,
    /// Changes something.
    Post,
}

impl Method {
    /// As HTTP writes it.
    pub fn name(self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Post => "POST",
        }
    }

    /// Whether it is for root and the group only.
    pub fn changes(self) -> bool {
        self == Method::Post
    }
}

/// What a call can be asked for.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// Its name.
    pub name: &'static str,
    /// What can be given.
    pub kind: Kind,
    /// Whether it has to be; those of the path always have to.
    pub required: bool,
    /// One line.
    pub meaning: &'static str,
}

/// What can be given for a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Any text, percent-encoded.
    Text,
    /// `true` or `false`, which it is when absent.
    Flag,
    /// A number of lines.
    Lines,
    /// RFC 3339.
    Time,
}

/// What the body of a request may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// A list of [`node::config::Source`]; without it the files of the node count.
    Sources,
}

/// What a successful answer has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// [`crate::status::Status`], or one a line.
    Status,
    /// A list of [`crate::status::Explanation`].
    Explanations,
    /// [`node::config::Settings`]
    Configuration,
    /// The same, as a node.toml.
    ConfigurationText,
    /// [`crate::change::Change`]
    Change,
    /// [`crate::status::Models`]
    Models,
    /// Text as a container wrote it.
    Output,
    /// [`api::Accepted`]
    Accepted,
    /// The description of this API.
    Description,
}

/// Whose work it is; [`super::server`] has a handler for each.
#[derive(Debug, Clone, Copy)]
pub(super) enum Call {
    Status,
    Explain,
    Configuration,
    ConfigurationText,
    ConfigurationDiff,
    ConfigurationReload,
    Models,
    Description,
    Logs,
    Restart,
    UpdateOne,
    UpdateAll,
    Target,
    Rollback,
    Retry,
    Hold,
    Release,
    Stop,
    Start,
    /// With its verb.
    Model(&'static str),
}

impl Endpoint {
    /// The codes that it may be refused with; a change also with what its loop has against it.
    pub fn codes(&self) -> impl Iterator<Item = &'static Code> {
        let of_kind: &[&str] = match self.method {
            Method::Get => &["agent_busy"],
            Method::Post => &["not_allowed", "identity_unknown", "agent_busy", "agent_stopping"],
        };
        let (all, query) = (self.refusals.iter().chain(of_kind), self.parameters.iter());
        let malformed =
            query.clone().any(|parameter| !self.is_in_path(parameter)).then_some(&"query_invalid");
        let names: Vec<&str> = all.chain(malformed).copied().collect();
        CODES.iter().filter(move |code| names.contains(&code.name))
    }

    /// Whether a parameter stands in the path; else in the query.
    pub fn is_in_path(&self, parameter: &Parameter) -> bool {
        self.path
            .split('/')
            .any(|part| part.trim_matches(['{', '}']) == parameter.name && part.starts_with('{'))
    }
}

const NAME: Parameter = parameter("name", Kind::Text, "`[services.NAME]` of node.toml").required();
const MODEL: Parameter = parameter("model", Kind::Text, "as in node.toml, or as the model server lists it");
const RETRY: Parameter = parameter("retry", Kind::Flag, "also what failed before");

const fn parameter(name: &'static str, kind: Kind, meaning: &'static str) -> Parameter {
    Parameter { name, kind, required: false, meaning }
}

impl Parameter {
    const fn required(self) -> Parameter {
        Parameter { required: true, ..self }
    }
}

const fn look(call: Call, path: &'static str, answer: Answer, summary: &'static str) -> Endpoint {
    Endpoint { method: Method::Get, path, summary, parameters: &[], body: None, answer, refusals: &[], call }
}

const fn change(call: Call, path: &'static str, summary: &'static str) -> Endpoint {
    let (parameters, refusals): (&[Parameter], &[&str]) = (&[], &[]);
    let (body, answer) = (None, Answer::Accepted);
    Endpoint { method: Method::Post, path, summary, parameters, body, answer, refusals, call }
}

/// A command for one service.
const fn service(call: Call, path: &'static str, summary: &'static str) -> Endpoint {
    change(call, path, summary).takes(&[NAME]).refused_as(&["service_unknown", "busy", "stopped"])
}

/// A command for a model, or for all of them.
const fn model(call: Call, path: &'static str, summary: &'static str) -> Endpoint {
    const ONE: &[Parameter] = &[MODEL.required()];
    let refusals = &["models_not_configured", "model_unknown", "model_invalid", "model_unnamed", "busy"];
    change(call, path, summary).takes(ONE).refused_as(refusals)
}

impl Endpoint {
    const fn takes(self, parameters: &'static [Parameter]) -> Endpoint {
        Endpoint { parameters, ..self }
    }

    /// One that answers with something else, and may be given something.
    const fn answers(self, answer: Answer, body: Option<Body>) -> Endpoint {
        Endpoint { answer, body, ..self }
    }

    const fn refused_as(self, refusals: &'static [&'static str]) -> Endpoint {
        Endpoint { refusals, ..self }
    }
}

const CONFIGURATION_REFUSALS: &[&str] =
    &["query_invalid", "configuration_invalid", "configuration_unreadable", "configuration_undecided"];

/// Every call there is.
pub const ENDPOINTS: &[Endpoint] = &[
    look(Call::Status, api::STATUS, Answer::Status, "The state of the node and of everything on it").takes(
        &[parameter(
            "follow",
            Kind::Flag,
            "the same again, a line each, whenever it changes and every 15 seconds",
        )],
    ),
    look(Call::Explain, api::EXPLAIN, Answer::Explanations, "Why services do what they do, and until when")
        .takes(&[parameter("service", Kind::Text, "only this one")])
        .refused_as(&["service_unknown"]),
    look(
        Call::Configuration,
        api::CONFIG,
        Answer::Configuration,
        "The validated node.toml; secrets as names",
    )
    .refused_as(&["identity_unknown"]),
    look(
        Call::ConfigurationText,
        api::CONFIG_TOML,
        Answer::ConfigurationText,
        "The same as a node.toml, with every default",
    )
    .refused_as(&["identity_unknown", "agent_stopping"]),
    change(
        Call::ConfigurationDiff,
        api::CONFIG_DIFF,
        "What the files on disk, or the texts in the body, would change; changes nothing",
    )
    .answers(Answer::Change, Some(Body::Sources))
    .refused_as(CONFIGURATION_REFUSALS),
    change(
        Call::ConfigurationReload,
        api::CONFIG_RELOAD,
        "Reads node.toml and its drop-ins again, and applies what changed",
    )
    .refused_as(CONFIGURATION_REFUSALS),
    look(
        Call::Models,
        api::MODELS,
        Answer::Models,
        "The models, their server, and why they are where they are",
    ),
    look(Call::Description, api::DESCRIPTION, Answer::Description, "This description"),
    look(Call::Logs, "/v1/services/{name}/logs", Answer::Output, "What a service wrote, as it wrote it")
        .takes(&[
            NAME,
            parameter("tail", Kind::Lines, "lines of the past: 100 when absent, 10,000 at most"),
            parameter("since", Kind::Time, "only what was written then or later, and all of that"),
            parameter("follow", Kind::Flag, "goes on with what it writes from now on, also after a restart"),
        ])
        .refused_as(&["service_unknown", "no_container", "docker_unresponsive"]),
    service(
        Call::Restart,
        "/v1/services/{name}/restart",
        "Stops the service's container and starts it again",
    ),
    service(Call::UpdateOne, "/v1/services/{name}/update", "Follows node.toml, and asks the registry now")
        .refused_as(&["service_unknown", "busy", "held", "stopped", "image_pinned"]),
    service(Call::Retry, "/v1/services/{name}/retry", "The same, also if what node.toml names failed before")
        .refused_as(&["service_unknown", "busy", "held", "stopped", "registry_unreachable"]),
    service(Call::Target, "/v1/services/{name}/target", "Runs that image, whatever node.toml names")
        .takes(&[
            NAME,
            parameter("to", Kind::Text, "a tag, a digest, or a whole reference of the same repository")
                .required(),
            RETRY,
        ])
        .refused_as(&[
            "service_unknown",
            "reference_invalid",
            "busy",
            "held",
            "stopped",
            "other_repository",
            "quarantined",
            "registry_unreachable",
        ]),
    service(Call::Rollback, "/v1/services/{name}/rollback", "Runs an image that ran before")
        .takes(&[
            NAME,
            parameter("to", Kind::Text, "a digest or its beginning; absent: the good one before this one"),
        ])
        .refused_as(&[
            "service_unknown",
            "digest_invalid",
            "busy",
            "held",
            "stopped",
            "nothing_to_go_back_to",
            "digest_ambiguous",
            "digest_unknown",
        ]),
    service(Call::Hold, "/v1/services/{name}/hold", "Keeps the image that runs, until `release`"),
    service(Call::Release, "/v1/services/{name}/release", "Lets the service take other images again"),
    service(Call::Stop, "/v1/services/{name}/stop", "Stops the service until `start`, also over a reboot"),
    service(Call::Start, "/v1/services/{name}/start", "Starts a service that was stopped"),
    change(Call::UpdateAll, api::UPDATE, "Asks the registry now, for every service").refused_as(&["busy"]),
    model(Call::Model("pull"), "/v1/models/pull", "What is missing is tried again now").takes(&[MODEL]),
    model(Call::Model("update"), "/v1/models/update", "Asks the registry now, and takes what is new")
        .takes(&[MODEL, RETRY])
        .refused_as(&["models_not_configured", "model_unknown", "model_invalid", "busy", "quarantined"]),
    model(Call::Model("rollback"), "/v1/models/rollback", "The good version before this one comes back")
        .refused_as(&[
            "models_not_configured",
            "model_unknown",
            "model_invalid",
            "model_unnamed",
            "busy",
            "model_no_previous",
            "model_pinned",
        ]),
    model(Call::Model("pin"), "/v1/models/pin", "That version stays, or the one that is there now")
        .takes(&[
            MODEL.required(),
            parameter("digest", Kind::Text, "`sha256:` and 64 digits, or the beginning of one that is known"),
        ])
        .refused_as(&[
            "models_not_configured",
            "model_unknown",
            "model_invalid",
            "model_unnamed",
            "busy",
            "model_not_found",
            "model_pinned",
        ]),
    model(Call::Model("unpin"), "/v1/models/unpin", "The tag of node.toml is followed again"),
];

/// What a refusal is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// Stable, `snake_case`.
    pub name: &'static str,
    /// The HTTP status that goes with it.
    pub status: u16,
    /// One line.
    pub meaning: &'static str,
}

const fn code(status: u16, name: &'static str, meaning: &'static str) -> Code {
    Code { name, status, meaning }
}

/// The HTTP status of what the node itself has against a command, by whatever code.
pub const CONFLICT: u16 = 409;

/// The codes that this API has. A command, and a look at logs, may also be refused with the code of what stands in its
/// way, as it is in the status among the problems; its status is [`CONFLICT`].
pub const CODES: &[Code] = &[
    code(400, "query_invalid", "what stands behind the ? cannot be understood"),
    code(400, "reference_invalid", "the text is no reference to an image"),
    code(400, "digest_invalid", "the text is neither a digest nor the beginning of one"),
    code(400, "model_invalid", "the text is no name of a model"),
    code(403, "not_allowed", "changing is for root and members of the group node-agent"),
    code(404, "path_unknown", "there is no such call"),
    code(404, "service_unknown", "node.toml has no such service"),
    code(404, "model_unknown", "node.toml has no such model"),
    code(404, "models_not_configured", "node.toml names no models"),
    code(CONFLICT, "busy", "another command for it is under way"),
    code(CONFLICT, "configuration_invalid", "the files, or the texts, are wrong; the mistakes say where"),
    code(CONFLICT, "configuration_unreadable", "the files cannot be read"),
    code(CONFLICT, "configuration_undecided", "what the files depend on is not known of the instance"),
    code(CONFLICT, "digest_ambiguous", "more than one digest begins so"),
    code(CONFLICT, "digest_unknown", "no image of that digest ran before"),
    code(CONFLICT, "held", "the service is held"),
    code(CONFLICT, "image_pinned", "node.toml names a digest: there is nothing newer"),
    code(CONFLICT, "model_no_previous", "there is no version before this one"),
    code(CONFLICT, "model_not_found", "there is no version to pin yet"),
    code(CONFLICT, "model_pinned", "node.toml pins the model"),
    code(CONFLICT, "model_unnamed", "several models could be meant"),
    code(CONFLICT, "no_container", "the service has no container yet"),
    code(CONFLICT, "nothing_to_go_back_to", "no other image of the service has passed"),
    code(CONFLICT, "other_repository", "the reference is of another repository"),
    code(CONFLICT, "quarantined", "it failed before and would not be tried again"),
    code(CONFLICT, "registry_unreachable", "the registry gave no answer"),
    code(CONFLICT, "stopped", "the service is stopped on purpose"),
    code(503, "agent_busy", "too many ask at a time, or the agent had no time for it"),
    code(503, "agent_stopping", "the agent starts or stops"),
    code(503, "docker_unresponsive", "the Docker engine gave no answer in time"),
    code(503, "identity_unknown", "the configuration depends on the instance, which is unknown so far"),
];

/// The HTTP status of a refusal.
pub fn status_of(name: &str) -> u16 {
    CODES.iter().find(|code| code.name == name).map_or(CONFLICT, |code| code.status)
}
