//! The rules of the firewall for a whole node.

use super::situation::*;
use super::*;
use crate::desired::Service;
use crate::observed::ProxyPort;
use crate::rules::Target;
use crate::simulation::samples::{WEB, routed};
use crate::snapshot::RulesView;
use node::config::settings::Protocol;
use std::net::{IpAddr, Ipv4Addr};

fn made(name: &str, number: u8) -> Container {
    let mut made = container(name, 1, (OLD, SPEC), running(10));
    made.address = Some(IpAddr::V4(address(number)));
    made.routed_ports = routed(service(name, SPEC)).settings.ports;
    made
}

fn rules_of(services: &[Service], containers: Vec<Container>, in_force: RulesView) -> Option<Rules> {
    let mut observed = situation().observed;
    observed.engine = EngineView::Up { since: at(0), containers };
    observed.rules = in_force;
    observed.bridges = BTreeSet::from([(Ipv4Addr::new(172, 30, 0, 0), 16)]);
    let desired = Desired { services: services.to_vec(), ..Desired::default() };
    plan(&desired, &observed, &History::default(), at(1000)).rules
}

#[test]
fn a_port_leads_to_the_container_and_to_the_proxy_of_the_engine() {
    let mut api = made("api", 5);
    api.ipv6_ports = vec![ProxyPort { container: 8000, protocol: Protocol::Tcp, host: 49153 }];
    let none = RulesView::InForce(Rules::default());
    let rules = rules_of(&[routed(service("api", SPEC))], vec![api], none).unwrap();
    let target = Target { address: address(5), port: 8000, ipv6_proxy: Some(49153) };
    assert_eq!(rules.routes, BTreeMap::from([(WEB, target)]));
    assert_eq!(rules.bridges, BTreeSet::from([(Ipv4Addr::new(172, 30, 0, 0), 16)]));
}

#[test]
fn only_named_services_reach_the_instance_metadata() {
    let mut allowed = service("allowed", SPEC);
    allowed.settings.imds = true;
    let stopped = container("api", 1, (OLD, SPEC), exited(0, 1));
    let containers = vec![made("api", 5), made("allowed", 6), made("removed", 7), stopped];
    let none = RulesView::InForce(Rules::default());
    let rules = rules_of(&[service("api", SPEC), allowed], containers, none).unwrap();
    assert_eq!(rules.with_metadata, BTreeSet::from([address(6)]));
    assert_eq!(rules.without_metadata, BTreeSet::from([address(5), address(7)]));
}

#[test]
fn rules_are_left_alone_while_the_engine_or_the_firewall_is_silent() {
    assert_eq!(rules_of(&[], Vec::new(), RulesView::Unknown), None);
    let mut away = situation();
    away.observed.engine =
        EngineView::Down { since: at(0), message: String::new(), hint: None, last_known: Vec::new() };
    assert_eq!(away.plan().rules, None);
}

#[test]
fn a_port_leads_to_the_service_that_is_wanted_and_not_to_one_that_was() {
    let none = RulesView::InForce(Rules::default());
    let containers = vec![made("removed", 7), made("api", 5)];
    let rules = rules_of(&[routed(service("api", SPEC))], containers, none).unwrap();
    assert_eq!(rules.routes[&WEB].address, address(5));
}

#[test]
fn what_left_node_toml_loses_its_port_when_its_turn_to_stop_comes() {
    let mut rules = Rules::default();
    rules.routes.insert(WEB, Target { address: address(7), port: 8000, ipv6_proxy: None });
    let observed = |in_force: &Rules| {
        let mut observed = situation().observed;
        let containers = vec![
            Container { created_at: at(1), ..made("first", 7) },
            Container { created_at: at(2), routed_ports: Vec::new(), ..made("second", 8) },
        ];
        observed.engine = EngineView::Up { since: at(0), containers };
        observed.rules = RulesView::InForce(in_force.clone());
        observed
    };
    let both = plan(&Desired::default(), &observed(&rules), &History::default(), at(1000));
    assert_eq!(both.rules.unwrap().routes, rules.routes, "it serves until its turn");
    let mut alone = observed(&rules);
    if let EngineView::Up { containers, .. } = &mut alone.engine {
        containers.pop();
    }
    let turn = plan(&Desired::default(), &alone, &History::default(), at(1000));
    assert_eq!((turn.rules.unwrap().routes.len(), &turn.removals[0].step), (0, &None));
    alone.rules = RulesView::InForce(Rules::default());
    let bare = plan(&Desired::default(), &alone, &History::default(), at(1000));
    assert!(bare.removals[0].step.is_some());
}
