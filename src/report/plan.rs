//! A plan as people read it, as markdown for a merge request, and as JSON.
//!
//! Hosts for which the same would happen are shown once, so two hundred equal hosts are one block. What a plan holds is
//! masked already; here only what could forge a line of output is shown escaped.

mod diff;
mod json;
mod markdown;
mod text;

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

pub use self::json::to_json;
pub use self::markdown::markdown;
pub use self::text::{Options, render};
use super::style::{count, escape};
use crate::addr::HostName;
use crate::change::{Action, AttributeChange, Change, Shown};
use crate::event::Reach;
use crate::plan::{Decision, Entry, Handler, HostPlan};

/// A host that takes no part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The host.
    pub host: HostName,
    /// What went wrong, with its causes.
    pub error: String,
    /// What to do next.
    pub hint: Option<String>,
    /// Whether it is unreachable, which is not the same as failed.
    pub reach: Reach,
}

/// How many resources would come to what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Made.
    pub create: usize,
    /// Changed.
    pub update: usize,
    /// Removed and made anew.
    pub replace: usize,
    /// Removed.
    pub delete: usize,
    /// Run or refreshed.
    pub run: usize,
    /// Only a running step can tell.
    pub known_after_apply: usize,
    /// Left as they are.
    pub unchanged: usize,
    /// Not for their host.
    pub skipped: usize,
    /// Could not be read.
    pub failed: usize,
}

impl Tally {
    /// Counts what would happen on hosts.
    pub fn of<'a>(plans: impl IntoIterator<Item = &'a HostPlan>) -> Self {
        let mut tally = Self::default();
        for plan in plans {
            for entry in &plan.entries {
                *match &entry.decision {
                    Decision::Change(change) => match change.action {
                        Action::NoOp => &mut tally.unchanged,
                        Action::Create => &mut tally.create,
                        Action::Update => &mut tally.update,
                        Action::Replace => &mut tally.replace,
                        Action::Delete => &mut tally.delete,
                        Action::Run => &mut tally.run,
                    },
                    Decision::KnownAfterApply { .. } => &mut tally.known_after_apply,
                    Decision::Skipped { .. } => &mut tally.skipped,
                    Decision::Failed { .. } => &mut tally.failed,
                } += 1;
            }
            tally.run += handlers(plan).count();
        }
        tally
    }

    /// Returns whether nothing would happen.
    pub fn is_empty(&self) -> bool {
        let Self { create, update, replace, delete, run, known_after_apply, unchanged: _, skipped: _, failed } = *self;
        create + update + replace + delete + run + known_after_apply + failed == 0
    }
}

/// Returns the line that sums a plan up: `Plan: 3 to create, 2 to update, ... on 8 hosts.`
pub fn summary(plans: &[HostPlan], failed: &[Failure]) -> String {
    let tally = Tally::of(plans);
    let hosts = count(plans.len(), "host");
    let mut text = if plans.is_empty() && !failed.is_empty() {
        "No host could be read".to_owned()
    } else if tally.is_empty() {
        let verb = if tally.unchanged == 1 { "is" } else { "are" };
        format!("No changes. {} on {hosts} {verb} as wanted", count(tally.unchanged, "resource"))
    } else {
        let parts = [
            (tally.create, "to create", true),
            (tally.update, "to update", true),
            (tally.replace, "to replace", false),
            (tally.delete, "to delete", true),
            (tally.run, "to run", true),
            (tally.known_after_apply, "known after apply", false),
            (tally.failed, "cannot be planned", false),
            (tally.unchanged, "unchanged", true),
        ];
        let shown = parts.into_iter().filter(|(number, _, always)| *always || *number > 0);
        let shown: Vec<String> = shown.map(|(number, what, _)| format!("{number} {what}")).collect();
        format!("Plan: {} on {hosts}", shown.join(", "))
    };
    for (reach, what) in [(Reach::Unreachable, "unreachable"), (Reach::Reached, "failed")] {
        let number = failed.iter().filter(|failure| failure.reach == reach).count();
        if number > 0 {
            let _ = write!(text, "; {} {what}", count(number, "host"));
        }
    }
    text + "."
}

/// What is shown of a plan, in order.
enum Part<'a> {
    Entry(&'a Entry),
    Handler(&'a Handler),
}

/// Returns the entries of a host with the handlers of each play behind it, where they run.
fn parts(plan: &HostPlan) -> Vec<Part<'_>> {
    let mut parts = Vec::with_capacity(plan.entries.len());
    let mut entries = plan.entries.iter().peekable();
    while let Some(entry) = entries.next() {
        parts.push(Part::Entry(entry));
        if entries.peek().is_none_or(|next| next.play != entry.play) {
            let of_play = plan.handlers.get(&entry.play).into_iter().flatten();
            parts.extend(of_play.filter(|handler| !handler.steps.is_empty()).map(Part::Handler));
        }
    }
    parts
}

