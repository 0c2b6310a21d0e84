//! systemd units: one `systemctl show` for all.

use std::collections::BTreeMap;

use super::ReadError;
use crate::sh;
use crate::shell::Script;

/// What systemd knows of a unit.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitState {
    /// `loaded`, `not-found`, `masked`, ...
    pub load: String,
    /// `active`, `inactive`, `failed`, `activating`, ...
    pub active: String,
    /// The finer state: `running`, `exited`, `auto-restart`, ...
    #[serde(default)]
    pub sub: String,
    /// `enabled`, `disabled`, `static`, `masked`, `alias`, ...; empty for a unit without a file.
    pub file: String,
    /// Whether the file on disk is newer than what systemd has loaded.
    #[serde(default)]
    pub needs_reload: bool,
}

pub(super) fn script(names: &[String]) -> Script {
    if names.is_empty() {
        return Script::default();
    }
    sh!(
        "_mark units; systemctl show -p LoadState -p ActiveState -p SubState -p UnitFileState -p NeedDaemonReload -- {} 2>/dev/null || :",
        Script::words(names)
    )
}

/// Reads one block for each unit, in the order they were asked for, with an empty line between two.
pub(super) fn parse(data: &[u8], names: &[String], units: &mut BTreeMap<String, UnitState>) -> Result<(), ReadError> {
    let text = String::from_utf8_lossy(data);
    let blocks: Vec<&str> = text.split("\n\n").map(str::trim).filter(|block| !block.is_empty()).collect();
    if blocks.is_empty() {
        return Ok(());
    }
    if blocks.len() != names.len() {
        return Err(ReadError::shape(
            super::UNITS,
            format!("{} blocks for {} units; is systemd running there?", blocks.len(), names.len()),
        ));
    }
    for (name, block) in names.iter().zip(blocks) {
        let mut state = UnitState::default();
        for line in block.lines() {
            match line.split_once('=') {
                Some(("LoadState", value)) => state.load = value.to_owned(),
                Some(("ActiveState", value)) => state.active = value.to_owned(),
                Some(("SubState", value)) => state.sub = value.to_owned(),
                Some(("UnitFileState", value)) => state.file = value.to_owned(),
                Some(("NeedDaemonReload", value)) => state.needs_reload = value == "yes",
                _ => {}
            }
        }
        units.insert(name.clone(), state);
    }
    Ok(())
}
