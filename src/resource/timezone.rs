//! `timezone`: the host's time zone, the link `/etc/localtime` and its twin `/etc/timezone`.
//!
//! The zones themselves are files of the package `tzdata`. A run may install it before this resource, so a zone
//! that is not there is an error of the step and not of the plan; the plan says that it is awaited. UTC is what a
//! dangling link means too, so it needs no package.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::managed_file::{backup_name, restore_step, write_script};
use super::read::{Answers, FileKind, Query, Want};
use super::spec::HostPath;
use super::{Claim, Kind, ObserveError, SpecProblem};
use crate::change::{Attributes, Change, Step};
use crate::sh;

/// The host's time zone.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Timezone {
    /// The zone's name, such as `Europe/Paris` or `UTC`. All but UTC need the package `tzdata`.
    name: String,
}

/// The time zone as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedTimezone {
    /// The zone that the link names, where it is a link into the zones.
    zone: Option<String>,
    /// Something else than such a link is there.
    is_other: bool,
    /// What `/etc/timezone` says.
    written: Option<String>,
    /// Whether the zone that is wanted is on the host.
    zone_exists: bool,
}

const LINK: &str = "/etc/localtime";
const FILE: &str = "/etc/timezone";
const ZONES: &str = "/usr/share/zoneinfo/";

impl Timezone {
    fn needs_no_file(&self) -> bool {
        matches!(self.name.as_str(), "UTC" | "Etc/UTC")
    }

    fn zone_path(&self) -> String {
        format!("{ZONES}{}", self.name)
    }

    fn link_step(&self) -> Step {
        let zone = self.zone_path();
        let mut script = sh!("_zone={}", zone);
        if !self.needs_no_file() {
            script.push(&sh!(
                "[ -f \"$_zone\" ] || { echo {} >&2; exit 1; }",
                format!(
                    "there is no zone {} on the host: install the package `tzdata` before it, and look at the name",
                    self.name
                )
            ));
        }
        script.push(&sh!(
            r#"_new=$(mktemp -u -- /etc/.provision.XXXXXXXXXX)
trap 'rm -f -- "$_new"' EXIT
ln -s -- "$_zone" "$_new"
_keep /etc/localtime {}
mv -fT -- "$_new" /etc/localtime"#,
            backup_name(LINK)
        ));
        Step::new(format!("link {LINK} to the zone {}", self.name), script)
    }
}

fn host_path(path: &str) -> HostPath {
    HostPath::parse(path).expect("the path is absolute")
}

impl Kind for Timezone {
    const NAME: &'static str = "timezone";
    const SUMMARY: &'static str = "The host's time zone";
    const EXAMPLE: &'static str = "- timezone: {name: Europe/Paris}\n";

    type Observed = ObservedTimezone;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn check(&self) -> Vec<SpecProblem> {
        let is_part = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphanumeric())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'+'))
        };
        if self.name.split('/').all(is_part) {
            return Vec::new();
        }
        let message = format!("{:?} is not the name of a time zone", self.name);
        vec![SpecProblem::new("name", message).help("a zone is named as in `Europe/Paris` or `UTC`")]
    }

    fn claims(&self) -> Vec<Claim> {
        vec![Claim::Path(LINK.to_owned()), Claim::Path(FILE.to_owned())]
    }

    fn queries(&self) -> Vec<Query> {
        vec![
            Query::Path(LINK.to_owned(), Want::Metadata),
            Query::Path(FILE.to_owned(), Want::Content),
            Query::Path(self.zone_path(), Want::Metadata),
        ]
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedTimezone, ObserveError> {
        let link = answers.path(LINK);
        let target = link.filter(|state| state.kind == FileKind::Link).and_then(|state| state.target.as_deref());
        let zone = target.and_then(|target| target.split_once("/zoneinfo/")).map(|(_, zone)| zone.to_owned());
        let content = answers.path(FILE).and_then(|state| state.content.as_ref());
        Ok(ObservedTimezone {
            is_other: link.is_some() && zone.is_none(),
            zone,
            written: content.map(|bytes| String::from_utf8_lossy(&bytes.0).trim().to_owned()),
            zone_exists: answers.path(&self.zone_path()).is_some(),
        })
    }

    fn diff(&self, observed: &ObservedTimezone) -> Change {
        let name = &self.name;
        let is_awaited = !observed.zone_exists && !self.needs_no_file();
        let mut found = Attributes::new();
        match &observed.zone {
            // A link to nothing is UTC, whatever it is called.
            Some(zone) if is_awaited && zone == name => {
                found.insert("zone".into(), json!(format!("{zone}, which is not on the host")));
            }
            Some(zone) => {
                found.insert("zone".into(), json!(zone));
            }
            None if observed.is_other => {
                found.insert("zone".into(), json!("something else than a link to a zone"));
            }
            None => {}
        }
        if let Some(written) = &observed.written {
            found.insert("written".into(), json!(written));
        }
        let desired = Attributes::from([("zone".into(), json!(name)), ("written".into(), json!(name))]);
        let mut change = Change::between(self.id(), &found, &desired);
        if change.is_no_op() {
            return change.because(format!("{LINK} and {FILE} name it"));
        }
        let mut reverse = Vec::new();
        if change.changes("zone") {
            if is_awaited {
                change.reason.push_str("; the zone is not on the host yet, the package `tzdata` brings it");
            }
            change = change.step(self.link_step());
            reverse.push(restore_step(&host_path(LINK)));
        }
        if change.changes("written") {
            let script = write_script(&host_path(FILE), "0644", "root", "root", None);
            change =
                change.step(Step::new(format!("write {FILE}"), script).with_bytes(format!("{name}\n").into_bytes()));
            reverse.push(restore_step(&host_path(FILE)));
        }
        change.reversed_by(reverse)
    }
}
