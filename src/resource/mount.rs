//! `mount`: a file system at a path, in `/etc/fstab` and mounted.
//!
//! Both sides are observed. A line of `/etc/fstab` is edited alone and at the time of the step, so several mounts of one
//! run, and lines that nobody here wrote, leave each other untouched. What is to be mounted is mounted from its new
//! line first and written to `/etc/fstab` after, so that a line which cannot work never stops the next boot.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::read::{Answers, FileKind, Query, Want};
use super::spec::HostPath;
use super::{Claim, Kind, ObserveError, SpecProblem};
use crate::change::{Action, Attributes, Change, Step};
use crate::sh;
use crate::shell::Script;

/// A file system at a path.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mount {
    /// The path it is mounted at. It is made as a folder where it is not there.
    path: HostPath,
    /// What is mounted: a device, `UUID=...`, `LABEL=...`, `server:/path`, a folder for `bind`, or `tmpfs`.
    #[serde(default)]
    source: Option<String>,
    /// The type of the file system, such as `ext4`, `xfs`, `nfs4` or `tmpfs`; with the option `bind` it may be left out.
    #[serde(default)]
    fstype: Option<String>,
    /// The options, one for each entry, such as `[noexec, nodev, nosuid]`. Passwords belong in a credentials file.
    #[serde(default)]
    options: Vec<String>,
    /// The fifth field of the line in `/etc/fstab`, for `dump`.
    #[serde(default)]
    dump: u8,
    /// The sixth field, for `fsck` at boot: 1 for the root, 2 for others, 0 for none.
    #[serde(default)]
    pass: u8,
    /// `mounted`: in `/etc/fstab` and mounted. `present`: in `/etc/fstab` only. `unmounted`: not mounted, `/etc/fstab`
    /// as it is. `absent`: in neither.
    #[serde(default)]
    state: State,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum State {
    #[default]
    Mounted,
    Present,
    Unmounted,
    Absent,
}

/// A mount as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedMount {
    /// The line of `/etc/fstab` as it stands there.
    line: Option<String>,
    live: Option<Live>,
    /// What the wanted source is: `major:minor` of a device, or the device and folder of a bind mount.
    #[serde(skip)]
    source: Option<String>,
    path: Option<FileKind>,
}

/// What is mounted at the path, as the kernel says.
#[derive(Clone, Debug, Serialize)]
struct Live {
    device: String,
    root: String,
    source: String,
    fstype: String,
    /// The options of the mount and of the file system.
    options: BTreeSet<String>,
}

/// What would make the live mount as it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Remedy {
    Nothing,
    Mount,
    Remount,
    Replace,
}

const FSTAB: &str = "/etc/fstab";
const LOST: &str = "what was mounted there is a part of a file system that no line of /etc/fstab names";
const LIVE_KEY: &str = "mountinfo";

/// Options that harden a mount. One that is live and not asked for stays, unless it is asked not to be.
const HARDENING: [(&str, &str); 3] = [("noexec", "exec"), ("nosuid", "suid"), ("nodev", "dev")];

/// Options that the kernel shows in these words.
const SHOWN: [&str; 9] = ["ro", "noexec", "nosuid", "nodev", "noatime", "nodiratime", "nosymfollow", "sync", "dirsync"];

/// Returns a field as `/etc/fstab` and the kernel write it.
fn escape(field: &str) -> String {
    let mut text = String::with_capacity(field.len());
    for c in field.chars() {
        match c {
            ' ' => text.push_str("\\040"),
            '\t' => text.push_str("\\011"),
            '\n' => text.push_str("\\012"),
            '\\' => text.push_str("\\134"),
            '#' => text.push_str("\\043"),
            _ => text.push(c),
        }
    }
    text
}

