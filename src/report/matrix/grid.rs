//! The matrix as a field of squares: zones by zones, or hosts by hosts where like hosts are one row, so that the field stays as
//! small as the fleet has kinds of hosts.

use std::collections::{BTreeSet, HashMap};

use super::evidence::Tally;
use super::view::{State, View};
use crate::addr::HostName;
use crate::model::inventory::Host;
use crate::model::matrix::End;
use crate::policy::Lang;
use crate::proof::Verdict;
use crate::report::groups;
use crate::report::page::Tone;

/// How many kinds of hosts are rows; the rest is counted.
const KINDS: usize = 48;

/// What rows and columns are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Axis {
    /// Zones and endpoints.
    #[default]
    Zone,
    /// Kinds of hosts, and endpoints.
    Host,
}

/// A field of squares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grid {
    /// What the rows, and the columns, stand for.
    pub headings: Vec<Heading>,
    /// The squares, row by row; none where a pair is nobody's business.
    pub squares: Vec<Vec<Option<Square>>>,
    /// How many hosts are in no row.
    pub left_out: usize,
}

/// What a row and a column stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heading {
    /// Its name, or the names of like hosts in few words.
    pub name: String,
    /// What else is to be said of it.
    pub detail: String,
}

/// What may pass from a row to a column, and what was seen of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Square {
    /// What the inventory says.
    pub state: State,
    /// What was seen; none where there is no proof.
    pub tally: Option<Tally>,
    /// The flows, by position.
    pub flows: Vec<usize>,
}

impl Square {
    /// Returns what was seen of all connections together.
    pub fn verdict(&self) -> Option<Verdict> {
        self.tally?.verdict()
    }

    /// Returns what it says at the first look: only where all is proved, it is good.
    pub fn tone(&self) -> Tone {
        match (self.verdict(), self.state) {
            (Some(Verdict::Contradicted), _) => Tone::Bad,
            (Some(Verdict::Proved), _) if self.is_all_proved() => Tone::Good,
            (Some(_), _) => Tone::Changed,
            (None, state) => state.tone(),
        }
    }

    fn is_all_proved(&self) -> bool {
        self.tally.is_some_and(Tally::is_all_proved)
    }

    /// Returns the word for it for machines: what was seen, or else what the inventory says.
    pub fn word(&self) -> &'static str {
        match self.verdict() {
            Some(Verdict::Contradicted) => "contradicted",
            Some(Verdict::Proved) if self.is_all_proved() => "proved",
            _ => self.state.as_str(),
        }
    }
}

impl State {
    /// Returns the colour and the sign for it, as the legend has them.
    pub(super) fn tone(self) -> Tone {
        match self {
            State::Allowed => Tone::Plain,
            State::Waived => Tone::Changed,
            State::Denied => Tone::Quiet,
        }
    }
}

/// Returns what the inventory says, in a word for people.
pub(super) fn state_word(state: State, lang: Lang) -> &'static str {
    match (state, lang) {
        (State::Allowed, Lang::En) => "allowed",
        (State::Allowed, Lang::Fr) => "autorisé",
        (State::Waived, Lang::En) => "waived",
        (State::Waived, Lang::Fr) => "dérogation",
        (State::Denied, Lang::En) => "denied",
        (State::Denied, Lang::Fr) => "interdit",
    }
}

/// Returns what was seen, in a word for people.
pub(super) fn verdict_word(verdict: Verdict, lang: Lang) -> &'static str {
    match (verdict, lang) {
        (Verdict::Proved, Lang::En) => "proved",
        (Verdict::Proved, Lang::Fr) => "prouvé",
        (Verdict::Contradicted, Lang::En) => "contradicted",
        (Verdict::Contradicted, Lang::Fr) => "contredit",
        (Verdict::Undecided, Lang::En) => "undecided",
        (Verdict::Undecided, Lang::Fr) => "indécis",
        (Verdict::NotTried, Lang::En) => "not tried",
        (Verdict::NotTried, Lang::Fr) => "non essayé",
    }
}

