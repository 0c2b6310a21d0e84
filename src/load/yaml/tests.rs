use camino::Utf8Path;

use super::{MAX_DEPTH, parse};
use crate::diag::{Diagnostics, Sources};
use crate::model::node::Node;

/// Parses `text` and returns the tree with the problems as `code line:column message`, one per line.
fn read(text: impl AsRef<[u8]>) -> (Option<Node>, String) {
    let mut sources = Sources::default();
    let mut diags = Diagnostics::default();
    let node = parse(&mut sources, Utf8Path::new("t"), text.as_ref(), &mut diags);
    diags.sort();
    let mut lines = String::new();
    for diagnostic in diags.iter() {
        let at = diagnostic.primary.as_ref().map(|label| sources.locate(label.span));
        let place = at.map(|at| format!("{}:{}", at.line, at.column)).unwrap_or_default();
        lines.push_str(&format!("{} {place} {}\n", diagnostic.code, diagnostic.message));
        for label in &diagnostic.labels {
            let at = sources.locate(label.span);
            lines.push_str(&format!("  {}:{} {}\n", at.line, at.column, label.text));
        }
    }
    (node, lines)
}

fn json(text: &str) -> serde_json::Value {
    let (node, problems) = read(text);
    assert_eq!(problems, "", "{text}");
    node.unwrap().to_json()
}

#[test]
fn scalars_mean_what_yaml_1_2_says_and_numbers_keep_their_text() {
    let text = "a: no\nb: 0644\nc: 1.10\nd: 12:30\ne: true\nf: True\ng: ~\nh:\ni: -3\nj: 1.5\nk: '1'\nl: 1_000\nm: 0x1F\n\
                n: |\n  two\n  lines\no: 52:54:00:12:34:56\np: 1e3\nq: !!str 12\nr: 18446744073709551616\ns: -0\nt: .5\n";
    let expected = serde_json::json!({
        "a": "no", "b": "0644", "c": "1.10", "d": "12:30", "e": true, "f": "True", "g": null, "h": null, "i": -3,
        "j": 1.5, "k": "1", "l": "1_000", "m": "0x1F", "n": "two\nlines\n", "o": "52:54:00:12:34:56", "p": "1e3",
        "q": "12", "r": "18446744073709551616", "s": "-0", "t": ".5",
    });
    assert_eq!(json(text), expected);
}

