//! The only user of the YAML parser crate: turns its events into nodes.

use std::collections::{HashMap, HashSet};

use camino::Utf8Path;
use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span as EventSpan, StructureStyle, Tag};

use crate::diag::{Diagnostic, Diagnostics, FileId, Sources, Span};
use crate::model::node::{Key, Node, Resolved, Scalar, Style, Value};

/// The code of what is no YAML.
pub const SYNTAX: &str = "yaml-syntax";

/// The largest file that is read.
pub const MAX_BYTES: u64 = 32 << 20;

/// The deepest nesting of maps and lists.
pub const MAX_DEPTH: usize = 100;

/// How much memory the copies that aliases stand for may take in one file, in rough bytes.
const MAX_ALIAS_COST: usize = 16 << 20;

/// The most values in one file; ten thousand hosts are about half a million.
const MAX_VALUES: usize = 4_000_000;

/// After how many problems the rest of a file is not looked at.
const MAX_PROBLEMS: usize = 100;

/// What a value takes beside its text, in rough bytes.
const VALUE_COST: usize = 64;

/// From how many entries on a map's keys are looked up by hash.
const MANY_KEYS: usize = 16;

/// Parses the one document of a file, reports every problem found on the way, and adds the text to `sources`.
///
/// Returns a tree also after a problem that leaves the rest readable, such as a duplicate key, so that later checks
/// can report theirs in the same run; whether all is well only `diags` can tell.
pub fn parse(sources: &mut Sources, path: &Utf8Path, bytes: &[u8], diags: &mut Diagnostics) -> Option<Node> {
    if bytes.len() as u64 > MAX_BYTES {
        let message = format!("{path} is larger than {} MiB", MAX_BYTES >> 20);
        diags.push(Diagnostic::error("file-too-large", message).help("split it into several files"));
        return None;
    }
    let text = match std::str::from_utf8(bytes) {
        Ok(text) => text,
        Err(error) => {
            let at = error.valid_up_to();
            let file = sources.add(path, String::from_utf8_lossy(bytes).into_owned());
            let span = Span { file, start: at as u32, end: at as u32 + 1 };
            let byte = bytes.get(at).copied().unwrap_or_default();
            diags.push(
                Diagnostic::error("not-utf8", format!("the byte 0x{byte:02X} is not UTF-8"))
                    .at(span)
                    .help("save the file as UTF-8"),
            );
            return None;
        }
    };
    let file = sources.add(path, text);
    let mut builder =
        Builder { file, text, diags, anchors: HashMap::new(), open: Vec::new(), root: None, alias_cost: 0, values: 0 };
    builder.run()
}

/// A collection that is being read.
struct Open {
    span: Span,
    style: StructureStyle,
    anchor: usize,
    kind: OpenKind,
}

enum OpenKind {
    Seq(Vec<Node>),
    Map(OpenMap),
}

#[derive(Default)]
struct OpenMap {
    entries: Vec<(Key, Node)>,
    /// Where each key of `entries` stands, once there are many.
    places: HashMap<Box<str>, Span>,
    /// The key whose value comes next.
    key: Option<NextKey>,
    /// The values of merge keys, with the number of entries that stood before each.
    merges: Vec<(usize, Span, Node)>,
}

enum NextKey {
    Entry(Key),
    Merge(Span),
    /// The key was reported, and its value is read past.
    Unusable,
}

impl OpenMap {
    fn place_of(&self, key: &str) -> Option<Span> {
        if self.places.is_empty() {
            return self.entries.iter().find(|(k, _)| &*k.text == key).map(|(k, _)| k.span);
        }
        self.places.get(key).copied()
    }

    fn push(&mut self, key: Key, value: Node) {
        if !self.places.is_empty() {
            self.places.insert(key.text.clone(), key.span);
        } else if self.entries.len() == MANY_KEYS {
            self.places = self.entries.iter().map(|(k, _)| (k.text.clone(), k.span)).collect();
            self.places.insert(key.text.clone(), key.span);
        }
        self.entries.push((key, value));
    }
}

struct Builder<'t, 'd> {
    file: FileId,
    text: &'t str,
    diags: &'d mut Diagnostics,
    anchors: HashMap<usize, Anchor>,
    open: Vec<Open>,
    root: Option<Node>,
    alias_cost: usize,
    values: usize,
}

/// A finished value that aliases may repeat.
struct Anchor {
    node: Node,
    cost: usize,
    height: usize,
}

