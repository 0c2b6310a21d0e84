//! The matrix as a page for an audit file: what may pass between zones, each flow with its reason and place, what hosts may do,
//! who signed for what, what was seen on the hosts, and the level-3 diagram.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use sha2::{Digest, Sha256};

use super::evidence::Tally;
use super::grid::{Axis, Kind, Sites, Square, grid, kinds, seen, state_word};
use super::picture::legend;
use super::view::{State, View};
use crate::diag::Sources;
use crate::model::inventory::Host;
use crate::model::matrix::{End, ResolvedFlow, Side};
use crate::policy::{Lang, Level};
use crate::proof::{Expected, Verdict};
use crate::report::drawing::{topology, topology_frames};
use crate::report::groups;
use crate::report::page::{
    Block, Body, Cell, Column, Figure, Kind as Layout, Line, Page, Paper, Row, Section, Table, Tone,
};
use crate::report::style::count;

/// How many kinds of hosts, and how many connections, are listed one by one; the rest is counted.
const LISTED: usize = 250;

/// How many columns a table of zones has, before there is another.
const COLUMNS: usize = 16;

/// What a page says of itself.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The inventory, as it was given on the command line.
    pub inventory: &'a str,
    /// Which hosts the page is about, where not all.
    pub limit: Option<&'a str>,
    /// The day on which dates are judged.
    pub today: Date,
    /// The file of the proof, and the digest of it, where there is one.
    pub proof: Option<(&'a str, &'a str)>,
}

/// Returns the page.
pub fn page<'a>(view: &View<'a>, hosts: &[&'a Host], about: &About<'_>) -> Page {
    let provider = view.inventory().provider.name.as_ref().map(ToString::to_string);
    let sections = vec![
        summary(view, hosts),
        zones(view),
        flows(view),
        of_hosts(view, hosts),
        waivers(view),
        proof(view),
        diagram(view, hosts),
    ];
    Page {
        lang: view.lang,
        title: provider.unwrap_or_else(|| about.inventory.to_owned()),
        subtitle: view.word("Flow matrix", "Matrice de flux").to_owned(),
        facts: facts(view, about),
        sections,
        foot: Line::from(format!("provision {}", env!("CARGO_PKG_VERSION"))),
    }
}

/// Returns the SHA-256 of all files that were read, each by its path and text, so that a page can be told from one of another
/// state of the inventory.
fn digest(sources: &Sources) -> (String, usize) {
    let mut files: Vec<(&str, &str)> =
        sources.iter().map(|(_, source)| (source.path().as_str(), source.text().as_ref())).collect();
    files.sort_unstable();
    let mut hasher = Sha256::new();
    for (path, text) in &files {
        for part in [path, text] {
            hasher.update(part.len().to_be_bytes());
            hasher.update(part.as_bytes());
        }
    }
    (hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect(), files.len())
}

fn facts(view: &View<'_>, about: &About<'_>) -> Vec<(String, Line)> {
    let word = |en, fr| view.word(en, fr).to_owned();
    let (hash, files) = digest(view.sources);
    let of_files = match (view.lang, files) {
        (Lang::En, _) => format!(" (SHA-256 of {})", count(files, "file")),
        (Lang::Fr, 1) => " (SHA-256 d'un fichier)".to_owned(),
        (Lang::Fr, _) => format!(" (SHA-256 de {files} fichiers)"),
    };
    let mut facts = vec![
        (word("Inventory", "Inventaire"), Line::new().code(about.inventory)),
        (word("As of", "À la date du"), Line::from(about.today.to_string())),
        (word("Digest of the inventory", "Empreinte de l'inventaire"), Line::new().code(hash).quiet(of_files)),
    ];
    if let Some(limit) = about.limit {
        facts.push((word("Only hosts", "Seuls les hôtes"), Line::new().code(limit)));
    }
    if let (Some((file, hash)), Some(evidence)) = (about.proof, &view.evidence) {
        let at = format!(" · {}", evidence.proof.at);
        facts.push((word("Proof", "Preuve"), Line::new().code(file).text(at)));
        facts.push((word("Digest of the proof", "Empreinte de la preuve"), Line::new().code(hash).quiet(" (SHA-256)")));
    }
    facts
}

fn figure(value: usize, noun: &str, tone: Option<Tone>) -> Figure {
    Figure { value: value.to_string(), noun: noun.to_owned(), tone }
}

