//! `package`: Debian packages, installed by apt.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::managed_file::backup_name;
use super::parts::listed;
use super::read::{Answers, PackageState, Query};
use super::{Claim, Kind, ObserveError, SpecProblem, apt};
use crate::addr::ResourceId;
use crate::change::{Action, Attributes, Change, Shown, Step};
use crate::sh;
use crate::shell::Script;

/// Packages. Those of one task are installed by one call of apt-get, which is much faster than one by one.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Package {
    /// The package's name, with `:ARCHITECTURE` where another than the host's own is meant.
    #[serde(default)]
    name: Option<String>,
    /// Several packages' names, instead of `name`.
    #[serde(default)]
    names: Vec<String>,
    /// The version: an exact one, or the beginning of one and `*`, such as `1.2.*`. Any version by default.
    #[serde(default)]
    version: Option<String>,
    /// Whether the packages are to be there. `latest` is the newest that the package lists on the host know of.
    #[serde(default)]
    state: PackageGoal,
    /// Whether the packages are held at their version against upgrades. Not managed by default; and what is held on
    /// the host then does not change.
    #[serde(default)]
    hold: Option<bool>,
    /// Whether to install recommended packages too.
    #[serde(default)]
    recommends: bool,
    /// Other packages that may be removed along: those that conflict with these, or that need one that goes. If more
    /// would be removed, nothing is done and the error names them.
    #[serde(default)]
    may_remove: Vec<String>,
}

/// Whether packages are to be there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PackageGoal {
    /// They are installed.
    #[default]
    Present,
    /// They are not installed; their configuration files may stay.
    Absent,
    /// They are not installed and their configuration files are deleted.
    Purged,
    /// They are installed in the newest version that the host knows of.
    Latest,
}

/// The packages as they were found.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedPackages {
    packages: BTreeMap<String, ObservedPackage>,
    /// Whether dpkg was cut short and must finish before it does anything else.
    interrupted: bool,
}

#[derive(Clone, Debug, Serialize)]
struct ObservedPackage {
    state: State,
    version: String,
    held: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate: Option<String>,
}

/// What dpkg's second and third letters mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Absent,
    ConfigFiles,
    /// Its files are incomplete: it must be unpacked again.
    HalfInstalled,
    /// It only has to be configured.
    HalfConfigured,
    Installed,
}

impl State {
    fn of(package: Option<&PackageState>) -> Self {
        let letters = package.map(|package| package.status.as_bytes()).unwrap_or_default();
        match (letters.get(1), letters.get(2)) {
            (None | Some(b'n'), _) => State::Absent,
            (Some(b'c'), _) => State::ConfigFiles,
            (Some(b'H'), _) | (_, Some(b'R')) => State::HalfInstalled,
            (Some(b'i'), _) => State::Installed,
            _ => State::HalfConfigured,
        }
    }

    fn word(self) -> &'static str {
        match self {
            State::Absent => "absent",
            State::ConfigFiles => "config-files",
            State::HalfInstalled => "half-installed",
            State::HalfConfigured => "half-configured",
            State::Installed => "installed",
        }
    }

    fn is_there(self) -> bool {
        !matches!(self, State::Absent | State::ConfigFiles)
    }
}

const INTERRUPTED: &str = "dpkg interrupted";
/// Stands for a version that only apt will tell.
const NEWEST: &str = "";

impl Package {
    fn all(&self) -> Vec<&str> {
        self.name.iter().chain(&self.names).map(String::as_str).collect()
    }

    fn is_removal(&self) -> bool {
        matches!(self.state, PackageGoal::Absent | PackageGoal::Purged)
    }

    /// Returns the name under which the run's backup keeps what this resource brought along.
    fn record(&self) -> String {
        format!("packages-{}", backup_name(&self.name()))
    }

    /// Returns the name of a package's attribute, which needs the package's own where there are several.
    fn attribute(&self, package: &str, attribute: &str) -> String {
        if self.all().len() == 1 { attribute.to_owned() } else { format!("{package}.{attribute}") }
    }

