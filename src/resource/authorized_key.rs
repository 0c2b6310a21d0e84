//! `authorized_key`: the SSH keys by which a user may log in.
//!
//! The folder is the user's own, so a link in it may lead anywhere: root only enters it and makes it the user's, and
//! the file is read and written as the user. Where the home is, is known on the host only: an earlier task of the
//! same run may make the user.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_STANDARD_NO_PAD};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::managed_file::backup_name;
use super::read::{Answers, Query, Want};
use super::spec::{HostPath, Presence};
use super::text_edit::{WhenMissing, edit_backup, edit_script, observed_text, restore_edit};
use super::{Kind, ObserveError, SpecProblem, way};
use crate::change::{Action, AttributeChange, Attributes, Change, Guard, Shown, Step};
use crate::sh;
use crate::shell::Script;

/// SSH keys by which a user may log in. They are compared by type and key; comments may differ.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AuthorizedKey {
    /// The user, who may be made earlier in the same run.
    user: String,
    /// One public key, `ssh-ed25519 AAAA... comment`. Several such tasks may give one user several keys.
    #[serde(default)]
    key: Option<String>,
    /// Public keys, each as `key` has it.
    #[serde(default)]
    keys: Vec<String>,
    /// What stands before the keys, such as `from="10.0.0.0/8",restrict`. If not given, options that are there stay.
    #[serde(default)]
    options: Option<String>,
    /// Whether all other keys of the user are removed. The plan names each.
    #[serde(default)]
    exclusive: bool,
    /// The file, where it is not `.ssh/authorized_keys` in the user's home. It is root's, and all may read it.
    #[serde(default)]
    path: Option<HostPath>,
    /// Whether the keys are to be there.
    #[serde(default)]
    state: Presence,
    /// Whether the run itself logs in as this user.
    #[serde(skip)]
    is_login: bool,
}

/// The public keys' types that sshd of Debian 12 accepts.
const TYPES: [&str; 7] = [
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
];

/// A key of the specification or a line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    options: String,
    kind: String,
    /// The key itself, in base64: what a key is known by.
    blob: String,
    comment: String,
    line: String,
}

impl Key {
    /// Returns the key in a line of the file; `None` where the line has none. The step's `awk` program does the same.
    fn parse(line: &str) -> Option<Self> {
        let line = line.trim_end_matches(['\r', '\n']);
        let text = line.trim_matches([' ', '\t']);
        let is_type =
            |word: &str| ["ssh-", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"].iter().any(|start| word.starts_with(start));
        let split = |text: &str| {
            let mut words = text.split([' ', '\t']).filter(|word| !word.is_empty());
            let (kind, blob) = (words.next()?.to_owned(), words.next()?.to_owned());
            (is_type(&kind) && blob.starts_with("AAAA")).then_some((kind, blob))
        };
        let options_end = options_end(text);
        let (options, rest) = match split(text) {
            Some(_) => ("", text),
            None => (text.get(..options_end)?, text.get(options_end..)?),
        };
        let (kind, blob) = split(rest)?;
        let comment = rest.get(rest.find(&blob)? + blob.len()..)?.trim().to_owned();
        Some(Self { options: options.to_owned(), kind, blob, comment, line: line.to_owned() })
    }

    /// Returns what is wrong with a key of the specification.
    fn problem(text: &str) -> Option<String> {
        if text.contains(['\n', '\r']) {
            return Some("a key has a line break in it".to_owned());
        }
        let shown: String = text.chars().take(40).collect();
        let Some(key) = Self::parse(text) else {
            return Some(format!("{shown:?} is no public key, which is written `ssh-ed25519 AAAA... comment`"));
        };
        if !key.options.is_empty() {
            return Some(format!("{:?} stands before a key; it belongs into `options`", key.options));
        }
        if !TYPES.contains(&key.kind.as_str()) {
            return Some(format!("sshd accepts no key of the type {}", key.kind));
        }
        let bytes = BASE64_STANDARD.decode(&key.blob).unwrap_or_default();
        let inner = bytes.get(4..4 + key.kind.len());
        if bytes.len() < 32 || inner != Some(key.kind.as_bytes()) {
            return Some(format!("{shown:?}... is cut off or damaged: what is in it is no {} key", key.kind));
        }
        None
    }

    fn fingerprint(&self) -> String {
        let bytes = BASE64_STANDARD.decode(&self.blob).unwrap_or_else(|_| self.blob.as_bytes().to_vec());
        format!("SHA256:{}", BASE64_STANDARD_NO_PAD.encode(Sha256::digest(bytes)))
    }

    /// Returns the key as a plan shows it.
    fn shown(&self) -> Shown {
        let words = [self.options.as_str(), &self.kind, &self.comment];
        let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
        Shown::Value(json!(words.join(" ")))
    }
}

/// Returns where the options at the start of a line end: at the first blank outside quotes.
fn options_end(text: &str) -> usize {
    let (mut is_quoted, mut is_escaped) = (false, false);
    for (at, c) in text.char_indices() {
        match c {
            '"' if !is_escaped => is_quoted = !is_quoted,
            ' ' | '\t' if !is_quoted => return at,
            _ => {}
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    text.len()
}

/// The mode and owner of a file or folder.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Permissions {
    mode: String,
    owner: String,
    /// Only to come back: sshd does not look at it.
    #[serde(skip)]
    group: String,
}

/// A user's keys as they were found.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedKeys {
    user_is_there: bool,
    folder: Option<Permissions>,
    file: Option<Permissions>,
    /// The keys that matter here, by fingerprint, each with its options.
    keys: BTreeMap<String, Vec<String>>,
    #[serde(skip)]
    lines: Vec<Key>,
}

/// What becomes of a key: the line that is to be there, or none.
type Edits = Vec<(String, Option<String>)>;

impl AuthorizedKey {
    fn wanted(&self) -> Vec<Key> {
        let mut wanted: Vec<Key> = Vec::new();
        for key in self.key.iter().chain(&self.keys).filter_map(|text| Key::parse(text)) {
            if !wanted.iter().any(|known| known.blob == key.blob) {
                let options = self.options.clone().unwrap_or_default();
                let words = [options.as_str(), &key.kind, &key.blob, &key.comment];
                let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
                wanted.push(Key { line: words.join(" "), options: options.clone(), ..key });
            }
        }
        wanted
    }

