//! What a live host is like, as rules look at it. Plain data: whoever asks the hosts fills it in.
//!
//! Every part is [`Seen`]: it was read, or it says why not. A rule never takes the one for the other. No secret is here: of a
//! password there is the sort of its hash, of a certificate what it says in public.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;

use super::network::LiveNetwork;
use super::rule::Lang;
use crate::addr::HostName;

/// What was found on the hosts that were asked.
#[derive(Clone, Debug, Default)]
pub struct Live {
    /// The hosts that answered.
    pub hosts: BTreeMap<HostName, LiveHost>,
    /// Their network.
    pub network: LiveNetwork,
    /// The hosts that were asked and did not answer.
    pub silent: BTreeSet<HostName>,
    /// Whether all hosts of the inventory were asked.
    pub is_whole: bool,
}

/// A part of a host that was read, or why it was not.
pub type Seen<T> = Result<T, Unread>;

/// Why a part of a host could not be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Unread {
    /// Nobody asked.
    NotAsked,
    /// The host lacks a program that reads it.
    NoTool {
        /// The program.
        tool: String,
        /// The package that has it.
        package: String,
    },
    /// The host said something else: its words, shortened.
    Failed(String),
}

impl Unread {
    /// Returns why in a language: a lowercase fragment without a full stop.
    pub fn words(&self, lang: Lang) -> String {
        match (self, lang) {
            (Unread::NotAsked, Lang::En) => "nobody asked".to_owned(),
            (Unread::NotAsked, Lang::Fr) => "la question n'a pas été posée".to_owned(),
            (Unread::NoTool { tool, package }, Lang::En) => {
                format!("the host has no `{tool}`: install the package `{package}`")
            }
            (Unread::NoTool { tool, package }, Lang::Fr) => {
                format!("l'hôte n'a pas `{tool}` : installez le paquet `{package}`")
            }
            (Unread::Failed(said), Lang::En) => format!("the host said: {said}"),
            (Unread::Failed(said), Lang::Fr) => format!("l'hôte a répondu : {said}"),
        }
    }
}

/// One host.
#[derive(Clone, Debug)]
pub struct LiveHost {
    /// The SSH server.
    pub sshd: Seen<Sshd>,
    /// The settings of the kernel by their dotted names; one that the kernel does not have is not there.
    pub settings: Seen<BTreeMap<String, String>>,
    /// The settings of each network card, by `ipv4` or `ipv6`, the card, and the name.
    pub cards: Seen<BTreeMap<(String, String, String), String>>,
    /// What is mounted, by path.
    pub mounts: Seen<BTreeMap<String, Mount>>,
    /// The file systems and swap spaces on disks.
    pub disks: Seen<Vec<Disk>>,
    /// The mandatory access control.
    pub apparmor: Seen<AppArmor>,
    /// The accounts.
    pub accounts: Seen<Vec<Account>>,
    /// The mode that new files of users have not.
    pub umask: Seen<Umask>,
    /// Who may do what as somebody else; none where there is no sudo.
    pub sudo: Seen<Option<Sudo>>,
    /// Where packages come from.
    pub sources: Seen<Vec<AptSource>>,
    /// Settings of apt that let it install what nobody signed.
    pub unsigned: Seen<Vec<String>>,
    /// Where the time comes from.
    pub time: Seen<Time>,
    /// Where messages go.
    pub logs: Seen<Logs>,
    /// The kernel's audit trail.
    pub trail: Seen<Trail>,
    /// The certificates below `/etc`, without the store of public authorities.
    pub certificates: Seen<Vec<Certificate>>,
    /// The packages with their versions; only where they were asked for.
    pub software: Seen<BTreeMap<String, String>>,
}

impl Default for LiveHost {
    /// Returns a host of which nothing was asked.
    fn default() -> Self {
        Self {
            sshd: Err(Unread::NotAsked),
            settings: Err(Unread::NotAsked),
            cards: Err(Unread::NotAsked),
            mounts: Err(Unread::NotAsked),
            disks: Err(Unread::NotAsked),
            apparmor: Err(Unread::NotAsked),
            accounts: Err(Unread::NotAsked),
            umask: Err(Unread::NotAsked),
            sudo: Err(Unread::NotAsked),
            sources: Err(Unread::NotAsked),
            unsigned: Err(Unread::NotAsked),
            time: Err(Unread::NotAsked),
            logs: Err(Unread::NotAsked),
            trail: Err(Unread::NotAsked),
            certificates: Err(Unread::NotAsked),
            software: Err(Unread::NotAsked),
        }
    }
}

/// The SSH server, as `sshd -T` and its files say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sshd {
    /// What is in force for everybody: each directive in lower case with its values.
    pub settings: BTreeMap<String, Vec<String>>,
    /// What `Match` blocks say beside.
    pub matched: Vec<Matched>,
    /// The server's keys.
    pub keys: Vec<HostKey>,
}

impl Sshd {
    /// Returns the first value of a directive.
    pub fn first(&self, key: &str) -> Option<&str> {
        self.settings.get(key)?.first().map(String::as_str)
    }

