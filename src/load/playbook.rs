//! Playbooks: reads a file and what it includes into plays and tasks.
//!
//! What a task's kind is and what its arguments mean is checked where it is bound to hosts; here a task must have one
//! kind, no unknown key, and includes must not go round in a circle.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use camino::{Utf8Path, Utf8PathBuf};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::yaml;
use crate::diag::{Diagnostic, Diagnostics, Sources, Span};
use crate::fs;
use crate::model::node::{Key, Node, OneOrMany, Spanned, Value};
use crate::model::playbook::{Batch, Domain, OnFailure, Play, Playbook, Purpose, Rolling, Task};

/// A playbook file.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlaybookFile {
    /// What the playbook is called.
    #[serde(default)]
    name: Option<String>,
    /// Other playbook files, relative to this one, whose plays come first.
    #[serde(default)]
    include: Option<OneOrMany<Spanned<String>>>,
    /// Variables of all plays of this file, where neither the inventory nor `--set` gives them.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    #[expect(dead_code, reason = "read from the node itself, which knows the places; declared to be a known key")]
    defaults: Option<IgnoredAny>,
    /// Variables of all plays of this file, which win over the inventory's.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    #[expect(dead_code, reason = "read from the node itself, which knows the places; declared to be a known key")]
    vars: Option<IgnoredAny>,
    /// The plays.
    #[serde(default)]
    #[schemars(with = "Vec<PlayFile>")]
    #[expect(dead_code, reason = "read from the node itself, which knows the places; declared to be a known key")]
    plays: Option<IgnoredAny>,
}

/// The keys of a play.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PlayFile {
    /// The name, unique in the playbook.
    name: Spanned<String>,
    /// The selector of its hosts, such as `role=etcd & site=par1`.
    hosts: Spanned<String>,
    /// Plays, or resources such as `hv1/file[/etc/motd]`, that must be done first.
    #[serde(default)]
    needs: Option<OneOrMany<Spanned<String>>>,
    /// How many hosts are changed at a time, and what must be well before the next.
    #[serde(default)]
    rolling: Option<RollingFile>,
    /// Variables, which win over the inventory's.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    #[expect(dead_code, reason = "read from the node itself, which knows the places; declared to be a known key")]
    vars: Option<IgnoredAny>,
    /// Tags of all its tasks.
    #[serde(default)]
    tags: Option<OneOrMany<String>>,
    /// The tasks, in the order in which they run on a host.
    #[serde(default)]
    #[schemars(with = "Vec<TaskFile>")]
    #[expect(dead_code, reason = "read from the node itself, which knows the places; declared to be a known key")]
    tasks: Option<IgnoredAny>,
}

/// The keys of `rolling`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RollingFile {
    /// How many hosts at a time: a number, or a share such as `"25%"`. The default is 1, or with `max_unavailable` no limit.
    #[serde(default)]
    batch: Option<Spanned<String>>,
    /// How many hosts at a time of any one rack, room or site: `{rack: 1, site: 2}`.
    #[serde(default)]
    max_unavailable: Option<MaxUnavailableFile>,
    /// How many hosts may fail before no further batch is begun.
    #[serde(default)]
    max_failures: usize,
    /// What must hold on each host of a batch before the next begins: arguments of the kind `check`.
    #[serde(default)]
    #[schemars(with = "Vec<serde_json::Value>")]
    #[expect(dead_code, reason = "read from the node itself, which knows the places; declared to be a known key")]
    health: Option<IgnoredAny>,
    /// What takes the work off a host before the play changes something there, and runs only then: arguments of the kind
    /// `command`.
    #[serde(default)]
    #[schemars(with = "serde_json::Value")]
    #[expect(dead_code, reason = "read from the node itself, which knows the places; declared to be a known key")]
    drain: Option<IgnoredAny>,
    /// What gives a drained host its work back after all that the play does there, also in a later run if this one does
    /// not come to it: arguments of the kind `command`.
    #[serde(default)]
    #[schemars(with = "serde_json::Value")]
    #[expect(dead_code, reason = "read from the node itself, which knows the places; declared to be a known key")]
    resume: Option<IgnoredAny>,
}

