//! The rules, on fleets that break them: each `tests/cases/policy/*.case` is a small change to one good fleet, and says
//! what is found in it.
//!
//! A case begins with its promise. `--- FILE` begins the changes of a file: lines that begin with a blank or `-` must be
//! there, those that begin with `+` come instead, and `@@` divides changes that are apart; a change of `+` alone goes to the
//! end of the file, or makes it. Below `===` stands what is found. With `UPDATE_CASES=1` in the environment that is
//! written instead.

use std::fmt::Write as _;
use std::process::{Command, Output};

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;

fn root() -> &'static Utf8Path {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run_in(folder: &Utf8Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_provision"));
    command.args(args).current_dir(folder).env_clear().env("COLUMNS", "100").env("HOME", folder);
    command.output().unwrap()
}

fn shown(output: &Output) -> String {
    let mut shown = format!("exit {}\n", output.status.code().unwrap());
    for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        if !bytes.is_empty() {
            write!(shown, "--- {name}\n{}", String::from_utf8_lossy(bytes)).unwrap();
        }
    }
    shown
}

/// A case as it is written.
struct Case {
    path: Utf8PathBuf,
    changes: String,
    expected: String,
}

fn cases() -> Vec<Case> {
    let folder = root().join("tests/cases/policy");
    let mut paths: Vec<_> = folder.read_dir_utf8().unwrap().map(|entry| entry.unwrap().into_path()).collect();
    paths.retain(|path| path.extension() == Some("case"));
    paths.sort();
    let read = |path: Utf8PathBuf| {
        let text = provision::fs::read_to_string(&path).unwrap();
        let (changes, expected) = text.split_once("===\n").unwrap_or((&text, ""));
        Case { changes: changes.to_owned(), expected: expected.to_owned(), path }
    };
    paths.into_iter().map(read).collect()
}

fn copy(from: &Utf8Path, to: &Utf8Path) {
    provision::fs::create_folder(to).unwrap();
    for path in provision::fs::list_folder(from).unwrap() {
        let there = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &there);
        } else {
            std::fs::copy(&path, &there).unwrap();
        }
    }
}

/// Applies the changes of a case to a copy of the good fleet.
fn apply(case: &Case, fleet: &Utf8Path) {
    let mut files = case.changes.split("\n--- ").skip(1);
    assert!(files.clone().next().is_some(), "{} changes nothing", case.path);
    files.all(|file| {
        let (name, changes) = file.split_once('\n').unwrap();
        let path = fleet.join(name.trim());
        for change in changes.trim_end_matches('\n').split("\n@@\n") {
            let text = provision::fs::read_to_string(&path).unwrap_or_default();
            let side = |kept: char| -> String {
                let lines = change.lines().filter_map(|line| {
                    let mark = line.chars().next().unwrap_or(' ');
                    (mark == ' ' || mark == kept).then(|| format!("{}\n", line.get(1..).unwrap_or_default()))
                });
                lines.collect()
            };
            let (old, new) = (side('-'), side('+'));
            let changed = if old.is_empty() {
                format!("{text}{new}")
            } else {
                assert_eq!(text.matches(&old).count(), 1, "{}: in {name} is not once:\n{old}", case.path);
                text.replacen(&old, &new, 1)
            };
            provision::fs::create_folder(path.parent().unwrap()).unwrap();
            provision::fs::write_atomic(&path, changed.as_bytes(), 0o644).unwrap();
        }
        true
    });
}

const ARGS: [&str; 6] = ["validate", "-i", "inventory", "playbooks/site.yaml", "--as-of", "2026-06-01"];

/// Returns what is found, a line for each finding and each further place of it.
fn found(output: &Output) -> String {
    let json: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let mut text = String::new();
    for finding in json["diagnostics"].as_array().unwrap() {
        let place = |at: &Value| match (at["file"].as_str(), at["line"].as_u64()) {
            (Some(file), Some(line)) => format!(" {}:{line}", file.trim_start_matches("./")),
            _ => String::new(),
        };
        let [severity, code, message] = ["severity", "code", "message"].map(|key| finding[key].as_str().unwrap());
        writeln!(text, "{severity} {code}{}: {message}", place(finding)).unwrap();
        if let Some(label) = finding["label"].as_str() {
            writeln!(text, "  {label}").unwrap();
        }
        for label in finding["labels"].as_array().unwrap() {
            writeln!(text, " {}: {}", place(label), label["text"].as_str().unwrap()).unwrap();
        }
    }
    text
}

