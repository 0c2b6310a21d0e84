//! `service`: whether a systemd unit runs, and whether it starts with the host.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::read::{Answers, Query, UnitState};
use super::{Claim, Kind, ObserveError, SpecProblem, systemd, way};
use crate::addr::ResourceId;
use crate::change::{Action, Attributes, Change, Step};
use crate::sh;

/// A systemd service, or another unit that runs. What is not said is not managed; a service with nothing but its
/// name is there to be notified.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// The unit's name. `.service` is added to a name without a unit's suffix, so `ssh.socket` is the socket.
    name: String,
    /// Whether it runs now.
    #[serde(default)]
    state: Option<ServiceGoal>,
    /// Whether it starts with the host.
    #[serde(default)]
    enabled: Option<bool>,
    /// Whether it is masked: nothing can start it then, not even another unit that needs it.
    #[serde(default)]
    masked: Option<bool>,
    /// What a notification does. A service that is to be stopped stays so.
    #[serde(default)]
    on_notify: OnNotify,
}

/// Whether a service runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ServiceGoal {
    /// It runs.
    Running,
    /// It does not run.
    Stopped,
}

/// What a notification does to a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnNotify {
    /// It is stopped and started.
    #[default]
    Restart,
    /// It reads its configuration again; where it does not run, nothing is done.
    Reload,
    /// It reads its configuration again if it can, and is restarted otherwise.
    ReloadOrRestart,
    /// Nothing.
    None,
}

/// A service as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedService {
    exists: bool,
    active: String,
    sub: String,
    file: String,
}

impl ObservedService {
    fn of(unit: &UnitState) -> Self {
        let UnitState { load, active, sub, file, .. } = unit;
        // A masked unit need not exist; what its name would be linked to is not told.
        Self { exists: load != "not-found", active: active.clone(), sub: sub.clone(), file: file.clone() }
    }

    /// Returns the state in our words: a service that systemd starts again and again does not run.
    fn state(&self) -> String {
        match (self.active.as_str(), self.sub.as_str()) {
            ("active" | "reloading", _) => "running".to_owned(),
            ("inactive", _) => "stopped".to_owned(),
            ("activating", "auto-restart") => "crashing".to_owned(),
            (other, _) => other.to_owned(),
        }
    }

    fn is_masked(&self) -> bool {
        self.file.starts_with("masked")
    }

    /// Returns whether it starts with the host. Units without an `[Install]` section are started by others and can
    /// be neither enabled nor disabled: `None`.
    fn enabled(&self) -> Option<bool> {
        match self.file.as_str() {
            "enabled" => Some(true),
            "static" | "generated" | "transient" | "alias" | "indirect" => None,
            _ => Some(false),
        }
    }
}

impl Service {
    fn unit(&self) -> String {
        if systemd::has_suffix(&self.name) { self.name.clone() } else { format!("{}.service", self.name) }
    }

    fn attributes(&self, observed: &ObservedService) -> (Attributes, Attributes) {
        let mut before = Attributes::new();
        let mut after = Attributes::new();
        if let Some(state) = self.state {
            let found = observed.state();
            // Whatever does not run is as stopped as it can be.
            let is_stopped = matches!(found.as_str(), "stopped" | "failed");
            let wanted = match state {
                ServiceGoal::Running => "running".to_owned(),
                ServiceGoal::Stopped if is_stopped => found.clone(),
                ServiceGoal::Stopped => "stopped".to_owned(),
            };
            before.insert("state".into(), json!(found));
            after.insert("state".into(), json!(wanted));
        }
        if let Some(enabled) = self.enabled {
            before.insert("enabled".into(), json!(observed.enabled().unwrap_or(enabled)));
            after.insert("enabled".into(), json!(enabled));
        }
        if let Some(masked) = self.masked {
            before.insert("masked".into(), json!(observed.is_masked()));
            after.insert("masked".into(), json!(masked));
        }
        (before, after)
    }

