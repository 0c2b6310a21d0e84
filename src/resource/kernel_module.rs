//! `kernel.module`: a module of the kernel's, loaded, not loaded or never to be loaded.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::managed_file::{ManagedFile, ObservedFile};
use super::parts::{in_folder, join};
use super::read::{Answers, Query, Want};
use super::spec::{HostPath, SettingValue};
use super::{Claim, Kind, ObserveError, SpecProblem};
use crate::addr::ResourceId;
use crate::change::{Action, Attributes, Change, Step};
use crate::sh;
use crate::shell::Script;

/// A module of the kernel's. With `kernel.modules_disabled` no module can be loaded or unloaded before the next boot;
/// the files are then written and the error says that a reboot is required.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct KernelModule {
    /// The module's name.
    name: String,
    /// Whether it is loaded.
    #[serde(default)]
    state: ModuleGoal,
    /// Its parameters, stored in `/etc/modprobe.d/NAME.conf`. They count when the module is loaded: one that is loaded
    /// already keeps its own until then.
    #[serde(default)]
    parameters: BTreeMap<String, SettingValue>,
    /// Whether it is loaded at boot too, by `/etc/modules-load.d/NAME.conf`.
    #[serde(default = "yes")]
    persist: bool,
}

fn yes() -> bool {
    true
}

/// Whether a module is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ModuleGoal {
    /// It is loaded. A module that is built into the kernel always is.
    #[default]
    Loaded,
    /// It is not loaded; something may load it again when it is needed.
    Unloaded,
    /// It is not loaded, and nothing loads it.
    Blacklisted,
}

/// A module as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedModule {
    state: ModuleState,
    /// Whether the kernel neither loads nor unloads modules before the next boot.
    disabled: bool,
    load_file: OwnFile,
    options_file: OwnFile,
    /// The parameters that are desired, as the running module has them.
    parameters: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum ModuleState {
    Loaded,
    BuiltIn,
    NotLoaded,
}

/// A file of which only our own is removed.
#[derive(Clone, Debug, Serialize)]
struct OwnFile {
    file: ObservedFile,
    is_ours: bool,
}

impl KernelModule {
    /// Returns the name as the kernel has it.
    fn kernel_name(&self) -> String {
        self.name.replace('-', "_")
    }

    fn key(&self) -> String {
        format!("kernel.module {}", self.kernel_name())
    }

    fn parameter_path(&self, parameter: &str) -> String {
        format!("/sys/module/{}/parameters/{parameter}", self.kernel_name())
    }

    fn mark(&self) -> String {
        format!("# Managed by provision: kernel.module[{}].\n", self.name)
    }

    fn own_file(&self, folder: &str, lines: &str) -> ManagedFile {
        let path = HostPath::of(format!("{folder}/{}.conf", self.name));
        ManagedFile::of_root(path, format!("{}{lines}", self.mark()), 0o644)
    }

    /// Returns the file that loads it at boot, and whether it is to be there.
    fn load_file(&self) -> (ManagedFile, bool) {
        let file = self.own_file("/etc/modules-load.d", &format!("{}\n", self.name));
        (file, self.state == ModuleGoal::Loaded && self.persist)
    }

    /// Returns the file with its parameters, or with what keeps it from being loaded; and whether it is to be there.
    fn options_file(&self) -> (ManagedFile, bool) {
        let name = &self.name;
        let mut lines = String::new();
        if !self.parameters.is_empty() {
            lines.push_str(&format!("options {name}"));
            for (parameter, value) in &self.parameters {
                let value = value.as_str();
                let quote = if value.contains(' ') { "\"" } else { "" };
                lines.push_str(&format!(" {parameter}={quote}{value}{quote}"));
            }
            lines.push('\n');
        }
        if self.state == ModuleGoal::Blacklisted {
            // `blacklist` stops only what looks for hardware; `install` stops the rest.
            lines.push_str(&format!("blacklist {name}\ninstall {name} /bin/false\n"));
        }
        let is_wanted = !lines.is_empty();
        (self.own_file("/etc/modprobe.d", &lines), is_wanted)
    }

    fn diff_file(&self, (file, is_wanted): (ManagedFile, bool), observed: &OwnFile) -> Change {
        if is_wanted {
            return in_folder(file.diff(self.id(), &observed.file), file.path.folder());
        }
        if observed.is_ours {
            return file.diff_absent(self.id(), &observed.file);
        }
        Change::no_op(self.id(), "")
    }