/// Returns a field as it is meant: `\040` is a space.
fn unescape(field: &str) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let [first, tail @ ..] = rest {
        let octal = |b: &u8| (b'0'..=b'7').contains(b);
        if let ([b'\\', a @ b'0'..=b'3', b, c, ..], true) = (rest, rest.get(2..4).is_some_and(|d| d.iter().all(octal)))
        {
            bytes.push((a - b'0') * 64 + (b - b'0') * 8 + (c - b'0'));
            rest = rest.get(4..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Returns the fields of the line of `/etc/fstab` that mounts something at `path`.
fn find_line<'a>(fstab: &'a str, path: &str) -> Option<&'a str> {
    fstab.lines().filter(|line| !line.trim_start().starts_with('#')).find(|line| {
        let at = line.split_whitespace().nth(1).map(unescape);
        at.is_some_and(|at| at.starts_with('/') && at.trim_end_matches('/') == path.trim_end_matches('/'))
    })
}

fn parse_live(line: &str) -> Option<(String, Live)> {
    let (left, right) = line.split_once(" - ")?;
    let left: Vec<&str> = left.split(' ').collect();
    let [_, _, device, root, at, options, ..] = left.as_slice() else { return None };
    let mut right = right.splitn(3, ' ');
    let (fstype, source, own) = (right.next()?, right.next()?, right.next().unwrap_or_default());
    let mut options: BTreeSet<String> = options.split(',').chain(own.split(',')).map(unescape).collect();
    // It can be written to only where both the mount and the file system say so.
    if options.contains("ro") {
        options.remove("rw");
    }
    let live = Live {
        device: (*device).to_owned(),
        root: unescape(root),
        source: unescape(source),
        fstype: fstype.to_owned(),
        options,
    };
    Some((unescape(at), live))
}

/// Returns the device and the folder on it that a path is, written as one text.
fn place_of(path: &str, mounts: &[(String, Live)]) -> Option<String> {
    let is_above =
        |at: &str| at == "/" || path == at || path.strip_prefix(at).is_some_and(|rest| rest.starts_with('/'));
    // The last of equals is the one that is seen.
    let (at, live) = mounts.iter().filter(|(at, _)| is_above(at)).max_by_key(|(at, _)| at.len())?;
    let rest = if at == "/" { path } else { path.strip_prefix(at.as_str())? };
    Some(format!("{} {}", live.device, join(&live.root, rest)))
}

fn join(root: &str, rest: &str) -> String {
    let joined = format!("{}/{}", root.trim_end_matches('/'), rest.trim_start_matches('/'));
    let joined = joined.trim_end_matches('/');
    if joined.is_empty() { "/".to_owned() } else { joined.to_owned() }
}

/// Returns whether an option is for `mount` and the boot only, and never reaches the kernel.
fn is_userspace(option: &str) -> bool {
    matches!(
        option,
        "defaults" | "auto" | "noauto" | "nofail" | "_netdev" | "user" | "users" | "nouser" | "owner" | "group" | "rw"
    ) || option.starts_with("x-")
        || option.starts_with("X-")
        || option.starts_with("comment=")
}

/// Returns a number of bytes that is written as `512m`; none for a share of the memory.
fn bytes(size: &str) -> Option<u64> {
    let digits = size.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match size.get(digits.len()..)?.to_ascii_lowercase().as_str() {
        "" => 1,
        "k" => 1 << 10,
        "m" => 1 << 20,
        "g" => 1 << 30,
        "t" => 1_u64 << 40,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

impl Mount {
    fn is_bind(&self) -> bool {
        self.options.iter().any(|option| option == "bind" || option == "rbind")
    }

    fn source(&self) -> &str {
        self.source.as_deref().unwrap_or_default()
    }

    fn fstype(&self) -> &str {
        self.fstype.as_deref().unwrap_or("none")
    }

    fn options_text(&self) -> String {
        if self.options.is_empty() { "defaults".to_owned() } else { self.options.join(",") }
    }

    /// Returns the line of `/etc/fstab`.
    fn line(&self) -> String {
        let fields = [self.source(), self.path.as_str(), self.fstype(), &self.options_text()].map(escape);
        format!("{} {} {}", fields.join(" "), self.dump, self.pass)
    }

    /// Returns the path of the device that the source is; none where it is no device.
    fn device_path(&self) -> Option<String> {
        let source = self.source();
        for (tag, folder) in
            [("UUID=", "by-uuid"), ("LABEL=", "by-label"), ("PARTUUID=", "by-partuuid"), ("PARTLABEL=", "by-partlabel")]
        {
            if let Some(value) = source.strip_prefix(tag) {
                return Some(format!("/dev/disk/{folder}/{}", value.trim_matches('"')));
            }
        }
        source.starts_with("/dev/").then(|| source.to_owned())
    }

    fn source_key(&self) -> String {
        format!("mount-source:{}", self.source())
    }

    fn source_query(&self) -> Option<Query> {
        let script = if self.is_bind() {
            // The kernel names the folder itself, never a link to it.
            sh!("readlink -f -- {}", self.source())
        } else {
            sh!("stat -L -c '%t:%T' -- {} 2>/dev/null", self.device_path()?)
        };
        Some(Query::Snippet { key: self.source_key(), tools: Vec::new(), script })
    }

    fn wants_option(&self, option: &str) -> bool {
        let implied: &[&str] = match option {
            "noexec" => &["noexec", "user", "users"],
            "nosuid" | "nodev" => &[option, "user", "users", "owner", "group"],
            _ => &[option],
        };
        self.options.iter().any(|given| implied.contains(&given.as_str()))
            && !HARDENING.iter().any(|(no, yes)| *no == option && self.options.iter().any(|given| given == yes))
    }

    /// Returns the options that are wanted and not live, and the ones that are live and wanted not to be.
    fn option_differences(&self, live: &Live) -> (BTreeSet<String>, BTreeSet<String>) {
        let (mut missing, mut surplus) = (BTreeSet::new(), BTreeSet::new());
        for option in SHOWN {
            if self.wants_option(option) && !live.options.contains(option) {
                missing.insert(option.to_owned());
            }
        }
        let given = |option: &str| self.options.iter().any(|given| given == option);
        if live.options.contains("ro") && !given("ro") {
            surplus.insert("ro".to_owned());
        }
        for (no, yes) in HARDENING {
            if live.options.contains(no) && given(yes) {
                surplus.insert(no.to_owned());
            }
        }
        for option in &self.options {
            let Some((name, wanted)) = option.split_once('=') else { continue };
            let found = live.options.iter().find_map(|o| o.split_once('=').filter(|(n, _)| *n == name).map(|(_, v)| v));
            let is_same = match (live.fstype.as_str(), name) {
                // The kernel rounds up to whole pages, and does not show its default.
                ("tmpfs", "size") => match bytes(wanted) {
                    Some(wanted) => found.and_then(bytes) == Some(wanted.next_multiple_of(4096)),
                    None => true,
                },
                ("tmpfs", "nr_inodes") => bytes(wanted).is_none() || found.and_then(bytes) == bytes(wanted),
                ("proc", "hidepid") => hidepid(wanted) == hidepid(found.unwrap_or("0")),
                // Other file systems show what they made of an option, which may be something else than was asked.
                _ => true,
            };
            if !is_same {
                missing.insert(option.clone());
                surplus.extend(found.map(|value| format!("{name}={value}")));
            }
        }
        (missing, surplus)
    }

    /// Returns whether what is mounted is not what is wanted, so that only mounting it anew helps.
    fn is_another(&self, live: &Live, source: Option<&str>) -> bool {
        let family = |fstype: &str| if fstype.starts_with("nfs") { "nfs".to_owned() } else { fstype.to_owned() };
        let wanted = self.fstype();
        if !self.is_bind()
            && !matches!(wanted, "auto" | "none")
            && !live.fstype.starts_with("fuse")
            && family(wanted) != family(&live.fstype)
        {
            return true;
        }
        if self.is_bind() {
            return source.is_some_and(|source| source != format!("{} {}", live.device, live.root));
        }
        if self.device_path().is_some() {
            // A file system without a device of its own (btrfs) says nothing of where it lives.
            return source.is_some_and(|source| !live.device.starts_with("0:") && source != live.device);
        }
        let is_remote = self.source().contains(":/") || self.source().starts_with("//");
        is_remote && self.source().trim_end_matches('/') != live.source.trim_end_matches('/')
    }

    fn desired_line(&self) -> Attributes {
        Attributes::from([
            ("source".into(), json!(self.source())),
            ("fstype".into(), json!(self.fstype())),
            ("options".into(), json!(self.options_text())),
            ("dump".into(), json!(self.dump)),
            ("pass".into(), json!(self.pass)),
        ])
    }

    fn diff_present(&self, observed: &ObservedMount) -> Change {
        let mut found = observed.line.as_deref().map(line_attributes).unwrap_or_default();
        let mut desired = self.desired_line();
        let mut remedy = Remedy::Nothing;
        if self.state == State::Mounted {
            found.insert("mounted".into(), json!(observed.live.is_some()));
            desired.insert("mounted".into(), json!(true));
            remedy = match &observed.live {
                None => Remedy::Mount,
                Some(live) => self.compare_live(live, observed, &mut found, &mut desired),
            };
        }
        let line_differs = observed.line.is_none() || line_attributes_differ(&found, &desired);
        if observed.line.is_none() && observed.live.is_none() {
            found = Attributes::new();
        }
        let mut change = if found.is_empty() {
            Change::create(self.id(), &desired)
        } else {
            Change::between(self.id(), &found, &desired)
        };
        if change.is_no_op() {
            return change.because(match self.state {
                State::Mounted => format!("it is mounted, and in {FSTAB} as wanted"),
                _ => format!("it is in {FSTAB} as wanted"),
            });
        }
        let (mut reverse, mut is_lost) = (Vec::new(), false);
        if self.state == State::Present && observed.path.is_none() {
            change = change.step(self.folder_step());
            reverse.push(self.remove_folder_step());
        }
        match remedy {
            Remedy::Nothing => {}
            Remedy::Mount => {
                change = change.step(self.mount_step(Script::default(), &self.line()));
                if observed.path.is_none() {
                    reverse.push(self.remove_folder_step());
                }
                reverse.insert(0, self.umount_step());
            }
            Remedy::Remount => {
                change = change.step(self.remount_step(observed));
                reverse.extend(observed.live.iter().map(|live| self.former_options_step(live)));
            }
            Remedy::Replace => {
                change.action = Action::Replace;
                // A line that already names what is wanted says nothing of what is mounted.
                let former = observed.line.as_deref().filter(|_| change.changes("source"));
                change = change.step(self.mount_step(sh!("umount -- {}", self.path), &self.line()));
                match observed.live.as_ref().and_then(|live| former_line(&self.path, former, live)) {
                    Some(former) => reverse.push(self.mount_step(sh!("umount -- {}", self.path), &former)),
                    None => is_lost = true,
                }
            }
        }
        if line_differs {
            change = change.step(self.fstab_step(Some(&self.line()), self.state == State::Present));
            reverse.insert(0, self.former_fstab_step(observed));
        }
        if is_lost { change.irreversible(LOST) } else { change.reversed_by(reverse) }
    }

    /// Adds what differs on the live side to the attributes, and returns what would mend it.
    fn compare_live(
        &self,
        live: &Live,
        observed: &ObservedMount,
        found: &mut Attributes,
        desired: &mut Attributes,
    ) -> Remedy {
        if self.is_another(live, observed.source.as_deref()) {
            found.insert("mounted_source".into(), json!(describe(live)));
            desired.insert("mounted_source".into(), json!(format!("{} ({})", self.source(), self.fstype())));
            return Remedy::Replace;
        }
        let (missing, surplus) = self.option_differences(live);
        if !missing.is_empty() || !surplus.is_empty() {
            found.insert("mounted_options".into(), json!(live.options.iter().collect::<Vec<_>>()));
            let after = live.options.iter().filter(|option| !surplus.contains(*option)).chain(&missing);
            desired.insert("mounted_options".into(), json!(after.collect::<BTreeSet<_>>()));
            return Remedy::Remount;
        }
        // An option that the kernel does not show the same way can only be told from the line that had it before.
        let kernel_options = |text: &str| -> BTreeSet<String> {
            text.split(',').filter(|option| !is_userspace(option)).map(str::to_owned).collect()
        };
        let before = found.get("options").and_then(|options| options.as_str()).map(kernel_options);
        match before {
            Some(before) if before != kernel_options(&self.options_text()) => Remedy::Remount,
            _ => Remedy::Nothing,
        }
    }

    fn folder_script(&self) -> Script {
        let path = &self.path;
        let mut script = sh!(
            "if [ -L {} ]; then echo {} >&2; exit 1; fi",
            path,
            format!("{path} is a symbolic link; mount at the folder that it leads to")
        );
        if self.is_bind() {
            // A file is bound to a file.
            script.push(&sh!(
                r#"if [ ! -e {} ]; then
  umask 022
  if [ -f {} ]; then mkdir -p -- {}; : >{}; else mkdir -p -- {}; fi
fi"#,
                path,
                self.source(),
                path.folder(),
                path,
                path
            ));
        } else {
            script.push(&sh!("if [ ! -d {} ]; then umask 022; mkdir -p -- {}; fi", path, path));
        }
        script
    }

    fn folder_step(&self) -> Step {
        Step::new(format!("make the folder {}", self.path), self.folder_script())
    }

    fn remove_folder_step(&self) -> Step {
        let path = &self.path;
        let script = sh!("if [ -d {} ]; then rmdir -- {}; else rm -f -- {}; fi", path, path, path);
        Step::new(format!("remove the folder {path}"), script)
    }

    /// Mounts from a line, so that what is tried is exactly what will stand in `/etc/fstab`.
    fn mount_step(&self, before: Script, line: &str) -> Step {
        let path = &self.path;
        let mut script = sh!(
            r#"_tab=$(mktemp -- /etc/.provision.XXXXXXXXXX)
trap 'rm -f -- "$_tab"' EXIT
printf '%s\n' {} >"$_tab""#,
            line
        );
        script.push(&self.folder_script());
        if !before.is_empty() {
            script.push(&before);
        }
        script.push(&sh!("mount -T \"$_tab\" -- {}", path));
        Step::new(format!("mount {path}"), script)
    }

    fn umount_step(&self) -> Step {
        Step::new(format!("unmount {}", self.path), sh!("umount -- {}", self.path))
    }

    fn remount_step(&self, observed: &ObservedMount) -> Step {
        let before = observed.line.as_deref().map(line_attributes).unwrap_or_default();
        let before = before.get("options").and_then(|o| o.as_str()).unwrap_or_default().to_owned();
        let mut options = vec!["remount".to_owned()];
        // `mount` drops what is not listed: hardening that nobody asked to be dropped is listed.
        for (no, yes) in HARDENING {
            let is_live = observed.live.as_ref().is_some_and(|live| live.options.contains(no));
            let was_ours = before.split(',').any(|option| option == no);
            if is_live && !was_ours && !self.options.iter().any(|option| option == yes) {
                options.push(no.to_owned());
            }
        }
        if !self.options.iter().any(|option| option == "ro") {
            options.push("rw".to_owned());
        }
        let own = self.options.iter().filter(|option| !is_userspace(option));
        options.extend(own.map(|option| if option == "rbind" { "bind".to_owned() } else { option.clone() }));
        for implied in ["noexec", "nosuid", "nodev"] {
            if self.wants_option(implied) && !options.iter().any(|option| option == implied) {
                options.push(implied.to_owned());
            }
        }
        let script = sh!("mount -o {} -- {} {}", options.join(","), self.source(), self.path);
        Step::new(format!("mount {} again with its options", self.path), script)
    }

    fn former_options_step(&self, live: &Live) -> Step {
        let mut options = vec!["remount"];
        if self.is_bind() {
            options.push("bind");
        }
        options.extend(live.options.iter().map(String::as_str).filter(|option| {
            let is_size = live.fstype == "tmpfs" && (option.starts_with("size=") || option.starts_with("nr_inodes="));
            let is_hidepid = live.fstype == "proc" && option.starts_with("hidepid=");
            matches!(*option, "rw" | "relatime" | "strictatime") || SHOWN.contains(option) || is_size || is_hidepid
        }));
        if live.fstype == "proc" && !options.iter().any(|option| option.starts_with("hidepid=")) {
            options.push("hidepid=0");
        }
        let script = sh!("mount -o {} -- {} {}", options.join(","), live.source, self.path);
        Step::new(format!("mount {} again with its former options", self.path), script)
    }

    fn former_fstab_step(&self, observed: &ObservedMount) -> Step {
        self.fstab_step(observed.line.as_deref(), false)
    }

    /// Refuses a line that is not tried by mounting it and would stop the next boot.
    fn boot_proof(&self) -> Script {
        let mut script = Script::constant(
            r#"printf '%s\n' "$_line" >"$_new"
_said=$(findmnt --verify --tab-file "$_new" 2>&1) || _wrong=1"#,
        );
        // `findmnt` only warns of a device that is named by its path and is not there.
        if let Some(device) = self.device_path() {
            script.push(&sh!("[ -e {} ] || { _wrong=1; _said={}; }", device, format!("there is no {device}")));
        }
        sh!("_wrong=0").then(script).then(Script::constant(
            r#"if [ "$_wrong" = 1 ]; then
  printf '%s\n' "$_said" >&2
  echo 'this line would stop the next boot, so it was not written; with `nofail` or `noauto` the boot goes on' >&2
  exit 1
fi"#,
        ))
    }

    /// Puts a line in the place of the one for this path, at the end where there is none, or takes it out.
    fn fstab_step(&self, line: Option<&str>, needs_proof: bool) -> Step {
        let mut script = sh!(
            r#"_at={}; _line={}
_new=$(mktemp -- /etc/.provision.XXXXXXXXXX)
trap 'rm -f -- "$_new"' EXIT"#,
            escape(self.path.as_str()),
            line.unwrap_or_default()
        );
        if needs_proof && !self.options.iter().any(|option| option == "nofail" || option == "noauto") {
            script.push(&self.boot_proof());
        }
        script.push(&Script::constant(
            r#"set -f
[ -e /etc/fstab ] || (umask 022; : >/etc/fstab)
cp -p -- /etc/fstab "$_new"
: >"$_new"
while IFS= read -r _l || [ -n "$_l" ]; do
  set -- $_l
  case ${1-} in
    ''|'#'*) ;;
    *) case ${2-} in /*) if [ "${2%/}" = "${_at%/}" ]; then
         if [ -n "$_line" ]; then printf '%s\n' "$_line" >>"$_new"; _line=; fi
         continue
       fi;; esac;;
  esac
  printf '%s\n' "$_l" >>"$_new"
done </etc/fstab
if [ -n "$_line" ]; then printf '%s\n' "$_line" >>"$_new"; fi
mv -fT -- "$_new" /etc/fstab
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi"#,
        ));
        let title = match line {
            Some(_) => format!("write the line of {} to {FSTAB}", self.path),
            None => format!("take the line of {} out of {FSTAB}", self.path),
        };
        Step::new(title, script)
    }

    fn diff_gone(&self, observed: &ObservedMount) -> Change {
        let line = observed.line.as_deref().filter(|_| self.state == State::Absent);
        let mut attributes = line.map(line_attributes).unwrap_or_default();
        if let Some(live) = &observed.live {
            attributes.insert("mounted".into(), json!(describe(live)));
        }
        if attributes.is_empty() {
            let reason =
                if self.state == State::Absent { "it is not there, as wanted" } else { "it is not mounted, as wanted" };
            return Change::no_op(self.id(), reason);
        }
        let mut change = Change::delete(self.id(), &attributes);
        let (mut reverse, mut is_lost) = (Vec::new(), false);
        if let Some(live) = &observed.live {
            change = change.step(self.umount_step());
            match former_line(&self.path, observed.line.as_deref(), live) {
                Some(former) => reverse.push(self.mount_step(Script::default(), &former)),
                None => is_lost = true,
            }
        }
        if line.is_some() {
            change = change.step(self.fstab_step(None, false));
            reverse.insert(0, self.former_fstab_step(observed));
        }
        if self.state == State::Unmounted {
            change = change.because("it must not be mounted");
        }
        if is_lost { change.irreversible(LOST) } else { change.reversed_by(reverse) }
    }
}

/// Returns the line that mounts again what was mounted before; none where only a part of a file system was.
fn former_line(path: &HostPath, line: Option<&str>, live: &Live) -> Option<String> {
    if let Some(line) = line {
        return Some(line.to_owned());
    }
    let options = live.options.iter().map(String::as_str).collect::<Vec<_>>().join(",");
    let fields = [&live.source, path.as_str(), &live.fstype, &options].map(escape);
    (live.root == "/").then(|| format!("{} 0 0", fields.join(" ")))
}

fn hidepid(value: &str) -> &str {
    match value {
        "off" => "0",
        "noaccess" => "1",
        "invisible" => "2",
        "ptraceable" => "4",
        other => other,
    }
}

fn describe(live: &Live) -> String {
    let folder = if live.root == "/" { String::new() } else { format!(", {}", live.root) };
    format!("{} ({}{folder})", live.source, live.fstype)
}

/// Returns the fields of a line of `/etc/fstab`.
fn line_attributes(line: &str) -> Attributes {
    let mut fields = line.split_whitespace().map(unescape);
    let mut attributes = Attributes::new();
    let source = fields.next().unwrap_or_default();
    fields.next();
    attributes.insert("source".into(), json!(source));
    attributes.insert("fstype".into(), json!(fields.next().unwrap_or_default()));
    attributes.insert("options".into(), json!(fields.next().unwrap_or_else(|| "defaults".to_owned())));
    for name in ["dump", "pass"] {
        let number = fields.next().and_then(|field| field.parse::<u8>().ok()).unwrap_or(0);
        attributes.insert(name.into(), json!(number));
    }
    attributes
}

fn line_attributes_differ(found: &Attributes, desired: &Attributes) -> bool {
    ["source", "fstype", "options", "dump", "pass"].iter().any(|name| found.get(*name) != desired.get(*name))
}

impl Kind for Mount {
    const NAME: &'static str = "mount";
    const SUMMARY: &'static str = "A file system at a path, in `/etc/fstab` and mounted";
    const EXAMPLE: &'static str = r#"- mount: {path: /tmp, source: tmpfs, fstype: tmpfs, options: [noexec, nodev, nosuid, size=512m]}
- mount:
    path: /var/lib/etcd
    source: UUID=0b5c2d3e-5a4f-4a3c-9d55-0c6f0a9d7c11
    fstype: ext4
    options: [noexec, nodev, nosuid]
    pass: 2
- mount: {path: /srv/old, state: absent}
"#;

    type Observed = ObservedMount;

    fn name(&self) -> String {
        self.path.as_str().to_owned()
    }

    fn check(&self) -> Vec<SpecProblem> {
        let mut problems = Vec::new();
        let is_wanted = matches!(self.state, State::Mounted | State::Present);
        if is_wanted {
            if self.source.as_ref().is_none_or(|source| source.is_empty()) {
                problems.push(SpecProblem::new("source", "it is not said what is to be mounted"));
            }
            if self.fstype.is_none() && !self.is_bind() {
                let problem = SpecProblem::new("fstype", "it is not said of which type the file system is");
                problems.push(problem.help("write `auto` to have `mount` find out"));
            }
        } else {
            for (field, is_given) in [
                ("source", self.source.is_some()),
                ("fstype", self.fstype.is_some()),
                ("options", !self.options.is_empty()),
            ] {
                if is_given {
                    problems.push(SpecProblem::new(field, "it has no meaning for what is not to be mounted"));
                }
            }
            if self.path.as_str() == "/" {
                problems.push(SpecProblem::new("state", "a host cannot be without its root"));
            }
        }
        if self.fstype.as_deref() == Some("swap") {
            problems.push(SpecProblem::new("fstype", "swap is not mounted").help("use the kind `swap`"));
        }
        if self.is_bind() && !self.source().starts_with('/') {
            problems.push(SpecProblem::new("source", "what is bound is an absolute path"));
        }
        for option in &self.options {
            if option.is_empty() || option.contains(|c: char| c == ',' || c.is_control()) {
                let problem = SpecProblem::new("options", format!("{option:?} is not one option"));
                problems.push(problem.help("write one option for each entry: `[noexec, nodev]`"));
            }
        }
        for (field, text) in [("source", &self.source), ("fstype", &self.fstype)] {
            if text.as_ref().is_some_and(|text| text.contains(char::is_control)) {
                problems.push(SpecProblem::new(field, "it has a line break or another control character"));
            }
        }
        if self.pass > 2 {
            problems.push(SpecProblem::new("pass", "it is 0, 1 or 2"));
        }
        problems
    }

    fn claims(&self) -> Vec<Claim> {
        // The path itself may be a `directory` too, whose owner and mode are those of the mounted root.
        vec![Claim::Resource(self.id())]
    }

    fn queries(&self) -> Vec<Query> {
        let script = Script::constant("cat /proc/self/mountinfo");
        let mut queries = vec![
            Query::Path(FSTAB.to_owned(), Want::Content),
            Query::Path(self.path.as_str().to_owned(), Want::Metadata),
            Query::Snippet { key: LIVE_KEY.to_owned(), tools: Vec::new(), script },
        ];
        if self.state == State::Mounted {
            queries.extend(self.source_query());
        }
        queries
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedMount, ObserveError> {
        let fstab = answers.path(FSTAB).and_then(|state| state.content.as_ref());
        let fstab = fstab.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned()).unwrap_or_default();
        let table = answers.snippet(LIVE_KEY).map(|output| output.text().into_owned()).unwrap_or_default();
        let mut mounts = Vec::new();
        for line in table.lines().filter(|line| !line.is_empty()) {
            let mount = parse_live(line);
            mounts.push(mount.ok_or_else(|| ObserveError::unexpected(self, format!("the mount {line:?}")))?);
        }
        let live = mounts.iter().rev().find(|(at, _)| at == self.path.as_str()).map(|(_, live)| live.clone());
        let said = answers.snippet(&self.source_key()).filter(|output| output.succeeded());
        let source = said.map(|output| output.text().into_owned()).filter(|text| !text.is_empty());
        let source = source.and_then(|text| {
            if self.is_bind() {
                return place_of(&text, &mounts);
            }
            let (major, minor) = text.split_once(':')?;
            let number = |hex: &str| u32::from_str_radix(hex, 16).ok();
            Some(format!("{}:{}", number(major)?, number(minor)?))
        });
        Ok(ObservedMount {
            line: find_line(&fstab, self.path.as_str()).map(str::to_owned),
            live,
            source,
            path: answers.path(self.path.as_str()).map(|state| state.kind),
        })
    }

    fn diff(&self, observed: &ObservedMount) -> Change {
        match self.state {
            State::Mounted | State::Present => self.diff_present(observed),
            State::Unmounted | State::Absent => self.diff_gone(observed),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_field_is_read_as_it_was_written(field in "[^\0]*") {
            let written = escape(&field);
            prop_assert!(!written.contains([' ', '\t', '\n']));
            prop_assert_eq!(unescape(&written), field);
        }
    }

    #[test]
    fn a_place_is_found_under_the_nearest_mount() {
        let lines = ["1 0 8:1 / / rw - ext4 /dev/sda1 rw", "2 1 8:2 /@data /srv rw - btrfs /dev/sdb1 rw,subvol=/@data"];
        let mounts: Vec<_> = lines.iter().filter_map(|line| parse_live(line)).collect();
        assert_eq!(place_of("/srv/a/b", &mounts).unwrap(), "8:2 /@data/a/b");
        assert_eq!(place_of("/srv", &mounts).unwrap(), "8:2 /@data");
        assert_eq!(place_of("/srvx", &mounts).unwrap(), "8:1 /srvx");
        assert_eq!(place_of("/", &mounts).unwrap(), "8:1 /");
    }
}
