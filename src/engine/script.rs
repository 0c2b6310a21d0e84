//! The shell text around the kinds' own: the host's lock, its pending refreshes, backups, and the frame of a step.
//!
//! Everything that is kept on a host is in one folder, `/var/lib/provision`: `lock`, `pending/`, `backup/RUN/`.

use super::job::{Errors, Lock, Questions, Window, Work};
use crate::addr::{ResourceId, RunId};
use crate::change::{Action, Effect, Step, StepPayload};
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

/// Takes the host's lock over from a session of the same run, `_take_over INFO`.
const TAKE_OVER: &str = r#"_take_over() {
  mkdir -p -m 0700 -- "$_state"
  _boot=$(cat /proc/sys/kernel/random/boot_id 2>/dev/null) || _boot=none
  echo "$$ $(_since_boot $$) $_boot $1" >"$_state/lock"
}"#;

/// Takes back what a run that died has left unconfirmed, so that nothing is read that is about to go.
const TAKE_BACK: &str = r#"if [ -e "$_state/window/armed" ] || [ -e "$_state/window/restoring" ]; then
  systemctl stop provision-window.timer 2>/dev/null || :
  sh "$_state/window/restore" >/dev/null 2>&1 || :
fi"#;

/// Opens a confirm window: `_open_window SECONDS`, with what is to be saved in `_save` and what restores it in `_restore_all`.
///
/// A timer of systemd ends it. A unit that is enabled for the boot ends it too, because a timer does not outlive a reboot.
/// Whoever renames `armed` first decides: `restore` or the confirmation.
const OPEN_WINDOW: &str = r#"_window="$_state/window"
_open_window() (
  set -eu
  command -v systemd-run >/dev/null || { echo 'the host has no `systemd-run`, which would take the change back' >&2; exit 1; }
  systemctl stop provision-window.timer 2>/dev/null || :
  rm -rf -- "$_window"
  mkdir -p -m 0700 -- "$_window/saved"
  _saved="$_window/saved"; _backup=$_saved
  eval "$_save"
  printf '%s\n' "_state='$_state'; _saved='$_saved'; _backup='$_saved'" "$_tools" "$_restore_all" >"$_window/restore"
  cat >/etc/systemd/system/provision-window-boot.service <<EOF
[Unit]
Description=Take back a change that nobody has confirmed
DefaultDependencies=no
RequiresMountsFor=$_window
After=local-fs.target
Before=nftables.service network-pre.target sysinit.target
ConditionPathExists=|$_window/armed
ConditionPathExists=|$_window/restoring

[Service]
Type=oneshot
ExecStart=/bin/sh $_window/restore

[Install]
WantedBy=sysinit.target
EOF
  mkdir -p /etc/systemd/system/sysinit.target.wants
  ln -sf ../provision-window-boot.service /etc/systemd/system/sysinit.target.wants/provision-window-boot.service
  : >"$_window/armed"
  # What was saved, too: after a power cut an empty file would be put back.
  sync -f -- "$_window" /etc/systemd/system
  systemd-run --quiet --collect --unit=provision-window --on-active="$1" --timer-property=AccuracySec=100ms \
    /bin/sh "$_window/restore"
)"#;

/// Ends a restoring: begins it where nobody else decided first.
const RESTORE_HEAD: &str = r#"_window="$_state/window"
mv "$_window/armed" "$_window/restoring" 2>/dev/null || [ -e "$_window/restoring" ] || exit 0
_bad="#;

const RESTORE_TAIL: &str = r#"sync -f -- "$_window" /etc /home /root 2>/dev/null || :
rm -f /etc/systemd/system/sysinit.target.wants/provision-window-boot.service /etc/systemd/system/provision-window-boot.service
if [ -z "$_bad" ]; then mv "$_window/restoring" "$_window/restored"; else mv "$_window/restoring" "$_window/failed"; fi
sync -- "$_window""#;