#[test]
fn each_broken_fleet_is_reported_with_its_rule_and_its_line_and_nothing_else() {
    let update = std::env::var_os("UPDATE_CASES").is_some();
    let mut failures = String::new();
    for case in cases() {
        let guard = tempfile::tempdir().unwrap();
        let fleet = Utf8Path::from_path(guard.path()).unwrap().join("fleet");
        copy(&root().join("tests/cases/policy/base"), &fleet);
        apply(&case, &fleet);
        let output = run_in(&fleet, &[&ARGS[..], &["--json"]].concat());
        let found = found(&output);
        let has_error = found.lines().any(|line| line.starts_with("error "));
        assert_eq!(output.status.code(), Some(i32::from(has_error)), "{}: {found}", case.path);
        if update {
            let text = format!("{}===\n{found}", case.changes);
            provision::fs::write_atomic(&case.path, text.as_bytes(), 0o644).unwrap();
        } else if found != case.expected {
            let diff = similar::TextDiff::from_lines(&case.expected, &found);
            let diff = diff.unified_diff().header("expected", "found").to_string();
            writeln!(failures, "{}\n{diff}", case.path).unwrap();
        }
        let heads = || found.lines().filter(|line| !line.starts_with(' '));
        let rules: Vec<&str> = heads().map(|line| line.split([' ', ':']).nth(1).unwrap()).collect();
        if heads().count() != 1 {
            writeln!(failures, "{} is not one finding: {rules:?}", case.path).unwrap();
        }
        let has_line = |head: &str| {
            head.split(": ").next().is_some_and(|place| place.rsplit(':').next().unwrap().parse::<u32>().is_ok())
        };
        // What is nowhere has no line.
        if heads().any(|head| !has_line(head) && !head.contains("no host has the role")) {
            writeln!(failures, "{} is found at no line:\n{found}", case.path).unwrap();
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

#[test]
fn every_rule_has_a_fleet_that_breaks_it() {
    let expected: String = cases().into_iter().map(|case| case.expected).collect();
    // What looks at live hosts has its data beside it, and real hosts in the lab.
    let rules = provision::policy::rules().filter(|rule| rule.kind != provision::policy::Kind::L);
    let without: Vec<&str> = rules.map(|rule| rule.id).filter(|id| !expected.contains(&format!(" {id} "))).collect();
    assert!(without.is_empty(), "no case in tests/cases/policy breaks {without:?}");
    assert!(cases().len() >= 40);
}

#[test]
fn the_fleet_that_the_cases_change_keeps_to_every_rule() {
    let output = run_in(&root().join("tests/cases/policy/base"), &[&ARGS[..], &["--json"]].concat());
    assert_eq!(found(&output), "");
}

#[test]
fn the_shipped_inventories_keep_to_the_rules_but_for_what_they_sign_for() {
    let site = &["playbooks/site.yaml"][..];
    // An image and a key are made anew on each machine.
    let image = format!("machine_image_sha256={}", "0".repeat(64));
    let foundation = ["playbooks/foundation.yaml", "--set", &image, "--set", "login_key=ssh-ed25519 AAAA"];
    let shipped =
        [("inventories/demo", site), ("inventories/france", site), ("inventories/foundation", &foundation[..])];
    for (inventory, playbook) in shipped {
        for args in [&[][..], playbook] {
            let fixed = ["validate", "-i", inventory, "--as-of", "2026-11-25", "--fail-on", "warning", "--json"];
            let output = run_in(root(), &[&fixed[..], args].concat());
            let found = found(&output);
            assert_eq!(output.status.code(), Some(0), "{inventory} {args:?}: {found}");
            assert!(found.lines().all(|line| line.starts_with("note ")), "{found}");
        }
    }
}

/// A fleet with an error that is a path, a warning, a note, and something waived.
fn broken_fleet() -> (tempfile::TempDir, Utf8PathBuf) {
    let guard = tempfile::tempdir().unwrap();
    let fleet = Utf8Path::from_path(guard.path()).unwrap().join("fleet");
    copy(&root().join("tests/cases/policy/base"), &fleet);
    for name in ["way_by_two_flows", "logs_in_clear", "newer_ciphers", "forwarding_left_as_it_is", "own_rule"] {
        let case = cases().into_iter().find(|case| case.path.file_stem() == Some(name)).unwrap();
        apply(&case, &fleet);
    }
    let path = fleet.join("inventory/fleet.yaml");
    let waiver = "  waivers:\n    - {rule: BP028-R12, hosts: role=hypervisor, why: they route their machines' networks, \
                  owner: claire.morel, expires: 2027-01-31}";
    let text = provision::fs::read_to_string(&path).unwrap().replace("  waivers: []", waiver);
    provision::fs::write_atomic(&path, text.as_bytes(), 0o644).unwrap();
    (guard, fleet)
}

#[test]
fn what_is_found_is_told_to_people_and_machines() {
    let (_guard, fleet) = broken_fleet();
    let forms: [(&str, &[&str]); 7] = [
        ("human", &[]),
        ("verbose", &["--verbose"]),
        ("french", &["--lang", "fr"]),
        ("json", &["--format", "json"]),
        ("sarif", &["--format", "sarif"]),
        ("junit", &["--format", "junit"]),
        ("code_quality", &["--format", "code-quality"]),
    ];
    for (name, args) in forms {
        let output = run_in(&fleet, &[&ARGS[..], args].concat());
        insta::with_settings!({filters => vec![(r#"" uuid="[^"]*""#, "\"")]}, {
            insta::assert_snapshot!(format!("findings_{name}"), shown(&output));
        });
    }
}

#[test]
fn sarif_is_what_its_schema_asks_for() {
    let schema = provision::fs::read_to_string(&root().join("tests/schemas/sarif-2.1.0.json")).unwrap();
    let mut schema: Value = serde_json::from_str(&schema).unwrap();
    // Its expression for the key `language`, which is not written here, has a bracket too many.
    for part in ["run", "toolComponent"] {
        schema["definitions"][part]["properties"]["language"].as_object_mut().unwrap().remove("pattern").unwrap();
    }
    let schema = jsonschema::validator_for(&schema).unwrap();
    let check = |folder: &Utf8Path, args: &[&str]| {
        let output = run_in(folder, &[args, &["--format", "sarif"]].concat());
        let log: Value = serde_json::from_slice(&output.stdout).unwrap();
        let problems: Vec<String> = schema.iter_errors(&log).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(problems.is_empty(), "{args:?}\n{}", problems.join("\n"));
        log["runs"][0]["results"].as_array().unwrap().len()
    };
    let (_guard, fleet) = broken_fleet();
    assert_eq!(check(&fleet, &ARGS), 5);
    // What is waived is in it too.
    assert!(check(root(), &["validate", "-i", "inventories/france", "playbooks/site.yaml"]) > 10);
    // An inventory that cannot be read is a log as well.
    assert!(check(root(), &["validate", "-i", "tests/cases/inventory/many_files_many_problems"]) > 2);
    let broken: Value = serde_json::json!({"version": "2.1.0", "runs": [{"results": []}]});
    assert!(!schema.is_valid(&broken), "the schema finds what is missing");
}

#[test]
fn the_exit_code_says_from_which_level_on_something_was_found() {
    let guard = tempfile::tempdir().unwrap();
    let fleet = Utf8Path::from_path(guard.path()).unwrap().join("fleet");
    copy(&root().join("tests/cases/policy/base"), &fleet);
    let code = |args: &[&str]| run_in(&fleet, &[&ARGS[..], args].concat()).status.code();
    assert_eq!(code(&["--fail-on", "warning"]), Some(0));
    let case = cases().into_iter().find(|case| case.path.file_stem() == Some("logs_in_clear")).unwrap();
    apply(&case, &fleet);
    assert_eq!(code(&[]), Some(0));
    assert_eq!(code(&["--fail-on", "warning"]), Some(1));
    // A rule that is broken only some day is seen beforehand.
    let at = |day: &str| run_in(&fleet, &["validate", "-i", "inventory", "--as-of", day, "--json"]);
    assert!(found(&at("2026-07-01")).lines().all(|line| line.starts_with("warning LOG-R17")));
    assert!(found(&at("2026-09-01")).contains("warning SNC-9.4.c"));
}

#[test]
fn a_waiver_that_is_only_out_of_sight_is_not_called_unused() {
    let with = |args: &[&str]| {
        let fixed = ["validate", "-i", "inventories/demo", "--as-of", "2026-11-25", "--fail-on", "warning", "--json"];
        let output = run_in(root(), &[&fixed[..], args].concat());
        (output.status.code(), found(&output).lines().filter(|line| !line.starts_with("note ")).count())
    };
    for args in [&["playbooks/site.yaml", "--limit", "role=etcd"][..], &["playbooks/site.yaml", "--tags", "time"], &[]]
    {
        assert_eq!(with(args), (Some(0), 0), "{args:?}");
    }
}

#[test]
fn a_plan_is_refused_before_any_host_is_asked() {
    let (_guard, fleet) = broken_fleet();
    for command in [&["plan"][..], &["apply", "--yes"]] {
        let output = run_in(&fleet, &[command, &["-i", "inventory", "playbooks/site.yaml"]].concat());
        assert_eq!(output.status.code(), Some(1), "{command:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains("error[SNC-9.6.d]") && said.contains("no host was touched"), "{said}");
        // None of the addresses was tried, and there is no journal of a run.
        assert!(!said.contains("unreachable") && !fleet.join(".provision").exists(), "{said}");
    }
}

#[test]
fn the_rules_are_listed_and_explained() {
    insta::assert_snapshot!("rules", shown(&run_in(root(), &["rules"])));
    insta::assert_snapshot!("rules_french", shown(&run_in(root(), &["rules", "--lang", "fr"])));
    insta::assert_snapshot!("rules_one", shown(&run_in(root(), &["rules", "NT007-R27"])));
    insta::assert_snapshot!("rules_one_json", shown(&run_in(root(), &["rules", "NT007-R27", "--json"])));
    insta::assert_snapshot!("rules_none", shown(&run_in(root(), &["rules", "NT007-R72"])));
}
