//! Filters and connections of the live hosts against the flow matrix: what is loaded is what the flows want, what no flow
//! allows was held back, and what one allows came through. These rules are asked where hosts were, by `verify`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::live::unread_network;
use super::live_network::{asked, transport, zone_of};
use crate::addr::HostName;
use crate::diag::{Diagnostics, Span};
use crate::model::inventory::{Host, Nature};
use crate::model::matrix::{Matrix, Transport};
use crate::policy::cx::{Cx, flow_subject, subject};
use crate::policy::finding::{Finding, Found};
use crate::policy::network::{Contradiction, Difference, Filter, Link, Part};
use crate::policy::rule::{Kind, Needs, Pack, Rule, Words};
use crate::policy::{Level, say};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "PA022-R19",
        pack: Pack::Separation,
        level: Level::Error,
        kind: Kind::L,
        needs: Needs::Network,
        also: &["PA022-R17"],
        text: Words {
            en: "each host holds back by a filter of its own what no flow allows",
            fr: "chaque hôte retient par un filtre propre ce qu'aucun flux ne permet",
        },
        check: own_filter,
    },
    Rule {
        id: "SNC-13.2.e",
        pack: Pack::Separation,
        level: Level::Error,
        kind: Kind::L,
        needs: Needs::Network,
        also: &["PA022-R16", "PA022-R17"],
        text: Words {
            en: "what a host lets through is the flow matrix, rule by rule and as tried",
            fr: "ce qu'un hôte laisse passer est la matrice de flux, règle par règle et à l'essai",
        },
        check: as_the_matrix,
    },
    Rule {
        id: "PA022-R20",
        pack: Pack::Separation,
        level: Level::Error,
        kind: Kind::L,
        needs: Needs::Tried,
        also: &["DR-R34"],
        text: Words {
            en: "no host reaches another across the administration network, as tried",
            fr: "aucun hôte n'en atteint un autre par le réseau d'administration, à l'essai",
        },
        check: sideways,
    },
    Rule {
        id: "SNC-9.6.d",
        pack: Pack::Separation,
        level: Level::Error,
        kind: Kind::L,
        needs: Needs::Tried,
        also: &["SNC-9.7.c", "SNC-13.2.e"],
        text: Words {
            en: "nothing reaches the control plane or an administration interface that must not, as tried",
            fr: "rien n'atteint le plan de contrôle ou une interface d'administration sans y être autorisé, à l'essai",
        },
        check: inwards,
    },
    Rule {
        id: "PROV-FLOW",
        pack: Pack::Separation,
        level: Level::Error,
        kind: Kind::L,
        needs: Needs::Tried,
        also: &["SNC-13.1.a"],
        text: Words {
            en: "every flow lets through what it is there for, as tried",
            fr: "chaque flux laisse passer ce pour quoi il existe, à l'essai",
        },
        check: flows_pass,
    },
];

fn contradictions<'a>(cx: &Cx<'a>) -> &'a [Contradiction] {
    cx.network.map(|network| network.contradictions.as_slice()).unwrap_or_default()
}

// ---- filters

fn own_filter(cx: &Cx<'_>, found: &mut Found) {
    unread_network(cx, found, &[Part::Filter]);
    for (at, host, network) in asked(cx) {
        let name = &host.name;
        let message = match &network.filter {
            Filter::NoTool => {
                say!(cx, "`{name}` filters nothing: it has no `nft`", "`{name}` ne filtre rien : il n'a pas `nft`")
            }
            Filter::NotLoaded { .. } => say!(
                cx,
                "`{name}` filters nothing: the table of its flows is not loaded",
                "`{name}` ne filtre rien : la table de ses flux n'est pas chargée"
            ),
            Filter::Unknown | Filter::Loaded { .. } => continue,
        };
        found.push(Finding::new(subject("hosts", name), message).at(host.span).help(apply_help(cx)).hosts([at]));
    }
    let held = contradictions(cx).iter().filter(|case| case.flow.is_none() && case.is_held_back);
    for (to, cases) in by_destination(held) {
        let Some((at, host)) = host_of(cx, to) else { continue };
        let Some(first) = cases.first() else { continue };
        let (name, one, more) = (&host.name, told(cx, first), others(cx, &cases));
        let message = say!(
            cx,
            "`{name}` takes what no flow allows, and only the filter of the other side holds it back: {one}{more}",
            "`{name}` accepte ce qu'aucun flux ne permet, et seul le filtre d'en face le retient : {one}{more}"
        );
        let finding = Finding::new(subject("hosts", name), message).at(address_span(host, first.address));
        found.push(from_there(cx, finding, first).help(apply_help(cx)).hosts([at]));
    }
}

