//! `archive`: an archive of the project's `files` folder, unpacked into a directory.
//!
//! What was unpacked is remembered in `/var/lib/provision/archive`, not in the directory: there it would be one more
//! file that the archive's owner can change, that a `purge` removes, and that a web server may publish.
//!
//! The archive is unpacked into an empty directory beside its destination, where no link can lead it anywhere, and
//! what is in it is looked over before the first file of the destination changes.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::managed_file::backup_name;
use super::read::{Answers, FileKind, Query, Want};
use super::spec::{HostPath, ProjectPath};
use super::{Content, Input, Kind, ObserveError, SpecProblem};
use crate::change::{Action, Attributes, Change, Step};
use crate::sh;
use crate::shell::Script;

/// An archive unpacked into a directory. Files that an older archive brought and this one does not have stay.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// The archive, in the project's `files` folder: `.tar`, `.tar.gz`, `.tar.xz`, `.tar.zst`, `.tar.bz2` or `.zip`.
    source: ProjectPath,
    /// The directory on the host that it is unpacked into. It is made where it is not there; its parent must be.
    dest: HostPath,
    /// The owner of what is unpacked.
    #[serde(default = "root")]
    owner: String,
    /// The group of what is unpacked.
    #[serde(default = "root")]
    group: String,
    /// How many leading parts of each name in the archive are left out.
    #[serde(default)]
    strip: u32,
    /// A path that the archive brings: where it is missing, the archive is unpacked again.
    #[serde(default)]
    creates: Option<HostPath>,
    #[serde(skip)]
    supplied: Option<Content>,
}

fn root() -> String {
    "root".to_owned()
}

/// An archive's destination as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedArchive {
    dest_is_there: bool,
    /// What was unpacked into it, as it was remembered.
    unpacked: BTreeMap<String, String>,
    /// Whether what it creates is there.
    created: bool,
}

/// How an archive is packed: the suffixes of its name, `tar`'s option, and the program with its package.
struct Format {
    suffixes: &'static [&'static str],
    option: &'static str,
    tool: (&'static str, &'static str),
}

const ZIP: &str = "zip";

const FORMATS: [Format; 6] = [
    Format { suffixes: &[".tar"], option: "", tool: ("tar", "tar") },
    Format { suffixes: &[".tar.gz", ".tgz"], option: "--gzip", tool: ("gzip", "gzip") },
    Format { suffixes: &[".tar.xz", ".txz"], option: "--xz", tool: ("xz", "xz-utils") },
    Format { suffixes: &[".tar.zst", ".tzst"], option: "--zstd", tool: ("zstd", "zstd") },
    Format { suffixes: &[".tar.bz2", ".tbz2"], option: "--bzip2", tool: ("bzip2", "bzip2") },
    Format { suffixes: &[".zip"], option: ZIP, tool: ("unzip", "unzip") },
];