    /// Says what is as it should be.
    fn as_wanted(&self, observed: &ObservedService) -> String {
        let unit = self.unit();
        let mut words = Vec::new();
        if self.masked == Some(true) {
            words.push("masked".to_owned());
        }
        if self.state.is_some() {
            words.push(observed.state());
        }
        match (self.enabled, observed.enabled()) {
            (Some(true), Some(_)) => words.push("enabled".to_owned()),
            (Some(false), Some(_)) => words.push("not enabled".to_owned()),
            (Some(_), None) => words.push(format!("{}, so that others start it", observed.file)),
            (None, _) => {}
        }
        match words.as_slice() {
            [] => format!("{unit} is there to be notified"),
            words => format!("{unit} is {}", words.join(" and ")),
        }
    }
}

fn enable_step(unit: &str) -> Step {
    let script = systemd::fresh_function().then(sh!("_fresh {}\nsystemctl enable --quiet -- {}", unit, unit));
    Step::new(format!("enable {unit}"), script)
}

fn disable_step(unit: &str) -> Step {
    let script = sh!(
        "systemctl disable --quiet -- {} || case $(systemctl show -p LoadState --value -- {}) in not-found) ;; *) exit 1;; esac",
        unit,
        unit
    );
    Step::new(format!("disable {unit}"), script)
}

fn stop_step(unit: &str) -> Step {
    let script = sh!(
        "case $(systemctl show -p LoadState --value -- {}) in not-found) exit 0;; esac\nsystemctl stop -- {}",
        unit,
        unit
    );
    Step::new(format!("stop {unit}"), script)
}

impl Kind for Service {
    const NAME: &'static str = "service";
    const SUMMARY: &'static str =
        "A systemd service: running or stopped, enabled, masked; and what a notification does";
    const EXAMPLE: &'static str = r#"- service: {name: etcd, state: running, enabled: true}
- service: {name: nginx, state: running, enabled: true, on_notify: reload-or-restart}
- service: {name: ctrl-alt-del.target, masked: true}
"#;

    type Observed = ObservedService;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn check(&self) -> Vec<SpecProblem> {
        let mut problems: Vec<SpecProblem> = systemd::check_name("name", &self.name).into_iter().collect();
        if problems.is_empty() && systemd::is_template(&self.unit()) || self.name.ends_with('@') {
            let problem = SpecProblem::new("name", format!("`{}` is a template, which does not run itself", self.name));
            problems.push(problem.help("name an instance, such as `getty@tty1`"));
        }
        if self.masked == Some(true) {
            if self.state == Some(ServiceGoal::Running) {
                problems.push(SpecProblem::new("state", "a masked service cannot run").help("keep one of them"));
            }
            if self.enabled == Some(true) {
                problems.push(SpecProblem::new("enabled", "a masked service is not enabled").help("keep one of them"));
            }
        }
        problems
    }

    fn claims(&self) -> Vec<Claim> {
        let unit = self.unit();
        vec![Claim::Resource(ResourceId::new(Self::NAME, unit.strip_suffix(".service").unwrap_or(&unit)))]
    }

