//! `sysctl`: a setting of the kernel's, live and for the next boot.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::managed_file::{ManagedFile, ObservedFile};
use super::parts::{in_folder, join, one_line};
use super::read::{Answers, Query};
use super::spec::{HostPath, Presence, SettingValue};
use super::{Claim, Kind, ObserveError, SpecProblem};
use crate::addr::ResourceId;
use crate::change::{Action, AttributeChange, Attributes, Change, Shown, Step};
use crate::sh;

/// A setting of the kernel's. It is set at once, and stored in a file of its own for the next boot.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sysctl {
    /// The setting, such as `net.ipv4.ip_forward`. Where a part has a dot in it, slashes divide instead:
    /// `net/ipv4/conf/bond0.140/rp_filter`.
    key: String,
    /// The value: a text or a number. Several numbers are divided by spaces.
    #[serde(default)]
    value: Option<SettingValue>,
    /// The file that stores it; `/etc/sysctl.d/90-provision-KEY.conf` by default. A file that sorts after it may say
    /// otherwise at boot.
    #[serde(default)]
    file: Option<HostPath>,
    /// Whether it is set now too, not only at the next boot.
    #[serde(default = "yes")]
    live: bool,
    /// Whether it is to be stored. What is absent is not stored; the live value stays until the next boot.
    #[serde(default)]
    state: Presence,
}

fn yes() -> bool {
    true
}

/// A sysctl as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedSysctl {
    /// The value now, with single spaces; none where the kernel does not have the setting or does not tell it.
    live: Option<String>,
    file: ObservedFile,
}

impl Sysctl {
    /// Returns the key's parts. As with `sysctl`, the first divider tells which one divides.
    fn parts(&self) -> Vec<&str> {
        let divider = self.key.chars().find(|c| matches!(c, '.' | '/')).unwrap_or('.');
        self.key.split(divider).collect()
    }

    /// Returns the setting's path below `/proc/sys`.
    fn proc_path(&self) -> String {
        let is_slashed = self.key.find('/').is_some_and(|slash| self.key.find('.').is_none_or(|dot| slash < dot));
        let parts: Vec<String> = self
            .parts()
            .iter()
            .map(|part| if is_slashed { (*part).to_owned() } else { part.replace('/', ".") })
            .collect();
        format!("/proc/sys/{}", parts.join("/"))
    }

    fn value(&self) -> &str {
        self.value.as_ref().map_or("", |value| value.as_str())
    }

    fn managed(&self) -> ManagedFile {
        let own = || {
            let name = self.proc_path().replace("/proc/sys/", "").replace('/', ".");
            HostPath::of(format!("/etc/sysctl.d/90-provision-{name}.conf"))
        };
        let path = self.file.clone().unwrap_or_else(own);
        let content = format!("# Managed by provision: sysctl[{}].\n{} = {}\n", self.key, self.key, self.value());
        ManagedFile::of_root(path, content, 0o644)
    }

    fn set_step(&self, title: String, value: &str) -> Step {
        // A builtin writes it: there need be no `sysctl` on the host.
        let script = sh!(
            r#"_setting={}; _value={}
[ -e "$_setting" ] || {
  echo {}" is no setting of the running kernel: the module that brings it may not be loaded, or it is misspelt" >&2
  exit 1
}
{ printf '%s\n' "$_value" >"$_setting"; } 2>/dev/null || {
  # Once more by a program: it says why, where the builtin says only that it was so.
  _why=$({ env printf '%s\n' "$_value" >"$_setting"; } 2>&1) && exit 0
  echo "the kernel did not take $_value for "{}": ${_why##*: }" >&2
  case $_why in *'Read-only file system'*|*'ermission denied'*)
    echo 'this setting cannot be changed from here: the host is a container, or the setting belongs to the machine under it' >&2;;
  esac
  exit 1
}"#,
            self.proc_path(),
            value,
            self.key,
            self.key
        );
        Step::new(title, script)
    }

    fn diff_live(&self, observed: &ObservedSysctl) -> Change {
        let before = observed.live.iter().map(|live| ("live".to_owned(), json!(live))).collect();
        let after = Attributes::from([("live".into(), json!(self.value()))]);
        let change = Change::between(self.id(), &before, &after);
        if change.is_no_op() {
            return change;
        }
        let set = self.set_step(format!("set {} to {}", self.key, self.value()), self.value());
        let back = observed.live.as_ref().map(|live| self.set_step(format!("set {} to {live}", self.key), live));
        change.step(set).reversed_by(back.into_iter().collect())
    }

    /// Returns the change of the stored file, with the stored value as its attribute.
    fn diff_stored(&self, observed: &ObservedSysctl) -> Change {
        let file = self.managed();
        let mut change = in_folder(file.diff(self.id(), &observed.file), file.path.folder());
        if change.changes("content") {
            let stored = observed.file.text().and_then(|text| {
                let line = text.lines().find(|line| !line.starts_with(['#', ';']))?;
                Some(line.split_once('=')?.1.trim().to_owned())
            });
            let before = match stored {
                Some(value) => Shown::Value(json!(value)),
                None if observed.file.is_there() => Shown::Value(json!("another content")),
                None => Shown::Absent,
            };
            let is_new = change.action == Action::Create;
            change.attributes.retain(|attribute| attribute.name != "content" && !is_new);
            let after = Shown::Value(json!(self.value()));
            change.attributes.push(AttributeChange { name: "stored".to_owned(), before, after });
            if is_new {
                change.reason = "it is not stored".to_owned();
            } else {
                change.reason = change.reason.replacen("content", "stored", 1);
            }
        }
        change
    }
}