    fn diff_live(&self, observed: &ObservedModule) -> Change {
        let word = |is_loaded: bool| if is_loaded { "loaded" } else { "not loaded" };
        let is_loaded = observed.state != ModuleState::NotLoaded;
        let to_be_loaded = self.state == ModuleGoal::Loaded;
        let before = Attributes::from([("state".into(), json!(word(is_loaded)))]);
        let after = Attributes::from([("state".into(), json!(word(to_be_loaded)))]);
        let change = Change::between(self.id(), &before, &after);
        if change.is_no_op() {
            return change;
        }
        let name = &self.name;
        let load = || Step::new(format!("load {name}"), self.load_script());
        let unload = || Step::new(format!("unload {name}"), self.unload_script());
        let change = if observed.disabled {
            change.because("kernel.modules_disabled is 1: reboot required")
        } else {
            change.because(if to_be_loaded { "it is not loaded" } else { "it is loaded" })
        };
        if to_be_loaded {
            change.step(load()).reversed_by(vec![unload()])
        } else {
            change.step(unload()).reversed_by(vec![load()])
        }
    }

    fn load_script(&self) -> Script {
        preamble().then(sh!(
            r#"modprobe -- {} || {
  read -r _kernel </proc/sys/kernel/osrelease || :
  if [ ! -e "/lib/modules/$_kernel/modules.dep" ]; then
    echo "the host has no modules for its running kernel $_kernel: the kernel was upgraded and awaits a reboot, or the host is a container" >&2
  fi
  exit 1
}
[ -d /sys/module/{} ] || {
  echo {}" was loaded and is not to be seen under this name: it may be an alias; name the module itself" >&2
  exit 1
}"#,
            self.name,
            self.kernel_name(),
            self.name
        ))
    }

    fn unload_script(&self) -> Script {
        let refuse_built_in = sh!(
            r#"[ -d /sys/module/{} ] || exit 0
[ -e /sys/module/{}/initstate ] || {
  echo {}" is built into the kernel and cannot be unloaded" >&2
  exit 1
}"#,
            self.kernel_name(),
            self.kernel_name(),
            self.name
        );
        refuse_built_in.then(preamble()).then(sh!("modprobe -r -- {}", self.name))
    }

    /// Says what is as it should be, and what becomes so only when the module is loaded again.
    fn as_wanted(&self, observed: &ObservedModule) -> String {
        let state = match (self.state, observed.state) {
            (_, ModuleState::BuiltIn) => "it is built into the kernel",
            (ModuleGoal::Loaded, _) => "it is loaded",
            (ModuleGoal::Unloaded, _) => "it is not loaded, as wanted",
            (ModuleGoal::Blacklisted, _) => "it is not loaded and nothing loads it",
        };
        let other: Vec<String> = self
            .parameters
            .iter()
            .filter_map(|(name, wanted)| {
                let found = observed.parameters.get(name)?;
                (!is_same(found, wanted.as_str())).then(|| format!("{name}={found}"))
            })
            .collect();
        if other.is_empty() || self.state != ModuleGoal::Loaded {
            return state.to_owned();
        }
        format!("{state}, with {} until it is loaded again", other.join(" "))
    }
}

/// Returns whether the kernel would take both for the same value of a parameter; it shows a truth value as Y or N.
fn is_same(found: &str, wanted: &str) -> bool {
    let truth = |text: &str| match text {
        "Y" | "y" | "1" => Some(true),
        "N" | "n" | "0" => Some(false),
        _ => None,
    };
    found == wanted || (matches!(found, "Y" | "N") && truth(found) == truth(wanted))
}

fn preamble() -> Script {
    Script::constant(
        r#"_off=/proc/sys/kernel/modules_disabled; [ -e "$_off" ] || {
  echo 'the kernel of the host knows no modules' >&2
  exit 1
}
read -r _off <"$_off" || :
case $_off in 1)
  echo 'kernel.modules_disabled is 1, so the kernel neither loads nor unloads modules before the next boot: reboot required' >&2
  exit 1;;
esac
command -v modprobe >/dev/null || { echo 'there is no modprobe on the host: install the package kmod first' >&2; exit 1; }"#,
    )
}

impl Kind for KernelModule {
    const NAME: &'static str = "kernel.module";
    const SUMMARY: &'static str = "A module of the kernel's: loaded, unloaded or blacklisted, with its parameters";
    const EXAMPLE: &'static str = r#"- kernel.module: {name: br_netfilter}
- kernel.module: {name: kvm_intel, parameters: {nested: 1}}
- kernel.module: {name: usb-storage, state: blacklisted}
"#;

