//! Asks the rules on the live hosts, and sorts out what was waived.

use jiff::civil::Date;

use super::check::{Report, on_waivers, packs, sort};
use super::cx::Cx;
use super::finding::{Found, Waived};
use super::live::Live;
use super::network::LiveNetwork;
use super::rule::{Kind, Lang, Needs, Pack, Rule};
use super::rules::rules;
use super::waive::{self, Fate};
use crate::diag::Diagnostics;
use crate::model::inventory::Inventory;

/// Asks every rule that looks at the network of the live hosts, whichever packs the inventory names: who has the hosts
/// tried wants to know. What is written is for [`check`](super::check()).
pub fn check_network(
    inventory: &Inventory,
    network: &LiveNetwork,
    today: Date,
    lang: Lang,
    problems: &mut Diagnostics,
) -> Report {
    let waivers = waive::ready(inventory, today, problems);
    let mut cx = Cx::new(inventory, None, today, lang, forwarders(inventory, &waivers));
    cx.network = Some(network);
    let mut report = Report::default();
    let asked = rules().filter(|rule| matches!(rule.needs, Needs::Network | Needs::Tried));
    ask(asked, &cx, &waivers, &mut report);
    for rule in &report.asked {
        if !report.packs.contains(&rule.pack) {
            report.packs.push(rule.pack);
        }
    }
    report.packs.sort_unstable();
    sort(&mut report);
    report
}

/// Asks every rule of the inventory's packs that one look at the live hosts can answer; of an inventory that names no pack
/// those of all packs.
///
/// What can only be declared is asked too, so that a report has it beside what was seen. What is written is for
/// [`check`](super::check()), and what has to be tried for [`check_network`].
pub fn check_live(inventory: &Inventory, live: &Live, today: Date, lang: Lang, problems: &mut Diagnostics) -> Report {
    let waivers = waive::ready(inventory, today, problems);
    let mut cx = Cx::new(inventory, None, today, lang, forwarders(inventory, &waivers));
    cx.network = Some(&live.network);
    cx.live = Some(live);
    let mut report = Report { packs: packs(inventory, problems), ..Report::default() };
    if report.packs.is_empty() {
        report.packs = Pack::ALL.to_vec();
    }
    report.hosts = cx.each_host().filter(|(_, host)| live.hosts.contains_key(&host.name)).map(|(at, _)| at).collect();
    let packs = report.packs.clone();
    let is_asked = |rule: &&Rule| {
        let is_declared = rule.kind == Kind::M && rule.needs == Needs::Inventory;
        packs.contains(&rule.pack) && (is_declared || matches!(rule.needs, Needs::Live | Needs::Network))
    };
    let used = ask(rules().filter(is_asked), &cx, &waivers, &mut report);
    // A waiver may except what another way of checking finds, or what stands on a host that was not looked at.
    let is_judged = |id: &str| {
        let mut rows = rules().filter(|rule| rule.id == id).peekable();
        let is_seen = |rule: &Rule| report.asked.iter().any(|asked| asked.id == rule.id && asked.kind == rule.kind);
        let is_answered = report.unasked.iter().all(|unasked| unasked.rule != id);
        rows.peek().is_some() && rows.all(is_seen) && is_answered && live.is_whole && live.silent.is_empty()
    };
    let found = on_waivers(&cx, &waivers, &used, &is_judged);
    report.findings.extend(found);
    sort(&mut report);
    report
}

