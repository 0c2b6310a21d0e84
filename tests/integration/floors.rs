//! The floors of the house: who may import whom, and which crate stays behind which fence.
//!
//! The sources are read as text, without comments, literals and what is compiled for tests only. The table of floors is
//! the one in the documentation of `src/lib.rs`, so what is written there is what holds.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use camino::{Utf8Path, Utf8PathBuf};

/// Crates that only these modules may speak of. Every dependency is here or in [`OPEN`].
const FENCES: &[(&str, &[&str])] = &[
    ("annotate_snippets", &["report"]),
    ("backon", &["connection"]),
    ("base64", &["connection", "model", "resource"]),
    ("cel", &["template"]),
    ("clap", &["cli"]),
    ("clap_complete", &["cli"]),
    ("clap_mangen", &["cli"]),
    ("comfy_table", &["cli", "report"]),
    ("console", &["cli", "report"]),
    ("dialoguer", &["cli"]),
    ("fatfs", &["resource"]),
    ("futures_util", &["connection", "engine", "cli"]),
    ("globset", &["model", "policy", "resource"]),
    ("granit_parser", &["load"]),
    ("handlebars", &["template"]),
    ("hmac", &["connection"]),
    ("indicatif", &["report"]),
    ("maud", &["report"]),
    ("memchr", &["connection"]),
    ("petgraph", &["graph"]),
    ("quick_junit", &["report"]),
    ("quick_xml", &["resource"]),
    ("rand", &["connection", "engine"]),
    ("russh", &["connection"]),
    ("rustix", &["connection"]),
    ("secrecy", &["secret", "load", "connection", "cli"]),
    ("sha1", &["connection"]),
    ("shlex", &["shell", "resource"]),
    ("similar", &["report"]),
    ("socket2", &["connection"]),
    ("strsim", &["diag"]),
    ("tempfile", &["fs", "connection"]),
    ("tokio", &["connection", "engine", "cli"]),
    ("tracing_subscriber", &["cli"]),
    ("zeroize", &["secret", "connection"]),
];

/// Crates that any floor may use: values, errors, formats.
const OPEN: &[&str] =
    &["camino", "indexmap", "ipnet", "jiff", "schemars", "serde", "serde_json", "sha2", "thiserror", "tracing"];

/// Parts of the standard library that only some modules may speak of.
const STD_FENCES: &[(&str, &[&str])] =
    &[("fs", &["fs"]), ("process", &["load", "connection", "cli"]), ("thread", &["report"])];

/// A macro that is exported at the root belongs to the module that defines it.
const MACROS: &[(&str, &str)] = &[("sh", "shell")];

/// A path that a source speaks of.
#[derive(Debug, PartialEq, Eq)]
struct Mention {
    line: usize,
    segments: Vec<String>,
}

/// Returns the source with comments and literals replaced by spaces; lines stay where they are.
fn code_only(source: &str) -> String {
    let chars: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len());
    let blank = |out: &mut String, from: usize, to: usize| {
        out.extend(chars[from..to].iter().map(|c| if *c == '\n' { '\n' } else { ' ' }));
    };
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut i = 0;
    while i < chars.len() {
        let start = i;
        let after_word = i > 0 && is_word(at(i - 1));
        if at(i) == '/' && at(i + 1) == '/' {
            while i < chars.len() && at(i) != '\n' {
                i += 1;
            }
            blank(&mut out, start, i);
        } else if at(i) == '/' && at(i + 1) == '*' {
            let mut depth = 0;
            loop {
                match (at(i), at(i + 1)) {
                    ('/', '*') => (depth, i) = (depth + 1, i + 2),
                    ('*', '/') => (depth, i) = (depth - 1, i + 2),
                    _ => i += 1,
                }
                if depth == 0 || i >= chars.len() {
                    break;
                }
            }
            i = i.min(chars.len());
            blank(&mut out, start, i);
        } else if !after_word && raw_string(&chars, i).is_some() {
            i = raw_string(&chars, i).unwrap();
            blank(&mut out, start, i);
        } else if at(i) == '"' {
            i += 1;
            while i < chars.len() && at(i) != '"' {
                i += if at(i) == '\\' { 2 } else { 1 };
            }
            i = (i + 1).min(chars.len());
            blank(&mut out, start, i);
        } else if at(i) == '\'' && (at(i + 1) == '\\' || at(i + 2) == '\'') {
            i += if at(i + 1) == '\\' { 3 } else { 2 };
            while i < chars.len() && at(i) != '\'' {
                i += 1;
            }
            i = (i + 1).min(chars.len());
            blank(&mut out, start, i);
        } else {
            out.push(at(i));
            i += 1;
        }
    }
    out
}