fn summary(view: &View<'_>, hosts: &[&Host]) -> Section {
    let inventory = view.inventory();
    let mut figures = vec![
        figure(inventory.zones.len(), view.word("zones", "zones"), None),
        figure(inventory.networks.len(), view.word("networks", "réseaux"), None),
        figure(hosts.len(), view.word("hosts", "hôtes"), None),
        figure(inventory.flows.len(), view.word("flows", "flux"), None),
        figure(view.count(State::Allowed), view.word("pairs allowed", "paires autorisées"), Some(Tone::Plain)),
        figure(view.count(State::Waived), view.word("pairs waived", "paires par dérogation"), Some(Tone::Changed)),
        figure(view.count(State::Denied), view.word("pairs denied", "paires interdites"), Some(Tone::Quiet)),
    ];
    if let Some(evidence) = &view.evidence {
        let sum = evidence.total().sum();
        figures.push(figure(sum.proved, view.word("connections proved", "connexions prouvées"), Some(Tone::Good)));
        let tone = if sum.contradicted > 0 { Tone::Bad } else { Tone::Quiet };
        figures.push(figure(sum.contradicted, view.word("contradicted", "contredites"), Some(tone)));
        let open = sum.undecided + sum.not_tried;
        let tone = if open > 0 { Tone::Changed } else { Tone::Quiet };
        figures.push(figure(open, view.word("undecided or not tried", "indécises ou non essayées"), Some(tone)));
    }
    let (errors, warnings) = (view.report.count(Level::Error), view.report.count(Level::Warning));
    let packs: Vec<&str> = view.report.packs.iter().map(|pack| pack.as_str()).collect();
    let rules = match (view.lang, packs.is_empty()) {
        (Lang::En, true) => Line::from("The inventory asks for no rules, so nothing of it was judged."),
        (Lang::Fr, true) => Line::from("L'inventaire ne demande aucune règle : rien n'en a été jugé."),
        (Lang::En, false) => Line::from(format!(
            "Of the rules that look at the inventory ({}), {errors} errors and {warnings} warnings stand unsigned: see ",
            packs.join(", ")
        ))
        .code("provision validate")
        .text("."),
        (Lang::Fr, false) => Line::from(format!(
            "Des règles qui regardent l'inventaire ({}), {errors} erreurs et {warnings} avertissements restent sans \
             dérogation : voir ",
            packs.join(", ")
        ))
        .code("provision validate")
        .text("."),
    };
    let what = view.word(
        "The flow matrix says who may connect to whom. What no flow allows is denied: the hosts' firewalls are made from it. \
         Pairs are counted between zones, and between zones and what lies outside.",
        "La matrice de flux dit qui peut se connecter à qui. Ce qu'aucun flux n'autorise est interdit : les pare-feux des \
         hôtes en sont faits. Les paires sont comptées entre zones, et entre zones et l'extérieur.",
    );
    let blocks = vec![Block::Figures(figures), Block::Text(what.into()), Block::Text(rules)];
    section("summary", view.word("Summary", "Résumé"), Paper::Portrait, blocks)
}

fn section(id: &str, heading: &str, paper: Paper, blocks: Vec<Block>) -> Section {
    Section { id: id.to_owned(), heading: heading.to_owned(), paper, blocks }
}

fn flow_id(at: usize) -> String {
    format!("f{}", at + 1)
}

/// Returns a line with a link to each flow, by its number.
fn flow_links(view: &View<'_>, flows: &[usize]) -> Line {
    let mut line = Line::new();
    for (number, at) in flows.iter().enumerate() {
        if number > 0 {
            line = line.text(" ");
        }
        line = line.link(flow_id(*at), format!("F{}", at + 1), view.why(*at));
    }
    line
}

