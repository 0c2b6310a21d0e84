//! What all forms of the matrix show, worked out once.

use std::collections::{BTreeMap, BTreeSet};

use super::evidence::{Evidence, Tally};
use crate::diag::{Sources, Span};
use crate::model::inventory::{Inventory, Waiver};
use crate::model::matrix::{End, Matrix, ResolvedFlow};
use crate::model::node::Spanned;
use crate::policy::{Finding, Lang, Report};

/// The matrix, what of it somebody signed for, and what was seen on the hosts.
#[derive(Debug)]
pub struct View<'a> {
    /// The matrix.
    pub matrix: &'a Matrix<'a>,
    /// How the fleet stands to the rules.
    pub report: &'a Report,
    /// What was seen, where there is a proof.
    pub evidence: Option<Evidence<'a>>,
    /// The files.
    pub sources: &'a Sources,
    /// The language.
    pub lang: Lang,
    /// What the matrix speaks of, zones first.
    pub ends: Vec<End<'a>>,
    /// What may pass between two ends; what has no entry is denied.
    pub cells: BTreeMap<(End<'a>, End<'a>), Crossing>,
    /// The waivers of each flow, wherever it leads.
    waivers: Vec<BTreeSet<usize>>,
}

/// What may pass between two ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Crossing {
    /// The flows, in the order of the inventory.
    pub passing: Vec<Passing>,
}

/// A flow between two ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passing {
    /// The flow, by position.
    pub flow: usize,
    /// The waivers without which it would break a rule, by position in `policy.waivers`.
    pub waivers: BTreeSet<usize>,
}

/// What the inventory says of a pair of ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Something may pass.
    Allowed,
    /// Something may pass that breaks a rule, and somebody signed for it.
    Waived,
    /// Nothing may pass.
    Denied,
}

impl State {
    /// Returns the word for it in all languages' machine-readable forms.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Allowed => "allowed",
            State::Waived => "waived",
            State::Denied => "denied",
        }
    }
}

impl Passing {
    /// Returns what the inventory says of it.
    pub fn state(&self) -> State {
        if self.waivers.is_empty() { State::Allowed } else { State::Waived }
    }
}

/// A part of the matrix that a waived finding is about.
struct Excepted {
    waiver: usize,
    flow: usize,
    /// The names of the flow that the finding points at; all where there are none.
    from: BTreeSet<Span>,
    to: BTreeSet<Span>,
}

impl<'a> View<'a> {
    /// Brings together what is known of a matrix.
    pub fn new(
        matrix: &'a Matrix<'a>,
        report: &'a Report,
        evidence: Option<Evidence<'a>>,
        sources: &'a Sources,
        lang: Lang,
    ) -> Self {
        let excepted = excepted(matrix, report);
        let mut cells: BTreeMap<(End<'a>, End<'a>), Crossing> = BTreeMap::new();
        let mut waivers = vec![BTreeSet::new(); matrix.flows().len()];
        for part in &excepted {
            waivers.get_mut(part.flow).map(|of_flow: &mut BTreeSet<usize>| of_flow.insert(part.waiver));
        }
        for (pair, flows) in matrix.cells() {
            let passing = flows.into_iter().map(|flow| {
                let of_pair = excepted.iter().filter(|part| part.flow == flow && part.is_about(matrix, pair));
                Passing { flow, waivers: of_pair.map(|part| part.waiver).collect() }
            });
            cells.insert(pair, Crossing { passing: passing.collect() });
        }
        Self { matrix, report, evidence, sources, lang, ends: matrix.ends(), cells, waivers }
    }

    /// Returns one of two texts, by the language.
    pub fn word<'t>(&self, en: &'t str, fr: &'t str) -> &'t str {
        match self.lang {
            Lang::En => en,
            Lang::Fr => fr,
        }
    }

