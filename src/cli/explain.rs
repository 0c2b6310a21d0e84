//! `explain`: what there is to write in a playbook, from the same declarations that read it.

use std::fmt::Write as _;

use clap::Args;
use serde_json::{Value, json};

use super::exit::Exit;
use super::printer::Printer;
use crate::diag::suggestion;
use crate::report::Color;
use crate::report::style::{Tone, width_of, wrap};
use crate::resource::fact;
use crate::resource::{KindEntry, find_kind, kinds};
use crate::template::HELPERS;

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// A kind such as `file`, or `templates`, `facts` or `selectors`
    #[arg(value_name = "KIND", required_unless_present = "list")]
    topic: Option<String>,
    /// List all kinds with a sentence on each
    #[arg(long, conflicts_with = "topic")]
    list: bool,
}

/// What can be explained beside the kinds.
const TOPICS: &[(&str, &str)] = &[
    ("facts", "What templates and conditions may ask of a host"),
    ("selectors", "How hosts are chosen"),
    ("templates", "What templates may use"),
];

/// The parts of a selector, strongest first.
const SELECTORS: &[(&str, &str)] = &[
    ("all", "every host"),
    ("hv-par1-01", "the host or the group of this name"),
    ("hv-*", "the hosts whose names are like this; `?` is one character, `[ab]` one of these, `{a,b}` either"),
    ("role=etcd", "the hosts with this role; the value may have `*` and `?` in it"),
    ("name=, site=, room=, rack=, plane=", "by name, place or plane"),
    ("group=, zone=, network=", "by group, or by where an interface is"),
    ("!A", "not A"),
    ("A & B", "both"),
    ("A | B", "either; `&` binds closer than `|`"),
    ("(A | B) & C", "parentheses group"),
];

/// The blocks that templates have beside the helpers.
const BLOCKS: &[(&str, &str)] = &[
    ("{{ NAME }}", "a variable; `{{ a.b }}` and `{{ list.0 }}` reach into maps and lists"),
    ("{{#if X}}..{{else}}..{{/if}}", "one part or the other; a variable that is not there is an error here too"),
    ("{{#unless X}}..{{/unless}}", "the part where X is false, empty or 0"),
    ("{{#each LIST}}..{{/each}}", "a part for each item, which is `this`; with `@index`, `@key`, `@first`, `@last`"),
    ("{{#with X}}..{{/with}}", "a part in which the names are those of X"),
    ("{{lookup MAP KEY}}", "the entry of a map or list whose key is itself a variable"),
    ("{{!-- TEXT --}}", "a comment"),
    ("{{~ X ~}}", "without the blanks and line ends around it"),
];

pub(super) fn run(args: &ExplainArgs, printer: &Printer) -> Exit {
    let Some(topic) = &args.topic else {
        list(printer);
        return Exit::Done;
    };
    let page = Page { color: printer.stdout_style(), width: printer.width() };
    match (topic.as_str(), find_kind(topic)) {
        (_, Some(kind)) if printer.json => printer.json(&json!({
            "name": kind.name,
            "summary": kind.summary,
            "example": kind.example,
            "schema": kind.schema(),
        })),
        (_, Some(kind)) => printer.data(&page.kind(kind)),
        ("facts", _) if printer.json => printer.json(
            &fact::groups()
                .iter()
                .map(|group| {
                    let example: Value = serde_json::from_str(group.example).unwrap_or_default();
                    json!({"name": group.name, "summary": group.summary, "example": example})
                })
                .collect(),
        ),
        ("facts", _) => printer.data(&page.facts()),
        ("selectors", _) if printer.json => printer.json(&pairs(SELECTORS)),
        ("selectors", _) => printer.data(&page.selectors()),
        ("templates", _) if printer.json => {
            printer.json(&json!({"blocks": pairs(BLOCKS), "helpers": pairs(HELPERS)}));
        }
        ("templates", _) => printer.data(&page.templates()),
        _ => {
            let known = kinds().iter().map(|kind| kind.name).chain(TOPICS.iter().map(|(name, _)| *name));
            let hint = suggestion(topic, known);
            let hint = hint.unwrap_or_else(|| "`provision explain --list` lists the kinds".to_owned());
            printer.error(&format!("there is no kind `{topic}`"), Some(&hint));
            return Exit::Usage;
        }
    }
    Exit::Done
}