/// Returns what was seen with how many connections it is of all: `proved 12/14`.
pub(super) fn seen(tally: Tally, lang: Lang) -> Option<(Verdict, String)> {
    let (verdict, sum) = (tally.verdict()?, tally.sum());
    let number = match verdict {
        Verdict::Proved => sum.proved,
        Verdict::Contradicted => sum.contradicted,
        Verdict::Undecided => sum.undecided,
        Verdict::NotTried => sum.not_tried,
    };
    Some((verdict, format!("{} {number}/{}", verdict_word(verdict, lang), sum.all())))
}

/// Hosts that are alike to the matrix.
#[derive(Clone, Debug, Default)]
pub(super) struct Kind<'a> {
    pub hosts: Vec<&'a Host>,
    pub incoming: Vec<usize>,
    pub outgoing: Vec<usize>,
    pub forwarded: Vec<usize>,
}

/// Whether hosts of different sites may be of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sites {
    Together,
    Apart,
}

/// Returns hosts by kind: same roles, zones and flows.
pub(super) fn kinds<'a>(view: &View<'a>, hosts: &[&'a Host], sites: Sites) -> Vec<Kind<'a>> {
    let flows = view.matrix.flows();
    let positions: HashMap<&str, usize> = flows.iter().enumerate().map(|(at, flow)| (flow.name.as_str(), at)).collect();
    let mut kinds: HashMap<HostName, Kind<'a>> = HashMap::new();
    let found = groups::alike(hosts, |host| {
        let of_host = view.matrix.host(host);
        let at = |name: &String| positions.get(name.as_str()).copied();
        let kind = Kind {
            hosts: Vec::new(),
            incoming: of_host.incoming.iter().filter_map(|passage| at(&passage.flow)).collect(),
            outgoing: of_host.outgoing.iter().filter_map(|passage| at(&passage.flow)).collect(),
            forwarded: of_host.forwarded.iter().filter_map(|passage| at(&passage.flow)).collect(),
        };
        let site = (sites == Sites::Apart).then(|| host.site.as_ref().map(ToString::to_string));
        let roles: BTreeSet<String> = host.roles.iter().map(|role| role.value.clone()).collect();
        let zones: BTreeSet<String> = view.inventory().zones_of(host).iter().map(ToString::to_string).collect();
        let key = (site, roles, zones, kind.incoming.clone(), kind.outgoing.clone(), kind.forwarded.clone());
        kinds.insert(host.name.clone(), kind);
        key
    });
    let of_group = |hosts: Vec<&'a Host>| {
        let kind = hosts.first().and_then(|first| kinds.remove(&first.name)).unwrap_or_default();
        Kind { hosts, ..kind }
    };
    found.into_iter().map(of_group).collect()
}

/// Returns the matrix as a field of squares.
pub fn grid<'a>(view: &View<'a>, axis: Axis, hosts: &[&'a Host]) -> Grid {
    match axis {
        Axis::Zone => by_zone(view),
        Axis::Host => by_host(view, hosts),
    }
}

fn by_zone(view: &View<'_>) -> Grid {
    let headings = view.ends.iter().map(|end| heading_of(view, *end)).collect();
    let square = |from: End<'_>, to: End<'_>| {
        View::is_shown(from, to).then(|| Square {
            state: view.state(from, to),
            tally: view.tally(from, to),
            flows: view.passing(from, to).iter().map(|passing| passing.flow).collect(),
        })
    };
    let row = |from: &End<'_>| view.ends.iter().map(|to| square(*from, *to)).collect();
    Grid { headings, squares: view.ends.iter().map(row).collect(), left_out: 0 }
}

