//! A text file that several resources edit: each changes its own lines and leaves the others as they are.
//!
//! What a plan shows is computed from the file as it was observed. What a step does is computed on the host from the
//! file as it is then, so that the edits of one run add up, and a line that somebody else wrote meanwhile survives.

use super::read::{Answers, CONTENT_LIMIT, FileKind};
use super::spec::HostPath;
use super::{Kind, ObserveError};
use crate::change::Step;
use crate::sh;
use crate::shell::Script;

/// What is done where the file is not there.
pub(super) enum WhenMissing<'a> {
    /// It is made, with these attributes.
    Make { mode: &'a str, owner: &'a str, group: &'a str },
    /// The step fails.
    Fail,
}

/// Returns the text of the file at `path`, or `None` where nothing is there.
pub(super) fn observed_text(
    resource: &impl Kind,
    path: &HostPath,
    answers: &Answers,
) -> Result<Option<String>, ObserveError> {
    let Some(state) = answers.path(path.as_str()) else { return Ok(None) };
    let refuse = |what: String| Err(ObserveError::unexpected(resource, what));
    match state.kind {
        FileKind::File => {}
        FileKind::Link => {
            let target = state.target.as_deref().unwrap_or("somewhere");
            return refuse(format!("{path} is a symbolic link to {target}; name the file itself"));
        }
        FileKind::Directory | FileKind::Special => return refuse(format!("{path} is not a regular file")),
    }
    let Some(content) = &state.content else {
        return refuse(format!("{path} has {} bytes, and a file is edited up to {CONTENT_LIMIT}", state.size));
    };
    match std::str::from_utf8(&content.0) {
        Ok(text) if !text.contains('\0') => Ok(Some(text.to_owned())),
        _ => refuse(format!("{path} is not a text in UTF-8")),
    }
}

/// Returns the script that replaces the file at `path` by what `filter` prints; `filter` reads the file `$_old`.
///
/// The file keeps its mode and owner. A reader sees the old text or the new one, never a part.
pub(super) fn edit_script(path: &HostPath, backup: &str, missing: &WhenMissing<'_>, filter: Script) -> Script {
    let make = match missing {
        WhenMissing::Make { mode, owner, group } => {
            sh!("_old=/dev/null; chown -- {} \"$_new\"; chmod -- {} \"$_new\"", format!("{owner}:{group}"), *mode)
        }
        WhenMissing::Fail => Script::constant("echo \"$_path is not there\" >&2; exit 1"),
    };
    sh!(
        r#"_path={}; _dir={}
[ -d "$_dir" ] || { echo "the directory $_dir is not there; declare it before" >&2; exit 1; }
if [ -L "$_path" ] || { [ -e "$_path" ] && [ ! -f "$_path" ]; }; then
  echo "$_path is not a regular file" >&2; exit 1
fi
_keep "$_path" {}
_new=$(mktemp -- "$_dir/.provision.XXXXXXXXXX")
trap 'rm -f -- "$_new"' EXIT
if [ -e "$_path" ]; then _old=$_path; cp -p -- "$_path" "$_new"; else {}; fi
_edit() {
{}
}
_edit >"$_new"
mv -fT -- "$_new" "$_path""#,
        path,
        path.folder(),
        backup,
        make,
        filter
    )
}

/// Returns the step that puts back the file as this edit found it.
pub(super) fn restore_edit(path: &HostPath, backup: &str) -> Step {
    Step::new(format!("restore {path}"), sh!("_restore {} {}", path, backup))
}

/// Returns the name of an edit's backup: one for each resource, since several edit the same file.
pub(super) fn edit_backup(resource: &impl Kind) -> String {
    super::managed_file::backup_name(&Kind::id(resource).to_string())
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use crate::shell::Script;

    /// Runs an edit on a file in a folder of its own and returns what the file is afterwards.
    ///
    /// The path in the script must be `/provision-test/file`; it is replaced by a private one.
    #[expect(clippy::disallowed_methods, reason = "the files are the test's own")]
    pub(crate) fn run_edit(script: &Script, payload: &str, before: &str) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, before).unwrap();
        let text = script.text().replace("/provision-test", folder.path().to_str().unwrap());
        let helpers = "_keep() { :; }\n_payload() { cat <&9; }\nset -eu\n";
        std::fs::write(folder.path().join("payload"), payload).unwrap();
        let mut child =
            Command::new("sh").stdin(Stdio::piped()).stderr(Stdio::piped()).env("LC_ALL", "C").spawn().unwrap();
        let input = format!("exec 9<'{}/payload'\n{helpers}{text}\n", folder.path().display());
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned());
        }
        Ok(std::fs::read_to_string(&file).unwrap())
    }
}
