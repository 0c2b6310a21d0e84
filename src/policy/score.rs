//! How the hosts stand to the rules: for each rule and host one word, and their counts.

use std::collections::HashMap;

use serde::Serialize;

use super::Level;
use super::check::Report;
use super::rule::{Kind, Pack, Rule};

/// How a host stands to a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It keeps to it.
    Held,
    /// It has nothing that the rule is about.
    NotConcerned,
    /// It breaks it, and somebody has signed for that.
    Waived,
    /// What the rule looks at could not be read.
    Unread,
    /// It breaks it.
    Broken,
}

/// How many rules stand how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Score {
    /// Those that are kept to.
    pub held: usize,
    /// Those that are broken.
    pub broken: usize,
    /// Those that are broken, which somebody has signed for.
    pub waived: usize,
    /// Those that could not be asked, because something could not be read.
    pub unread: usize,
    /// Those that are about nothing that is there; they count for nothing.
    pub not_concerned: usize,
}

impl Score {
    /// Returns how many rules were asked. What is waived or could not be read counts too: neither makes a score better.
    pub fn asked(&self) -> usize {
        self.held + self.broken + self.waived + self.unread
    }

    /// Returns the share of rules held in whole per cent, rounded down; none where none was asked.
    pub fn per_cent(&self) -> Option<usize> {
        (self.held * 100).checked_div(self.asked())
    }

    fn count(&mut self, standing: Standing) {
        *match standing {
            Standing::Held => &mut self.held,
            Standing::Broken => &mut self.broken,
            Standing::Waived => &mut self.waived,
            Standing::Unread => &mut self.unread,
            Standing::NotConcerned => &mut self.not_concerned,
        } += 1;
    }
}

/// How the hosts that answered stand to the rules on live hosts.
#[derive(Clone, Debug)]
pub struct Standings<'a> {
    /// The rules, in the order in which they were asked.
    pub rules: Vec<&'static Rule>,
    /// The hosts, by position in the inventory.
    pub hosts: &'a [usize],
    known: HashMap<(&'static str, usize), Standing>,
}

impl<'a> Standings<'a> {
    /// Works them out.
    ///
    /// The worst that is known of a rule and a host is what it is; a note breaks nothing.
    pub fn of(report: &'a Report) -> Self {
        let rules: Vec<&'static Rule> = report.asked.iter().copied().filter(|rule| rule.kind == Kind::L).collect();
        let mut known: HashMap<(&'static str, usize), Standing> = HashMap::new();
        let id_of = |id: &str| rules.iter().find(|rule| rule.id == id).map(|rule| rule.id);
        let mut tell = |rule: &str, host: usize, standing: Standing| {
            if let Some(rule) = id_of(rule) {
                let entry = known.entry((rule, host)).or_insert(Standing::Held);
                *entry = standing.max(*entry);
            }
        };
        report.without.iter().for_each(|(rule, host)| tell(rule, *host, Standing::NotConcerned));
        report.unasked.iter().for_each(|unasked| tell(unasked.rule, unasked.host, Standing::Unread));
        let waived = report.waived.iter().map(|waived| (&waived.finding, Standing::Waived));
        for (finding, standing) in waived.chain(report.findings.iter().map(|finding| (finding, Standing::Broken))) {
            if finding.level > Level::Note {
                finding.hosts.iter().for_each(|host| tell(&finding.rule, *host, standing));
            }
        }
        Self { rules, hosts: &report.hosts, known }
    }

    /// Returns how a host stands to a rule.
    pub fn standing(&self, rule: &Rule, host: usize) -> Standing {
        self.known.get(&(rule.id, host)).copied().unwrap_or(Standing::Held)
    }

    /// Returns the score of a pack or of all, on a host or on all.
    pub fn score(&self, pack: Option<Pack>, host: Option<usize>) -> Score {
        let mut score = Score::default();
        for rule in self.rules.iter().filter(|rule| pack.is_none_or(|pack| rule.pack == pack)) {
            for at in self.hosts.iter().filter(|at| host.is_none_or(|host| **at == host)) {
                score.count(self.standing(rule, *at));
            }
        }
        score
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::rules::rules;
    use crate::policy::{Finding, Unasked, Waived};

    fn finding(rule: &'static str, host: usize, level: Level) -> Finding {
        Finding { rule: rule.into(), level, ..Finding::new("hosts.a", "m").hosts([host]) }
    }

    #[test]
    fn the_worst_that_is_known_counts_and_neither_a_waiver_nor_silence_makes_a_score_better() {
        let ids = ["BP028-R9", "BP028-R14", "BP028-R45", "BP028-R73", "SNC-10.6.a", "BP028-R36"];
        let asked = rules().filter(|rule| rule.kind == Kind::L && ids.contains(&rule.id)).collect();
        let report = Report {
            asked,
            hosts: vec![0, 2],
            findings: vec![finding("BP028-R9", 0, Level::Error), finding("BP028-R36", 0, Level::Note)],
            waived: vec![
                Waived { waiver: 0, finding: finding("BP028-R9", 0, Level::Error) },
                Waived { waiver: 0, finding: finding("BP028-R14", 0, Level::Error) },
            ],
            unasked: vec![
                Unasked { rule: "BP028-R45", host: 0, why: String::new() },
                Unasked { rule: "BP028-R9", host: 0, why: String::new() },
            ],
            without: vec![("SNC-10.6.a", 0)],
            ..Report::default()
        };
        let standings = Standings::of(&report);
        let score = standings.score(None, Some(0));
        assert_eq!(score, Score { held: 2, broken: 1, waived: 1, unread: 1, not_concerned: 1 });
        assert_eq!((score.asked(), score.per_cent()), (5, Some(40)));
        assert_eq!(standings.score(None, Some(2)), Score { held: 6, ..Score::default() });
        assert_eq!(standings.score(Some(Pack::Sovereignty), None).asked(), 1);
        assert_eq!(Score::default().per_cent(), None);
    }
}
