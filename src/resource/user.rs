//! `user`: an account, with its groups, home, shell, password and expiry.
//!
//! A password travels as its hash, on a step's payload, and never comes back: the host answers with a digest of the
//! hash. The hash that a change replaces stays on the host, in the run's backup folder, for the reverse.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use jiff::civil::{Date, date};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::{Value, json};

use super::managed_file::backup_name;
use super::read::{AccountState, Answers, Query, Want, password_digest};
use super::spec::{AccountName, HostPath, Presence};
use super::{Kind, ObserveError, SpecProblem, way};
use crate::change::{Attributes, Change, Shown, Step};
use crate::sh;
use crate::shell::Script;

/// A user account.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The user's name.
    name: AccountName,
    /// The user's number. A new user gets the next free one. Only files in the home folder follow a change of it.
    #[serde(default)]
    uid: Option<u32>,
    /// The primary group. A new user gets a group of its own name.
    #[serde(default)]
    group: Option<AccountName>,
    /// The supplementary groups. The user keeps others that it has, unless `exclusive_groups`.
    #[serde(default)]
    groups: Option<BTreeSet<AccountName>>,
    /// Whether `groups` are all the supplementary groups there are.
    #[serde(default)]
    exclusive_groups: bool,
    /// The comment, usually the person's name.
    #[serde(default)]
    comment: Option<String>,
    /// The home folder. Files are not moved when it changes.
    #[serde(default)]
    home: Option<HostPath>,
    /// The login shell. It must be there and executable.
    #[serde(default)]
    shell: Option<HostPath>,
    /// Whether a new user takes a number from the range for the system's own users, and no home folder.
    #[serde(default)]
    system: bool,
    /// The password as a crypt hash (`$y$...` or `$6$...`), or `locked`: no password opens it, a key still does.
    /// A new user is locked.
    #[serde(default)]
    password: Option<Password>,
    /// The day from which on the account is closed, such as `2027-01-01`, or `never`.
    #[serde(default)]
    expires: Option<Expiry>,
    /// Whether the home folder is made where it is not there. The default is yes, except for `system` users.
    #[serde(default)]
    create_home: Option<bool>,
    /// Whether the home folder and the mail go too when the user is to be absent.
    #[serde(default)]
    remove_home: bool,
    /// Whether the user is to be there.
    #[serde(default)]
    state: Presence,
    /// Whether the run itself logs in as this user.
    #[serde(skip)]
    is_login: bool,
}

/// A password: locked, or a hash.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
struct Password(String);

const LOCKED: &str = "locked";
const NEVER: &str = "never";

impl Password {
    /// Returns the hash; none where the password is to be locked.
    fn hash(&self) -> Option<&str> {
        (self.0 != LOCKED).then_some(self.0.as_str())
    }

    /// Returns what stands for it in a comparison.
    fn digest(&self) -> String {
        self.hash().map_or_else(|| LOCKED.to_owned(), password_digest)
    }

    /// Returns what is wrong with it. The text never repeats it: it may be a clear password.
    fn problem(&self) -> Option<SpecProblem> {
        let hash = self.hash()?;
        let help = "make a hash with `mkpasswd -m yescrypt` or `openssl passwd -6`, or write `locked`";
        let is_plain = hash.chars().all(|c| c.is_ascii_alphanumeric() || "./$=,".contains(c));
        let message = match hash.split('$').collect::<Vec<_>>().as_slice() {
            ["", "y", _, salt, digest] if is_plain && !salt.is_empty() && digest.len() == 43 => return None,
            ["", "6", .., salt, digest] if is_plain && !salt.is_empty() && digest.len() == 86 => return None,
            ["", "y" | "6", ..] => "the password's hash is not complete",
            ["", "1" | "5" | "2a" | "2b" | "2y" | "md5" | "sha1", ..] => {
                "the password's hash is of a kind that is too weak"
            }
            _ => "the password is not a crypt hash; clear text is not accepted",
        };
        Some(SpecProblem::new("password", message).help(help))
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 == LOCKED { LOCKED } else { crate::secret::SENSITIVE })
    }
}

impl JsonSchema for Password {
    fn schema_name() -> Cow<'static, str> {
        "Password".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^locked$|^[$][y6][$]|\\{\\{",
            "description": "A crypt hash, or `locked`"
        })
    }
}

/// When an account closes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expiry {
    Never,
    On(Date),
}

impl Expiry {
    const EPOCH: Date = date(1970, 1, 1);

    fn parse(text: &str) -> Option<Self> {
        if text == NEVER {
            return Some(Self::Never);
        }
        let day: Date = text.parse().ok()?;
        // Only the plain form: `jiff` would also read a time and drop it.
        (text.len() == 10 && day > Self::EPOCH).then_some(Self::On(day))
    }