impl Kind for Sysctl {
    const NAME: &'static str = "sysctl";
    const SUMMARY: &'static str = "A setting of the kernel's, live and stored for the next boot";
    const EXAMPLE: &'static str = r#"- sysctl: {key: net.ipv4.ip_forward, value: 0}
- sysctl: {key: net.ipv4.ip_local_port_range, value: 32768 60999}
- sysctl: {key: kernel.kptr_restrict, value: 2}
"#;

    type Observed = ObservedSysctl;

    fn name(&self) -> String {
        self.key.clone()
    }

    fn check(&self) -> Vec<SpecProblem> {
        let mut problems = Vec::new();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./-:@".contains(c);
        let parts = self.parts();
        let is_key = self.key.chars().all(is_plain)
            && parts.len() > 1
            && parts.iter().all(|part| !part.is_empty() && !part.starts_with(['.', '-']));
        if !is_key {
            let problem = SpecProblem::new("key", format!("{:?} is not the name of a setting", self.key));
            problems.push(problem.help("write it as `sysctl -a` shows it, such as `net.ipv4.ip_forward`"));
        }
        match (&self.value, self.state) {
            (None, Presence::Present) => problems.push(SpecProblem::new("value", "there is no value")),
            (Some(_), Presence::Absent) => {
                problems.push(SpecProblem::new("value", "a setting that is not to be stored has no value"));
            }
            (Some(value), _) if value.as_str().is_empty() => {
                problems.push(SpecProblem::new("value", "the value is empty"))
            }
            (Some(value), _) => {
                problems.extend(one_line(value.as_str()).map(|message| SpecProblem::new("value", message)));
            }
            (None, _) => {}
        }
        if let Some(file) = &self.file
            && !file.as_str().ends_with(".conf")
        {
            let problem = SpecProblem::new("file", format!("{file} is not read at boot"));
            problems.push(problem.help("its name must end with `.conf`, and its folder be `/etc/sysctl.d`"));
        }
        problems
    }

    fn claims(&self) -> Vec<Claim> {
        let setting = self.proc_path().replace("/proc/sys/", "");
        vec![
            Claim::Path(self.managed().path.as_str().to_owned()),
            Claim::Resource(ResourceId::new(Self::NAME, setting)),
        ]
    }

    fn queries(&self) -> Vec<Query> {
        let mut queries = self.managed().queries(true);
        if self.live && !self.state.is_absent() {
            queries.push(Query::Kernel(self.proc_path()));
        }
        queries
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedSysctl, ObserveError> {
        let live = answers.kernel(&self.proc_path()).filter(|_| self.live && !self.state.is_absent());
        Ok(ObservedSysctl {
            live: live.map(|live| live.split_whitespace().collect::<Vec<_>>().join(" ")),
            file: self.managed().observe(answers),
        })
    }

    fn diff(&self, observed: &ObservedSysctl) -> Change {
        let id = self.id();
        if self.state.is_absent() {
            let change = self.managed().diff_absent(id, &observed.file);
            let is_no_op = change.is_no_op();
            return if is_no_op { change.because("it is not stored, as wanted") } else { change };
        }
        let mut parts = Vec::new();
        if self.live {
            // First: a value that the kernel does not take is not stored either.
            parts.push(("", self.diff_live(observed)));
        }
        parts.push(("", self.diff_stored(observed)));
        let reasons: Vec<String> =
            parts.iter().filter(|(_, part)| !part.is_no_op()).map(|(_, part)| part.reason.clone()).collect();
        let mut change = join(id, parts);
        if change.is_no_op() {
            let how = if self.live { "live and stored" } else { "stored" };
            return change.because(format!("{} is {how}", self.value()));
        }
        change.action = Action::Update;
        change.because(reasons.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_divider_divides_a_key() {
        let path = |key: &str| {
            let sysctl: Sysctl = serde_json::from_value(json!({"key": key, "value": 1})).unwrap();
            sysctl.proc_path()
        };
        assert_eq!(path("net.ipv4.ip_forward"), "/proc/sys/net/ipv4/ip_forward");
        assert_eq!(path("net/ipv4/conf/bond0.140/rp_filter"), "/proc/sys/net/ipv4/conf/bond0.140/rp_filter");
        assert_eq!(path("net.ipv4.conf.bond0/140.rp_filter"), "/proc/sys/net/ipv4/conf/bond0.140/rp_filter");
    }
}
