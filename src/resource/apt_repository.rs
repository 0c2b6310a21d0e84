//! `apt.repository`: where apt gets packages from, and the key that signs them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::managed_file::{ManagedFile, ObservedFile, backup_name, restore_step};
use super::parts::{in_folder, join};
use super::read::{Answers, Query, Want};
use super::spec::{HostPath, Mode, Presence, ProjectPath};
use super::{Claim, Content, Input, Kind, ObserveError, SpecProblem, apt};
use crate::change::{Action, AttributeChange, Change, Reverse, Shown, Step};
use crate::sh;
use crate::shell::Script;

/// A repository of packages, in `/etc/apt/sources.list.d/NAME.sources`. Its lists are fetched when it changes, and if
/// their signatures do not verify, the former file is put back and the run stops there.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AptRepository {
    /// The name of its file, without `.sources`.
    name: String,
    /// Where it is: `https://mirror.par1.example/debian`.
    #[serde(default)]
    uris: Vec<String>,
    /// The suites, such as `bookworm`; a path that ends with `/` for a repository without components.
    #[serde(default)]
    suites: Vec<String>,
    /// The components; `main` by default.
    #[serde(default)]
    components: Option<Vec<String>>,
    /// Whether it has packages, sources of packages, or both.
    #[serde(default = "binary_packages")]
    types: Vec<RepositoryType>,
    /// The architectures; the host's own by default.
    #[serde(default)]
    architectures: Vec<String>,
    /// The path of a keyring that is on the host.
    #[serde(default)]
    signed_by: Option<HostPath>,
    /// The key as ASCII-armoured text. It is stored as `/etc/apt/keyrings/NAME.asc`.
    #[serde(default)]
    key: Option<String>,
    /// A file of the project's `files` folder with the ASCII-armoured key.
    #[serde(default)]
    key_source: Option<ProjectPath>,
    /// Whether the host gets packages from nowhere else: `/etc/apt/sources.list` is emptied, and every file beside this
    /// one is removed that no `apt.repository` wrote. The plan names them.
    #[serde(default)]
    exclusive: bool,
    /// Whether it is to be there.
    #[serde(default)]
    state: Presence,
    #[serde(skip)]
    supplied_key: Option<Content>,
}

/// What a repository has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RepositoryType {
    /// Packages.
    Deb,
    /// Sources of packages.
    DebSrc,
}

fn binary_packages() -> Vec<RepositoryType> {
    vec![RepositoryType::Deb]
}

/// A repository as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedRepository {
    sources: ObservedFile,
    key: ObservedFile,
    /// Whether the key file belongs to this repository's file as it was found.
    key_is_ours: bool,
    /// The files of other sources, where no other is to be.
    others: Vec<String>,
}

const FOLDER: &str = "/etc/apt/sources.list.d";
const MAIN_LIST: &str = "/etc/apt/sources.list";
const OTHERS: &str = "apt sources";
/// How a file begins that an `apt.repository` wrote.
const MARK: &str = "# Managed by provision: apt.repository[";

impl AptRepository {
    fn sources_path(&self) -> HostPath {
        HostPath::of(format!("{FOLDER}/{}.sources", self.name))
    }

    fn key_path(&self) -> HostPath {
        HostPath::of(format!("/etc/apt/keyrings/{}.asc", self.name))
    }

    fn has_own_key(&self) -> bool {
        !self.state.is_absent() && (self.key.is_some() || self.key_source.is_some())
    }

    fn sources_file(&self) -> ManagedFile {
        let types: Vec<&str> = self
            .types
            .iter()
            .map(|kind| match kind {
                RepositoryType::Deb => "deb",
                RepositoryType::DebSrc => "deb-src",
            })
            .collect();
        let mut text = format!("{MARK}{}].\nTypes: {}\n", self.name, types.join(" "));
        let mut field = |name: &str, words: &[String]| {
            if !words.is_empty() {
                text.push_str(&format!("{name}: {}\n", words.join(" ")));
            }
        };
        field("URIs", &self.uris);
        field("Suites", &self.suites);
        field("Components", &self.components());
        field("Architectures", &self.architectures);
        let key = self.signed_by.clone().unwrap_or_else(|| self.key_path());
        text.push_str(&format!("Signed-By: {key}\n"));
        ManagedFile::of_root(self.sources_path(), text, 0o644)
    }

