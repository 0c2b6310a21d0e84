//! `sudoers`: a file of sudo's rules in `/etc/sudoers.d`, which `visudo` has accepted.

use std::fmt::Write;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::managed_file::{ManagedFile, ObservedFile};
use super::read::{Answers, Query};
use super::spec::{HostPath, Mode, Presence, ProjectPath};
use super::{Claim, Content, Input, Kind, ObserveError, SpecProblem, way};
use crate::change::Change;
use crate::shell::Script;

/// A file in `/etc/sudoers.d`. Give `rules` and `defaults`, or the text itself as `content` or `template`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sudoers {
    /// The file's name in `/etc/sudoers.d`, without `.` and `~`: sudo passes over names that have them.
    name: String,
    /// Who may run what as whom.
    #[serde(default)]
    rules: Vec<Rule>,
    /// Lines that set options, each as sudo reads it, such as `Defaults:deploy !requiretty`.
    #[serde(default)]
    defaults: Vec<String>,
    /// The file's content, as it is.
    #[serde(default)]
    content: Option<String>,
    /// A template of the project's `templates` folder, rendered for the host.
    #[serde(default)]
    template: Option<ProjectPath>,
    /// Whether the file is to be there.
    #[serde(default)]
    state: Presence,
    #[serde(skip)]
    supplied: Option<Content>,
}

/// One rule: these users and groups may run these commands.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// The users who may.
    #[serde(default)]
    users: Vec<String>,
    /// The groups whose members may.
    #[serde(default)]
    groups: Vec<String>,
    /// The hosts on which they may, by sudo's own names for them.
    #[serde(default = "all")]
    hosts: Vec<String>,
    /// The users they may become.
    #[serde(default = "root", rename = "as")]
    run_as: Vec<String>,
    /// The groups they may take.
    #[serde(default)]
    as_groups: Vec<String>,
    /// The commands, with arguments where those are fixed, as sudo reads them: `/usr/bin/systemctl restart nginx`.
    ///
    /// In arguments, sudo wants `,` `:` `=` and `\` behind a `\`. An empty argument is `""`: no argument is accepted.
    commands: Vec<String>,
    /// Whether no password is asked.
    #[serde(default)]
    nopasswd: bool,
    /// How the commands run.
    #[serde(default)]
    tags: Vec<Tag>,
}

fn all() -> Vec<String> {
    vec!["ALL".to_owned()]
}

fn root() -> Vec<String> {
    vec!["root".to_owned()]
}

/// How a command runs, in sudo's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Tag {
    /// It may run other programs.
    Exec,
    /// It may not run other programs.
    Noexec,
    /// `sudoedit` follows symbolic links.
    Follow,
    /// `sudoedit` does not follow symbolic links.
    Nofollow,
    /// Programs that it runs are checked too.
    Intercept,
    /// Programs that it runs are not checked.
    Nointercept,
    /// What is typed is logged.
    LogInput,
    /// What is typed is not logged.
    NologInput,
    /// What it prints is logged.
    LogOutput,
    /// What it prints is not logged.
    NologOutput,
    /// A mail says that it ran.
    Mail,
    /// No mail says that it ran.
    Nomail,
    /// The user may set its environment.
    Setenv,
    /// The user may not set its environment.
    Nosetenv,
}

impl Tag {
    fn as_str(self) -> &'static str {
        match self {
            Tag::Exec => "EXEC",
            Tag::Noexec => "NOEXEC",
            Tag::Follow => "FOLLOW",
            Tag::Nofollow => "NOFOLLOW",
            Tag::Intercept => "INTERCEPT",
            Tag::Nointercept => "NOINTERCEPT",
            Tag::LogInput => "LOG_INPUT",
            Tag::NologInput => "NOLOG_INPUT",
            Tag::LogOutput => "LOG_OUTPUT",
            Tag::NologOutput => "NOLOG_OUTPUT",
            Tag::Mail => "MAIL",
            Tag::Nomail => "NOMAIL",
            Tag::Setenv => "SETENV",
            Tag::Nosetenv => "NOSETENV",
        }
    }
}

/// Returns a user's or group's name with what sudo would read as its own syntax behind a `\`.
fn escaped(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for c in name.chars() {
        if matches!(c, '@' | '!' | '=' | ':' | ',' | '(' | ')' | '\\' | ' ' | '"') {
            text.push('\\');
        }
        text.push(c);
    }
    text
}

impl Rule {
    fn line(&self) -> String {
        let users = self.users.iter().map(|user| escaped(user));
        let groups = self.groups.iter().map(|group| format!("%{}", escaped(group)));
        let who: Vec<String> = users.chain(groups).collect();
        let escape_all = |names: &[String]| names.iter().map(|name| escaped(name)).collect::<Vec<_>>().join(", ");
        let mut run_as = escape_all(&self.run_as);
        if !self.as_groups.is_empty() {
            run_as = format!("{run_as} : {}", escape_all(&self.as_groups));
        }
        let mut line = format!("{} {} = ({}) ", who.join(", "), self.hosts.join(", "), run_as.trim());
        if self.nopasswd {
            line.push_str("NOPASSWD: ");
        }
        for tag in &self.tags {
            let _ = write!(line, "{}: ", tag.as_str());
        }
        line + &self.commands.join(", ")
    }
}

