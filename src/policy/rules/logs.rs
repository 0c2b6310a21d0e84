//! Logs, time and copies: kept elsewhere, kept long enough, and the same for all.

use std::net::IpAddr;

use serde_json::Value;

use crate::diag::Span;
use crate::model::inventory::Environment;
use crate::model::vars::Vars;
use crate::policy::cx::{Cx, flow_subject, subject};
use crate::policy::finding::{Finding, Found};
use crate::policy::rule::{Kind, Needs, Pack, Rule, Words};
use crate::policy::rules::packages::of_kind;
use crate::policy::rules::urls;
use crate::policy::{Level, say};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "SNC-12.7.c",
        pack: Pack::Hardening,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &["PA022-R46", "PA022-R47", "BP028-R71"],
        text: Words {
            en: "logs are kept by a dedicated server on another machine than those that write them",
            fr: "les journaux sont tenus par un serveur dédié, sur une autre machine que celles qui les écrivent",
        },
        check: log_servers,
    },
    Rule {
        id: "LOG-R17",
        pack: Pack::Hardening,
        level: Level::Warning,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &["SNC-12.7.c"],
        text: Words { en: "logs travel encrypted", fr: "les journaux voyagent chiffrés" },
        check: logs_in_clear,
    },
    Rule {
        id: "SNC-12.6.c",
        pack: Pack::Hardening,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &["LOG-R25"],
        text: Words { en: "logs are kept for six months or longer", fr: "les journaux sont gardés six mois ou plus" },
        check: retention,
    },
    Rule {
        id: "SNC-12.8.a",
        pack: Pack::Hardening,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Both,
        also: &["LOG-R3"],
        text: Words {
            en: "time comes from two time servers of the fleet or more, which follow no unknown source",
            fr: "le temps vient d'au moins deux serveurs de temps du parc, qui ne suivent aucune source inconnue",
        },
        check: time,
    },
    Rule {
        id: "SNC-12.5.d",
        pack: Pack::Hardening,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &["SNC-12.5.a"],
        text: Words {
            en: "copies of a site are kept at another site",
            fr: "les copies d'un site sont gardées sur un autre site",
        },
        check: copies,
    },
];

fn log_servers(cx: &Cx<'_>, found: &mut Found) {
    let servers: Vec<usize> = cx.each_host().filter(|(_, host)| host.has_role("log")).map(|(at, _)| at).collect();
    if servers.is_empty() && !cx.hosts.is_empty() {
        let message = say!(
            cx,
            "no host has the role `log`: nobody keeps the logs",
            "aucun hôte n'a le rôle `log` : nul ne garde les journaux"
        );
        return found.push(Finding::new("fleet", message));
    }
    // Where all servers are on one machine, nobody else keeps that machine's own logs.
    let mut machines: Vec<usize> = servers.iter().map(|at| cx.machine(*at)).collect();
    machines.sort_unstable();
    machines.dedup();
    for at in &servers {
        let Some(host) = cx.host(*at) else { continue };
        let name = &host.name;
        let together = ["hypervisor", "control", "etcd", "api", "bastion", "storage", "supervision"];
        if let Some(role) = host.roles.iter().find(|role| together.contains(&role.value.as_str())) {
            let message = say!(
                cx,
                "`{name}` keeps the logs and is `{role}` beside, whose logs would be on the machine that wrote them",
                "`{name}` tient les journaux et est aussi `{role}`, dont les journaux seraient sur la machine qui les écrit"
            );
            found.push(Finding::new(subject("hosts", name), message).at(role.span).hosts([*at]));
        }
        if let (Some(by), [only]) = (&host.provided_by, machines.as_slice()) {
            let machine = cx.host(*only).map_or("", |host| host.name.as_str());
            let message = say!(
                cx,
                "`{name}` runs on `{machine}` and keeps its logs: they would go down with it",
                "`{name}` tourne sur `{machine}` et tient ses journaux : ils disparaîtraient avec elle"
            );
            found.push(Finding::new(subject("hosts", name), message).at(by.span).hosts([*at]));
        }
    }
}

/// The port of syslog without encryption.
const SYSLOG: u16 = 514;

fn logs_in_clear(cx: &Cx<'_>, found: &mut Found) {
    for flow in &cx.inventory.flows {
        for range in
            flow.tcp.iter().chain(flow.udp.iter()).filter(|range| range.first <= SYSLOG && SYSLOG <= range.last)
        {
            let message = say!(
                cx,
                "the flow carries logs on port {SYSLOG}, without encryption",
                "le flux porte des journaux sur le port {SYSLOG}, sans chiffrement"
            );
            let help = say!(cx, "syslog over TLS has port 6514", "syslog sur TLS a le port 6514");
            found.push(Finding::new(flow_subject(flow), message).at(range.span).help(help));
        }
    }
}

