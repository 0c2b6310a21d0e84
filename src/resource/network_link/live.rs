//! What the kernel and systemd-networkd say of a link, and how that differs from what it is to be.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Dhcp;
use super::render::ends;
use super::wanted::{Wanted, Way, broadcast, rule_words};
use crate::change::{AttributeChange, Shown};
use crate::model::inventory::{AddressOrCidr, LinkRule, LinkSort, PartOf, WireguardPeer};
use crate::resource::ip::{self, IpLink, IpRule};
use crate::resource::read::{Answers, Query, UnitState};
use crate::sh;
use crate::shell::Script;

/// What configures links.
pub(super) const UNIT: &str = "systemd-networkd.service";

const MANAGED: &str = "networkd-links";

/// Returns the question for what networkd says of each link, by the kernel's number of it. It costs no process.
pub(super) fn managed_query() -> Query {
    let script = Script::constant(
        r#"for _f in /run/systemd/netif/links/*; do
  [ ! -r "$_f" ] || while IFS= read -r _l; do
    case $_l in ADMIN_STATE=*|NETWORK_FILE=*|DNS=*|DOMAINS=*) printf '%s %s\n' "${_f##*/}" "$_l";; esac
  done <"$_f"
done"#,
    );
    Query::Snippet { key: MANAGED.to_owned(), tools: Vec::new(), script }
}

const IFUPDOWN: &str = "ifupdown-links";

/// Returns the question for the links that ifupdown would configure at boot, each with the file that says so.
pub(super) fn ifupdown_query() -> Query {
    let script = Script::constant(
        r#"for _f in /etc/network/interfaces /etc/network/interfaces.d/*; do
  [ ! -f "$_f" ] || while read -r _w _n _l; do [ "$_w" != iface ] || printf '%s %s\n' "$_n" "$_f"; done <"$_f"
done"#,
    );
    Query::Snippet { key: IFUPDOWN.to_owned(), tools: Vec::new(), script }
}

/// Where the answer on a tunnel's ends is found.
fn ends_key(name: &str) -> String {
    format!("link-ends-{name}")
}

/// Returns the question for the ends of a tunnel.
pub(super) fn ends_query(name: &str) -> Query {
    let script = sh!("! ip link show dev {} >/dev/null 2>&1 || bridge -j fdb show dev {}", name, name);
    Query::Snippet { key: ends_key(name), tools: vec![("bridge", "iproute2")], script }
}

fn read_ends(answers: &Answers, name: &str) -> BTreeSet<IpAddr> {
    #[derive(Deserialize)]
    struct Entry {
        #[serde(default)]
        mac: String,
        dst: Option<IpAddr>,
    }
    let text = answers.snippet(&ends_key(name)).map(|answer| answer.text().into_owned()).unwrap_or_default();
    let entries: Vec<Entry> = serde_json::from_str(&text).unwrap_or_default();
    entries.into_iter().filter(|entry| entry.mac == "00:00:00:00:00:00").filter_map(|entry| entry.dst).collect()
}

/// Where the answer on an encrypted tunnel is found.
fn tunnel_key(name: &str) -> String {
    format!("link-wireguard-{name}")
}

/// Returns the question for an encrypted tunnel: its own public key and port, then each peer with what is behind it. Private
/// and preshared keys stay on the host.
pub(super) fn tunnel_query(name: &str) -> Query {
    let script = sh!(
        r#"! wg show {} dump 2>/dev/null | {
  IFS='	' read -r _a _b _c _d || exit 0
  printf '%s %s\n' "$_b" "$_c"
  while IFS='	' read -r _a _b _c _d _e; do printf '%s %s\n' "$_a" "$_d"; done
} || :"#,
        name
    );
    Query::Snippet { key: tunnel_key(name), tools: Vec::new(), script }
}

/// Returns the public key, the port and the peers of an encrypted tunnel.
fn read_tunnel(answers: &Answers, name: &str) -> BTreeMap<String, String> {
    let text = answers.snippet(&tunnel_key(name)).map(|answer| answer.text().into_owned()).unwrap_or_default();
    let mut lines = text.lines().filter_map(|line| line.split_once(' '));
    let Some((key, port)) = lines.next() else { return BTreeMap::new() };
    let mut peers: Vec<String> = lines
        .map(|(key, networks)| {
            let networks = networks.split([',', ' ']).filter(|network| *network != "(none)");
            peer_text(key, networks.map(str::to_owned).collect())
        })
        .collect();
    peers.sort();
    let all = [("public key", key.to_owned()), ("port", port.to_owned()), ("peers", peers.join("; "))];
    all.into_iter().filter(|(_, value)| value != "(none)").map(|(name, value)| (name.to_owned(), value)).collect()
}