/// Returns the handlers that do something: a service that is to be stopped has nothing to restart.
fn handlers(plan: &HostPlan) -> impl Iterator<Item = &Handler> {
    plan.handlers.values().flatten().filter(|handler| !handler.steps.is_empty())
}

/// Returns the names of hosts and, where they are several, their number.
fn names(plans: &[&HostPlan], all: bool) -> String {
    let mut names: Vec<String> = plans.iter().map(|plan| escape(plan.host.as_str()).into_owned()).collect();
    let number = names.len();
    let rest = if all || number <= 8 { 0 } else { number - 6 };
    names.truncate(number - rest);
    let mut text = names.join(", ");
    if rest > 0 {
        let _ = write!(text, " and {rest} more");
    }
    if number > 1 {
        let _ = write!(text, " ({number} hosts)");
    }
    text
}

/// Returns the counts of what stays as it is.
fn counted(plan: &HostPlan) -> String {
    let tally = Tally::of([plan]);
    let mut counted = Vec::new();
    let is_quiet = tally.is_empty() && tally.skipped == 0;
    if tally.unchanged > 0 || is_quiet {
        counted.push(format!("{} unchanged", tally.unchanged));
    }
    match tally.skipped {
        0 => {}
        1 => counted.push("1 does not apply".to_owned()),
        more => counted.push(format!("{more} do not apply")),
    }
    counted.join(", ")
}

/// Returns why a resource is refreshed, naming at most `limit` of the resources that ask for it.
fn why(handler: &Handler, limit: usize) -> String {
    let mut because: Vec<String> = handler.because.iter().take(limit).map(ToString::to_string).collect();
    let more = handler.because.len().saturating_sub(limit);
    if more > 0 {
        because.push(format!("{more} more"));
    }
    match (because.is_empty(), handler.is_pending) {
        (false, false) => format!("notified by {}", because.join(", ")),
        (false, true) => format!("notified by {} and left undone by an earlier run", because.join(", ")),
        (true, _) => "left undone by an earlier run".to_owned(),
    }
}

/// Returns the attributes to show: a digest says nothing where the text itself is shown.
fn shown_attributes(change: &Change) -> impl Iterator<Item = &AttributeChange> {
    let is_digest = |side: &Shown| match side {
        Shown::Absent => true,
        Shown::Value(Value::String(text)) => text.starts_with("sha256:"),
        _ => false,
    };
    let digest_is_said = change.text.is_some();
    change.attributes.iter().filter(move |attribute| {
        !(digest_is_said && attribute.name == "content" && is_digest(&attribute.before) && is_digest(&attribute.after))
    })
}

/// Returns one side of an attribute on one line.
fn shown(side: &Shown) -> String {
    match side {
        Shown::Absent => "(absent)".to_owned(),
        Shown::Sensitive => "(sensitive)".to_owned(),
        Shown::KnownAfterApply => "(known after apply)".to_owned(),
        Shown::Value(value) => compact(value),
    }
}