    fn snippet_key(&self) -> String {
        format!("authorized_key {}", self.user)
    }

    /// Returns the payload of a step: after a first line, each key with the line that is to be there.
    fn table(edits: &Edits) -> Vec<u8> {
        let mut table = String::from("keys\n");
        for (blob, line) in edits {
            match line {
                Some(line) => table.push_str(&format!("+ {blob} {line}\n")),
                None => table.push_str(&format!("- {blob}\n")),
            }
        }
        table.into_bytes()
    }

    /// Returns the step that edits a file which root owns.
    fn root_step(&self, path: &HostPath, edits: &Edits) -> Step {
        let filter = sh!("_payload | awk '{}' - \"$_old\"", Script::constant(FILTER));
        let missing = WhenMissing::Make { mode: "0644", owner: "root", group: "root" };
        Step::new(format!("write keys in {path}"), edit_script(path, &edit_backup(self), &missing, filter))
            .with_bytes(Self::table(edits))
    }

    /// Returns the step that edits the file in the user's home; `then` is done afterwards, as root, in the folder.
    fn home_step(&self, title: String, edits: &Edits, modes: (&str, &str), empty: Empty, then: Script) -> Step {
        let (folder_mode, file_mode) = modes;
        let script = sh!(
            r#"_user={}
_entry=$(getent passwd -- "$_user") || { echo "there is no user $_user" >&2; exit 1; }
set -f; IFS=:; set -- $_entry; unset IFS; set +f
_uid=$3; _gid=$4; _home=$6
cd -P -- "$_home" || { echo "the home $_home of $_user is not there" >&2; exit 1; }
_folder=$(pwd -P); _folder=${_folder%/}/.ssh
[ -e .ssh ] || [ -L .ssh ] || mkdir -m 0700 .ssh
# From here on, names are looked up in this very folder, whatever the user does to the path.
cd -P .ssh
[ "$(pwd -P)" = "$_folder" ] || { echo "$_folder is a link to somewhere else" >&2; exit 1; }
chown -- "$_uid:$_gid" .
if [ -f authorized_keys ] && [ ! -L authorized_keys ]; then chown -h -- "$_uid:$_gid" authorized_keys; fi
_payload | setpriv --reuid "$_uid" --regid "$_gid" --clear-groups -- /bin/sh -c '
set -eu
umask 077
chmod 0"$1" .
if [ -L authorized_keys ] || { [ -e authorized_keys ] && [ ! -f authorized_keys ]; }; then
  echo "authorized_keys of $4 is not a regular file" >&2; exit 1
fi
if [ -e authorized_keys ]; then old=authorized_keys; else old=/dev/null; fi
new=$(mktemp ./.provision.XXXXXXXXXX)
trap "rm -f -- $new" EXIT
LC_ALL=C awk "$5" - "$old" >"$new"
chmod "$2" "$new"
if [ "$3" = remove ] && [ ! -s "$new" ]; then rm -f authorized_keys; else mv -fT "$new" authorized_keys; fi
' provision {} {} {} "$_user" '{}'"#,
            self.user,
            folder_mode,
            file_mode,
            match empty {
                Empty::Stays => "keep",
                Empty::Goes => "remove",
            },
            Script::constant(FILTER)
        );
        let script = if then.is_empty() { script } else { script.then(then) };
        Step::new(title, script).with_bytes(Self::table(edits))
    }

