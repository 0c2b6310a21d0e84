//! The SSH server as the playbook sets it up: `/etc/ssh/sshd_config` and its drop-ins, as they are rendered for each host.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::diag::Span;
use crate::policy::cx::{Cx, Written, plane_of, subject};
use crate::policy::finding::{Finding, Found};
use crate::policy::rule::{Kind, Needs, Pack, Rule, Words};
use crate::policy::rules::packages::of_kind;
use crate::policy::{Level, say};

const fn rule(id: &'static str, level: Level, text: Words, check: fn(&Cx<'_>, &mut Found)) -> Rule {
    Rule { id, pack: Pack::Hardening, level, kind: Kind::S, needs: Needs::Playbook, also: &[], text, check }
}

pub(super) const RULES: &[Rule] = &[
    rule(
        "BP028-R33",
        Level::Error,
        Words { en: "nobody logs in as root", fr: "nul ne se connecte en root" },
        |cx, found| asked(cx, found, "PermitRootLogin", &["no"], "prohibit-password"),
    ),
    rule(
        "NT007-R22",
        Level::Error,
        Words { en: "the SSH server lists who may log in", fr: "le serveur SSH liste qui peut se connecter" },
        allowed,
    ),
    rule(
        "NT007-R23",
        Level::Error,
        Words {
            en: "users do not change the environment of their session",
            fr: "les utilisateurs ne modifient pas l'environnement de leur session",
        },
        |cx, found| asked(cx, found, "PermitUserEnvironment", &["no"], "no"),
    ),
    rule(
        "NT007-R27",
        Level::Error,
        Words { en: "no TCP connection is forwarded", fr: "aucune connexion TCP n'est redirigée" },
        |cx, found| asked(cx, found, "AllowTcpForwarding", &["no"], "yes"),
    ),
    rule(
        "NT007-R28",
        Level::Error,
        Words { en: "no X11 display is forwarded", fr: "aucun affichage X11 n'est redirigé" },
        |cx, found| asked(cx, found, "X11Forwarding", &["no"], "no"),
    ),
    rule(
        "NT007-R15",
        Level::Error,
        Words {
            en: "sessions are encrypted with AES in CTR mode and authenticated with HMAC",
            fr: "les sessions sont chiffrées par AES en mode CTR et authentifiées par HMAC",
        },
        ciphers,
    ),
    rule(
        "SNC-9.6.f",
        Level::Error,
        Words {
            en: "administrators log in with two factors, or with a key that is kept in a device",
            fr: "les administrateurs se connectent avec deux facteurs, ou avec une clé gardée dans un support",
        },
        factors,
    ),
];

/// One directive of a host's SSH server.
struct Directive<'c, 'a> {
    key: String,
    value: String,
    /// What `Match` block it is in.
    only: Option<String>,
    resource: &'c Written<'a>,
}

/// Returns the directives of each host, in the order in which the server reads them: the first value is in force.
fn directives<'c, 'a>(cx: &'c Cx<'a>) -> BTreeMap<&'a str, Vec<Directive<'c, 'a>>> {
    let mut files: BTreeMap<&str, Vec<(&str, &Written<'a>)>> = BTreeMap::new();
    for resource in of_kind(cx, "file") {
        let path = resource.spec.get("path").and_then(Value::as_str).unwrap_or_default();
        if path.starts_with("/etc/ssh/sshd_config") && resource.text.is_some() {
            files.entry(resource.host.as_str()).or_default().push((resource.name, resource));
        }
    }
    let mut all = BTreeMap::new();
    for (host, mut files) in files {
        // Debian's own file reads the drop-ins first.
        files.sort_by_key(|(path, _)| (*path == "/etc/ssh/sshd_config", *path));
        let mut found = Vec::new();
        for (_, resource) in files {
            let mut only = None;
            for line in resource.text.as_deref().unwrap_or_default().lines() {
                let line = line.trim();
                let Some((key, value)) = line.split_once(|c: char| c.is_whitespace() || c == '=') else { continue };
                if key.starts_with('#') {
                    continue;
                }
                let (key, value) = (key.to_lowercase(), value.trim().trim_matches('"').to_owned());
                if key == "match" {
                    only = Some(value).filter(|criteria| !criteria.eq_ignore_ascii_case("all"));
                    continue;
                }
                found.push(Directive { key, value, only: only.clone(), resource });
            }
        }
        all.insert(host, found);
    }
    all
}

/// Returns where a directive is written: its line in the template, or the task.
fn place(cx: &Cx<'_>, directive: &Directive<'_, '_>) -> Span {
    let spec = &directive.resource.spec;
    let name = ["template", "source"].iter().find_map(|key| spec.get(key).and_then(Value::as_str));
    let sources = cx.playbook.map(|playbook| playbook.sources.as_slice()).unwrap_or_default();
    let source = name.and_then(|name| sources.iter().find(|source| source.name.as_str() == name));
    let Some(source) = source else { return directive.resource.span };
    let mut start = 0;
    let mut by_key = None;
    for line in source.text.split_inclusive('\n') {
        let mut words = line.split_whitespace();
        if words.next().is_some_and(|word| word.eq_ignore_ascii_case(&directive.key)) {
            let indent = line.len() - line.trim_start().len();
            let at =
                Span { file: source.file, start: (start + indent) as u32, end: (start + line.trim_end().len()) as u32 };
            if words.collect::<Vec<_>>().join(" ") == directive.value {
                return at;
            }
            by_key.get_or_insert(at);
        }
        start += line.len();
    }
    by_key.unwrap_or(directive.resource.span)
}