fn apply_help(cx: &Cx<'_>) -> String {
    say!(
        cx,
        "`provision apply` with a playbook that has `firewall: {{}}` loads the rules of its flows",
        "`provision apply` avec un playbook qui a `firewall: {{}}` charge les règles de ses flux"
    )
}

/// How many differences of one host's rules are told one by one.
const TOLD: usize = 6;

fn as_the_matrix(cx: &Cx<'_>, found: &mut Found) {
    unread_network(cx, found, &[Part::Filter]);
    for (at, host, network) in asked(cx) {
        let name = &host.name;
        let (differences, others) = match &network.filter {
            Filter::Loaded { rules: 0, others, .. } => {
                let message = say!(
                    cx,
                    "the table of `{name}` was flushed: no flow passes",
                    "la table de `{name}` a été vidée : aucun flux ne passe"
                );
                let finding = Finding::new(subject("hosts", name), message).at(host.span);
                found.push(finding.help(apply_help(cx)).hosts([at]));
                (&[][..], others)
            }
            Filter::Loaded { differences, others, .. } => (differences.as_slice(), others),
            Filter::NotLoaded { others } => (&[][..], others),
            Filter::Unknown | Filter::NoTool => continue,
        };
        for difference in differences.iter().take(TOLD) {
            let message = different(cx, &host.name, difference);
            let help = say!(
                cx,
                "declare a flow with its reason, or let `provision apply` load the rules of the flows again",
                "déclarez un flux avec sa raison, ou laissez `provision apply` recharger les règles des flux"
            );
            found.push(Finding::new(subject("hosts", name), message).at(host.span).help(help).hosts([at]));
        }
        let more = differences.len().saturating_sub(TOLD);
        if more > 0 {
            let message = say!(
                cx,
                "{more} more parts of the rules of `{name}` are not as its flows want them",
                "{more} autres parties des règles de `{name}` ne sont pas comme ses flux les veulent"
            );
            found.push(Finding::new(subject("hosts", name), message).at(host.span).hosts([at]));
        }
        for (table, rules) in others {
            let rules = match rules {
                1 => say!(cx, "{rules} rule", "{rules} règle"),
                _ => say!(cx, "{rules} rules", "{rules} règles"),
            };
            let message = say!(
                cx,
                "`{name}` has a table `{table}` of somebody else ({rules})",
                "`{name}` a une table `{table}` d'un autre ({rules})"
            );
            let help = say!(
                cx,
                "remove it, or sign a waiver; a playbook that has to leave it names it in `firewall: {{keep: […]}}`",
                "retirez-la ou signez une dérogation ; un playbook qui doit la laisser la nomme dans `firewall: {{keep: […]}}`"
            );
            let finding = Finding::new(subject("hosts", name), message).at(host.span).help(help).hosts([at]);
            found.push(finding.only(Level::Warning));
        }
    }
    open(cx, found, Sort::Other);
}

fn different(cx: &Cx<'_>, name: &HostName, difference: &Difference) -> String {
    let Difference { part, found, wanted } = difference;
    match (found, wanted) {
        (Some(found), None) => say!(
            cx,
            "`{name}` has in its rules what no flow asks for, {part}: {found}",
            "`{name}` a dans ses règles ce qu'aucun flux ne demande, {part} : {found}"
        ),
        (None, Some(wanted)) => say!(
            cx,
            "`{name}` lacks in its rules what its flows ask for, {part}: {wanted}",
            "`{name}` n'a pas dans ses règles ce que ses flux demandent, {part} : {wanted}"
        ),
        (found, wanted) => {
            let (found, wanted) = (found.as_deref().unwrap_or("-"), wanted.as_deref().unwrap_or("-"));
            say!(
                cx,
                "the rules of `{name}` are not as its flows want them, {part}: {found} instead of {wanted}",
                "les règles de `{name}` ne sont pas comme ses flux les veulent, {part} : {found} au lieu de {wanted}"
            )
        }
    }
}

// ---- connections

/// Which rule a connection breaks that no flow allows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// Host to host across a zone of administration.
    Sideways,
    /// From another zone into the control plane, or to an administration interface.
    Inwards,
    /// Anything else.
    Other,
}

fn sort(cx: &Cx<'_>, case: &Contradiction) -> Sort {
    let (from, to) = (zone_of(cx, case.source), zone_of(cx, case.address));
    match (from, to) {
        (Some((from, _)), Some((to, Nature::Administration))) if from == to => Sort::Sideways,
        (from, Some((to, Nature::Administration | Nature::Control))) if from.is_none_or(|(from, _)| from != to) => {
            Sort::Inwards
        }
        _ => Sort::Other,
    }
}

