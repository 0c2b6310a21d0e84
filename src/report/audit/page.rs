//! An audit as a page for an audit file: the scores, what breaks the rules on which hosts, what was signed for, what nobody
//! could read, and how each host stands to each rule.

use super::View;
use crate::policy::{Level, Pack, Rule, Score, Standing};
use crate::report::page::{
    Block, Body, Cell, Column, Figure, Kind as Layout, Line, Page, Paper, Row, Section, Table, Tone,
};

/// How many hosts stand in one table, before there is another.
const COLUMNS: usize = 12;

/// Returns the page.
pub fn page(view: &View<'_>) -> Page {
    let provider = view.inventory.provider.name.as_ref().map(ToString::to_string);
    let word = |en, fr| view.word(en, fr).to_owned();
    let mut facts = vec![
        (word("Inventory", "Inventaire"), Line::new().code(view.given)),
        (word("Hosts asked at", "Hôtes interrogés le"), Line::from(view.at)),
    ];
    if let Some(limit) = view.limit {
        facts.push((word("Only hosts", "Seuls les hôtes"), Line::new().code(limit)));
    }
    let sections = vec![summary(view), breaches(view), waived(view), unread(view), standings(view)];
    Page {
        lang: view.lang(),
        title: provider.unwrap_or_else(|| view.given.to_owned()),
        subtitle: word("Audit of the hosts in service", "Audit des hôtes en service"),
        facts,
        sections: sections.into_iter().filter(|section| !section.blocks.is_empty()).collect(),
        foot: Line::from(format!("provision {}", env!("CARGO_PKG_VERSION"))),
    }
}

fn tone(standing: Standing) -> Tone {
    match standing {
        Standing::Held => Tone::Good,
        Standing::NotConcerned => Tone::Quiet,
        Standing::Waived | Standing::Unread => Tone::Changed,
        Standing::Broken => Tone::Bad,
    }
}

fn state(standing: Standing) -> &'static str {
    match standing {
        Standing::Held => "held",
        Standing::NotConcerned => "not-concerned",
        Standing::Waived => "waived",
        Standing::Unread => "unread",
        Standing::Broken => "broken",
    }
}

/// Returns what stands in a small cell, so that nobody needs its colour.
fn letter(standing: Standing) -> &'static str {
    match standing {
        Standing::Unread => "?",
        known => tone(known).sign(),
    }
}

fn figure(value: impl ToString, noun: &str, tone: Option<Tone>) -> Figure {
    Figure { value: value.to_string(), noun: noun.to_owned(), tone }
}

fn per_cent(score: Score) -> String {
    score.per_cent().map_or_else(|| "–".to_owned(), |share| format!("{share} %"))
}

fn good(score: Score) -> Tone {
    if score.broken > 0 {
        Tone::Bad
    } else if score.waived + score.unread > 0 {
        Tone::Changed
    } else {
        Tone::Good
    }
}

fn summary(view: &View<'_>) -> Section {
    let standings = view.standings();
    let all = standings.score(None, None);
    let report = view.report;
    let is_bad = |number: usize, tone: Tone| Some(if number > 0 { tone } else { Tone::Quiet });
    let figures = vec![
        figure(per_cent(all), view.word("of the rules held", "des règles tenues"), Some(good(all))),
        figure(standings.rules.len(), view.word("rules", "règles"), None),
        figure(report.hosts.len(), view.word("hosts that answered", "hôtes qui ont répondu"), None),
        figure(
            view.unreached.len(),
            view.word("not reached", "hors d'atteinte"),
            is_bad(view.unreached.len(), Tone::Bad),
        ),
        figure(
            report.count(Level::Error),
            view.word("errors", "erreurs"),
            is_bad(report.count(Level::Error), Tone::Bad),
        ),
        figure(
            report.count(Level::Warning),
            view.word("warnings", "avertissements"),
            is_bad(report.count(Level::Warning), Tone::Changed),
        ),
        figure(report.waived.len(), view.word("waived", "sous dérogation"), is_bad(report.waived.len(), Tone::Changed)),
        figure(all.unread, view.word("could not be asked", "n'ont pu être posées"), is_bad(all.unread, Tone::Changed)),
    ];
    let packs: Vec<Pack> =
        Pack::ALL.into_iter().filter(|pack| standings.score(Some(*pack), None).asked() > 0).collect();
    let row = |head: Line, host: Option<usize>| {
        let cell = |score: Score| Cell {
            tone: (score.asked() > 0).then(|| good(score)),
            ..Cell::of(format!("{} ({}/{})", per_cent(score), score.held, score.asked()))
        };
        let mut cells = vec![Cell::of(head)];
        cells.extend(packs.iter().map(|pack| cell(standings.score(Some(*pack), host))));
        cells.push(cell(standings.score(None, host)));
        Row { id: None, cells }
    };
    let mut columns = vec![Column::of(view.word("Host", "Hôte"))];
    columns.extend(packs.iter().map(|pack| Column::narrow(pack.as_str())));
    columns.push(Column::narrow(view.word("all", "tout")));
    let fleet = Body { heading: None, rows: vec![row(Line::new().strong(view.word("fleet", "parc")), None)] };
    let hosts = report.hosts.iter().map(|at| row(Line::new().code(view.host(*at)), Some(*at)));
    let table = Table {
        kind: Layout::List,
        caption: Line::from(view.word(
            "Rules held of those asked. What is waived and what could not be read counts as asked, and not as held.",
            "Règles tenues parmi celles posées. Ce qui est dérogé ou n'a pu être lu compte comme posé, et non comme tenu.",
        )),
        columns,
        bodies: vec![fleet, Body { heading: None, rows: hosts.collect() }],
    };
    Section {
        id: "summary".to_owned(),
        heading: view.word("Summary", "Synthèse").to_owned(),
        paper: Paper::Portrait,
        blocks: vec![Block::Figures(figures), Block::Table(table)],
    }
}

