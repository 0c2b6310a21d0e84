//! What was found: a breach of a rule with its place, a waived one, or a declaration that nobody can verify.

use std::borrow::Cow;

use super::Level;
use super::rule::Rule;
use crate::diag::{Diagnostic, Label, Severity, Span};

/// A breach of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The identifier of the rule.
    pub rule: Cow<'static, str>,
    /// How bad it is.
    pub level: Level,
    /// What breaks it, by section and name: `hosts.hv-par1-01`, `flows.REASON`.
    pub subject: String,
    /// The hosts that it is about, by position in the inventory.
    pub hosts: Vec<usize>,
    /// What is wrong: a lowercase fragment without a full stop.
    pub message: String,
    /// Where it stands.
    pub place: Option<Label>,
    /// Further places that matter.
    pub labels: Vec<Label>,
    /// The paths that it is about, each as what opens its hops, in order; the place and the labels are the first.
    pub paths: Vec<Vec<Label>>,
    /// What to do next.
    pub help: Option<String>,
    /// The subjects of findings that this one is only part of, as long as they stand.
    pub(super) behind: Vec<String>,
}

impl Finding {
    /// Returns a finding about `subject`; its rule is filled in by who asked.
    pub(super) fn new(subject: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            rule: Cow::Borrowed(""),
            level: Level::Error,
            subject: subject.into(),
            hosts: Vec::new(),
            message: message.into(),
            place: None,
            labels: Vec::new(),
            paths: Vec::new(),
            help: None,
            behind: Vec::new(),
        }
    }

    /// Says where it stands.
    #[must_use]
    pub(super) fn at(mut self, span: Span) -> Self {
        self.place = Some(Label { span, text: String::new() });
        self
    }

    /// Names another place that matters.
    #[must_use]
    pub(super) fn label(mut self, span: Span, text: impl Into<String>) -> Self {
        self.labels.push(Label { span, text: text.into() });
        self
    }

    /// Says what to do next.
    #[must_use]
    pub(super) fn help(mut self, text: impl Into<String>) -> Self {
        self.help = Some(text.into());
        self
    }

    /// Says which hosts it is about.
    #[must_use]
    pub(super) fn hosts(mut self, hosts: impl IntoIterator<Item = usize>) -> Self {
        self.hosts.extend(hosts);
        self
    }

    /// Says that it is less bad than its rule.
    #[must_use]
    pub(super) fn only(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// Returns the finding as a problem with the input.
    pub fn diagnostic(&self) -> Diagnostic {
        let mut labels = self.labels.clone();
        // Other paths often end like the first: what is shown already is not shown again.
        for hop in self.paths.iter().skip(1).flatten() {
            let is_shown = |label: &Label| label.span == hop.span;
            if !self.place.iter().chain(&labels).any(is_shown) {
                labels.push(hop.clone());
            }
        }
        Diagnostic {
            code: self.rule.clone(),
            severity: severity(self.level),
            message: self.message.clone(),
            primary: self.place.clone(),
            labels,
            help: self.help.clone(),
        }
    }
}

fn severity(level: Level) -> Severity {
    match level {
        Level::Note => Severity::Note,
        Level::Warning => Severity::Warning,
        Level::Error => Severity::Error,
    }
}

/// What an unverifiable rule is told, as the inventory declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// The identifier of the rule.
    pub rule: &'static str,
    /// What is declared.
    pub text: String,
}

/// A finding that somebody has signed for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waived {
    /// The waiver, by position in `policy.waivers`.
    pub waiver: usize,
    /// What it excepts.
    pub finding: Finding,
}

/// A rule that could not be asked of a host, because something of it could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unasked {
    /// The identifier of the rule.
    pub rule: &'static str,
    /// The host, by position in the inventory.
    pub host: usize,
    /// Why: a lowercase fragment without a full stop.
    pub why: String,
}

/// Where a rule puts what it finds.
pub(super) struct Found {
    rule: &'static Rule,
    pub(super) findings: Vec<Finding>,
    pub(super) declared: Vec<Declared>,
    pub(super) unasked: Vec<Unasked>,
    /// The hosts that have nothing that the rule is about.
    pub(super) without: Vec<usize>,
}

impl Found {
    pub(super) fn of(rule: &'static Rule) -> Self {
        let (findings, declared, unasked, without) = Default::default();
        Self { rule, findings, declared, unasked, without }
    }

    /// Adds a finding; its level is that of the rule unless it is less bad.
    pub(super) fn push(&mut self, mut finding: Finding) {
        finding.rule = Cow::Borrowed(self.rule.id);
        finding.level = finding.level.min(self.rule.level);
        self.findings.push(finding);
    }

    /// Says that the rule could not be asked of a host.
    pub(super) fn unread(&mut self, host: usize, why: impl Into<String>) {
        let why = why.into();
        if !self.unasked.iter().any(|known| known.host == host && known.why == why) {
            self.unasked.push(Unasked { rule: self.rule.id, host, why });
        }
    }

    /// Says that a host has nothing that the rule is about.
    pub(super) fn without(&mut self, host: usize) {
        self.without.push(host);
    }

    /// Says what is declared, where nothing can be verified.
    pub(super) fn declare(&mut self, text: impl Into<String>) {
        self.declared.push(Declared { rule: self.rule.id, text: text.into() });
    }
}
