//! The rules on live hosts, on what a host says: each `tests/cases/audit/*.case` is a small change to what one good host
//! said, and tells what is found.
//!
//! A case begins with its promise. `--- host.txt` and `--- fleet.yaml` begin changes: lines that begin with a blank or `-`
//! must be there, those that begin with `+` come instead, and `@@` divides changes that are apart. `--- missing TOOL` takes
//! a program from the host, `--- failed KEY` has a question end with an error. Below `===` stands what is found; with
//! `UPDATE_CASES=1` in the environment that is written instead.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use camino::{Utf8Path, Utf8PathBuf};
use provision::diag::{Diagnostics, Sources};
use provision::live::host::{self, Software};
use provision::policy::live::Live;
use provision::policy::{self, Kind, Lang, Level, Needs, Report, Standing, Standings};
use provision::report::audit::{self, View};
use provision::report::findings::{self, Checked};
use provision::report::style::Color;
use provision::resource::read::{AnswerReader, Answers, Reading};

fn folder() -> Utf8PathBuf {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/audit")
}

/// What a host says, and what the inventory says of it.
#[derive(Clone)]
struct Said {
    host: String,
    fleet: String,
    missing: Vec<String>,
    failed: Vec<String>,
}

impl Said {
    fn good() -> Self {
        let read = |name: &str| provision::fs::read_to_string(&folder().join(name)).unwrap();
        Self { host: read("host.txt"), fleet: read("fleet.yaml"), missing: Vec::new(), failed: Vec::new() }
    }

    /// Returns the answers as they come off the wire.
    fn answers(&self) -> Answers {
        let mut reading = Reading::default();
        host::queries(Software::LeftOut).into_iter().for_each(|query| reading.ask(query));
        let parts: BTreeMap<&str, &str> =
            self.host.split("### ").skip(1).map(|part| part.split_once('\n').unwrap()).collect();
        let mut reader = AnswerReader::new(reading.asked());
        for tool in &self.missing {
            reader.mark(&format!("missing {tool}")).unwrap();
        }
        // They are asked, and numbered, in the order of their keys.
        for (at, (key, text)) in parts.iter().enumerate() {
            reader.mark(&format!("snippet {at}")).unwrap();
            let is_failed = self.failed.iter().any(|failed| failed == key);
            reader.data(if is_failed { b"permission denied\n" } else { text.as_bytes() });
            reader.mark(&format!("status {at} {}", i32::from(is_failed))).unwrap();
        }
        assert_eq!(parts.len(), reading.len(), "host.txt has an answer to each question");
        reader.finish().unwrap()
    }

    /// Judges it, and hands the report to `look` with what reads places.
    fn judged<T>(&self, lang: Lang, look: impl FnOnce(&Report, &Sources) -> T) -> T {
        let guard = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(guard.path()).unwrap().join("fleet.yaml");
        provision::fs::write_atomic(&path, self.fleet.as_bytes(), 0o600).unwrap();
        let (mut sources, mut problems) = (Sources::default(), Diagnostics::default());
        let inventory = provision::load::inventory::load(&path, &[], &mut sources, &mut problems);
        let inventory = inventory.unwrap_or_else(|| panic!("{problems:?}"));
        let hosts = BTreeMap::from([("ctl-par1-01".into(), host::parse(&self.answers()))]);
        let live = Live { hosts, ..Live::default() };
        let today = "2026-11-25".parse().unwrap();
        let report = policy::check_live(&inventory, &live, today, lang, &mut problems);
        assert!(problems.is_empty(), "{problems:?}");
        look(&report, &sources)
    }
}