/// The reading cannot go on, and the reason has been reported.
struct Stop;

impl Builder<'_, '_> {
    fn run(&mut self) -> Option<Node> {
        let mut documents = 0;
        let known_problems = self.diags.iter().len();
        let mut options = granit_parser::Options::default();
        options.set_emit_comments(false);
        for event in Parser::new_from_str_with_options(self.text, options) {
            let (event, span) = match event {
                Ok(event) => event,
                Err(error) => {
                    self.syntax_error(&error);
                    return None;
                }
            };
            if let Event::DocumentStart(..) = event {
                documents += 1;
                if documents == 2 {
                    let diagnostic = Diagnostic::error("several-documents", "a second document starts here")
                        .at(self.span(span))
                        .help("a file holds one document: remove the `---`, or use two files");
                    self.diags.push(diagnostic);
                    return None;
                }
                continue;
            }
            if self.event(event, span).is_err() {
                return None;
            }
            if self.diags.iter().len() - known_problems > MAX_PROBLEMS {
                self.error("too-many-problems", "the rest of the file is not looked at", self.span(span));
                return None;
            }
        }
        if documents == 0 {
            let span = Span { file: self.file, start: 0, end: 0 };
            self.diags.push(Diagnostic::error("empty-file", "the file is empty").at(span));
            return None;
        }
        self.root.take()
    }

    fn syntax_error(&mut self, error: &ScanError) {
        let reported = error.marker().byte_offset().unwrap_or(self.text.len()).min(self.text.len());
        let info = error.info();
        // For a tab the parser points at what it was reading before or after it.
        let line = self.text.get(..reported).and_then(|before| before.rfind('\n')).map_or(0, |end| end + 1);
        let tab = info.contains("tab").then(|| self.text.get(line..)?.find('\t')).flatten();
        let start = tab.map_or(reported, |tab| line + tab);
        let length = self.text.get(start..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        let span = Span { file: self.file, start: start as u32, end: (start + length) as u32 };
        let (message, help) = match error.kind() {
            _ if tab.is_some() => ("a tab cannot indent YAML".to_owned(), Some("indent with spaces")),
            ErrorKind::UnknownAnchor => ("no anchor of that name stands before this alias".to_owned(), None),
            _ if info.starts_with("mapping values are not allowed") => {
                (info, Some("a text with `: ` in it needs quotes, and a key needs a space after its `:`"))
            }
            _ => (info, None),
        };
        let diagnostic = Diagnostic::error(SYNTAX, message).at(span);
        self.diags.push(match help {
            Some(help) => diagnostic.help(help),
            None => diagnostic,
        });
    }

    fn span(&self, span: EventSpan) -> Span {
        let range = span.byte_range().unwrap_or(0..0);
        Span { file: self.file, start: range.start as u32, end: range.end as u32 }
    }

    fn event(&mut self, event: Event<'_>, at: EventSpan) -> Result<(), Stop> {
        let span = self.span(at);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                // The parser writes `~` for a value that is not there.
                let text = if span.start == span.end { "" } else { &*text };
                let scalar = self.scalar(text, style, tag.as_deref(), span);
                self.add(Node { span, value: Value::Scalar(scalar) }, anchor)
            }
            Event::SequenceStart(style, anchor, tag) => {
                self.check_collection_tag(tag.as_deref(), "seq", span);
                self.start(span, style, anchor, OpenKind::Seq(Vec::new()))
            }
            Event::MappingStart(style, anchor, tag) => {
                self.check_collection_tag(tag.as_deref(), "map", span);
                self.start(span, style, anchor, OpenKind::Map(OpenMap::default()))
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
            Event::Alias(id) => self.alias(id, span),
            _ => Ok(()),
        }
    }