/// The keys of `max_unavailable`.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaxUnavailableFile {
    /// How many hosts of a rack.
    #[serde(default)]
    rack: Option<NonZeroUsize>,
    /// How many hosts of a room.
    #[serde(default)]
    room: Option<NonZeroUsize>,
    /// How many hosts of a site.
    #[serde(default)]
    site: Option<NonZeroUsize>,
}

/// The keys of a task beside its kind.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskFile {
    /// What the task is called.
    #[serde(default)]
    name: Option<String>,
    /// A CEL expression over the host's variables and facts; the task applies where it is true.
    #[serde(default)]
    when: Option<Spanned<String>>,
    /// A list to repeat the task for; each time the item is the variable `item`.
    #[serde(default)]
    #[schemars(with = "serde_json::Value")]
    #[expect(dead_code, reason = "read from the node itself, which knows the places; declared to be a known key")]
    for_each: Option<IgnoredAny>,
    /// Resources to refresh once at the end of the play if this task changed something: `service[etcd]`.
    #[serde(default)]
    notify: Option<OneOrMany<Spanned<String>>>,
    /// The name under which later tasks know what it printed: `registered.NAME.stdout`.
    #[serde(default)]
    register: Option<Spanned<String>>,
    /// Tags to choose tasks by.
    #[serde(default)]
    tags: Option<OneOrMany<String>>,
    /// Whether the host goes on when this task fails.
    #[serde(default)]
    ignore_errors: bool,
    /// Another file whose tasks take this one's place.
    #[serde(default)]
    include: Option<Spanned<String>>,
    /// Variables for the tasks of an included file.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    #[expect(dead_code, reason = "read from the node itself, which knows the places; declared to be a known key")]
    vars: Option<IgnoredAny>,
}

/// The keys a task may have beside its kind.
pub const TASK_KEYS: &[&str] =
    &["name", "when", "for_each", "notify", "register", "tags", "ignore_errors", "include", "vars"];

/// How deep files may include each other.
const MAX_INCLUDES: usize = 16;

type Vars = Vec<(String, Node)>;

/// Loads a playbook and everything that it includes, and reports every problem.
///
/// Returns what could be read also where there are problems, so that more of them are found later in the same run.
pub fn load(path: &Utf8Path, sources: &mut Sources, problems: &mut Diagnostics) -> Option<Playbook> {
    let mut loader = Loader { sources, problems, open: Vec::new(), files: Vec::new() };
    let mut playbook = Playbook::default();
    loader.playbook_file(path, None, &mut playbook)?;
    let mut seen: BTreeMap<String, Span> = BTreeMap::new();
    for play in &playbook.plays {
        if let Some(first) = seen.insert(play.name.value.clone(), play.name.span) {
            let problem = Diagnostic::error("duplicate-play", format!("there are two plays called `{}`", play.name));
            let problem = problem.at(play.name.span).label(first, "the first is here");
            problems.push(problem.help("give one of them another name: `needs` speaks of plays by name"));
        }
    }
    for play in &playbook.plays {
        for need in play.needs.iter().filter(|need| !need.contains('[') && !seen.contains_key(need.as_str())) {
            let problem = Diagnostic::error("unknown-play", format!("there is no play `{need}`")).at(need.span);
            problems.push(problem.suggest(need, seen.keys().map(String::as_str)));
        }
    }
    if playbook.plays.is_empty() && !problems.has_errors() {
        problems.push(
            Diagnostic::error("empty-playbook", format!("{path} has no plays")).help("add `plays:` or `include:`"),
        );
    }
    Some(playbook)
}

struct Loader<'a> {
    sources: &'a mut Sources,
    problems: &'a mut Diagnostics,
    open: Vec<Utf8PathBuf>,
    files: Vec<Utf8PathBuf>,
}