fn pairs(rows: &[(&str, &str)]) -> Value {
    rows.iter().map(|(name, meaning)| json!({"name": name, "summary": meaning})).collect()
}

fn list(printer: &Printer) {
    if printer.json {
        printer.json(&kinds().iter().map(|kind| json!({"name": kind.name, "summary": kind.summary})).collect());
        return;
    }
    let page = Page { color: printer.stdout_style(), width: printer.width() };
    let mut out = page.heading("Kinds");
    let rows: Vec<(&str, &str)> = kinds().iter().map(|kind| (kind.name, kind.summary)).collect();
    page.pairs(&mut out, &rows);
    out.push('\n');
    out.push_str(&page.heading("Also"));
    page.pairs(&mut out, TOPICS);
    printer.data(&out);
}

/// How wide a page is and whether it is coloured.
struct Page {
    color: Color,
    width: usize,
}

/// A line of a kind's table.
struct Row {
    name: String,
    kind: String,
    default: String,
    text: Vec<String>,
}

impl Page {
    fn heading(&self, text: &str) -> String {
        format!("{}\n", self.color.paint(Tone::Strong, text))
    }

    /// Adds names with their meaning beside them, or below where the names are wide.
    fn pairs(&self, out: &mut String, rows: &[(&str, &str)]) {
        let wide = rows.iter().map(|(name, _)| width_of(name)).max().unwrap_or_default().min(36);
        for (name, meaning) in rows {
            let room = self.width.saturating_sub(wide + 4).max(20);
            let mut lines = wrap(meaning, room).into_iter();
            if width_of(name) > wide {
                let _ = writeln!(out, "  {name}");
            } else {
                let _ = writeln!(out, "  {name:<wide$}  {}", lines.next().unwrap_or_default());
            }
            for line in lines {
                let _ = writeln!(out, "  {:wide$}  {line}", "");
            }
        }
    }

    fn kind(&self, kind: &KindEntry) -> String {
        let schema = kind.schema();
        // Only the name is coloured, which would be counted as text.
        let heading = wrap(&format!("{}: {}", kind.name, kind.summary), self.width).join("\n");
        let named = self.color.paint(Tone::Strong, kind.name);
        let mut out = format!("{}\n", heading.replacen(kind.name, &named, 1));
        if let Some(about) = schema.get("description").and_then(Value::as_str) {
            out.push('\n');
            for line in wrap(&about.replace('\n', " "), self.width) {
                let _ = writeln!(out, "{line}");
            }
        }
        let mut rows = Vec::new();
        rows_of(&schema, "", &mut rows);
        out.push('\n');
        out.push_str(&self.heading("Arguments"));
        self.table(&mut out, &rows);
        out.push('\n');
        out.push_str(&self.heading("Example"));
        for line in kind.example.lines() {
            let _ = writeln!(out, "{}", format!("  {line}").trim_end());
        }
        out
    }

    fn table(&self, out: &mut String, rows: &[Row]) {
        let column = |head: &str, of: fn(&Row) -> &String, most: usize| {
            rows.iter().map(|row| width_of(of(row))).chain([head.len()]).max().unwrap_or_default().min(most)
        };
        let names = column("NAME", |row| &row.name, 24);
        let types = column("TYPE", |row| &row.kind, 20);
        let defaults = column("DEFAULT", |row| &row.default, 12);
        let indent = 2 + names + 2 + types + 2 + defaults + 2;
        let room = self.width.saturating_sub(indent).max(24);
        let _ = writeln!(out, "  {:<names$}  {:<types$}  {:<defaults$}  MEANING", "NAME", "TYPE", "DEFAULT");
        for row in rows {
            let name = wrap_words(&row.name, names);
            let kind = wrap(&row.kind, types);
            let default = wrap_words(&row.default, defaults);
            let text: Vec<String> = row.text.iter().flat_map(|text| wrap(text, room)).collect();
            let cell = |lines: &[String], at: usize| lines.get(at).cloned().unwrap_or_default();
            for at in 0..name.len().max(kind.len()).max(default.len()).max(text.len()) {
                let (name, kind, default) = (cell(&name, at), cell(&kind, at), cell(&default, at));
                let line = format!("  {name:<names$}  {kind:<types$}  {default:<defaults$}  {}", cell(&text, at));
                let _ = writeln!(out, "{}", line.trim_end());
            }
        }
    }

