//! How systemd's kinds speak to it: names of units, reloading what changed on disk, and waiting until a start held.

use super::SpecProblem;
use crate::change::Step;
use crate::sh;
use crate::shell::Script;

/// Where the administrator's own units are.
pub(super) const UNITS: &str = "/etc/systemd/system";

const SUFFIXES: [&str; 9] =
    [".service", ".socket", ".mount", ".automount", ".swap", ".target", ".path", ".timer", ".slice"];

/// Returns whether the name ends as a unit's does.
pub(super) fn has_suffix(name: &str) -> bool {
    SUFFIXES.iter().any(|suffix| name.len() > suffix.len() && name.ends_with(suffix))
}

/// Returns whether the name is that of a template, of which only instances (`name@instance.service`) run.
pub(super) fn is_template(unit: &str) -> bool {
    unit.contains("@.")
}

/// Returns what is wrong with a unit's name. One wrong name would cost the answers on all units.
pub(super) fn check_name(field: &'static str, name: &str) -> Option<SpecProblem> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let is_name = !name.is_empty()
        && name.len() <= 255
        && !name.starts_with(['-', '.', '@'])
        && name.chars().all(is_plain)
        && name.matches('@').count() <= 1;
    if is_name {
        return None;
    }
    let problem = SpecProblem::new(field, format!("{name:?} is not the name of a systemd unit"));
    Some(problem.help("a name has letters, digits and `:-_.\\@`; `systemd-escape` turns other text into a name"))
}

/// Returns the step that has systemd read the unit files again.
pub(super) fn reload_step() -> Step {
    Step::new("have systemd read its unit files again", Script::constant("systemctl daemon-reload"))
}

/// Returns the function that has systemd read a unit's file again where it changed since.
pub(super) fn fresh_function() -> Script {
    Script::constant(
        r#"_fresh() {
  case $(systemctl show -p NeedDaemonReload --value -- "$1") in yes) systemctl daemon-reload;; esac
}"#,
    )
}

/// Returns the steps that do `verb` (`start`, `restart`) to a unit and look whether the unit holds.
///
/// `systemctl start` is satisfied once a simple service is forked, also where it dies a moment later; so such a
/// service must have held for a second. The others report by themselves when they are ready.
pub(super) fn start_steps(verb: &'static str, unit: &str, title: String) -> Vec<Step> {
    let start = failure_function(unit).then(fresh_function()).then(sh!(
        "_fresh \"$_unit\"\nsystemctl {} -- \"$_unit\" || _fail 'did not {}'",
        Script::constant(verb),
        Script::constant(verb)
    ));
    let looks = format!("see that {unit} holds");
    vec![Step::new(title, start), Step::new(looks, failure_function(unit).then(hold_script())).that_looks()]
}

/// Defines `_fail WHY`, which tells what systemd and the journal say of the unit.
fn failure_function(unit: &str) -> Script {
    sh!(
        r#"_unit={}
_fail() {
  echo "$_unit $1; systemd and the journal say:" >&2
  systemctl status --full --no-pager --lines=0 -- "$_unit" >&2 || :
  journalctl --quiet --no-pager --lines=20 --unit="$_unit" >&2 || :
  exit 1
}"#,
        unit
    )
}

/// Looks at a unit that was started until it is known to hold. `ActiveEnterTimestampMonotonic` and `/proc/uptime` are
/// on one clock, as both count from the boot.
fn hold_script() -> Script {
    Script::constant(
        r#"_look=0
while :; do
  _type=; _active=; _sub=; _result=; _since=0
  _show=$(systemctl show -p Type -p ActiveState -p SubState -p Result -p ActiveEnterTimestampMonotonic -- "$_unit")
  while IFS='=' read -r _key _value; do
    case $_key in
      Type) _type=$_value;; ActiveState) _active=$_value;; SubState) _sub=$_value;; Result) _result=$_value;;
      ActiveEnterTimestampMonotonic) _since=$_value;;
    esac
  done <<_END
$_show
_END
  case $_active.$_sub in
    active.*|reloading.*|activating.start*|activating.auto-restart)
      if [ "$_sub" = auto-restart ]; then _fail 'started and ended, and systemd starts it again and again'; fi;;
    failed.*) _fail "started and failed ($_result)";;
    *) if [ "$_type" = oneshot ] && [ "$_result" = success ]; then
        echo "$_unit ran and ended, as a service of type oneshot does; leave out its \`state\`, or give it a timer" >&2
        exit 1
      fi
      _fail "started and is now $_active ($_sub)";;
  esac
  case $_type in simple|exec|idle) ;; *) break;; esac
  read -r _up _ </proc/uptime
  [ $((${_up%.*} * 1000 + 10 * (1${_up#*.} - 100) - ${_since:-0} / 1000)) -lt 1000 ] || break
  _look=$((_look + 1))
  [ "$_look" -lt 8 ] || break
  sleep 0.25
done"#,
    )
}

/// Returns a command that a new unit file (`%`) must pass, for [`ManagedFile`](super::managed_file::ManagedFile).
///
/// `systemd-analyze verify` also complains of what is beside the point: a unit that is needed and not there yet, a
/// program that a later task installs. What counts is what it says of this file's lines, and what makes systemd
/// refuse the unit.
pub(super) fn verify_command(unit: &str, dropin: Option<&str>) -> String {
    let folder = dropin.map_or_else(String::new, |_| format!("/{unit}.d"));
    let file = dropin.map_or_else(|| unit.to_owned(), |dropin| format!("{unit}.d/{dropin}.conf"));
    // No `%` but the one: it stands for the new file wherever it is written.
    let script = sh!(
        r#"if command -v systemd-analyze >/dev/null; then
  _check=$(mktemp -d); _file="$_check"/{}
  mkdir -p -- "$_check"{}; cp -- % "$_file"
  _said=$(SYSTEMD_UNIT_PATH="$_check:" LC_ALL=C systemd-analyze verify --man=no -- {} 2>&1) || :
  rm -rf -- "$_check"
  _bad=0
  while read -r _line; do
    case $_line in
      "$_file":*) _bad=1; echo {}"${_line#"$_file"}" >&2;;
      {}:*Refusing.) _bad=1; echo "$_line" >&2;;
    esac
  done <<_END
$_said
_END
  [ "$_bad" -eq 0 ]
fi"#,
        file,
        folder,
        unit,
        file,
        unit
    );
    script.text().to_owned()
}
