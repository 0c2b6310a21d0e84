//! Where things stand: every site in an allowed country, and named apart what must not leave it in any case.

use std::collections::BTreeMap;

use crate::model::inventory::{Country, Host};
use crate::model::node::Spanned;
use crate::policy::cx::{Cx, subject};
use crate::policy::finding::{Finding, Found};
use crate::policy::rule::{Kind, Needs, Pack, Rule, Words};
use crate::policy::{Level, say};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "SNC-19.2.b",
        pack: Pack::Sovereignty,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &["II901-INT-REX-HB", "HDS-EXI-28"],
        text: Words {
            en: "every site stands in an allowed country",
            fr: "chaque site se trouve dans un pays autorisé",
        },
        check: sites,
    },
    Rule {
        id: "SNC-19.2.c",
        pack: Pack::Sovereignty,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &[],
        text: Words {
            en: "what administers and watches the cloud stands in an allowed country",
            fr: "ce qui administre et supervise le cloud se trouve dans un pays autorisé",
        },
        check: |cx, found| hosts(cx, found, ADMINISTRATION),
    },
    Rule {
        id: "SNC-19.2.d",
        pack: Pack::Sovereignty,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &[],
        text: Words {
            en: "logs, backups, certificates, packages, names and time are kept in an allowed country",
            fr: "journaux, sauvegardes, certificats, paquets, noms et temps sont tenus dans un pays autorisé",
        },
        check: |cx, found| hosts(cx, found, TECHNICAL),
    },
];

/// Roles of what administers and watches.
const ADMINISTRATION: &[&str] = &["bastion", "control", "api", "etcd", "supervision", "admin-station", "provisioner"];

/// Roles of what holds technical data.
const TECHNICAL: &[&str] = &["log", "backup", "ca", "ca-standby", "mirror", "registry", "time", "dns", "directory"];

pub(super) fn is_allowed(cx: &Cx<'_>, country: Country) -> bool {
    let allowed = &cx.inventory.policy.allowed_countries;
    if allowed.is_empty() { country.is_in_european_union() } else { allowed.iter().any(|known| known.value == country) }
}

fn allowed(cx: &Cx<'_>) -> String {
    let names: Vec<String> = cx.inventory.policy.allowed_countries.iter().map(|country| country.to_string()).collect();
    if names.is_empty() { say!(cx, "the European Union", "l'Union européenne") } else { names.join(", ") }
}

/// Returns the country of a host's site, where it is not an allowed one.
fn abroad<'a>(cx: &Cx<'a>, host: &Host) -> Option<&'a Spanned<Country>> {
    let site = cx.inventory.sites.get(host.site.as_ref()?.as_str())?;
    (!is_allowed(cx, site.country.value)).then_some(&site.country)
}

fn role_among(host: &Host, roles: &[&'static str]) -> Option<&'static str> {
    roles.iter().find(|role| host.has_role(role)).copied()
}

fn sites(cx: &Cx<'_>, found: &mut Found) {
    let mut here: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, host) in cx.each_host() {
        if let Some(site) = &host.site {
            here.entry(site.as_str()).or_default().push(at);
        }
    }
    for (name, site) in cx.inventory.sites.iter().filter(|(_, site)| !is_allowed(cx, site.country.value)) {
        let hosts = here.remove(name.as_str()).unwrap_or_default();
        // Where all that stands there is reported by its role, the site has been named already.
        let has_role = |at: &usize| {
            cx.host(*at).is_some_and(|host| role_among(host, TECHNICAL).or(role_among(host, ADMINISTRATION)).is_some())
        };
        if !hosts.is_empty() && hosts.iter().all(has_role) {
            continue;
        }
        let country = &site.country;
        let message = say!(
            cx,
            "the site `{name}` is in {country}, which is not allowed",
            "le site `{name}` est en {country}, qui n'est pas autorisé"
        );
        let allowed = allowed(cx);
        let help = say!(cx, "allowed is {allowed}", "est autorisé : {allowed}");
        found.push(Finding::new(subject("sites", name), message).at(country.span).help(help).hosts(hosts));
    }
}

fn hosts(cx: &Cx<'_>, found: &mut Found, roles: &'static [&'static str]) {
    for (at, host) in cx.each_host() {
        let (Some(country), Some(role)) = (abroad(cx, host), role_among(host, roles)) else { continue };
        // A host with roles of both sorts is one breach.
        if roles == TECHNICAL && role_among(host, ADMINISTRATION).is_some() {
            continue;
        }
        let Some(site) = &host.site else { continue };
        let name = &host.name;
        let message = say!(
            cx,
            "`{name}` ({role}) stands in {country}, which is not allowed",
            "`{name}` ({role}) se trouve en {country}, qui n'est pas autorisé"
        );
        let label = say!(cx, "the country of the site", "le pays du site");
        let finding = Finding::new(subject("hosts", name), message).at(site.span).label(country.span, label);
        found.push(finding.hosts([at]));
    }
}
