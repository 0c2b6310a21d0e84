//! Bad input at the command line: a clear error at its place, the right exit code, and no host is touched.
//!
//! The hosts of these inventories are at an address that answers nobody, so that whatever goes looking for them says so.

use std::process::{Command, Stdio};

use camino::{Utf8Path, Utf8PathBuf};

struct Project(tempfile::TempDir);

/// What was printed, and the exit code.
struct Ended {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Project {
    fn new() -> Self {
        let project = Self(tempfile::tempdir().unwrap());
        let inventory = "hosts:\n  h1: {ssh: {address: 192.0.2.1}}\n  h2: {ssh: {address: 192.0.2.2}}\n";
        project.write("inventory/hosts.yaml", inventory);
        project
    }

    fn with(playbook: &str) -> Self {
        let project = Self::new();
        project.write("playbooks/site.yaml", playbook);
        project
    }

    fn path(&self, path: &str) -> Utf8PathBuf {
        Utf8Path::from_path(self.0.path()).unwrap().join(path)
    }

    fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        provision::fs::write_atomic(&path, text.as_ref(), 0o644).unwrap();
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_provision"));
        command.args(words).current_dir(self.0.path()).env_clear().env("HOME", self.0.path()).env("COLUMNS", "100");
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Ended {
        ended(self.command(words))
    }
}

fn ended(mut command: Command) -> Ended {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    Ended { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

impl Ended {
    /// Asserts that it was refused with all of this said, and that nobody went looking for a host.
    #[track_caller]
    fn refused(&self, code: i32, said: &[&str]) {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        let plain = self.stderr.split_whitespace().collect::<Vec<_>>().join(" ");
        for text in said {
            assert!(plain.contains(text), "`{text}` is not in\n{}", self.stderr);
        }
        assert!(!plain.contains("connect to"), "a host was looked for:\n{}", self.stderr);
        assert!(!plain.contains("panicked"), "{}", self.stderr);
    }
}

/// Tasks of a play for all hosts; the first is in line 5.
fn tasks(tasks: &str) -> String {
    {
        let indented: String = tasks.lines().map(|line| format!("      {line}\n")).collect();
        format!("plays:\n  - name: a\n    hosts: all\n    tasks:\n{indented}")
    }
}

#[test]
fn what_is_wrong_with_a_playbook_is_said_at_its_place_before_any_host_is_touched() {
    let cases: &[(&str, &str, &str)] = &[
        ("- file: {path: /a, contnt: x}", "5:26", "unknown key `contnt`; help: did you mean `content`?"),
        ("- fil: {path: /a, content: x}", "5:9", "there is no kind `fil`; help: did you mean `file`?"),
        (
            "- file: {path: /a, content: x}\n  wehn: a",
            "6:9",
            "an unknown key: `file` and `wehn`; help: did you mean `when`?",
        ),
        ("- file: {path: /a, content: x, path: /b}", "5:38", "the key `path` is given twice; it is first given here"),
        (
            "- file: {path: /a, content: x, mode: 644}",
            "5:44",
            "is a number that YAML reads as decimal: write \"0644\" in quotes",
        ),
        ("- file: {path: /a, content: [x]}", "5:35", "content"),
        ("- file: {path: relative, content: x}", "5:22", "\"relative\" is not an absolute path"),
        ("- file: {path: /a, source: ../../etc/passwd}", "5:34", "does not lead into the project's own folder"),
        ("- file: {path: /a, source: none.bin}", "5:34", "none.bin"),
        ("- file: {path: /a, template: none.hbs}", "5:36", "there is no template `none.hbs`"),
        ("- file: {path: /a, content: '{{nope}}'}", "5:35", "there is no variable `nope`"),
        ("- file: {path: /a, content: '{{hots}}'}", "5:35", "did you mean `host`?"),
        ("- file: {path: /a, content: '{{frobnicate 1}}'}", "5:35", "there is no variable or helper `frobnicate`"),
        ("- file: {path: /a, content: '{{#if'}", "5:35", "the template is not well-formed"),
        ("- file: {path: /a, content: '{{facts.oss.id}}'}", "5:35", "there are no facts `oss`; did you mean `os`?"),
        ("- file: {path: /a, content: '{{facts.os.id}} {{nope}}'}", "5:35", "there is no variable `nope`"),
        (
            "- file: {path: /a, content: x}\n  when: hots == 'x'",
            "6:15",
            "there is no variable `hots`; did you mean `host`?",
        ),
        ("- file: {path: /a, content: x}\n  when: 1 +", "6:15", "is not well-formed"),
        (
            "- file: {path: /a, content: x}\n  notify: service[x]",
            "5:9",
            "service[x] is notified and no task of the host declares it",
        ),
        (
            "- file: {path: /a, content: x}\n- link: {path: /a, target: b}",
            "6:9",
            "both own the path /a; the first owner",
        ),
        ("- service: {name: ssh, state: runing}", "5:37", "running"),
        ("- command: {run: 'true', timeout: fast}", "5:41", "fast"),
    ];
    for (task, place, said) in cases {
        let project = Project::with(&tasks(task));
        let all: Vec<&str> = said.split("; ").collect();
        let place = format!("playbooks/site.yaml:{place}");
        for words in [&["validate", "playbooks/site.yaml"][..], &["plan"], &["apply", "--yes"]] {
            project.run(words).refused(1, &[&[place.as_str()], all.as_slice()].concat());
        }
    }
}

#[test]
fn a_template_that_speaks_of_what_is_not_there_is_found_before_any_host_is_touched() {
    let project = Project::with(&tasks("- file: {path: /a, template: a.hbs}"));
    for (text, place, said) in [
        ("one\n{{nope}}\n", "2:1", "there is no variable `nope`"),
        ("{{facts.os.id}}\n{{#if nope}}x{{/if}}\n", "templates/a.hbs", "there is no variable `nope`"),
        ("{{facts.os.id}} {{#if facts.oss.id}}x{{/if}}\n", "playbooks/site.yaml:5:36", "there are no facts `oss`"),
        ("{{#each (hosts \"role=none\")}}{{name}}{{/each}}", "1:", "role=none"),
        ("a\nb {{#if x}}\n", "templates/a.hbs", "not well-formed"),
    ] {
        project.write("templates/a.hbs", text);
        project.run(&["plan"]).refused(1, &[place, said, "a.hbs"]);
    }
    // What is right in its own scope is not mistaken for a variable.
    project.write(
        "templates/a.hbs",
        "{{facts.os.id}}{{#each (hosts \"all\")}}{{name}} {{@index}}{{#if address}}{{../host}}{{/if}}{{/each}}\n",
    );
    assert_eq!(project.run(&["validate", "playbooks/site.yaml"]).code, 0);
}

#[test]
fn plays_that_cannot_be_ordered_or_chosen_are_named() {
    let play = |name: &str, hosts: &str, needs: &str, path: &str| {
        format!(
            "  - name: {name}\n    hosts: {hosts}\n    needs: {needs}\n    tasks: [{{file: {{path: {path}, content: x}}}}]\n"
        )
    };
    let cycle = format!("plays:\n{}{}", play("a", "h1", "b", "/a"), play("b", "h1", "a", "/b"));
    let said = ["these wait for each other: h1/file[/a] -> h1/file[/b] -> end of `b` -> h1/file[/a]", "site.yaml:5:13"];
    Project::with(&cycle).run(&["plan"]).refused(1, &said);
    let unknown = format!("plays:\n{}", play("a", "h1", "zz", "/a"));
    Project::with(&unknown).run(&["plan"]).refused(1, &["there is no play `zz`", "site.yaml:4:12"]);
    let selector = format!("plays:\n{}", play("a", "h3", "[]", "/a"));
    Project::with(&selector)
        .run(&["plan"])
        .refused(1, &["no host or group is called `h3`", "site.yaml:3:12", "did you mean `h1`?"]);
    let nobody = format!("plays:\n{}", play("a", "h1 & h2", "[]", "/a"));
    Project::with(&nobody).run(&["plan"]).refused(1, &["site.yaml:3:12", "h1 & h2"]);
    let good = Project::with(&tasks("- file: {path: /a, content: x}"));
    good.run(&["plan", "--limit", "h3"]).refused(1, &["--limit", "no host or group is called `h3`"]);
    good.run(&["plan", "--limit", "h1 &"]).refused(1, &["--limit"]);
    good.run(&["plan", "--tags", "nope"]).refused(1, &["no task has the tag `nope`"]);
    good.run(&["plan", "--set", "nonsense"]).refused(1, &["nonsense"]);
}

#[test]
fn files_that_are_no_yaml_are_refused_without_taking_memory() {
    let project = Project::new();
    project.run(&["plan"]).refused(1, &["playbooks/site.yaml does not exist"]);
    let nonsense: Vec<u8> =
        (0..50 << 20).map(|at: u32| b"{[&*!|>'\"%@`:- \n"[(at.wrapping_mul(2_654_435_761) >> 28) as usize]).collect();
    for (bytes, said) in [
        (b"".to_vec(), "the file is empty"),
        (b"plays: \xff\xfe\n".to_vec(), "UTF-8"),
        (b"plays: 3\n".to_vec(), "`plays` is `3`, and should be a list"),
        (b"- just\n- a list\n".to_vec(), "list"),
        (b"plays: [\n".to_vec(), "site.yaml:"),
        (nonsense, "site.yaml"),
        (bomb().into_bytes(), "the aliases of this file repeat too much"),
    ] {
        project.write("playbooks/site.yaml", bytes);
        let run = project.run(&["plan"]);
        run.refused(1, &["playbooks/site.yaml", said]);
        assert!(run.stderr.len() < 10_000, "{} bytes are said", run.stderr.len());
    }
    project.write("playbooks/site.yaml", tasks("- file: {path: /a, content: x}"));
    project.write("inventory/hosts.yaml", "hosts: {h1: {}, h1: {}}\n");
    project.run(&["plan"]).refused(1, &["hosts.yaml:1:", "given twice"]);
    project.run(&["plan", "-i", "nowhere"]).refused(1, &["there is no inventory at nowhere"]);
}

fn bomb() -> String {
    let mut text = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for level in 1..9 {
        let below = format!("*a{}", level - 1);
        text.push_str(&format!("a{level}: &a{level} [{}]\n", [below.as_str(); 9].join(", ")));
    }
    text
}

#[test]
fn a_secret_that_is_not_to_be_had_is_named_and_validate_does_without() {
    let project = Project::with(&tasks("- file: {path: /a, content: '{{token}}'}"));
    project.write(
        "inventory/hosts.yaml",
        "defaults: {vars: {token: {secret: {env: NOT_SET}}}}\nhosts: {h1: {ssh: {address: 192.0.2.1}}}\n",
    );
    project.run(&["plan"]).refused(1, &["the environment variable `NOT_SET` of a secret is not set"]);
    assert_eq!(project.run(&["validate", "playbooks/site.yaml"]).code, 0);
}

#[test]
fn a_command_line_that_makes_no_sense_is_a_usage_error() {
    let project = Project::with(&tasks("- file: {path: /a, content: x}"));
    for (words, said) in [
        (&[][..], "Usage"),
        (&["plann"], "plan"),
        (&["plan", "--nope"], "--nope"),
        (&["plan", "--json", "--markdown"], "--markdown"),
        (&["plan", "--quiet", "--verbose"], "--verbose"),
        (&["plan", "--parallel", "many"], "many"),
        (&["apply"], "there is no terminal to ask on"),
    ] {
        project.run(words).refused(64, &[said]);
    }
    for words in [&["--help"][..], &["apply", "--help"], &["--version"]] {
        let run = project.run(words);
        assert!(run.code == 0 && run.stderr.is_empty() && !run.stdout.is_empty(), "{words:?}");
    }
    project.write("plan.json", "{\"version\": 1}");
    project.run(&["apply", "plan.json", "--yes"]).refused(1, &["plan.json is not a saved plan"]);
    project.write("plan.json", "{\"version\": 99}");
    project.run(&["apply", "plan.json", "--yes"]).refused(1, &["version 99"]);
    project.run(&["apply", "none.json", "--yes"]).refused(1, &["none.json"]);
}

#[test]
fn hosts_that_cannot_be_reached_are_an_error_and_not_a_crash() {
    let project = Project::with(&tasks("- file: {path: /a, content: x}"));
    // Nobody listens there, and no packet leaves the machine.
    project.write("inventory/hosts.yaml", "hosts: {h1: {ssh: {address: 127.0.0.1, port: 1}}}\n");
    let run = project.run(&["plan", "--detailed-exitcode"]);
    assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
    assert!(run.stderr.contains("connection refused"), "{}", run.stderr);
    let run = project.run(&["apply", "--yes"]);
    assert_eq!(run.code, 1, "{}{}", run.stdout, run.stderr);
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let inventory = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("inventories/france");
    let project = Project::new();
    for words in ["inventory list -i", "inventory list --json -i"] {
        let mut command = Command::new("bash");
        let script = format!("set -o pipefail; {} {words} {inventory} | head -1", env!("CARGO_BIN_EXE_provision"));
        command.args(["-c", &script]).current_dir(project.0.path()).env_clear().env("PATH", "/usr/bin:/bin");
        let run = ended(command);
        assert_eq!((run.code, run.stderr.as_str()), (0, ""));
        assert_eq!(run.stdout.lines().count(), 1);
    }
}

#[test]
fn what_cannot_be_printed_whole_is_no_success() {
    let inventory = Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("inventories/france");
    let project = Project::new();
    for words in ["inventory list --json -i", "matrix -i"] {
        let mut command = Command::new("bash");
        command.args(["-c", &format!("{} {words} {inventory} >/dev/full", env!("CARGO_BIN_EXE_provision"))]);
        command.current_dir(project.0.path()).env_clear().env("PATH", "/usr/bin:/bin");
        let run = ended(command);
        assert_eq!(run.code, 1);
        assert!(run.stderr.contains("the output is not whole: No space left on device"), "{}", run.stderr);
    }
}

#[test]
fn a_file_that_is_no_yaml_is_the_only_thing_that_is_told() {
    let project = Project::with("plays: []\n");
    project.write("inventory/sites.yaml", "sites: {par1: {country: FR}\n");
    project.write("inventory/hosts.yaml", "hosts: {h1: {site: par1, ssh: {address: 10.0.0.1}}}\n");
    let run = project.run(&["validate"]);
    assert_eq!(run.code, 1);
    assert!(run.stderr.contains("yaml-syntax") && !run.stderr.contains("unknown-name"), "{}", run.stderr);
}

#[test]
fn colours_are_for_terminals_and_lines_fit_the_width() {
    let project = Project::with(&tasks("- file: {path: /a, contnt: x}"));
    let words = ["validate", "playbooks/site.yaml"];
    assert!(!project.run(&words).stderr.contains('\u{1b}'), "a pipe gets no colours");
    let always = project.run(&[&words[..], &["--color", "always"]].concat());
    assert!(always.stderr.contains('\u{1b}'));
    // On a terminal, too, unless NO_COLOR is set.
    let on_terminal = |setting: &str| {
        let program = format!("{setting} {} {}", env!("CARGO_BIN_EXE_provision"), words.join(" "));
        let mut command = Command::new("script");
        command.args(["-qec", &program, "/dev/null"]).current_dir(project.0.path()).stdin(Stdio::null());
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", project.0.path()).env("TERM", "xterm");
        ended(command).stdout
    };
    assert!(on_terminal("").contains('\u{1b}'));
    assert!(!on_terminal("NO_COLOR=1").contains('\u{1b}'));

    let mut command = project.command(&["explain", "file"]);
    command.env("COLUMNS", "80");
    for line in ended(command).stdout.lines() {
        assert!(line.chars().count() <= 80, "{} columns: {line}", line.chars().count());
    }
}
