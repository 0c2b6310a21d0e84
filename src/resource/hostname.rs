//! `hostname`: the host's own name, as it is stored and as it is in force.
//!
//! The name is written to `/etc/hostname` and given to the kernel, without `hostnamectl`, which needs D-Bus. Who
//! resolves it is another matter: that is `hosts_entry`, or the DNS.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::managed_file::{restore_step, write_script};
use super::read::{Answers, Query};
use super::spec::HostPath;
use super::{Claim, Kind, ObserveError, SpecProblem};
use crate::change::{Attributes, Change, Step};
use crate::sh;
use crate::shell::Script;

/// The host's own name.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hostname {
    /// The name: letters, digits and `-`, at most 64 characters. Dots are allowed, though most keep to one label.
    name: String,
}

/// The name as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedHostname {
    live: String,
    stored: Option<String>,
}

const PATH: &str = "/etc/hostname";
const KEY: &str = "hostname";

fn path() -> HostPath {
    HostPath::parse(PATH).expect("the path is absolute")
}

impl Kind for Hostname {
    const NAME: &'static str = "hostname";
    const SUMMARY: &'static str = "The host's own name, in `/etc/hostname` and in force";
    const EXAMPLE: &'static str = "- hostname: {name: ctl-par1-01}\n";

    type Observed = ObservedHostname;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn check(&self) -> Vec<SpecProblem> {
        let is_label = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
                && !label.starts_with('-')
                && !label.ends_with('-')
        };
        if self.name.len() <= 64 && self.name.split('.').all(is_label) {
            return Vec::new();
        }
        let message = format!("{:?} is not a host name", self.name);
        vec![
            SpecProblem::new("name", message)
                .help("use letters, digits and `-`, at most 63 between two dots, 64 in all"),
        ]
    }

    fn claims(&self) -> Vec<Claim> {
        vec![Claim::Path(PATH.to_owned())]
    }

    fn queries(&self) -> Vec<Query> {
        // Only builtins: this costs no process.
        let script = Script::constant(
            r#"_live=; IFS= read -r _live </proc/sys/kernel/hostname || :
_stored=
if [ -r /etc/hostname ]; then
  while IFS= read -r _l || [ -n "$_l" ]; do
    case $_l in ''|'#'*) ;; *) _stored=$_l; break;; esac
  done </etc/hostname
fi
printf '%s\n%s\n' "$_live" "$_stored""#,
        );
        vec![Query::Snippet { key: KEY.to_owned(), tools: Vec::new(), script }]
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedHostname, ObserveError> {
        let found = answers.snippet(KEY).map(|output| output.text().into_owned()).unwrap_or_default();
        let (live, stored) = found.split_once('\n').unwrap_or((&found, ""));
        if live.is_empty() {
            return Err(ObserveError::unexpected(self, "it has no name at all"));
        }
        let stored = Some(stored.trim().to_owned()).filter(|name| !name.is_empty());
        Ok(ObservedHostname { live: live.to_owned(), stored })
    }

    fn diff(&self, observed: &ObservedHostname) -> Change {
        let name = &self.name;
        let mut found = Attributes::from([("live".into(), json!(observed.live))]);
        if let Some(stored) = &observed.stored {
            found.insert("stored".into(), json!(stored));
        }
        let desired = Attributes::from([("live".into(), json!(name)), ("stored".into(), json!(name))]);
        let mut change = Change::between(self.id(), &found, &desired);
        if change.is_no_op() {
            return change.because("it is stored and in force");
        }
        let mut reverse = Vec::new();
        if change.changes("stored") {
            let script = write_script(&path(), "0644", "root", "root", None);
            change =
                change.step(Step::new(format!("write {PATH}"), script).with_bytes(format!("{name}\n").into_bytes()));
            reverse.push(restore_step(&path()));
        }
        if change.changes("live") {
            change = change.step(Step::new(format!("call the host {name}"), sh!("hostname -- {}", name)));
            let former = &observed.live;
            reverse.insert(0, Step::new(format!("call the host {former}"), sh!("hostname -- {}", former)));
        }
        change.reversed_by(reverse)
    }
}