#[test]
fn every_duplicate_key_is_reported_with_its_first_place() {
    let (node, problems) = read("a: 1\nb: {x: 1, x: 2}\na: 2\n");
    insta::assert_snapshot!(problems, @r"
    duplicate-key 2:11 the key `x` is given twice
      2:5 it is first given here
    duplicate-key 3:1 the key `a` is given twice
      1:1 it is first given here
    ");
    assert_eq!(node.unwrap().to_json(), serde_json::json!({"a": 1, "b": {"x": 1}}));
    let mut many: String = (0..40).map(|n| format!("k{n}: 1\n")).collect();
    many.push_str("k3: 2\n");
    assert_eq!(read(many).1, "duplicate-key 41:1 the key `k3` is given twice\n  4:1 it is first given here\n");
}

#[test]
fn merge_keys_and_aliases_are_expanded() {
    let text = "base: &b {x: 1, y: 1}\nmore: &m {y: 2, z: 2}\none: {<<: *b, x: 9}\nboth: {w: 0, <<: [*m, *b], v: *b}\n\
                quoted: {'<<': 1}\n";
    let found = json(text);
    assert_eq!(found["one"], serde_json::json!({"y": 1, "x": 9}));
    assert_eq!(found["both"], serde_json::json!({"w": 0, "y": 2, "z": 2, "x": 1, "v": {"x": 1, "y": 1}}));
    assert_eq!(found["quoted"], serde_json::json!({"<<": 1}));
    insta::assert_snapshot!(read("a: {<<: 1}\nb: {<<: {c: 1}, <<: {d: 1}}\n").1, @r"
    wrong-merge 1:9 `<<` merges maps, found `1`
      1:5 merged here
    duplicate-key 2:17 the key `<<` is given twice
      2:5 it is first given here
    ");
}

#[test]
fn an_alias_bomb_is_refused() {
    let mut bomb = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_owned();
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 9].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    let (node, problems) = read(bomb);
    assert!(node.is_none());
    assert!(problems.starts_with("alias-bomb "), "{problems}");
    assert!(read("a: &a [*a]\n").1.starts_with("alias-loop 1:8"), "{}", read("a: &a [*a]\n").1);
    assert!(read("a: *b\n").1.starts_with("yaml-syntax 1:4 no anchor"), "{}", read("a: *b\n").1);
}

#[test]
fn depth_is_limited_also_through_aliases() {
    let fits = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
    assert_eq!(read(fits).1, "");
    let deep = format!("{}{}", "[".repeat(MAX_DEPTH + 1), "]".repeat(MAX_DEPTH + 1));
    assert!(read(deep).1.starts_with("too-deep 1:101"));
    assert!(read("[".repeat(20_000)).1.contains("1:"));
    let half = MAX_DEPTH / 2 + 2;
    let through =
        format!("a: &a {}x{}\nb: {}*a{}\n", "[".repeat(half), "]".repeat(half), "[".repeat(half), "]".repeat(half));
    assert!(read(through).1.starts_with("too-deep 2:"));
}

#[test]
fn what_is_no_single_utf8_document_is_refused_at_its_place() {
    assert_eq!(read(b"a: \xC3\xA9\nb: \xC3\xA9\xE9\n").1, "not-utf8 2:5 the byte 0xE9 is not UTF-8\n");
    assert_eq!(read("").1, "empty-file 1:1 the file is empty\n");
    assert_eq!(read("# nothing\n").1, "empty-file 1:1 the file is empty\n");
    assert_eq!(read("a: 1\n---\nb: 2\n").1, "several-documents 2:1 a second document starts here\n");
    assert_eq!(read("---\na: 1\n...\n").1, "");
    assert_eq!(read("\u{feff}a: 1\n").1, "");
    assert_eq!(read("a: 1\r\nb: 2\r\n").1, "");
}

#[test]
fn foreign_tags_nul_characters_and_odd_keys_are_all_reported() {
    let text = "a: !vault x\nb: !!int x\nc: \"\\0\"\nd: {? [1] : 2}\ne: !!map [1]\n? \n: 3\nf: {{ host }}\ng: !!int 3\nh: !x {}\n";
    insta::assert_snapshot!(read(text).1, @r#"
    unknown-tag 1:11 unknown tag `!vault`
    wrong-tag 2:10 `!!int` does not fit here: "x" is not an integer
    nul-character 3:4 a text cannot hold a NUL character
    wrong-key 4:7 a key must be a text, found a list
    wrong-tag 5:10 `!!map` does not fit a list
    wrong-key 7:1 a key is missing
    wrong-key 8:5 a key must be a text, found a map
    unknown-tag 10:7 unknown tag `!x`
    "#);
}

#[test]
fn a_file_of_mistakes_is_given_up() {
    let (node, problems) = read("a: 1\n".repeat(100_000));
    assert!(node.is_none());
    assert!(problems.contains("too-many-problems 102:1 the rest of the file is not looked at"), "{problems}");
}

#[test]
fn a_syntax_error_has_a_place() {
    for (text, expected) in [
        ("a: 1\n\tb: 2\n", "yaml-syntax 2:1 a tab cannot indent YAML\n"),
        ("a: [1, 2\nb: 3\n", "yaml-syntax 2:2 "),
        ("a: 'x\n", "yaml-syntax 1:4 "),
        ("a: 1\n b: 2\n", "yaml-syntax 2:3 "),
        ("é: @x\n", "yaml-syntax 1:4 "),
    ] {
        let (node, problems) = read(text);
        assert!(node.is_none() && problems.starts_with(expected), "{text:?}: {problems}");
    }
}

#[test]
fn spans_point_at_what_a_person_would_point_at() {
    let text = "a:\n  b: {c: 1}\n  d:\n    - x\n    - [1, 2]\ne:\n";
    let (node, _) = read(text);
    let node = node.unwrap();
    let shown = |node: &Node| text[node.span.start as usize..node.span.end as usize].to_owned();
    let a = node.get("a").unwrap();
    assert_eq!(shown(a), "b");
    assert_eq!(shown(a.get("b").unwrap()), "{c: 1}");
    assert_eq!(shown(a.get("d").unwrap()), "-");
    assert_eq!(shown(&a.get("d").unwrap().as_seq().unwrap()[1]), "[1, 2]");
    assert_eq!(shown(node.get("e").unwrap()), "e");
}