    fn from_days(days: Option<i64>) -> Self {
        let day = days.and_then(|days| jiff::Span::new().try_days(days).ok());
        day.and_then(|days| Self::EPOCH.checked_add(days).ok()).map_or(Self::Never, Self::On)
    }

    /// Returns what `usermod --expiredate` takes: the number of days, which no time zone can shift, or nothing.
    fn days(self) -> String {
        match self {
            Self::Never => String::new(),
            Self::On(day) => Self::EPOCH.until(day).map_or(0, |span| span.get_days()).to_string(),
        }
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => f.write_str(NEVER),
            Self::On(day) => write!(f, "{day}"),
        }
    }
}

impl Serialize for Expiry {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Expiry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text)
            .ok_or_else(|| de::Error::custom(format!("{text:?} is not a day: write it as in 2027-01-31, or `never`")))
    }
}

impl JsonSchema for Expiry {
    fn schema_name() -> Cow<'static, str> {
        "Expiry".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^never$|^[0-9]{4}-[0-9]{2}-[0-9]{2}$|\\{\\{",
            "description": "A day, such as 2027-01-31, or `never`"
        })
    }
}

/// A user as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedUser {
    found: Option<Found>,
    /// Whether something is at the path that the home folder has or gets.
    home_exists: bool,
}

#[derive(Clone, Debug, Serialize)]
struct Found {
    account: AccountState,
    password: String,
    expires: Expiry,
    gid: Option<u32>,
}

impl Found {
    fn attributes(&self) -> Attributes {
        let account = &self.account;
        Attributes::from([
            ("uid".into(), json!(account.uid)),
            ("group".into(), json!(account.group)),
            ("groups".into(), json!(account.groups)),
            ("comment".into(), json!(account.comment)),
            ("home".into(), json!(account.home)),
            ("shell".into(), json!(account.shell)),
            ("password".into(), json!(self.password)),
            ("expires".into(), json!(self.expires)),
        ])
    }
}

/// A digest is no hash, but it says whether two hosts have the same one.
fn is_digest(value: &Value) -> bool {
    value != LOCKED && value != "empty"
}

impl User {
    fn makes_home(&self) -> bool {
        self.create_home.unwrap_or(!self.system)
    }

    /// Returns the path at which a home folder is looked for: the one that is asked for, or Debian's usual one.
    fn home_path(&self) -> String {
        self.home.as_ref().map_or_else(|| format!("/home/{}", self.name), |home| home.as_str().to_owned())
    }

