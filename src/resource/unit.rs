//! `unit`: a systemd unit file of the administrator's, or a drop-in for one.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::managed_file::{ManagedFile, ObservedFile};
use super::parts::{in_folder, join};
use super::read::{Answers, Query, UnitState, Want};
use super::spec::{HostPath, Mode, Presence, ProjectPath};
use super::{Claim, Content, Input, Kind, ObserveError, SpecProblem, systemd, way};
use crate::change::{Attributes, Change, Reverse, Step};
use crate::sh;

/// A systemd unit file in `/etc/systemd/system`, or a drop-in for a unit. systemd reads it at once; what runs keeps
/// running as it was until a `service` is notified.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Unit {
    /// The unit's name with its suffix, such as `etcd.service`.
    name: String,
    /// The drop-in's name: the file is then `NAME.d/DROPIN.conf` and only adds to the unit.
    #[serde(default)]
    dropin: Option<String>,
    /// The content, as it is.
    #[serde(default)]
    content: Option<String>,
    /// A file of the project's `files` folder, copied as it is.
    #[serde(default)]
    source: Option<ProjectPath>,
    /// A template of the project's `templates` folder, rendered for the host.
    #[serde(default)]
    template: Option<ProjectPath>,
    /// Whether `systemd-analyze verify` must find nothing wrong with the lines of the file. Programs and units that
    /// are not there yet do not matter.
    #[serde(default = "yes")]
    verify: bool,
    /// Whether the file is to be there. A unit that is to be absent is stopped and disabled first, unless a package
    /// brings a unit of this name too, which then takes its place.
    #[serde(default)]
    state: Presence,
    #[serde(skip)]
    supplied: Option<Content>,
}

fn yes() -> bool {
    true
}

/// A unit file as it was found, and what systemd knows of the unit.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedUnit {
    file: ObservedFile,
    active: bool,
    enabled: bool,
    needs_reload: bool,
    /// Whether a package brings a unit of this name.
    has_vendor_file: bool,
}

impl Unit {
    /// Returns the drop-in's name without `.conf`.
    fn dropin(&self) -> Option<&str> {
        self.dropin.as_deref().map(|name| name.strip_suffix(".conf").unwrap_or(name))
    }

    fn path(&self) -> HostPath {
        HostPath::of(match self.dropin() {
            Some(dropin) => format!("{}/{}.d/{dropin}.conf", systemd::UNITS, self.name),
            None => format!("{}/{}", systemd::UNITS, self.name),
        })
    }

    fn vendor_path(&self) -> String {
        format!("/usr/lib/systemd/system/{}", self.name)
    }

    /// Returns whether systemd can say something of the unit itself: not of a template, only of its instances.
    fn is_known_to_systemd(&self) -> bool {
        systemd::has_suffix(&self.name) && !systemd::is_template(&self.name)
    }

    fn managed(&self) -> ManagedFile {
        let own = self.content.as_ref().map(|text| Content::Text(text.as_str().into()));
        ManagedFile {
            path: self.path(),
            content: own.or_else(|| self.supplied.clone()),
            mode: Some(Mode::of(0o644)),
            owner: Some("root".to_owned()),
            group: Some("root".to_owned()),
            validate: self.verify.then(|| systemd::verify_command(&self.name, self.dropin())),
        }
    }

    fn diff_present(&self, observed: &ObservedUnit) -> Change {
        let id = self.id();
        let mut file = self.managed().diff(id.clone(), &observed.file);
        if self.dropin.is_some() {
            file = in_folder(file, self.path().folder());
        }
        if !file.is_no_op() {
            return with_reload(join(id, vec![("", file)]));
        }
        let before = Attributes::from([("loaded".into(), json!(!observed.needs_reload))]);
        let loaded = Change::between(id.clone(), &before, &Attributes::from([("loaded".into(), json!(true))]));
        if loaded.is_no_op() {
            return file;
        }
        // An earlier run may have been cut off between the two.
        let loaded = loaded.because("systemd has not read the file since it changed");
        join(id, vec![("", file), ("", loaded.step(systemd::reload_step()).reversed_by(Vec::new()))])
    }

    fn diff_absent(&self, observed: &ObservedUnit) -> Change {
        let id = self.id();
        let file = self.managed().diff_absent(id.clone(), &observed.file);
        if file.is_no_op() {
            return file;
        }
        let gives_way = self.dropin.is_some() || observed.has_vendor_file;
        let removed = with_reload(join(id, vec![("", file)]));
        if gives_way {
            return removed;
        }
        let unit = &self.name;
        let mut change = removed.clone();
        let mut back = match &removed.reverse {
            Reverse::Steps(steps) => steps.clone(),
            _ => Vec::new(),
        };
        let script = if systemd::is_template(unit) {
            let instances = unit.replacen('@', "@*", 1);
            sh!("systemctl disable --quiet -- {}\nsystemctl stop -- {}", unit, instances)
        } else {
            sh!("systemctl disable --quiet --now -- {}", unit)
        };
        change.steps.insert(0, Step::new(format!("stop and disable {unit}"), script));
        if observed.enabled {
            back.push(Step::new(format!("enable {unit}"), sh!("systemctl enable --quiet -- {}", unit)));
        }
        if observed.active {
            back.push(Step::new(format!("start {unit}"), sh!("systemctl start -- {}", unit)));
        }
        change.reversed_by(back)
    }
}

