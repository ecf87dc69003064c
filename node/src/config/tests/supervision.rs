//! How images are taken and kept, how containers take over, what they may reach: defaults, values, mistakes.

use super::{check, facts, lines, parse, settings};
use crate::config::settings::{Gpus, Images, Reclaim, Service, Strategy, Update};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// The service of whose section these are the lines.
fn service(more: &str) -> Service {
    settings(&text(more)).services["a"].clone()
}

fn text(more: &str) -> String {
    format!("[services.a]\nimage = \"a\"\n{more}\n")
}

/// Checks that a service with these lines has exactly this mistake. The first of them is in line 3.
fn refused(cases: &[(&str, &str)]) {
    for (more, wanted) in cases {
        assert_eq!(check(&text(more)), [*wanted], "\n{more}");
    }
}

#[test]
fn a_service_takes_over_beside_the_old_one_where_ports_can_be_switched_and_health_is_asked() {
    let ports = "ports = [\"80:8000\"]\n";
    for (more, wanted) in [
        ("", Strategy::Recreate),
        (ports, Strategy::Recreate),
        ("health.http = \"8000/\"", Strategy::Recreate),
        ("ports = []\nhealth.http = \"8000/\"", Strategy::Recreate),
        ("ports = [\"80:8000\"]\nhealth.http = \"/\"", Strategy::BlueGreen),
        ("ports = [\"80:8000\"]\nhealth.tcp = 8000", Strategy::BlueGreen),
        ("ports = [\"53:53/udp\"]\nhealth.exec = [\"true\"]", Strategy::BlueGreen),
        ("ports = [\"80:8000\"]\nhealth.interval = \"5s\"", Strategy::Recreate),
        ("ports = [\"80:8000\"]\nhealth.http = \"/\"\ngpus = 1", Strategy::Recreate),
        ("ports = [\"80:8000\"]\nhealth.http = \"/\"\nmounts = [\"/a:/a\"]", Strategy::Recreate),
        ("ports = [\"80:8000\"]\nhealth.http = \"/\"\nmounts = [\"/a:/a:ro\"]", Strategy::BlueGreen),
        ("network = \"host\"\nhealth.http = \"8000/\"", Strategy::Recreate),
        ("ports = [\"80:8000\"]\nhealth.http = \"/\"\nupdate.strategy = \"recreate\"", Strategy::Recreate),
        ("ports = [\"80:8000\"]\nupdate.strategy = \"blue-green\"", Strategy::BlueGreen),
        ("ports = [\"80:8000\"]\ngpus = \"all\"\nupdate.strategy = \"blue-green\"", Strategy::BlueGreen),
    ] {
        assert_eq!(service(more).update.strategy, wanted, "{more}");
    }
}

#[test]
fn blue_green_without_anything_to_switch_is_refused() {
    refused(&[
        (
            "update.strategy = \"blue-green\"",
            "3:19: \"blue-green\" has nothing to switch: the service publishes no `ports` (hint: write \"recreate\", or `ports`)",
        ),
        (
            "network = \"host\"\nupdate.strategy = \"blue-green\"",
            "4:19: \"blue-green\" is not possible on the host's network: two containers cannot have the same port there (hint: write \"recreate\", or `ports` in place of `network = \"host\"`)",
        ),
        (
            "update.strategy = \"bluegreen\"",
            "3:19: `strategy` in [services.a.update] must be \"blue-green\" or \"recreate\", not \"bluegreen\" (hint: did you mean \"blue-green\"?)",
        ),
        // Nothing follows from ports that are wrong or misspelt.
        (
            "update.strategy = \"blue-green\"\nports = [\"80\"]",
            "4:10: \"80\" is not a port: it has one number (hint: write HOST:CONTAINER, such as \"80:80\")",
        ),
        (
            "update.strategy = \"blue-green\"\nprots = [\"80:80\"]",
            "4:1: unknown key `prots` in [services.a] (hint: did you mean `ports`?)",
        ),
        (
            "update.strategy = \"blue-green\"\nnetwork = \"host\"\nports = [\"80:80\"]",
            "5:1: `ports` cannot be published on the host's network: each port of the container is open there (hint: leave out `ports`, or `network = \"host\"`)",
        ),
    ]);
    let unread = "[services.a]\nimage = \"a\"\nupdate.strategy = \"blue-green\"\nports [\"80:80\"]\n";
    assert_eq!(check(unread).len(), 1, "the ports may be in the line that could not be read: {unread}");
}