impl Sudoers {
    fn generated(&self) -> Option<Content> {
        if self.rules.is_empty() && self.defaults.is_empty() {
            return None;
        }
        let mut text = String::from("# Managed by provision: changes made here are lost.\n");
        for line in &self.defaults {
            text.push_str(line);
            text.push('\n');
        }
        for rule in &self.rules {
            text.push_str(&rule.line());
            text.push('\n');
        }
        Some(Content::Text(text.into()))
    }

    fn managed(&self) -> ManagedFile {
        let own = self.content.as_ref().map(|text| Content::Text(text.as_str().into()));
        // A name with a slash is refused by `check`, before any host is asked.
        let path = HostPath::parse(&format!("/etc/sudoers.d/{}", self.name.replace('/', "_")));
        let path = path.unwrap_or_else(|_| HostPath::parse("/etc/sudoers.d/unnamed").expect("the path is plain"));
        ManagedFile {
            path,
            content: own.or_else(|| self.supplied.clone()).or_else(|| self.generated()),
            mode: Some(Mode::of(0o440)),
            owner: Some("root".to_owned()),
            group: Some("root".to_owned()),
            // `-q` is left out: what visudo says is what the user needs to mend it.
            validate: Some("visudo -cf % >&2".to_owned()),
        }
    }
}

impl Kind for Sudoers {
    const NAME: &'static str = "sudoers";
    const SUMMARY: &'static str = "Who may run what as whom: a file in /etc/sudoers.d, checked by visudo";
    const EXAMPLE: &'static str = r#"- sudoers:
    name: deploy
    defaults: ["Defaults:deploy !requiretty"]
    rules:
      - users: [deploy]
        as: [www-data]
        commands: [/usr/bin/systemctl --user restart console, /usr/bin/rsync --server *]
        nopasswd: true
      - groups: [ops]
        commands: [/usr/bin/journalctl]
        tags: [NOEXEC]
"#;

    type Observed = ObservedFile;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn check(&self) -> Vec<SpecProblem> {
        let mut problems = Vec::new();
        let name = &self.name;
        if name.contains('.') || name.ends_with('~') {
            let problem = SpecProblem::new("name", format!("sudo passes over a file called {name:?}"));
            problems.push(problem.help("use a name without `.` and without `~` at its end"));
        } else if name.is_empty() || name.contains('/') || name.chars().any(|c| c.is_control() || c.is_whitespace()) {
            problems.push(SpecProblem::new("name", format!("{name:?} is no file name in /etc/sudoers.d")));
        }
        let structured = !self.rules.is_empty() || !self.defaults.is_empty();
        let given = [("rules", structured), ("content", self.content.is_some()), ("template", self.template.is_some())];
        let given: Vec<&'static str> = given.into_iter().filter_map(|(name, is)| is.then_some(name)).collect();
        match given.as_slice() {
            [] if !self.state.is_absent() => {
                let problem = SpecProblem::new("", "nothing says what is in the file");
                problems.push(problem.help("give `rules`, `defaults`, `content` or `template`"));
            }
            [first, second, ..] => {
                let message = format!("`{first}` and `{second}` both say what is in the file");
                problems.push(SpecProblem::new(second, message).help("keep one of them"));
            }
            _ => {}
        }
        for line in &self.defaults {
            if !line.starts_with("Defaults") || line.contains(['\n', '\r']) {
                let problem = SpecProblem::new("defaults", format!("{line:?} is no line that sets an option"));
                problems.push(problem.help("begin it with `Defaults`, as in `Defaults:deploy !requiretty`"));
            }
        }
        for rule in &self.rules {
            if rule.users.is_empty() && rule.groups.is_empty() {
                let problem = SpecProblem::new("rules", "a rule does not say who may");
                problems.push(problem.help("name `users` or `groups`"));
            }
            if rule.commands.is_empty() {
                problems.push(SpecProblem::new("rules", "a rule has no commands"));
            }
            let lists = [&rule.users, &rule.groups, &rule.hosts, &rule.run_as, &rule.as_groups, &rule.commands];
            if let Some(word) = lists.into_iter().flatten().find(|w| w.is_empty() || w.contains(['\n', '\r'])) {
                problems.push(SpecProblem::new("rules", format!("{word:?} in a rule is empty or has a line break")));
            }
        }
        problems
    }

    fn claims(&self) -> Vec<Claim> {
        vec![Claim::Path(self.managed().path.as_str().to_owned())]
    }

    fn inputs(&self) -> Vec<Input> {
        self.template.iter().map(|template| Input::Template(template.as_path().to_owned())).collect()
    }

    fn supply(&mut self, contents: Vec<Content>) {
        self.supplied = contents.into_iter().next();
    }

    fn supplied(&self) -> Option<&Content> {
        self.supplied.as_ref()
    }

    fn queries(&self) -> Vec<Query> {
        self.managed().queries(self.template.is_none() || self.state.is_absent())
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedFile, ObserveError> {
        Ok(self.managed().observe(answers))
    }

    fn diff(&self, observed: &ObservedFile) -> Change {
        let managed = self.managed();
        let change = match self.state {
            Presence::Present => managed.diff(self.id(), observed),
            Presence::Absent => managed.diff_absent(self.id(), observed),
        };
        // Who logs in to change a host becomes root by what stands here.
        change.guarded_by(way::guard(&managed.path, Script::default()))
    }
}
