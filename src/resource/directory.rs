//! `directory`: a directory with its mode and owner, and no entries but those that are wanted.

use std::collections::BTreeSet;

use globset::{Glob, GlobSet, GlobSetBuilder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::managed_file::{backup_name, restore_step};
use super::read::{Answers, FileKind, Query, Want};
use super::spec::{HostPath, Mode, Presence};
use super::{Claim, Kind, ObserveError, SpecProblem, way};
use crate::change::{Action, AttributeChange, Attributes, Change, Shown, Step};
use crate::sh;
use crate::shell::Script;

/// A directory. What is in it stays, unless `purge` is set.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// The directory's path on the host.
    path: HostPath,
    /// The permission bits. A new directory gets `"0755"`.
    #[serde(default)]
    mode: Option<Mode>,
    /// The owner. A new directory gets `root`.
    #[serde(default)]
    owner: Option<String>,
    /// The group. A new directory gets `root`.
    #[serde(default)]
    group: Option<String>,
    /// Whether missing parents are made too, owned by root and with mode `"0755"`.
    #[serde(default)]
    parents: bool,
    /// Whether entries that no glob of `keep` matches are removed, with all that is in them. The plan names each.
    ///
    /// With `state: absent` it says that a directory with something in it may be removed.
    #[serde(default)]
    purge: bool,
    /// Names directly inside the directory that `purge` leaves alone, as globs such as `*.conf`.
    #[serde(default)]
    keep: Vec<String>,
    /// Whether the directory is to be there.
    #[serde(default)]
    state: Presence,
    /// The names directly inside that other resources of the host own: `purge` leaves them alone.
    #[serde(skip)]
    owned: BTreeSet<String>,
}

/// A directory as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedDirectory {
    kind: Option<FileKind>,
    attributes: Attributes,
    /// The entries that are to be removed.
    surplus: Vec<String>,
    /// The parents that are not there, innermost first.
    missing_parents: Vec<String>,
}

impl Directory {
    fn kept(&self) -> Result<GlobSet, globset::Error> {
        let mut set = GlobSetBuilder::new();
        for glob in &self.keep {
            set.add(Glob::new(glob)?);
        }
        set.build()
    }

    fn desired(&self) -> Attributes {
        let mut desired = Attributes::new();
        if let Some(mode) = &self.mode {
            desired.insert("mode".into(), json!(mode.as_str()));
        }
        if let Some(owner) = &self.owner {
            desired.insert("owner".into(), json!(owner));
        }
        if let Some(group) = &self.group {
            desired.insert("group".into(), json!(group));
        }
        desired
    }

    fn parent_paths(&self) -> Vec<String> {
        let mut parents = Vec::new();
        let mut path = self.path.folder();
        while path != "/" {
            parents.push(path.to_owned());
            path = path.rfind('/').and_then(|at| path.get(..at)).filter(|p| !p.is_empty()).unwrap_or("/");
        }
        parents
    }

    fn listing_key(&self) -> String {
        format!("directory {}", self.path)
    }

    fn needs_listing(&self) -> bool {
        self.purge || self.state.is_absent()
    }

    /// Returns the name of the folder in the run's backup where removed entries are kept.
    fn entries_backup(&self) -> String {
        format!("{}.entries", backup_name(self.path.as_str()))
    }

