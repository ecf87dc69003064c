use super::*;
use bollard::models::ContainerSummaryNetworkSettings;

fn listed(status: &str, address: &str) -> Summary {
    let endpoint = EndpointSettings { ip_address: Some(address.to_owned()), ..EndpointSettings::default() };
    let networks = Some(HashMap::from([("node-agent".to_owned(), endpoint)]));
    Summary::of(&ContainerSummary {
        names: Some(vec!["/api-1".to_owned()]),
        state: Some(ContainerSummaryStateEnum::RUNNING),
        status: Some(status.to_owned()),
        network_settings: Some(ContainerSummaryNetworkSettings { networks }),
        ..ContainerSummary::default()
    })
}

const NOW: &str = "Up 5 minutes (healthy)";

fn running() -> Summary {
    listed(NOW, "10.0.0.2")
}

/// Somebody listens, and one answer is known.
fn book() -> Inspections<&'static str> {
    let mut book = Inspections::default();
    book.listen();
    let asked = book.ask("a");
    book.answered("a", asked, running(), "answer");
    book
}

#[test]
fn an_answer_counts_until_something_is_known_to_have_changed() {
    assert_eq!(book().known("a", &running()), Some("answer"));
    assert_eq!(book().known("b", &running()), None);
    for (told, id) in [(Some("a"), None), (None, None), (Some("b"), Some("answer"))] {
        let mut book = book();
        book.changed(told);
        assert_eq!(book.known("a", &running()), id, "an event of {told:?}");
    }
    let mut broken = book();
    broken.break_off();
    broken.listen();
    assert_eq!(broken.known("a", &running()), None, "events were missed");
    let mut gone = book();
    gone.retain(&BTreeSet::from(["b"]));
    assert_eq!(gone.known("a", &running()), None, "it left the list");
}

#[test]
fn a_list_that_tells_something_else_is_believed() {
    for (status, address, same) in [
        ("Up 5 minutes (healthy)", "10.0.0.2", true),
        ("Up 6 minutes (healthy)", "10.0.0.2", true),
        ("Up About an hour (healthy)", "10.0.0.2", true),
        ("Up 5 minutes (unhealthy)", "10.0.0.2", false),
        ("Up 5 minutes (Paused)", "10.0.0.2", false),
        ("Up 5 minutes", "10.0.0.2", false),
        ("Up 5 minutes (healthy)", "10.0.0.3", false),
        ("Up 4 minutes (healthy)", "10.0.0.2", false),
        ("Up Less than a second (healthy)", "10.0.0.2", false),
        ("Up About a minute (healthy)", "10.0.0.2", false),
    ] {
        let known = book().known("a", &listed(status, address)).is_some();
        assert_eq!(known, same, "{status} at {address} after {NOW}");
    }
}

#[test]
fn a_restart_is_seen_however_long_ago_the_answer_was_given() {
    let mut book = book();
    assert!(book.known("a", &listed("Up 2 hours (healthy)", "10.0.0.2")).is_some());
    assert_eq!(book.known("a", &listed("Up 6 minutes (healthy)", "10.0.0.2")), None);
}

#[test]
fn an_answer_that_was_overtaken_by_an_event_is_thrown_away() {
    let mut book = Inspections::default();
    book.listen();
    let asked = book.ask("a");
    book.changed(Some("a"));
    book.answered("a", asked, running(), "old");
    assert_eq!(book.known("a", &running()), None);
    let (first, second) = (book.ask("a"), book.ask("a"));
    book.answered("a", first, running(), "old");
    assert_eq!(book.known("a", &running()), None, "a later question is under way");
    book.answered("a", second, running(), "new");
    assert_eq!(book.known("a", &running()), Some("new"));
}

#[test]
fn while_nobody_listens_nothing_counts() {
    let mut book = Inspections::default();
    let asked = book.ask("a");
    book.answered("a", asked, running(), "answer");
    assert_eq!(book.known("a", &running()), None);
}

#[test]
fn the_engines_words_for_a_time_only_grow() {
    let words = [
        "Up Less than a second",
        "Up 1 second",
        "Up 59 seconds",
        "Up About a minute",
        "Up 2 minutes",
        "Up 59 minutes (healthy)",
        "Up About an hour",
        "Up 47 hours",
        "Up 2 days",
        "Up 13 days",
        "Up 2 weeks",
        "Up 8 weeks",
        "Up 2 months",
        "Up 23 months",
        "Up 2 years",
    ];
    let ages: Vec<Age> = words.iter().map(|words| Age::of(words)).collect();
    assert!(ages.windows(2).all(|pair| pair[0] < pair[1]), "{ages:?}");
    assert_eq!(Age::of("Exited (137) 5 minutes ago"), Age::of("Up 5 minutes"));
    assert_eq!(Age::of("Created"), Age::default());
}