    fn version_fits(&self, found: &str) -> bool {
        match self.version.as_deref().map(|wanted| (wanted, wanted.strip_suffix('*'))) {
            None => true,
            Some((_, Some(beginning))) => found.starts_with(beginning),
            Some((wanted, None)) => found == wanted,
        }
    }

    /// Returns the version that a package must get; `None` where any will do.
    fn wanted_version<'a>(&'a self, found: &'a ObservedPackage) -> Option<&'a str> {
        match self.state {
            PackageGoal::Latest => found.candidate.as_deref(),
            _ => self.version.as_deref(),
        }
    }

    /// Returns whether a package that is installed must get another version.
    fn needs_other_version(&self, found: &ObservedPackage) -> bool {
        match (self.state, &found.candidate) {
            (PackageGoal::Latest, Some(candidate)) => {
                apt::compare_versions(candidate, &found.version) == Ordering::Greater
            }
            (PackageGoal::Latest, None) => false,
            _ => !self.version_fits(&found.version),
        }
    }

    fn diff_present(&self, observed: &ObservedPackages) -> Change {
        let mut before = Attributes::new();
        let mut after = Attributes::new();
        let mut todo = Todo::default();
        for (name, found) in &observed.packages {
            let mut attribute = |key: &str, is: serde_json::Value, wanted: serde_json::Value| {
                before.insert(self.attribute(name, key), is);
                after.insert(self.attribute(name, key), wanted);
            };
            attribute("state", json!(found.state.word()), json!("installed"));
            let is_there = found.state.is_there();
            let other_version = is_there && self.needs_other_version(found);
            let argument = match (self.state, self.version.as_deref()) {
                (PackageGoal::Present, Some(version)) => format!("{name}={version}"),
                _ => name.clone(),
            };
            if !is_there || other_version {
                let wanted = self.wanted_version(found).unwrap_or(NEWEST);
                attribute("version", json!(found.version), json!(wanted));
            }
            if !is_there {
                todo.install.push(argument);
                todo.missing.push(name.clone());
            } else if other_version {
                let beginning = self.wanted_version(found).unwrap_or_default().trim_end_matches('*');
                todo.is_downgrade |= apt::compare_versions(&found.version, beginning) == Ordering::Greater;
                todo.install.push(argument);
                todo.former.push((name.clone(), found.version.clone()));
                if found.held {
                    todo.held.push(name.clone());
                }
            } else if found.state == State::HalfInstalled {
                todo.install.push(argument);
                todo.reinstall = true;
            }
            todo.configure |= found.state == State::HalfConfigured;
            if let Some(hold) = self.hold {
                attribute("hold", json!(found.held), json!(hold));
                // apt forgets the hold of a package that it was allowed to change.
                if hold != found.held || (hold && other_version) {
                    todo.mark.push(name.clone());
                }
            }
        }
        todo.configure |= observed.interrupted && !todo.install.is_empty();
        let is_new = todo.missing.len() == observed.packages.len();
        let mut change = Change::between(self.id(), &before, &after);
        if change.is_no_op() {
            return change.because(self.as_wanted(observed));
        }
        for attribute in &mut change.attributes {
            if attribute.after == Shown::Value(json!(NEWEST)) {
                attribute.after = Shown::KnownAfterApply;
            }
            if attribute.before == Shown::Value(json!("")) {
                attribute.before = Shown::Absent;
            }
        }
        if is_new {
            change.action = Action::Create;
            change.reason = if todo.missing.len() == 1 { "it is not there" } else { "they are not there" }.to_owned();
        } else if todo.is_downgrade {
            change.reason.push_str("; the version goes down");
        }
        self.present_steps(change, &todo)
    }

