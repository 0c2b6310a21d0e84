//! Where hosts are sent to: every URL in what is written to them leads to the fleet or to a declared endpoint.
//!
//! Passed over are comments, which nobody follows; names of XML namespaces and `Documentation=` lines of units, which are
//! names and not addresses; and this machine itself. Names under `example` domains (RFC 2606) are not passed over: a
//! real template that speaks of them is as wrong as one that speaks of anybody else.

use std::collections::HashSet;
use std::net::IpAddr;

use serde_json::Value;

use crate::diag::Span;
use crate::policy::cx::{Cx, subject};
use crate::policy::finding::{Finding, Found};
use crate::policy::rule::{Kind, Needs, Pack, Rule, Words};
use crate::policy::rules::secrets::each_text;
use crate::policy::{Level, say};

pub(super) const RULES: &[Rule] = &[Rule {
    id: "SNC-12.14.a",
    pack: Pack::Sovereignty,
    level: Level::Error,
    kind: Kind::S,
    needs: Needs::Both,
    also: &["SNC-19.6.c", "PA022-R43"],
    text: Words {
        en: "what is written to hosts names no URL outside the fleet but declared endpoints",
        fr: "ce qui est écrit sur les hôtes ne nomme aucune URL hors du parc, sinon des points d'accès déclarés",
    },
    check,
}];

/// A URL in a text.
#[derive(Debug, PartialEq, Eq)]
struct Url<'a> {
    /// The byte at which the host begins.
    at: usize,
    host: &'a str,
}

/// Returns the host of the URL whose scheme ends where `rest` begins, without a user, port or brackets.
fn host_of(rest: &str) -> Option<(usize, &str)> {
    let ends = |c: char| c.is_whitespace() || "/?#\"'`<>(),;|\\{}]$".contains(c);
    let authority = rest.split(ends).next().unwrap_or_default();
    let user = authority.rfind('@').map_or(0, |at| at + 1);
    let host = authority.get(user..)?;
    if let Some(inner) = host.strip_prefix('[') {
        return Some((user + 1, inner.split(']').next().unwrap_or(inner)));
    }
    let host = host.split(':').next().unwrap_or_default();
    Some((user, host.trim_end_matches('.'))).filter(|(_, host)| !host.is_empty())
}

/// Returns the URLs of a text whose host is written out.
fn urls(text: &str) -> Vec<Url<'_>> {
    let mut found = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let offset = start;
        start += line.len();
        let trimmed = line.trim_start();
        let is_comment = trimmed.starts_with(['#', ';']) || trimmed.starts_with("//") || trimmed.starts_with("{{!");
        if is_comment || trimmed.starts_with("Documentation=") {
            continue;
        }
        for (at, _) in line.match_indices("://") {
            let before = line.get(..at).unwrap_or_default();
            let scheme =
                before.rfind(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c)).map_or(0, |at| at + 1);
            let is_scheme =
                before.get(scheme..).is_some_and(|scheme| scheme.starts_with(|c: char| c.is_ascii_alphabetic()));
            let is_namespace = before.get(..scheme).is_some_and(|before| {
                let attribute = before.trim_end_matches(['"', '\'']).trim_end_matches('=');
                let name = attribute.rsplit([' ', '\t', '<']).next().unwrap_or_default();
                name == "xmlns" || name.starts_with("xmlns:")
            });
            let rest = line.get(at + 3..).unwrap_or_default();
            if is_scheme
                && !is_namespace
                && let Some((user, host)) = host_of(rest)
            {
                found.push(Url { at: offset + at + 3 + user, host });
            }
        }
    }
    found
}

/// Returns whether a name or address is this machine's, the fleet's or a declared endpoint's.
pub(super) fn is_known(cx: &Cx<'_>, host: &str) -> bool {
    let inventory = cx.inventory;
    if let Ok(address) = host.parse::<IpAddr>() {
        let in_fleet = || inventory.networks.values().any(|network| network.cidr.contains(&address));
        // An endpoint that is the whole Internet declares nothing.
        let declared = || {
            let all = inventory.endpoints.values().flat_map(|endpoint| endpoint.addresses.iter());
            all.filter(|known| known.value.0.prefix_len() > 0).any(|known| known.value.0.contains(&address))
        };
        return address.is_loopback() || address.is_unspecified() || in_fleet() || declared() || is_endpoint(cx, host);
    }
    let host = host.to_ascii_lowercase();
    let own = |domain: &str| {
        let domain = domain.trim_matches('.').to_ascii_lowercase();
        host == domain || host.strip_suffix(&domain).is_some_and(|rest| rest.ends_with('.'))
    };
    host == "localhost"
        || host.ends_with(".localhost")
        || inventory.hosts.contains_key(host.as_str())
        || inventory.provider.domains.iter().any(|domain| own(domain))
        || is_endpoint(cx, &host)
}

