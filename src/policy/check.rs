//! Asks every rule that is in force, and sorts out what was waived.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use jiff::civil::Date;

use super::custom;
use super::cx::{Cx, Playbook};
use super::finding::{Declared, Finding, Found, Unasked, Waived};
use super::rule::{Kind, Lang, Needs, Pack, Rule, Words};
use super::rules::{find_rule, rules};
use super::waive::{self, Fate};
use super::{Level, say};
use crate::diag::{Diagnostic, Diagnostics, Span};
use crate::model::inventory::Inventory;

/// What is looked at.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The inventory.
    pub inventory: &'a Inventory,
    /// What a playbook would write, where one is given.
    pub playbook: Option<&'a Playbook<'a>>,
    /// The day on which dates are judged.
    pub today: Date,
    /// The language of messages.
    pub lang: Lang,
}

/// How a fleet stands to the rules.
#[derive(Debug, Default)]
pub struct Report {
    /// The packs that the inventory asks for.
    pub packs: Vec<Pack>,
    /// The rules that were asked.
    pub asked: Vec<&'static Rule>,
    /// The identifiers of the fleet's own rules that were asked.
    pub own: Vec<String>,
    /// The breaches that nobody has signed for.
    pub findings: Vec<Finding>,
    /// The breaches that somebody has signed for.
    pub waived: Vec<Waived>,
    /// What is declared and cannot be verified.
    pub declared: Vec<Declared>,
    /// The hosts that answered, by position; none where no host was asked.
    pub hosts: Vec<usize>,
    /// The rules that could not be asked of a host.
    pub unasked: Vec<Unasked>,
    /// The rules, each with a host that has nothing that it is about.
    pub without: Vec<(&'static str, usize)>,
}

impl Report {
    /// Returns whether a breach is an error.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.level == Level::Error)
    }

    /// Returns how many findings are of a level.
    pub fn count(&self, level: Level) -> usize {
        self.findings.iter().filter(|finding| finding.level == level).count()
    }
}

/// A rule that belongs to no pack and cannot be waived.
#[derive(Clone, Copy, Debug)]
pub struct Always {
    /// The identifier.
    pub id: &'static str,
    /// How bad it is to break it.
    pub level: Level,
    /// What it asks for, in one line.
    pub text: Words,
}

const EXPIRED: &str = "PROV-WAIVER-EXPIRED";
const UNUSED: &str = "PROV-WAIVER-UNUSED";

/// The rules on waivers.
pub const ALWAYS: [Always; 2] = [
    Always {
        id: EXPIRED,
        level: Level::Error,
        text: Words { en: "no waiver has run out", fr: "aucune dérogation n'a expiré" },
    },
    Always {
        id: UNUSED,
        level: Level::Warning,
        text: Words { en: "every waiver excepts something", fr: "chaque dérogation excepte quelque chose" },
    },
];