fn zones(view: &View<'_>) -> Section {
    let field = grid(view, Axis::Zone, &[]);
    let corner = view.word("from ↓ to →", "de ↓ vers →");
    let caption = view.word(
        "Rows connect to columns. F and a number is a flow of the next section.",
        "Les lignes se connectent aux colonnes. F et un numéro désignent un flux de la section suivante.",
    );
    let mut blocks = vec![Block::Legend(legend(view))];
    // A sheet of paper holds only so many columns that are still read.
    let parts = field.headings.len().div_ceil(COLUMNS).max(1);
    let size = field.headings.len().div_ceil(parts).max(1);
    for (part, headings) in field.headings.chunks(size).enumerate() {
        let mut columns = vec![Column::of(Line::new().quiet(corner))];
        columns.extend(headings.iter().map(|heading| Column::of(heading.name.as_str())));
        let rows = field.headings.iter().zip(&field.squares).map(|(from, squares)| {
            let of_part = squares.iter().skip(part * size).zip(headings);
            let cells = of_part.map(|(square, to)| {
                square.as_ref().map_or_else(Cell::default, |square| cell_of(view, square, &from.name, &to.name))
            });
            let heading = Cell::lines([Line::from(from.name.as_str()), Line::new().quiet(&from.detail)]);
            Row { id: None, cells: std::iter::once(heading).chain(cells).collect() }
        });
        let bodies = vec![Body { heading: None, rows: rows.collect() }];
        let number = if parts > 1 { format!(" ({}/{parts})", part + 1) } else { String::new() };
        let caption = format!("{caption}{number}").into();
        blocks.push(Block::Table(Table { kind: Layout::Grid, caption, columns, bodies }));
    }
    section("zones", view.word("Zones by zones", "Zones par zones"), Paper::Landscape, blocks)
}

fn cell_of(view: &View<'_>, square: &Square, from: &str, to: &str) -> Cell {
    let state = state_word(square.state, view.lang);
    let proof = square.tally.and_then(|tally| seen(tally, view.lang));
    let tone = square.tone();
    let mut lines = Vec::new();
    if square.state == State::Denied && proof.is_none() {
        lines.push(Line::from(tone.sign()));
    } else {
        lines.push(Line::from(format!("{} ", square.state.tone().sign())).strong(state));
        let mut services: Vec<String> = Vec::new();
        for service in square.flows.iter().flat_map(|flow| view.services(*flow)) {
            if !services.contains(&service) {
                services.push(service);
            }
        }
        // A blank behind a comma is where a long list of ports may be broken.
        lines.extend(services.into_iter().map(|service| Line::new().code(service.replace(',', ", "))));
        if !square.flows.is_empty() {
            lines.push(flow_links(view, &square.flows));
        }
        lines.extend(proof.map(|(_, words)| Line::from(format!("{} {words}", tone.sign()))));
    }
    let whys: Vec<&str> = square.flows.iter().map(|flow| view.why(*flow)).collect();
    let whys = if whys.is_empty() { String::new() } else { format!(": {}", whys.join("; ")) };
    Cell { lines, tone: Some(tone), state: Some(square.word()), hint: format!("{from} → {to}, {state}{whys}") }
}

/// Returns a side of a flow in words: the zones, and the hosts that it is narrowed to.
fn side(view: &View<'_>, side: &Side<'_>, only: Option<&str>) -> Vec<Line> {
    let mut lines: Vec<Line> = side
        .ends
        .iter()
        .map(|end| match end {
            End::Zone(name) => Line::from(*name),
            End::Endpoint(name) => Line::from(*name).quiet(view.word(" (outside)", " (extérieur)")),
        })
        .collect();
    lines.extend(only.map(|only| Line::new().quiet(view.word("only ", "seulement ")).code(only)));
    lines
}

fn flow_row(view: &View<'_>, at: usize, flow: &ResolvedFlow<'_>) -> Row {
    let waivers = view.waivers_of(at);
    let (tone, state) = if waivers.is_empty() { (Tone::Plain, State::Allowed) } else { (Tone::Changed, State::Waived) };
    let mut status = vec![Line::new().badge(tone, state_word(state, view.lang))];
    status.extend(waivers.iter().map(|waiver| Line::new().link(waiver_id(*waiver), format!("W{}", waiver + 1), "")));
    if let Some(evidence) = &view.evidence {
        let tally = flow_pairs(flow)
            .into_iter()
            .fold(Default::default(), |sum: Tally, (from, to)| sum.with(evidence.flow(from, to, at)));
        let none = || (Tone::Quiet, view.word("nothing to try", "rien à essayer").to_owned());
        let (tone, words) =
            seen(tally, view.lang).map_or_else(none, |(verdict, words)| (tone_of(verdict, tally), words));
        status.push(Line::new().badge(tone, words));
    }
    let services = view.services(at).into_iter().map(|service| Line::new().code(service));
    Row {
        id: Some(flow_id(at)),
        cells: vec![
            Cell::of(format!("F{}", at + 1)),
            Cell::lines(side(view, &flow.from, flow.flow.from_hosts.as_ref().map(|text| text.as_str()))),
            Cell::lines(side(view, &flow.to, flow.flow.to_hosts.as_ref().map(|text| text.as_str()))),
            Cell::lines(services),
            Cell::of(flow.flow.why.as_str()),
            Cell::lines(status),
            Cell::of(Line::new().code(view.place(flow.flow.span))),
        ],
    }
}

