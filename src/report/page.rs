//! A report as one HTML page: for a screen, light or dark, and to be printed in an audit file.
//!
//! A [`Page`] is plain data, as a drawing is: who reports fills it with sections, tables and pictures, and [`html()`] writes it.
//! All markup is written here, and every text is escaped here, so nothing that an inventory or a host says can be more
//! than text. The page holds its style, asks for no script and fetches nothing; what it says in colour it says with a
//! sign and a word too.

use maud::{DOCTYPE, Markup, PreEscaped, Render, html as markup};

use super::style::escape;
use crate::policy::Lang;

/// A report that is one file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The language of its words.
    pub lang: Lang,
    /// What it is about, such as the provider's name.
    pub title: String,
    /// What it is, such as "Flow matrix".
    pub subtitle: String,
    /// What says which state of things it shows: the inventory, the day, the digest of the inputs.
    pub facts: Vec<(String, Line)>,
    /// What it says, in order.
    pub sections: Vec<Section>,
    /// The last line: what made it.
    pub foot: Line,
}

/// A part of a page with a heading; it is listed in the contents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Section {
    /// Its name in links, unique in the page: lowercase letters, digits and `-`.
    pub id: String,
    /// Its heading.
    pub heading: String,
    /// How the paper is held that it is printed on.
    pub paper: Paper,
    /// What it holds.
    pub blocks: Vec<Block>,
}

/// How paper is held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Paper {
    /// Upright; the section follows the one before.
    #[default]
    Portrait,
    /// On its side, beginning on a new sheet.
    Landscape,
}

/// What a section holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Block {
    /// A paragraph.
    Text(Line),
    /// Numbers that are to be seen first.
    Figures(Vec<Figure>),
    /// What signs and colours mean: the tone, the word, the meaning.
    Legend(Vec<(Tone, String, String)>),
    /// A table.
    Table(Table),
    /// A picture: SVG as `drawing` makes it, put in as it is, so it must come from there.
    Picture(String),
    /// What is shown on paper, and on a screen only where somebody opens it.
    Details(Line, Vec<Block>),
}

/// A number with its noun.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figure {
    /// The number.
    pub value: String,
    /// What is counted.
    pub noun: String,
    /// Whether it is good or bad news.
    pub tone: Option<Tone>,
}

/// A table. The first cell of each row is its heading.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// How it is laid out.
    pub kind: Kind,
    /// What it shows.
    pub caption: Line,
    /// The headings of the columns.
    pub columns: Vec<Column>,
    /// The rows.
    pub bodies: Vec<Body>,
}

/// How a table is laid out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Rows of text.
    #[default]
    List,
    /// A field of small cells, each coloured by its tone.
    Grid,
}

/// The heading of a column.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Column {
    /// The heading.
    pub head: Line,
    /// How much room it wants.
    pub room: Room,
}

/// How much room a column wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Room {
    /// As its text needs.
    #[default]
    Even,
    /// As little as possible: numbers and single words.
    Narrow,
    /// As much as is left: sentences.
    Wide,
}

/// Rows that belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// What they have in common.
    pub heading: Option<Line>,
    /// The rows.
    pub rows: Vec<Row>,
}

/// A row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Its name in links, unique in the page.
    pub id: Option<String>,
    /// Its cells, the heading first.
    pub cells: Vec<Cell>,
}

/// A cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// Its lines.
    pub lines: Vec<Line>,
    /// What it says at the first look.
    pub tone: Option<Tone>,
    /// A word for machines that read the page, in `data-state`.
    pub state: Option<&'static str>,
    /// What is told to who asks, as a tooltip; nothing that stands nowhere else.
    pub hint: String,
}

/// What a cell or a word says at the first look. Each has a colour and a sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tone {
    /// As it should be, and seen to be.
    Good,
    /// As it is meant to be.
    Plain,
    /// Excepted, or to be looked at.
    Changed,
    /// Not as it should be.
    Bad,
    /// Nothing there.
    Quiet,
}

impl Tone {
    /// Returns the sign that says the same as the colour.
    pub fn sign(self) -> &'static str {
        match self {
            Tone::Good => "✓",
            Tone::Plain => "●",
            Tone::Changed => "▲",
            Tone::Bad => "✗",
            Tone::Quiet => "–",
        }
    }

    fn class(self) -> &'static str {
        match self {
            Tone::Good => "good",
            Tone::Plain => "plain",
            Tone::Changed => "changed",
            Tone::Bad => "bad",
            Tone::Quiet => "quiet",
        }
    }
}

/// A line of text, made of pieces: `Line::from("from ").code("10.0.0.1")`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line(Vec<Piece>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Strong(String),
    Code(String),
    Quiet(String),
    Badge(Tone, String),
    Link { to: String, text: String, hint: String },
}

impl<T: Into<String>> From<T> for Line {
    fn from(text: T) -> Self {
        Self(vec![Piece::Text(text.into())])
    }
}

impl Line {
    /// Returns a line without text.
    pub fn new() -> Self {
        Self::default()
    }

    /// Returns whether nothing is on it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds plain text.
    #[must_use]
    pub fn text(self, text: impl Into<String>) -> Self {
        self.push(Piece::Text(text.into()))
    }