    fn facts(&self) -> String {
        let mut out = "Facts are what a host says of itself. Templates write `{{ facts.os.codename }}`, conditions \
                       `when: facts.memory.total_mb > 4096`. Only the groups that somebody uses are read."
            .to_owned();
        out = wrap(&out, self.width).join("\n") + "\n";
        for group in fact::groups() {
            out.push('\n');
            let _ = writeln!(out, "{}", self.color.paint(Tone::Strong, &format!("facts.{}", group.name)));
            for line in wrap(group.summary, self.width.saturating_sub(2)) {
                let _ = writeln!(out, "  {line}");
            }
            for line in wrap(group.example, self.width.saturating_sub(2)) {
                let _ = writeln!(out, "  {line}");
            }
        }
        out
    }

    fn selectors(&self) -> String {
        let about = "A selector says which hosts are meant: in `hosts` of a play, `match` of a group, waivers, flows, \
                     and in `--limit`. A name that nothing has is an error, and so is a selector that means no host.";
        let mut out = wrap(about, self.width).join("\n") + "\n\n";
        self.pairs(&mut out, SELECTORS);
        out.push('\n');
        out.push_str(&self.heading("Example"));
        out.push_str("  provision inventory select 'role=hypervisor & site=par1 & !hv-par1-03'\n");
        out
    }

    fn templates(&self) -> String {
        let about = "Templates are handlebars. A variable that is not there is an error, and nothing is escaped. \
                     Arguments of tasks may hold the same expressions; one that is nothing but `{{ NAME }}` keeps the \
                     variable's type, so that a list stays a list.";
        let mut out = wrap(about, self.width).join("\n") + "\n\n";
        out.push_str(&self.heading("Blocks"));
        self.pairs(&mut out, BLOCKS);
        out.push('\n');
        out.push_str(&self.heading("Helpers"));
        self.pairs(&mut out, HELPERS);
        out.push('\n');
        out.push_str(&self.heading("Example"));
        out.push_str("  {{#each (hosts \"role=log\")}}\n  *.* @@{{address}}:514\n  {{/each}}\n");
        out
    }
}

/// Breaks a text without blanks where it is too wide.
fn wrap_words(text: &str, width: usize) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    chars.chunks(width.max(1)).map(|chunk| chunk.iter().collect()).collect()
}

/// Adds a row for each argument of a schema, those of maps in it behind their own.
fn rows_of(schema: &Value, prefix: &str, rows: &mut Vec<Row>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    let required: Vec<&str> =
        schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
    // What must be given is what a reader looks for first.
    let (first, rest): (Vec<_>, Vec<_>) = properties.iter().partition(|(name, _)| required.contains(&name.as_str()));
    for (name, argument) in first.into_iter().chain(rest) {
        let is_required = required.contains(&name.as_str());
        let about = argument.get("description").and_then(Value::as_str).unwrap_or_default().replace('\n', " ");
        let mut text = vec![about];
        for (value, meaning) in variants(argument) {
            text.push(format!("`{value}`: {meaning}"));
        }
        let default = match argument.get("default") {
            _ if is_required => "(required)".to_owned(),
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) if text.is_empty() => String::new(),
            Some(Value::Array(items)) if items.is_empty() => String::new(),
            Some(Value::Object(entries)) if entries.is_empty() => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        let name = format!("{prefix}{name}");
        rows.push(Row { name: name.clone(), kind: type_of(argument), default, text });
        if let Some(inner) = inner_map(argument) {
            rows_of(inner, &format!("{name}."), rows);
        }
    }
}