    fn queries(&self) -> Vec<Query> {
        vec![Query::Unit(self.unit())]
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedService, ObserveError> {
        if answers.lacks("systemctl") {
            let (tool, package) = ("systemctl".to_owned(), "systemd".to_owned());
            return Err(ObserveError::MissingTool { id: self.id(), tool, package });
        }
        let unit = answers.unit(&self.unit());
        unit.map(ObservedService::of)
            .ok_or_else(|| ObserveError::unexpected(self, "systemd said nothing of the unit; does it run on the host?"))
    }

    fn diff(&self, observed: &ObservedService) -> Change {
        let unit = self.unit();
        let (before, after) = self.attributes(observed);
        let mut change = Change::between(self.id(), &before, &after);
        if change.is_no_op() {
            return change.because(if observed.exists || observed.is_masked() || after.is_empty() {
                self.as_wanted(observed)
            } else {
                format!("{unit} does not exist, so it neither runs nor starts with the host")
            });
        }
        if !observed.exists {
            // Its package or its unit file comes earlier in the same run.
            change.action = Action::Create;
            change.reason = "it does not exist yet".to_owned();
        }
        let mut reverse = Vec::new();
        let mut looks = Vec::new();
        let will_be_masked = self.masked == Some(true) && change.changes("masked");
        if change.changes("masked") && !will_be_masked {
            change = change.step(Step::new(format!("unmask {unit}"), sh!("systemctl unmask --quiet -- {}", unit)));
            reverse.push(Step::new(format!("mask {unit}"), sh!("systemctl mask --quiet -- {}", unit)));
        }
        if change.changes("enabled") {
            if self.enabled == Some(true) {
                change = change.step(enable_step(&unit));
                if observed.file == "enabled-runtime" {
                    let script = sh!("systemctl enable --quiet --runtime -- {}", unit);
                    reverse.push(Step::new(format!("enable {unit} until the next boot"), script));
                }
                reverse.push(disable_step(&unit));
            } else {
                change = change.step(disable_step(&unit));
                reverse.push(enable_step(&unit));
            }
        }
        if change.changes("state") {
            if self.state == Some(ServiceGoal::Running) {
                looks = systemd::start_steps("start", &unit, format!("start {unit}"));
                change = change.step(looks.remove(0));
                let mut stop = stop_step(&unit);
                if observed.active != "failed" {
                    stop.script.push(&sh!("systemctl reset-failed -- {} 2>/dev/null || :", unit));
                }
                reverse.push(stop);
            } else {
                change = change.step(stop_step(&unit));
                if observed.state() == "running" {
                    // The reverse is read backwards.
                    reverse.extend(systemd::start_steps("start", &unit, format!("start {unit}")).into_iter().rev());
                }
            }
        }
        if will_be_masked {
            change = change.step(Step::new(format!("mask {unit}"), sh!("systemctl mask --quiet -- {}", unit)));
            reverse.push(Step::new(format!("unmask {unit}"), sh!("systemctl unmask --quiet -- {}", unit)));
        }
        for look in looks {
            change = change.step(look);
        }
        reverse.reverse();
        way::guarded_unit(change.reversed_by(reverse), &unit)
    }

    fn refresh(&self) -> Option<Vec<Step>> {
        let unit = self.unit();
        if self.state == Some(ServiceGoal::Stopped) || self.masked == Some(true) {
            return Some(Vec::new());
        }
        let steps = match self.on_notify {
            OnNotify::None => return Some(Vec::new()),
            OnNotify::Restart => systemd::start_steps("restart", &unit, format!("restart {unit}")),
            OnNotify::ReloadOrRestart => {
                systemd::start_steps("reload-or-restart", &unit, format!("reload or restart {unit}"))
            }
            OnNotify::Reload => {
                let is_active = sh!("systemctl is-active --quiet -- {} || exit 0", unit);
                let mut steps = systemd::start_steps("reload", &unit, format!("reload {unit}"));
                for step in &mut steps {
                    step.script = is_active.clone().then(step.script.clone());
                }
                steps
            }
        };
        Some(steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refresh(json: serde_json::Value) -> Vec<String> {
        let service: Service = serde_json::from_value(json).unwrap();
        Kind::refresh(&service).unwrap().into_iter().map(|step| step.title).collect()
    }

    #[test]
    fn a_notification_restarts_what_may_run() {
        assert_eq!(refresh(json!({"name": "etcd"})), ["restart etcd.service", "see that etcd.service holds"]);
        assert_eq!(
            refresh(json!({"name": "etcd", "on_notify": "reload"})),
            ["reload etcd.service", "see that etcd.service holds"]
        );
        assert_eq!(refresh(json!({"name": "etcd", "state": "stopped"})), Vec::<String>::new());
        assert_eq!(refresh(json!({"name": "etcd", "on_notify": "none"})), Vec::<String>::new());
    }
}