/// Returns a peer as a plan shows it.
fn peer_text(key: &str, mut networks: Vec<String>) -> String {
    networks.sort();
    networks.dedup();
    format!("{key} with {}", if networks.is_empty() { "nothing".to_owned() } else { networks.join(",") })
}

/// A link as it was found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Live {
    pub link: Option<Found>,
    /// Whether networkd runs.
    pub runs: bool,
    /// Whether it is started at boot.
    pub at_boot: bool,
    /// The files of ifupdown that configure it, too.
    pub ifupdown: BTreeSet<String>,
    /// The links that there are, for who looks for one that is not.
    #[serde(skip)]
    pub names: Vec<String>,
}

/// What is on a link that is there.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Found {
    /// `bridge`, `vxlan`...; none for a card.
    pub sort: Option<String>,
    /// What is special about its sort.
    pub special: BTreeMap<String, String>,
    pub mtu: u32,
    pub is_up: bool,
    pub part_of: Option<String>,
    pub addresses: BTreeSet<IpNet>,
    /// Addresses with another broadcast address than that of their network, or with none.
    pub unheard: BTreeSet<IpNet>,
    pub routes: BTreeSet<Way>,
    /// Whether networkd configures it, from which file.
    pub file: Option<String>,
    pub has_failed: bool,
    pub dns: Vec<String>,
    pub search: Vec<String>,
    /// The rules of routing that have the priority of one that is wanted.
    pub rules: BTreeSet<LinkRule>,
    /// The ends of a tunnel that has several.
    pub ends: BTreeSet<IpAddr>,
}

/// Reads what there is of a link.
pub(super) fn read(answers: &Answers, wanted: &Wanted) -> Result<Live, String> {
    let (name, dhcp) = (wanted.name.as_str(), wanted.dhcp);
    let text = |key: &str, what: &str| {
        let answer = answers.snippet(key).ok_or_else(|| format!("`{what}` said nothing"))?;
        if answer.succeeded() { Ok(answer.text()) } else { Err(format!("`{what}` failed: {}", answer.text())) }
    };
    let links = ip::links(&text(ip::LINKS, "ip addr")?)?;
    let routes = ip::routes(&text(ip::ROUTES, "ip route")?)?;
    let managed = answers.snippet(MANAGED).map(|answer| answer.text().into_owned()).unwrap_or_default();
    let ifupdown = answers.snippet(IFUPDOWN).map(|answer| answer.text().into_owned()).unwrap_or_default();
    let unit = answers.unit(UNIT);
    let is = |state: fn(&UnitState) -> bool| unit.is_some_and(state);
    let mut live = Live {
        link: None,
        runs: is(|unit| unit.active == "active"),
        at_boot: is(|unit| unit.file.starts_with("enabled")),
        ifupdown: ifupdown
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter(|(link, _)| *link == name)
            .map(|(_, file)| file.to_owned())
            .collect(),
        names: links.iter().map(|link| link.name.clone()).collect(),
    };
    let rules = match wanted.rules.is_empty() {
        true => Vec::new(),
        false => ip::rules(&text(ip::RULES, "ip rule")?)?,
    };
    let Some(link) = links.into_iter().find(|link| link.name == name) else { return Ok(live) };
    let mut found = Found {
        special: special(&link),
        mtu: link.mtu,
        is_up: link.is("UP"),
        ends: read_ends(answers, name),
        ..Found::default()
    };
    for address in &link.addresses {
        // What the kernel makes by itself, and what DHCP gave where it is wanted, is not ours.
        let is_given = address.dynamic && dhcp != Dhcp::No;
        if address.scope == "link" || address.scope == "host" || is_given {
            continue;
        }
        let Some(with_length) = address.with_length() else { continue };
        found.addresses.insert(with_length);
        if address.broadcast != broadcast(with_length) {
            found.unheard.insert(with_length);
        }
    }
    // Those that a person typed or a configuration made; those of routing daemons, of DHCP and of the kernel are theirs.
    let is_ours = |protocol: &str| matches!(protocol, "boot" | "static");
    for route in routes.iter().filter(|route| route.kind == "unicast" && is_ours(&route.protocol)) {
        let mut hops = route.hops.iter().filter(|hop| hop.dev.as_deref() == Some(name));
        let Some(hop) = hops.next() else { continue };
        let via = hop.gateway.filter(|_| route.hops.len() == 1);
        found.routes.insert(Way::new(route.to, via, &route.table, route.metric, route.source));
    }
    let own = managed.lines().filter_map(|line| {
        line.split_once(' ')?
            .1
            .split_once('=')
            .filter(|_| line.split_once(' ').and_then(|(number, _)| number.parse().ok()) == Some(link.number))
    });
    for (key, value) in own.filter(|(_, value)| !value.is_empty()) {
        let words = || value.split(' ').map(str::to_owned).collect();
        match key {
            "ADMIN_STATE" => found.has_failed = value == "failed",
            "NETWORK_FILE" => found.file = Some(value.to_owned()),
            "DNS" => found.dns = words(),
            "DOMAINS" => found.search = words(),
            _ => {}
        }
    }
    found.rules = rules
        .iter()
        .filter_map(plain_rule)
        .filter(|rule| wanted.rules.iter().any(|own| is_in_place_of(rule, own)))
        .collect();
    if matches!(wanted.sort, LinkSort::Wireguard { .. }) {
        found.special = read_tunnel(answers, name);
    }
    found.sort = link.linkinfo.kind;
    found.part_of = link.master;
    live.link = Some(found);
    Ok(live)
}