impl Loader<'_> {
    fn problem(&mut self, problem: Diagnostic) {
        self.problems.push(problem);
    }

    /// Reads a file that may be included; `from` is where that is asked for.
    fn read(&mut self, path: &Utf8Path, from: Option<Span>) -> Option<Node> {
        let at = |problem: Diagnostic| match from {
            Some(span) => problem.at(span),
            None => problem,
        };
        if self.open.iter().any(|open| open == path) || self.open.len() > MAX_INCLUDES {
            let way: Vec<&str> = self.open.iter().map(|p| p.as_str()).chain([path.as_str()]).collect();
            let message = format!("the includes go round in a circle: {}", way.join(" -> "));
            self.problem(at(Diagnostic::error("include-cycle", message)));
            return None;
        }
        match fs::metadata(path) {
            Ok(Some(found)) if found.is_file() => {}
            Ok(found) => {
                let what = if found.is_some() { "is not a file" } else { "does not exist" };
                self.problem(at(Diagnostic::error("no-such-file", format!("the playbook {path} {what}"))));
                return None;
            }
            Err(error) => {
                self.problem(at(Diagnostic::error("unreadable", format!("{error}: {}", error.source))));
                return None;
            }
        }
        match fs::read_at_most(path, yaml::MAX_BYTES) {
            Ok(bytes) => {
                self.files.push(path.to_owned());
                yaml::parse(self.sources, path, &bytes, self.problems)
            }
            Err(error) => {
                self.problem(at(Diagnostic::error("unreadable", format!("{error}: {}", error.source))));
                None
            }
        }
    }

    fn playbook_file(&mut self, path: &Utf8Path, from: Option<Span>, playbook: &mut Playbook) -> Option<()> {
        let node = self.read(path, from)?;
        let file: PlaybookFile = node.read_all(self.problems)?;
        self.open.push(path.to_owned());
        if from.is_none() {
            playbook.name = file.name;
        }
        for include in file.include.iter().flat_map(|list| list.iter()) {
            let other = beside(path, include);
            self.playbook_file(&other, Some(include.span), playbook);
        }
        let (defaults, vars) = (self.map(&node, "defaults"), self.map(&node, "vars"));
        for play in self.list(&node, "plays") {
            self.play(&play, path, (&defaults, &vars), playbook);
        }
        self.open.pop();
        Some(())
    }

    /// Adds a play; `of_file` are the defaults and the variables of its file.
    fn play(&mut self, node: &Node, path: &Utf8Path, of_file: (&Vars, &Vars), playbook: &mut Playbook) -> Option<()> {
        let read: PlayFile = node.read_all(self.problems)?;
        let (defaults, file_vars) = of_file;
        let vars = merged(file_vars, self.map(node, "vars"));
        let rolling = match (read.rolling, node.get("rolling")) {
            (Some(rolling), Some(node)) => self.rolling(&rolling, node),
            _ => None,
        };
        let tags = read.tags.map(|tags| tags.0).unwrap_or_default();
        let mut tasks = Vec::new();
        for task in self.list(node, "tasks") {
            self.task(&task, path, &Vec::new(), &tags, &mut tasks);
        }
        if let Some(node) = node.get("rolling") {
            self.drain_and_resume(&read.name, node, &tags, &mut tasks);
        }
        let needs = read.needs.map(|needs| needs.0).unwrap_or_default();
        let defaults = defaults.clone();
        playbook.plays.push(Play { name: read.name, hosts: read.hosts, needs, rolling, defaults, vars, tags, tasks });
        Some(())
    }

    fn rolling(&mut self, read: &RollingFile, node: &Node) -> Option<Rolling> {
        let limits = read
            .max_unavailable
            .iter()
            .flat_map(|most| [(Domain::Rack, most.rack), (Domain::Room, most.room), (Domain::Site, most.site)]);
        let max_unavailable: Vec<(Domain, usize)> =
            limits.filter_map(|(domain, most)| Some((domain, most?.get()))).collect();
        let batch = match &read.batch {
            None => max_unavailable.is_empty().then_some(Batch::Hosts(1)),
            Some(text) => Some({
                let (digits, is_share) = match text.strip_suffix('%') {
                    Some(digits) => (digits, true),
                    None => (text.as_str(), false),
                };
                match digits.trim().parse::<usize>() {
                    Ok(share @ 1..=100) if is_share => Batch::Percent(share),
                    Ok(hosts @ 1..) if !is_share => Batch::Hosts(hosts),
                    _ => {
                        let message = format!("`{text}` is no size of a batch");
                        let help = "write a number of hosts from 1, or a share such as \"25%\"";
                        self.problem(Diagnostic::error("wrong-value", message).at(text.span).help(help));
                        return None;
                    }
                }
            }),
        };
        let health = self.list(node, "health");
        Some(Rolling { batch, max_unavailable, max_failures: read.max_failures, health })
    }

    /// Makes tasks of what drains a host and of what gives it its work back: the first and the last of the play.
    fn drain_and_resume(&mut self, play: &str, rolling: &Node, tags: &[String], tasks: &mut Vec<Task>) {
        let given = |key: &str| rolling.entry(key).filter(|(_, node)| !node.is_null());
        let mut both = Vec::new();
        for (key, purpose) in [("drain", Purpose::Drain), ("resume", Purpose::Resume)] {
            let Some((key, node)) = given(key) else { continue };
            let Some(entries) = node.as_map() else {
                let message = format!("`{}` is {}, and should be a map", key.text, node.describe());
                let problem = Diagnostic::error("wrong-type", message).at(node.span);
                self.problem(problem.help("write the arguments of a `command`, such as {run: /usr/local/sbin/leave}"));
                continue;
            };
            let mut entries = entries.to_vec();
            let named = |name: &str, value: Node| (Key { span: key.span, text: name.into() }, value);
            if node.get("name").is_none() {
                entries.push(named("name", Node::text(key.span, format!("{} {play}", key.text))));
            }
            if purpose == Purpose::Resume && node.get("on_notify").is_none() {
                entries.push(named("on_notify", Node::from_json(key.span, &true.into())));
            }
            both.push(Task {
                span: key.span,
                name: None,
                kind: Spanned::new(key.span, "command".to_owned()),
                arguments: Node { span: node.span, value: Value::Map(entries) },
                when: None,
                for_each: None,
                notify: Vec::new(),
                register: None,
                tags: tags.to_vec(),
                on_failure: OnFailure::Stop,
                vars: Vec::new(),
                purpose,
            });
        }
        let resume = both.iter().find(|task| task.purpose == Purpose::Resume);
        let notify = resume.map(|task| {
            let name = task.arguments.get("name").and_then(Node::as_str).unwrap_or_default();
            Spanned::new(task.span, format!("command[{name}]"))
        });
        for mut task in both {
            if task.purpose == Purpose::Drain {
                task.notify.extend(notify.clone());
                tasks.insert(0, task);
            } else {
                tasks.push(task);
            }
        }
        if let (Some((key, _)), None) = (given("resume"), given("drain")) {
            let problem = Diagnostic::error("no-drain", "`resume` without `drain`: nothing would be given back");
            self.problem(problem.at(key.span).help("say with `drain` what takes the work off the host before"));
        }
    }

    fn task(
        &mut self,
        node: &Node,
        path: &Utf8Path,
        vars: &Vars,
        tags: &[String],
        tasks: &mut Vec<Task>,
    ) -> Option<()> {
        let Some(entries) = node.as_map() else {
            let message = format!("a task is a map with a kind in it, and this is {}", node.describe());
            self.problem(Diagnostic::error("wrong-type", message).at(node.span));
            return None;
        };
        let (common, kinds): (Vec<_>, Vec<_>) =
            entries.iter().cloned().partition(|(key, _)| TASK_KEYS.contains(&&*key.text));
        let common = Node { span: node.span, value: Value::Map(common) };
        let read: TaskFile = common.read_all(self.problems)?;
        let mut all_tags = tags.to_vec();
        all_tags.extend(read.tags.iter().flat_map(|own| own.iter().cloned()));
        let own_vars = merged(vars, self.map(node, "vars"));

        if let Some(include) = &read.include {
            if let Some((kind, _)) = kinds.first() {
                let message = format!("a task has `include` and the kind `{}`", kind.text);
                self.problem(Diagnostic::error("two-kinds", message).at(kind.span).help("make two tasks of it"));
                return None;
            }
            let other = beside(path, include);
            let included = self.read(&other, Some(include.span))?;
            self.open.push(other.clone());
            let Some(items) = included.as_seq() else {
                let message = format!("{other} is {}, and a file of tasks is a list", included.describe());
                self.problem(Diagnostic::error("wrong-type", message).at(included.span));
                return None;
            };
            let first = tasks.len();
            for item in items {
                self.task(item, &other, &own_vars, &all_tags, tasks);
            }
            // A condition on the include holds for each of its tasks.
            if let Some(when) = &read.when {
                for task in tasks.iter_mut().skip(first) {
                    task.when = Some(match task.when.take() {
                        Some(own) => own.map(|own| format!("({when}) && ({own})")),
                        None => when.clone(),
                    });
                }
            }
            self.open.pop();
            return Some(());
        }
        match kinds.as_slice() {
            [(kind, arguments)] => {
                tasks.push(Task {
                    span: node.span,
                    name: read.name,
                    kind: Spanned::new(kind.span, kind.text.to_string()),
                    arguments: arguments.clone(),
                    when: read.when,
                    for_each: node.get("for_each").cloned(),
                    notify: read.notify.map(|notify| notify.0).unwrap_or_default(),
                    register: read.register,
                    tags: all_tags,
                    on_failure: if read.ignore_errors { OnFailure::GoOn } else { OnFailure::Stop },
                    vars: own_vars,
                    purpose: Purpose::Task,
                });
                Some(())
            }
            [] => {
                let problem = Diagnostic::error("no-kind", "a task has no kind").at(node.span);
                self.problem(
                    problem.help("add one, such as `package: {name: chrony}`; `provision explain --list` lists them"),
                );
                None
            }
            [(first, _), (second, _), ..] => {
                let message = format!("a task has two kinds or an unknown key: `{}` and `{}`", first.text, second.text);
                let problem =
                    Diagnostic::error("two-kinds", message).at(second.span).label(first.span, "the first is here");
                self.problem(problem.suggest(&second.text, TASK_KEYS.iter().copied()));
                None
            }
        }
    }

    fn map(&mut self, node: &Node, key: &str) -> Vars {
        let Some(vars) = node.get(key).filter(|vars| !vars.is_null()) else { return Vec::new() };
        match vars.as_map() {
            Some(entries) => entries.iter().map(|(key, value)| (key.text.to_string(), value.clone())).collect(),
            None => {
                let message = format!("`{key}` is {}, and should be a map", vars.describe());
                self.problem(Diagnostic::error("wrong-type", message).at(vars.span));
                Vec::new()
            }
        }
    }

    fn list(&mut self, node: &Node, key: &str) -> Vec<Node> {
        let Some(list) = node.get(key).filter(|list| !list.is_null()) else { return Vec::new() };
        match list.as_seq() {
            Some(items) => items.to_vec(),
            None => {
                let message = format!("`{key}` is {}, and should be a list", list.describe());
                self.problem(Diagnostic::error("wrong-type", message).at(list.span));
                Vec::new()
            }
        }
    }
}

