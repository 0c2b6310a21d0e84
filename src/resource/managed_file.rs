//! A regular file with known content, mode and owner: what `file` is, and what many kinds write.
//!
//! The new content is written to a file of its own in the same folder, gets its owner and mode, is validated, and then
//! takes the name in one step. So a reader never sees half a file, nor a secret with too wide a mode, and a file
//! that its program would refuse never replaces one that it accepts.

use std::sync::Arc;

use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Content;
use super::read::{Answers, CONTENT_LIMIT, FileKind, PathState, Query, Want};
use super::spec::{HostPath, Mode};
use crate::addr::ResourceId;
use crate::change::{Action, Attributes, Change, Step, StepPayload, TextChange};
use crate::sh;
use crate::shell::Script;

/// A file as it is to be. What is `None` stays as it is, and is the default where the file is made.
#[derive(Clone, Debug)]
pub struct ManagedFile {
    pub path: HostPath,
    pub content: Option<Content>,
    pub mode: Option<Mode>,
    pub owner: Option<String>,
    pub group: Option<String>,
    /// A command that must accept the new file before it replaces the old one; `%` is the new file's path.
    pub validate: Option<String>,
}

/// A file as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedFile {
    kind: Option<FileKind>,
    attributes: Attributes,
    #[serde(skip)]
    content: Option<Vec<u8>>,
}

impl ObservedFile {
    /// Returns whether anything is there.
    pub(super) fn is_there(&self) -> bool {
        self.kind.is_some()
    }

    /// Returns the content of a regular file as text, where it was read: it is not, where it is as wanted.
    pub(super) fn text(&self) -> Option<&str> {
        std::str::from_utf8(self.content.as_deref()?).ok()
    }
}

/// Returns the SHA-256 of `bytes` in lowercase hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Returns the name under which a path's earlier state is kept in a run's backup folder.
pub(super) fn backup_name(path: &str) -> String {
    sha256(path.as_bytes()).get(..32).unwrap_or_default().to_owned()
}

impl Content {
    /// Returns the SHA-256 of the content.
    pub fn sha256(&self) -> String {
        match self {
            Content::Text(text) => sha256(text.as_bytes()),
            Content::File { sha256, .. } => sha256.clone(),
        }
    }

    /// Returns the content as what a step reads.
    pub(super) fn payload(&self) -> StepPayload {
        match self {
            Content::Text(text) => Step::new("", Script::default()).with_bytes(text.as_bytes()).payload,
            Content::File { path, size, sha256 } => {
                StepPayload::File { path: path.clone(), size: *size, sha256: sha256.clone() }
            }
        }
    }
}

/// From how many bytes on a file is hashed in a process of its own.
const LARGE: u64 = 8 * 1024 * 1024;

impl ManagedFile {
    /// Returns a file that root owns, with this content.
    pub fn of_root(path: HostPath, content: impl Into<Arc<str>>, mode: u32) -> Self {
        Self {
            path,
            content: Some(Content::Text(content.into())),
            mode: Some(Mode::of(mode)),
            owner: Some("root".to_owned()),
            group: Some("root".to_owned()),
            validate: None,
        }
    }

    /// Returns what to ask a host; `content_known` is false where the content comes only after the host's facts.
    pub fn queries(&self, content_known: bool) -> Vec<Query> {
        let want = match &self.content {
            Some(content @ Content::Text(_)) => Want::ContentUnless(content.sha256()),
            Some(Content::File { size, .. }) if *size >= LARGE => Want::LargeDigest,
            Some(Content::File { .. }) => Want::Digest,
            None if content_known => Want::Metadata,
            None => Want::Content,
        };
        vec![Query::Path(self.path.as_str().to_owned(), want)]
    }

    pub fn observe(&self, answers: &Answers) -> ObservedFile {
        observe_path(self.path.as_str(), answers)
    }

