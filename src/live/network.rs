//! What a host's network really is: the questions, which are read-only, and the reader of their answers.
//!
//! `verify` asks them in the same script as its probes, so that a host is asked once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::seen;
use crate::model::matrix::{HostFlows, Transport};
use crate::policy::live::Unread;
use crate::policy::network::{Difference, Filter, HostNetwork, Link, Listener, Part, Route};
use crate::resource::read::{Answers, Query};
use crate::resource::{firewall, ip};
use crate::shell::Script;

const FORWARDING: &str = "network-forwarding";
const LISTENERS: &str = "network-listeners";
const FILTER: &str = "network-filter";

/// Returns the questions.
pub fn queries() -> Vec<Query> {
    let ask =
        |key: &str, tools, script| Query::Snippet { key: key.to_owned(), tools, script: Script::constant(script) };
    vec![
        ip::links_query(),
        ip::routes_query(),
        ask(
            FORWARDING,
            Vec::new(),
            "for _f in /proc/sys/net/ipv[46]/conf/*/forwarding; do\n  \
             [ ! -r \"$_f\" ] || { IFS= read -r _v <\"$_f\"; printf '%s %s\\n' \"$_v\" \"$_f\"; }\ndone",
        ),
        ask(LISTENERS, vec![("ss", "iproute2")], "ss -H -l -n -t -u -p"),
        Query::Snippet { key: FILTER.to_owned(), tools: vec![("nft", "nftables")], script: firewall::question() },
    ]
}

/// Reads the answers of a host that has these flows. What could not be read is named, with why.
pub fn parse(flows: &HostFlows, answers: &Answers) -> HostNetwork {
    let mut network = HostNetwork::default();
    let unread = &mut network.unread;
    network.links = part(answers, ip::LINKS, Part::Links, unread, links);
    network.routes = part(answers, ip::ROUTES, Part::Routes, unread, routes);
    network.forwarding = part(answers, FORWARDING, Part::Forwarding, unread, |text| Ok(forwarding(text)));
    network.listeners = part(answers, LISTENERS, Part::Listeners, unread, |text| Ok(listeners(text)));
    network.filter = match answers.lacks("nft") {
        // That is known, and it is bad enough.
        true => Filter::NoTool,
        false => part(answers, FILTER, Part::Filter, unread, |text| filter(flows, text)),
    };
    network
}