/// Asks rules, and returns for each waiver whether it excepted something.
fn ask(
    rules: impl Iterator<Item = &'static Rule>,
    cx: &Cx<'_>,
    waivers: &[waive::Ready<'_>],
    report: &mut Report,
) -> Vec<bool> {
    let mut used = vec![false; waivers.len()];
    for rule in rules {
        let mut found = Found::of(rule);
        (rule.check)(cx, &mut found);
        for finding in found.findings {
            match waive::fate(&finding, waivers, &mut used) {
                Fate::Stands => report.findings.push(finding),
                Fate::Waived(waiver) => report.waived.push(Waived { waiver, finding }),
            }
        }
        report.declared.extend(found.declared);
        report.unasked.extend(found.unasked);
        report.without.extend(found.without.into_iter().map(|host| (rule.id, host)));
        report.asked.push(rule);
    }
    used
}

/// Returns for each host whether a waiver says that it passes packets on.
fn forwarders(inventory: &Inventory, waivers: &[waive::Ready<'_>]) -> Vec<bool> {
    (0..inventory.hosts.len()).map(|at| waivers.iter().any(|w| w.names_host("BP028-R12", at))).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::net::IpAddr;

    use super::*;
    use crate::addr::HostName;
    use crate::diag::Sources;
    use crate::model::matrix::Transport;
    use crate::policy::network::{Contradiction, Difference, Filter, HostNetwork, Link, Listener, Route};
    use crate::policy::{Level, Words};

    const FLEET: &str = "
sites: {a: {country: FR}}
zones: {admin: {nature: administration}, control: {nature: control}, compute: {nature: production}}
networks:
  a-admin: {site: a, zone: admin, cidr: 10.1.0.0/24, gateway: 10.1.0.1}
  a-control: {site: a, zone: control, cidr: 10.2.0.0/24, gateway: 10.2.0.1}
  a-compute: {site: a, zone: compute, cidr: 10.3.0.0/24, gateway: 10.3.0.1}
flows:
  - {from: admin, to: admin, tcp: 22, why: over SSH}
  - {from: control, to: control, tcp: 2379, why: etcd}
hosts:
  ctl:
    ssh: {address: 10.1.0.2}
    interfaces: {e0: {network: a-admin, address: 10.1.0.2}, e1: {network: a-control, address: 10.2.0.2}}
  hv:
    roles: hypervisor
    ssh: {address: 10.1.0.3}
    interfaces: {e0: {network: a-admin, address: 10.1.0.3}, e1: {network: a-compute, address: 10.3.0.3}}
policy:
  waivers: [{rule: BP028-R12, hosts: hv, why: it routes, owner: somebody, expires: 2099-01-01}]
";

    fn inventory() -> (Inventory, Sources) {
        let folder = tempfile::tempdir().unwrap();
        let path = camino::Utf8Path::from_path(folder.path()).unwrap().join("a.yaml");
        crate::fs::write_atomic(&path, FLEET.as_bytes(), 0o600).unwrap();
        let (mut sources, mut problems) = (Sources::default(), Diagnostics::default());
        let inventory = crate::load::inventory::load(&path, &[], &mut sources, &mut problems);
        (inventory.unwrap_or_else(|| panic!("{problems:?}")), sources)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn link(name: &str, addresses: &[&str]) -> Link {
        let addresses = addresses.iter().map(|text| address(text)).collect();
        Link { name: name.to_owned(), is_up: true, addresses, ..Link::default() }
    }

    fn listener(transport: Transport, port: u16, at: Option<&str>) -> Listener {
        Listener { transport, port, address: at.map(address), program: Some("cat".to_owned()) }
    }

    /// A fleet that is as its inventory says.
    fn good() -> LiveNetwork {
        let loaded = || Filter::Loaded { rules: 20, differences: Vec::new(), others: BTreeMap::new() };
        let default =
            Route { destination: "0.0.0.0/0".parse().unwrap(), via: Some(address("10.1.0.1")), link: "e0".to_owned() };
        let ctl = HostNetwork {
            links: vec![link("e0", &["10.1.0.2"]), link("e1", &["10.2.0.2"])],
            routes: vec![default.clone()],
            forwarding: Vec::new(),
            listeners: vec![listener(Transport::Tcp, 22, None), listener(Transport::Tcp, 2379, Some("10.2.0.2"))],
            filter: loaded(),
            ..HostNetwork::default()
        };
        let hv = HostNetwork {
            links: vec![
                link("e0", &["10.1.0.3"]),
                link("e1", &["10.3.0.3"]),
                // The kernel makes this one with the driver, and it carries nothing.
                Link { name: "sit0".to_owned(), kind: Some("sit".to_owned()), ..Link::default() },
                // A machine's, in a bridge.
                Link { kind: Some("tun".to_owned()), master: Some("br0".to_owned()), ..link("vnet0", &[]) },
            ],
            routes: vec![default],
            // A waiver says that it does.
            forwarding: vec!["ipv4 all".to_owned()],
            listeners: vec![listener(Transport::Tcp, 22, None), listener(Transport::Udp, 40000, None)],
            filter: loaded(),
            ..HostNetwork::default()
        };
        let hosts = BTreeMap::from([(HostName::from("ctl"), ctl), (HostName::from("hv"), hv)]);
        LiveNetwork { hosts, ..LiveNetwork::default() }
    }

    fn told(network: &LiveNetwork, lang: Lang) -> String {
        let (inventory, sources) = inventory();
        let today = jiff::civil::date(2026, 6, 1);
        let mut problems = Diagnostics::default();
        let report = check_network(&inventory, network, today, lang, &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        let lines = report.findings.iter().map(|finding| {
            let place = finding.place.as_ref().map(|place| sources.locate(place.span).line).unwrap_or_default();
            let level = if finding.level == Level::Error { "" } else { " (warning)" };
            format!("{}:{place}{level} {}", finding.rule, finding.message)
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    fn change(network: &mut LiveNetwork, host: &str, change: impl FnOnce(&mut HostNetwork)) {
        change(network.hosts.get_mut(host).unwrap());
    }

    fn case(from: (&str, &str), to: (&str, &str), port: u16, flow: Option<usize>) -> Contradiction {
        let words = match flow {
            Some(_) => Words { en: "nothing came back", fr: "rien n'est revenu" },
            None => Words { en: "it connected", fr: "la connexion aboutit" },
        };
        Contradiction {
            from: from.0.into(),
            source: address(from.1),
            to: to.0.into(),
            address: address(to.1),
            transport: Transport::Tcp,
            port,
            flow,
            is_held_back: false,
            seen: words,
        }
    }

    #[test]
    fn a_fleet_that_is_as_its_inventory_says_breaks_no_rule() {
        assert_eq!(told(&good(), Lang::En), "");
        assert_eq!(told(&LiveNetwork::default(), Lang::En), "", "of hosts that were not asked nothing is said");
    }

    /// A fleet with all sorts of things that its inventory does not have.
    fn strange() -> LiveNetwork {
        let mut network = good();
        change(&mut network, "ctl", |ctl| {
            ctl.links[0].addresses.push(address("10.1.0.77"));
            ctl.links[1].addresses = vec![address("10.3.0.66")];
            ctl.links.push(link("e7", &[]));
            ctl.links.push(link("docker0", &["172.17.0.1"]));
            ctl.links[3].kind = Some("bridge".to_owned());
            let remote = Some(address("10.3.0.3"));
            ctl.links.push(Link { kind: Some("vxlan".to_owned()), remote, ..link("vxlan7", &[]) });
            ctl.forwarding = vec!["ipv4 e1".to_owned()];
            ctl.listeners.push(listener(Transport::Tcp, 8080, None));
            ctl.listeners.push(listener(Transport::Tcp, 2379, Some("10.1.0.2")));
        });
        change(&mut network, "hv", |hv| {
            let to = |destination: &str, via: Option<&str>, link: &str| Route {
                destination: destination.parse().unwrap(),
                via: via.map(address),
                link: link.to_owned(),
            };
            hv.routes = vec![
                to("0.0.0.0/0", Some("10.1.0.9"), "e0"),
                to("10.2.0.0/24", Some("10.3.0.1"), "e1"),
                to("10.2.0.0/25", Some("10.1.0.2"), "e0"),
                to("10.2.0.7/32", None, "e1"),
                to("10.2.0.8/32", None, "vxlan9"),
                to("192.0.2.0/24", Some("10.1.0.2"), "e0"),
            ];
        });
        network
    }

    #[test]
    fn what_is_on_a_host_and_not_in_the_inventory_is_named_where_it_would_stand() {
        insta::assert_snapshot!("strangers", told(&strange(), Lang::En));
        insta::assert_snapshot!("strangers_french", told(&strange(), Lang::Fr));
    }

    /// A fleet whose filters and connections are not as the flow matrix says.
    fn contradicting() -> LiveNetwork {
        let mut network = good();
        change(&mut network, "ctl", |ctl| {
            let hole = Difference {
                part: "rule of input".to_owned(),
                found: Some("tcp dport 8080 accept".to_owned()),
                wanted: None,
            };
            let missing = Difference { part: "rule of output".to_owned(), found: None, wanted: Some("x".to_owned()) };
            let policy = Difference {
                part: "chain output".to_owned(),
                found: Some("policy accept;".to_owned()),
                wanted: Some("policy drop;".to_owned()),
            };
            let others = BTreeMap::from([("ip nat".to_owned(), 3)]);
            ctl.filter = Filter::Loaded { rules: 9, differences: vec![hole, missing, policy], others };
        });
        change(&mut network, "hv", |hv| hv.filter = Filter::NotLoaded { others: BTreeMap::new() });
        let (ctl, hv) = (("ctl", "10.2.0.2"), ("hv", "10.3.0.3"));
        let (ctl_admin, hv_admin) = (("ctl", "10.1.0.2"), ("hv", "10.1.0.3"));
        network.contradictions = vec![
            case(hv_admin, ctl_admin, 8080, None),
            case(hv_admin, ctl_admin, 8081, None),
            case(hv, ctl, 2379, None),
            case(ctl, hv, 16514, None),
            Contradiction { is_held_back: true, ..case(ctl, hv, 22, None) },
            case(ctl_admin, hv_admin, 22, Some(0)),
        ];
        network.closed = BTreeMap::from([(HostName::from("hv"), "connect to 10.1.0.3 port 22: timed out".to_owned())]);
        network
    }

    #[test]
    fn every_rule_that_looks_at_hosts_is_broken_here() {
        let told = told(&strange(), Lang::En) + &told(&contradicting(), Lang::En);
        let mut rules = rules().filter(|rule| matches!(rule.needs, Needs::Network | Needs::Tried));
        assert!(rules.all(|rule| told.contains(&format!("{}:", rule.id))), "{told}");
    }

    #[test]
    fn filters_and_connections_that_are_not_as_the_flow_matrix_says_are_named_by_what_they_break() {
        let mut network = contradicting();
        insta::assert_snapshot!("contradictions", told(&network, Lang::En));
        insta::assert_snapshot!("contradictions_french", told(&network, Lang::Fr));
        change(&mut network, "ctl", |ctl| {
            let (differences, others) = Default::default();
            ctl.filter = Filter::Loaded { rules: 0, differences, others };
        });
        change(&mut network, "hv", |hv| hv.filter = Filter::NoTool);
        (network.contradictions, network.closed) = Default::default();
        insta::assert_snapshot!(told(&network, Lang::En), @r"
        SNC-13.2.e:12 the table of `ctl` was flushed: no flow passes
        PA022-R19:15 `hv` filters nothing: it has no `nft`
        ");
    }
}