fn heading_of(view: &View<'_>, end: End<'_>) -> Heading {
    let detail = match end {
        End::Zone(name) => {
            view.inventory().zones.get(name).map(|zone| zone.nature.value.to_string()).unwrap_or_default()
        }
        End::Endpoint(_) => view.word("outside", "extérieur").to_owned(),
    };
    Heading { name: end.name().to_owned(), detail }
}

/// A row or column of the matrix of hosts.
enum Side<'a> {
    Kind(Kind<'a>),
    End(End<'a>),
}

impl Side<'_> {
    fn has(&self, view: &View<'_>, flow: usize, is_incoming: bool) -> bool {
        match self {
            Side::Kind(kind) => if is_incoming { &kind.incoming } else { &kind.outgoing }.contains(&flow),
            Side::End(end) => {
                view.flow(flow).is_some_and(|flow| if is_incoming { &flow.to } else { &flow.from }.ends.contains(end))
            }
        }
    }
}

fn by_host<'a>(view: &View<'a>, hosts: &[&'a Host]) -> Grid {
    let all = kinds(view, hosts, Sites::Together);
    let left_out = all.iter().skip(KINDS).map(|kind| kind.hosts.len()).sum();
    let mut row_of: HashMap<&str, usize> = HashMap::new();
    for (at, kind) in all.iter().enumerate().take(KINDS) {
        row_of.extend(kind.hosts.iter().map(|host| (host.name.as_str(), at)));
    }
    let mut tallies: HashMap<(usize, usize), Tally> = HashMap::new();
    if let Some(evidence) = &view.evidence {
        for cell in &evidence.proof.cells {
            let pair = (row_of.get(cell.from.as_str()).copied(), row_of.get(cell.to.as_str()).copied());
            if let (Some(from), Some(to)) = pair {
                tallies.entry((from, to)).or_default().add(cell);
            }
        }
    }
    let endpoints = view.ends.iter().filter(|end| matches!(end, End::Endpoint(_)));
    let sides: Vec<Side<'a>> =
        all.into_iter().take(KINDS).map(Side::Kind).chain(endpoints.map(|end| Side::End(*end))).collect();
    let headings = sides.iter().map(|side| match side {
        Side::End(end) => heading_of(view, *end),
        Side::Kind(kind) => {
            let (names, more) = groups::names(kind.hosts.iter().map(|host| host.name.as_str()));
            let more = if more > 0 { format!(" + {more}") } else { String::new() };
            let roles = kind.hosts.first().map(|host| host.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>());
            let count = if kind.hosts.len() > 1 { format!("× {} ", kind.hosts.len()) } else { String::new() };
            let detail = format!("{count}{}", roles.unwrap_or_default().join(" · "));
            Heading { name: format!("{}{more}", names.join(" ")), detail: detail.trim_end().to_owned() }
        }
    });
    let square = |(at, from): (usize, &Side<'a>), (to_at, to): (usize, &Side<'a>)| {
        let is_alone = |side: &Side<'_>| matches!(side, Side::Kind(kind) if kind.hosts.len() == 1);
        if at == to_at && is_alone(from) || matches!((from, to), (Side::End(_), Side::End(_))) {
            return None;
        }
        let passes = |flow: &usize| from.has(view, *flow, false) && to.has(view, *flow, true);
        let flows: Vec<usize> = (0..view.matrix.flows().len()).filter(passes).collect();
        let state = match flows.as_slice() {
            [] => State::Denied,
            flows if flows.iter().any(|flow| !view.waivers_of(*flow).is_empty()) => State::Waived,
            _ => State::Allowed,
        };
        let tally = view.evidence.as_ref().map(|_| tallies.get(&(at, to_at)).copied().unwrap_or_default());
        Some(Square { state, tally, flows })
    };
    let row = |from: (usize, &Side<'a>)| sides.iter().enumerate().map(|to| square(from, to)).collect();
    Grid { headings: headings.collect(), squares: sides.iter().enumerate().map(row).collect(), left_out }
}