/// Calls `visit` with each setting of a variable, and what sets it.
fn each_setting<'a>(cx: &Cx<'a>, variable: &str, visit: &mut dyn FnMut(String, Span, &'a Value)) {
    let inventory = cx.inventory;
    let mut layer = |owner: String, vars: &'a Vars| {
        if let Some(var) = vars.get(variable) {
            visit(owner, var.span, &var.value);
        }
    };
    layer("defaults.vars".to_owned(), &inventory.defaults.vars);
    inventory.sites.iter().for_each(|(name, site)| layer(subject("sites", name), &site.vars));
    inventory.planes.iter().for_each(|(name, plane)| layer(subject("planes", name), &plane.vars));
    inventory.groups.iter().for_each(|(name, group)| layer(subject("groups", name), &group.vars));
    inventory.hosts.iter().for_each(|(name, host)| layer(subject("hosts", name), &host.spec.vars));
}

/// Six months, in days.
const SIX_MONTHS: f64 = 184.0;

fn retention(cx: &Cx<'_>, found: &mut Found) {
    each_setting(cx, "log_retention_days", &mut |owner, span, value| {
        if let Some(days) = value.as_f64()
            && days < SIX_MONTHS
        {
            let message = say!(
                cx,
                "logs are kept for {days} days, and 184 are asked for",
                "les journaux sont gardés {days} jours, et 184 sont demandés"
            );
            found.push(Finding::new(owner, message).at(span));
        }
    });
}

fn time(cx: &Cx<'_>, found: &mut Found) {
    let servers: Vec<(usize, Span)> = cx
        .each_host()
        .filter_map(|(at, host)| Some((at, host.roles.iter().find(|role| role.value == "time")?.span)))
        .collect();
    match servers.as_slice() {
        [] if cx.hosts.is_empty() => {}
        [] => {
            let message = say!(
                cx,
                "no host has the role `time`: nobody tells the fleet the time",
                "aucun hôte n'a le rôle `time` : nul ne donne l'heure au parc"
            );
            found.push(Finding::new("fleet", message));
        }
        [(at, span)] => {
            let name = cx.host(*at).map_or("", |host| host.name.as_str());
            let message = say!(
                cx,
                "`{name}` is the only time server: a wrong clock would not be noticed",
                "`{name}` est le seul serveur de temps : une horloge fausse passerait inaperçue"
            );
            found.push(Finding::new(subject("hosts", name), message).at(*span).hosts([*at]));
        }
        _ => {}
    }
    written_sources(cx, found);
    each_setting(cx, "time_sources", &mut |owner, span, value| {
        let items = value.as_array().map(Vec::as_slice).unwrap_or(std::slice::from_ref(value));
        for source in items.iter().filter_map(Value::as_str) {
            if source.parse::<IpAddr>().is_ok() || !source.contains("{{") {
                if urls::is_known(cx, source) {
                    continue;
                }
                let message = say!(
                    cx,
                    "the time source `{source}` is neither of the fleet nor a declared endpoint",
                    "la source de temps `{source}` n'est ni du parc ni un point d'accès déclaré"
                );
                found.push(Finding::new(owner.clone(), message).at(span));
            }
        }
    });
}

/// Reports time sources in the files of time servers and clients that are nobody's.
fn written_sources(cx: &Cx<'_>, found: &mut Found) {
    for resource in of_kind(cx, "file") {
        if !CLOCKS.iter().any(|path| resource.name.ends_with(path)) {
            continue;
        }
        for line in resource.text.as_deref().unwrap_or_default().lines() {
            let mut words = line.split_whitespace();
            let is_source = words.next().is_some_and(|word| matches!(word, "server" | "pool" | "peer"));
            let Some(source) = words.next().filter(|source| is_source && !urls::is_known(cx, source)) else { continue };
            let message = say!(
                cx,
                "the time source `{source}` is neither of the fleet nor a declared endpoint",
                "la source de temps `{source}` n'est ni du parc ni un point d'accès déclaré"
            );
            let finding = Finding::new(subject("hosts", resource.host), message).at(resource.span);
            found.push(finding.hosts(cx.position(resource.host.as_str())));
        }
    }
}

/// Files that say where the time comes from.
const CLOCKS: [&str; 3] = ["/chrony.conf", "/ntp.conf", "/timesyncd.conf"];

fn copies(cx: &Cx<'_>, found: &mut Found) {
    let keepers: Vec<&str> = cx
        .hosts
        .iter()
        .filter(|host| host.has_role("backup"))
        .filter_map(|host| host.site.as_ref().map(|site| site.as_str()))
        .collect();
    let to_keep = |site: &str| {
        cx.hosts.iter().any(|host| {
            let is_here = host.site.as_ref().is_some_and(|own| own.as_str() == site);
            let is_production =
                host.record.environment.as_ref().is_some_and(|env| env.value == Environment::Production);
            is_here && is_production
        })
    };
    for (name, site) in &cx.inventory.sites {
        if to_keep(name.as_str()) && !keepers.iter().any(|keeper| *keeper != name.as_str()) {
            let message = say!(
                cx,
                "no host of the role `backup` at another site keeps copies of `{name}`",
                "aucun hôte de rôle `backup` sur un autre site ne garde de copies de `{name}`"
            );
            found.push(Finding::new(subject("sites", name), message).at(site.span));
        }
    }
}