    fn present_steps(&self, mut change: Change, todo: &Todo) -> Change {
        let mut reverse = Vec::new();
        if todo.configure {
            change = change.step(configure_step());
        }
        if !todo.install.is_empty() {
            let title = format!("install {}", listed(&todo.install));
            let mut options = Vec::new();
            if !self.recommends {
                options.push("--no-install-recommends");
            }
            if todo.is_downgrade {
                options.push("--allow-downgrades");
            }
            if todo.reinstall {
                options.push("--reinstall");
            }
            if !todo.held.is_empty() && self.hold.is_some() {
                options.push("--allow-change-held-packages");
            }
            let names: Vec<&str> = todo.install.iter().map(|argument| plain_name(argument)).collect();
            let script = self.install_script(&options, &todo.install, &names);
            change = change.step(Step::new(title, script));
        }
        if !todo.missing.is_empty() {
            reverse.push(self.remove_new_step(&todo.missing));
        }
        if !todo.former.is_empty() {
            reverse.push(self.install_former_step(&todo.former));
        }
        if !todo.mark.is_empty() {
            change = change.step(mark_step(if self.hold == Some(true) { "hold" } else { "unhold" }, &todo.mark));
        }
        // Back to what was held: those that were held and changed, and those whose hold was taken away or given.
        let was_held = |name: &String| self.hold == Some(false) || todo.held.contains(name);
        let there = todo.mark.iter().filter(|name| !todo.missing.contains(name));
        let (mut held, free): (Vec<String>, Vec<String>) = there.cloned().partition(was_held);
        held.extend(todo.held.iter().filter(|name| !todo.mark.contains(name)).cloned());
        reverse.extend(
            [("hold", held), ("unhold", free)]
                .into_iter()
                .filter(|(_, names)| !names.is_empty())
                .map(|(verb, names)| mark_step(verb, &names)),
        );
        change.reversed_by(reverse)
    }

    /// Says what is as it should be.
    fn as_wanted(&self, observed: &ObservedPackages) -> String {
        let found: Vec<String> =
            observed.packages.iter().map(|(name, found)| format!("{name} {}", found.version)).collect();
        let verb = if found.len() == 1 { "is" } else { "are" };
        let hold = match self.hold {
            Some(true) => " and held",
            Some(false) => " and not held",
            None => "",
        };
        format!("{} {verb} installed{hold}", listed(&found))
    }

    fn diff_removed(&self, observed: &ObservedPackages) -> Change {
        let is_purge = self.state == PackageGoal::Purged;
        let mut before = Attributes::new();
        let mut todo = Todo::default();
        for (name, found) in &observed.packages {
            let is_wrong = found.state.is_there() || (is_purge && found.state == State::ConfigFiles);
            if !is_wrong {
                continue;
            }
            before.insert(self.attribute(name, "state"), json!(found.state.word()));
            if found.state == State::HalfInstalled {
                todo.broken.push(name.clone());
            } else if found.state.is_there() {
                before.insert(self.attribute(name, "version"), json!(found.version));
                todo.former.push((name.clone(), found.version.clone()));
                if found.held {
                    todo.held.push(name.clone());
                }
            }
            todo.configure |= observed.interrupted;
            todo.install.push(name.clone());
        }
        if todo.install.is_empty() {
            let verb = if observed.packages.len() == 1 { "is" } else { "are" };
            return Change::no_op(self.id(), format!("{} {verb} not there, as wanted", listed(&self.all())));
        }
        let mut change = Change::delete(self.id(), &before);
        if todo.configure {
            change = change.step(configure_step());
        }
        if !todo.broken.is_empty() {
            let script = apt::functions().then(sh!(
                r#"dpkg --force-remove-reinstreq --remove -- {} >"$_log" 2>&1 || _sorry 'dpkg could not remove {}'"#,
                Script::words(&todo.broken),
                Plain(&todo.broken)
            ));
            change = change.step(Step::new(format!("remove the incomplete {}", listed(&todo.broken)), script));
        }
        let verb = if is_purge { "purge" } else { "remove" };
        let mut options = vec![verb];
        if !todo.held.is_empty() && self.hold == Some(false) {
            options.push("--allow-change-held-packages");
        }
        let script = self.remove_script(&options, &todo.install);
        change = change.step(Step::new(format!("{verb} {}", listed(&todo.install)), script));
        if is_purge {
            return change.irreversible("purging deletes a package's configuration files and may delete its data");
        }
        let mut reverse = Vec::new();
        if !todo.former.is_empty() {
            reverse.push(self.install_former_step(&todo.former));
        }
        if !todo.held.is_empty() {
            reverse.push(mark_step("hold", &todo.held));
        }
        change.reversed_by(reverse)
    }

