//! `command`: shell text or a program, run where its own conditions say that it is needed.
//!
//! A command without a condition cannot tell whether it is needed: it is planned as a run, each time, and says so.
//! Its conditions are asked in the same exchange as everything else, each with a deadline, and are read-only by
//! the author's promise.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::call::{Call, What, is_variable, short_name};
use super::managed_file::sha256;
use super::read::{Answers, Query, Want};
use super::spec::{AccountName, HostPath, Seconds};
use super::{Kind, ObserveError, SpecProblem};
use crate::change::{AttributeChange, Change, Shown, Step};
use crate::sh;
use crate::shell::Script;

/// A command. Give `run` or `argv`, and the condition under which it is needed.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Command {
    /// The resource's name. The default is the beginning of the command.
    #[serde(default)]
    name: Option<String>,
    /// Shell text, run by `sh`; it stops at the first command that fails.
    #[serde(default)]
    run: Option<String>,
    /// A program and its arguments, run without a shell. Other users of the host can see them: no secrets here.
    #[serde(default)]
    argv: Option<Vec<String>>,
    /// A path that the command makes: where it is there, nothing is run.
    #[serde(default)]
    creates: Option<HostPath>,
    /// A path that the command removes: where it is not there, nothing is run.
    #[serde(default)]
    removes: Option<HostPath>,
    /// Read-only shell text: where it succeeds, the work is done and nothing is run.
    #[serde(default)]
    unless: Option<String>,
    /// Read-only shell text: where it fails, nothing is run.
    #[serde(default)]
    only_if: Option<String>,
    /// Whether it runs only when a resource that notifies it has changed.
    #[serde(default)]
    on_notify: bool,
    /// Shell text that takes the effect back, for a rollback.
    #[serde(default)]
    reverse: Option<String>,
    /// The folder in which all of it runs. The default is `/`.
    #[serde(default)]
    cwd: Option<HostPath>,
    /// The user as whom all of it runs. The default is `root`.
    #[serde(default)]
    user: Option<AccountName>,
    /// Environment variables, which may hold secrets.
    #[serde(default)]
    environment: BTreeMap<String, String>,
    /// Text that the command reads from its standard input, which may be secret.
    #[serde(default)]
    stdin: Option<String>,
    /// How long it may take. The default is one hour.
    #[serde(default = "an_hour")]
    timeout: Seconds,
    /// The exit codes that mean success. The default is 0 alone.
    #[serde(default = "only_zero")]
    ok_codes: Vec<u8>,
}

fn an_hour() -> Seconds {
    Seconds::of(3600)
}

fn only_zero() -> Vec<u8> {
    vec![0]
}

/// How much longer than its command a step may take.
const GRACE_SECONDS: u32 = 15;
/// How long a condition may take.
const PROBE_SECONDS: u32 = 20;

/// What was found of a command's conditions; none for those that it does not have.
#[derive(Clone, Debug, Default, Serialize)]
pub struct ObservedCommand {
    #[serde(skip_serializing_if = "Option::is_none")]
    creates_is_there: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    removes_is_there: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unless_succeeds: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    only_if_succeeds: Option<bool>,
}

impl Command {
    fn what(&self) -> What<'_> {
        match (&self.run, &self.argv) {
            (Some(text), _) => What::Shell(text),
            (None, Some(argv)) => What::Program(argv),
            (None, None) => What::Shell(""),
        }
    }

    fn shown(&self) -> String {
        match self.what() {
            What::Shell(text) => text.to_owned(),
            What::Program(argv) => Script::words(argv).text().to_owned(),
        }
    }

    fn call<'a>(&'a self, what: What<'a>) -> Call<'a> {
        Call { what, user: self.user.as_ref(), cwd: self.cwd.as_ref(), environment: Some(&self.environment) }
    }

    /// Returns the question whether a condition succeeds. Its output is not of interest and may be secret.
    fn probe(&self, text: &str) -> Query {
        let call = self.call(What::Shell(text));
        let command = sh!("{} >/dev/null 2>&1", call.command(sh!("{}", PROBE_SECONDS)));
        let script = Script::constant("set -e").then(call.setup()).then(command);
        Query::Snippet { key: probe_key(&script), tools: Vec::new(), script }
    }

    fn probed(&self, field: &str, text: Option<&String>, answers: &Answers) -> Result<Option<bool>, ObserveError> {
        let Some(text) = text else { return Ok(None) };
        let Query::Snippet { key, .. } = self.probe(text) else { return Ok(None) };
        match answers.snippet(&key).map_or(1, |output| output.status) {
            124 | 137 => Err(ObserveError::unexpected(
                self,
                format!("the command of `{field}` did not end within {PROBE_SECONDS} s; it should only look"),
            )),
            status => Ok(Some(status == 0)),
        }
    }

    fn step_of(&self, title: String, what: What<'_>, stdin: Option<&str>) -> Step {
        let call = self.call(what);
        let feed = if stdin.is_some() { Script::constant("_payload | ") } else { Script::default() };
        let command = call.command(sh!("{}", self.timeout.count()));
        let codes: Vec<String> = self.ok_codes.iter().map(u8::to_string).collect();
        let script = call.setup().then(sh!(
            r#"_rc=0
{}{} || _rc=$?
for _ok in {}; do
  if [ "$_rc" -eq "$_ok" ]; then exit 0; fi
done
case $_rc in
  124|137) echo {} >&2;;
  *) echo "it ended with status $_rc" >&2;;
esac
exit "$_rc""#,
            feed,
            command,
            Script::words(codes),
            format!("it did not end within {}", self.timeout)
        ));
        let step = Step::new(title, script).within(self.timeout.count().saturating_add(GRACE_SECONDS));
        match stdin {
            Some(text) => step.with_bytes(text.as_bytes()),
            None => step,
        }
    }

    fn run_step(&self) -> Step {
        self.step_of(format!("run {}", short_name(&self.shown())), self.what(), self.stdin.as_deref())
    }

    /// Returns why nothing is to be run, or why something is.
    fn verdict(&self, observed: &ObservedCommand) -> Result<String, String> {
        let path = |path: &Option<HostPath>| path.as_ref().map(HostPath::to_string).unwrap_or_default();
        if self.on_notify {
            return Err("it runs only when it is notified".to_owned());
        }
        if observed.creates_is_there == Some(true) {
            return Err(format!("{} is there", path(&self.creates)));
        }
        if observed.removes_is_there == Some(false) {
            return Err(format!("{} is not there", path(&self.removes)));
        }
        if observed.unless_succeeds == Some(true) {
            return Err("the command of `unless` succeeds".to_owned());
        }
        if observed.only_if_succeeds == Some(false) {
            return Err("the command of `only_if` fails".to_owned());
        }
        let mut reasons = Vec::new();
        if observed.creates_is_there.is_some() {
            reasons.push(format!("{} is not there", path(&self.creates)));
        }
        if observed.removes_is_there.is_some() {
            reasons.push(format!("{} is there", path(&self.removes)));
        }
        if observed.unless_succeeds.is_some() {
            reasons.push("the command of `unless` fails".to_owned());
        }
        if observed.only_if_succeeds.is_some() {
            reasons.push("the command of `only_if` succeeds".to_owned());
        }
        if reasons.is_empty() {
            return Ok("it has no condition: it runs each time".to_owned());
        }
        Ok(reasons.join(", "))
    }
}