    fn make_step(&self) -> Step {
        let path = &self.path;
        let mut script = if self.parents {
            sh!("(umask 022; mkdir -p -- {})", path.folder())
        } else {
            sh!(
                "[ -d {} ] || { echo {} >&2; exit 1; }",
                path.folder(),
                format!("the directory {} is not there; declare it before, or set `parents: true`", path.folder())
            )
        };
        let mode = self.mode.as_ref().map_or("0755", Mode::as_str);
        let owner = self.owner.as_deref().unwrap_or("root");
        let group = self.group.as_deref().unwrap_or("root");
        let attributes = attributes_script(path, mode, owner, group);
        if owner == "root" && group == "root" {
            // What root makes is as it should be, but for a parent that hands its group on.
            script.push(&sh!("mkdir -m 0{} -- {}", mode.trim_start_matches('0').to_owned(), path));
            let looks = sh!("[ -O {} ] && [ -G {} ] && [ ! -g {} ]", path, path, path);
            script.push(&sh!("if ! { {}; }; then\n{}\nfi", looks, attributes));
        } else {
            // Nobody else may look in before it has its owner.
            script.push(&sh!("mkdir -m 0700 -- {}", path));
            script.push(&attributes);
        }
        Step::new(format!("make the directory {path}"), script)
    }

    fn purge_step(&self, surplus: &[String]) -> Step {
        let names = Script::words(surplus);
        let script = sh!(
            r#"_kept=$_backup/{}
[ -d "$_kept" ] || mkdir -p -m 0700 -- "$_kept"
cd -- {}
for _name in {}; do
  [ ! -e "$_kept/$_name" ] && [ ! -L "$_kept/$_name" ] || { echo "$_name was removed in this run before" >&2; exit 1; }
  mv -- "./$_name" "$_kept/"
done"#,
            self.entries_backup(),
            self.path,
            names
        );
        Step::new(format!("remove {} of {}", count(surplus.len()), self.path), script)
    }

    fn unpurge_step(&self, surplus: &[String]) -> Step {
        let names = Script::words(surplus);
        let script = sh!(
            r#"for _name in {}; do
  cp -a -- "$_backup/"{}"/$_name" {}
done"#,
            names,
            self.entries_backup(),
            format!("{}/", self.path)
        );
        Step::new(format!("restore what was removed from {}", self.path), script)
    }

    fn diff_present(&self, observed: &ObservedDirectory) -> Change {
        let path = &self.path;
        let mut full = self.desired();
        full.entry("mode".into()).or_insert_with(|| json!("0755"));
        full.entry("owner".into()).or_insert_with(|| json!("root"));
        full.entry("group".into()).or_insert_with(|| json!("root"));
        match observed.kind {
            None => {
                let mut gone = vec![path.as_str()];
                gone.extend(observed.missing_parents.iter().map(String::as_str));
                let undo = sh!("rmdir -- {}", Script::words(gone));
                Change::create(self.id(), &full)
                    .step(self.make_step())
                    .reversed_by(vec![Step::new(format!("remove the empty directory {path}"), undo)])
            }
            Some(FileKind::Directory) => {
                let mut change = Change::between(self.id(), &observed.attributes, &self.desired());
                let mut reverse = Vec::new();
                if !change.is_no_op() {
                    let known = |name: &str| observed.attributes.get(name).and_then(|v| v.as_str()).unwrap_or("root");
                    let forward = attributes_script(
                        path,
                        self.mode.as_ref().map_or(known("mode"), Mode::as_str),
                        self.owner.as_deref().unwrap_or(known("owner")),
                        self.group.as_deref().unwrap_or(known("group")),
                    );
                    let back = attributes_script(path, known("mode"), known("owner"), known("group"));
                    change = change.step(Step::new(format!("set the attributes of {path}"), forward));
                    reverse.push(Step::new(format!("set the former attributes of {path}"), back));
                }
                if observed.surplus.is_empty() {
                    if self.purge && change.is_no_op() {
                        return change.because("it is there as wanted, with nothing to purge");
                    }
                    return if change.is_no_op() { change } else { change.reversed_by(reverse) };
                }
                let reason = format!("{} not wanted in it", are(observed.surplus.len()));
                let reason = if change.is_no_op() { reason } else { format!("{}; {reason}", change.reason) };
                change.action = Action::Update;
                change.attributes.extend(removed_entries(&observed.surplus));
                reverse.insert(0, self.unpurge_step(&observed.surplus));
                change.because(reason).step(self.purge_step(&observed.surplus)).reversed_by(reverse)
            }
            Some(found) => {
                let mut change = Change::create(self.id(), &full).because(format!("{} is in its place", what(found)));
                change.action = Action::Replace;
                change
                    .step(Step::new(
                        format!("remove {} {path}", what(found).trim_start_matches("a ")),
                        sh!("_keep {} {}\nrm -f -- {}", path, backup_name(path.as_str()), path),
                    ))
                    .step(self.make_step())
                    .reversed_by(vec![
                        Step::new(format!("remove the empty directory {path}"), sh!("rmdir -- {}", path)),
                        restore_step(path),
                    ])
            }
        }
    }