    fn desired(&self) -> Attributes {
        let mut desired = Attributes::new();
        let mut want = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                desired.insert(name.to_owned(), value);
            }
        };
        want("uid", self.uid.map(|uid| json!(uid)));
        want("group", self.group.as_ref().map(|group| json!(group)));
        want("groups", self.groups.as_ref().map(|groups| json!(groups)));
        want("comment", self.comment.as_ref().map(|comment| json!(comment)));
        want("home", self.home.as_ref().map(|home| json!(home)));
        want("shell", self.shell.as_ref().map(|shell| json!(shell)));
        want("password", self.password.as_ref().map(|password| json!(password.digest())));
        want("expires", self.expires.map(|expires| json!(expires)));
        desired
    }

    fn create(&self, home_exists: bool) -> Change {
        let name = &self.name;
        let mut desired = self.desired();
        desired.entry("password".into()).or_insert_with(|| json!(LOCKED));
        if self.makes_home() {
            desired.insert("home_exists".into(), json!(true));
        }
        let mut flags: Vec<String> = Vec::new();
        let mut flag = |name: &str, value: String| flags.extend([name.to_owned(), value]);
        if let Some(uid) = self.uid {
            flag("--uid", uid.to_string());
        }
        if let Some(groups) = self.groups.as_ref().filter(|groups| !groups.is_empty()) {
            flag("--groups", groups.iter().map(AccountName::as_str).collect::<Vec<_>>().join(","));
        }
        if let Some(comment) = &self.comment {
            flag("--comment", comment.clone());
        }
        if let Some(home) = &self.home {
            flag("--home-dir", home.to_string());
        }
        if let Some(shell) = &self.shell {
            flag("--shell", shell.to_string());
        }
        if let Some(expires) = self.expires.filter(|expires| *expires != Expiry::Never) {
            flag("--expiredate", expires.days());
        }
        if self.system {
            flags.push("--system".to_owned());
        }
        flags.push(if self.makes_home() { "--create-home" } else { "--no-create-home" }.to_owned());
        let mut script = self.shell_check(true);
        match &self.group {
            Some(group) => script.push(&sh!("set -- --gid {}", group)),
            // A group of that name may be there already; `useradd` would refuse to make it.
            None => script.push(&sh!(
                "if getent group -- {} >/dev/null; then set -- --gid {}; else set -- --user-group; fi",
                name,
                name
            )),
        }
        // The star locks the password: `useradd` alone leaves `!`, with which some sshd refuse a key too.
        script.push(&sh!("useradd --password '*' {} \"$@\" -- {}", Script::words(flags), name));
        let mut change = Change::create(self.id(), &desired).step(Step::new(format!("add the user {name}"), script));
        if let Some(hash) = self.password.as_ref().and_then(Password::hash) {
            change = change.step(self.password_step(hash, Script::default()));
        }
        let remove = if self.makes_home() && !home_exists {
            sh!("userdel --remove -- {}", name)
        } else {
            sh!("userdel -- {}", name)
        };
        change
            .sensitive("password", is_digest)
            .reversed_by(vec![Step::new(format!("remove the user {name}"), told_when_busy(name, remove))])
    }

    fn update(&self, found: &Found, home_exists: bool) -> Change {
        let name = &self.name;
        let mut observed = found.attributes();
        let mut desired = self.desired();
        if let Some(groups) = self.groups.as_ref().filter(|_| !self.exclusive_groups) {
            let all: BTreeSet<&str> =
                groups.iter().map(AccountName::as_str).chain(found.account.groups.iter().map(String::as_str)).collect();
            desired.insert("groups".into(), json!(all));
        }
        // Nothing is known of a home elsewhere than where it was looked for.
        let home = self.home.as_ref().map_or(found.account.home.as_str(), HostPath::as_str);
        if self.makes_home() && home == self.home_path() {
            observed.insert("home_exists".into(), json!(home_exists));
            desired.insert("home_exists".into(), json!(true));
        }
        let mut change = Change::between(self.id(), &observed, &desired).sensitive("password", is_digest);
        if change.is_no_op() {
            return change;
        }
        let mut reverse = Vec::new();
        let forward = self.usermod_flags(&change, Side::After);
        if !forward.is_empty() {
            let back = self.usermod_flags(&change, Side::Before);
            let names: Vec<&str> = change.attributes.iter().map(|a| a.name.as_str()).collect();
            let names: Vec<&str> =
                names.into_iter().filter(|name| *name != "password" && *name != "home_exists").collect();
            let names = names.join(", ");
            let script = self.shell_check(change.changes("shell")).then(usermod(name, forward));
            change = change.step(Step::new(format!("set {names} of the user {name}"), script));
            reverse.push(Step::new(format!("set the former {names} of the user {name}"), usermod(name, back)));
        }
        if change.changes("home_exists") {
            let script = sh!(
                r#"_home={}
if [ ! -e "$_home" ]; then
  (umask 022; mkdir -p -- "$_home")
  if [ -d /etc/skel ]; then cp -a -- /etc/skel/. "$_home/"; fi
  chown -hR -- {} "$_home"
  chmod -- 0700 "$_home"
fi"#,
                home,
                format!("{name}:")
            );
            change = change.step(Step::new(format!("make the home folder {home}"), script));
            reverse.insert(
                0,
                Step::new(format!("remove the home folder {home}"), sh!("rm -rf --one-file-system -- {}", home)),
            );
        }
        if change.changes("password") {
            let step = match self.password.as_ref().and_then(Password::hash) {
                Some(hash) => self.password_step(hash, self.keep_hash()),
                None => Step::new(
                    format!("lock the password of the user {name}"),
                    self.keep_hash().then(sh!("usermod --password '*' -- {}", name)),
                ),
            };
            change = change.step(step);
            reverse.insert(0, self.former_password_step());
        }
        change.reversed_by(reverse)
    }

    fn delete(&self, found: &Found) -> Change {
        let (name, account) = (&self.name, &found.account);
        let change = Change::delete(self.id(), &found.attributes()).sensitive("password", is_digest);
        if self.remove_home {
            let remove = told_when_busy(name, sh!("userdel --remove -- {}", name));
            return change
                .step(Step::new(format!("remove the user {name} and the home folder"), remove))
                .irreversible("the files of the home folder are gone");
        }
        let remove = self.keep_hash().then(told_when_busy(name, sh!("userdel -- {}", name)));
        let change = change.step(Step::new(format!("remove the user {name}"), remove));
        let mut back = Script::default();
        if let Some(gid) = found.gid {
            // `userdel` takes the group of the user's own name with it.
            back.push(&sh!(
                "getent group -- {} >/dev/null || groupadd --gid {} -- {}",
                account.group,
                gid,
                account.group
            ));
        }
        let mut flags: Vec<String> = Vec::new();
        let mut flag = |name: &str, value: String| flags.extend([name.to_owned(), value]);
        flag("--uid", account.uid.to_string());
        flag("--gid", account.group.clone());
        flag("--comment", account.comment.clone());
        flag("--home-dir", account.home.clone());
        flag("--shell", account.shell.clone());
        flag("--expiredate", found.expires.days());
        if !account.groups.is_empty() {
            flag("--groups", account.groups.iter().map(String::as_str).collect::<Vec<_>>().join(","));
        }
        if account.uid < 1000 {
            flags.push("--system".to_owned());
        }
        back.push(&sh!("useradd --no-create-home --password '*' {} -- {}", Script::words(flags), name));
        change.reversed_by(vec![Step::new(format!("add the user {name}"), back), self.former_password_step()])
    }

    /// Refuses a login shell that would lock the user out.
    fn shell_check(&self, shell_changes: bool) -> Script {
        match self.shell.as_ref().filter(|_| shell_changes) {
            Some(shell) => sh!(
                "[ -x {} ] || { echo {} >&2; exit 1; }",
                shell,
                format!("the login shell {shell} is not there or not executable; install it before the user")
            ),
            None => Script::default(),
        }
    }

    fn usermod_flags(&self, change: &Change, side: Side) -> Vec<String> {
        let mut flags = Vec::new();
        for attribute in &change.attributes {
            let (value, other) = match side {
                Side::Before => (&attribute.before, &attribute.after),
                Side::After => (&attribute.after, &attribute.before),
            };
            let Shown::Value(value) = value else { continue };
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            match attribute.name.as_str() {
                "uid" => flags.extend(["--uid".to_owned(), text]),
                "group" => flags.extend(["--gid".to_owned(), text]),
                "comment" => flags.extend(["--comment".to_owned(), text]),
                "home" => flags.extend(["--home".to_owned(), text]),
                "shell" => flags.extend(["--shell".to_owned(), text]),
                "expires" => {
                    let days = Expiry::parse(&text).map(Expiry::days).unwrap_or_default();
                    flags.extend(["--expiredate".to_owned(), days]);
                }
                "groups" if side == Side::After && !self.exclusive_groups => {
                    // Only those that are missing, so that groups which another task of this run adds are kept.
                    let known = texts(other);
                    let added: Vec<String> = list(value).into_iter().filter(|group| !known.contains(group)).collect();
                    flags.extend(["--append".to_owned(), "--groups".to_owned(), added.join(",")]);
                }
                "groups" => flags.extend(["--groups".to_owned(), list(value).join(",")]),
                _ => {}
            }
        }
        flags
    }

    fn kept_hash(&self) -> String {
        backup_name(&format!("password of {}", self.name))
    }

    /// Keeps the hash on the host for the reverse, before it is changed. The first one that a run finds is kept.
    fn keep_hash(&self) -> Script {
        sh!(
            r#"_kept=$_backup/{}
if [ ! -e "$_kept" ]; then
  (umask 077; mkdir -p -- "$_backup"; getent shadow -- {} | cut -d: -f2 >"$_kept")
fi"#,
            self.kept_hash(),
            self.name
        )
    }

    fn password_step(&self, hash: &str, keep: Script) -> Step {
        let script = keep.then(Script::constant("_payload | chpasswd -e"));
        let line = format!("{}:{hash}\n", self.name);
        Step::new(format!("set the password of the user {}", self.name), script).with_bytes(line.into_bytes())
    }

    fn former_password_step(&self) -> Step {
        // `read` and `printf` are builtins: the hash is in no program's arguments.
        let script = sh!(
            r#"_kept=$_backup/{}
if [ -e "$_kept" ]; then
  IFS= read -r _hash <"$_kept" || :
  case $_hash in
    '') passwd --quiet --delete -- {};;
    *) printf '%s:%s\n' {} "$_hash" | chpasswd -e;;
  esac
