//! How live hosts stand to the rules: a text for people, JSON, and a page. SARIF and JUnit are those of [`findings`].

mod json;
mod page;
mod text;

use std::collections::BTreeMap;

pub use self::json::json;
pub use self::page::page;
pub use self::text::text;
use super::findings::Checked;
use crate::addr::HostName;
use crate::model::inventory::Inventory;
use crate::policy::{Finding, Lang, Report, Rule, Standings, find_rule};

#[cfg(doc)]
use super::findings;

/// An audit and what it is shown with.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// What was found.
    pub checked: &'a Checked<'a>,
    /// The same, with the rules that were asked.
    pub report: &'a Report,
    /// The inventory.
    pub inventory: &'a Inventory,
    /// The inventory as it was given on the command line.
    pub given: &'a str,
    /// Which hosts were asked, where not all.
    pub limit: Option<&'a str>,
    /// When the hosts were asked, as RFC 3339.
    pub at: &'a str,
    /// The hosts that were not reached, each with why.
    pub unreached: &'a BTreeMap<HostName, String>,
    /// The packages of the hosts with their versions, where they were asked for.
    pub software: &'a BTreeMap<HostName, BTreeMap<String, String>>,
}

/// What breaks a rule in the same words, and on which hosts.
struct Breach<'a> {
    rule: &'a str,
    finding: &'a Finding,
    message: &'a str,
    hosts: Vec<&'a str>,
}

impl<'a> View<'a> {
    fn lang(&self) -> Lang {
        self.checked.lang
    }

    fn word(&self, en: &'static str, fr: &'static str) -> &'static str {
        if self.lang() == Lang::Fr { fr } else { en }
    }

    fn standings(&self) -> Standings<'a> {
        Standings::of(self.report)
    }

    fn host(&self, at: usize) -> &'a str {
        self.inventory.hosts.get_index(at).map_or("?", |(name, _)| name.as_str())
    }

    /// Returns the row of a rule that was asked.
    fn rule(&self, id: &str) -> Option<&'static Rule> {
        self.report.asked.iter().copied().find(|rule| rule.id == id).or_else(|| find_rule(id))
    }

    /// Returns a finding's message without the host that it begins with.
    fn message<'f>(&self, finding: &'f Finding) -> &'f str {
        let Some(host) = finding.hosts.first().map(|at| self.host(*at)) else { return &finding.message };
        let lead = match self.lang() {
            Lang::En => format!("on `{host}` "),
            Lang::Fr => format!("sur `{host}`, "),
        };
        finding.message.strip_prefix(&lead).unwrap_or(&finding.message)
    }

    /// Returns findings with those together that say the same of several hosts: the worst first, then as the rules are.
    fn breaches<'f>(&'f self, findings: impl IntoIterator<Item = &'f Finding>) -> Vec<Breach<'f>> {
        let mut breaches: Vec<Breach<'f>> = Vec::new();
        for finding in findings {
            let message = self.message(finding);
            let hosts = finding.hosts.iter().map(|at| self.host(*at));
            let same = breaches.iter_mut().find(|known| {
                known.rule == finding.rule && known.message == message && known.finding.level == finding.level
            });
            match same {
                Some(known) => known.hosts.extend(hosts),
                None => breaches.push(Breach { rule: &finding.rule, finding, message, hosts: hosts.collect() }),
            }
        }
        let order = |id: &str| self.report.asked.iter().position(|rule| rule.id == id).unwrap_or(usize::MAX);
        breaches.sort_by_key(|breach| (std::cmp::Reverse(breach.finding.level), order(breach.rule)));
        breaches
    }

    /// Returns what could not be asked: the rules of each reason, and the hosts.
    fn unasked(&self) -> Vec<(&'a str, Vec<&'static str>, Vec<&'a str>)> {
        let mut reasons: Vec<(&'a str, Vec<&'static str>, Vec<&'a str>)> = Vec::new();
        for unasked in &self.report.unasked {
            let host = self.host(unasked.host);
            let position = reasons.iter().position(|(why, ..)| *why == unasked.why);
            let at = position.unwrap_or_else(|| {
                reasons.push((&unasked.why, Vec::new(), Vec::new()));
                reasons.len() - 1
            });
            let Some((_, rules, hosts)) = reasons.get_mut(at) else { continue };
            if !rules.contains(&unasked.rule) {
                rules.push(unasked.rule);
            }
            if !hosts.contains(&host) {
                hosts.push(host);
            }
        }
        reasons
    }
}

/// How many hosts are named one by one in a line.
const NAMED: usize = 6;

impl View<'_> {
    /// Returns hosts by name, unless they are all that answered.
    fn all_named(&self, hosts: &[&str]) -> String {
        if hosts.len() > 1 && hosts.len() == self.report.hosts.len() { self.named(hosts) } else { hosts.join(", ") }
    }

    /// Returns hosts by name where there are few, and their number where there are many.
    fn named(&self, hosts: &[&str]) -> String {
        match (hosts.len(), self.lang()) {
            (few, _) if few <= NAMED && few < self.report.hosts.len().max(2) => hosts.join(", "),
            (all, Lang::En) if all == self.report.hosts.len() => "all hosts".to_owned(),
            (all, Lang::Fr) if all == self.report.hosts.len() => "tous les hôtes".to_owned(),
            (many, _) => format!("{}, … ({many})", hosts.get(..NAMED).unwrap_or(hosts).join(", ")),
        }
    }
}
