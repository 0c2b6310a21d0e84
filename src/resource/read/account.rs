//! Users and groups: one `getent passwd` for the users asked for, one `getent group` for all groups, one
//! `getent shadow` for those whose password matters.
//!
//! A password's hash stays on the host: what travels is its digest. The hash that is wanted is sent along with its
//! digest, so that no process is needed to see that it is the one that is there.

use std::collections::{BTreeMap, BTreeSet};

use sha2::{Digest, Sha256};

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

/// What is secret of an account, without the secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowState {
    /// `locked`, `empty`, or `sha256:` and the digest of the password's hash.
    pub password: String,
    /// The day on which the account expires, counted from 1970-01-01; none where it does not.
    #[serde(default)]
    pub expires: Option<i64>,
}

/// Returns what [`ShadowState::password`] is for this hash.
pub fn password_digest(hash: &str) -> String {
    let digest: String = Sha256::digest(hash.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{digest}")
}

pub(super) fn shadow_script(users: &BTreeMap<String, Option<String>>) -> Script {
    if users.is_empty() {
        return Script::default();
    }
    let mut known = String::from("\n");
    for (user, hash) in users {
        if let Some(hash) = hash {
            known.push_str(&format!("{user}:{hash} {}\n", password_digest(hash)));
        }
    }
    sh!(
        r#"_known={}
_nl='
'
_mark shadow; getent shadow -- {} | while IFS=: read -r _n _h _ _ _ _ _ _e _; do
  case $_h in
    '') _s=empty;;
    '*'*|'!'*) _s=locked;;
    *) case $_known in
      *"$_nl$_n:$_h "*) _s=${_known#*"$_nl$_n:$_h "}; _s=${_s%%"$_nl"*};;
      *) _s=$(printf %s "$_h" | sha256sum); _s=sha256:${_s%% *};;
    esac;;
  esac
  printf '%s:%s:%s\n' "$_n" "$_e" "$_s"
done || :"#,
        known,
        Script::words(users.keys())
    )
}

pub(super) fn parse_shadow(data: &[u8], shadows: &mut BTreeMap<String, ShadowState>) -> Result<(), ReadError> {
    let text = String::from_utf8_lossy(data);
    for line in text.lines().filter(|line| !line.is_empty()) {
        let mut fields = line.splitn(3, ':');
        let (Some(name), Some(expires), Some(password)) = (fields.next(), fields.next(), fields.next()) else {
            return Err(ReadError::shape(super::SHADOW, "a line without three fields"));
        };
        // Shadow's own habit: an empty field and -1 both mean never.
        let expires = expires.parse().ok().filter(|day| *day >= 0);
        shadows.insert(name.to_owned(), ShadowState { password: password.to_owned(), expires });
    }
    Ok(())
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