/// Returns whether two rules have the same place.
fn is_in_place_of(rule: &LinkRule, other: &LinkRule) -> bool {
    (rule.priority, rule.is_v6()) == (other.priority, other.is_v6())
}

/// Returns a rule as it would be written.
fn plain_rule(rule: &IpRule) -> Option<LinkRule> {
    let table = match rule.table.as_str() {
        "local" => 255,
        "main" => 254,
        "default" => 253,
        number => number.parse().ok()?,
    };
    // What names no network can be written for IPv4 only.
    let is_written = !rule.is_v6 || rule.from.or(rule.to).is_some();
    is_written.then(|| LinkRule {
        from: rule.from.map(AddressOrCidr),
        to: rule.to.map(AddressOrCidr),
        mark: rule.mark,
        table,
        priority: rule.priority,
    })
}

/// Returns what is special about a link's sort, by the names that a plan shows.
fn special(link: &IpLink) -> BTreeMap<String, String> {
    let data = &link.linkinfo.data;
    let value = |key: &str| match data.get(key)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(is) => Some(is.to_string()),
        _ => None,
    };
    let first = |keys: &[&str]| keys.iter().find_map(|key| value(key));
    let all = match link.linkinfo.kind.as_deref() {
        Some("bond") => vec![("mode", value("mode"))],
        Some("vlan") => vec![("id", value("id")), ("parent", link.link.clone())],
        Some("bridge") => vec![("stp", value("stp_state").map(|state| (state != "0").to_string()))],
        Some("vxlan") => vec![
            ("vni", value("id")),
            ("local", first(&["local", "local6"])),
            ("remote", first(&["remote", "remote6", "group", "group6"])),
            ("port", value("port")),
            ("learning", value("learning")),
        ],
        _ => Vec::new(),
    };
    all.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

/// Something special about a link's sort as it is to be.
struct Special {
    name: &'static str,
    value: Option<String>,
    /// Whether only a new link can have another.
    is_fixed: bool,
}

/// Returns the sort that a link is to be of, none for a card, and what is special about it.
fn wanted_special(sort: &LinkSort) -> (Option<&'static str>, Vec<Special>) {
    let fixed = |name, value: String| Special { name, value: Some(value), is_fixed: true };
    let perhaps = |name, value: Option<&IpAddr>| Special { name, value: value.map(IpAddr::to_string), is_fixed: true };
    match sort {
        LinkSort::Physical => (None, Vec::new()),
        LinkSort::Dummy => (Some("dummy"), Vec::new()),
        LinkSort::Wireguard { port, peers } => {
            let networks = |peer: &WireguardPeer| peer.allowed.iter().map(|network| network.0.to_string()).collect();
            let mut texts: Vec<String> = peers.iter().map(|peer| peer_text(&peer.public_key, networks(peer))).collect();
            texts.sort();
            let port = port.map(|port| fixed("port", port.to_string()));
            (Some("wireguard"), port.into_iter().chain([fixed("peers", texts.join("; "))]).collect())
        }
        LinkSort::Bond { mode } => (Some("bond"), vec![fixed("mode", mode.to_string())]),
        LinkSort::Vlan { parent, id } => {
            (Some("vlan"), vec![fixed("id", id.to_string()), fixed("parent", parent.clone())])
        }
        LinkSort::Bridge { stp } => {
            (Some("bridge"), vec![Special { name: "stp", value: Some(stp.to_string()), is_fixed: false }])
        }
        LinkSort::Vxlan { vni, local, remote, port, learning } => (
            Some("vxlan"),
            vec![
                fixed("vni", vni.to_string()),
                perhaps("local", local.as_ref()),
                perhaps("remote", remote.first().filter(|_| remote.len() == 1)),
                fixed("port", port.to_string()),
                fixed("learning", learning.to_string()),
            ],
        ),
    }
}

