//! Packages: one `dpkg-query` for all, and one `apt-cache policy` for those that are to be the latest.

use std::collections::BTreeMap;

use super::ReadError;
use crate::sh;
use crate::shell::Script;

/// What dpkg knows of a package.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PackageState {
    /// Whether it is installed and configured.
    pub installed: bool,
    /// The version; empty where only configuration files are left.
    pub version: String,
    /// Whether it is held at its version.
    pub held: bool,
    /// dpkg's own three letters, such as `ii `, or `iF ` for half-configured.
    pub status: String,
}

pub(super) fn script(names: &[String]) -> Script {
    if names.is_empty() {
        return Script::default();
    }
    sh!(
        "_mark packages; dpkg-query -W -f='${Package}\\t${Architecture}\\t${db:Status-Abbrev}\\t${Version}\\n' {} 2>/dev/null || :",
        Script::words(names)
    )
}

pub(super) fn parse(data: &[u8], packages: &mut BTreeMap<String, PackageState>) -> Result<(), ReadError> {
    let text = String::from_utf8_lossy(data);
    for line in text.lines().filter(|line| !line.is_empty()) {
        let mut fields = line.split('\t');
        let (Some(name), Some(architecture), Some(status), Some(version)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(ReadError::shape(super::PACKAGES, format!("the line {line:?}")));
        };
        let installed = status.as_bytes().get(1) == Some(&b'i');
        let state = PackageState {
            installed,
            version: version.to_owned(),
            held: status.starts_with('h'),
            status: status.to_owned(),
        };
        if !architecture.is_empty() {
            packages.insert(format!("{name}:{architecture}"), state.clone());
        }
        // A package may be there for several architectures: without one, the installed one is meant.
        if !packages.get(name).is_some_and(|known| known.installed) {
            packages.insert(name.to_owned(), state);
        }
    }
    Ok(())
}

pub(super) fn candidate_script(names: &[String]) -> Script {
    if names.is_empty() {
        return Script::default();
    }
    // Without the table of versions, which is long.
    sh!(
        "_mark candidates; LC_ALL=C apt-cache policy {} 2>/dev/null | grep -e '^[^ ]' -e '^  Candidate: ' || :",
        Script::words(names)
    )
}

pub(super) fn parse_candidates(data: &[u8], candidates: &mut BTreeMap<String, String>) -> Result<(), ReadError> {
    let text = String::from_utf8_lossy(data);
    let mut name = None;
    for line in text.lines() {
        match (line.strip_prefix("  Candidate: "), name) {
            (Some("(none)"), _) => {}
            (Some(version), Some(package)) => {
                candidates.insert(str::to_owned(package), version.to_owned());
            }
            (Some(_), None) => return Err(ReadError::shape(super::CANDIDATES, format!("the line {line:?}"))),
            (None, _) => name = line.strip_suffix(':'),
        }
    }
    Ok(())
}