fn told(report: &Report, sources: &Sources) -> String {
    let mut told = String::new();
    let is_live = |id: &str| report.asked.iter().any(|rule| rule.id == id && rule.kind == Kind::L);
    for finding in report.findings.iter().filter(|finding| is_live(&finding.rule)) {
        let level = match finding.level {
            Level::Note => "note",
            Level::Warning => "warning",
            Level::Error => "error",
        };
        let line = finding.place.as_ref().map(|place| sources.locate(place.span).line).unwrap_or_default();
        writeln!(told, "{level} {} {} fleet.yaml:{line}: {}", finding.rule, finding.subject, finding.message).unwrap();
    }
    for waived in &report.waived {
        writeln!(told, "waived {} {}: {}", waived.finding.rule, waived.finding.subject, waived.finding.message)
            .unwrap();
    }
    // Its network is the matter of others: `policy::check_live` has cases of it, and the lab real hosts.
    let is_of_network = |why: &str| ["nobody asked", "la question n'a pas été posée"].contains(&why);
    for unasked in report.unasked.iter().filter(|unasked| !is_of_network(&unasked.why)) {
        writeln!(told, "unread {}: {}", unasked.rule, unasked.why).unwrap();
    }
    told
}

/// Makes a change to a text that must fit it exactly once.
fn changed(text: &str, change: &str, path: &Utf8Path) -> String {
    let mut text = text.to_owned();
    for hunk in change.split("@@\n").filter(|hunk| !hunk.trim().is_empty()) {
        let side = |kept: char| -> String {
            let lines = hunk.lines().filter_map(|line| {
                let mark = line.chars().next().unwrap_or(' ');
                (mark == ' ' || mark == kept).then(|| format!("{}\n", line.get(1..).unwrap_or_default()))
            });
            lines.collect()
        };
        let (old, new) = (side('-'), side('+'));
        assert_eq!(text.matches(&old).count(), 1, "{path}: is not once:\n{old}");
        text = text.replacen(&old, &new, 1);
    }
    text
}

struct Case {
    path: Utf8PathBuf,
    changes: String,
    expected: String,
}

fn cases() -> Vec<Case> {
    let mut paths: Vec<_> = folder().read_dir_utf8().unwrap().map(|entry| entry.unwrap().into_path()).collect();
    paths.retain(|path| path.extension() == Some("case"));
    paths.sort();
    let read = |path: Utf8PathBuf| {
        let text = provision::fs::read_to_string(&path).unwrap();
        let (changes, expected) = text.split_once("===\n").unwrap_or((&text, ""));
        Case { changes: changes.to_owned(), expected: expected.to_owned(), path }
    };
    paths.into_iter().map(read).collect()
}

fn said(case: &Case) -> Said {
    let mut said = Said::good();
    for section in case.changes.split("--- ").skip(1) {
        let (head, change) = section.split_once('\n').unwrap();
        match head.split_once(' ').unwrap_or((head, "")) {
            ("host.txt", _) => said.host = changed(&said.host, change, &case.path),
            ("fleet.yaml", _) => said.fleet = changed(&said.fleet, change, &case.path),
            ("missing", tool) => said.missing.push(tool.to_owned()),
            ("failed", key) => said.failed.push(key.to_owned()),
            _ => panic!("{}: --- {head}", case.path),
        }
    }
    said
}

#[test]
fn the_good_host_keeps_to_every_rule() {
    let told = Said::good().judged(Lang::En, |report, sources| {
        let standings = Standings::of(report);
        let broken: Vec<&str> = standings
            .rules
            .iter()
            .filter(|rule| rule.needs == Needs::Live && standings.standing(rule, 0) != Standing::Held)
            .map(|rule| rule.id)
            .collect();
        assert!(broken.is_empty(), "{broken:?} {}", told(report, sources));
        let asked = standings.rules.iter().filter(|rule| rule.needs == Needs::Network);
        let unread = asked.clone().filter(|rule| standings.standing(rule, 0) == Standing::Unread).count();
        assert_eq!((unread, asked.count()), (6, 6), "nobody asked for its network here, so nothing of it is well");
        told(report, sources)
    });
    assert_eq!(told, "");
}