fn flow_pairs<'a>(flow: &ResolvedFlow<'a>) -> BTreeSet<(End<'a>, End<'a>)> {
    flow.from.ends.iter().flat_map(|from| flow.to.ends.iter().map(move |to| (*from, *to))).collect()
}

fn tone_of(verdict: Verdict, tally: Tally) -> Tone {
    match verdict {
        Verdict::Contradicted => Tone::Bad,
        Verdict::Proved if tally.is_all_proved() => Tone::Good,
        Verdict::Proved | Verdict::Undecided | Verdict::NotTried => Tone::Changed,
    }
}

fn flows(view: &View<'_>) -> Section {
    let columns = vec![
        Column::narrow(view.word("No.", "Nº")),
        Column::of(view.word("From", "De")),
        Column::of(view.word("To", "Vers")),
        Column::of(view.word("Services", "Services")),
        Column::wide(view.word("Why", "Pourquoi")),
        Column::of(view.word("State", "État")),
        Column::of(view.word("Declared at", "Déclaré en")),
    ];
    let rows: Vec<Row> = view.matrix.flows().iter().enumerate().map(|(at, flow)| flow_row(view, at, flow)).collect();
    let caption = view.word(
        "Every flow, in the order of the inventory. A reply to what was let in needs no flow.",
        "Tous les flux, dans l'ordre de l'inventaire. Une réponse à ce qui est admis ne demande pas de flux.",
    );
    let blocks = match rows.is_empty() {
        true => vec![Block::Text(
            view.word("The inventory declares no flow.", "L'inventaire ne déclare aucun flux.").into(),
        )],
        false => {
            let bodies = vec![Body { heading: None, rows }];
            vec![Block::Table(Table { caption: caption.into(), columns, bodies, ..Table::default() })]
        }
    };
    section("flows", view.word("Flows", "Flux"), Paper::Landscape, blocks)
}

/// Returns what comes in, or goes out, a line for each flow.
fn passages(view: &View<'_>, flows: &[usize], is_incoming: bool) -> Cell {
    let line = |at: &usize| {
        let flow = view.flow(*at)?;
        let (side, only) = match is_incoming {
            true => (&flow.from, &flow.flow.from_hosts),
            false => (&flow.to, &flow.flow.to_hosts),
        };
        let ends: Vec<&str> = side.ends.iter().map(|end| end.name()).collect();
        let line = Line::new().link(flow_id(*at), format!("F{}", at + 1), view.why(*at)).text(" ");
        let line = line.code(view.services(*at).join(" "));
        let arrow = if is_incoming { " ← " } else { " → " };
        let line = line.text(format!("{arrow}{}", ends.join(", ")));
        Some(match only {
            Some(only) => line.quiet(format!(" ({only})")),
            None => line,
        })
    };
    if flows.is_empty() {
        return Cell::of(Line::new().quiet(view.word("nothing", "rien")));
    }
    Cell::lines(flows.iter().filter_map(line))
}