    /// Returns the inventory.
    pub fn inventory(&self) -> &'a Inventory {
        self.matrix.inventory()
    }

    /// Returns a flow by its position.
    pub fn flow(&self, at: usize) -> Option<&'a ResolvedFlow<'a>> {
        self.matrix.flows().get(at)
    }

    /// Returns a waiver by its position.
    pub fn waiver(&self, at: usize) -> Option<&'a Waiver> {
        self.inventory().policy.waivers.get(at).map(|waiver| &waiver.value)
    }

    /// Returns what may pass between two ends.
    pub fn passing(&self, from: End<'a>, to: End<'a>) -> &[Passing] {
        self.cells.get(&(from, to)).map(|cell| cell.passing.as_slice()).unwrap_or_default()
    }

    /// Returns what the inventory says of a pair of ends.
    pub fn state(&self, from: End<'a>, to: End<'a>) -> State {
        let passing = self.passing(from, to);
        passing.iter().map(Passing::state).max().unwrap_or(State::Denied)
    }

    /// Returns what was seen between two ends; none where there is no proof.
    pub fn tally(&self, from: End<'a>, to: End<'a>) -> Option<Tally> {
        self.evidence.as_ref().map(|evidence| evidence.pair(from, to))
    }

    /// Returns the waivers of a flow, wherever it leads.
    pub fn waivers_of(&self, flow: usize) -> &BTreeSet<usize> {
        const NONE: &BTreeSet<usize> = &BTreeSet::new();
        self.waivers.get(flow).unwrap_or(NONE)
    }

    /// Returns how many pairs of ends are somebody's business, by what the inventory says of them.
    pub fn count(&self, state: State) -> usize {
        let pairs = self.ends.iter().flat_map(|from| self.ends.iter().map(move |to| (*from, *to)));
        pairs.filter(|(from, to)| Self::is_shown(*from, *to) && self.state(*from, *to) == state).count()
    }

    /// Returns whether a pair is somebody's business: two endpoints are nobody's.
    pub fn is_shown(from: End<'_>, to: End<'_>) -> bool {
        !matches!((from, to), (End::Endpoint(_), End::Endpoint(_)))
    }

    /// Returns where something stands, as `file:line`.
    pub fn place(&self, span: Span) -> String {
        let place = self.sources.locate(span);
        format!("{}:{}", place.file, place.line)
    }

    /// Returns what a flow lets through, one text for each of TCP, UDP and so on.
    pub fn services(&self, flow: usize) -> Vec<String> {
        self.flow(flow).map(|flow| flow.services.iter().map(ToString::to_string).collect()).unwrap_or_default()
    }

    /// Returns why a flow is there.
    pub fn why(&self, flow: usize) -> &'a str {
        self.flow(flow).map_or("", |flow| flow.flow.why.as_str())
    }
}

/// Returns which flows the waived findings are about: those that one names, and those that open a hop of its path.
fn excepted(matrix: &Matrix<'_>, report: &Report) -> Vec<Excepted> {
    let mut found = Vec::new();
    for waived in &report.waived {
        let places = places(&waived.finding);
        for (at, flow) in matrix.flows().iter().enumerate() {
            let pointed = |names: &mut dyn Iterator<Item = &Spanned<String>>| -> BTreeSet<Span> {
                names.map(|name| name.span).filter(|span| places.contains(span)).collect()
            };
            let (from, to) = (pointed(&mut flow.flow.from.iter()), pointed(&mut flow.flow.to.iter()));
            let is_named = waived.finding.subject == format!("flows.{}", flow.flow.why);
            if is_named || !from.is_empty() || !to.is_empty() {
                found.push(Excepted { waiver: waived.waiver, flow: at, from, to });
            }
        }
    }
    found
}

/// Returns all places that a finding points at.
fn places(finding: &Finding) -> BTreeSet<Span> {
    let labels = finding.place.iter().chain(&finding.labels).chain(finding.paths.iter().flatten());
    labels.map(|label| label.span).collect()
}

impl Excepted {
    /// Returns whether it is about what passes between two ends.
    fn is_about(&self, matrix: &Matrix<'_>, (from, to): (End<'_>, End<'_>)) -> bool {
        let Some(flow) = matrix.flows().get(self.flow) else { return false };
        let leads = |spans: &BTreeSet<Span>, names: &mut dyn Iterator<Item = &Spanned<String>>, end: End<'_>| {
            spans.is_empty()
                || names
                    .filter(|name| spans.contains(&name.span))
                    .any(|name| end_of(matrix.inventory(), name) == end.name())
        };
        leads(&self.from, &mut flow.flow.from.iter(), from) && leads(&self.to, &mut flow.flow.to.iter(), to)
    }
}

/// Returns the zone or endpoint that a name in a flow stands for or lies in.
fn end_of<'n>(inventory: &'n Inventory, name: &'n str) -> &'n str {
    inventory
        .networks
        .get(name)
        .filter(|_| !inventory.zones.contains_key(name))
        .map_or(name, |network| network.zone.as_str())
}