/// Returns a value as JSON on one line, a digest shortened to what tells it apart.
fn compact(value: &Value) -> String {
    match value {
        Value::String(text) => match text.strip_prefix("sha256:").and_then(|hex| hex.get(..12)) {
            Some(start) if text.len() == 71 => format!("sha256:{start}"),
            _ => escape(&value.to_string()).into_owned(),
        },
        Value::Array(items) => format!("[{}]", items.iter().map(compact).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| format!("{}: {}", escape(key), compact(value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// Returns free text as one line in which nothing can forge another.
fn one_line(text: &str) -> String {
    escape(&text.trim().lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join(" | "))
        .into_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::addr::ResourceId;
    use crate::change::{Attributes, Step, TextChange};
    use crate::model::playbook::OnFailure;
    use crate::report::style::Color;
    use crate::shell::Script;

    fn attributes(value: Value) -> Attributes {
        serde_json::from_value(value).unwrap()
    }

    fn entry(id: &str, play: usize, decision: Decision) -> Entry {
        Entry {
            id: id.parse().unwrap(),
            play,
            task: format!("playbooks/site.yaml:{}:5", 10 + id.len()),
            decision,
            observed: Value::Null,
            notify: Vec::new(),
            register: None,
            on_failure: OnFailure::Stop,
        }
    }

    fn change(id: &str, play: usize, make: impl FnOnce(ResourceId) -> Change) -> Entry {
        entry(id, play, Decision::Change(make(id.parse().unwrap())))
    }

    fn text(before: &str, after: &str) -> Option<TextChange> {
        Some(TextChange { before: before.into(), after: after.into() })
    }

    fn step(title: &str) -> Step {
        Step::new(title, Script::default())
    }

    fn handler(id: &str, title: &str, because: &[&str], is_pending: bool) -> Handler {
        Handler {
            id: id.parse().unwrap(),
            steps: vec![step(title)],
            because: because.iter().map(|id| id.parse().unwrap()).collect(),
            is_pending,
            is_resume: false,
        }
    }

    fn plan(host: &str, entries: Vec<Entry>, handlers: Vec<(usize, Handler)>) -> HostPlan {
        let mut by_play: BTreeMap<usize, Vec<Handler>> = BTreeMap::new();
        for (play, handler) in handlers {
            by_play.entry(play).or_default().push(handler);
        }
        HostPlan { host: host.into(), entries, handlers: by_play, awaits: None }
    }

    fn unchanged(number: usize) -> impl Iterator<Item = Entry> {
        (0..number).map(|n| change(&format!("file[/etc/{n}]"), 0, |id| Change::no_op(id, "mode is as wanted")))
    }

    fn hypervisor(name: &str) -> HostPlan {
        let mut entries: Vec<Entry> = unchanged(12).collect();
        entries.push(change("file[/etc/motd]", 0, |id| {
            let desired = json!({"content": format!("sha256:{}", "a".repeat(64)), "mode": "0644", "owner": "root"});
            let mut change = Change::create(id, &attributes(desired)).step(step("write /etc/motd"));
            change.text = text("", "Authorised use only.\nAsk first.\n");
            change
        }));
        entries.push(change("file[/etc/default/etcd]", 1, |id| {
            let observed = json!({"content": format!("sha256:{}", "b".repeat(64)), "mode": "0600"});
            let desired = json!({"content": format!("sha256:{}", "c".repeat(64)), "mode": "0640"});
            let change = Change::between(id, &attributes(observed), &attributes(desired));
            let mut change = change.step(step("write /etc/default/etcd"));
            let before: String = (1..30).map(|n| format!("OPTION_{n}=old\n")).collect();
            let after = before.replace("OPTION_4=old", "OPTION_4=new").replace("OPTION_28=old\n", "");
            change.text = text(&before, after.trim_end());
            change
        }));
        plan(
            name,
            entries,
            vec![(1, handler("service[etcd]", "restart etcd.service", &["file[/etc/default/etcd]"], false))],
        )
    }

    fn everything() -> HostPlan {
        let entries = vec![
            change("user[deploy]", 0, |id| {
                let mut change = Change::between(
                    id,
                    &attributes(
                        json!({"groups": ["adm", "audio", "cdrom", "dialout", "plugdev"], "shell": "/bin/sh", "password": "x"}),
                    ),
                    &attributes(
                        json!({"groups": ["adm", "audio", "docker", "dialout", "plugdev", "libvirt", "kvm"], "shell": "/bin/bash", "password": "y"}),
                    ),
                );
                change = change.sensitive("password", |_| true);
                change.attributes.push(AttributeChange {
                    name: "uid".into(),
                    before: Shown::Absent,
                    after: Shown::KnownAfterApply,
                });
                change.step(step("change the user deploy"))
            }),
            change("package[ntp]", 0, |id| {
                Change::delete(id, &attributes(json!({"version": "1:4.2.8p15"})))
                    .step(step("remove the package ntp"))
                    .irreversible("the old version is not in the mirror any more")
            }),
            change("link[/etc/localtime]", 0, |id| {
                let change = Change::create(id, &attributes(json!({"to": "/usr/share/zoneinfo/Europe/Paris"})));
                let mut change = change.because("a file is in its place");
                change.action = Action::Replace;
                change
            }),
            change("command[touch /run/\u{1b}[2Jx]", 0, |id| {
                Change::run(id, "it has neither `creates` nor `unless`\nand runs each time").step(step("run it"))
            }),
            change("file[/etc/secret.conf]", 0, |id| {
                let observed = json!({"content": format!("sha256:{}", "b".repeat(64))});
                let desired = json!({"content": format!("sha256:{}", "c".repeat(64))});
                let mut change = Change::between(id, &attributes(observed), &attributes(desired));
                change.text = text("key=(sensitive)\n", "key=(sensitive)\n");
                change
            }),
            change("file[/etc/image]", 0, |id| {
                let observed = json!({"content": format!("sha256:{}", "b".repeat(64))});
                let desired = json!({"content": format!("sha256:{}", "c".repeat(64))});
                Change::between(id, &attributes(observed), &attributes(desired))
            }),
            entry(
                "file[/etc/later]",
                0,
                Decision::KnownAfterApply { because: "it depends on what an earlier task prints".into() },
            ),
            entry("mount[/srv]", 0, Decision::Skipped { because: "`when: facts.os.version > 12` is false".into() }),
            entry(
                "timezone[it]",
                0,
                Decision::Failed {
                    error: "timezone[it] needs `timedatectl`, which the host does not have".into(),
                    hint: Some("install the package `systemd` on the host first".into()),
                },
            ),
        ];
        plan("ctl-1", entries, vec![(0, handler("service[ssh]", "reload ssh.service", &[], true))])
    }

    fn failures() -> Vec<Failure> {
        vec![
            Failure {
                host: "hv-9".into(),
                error: "connect to 10.0.0.9:22: no answer within 10 s\nand no bastion".into(),
                hint: Some("look whether the host is up, and whether the way to it is open from here".into()),
                reach: Reach::Unreachable,
            },
            Failure { host: "hv-8".into(), error: "sudo wants a password".into(), hint: None, reach: Reach::Reached },
        ]
    }

    fn example() -> Vec<HostPlan> {
        let quiet: Vec<HostPlan> =
            (1..=10).map(|n| plan(&format!("log-{n}"), unchanged(7).collect(), vec![])).collect();
        let hypervisors = ["hv-1", "hv-2", "hv-3"].map(hypervisor);
        hypervisors.into_iter().chain(quiet).chain([everything()]).collect()
    }

    fn options(width: usize) -> Options {
        Options { color: Color::Never, width, verbose: false }
    }

    #[test]
    fn a_plan_is_shown_host_by_host() {
        insta::assert_snapshot!("plan_100", render(&example(), &failures(), &options(100)));
        insta::assert_snapshot!("plan_60", render(&example(), &failures(), &options(60)));
        insta::assert_snapshot!("plan_verbose", render(&example(), &[], &Options { verbose: true, ..options(100) }));
    }

    #[test]
    fn colour_adds_only_escape_sequences() {
        let coloured = render(&example(), &failures(), &Options { color: Color::Always, ..options(60) });
        assert_eq!(console::strip_ansi_codes(&coloured), render(&example(), &failures(), &options(60)));
        insta::assert_snapshot!(coloured.replace('\u{1b}', "^"));
    }

    #[test]
    fn a_plan_without_changes_says_so() {
        let plans = [plan("a", unchanged(400).collect(), vec![]), plan("b", unchanged(12).collect(), vec![])];
        insta::assert_snapshot!(render(&plans, &[], &options(60)), @r"
        a: 400 unchanged
        b: 12 unchanged

        No changes. 412 resources on 2 hosts are as wanted.
        ");
        assert_eq!(summary(&[], &failures()), "No host could be read; 1 host unreachable; 1 host failed.");
        assert_eq!(
            summary(&plans[..1], &failures()[..1]),
            "No changes. 400 resources on 1 host are as wanted; 1 host unreachable."
        );
    }

    #[test]
    fn a_very_long_diff_is_cut_and_whole_in_json() {
        let long: String = (0..500).map(|n| format!("line {n}\n")).collect();
        let entry = change("file[/long]", 0, |id| {
            let mut change = Change::create(id, &Attributes::new());
            change.text = text("", &long);
            change
        });
        let plans = [plan("a", vec![entry], vec![])];
        let shown = render(&plans, &[], &options(100));
        assert!(shown.contains("      +line 399\n      (100 more lines; `--json` has them all)\n"), "{shown}");
        assert!(!shown.contains("line 400"));
        assert!(to_json(&plans, &[])["hosts"][0]["changes"][0]["diff"].as_str().unwrap().ends_with("+line 499\n"));
    }

    #[test]
    fn a_merge_request_gets_markdown() {
        insta::assert_snapshot!(markdown(&example(), &failures()));
    }

    #[test]
    fn what_stands_in_a_file_cannot_leave_its_markdown() {
        let entry = change("file[/a<b>*c*]", 0, |id| {
            let mut change = Change::create(id, &Attributes::new()).because("`x` <script>");
            change.text = text("", "````\n</details>\n");
            change
        });
        insta::assert_snapshot!(markdown(&[plan("a", vec![entry], vec![])], &[]));
    }

    #[test]
    fn a_plan_is_stable_json() {
        let plans = [hypervisor("hv-1"), everything()];
        insta::assert_json_snapshot!(to_json(&plans, &failures()));
    }
}
