//! The top-level maps of an inventory: merged from all files, then read entry by entry.

use std::collections::HashMap;
use std::hash::Hash;

use indexmap::{IndexMap, IndexSet};
use serde::de::DeserializeOwned;

use super::vars::check_vars;
use crate::addr::HostName;
use crate::diag::{Diagnostic, Diagnostics, Span};
use crate::model::inventory::{DIRECT, Host, HostSpec, Inventory};
use crate::model::node::{Key, Node, Spanned, Value};

/// The sections with the sort of their content.
const SECTIONS: [(&str, Sort); 13] = [
    ("provider", Sort::Settings),
    ("policy", Sort::Settings),
    ("defaults", Sort::Settings),
    ("sites", Sort::Entries),
    ("zones", Sort::Entries),
    ("networks", Sort::Entries),
    ("planes", Sort::Entries),
    ("flows", Sort::List),
    ("endpoints", Sort::Entries),
    ("suppliers", Sort::Entries),
    ("operators", Sort::Entries),
    ("groups", Sort::Entries),
    ("hosts", Sort::Entries),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    /// A map with fields of its own.
    Settings,
    /// A map from names to entries of one type.
    Entries,
    /// A list, which goes on in the next file.
    List,
}

/// The merged top-level maps.
#[derive(Default)]
pub(super) struct Sections {
    maps: HashMap<&'static str, Vec<(Key, Node)>>,
    places: HashMap<&'static str, HashMap<Box<str>, Span>>,
    flows: Vec<Node>,
}

/// The names that entries were given, also those of entries that could not be read.
#[derive(Default)]
pub(super) struct Declared {
    pub(super) sites: IndexSet<Box<str>>,
    pub(super) zones: IndexSet<Box<str>>,
    pub(super) networks: IndexSet<Box<str>>,
    pub(super) planes: IndexSet<Box<str>>,
    pub(super) endpoints: IndexSet<Box<str>>,
    pub(super) suppliers: IndexSet<Box<str>>,
    pub(super) groups: IndexSet<Box<str>>,
    pub(super) hosts: IndexSet<Box<str>>,
    /// Whether every entry could be read.
    pub(super) complete: bool,
}

impl Sections {
    /// Adds the top-level map of one file.
    pub(super) fn merge(&mut self, file: Node, diags: &mut Diagnostics) {
        let entries = match file.value {
            Value::Map(entries) => entries,
            _ => {
                let message = format!("an inventory file is a map of sections, found {}", file.describe());
                diags.push(Diagnostic::error("wrong-type", message).at(file.span));
                return;
            }
        };
        for (key, section) in entries {
            let Some((name, sort)) = SECTIONS.iter().find(|(name, _)| *name == &*key.text) else {
                let diagnostic =
                    Diagnostic::error("unknown-key", format!("unknown section `{}`", key.text)).at(key.span);
                diags.push(diagnostic.suggest(&key.text, SECTIONS.iter().map(|(name, _)| *name)));
                continue;
            };
            if section.is_null() {
                continue;
            }
            let described = section.describe();
            match (sort, section.value) {
                (Sort::List, Value::Seq(items)) => self.flows.extend(items),
                (Sort::Settings | Sort::Entries, Value::Map(entries)) => self.add(name, *sort, entries, diags),
                (sort, _) => {
                    let expected = if *sort == Sort::List { "a list" } else { "a map" };
                    let message = format!("`{name}` is {expected}, found {described}");
                    diags.push(Diagnostic::error("wrong-type", message).at(section.span));
                }
            }
        }
    }

    fn add(&mut self, section: &'static str, sort: Sort, entries: Vec<(Key, Node)>, diags: &mut Diagnostics) {
        let places = self.places.entry(section).or_default();
        let map = self.maps.entry(section).or_default();
        for (key, value) in entries {
            if let Some(first) = places.get(&key.text) {
                let what = match sort {
                    Sort::Entries => format!("the {} `{}`", singular(section), key.text),
                    _ => format!("`{section}.{}`", key.text),
                };
                diags.push(
                    Diagnostic::error("duplicate-entry", format!("{what} is given twice"))
                        .at(key.span)
                        .label(*first, "it is first given here"),
                );
                continue;
            }
            places.insert(key.text.clone(), key.span);
            map.push((key, value));
        }
    }

