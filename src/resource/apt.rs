//! How apt is called: without questions, without unauthenticated packages, and with an error that says what to do.
//!
//! What `package` and `apt.repository` have in common; neither knows the other. A repository's change leaves
//! [`STALE`] where the package lists must be fetched anew before the next installation.

use std::cmp::Ordering;

use crate::sh;
use crate::shell::Script;

/// A mark on the host: the package lists are older than the repositories.
pub(super) const STALE: &str = "/var/lib/provision/apt-stale";

/// Returns the functions that the scripts of apt's kinds use.
///
/// - `_apt ARGUMENTS...` runs apt-get and leaves its output in `$_log`. It waits for another apt's locks: apt itself
///   waits for dpkg's lock only, not for those of the lists and of the downloaded archives.
/// - `_update` fetches all package lists, `_lists` does where that is due.
/// - `_sorry WHAT` prints what apt said and what can be done about it, and ends the script.
///
/// A name is a name: without `Pattern-Only`, `python3.1` would be searched as a regular expression too.
/// apt writes to a file and not into a pipe: a package's script may leave a daemon behind that never closes it.
pub(super) fn functions() -> Script {
    sh!(
        r#"export DEBIAN_FRONTEND=noninteractive APT_LISTCHANGES_FRONTEND=none UCF_FORCE_CONFFOLD=1 LC_ALL=C.UTF-8; umask 022
_stale={}; _updated=no
_log=$(mktemp -- /run/provision-apt.XXXXXXXXXX); trap 'rm -f -- "$_log"' EXIT
_apt() {
  _until=$(($(date +%s) + 120))
  while :; do
    _status=0
    apt-get -q -y -o DPkg::Lock::Timeout=120 -o Dpkg::Options::=--force-confold -o Dpkg::Use-Pty=0 \
      -o APT::Cmd::Pattern-Only=true "$@" >"$_log" 2>&1 || _status=$?
    [ "$_status" -ne 0 ] || return 0
    grep -q -e 'Could not get lock' -e 'Unable to lock' -- "$_log" || return "$_status"
    [ "$(date +%s)" -lt "$_until" ] || return "$_status"
    sleep 2
  done
}
_update() {
  _updated=yes
  if _apt update; then rm -f -- "$_stale"; else tail -n 20 -- "$_log" >&2; fi
}
_lists() {
  for _list in /var/lib/apt/lists/*_Packages* ""; do [ ! -e "$_list" ] || break; done
  if [ -z "$_list" ] || [ -e "$_stale" ]; then _update; fi
}
_sorry() {
  tail -n 40 -- "$_log" >&2
  echo "$1" >&2
  case ,$(findmnt -n -o OPTIONS -T /var/lib/dpkg/info 2>/dev/null || :), in
    *,noexec,*) if grep -q -e 'Permission denied' -e 'cannot execute' -- "$_log"; then
      echo 'the file system of /var/lib/dpkg/info is mounted noexec, and packages run their scripts from there: remount it with exec while packages change' >&2
    fi;;
  esac
  if grep -q 'Held packages were changed' -- "$_log"; then
    echo 'a package is held on the host: say `hold: false` or `hold: true` in the task to let it change' >&2
  fi
  if grep -q 'dpkg was interrupted' -- "$_log"; then
    echo 'another run of dpkg was cut short meanwhile: plan again, the repair is then a step of its own' >&2
  fi
  exit 1
}"#,
        STALE
    )
}

/// Returns the script that marks the package lists as older than the repositories, because of `whom`.
pub(super) fn mark_stale(whom: &str) -> Script {
    sh!(
        r#"if [ ! -e {} ]; then
  [ -d /var/lib/provision ] || mkdir -p -m 0700 /var/lib/provision
  echo {} >{}
fi"#,
        STALE,
        whom,
        STALE
    )
}

/// Compares two versions as dpkg does.
pub(super) fn compare_versions(a: &str, b: &str) -> Ordering {
    let split = |version: &str| -> (u64, String, String) {
        let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        (epoch.parse().unwrap_or(0), upstream.to_owned(), revision.to_owned())
    };
    let (a, b) = (split(a), split(b));
    a.0.cmp(&b.0).then_with(|| compare_parts(&a.1, &b.1)).then_with(|| compare_parts(&a.2, &b.2))
}

/// Compares runs of non-digits and runs of digits by turns.
fn compare_parts(a: &str, b: &str) -> Ordering {
    // `~` sorts before the end, the end before letters, letters before all else.
    let weight = |byte: Option<&u8>| match byte {
        Some(b'~') => -1,
        None | Some(b'0'..=b'9') => 0,
        Some(letter) if letter.is_ascii_alphabetic() => i32::from(*letter),
        Some(other) => i32::from(*other) + 256,
    };
    let (mut a, mut b) = (a.as_bytes(), b.as_bytes());
    while !a.is_empty() || !b.is_empty() {
        loop {
            let is_word = |text: &[u8]| text.first().is_some_and(|byte| !byte.is_ascii_digit());
            if !is_word(a) && !is_word(b) {
                break;
            }
            let order = weight(a.first()).cmp(&weight(b.first()));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (a.get(1..).unwrap_or_default(), b.get(1..).unwrap_or_default());
        }
        let (number_a, rest_a) = take_number(a);
        let (number_b, rest_b) = take_number(b);
        let order = number_a.len().cmp(&number_b.len()).then_with(|| number_a.cmp(number_b));
        if order != Ordering::Equal {
            return order;
        }
        (a, b) = (rest_a, rest_b);
    }
    Ordering::Equal
}

/// Returns the digits at the start without leading zeros, and the rest.
fn take_number(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len());
    let (digits, rest) = text.split_at(end);
    let start = digits.iter().position(|byte| *byte != b'0').unwrap_or(digits.len());
    (digits.get(start..).unwrap_or_default(), rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_dpkg_orders_them() {
        let ascending = [
            "1.0~rc1-1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1.1",
            "1.0a-1",
            "1.0+dfsg-1",
            "1.2.9-1",
            "1.2.10-1",
            "2-0",
            "1:0.1-1",
        ];
        for (at, a) in ascending.iter().enumerate() {
            for (other, b) in ascending.iter().enumerate() {
                assert_eq!(compare_versions(a, b), at.cmp(&other), "{a} {b}");
            }
        }
        assert_eq!(compare_versions("1.00", "1.0"), Ordering::Equal);
    }
}