/// Returns where a raw string that begins at `i` ends.
fn raw_string(chars: &[char], i: usize) -> Option<usize> {
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let mut i = if at(i) == 'b' && at(i + 1) == 'r' { i + 2 } else { i + 1 - usize::from(at(i) != 'r') };
    if i == 0 || at(i - 1) != 'r' {
        return None;
    }
    let mut hashes = 0;
    while at(i) == '#' {
        (hashes, i) = (hashes + 1, i + 1);
    }
    if at(i) != '"' {
        return None;
    }
    i += 1;
    while i < chars.len() {
        if at(i) == '"' && (1..=hashes).all(|n| at(i + n) == '#') {
            return Some(i + 1 + hashes);
        }
        i += 1;
    }
    Some(chars.len())
}

/// Returns the code without the items that are compiled for tests only, and the names of the modules among them.
fn without_tests(code: &str) -> (String, Vec<String>) {
    const ATTRIBUTE: &str = "#[cfg(test)]";
    let mut left = code.to_owned();
    let mut modules = Vec::new();
    while let Some(start) = left.find(ATTRIBUTE) {
        let rest = &left[start..];
        let mut depth = 0_usize;
        let mut end = rest.len();
        let mut brackets = 0_usize;
        for (at, c) in rest.char_indices() {
            match c {
                '[' | '(' => brackets += 1,
                ']' | ')' => brackets = brackets.saturating_sub(1),
                '{' => depth += 1,
                '}' if depth <= 1 => {
                    end = at + 1;
                    break;
                }
                '}' => depth -= 1,
                ';' if depth == 0 && brackets == 0 => {
                    end = at + 1;
                    break;
                }
                _ => {}
            }
        }
        let item = &rest[..end];
        let mut words = item[ATTRIBUTE.len()..].split(|c: char| !c.is_alphanumeric() && c != '_');
        if item.ends_with(';')
            && words.any(|word| word == "mod")
            && let Some(name) = words.find(|word| !word.is_empty())
        {
            modules.push(name.to_owned());
        }
        let blank: String = item.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        left.replace_range(start..start + end, &blank);
    }
    (left, modules)
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    Word(String),
    PathSeparator,
    Other(char),
}

fn tokens(code: &str) -> Vec<(usize, Token)> {
    let mut tokens = Vec::new();
    let mut chars = code.chars().peekable();
    let mut line = 1;
    while let Some(c) = chars.next() {
        match c {
            '\n' => line += 1,
            ':' if chars.peek() == Some(&':') => {
                chars.next();
                tokens.push((line, Token::PathSeparator));
            }
            c if c.is_alphabetic() || c == '_' => {
                let mut word = String::from(c);
                while let Some(c) = chars.next_if(|c| c.is_alphanumeric() || *c == '_') {
                    word.push(c);
                }
                tokens.push((line, Token::Word(word)));
            }
            c if c.is_whitespace() => {}
            c => tokens.push((line, Token::Other(c))),
        }
    }
    tokens
}

/// Returns every path of the code, those of grouped imports one by one.
fn mentions(code: &str) -> Vec<Mention> {
    let tokens = tokens(code);
    let mut found = Vec::new();
    let mut at = 0;
    while let Some((_, token)) = tokens.get(at) {
        let begins_path = matches!(token, Token::Word(_))
            && (at == 0 || tokens[at - 1].1 != Token::PathSeparator)
            && tokens.get(at + 1).is_some_and(|(_, next)| *next == Token::PathSeparator);
        if *token == Token::Word("use".to_owned()) {
            at = use_tree(&tokens, at + 1, &[], &mut found);
        } else if begins_path {
            at = use_tree(&tokens, at, &[], &mut found);
        } else {
            at += 1;
        }
    }
    found
}

/// Reads one path or group, and returns where it ends.
fn use_tree(tokens: &[(usize, Token)], mut at: usize, before: &[String], found: &mut Vec<Mention>) -> usize {
    let mut segments = before.to_vec();
    loop {
        match tokens.get(at) {
            Some((line, Token::Word(word))) => {
                segments.push(word.clone());
                at += 1;
                if tokens.get(at).map(|(_, token)| token) == Some(&Token::PathSeparator) {
                    at += 1;
                    continue;
                }
                found.push(Mention { line: *line, segments });
                return at;
            }
            Some((_, Token::Other('{'))) if !segments.is_empty() => {
                at += 1;
                while let Some((_, token)) = tokens.get(at) {
                    match token {
                        Token::Other('}') => return at + 1,
                        // `use a::B as C`.
                        Token::Word(word) if word == "as" => at += 2,
                        Token::Word(_) => at = use_tree(tokens, at, &segments, found),
                        _ => at += 1,
                    }
                }
                return at;
            }
            // A glob, or a path that ends in type arguments.
            Some((line, _)) if !segments.is_empty() => {
                found.push(Mention { line: *line, segments });
                return at + 1;
            }
            _ => return at + 1,
        }
    }
}