#[test]
fn everything_that_an_update_waits_for() {
    let update = service(
        r#"
[services.a.update]
every = "never"
min_age = "24h"
window = ["Mon-Fri 02:00-04:00 UTC", "Sat,Sun 22:00-06:00 UTC"]
drain = "5m"
before = ["/app/may-i-stop", "--now"]
after = ["sh", "-c", "curl -f localhost:8000/ \"$HOST\"", ""]
"#,
    )
    .update;
    assert_eq!((update.every, update.min_age, update.drain), (None, 24 * HOUR, 300 * SECOND));
    assert_eq!(update.windows.len(), 2);
    assert_eq!((update.windows[1].opens_at_minute, update.windows[1].open_for_minutes), (1320, 480));
    assert_eq!(update.before, ["/app/may-i-stop", "--now"]);
    assert_eq!(update.after, ["sh", "-c", "curl -f localhost:8000/ \"$HOST\"", ""]);
    let plain = service("update = { window = [], before = [], after = [] }").update;
    let default = Update {
        every: Some(60 * SECOND),
        deadline: 300 * SECOND,
        min_healthy: 10 * SECOND,
        strategy: Strategy::Recreate,
        min_age: Duration::ZERO,
        windows: Vec::new(),
        drain: 30 * SECOND,
        before: Vec::new(),
        after: Vec::new(),
    };
    assert_eq!((&plain, &service("").update), (&default, &default), "an empty list takes back one before it");
}

#[test]
fn what_an_update_cannot_wait_for_is_refused_at_its_value() {
    refused(&[
        (
            "update.min_age = \"1d\"",
            "3:18: \"1d\" is not a duration (hint: write a duration such as \"250ms\", \"30s\", \"5m\" or \"1h30m\")",
        ),
        (
            "update.min_age = \"8761h\"",
            "3:18: \"8761h\" is out of range (hint: write a duration from 0s to 8760h)",
        ),
        (
            "update.drain = \"24h1ms\"",
            "3:16: \"24h1ms\" is out of range (hint: write a duration from 0s to 24h)",
        ),
        (
            "update.window = [\"02:00-04:00 UTC\", \"Mon 02:00-02:00 UTC\"]",
            "3:37: \"Mon 02:00-02:00 UTC\" is not a window: it ends when it begins (hint: write 00:00-24:00 for the whole day)",
        ),
        (
            "update.window = \"02:00-04:00 UTC\"",
            "3:17: `window` in [services.a.update] must be an array, not a string (hint: put it in brackets: [\"…\"])",
        ),
        (
            "update.windows = []",
            "3:8: unknown key `windows` in [services.a.update] (hint: did you mean `window`?)",
        ),
        ("update.before = [\"\", \"x\"]", "3:18: the name of the program is empty"),
        ("update.after = [\"a\", \"b\\u0000\"]", "3:22: the text has a NUL character"),
        ("health.exec = [\"\"]", "3:16: the name of the program is empty"),
        (
            "update.after = [5, \"\"]",
            "3:17: `after[0]` in [services.a.update] must be a string, not an integer (hint: put it in quotes: \"5\")",
        ),
        (
            "before = [\"x\"]",
            "3:1: unknown key `before` in [services.a] (hint: `before` belongs in [services.NAME.update])",
        ),
    ]);
}

#[test]
fn all_that_is_wrong_with_one_update_is_said_at_once() {
    let more = "[services.a.update]\nevery = \"x\"\nstrategy = \"blue-green\"\ndeadline = \"1s\"\nmin_age = \"x\"\n\
                window = [\"x\", \"y\"]\ndrain = \"x\"\nbefore = [\"\"]\nafter = [\"\"]";
    let found = check(&text(more));
    let positions: Vec<_> = found.iter().filter_map(|line| line.split(": ").next()).collect();
    let wanted = ["4:9", "5:12", "6:12", "7:11", "8:11", "8:16", "9:9", "10:11", "11:10"];
    assert_eq!(positions, wanted, "{found:#?}");
}

#[test]
fn gpus_all_or_some() {
    for (more, wanted) in [
        ("", None),
        ("gpus = \"all\"", Some(Gpus::All)),
        ("gpus = 1", Some(Gpus::Count(1))),
        ("gpus = \"8\"", Some(Gpus::Count(8))),
        ("gpus = 64", Some(Gpus::Count(64))),
    ] {
        assert_eq!(service(more).gpus, wanted, "{more}");
    }
    let hint = "(hint: write \"all\", a number from 1 to 64, or leave it out for none)";
    for value in
        ["0", "-1", "65", "4294967297", "\"\"", "\"0\"", "\"+1\"", "\"1.5\"", "\"ALL\"", "\"device=0\""]
    {
        let wanted = format!("3:8: {value} is not a number of GPUs {hint}");
        assert_eq!(check(&text(&format!("gpus = {value}"))), [wanted]);
    }
    refused(&[(
        "gpus = true",
        "3:8: `gpus` in [services.a] must be an integer or a string, not a boolean (hint: put it in quotes: \"true\")",
    )]);
}