/// Returns the alternatives of a schema that may be several things, without null.
fn alternatives(schema: &Value) -> Vec<&Value> {
    let parts = ["oneOf", "anyOf"].iter().find_map(|key| schema.get(key)).and_then(Value::as_array);
    let parts = parts.into_iter().flatten();
    parts.filter(|part| part.get("type").and_then(Value::as_str) != Some("null")).collect()
}

/// Returns the map that an argument is, or that its items are.
fn inner_map(schema: &Value) -> Option<&Value> {
    if schema.get("properties").is_some() {
        return Some(schema);
    }
    let items = schema.get("items").or_else(|| schema.get("additionalProperties"));
    let others = alternatives(schema).into_iter().filter(|part| tagged(part).is_none());
    items.and_then(inner_map).or_else(|| others.into_iter().find_map(inner_map))
}

/// Returns what a map with one entry without a description of its own looks like, which is a word with a value.
fn tagged(schema: &Value) -> Option<String> {
    let properties = schema.get("properties")?.as_object().filter(|properties| properties.len() == 1)?;
    let (name, value) = properties.iter().next()?;
    value.get("description").is_none().then(|| format!("{{{name}: {}}}", type_of(value)))
}

/// Returns the words that an argument may be, with what each means.
fn variants(schema: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for part in alternatives(schema) {
        let word = part.get("const").and_then(Value::as_str).map(str::to_owned).or_else(|| tagged(part));
        match (word, part.get("description").and_then(Value::as_str)) {
            (Some(value), Some(meaning)) => found.push((value, meaning.replace('\n', " "))),
            _ => found.extend(variants(part)),
        }
    }
    found
}

/// Returns what an argument is, in the words of a YAML file.
fn type_of(schema: &Value) -> String {
    let words = |values: &[Value]| {
        let words: Vec<String> = values
            .iter()
            .filter(|value| !value.is_null())
            .map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
            .collect();
        words.join(" | ")
    };
    if let Some(values) = schema.get("enum").and_then(Value::as_array) {
        return words(values);
    }
    if let Some(value) = schema.get("const") {
        return words(std::slice::from_ref(value));
    }
    if let Some(word) = tagged(schema) {
        return word;
    }
    let alternatives = alternatives(schema);
    if !alternatives.is_empty() {
        let mut names: Vec<String> = Vec::new();
        for name in alternatives.into_iter().map(type_of) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        return names.join(" | ");
    }
    let one = |name: &str| match name {
        "string" if schema.get("pattern").and_then(Value::as_str).is_some_and(|p| p.starts_with("^/")) => {
            "path".to_owned()
        }
        "string" => "text".to_owned(),
        "integer" | "number" => "number".to_owned(),
        "boolean" => "true | false".to_owned(),
        "array" => match schema.get("items") {
            Some(items) => format!("list of {}", plural(&type_of(items))),
            None => "list".to_owned(),
        },
        "object" => match schema.get("additionalProperties") {
            Some(values) if values.is_object() => format!("map of {}", plural(&type_of(values))),
            _ => "map".to_owned(),
        },
        other => other.to_owned(),
    };
    match schema.get("type") {
        Some(Value::String(name)) => one(name),
        Some(Value::Array(names)) => {
            let names: Vec<String> = names.iter().filter_map(Value::as_str).filter(|n| *n != "null").map(one).collect();
            names.join(" | ")
        }
        _ => "anything".to_owned(),
    }
}

fn plural(name: &str) -> String {
    match name {
        "text" | "path" | "number" | "map" | "list" => format!("{name}s"),
        other => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::selector::Selector;

    #[test]
    fn the_selectors_that_are_explained_are_selectors() {
        for (text, _) in SELECTORS.iter().filter(|(text, _)| !text.ends_with('=')) {
            assert!(Selector::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn every_argument_of_every_kind_is_explained() {
        for kind in kinds() {
            let mut rows = Vec::new();
            rows_of(&kind.schema(), "", &mut rows);
            assert!(!rows.is_empty(), "{}", kind.name);
            for row in rows {
                assert!(!row.text.concat().is_empty(), "{} {}", kind.name, row.name);
                assert!(!row.kind.contains("anything") || row.kind == "anything", "{} {}", kind.name, row.kind);
            }
        }
    }
}
