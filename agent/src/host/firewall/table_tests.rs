//! The transaction, compared as a whole where it is small.

use super::*;

fn sample() -> Rules {
    let host = |protocol, number| HostPort { protocol, number };
    let target = |last, port, ipv6_proxy| Target { address: [172, 18, 0, last].into(), port, ipv6_proxy };
    Rules {
        routes: [
            (host(Protocol::Tcp, 80), target(2, 8000, Some(32768))),
            (host(Protocol::Tcp, 8080), target(2, 8000, Some(32768))),
            (host(Protocol::Udp, 53), target(3, 5353, None)),
        ]
        .into(),
        without_metadata: [[172, 18, 0, 2].into(), [172, 18, 0, 3].into()].into(),
        with_metadata: [[172, 18, 0, 4].into()].into(),
        bridges: [([172, 18, 0, 0].into(), 16)].into(),
    }
}

fn text() -> String {
    transaction(&sample(), &BTreeSet::from(["br-1".to_owned()]))
}

#[test]
fn without_rules_there_is_no_table() {
    let nothing = transaction(&Rules::default(), &BTreeSet::new());
    assert_eq!(nothing, "add table inet node-agent\ndelete table inet node-agent\n");
}

#[test]
fn routes_are_elements_of_maps() {
    for line in [
        "elements = { 80 : 172.18.0.2 . 8000, 8080 : 172.18.0.2 . 8000 }",
        "elements = { 53 : 172.18.0.3 . 5353 }",
        "elements = { 80 : 32768, 8080 : 32768 }",
        "elements = { 32768 }",
        "elements = { 172.18.0.2, 172.18.0.3 }",
        "elements = { 172.18.0.4 }",
        "elements = { \"br-1\" }",
        "ip saddr 172.18.0.0/16 drop comment \"bridge 172.18.0.0/16\"",
    ] {
        assert_eq!(text().matches(line).count(), 1, "{line}\n{}", text());
    }
    assert_eq!(text().matches("elements = ").count(), 7, "empty sets have none\n{}", text());
}

#[test]
fn no_other_table_is_named_and_no_comment_is_there_twice_in_a_chain() {
    let named = text().lines().filter(|line| line.contains("table ")).count();
    assert_eq!((named, text().matches("table inet node-agent").count()), (3, 3));
    for chain in chains(&sample().bridges) {
        let comments: BTreeSet<&String> = chain.rules.iter().map(|rule| &rule.comment).collect();
        assert_eq!(comments.len(), chain.rules.len(), "{}", chain.name);
    }
}

#[test]
fn a_switch_names_only_the_elements_that_differ() {
    let (before, mut now) = (sample(), sample());
    let web = HostPort { protocol: Protocol::Tcp, number: 80 };
    now.routes.insert(web, Target { address: [172, 18, 0, 9].into(), port: 8000, ipv6_proxy: Some(32768) });
    now.without_metadata.insert([172, 18, 0, 9].into());
    let interfaces = BTreeSet::from(["br-1".to_owned()]);
    let expected = "delete element inet node-agent tcp-routes { 80 : 172.18.0.2 . 8000 }\n\
                    add element inet node-agent tcp-routes { 80 : 172.18.0.9 . 8000 }\n\
                    add element inet node-agent without-metadata { 172.18.0.9 }\n";
    assert_eq!(change(&before, &now, &interfaces).as_deref(), Some(expected));
    now.bridges.insert(([172, 19, 0, 0].into(), 16));
    for other in [&now, &before, &Rules::default()] {
        assert_eq!(change(&before, other, &interfaces), None, "made anew");
    }
}