fn sideways(cx: &Cx<'_>, found: &mut Found) {
    open(cx, found, Sort::Sideways);
}

fn inwards(cx: &Cx<'_>, found: &mut Found) {
    open(cx, found, Sort::Inwards);
}

/// Reports the connections of one sort that no flow allows and that came through, by the host that took them.
fn open(cx: &Cx<'_>, found: &mut Found, wanted: Sort) {
    let cases = contradictions(cx).iter().filter(|case| case.flow.is_none() && !case.is_held_back);
    for (to, cases) in by_destination(cases.filter(|case| sort(cx, case) == wanted)) {
        let Some((at, host)) = host_of(cx, to) else { continue };
        let Some(first) = cases.first() else { continue };
        let (name, one, more) = (&host.name, told(cx, first), others(cx, &cases));
        let message = say!(
            cx,
            "`{name}` can be reached where no flow leads: {one}{more}",
            "`{name}` est joignable où aucun flux ne mène : {one}{more}"
        );
        let help = say!(
            cx,
            "find the rule that lets it through on `{name}`; where it is meant, declare a flow with its reason",
            "trouvez la règle qui la laisse passer sur `{name}` ; si elle est voulue, déclarez un flux avec sa raison"
        );
        let finding = Finding::new(subject("hosts", name), message).at(address_span(host, first.address));
        found.push(from_there(cx, finding, first).help(help).hosts([at]));
    }
}

fn flows_pass(cx: &Cx<'_>, found: &mut Found) {
    let mut closed: BTreeMap<(usize, &str), Vec<&Contradiction>> = BTreeMap::new();
    for case in contradictions(cx) {
        // Of a host that lets nobody in, only the way to log in to it is told: all its flows have the same trouble.
        let is_other = is_closed(cx, &case.to) && !is_login(cx, case);
        if let Some(flow) = case.flow.filter(|_| !is_other) {
            closed.entry((flow, case.to.as_str())).or_default().push(case);
        }
    }
    for ((flow, to), cases) in closed {
        let (Some(flow), Some((at, host))) = (cx.inventory.flows.get(flow), host_of(cx, to)) else { continue };
        let Some(first) = cases.first() else { continue };
        let (why, one, more) = (&flow.why, told(cx, first), others(cx, &cases));
        let message = say!(
            cx,
            "the flow `{why}` does not reach `{to}`: {one}{more}",
            "le flux « {why} » n'atteint pas `{to}` : {one}{more}"
        );
        let help = say!(
            cx,
            "see that both hosts have loaded their rules, that a route leads there, and that what lies between lets it pass",
            "voyez que les deux hôtes ont chargé leurs règles, qu'une route y mène et que ce qui est entre eux le laisse passer"
        );
        let help = match other_way_out(cx, first).filter(|_| !is_closed(cx, &first.to)) {
            Some(way) => format!("{way}\n{help}"),
            None => help,
        };
        let there = say!(cx, "where it should arrive", "où il devrait arriver");
        let finding = Finding::new(flow_subject(flow), message).at(flow.span);
        found.push(finding.label(address_span(host, first.address), there).help(help).hosts([at]));
    }
    for (name, why) in cx.network.iter().flat_map(|network| &network.closed) {
        let Some((at, host)) = host_of(cx, name.as_str()) else { continue };
        let message = say!(
            cx,
            "`{name}` is there, but the tool cannot log in to it, though a flow leads there: {why}",
            "`{name}` est là, mais l'outil ne peut s'y connecter, bien qu'un flux y mène : {why}"
        );
        let help = say!(
            cx,
            "at its console: `nft list ruleset`; a table that was flushed keeps the policy `drop` of its chains, and \
             `systemctl restart nftables` loads it again",
            "à sa console : `nft list ruleset` ; une table vidée garde la politique `drop` de ses chaînes, et \
             `systemctl restart nftables` la recharge"
        );
        let place = host.ssh.address.as_ref().map_or(host.span, |address| address.span);
        let mut finding = Finding::new(subject("hosts", name), message).at(place).help(help).hosts([at]);
        if let Some(flow) = way_in(cx, host) {
            finding = finding.label(flow, say!(cx, "the flow that leads there", "le flux qui y mène"));
        }
        found.push(finding);
    }
}

/// Returns whether a host is there, and the tool cannot log in to it.
fn is_closed(cx: &Cx<'_>, host: &HostName) -> bool {
    cx.network.is_some_and(|network| network.closed.contains_key(host))
}

