use serde_json::json;

use super::*;

fn firewall(flows: serde_json::Value) -> Firewall {
    let mut firewall = Firewall::default();
    firewall.supply(vec![Content::Text(flows.to_string().into())]);
    firewall
}

/// Flows of every sort that there is, in both families, with a reason that tries to be syntax.
pub(super) fn every_sort() -> serde_json::Value {
    json!({
        "incoming": [
            {
                "flow": "ssh",
                "why": "administration \"over\" SSH; $(reboot) \\ `x`\n} drop é",
                "services": [{"tcp": ["22", "8000-8010"]}, {"udp": ["53"]}, "ping", {"protocol": 112}],
                "own": [
                    {"interface": "eno1", "address": "10.10.0.2"},
                    {"interface": "eno1", "address": "2001:db8::2"},
                    {"interface": "br-0.140", "address": "10.40.0.2"},
                ],
                "peers": ["10.10.0.0/24", "10.20.0.7/32", "10.20.0.8/31", "2001:db8:1::/48"],
            },
        ],
        "outgoing": [
            {
                "flow": "logs",
                "why": "every host sends its log",
                "services": [{"tcp": ["514"]}],
                "own": [{"interface": "eno1", "address": "10.10.0.2"}],
                "peers": ["10.10.0.31/32"],
            },
            {
                "flow": "tunnels",
                "why": "no peer of this family",
                "services": [{"protocol": 50}],
                "own": [{"interface": "eno1", "address": "10.10.0.2"}],
                "peers": ["2001:db8::/32"],
            },
        ],
        "forwarded": [
            {
                "flow": "routed",
                "why": "customers reach their disks",
                "services": [{"tcp": ["3260"]}],
                "from": ["10.30.0.0/24"],
                "to": ["10.40.0.0/24", "10.41.0.0/24"],
            },
        ],
    })
}

#[test]
fn a_file_has_the_flows_of_the_host_and_drops_the_rest() {
    let firewall = firewall(every_sort());
    insta::assert_snapshot!(firewall.desired().render());
}

#[test]
fn what_the_kernel_says_of_a_loaded_file_is_what_was_wanted() {
    // What `nft -j list ruleset` of Debian 12 printed after the file of the test before was loaded, and after traffic.
    let text = include_str!("../../../tests/cases/nft/every_sort.json");
    let mut found = live::parse(text).unwrap();
    assert_eq!(found.keys().map(String::as_str).collect::<Vec<_>>(), [TABLE]);
    let wanted = firewall(every_sort()).desired();
    let mut attributes = Vec::new();
    let found = found.remove(TABLE).unwrap();
    differences(&found, &wanted, &mut attributes);
    assert!(attributes.is_empty(), "{attributes:#?}");
    assert_eq!(found, wanted);
}

#[test]
fn a_host_without_flows_drops_everything() {
    let table = firewall(json!({})).desired();
    assert!(table.sets.is_empty());
    assert!(table.chains.values().all(|chain| chain.head.ends_with("policy drop;")));
}

#[test]
fn prefixes_of_tables_are_kept_and_nothing_else() {
    let mut firewall = firewall(json!({}));
    firewall.keep = vec!["ip libvirt_*".to_owned(), "inet f2b".to_owned()];
    assert!(firewall.keeps("ip libvirt_network") && firewall.keeps("inet f2b"));
    assert!(!firewall.keeps("ip6 libvirt_network") && !firewall.keeps("inet f2b2"));
}
