//! Waivers: which findings somebody has signed for, and which signatures have run out or except nothing.

use globset::{Glob, GlobMatcher};
use jiff::civil::Date;

use super::finding::Finding;
use crate::diag::{Diagnostic, Diagnostics};
use crate::model::inventory::{Inventory, Waiver};
use crate::model::node::Spanned;
use crate::model::selector::Selector;

/// A waiver made ready to be asked.
pub(super) struct Ready<'a> {
    pub waiver: &'a Spanned<Waiver>,
    pub is_expired: bool,
    /// Whether it is clear what it excepts; what is not has been reported.
    pub is_readable: bool,
    /// For each host whether it is excepted; `None` where the waiver names no hosts.
    hosts: Option<Vec<bool>>,
    subjects: Vec<GlobMatcher>,
}

/// Makes the waivers of an inventory ready. Their selectors were checked on loading.
pub(super) fn ready<'a>(inventory: &'a Inventory, today: Date, problems: &mut Diagnostics) -> Vec<Ready<'a>> {
    for text in inventory.policy.waivers.iter().flat_map(|waiver| waiver.subjects.iter()) {
        if let Err(error) = Glob::new(text) {
            let problem =
                Diagnostic::error("invalid-value", format!("`{text}` is no pattern of subjects: {}", error.kind()));
            problems.push(problem.at(text.span).help("write a section and a name, such as `networks.par1-*`"));
        }
    }
    let waivers = inventory.policy.waivers.iter().map(|waiver| {
        let hosts = waiver.hosts.as_ref().map(|text| {
            let selector = Selector::parse(text).ok();
            selector.and_then(|selector| selector.matches(inventory).ok()).unwrap_or_default()
        });
        let subjects = waiver.subjects.iter().map(|text| Glob::new(text).map(|glob| glob.compile_matcher()));
        let subjects: Result<Vec<GlobMatcher>, _> = subjects.collect();
        Ready {
            waiver,
            is_expired: waiver.expires.value < today,
            hosts,
            is_readable: subjects.is_ok(),
            subjects: subjects.unwrap_or_default(),
        }
    });
    waivers.collect()
}

impl Ready<'_> {
    fn is_for(&self, rule: &str) -> bool {
        self.waiver.rule.value == rule
    }

    /// Returns whether the waiver excepts a host from a rule, also where it has run out.
    pub(super) fn names_host(&self, rule: &str, host: usize) -> bool {
        self.is_for(rule) && self.hosts.as_ref().is_some_and(|hosts| hosts.get(host).copied().unwrap_or_default())
    }

    fn covers_all(&self) -> bool {
        self.hosts.is_none() && self.waiver.subjects.is_empty()
    }

    fn covers_subject(&self, subject: &str) -> bool {
        self.subjects.iter().any(|glob| glob.is_match(subject))
    }
}

/// What becomes of a finding.
pub(super) enum Fate {
    /// It stands, perhaps for fewer hosts.
    Stands,
    /// A waiver excepts it.
    Waived(usize),
}

/// Returns what becomes of a finding, and marks the waivers that it uses.
pub(super) fn fate(finding: &Finding, waivers: &[Ready<'_>], used: &mut [bool]) -> Fate {
    let mut mark = |at: usize| {
        if let Some(used) = used.get_mut(at) {
            *used = true;
        }
    };
    let in_force = || waivers.iter().enumerate().filter(|(_, w)| !w.is_expired && w.is_for(&finding.rule));
    if let Some((at, _)) = in_force().find(|(_, w)| w.covers_all() || w.covers_subject(&finding.subject)) {
        mark(at);
        return Fate::Waived(at);
    }
    if finding.hosts.is_empty() {
        return Fate::Stands;
    }
    // Several waivers may share the hosts of one finding between them; a host that none names lets it stand.
    let mut first = None;
    let mut partly = Vec::new();
    let mut stands = false;
    for host in &finding.hosts {
        match in_force().find(|(_, w)| w.names_host(&finding.rule, *host)) {
            Some((at, _)) => {
                first.get_or_insert(at);
                partly.push(at);
            }
            None => stands = true,
        }
    }
    partly.into_iter().for_each(mark);
    match first {
        Some(at) if !stands => Fate::Waived(at),
        _ => Fate::Stands,
    }
}