    fn error(&mut self, code: &'static str, message: impl Into<String>, span: Span) {
        self.diags.push(Diagnostic::error(code, message).at(span));
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, tag: Option<&Tag>, span: Span) -> Scalar {
        if text.contains('\0') {
            self.error("nul-character", "a text cannot hold a NUL character", span);
        }
        let as_written = if style == ScalarStyle::Plain { Scalar::plain(text) } else { Scalar::quoted(text) };
        let Some(tag) = tag else { return as_written };
        let plain = Scalar::plain(text);
        let (fits, wanted) = match tag.core_suffix() {
            Some("str") => return Scalar::quoted(text),
            Some("null") => (plain.is_null(), "null"),
            Some("bool") => (matches!(plain.resolve(), Resolved::Bool(_)), "`true` or `false`"),
            Some("int") => (matches!(plain.resolve(), Resolved::Unsigned(_) | Resolved::Negative(_)), "an integer"),
            Some("float") => {
                let is_number = !matches!(plain.resolve(), Resolved::Text(_) | Resolved::Null | Resolved::Bool(_));
                (is_number, "a number")
            }
            _ if tag.original() == "!" => return Scalar::quoted(text),
            Some(_) => (false, "a collection"),
            None => {
                self.foreign_tag(tag, span);
                return as_written;
            }
        };
        if !fits {
            self.error("wrong-tag", format!("`{}` does not fit here: {text:?} is not {wanted}", tag.original()), span);
        }
        plain
    }

    fn check_collection_tag(&mut self, tag: Option<&Tag>, kind: &str, span: Span) {
        match tag {
            None => {}
            Some(tag) if tag.is_yaml_core_schema_tag(kind) || tag.original() == "!" => {}
            Some(tag) if tag.is_yaml_core_schema() => {
                let what = if kind == "map" { "a map" } else { "a list" };
                self.error("wrong-tag", format!("`{}` does not fit {what}", tag.original()), span);
            }
            Some(tag) => self.foreign_tag(tag, span),
        }
    }

    fn foreign_tag(&mut self, tag: &Tag, span: Span) {
        let diagnostic = Diagnostic::error("unknown-tag", format!("unknown tag `{}`", tag.original()))
            .at(span)
            .help("only the tags of YAML's core schema are read, such as `!!str`");
        self.diags.push(diagnostic);
    }

    fn start(&mut self, span: Span, style: StructureStyle, anchor: usize, kind: OpenKind) -> Result<(), Stop> {
        if self.open.len() >= MAX_DEPTH {
            self.error("too-deep", format!("maps and lists are nested more than {MAX_DEPTH} deep"), span);
            return Err(Stop);
        }
        self.open.push(Open { span, style, anchor, kind });
        Ok(())
    }

    fn end(&mut self, end: Span) -> Result<(), Stop> {
        let Some(Open { span, style, anchor, kind }) = self.open.pop() else { return Ok(()) };
        let is_flow = style == StructureStyle::Flow;
        let node = match kind {
            OpenKind::Seq(items) => {
                let end = if is_flow { end.end } else { span.start + 1 };
                Node { span: Span { end: end.max(span.start), ..span }, value: Value::Seq(items) }
            }
            OpenKind::Map(map) => {
                let span = match map.entries.first() {
                    _ if is_flow => Span { end: end.end.max(span.start), ..span },
                    Some((key, _)) if map.merges.is_empty() => key.span,
                    _ => Span { end: span.end.max(span.start + 1), ..span },
                };
                Node { span, value: Value::Map(self.merge(map)) }
            }
        };
        self.add(node, anchor)
    }

    /// Adds what merge keys bring: entries of the map itself win, then those of the earlier merged map.
    fn merge(&mut self, map: OpenMap) -> Vec<(Key, Node)> {
        if map.merges.is_empty() {
            return map.entries;
        }
        let mut taken: HashSet<Box<str>> = map.entries.iter().map(|(key, _)| key.text.clone()).collect();
        let mut merged = Vec::new();
        let mut merges = map.merges.into_iter().peekable();
        let mut entries = map.entries.into_iter().enumerate();
        loop {
            let entry = entries.next();
            let at = entry.as_ref().map_or(usize::MAX, |(at, _)| *at);
            while let Some((_, key_span, value)) = merges.next_if(|(before, ..)| *before <= at) {
                let sources = match value.value {
                    Value::Seq(items) => items,
                    _ => vec![value],
                };
                for source in sources {
                    let Value::Map(entries) = source.value else {
                        let message = format!("`<<` merges maps, found {}", source.describe());
                        self.diags.push(
                            Diagnostic::error("wrong-merge", message).at(source.span).label(key_span, "merged here"),
                        );
                        continue;
                    };
                    merged.extend(entries.into_iter().filter(|(key, _)| taken.insert(key.text.clone())));
                }
            }
            match entry {
                Some((_, entry)) => merged.push(entry),
                None => return merged,
            }
        }
    }

