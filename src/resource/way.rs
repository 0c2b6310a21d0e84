//! The way in: what on a host decides who can log in there and become root, and how a host takes a change of it back.
//!
//! A kind that can change such a thing hands its change through here. It is then made in a confirm window, and acts before
//! the window is confirmed: a login proves nothing of a setting that sshd has not read yet.

use super::managed_file::backup_name;
use super::spec::HostPath;
use crate::change::{Change, Guard, Reverse, Step};
use crate::sh;
use crate::shell::Script;

/// The units without which nobody gets in.
const UNITS: [&str; 5] =
    ["networking.service", "ssh.service", "ssh.socket", "sshd.service", "systemd-networkd.service"];

/// What decides about logins, by how a path begins, and need not be read again by anybody.
const READ_EACH_TIME: [&str; 11] = [
    "/etc/group",
    "/etc/gshadow",
    "/etc/hosts.allow",
    "/etc/hosts.deny",
    "/etc/network/",
    "/etc/nsswitch.conf",
    "/etc/pam.d",
    "/etc/passwd",
    "/etc/security/access",
    "/etc/shadow",
    "/etc/sudoers",
];

/// Returns a change of what is at `path` as one that a new login must confirm, where it decides about logins.
pub(super) fn guarded(change: Change, path: &HostPath) -> Change {
    let text = path.as_str();
    if change.is_no_op() {
        return change;
    }
    if is_of_sshd(text) {
        return with_reread(change).guarded_by(guard(path, reload_sshd()));
    }
    if let Some(unit) = UNITS.iter().find(|unit| text.starts_with(&format!("/etc/systemd/system/{unit}"))) {
        let after = sh!("systemctl daemon-reload || :\nsystemctl try-restart --no-block -- {} || :", *unit);
        return change.guarded_by(guard(path, after));
    }
    if text.starts_with("/etc/systemd/network") {
        return change.guarded_by(guard(path, Script::constant("networkctl reload 2>/dev/null || :")));
    }
    let is_read_each_time = READ_EACH_TIME.iter().any(|begin| text.starts_with(begin));
    if is_read_each_time || text.ends_with("/.ssh") || text.contains("/.ssh/authorized_keys") {
        return change.guarded_by(guard(path, Script::default()));
    }
    change
}

/// Returns whether sshd reads what is at a path when it starts; it reads the rest of the folder at each login, or never.
fn is_of_sshd(path: &str) -> bool {
    path == "/etc/ssh" || path.starts_with("/etc/ssh/sshd_config") || path.starts_with("/etc/ssh/ssh_host_")
}

fn reload_sshd() -> Script {
    Script::constant("systemctl try-reload-or-restart --no-block ssh.service || :")
}

/// Has sshd read its configuration, and waits until it has.
///
/// It is told by a signal, and lets a login in by what it knew before until it gets to that: such a login would confirm
/// nothing. It has read when the sockets on which it listens are others.
const REREAD: &str = r#"_listens() {
  ss -Hltnpe 2>/dev/null | grep -F "pid=$(systemctl show --property MainPID --value ssh.service)," | grep -o 'ino:[0-9]*' | sort
}
_was=$(_listens) || :
systemctl try-reload-or-restart ssh.service
_left=50
while [ -n "$_was" ] && [ "$_left" -gt 0 ]; do
  _now=$(_listens) || :
  [ -z "$_now" ] || [ "$_now" = "$_was" ] || break
  sleep 0.2; _left=$((_left - 1))
done
[ -z "$_was" ] || [ "$_left" -gt 0 ] || { echo 'sshd has not read its configuration within 10 s' >&2; exit 1; }"#;

/// Has sshd read the change, and its reverse. An sshd that would not start again refuses to read, and the change fails.
fn with_reread(mut change: Change) -> Change {
    change.steps.push(Step::new("have sshd read it", Script::constant(REREAD)));
    if let Reverse::Steps(steps) = &mut change.reverse {
        steps.push(Step::new("have sshd read it", reload_sshd()));
    }
    change
}

/// Returns how a host goes back by itself to what is at `path` now; `after` makes what reads it read it again.
pub(super) fn guard(path: &HostPath, after: Script) -> Guard {
    let name = backup_name(path.as_str());
    Guard { save: sh!("_keep {} {}", path, name), restore: sh!("_restore {} {}", path, name).then(after) }
}

/// Returns how a host goes back by itself to what the reverse of a change says; `save` keeps what the reverse puts back.
pub(super) fn guard_by_reverse(change: &Change, save: Script) -> Option<Guard> {
    let Reverse::Steps(steps) = &change.reverse else { return None };
    let mut restore = Script::default();
    for step in steps {
        restore.push(&sh!("(\n{}\n)", step.script.clone()));
    }
    Some(Guard { save, restore })
}

/// Returns a change of a unit's state as one that a new login must confirm, where nobody gets in without the unit.
pub(super) fn guarded_unit(change: Change, unit: &str) -> Change {
    if change.is_no_op() || !UNITS.contains(&unit) {
        return change;
    }
    let save = sh!(
        r#"systemctl is-enabled -- {} >"$_saved/{}.enabled" 2>/dev/null || :
if systemctl is-active --quiet -- {}; then : >"$_saved/{}.active"; fi"#,
        unit,
        unit,
        unit,
        unit
    );
    // At boot nothing may wait for the unit: what it waits for itself may come later.
    let restore = sh!(
        r#"_was=; read -r _was <"$_saved/{}.enabled" || :
[ "$_was" = masked ] || systemctl unmask --quiet -- {}
case $_was in
  enabled) systemctl enable --quiet -- {} ;;
  disabled) systemctl disable --quiet -- {} ;;
  masked) systemctl mask --quiet -- {} ;;
esac
if [ -e "$_saved/{}.active" ]; then systemctl start --no-block -- {}; else systemctl stop --no-block -- {}; fi"#,
        unit,
        unit,
        unit,
        unit,
        unit,
        unit,
        unit,
        unit
    );
    change.guarded_by(Guard { save, restore })
}