fn kind_row(view: &View<'_>, kind: &Kind<'_>) -> Row {
    let (names, more) = groups::names(kind.hosts.iter().map(|host| host.name.as_str()));
    let more = if more > 0 { format!(" + {more}") } else { String::new() };
    let mut who = vec![Line::new().code(format!("{}{more}", names.join(" ")))];
    let roles: Vec<&str> =
        kind.hosts.first().map(|host| host.roles.iter().map(|role| role.as_str()).collect()).unwrap_or_default();
    let count = if kind.hosts.len() > 1 { format!("× {} ", kind.hosts.len()) } else { String::new() };
    who.push(Line::new().quiet(format!("{count}{}", roles.join(" · ")).trim_end().to_owned()));
    let mut networks: BTreeMap<&str, Vec<std::net::IpAddr>> = BTreeMap::new();
    for interface in kind.hosts.iter().flat_map(|host| host.interfaces.values()) {
        if let (Some((_, network)), Some(address)) = (view.inventory().network_of(interface), interface.address) {
            networks.entry(network.zone.as_str()).or_default().push(address.value);
        }
    }
    let addresses = networks
        .into_iter()
        .map(|(zone, addresses)| Line::new().quiet(format!("{zone} ")).code(groups::addresses(addresses).join(" ")));
    let mut outgoing = passages(view, &kind.outgoing, false);
    if !kind.forwarded.is_empty() {
        let words = view.word("passes on: ", "transmet : ");
        let line = flow_links(view, &kind.forwarded);
        outgoing.lines.extend([Line::new().quiet(words), line]);
    }
    Row {
        id: None,
        cells: vec![Cell::lines(who), Cell::lines(addresses), passages(view, &kind.incoming, true), outgoing],
    }
}

fn of_hosts<'a>(view: &View<'a>, hosts: &[&'a Host]) -> Section {
    let all = kinds(view, hosts, Sites::Apart);
    let number = all.len();
    let left_out: usize = all.iter().skip(LISTED).map(|kind| kind.hosts.len()).sum();
    let mut by_site: Vec<(Option<&str>, Vec<Row>, usize)> = Vec::new();
    for kind in all.iter().take(LISTED) {
        let site = kind.hosts.first().and_then(|host| host.site.as_ref()).map(|site| site.as_str());
        let row = kind_row(view, kind);
        match by_site.iter_mut().find(|(known, _, _)| *known == site) {
            Some((_, rows, count)) => {
                rows.push(row);
                *count += kind.hosts.len();
            }
            None => by_site.push((site, vec![row], kind.hosts.len())),
        }
    }
    let bodies = by_site.into_iter().map(|(site, rows, count)| {
        let site = site.unwrap_or(view.word("at no site", "sur aucun site"));
        let words = if count == 1 { view.word("host", "hôte") } else { view.word("hosts", "hôtes") };
        Body { heading: Some(Line::from(site).quiet(format!(" · {count} {words}"))), rows }
    });
    let columns = vec![
        Column::of(view.word("Hosts", "Hôtes")),
        Column::of(view.word("Addresses by zone", "Adresses par zone")),
        Column::wide(view.word("May be reached by", "Peut être joint par")),
        Column::wide(view.word("May reach", "Peut joindre")),
    ];
    let caption = match view.lang {
        Lang::En => {
            format!("{} hosts; those with the same site, roles, zones and flows are one row ({number}).", hosts.len())
        }
        Lang::Fr => {
            format!("{} hôtes ; ceux de mêmes site, rôles, zones et flux sont une ligne ({number}).", hosts.len())
        }
    };
    let table = Table { caption: caption.into(), columns, bodies: bodies.collect(), ..Table::default() };
    let mut blocks = vec![Block::Table(table)];
    blocks.extend(left_out_line(view, left_out, ("hosts", "hôtes"), "`--limit`"));
    section("hosts", view.word("Hosts", "Hôtes"), Paper::Landscape, blocks)
}

/// Returns how many are not listed, and where they are.
fn left_out_line(view: &View<'_>, number: usize, (en, fr): (&str, &str), place: &str) -> Option<Block> {
    let words = match view.lang {
        Lang::En => format!("{number} more {en} are not listed here: see {place}."),
        Lang::Fr => format!("{number} autres {fr} ne sont pas listés ici : voir {place}."),
    };
    (number > 0).then(|| Block::Text(Line::new().strong(words)))
}

fn waiver_id(at: usize) -> String {
    format!("w{}", at + 1)
}