/// Waits for the end of what is done in the window, and confirms it; says how it stands.
const CONFIRM: &str = r#"_window="$_state/window"
_n=0
while [ -e "$_window/armed" ] && [ ! -e "$_window/done" ] && [ $_n -lt 600 ]; do sleep 0.1; _n=$((_n+1)); done
if [ -e "$_window/done" ] && mv "$_window/armed" "$_window/confirmed" 2>/dev/null; then
  systemctl stop provision-window.timer 2>/dev/null || :
  rm -f /etc/systemd/system/sysinit.target.wants/provision-window-boot.service /etc/systemd/system/provision-window-boot.service
fi
_n=0
while [ -e "$_window/restoring" ] && [ $_n -lt 300 ]; do sleep 0.1; _n=$((_n+1)); done
[ ! -e "$_window/ends" ] || while read -r _l; do _mark ended $_l; done <"$_window/ends"
for _s in confirmed restored failed armed restoring; do
  [ ! -e "$_window/$_s" ] || { _mark window $_s; break; }
done
case $_s in confirmed|restored) rm -rf -- "$_window";; esac"#;

/// Says that all was read: a reading that ends before it would take for absent what it did not come to.
const END_OF_READING: &str = "_mark read";

/// Defines what kinds' scripts use: `_payload`, `_keep` and `_restore`.
const STEP_TOOLS: &str = r#"_payload() {
  [ "$_size" = text ] || { _take "$_size"; return; }
  # The builtin does not say why it could not write; `cat` does.
  printf %s "$_given" 2>/dev/null || { printf %s "$_given" | cat; return 1; }
}
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
        script.push(&sh!("_lock {}", info(lock)));
        script.push(&Script::constant(TAKE_BACK));
    }
    script.push(&Script::constant(PENDING));
    script.push(&questions.script);
    script.push(&Script::constant(END_OF_READING));
    script
}

/// Returns what marks on the host that a work's notified resources are to be refreshed.
fn marks(work: &Work) -> Script {
    let mut script = Script::default();
    for id in &work.marks {
        script.push(&sh!(
            "[ -n \"$_failed\" ] || { [ -d \"$_state/pending\" ] || mkdir -p -m 0700 -- \"$_state/pending\"; echo {} >\"$_state/pending/\"{}; }"
            , shown(id), file_name(id)
        ));
    }
    script
}

/// Returns the script that does some works and reads what they changed, and what the steps take from the stream.
///
/// In a window it ends without reading: that is for the session that confirms.
pub(super) fn apply(
    run: &RunId,
    works: &[Work],
    verify: &Questions,
    window: Option<&Window>,
) -> (Script, Vec<Payload>) {
    let mut script = Script::constant(STATE);
    script.push(&sh!("_run={}; _backup=\"$_state/backup/$_run\"", run.as_str()));
    script.push(&Script::constant(STEP_TOOLS));
    if let Some(window) = window {
        script.push(&open_window(works, window));
    }
    let mut payloads = Vec::new();
    let mut room = Room(SHORT_TOGETHER);
    for work in works {
        let (now, later) = apart(work);
        if work.action == Action::Run {
            // What runs may be cut off in its midst, and nothing would show afterwards that it had begun.
            script.push(&marks(work));
        }
        for (at, step) in now {
            let (payload, given) = match &step.payload {
                StepPayload::None | StepPayload::OutputOf(_) => (None, sh!("_size=0")),
                StepPayload::Bytes(bytes) => match short_text(&bytes.0).filter(|text| room.take(text.len() as u64)) {
                    Some(text) => (None, sh!("_size=text; _given={}", text)),
                    None => (Some(Payload::Bytes(bytes.0.clone())), sh!("_size={}", bytes.0.len())),
                },
                StepPayload::File { path, size, .. } => match short_file(path, *size).filter(|_| room.take(*size)) {
                    Some(text) => (None, sh!("_size=text; _given={}", text)),
                    None => (Some(Payload::File { path: path.clone(), size: *size }), sh!("_size={}", *size)),
                },
            };
            payloads.extend(payload);
            let run = framed(work, at, step, &given, window);
            script.push(&sh!("if [ -z \"$_failed\" ]; then {}; [ $_r = 0 ] || _failed=1; fi", run));
        }
        if work.action != Action::Run {
            script.push(&marks(work));
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
            Some(id) => sh!("if [ $_r = 0 ]; then rm -f -- \"$_state/pending/\"{}; else _failed=1; fi", file_name(id)),
            None => Script::constant("[ $_r = 0 ] || _failed=1"),
        };
        script.push(&sh!(
            "if [ -n \"$_done_{}\" ]; then {}; {}; fi",
            work.number,
            framed(work, at, step, &sh!("_size=0"), window),
            settle
        ));
    }
    if window.is_some() {
        // What failed in part is taken back at once.
        script.push(&Script::constant(
            r#"if [ -z "$_failed" ]; then : >"$_window/done"
elif [ -e "$_window/armed" ]; then
  systemctl stop provision-window.timer 2>/dev/null || :
  sh "$_window/restore"
fi"#,
        ));
    } else {
        script.push(&Script::constant("_mark verify"));
        script.push(&verify.script);
    }
    script.push(&Script::constant(END_OF_READING));
    (script, payloads)
}

