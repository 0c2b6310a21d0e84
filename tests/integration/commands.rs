//! The commands that touch no host, as a user runs them: what they print, and how they end.

use std::process::{Command, Output};

use camino::{Utf8Path, Utf8PathBuf};

/// Runs the program in a folder with nothing of this machine around it, and returns how it ended and what it printed.
fn run_in(folder: &Utf8Path, args: &[&str]) -> String {
    let output = output_of(folder, args);
    let mut shown = format!("exit {}\n", output.status.code().unwrap());
    for (name, bytes) in [("stdout", &output.stdout), ("stderr", &output.stderr)] {
        if !bytes.is_empty() {
            shown.push_str(&format!("--- {name}\n{}", String::from_utf8_lossy(bytes)));
        }
    }
    shown
}

fn output_of(folder: &Utf8Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_provision"));
    command.args(args).current_dir(folder).env_clear().env("COLUMNS", "100").env("HOME", folder);
    command.output().unwrap()
}

fn root() -> &'static Utf8Path {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(args: &[&str]) -> String {
    run_in(root(), args)
}

/// What a command printed that must have gone well.
fn printed(args: &[&str]) -> String {
    let output = output_of(root(), args);
    assert!(output.status.success() && output.stderr.is_empty(), "{args:?} {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

struct Folder {
    _guard: tempfile::TempDir,
    path: Utf8PathBuf,
}

fn folder() -> Folder {
    let guard = tempfile::tempdir().unwrap();
    Folder { path: Utf8Path::from_path(guard.path()).unwrap().to_owned(), _guard: guard }
}

#[test]
fn explain_lists_all_kinds() {
    insta::assert_snapshot!(run(&["explain", "--list"]));
}

#[test]
fn explain_shows_the_arguments_of_a_kind() {
    insta::assert_snapshot!(run(&["explain", "file"]));
}

#[test]
fn explain_shows_words_with_a_value_and_lists_of_maps() {
    insta::assert_snapshot!(format!("{}\n{}", run(&["explain", "block"]), run(&["explain", "sudoers"])));
}

#[test]
fn explain_knows_templates_facts_and_selectors() {
    for topic in ["templates", "facts", "selectors"] {
        insta::assert_snapshot!(format!("explain_{topic}"), run(&["explain", topic]));
    }
}

#[test]
fn explain_of_an_unknown_kind_says_what_may_be_meant() {
    insta::assert_snapshot!(run(&["explain", "fiel"]), @r"
    exit 64
    --- stderr
    error: there is no kind `fiel`
    hint: did you mean `file`?
    ");
    insta::assert_snapshot!(run(&["explain", "quantum-foam-generator"]), @r"
    exit 64
    --- stderr
    error: there is no kind `quantum-foam-generator`
    hint: `provision explain --list` lists the kinds
    ");
}

#[test]
fn every_command_has_help_with_an_example() {
    let help = printed(&["help"]);
    insta::assert_snapshot!("help", help);
    for command in ["init", "validate", "plan", "apply", "graph", "explain", "schema", "completions", "man"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command}");
        let help = printed(&[command, "--help"]);
        assert!(help.contains("Example: provision "), "{command}: {help}");
        let about = help.lines().next().unwrap();
        assert!(!about.ends_with('.') && about.starts_with(char::is_uppercase), "{command}: {about}");
    }
}

#[test]
fn completions_and_the_manual_speak_of_every_command() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = printed(&["completions", shell]);
        assert!(script.contains("explain") && script.contains("limit"), "{shell}");
    }
    let page = printed(&["man"]);
    assert!(page.contains(".TH provision 1"), "{page}");
    let folder = folder();
    let said = run_in(&folder.path, &["man", "pages"]);
    let pages = provision::fs::list_folder(&folder.path.join("pages")).unwrap();
    let names: Vec<&str> = pages.iter().filter_map(|page| page.file_name()).collect();
    insta::assert_snapshot!(format!("{said}\n{}", names.join("\n")));
}

/// Draws the small fleet of `tests/cases/graph`.
fn graph(args: &[&str]) -> String {
    printed(&[&["graph", "-i", "tests/cases/graph/inventory"], args].concat())
}

#[test]
fn graph_shows_hosts_and_the_way_to_them() {
    for format in ["dot", "mermaid", "svg"] {
        insta::assert_snapshot!(format!("graph_hosts_{format}"), graph(&["--format", format]));
    }
    // A bastion belongs to the picture of the hosts behind it.
    insta::assert_snapshot!(graph(&["--limit", "db-3", "--json"]));
}

#[test]
fn graph_shows_plays_batches_and_what_they_wait_for() {
    let plays = ["tests/cases/graph/playbooks/site.yaml", "--scope", "plays"];
    for format in ["dot", "mermaid", "svg"] {
        insta::assert_snapshot!(format!("graph_plays_{format}"), graph(&[&plays[..], &["--format", format]].concat()));
    }
}

#[test]
fn graph_shows_every_resource_in_its_order() {
    for format in ["dot", "svg"] {
        let args = ["tests/cases/graph/playbooks/site.yaml", "--format", format];
        insta::assert_snapshot!(format!("graph_resources_{format}"), graph(&args));
    }
}

#[test]
fn graph_draws_what_is_shipped() {
    for scope in ["hosts", "plays", "resources"] {
        let args = ["graph", "-i", "inventories/demo", "playbooks/site.yaml", "--scope", scope, "--format", "svg"];
        let picture = printed(&args);
        assert!(picture.starts_with("<svg ") && picture.ends_with("</svg>\n"), "{scope}");
        assert!(picture.contains("ctl-ren1-01"), "{scope}");
    }
}

#[test]
fn graph_of_plays_needs_a_playbook() {
    insta::assert_snapshot!(run(&["graph", "-i", "inventories/demo", "--scope", "plays"]), @r"
    exit 64
    --- stderr
    error: plays and resources are those of a playbook, and none is given
    hint: give one, such as `provision graph playbooks/site.yaml --scope plays`
    ");
}

fn project() -> Folder {
    let folder = folder();
    let output = output_of(&folder.path, &["init", "."]);
    assert!(output.status.success(), "{output:?}");
    folder
}

#[test]
fn init_writes_a_project_that_is_valid_without_a_word() {
    let folder = folder();
    insta::assert_snapshot!("init", run_in(&folder.path, &["init", "my project"]));
    let project = folder.path.join("my project");
    insta::assert_snapshot!(run_in(&project, &["validate"]), @r"
    exit 0
    --- stderr
    The inventory is valid: 2 hosts, 2 networks.
    ");
    insta::assert_snapshot!(run_in(&project, &["validate", "playbooks/site.yaml"]), @r"
    exit 0
    --- stderr
    The playbook is valid: 2 plays, 10 resources on 2 hosts, 16 edges.
    ");
    insta::assert_snapshot!(run_in(&project, &["validate", "playbooks/site.yaml", "--json"]));
}

#[test]
fn init_touches_no_folder_that_holds_something() {
    let folder = folder();
    provision::fs::write_atomic(&folder.path.join("mine"), b"mine", 0o644).unwrap();
    insta::assert_snapshot!(run_in(&folder.path, &["init", "."]), @r"
    exit 1
    --- stderr
    error: the folder . is not empty
    hint: name one that is empty or not there yet; nothing was written
    ");
    insta::assert_snapshot!(run_in(&folder.path, &["init", "mine"]), @r"
    exit 1
    --- stderr
    error: mine is there already, and it is no folder
    ");
    assert_eq!(provision::fs::list_folder(&folder.path).unwrap(), [folder.path.join("mine")]);
}

#[test]
fn a_new_project_keeps_to_the_schemas() {
    let project = project();
    for (of, file) in [
        ("inventory", "inventory/datacenter.yaml"),
        ("inventory", "inventory/hosts.yaml"),
        ("playbook", "playbooks/site.yaml"),
    ] {
        let schema: serde_json::Value = serde_json::from_str(&printed(&["schema", of])).unwrap();
        let text = provision::fs::read_to_string(&project.path.join(file)).unwrap();
        let (mut sources, mut problems) = Default::default();
        let node = provision::load::yaml::parse(&mut sources, file.into(), text.as_bytes(), &mut problems);
        let validator = jsonschema::draft202012::new(&schema).unwrap();
        let found: Vec<String> =
            validator.iter_errors(&node.unwrap().to_json()).map(|error| error.to_string()).collect();
        assert_eq!(found, Vec::<String>::new(), "{file}");
    }
}

#[test]
fn the_flow_matrix_is_shown_by_zone_and_by_host() {
    let matrix = |words: &[&str]| printed(&[&["matrix", "-i", "inventories/demo"], words].concat());
    for format in ["text", "csv", "markdown"] {
        insta::assert_snapshot!(format!("matrix_{format}"), matrix(&["--format", format]));
    }
    insta::assert_snapshot!("matrix_of_a_host", matrix(&["--by", "host", "--limit", "ctl-par1-01"]));
    // Every pair of the four zones is there once at least, and no pair is both allowed and denied.
    let csv = matrix(&["--format", "csv"]);
    assert_eq!(csv.lines().filter(|line| line.contains("\"denied\"")).count(), 4 * 4 - 4);
}

#[test]
fn there_is_nothing_to_prove_without_a_flow_matrix() {
    let folder = folder();
    let hosts = "hosts:\n  one: {ssh: {address: 10.99.0.1}}\n";
    provision::fs::write_atomic(&folder.path.join("hosts.yaml"), hosts.as_bytes(), 0o600).unwrap();
    insta::assert_snapshot!(run_in(&folder.path, &["verify", "-i", "hosts.yaml"]), @r"
    exit 1
    --- stderr
    error[no-flows]: the inventory has no flow matrix, so there is nothing to verify
     |
     = help: declare under `flows` who may talk to whom

    1 error
    ");
    assert!(run_in(&folder.path, &["verify", "-i", "hosts.yaml", "--timeout", "0"]).starts_with("exit 64\n"));
}