impl Archive {
    fn format(&self) -> Option<&'static Format> {
        let name = self.source.as_path().as_str();
        FORMATS.iter().find(|format| format.suffixes.iter().any(|suffix| name.ends_with(suffix)))
    }

    fn stamp(&self) -> HostPath {
        let name = backup_name(self.dest.as_str());
        HostPath::parse(&format!("/var/lib/provision/archive/{name}")).expect("the path is plain")
    }

    /// Returns what is to be remembered of what was unpacked.
    fn wanted(&self) -> BTreeMap<String, String> {
        let digest = self.supplied.as_ref().map(Content::sha256).unwrap_or_default();
        BTreeMap::from([
            ("content".to_owned(), format!("sha256:{digest}")),
            ("owner".to_owned(), self.owner.clone()),
            ("group".to_owned(), self.group.clone()),
            ("strip".to_owned(), self.strip.to_string()),
        ])
    }

    /// Returns the name of the folder in the run's backup where replaced files are kept.
    fn backup(&self) -> String {
        format!("{}.archive", backup_name(self.dest.as_str()))
    }

    fn unpack_script(&self) -> Script {
        // A name with another ending is refused by `check`, before any host is asked.
        let format = self.format().unwrap_or(&FORMATS[0]);
        let (tool, package) = format.tool;
        let mut script = sh!(
            r#"command -v {} >/dev/null 2>&1 || { echo {} >&2; exit 1; }"#,
            tool,
            format!("`{tool}` is not there, which unpacks {}; install the package `{package}`", self.source.as_path())
        );
        if format.option == ZIP {
            script.push(&sh!(
                r#"_payload >"$_work/archive"
unzip -q -o -d "$_work/all" "$_work/archive" >&2
rm -f -- "$_work/archive"
find "$_work/all" -mindepth {} -maxdepth {} -exec mv -t "$_new" -- '{}' +"#,
                self.strip + 1,
                self.strip + 1,
                Script::constant("{}")
            ));
        } else {
            script.push(&sh!(
                r#"_payload | tar -x {} --no-same-owner --no-same-permissions --strip-components={} -C "$_new" -f - >&2"#,
                Script::constant(format.option),
                self.strip
            ));
        }
        script
    }

    fn unpack_step(&self) -> Step {
        let stamp: String = self.wanted().iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        let script = sh!(
            r#"_dest={}; _dir={}; _owner={}; _kept=$_backup/{}
umask 022
[ -d "$_dir" ] || { echo "the directory $_dir is not there; declare it before" >&2; exit 1; }
if [ -L "$_dest" ] || { [ -e "$_dest" ] && [ ! -d "$_dest" ]; }; then echo "$_dest is not a directory" >&2; exit 1; fi
_stamp={}
_keep "$_stamp" {}
_work=$(mktemp -d -- "$_dir/.provision.XXXXXXXXXX")
trap 'rm -rf -- "$_work"' EXIT
_new=$_work/new; mkdir -- "$_new"
{}
[ -n "$(ls -A "$_new")" ] || { echo "nothing was unpacked: the archive is empty, or strips to nothing" >&2; exit 1; }
_odd=$(find "$_new" ! -type f ! -type d ! -type l -print | head -n 1)
[ -z "$_odd" ] || { echo "the archive has a device or a pipe in it: ${_odd#"$_new/"}" >&2; exit 1; }
chown -Rh -- "$_owner" "$_new"
find "$_new" ! -type l -perm /6000 -exec chmod ug-s -- '{}' +
if [ -d "$_dest" ]; then
  if [ ! -e "$_kept/complete" ] && [ ! -e "$_kept/made" ]; then
    rm -rf -- "$_kept"; mkdir -p -m 0700 -- "$_kept"
    cd -- "$_new"
    find . -mindepth 1 ! -type d -exec sh -c '
      for _f do
        if [ -d "$0/$_f" ] && [ ! -L "$0/$_f" ]; then echo "$0/$_f is a directory, and the archive has a file" >&2; exit 1; fi
        if [ -e "$0/$_f" ] || [ -L "$0/$_f" ]; then printf "%s\0" "$_f"; else printf "%s\0" "$_f" >&3; fi
      done' "$_dest" '{}' + >"$_kept/old" 3>"$_kept/new"
    find . -mindepth 1 -depth -type d -exec sh -c '
      for _f do
        if [ -L "$0/$_f" ] || { [ -e "$0/$_f" ] && [ ! -d "$0/$_f" ]; }; then
          echo "$0/$_f is no directory, and the archive has one" >&2; exit 1
        fi
        if [ -d "$0/$_f" ]; then printf "%s\0" "$_f"; else printf "%s\0" "$_f" >&3; fi
      done' "$_dest" '{}' + >>"$_kept/old" 3>"$_kept/folders"
    if [ -s "$_kept/old" ]; then tar -C "$_dest" --null --no-recursion -T "$_kept/old" -cf "$_kept/old.tar"; fi
    : >"$_kept/complete"
  fi
  # A link in the place of a file gives way first: not every `cp` would spare what it leads to.
  cd -- "$_new"
  find . ! -type d -exec sh -c 'for _f do [ ! -L "$0/$_f" ] || rm -f -- "$0/$_f"; done' "$_dest" '{}' +
  find "$_new" -mindepth 1 -maxdepth 1 -exec cp -a --remove-destination -t "$_dest" -- '{}' +
else
  [ -d "$_kept" ] || mkdir -p -m 0700 -- "$_kept"
  : >"$_kept/made"
  chmod 0755 -- "$_new"
  mv -T -- "$_new" "$_dest"
fi
cd /
mkdir -p -m 0700 /var/lib/provision; mkdir -p -m 0700 /var/lib/provision/archive
printf '%s' {} >"$_work/stamp"
mv -fT -- "$_work/stamp" "$_stamp""#,
            self.dest,
            self.dest.folder(),
            format!("{}:{}", self.owner, self.group),
            self.backup(),
            self.stamp(),
            backup_name(self.stamp().as_str()),
            self.unpack_script(),
            Script::constant("{}"),
            Script::constant("{}"),
            Script::constant("{}"),
            Script::constant("{}"),
            Script::constant("{}"),
            stamp
        );
        let payload = self.supplied.clone().unwrap_or_else(|| Content::Text("".into())).payload();
        Step::new(format!("unpack {} into {}", self.source.as_path(), self.dest), script).with_payload(payload)
    }

    fn take_back_step(&self) -> Step {
        // Whether the directory was there before the archive, the step knows better than the plan: a task before it
        // may have made it.
        let script = sh!(
            r#"_dest={}; _kept=$_backup/{}
if [ -e "$_kept/made" ]; then
  rm -rf -- "$_dest"
elif [ -e "$_kept/complete" ]; then
  cd -- "$_dest"
  xargs -0 -r rm -f -- <"$_kept/new"
  xargs -0 -r rmdir -- <"$_kept/folders"
  if [ -e "$_kept/old.tar" ]; then tar -xpf "$_kept/old.tar" --same-owner; fi
fi
_restore {} {}"#,
            self.dest,
            self.backup(),
            self.stamp(),
            backup_name(self.stamp().as_str())
        );
        Step::new(format!("take back what was unpacked into {}", self.dest), script)
    }
}

