//! The shell text around the kinds' own: the host's lock, its pending refreshes, backups, and the frame of a step.
//!
//! Everything that is kept on a host is in one folder, `/var/lib/provision`: `lock`, `pending/`, `backup/RUN/`.

use super::job::{Errors, Lock, Questions, Work};
use crate::addr::{ResourceId, RunId};
use crate::change::StepPayload;
use crate::connection::Payload;
use crate::resource::read::Reading;
use crate::sh;
use crate::shell::Script;

/// Where a host keeps what must outlive a session. Without root it is in the user's own state folder.
const STATE: &str = r#"_state=/var/lib/provision
[ -w /var/lib ] || _state=${XDG_STATE_HOME:-${HOME:-/tmp}/.local/state}/provision"#;

/// Prints the resources that an earlier run left to be refreshed, with builtins only.
const PENDING: &str = r#"for _f in "$_state"/pending/*; do
  [ ! -f "$_f" ] || { IFS= read -r _l <"$_f" || :; _mark pending "$_l"; }
done"#;

/// Defines `_lock INFO`. The lock names a process by its number, its start time and the boot, so that the lock of a
/// session that died, or of a host that rebooted, holds nobody up.
const LOCK: &str = r#"_since_boot() { read -r _s <"/proc/$1/stat" || return 1; _s=${_s##*) }; set -- $_s; shift 19; echo "$1"; }
_lock() {
  mkdir -p -m 0700 -- "$_state" || { _mark lock failed; exit 0; }
  command -v flock >/dev/null 2>&1 || { _mark lock missing flock; exit 0; }
  (
    flock -w 20 8 || { _mark lock failed; exit 1; }
    # dash reads one byte at a time, and a file of /proc/sys has only its first byte for such a reader.
    _boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null) || _boot=none
    if [ -s "$_state/lock" ] && read -r _pid _start _at _who <"$_state/lock"; then
      if [ "$_at" = "$_boot" ] && [ "$_pid" != $$ ] && [ "$(_since_boot "$_pid" 2>/dev/null)" = "$_start" ]; then
        _mark lock held "$_who"; exit 1
      fi
    fi
    echo "$$ $(_since_boot $$) $_boot $1" >"$_state/lock" || { _mark lock failed; exit 1; }
  ) 8>"$_state/lock.guard" || exit 0
}"#;

/// Says that all was read: a reading that ends before it would take for absent what it did not come to.
const END_OF_READING: &str = "_mark read";

/// Defines what kinds' scripts use: `_payload`, `_keep` and `_restore`.
const STEP_TOOLS: &str = r#"_payload() { _take "$_size"; }
_keep() {
  [ -d "$_backup" ] || mkdir -p -m 0700 -- "$_backup"
  [ ! -e "$_backup/$2" ] && [ ! -L "$_backup/$2" ] && [ ! -e "$_backup/$2.none" ] || return 0
  if [ -e "$1" ] || [ -L "$1" ]; then cp -a --reflink=auto -- "$1" "$_backup/$2"; else : >"$_backup/$2.none"; fi
}
_restore() {
  if [ -e "$_backup/$2.none" ]; then rm -rf -- "$1"
  elif [ -e "$_backup/$2" ] || [ -L "$_backup/$2" ]; then
    _r=${1%/*}/.provision.restore.$$; rm -rf -- "$_r"; cp -a --reflink=auto -- "$_backup/$2" "$_r"
    [ ! -d "$1" ] || [ -L "$1" ] || rm -rf -- "$1"
    mv -fT -- "$_r" "$1"
  else echo "nothing is kept of $1" >&2; return 1; fi
}
_failed="#;

/// Returns the questions of a reading, to be sent.
pub(super) fn questions(reading: &Reading) -> Questions {
    Questions { script: reading.script(), asked: reading.asked() }
}

/// Returns the script that takes the lock, where one is asked for, and reads the host.
pub(super) fn read(questions: &Questions, lock: Option<&Lock>) -> Script {
    let mut script = Script::constant(STATE);
    if let Some(lock) = lock {
        script.push(&Script::constant(LOCK));
        script.push(&sh!("_lock {}", format!("{} {} {}", lock.owner, lock.run, lock.since)));
    }
    script.push(&Script::constant(PENDING));
    script.push(&questions.script);
    script.push(&Script::constant(END_OF_READING));
    script
}

/// Returns the script that does some works and reads what they changed, and what the steps take from the stream.
pub(super) fn apply(run: &RunId, works: &[Work], verify: &Questions) -> (Script, Vec<Payload>) {
    let mut script = Script::constant(STATE);
    script.push(&sh!("_run={}; _backup=\"$_state/backup/$_run\"", run.as_str()));
    script.push(&Script::constant(STEP_TOOLS));
    let mut payloads = Vec::new();
    for work in works {
        for (at, step) in work.steps.iter().enumerate() {
            let payload = match &step.payload {
                StepPayload::None | StepPayload::OutputOf(_) => None,
                StepPayload::Bytes(bytes) => Some(Payload::Bytes(bytes.0.clone())),
                StepPayload::File { path, size, .. } => Some(Payload::File { path: path.clone(), size: *size }),
            };
            let size = payload.as_ref().map_or(0, Payload::size);
            payloads.extend(payload);
            // `eval` of quoted text: a syntax error in an author's command fails that step and not the whole script.
            let errors = match work.errors {
                Errors::WithOutput => Script::constant("2>&1"),
                Errors::Apart => Script::default(),
            };
            script.push(&sh!(
                "if [ -z \"$_failed\" ]; then _mark begin {} {}; _size={}\n( set -eu; eval {} ) {}; _r=$?\n_mark end {} {} $_r; [ $_r = 0 ] || _failed=1; fi",
                work.number, at, size, step.script.text(), errors, work.number, at
            ));
        }
        for id in &work.marks {
            script.push(&sh!(
                "[ -n \"$_failed\" ] || { [ -d \"$_state/pending\" ] || mkdir -p -m 0700 -- \"$_state/pending\"; echo {} >\"$_state/pending/\"{}; }"
                , shown(id), file_name(id)
            ));
        }
        if let Some(id) = &work.settles {
            script.push(&sh!("[ -n \"$_failed\" ] || rm -f -- \"$_state/pending/\"{}", file_name(id)));
        }
    }
    script.push(&Script::constant("_mark verify"));
    script.push(&verify.script);
    script.push(&Script::constant(END_OF_READING));
    (script, payloads)
}

fn shown(id: &ResourceId) -> String {
    format!("{}[{}]", id.kind, id.name)
}

/// Returns a file's name for a resource, whatever characters its own name has.
fn file_name(id: &ResourceId) -> String {
    use sha2::{Digest, Sha256};
    let digest = Sha256::digest(shown(id).as_bytes());
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
