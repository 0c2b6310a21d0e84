//! `timer`: a command, or a unit, that systemd starts at given times.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::managed_file::{ManagedFile, ObservedFile};
use super::parts::{join, one_line};
use super::read::{Answers, Query, Want};
use super::spec::{HostPath, Presence};
use super::{Claim, Kind, ObserveError, SpecProblem, systemd};
use crate::change::{Action, Attributes, Change, Reverse, Step};
use crate::sh;

/// A systemd timer, with the service that it starts. It writes `NAME.timer`, and `NAME.service` for a `command`, both
/// in `/etc/systemd/system`, and the timer runs and is enabled.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timer {
    /// The name, without a suffix.
    name: String,
    /// The command: a program by its absolute path, and its arguments, each as it is. No shell reads it.
    #[serde(default)]
    command: Vec<String>,
    /// The unit to start, instead of a command.
    #[serde(default)]
    unit: Option<String>,
    /// The user that the command runs as; root by default.
    #[serde(default)]
    user: Option<String>,
    /// When by the calendar, as in `daily`, `Mon..Fri 04:30` or `*:0/15`.
    #[serde(default)]
    on_calendar: Option<String>,
    /// How long after the host booted, as in `5min`.
    #[serde(default)]
    on_boot: Option<String>,
    /// How long after the timer itself was started.
    #[serde(default)]
    on_active: Option<String>,
    /// How long after the command last started.
    #[serde(default)]
    on_unit_active: Option<String>,
    /// How long after the command last ended.
    #[serde(default)]
    on_unit_inactive: Option<String>,
    /// By how much systemd may be late in order to wake up less often; `1min` where not given.
    #[serde(default)]
    accuracy: Option<String>,
    /// The longest random delay, so that not all hosts start at once.
    #[serde(default)]
    randomized_delay: Option<String>,
    /// Whether a time by the calendar that passed while the host was off is made up for.
    #[serde(default)]
    persistent: bool,
    /// What it is for, in a few words.
    #[serde(default)]
    description: Option<String>,
    /// Whether it is to be there. The command that is running when a timer is removed runs to its end.
    #[serde(default)]
    state: Presence,
}

/// A timer as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedTimer {
    timer: ObservedFile,
    service: ObservedFile,
    /// Whether the service file was written for a timer like this one.
    service_is_ours: bool,
    active: bool,
    enabled: bool,
    needs_reload: bool,
}

impl Timer {
    fn timer_unit(&self) -> String {
        format!("{}.timer", self.name)
    }

    fn service_unit(&self) -> String {
        format!("{}.service", self.name)
    }

    fn mark(&self) -> String {
        format!("# Managed by provision: timer[{}].\n", self.name)
    }

    fn description(&self) -> String {
        // systemd replaces `%n` and its like.
        self.description.clone().unwrap_or_else(|| format!("Timer {}", self.name)).replace('%', "%%")
    }

    fn file(&self, unit: &str, content: String) -> ManagedFile {
        let mut file = ManagedFile::of_root(HostPath::of(format!("{}/{unit}", systemd::UNITS)), content, 0o644);
        file.validate = Some(systemd::verify_command(unit, None));
        file
    }

    fn timer_file(&self) -> ManagedFile {
        let mut text = self.mark();
        let _ = write!(text, "[Unit]\nDescription={}\n\n[Timer]\n", self.description());
        let persistent = self.persistent.then(|| "true".to_owned());
        for (key, value) in [
            ("OnCalendar", &self.on_calendar),
            ("OnBootSec", &self.on_boot),
            ("OnActiveSec", &self.on_active),
            ("OnUnitActiveSec", &self.on_unit_active),
            ("OnUnitInactiveSec", &self.on_unit_inactive),
            ("AccuracySec", &self.accuracy),
            ("RandomizedDelaySec", &self.randomized_delay),
            ("Persistent", &persistent),
            ("Unit", &self.unit),
        ] {
            if let Some(value) = value {
                let _ = writeln!(text, "{key}={value}");
            }
        }
        text.push_str("\n[Install]\nWantedBy=timers.target\n");
        self.file(&self.timer_unit(), text)
    }

    fn service_file(&self) -> ManagedFile {
        let mut text = self.mark();
        let _ = write!(text, "[Unit]\nDescription={}\n\n[Service]\nType=oneshot\n", self.description());
        if let Some(user) = &self.user {
            let _ = writeln!(text, "User={user}");
        }
        let words: Vec<String> = self.command.iter().map(|word| quote(word)).collect();
        let _ = writeln!(text, "ExecStart={}", words.join(" "));
        self.file(&self.service_unit(), text)
    }

