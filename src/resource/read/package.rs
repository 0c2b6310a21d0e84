//! Packages: one `dpkg-query` for all.

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
        "_mark packages; dpkg-query -W -f='${binary:Package}\\t${db:Status-Abbrev}\\t${Version}\\n' {} 2>/dev/null || :",
        Script::words(names)
    )
}

pub(super) fn parse(data: &[u8], packages: &mut BTreeMap<String, PackageState>) -> Result<(), ReadError> {
    let text = String::from_utf8_lossy(data);
    for line in text.lines().filter(|line| !line.is_empty()) {
        let mut fields = line.split('\t');
        let (Some(name), Some(status), Some(version)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(ReadError::shape(super::PACKAGES, format!("the line {line:?}")));
        };
        // dpkg-query answers `libc6:amd64` for a package that may be there for several architectures.
        let plain = name.split(':').next().unwrap_or(name);
        let installed = status.as_bytes().get(1) == Some(&b'i');
        let state = PackageState {
            installed,
            version: version.to_owned(),
            held: status.starts_with('h'),
            status: status.to_owned(),
        };
        if plain != name {
            packages.insert(name.to_owned(), state.clone());
        }
        packages.insert(plain.to_owned(), state);
    }
    Ok(())
}
