//! `file`: a regular file with its content, mode and owner.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::managed_file::{ManagedFile, ObservedFile};
use super::read::{Answers, Query};
use super::spec::{HostPath, Mode, Presence, ProjectPath};
use super::{Claim, Content, Input, Kind, ObserveError, SpecProblem, way};
use crate::change::Change;

/// A regular file. Give `content`, `source` or `template`, or none to manage only the attributes of a file.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// The file's path on the host.
    path: HostPath,
    /// The content, as it is.
    #[serde(default)]
    content: Option<String>,
    /// A file of the project's `files` folder, copied as it is, of any size.
    #[serde(default)]
    source: Option<ProjectPath>,
    /// A template of the project's `templates` folder, rendered for the host.
    #[serde(default)]
    template: Option<ProjectPath>,
    /// The permission bits. A new file gets `"0644"`.
    #[serde(default)]
    mode: Option<Mode>,
    /// The owner. A new file gets `root`.
    #[serde(default)]
    owner: Option<String>,
    /// The group. A new file gets `root`.
    #[serde(default)]
    group: Option<String>,
    /// A command that must accept the new file before it replaces the old one; `%` stands for its path.
    #[serde(default)]
    validate: Option<String>,
    /// Whether the file is to be there.
    #[serde(default)]
    state: Presence,
    #[serde(skip)]
    supplied: Option<Content>,
}

impl File {
    fn managed(&self) -> ManagedFile {
        let own = self.content.as_ref().map(|text| Content::Text(text.as_str().into()));
        ManagedFile {
            path: self.path.clone(),
            content: own.or_else(|| self.supplied.clone()),
            mode: self.mode.clone(),
            owner: self.owner.clone(),
            group: self.group.clone(),
            validate: self.validate.clone(),
        }
    }
}

impl Kind for File {
    const NAME: &'static str = "file";
    const SUMMARY: &'static str = "A regular file: its content (given, copied or rendered), mode and owner";
    const EXAMPLE: &'static str = r#"- file:
    path: /etc/motd
    content: |
      Authorised use only.
    mode: "0644"
- file:
    path: /etc/ssh/sshd_config.d/10-hardening.conf
    template: sshd/hardening.conf.hbs
    validate: sshd -t -f %
  notify: service[ssh]
"#;

    type Observed = ObservedFile;

    fn name(&self) -> String {
        self.path.as_str().to_owned()
    }

    fn check(&self) -> Vec<SpecProblem> {
        let given: Vec<&'static str> = [
            ("content", self.content.is_some()),
            ("source", self.source.is_some()),
            ("template", self.template.is_some()),
        ]
        .into_iter()
        .filter_map(|(name, is_given)| is_given.then_some(name))
        .collect();
        let mut problems = Vec::new();
        if let [first, second, ..] = given.as_slice() {
            let message = format!("`{first}` and `{second}` both say what the content is");
            problems.push(SpecProblem::new(second, message).help("keep one of them"));
        }
        if self.state.is_absent()
            && let Some(first) = given.first()
        {
            problems.push(SpecProblem::new(first, "a file that is to be absent has no content"));
        }
        if let Some(command) = &self.validate
            && !command.contains('%')
        {
            let problem = SpecProblem::new("validate", "the command does not say where the new file's path goes");
            problems.push(problem.help("write `%` in its place, as in `visudo -cf %`"));
        }
        problems
    }

    fn claims(&self) -> Vec<Claim> {
        vec![Claim::Path(self.path.as_str().to_owned())]
    }

    fn inputs(&self) -> Vec<Input> {
        match (&self.source, &self.template) {
            (Some(source), _) => vec![Input::Source(source.as_path().to_owned())],
            (_, Some(template)) => vec![Input::Template(template.as_path().to_owned())],
            _ => Vec::new(),
        }
    }

    fn supply(&mut self, contents: Vec<Content>) {
        self.supplied = contents.into_iter().next();
    }

    fn supplied(&self) -> Option<&Content> {
        self.supplied.as_ref()
    }

    fn queries(&self) -> Vec<Query> {
        let content_known = self.source.is_none() && self.template.is_none();
        self.managed().queries(content_known || self.state.is_absent())
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedFile, ObserveError> {
        Ok(self.managed().observe(answers))
    }

    fn diff(&self, observed: &ObservedFile) -> Change {
        let change = match self.state {
            Presence::Present => self.managed().diff(self.id(), observed),
            Presence::Absent => self.managed().diff_absent(self.id(), observed),
        };
        way::guarded(change, &self.path)
    }
}