fn probe_key(script: &Script) -> String {
    format!("probe:{}", sha256(script.text().as_bytes()))
}

impl Kind for Command {
    const NAME: &'static str = "command";
    const SUMMARY: &'static str = "Shell text or a program, run where its own conditions say that it is needed";
    const EXAMPLE: &'static str = r#"- command:
    run: etcdctl snapshot save /var/backups/etcd.db
    creates: /var/backups/etcd.db
    timeout: 10m
- command:
    name: storage pool
    argv: [zpool, create, tank, /dev/sdb]
    unless: zpool list tank
- command: {run: systemctl reload nginx, on_notify: true}
"#;

    type Observed = ObservedCommand;

    fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| short_name(&self.shown()))
    }

    fn check(&self) -> Vec<SpecProblem> {
        let mut problems = Vec::new();
        match (&self.run, &self.argv) {
            (Some(_), Some(_)) => {
                let problem = SpecProblem::new("argv", "`run` and `argv` both say what is to be run");
                problems.push(problem.help("keep one of them"));
            }
            (None, None) => problems.push(SpecProblem::new("run", "there is nothing to run")),
            (Some(text), None) if text.trim().is_empty() => {
                problems.push(SpecProblem::new("run", "there is nothing to run"));
            }
            (None, Some(argv)) if argv.first().is_none_or(|program| program.is_empty()) => {
                problems.push(SpecProblem::new("argv", "its first entry is the program"));
            }
            _ => {}
        }
        if self.name.as_ref().is_some_and(|name| name.trim().is_empty()) {
            problems.push(SpecProblem::new("name", "a name is not blank"));
        }
        for name in self.environment.keys().filter(|name| !is_variable(name)) {
            let message = format!("{name:?} cannot be the name of an environment variable");
            problems.push(SpecProblem::new("environment", message));
        }
        if self.ok_codes.is_empty() {
            problems.push(SpecProblem::new("ok_codes", "no exit code would mean success"));
        }
        problems
    }

    fn queries(&self) -> Vec<Query> {
        let paths = [&self.creates, &self.removes].into_iter().flatten();
        let mut queries: Vec<Query> = paths.map(|path| Query::Path(path.as_str().to_owned(), Want::Metadata)).collect();
        if !self.on_notify {
            queries.extend([&self.unless, &self.only_if].into_iter().flatten().map(|text| self.probe(text)));
        }
        queries
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedCommand, ObserveError> {
        let is_there = |path: &HostPath| answers.path(path.as_str()).is_some();
        let mut observed = ObservedCommand {
            creates_is_there: self.creates.as_ref().map(is_there),
            removes_is_there: self.removes.as_ref().map(is_there),
            ..ObservedCommand::default()
        };
        if !self.on_notify {
            observed.unless_succeeds = self.probed("unless", self.unless.as_ref(), answers)?;
            observed.only_if_succeeds = self.probed("only_if", self.only_if.as_ref(), answers)?;
        }
        Ok(observed)
    }

    fn diff(&self, observed: &ObservedCommand) -> Change {
        let reason = match self.verdict(observed) {
            Ok(reason) => reason,
            Err(reason) => return Change::no_op(self.id(), reason),
        };
        let mut change = Change::run(self.id(), reason);
        let mut show = |name: &str, after: Shown| {
            change.attributes.push(AttributeChange { name: name.to_owned(), before: Shown::Absent, after });
        };
        show("run", Shown::Value(json!(self.shown())));
        if let Some(user) = &self.user {
            show("user", Shown::Value(json!(user)));
        }
        if self.stdin.is_some() {
            show("stdin", Shown::Sensitive);
        }
        let change = change.step(self.run_step());
        match &self.reverse {
            Some(text) => {
                change.reversed_by(vec![self.step_of(format!("run {}", short_name(text)), What::Shell(text), None)])
            }
            None => change.irreversible("a command's effect is not known; `reverse` can say how to take it back"),
        }
    }

    fn refresh(&self) -> Option<Vec<Step>> {
        Some(vec![self.run_step()])
    }
}