fn list(view: &View<'_>, caption: &str, heads: [(&'static str, &'static str); 4], rows: Vec<Row>) -> Vec<Block> {
    if rows.is_empty() {
        return Vec::new();
    }
    let mut columns: Vec<Column> = Vec::new();
    for (at, (en, fr)) in heads.into_iter().enumerate() {
        let head = view.word(en, fr);
        columns.push(if at == 2 { Column::wide(head) } else { Column::of(head) });
    }
    let bodies = vec![Body { heading: None, rows }];
    vec![Block::Table(Table { kind: Layout::List, caption: Line::from(caption), columns, bodies })]
}

fn breaches(view: &View<'_>) -> Section {
    let findings = view.report.findings.iter().filter(|finding| finding.level > Level::Note);
    let mut bodies: Vec<(&str, Body)> = Vec::new();
    let breaches = view.breaches(findings);
    for breach in &breaches {
        let (word, tone) = match breach.finding.level {
            Level::Error => (view.word("error", "erreur"), Tone::Bad),
            Level::Warning | Level::Note => (view.word("warning", "avertissement"), Tone::Changed),
        };
        let mut what = vec![Line::from(breach.message)];
        what.extend(breach.finding.help.as_ref().map(|help| Line::new().quiet(help)));
        let cells =
            vec![Cell::of(Line::new().badge(tone, word)), Cell::lines(what), Cell::of(view.all_named(&breach.hosts))];
        let row = Row { id: None, cells };
        match bodies.iter_mut().find(|(rule, _)| *rule == breach.rule) {
            Some((_, body)) => body.rows.push(row),
            None => {
                let rule = view.rule(breach.rule);
                let text = rule.map(|rule| rule.text.of(view.lang())).unwrap_or_default();
                let mut heading = Line::new().code(breach.rule).text(format!(" {text}"));
                if let Some(also) = rule.map(|rule| rule.also).filter(|also| !also.is_empty()) {
                    heading = heading.quiet(format!(" ({})", also.join(", ")));
                }
                bodies.push((breach.rule, Body { heading: Some(heading), rows: vec![row] }));
            }
        }
    }
    let columns = vec![
        Column::of(view.word("Level", "Niveau")),
        Column::wide(view.word("What is wrong", "Constat")),
        Column::of(view.word("Hosts", "Hôtes")),
    ];
    let caption = Line::from(view.word("What nobody has signed for.", "Ce que nul n'a signé."));
    let table =
        Table { kind: Layout::List, caption, columns, bodies: bodies.into_iter().map(|(_, body)| body).collect() };
    Section {
        id: "findings".to_owned(),
        heading: view.word("Findings", "Constats").to_owned(),
        paper: Paper::Portrait,
        blocks: if breaches.is_empty() { Vec::new() } else { vec![Block::Table(table)] },
    }
}

fn waived(view: &View<'_>) -> Section {
    let rows = view.report.waived.iter().filter_map(|waived| {
        let waiver = view.inventory.policy.waivers.get(waived.waiver)?;
        let hosts: Vec<&str> = waived.finding.hosts.iter().map(|at| view.host(*at)).collect();
        let signed = match view.lang() {
            crate::policy::Lang::En => format!("{}, until {}", waiver.owner, waiver.expires),
            crate::policy::Lang::Fr => format!("{}, jusqu'au {}", waiver.owner, waiver.expires),
        };
        let what = [Line::from(view.message(&waived.finding)), Line::new().quiet(waiver.why.value.clone())];
        let cells = vec![
            Cell::of(Line::new().code(&*waived.finding.rule)),
            Cell::of(signed),
            Cell::lines(what),
            Cell::of(hosts.join(", ")),
        ];
        Some(Row { id: None, cells })
    });
    let heads =
        [("Rule", "Règle"), ("Signed", "Signée"), ("What is excepted", "Ce qui est excepté"), ("Hosts", "Hôtes")];
    let caption = view.word("What somebody has signed for.", "Ce que quelqu'un a signé.");
    let mut blocks = list(view, caption, heads, rows.collect());
    let declared = view.report.declared.iter().map(|declared| {
        Block::Text(
            Line::new()
                .badge(Tone::Plain, view.word("declared, not verified", "déclaré, non vérifié"))
                .text(" ")
                .code(declared.rule)
                .text(format!(" {}", declared.text)),
        )
    });
    blocks.extend(declared);
    Section {
        id: "waived".to_owned(),
        heading: view.word("Waived and declared", "Dérogations et déclarations").to_owned(),
        paper: Paper::Portrait,
        blocks,
    }
}