fn beside(path: &Utf8Path, other: &str) -> Utf8PathBuf {
    path.parent().map_or_else(|| Utf8PathBuf::from(other), |folder| folder.join(other))
}

/// Returns the variables of both, those of `inner` winning.
fn merged(outer: &Vars, inner: Vars) -> Vars {
    let mut all: Vars = outer.iter().filter(|(name, _)| !inner.iter().any(|(own, _)| own == name)).cloned().collect();
    all.extend(inner);
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load_text(files: &[(&str, &str)]) -> (Playbook, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        for (name, text) in files {
            fs::write_atomic(&root.join(name), text.as_bytes(), 0o600).unwrap();
        }
        let (mut sources, mut problems) = (Sources::default(), Diagnostics::default());
        let playbook = load(&root.join("site.yaml"), &mut sources, &mut problems).unwrap_or_default();
        let shown = problems.iter().map(|problem| {
            let place = problem.primary.as_ref().map(|label| sources.locate(label.span));
            let place = place.map(|p| format!("{}:{}:{}", p.file.file_name().unwrap_or(""), p.line, p.column));
            format!("{} {}: {}", problem.code, place.unwrap_or_default(), problem.message.replace(root.as_str(), ""))
        });
        (playbook, shown.collect())
    }

    #[test]
    fn includes_come_first_and_tasks_keep_what_they_were_given() {
        let (playbook, problems) = load_text(&[
            (
                "site.yaml",
                "name: Site\ninclude: base.yaml\nplays:\n- name: two\n  hosts: all\n  needs: one\n  tags: x\n  tasks:\n  - include: t.yaml\n    vars: {v: 1}\n    when: a\n",
            ),
            ("base.yaml", "plays:\n- {name: one, hosts: all, rolling: {batch: 25%, health: [{command: 'true'}]}}\n"),
            ("t.yaml", "- file: {path: /a}\n  when: b\n  tags: [y]\n  notify: service[a]\n"),
        ]);
        assert_eq!(problems, Vec::<String>::new());
        let names: Vec<&str> = playbook.plays.iter().map(|play| play.name.as_str()).collect();
        assert_eq!(names, ["one", "two"]);
        assert_eq!(playbook.plays[0].rolling.as_ref().unwrap().batch, Some(Batch::Percent(25)));
        let task = &playbook.plays[1].tasks[0];
        assert_eq!((task.kind.as_str(), task.when.as_ref().unwrap().as_str()), ("file", "(a) && (b)"));
        assert_eq!((task.tags.clone(), task.vars[0].0.as_str()), (vec!["x".to_owned(), "y".to_owned()], "v"));
    }

    #[test]
    fn every_mistake_is_located() {
        let (_, problems) = load_text(&[(
            "site.yaml",
            "plays:\n- name: a\n  hosts: all\n  colour: red\n- name: a\n  hosts: all\n  needs: [b]\n  tasks:\n  - when: x\n  - {file: {}, link: {}}\n  - 3\n  - include: nope.yaml\n  rolling: {batch: many}\n",
        )]);
        insta::assert_snapshot!(problems.join("\n"));
    }

    #[test]
    fn what_drains_a_host_is_the_first_task_of_its_play_and_what_gives_its_work_back_the_last() {
        let (playbook, problems) = load_text(&[(
            "site.yaml",
            "plays:\n- name: machines\n  hosts: all\n  tags: x\n  rolling: {max_unavailable: {rack: 1}, drain: {run: leave}, resume: {name: back, run: enter}}\n  tasks: [{file: {path: /a}}]\n",
        )]);
        assert_eq!(problems, Vec::<String>::new());
        let play = &playbook.plays[0];
        let tasks: Vec<_> =
            play.tasks.iter().map(|task| (task.purpose, task.arguments.to_json().to_string())).collect();
        assert_eq!(
            tasks,
            [
                (Purpose::Drain, r#"{"run":"leave","name":"drain machines"}"#.to_owned()),
                (Purpose::Task, r#"{"path":"/a"}"#.to_owned()),
                (Purpose::Resume, r#"{"name":"back","run":"enter","on_notify":true}"#.to_owned()),
            ]
        );
        assert_eq!(play.tasks[0].notify[0].value, "command[back]");
        assert_eq!(play.tasks[0].tags, ["x"]);
        let rolling = play.rolling.as_ref().unwrap();
        assert_eq!((rolling.batch, &rolling.max_unavailable[..]), (None, &[(Domain::Rack, 1)][..]));
    }

    #[test]
    fn a_drain_that_is_no_command_and_a_resume_without_one_are_refused() {
        let rolling = |text: &str| {
            let site =
                format!("plays:\n- name: m\n  hosts: all\n  rolling: {text}\n  tasks: [{{file: {{path: /a}}}}]\n");
            load_text(&[("site.yaml", &site)]).1
        };
        assert_eq!(
            rolling("{drain: leave}"),
            ["wrong-type site.yaml:4:20: `drain` is the text \"leave\", and should be a map"]
        );
        assert_eq!(
            rolling("{resume: {run: enter}}"),
            ["no-drain site.yaml:4:13: `resume` without `drain`: nothing would be given back"]
        );
        assert_eq!(rolling("{max_unavailable: {rack: 0}}").len(), 1);
        assert_eq!(rolling("{max_unavailable: {row: 1}}").len(), 1);
    }

    #[test]
    fn a_circle_of_includes_is_shown() {
        let (_, problems) = load_text(&[("site.yaml", "include: a.yaml\n"), ("a.yaml", "include: site.yaml\n")]);
        assert_eq!(
            problems,
            ["include-cycle a.yaml:1:10: the includes go round in a circle: /site.yaml -> /a.yaml -> /site.yaml"]
        );
    }
}