    /// Returns the script that installs packages, after apt has said what else it would do.
    fn install_script(&self, options: &[&str], arguments: &[String], names: &[&str]) -> Script {
        apt::functions()
            .then(self.look())
            .then(sh!(
                r#"set -- install {} -- {}
_lists
if ! _apt -s "$@"; then
  [ "$_updated" = no ] || _sorry 'apt refused to install {}'
  # The lists may be too old to know the package or its version.
  _update
  _apt -s "$@" || _sorry 'apt refused to install {}'
fi
_look
(umask 077; mkdir -p -- "$_backup"; printf '%s\n' $_new >>"$_backup"/{})
if ! _apt "$@"; then
  if [ "$_updated" = yes ] || ! grep -q 'Failed to fetch' -- "$_log"; then _sorry 'apt could not install {}'; fi
  _update
  _apt "$@" || _sorry 'apt could not install {}'
fi"#,
                Script::words(options),
                Script::words(arguments),
                Plain(names),
                Plain(names),
                self.record(),
                Plain(names),
                Plain(names),
            ))
            .then(sh!(
                r#"for _name in {}; do
  case $(dpkg-query -W -f='${db:Status-Abbrev}' -- "$_name" 2>/dev/null || :) in
    ?i*) ;;
    *) echo "apt says that all is well, but no package $_name is installed; a virtual package is installed by the name of one that provides it:" >&2
      apt-cache showpkg -- "$_name" 2>/dev/null | sed '1,/^Reverse Provides:/d; s/^/  /' >&2
      exit 1;;
  esac
done"#,
                Script::words(names.iter().copied())
            ))
    }

    /// Returns the script that removes packages and none besides.
    fn remove_script(&self, options: &[&str], names: &[String]) -> Script {
        apt::functions().then(self.look()).then(sh!(
            r#"set -- {} -- {}
_apt -s "$@" || _sorry 'apt refused to remove {}'
_look
_apt "$@" || _sorry 'apt could not remove {}'"#,
            Script::words(options),
            Script::words(names),
            Plain(names),
            Plain(names),
        ))
    }

    /// Returns the function that reads what apt would do: `$_new` is what it would bring along, and it refuses what
    /// would go without having been named.
    fn look(&self) -> Script {
        let named: Vec<&str> = self.all().into_iter().chain(self.may_remove.iter().map(String::as_str)).collect();
        sh!(
            r#"_may_go={}
_look() {
  _others=; _new=
  while read -r _verb _name _what; do
    case $_verb in
      Inst) case $_what in '['*) ;; *) _new="$_new $_name";; esac;;
      Remv|Purg) case " $_may_go $_new " in *" $_name "*) ;; *) _others="$_others $_name";; esac;;
    esac
  done <"$_log"
  [ -z "$_others" ] || {
    echo "apt would also remove$_others: name them in \`may_remove\`, or make them absent in a task before this one" >&2
    exit 1
  }
}"#,
            named.join(" ")
        )
    }

    /// Returns the step that removes what an installation of this run brought along, and nothing that was there.
    fn remove_new_step(&self, missing: &[String]) -> Step {
        let script = apt::functions()
            .then(self.look())
            .then(sh!(
                r#"set -- {}
_record="$_backup"/{}
if [ -r "$_record" ]; then while read -r _name; do set -- "$@" "$_name"; done <"$_record"; fi
_may_go="$_may_go $*"
# Only what is there: apt would refuse the whole for one name that it does not know.
set -- $(dpkg-query -W -f='${db:Status-Abbrev}${binary:Package}\n' -- "$@" 2>/dev/null | sed -n 's/^.[^nc].//p' | sort -u)
[ $# -gt 0 ] || exit 0
set -- remove --allow-change-held-packages -- "$@"
_apt -s "$@" || _sorry 'apt refused to remove what was installed'
_look
_apt "$@" || _sorry 'apt could not remove what was installed'"#,
                Script::words(missing),
                self.record(),
            ));
        Step::new(format!("remove {} and what came along", listed(missing)), script)
    }

    /// Returns the step that brings back the versions that were there.
    fn install_former_step(&self, former: &[(String, String)]) -> Step {
        let arguments: Vec<String> = former.iter().map(|(name, version)| format!("{name}={version}")).collect();
        let names: Vec<&str> = former.iter().map(|(name, _)| name.as_str()).collect();
        let options = ["--no-install-recommends", "--allow-downgrades", "--allow-change-held-packages"];
        let title = format!("install {} again, if a repository still offers it", listed(&arguments));
        Step::new(title, self.install_script(&options, &arguments, &names))
    }
}

