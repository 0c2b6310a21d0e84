//! The shell text of a firewall's change: what keeps the old rules, and what puts the new ones in their place.

use super::ruleset::TABLE;
use crate::change::Guard;
use crate::resource::managed_file::backup_name;
use crate::sh;
use crate::shell::Script;

/// What `nftables.service` loads at boot.
pub(super) const FILE: &str = "/etc/nftables.conf";

/// What loads it.
pub(super) const UNIT: &str = "nftables.service";

/// Writes into `$_into` what brings our table and those of others back as they are now, and refuses where that would not
/// work: a table that iptables made holds rules that `nft` can list and not load.
fn save_tables(others: &[&str]) -> Script {
    let tables: Vec<&str> = std::iter::once(TABLE).chain(others.iter().copied()).collect();
    sh!(
        r#"for _table in {}; do
  printf 'table %s\ndelete table %s\n' "$_table" "$_table"
  nft list table $_table 2>/dev/null || :
done >"$_into/nftables.saved"
nft -c -f "$_into/nftables.saved" >/dev/null || {
  echo 'what is loaded now could not be put back: name its tables in `keep`, or remove them by hand first' >&2
  exit 1
}"#,
        Script::words(tables)
    )
}

/// Loads the file, and removes the tables of others, in one transaction.
pub(super) fn load(others: &[&str]) -> Script {
    let mut script = Script::constant(
        r#"command -v nft >/dev/null || { echo 'the host has no `nft`: install the package `nftables` before' >&2; exit 1; }
[ -d "$_backup" ] || mkdir -p -m 0700 -- "$_backup"
_into=$_backup"#,
    );
    script.push(&sh!("[ -e \"$_into/nftables.saved\" ] || {\n{}\n}", save_tables(others)));
    // A kernel that filters nothing by state follows no connection, and would take the answers of those that are open, this
    // one too, for new ones. It is made to follow them a moment before the rules come.
    script.push(&Script::constant(
        r#"_watch=
nft list ruleset | grep -q 'ct state' || {
  _watch='inet provision_watch'
  nft "add table $_watch; delete table $_watch; table $_watch {
    chain input { type filter hook input priority -10; ct state established accept; }
    chain output { type filter hook output priority -10; ct state established accept; }
  }"
  _mark watching; sleep 1; _mark watched
}"#,
    ));
    script.push(&sh!(
        r#"{
  for _table in "$_watch" {}; do
    [ -z "$_table" ] || printf 'table %s\ndelete table %s\n' "$_table" "$_table"
  done
  cat -- {}
} | nft -f -"#,
        Script::words(others.iter().copied()),
        FILE
    ));
    script
}

/// Loads what `load` has kept.
pub(super) fn load_former() -> Script {
    Script::constant("nft -f \"$_backup/nftables.saved\"")
}

/// Returns what the host saves before a change, and how it goes back by itself.
pub(super) fn guard(others: &[&str]) -> Guard {
    let file = backup_name(FILE);
    let save = Script::constant("_into=$_saved").then(save_tables(others)).then(sh!(
        "_keep {} {}\nsystemctl is-enabled --quiet -- {} 2>/dev/null || : >\"$_saved/nftables.off\"",
        FILE,
        file,
        UNIT
    ));
    let restore = sh!(
        "nft -f \"$_saved/nftables.saved\"\n_restore {} {}\n[ ! -e \"$_saved/nftables.off\" ] || systemctl disable --quiet -- {}",
        FILE,
        file,
        UNIT
    );
    Guard { save, restore }
}