fn waivers(view: &View<'_>) -> Section {
    let mut excepted: BTreeMap<usize, usize> = BTreeMap::new();
    for waived in &view.report.waived {
        *excepted.entry(waived.waiver).or_default() += 1;
    }
    let flow_count = view.matrix.flows().len();
    let rows = view.inventory().policy.waivers.iter().enumerate().map(|(at, waiver)| {
        let flows: Vec<usize> = (0..flow_count).filter(|flow| view.waivers_of(*flow).contains(&at)).collect();
        let subjects: Vec<String> =
            waiver.hosts.iter().chain(waiver.subjects.iter()).map(ToString::to_string).collect();
        let scope = match subjects.is_empty() {
            true => Line::from(view.word("everywhere", "partout")),
            false => Line::new().code(subjects.join(", ")),
        };
        let mut effect = vec![match excepted.get(&at) {
            Some(1) => Line::from(view.word("1 finding", "1 constat")),
            Some(number) => Line::from(format!("{number} {}", view.word("findings", "constats"))),
            None => Line::new()
                .quiet(view.word("nothing that the inventory alone shows", "rien que l'inventaire seul montre")),
        }];
        if !flows.is_empty() {
            effect.push(flow_links(view, &flows));
        }
        let cells = vec![
            Cell::of(format!("W{}", at + 1)),
            Cell::of(Line::new().code(waiver.rule.as_str())),
            Cell::of(scope),
            Cell::of(waiver.why.as_str()),
            Cell::of(waiver.owner.as_str()),
            Cell::of(waiver.expires.to_string()),
            Cell::lines(effect),
        ];
        Row { id: Some(waiver_id(at)), cells }
    });
    let rows: Vec<Row> = rows.collect();
    let columns = vec![
        Column::narrow(view.word("No.", "Nº")),
        Column::of(view.word("Rule", "Règle")),
        Column::of(view.word("For", "Pour")),
        Column::wide(view.word("Why", "Pourquoi")),
        Column::of(view.word("Signed by", "Signé par")),
        Column::narrow(view.word("Until", "Jusqu'au")),
        Column::of(view.word("Excepts", "Excepte")),
    ];
    let caption = view.word(
        "All signed exceptions of the inventory. Those that name flows are why a pair is waived.",
        "Toutes les dérogations signées de l'inventaire. Celles qui nomment des flux expliquent les paires par dérogation.",
    );
    let blocks = match rows.is_empty() {
        true => vec![Block::Text(view.word("No exception is signed.", "Aucune dérogation n'est signée.").into())],
        false => {
            let bodies = vec![Body { heading: None, rows }];
            vec![Block::Table(Table { caption: caption.into(), columns, bodies, ..Table::default() })]
        }
    };
    section("waivers", view.word("Waivers", "Dérogations"), Paper::Landscape, blocks)
}

fn proof(view: &View<'_>) -> Section {
    let heading = view.word("Proof", "Preuve");
    let Some(evidence) = &view.evidence else {
        let words = view.word(
            "No proof was given: this page says what the inventory declares. Nothing of it was tried on the hosts.",
            "Aucune preuve n'est jointe : cette page dit ce que l'inventaire déclare. Rien n'en a été essayé sur les hôtes.",
        );
        let how = Line::new().code("provision verify --out proof.json").text(view.word(", then ", ", puis "));
        let how = how.code("provision matrix --format html --proof proof.json");
        return section("proof", heading, Paper::Portrait, vec![Block::Text(words.into()), Block::Text(how)]);
    };
    let number = |number: usize, tone: Tone| Cell {
        lines: vec![Line::from(number.to_string())],
        tone: (number > 0).then_some(tone),
        ..Cell::default()
    };
    let rows = evidence.pairs().into_iter().map(|((from, to), tally)| {
        let counts = [tally.allowed, tally.denied].into_iter().flat_map(|count| {
            [
                number(count.proved, Tone::Good),
                number(count.contradicted, Tone::Bad),
                number(count.undecided + count.not_tried, Tone::Changed),
            ]
        });
        Row { id: None, cells: std::iter::once(Cell::of(format!("{from} → {to}"))).chain(counts).collect() }
    });
    let open = view.word("undecided or not tried", "indécises ou non essayées");
    let words = [view.word("proved", "prouvées"), view.word("contradicted", "contredites"), open];
    let sides = [view.word("allowed", "autorisées"), view.word("denied", "interdites")];
    let mut columns = vec![Column::of(view.word("Zones", "Zones"))];
    columns.extend(sides.iter().flat_map(|side| words.iter().map(move |word| Column::of(format!("{side}, {word}")))));
    let caption = view.word(
        "How many connections between hosts came to which verdict, by the zones that they lead from and to.",
        "Combien de connexions entre hôtes ont reçu quel verdict, selon les zones d'où elles partent et où elles vont.",
    );
    let bodies = vec![Body { heading: None, rows: rows.collect() }];
    let mut blocks = vec![Block::Table(Table { caption: caption.into(), columns, bodies, ..Table::default() })];
    blocks.extend(contradicted(view));
    blocks.extend(found(view));
    section("proof", heading, Paper::Portrait, blocks)
}

