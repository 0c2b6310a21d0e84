//! What the rules on live hosts share: they look at each host that answered, say where something could not be read, and
//! name the host in what they find. The place of a finding is the host's line in the inventory.

use std::fmt::Display;

use crate::model::inventory::Host;
use crate::policy::cx::{Cx, subject};
use crate::policy::finding::{Finding, Found};
use crate::policy::live::{LiveHost, Seen, Unread};
use crate::policy::network::Part;
use crate::policy::rule::{Kind, Needs, Pack, Rule, Words};
use crate::policy::{Level, say};

/// Returns a rule of the pack `hardening` on live hosts.
pub(super) const fn rule(id: &'static str, level: Level, text: Words, check: fn(&Cx<'_>, &mut Found)) -> Rule {
    Rule { id, pack: Pack::Hardening, level, kind: Kind::L, needs: Needs::Live, also: &[], text, check }
}

/// A host that a rule looks at.
pub(super) struct OnHost<'c, 'a> {
    pub(super) cx: &'c Cx<'a>,
    pub(super) host: &'a Host,
    pub(super) live: &'a LiveHost,
    at: usize,
    found: &'c mut Found,
}

impl<'a> OnHost<'_, 'a> {
    /// Returns a finding about the host itself.
    pub(super) fn finding(&self, message: impl Display) -> Finding {
        self.about(subject("hosts", &self.host.name), message)
    }

    /// Returns a finding about something on the host: its subject is `SECTION.NAME@HOST`.
    pub(super) fn finding_of(&self, section: &str, name: &str, message: impl Display) -> Finding {
        self.about(subject(section, format!("{name}@{}", self.host.name)), message)
    }

    fn about(&self, subject: String, message: impl Display) -> Finding {
        let name = &self.host.name;
        let message = say!(self.cx, "on `{name}` {message}", "sur `{name}`, {message}");
        Finding::new(subject, message).at(self.host.span).hosts([self.at])
    }

    /// Returns the user whom this tool logs in as.
    pub(super) fn login_user(&self) -> String {
        let access = self.cx.inventory.ssh(self.host);
        access.and_then(|access| access.user).unwrap_or_else(|| "root".to_owned())
    }

    /// Adds a finding.
    pub(super) fn push(&mut self, finding: Finding) {
        self.found.push(finding);
    }

    /// Says that the host has nothing that the rule is about.
    pub(super) fn has_none(&mut self) {
        self.found.without(self.at);
    }

    /// Says that the rule could not be asked.
    pub(super) fn unread(&mut self, why: impl Into<String>) {
        self.found.unread(self.at, why);
    }

    /// Returns another part of the host, and says where it could not be read.
    pub(super) fn also<T>(&mut self, part: &'a Seen<T>) -> Option<&'a T> {
        match part {
            Ok(value) => Some(value),
            Err(why) => {
                let why = why.words(self.cx.lang);
                self.unread(why);
                None
            }
        }
    }
}

/// Calls `check` with each host that answered and the part of it that the rule looks at; where that could not be read, the
/// rule says so.
pub(super) fn each<'a, T: 'a>(
    cx: &Cx<'a>,
    found: &mut Found,
    part: impl for<'h> Fn(&'h LiveHost) -> &'h Seen<T>,
    mut check: impl FnMut(&mut OnHost<'_, 'a>, &'a T),
) {
    let Some(all) = cx.live else { return };
    for (at, host) in cx.each_host() {
        let Some(live) = all.hosts.get(&host.name) else { continue };
        let mut on = OnHost { cx, host, live, at, found };
        if let Some(value) = on.also(part(live)) {
            check(&mut on, value);
        }
    }
}

/// Says on which hosts a rule on the network could not be asked, because one of these parts could not be read.
pub(super) fn unread_network(cx: &Cx<'_>, found: &mut Found, parts: &[Part]) {
    // Of a host whose network nobody asked for nothing is known, and that is not well either.
    if let (Some(live), Some(network)) = (cx.live, cx.network) {
        for (at, host) in cx.each_host() {
            if live.hosts.contains_key(&host.name) && !network.hosts.contains_key(&host.name) {
                found.unread(at, Unread::NotAsked.words(cx.lang));
            }
        }
    }
    for (at, _, network) in super::live_network::asked(cx) {
        for why in parts.iter().filter_map(|part| network.unread.get(part)) {
            found.unread(at, why.words(cx.lang));
        }
    }
}