    fn key_file(&self) -> ManagedFile {
        let own = self.key.as_ref().map(|key| Content::Text(format!("{}\n", key.trim_end()).into()));
        ManagedFile {
            path: self.key_path(),
            content: own.or_else(|| self.supplied_key.clone()),
            mode: Some(Mode::of(0o644)),
            owner: Some("root".to_owned()),
            group: Some("root".to_owned()),
            validate: None,
        }
    }

    /// Returns the components: none where each suite is a path of its own.
    fn components(&self) -> Vec<String> {
        match &self.components {
            Some(components) => components.clone(),
            None if self.suites.iter().all(|suite| suite.ends_with('/')) => Vec::new(),
            None => vec!["main".to_owned()],
        }
    }

    /// Returns the step that fetches the lists of this repository alone, and puts back what was there if that fails:
    /// otherwise the next plan would find the files as wanted, and nobody would hear of it again.
    fn fetch_step(&self, changed: &[HostPath]) -> Step {
        let restore: Script =
            changed.iter().map(|path| sh!("  _restore {} {}", path, backup_name(path.as_str()))).collect();
        let script = apt::functions().then(sh!(
            r#"if ! _apt update -o Dir::Etc::SourceList={} -o Dir::Etc::SourceParts=/dev/null \
  -o APT::Get::List-Cleanup=0 -o APT::Update::Error-Mode=any; then
{}
  _sorry 'apt could not fetch the lists of this repository or could not verify their signatures; what was there before is put back'
fi
_of=; [ ! -e "$_stale" ] || read -r _of <"$_stale" || :
if [ "$_of" = {} ]; then rm -f -- "$_stale"; fi"#,
            self.sources_path(),
            restore,
            self.name
        ));
        Step::new(format!("fetch the package lists of {} and verify their signatures", self.name), script)
    }

    /// Returns the change that removes all sources beside this one.
    fn diff_others(&self, observed: &ObservedRepository) -> Change {
        let id = self.id();
        if observed.others.is_empty() {
            return Change::no_op(id, "there are no other sources");
        }
        let mut change = Change::run(id, "there are other sources");
        change.action = Action::Update;
        let mut reverse = Vec::new();
        for other in &observed.others {
            let path = HostPath::of(other.clone());
            let keep = sh!("_keep {} {}", path, backup_name(other));
            change = change.step(if other == MAIN_LIST {
                Step::new(format!("empty {other}"), keep.then(sh!(": >{}", path)))
            } else {
                Step::new(format!("remove {other}"), keep.then(sh!("rm -f -- {}", path)))
            });
            reverse.insert(0, restore_step(&path));
        }
        change.attributes.push(AttributeChange {
            name: "other sources".to_owned(),
            before: Shown::Value(json!(observed.others)),
            after: Shown::Absent,
        });
        change.reversed_by(reverse)
    }

    fn diff_present(&self, observed: &ObservedRepository) -> Change {
        let id = self.id();
        let sources = self.sources_file();
        let mut sources = in_folder(sources.diff(id.clone(), &observed.sources), FOLDER);
        let mut key = if self.has_own_key() {
            in_folder(self.key_file().diff(id.clone(), &observed.key), self.key_path().folder())
        } else if observed.key_is_ours {
            self.key_file().diff_absent(id.clone(), &observed.key)
        } else {
            Change::no_op(id.clone(), "")
        };
        let others = self.diff_others(observed);
        let (is_new, text) = (sources.action == Action::Create, sources.text.clone());
        let changed: Vec<HostPath> = [(&sources, self.sources_path()), (&key, self.key_path())]
            .into_iter()
            .filter(|(change, _)| change.changes("content") && change.action != Action::Delete)
            .map(|(_, path)| path)
            .collect();
        let mut fetch = Change::no_op(id.clone(), "");
        if !changed.is_empty() {
            fetch = fetch.step(self.fetch_step(&changed));
            // A run that is cut off before the lists are fetched leaves the mark, and the next installation fetches them.
            for part in [&mut sources, &mut key] {
                if let Some(step) = part.steps.first_mut().filter(|_| part.action != Action::Delete) {
                    step.script = apt::mark_stale(&self.name).then(std::mem::take(&mut step.script));
                }
            }
        }
        let reasons: Vec<String> = [("", &sources), ("key: ", &key), ("", &others)]
            .into_iter()
            .filter(|(_, part)| !part.is_no_op())
            .map(|(name, part)| format!("{name}{}", part.reason))
            .collect();
        let (key, sources, fetch) = (("key", key), ("", sources), ("", fetch));
        // A new key is there before the file that names it; an old one goes when nothing needs it any more.
        let parts = if self.has_own_key() { [key, sources, fetch] } else { [sources, fetch, key] };
        let parts = parts.into_iter().chain([("", others)]).collect();
        let mut change = join(id, parts);
        if change.is_no_op() {
            return change.because(if self.exclusive {
                "its file and its key are as wanted, and there are no other sources"
            } else {
                "its file and its key are as wanted"
            });
        }
        change.action = if is_new { Action::Create } else { Action::Update };
        change.reason = if is_new { "it is not there".to_owned() } else { reasons.join("; ") };
        change.text = text.or(change.text);
        with_stale_lists(change)
    }