/// Returns what a part's answer says; nothing where it cannot be read, which is noted.
fn part<T: Default>(
    answers: &Answers,
    key: &str,
    part: Part,
    unread: &mut BTreeMap<Part, Unread>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> T {
    let tools = queries().into_iter().find_map(|query| match query {
        Query::Snippet { key: known, tools, .. } if known == key => Some(tools),
        _ => None,
    });
    seen(answers, key, &tools.unwrap_or_default(), parse).unwrap_or_else(|why| {
        unread.insert(part, why);
        T::default()
    })
}

fn filter(flows: &HostFlows, text: &str) -> Result<Filter, String> {
    let found = firewall::examine(flows, text)?;
    if !found.is_loaded {
        return Ok(Filter::NotLoaded { others: found.others });
    }
    let differences = found.differences.into_iter();
    let differences =
        differences.map(|firewall::Difference { part, found, wanted }| Difference { part, found, wanted });
    Ok(Filter::Loaded { rules: found.rules, differences: differences.collect(), others: found.others })
}

fn links(text: &str) -> Result<Vec<Link>, String> {
    let links = ip::links(text)?.into_iter().filter(|link| !link.is("LOOPBACK")).map(|link| {
        let data = &link.linkinfo.data;
        let remote = ["remote", "remote6", "group", "group6"].iter().find_map(|key| data.get(key)?.as_str());
        let addresses = link.addresses.iter().filter(|address| address.scope != "link" && address.scope != "host");
        Link {
            is_up: link.is("UP"),
            remote: remote.and_then(|remote| remote.parse().ok()),
            addresses: addresses.filter_map(|address| address.local).collect(),
            kind: link.linkinfo.kind,
            master: link.master,
            name: link.name,
        }
    });
    Ok(links.collect())
}

fn routes(text: &str) -> Result<Vec<Route>, String> {
    // Those of the kernel's own follow from the addresses.
    let routes = ip::routes(text)?.into_iter().filter(|route| route.kind == "unicast" && route.protocol != "kernel");
    let hops = routes.flat_map(|route| route.hops.into_iter().map(move |hop| (route.to, hop)));
    Ok(hops.filter_map(|(destination, hop)| Some(Route { destination, via: hop.gateway, link: hop.dev? })).collect())
}

fn forwarding(text: &str) -> Vec<String> {
    let on = text.lines().filter_map(|line| line.strip_prefix("1 /proc/sys/net/"));
    let named = on.filter_map(|path| {
        let (family, rest) = path.split_once("/conf/")?;
        Some(format!("{family} {}", rest.strip_suffix("/forwarding")?))
    });
    // What new interfaces will begin with is no interface.
    named.filter(|name| !name.ends_with(" default") && !name.ends_with(" lo")).collect()
}

fn listeners(text: &str) -> Vec<Listener> {
    let mut found: BTreeSet<Listener> = BTreeSet::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let [transport, _state, _received, _sent, local, ..] = words.as_slice() else { continue };
        let transport = match *transport {
            "tcp" => Transport::Tcp,
            "udp" => Transport::Udp,
            _ => continue,
        };
        let Some((address, port)) = local.rsplit_once(':') else { continue };
        let Ok(port) = port.parse() else { continue };
        let (address, device) = address.split_once('%').unwrap_or((address, ""));
        let address: Option<IpAddr> = address.trim_start_matches('[').trim_end_matches(']').parse().ok();
        let is_own = |address: IpAddr| match address {
            IpAddr::V4(address) => address.is_loopback(),
            IpAddr::V6(address) => address.is_loopback() || address.is_unicast_link_local(),
        };
        if device.trim_end_matches(']') == "lo" || address.is_some_and(is_own) {
            continue;
        }
        let program = words.iter().find_map(|word| word.strip_prefix("users:((\"")?.split('"').next());
        let address = address.filter(|address| !address.is_unspecified());
        found.insert(Listener { transport, port, address, program: program.map(str::to_owned) });
    }
    found.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tunnels_have_their_other_end_and_link_local_addresses_are_left_out() {
        // What `ip -j -d addr show` of Debian 12 prints, shortened.
        let text = r#"[{"ifindex":1,"ifname":"lo","flags":["LOOPBACK","UP","LOWER_UP"],"addr_info":[{"family":"inet","local":"127.0.0.1","prefixlen":8,"scope":"host"}]},
            {"ifindex":2,"ifname":"eno1","flags":["BROADCAST","MULTICAST","UP","LOWER_UP"],"addr_info":[{"family":"inet","local":"10.10.0.11","prefixlen":24,"scope":"global"},{"family":"inet6","local":"fe80::1","prefixlen":64,"scope":"link"}]},
            {"ifindex":3,"ifname":"vxlan7","flags":["BROADCAST","MULTICAST"],"linkinfo":{"info_kind":"vxlan","info_data":{"id":7,"remote":"10.20.0.21","link":"eno1"}},"addr_info":[]}]"#;
        let found = links(text).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].addresses, ["10.10.0.11".parse::<IpAddr>().unwrap()]);
        assert!(found[0].is_up && found[0].kind.is_none());
        assert_eq!(found[1].kind.as_deref(), Some("vxlan"));
        assert_eq!(found[1].remote, Some("10.20.0.21".parse().unwrap()));
        assert!(links("Error").is_err());
    }

    #[test]
    fn routes_of_the_kernel_are_left_out_and_those_of_people_are_not() {
        let text = r#"[{"dst":"default","gateway":"10.10.0.1","dev":"eno1","flags":[]},{"dst":"10.10.0.0/24","dev":"eno1","protocol":"kernel","scope":"link","prefsrc":"10.10.0.11","flags":[]},{"dst":"10.20.0.0/24","gateway":"10.10.0.21","dev":"eno1","flags":[]},{"type":"local","dst":"10.10.0.11","dev":"eno1","table":"local","protocol":"kernel","flags":[]},{"dst":"10.30.0.7","table":"7","nexthops":[{"gateway":"10.10.0.8","dev":"eno1","weight":1,"flags":[]}]}]

[{"dst":"fe80::/64","dev":"eno1","protocol":"kernel","metric":256,"flags":[]},{"dst":"default","gateway":"fe80::1","dev":"eno1","flags":[]}]"#;
        let told: Vec<String> = routes(text)
            .unwrap()
            .iter()
            .map(|route| format!("{} {:?} {}", route.destination, route.via.map(|via| via.to_string()), route.link))
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        0.0.0.0/0 Some("10.10.0.1") eno1
        10.20.0.0/24 Some("10.10.0.21") eno1
        10.30.0.7/32 Some("10.10.0.8") eno1
        ::/0 Some("fe80::1") eno1
        "#);
    }

    #[test]
    fn who_listens_is_told_without_what_only_the_host_reaches() {
        let text = "udp   UNCONN 0      0          127.0.0.1:323       0.0.0.0:*    users:((\"chronyd\",pid=99,fd=5))
udp   UNCONN 0      0            0.0.0.0:123       0.0.0.0:*    users:((\"chronyd\",pid=99,fd=7))
udp   UNCONN 0      0      10.0.0.1%eno1:68        0.0.0.0:*
tcp   LISTEN 0      128          0.0.0.0:22        0.0.0.0:*    users:((\"sshd\",pid=80,fd=3))
tcp   LISTEN 0      128             [::]:22           [::]:*    users:((\"sshd\",pid=80,fd=4))
tcp   LISTEN 0      4096               *:2379            *:*    users:((\"etcd\",pid=7,fd=4))
tcp   LISTEN 0      4096      127.0.0.53%lo:53     0.0.0.0:*
tcp   LISTEN 0      5       [fe80::1]%eno1:9         [::]:*
";
        let told: Vec<String> = listeners(text)
            .iter()
            .map(|l| format!("{:?} {} {:?} {:?}", l.transport, l.port, l.address, l.program.as_deref()))
            .collect();
        insta::assert_snapshot!(told.join("\n"), @r#"
        Tcp 22 None Some("sshd")
        Tcp 2379 None Some("etcd")
        Udp 68 Some(10.0.0.1) None
        Udp 123 None Some("chronyd")
        "#);
    }

    #[test]
    fn interfaces_that_pass_packets_on_are_named() {
        let text = "0 /proc/sys/net/ipv4/conf/all/forwarding\n1 /proc/sys/net/ipv4/conf/eno1/forwarding\n\
                    1 /proc/sys/net/ipv6/conf/all/forwarding\n1 /proc/sys/net/ipv4/conf/default/forwarding\n";
        assert_eq!(forwarding(text), ["ipv4 eno1", "ipv6 all"]);
    }
}