fi"#,
            self.kept_hash(),
            self.name,
            self.name
        );
        Step::new(format!("set the former password of the user {}", self.name), script)
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Before,
    After,
}

fn list(value: &Value) -> Vec<String> {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    items.iter().filter_map(Value::as_str).map(str::to_owned).collect()
}

fn texts(side: &Shown) -> Vec<String> {
    if let Shown::Value(value) = side { list(value) } else { Vec::new() }
}

fn usermod(name: &AccountName, flags: Vec<String>) -> Script {
    told_when_busy(name, sh!("usermod {} -- {}", Script::words(flags), name))
}

/// Says what to do where `command`, which is `usermod` or `userdel`, finds the user logged in.
fn told_when_busy(name: &AccountName, command: Script) -> Script {
    sh!(
        "_rc=0; {} || _rc=$?\n[ $_rc -ne 8 ] || echo {} >&2\n[ $_rc -eq 0 ] || exit $_rc",
        command,
        format!("{name} has running processes; end them first, with `loginctl terminate-user {name}`")
    )
}

impl Kind for User {
    const NAME: &'static str = "user";
    const SUMMARY: &'static str = "A user account: its number, groups, home, shell, password and expiry";
    const EXAMPLE: &'static str = r#"- user:
    name: jmartin
    comment: J. Martin
    groups: [operators]
    shell: /bin/bash
    expires: 2027-01-01
- user: {name: etcd, system: true, home: /var/lib/etcd, shell: /usr/sbin/nologin}
- user: {name: former, state: absent}
"#;