    fn diff_absent(&self, observed: &ObservedRepository) -> Change {
        let id = self.id();
        let sources = self.sources_file().diff_absent(id.clone(), &observed.sources);
        let key = if observed.key_is_ours {
            self.key_file().diff_absent(id.clone(), &observed.key)
        } else {
            Change::no_op(id.clone(), "")
        };
        let change = join(id, vec![("", sources), ("key", key)]);
        if change.is_no_op() {
            return change.because("it is not there, as wanted");
        }
        with_stale_lists(change)
    }
}

/// Has the lists fetched anew before the next installation once the change is taken back.
fn with_stale_lists(mut change: Change) -> Change {
    if let Reverse::Steps(steps) = &mut change.reverse {
        steps.push(Step::new(
            "have the package lists fetched before the next installation",
            apt::mark_stale("rollback"),
        ));
    }
    change
}

impl Kind for AptRepository {
    const NAME: &'static str = "apt.repository";
    const SUMMARY: &'static str = "A signed repository that apt gets packages from, if you like the only one";
    const EXAMPLE: &'static str = r#"- apt.repository:
    name: mirror
    uris: [https://mirror.par1.example/debian]
    suites: [bookworm, bookworm-updates]
    components: [main, non-free-firmware]
    signed_by: /usr/share/keyrings/debian-archive-keyring.gpg
    exclusive: true
- apt.repository:
    name: internal
    uris: [https://mirror.par1.example/internal]
    suites: [stable]
    key_source: apt/internal.asc
"#;

    type Observed = ObservedRepository;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn check(&self) -> Vec<SpecProblem> {
        let mut problems = Vec::new();
        let is_word = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
        if self.name.is_empty() || self.name.starts_with(['.', '-']) || !self.name.chars().all(is_word) {
            let problem = SpecProblem::new("name", format!("{:?} is no name of a file that apt would read", self.name));
            problems.push(problem.help("use letters, digits, `_`, `-` and `.`"));
        }
        if self.state.is_absent() {
            return problems;
        }
        let components = self.components();
        for (field, words) in [
            ("uris", &self.uris),
            ("suites", &self.suites),
            ("components", &components),
            ("architectures", &self.architectures),
        ] {
            for word in words {
                if word.is_empty()
                    || word.starts_with('-')
                    || word.contains(|c: char| c.is_whitespace() || c.is_control())
                {
                    problems.push(SpecProblem::new(field, format!("{word:?} is not one word")));
                }
            }
        }
        for uri in &self.uris {
            let scheme = uri.split_once(":/").map_or("", |(scheme, _)| scheme);
            if scheme.is_empty() || !scheme.chars().all(|c| c.is_ascii_lowercase() || c == '+') {
                problems.push(SpecProblem::new("uris", format!("{uri:?} is not the address of a repository")));
            }
        }
        for (field, words) in [("uris", &self.uris), ("suites", &self.suites)] {
            if words.is_empty() {
                problems.push(SpecProblem::new(field, format!("there are no {field}")));
            }
        }
        if self.types.is_empty() {
            problems.push(SpecProblem::new("types", "there are no types"));
        }
        if self.suites.iter().any(|suite| suite.ends_with('/')) != components.is_empty() {
            let problem = SpecProblem::new("components", "a suite that ends with `/` has no components, any other has");
            problems.push(problem.help("declare the two kinds of suite as two repositories"));
        }
        let keys: Vec<&'static str> = [
            ("signed_by", self.signed_by.is_some()),
            ("key", self.key.is_some()),
            ("key_source", self.key_source.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, is_given)| is_given.then_some(name))
        .collect();
        match keys.as_slice() {
            [] => {
                let problem = SpecProblem::new("", "nothing says which key signs the repository, so anybody could");
                problems.push(problem.help("give `signed_by`, `key` or `key_source`"));
            }
            [_] => {}
            [first, second, ..] => {
                let message = format!("`{first}` and `{second}` both say which key signs the repository");
                problems.push(SpecProblem::new(second, message).help("keep one of them"));
            }
        }
        if let Some(key) = &self.key
            && !key.trim_start().starts_with("-----BEGIN PGP PUBLIC KEY BLOCK-----")
        {
            let problem = SpecProblem::new("key", "this is not an ASCII-armoured public key");
            problems.push(problem.help("`gpg --armor --export KEY` prints one"));
        }
        problems
    }

    fn claims(&self) -> Vec<Claim> {
        let mut claims = vec![Claim::Path(self.sources_path().as_str().to_owned())];
        if self.has_own_key() {
            claims.push(Claim::Path(self.key_path().as_str().to_owned()));
        }
        claims
    }

    fn inputs(&self) -> Vec<Input> {
        self.key_source.iter().map(|source| Input::Source(source.as_path().to_owned())).collect()
    }

    fn supply(&mut self, contents: Vec<Content>) {
        self.supplied_key = contents.into_iter().next();
    }

    fn queries(&self) -> Vec<Query> {
        let mut queries = if self.state.is_absent() {
            vec![Query::Path(self.sources_path().as_str().to_owned(), Want::Content)]
        } else {
            self.sources_file().queries(true)
        };
        if self.has_own_key() {
            queries.extend(self.key_file().queries(self.key_source.is_none()));
        } else {
            queries.push(Query::Path(self.key_path().as_str().to_owned(), Want::Metadata));
        }
        if self.exclusive && !self.state.is_absent() {
            // The same for all repositories, so that it is asked once; only builtins.
            let script = sh!(
                r#"_list={}
if [ -e "$_list" ]; then
  while read -r _line || [ -n "$_line" ]; do
    case $_line in ''|'#'*) ;; *) echo "$_list"; break;; esac
  done <"$_list"
fi
for _list in {}/*.list {}/*.sources; do
  [ -f "$_list" ] || continue
  # apt reads no other names.
  case ${_list##*/} in *[!A-Za-z0-9_.-]*) continue;; esac
  _line=; read -r _line <"$_list" || :
  case $_line in {}*) ;; *) echo "$_list";; esac
done"#,
                MAIN_LIST,
                FOLDER,
                FOLDER,
                MARK
            );
            queries.push(Query::Snippet { key: OTHERS.to_owned(), tools: Vec::new(), script });
        }
        queries
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedRepository, ObserveError> {
        let sources = self.sources_file().observe(answers);
        let signed_by = format!("Signed-By: {}", self.key_path());
        let is_ours = |text: &str| text.starts_with(MARK) && text.lines().any(|line| line == signed_by);
        let key = self.key_file().observe(answers);
        let own = self.sources_path();
        let others = answers.snippet(OTHERS).filter(|_| self.exclusive).map(|output| {
            let text = output.text().into_owned();
            let paths = text.lines().filter(|path| path.starts_with("/etc/apt/") && *path != own.as_str());
            paths.map(str::to_owned).collect()
        });
        Ok(ObservedRepository {
            key_is_ours: key.is_there() && sources.text().is_some_and(is_ours),
            sources,
            key,
            others: others.unwrap_or_default(),
        })
    }

    fn diff(&self, observed: &ObservedRepository) -> Change {
        match self.state {
            Presence::Present => self.diff_present(observed),
            Presence::Absent => self.diff_absent(observed),
        }
    }
}