/// How a link differs from what it is to be.
#[derive(Clone, Debug, Default)]
pub(super) struct Differences {
    pub attributes: Vec<AttributeChange>,
    /// Those that only a new link can have, by name.
    pub only_new: Vec<String>,
    /// Addresses that must go.
    pub extra_addresses: Vec<IpNet>,
    /// Routes that must go.
    pub extra_routes: Vec<Way>,
    /// Rules that must go.
    pub extra_rules: Vec<LinkRule>,
    /// Ends of a tunnel that must go.
    pub extra_ends: Vec<IpAddr>,
    /// Addresses that are to get the broadcast address of their network.
    pub unheard: Vec<IpNet>,
}

/// Returns how a link differs from what it is to be, with `file` as what networkd should follow.
pub(super) fn differences(wanted: &Wanted, live: &Live, file: &str) -> Differences {
    let mut all = Differences::default();
    let bare = Found::default();
    let is_new = live.link.is_none();
    let found = live.link.as_ref().unwrap_or(&bare);
    let mut differ = |name: &str, before: Value, after: Value| {
        if before == after {
            return false;
        }
        let before = if is_new || before.is_null() { Shown::Absent } else { Shown::Value(before) };
        let after = if after.is_null() { Shown::Absent } else { Shown::Value(after) };
        all.attributes.push(AttributeChange { name: name.to_owned(), before, after });
        true
    };
    let (sort, special) = wanted_special(&wanted.sort);
    if let Some(sort) = sort
        && differ("sort", json!(found.sort), json!(sort))
    {
        all.only_new.push("sort".to_owned());
    }
    for Special { name, value, is_fixed } in special {
        if differ(name, json!(found.special.get(name)), json!(value)) && is_fixed {
            all.only_new.push(name.to_owned());
        }
    }
    if let Some(mtu) = wanted.mtu {
        differ("mtu", json!(found.mtu), json!(mtu));
    }
    let container = wanted.part_of.as_ref().map(PartOf::name);
    differ("part of", json!(found.part_of), json!(container));
    let texts = |addresses: &BTreeSet<IpNet>| json!(addresses.iter().map(IpNet::to_string).collect::<Vec<_>>());
    differ("addresses", texts(&found.addresses), texts(&wanted.addresses));
    let texts = |ways: &BTreeSet<Way>| json!(ways.iter().map(Way::to_string).collect::<Vec<_>>());
    differ("routes", texts(&found.routes), texts(&wanted.routes));
    let texts =
        |rules: &BTreeSet<LinkRule>| json!(rules.iter().map(|rule| rule_words(rule).join(" ")).collect::<Vec<_>>());
    differ("rules", texts(&found.rules), texts(&wanted.rules));
    let ends: BTreeSet<IpAddr> = ends(&wanted.sort).iter().copied().collect();
    differ("ends", json!(found.ends), json!(ends));
    let unheard: BTreeSet<IpNet> = found.unheard.intersection(&wanted.addresses).copied().collect();
    for address in &unheard {
        let name = format!("broadcast of {address}");
        differ(&name, json!("another"), json!(broadcast(*address)));
    }
    if !wanted.dns.is_empty() {
        let dns: Vec<String> = wanted.dns.iter().map(IpAddr::to_string).collect();
        differ("dns", json!(found.dns), json!(dns));
    }
    if !wanted.search.is_empty() {
        differ("search", json!(found.search), json!(wanted.search));
    }
    if !is_new {
        differ("up", json!(found.is_up), json!(true));
    }
    let follows = match &found.file {
        _ if !live.runs => json!("not running"),
        None => json!("not managing it"),
        Some(_) if found.has_failed => json!("failed"),
        Some(found) => json!(found),
    };
    differ("networkd", follows, json!(file));
    let files = if live.ifupdown.is_empty() { Value::Null } else { json!(live.ifupdown) };
    if files != Value::Null {
        differ("ifupdown", files, Value::Null);
    }
    differ("networkd at boot", json!(word(live.at_boot)), json!(word(true)));
    all.extra_rules = found.rules.difference(&wanted.rules).cloned().collect();
    all.extra_ends = found.ends.difference(&ends).copied().collect();
    all.extra_addresses = found.addresses.difference(&wanted.addresses).copied().collect();
    all.extra_routes = found.routes.difference(&wanted.routes).cloned().collect();
    all.unheard = unheard.into_iter().collect();
    all
}

fn word(is_enabled: bool) -> &'static str {
    if is_enabled { "started" } else { "not started" }
}