/// Returns the script that saves what the works could lose, and has the host go back by itself.
fn open_window(works: &[Work], window: &Window) -> Script {
    let guards: Vec<_> = works.iter().filter_map(|work| work.guard.as_ref()).collect();
    let mut save = Script::default();
    let mut restore = Script::constant(RESTORE_HEAD);
    for guard in &guards {
        save.push(&guard.save);
    }
    // What came last goes first.
    for guard in guards.iter().rev() {
        restore.push(&sh!("( set -eu\n{}\n); [ $? = 0 ] || _bad=1", guard.restore));
    }
    restore.push(&Script::constant(RESTORE_TAIL));
    let mut script = sh!("_save={}; _restore_all={}; _tools={}", save.text(), restore.text(), STEP_TOOLS);
    script.push(&Script::constant(OPEN_WINDOW));
    script.push(&sh!("_open_window {} 2>&1 || { _failed=1; _mark window closed; }", format!("{}s", window.seconds)));
    script
}

/// Returns the script with which a new session confirms a window, takes over the lock and reads what was changed.
pub(super) fn confirm(lock: &Lock, verify: &Questions) -> Script {
    let mut script = Script::constant(STATE);
    script.push(&Script::constant(LOCK));
    script.push(&Script::constant(TAKE_OVER));
    script.push(&sh!("_take_over {}", info(lock)));
    script.push(&Script::constant(CONFIRM));
    script.push(&Script::constant("_mark verify"));
    script.push(&verify.script);
    script.push(&Script::constant(END_OF_READING));
    script
}

fn info(lock: &Lock) -> String {
    format!("{} {} {}", lock.owner, lock.run, lock.since)
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

/// Returns a step between its marks, with what `_payload` gives it; `$_r` is then its status. Within a window the host
/// notes it too, for the session that confirms.
fn framed(work: &Work, at: usize, step: &Step, given: &Script, window: Option<&Window>) -> Script {
    let noted = match window {
        Some(_) => sh!("echo \"{} {} $_r\" >>\"$_window/ends\"; ", work.number, at),
        None => Script::default(),
    };
    let errors = match work.errors {
        Errors::WithOutput => Script::constant("2>&1"),
        Errors::Apart => Script::default(),
    };
    // `eval` of quoted text: a syntax error in an author's command fails that step and not the whole script.
    sh!(
        "_mark begin {} {}; {}\n( set -eu; eval {} ) {}; _r=$?\n{}_mark end {} {} $_r",
        work.number,
        at,
        given.clone(),
        step.script.text(),
        errors,
        noted,
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
