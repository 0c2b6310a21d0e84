//! The shell text around the kinds' own: the host's lock, its pending refreshes, backups, and the frame of a step.
//!
//! Everything that is kept on a host is in one folder, `/var/lib/provision`: `lock`, `pending/`, `backup/RUN/`.

use super::job::{Errors, Lock, Questions, Work};
use crate::addr::{ResourceId, RunId};
use crate::change::{Effect, Step, StepPayload};
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
const STEP_TOOLS: &str = r#"_payload() { if [ "$_size" = text ]; then printf %s "$_text"; else _take "$_size"; fi; }
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
    let mut room = Room(SHORT_TOGETHER);
    for work in works {
        let (now, later) = apart(work);
        for (at, step) in now {
            let (payload, given) = match &step.payload {
                StepPayload::None | StepPayload::OutputOf(_) => (None, sh!("_size=0")),
                StepPayload::Bytes(bytes) => match short_text(&bytes.0).filter(|text| room.take(text.len() as u64)) {
                    Some(text) => (None, sh!("_size=text; _text={}", text)),
                    None => (Some(Payload::Bytes(bytes.0.clone())), sh!("_size={}", bytes.0.len())),
                },
                StepPayload::File { path, size, .. } => match short_file(path, *size).filter(|_| room.take(*size)) {
                    Some(text) => (None, sh!("_size=text; _text={}", text)),
                    None => (Some(Payload::File { path: path.clone(), size: *size }), sh!("_size={}", *size)),
                },
            };
            payloads.extend(payload);
            let run = framed(work, at, step, &given);
            script.push(&sh!("if [ -z \"$_failed\" ]; then {}; [ $_r = 0 ] || _failed=1; fi", run));
        }
        for id in &work.marks {
            script.push(&sh!(
                "[ -n \"$_failed\" ] || { [ -d \"$_state/pending\" ] || mkdir -p -m 0700 -- \"$_state/pending\"; echo {} >\"$_state/pending/\"{}; }"
                , shown(id), file_name(id)
            ));
        }
        match &work.settles {
            _ if later.is_some() => {
                script.push(&sh!("_done_{}=; [ -n \"$_failed\" ] || _done_{}=1", work.number, work.number))
            }
            Some(id) => script.push(&sh!("[ -n \"$_failed\" ] || rm -f -- \"$_state/pending/\"{}", file_name(id))),
            None => {}
        }
    }
    // What is only looked at is so whatever became of the works after it.
    for work in works {
        let (_, Some((at, step))) = apart(work) else { continue };
        let settle = match &work.settles {
            Some(id) => sh!("[ $_r != 0 ] || rm -f -- \"$_state/pending/\"{}", file_name(id)),
            None => Script::constant(":"),
        };
        script.push(&sh!(
            "if [ -n \"$_done_{}\" ]; then {}; {}; fi",
            work.number,
            framed(work, at, step, &sh!("_size=0")),
            settle
        ));
    }
    script.push(&Script::constant("_mark verify"));
    script.push(&verify.script);
    script.push(&Script::constant(END_OF_READING));
    (script, payloads)
}

/// Returns the steps of a work that are done in its turn, and the one that looks at the end.
fn apart(work: &Work) -> (impl Iterator<Item = (usize, &Step)>, Option<(usize, &Step)>) {
    let last = work.steps.len().checked_sub(1).and_then(|at| Some((at, work.steps.get(at)?)));
    let later = last.filter(|(_, step)| step.effect == Effect::Looks);
    let now = work.steps.iter().enumerate().take(work.steps.len() - usize::from(later.is_some()));
    (now, later)
}

/// The longest payload that travels within the script, where a builtin of the shell writes it: `dd`, which takes the
/// others off the stream, is a process for each.
const SHORT: usize = 32 * 1024;

/// How much of them one script holds, in bytes: the host's shell keeps all of it in memory.
const SHORT_TOGETHER: u64 = 512 * 1024;

/// What is left of [`SHORT_TOGETHER`].
struct Room(u64);

impl Room {
    /// Takes as many bytes, if there is room for them.
    fn take(&mut self, size: u64) -> bool {
        let left = self.0.checked_sub(size);
        self.0 = left.unwrap_or(self.0);
        left.is_some()
    }
}

/// Returns a short file's text. One that cannot be read, or is not as it was, is sent as the others are, and is
/// refused there.
fn short_file(path: &camino::Utf8Path, size: u64) -> Option<String> {
    if size > SHORT as u64 {
        return None;
    }
    let text = crate::fs::read_to_string(path).ok()?;
    (text.len() as u64 == size && short_text(text.as_bytes()).is_some()).then_some(text)
}

/// Returns a payload as text, where it is short and a shell can hold it.
fn short_text(bytes: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(bytes).ok()?;
    (text.len() <= SHORT && !text.contains('\0')).then_some(text)
}

/// Returns a step between its marks, with what `_payload` gives it; `$_r` is then its status.
fn framed(work: &Work, at: usize, step: &Step, given: &Script) -> Script {
    let errors = match work.errors {
        Errors::WithOutput => Script::constant("2>&1"),
        Errors::Apart => Script::default(),
    };
    // `eval` of quoted text: a syntax error in an author's command fails that step and not the whole script.
    sh!(
        "_mark begin {} {}; {}\n( set -eu; eval {} ) {}; _r=$?\n_mark end {} {} $_r",
        work.number,
        at,
        given.clone(),
        step.script.text(),
        errors,
        work.number,
        at
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_text_travels_in_the_script() {
        assert_eq!(short_text("a'b\n$(c)".as_bytes()), Some("a'b\n$(c)"));
        assert_eq!(short_text(b"a\0b"), None);
        assert_eq!(short_text(b"\xff"), None);
        assert_eq!(short_text(&vec![b'x'; SHORT + 1]), None);
    }
}