/// What is to be done with the packages of a resource.
#[derive(Debug, Default)]
struct Todo {
    /// The arguments for apt-get.
    install: Vec<String>,
    /// Those that are not there.
    missing: Vec<String>,
    /// Those that are there, with their version.
    former: Vec<(String, String)>,
    /// Those whose hold changes, or is given again after their version changed.
    mark: Vec<String>,
    /// Those that were held and whose version changes, or that go.
    held: Vec<String>,
    /// Those whose files are incomplete, which apt does not remove.
    broken: Vec<String>,
    configure: bool,
    reinstall: bool,
    is_downgrade: bool,
}

/// Names inside a quoted text; a name that passed `check` has nothing in it to quote.
struct Plain<'a, S>(&'a [S]);

impl<S: AsRef<str>> crate::shell::Word for Plain<'_, S> {
    fn write_to(&self, text: &mut String) {
        let is_plain = |c: &char| c.is_ascii_alphanumeric() || "+-.:".contains(*c);
        for (at, name) in self.0.iter().enumerate() {
            text.push_str(if at == 0 { "" } else { ", " });
            text.extend(name.as_ref().chars().filter(is_plain));
        }
    }
}

fn plain_name(argument: &str) -> &str {
    argument.split('=').next().unwrap_or(argument)
}

fn configure_step() -> Step {
    Step::new(
        "finish the interrupted work of dpkg (dpkg --configure -a)",
        apt::functions().then(Script::constant(
            r#"dpkg --force-confold --configure -a >"$_log" 2>&1 || _sorry 'dpkg could not finish its interrupted work'"#,
        )),
    )
}

fn mark_step(verb: &'static str, names: &[String]) -> Step {
    let script = sh!("apt-mark -o DPkg::Lock::Timeout=120 {} -- {} >/dev/null", verb, Script::words(names));
    Step::new(format!("{verb} {}", listed(names)), script)
}

fn check_name(field: &'static str, name: &str) -> Option<SpecProblem> {
    let (plain, architecture) = name.split_once(':').unwrap_or((name, "all"));
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let is_name = plain.len() >= 2
        && plain.starts_with(is_word)
        && plain.chars().all(|c| is_word(c) || "+-.".contains(c))
        // apt-get reads `name-` as an order to remove `name`.
        && !plain.ends_with('-')
        && !architecture.is_empty()
        && architecture.chars().all(|c| is_word(c) || c == '-');
    if is_name {
        return None;
    }
    let problem = SpecProblem::new(field, format!("{name:?} is not the name of a package"));
    Some(problem.help("a name has lowercase letters, digits, `+`, `-` and `.`; a version goes into `version`"))
}

impl Kind for Package {
    const NAME: &'static str = "package";
    const SUMMARY: &'static str = "Debian packages: installed, absent, at a version, held";
    const EXAMPLE: &'static str = r#"- package: {name: etcd-server, version: 3.4.*, hold: true}
- package:
    names: [chrony, nftables, rsyslog-gnutls]
- package: {name: telnet, state: purged}
"#;

    type Observed = ObservedPackages;

    fn name(&self) -> String {
        self.all().join(",")
    }