    type Observed = ObservedModule;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn check(&self) -> Vec<SpecProblem> {
        let mut problems = Vec::new();
        let is_word = |text: &str| {
            !text.is_empty()
                && !text.starts_with('-')
                && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-'))
        };
        if !is_word(&self.name) {
            let problem = SpecProblem::new("name", format!("{:?} is not the name of a kernel module", self.name));
            problems.push(problem.help("write it as `lsmod` shows it, without `.ko`"));
        }
        for (parameter, value) in &self.parameters {
            let is_value = value.as_str().chars().all(|c| !c.is_control() && !matches!(c, '"' | '\\' | '#'));
            if !is_word(&parameter.replace('.', "_")) || !is_value {
                let message = format!("`{parameter}` = {:?} cannot be written as a parameter", value.as_str());
                problems.push(SpecProblem::new("parameters", message));
            }
        }
        if self.state != ModuleGoal::Loaded && !self.parameters.is_empty() {
            let problem = SpecProblem::new("parameters", "a module that is not to be loaded has no parameters");
            problems.push(problem.help("leave them out, or the `state`"));
        }
        problems
    }

    fn claims(&self) -> Vec<Claim> {
        let mut claims = vec![Claim::Resource(ResourceId::new(Self::NAME, self.kernel_name()))];
        for (file, _) in [self.load_file(), self.options_file()] {
            claims.push(Claim::Path(file.path.as_str().to_owned()));
        }
        claims
    }

    fn queries(&self) -> Vec<Query> {
        // The name in `modules.builtin`, with either of the two that mean the same.
        let in_list: String =
            self.name.chars().map(|c| if matches!(c, '-' | '_') { "[-_]".to_owned() } else { c.to_string() }).collect();
        let script = sh!(
            r#"_here=/sys/module/{}
# Only a module that was loaded has this file; one that is built in may have the folder.
if [ -e "$_here/initstate" ]; then echo loaded
elif [ -d "$_here" ]; then echo built-in
else
  read -r _kernel </proc/sys/kernel/osrelease || :
  if grep -q -e {} -- "/lib/modules/$_kernel/modules.builtin" 2>/dev/null; then echo built-in; fi
fi
_off=/proc/sys/kernel/modules_disabled
if [ -e "$_off" ]; then read -r _off <"$_off" || :; fi
if [ "$_off" = 1 ]; then echo disabled; fi"#,
            self.kernel_name(),
            format!("/{in_list}[.]ko")
        );
        let mut queries = vec![Query::Snippet { key: self.key(), tools: Vec::new(), script }];
        for (file, is_wanted) in [self.load_file(), self.options_file()] {
            if is_wanted {
                queries.extend(file.queries(true));
            } else {
                queries.push(Query::Path(file.path.as_str().to_owned(), Want::Content));
            }
        }
        queries.extend(self.parameters.keys().map(|parameter| Query::Kernel(self.parameter_path(parameter))));
        queries
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedModule, ObserveError> {
        let output = answers.snippet(&self.key()).map(|output| output.text().into_owned()).unwrap_or_default();
        let said: Vec<&str> = output.lines().collect();
        let state = if said.contains(&"loaded") {
            ModuleState::Loaded
        } else if said.contains(&"built-in") {
            ModuleState::BuiltIn
        } else {
            ModuleState::NotLoaded
        };
        let own_file = |(file, _): (ManagedFile, bool)| {
            let file = file.observe(answers);
            OwnFile { is_ours: file.text().is_some_and(|text| text.starts_with(&self.mark())), file }
        };
        let parameters = self.parameters.keys().filter_map(|parameter| {
            Some((parameter.clone(), answers.kernel(&self.parameter_path(parameter))?.to_owned()))
        });
        Ok(ObservedModule {
            state,
            disabled: said.contains(&"disabled"),
            load_file: own_file(self.load_file()),
            options_file: own_file(self.options_file()),
            parameters: parameters.collect(),
        })
    }

    fn diff(&self, observed: &ObservedModule) -> Change {
        let id = self.id();
        let options = ("options", self.diff_file(self.options_file(), &observed.options_file));
        let load = ("at-boot", self.diff_file(self.load_file(), &observed.load_file));
        let live = ("", self.diff_live(observed));
        let live_action = (!live.1.is_no_op()).then_some(self.state == ModuleGoal::Loaded);
        let reasons: Vec<String> = [&live, &options, &load]
            .iter()
            .filter(|(_, part)| !part.is_no_op())
            .map(|(name, part)| if name.is_empty() { part.reason.clone() } else { format!("{name}: {}", part.reason) })
            .collect();
        // A module that cannot be loaded is not to be loaded at boot either; where it cannot be loaded now, it is then.
        // A blacklist comes last, because the reverse must take it away before it loads the module again.
        let parts = if observed.disabled {
            vec![options, load, live]
        } else if self.state == ModuleGoal::Blacklisted {
            vec![live, options, load]
        } else {
            vec![options, live, load]
        };
        let mut change = join(id, parts);
        if change.is_no_op() {
            return change.because(self.as_wanted(observed));
        }
        change.action = match live_action {
            Some(true) => Action::Create,
            Some(false) if self.state == ModuleGoal::Unloaded => Action::Delete,
            _ => Action::Update,
        };
        change.because(reasons.join("; "))
    }
}