    /// Returns what the file is to be.
    pub fn desired(&self) -> Attributes {
        let mut desired = Attributes::new();
        if let Some(content) = &self.content {
            desired.insert("content".into(), json!(format!("sha256:{}", content.sha256())));
        }
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

    /// Returns the change that brings `observed` to this file.
    pub fn diff(&self, id: ResourceId, observed: &ObservedFile) -> Change {
        let path = &self.path;
        match observed.kind {
            None => {
                let mut desired = self.desired();
                desired.entry("mode".into()).or_insert_with(|| json!("0644"));
                desired.entry("owner".into()).or_insert_with(|| json!("root"));
                desired.entry("group".into()).or_insert_with(|| json!("root"));
                let change = Change::create(id, &desired).step(self.write_step("0644", "root", "root"));
                let mut change = change.reversed_by(vec![remove_file_step(path)]);
                change.text = self.text_change(Some(b""));
                change
            }
            Some(FileKind::File) => {
                let mut change = Change::between(id, &observed.attributes, &self.desired());
                if change.is_no_op() {
                    return change;
                }
                let known = |name: &str| observed.attributes.get(name).and_then(|v| v.as_str()).unwrap_or("root");
                if change.changes("content") {
                    change = change
                        .step(self.write_step(known("mode"), known("owner"), known("group")))
                        .reversed_by(vec![restore_step(path)]);
                    change.text = self.text_change(observed.content.as_deref());
                } else {
                    let reverse = self.attributes_script(known("mode"), known("owner"), known("group"), &change);
                    let wanted = |option: Option<&str>, name: &str| option.unwrap_or(known(name)).to_owned();
                    let forward = self.attributes_script(
                        &wanted(self.mode.as_ref().map(Mode::as_str), "mode"),
                        &wanted(self.owner.as_deref(), "owner"),
                        &wanted(self.group.as_deref(), "group"),
                        &change,
                    );
                    let title = format!("set {} of {path}", names(&change));
                    change = change
                        .step(Step::new(title, forward))
                        .reversed_by(vec![Step::new(format!("set the former attributes of {path}"), reverse)]);
                }
                change
            }
            Some(found) => {
                let what = match found {
                    FileKind::Directory => "a directory",
                    FileKind::Link => "a symbolic link",
                    _ => "a special file",
                };
                let mut change = Change::create(id, &self.desired()).because(format!("{what} is in its place"));
                change.action = Action::Replace;
                if found == FileKind::Directory {
                    // Only an empty directory gives way: what is in it belongs to somebody.
                    change =
                        change.step(Step::new(format!("remove the empty directory {path}"), sh!("rmdir -- {}", path)));
                    let back = sh!("rm -f -- {}\nmkdir -- {}", path, path);
                    let change = change.step(self.write_step("0644", "root", "root"));
                    return change.reversed_by(vec![Step::new(format!("make the directory {path}"), back)]);
                }
                change.step(self.write_step("0644", "root", "root")).reversed_by(vec![restore_step(path)])
            }
        }
    }

    /// Returns the change that removes the file.
    pub fn diff_absent(&self, id: ResourceId, observed: &ObservedFile) -> Change {
        diff_absent(&self.path, id, observed)
    }

    fn text_change(&self, before: Option<&[u8]>) -> Option<TextChange> {
        let Some(Content::Text(after)) = &self.content else { return None };
        let before = std::str::from_utf8(before?).ok()?;
        (after.len() <= CONTENT_LIMIT).then(|| TextChange { before: before.into(), after: after.clone() })
    }

    fn attributes_script(&self, mode: &str, owner: &str, group: &str, change: &Change) -> Script {
        let mut script = Script::default();
        // Owner first: a change of owner clears the set-user-id bits that a mode may want.
        if change.changes("owner") || change.changes("group") {
            script.push(&sh!("chown -h -- {} {}", format!("{owner}:{group}"), self.path));
        }
        script.then(sh!("chmod -- {} {}", mode, self.path))
    }

    /// Returns the step that writes the content; the attributes are for those that the specification leaves open.
    fn write_step(&self, mode: &str, owner: &str, group: &str) -> Step {
        let path = &self.path;
        let owner = self.owner.as_deref().unwrap_or(owner);
        let group = self.group.as_deref().unwrap_or(group);
        let mode = self.mode.as_ref().map_or(mode, Mode::as_str);
        let script = write_script(path, mode, owner, group, self.validate.as_deref());
        let payload = self.content.as_ref().map_or_else(|| Content::Text("".into()).payload(), Content::payload);
        Step::new(format!("write {path}"), script).with_payload(payload)
    }
}

fn names(change: &Change) -> String {
    change.attributes.iter().map(|a| a.name.as_str()).collect::<Vec<_>>().join(" and ")
}

/// Returns the script that puts the payload at `path`, keeping what was there for the run's backup.
///
/// In a folder in which only root can make files, the new one may have a name that others can guess; no process is
/// needed to choose it. In others (`/tmp`, a user's home) somebody could put a pipe in its place first.
pub(super) fn write_script(path: &HostPath, mode: &str, owner: &str, group: &str, validate: Option<&str>) -> Script {
    let mut script = sh!(
        r#"_path={}; _dir={}
[ -d "$_dir" ] || { echo "the directory $_dir is not there; declare it before the file" >&2; exit 1; }
if [ -O "$_dir" ] && [ ! -k "$_dir" ]; then _new=$_dir/.provision.$_run; set -C; : >"$_new"; set +C
else _new=$(mktemp -- "$_dir/.provision.XXXXXXXXXX"); fi
trap 'rm -f -- "$_new"' EXIT
_payload >"$_new""#,
        path,
        path.folder(),
    );
    script.push(&own_script(&Script::constant("\"$_new\""), owner, group));
    script.push(&sh!("chmod -- {} \"$_new\"", mode));
    if let Some(command) = validate {
        // The command is the author's; only our own path is put into it.
        let command = Script::from_author(&command.replace('%', "\"$_new\""));
        script.push(&sh!(
            "{ {}\n} || { echo 'the new file was refused by its validate command; the old one is kept' >&2; exit 1; }",
            command
        ));
    }
    script.then(sh!("_keep \"$_path\" {}\nmv -fT -- \"$_new\" \"$_path\"\ntrap - EXIT", backup_name(path.as_str())))
}

/// Returns the script that gives what was just made to its owner. What root makes is root's already, but for a folder
/// that hands its group on; a look costs nothing, and `chown` a process.
pub(super) fn own_script(path: &Script, owner: &str, group: &str) -> Script {
    let own = sh!("chown -h -- {} {}", format!("{owner}:{group}"), path.clone());
    if owner == "root" && group == "root" {
        return sh!("{ [ -O {} ] && [ -G {} ]; } || ", path.clone(), path.clone()).then(own);
    }
    own
}

/// Returns what was found at a path.
pub(super) fn observe_path(path: &str, answers: &Answers) -> ObservedFile {
    let Some(state) = answers.path(path) else {
        return ObservedFile { kind: None, attributes: Attributes::new(), content: None };
    };
    let PathState { kind, mode, owner, group, sha256, content, .. } = state;
    let mut attributes = Attributes::from([
        ("mode".into(), json!(mode)),
        ("owner".into(), json!(owner)),
        ("group".into(), json!(group)),
    ]);
    if let Some(digest) = sha256 {
        attributes.insert("content".into(), json!(format!("sha256:{digest}")));
    }
    ObservedFile { kind: Some(*kind), attributes, content: content.as_ref().map(|bytes| bytes.0.clone()) }
}

/// Returns the change that removes whatever file is at `path`.
pub(super) fn diff_absent(path: &HostPath, id: ResourceId, observed: &ObservedFile) -> Change {
    match observed.kind {
        None => Change::no_op(id, "it is not there, as wanted"),
        Some(FileKind::Directory) => Change::delete(id, &observed.attributes)
            .step(Step::new(format!("remove the empty directory {path}"), sh!("rmdir -- {}", path)))
            .reversed_by(vec![Step::new(format!("make the directory {path}"), sh!("mkdir -- {}", path))]),
        Some(_) => Change::delete(id, &observed.attributes)
            .step(Step::new(
                format!("remove {path}"),
                sh!("_keep {} {}\nrm -f -- {}", path, backup_name(path.as_str()), path),
            ))
            .reversed_by(vec![restore_step(path)]),
    }
}

fn remove_file_step(path: &HostPath) -> Step {
    Step::new(format!("remove {path}"), sh!("rm -f -- {}", path))
}

/// Returns the step that puts back what `_keep` kept of a path.
pub(super) fn restore_step(path: &HostPath) -> Step {
    Step::new(format!("restore {path}"), sh!("_restore {} {}", path, backup_name(path.as_str())))
}