    /// Returns how a host goes back by itself to the keys that are in the user's home now.
    fn home_guard(&self) -> Guard {
        let find = sh!(
            "_home=~{}\ncase $_home in /*) ;; *) echo {} >&2; exit 1;; esac\n",
            self.user,
            format!("the home of {} is not known", self.user)
        );
        let name = backup_name(&format!("keys of {}", self.user));
        let save = find.clone().then(sh!("_keep \"$_home/.ssh/authorized_keys\" {}", name));
        Guard { save, restore: find.then(sh!("_restore \"$_home/.ssh/authorized_keys\" {}", name)) }
    }

    /// Returns what becomes of each key that is not as it should be, and how to take it back.
    fn edits(&self, observed: &ObservedKeys) -> (Edits, Edits, Vec<AttributeChange>) {
        let (mut forward, mut back, mut attributes) = (Vec::new(), Vec::new(), Vec::new());
        let mut change = |key: &Key, found: Option<&Key>, after: Option<&Key>| {
            forward.push((key.blob.clone(), after.map(|key| key.line.clone())));
            back.push((key.blob.clone(), found.map(|key| key.line.clone())));
            attributes.push(AttributeChange {
                name: format!("key {}", key.fingerprint()),
                before: found.map_or(Shown::Absent, Key::shown),
                after: after.map_or(Shown::Absent, Key::shown),
            });
        };
        let wanted = self.wanted();
        for key in &wanted {
            let found: Vec<&Key> = observed.lines.iter().filter(|line| line.blob == key.blob).collect();
            let options_differ = self.options.is_some() && found.iter().any(|line| line.options != key.options);
            match (self.state, found.first()) {
                (Presence::Present, None) => change(key, None, Some(key)),
                (Presence::Present, Some(first)) if options_differ => change(key, Some(first), Some(key)),
                (Presence::Absent, Some(first)) => change(key, Some(first), None),
                _ => {}
            }
        }
        if self.exclusive {
            let mut seen: Vec<&str> = Vec::new();
            for line in &observed.lines {
                if !wanted.iter().any(|key| key.blob == line.blob) && !seen.contains(&line.blob.as_str()) {
                    seen.push(&line.blob);
                    change(line, Some(line), None);
                }
            }
        }
        (forward, back, attributes)
    }