    /// Returns all values of a directive.
    pub fn all(&self, key: &str) -> &[String] {
        self.settings.get(key).map(Vec::as_slice).unwrap_or_default()
    }
}

/// A directive in a `Match` block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matched {
    /// Whom it is for, such as `User provision`.
    pub only: String,
    /// The directive in lower case.
    pub key: String,
    /// The value.
    pub value: String,
}

/// A key of the SSH server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostKey {
    /// The file.
    pub path: String,
    /// The sort, such as `RSA`.
    pub sort: String,
    /// The length.
    pub bits: u32,
}

/// Something mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// The sort of file system.
    pub sort: String,
    /// What is mounted.
    pub source: String,
    /// The options.
    pub options: BTreeSet<String>,
}

/// A file system or swap space on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Where it is mounted; `[SWAP]` for a swap space.
    pub mount: String,
    /// The device that holds it.
    pub device: String,
    /// Whether encryption lies between it and the disk.
    pub is_encrypted: bool,
}

/// Mandatory access control by AppArmor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AppArmor {
    /// Whether the kernel has it switched on.
    pub is_on: bool,
    /// How many profiles are enforced.
    pub enforced: usize,
}

/// The sort of a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Password {
    /// No password lets anybody in.
    Locked,
    /// Nothing is asked.
    Empty,
    /// A hash of this sort, as its beginning tells.
    Hash(&'static str),
}

/// An account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The name.
    pub name: String,
    /// The number.
    pub uid: u32,
    /// The login shell.
    pub shell: String,
    /// The sort of password.
    pub password: Password,
    /// Whether there are keys that the account can be logged in with.
    pub has_keys: bool,
}

impl Account {
    /// Returns whether somebody can log in with it.
    pub fn can_log_in(&self) -> bool {
        let shell = self.shell.rsplit('/').next().unwrap_or_default();
        let has_shell = !matches!(shell, "nologin" | "false" | "sync" | "shutdown" | "halt");
        has_shell && (self.has_keys || self.password != Password::Locked)
    }
}

/// The mode that new files of users have not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Umask {
    /// What each file says, as `FILE` and the number.
    pub said: Vec<(String, String)>,
    /// Whether a login takes over the `UMASK` of `/etc/login.defs`.
    pub has_pam: bool,
}

/// Who may do what as somebody else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sudo {
    /// The options of everybody, and of some: whom for (`%group` or a name), and the option.
    pub defaults: Vec<(Option<String>, String)>,
    /// The rights.
    pub rights: Vec<Right>,
    /// The mode of the program, in octal.
    pub mode: String,
}

/// A right to run something as somebody else.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// Who: a name, or `%` and a group.
    pub who: String,
    /// As whom; none is root.
    pub run_as: Vec<String>,
    /// What, with arguments; `!` stands before what is excepted.
    pub commands: Vec<String>,
    /// Whether no password is asked for.
    pub is_without_password: bool,
    /// The options that this right sets itself.
    pub options: Vec<String>,
}

/// A source of packages.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AptSource {
    /// The file.
    pub file: String,
    /// The URI, without what it says of a user and a password.
    pub uri: String,
    /// Whether it names the key that it is signed with.
    pub has_key: bool,
    /// Whether it is trusted without a signature.
    pub is_trusted: bool,
}

/// Where the time comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Time {
    /// The service that runs, such as `chrony`.
    pub service: Option<String>,
    /// The names and addresses that it is told to follow.
    pub sources: Vec<String>,
    /// The source that it follows at present.
    pub follows: Option<String>,
    /// Whether it goes on by its own clock.
    pub is_local: bool,
}

/// Where messages go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logs {
    /// Whether the service for messages runs.
    pub is_running: bool,
    /// Where it sends them.
    pub targets: Vec<LogTarget>,
    /// Whether the journal outlives a reboot.
    pub is_kept: bool,
    /// Files of messages that everybody may read or write, each with its mode in octal.
    pub open_files: Vec<(String, String)>,
}

/// Where messages are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogTarget {
    /// The name or address.
    pub host: String,
    /// `tcp`, `udp` or `relp`.
    pub by: String,
    /// Whether they are encrypted.
    pub is_encrypted: bool,
}

/// The kernel's audit trail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Trail {
    /// Whether the service is installed.
    pub is_installed: bool,
    /// Whether it runs.
    pub is_running: bool,
    /// How many rules are loaded; none where the host cannot say.
    pub rules: Option<usize>,
}

/// A certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Certificate {
    /// The file.
    pub path: String,
    /// Whom it is for.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// The country of who signed it.
    pub country: Option<String>,
    /// The first and the last day.
    pub days: Option<(Date, Date)>,
    /// Whether it signs others.
    pub is_authority: bool,
    /// How it is signed, such as `ecdsa-with-SHA256`.
    pub signature: String,
    /// The sort of key, such as `rsaEncryption`.
    pub key: String,
    /// The length of the key.
    pub bits: u32,
}