#[test]
fn the_metadata_is_kept_from_containers_but_not_from_those_on_the_hosts_network() {
    let host = "network = \"host\"\n";
    assert!(!service("").imds);
    assert!(!service("imds = false").imds);
    assert!(service("imds = true").imds);
    assert!(service(host).imds, "the default is no mistake, and says what is true");
    assert!(service(&format!("{host}imds = true")).imds);
    refused(&[
        (
            "network = \"host\"\nimds = false",
            "4:8: the instance metadata cannot be kept from a container on the host's network: it reaches what the node reaches (hint: leave out `imds = false`, or `network = \"host\"`)",
        ),
        (
            "network = \"host\"\nimds = \"no\"",
            "4:8: `imds` in [services.a] must be a boolean, not a string (hint: write true or false, without quotes)",
        ),
    ]);
}

#[test]
fn images_are_kept_as_long_as_is_written() {
    assert_eq!(settings("").images, Images::default());
    let written = settings("[images]\nreclaim = \"all\"\nunused_for = \"0s\"\nmin_free = \"25%\"\n").images;
    let wanted = Images { reclaim: Reclaim::All, unused_for: Duration::ZERO, min_free_percent: 25 };
    assert_eq!(written, wanted);
    assert_eq!(settings("images.reclaim = \"never\"").images.reclaim, Reclaim::Never);
    assert_eq!(settings("images.reclaim = \"ours\"").images, Images::default());
    let refused = [
        (
            "images.reclaim = \"none\"",
            "1:18: `reclaim` in [images] must be \"ours\" or \"all\" or \"never\", not \"none\"",
        ),
        (
            "images.unused_for = \"8761h\"",
            "1:21: \"8761h\" is out of range (hint: write a duration from 0s to 8760h)",
        ),
        ("images.min_free = \"0%\"", "1:19: \"0%\" is out of range (hint: write a share from 1% to 90%)"),
        ("images.min_free = \"91%\"", "1:19: \"91%\" is out of range (hint: write a share from 1% to 90%)"),
        ("images.min_free = \"5G\"", "1:19: \"5G\" is not a share (hint: write a share such as \"10%\")"),
        (
            "images.min_free = 10",
            "1:19: `min_free` in [images] must be a string, not an integer (hint: put it in quotes: \"10\")",
        ),
    ];
    for (text, wanted) in refused {
        assert_eq!(check(text), [wanted], "{text}");
    }
}

#[test]
fn values_are_put_in_and_judged_only_when_they_are_known() {
    let text = "[var]\nwhen = \"Sat,Sun\"\n[images]\nreclaim = \"${tag:Reclaim}\"\nmin_free = \"${tag:Free}%\"\n\
                [services.a]\nimage = \"a\"\nports = [\"${tag:Port}\"]\ngpus = \"${tag:Gpus}\"\n\
                network = \"${tag:Network}\"\n[services.a.update]\nstrategy = \"${tag:Strategy}\"\n\
                min_age = \"${tag:Age}\"\nwindow = [\"${var.when} 02:00-04:00 UTC\", \"${tag:Window}\"]\n\
                before = [\"${tag:Program}\", \"${region}\"]\n";
    let draft = parse(text).unwrap();
    assert_eq!(lines(draft.check()), [""; 0]);
    let mut facts = facts();
    let mut tag = |key: &str, value: &str| facts.tags.insert(key.to_owned(), value.to_owned());
    for (key, value) in [
        ("Reclaim", "all"),
        ("Free", "5"),
        ("Port", "80:80"),
        ("Gpus", "2"),
        ("Network", "node"),
        ("Strategy", "blue-green"),
        ("Age", "1h"),
        ("Window", "02:00-04:00 UTC"),
        ("Program", "may-i"),
    ] {
        tag(key, value);
    }
    let settings = draft.settings(&facts).unwrap();
    let a = &settings.services["a"];
    assert_eq!((settings.images.reclaim, settings.images.min_free_percent), (Reclaim::All, 5));
    assert_eq!((a.gpus, a.update.strategy), (Some(Gpus::Count(2)), Strategy::BlueGreen));
    assert_eq!((a.update.min_age, &a.update.before), (HOUR, &vec!["may-i".to_owned(), facts.region.clone()]));
    assert_eq!(a.update.windows[0].days, [false, false, false, false, false, true, true]);
    facts.tags.insert("Network".to_owned(), "host".to_owned());
    facts.tags.insert("Window".to_owned(), "night".to_owned());
    assert_eq!(lines(draft.settings(&facts)).len(), 2, "what comes from tags is checked on the instance");
}