/// Returns the floor of each module, from the table in the documentation of the crate.
fn floors(lib: &str) -> BTreeMap<String, usize> {
    let mut floors = BTreeMap::new();
    for row in lib.lines().filter_map(|line| line.strip_prefix("//! |")) {
        let mut cells = row.split('|').map(str::trim);
        let (Some(floor), Some(modules)) = (cells.next(), cells.next()) else { continue };
        let Ok(floor) = floor.parse::<usize>() else { continue };
        floors.extend(modules.split_whitespace().map(|name| (name.trim_matches('`').to_owned(), floor)));
    }
    floors
}

/// Returns what is wrong with what one file speaks of. `module` is its path in the crate, such as `["plan", "bind"]`.
fn wrong(floors: &BTreeMap<String, usize>, module: &[String], code: &str) -> Vec<(usize, String)> {
    let own = &module[0];
    let own_floor = floors[own];
    let mut problems = BTreeSet::new();
    for Mention { line, segments } in mentions(code) {
        let first = segments[0].as_str();
        let above = segments.iter().take_while(|segment| *segment == "super").count();
        let target = match first {
            "crate" => segments.get(1),
            "super" if above >= module.len() => segments.get(above),
            _ => None,
        };
        if let Some(target) = target {
            let target = MACROS.iter().find(|(name, _)| name == target).map_or(target.as_str(), |(_, home)| home);
            match floors.get(target) {
                _ if target == own => {}
                None => {
                    problems.insert((line, format!("`{target}` has no floor in the table of src/lib.rs")));
                }
                Some(floor) if *floor >= own_floor => {
                    let what = if *floor == own_floor { "a sibling on" } else { "the higher" };
                    problems.insert((
                        line,
                        format!("`{own}` (floor {own_floor}) imports `{target}`, {what} floor {floor}"),
                    ));
                }
                Some(_) => {}
            }
        }
        let (name, fences) = match (first, segments.get(1)) {
            ("std", Some(part)) => (part.as_str(), STD_FENCES),
            _ => (first, FENCES),
        };
        let fence = fences.iter().find(|(fenced, _)| *fenced == name && segments.len() > 1);
        if let Some((_, homes)) = fence
            && !homes.contains(&own.as_str())
            // What a program ends with is a value and starts nothing.
            && !(name == "process" && segments.get(2).is_some_and(|part| part == "ExitStatus"))
        {
            let shown = if first == "std" { format!("std::{name}") } else { name.to_owned() };
            problems.insert((line, format!("`{own}` uses `{shown}`, which is fenced in `{}`", homes.join("`, `"))));
        }
    }
    problems.into_iter().collect()
}

fn rust_files(folder: &Utf8Path, found: &mut Vec<Utf8PathBuf>) {
    for entry in folder.read_dir_utf8().unwrap() {
        let path = entry.unwrap().into_path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension() == Some("rs") {
            found.push(path);
        }
    }
}