    fn alias(&mut self, id: usize, span: Span) -> Result<(), Stop> {
        let Some(anchor) = self.anchors.get(&id) else {
            self.error("alias-loop", "an alias stands inside the value that it repeats", span);
            return Err(Stop);
        };
        if self.open.len() + anchor.height > MAX_DEPTH {
            self.error("too-deep", format!("maps and lists are nested more than {MAX_DEPTH} deep"), span);
            return Err(Stop);
        }
        self.alias_cost += anchor.cost;
        if self.alias_cost > MAX_ALIAS_COST {
            let diagnostic = Diagnostic::error("alias-bomb", "the aliases of this file repeat too much")
                .at(span)
                .help(format!("what they stand for may take {} MiB in all", MAX_ALIAS_COST >> 20));
            self.diags.push(diagnostic);
            return Err(Stop);
        }
        let node = anchor.node.clone();
        self.add(node, 0)
    }

    /// Puts a finished value where it belongs: under the open collection, as its key, or at the root.
    fn add(&mut self, mut node: Node, anchor: usize) -> Result<(), Stop> {
        self.values += 1;
        if self.values > MAX_VALUES {
            self.error("file-too-large", format!("the file holds more than {MAX_VALUES} values"), node.span);
            return Err(Stop);
        }
        if anchor != 0 {
            let (cost, height) = measure(&node);
            self.anchors.insert(anchor, Anchor { node: node.clone(), cost, height });
            self.alias_cost += cost;
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        let map = match &mut open.kind {
            OpenKind::Seq(items) => {
                items.push(node);
                return Ok(());
            }
            OpenKind::Map(map) => map,
        };
        match map.key.take() {
            None => {
                let next = next_key(map, node, self.diags);
                map.key = Some(next);
            }
            Some(NextKey::Entry(key)) => {
                // A missing value has no text to point at; its key has.
                if matches!(&node.value, Value::Scalar(scalar) if scalar.text.is_empty() && scalar.style == Style::Plain)
                {
                    node.span = key.span;
                }
                map.push(key, node);
            }
            Some(NextKey::Merge(span)) => map.merges.push((map.entries.len(), span, node)),
            Some(NextKey::Unusable) => {}
        }
        Ok(())
    }
}

/// Returns what a value that stands as a key means for the map, and reports one that cannot be a key.
fn next_key(map: &OpenMap, node: Node, diags: &mut Diagnostics) -> NextKey {
    let Value::Scalar(scalar) = node.value else {
        diags.push(
            Diagnostic::error("wrong-key", format!("a key must be a text, found {}", node.describe()))
                .at(node.span)
                .help("a value such as `{{ x }}` needs quotes"),
        );
        return NextKey::Unusable;
    };
    if scalar.is_null() {
        let message = if scalar.text.is_empty() { "a key is missing" } else { "a key must be a text, found nothing" };
        diags.push(Diagnostic::error("wrong-key", message).at(node.span));
        return NextKey::Unusable;
    }
    if &*scalar.text == "<<" && scalar.style == Style::Plain {
        if let Some((_, first, _)) = map.merges.first() {
            diags.push(duplicate("<<", *first, node.span).help("merge several maps as a list: `<<: [*a, *b]`"));
            return NextKey::Unusable;
        }
        return NextKey::Merge(node.span);
    }
    if let Some(first) = map.place_of(&scalar.text) {
        diags.push(duplicate(&scalar.text, first, node.span));
        return NextKey::Unusable;
    }
    NextKey::Entry(Key { span: node.span, text: scalar.text })
}

fn duplicate(key: &str, first: Span, second: Span) -> Diagnostic {
    Diagnostic::error("duplicate-key", format!("the key `{key}` is given twice"))
        .at(second)
        .label(first, "it is first given here")
}

/// Returns what copies of a value cost and how many collections are nested in it.
fn measure(node: &Node) -> (usize, usize) {
    match &node.value {
        Value::Scalar(scalar) => (VALUE_COST + scalar.text.len(), 0),
        Value::Seq(items) => {
            let (cost, height) =
                items.iter().map(measure).fold((0, 0), |(c, h), (cost, height)| (c + cost, h.max(height)));
            (cost + VALUE_COST, height + 1)
        }
        Value::Map(entries) => {
            let (cost, height) = entries
                .iter()
                .map(|(key, value)| {
                    let (cost, height) = measure(value);
                    (cost + key.text.len() + VALUE_COST, height)
                })
                .fold((0, 0), |(c, h), (cost, height)| (c + cost, h.max(height)));
            (cost + VALUE_COST, height + 1)
        }
    }
}