    /// Adds text that stands out.
    #[must_use]
    pub fn strong(self, text: impl Into<String>) -> Self {
        self.push(Piece::Strong(text.into()))
    }

    /// Adds what a machine would read: a name, an address, a place in a file.
    #[must_use]
    pub fn code(self, text: impl Into<String>) -> Self {
        self.push(Piece::Code(text.into()))
    }

    /// Adds text beside the point.
    #[must_use]
    pub fn quiet(self, text: impl Into<String>) -> Self {
        self.push(Piece::Quiet(text.into()))
    }

    /// Adds a word in its colour, with its sign.
    #[must_use]
    pub fn badge(self, tone: Tone, word: impl Into<String>) -> Self {
        self.push(Piece::Badge(tone, word.into()))
    }

    /// Adds a link to a row or section of the page, by its id.
    #[must_use]
    pub fn link(self, id: impl Into<String>, text: impl Into<String>, hint: impl Into<String>) -> Self {
        self.push(Piece::Link { to: id.into(), text: text.into(), hint: hint.into() })
    }

    fn push(mut self, piece: Piece) -> Self {
        self.0.push(piece);
        self
    }
}

impl Cell {
    /// Returns a cell of one line.
    pub fn of(line: impl Into<Line>) -> Self {
        Self { lines: vec![line.into()], ..Self::default() }
    }

    /// Returns a cell of several lines.
    pub fn lines(lines: impl IntoIterator<Item = Line>) -> Self {
        Self { lines: lines.into_iter().collect(), ..Self::default() }
    }
}

impl Column {
    /// Returns a column that takes as much room as its text needs.
    pub fn of(head: impl Into<Line>) -> Self {
        Self { head: head.into(), room: Room::Even }
    }

    /// Returns a column for numbers and single words.
    pub fn narrow(head: impl Into<Line>) -> Self {
        Self { head: head.into(), room: Room::Narrow }
    }

    /// Returns a column for sentences.
    pub fn wide(head: impl Into<Line>) -> Self {
        Self { head: head.into(), room: Room::Wide }
    }
}

/// A text with everything shown that could forge a line or turn the direction of reading; maud escapes what means
/// something to HTML.
struct Shown<'a>(&'a str);

impl Render for Shown<'_> {
    fn render_to(&self, buffer: &mut String) {
        escape(self.0).as_ref().render_to(buffer);
    }
}

/// No script runs in the page and nothing is fetched, even if some text were to become markup.
const NOTHING_ELSE: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// Returns a page as HTML.
pub fn html(page: &Page) -> String {
    let lang = match page.lang {
        Lang::En => "en",
        Lang::Fr => "fr",
    };
    let contents = match page.lang {
        Lang::En => "Contents",
        Lang::Fr => "Sommaire",
    };
    let whole = markup! {
        (DOCTYPE)
        html lang=(lang) {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(NOTHING_ELSE);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                title { (Shown(&page.title)) " · " (Shown(&page.subtitle)) }
                style { (PreEscaped(include_str!("page.css"))) }
            }
            body {
                header {
                    p.kind { (Shown(&page.subtitle)) }
                    h1 { (Shown(&page.title)) }
                    @if !page.facts.is_empty() {
                        dl {
                            @for (name, line) in &page.facts {
                                div { dt { (Shown(name)) } dd { (line) } }
                            }
                        }
                    }
                }
                @if page.sections.len() > 1 {
                    nav aria-label=(contents) {
                        ol {
                            @for section in &page.sections {
                                li { a href={ "#" (section.id) } { (Shown(&section.heading)) } }
                            }
                        }
                    }
                }
                main { @for section in &page.sections { (section) } }
                @if !page.foot.is_empty() { footer { (page.foot) } }
            }
        }
    };
    whole.into_string()
}

impl Render for Section {
    fn render(&self) -> Markup {
        let class = match self.paper {
            Paper::Portrait => "portrait",
            Paper::Landscape => "landscape",
        };
        markup! {
            section id=(self.id) class=(class) {
                h2 { (Shown(&self.heading)) }
                @for block in &self.blocks { (block) }
            }
        }
    }
}

impl Render for Block {
    fn render(&self) -> Markup {
        match self {
            Block::Text(line) => markup! { p { (line) } },
            Block::Figures(figures) => markup! {
                ul.figures {
                    @for figure in figures {
                        li class=[figure.tone.map(Tone::class)] {
                            strong { (sign(figure.tone)) (Shown(&figure.value)) }
                            " " span { (Shown(&figure.noun)) }
                        }
                    }
                }
            },
            Block::Legend(entries) => markup! {
                dl.legend {
                    @for (tone, word, meaning) in entries {
                        div { dt { (Line::new().badge(*tone, word)) } dd { (Shown(meaning)) } }
                    }
                }
            },
            Block::Table(table) => markup! { div.scroll { (table) } },
            Block::Picture(svg) => markup! { figure.scroll { (PreEscaped(svg)) } },
            Block::Details(summary, blocks) => markup! {
                details { summary { (summary) } @for block in blocks { (block) } }
            },
        }
    }
}