fn unread(view: &View<'_>) -> Section {
    let mut rows: Vec<Row> = Vec::new();
    for (why, rules, hosts) in view.unasked() {
        let badge = Line::new().badge(Tone::Changed, view.word("not read", "non lu"));
        let cells = vec![
            Cell::of(Line::new().code(rules.join(", "))),
            Cell::of(badge),
            Cell::of(why),
            Cell::of(view.all_named(&hosts)),
        ];
        rows.push(Row { id: None, cells });
    }
    for (host, why) in view.unreached {
        let badge = Line::new().badge(Tone::Bad, view.word("not reached", "hors d'atteinte"));
        let every = Line::from(view.word("all", "toutes"));
        let cells = vec![Cell::of(every), Cell::of(badge), Cell::of(why.as_str()), Cell::of(host.as_str())];
        rows.push(Row { id: None, cells });
    }
    let heads = [("Rules", "Règles"), ("", ""), ("Why", "Pourquoi"), ("Hosts", "Hôtes")];
    let caption = view.word(
        "What could not be seen. None of it counts as held.",
        "Ce qui n'a pu être vu. Rien de cela ne compte comme tenu.",
    );
    Section {
        id: "unread".to_owned(),
        heading: view.word("Not seen", "Non vu").to_owned(),
        paper: Paper::Portrait,
        blocks: list(view, caption, heads, rows),
    }
}

fn standings(view: &View<'_>) -> Section {
    let standings = view.standings();
    let word = |en, fr| view.word(en, fr).to_owned();
    let entry = |standing: Standing, name: String, meaning: String| {
        let name = match letter(standing) {
            "?" => format!("{name} (?)"),
            _ => name,
        };
        (tone(standing), name, meaning)
    };
    let mut blocks = vec![Block::Legend(vec![
        entry(Standing::Held, word("held", "tenue"), word("the host keeps to it", "l'hôte s'y tient")),
        entry(Standing::Broken, word("broken", "enfreinte"), word("it does not", "il ne s'y tient pas")),
        entry(Standing::Waived, word("waived", "dérogée"), word("somebody has signed for that", "quelqu'un l'a signé")),
        entry(Standing::Unread, word("not read", "non lue"), word("nobody knows", "nul ne sait")),
        entry(
            Standing::NotConcerned,
            word("not concerned", "sans objet"),
            word("the host has nothing of the sort", "l'hôte n'a rien de tel"),
        ),
    ])];
    for hosts in view.report.hosts.chunks(COLUMNS) {
        let mut columns = vec![Column::of(view.word("Rule", "Règle"))];
        columns.extend(hosts.iter().map(|at| Column::narrow(view.host(*at))));
        let row = |rule: &'static Rule| {
            let mut cells =
                vec![Cell::lines([Line::new().code(rule.id), Line::new().quiet(rule.text.of(view.lang()))])];
            cells.extend(hosts.iter().map(|at| {
                let standing = standings.standing(rule, *at);
                Cell { tone: Some(tone(standing)), state: Some(state(standing)), ..Cell::of(letter(standing)) }
            }));
            Row { id: None, cells }
        };
        let bodies = Pack::ALL.into_iter().filter_map(|pack| {
            let rules = standings.rules.iter().filter(|rule| rule.pack == pack);
            let rows: Vec<Row> = rules.map(|rule| row(rule)).collect();
            (!rows.is_empty()).then(|| Body { heading: Some(Line::from(pack.as_str())), rows })
        });
        let caption = Line::from(view.word("Each rule on each host.", "Chaque règle sur chaque hôte."));
        blocks.push(Block::Table(Table { kind: Layout::List, caption, columns, bodies: bodies.collect() }));
    }
    if view.report.hosts.is_empty() {
        blocks.clear();
    }
    Section {
        id: "rules".to_owned(),
        heading: view.word("Rules and hosts", "Règles et hôtes").to_owned(),
        paper: Paper::Landscape,
        blocks,
    }
}