    /// Reads every section into its type.
    pub(super) fn read(mut self, diags: &mut Diagnostics) -> (Inventory, Declared) {
        let mut declared = Declared { complete: true, ..Declared::default() };
        let mut inventory = Inventory {
            provider: self.settings("provider", diags),
            policy: self.settings("policy", diags),
            defaults: self.settings("defaults", diags),
            sites: self.entries("sites", Some(&mut declared.sites), &mut declared.complete, diags),
            zones: self.entries("zones", Some(&mut declared.zones), &mut declared.complete, diags),
            networks: self.entries("networks", Some(&mut declared.networks), &mut declared.complete, diags),
            planes: self.entries("planes", Some(&mut declared.planes), &mut declared.complete, diags),
            endpoints: self.entries("endpoints", Some(&mut declared.endpoints), &mut declared.complete, diags),
            suppliers: self.entries("suppliers", Some(&mut declared.suppliers), &mut declared.complete, diags),
            operators: self.entries("operators", None, &mut declared.complete, diags),
            groups: self.entries("groups", Some(&mut declared.groups), &mut declared.complete, diags),
            ..Inventory::default()
        };
        for flow in std::mem::take(&mut self.flows) {
            inventory.flows.extend(flow.read_all(diags).map(|read| Spanned::new(flow.span, read)));
        }
        let hosts = self.maps.remove("hosts").unwrap_or_default();
        inventory.hosts.reserve(hosts.len());
        for (key, node) in hosts {
            let name = HostName::from(&*key.text);
            check_name("hosts", &key, diags);
            declared.hosts.insert(key.text);
            check_vars(&node, diags);
            match node.read_all_at::<HostSpec>(key.span, diags) {
                Some(spec) => {
                    let host = Host { name: name.clone(), span: key.span, groups: Vec::new(), spec };
                    inventory.hosts.insert(name, host);
                }
                None => declared.complete = false,
            }
        }
        (inventory, declared)
    }

    fn settings<T: DeserializeOwned + Default>(&mut self, section: &'static str, diags: &mut Diagnostics) -> T {
        let Some(entries) = self.maps.remove(section) else { return T::default() };
        let Some(span) = entries.first().map(|(key, _)| key.span) else { return T::default() };
        let node = Node { span, value: Value::Map(entries) };
        check_vars(&node, diags);
        node.read_all(diags).unwrap_or_default()
    }

    fn entries<K: From<String> + Eq + Hash, T: DeserializeOwned>(
        &mut self,
        section: &'static str,
        declared: Option<&mut IndexSet<Box<str>>>,
        complete: &mut bool,
        diags: &mut Diagnostics,
    ) -> IndexMap<K, Spanned<T>> {
        let entries = self.maps.remove(section).unwrap_or_default();
        let mut names = IndexSet::with_capacity(entries.len());
        let mut read = IndexMap::with_capacity(entries.len());
        for (key, node) in entries {
            check_name(section, &key, diags);
            check_vars(&node, diags);
            match node.read_all_at(key.span, diags) {
                Some(value) => {
                    read.insert(K::from(key.text.to_string()), Spanned::new(key.span, value));
                }
                None => *complete = false,
            }
            names.insert(key.text);
        }
        if let Some(declared) = declared {
            *declared = names;
        }
        read
    }
}

/// Returns what one entry of a section is called.
fn singular(section: &str) -> &str {
    section.strip_suffix('s').unwrap_or(section)
}

/// Reports a name that could not be part of a host name, a file name or a selector.
fn check_name(section: &'static str, key: &Key, diags: &mut Diagnostics) {
    let name = &*key.text;
    let what = singular(section);
    let is_one_word = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-');
    let problem = if name.is_empty() || name.len() > 63 {
        format!("a {what} name has from 1 to 63 characters, this one has {}", name.len())
    } else if !is_one_word {
        format!("`{}` cannot be a {what} name", name.escape_debug())
    } else if name == "all" || section == "hosts" && name == DIRECT {
        format!("`{name}` has a meaning of its own and cannot be a {what} name")
    } else {
        return;
    };
    diags.push(
        Diagnostic::error("invalid-name", problem)
            .at(key.span)
            .help("names are made of `a` to `z`, `0` to `9` and `-`, which neither begins nor ends them"),
    );
}