/// Returns whether a connection is the one by which the tool logs in.
fn is_login(cx: &Cx<'_>, case: &Contradiction) -> bool {
    let access = cx.inventory.host(case.to.as_str()).and_then(|host| cx.inventory.ssh(host));
    case.transport == Transport::Tcp && access.is_some_and(|access| access.port == case.port)
}

/// Tells where a source sends a connection to, where that is not by the interface that has the address it comes from.
fn other_way_out(cx: &Cx<'_>, case: &Contradiction) -> Option<String> {
    let (_, from) = host_of(cx, case.from.as_str())?;
    let network = cx.network?.hosts.get(&from.name)?;
    let has = |link: &&Link| link.addresses.contains(&case.source);
    let own = &network.links.iter().find(has)?.name;
    let is_on_wire = from.interfaces.values().filter_map(|interface| cx.inventory.network_of(interface));
    let mut is_on_wire = is_on_wire.map(|(_, network)| network.cidr.trunc());
    if is_on_wire.any(|cidr| cidr.contains(&case.address)) {
        return None;
    }
    let leading = network.routes.iter().filter(|route| route.destination.contains(&case.address));
    let (name, address, source) = (&from.name, case.address, case.source);
    let Some(route) = leading.max_by_key(|route| route.destination.prefix_len()) else {
        return Some(say!(cx, "`{name}` has no route to {address}", "`{name}` n'a pas de route vers {address}"));
    };
    let link = &route.link;
    (link != own).then(|| {
        say!(
            cx,
            "`{name}` has no route to {address} by `{own}`, which has {source}: it leaves by `{link}`",
            "`{name}` n'a pas de route vers {address} par `{own}`, qui a {source} : il sort par `{link}`"
        )
    })
}

/// Returns where the flow stands that lets the tool in to a host.
fn way_in(cx: &Cx<'_>, host: &Host) -> Option<Span> {
    let access = cx.inventory.ssh(host)?;
    let address: IpAddr = access.address.parse().ok()?;
    let matrix = Matrix::build(cx.inventory, &mut Diagnostics::default());
    let own = |host: &Host| host.interfaces.values().filter_map(|i| i.address.map(|a| a.value)).collect::<Vec<_>>();
    let hop = cx.inventory.via(host).map(own);
    let mut flows = matrix.flows().iter().filter(|flow| {
        let leads = flow.services.iter().any(|service| service.has(Transport::Tcp, access.port));
        let from_hop = hop.as_ref().is_none_or(|hop| hop.iter().any(|from| flow.from.addresses.contains(*from)));
        leads && from_hop && flow.to.addresses.contains(address)
    });
    flows.next().map(|flow| flow.flow.span)
}

fn by_destination<'a>(cases: impl Iterator<Item = &'a Contradiction>) -> BTreeMap<&'a str, Vec<&'a Contradiction>> {
    let mut grouped: BTreeMap<&str, Vec<&Contradiction>> = BTreeMap::new();
    for case in cases {
        grouped.entry(case.to.as_str()).or_default().push(case);
    }
    grouped
}

/// Tells of one connection: from where, to where, and what was seen.
fn told(cx: &Cx<'_>, case: &Contradiction) -> String {
    let transport = transport(case.transport);
    let Contradiction { from, source, address, port, .. } = case;
    let seen = case.seen.of(cx.lang);
    say!(
        cx,
        "from `{from}` ({source}) to {address} {transport}/{port}, {seen}",
        "de `{from}` ({source}) vers {address} {transport}/{port}, {seen}"
    )
}

fn others(cx: &Cx<'_>, cases: &[&Contradiction]) -> String {
    let more = cases.len().saturating_sub(1);
    if more == 0 { String::new() } else { say!(cx, " (and {more} more)", " (et {more} de plus)") }
}

/// Names where a connection came from, where the inventory has it.
fn from_there(cx: &Cx<'_>, finding: Finding, case: &Contradiction) -> Finding {
    let Some((_, from)) = host_of(cx, case.from.as_str()) else { return finding };
    finding.label(address_span(from, case.source), say!(cx, "it came from here", "elle vient d'ici"))
}

fn host_of<'a>(cx: &Cx<'a>, name: &str) -> Option<(usize, &'a Host)> {
    let at = cx.position(name)?;
    Some((at, cx.host(at)?))
}

/// Returns where an address of a host stands; its name where the inventory does not have the address.
fn address_span(host: &Host, address: IpAddr) -> Span {
    let interface = host.interfaces.values().find_map(|interface| {
        let known = interface.address.as_ref()?;
        (known.value == address).then_some(known.span)
    });
    interface.unwrap_or(host.span)
}
