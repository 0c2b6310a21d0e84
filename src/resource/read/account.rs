//! Users and groups: one `getent passwd` for the users asked for, one `getent group` for all groups.

use std::collections::{BTreeMap, BTreeSet};

use super::ReadError;
use crate::sh;
use crate::shell::Script;

/// A user account. Its password is not read here.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccountState {
    /// The user's number.
    pub uid: u32,
    /// The primary group's name, or number where it has no name.
    pub group: String,
    /// The comment field.
    pub comment: String,
    /// The home folder.
    pub home: String,
    /// The login shell.
    pub shell: String,
    /// The supplementary groups.
    pub groups: BTreeSet<String>,
}

/// A group.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GroupState {
    /// The group's number.
    pub gid: u32,
    /// The users that have it as a supplementary group.
    pub members: BTreeSet<String>,
}

pub(super) fn script(users: &[String], groups_wanted: bool) -> Script {
    let mut script = Script::default();
    if !users.is_empty() {
        script.push(&sh!("_mark passwd; getent passwd -- {} || :", Script::words(users)));
    }
    if groups_wanted || !users.is_empty() {
        script.push(&Script::constant("_mark groups; getent group || :"));
    }
    script
}

pub(super) fn parse_passwd(data: &[u8], users: &mut BTreeMap<String, AccountState>) -> Result<(), ReadError> {
    let text = String::from_utf8_lossy(data);
    for line in text.lines().filter(|line| !line.is_empty()) {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, comment, home, shell] = fields.as_slice() else {
            return Err(ReadError::shape(super::PASSWD, format!("the line {line:?}")));
        };
        let uid = uid.parse().map_err(|_| ReadError::shape(super::PASSWD, format!("the number {uid:?}")))?;
        let state = AccountState {
            uid,
            group: (*gid).to_owned(),
            comment: (*comment).to_owned(),
            home: (*home).to_owned(),
            shell: (*shell).to_owned(),
            groups: BTreeSet::new(),
        };
        users.insert((*name).to_owned(), state);
    }
    Ok(())
}

pub(super) fn parse_groups(
    data: &[u8],
    users: &mut BTreeMap<String, AccountState>,
    groups: &mut BTreeMap<String, GroupState>,
) -> Result<(), ReadError> {
    let text = String::from_utf8_lossy(data);
    for line in text.lines().filter(|line| !line.is_empty()) {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, gid, members] = fields.as_slice() else {
            return Err(ReadError::shape(super::GROUPS, format!("the line {line:?}")));
        };
        let members: BTreeSet<String> = members.split(',').filter(|m| !m.is_empty()).map(str::to_owned).collect();
        for (user, state) in users.iter_mut() {
            if state.group == *gid {
                state.group = (*name).to_owned();
            }
            if members.contains(user) {
                state.groups.insert((*name).to_owned());
            }
        }
        let gid = gid.parse().map_err(|_| ReadError::shape(super::GROUPS, format!("the number {gid:?}")))?;
        groups.insert((*name).to_owned(), GroupState { gid, members });
    }
    Ok(())
}