    type Observed = ObservedUser;

    fn name(&self) -> String {
        self.name.as_str().to_owned()
    }

    fn check(&self) -> Vec<SpecProblem> {
        let mut problems: Vec<SpecProblem> = self.password.iter().filter_map(Password::problem).collect();
        if let Some(comment) = &self.comment
            && comment.contains([':', '\n'])
        {
            problems.push(SpecProblem::new("comment", "a comment has no colon and no line break"));
        }
        for (field, path) in [("home", &self.home), ("shell", &self.shell)] {
            if path.as_ref().is_some_and(|path| path.as_str().contains([':', '\n'])) {
                problems.push(SpecProblem::new(field, "a path in an account has no colon and no line break"));
            }
        }
        if self.uid == Some(0) && self.name.as_str() != "root" {
            problems.push(SpecProblem::new("uid", "the number 0 would make it a second root"));
        }
        if self.exclusive_groups && self.groups.is_none() {
            let problem = SpecProblem::new("exclusive_groups", "there are no `groups` that could be all there are");
            problems.push(problem.help("write `groups: []` for a user without supplementary groups"));
        }
        if self.remove_home && !self.state.is_absent() {
            problems.push(SpecProblem::new("remove_home", "a home folder is removed only with `state: absent`"));
        }
        if self.state.is_absent() {
            if let Some(field) = self.desired().keys().next() {
                let field = ["uid", "group", "groups", "comment", "home", "shell", "password", "expires"]
                    .into_iter()
                    .find(|name| name == field)
                    .unwrap_or_default();
                problems.push(SpecProblem::new(field, "a user that is to be absent has no attributes"));
            }
            if self.name.as_str() == "root" {
                problems.push(SpecProblem::new("state", "a host cannot be without `root`"));
            }
        }
        problems
    }

    fn learn_login(&mut self, user: &str) {
        self.is_login = self.name.as_str() == user;
    }

    fn queries(&self) -> Vec<Query> {
        let hash = self.password.as_ref().and_then(Password::hash).map(str::to_owned);
        let mut queries = vec![Query::User(self.name())];
        // Two processes on the host, for what most accounts leave as it is; a removal keeps it to be put back.
        if self.password.is_some() || self.expires.is_some() || self.state.is_absent() {
            queries.push(Query::Shadow(self.name(), hash));
        }
        if !self.state.is_absent() {
            queries.push(Query::Path(self.home_path(), Want::Metadata));
        }
        queries
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedUser, ObserveError> {
        let found = answers.user(self.name.as_str()).map(|account| {
            let shadow = answers.shadow(self.name.as_str());
            Found {
                account: account.clone(),
                password: shadow.map_or_else(|| LOCKED.to_owned(), |shadow| shadow.password.clone()),
                expires: Expiry::from_days(shadow.and_then(|shadow| shadow.expires)),
                gid: answers.group(&account.group).map(|group| group.gid),
            }
        });
        Ok(ObservedUser { found, home_exists: answers.path(&self.home_path()).is_some() })
    }

    fn diff(&self, observed: &ObservedUser) -> Change {
        let change = match (self.state, &observed.found) {
            (Presence::Present, None) => self.create(observed.home_exists),
            (Presence::Present, Some(found)) => self.update(found, observed.home_exists),
            (Presence::Absent, None) => Change::no_op(self.id(), "it is not there, as wanted"),
            (Presence::Absent, Some(found)) => self.delete(found),
        };
        match way::guard_by_reverse(&change, self.keep_hash()).filter(|_| self.is_login) {
            Some(guard) => change.guarded_by(guard),
            None => change,
        }
    }
}