/// Has systemd read its unit files after the change, and after its reverse.
fn with_reload(mut change: Change) -> Change {
    change.steps.push(systemd::reload_step());
    if let Reverse::Steps(steps) = &mut change.reverse {
        steps.push(systemd::reload_step());
    }
    change
}

impl Kind for Unit {
    const NAME: &'static str = "unit";
    const SUMMARY: &'static str = "A systemd unit file of your own, or a drop-in that adds to a unit";
    const EXAMPLE: &'static str = r#"- unit:
    name: etcd-backup.service
    template: etcd/backup.service.hbs
- unit:
    name: etcd.service
    dropin: limits
    content: |
      [Service]
      LimitNOFILE=65536
  notify: service[etcd]
"#;

    type Observed = ObservedUnit;

    fn name(&self) -> String {
        match self.dropin() {
            Some(dropin) => format!("{}.d/{dropin}.conf", self.name),
            None => self.name.clone(),
        }
    }

    fn check(&self) -> Vec<SpecProblem> {
        let mut problems: Vec<SpecProblem> = systemd::check_name("name", &self.name).into_iter().collect();
        if problems.is_empty() && !systemd::has_suffix(&self.name) {
            let problem = SpecProblem::new("name", format!("`{}` does not say what kind of unit it is", self.name));
            problems.push(problem.help(format!("add the suffix, such as `{}.service`", self.name)));
        }
        problems.extend(self.dropin().and_then(|dropin| systemd::check_name("dropin", dropin)));
        let given: Vec<&'static str> = [
            ("content", self.content.is_some()),
            ("source", self.source.is_some()),
            ("template", self.template.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, is_given)| is_given.then_some(name))
        .collect();
        match (given.as_slice(), self.state) {
            ([first, second, ..], _) => {
                let message = format!("`{first}` and `{second}` both say what the content is");
                problems.push(SpecProblem::new(second, message).help("keep one of them"));
            }
            ([first], Presence::Absent) => {
                problems.push(SpecProblem::new(first, "a unit that is to be absent has no content"));
            }
            ([], Presence::Present) => {
                let problem = SpecProblem::new("", "nothing says what the content is");
                problems.push(problem.help("give `content`, `source` or `template`"));
            }
            _ => {}
        }
        problems
    }

    fn claims(&self) -> Vec<Claim> {
        vec![Claim::Path(self.path().as_str().to_owned())]
    }

    fn inputs(&self) -> Vec<Input> {
        match (&self.source, &self.template) {
            (Some(source), _) => vec![Input::Source(source.as_path().to_owned())],
            (_, Some(template)) => vec![Input::Template(template.as_path().to_owned())],
            _ => Vec::new(),
        }
    }

    fn supply(&mut self, contents: Vec<Content>) {
        self.supplied = contents.into_iter().next();
    }

    fn supplied(&self) -> Option<&Content> {
        self.supplied.as_ref()
    }

    fn queries(&self) -> Vec<Query> {
        let content_known = self.source.is_none() && self.template.is_none();
        let mut queries = self.managed().queries(content_known || self.state.is_absent());
        if self.is_known_to_systemd() {
            queries.push(Query::Unit(self.name.clone()));
        }
        if self.state.is_absent() {
            queries.push(Query::Path(self.vendor_path(), Want::Metadata));
        }
        queries
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedUnit, ObserveError> {
        // Where systemd does not run, as in a system that is only being built, there is the file and no more.
        let unit = answers.unit(&self.name);
        let is = |question: fn(&UnitState) -> bool| unit.is_some_and(question);
        Ok(ObservedUnit {
            file: self.managed().observe(answers),
            active: is(|unit| matches!(unit.active.as_str(), "active" | "activating" | "reloading")),
            enabled: is(|unit| unit.file.starts_with("enabled")),
            needs_reload: is(|unit| unit.needs_reload),
            has_vendor_file: self.state.is_absent() && answers.path(&self.vendor_path()).is_some(),
        })
    }

    fn diff(&self, observed: &ObservedUnit) -> Change {
        let change = match self.state {
            Presence::Present => self.diff_present(observed),
            Presence::Absent => self.diff_absent(observed),
        };
        way::guarded(change, &self.path())
    }
}