    fn schedules(&self) -> [(&'static str, &Option<String>); 5] {
        [
            ("on_calendar", &self.on_calendar),
            ("on_boot", &self.on_boot),
            ("on_active", &self.on_active),
            ("on_unit_active", &self.on_unit_active),
            ("on_unit_inactive", &self.on_unit_inactive),
        ]
    }

    fn diff_present(&self, observed: &ObservedTimer) -> Change {
        let id = self.id();
        let timer = self.timer_file().diff(id.clone(), &observed.timer);
        let service = if !self.command.is_empty() {
            self.service_file().diff(id.clone(), &observed.service)
        } else if observed.service_is_ours {
            // What was a command is now a unit.
            self.service_file().diff_absent(id.clone(), &observed.service)
        } else {
            Change::no_op(id.clone(), "")
        };
        let before = Attributes::from([
            ("enabled".into(), json!(observed.enabled)),
            ("loaded".into(), json!(!observed.needs_reload)),
            ("running".into(), json!(observed.active)),
        ]);
        let wanted = ["enabled", "loaded", "running"].map(|name| (name.to_owned(), json!(true)));
        let state = Change::between(id.clone(), &before, &Attributes::from(wanted));
        let (new_schedule, is_new) = (!timer.is_no_op(), timer.action == Action::Create);
        let new_files = new_schedule || !service.is_no_op();
        if state.is_no_op() && !new_files {
            return Change::no_op(id, format!("the files of {} are as wanted, and it runs and is enabled", self.name));
        }
        let must_run = !state.is_no_op() || new_schedule;
        // The timer refers to the service, so the service comes first; what it is called by is the timer.
        let text = timer.text.clone();
        let mut change = join(id, vec![("service", service), ("timer", timer), ("", state)]);
        change.action = if is_new { Action::Create } else { Action::Update };
        change.text = text.or(change.text);
        if is_new {
            change.reason = "it is not there".to_owned();
        }
        let unit = self.timer_unit();
        let mut back = match std::mem::replace(&mut change.reverse, Reverse::Nothing) {
            Reverse::Steps(steps) => steps,
            _ => Vec::new(),
        };
        if new_files || observed.needs_reload {
            change.steps.push(systemd::reload_step());
            back.push(systemd::reload_step());
        }
        if must_run {
            let start = sh!("systemctl enable --quiet -- {}\nsystemctl restart -- {}", unit, unit);
            change.steps.push(Step::new(format!("enable and start {unit}"), start));
            let stop = sh!("systemctl stop -- {}", unit);
            back.insert(0, Step::new(format!("stop {unit}"), stop));
            if !observed.enabled {
                back.insert(1, Step::new(format!("disable {unit}"), sh!("systemctl disable --quiet -- {}", unit)));
            }
            if observed.active {
                back.push(Step::new(format!("start {unit}"), sh!("systemctl start -- {}", unit)));
            }
        }
        change.reversed_by(back)
    }

    fn diff_absent(&self, observed: &ObservedTimer) -> Change {
        let id = self.id();
        let timer = self.timer_file().diff_absent(id.clone(), &observed.timer);
        let service = if observed.service_is_ours {
            self.service_file().diff_absent(id.clone(), &observed.service)
        } else {
            Change::no_op(id.clone(), "")
        };
        if timer.is_no_op() && service.is_no_op() {
            return Change::no_op(id, format!("there is no {}, as wanted", self.timer_unit()));
        }
        let was_there = !timer.is_no_op();
        let mut change = join(id, vec![("timer", timer), ("service", service)]);
        change.action = Action::Delete;
        change.reason = "it must not be there".to_owned();
        let unit = self.timer_unit();
        let mut back = match std::mem::replace(&mut change.reverse, Reverse::Nothing) {
            Reverse::Steps(steps) => steps,
            _ => Vec::new(),
        };
        change.steps.push(systemd::reload_step());
        back.push(systemd::reload_step());
        if was_there {
            let stop =
                Step::new(format!("stop and disable {unit}"), sh!("systemctl disable --quiet --now -- {}", unit));
            change.steps.insert(0, stop);
        }
        if observed.enabled {
            back.push(Step::new(format!("enable {unit}"), sh!("systemctl enable --quiet -- {}", unit)));
        }
        if observed.active {
            back.push(Step::new(format!("start {unit}"), sh!("systemctl start -- {}", unit)));
        }
        change.attributes.retain(|attribute| !attribute.name.ends_with(".content"));
        change.reversed_by(back)
    }
}

/// Returns a word as `ExecStart=` reads it: in quotes, with what systemd would replace doubled.
fn quote(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    let mut quoted = String::from("\"");
    for c in word.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '$' => quoted.push_str("$$"),
            '%' => quoted.push_str("%%"),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_ascii_control() => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

impl Kind for Timer {
    const NAME: &'static str = "timer";
    const SUMMARY: &'static str = "A systemd timer and the command that it starts";
    const EXAMPLE: &'static str = r#"- timer:
    name: etcd-snapshot
    command: [/usr/local/sbin/etcd-snapshot, --keep, "7"]
    on_calendar: "*-*-* 02:00:00"
    randomized_delay: 30min
    persistent: true
- timer: {name: fstrim-soon, unit: fstrim.service, on_boot: 15min, on_unit_active: 1week}
"#;

    type Observed = ObservedTimer;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn check(&self) -> Vec<SpecProblem> {
        let mut problems: Vec<SpecProblem> = systemd::check_name("name", &self.name).into_iter().collect();
        if systemd::has_suffix(&self.name) || self.name.contains('@') {
            let problem = SpecProblem::new("name", format!("`{}` has a suffix or is an instance", self.name));
            problems.push(problem.help("give the plain name, such as `etcd-snapshot`"));
        }
        let lines = [
            ("accuracy", &self.accuracy),
            ("randomized_delay", &self.randomized_delay),
            ("description", &self.description),
            ("user", &self.user),
        ];
        for (field, value) in lines.into_iter().chain(self.schedules()) {
            problems.extend(value.as_deref().and_then(one_line).map(|message| SpecProblem::new(field, message)));
        }
        if self.state.is_absent() {
            return problems;
        }
        match (self.command.first(), &self.unit) {
            (None, None) => {
                let problem = SpecProblem::new("", "nothing says what the timer starts");
                problems.push(problem.help("give `command` or `unit`"));
            }
            (Some(_), Some(_)) => {
                let problem = SpecProblem::new("unit", "`command` and `unit` both say what the timer starts");
                problems.push(problem.help("keep one of them"));
            }
            (Some(program), None) if !program.starts_with('/') || program.contains(char::is_whitespace) => {
                let problem = SpecProblem::new("command", format!("{program:?} is not the absolute path of a program"));
                problems.push(problem.help("give a list: the program's path, then each argument"));
            }
            (None, Some(unit)) => {
                problems.extend(systemd::check_name("unit", unit));
                if !systemd::has_suffix(unit) {
                    let problem = SpecProblem::new("unit", format!("`{unit}` does not say what kind of unit it is"));
                    problems.push(problem.help(format!("add the suffix, such as `{unit}.service`")));
                }
                if self.user.is_some() {
                    problems.push(SpecProblem::new("user", "a unit says itself which user it runs as"));
                }
            }
            _ => {}
        }
        if self.schedules().iter().all(|(_, value)| value.is_none()) {
            let problem = SpecProblem::new("", "nothing says when the timer starts it");
            problems.push(
                problem.help("give `on_calendar`, `on_boot`, `on_active`, `on_unit_active` or `on_unit_inactive`"),
            );
        }
        let first = [&self.on_calendar, &self.on_boot, &self.on_active];
        if first.iter().all(|value| value.is_none())
            && let Some((field, _)) = self.schedules().into_iter().find(|(_, value)| value.is_some())
        {
            let problem =
                SpecProblem::new(field, "it counts from an earlier start, and nothing says when the first is");
            problems.push(problem.help("give `on_boot`, `on_active` or `on_calendar` too"));
        }
        if self.persistent && self.on_calendar.is_none() {
            let problem = SpecProblem::new("persistent", "only a time by the calendar can be made up for");
            problems.push(problem.help("give `on_calendar` too"));
        }
        problems
    }

    fn claims(&self) -> Vec<Claim> {
        let timer = self.timer_file().path;
        let mut claims = vec![Claim::Path(timer.as_str().to_owned())];
        if !self.command.is_empty() {
            claims.push(Claim::Path(self.service_file().path.as_str().to_owned()));
        }
        claims
    }

    fn queries(&self) -> Vec<Query> {
        let service = self.service_file();
        let mut queries = vec![Query::Unit(self.timer_unit()), Query::Unit(self.service_unit())];
        if self.state.is_absent() {
            queries.push(Query::Path(self.timer_file().path.as_str().to_owned(), Want::Metadata));
        } else {
            queries.extend(self.timer_file().queries(true));
        }
        if self.command.is_empty() || self.state.is_absent() {
            // Whether the service file is ours stands in its first line.
            queries.push(Query::Path(service.path.as_str().to_owned(), Want::Content));
        } else {
            queries.extend(service.queries(true));
        }
        queries
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedTimer, ObserveError> {
        if answers.lacks("systemctl") {
            let (tool, package) = ("systemctl".to_owned(), "systemd".to_owned());
            return Err(ObserveError::MissingTool { id: self.id(), tool, package });
        }
        let unit = answers.unit(&self.timer_unit());
        let service = self.service_file().observe(answers);
        Ok(ObservedTimer {
            timer: self.timer_file().observe(answers),
            service_is_ours: service.text().is_some_and(|text| text.starts_with(&self.mark())),
            service,
            active: unit.is_some_and(|unit| unit.active == "active"),
            enabled: unit.is_some_and(|unit| unit.file == "enabled"),
            needs_reload: [self.timer_unit(), self.service_unit()]
                .iter()
                .any(|name| answers.unit(name).is_some_and(|unit| unit.needs_reload)),
        })
    }

    fn diff(&self, observed: &ObservedTimer) -> Change {
        match self.state {
            Presence::Present => self.diff_present(observed),
            Presence::Absent => self.diff_absent(observed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_is_quoted_as_systemd_reads_it() {
        assert_eq!(quote("/usr/bin/a-b"), "/usr/bin/a-b");
        assert_eq!(quote(""), "\"\"");
        assert_eq!(quote(";"), "\";\"");
        assert_eq!(quote("a \"b\" $HOME %n \\"), r#""a \"b\" $$HOME %%n \\""#);
    }
}