/// Asks every rule of the packs that the inventory names, and the fleet's own rules.
///
/// What is wrong with the policy itself (an unknown pack, a waiver of a rule that is not there, an expression that cannot
/// be evaluated) is added to `problems`. An inventory without packs and own rules is asked nothing.
pub fn check(input: &Input<'_>, problems: &mut Diagnostics) -> Report {
    let inventory = input.inventory;
    let mut report = Report { packs: packs(inventory, problems), ..Report::default() };
    let own = custom::Own::parse(&inventory.rules, problems);
    let waivers = waive::ready(inventory, input.today, problems);
    for waiver in &inventory.policy.waivers {
        let known = || rules().map(|rule| rule.id).chain(own.ids());
        if !known().any(|id| id == waiver.rule.value) {
            let problem = Diagnostic::error("unknown-rule", format!("there is no rule `{}`", waiver.rule));
            problems.push(problem.at(waiver.rule.span).suggest(&waiver.rule, known()));
        }
    }
    let forwarders =
        (0..inventory.hosts.len()).map(|at| waivers.iter().any(|w| w.names_host("BP028-R12", at))).collect();
    let cx = Cx::new(inventory, input.playbook, input.today, input.lang, forwarders);
    let mut raw: Vec<Finding> = Vec::new();
    for rule in rules().filter(|rule| report.packs.contains(&rule.pack)) {
        if rule.kind == Kind::L || rule.needs == Needs::Playbook && input.playbook.is_none() {
            continue;
        }
        let mut found = Found::of(rule);
        (rule.check)(&cx, &mut found);
        raw.extend(found.findings);
        report.declared.extend(found.declared);
        report.asked.push(rule);
    }
    own.check(&cx, &mut raw, problems);
    report.own = own.ids().map(str::to_owned).collect();

    let mut used = vec![false; waivers.len()];
    for finding in raw {
        match waive::fate(&finding, &waivers, &mut used) {
            Fate::Stands => report.findings.push(finding),
            Fate::Waived(waiver) => report.waived.push(Waived { waiver, finding }),
        }
    }
    let standing: HashSet<(Cow<'static, str>, String)> =
        report.findings.iter().map(|finding| (finding.rule.clone(), finding.subject.clone())).collect();
    report.findings.retain(|finding| {
        !finding.behind.iter().any(|nearer| standing.contains(&(finding.rule.clone(), nearer.clone())))
    });
    report.findings = merged(std::mem::take(&mut report.findings), &cx);
    let mut by_waiver: Vec<Vec<Finding>> = waivers.iter().map(|_| Vec::new()).collect();
    for waived in std::mem::take(&mut report.waived) {
        if let Some(findings) = by_waiver.get_mut(waived.waiver) {
            findings.push(waived.finding);
        }
    }
    for (waiver, findings) in by_waiver.into_iter().enumerate() {
        report.waived.extend(merged(findings, &cx).into_iter().map(|finding| Waived { waiver, finding }));
    }
    // Without a playbook, or with a part of it, what a waiver excepts may only be out of sight; and so is what it excepts on
    // the live hosts.
    let has_all = input.playbook.is_some_and(|playbook| playbook.is_whole);
    let is_asked_whole = |asked: &Rule| asked.needs == Needs::Inventory || has_all;
    let is_judged = |rule: &str| {
        let is_asked = report.asked.iter().any(|asked| asked.id == rule && is_asked_whole(asked));
        let is_live = rules().any(|row| row.id == rule && row.kind == Kind::L);
        is_asked && !is_live || report.own.iter().any(|own| own == rule)
    };
    let found = on_waivers(&cx, &waivers, &used, &is_judged);
    report.findings.extend(found);
    sort(&mut report);
    report
}

/// Puts what was found in the order of the places.
pub(super) fn sort(report: &mut Report) {
    let place = |finding: &Finding| finding.place.as_ref().map(|place| place.span);
    report
        .findings
        .sort_by(|a, b| (place(a).is_none(), place(a), &a.rule).cmp(&(place(b).is_none(), place(b), &b.rule)));
    report.waived.sort_by_key(|waived| (waived.waiver, place(&waived.finding)));
}

/// Returns what is wrong with waivers: those that have run out, and those that except nothing of the rules that were
/// asked so that all that they could except was in sight.
pub(super) fn on_waivers(
    cx: &Cx<'_>,
    waivers: &[waive::Ready<'_>],
    used: &[bool],
    is_judged: &dyn Fn(&str) -> bool,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (ready, used) in waivers.iter().zip(used) {
        let waiver = ready.waiver;
        let rule = &waiver.rule.value;
        let expires = &waiver.expires;
        let finding = if ready.is_expired {
            let message =
                say!(cx, "the waiver of {rule} ran out on {expires}", "la dérogation à {rule} a expiré le {expires}");
            let help = say!(
                cx,
                "mend what it excepts and remove it, or have it signed again",
                "corrigez ce qu'elle excepte et retirez-la, ou faites-la signer à nouveau"
            );
            Finding {
                rule: Cow::Borrowed(EXPIRED),
                ..Finding::new("policy.waivers", message).at(expires.span).help(help)
            }
        } else if !used && ready.is_readable && is_judged(rule) {
            let message = say!(cx, "the waiver of {rule} excepts nothing", "la dérogation à {rule} n'excepte rien");
            let help = say!(
                cx,
                "remove it: what is excepted before it happens will not be seen when it does",
                "retirez-la : ce qui est excepté d'avance ne se verra pas le jour venu"
            );
            let finding = Finding::new("policy.waivers", message).at(waiver.rule.span).help(help).only(Level::Warning);
            Finding { rule: Cow::Borrowed(UNUSED), ..finding }
        } else {
            continue;
        };
        findings.push(finding);
    }
    findings
}

pub(super) fn packs(inventory: &Inventory, problems: &mut Diagnostics) -> Vec<Pack> {
    let mut packs = Vec::new();
    for name in &inventory.policy.packs {
        match Pack::ALL.into_iter().find(|pack| pack.as_str() == name.value) {
            Some(pack) if packs.contains(&pack) => {}
            Some(pack) => packs.push(pack),
            None => {
                let problem = Diagnostic::error("unknown-name", format!("no pack of rules is called `{name}`"));
                problems.push(problem.at(name.span).suggest(name, Pack::ALL.into_iter().map(Pack::as_str)));
            }
        }
    }
    packs
}

/// Returns findings of which those are one that say the same at the same place, of one host each.
fn merged(findings: Vec<Finding>, cx: &Cx<'_>) -> Vec<Finding> {
    let mut seen: HashMap<(Cow<'static, str>, Option<Span>, String), usize> = HashMap::new();
    let mut kept: Vec<Finding> = Vec::with_capacity(findings.len());
    for finding in findings {
        let key = (finding.rule.clone(), finding.place.as_ref().map(|place| place.span), finding.message.clone());
        match seen.get(&key).and_then(|at| kept.get_mut(*at)) {
            Some(first) => first.hosts.extend(finding.hosts),
            None => {
                seen.insert(key, kept.len());
                kept.push(finding);
            }
        }
    }
    for finding in &mut kept {
        finding.hosts.sort_unstable();
        finding.hosts.dedup();
        let needs_playbook =
            find_rule(&finding.rule).is_some_and(|rule| matches!(rule.needs, Needs::Both | Needs::Playbook));
        // What a playbook does is found on each host; elsewhere a message names its hosts itself.
        if needs_playbook && let Some(host) = finding.hosts.first().and_then(|at| cx.host(*at)) {
            let name = &host.name;
            if finding.message.contains(&format!("`{name}`")) {
                continue;
            }
            let others = finding.hosts.len() - 1;
            finding.message.push_str(&match others {
                0 => say!(cx, " (on {name})", " (sur {name})"),
                1 => say!(cx, " (on {name} and 1 other host)", " (sur {name} et 1 autre hôte)"),
                _ => say!(cx, " (on {name} and {others} other hosts)", " (sur {name} et {others} autres hôtes)"),
            });
        }
    }
    kept
}