fn sign(tone: Option<Tone>) -> Markup {
    markup! { @if let Some(tone) = tone { span.sign aria-hidden="true" { (tone.sign()) } " " } }
}

impl Render for Table {
    fn render(&self) -> Markup {
        let kind = match self.kind {
            Kind::List => "list",
            Kind::Grid => "grid",
        };
        let room = |column: &Column| match column.room {
            Room::Even => None,
            Room::Narrow => Some("narrow"),
            Room::Wide => Some("wide"),
        };
        let rooms: Vec<Option<&str>> = self.columns.iter().map(room).collect();
        markup! {
            table class=(kind) {
                @if !self.caption.is_empty() { caption { (self.caption) } }
                thead {
                    tr {
                        @for column in &self.columns {
                            th scope="col" class=[room(column)] { (column.head) }
                        }
                    }
                }
                @for body in &self.bodies {
                    tbody {
                        @if let Some(heading) = &body.heading {
                            tr.heading { th scope="rowgroup" colspan=(self.columns.len()) { (heading) } }
                        }
                        @for row in &body.rows {
                            tr id=[row.id.as_deref()] {
                                @for (at, cell) in row.cells.iter().enumerate() {
                                    @if at == 0 {
                                        th scope="row" class=[rooms.first().copied().flatten()] { (cell) }
                                    } @else {
                                        td class=[class_of(cell, rooms.get(at).copied().flatten())]
                                            data-state=[cell.state]
                                            title=[Some(escape(&cell.hint)).filter(|hint| !hint.is_empty())] { (cell) }
                                    }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn class_of(cell: &Cell, room: Option<&'static str>) -> Option<String> {
    let classes: Vec<&str> = cell.tone.map(Tone::class).into_iter().chain(room).collect();
    (!classes.is_empty()).then(|| classes.join(" "))
}

impl Render for Cell {
    fn render(&self) -> Markup {
        markup! { @for line in &self.lines { div { (line) } } }
    }
}

impl Render for Line {
    fn render(&self) -> Markup {
        markup! {
            @for piece in &self.0 {
                @match piece {
                    Piece::Text(text) => { (Shown(text)) }
                    Piece::Strong(text) => { strong { (Shown(text)) } }
                    Piece::Code(text) => { code { (Shown(text)) } }
                    Piece::Quiet(text) => { span.beside { (Shown(text)) } }
                    Piece::Badge(tone, word) => {
                        span class={ "badge " (tone.class()) } { (sign(Some(*tone))) (Shown(word)) }
                    }
                    Piece::Link { to, text, hint } => {
                        a href={ "#" (Shown(to)) } title=[Some(escape(hint)).filter(|hint| !hint.is_empty())] { (Shown(text)) }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hostile() -> Page {
        let text = "</title><script>alert(1)</script>\" onload=\"x & \u{202e}\n<!--";
        let line = || {
            let line = Line::from(text).strong(text).code(text).quiet(text).badge(Tone::Bad, text);
            line.link("a\" onclick=\"x", text, text)
        };
        let cell = Cell { lines: vec![line()], tone: Some(Tone::Bad), state: Some("denied"), hint: text.to_owned() };
        let table = Table {
            caption: line(),
            columns: vec![Column::of(line()), Column::wide(text)],
            bodies: vec![Body {
                heading: Some(line()),
                rows: vec![Row { id: Some("r\" x=\"".to_owned()), cells: vec![cell.clone(), cell] }],
            }],
            ..Table::default()
        };
        let figure = Figure { value: text.to_owned(), noun: text.to_owned(), tone: Some(Tone::Changed) };
        let blocks = vec![
            Block::Text(line()),
            Block::Figures(vec![figure]),
            Block::Legend(vec![(Tone::Quiet, text.to_owned(), text.to_owned())]),
            Block::Details(line(), vec![Block::Table(table)]),
        ];
        Page {
            title: text.to_owned(),
            subtitle: text.to_owned(),
            facts: vec![(text.to_owned(), line())],
            sections: vec![
                Section { id: "one".to_owned(), heading: text.to_owned(), blocks, ..Section::default() },
                Section { id: "two".to_owned(), heading: text.to_owned(), ..Section::default() },
            ],
            foot: line(),
            ..Page::default()
        }
    }

    #[test]
    fn no_text_can_become_markup() {
        let page = html(&hostile());
        let (head, body) = page.split_once("</style>").unwrap();
        for part in [head, body] {
            for wrong in ["<script", "<!--", "\" onload", "\" onclick", "\" x=", "\u{202e}"] {
                assert!(!part.contains(wrong), "{wrong} in {part}");
            }
        }
        insta::assert_snapshot!("hostile_page", body.replace("</", "\n</"));
    }

    #[test]
    fn a_page_fetches_nothing_and_runs_nothing() {
        let page = html(&hostile());
        assert!(page.contains("content=\"default-src 'none'; style-src 'unsafe-inline'\""));
        for wrong in ["http:", "https:", "url(", "@import", "src=", "<link"] {
            assert!(!page.contains(wrong), "{wrong}");
        }
    }
}