fn is_endpoint(cx: &Cx<'_>, host: &str) -> bool {
    cx.inventory.endpoints.values().any(|endpoint| {
        let rest = endpoint.url.split_once("://").map_or("", |(_, rest)| rest);
        host_of(rest).is_some_and(|(_, known)| known.eq_ignore_ascii_case(host))
    })
}

fn check(cx: &Cx<'_>, found: &mut Found) {
    let mut told: HashSet<String> = HashSet::new();
    let mut known: HashSet<String> = HashSet::new();
    let mut is_unknown = |host: &str| {
        if known.contains(host) {
            return false;
        }
        let is_known = is_known(cx, host);
        if is_known {
            known.insert(host.to_owned());
        }
        !is_known
    };
    let help = || {
        say!(
            cx,
            "declare it under `endpoints` with who runs it and under which law, or take it out",
            "déclarez-la sous `endpoints` avec son exploitant et le droit dont elle relève, ou retirez-la"
        )
    };
    let message = |host: &str| {
        say!(
            cx,
            "a URL leads to `{host}`, which is neither of the fleet nor a declared endpoint",
            "une URL mène à `{host}`, qui n'est ni du parc ni un point d'accès déclaré"
        )
    };
    each_text(cx, &mut |owner, at, span, _, text| {
        for url in urls(text) {
            if is_unknown(url.host) {
                told.insert(url.host.to_owned());
                found.push(Finding::new(owner, message(url.host)).at(span).help(help()).hosts(at));
            }
        }
    });
    let Some(playbook) = cx.playbook else { return };
    for source in &playbook.sources {
        for url in urls(source.text) {
            if is_unknown(url.host) {
                told.insert(url.host.to_owned());
                let (start, end) = (url.at as u32, (url.at + url.host.len()) as u32);
                let finding = Finding::new(subject("templates", source.name), message(url.host));
                found.push(finding.at(Span { file: source.file, start, end }).help(help()));
            }
        }
    }
    // What is only complete once it is rendered. What was found where it is written is not told again.
    let mut seen: HashSet<*const u8> = HashSet::new();
    for resource in &playbook.resources {
        let host_at = cx.position(resource.host.as_str());
        let mut look = |text: &str| {
            for url in urls(text) {
                if !told.contains(url.host) && is_unknown(url.host) {
                    let subject = subject("hosts", resource.host);
                    found.push(Finding::new(subject, message(url.host)).at(resource.span).help(help()).hosts(host_at));
                }
            }
        };
        if let Some(text) = &resource.text
            && seen.insert(text.as_ptr())
        {
            look(text);
        }
        each_string(&resource.spec, &mut look);
    }
}

fn each_string(value: &Value, visit: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => visit(text),
        Value::Array(items) => items.iter().for_each(|item| each_string(item, visit)),
        Value::Object(entries) => entries.values().for_each(|item| each_string(item, visit)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(text: &str) -> Vec<&str> {
        urls(text).into_iter().map(|url| url.host).collect()
    }

    #[test]
    fn the_hosts_of_urls_are_found_and_what_is_no_address_is_passed_over() {
        assert_eq!(
            hosts("a=https://user:pw@t.vendor.com:8443/x?y http://[2001:db8::1]:80/"),
            ["t.vendor.com", "2001:db8::1"]
        );
        assert_eq!(hosts("uris: [\"https://mirror.example./debian\",amqp://q]"), ["mirror.example", "q"]);
        assert_eq!(
            hosts("x\n  # see https://docs.example\n;http://a\n// http://b\n{{! http://c }}\nDocumentation=https://d"),
            [""; 0]
        );
        assert_eq!(
            hosts("<a xmlns=\"http://libvirt.org/x\" xmlns:q='http://q.org' href=\"http://real.example\"/>"),
            ["real.example"]
        );
        // A host that is rendered is looked at once it is.
        assert_eq!(hosts("https://{{address}}:2379 file:///srv/mirror ://x 1://y"), [""; 0]);
        let text = "é https://a.example/";
        assert_eq!(&text[urls(text)[0].at..][..9], "a.example");
    }
}