#[test]
fn each_changed_host_is_reported_with_its_rule_and_its_line_and_nothing_else() {
    let update = std::env::var_os("UPDATE_CASES").is_some();
    let mut failures = String::new();
    for case in cases() {
        let found = said(&case).judged(Lang::En, told);
        if update {
            let text = format!("{}===\n{found}", case.changes);
            provision::fs::write_atomic(&case.path, text.as_bytes(), 0o644).unwrap();
        } else if found != case.expected {
            let diff = similar::TextDiff::from_lines(&case.expected, &found);
            let diff = diff.unified_diff().header("expected", "found").to_string();
            writeln!(failures, "{}\n{diff}", case.path).unwrap();
        }
        let rules: BTreeSet<&str> = found.lines().map(|line| line.split([' ', ':']).nth(1).unwrap()).collect();
        // Without its service nothing is kept, and nothing leaves.
        let may_be_many = ["--- missing", "--- failed", "+journald\n"].iter().any(|it| case.changes.contains(it));
        if rules.len() != 1 && !may_be_many {
            writeln!(failures, "{} breaks not one rule but {rules:?}", case.path).unwrap();
        }
        let french = said(&case).judged(Lang::Fr, told);
        if french == found || french.lines().count() != found.lines().count() {
            writeln!(failures, "{} says the same in French: {french}", case.path).unwrap();
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
}

#[test]
fn every_rule_on_live_hosts_has_a_host_that_breaks_it() {
    let expected: String = cases().into_iter().map(|case| case.expected).collect();
    let is_broken = |id: &str| ["error", "warning"].iter().any(|level| expected.contains(&format!("{level} {id} ")));
    let rules = policy::rules().filter(|rule| rule.needs == Needs::Live || rule.id == "BP028-R12");
    let without: Vec<&str> = rules.map(|rule| rule.id).filter(|id| !is_broken(id)).collect();
    assert!(without.is_empty(), "no case in tests/cases/audit breaks {without:?}");
}

#[test]
fn what_cannot_be_read_is_never_held() {
    let keys: Vec<String> =
        Said::good().host.lines().filter_map(|line| line.strip_prefix("### ")).map(str::to_owned).collect();
    assert!(keys.len() >= 15);
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for key in &keys {
        let broken = Said { failed: vec![key.clone()], ..Said::good() };
        broken.judged(Lang::En, |report, _| {
            let standings = Standings::of(report);
            let unread: Vec<&str> = report.unasked.iter().map(|unasked| unasked.rule).collect();
            assert!(!unread.is_empty(), "{key} is asked for no rule");
            for rule in standings.rules.iter().filter(|rule| unread.contains(&rule.id)) {
                assert_eq!(standings.standing(rule, 0), Standing::Unread, "{} without {key}", rule.id);
            }
            assert!(standings.score(None, None).per_cent() < Some(100), "{key}");
            seen.extend(unread);
        });
    }
    let rules = policy::rules().filter(|rule| rule.needs == Needs::Live || rule.id == "BP028-R12");
    let forgotten: Vec<&str> = rules.map(|rule| rule.id).filter(|id| !seen.contains(id)).collect();
    assert!(forgotten.is_empty(), "{forgotten:?} stand well whatever cannot be read");
}

#[test]
fn a_report_tells_scores_findings_and_what_could_not_be_read() {
    let case = |name: &str| {
        let path = folder().join(format!("{name}.case"));
        let text = provision::fs::read_to_string(&path).unwrap();
        Case { changes: text.split("===\n").next().unwrap().to_owned(), expected: String::new(), path }
    };
    let mut said = said(&case("sudo_everything"));
    said.host = changed(&said.host, "-x11forwarding no\n+x11forwarding yes\n", &folder());
    said.host = changed(&said.host, "-/etc/login.defs\t027\n+/etc/login.defs\t022\n", &folder());
    said.missing.push("openssl".to_owned());
    said.fleet =
        changed(&said.fleet, " operators:\n+  nobody: {name: \"<script>\\\"&\", planes: control}\n", &folder());
    for (lang, name) in [(Lang::En, "english"), (Lang::Fr, "french")] {
        let guard = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(guard.path()).unwrap().join("fleet.yaml");
        provision::fs::write_atomic(&path, said.fleet.as_bytes(), 0o600).unwrap();
        let (mut sources, mut problems) = (Sources::default(), Diagnostics::default());
        let inventory = provision::load::inventory::load(&path, &[], &mut sources, &mut problems).unwrap();
        let hosts = BTreeMap::from([("ctl-par1-01".into(), host::parse(&said.answers()))]);
        let unreached = BTreeMap::from([("log-par1-01".into(), "connect to 10.10.0.31: timed out".to_owned())]);
        let live = Live { hosts, silent: unreached.keys().cloned().collect(), ..Live::default() };
        let report = policy::check_live(&inventory, &live, "2026-11-25".parse().unwrap(), lang, &mut problems);
        let checked = Checked {
            problems: &problems,
            report: Some(&report),
            inventory: Some(&inventory),
            sources: &sources,
            lang,
        };
        let view = View {
            checked: &checked,
            report: &report,
            inventory: &inventory,
            given: "fleet.yaml",
            limit: None,
            at: "2026-11-25T02:00:00Z",
            unreached: &unreached,
            software: &BTreeMap::new(),
        };
        insta::assert_snapshot!(format!("audit_{name}"), audit::text(&view, Color::Never, 100));
        let page = provision::report::page::html(&audit::page(&view));
        for there in
            ["data-state=\"held\"", "data-state=\"broken\"", "data-state=\"unread\"", "NT007-R28", "log-par1-01"]
        {
            assert!(page.contains(there), "{there} is not on the page");
        }
        assert!(!page.contains("<script"), "a name is no markup");
        let json = audit::json(&view);
        assert_eq!(json["hosts"][0]["rules"]["BP028-R43"], "broken");
        assert_eq!(json["hosts"][0]["rules"]["TLS-R25"], "unread");
        assert_eq!(json["hosts"][0]["rules"]["NT007-R27"], "held");
        assert_eq!(json["unreached"]["log-par1-01"], "connect to 10.10.0.31: timed out");
        assert_eq!(json["scores"]["sovereignty"]["unread"], 1);
        let junit = findings::junit(&checked);
        assert!(junit.contains("<testsuites name=\"provision audit\""), "{junit}");
        assert!(junit.contains("<error") && junit.contains("<failure"), "{junit}");
    }
}

#[test]
fn no_hash_of_a_password_leaves_a_host() {
    let mut script = String::new();
    for query in host::queries(Software::Listed) {
        if let provision::resource::read::Query::Snippet { key, script: own, .. } = query
            && key == "host-accounts"
        {
            script = own.text().replace("/etc/shadow", "shadow").replace("/etc/passwd", "passwd");
        }
    }
    let guard = tempfile::tempdir().unwrap();
    let hash = "$y$j9T$AAAAAAAAAAAAAAAAAAAAA.$BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBB";
    let folder = Utf8Path::from_path(guard.path()).unwrap();
    let write =
        |name: &str, text: String| provision::fs::write_atomic(&folder.join(name), text.as_bytes(), 0o600).unwrap();
    write("shadow", format!("a:{hash}:1::::::\nb:!{hash}:1::::::\nc::1::::::\nd:ab12345678901:1::::::\n"));
    write(
        "passwd",
        [("a", 0), ("b", 2), ("c", 3), ("d", 4)].map(|(n, id)| format!("{n}:x:{id}:{id}::/nowhere:/bin/sh\n")).concat(),
    );
    let output = std::process::Command::new("sh").arg("-c").arg(script).current_dir(guard.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        text,
        "account:a:0:/bin/sh:$y$\naccount:b:2:/bin/sh:locked\naccount:c:3:/bin/sh:empty\naccount:d:4:/bin/sh:des\n",
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