    fn permissions(&self, observed: &ObservedKeys) -> Vec<AttributeChange> {
        let mut attributes = Vec::new();
        if self.path.is_some() || self.state.is_absent() {
            return attributes;
        }
        for (name, found, mode) in [("folder", &observed.folder, "0700"), ("file", &observed.file, "0600")] {
            let Some(found) = found else { continue };
            for (what, before, after) in
                [("mode", found.mode.as_str(), mode), ("owner", found.owner.as_str(), self.user.as_str())]
            {
                if before != after {
                    attributes.push(AttributeChange {
                        name: format!("{name} {what}"),
                        before: Shown::Value(json!(before)),
                        after: Shown::Value(json!(after)),
                    });
                }
            }
        }
        attributes
    }
}

#[derive(Clone, Copy)]
enum Empty {
    /// A file without a line stays.
    Stays,
    /// A file without a line is removed: it was not there before.
    Goes,
}

/// Reads the table and then the file, and prints the file with the table's lines in it. It has no `'` in it.
const FILTER: &str = r#"
  function blob_of(line,   word, words, i) {
    gsub(/\\"/, "", line); gsub(/"[^"]*"/, "q", line); sub(/^[ \t]+/, "", line)
    words = split(line, word, /[ \t\r]+/)
    for (i = 1; i < words && i < 3; i++)
      if (word[i] ~ /^(ssh-|ecdsa-sha2-|sk-ssh-|sk-ecdsa-)/ && word[i + 1] ~ /^AAAA/) return word[i + 1]
    return ""
  }
  FNR == NR {
    if (FNR == 1) next
    rest = substr($0, 3); at = index(rest, " ")
    blob = at ? substr(rest, 1, at - 1) : rest
    if (!(blob in line)) order[++keys] = blob
    line[blob] = at ? substr(rest, at + 1) : ""
    next
  }
  {
    blob = blob_of($0)
    if (blob != "" && blob in line) {
      if (line[blob] != "" && !(blob in done)) print line[blob]
      done[blob] = 1
      next
    }
    print
  }
  END {
    for (i = 1; i <= keys; i++)
      if (line[order[i]] != "" && !(order[i] in done)) print line[order[i]]
  }
"#;

impl Kind for AuthorizedKey {
    const NAME: &'static str = "authorized_key";
    const SUMMARY: &'static str = "The SSH keys by which a user may log in";
    const EXAMPLE: &'static str = r#"- authorized_key:
    user: jmartin
    keys:
      - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9mtPOMzJcFsSxoMoLgQIiBPjHqNq1pFvxzk0BJzFEC jmartin@laptop
    options: from="10.10.0.0/24",restrict,pty
    exclusive: true
- authorized_key:
    user: root
    key: ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB9mtPOMzJcFsSxoMoLgQIiBPjHqNq1pFvxzk0BJzFEC jmartin@laptop
    state: absent
"#;

    type Observed = ObservedKeys;

    fn name(&self) -> String {
        // A task with one key is one of several for a user; a task with a list stands alone.
        let of_key = self.key.as_deref().and_then(Key::parse).map(|key| {
            let called = if key.comment.is_empty() { key.fingerprint() } else { key.comment };
            format!("{} {called}", self.user)
        });
        let name = of_key.unwrap_or_else(|| self.user.clone());
        match &self.path {
            Some(path) => format!("{name} in {path}"),
            None => name,
        }
    }

    fn check(&self) -> Vec<SpecProblem> {
        let mut problems = Vec::new();
        if self.user.is_empty() || self.user.contains([':', '\n', '/']) {
            problems.push(SpecProblem::new("user", format!("{:?} is no user's name", self.user)));
        }
        match (&self.key, self.keys.is_empty()) {
            (Some(_), false) => {
                problems.push(SpecProblem::new("keys", "`key` and `keys` both name keys").help("keep one of them"));
            }
            (None, true) if !self.exclusive => {
                problems.push(SpecProblem::new("keys", "no key is named").help("give `key` or `keys`"));
            }
            _ => {}
        }
        problems.extend(self.key.iter().filter_map(|key| Key::problem(key)).map(|what| SpecProblem::new("key", what)));
        problems
            .extend(self.keys.iter().filter_map(|key| Key::problem(key)).map(|what| SpecProblem::new("keys", what)));
        if self.exclusive && self.state.is_absent() {
            problems.push(SpecProblem::new("exclusive", "keys that are to be absent leave the others alone"));
        }
        if self.exclusive && self.key.is_some() {
            let problem = SpecProblem::new("exclusive", "one task for one key cannot know the user's other keys");
            problems.push(problem.help("name all keys of the user in one task, with `keys`"));
        }
        if let Some(options) = &self.options
            && (options.contains(['\n', '\r']) || options_end(options) != options.len())
        {
            let problem = SpecProblem::new("options", "options are one word with commas between them");
            problems.push(problem.help("blanks may stand only between double quotes"));
        }
        problems
    }

    fn learn_login(&mut self, user: &str) {
        self.is_login = self.user == user;
    }

    fn queries(&self) -> Vec<Query> {
        if let Some(path) = &self.path {
            return vec![Query::Path(path.as_str().to_owned(), Want::Content)];
        }
        // The shell itself looks up the home and prints the file; `find` is the one process.
        let script = sh!(
            r#"_home=~{}
case $_home in /*) ;; *) exit 3;; esac
find "$_home/.ssh" "$_home/.ssh/authorized_keys" -maxdepth 0 -printf '%f %y %m %u %g\n' 2>/dev/null || :
printf '\n'
if [ -f "$_home/.ssh/authorized_keys" ]; then
  while IFS= read -r _line || [ -n "$_line" ]; do printf '%s\n' "$_line"; done <"$_home/.ssh/authorized_keys"
fi"#,
            self.user
        );
        vec![Query::Snippet { key: self.snippet_key(), tools: Vec::new(), script }]
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedKeys, ObserveError> {
        let mut observed =
            ObservedKeys { user_is_there: true, folder: None, file: None, keys: BTreeMap::new(), lines: Vec::new() };
        let text;
        if let Some(path) = &self.path {
            text = observed_text(self, path, answers)?.unwrap_or_default();
        } else {
            let Some(answer) = answers.snippet(&self.snippet_key()) else {
                return Ok(ObservedKeys { user_is_there: false, ..observed });
            };
            if !answer.succeeded() {
                return Ok(ObservedKeys { user_is_there: false, ..observed });
            }
            let answer = String::from_utf8_lossy(&answer.output.0).into_owned();
            let (head, body) = answer.split_once("\n\n").unwrap_or((answer.trim(), ""));
            for line in head.trim().lines() {
                let words: Vec<&str> = line.split(' ').collect();
                let [name, kind, mode, owner, group] = words.as_slice() else {
                    return Err(ObserveError::unexpected(self, format!("the line {line:?}")));
                };
                let (place, wanted) =
                    if *name == ".ssh" { (&mut observed.folder, "d") } else { (&mut observed.file, "f") };
                if *kind != wanted {
                    let what = if wanted == "d" { "a directory" } else { "a regular file" };
                    return Err(ObserveError::unexpected(self, format!("{name} in the user's home is not {what}")));
                }
                *place = Some(Permissions {
                    mode: format!("{mode:0>4}"),
                    owner: (*owner).to_owned(),
                    group: (*group).to_owned(),
                });
            }
            text = body.to_owned();
        }
        observed.lines = text.lines().filter_map(Key::parse).collect();
        let wanted = self.wanted();
        for line in &observed.lines {
            if self.exclusive || wanted.iter().any(|key| key.blob == line.blob) {
                observed.keys.entry(line.fingerprint()).or_default().push(line.options.clone());
            }
        }
        Ok(observed)
    }

    fn diff(&self, observed: &ObservedKeys) -> Change {
        let id = Kind::id(self);
        if !observed.user_is_there && self.state.is_absent() {
            return Change::no_op(id, "the user is not there, nor its keys");
        }
        let (forward, back, keys) = self.edits(observed);
        let permissions = self.permissions(observed);
        if forward.is_empty() && permissions.is_empty() && observed.user_is_there {
            return Change::no_op(
                id,
                match self.state {
                    Presence::Absent => "the keys are not there, as wanted",
                    Presence::Present if self.exclusive => "the keys are there, and no others",
                    Presence::Present => "the keys are there",
                },
            );
        }
        let count = |n: usize, what: &str| if n == 1 { format!("1 key {what}") } else { format!("{n} keys {what}") };
        let of = |test: fn(&AttributeChange) -> bool| keys.iter().filter(|key| test(key)).count();
        let counts = [
            (of(|key| key.before == Shown::Absent), "to be added"),
            (of(|key| key.after == Shown::Absent), "to be removed"),
            (of(|key| key.before != Shown::Absent && key.after != Shown::Absent), "with other options"),
        ];
        let mut reasons: Vec<String> = Vec::new();
        if !observed.user_is_there {
            reasons.push("the user is not there yet".to_owned());
        }
        reasons.extend(counts.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| count(n, what)));
        if !permissions.is_empty() {
            reasons.push("sshd may refuse the permissions".to_owned());
        }
        let mut change = Change::create(id, &Attributes::new()).because(reasons.join(", "));
        change.action = match self.state {
            Presence::Absent => Action::Delete,
            Presence::Present if observed.keys.is_empty() => Action::Create,
            Presence::Present => Action::Update,
        };
        change.attributes = keys.into_iter().chain(permissions).collect();
        if let Some(path) = &self.path {
            let change =
                change.step(self.root_step(path, &forward)).reversed_by(vec![restore_edit(path, &edit_backup(self))]);
            return if self.is_login { change.guarded_by(way::guard(path, Script::default())) } else { change };
        }
        let mode = |found: &Option<Permissions>, otherwise: &str| {
            found.as_ref().map_or(otherwise.to_owned(), |found| found.mode.clone())
        };
        let (folder_mode, file_mode) = (mode(&observed.folder, "0700"), mode(&observed.file, "0600"));
        // Where keys are taken away, whatever the modes are, they stay.
        let modes = match self.state {
            Presence::Present => ("0700", "0600"),
            Presence::Absent => (folder_mode.as_str(), file_mode.as_str()),
        };
        let mut then = Script::default();
        for (found, place) in [(&observed.file, "authorized_keys"), (&observed.folder, ".")] {
            if let Some(Permissions { owner, group, .. }) = found
                && *owner != self.user
            {
                then.push(&sh!("chown -h -- {} {}", format!("{owner}:{group}"), place));
            }
        }
        if observed.folder.is_none() {
            then.push(&Script::constant("cd ..; rmdir .ssh 2>/dev/null || :"));
        }
        let empty = if observed.file.is_some() { Empty::Stays } else { Empty::Goes };
        let verb = match self.state {
            Presence::Present => "write",
            Presence::Absent => "remove",
        };
        let user = &self.user;
        let change = change
            .step(self.home_step(format!("{verb} keys of {user}"), &forward, modes, Empty::Stays, Script::default()))
            .reversed_by(vec![self.home_step(
                format!("take back the keys of {user}"),
                &back,
                (&folder_mode, &file_mode),
                empty,
                then,
            )]);
        if self.is_login { change.guarded_by(self.home_guard()) } else { change }
    }
}

#[cfg(test)]
mod tests {
    use super::super::text_edit::tests::run_edit;
    use super::*;

    const A: &str = "AAAAC3NzaC1lZDI1NTE5AAAAIB9mtPOMzJcFsSxoMoLgQIiBPjHqNq1pFvxzk0BJzFEC";

    #[test]
    fn a_line_is_taken_apart_as_sshd_does() {
        let key = Key::parse(&format!("  from=\"a b\",command=\"x \\\" ssh-rsa AAAA\" ssh-ed25519 {A} j m\r")).unwrap();
        assert_eq!(key.options, "from=\"a b\",command=\"x \\\" ssh-rsa AAAA\"");
        assert_eq!((key.kind.as_str(), key.blob.as_str(), key.comment.as_str()), ("ssh-ed25519", A, "j m"));
        for line in ["", "# ssh-ed25519 is", "ssh-ed25519", "a b ssh-rsa AAAAB", "no keys here"] {
            assert_eq!(Key::parse(line), None, "{line:?}");
        }
    }

    #[test]
    fn a_damaged_key_is_no_key() {
        assert_eq!(Key::problem(&format!("ssh-ed25519 {A} c")), None);
        for bad in [
            format!("ssh-rsa {A}"),
            format!("ssh-ed25519 {}", &A[..40]),
            format!("ssh-dss {A}"),
            format!("restrict ssh-ed25519 {A}"),
            format!("ssh-ed25519 {A}\nx"),
            A.to_owned(),
        ] {
            assert!(Key::problem(&bad).is_some(), "{bad}");
        }
    }

    #[test]
    fn awk_knows_the_same_lines() {
        let spec = json!({"user": "u", "key": format!("ssh-ed25519 {A}"), "path": "/provision-test/file"});
        let spec: AuthorizedKey = serde_json::from_value(spec).unwrap();
        let path = spec.path.clone().unwrap();
        let edit = |edits: Edits, before: &str| {
            let table = String::from_utf8(AuthorizedKey::table(&edits)).unwrap();
            run_edit(&spec.root_step(&path, &edits).script, &table, before).unwrap()
        };
        let line = format!("command=\"a \\\" ssh-rsa AAAA x\",pty ssh-ed25519 {A} c");
        assert_eq!(edit(vec![(A.into(), None)], &format!("# {A}\n{line}\n\nx")), format!("# {A}\n\nx\n"));
        let other = format!("ssh-ed25519 {A}x d");
        let text = format!("{other}\n{line}\n{line}\n");
        assert_eq!(edit(vec![(A.into(), Some("new".into()))], &text), format!("{other}\nnew\n"));
        assert_eq!(edit(vec![(A.into(), Some("new".into())), ("AAAAb".into(), Some("b".into()))], ""), "new\nb\n");
        assert_eq!(edit(vec![], &text), text);
    }
}