    fn diff_absent(&self, observed: &ObservedDirectory) -> Change {
        let path = &self.path;
        match observed.kind {
            None => Change::no_op(self.id(), "it is not there, as wanted"),
            Some(FileKind::Directory) => {
                let known = |name: &str| observed.attributes.get(name).and_then(|v| v.as_str()).unwrap_or("root");
                let mut change = Change::delete(self.id(), &observed.attributes);
                let mut reverse = vec![Step::new(
                    format!("make the directory {path}"),
                    sh!("mkdir -m 0700 -- {}", path).then(attributes_script(
                        path,
                        known("mode"),
                        known("owner"),
                        known("group"),
                    )),
                )];
                if self.purge && !observed.surplus.is_empty() {
                    change.attributes.extend(removed_entries(&observed.surplus));
                    change = change
                        .because(format!("it must not be there, and goes with {} in it", count(observed.surplus.len())))
                        .step(self.purge_step(&observed.surplus));
                    reverse.push(self.unpurge_step(&observed.surplus));
                } else if !observed.surplus.is_empty() {
                    change = change.because(format!(
                        "it must not be there; {} in it must be gone by then, or `purge: true` removes what is in it",
                        count(observed.surplus.len())
                    ));
                }
                change
                    .step(Step::new(format!("remove the directory {path}"), sh!("rmdir -- {}", path)))
                    .reversed_by(reverse)
            }
            Some(found) => Change::no_op(self.id(), format!("no directory is there, as wanted; {} is", what(found))),
        }
    }
}

fn count(entries: usize) -> String {
    if entries == 1 { "1 entry".to_owned() } else { format!("{entries} entries") }
}

fn are(entries: usize) -> String {
    format!("{} {}", count(entries), if entries == 1 { "is" } else { "are" })
}

fn what(found: FileKind) -> &'static str {
    match found {
        FileKind::File => "a file",
        FileKind::Link => "a symbolic link",
        FileKind::Directory => "a directory",
        FileKind::Special => "a special file",
    }
}

fn removed_entries(names: &[String]) -> impl Iterator<Item = AttributeChange> {
    names.iter().map(|name| AttributeChange {
        name: format!("entry {name:?}"),
        before: Shown::Value(json!("present")),
        after: Shown::Absent,
    })
}

fn attributes_script(path: &HostPath, mode: &str, owner: &str, group: &str) -> Script {
    // Five digits: with four, `chmod` leaves the set-group-id bit of a directory as it is.
    sh!("chown -h -- {} {}\nchmod -- 0{} {}", format!("{owner}:{group}"), path, mode, path)
}

impl Kind for Directory {
    const NAME: &'static str = "directory";
    const SUMMARY: &'static str = "A directory: its mode and owner, and whether foreign entries in it are removed";
    const EXAMPLE: &'static str = r#"- directory:
    path: /srv/etcd
    mode: "0700"
    owner: etcd
    group: etcd
- directory:
    path: /etc/nginx/sites-enabled
    purge: true
    keep: ["*.conf"]
"#;

    type Observed = ObservedDirectory;

    fn name(&self) -> String {
        self.path.as_str().to_owned()
    }

