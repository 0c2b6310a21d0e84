//! Settings of the kernel: what a playbook sets is what BP-028 asks for.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::policy::cx::{Cx, Written, subject};
use crate::policy::finding::{Finding, Found};
use crate::policy::rule::{Kind, Needs, Pack, Rule, Words};
use crate::policy::rules::packages::of_kind;
use crate::policy::{Level, say};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "BP028-R9",
        pack: Pack::Hardening,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Playbook,
        also: &["BP028-R11"],
        text: Words {
            en: "no setting of the kernel is weaker than asked for",
            fr: "aucun réglage du noyau n'est plus faible que demandé",
        },
        check: |cx, found| weaker(cx, found, KERNEL),
    },
    Rule {
        id: "BP028-R12",
        pack: Pack::Hardening,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Playbook,
        also: &[],
        text: Words {
            en: "no host passes packets on, and no network setting is weaker than asked for",
            fr: "aucun hôte ne relaie de paquets, et aucun réglage réseau n'est plus faible que demandé",
        },
        check: network,
    },
    Rule {
        id: "BP028-R14",
        pack: Pack::Hardening,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Playbook,
        also: &[],
        text: Words {
            en: "no setting of the file systems is weaker than asked for",
            fr: "aucun réglage des systèmes de fichiers n'est plus faible que demandé",
        },
        check: |cx, found| weaker(cx, found, FILES),
    },
];

/// Settings with the values that are accepted.
pub(super) type Settings = &'static [(&'static str, &'static [&'static str])];

pub(super) const KERNEL: Settings = &[
    ("kernel.dmesg_restrict", &["1"]),
    ("kernel.kptr_restrict", &["1", "2"]),
    ("kernel.pid_max", &["65536"]),
    ("kernel.perf_cpu_time_max_percent", &["1"]),
    ("kernel.perf_event_max_sample_rate", &["1"]),
    ("kernel.perf_event_paranoid", &["2", "3"]),
    ("kernel.randomize_va_space", &["2"]),
    ("kernel.sysrq", &["0"]),
    ("kernel.unprivileged_bpf_disabled", &["1"]),
    ("kernel.panic_on_oops", &["1"]),
    ("kernel.yama.ptrace_scope", &["1", "2", "3"]),
];

pub(super) const NETWORK: Settings = &[
    (FORWARDING, &["0"]),
    ("net.core.bpf_jit_harden", &["2"]),
    ("net.ipv4.conf.all.accept_local", &["0"]),
    ("net.ipv4.conf.all.accept_redirects", &["0"]),
    ("net.ipv4.conf.default.accept_redirects", &["0"]),
    ("net.ipv4.conf.all.accept_source_route", &["0"]),
    ("net.ipv4.conf.default.accept_source_route", &["0"]),
    ("net.ipv4.conf.all.arp_filter", &["1"]),
    ("net.ipv4.conf.all.arp_ignore", &["2"]),
    ("net.ipv4.conf.all.drop_gratuitous_arp", &["1"]),
    ("net.ipv4.conf.all.route_localnet", &["0"]),
    ("net.ipv4.conf.all.rp_filter", &["1"]),
    ("net.ipv4.conf.default.rp_filter", &["1"]),
    ("net.ipv4.conf.all.send_redirects", &["0"]),
    ("net.ipv4.conf.default.send_redirects", &["0"]),
    ("net.ipv4.tcp_syncookies", &["1"]),
    ("net.ipv6.conf.all.accept_redirects", &["0"]),
    ("net.ipv6.conf.default.accept_redirects", &["0"]),
];

pub(super) const FILES: Settings = &[
    ("fs.suid_dumpable", &["0"]),
    ("fs.protected_fifos", &["2"]),
    ("fs.protected_regular", &["2"]),
    ("fs.protected_symlinks", &["1"]),
    ("fs.protected_hardlinks", &["1"]),
];

const FORWARDING: &str = "net.ipv4.ip_forward";

/// Returns the names of all settings of the kernel that some rule asks for.
pub fn kernel_settings() -> impl Iterator<Item = &'static str> {
    [KERNEL, NETWORK, FILES].into_iter().flatten().map(|(name, _)| *name)
}

fn setting(resource: &Written<'_>) -> Option<(String, String)> {
    let key = resource.spec.get("key").and_then(Value::as_str)?.replace('/', ".");
    let value = match resource.spec.get("value")? {
        Value::String(text) => text.split_whitespace().collect::<Vec<_>>().join(" "),
        other => other.to_string(),
    };
    Some((key, value))
}

fn weaker(cx: &Cx<'_>, found: &mut Found, settings: Settings) {
    for resource in of_kind(cx, "sysctl") {
        let Some((key, value)) = setting(resource) else { continue };
        let Some((_, accepted)) = settings.iter().find(|(known, _)| *known == key) else { continue };
        if accepted.contains(&value.as_str()) {
            continue;
        }
        let wanted = accepted.join(" | ");
        let message = say!(
            cx,
            "`{key}` is set to {value}, and {wanted} is asked for",
            "`{key}` est mis à {value}, et {wanted} est demandé"
        );
        let at = cx.position(resource.host.as_str());
        found.push(Finding::new(subject("hosts", resource.host), message).at(resource.span).hosts(at));
    }
}

fn network(cx: &Cx<'_>, found: &mut Found) {
    weaker(cx, found, NETWORK);
    // A host whose network the playbook hardens is meant to be hardened whole.
    let mut hosts: BTreeMap<&str, (&Written<'_>, bool)> = BTreeMap::new();
    for resource in of_kind(cx, "sysctl") {
        let Some((key, _)) = setting(resource) else { continue };
        if NETWORK.iter().any(|(known, _)| *known == key) {
            hosts.entry(resource.host.as_str()).or_insert((resource, false)).1 |= key == FORWARDING;
        }
    }
    for (host, (resource, has)) in hosts {
        if has {
            continue;
        }
        let message = say!(
            cx,
            "nothing switches `{FORWARDING}` off beside the other network settings",
            "rien ne coupe `{FORWARDING}` à côté des autres réglages réseau"
        );
        found.push(Finding::new(subject("hosts", host), message).at(resource.span).hosts(cx.position(host)));
    }
}