impl Kind for Archive {
    const NAME: &'static str = "archive";
    const SUMMARY: &'static str = "An archive of the project, unpacked into a directory";
    const EXAMPLE: &'static str = r#"- archive:
    source: console/console-2.4.1.tar.zst
    dest: /opt/console
    strip: 1
    creates: /opt/console/bin/console
"#;

    type Observed = ObservedArchive;

    fn name(&self) -> String {
        self.dest.as_str().to_owned()
    }

    fn check(&self) -> Vec<SpecProblem> {
        let mut problems = Vec::new();
        if self.format().is_none() {
            let known: Vec<&str> = FORMATS.iter().flat_map(|format| format.suffixes).copied().collect();
            let message = format!("{} is not called as an archive is", self.source.as_path());
            problems.push(SpecProblem::new("source", message).help(format!("known are {}", known.join(", "))));
        }
        if self.dest.folder() == "/" && ["/", "/etc", "/usr", "/var", "/root", "/home"].contains(&self.dest.as_str()) {
            problems.push(SpecProblem::new("dest", format!("nothing is unpacked into {} itself", self.dest)));
        }
        for (field, name) in [("owner", &self.owner), ("group", &self.group)] {
            if name.is_empty() || name.contains([':', '\n', '=']) {
                problems.push(SpecProblem::new(field, format!("{name:?} is no name of an account")));
            }
        }
        problems
    }

    fn inputs(&self) -> Vec<Input> {
        vec![Input::Source(self.source.as_path().to_owned())]
    }

    fn supply(&mut self, contents: Vec<Content>) {
        self.supplied = contents.into_iter().next();
    }

    fn queries(&self) -> Vec<Query> {
        let mut queries = vec![
            Query::Path(self.stamp().as_str().to_owned(), Want::Content),
            Query::Path(self.dest.as_str().to_owned(), Want::Metadata),
        ];
        queries.extend(self.creates.iter().map(|path| Query::Path(path.as_str().to_owned(), Want::Metadata)));
        queries
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedArchive, ObserveError> {
        let dest = answers.path(self.dest.as_str());
        if let Some(found) = dest
            && found.kind != FileKind::Directory
        {
            let message = format!("{} is not a directory, which an archive is unpacked into", self.dest);
            return Err(ObserveError::unexpected(self, message));
        }
        let stamp = answers.path(self.stamp().as_str()).and_then(|state| state.content.as_ref());
        let text = stamp.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned()).unwrap_or_default();
        let unpacked = text.lines().filter_map(|line| line.split_once('='));
        Ok(ObservedArchive {
            dest_is_there: dest.is_some(),
            unpacked: unpacked.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            created: self.creates.as_ref().is_none_or(|path| answers.path(path.as_str()).is_some()),
        })
    }

    fn diff(&self, observed: &ObservedArchive) -> Change {
        let id = Kind::id(self);
        let attributes = |map: &BTreeMap<String, String>| -> Attributes {
            map.iter().map(|(name, value)| (name.clone(), json!(value))).collect()
        };
        let (found, wanted) = (attributes(&observed.unpacked), attributes(&self.wanted()));
        let change = if !observed.dest_is_there {
            Change::create(id, &wanted)
        } else if observed.unpacked.is_empty() {
            let mut change = Change::create(id, &wanted).because("it was not unpacked here");
            change.action = Action::Update;
            change
        } else {
            let mut change = Change::between(id, &found, &wanted);
            match (change.is_no_op(), &self.creates) {
                (true, Some(creates)) if !observed.created => {
                    change = Change::create(Kind::id(self), &wanted);
                    change.action = Action::Update;
                    change = change.because(format!("{creates} is missing"));
                }
                (true, _) => return change.because("this archive was unpacked here"),
                (false, _) => {}
            }
            change
        };
        change.step(self.unpack_step()).reversed_by(vec![self.take_back_step()])
    }
}
