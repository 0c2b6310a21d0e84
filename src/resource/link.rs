//! `link`: a symbolic link.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::managed_file::{backup_name, restore_step};
use super::read::{Answers, FileKind, Query, Want};
use super::spec::{HostPath, Presence};
use super::{Claim, Kind, ObserveError, SpecProblem, way};
use crate::change::{Action, Attributes, Change, Step};
use crate::sh;

/// A symbolic link. What it points to need not be there.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The link's own path on the host.
    path: HostPath,
    /// What it points to: an absolute path, or one relative to the folder that the link is in.
    #[serde(default)]
    target: Option<String>,
    /// Whether a file or an empty directory that is in its place gives way to it.
    #[serde(default)]
    force: bool,
    /// Whether the link is to be there.
    #[serde(default)]
    state: Presence,
}

/// A link as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedLink {
    kind: Option<FileKind>,
    target: Option<String>,
    /// The mode, owner and group of what is in its place, for a directory that is to come back.
    #[serde(skip_serializing_if = "Option::is_none")]
    directory: Option<(String, String, String)>,
}

impl Link {
    fn desired(&self) -> Attributes {
        self.target.iter().map(|target| ("target".to_owned(), json!(target))).collect()
    }

    /// Returns the step that makes the link under a name of its own and then gives it its name, in one stroke.
    fn link_step(&self, title: String, target: &str) -> Step {
        let path = &self.path;
        let script = sh!(
            r#"_path={}; _dir={}
[ -d "$_dir" ] || { echo "the directory $_dir is not there; declare it before the link" >&2; exit 1; }
_new=$(mktemp -d -- "$_dir/.provision.XXXXXXXXXX")
trap 'rm -rf -- "$_new"' EXIT
ln -s -- {} "$_new/link"
mv -fT -- "$_new/link" "$_path""#,
            path,
            path.folder(),
            target
        );
        Step::new(title, script)
    }

    fn remove_step(&self) -> Step {
        let script = sh!(
            r#"_path={}
if [ -e "$_path" ] && [ ! -L "$_path" ]; then echo "$_path is no longer a link" >&2; exit 1; fi
rm -f -- "$_path""#,
            self.path
        );
        Step::new(format!("remove the link {}", self.path), script)
    }

    fn diff_present(&self, observed: &ObservedLink) -> Change {
        let path = &self.path;
        let target = self.target.as_deref().unwrap_or_default();
        let make = || self.link_step(format!("link {path} to {target}"), target);
        match observed.kind {
            None => Change::create(self.id(), &self.desired()).step(make()).reversed_by(vec![self.remove_step()]),
            Some(FileKind::Link) => {
                let before = observed.target.clone().unwrap_or_default();
                let found = Attributes::from([("target".to_owned(), json!(before))]);
                let change = Change::between(self.id(), &found, &self.desired());
                if change.is_no_op() {
                    return change.because(format!("it points to {target}, as wanted"));
                }
                let back = self.link_step(format!("link {path} to {before} again"), &before);
                change.step(make()).reversed_by(vec![back])
            }
            Some(found) => {
                let mut change = Change::create(self.id(), &self.desired());
                change.action = Action::Replace;
                if let Some((mode, owner, group)) = &observed.directory {
                    let back = sh!(
                        "rm -f -- {}\nmkdir -m 0700 -- {}\nchown -h -- {} {}\nchmod -- 0{} {}",
                        path,
                        path,
                        format!("{owner}:{group}"),
                        path,
                        mode.as_str(),
                        path
                    );
                    return change
                        .because("a directory is in its place")
                        .step(Step::new(format!("remove the empty directory {path}"), sh!("rmdir -- {}", path)))
                        .step(make())
                        .reversed_by(vec![Step::new(format!("make the directory {path}"), back)]);
                }
                let what = if found == FileKind::File { "a file" } else { "a special file" };
                change
                    .because(format!("{what} is in its place"))
                    .step(Step::new(
                        format!("keep a copy of {path}"),
                        sh!("_keep {} {}", path, backup_name(path.as_str())),
                    ))
                    .step(make())
                    .reversed_by(vec![restore_step(path)])
            }
        }
    }

    fn diff_absent(&self, observed: &ObservedLink) -> Change {
        match observed.kind {
            None => Change::no_op(self.id(), "it is not there, as wanted"),
            Some(FileKind::Link) => {
                let before = observed.target.clone().unwrap_or_default();
                let found = Attributes::from([("target".to_owned(), json!(before))]);
                let back = self.link_step(format!("link {} to {before} again", self.path), &before);
                Change::delete(self.id(), &found).step(self.remove_step()).reversed_by(vec![back])
            }
            Some(_) => Change::no_op(self.id(), "no link is there, as wanted; what is in its place is none"),
        }
    }
}

impl Kind for Link {
    const NAME: &'static str = "link";
    const SUMMARY: &'static str = "A symbolic link and what it points to";
    const EXAMPLE: &'static str = r#"- link:
    path: /etc/nginx/sites-enabled/console.conf
    target: ../sites-available/console.conf
- link:
    path: /etc/nginx/sites-enabled/default
    state: absent
"#;

    type Observed = ObservedLink;

    fn name(&self) -> String {
        self.path.as_str().to_owned()
    }

    fn check(&self) -> Vec<SpecProblem> {
        let mut problems = Vec::new();
        match &self.target {
            None if !self.state.is_absent() => {
                problems
                    .push(SpecProblem::new("target", "a link points to something").help("say with `target` to what"));
            }
            Some(target) if target.is_empty() => {
                problems.push(SpecProblem::new("target", "the target is empty"));
            }
            Some(target) if target == self.path.as_str() => {
                problems.push(SpecProblem::new("target", "the link points to itself"));
            }
            _ => {}
        }
        problems
    }

    fn claims(&self) -> Vec<Claim> {
        vec![Claim::Path(self.path.as_str().to_owned())]
    }

    fn queries(&self) -> Vec<Query> {
        vec![Query::Path(self.path.as_str().to_owned(), Want::Metadata)]
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedLink, ObserveError> {
        let Some(state) = answers.path(self.path.as_str()) else {
            return Ok(ObservedLink { kind: None, target: None, directory: None });
        };
        if state.kind != FileKind::Link && !self.force && !self.state.is_absent() {
            let what = if state.kind == FileKind::Directory { "a directory" } else { "a file" };
            return Err(ObserveError::unexpected(
                self,
                format!("{what} is in its place, and is replaced only with `force: true`"),
            ));
        }
        let directory =
            (state.kind == FileKind::Directory).then(|| (state.mode.clone(), state.owner.clone(), state.group.clone()));
        Ok(ObservedLink { kind: Some(state.kind), target: state.target.clone(), directory })
    }

    fn diff(&self, observed: &ObservedLink) -> Change {
        let change = match self.state {
            Presence::Present => self.diff_present(observed),
            Presence::Absent => self.diff_absent(observed),
        };
        way::guarded(change, &self.path)
    }
}