    fn check(&self) -> Vec<SpecProblem> {
        let mut problems = Vec::new();
        if let Err(error) = self.kept() {
            problems.push(SpecProblem::new("keep", format!("a glob cannot be understood: {}", error.kind())));
        }
        if self.keep.iter().any(|glob| glob.contains('/')) {
            problems.push(SpecProblem::new(
                "keep",
                "a glob with `/` matches nothing: it stands for names in the directory",
            ));
        }
        if !self.keep.is_empty() && (!self.purge || self.state.is_absent()) {
            problems.push(
                SpecProblem::new("keep", "nothing is removed for it to keep")
                    .help("set `purge: true`, or leave `keep` out"),
            );
        }
        let is_top = self.path.folder() == "/";
        if is_top && self.purge {
            problems
                .push(SpecProblem::new("purge", format!("{} is a part of the system that is not purged", self.path)));
        } else if self.path.as_str() == "/" && self.state.is_absent() {
            problems.push(SpecProblem::new("state", "the root directory cannot be absent"));
        }
        problems
    }

    fn claims(&self) -> Vec<Claim> {
        vec![Claim::Path(self.path.as_str().to_owned())]
    }

    fn learn_owned(&mut self, owned: &BTreeSet<Claim>) {
        let prefix = format!("{}/", self.path.as_str().trim_end_matches('/'));
        let inside = owned.iter().filter_map(|claim| match claim {
            Claim::Path(path) => path.strip_prefix(&prefix)?.split('/').next().map(str::to_owned),
            Claim::Resource(_) => None,
        });
        self.owned = inside.collect();
    }

    fn queries(&self) -> Vec<Query> {
        let mut queries = vec![Query::Path(self.path.as_str().to_owned(), Want::Metadata)];
        if self.parents {
            queries.extend(self.parent_paths().into_iter().map(|parent| Query::Path(parent, Want::Metadata)));
        }
        if self.needs_listing() {
            // Builtins only. A link to a directory is not listed: what is in it belongs to another path.
            let script = sh!(
                r#"_path={}
[ ! -L "$_path" ] && cd -- "$_path" 2>/dev/null || exit 0
for _name in * .[!.]* ..?*; do
  if [ -e "./$_name" ] || [ -L "./$_name" ]; then printf '%s\0' "$_name"; fi
done"#,
                self.path
            );
            queries.push(Query::Snippet { key: self.listing_key(), tools: Vec::new(), script });
        }
        queries
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedDirectory, ObserveError> {
        let state = answers.path(self.path.as_str());
        let attributes = state.map_or_else(Attributes::new, |state| {
            Attributes::from([
                ("mode".into(), json!(state.mode)),
                ("owner".into(), json!(state.owner)),
                ("group".into(), json!(state.group)),
            ])
        });
        let mut surplus = Vec::new();
        if let Some(listing) = answers.snippet(&self.listing_key())
            && state.is_some_and(|state| state.kind == FileKind::Directory)
        {
            let kept = self.kept().map_err(|e| ObserveError::unexpected(self, e.to_string()))?;
            let text = std::str::from_utf8(&listing.output.0)
                .map_err(|_| ObserveError::unexpected(self, "the name of an entry in it is not UTF-8"))?;
            let names =
                text.split('\0').filter(|name| !name.is_empty() && !kept.is_match(name) && !self.owned.contains(*name));
            surplus.extend(names.map(str::to_owned));
            surplus.sort();
        }
        let mut missing_parents = Vec::new();
        if self.parents && state.is_none() {
            missing_parents = self.parent_paths();
            missing_parents.retain(|parent| answers.path(parent).is_none());
        }
        Ok(ObservedDirectory { kind: state.map(|state| state.kind), attributes, surplus, missing_parents })
    }

    fn diff(&self, observed: &ObservedDirectory) -> Change {
        let change = match self.state {
            Presence::Present => self.diff_present(observed),
            Presence::Absent => self.diff_absent(observed),
        };
        way::guarded(change, &self.path)
    }
}