    fn check(&self) -> Vec<SpecProblem> {
        let mut problems = Vec::new();
        match (&self.name, self.names.as_slice()) {
            (None, []) => problems.push(SpecProblem::new("", "no package is named").help("give `name` or `names`")),
            (Some(_), [_, ..]) => {
                problems.push(SpecProblem::new("names", "both `name` and `names` are given").help("keep one of them"));
            }
            _ => {}
        }
        problems.extend(self.name.iter().filter_map(|name| check_name("name", name)));
        problems.extend(self.names.iter().filter_map(|name| check_name("names", name)));
        problems.extend(self.may_remove.iter().filter_map(|name| check_name("may_remove", name)));
        for (at, name) in self.names.iter().enumerate() {
            if self.names.iter().take(at).any(|earlier| earlier == name) {
                problems.push(SpecProblem::new("names", format!("`{name}` is named twice")));
            }
        }
        if self.is_removal() && self.all().into_iter().any(|name| name.split(':').next() == Some("openssh-server")) {
            let problem =
                SpecProblem::new("state", "without `openssh-server` nobody, nor this tool, gets to the host again");
            problems.push(problem.help("a host that is given up is reinstalled or switched off instead"));
        }
        if let Some(version) = &self.version {
            let (beginning, rest) = version.split_once('*').unwrap_or((version, ""));
            let is_version = |c: char| c.is_ascii_alphanumeric() || ".+-~:".contains(c);
            if beginning.is_empty() || !rest.is_empty() || !beginning.chars().all(is_version) {
                let problem = SpecProblem::new("version", format!("{version:?} is not a version"));
                problems.push(problem.help("give an exact one, or the beginning of one and `*`, such as `1.2.*`"));
            }
            if self.state != PackageGoal::Present {
                let word = if self.is_removal() { "not there has no version" } else { "the latest needs no version" };
                problems.push(SpecProblem::new("version", format!("a package that is to be {word}")));
            }
        }
        if self.is_removal() && self.hold == Some(true) {
            problems.push(SpecProblem::new("hold", "a package that is not there cannot be held"));
        }
        problems
    }

    fn claims(&self) -> Vec<Claim> {
        self.all().into_iter().map(|name| Claim::Resource(ResourceId::new(Self::NAME, name))).collect()
    }

    fn queries(&self) -> Vec<Query> {
        let mut queries: Vec<Query> = self.all().into_iter().map(|name| Query::Package(name.to_owned())).collect();
        if self.state == PackageGoal::Latest {
            queries.extend(self.all().into_iter().map(|name| Query::Candidate(name.to_owned())));
        }
        queries.push(Query::Snippet {
            key: INTERRUPTED.to_owned(),
            tools: Vec::new(),
            script: Script::constant(
                r#"for _f in /var/lib/dpkg/updates/[0-9]*; do if [ -e "$_f" ]; then echo interrupted; fi; break; done"#,
            ),
        });
        queries
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedPackages, ObserveError> {
        if answers.lacks("dpkg-query") {
            let (tool, package) = ("dpkg-query".to_owned(), "dpkg".to_owned());
            return Err(ObserveError::MissingTool { id: self.id(), tool, package });
        }
        let observe = |name: &str| {
            let found = answers.package(name);
            let state = match State::of(found) {
                State::ConfigFiles if self.state != PackageGoal::Purged => State::Absent,
                state => state,
            };
            ObservedPackage {
                state,
                version: found.filter(|_| state.is_there()).map(|f| f.version.clone()).unwrap_or_default(),
                held: found.is_some_and(|found| found.held),
                candidate: answers.candidate(name).filter(|_| self.state == PackageGoal::Latest).map(str::to_owned),
            }
        };
        Ok(ObservedPackages {
            packages: self.all().into_iter().map(|name| (name.to_owned(), observe(name))).collect(),
            interrupted: answers.snippet(INTERRUPTED).is_some_and(|output| !output.text().is_empty()),
        })
    }

    fn diff(&self, observed: &ObservedPackages) -> Change {
        if self.is_removal() { self.diff_removed(observed) } else { self.diff_present(observed) }
    }
}
