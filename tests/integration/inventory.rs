//! Inventories as data: each folder of `tests/cases/inventory` is loaded, and what is reported compared.
//!
//! A case holds the files of an inventory, `expected.txt`, and perhaps `set.txt` with a `--set` per line. With
//! `UPDATE_CASES=1` in the environment the expected texts are written instead.

use std::fmt::Write as _;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::civil::date;
use provision::diag::{Diagnostics, Severity, Sources};
use provision::load::inventory::load_on;
use provision::model::inventory::Inventory;

/// Loads as if on a fixed day, and returns the inventory and what was reported, with paths relative to `root`.
fn load(root: &Utf8Path, path: &Utf8Path, sets: &[String]) -> (Option<Inventory>, String) {
    let mut sources = Sources::default();
    let mut diags = Diagnostics::default();
    let inventory = load_on(date(2026, 6, 1), path, sets, &mut sources, &mut diags);
    (inventory, render(&sources, &diags).replace(&format!("{root}/"), "").replace(root.as_str(), "."))
}

fn render(sources: &Sources, diags: &Diagnostics) -> String {
    let mut text = String::new();
    for diagnostic in diags.iter() {
        let severity = if diagnostic.severity == Severity::Error { "error" } else { "warning" };
        write!(text, "{severity}[{}]", diagnostic.code).unwrap();
        if let Some(primary) = &diagnostic.primary {
            write!(text, " {}", sources.locate(primary.span)).unwrap();
        }
        writeln!(text, ": {}", diagnostic.message).unwrap();
        for label in &diagnostic.labels {
            writeln!(text, "  {}: {}", sources.locate(label.span), label.text).unwrap();
        }
        if let Some(help) = &diagnostic.help {
            writeln!(text, "  help: {help}").unwrap();
        }
    }
    text
}

fn cases() -> Vec<Utf8PathBuf> {
    let root = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/inventory");
    let mut cases: Vec<_> = root.read_dir_utf8().unwrap().map(|entry| entry.unwrap().into_path()).collect();
    cases.sort();
    cases
}

#[test]
fn what_is_reported_is_what_each_case_expects() {
    let update = std::env::var_os("UPDATE_CASES").is_some();
    let mut failures = String::new();
    for case in cases() {
        let read = |name: &str| provision::fs::read_to_string(&case.join(name)).unwrap_or_default();
        let sets: Vec<String> = read("set.txt").lines().map(str::to_owned).collect();
        let (inventory, found) = load(&case, &case, &sets);
        assert_eq!(inventory.is_none(), found.contains("error["), "{case}");
        let expected = read("expected.txt");
        if update {
            provision::fs::write_atomic(&case.join("expected.txt"), found.as_bytes(), 0o644).unwrap();
        } else if found != expected {
            let diff = similar::TextDiff::from_lines(&expected, &found);
            let diff = diff.unified_diff().header("expected", "found").to_string();
            writeln!(failures, "{case}\n{diff}").unwrap();
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

fn loads_clean(folder: &str) -> Inventory {
    let path = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let (inventory, found) = load(&path, &path, &[]);
    assert_eq!(found, "");
    inventory.unwrap()
}

#[test]
fn the_demo_inventory_loads_without_a_word() {
    let inventory = loads_clean("inventories/demo");
    assert_eq!(inventory.hosts.len(), 8);
    for host in inventory.hosts.values() {
        let address = host.ssh.address.as_ref().unwrap();
        let interfaces = host.interfaces.values();
        let network = interfaces.filter(|i| i.address.is_some_and(|a| a.to_string() == address.value));
        let network = network.filter_map(|i| inventory.network_of(i)).next().unwrap().1;
        assert_eq!(Some(&network.site), host.site.as_ref(), "{}", host.name);
        assert!(network.gateway.is_some(), "{}", host.name);
    }
}