/// Returns the connections that are not as the matrix says.
fn contradicted(view: &View<'_>) -> Vec<Block> {
    let Some(evidence) = view.evidence.as_ref().filter(|evidence| !evidence.contradicted().is_empty()) else {
        return Vec::new();
    };
    let rows = evidence.contradicted().iter().take(LISTED).map(|(cell, from, to)| {
        let transport = format!("{:?}/{}", cell.transport, cell.port).to_lowercase();
        let expected = match cell.expected {
            Expected::Allowed => State::Allowed,
            Expected::Denied => State::Denied,
        };
        let seen = serde_json::to_value(cell.seen).ok().and_then(|seen| seen.as_str().map(str::to_owned));
        Row {
            id: None,
            cells: vec![
                Cell::lines([
                    Line::new().code(cell.from.as_str()),
                    Line::new().quiet(format!("{from} {}", cell.source)),
                ]),
                Cell::lines([Line::new().code(cell.to.as_str()), Line::new().quiet(format!("{to} {}", cell.address))]),
                Cell::of(Line::new().code(transport)),
                Cell::of(state_word(expected, view.lang)),
                Cell::of(Line::new().badge(Tone::Bad, seen.unwrap_or_default())),
                Cell::of(cell.flow.as_deref().unwrap_or_default()),
            ],
        }
    });
    let columns = vec![
        Column::of(view.word("From", "De")),
        Column::of(view.word("To", "Vers")),
        Column::narrow(view.word("Service", "Service")),
        Column::narrow(view.word("Expected", "Attendu")),
        Column::narrow(view.word("Seen", "Vu")),
        Column::wide(view.word("Flow", "Flux")),
    ];
    let caption = view.word("Connections that are not as the matrix says.", "Connexions non conformes à la matrice.");
    let bodies = vec![Body { heading: None, rows: rows.collect() }];
    let mut blocks = vec![Block::Table(Table { caption: caption.into(), columns, bodies, ..Table::default() })];
    let more = evidence.contradicted().len().saturating_sub(LISTED);
    blocks.extend(left_out_line(view, more, ("connections", "connexions"), view.word("the proof", "la preuve")));
    blocks
}

/// Returns what else the hosts showed: rules that they break, and hosts that could not be asked.
fn found(view: &View<'_>) -> Vec<Block> {
    let Some(evidence) = &view.evidence else { return Vec::new() };
    let mut blocks = Vec::new();
    if !evidence.proof.findings.is_empty() {
        let rows = evidence.proof.findings.iter().map(|finding| Row {
            id: None,
            cells: vec![
                Cell::of(Line::new().code(finding.rule.as_str())),
                Cell::of(
                    Line::new().badge(if finding.level == "error" { Tone::Bad } else { Tone::Changed }, &finding.level),
                ),
                Cell::of(finding.message.as_str()),
                Cell::of(Line::new().code(finding.place.as_deref().unwrap_or_default())),
            ],
        });
        let columns = vec![
            Column::of(view.word("Rule", "Règle")),
            Column::narrow(view.word("Level", "Niveau")),
            Column::wide(view.word("Finding", "Constat")),
            Column::of(view.word("Declared at", "Déclaré en")),
        ];
        let caption = view.word("Rules that the hosts break.", "Règles que les hôtes enfreignent.");
        let bodies = vec![Body { heading: None, rows: rows.collect() }];
        blocks.push(Block::Table(Table { caption: caption.into(), columns, bodies, ..Table::default() }));
    }
    for (host, why) in &evidence.proof.unreachable {
        let words = view.word(" could not be asked: ", " n'a pas pu être interrogé : ");
        blocks.push(Block::Text(Line::new().code(host.as_str()).text(format!("{words}{why}"))));
    }
    blocks
}

fn diagram(view: &View<'_>, hosts: &[&Host]) -> Section {
    let drawn = topology(view.inventory(), hosts, view.lang);
    let mut blocks = vec![Block::Text(drawn.subtitle.as_str().into())];
    blocks.extend(topology_frames(&drawn).into_iter().map(Block::Picture));
    section("diagram", view.word("Level-3 diagram", "Schéma de niveau 3"), Paper::Landscape, blocks)
}