/// Returns a file's path in the crate; `a/mod.rs` and `a.rs` are both `["a"]`.
fn module_of(path: &Utf8Path) -> Vec<String> {
    let mut module: Vec<String> = path.with_extension("").components().map(|part| part.to_string()).collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

/// The sources by module, without tests: the path, the module and the code of each.
fn sources() -> Vec<(Utf8PathBuf, Vec<String>, String)> {
    let root = Utf8Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    rust_files(&root.join("src"), &mut paths);
    paths.sort();
    let mut sources = Vec::new();
    let mut for_tests: Vec<Vec<String>> = Vec::new();
    for path in paths {
        let relative = path.strip_prefix(root.join("src")).unwrap();
        if matches!(relative.as_str(), "lib.rs" | "main.rs") {
            continue;
        }
        let module = module_of(relative);
        let (code, test_modules) = without_tests(&code_only(&provision::fs::read_to_string(&path).unwrap()));
        for_tests.extend(test_modules.into_iter().map(|name| [module.clone(), vec![name]].concat()));
        sources.push((path.strip_prefix(root).unwrap().to_owned(), module, code));
    }
    sources.retain(|(_, module, _)| !for_tests.iter().any(|test| module.starts_with(test)));
    sources
}

fn read(path: &str) -> String {
    provision::fs::read_to_string(&Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

#[test]
fn a_floor_imports_only_lower_floors_and_a_fenced_crate_stays_in_its_module() {
    let floors = floors(&read("src/lib.rs"));
    assert!(floors.len() > 10, "the table of floors is in the documentation of src/lib.rs: {floors:?}");
    let mut problems = String::new();
    for (path, module, code) in sources() {
        if !floors.contains_key(&module[0]) {
            writeln!(problems, "{path}:1: `{}` has no floor in the table of src/lib.rs", module[0]).unwrap();
            continue;
        }
        for (line, problem) in wrong(&floors, &module, &code) {
            writeln!(problems, "{path}:{line}: {problem}").unwrap();
        }
    }
    assert!(problems.is_empty(), "\n{problems}");
}

#[test]
fn every_dependency_is_fenced_or_open_to_all_floors() {
    let manifest = read("Cargo.toml");
    let section = manifest.split("\n[dependencies]\n").nth(1).unwrap().split("\n[").next().unwrap();
    let names = section.lines().filter_map(|line| line.split_once(" = ")).map(|(name, _)| name.replace('-', "_"));
    let fenced: BTreeSet<&str> = FENCES.iter().map(|(name, _)| *name).chain(OPEN.iter().copied()).collect();
    let unknown: Vec<String> = names.clone().filter(|name| !fenced.contains(name.as_str())).collect();
    assert!(unknown.is_empty(), "say in FENCES which floors may use {unknown:?}");
    let names: BTreeSet<String> = names.collect();
    let gone: Vec<&&str> = fenced.iter().filter(|name| !names.contains(**name)).collect();
    assert!(gone.is_empty(), "no dependencies any more: {gone:?}");
}

#[test]
fn a_breach_of_the_floors_is_found_where_it_is() {
    let floors = floors("//! | 0 | `addr` `fs` |\n//! | 1 | `shell` `model` |\n//! | 2 | `plan` |\n");
    let check = |module: &[&str], text: &str| {
        let module: Vec<String> = module.iter().map(|part| (*part).to_owned()).collect();
        let (code, _) = without_tests(&code_only(text));
        wrong(&floors, &module, &code)
    };
    let lines = |problems: Vec<(usize, String)>| problems.into_iter().map(|(line, _)| line).collect::<Vec<_>>();
    let grouped = "use crate::{\n    addr::HostName,\n    plan::{self, bind},\n    model,\n};\n";
    assert_eq!(lines(check(&["shell"], grouped)), [3, 4]);
    assert_eq!(check(&["shell"], grouped)[0].1, "`shell` (floor 1) imports `plan`, the higher floor 2");
    assert!(check(&["plan", "bind"], grouped).is_empty());
    assert_eq!(lines(check(&["addr"], "fn f() {\n  crate::shell::quote(1)\n}")), [2]);
    assert_eq!(lines(check(&["addr"], "use super::plan;")), [1]);
    assert_eq!(lines(check(&["model", "vars"], "use super::plan; use super::super::plan::X;")), [1]);
    assert_eq!(lines(check(&["addr"], "use crate::sh;")), [1]);
    assert!(check(&["addr"], "// crate::plan\nlet a = \"crate::plan\"; /* crate::plan */").is_empty());
    assert_eq!(lines(check(&["addr"], "let a = r#\"\" crate::plan\"#; let b = '\"'; crate::plan::x();")), [1]);
    assert_eq!(
        lines(check(&["addr"], "#[cfg(test)]\nmod tests {\n  use crate::plan; fn f() { {} }\n}\nuse crate::plan;")),
        [5]
    );
    assert_eq!(lines(check(&["addr"], "use petgraph::Graph;\nstd::fs::read(1);\nuse std::{io, fs::File};")), [1, 2, 3]);
    assert!(check(&["fs"], "use std::fs; fn f<'a>(x: &'a str) -> tempfile::T {}").is_empty());
}

#[test]
fn no_forgotten_test_files() {
    let root = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/integration");
    let mut paths = Vec::new();
    rust_files(&root, &mut paths);
    let mut forgotten = Vec::new();
    for path in paths.iter().filter(|path| path.file_name() != Some("main.rs")) {
        let (name, folder) = if path.file_name() == Some("mod.rs") {
            (path.parent().unwrap().file_name().unwrap(), path.parent().unwrap().parent().unwrap())
        } else {
            (path.file_stem().unwrap(), path.parent().unwrap())
        };
        let parents = [folder.join("main.rs"), folder.join("mod.rs"), folder.with_extension("rs")];
        let is_declared = parents.iter().filter(|parent| parent.is_file()).any(|parent| {
            let text = provision::fs::read_to_string(parent).unwrap();
            text.lines().any(|line| {
                line.trim().trim_start_matches("pub(crate) ").trim_start_matches("pub ") == format!("mod {name};")
            })
        });
        if !is_declared {
            forgotten.push(path.strip_prefix(&root).unwrap());
        }
    }
    assert!(forgotten.is_empty(), "no test runs of {forgotten:?}: declare them with `mod`");
}