/// Reports hosts where a setting, or what it is by default, is none of those accepted; also inside `Match` blocks.
fn asked(cx: &Cx<'_>, found: &mut Found, key: &str, accepted: &[&str], default: &str) {
    for (host, directives) in directives(cx) {
        let at = cx.position(host);
        let global =
            directives.iter().find(|directive| directive.key.eq_ignore_ascii_case(key) && directive.only.is_none());
        let matched =
            directives.iter().filter(|directive| directive.key.eq_ignore_ascii_case(key) && directive.only.is_some());
        let is_weak = |directive: &&Directive<'_, '_>| !accepted.contains(&directive.value.to_lowercase().as_str());
        for weak in global.into_iter().chain(matched).filter(is_weak) {
            let (value, span) = (&weak.value, place(cx, weak));
            let wanted = accepted.join(" | ");
            let message = match &weak.only {
                None => say!(
                    cx,
                    "the SSH server has `{key} {value}`, and `{wanted}` is asked for",
                    "le serveur SSH a `{key} {value}`, et `{wanted}` est demandé"
                ),
                Some(only) => say!(
                    cx,
                    "the SSH server has `{key} {value}` for `{only}`, and `{wanted}` is asked for",
                    "le serveur SSH a `{key} {value}` pour `{only}`, et `{wanted}` est demandé"
                ),
            };
            found.push(Finding::new(subject("hosts", host), message).at(span).hosts(at));
        }
        if global.is_none()
            && !accepted.contains(&default)
            && let Some(any) = directives.first()
        {
            let message = say!(
                cx,
                "the SSH server is not told `{key}`, which is `{default}` then",
                "le serveur SSH ne reçoit pas `{key}`, qui vaut alors `{default}`"
            );
            found.push(Finding::new(subject("hosts", host), message).at(any.resource.span).hosts(at));
        }
    }
}

fn allowed(cx: &Cx<'_>, found: &mut Found) {
    for (host, directives) in directives(cx) {
        let lists = |directive: &Directive<'_, '_>| matches!(directive.key.as_str(), "allowusers" | "allowgroups");
        if !directives.iter().any(lists)
            && let Some(any) = directives.first()
        {
            let message = say!(
                cx,
                "the SSH server lets every account log in: neither `AllowUsers` nor `AllowGroups` is given",
                "le serveur SSH laisse tout compte se connecter : ni `AllowUsers` ni `AllowGroups` n'est donné"
            );
            let finding = Finding::new(subject("hosts", host), message).at(any.resource.span);
            found.push(finding.hosts(cx.position(host)));
        }
    }
}

/// What is broken by any measure, in ciphers and in authentication codes.
pub(super) const BROKEN: &[&str] =
    &["cbc", "arcfour", "3des", "blowfish", "cast128", "hmac-sha1", "hmac-md5", "umac-64"];

fn ciphers(cx: &Cx<'_>, found: &mut Found) {
    for (host, directives) in directives(cx) {
        let at = cx.position(host);
        for directive in directives.iter().filter(|directive| matches!(directive.key.as_str(), "ciphers" | "macs")) {
            let names = || directive.value.trim_start_matches(['+', '^']).split(',').map(str::trim);
            if directive.value.starts_with('-') {
                continue;
            }
            if let Some(name) = names().find(|name| BROKEN.iter().any(|broken| name.contains(broken))) {
                let message = say!(
                    cx,
                    "the SSH server accepts `{name}`, which no guide does any more",
                    "le serveur SSH accepte `{name}`, qu'aucun guide n'admet plus"
                );
                let finding = Finding::new(subject("hosts", host), message).at(place(cx, directive));
                found.push(finding.hosts(at));
            } else if let Some(name) = names().find(|name| name.contains("gcm") || name.contains("poly1305")) {
                let message = say!(
                    cx,
                    "the SSH server accepts `{name}`, which is newer than NT-007 and unknown to it",
                    "le serveur SSH accepte `{name}`, plus récent que la NT-007 et inconnu d'elle"
                );
                let finding = Finding::new(subject("hosts", host), message).at(place(cx, directive)).only(Level::Note);
                found.push(finding.hosts(at));
            }
        }
    }
}

fn factors(cx: &Cx<'_>, found: &mut Found) {
    for (host_name, directives) in directives(cx) {
        let Some(at) = cx.position(host_name) else { continue };
        let plane = cx.host(at).and_then(plane_of);
        let methods = directives.iter().find(|d| d.key == "authenticationmethods" && d.only.is_none());
        // Several lists are alternatives: each must ask for two.
        let has_two = methods.is_some_and(|d| d.value.split_whitespace().all(|list| list.contains(',')));
        if has_two {
            continue;
        }
        for (name, operator) in &cx.inventory.operators {
            if !operator.planes.iter().any(|own| Some(own.as_str()) == plane) {
                continue;
            }
            let Some(key) = operator.keys.iter().find(|key| !key.is_in_hardware()) else { continue };
            let message = say!(
                cx,
                "one factor lets `{name}` in: the key is kept in no device, and the SSH server asks for nothing else",
                "un seul facteur suffit à `{name}` : la clé n'est gardée dans aucun support, et le serveur SSH ne demande \
                 rien d'autre"
            );
            let mut finding = Finding::new(subject("operators", name), message).at(key.span).hosts([at]);
            if let Some(methods) = methods {
                finding = finding.label(place(cx, methods), say!(cx, "what it asks for", "ce qu'il demande"));
            }
            found.push(finding);
        }
    }
}
