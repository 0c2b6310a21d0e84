//! `group`: a group of users, with its number and its members.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::read::{Answers, GroupState, Query};
use super::spec::{AccountName, Presence};
use super::{Kind, ObserveError, SpecProblem};
use crate::change::{Attributes, Change, Step};
use crate::sh;
use crate::shell::Script;

/// A group of users.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// The group's name.
    name: AccountName,
    /// The group's number. A new group gets the next free one.
    #[serde(default)]
    gid: Option<u32>,
    /// Whether a new group takes a number from the range for the system's own groups.
    #[serde(default)]
    system: bool,
    /// Users that have it as a supplementary group. Others keep it, unless `exclusive`.
    #[serde(default)]
    members: Option<BTreeSet<AccountName>>,
    /// Whether `members` are all the members there are.
    #[serde(default)]
    exclusive: bool,
    /// Whether the group is to be there.
    #[serde(default)]
    state: Presence,
}

/// A group as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedGroup {
    found: Option<GroupState>,
}

impl Group {
    fn desired(&self, observed: &BTreeSet<String>) -> Attributes {
        let mut desired = Attributes::new();
        if let Some(gid) = self.gid {
            desired.insert("gid".into(), json!(gid));
        }
        if let Some(members) = &self.members {
            let mut all: BTreeSet<&str> = members.iter().map(AccountName::as_str).collect();
            if !self.exclusive {
                all.extend(observed.iter().map(String::as_str));
            }
            desired.insert("members".into(), json!(all));
        }
        desired
    }

    fn create(&self) -> Change {
        let name = &self.name;
        let mut script = groupadd(name, self.gid, self.system);
        if let Some(members) = self.members.as_ref().filter(|members| !members.is_empty()) {
            script.push(&sh!("gpasswd -M {} -- {} >/dev/null", joined(members.iter().map(AccountName::as_str)), name));
        }
        Change::create(self.id(), &self.desired(&BTreeSet::new()))
            .step(Step::new(format!("add the group {name}"), script))
            .reversed_by(vec![Step::new(format!("remove the group {name}"), sh!("groupdel -- {}", name))])
    }

    fn update(&self, found: &GroupState) -> Change {
        let name = &self.name;
        let mut change = Change::between(self.id(), &attributes(found), &self.desired(&found.members));
        if change.is_no_op() {
            return change;
        }
        let (mut forward, mut back) = (Script::default(), Script::default());
        if let Some(gid) = self.gid.filter(|_| change.changes("gid")) {
            forward.push(&sh!("groupmod --gid {} -- {}", gid, name));
            back.push(&sh!("groupmod --gid {} -- {}", found.gid, name));
            let warning = "files that belong to the old number keep it";
            change.reason = format!("{}; {warning}", change.reason);
        }
        if change.changes("members") {
            let wanted: BTreeSet<&str> = self.members.iter().flatten().map(AccountName::as_str).collect();
            if self.exclusive {
                forward.push(&sh!("gpasswd -M {} -- {} >/dev/null", joined(wanted), name));
            } else {
                // One by one, so that members whom another task of this run adds are kept.
                for member in wanted.into_iter().filter(|member| !found.members.contains(*member)) {
                    forward.push(&sh!("gpasswd -a {} -- {} >/dev/null", member, name));
                }
            }
            back.push(&sh!("gpasswd -M {} -- {} >/dev/null", joined(found.members.iter().map(String::as_str)), name));
        }
        let names: Vec<&str> = change.attributes.iter().map(|a| a.name.as_str()).collect();
        let title = format!("set {} of the group {name}", names.join(" and "));
        let former = format!("set the former {} of the group {name}", names.join(" and "));
        change.step(Step::new(title, forward)).reversed_by(vec![Step::new(former, back)])
    }

    fn delete(&self, found: &GroupState) -> Change {
        let name = &self.name;
        let mut back = groupadd(name, Some(found.gid), false);
        if !found.members.is_empty() {
            back.push(&sh!("gpasswd -M {} -- {} >/dev/null", joined(found.members.iter().map(String::as_str)), name));
        }
        Change::delete(self.id(), &attributes(found))
            .step(Step::new(format!("remove the group {name}"), sh!("groupdel -- {}", name)))
            .reversed_by(vec![Step::new(format!("add the group {name}"), back)])
    }
}

fn attributes(found: &GroupState) -> Attributes {
    Attributes::from([("gid".into(), json!(found.gid)), ("members".into(), json!(found.members))])
}

fn joined<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    names.into_iter().collect::<Vec<_>>().join(",")
}

fn groupadd(name: &AccountName, gid: Option<u32>, system: bool) -> Script {
    let mut flags: Vec<String> = Vec::new();
    if let Some(gid) = gid {
        flags.extend(["--gid".to_owned(), gid.to_string()]);
    }
    if system {
        flags.push("--system".to_owned());
    }
    sh!("groupadd {} -- {}", Script::words(flags), name)
}

impl Kind for Group {
    const NAME: &'static str = "group";
    const SUMMARY: &'static str = "A group of users: its number and its members";
    const EXAMPLE: &'static str = r#"- group: {name: storage, system: true}
- group:
    name: operators
    gid: 4000
    members: [jmartin, adupont]
    exclusive: true
"#;

    type Observed = ObservedGroup;

    fn name(&self) -> String {
        self.name.as_str().to_owned()
    }

    fn check(&self) -> Vec<SpecProblem> {
        let mut problems = Vec::new();
        if self.exclusive && self.members.is_none() {
            let problem = SpecProblem::new("exclusive", "there are no `members` that could be all there are");
            problems.push(problem.help("write `members: []` for a group without members"));
        }
        if self.state.is_absent() && (self.members.is_some() || self.gid.is_some()) {
            let field = if self.members.is_some() { "members" } else { "gid" };
            problems.push(SpecProblem::new(field, "a group that is to be absent has no attributes"));
        }
        if self.state.is_absent() && self.name.as_str() == "root" {
            problems.push(SpecProblem::new("state", "a host cannot be without the group `root`"));
        }
        problems
    }

    fn queries(&self) -> Vec<Query> {
        vec![Query::Group(self.name())]
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedGroup, ObserveError> {
        Ok(ObservedGroup { found: answers.group(self.name.as_str()).cloned() })
    }

    fn diff(&self, observed: &ObservedGroup) -> Change {
        match (self.state, &observed.found) {
            (Presence::Present, None) => self.create(),
            (Presence::Present, Some(found)) => self.update(found),
            (Presence::Absent, None) => Change::no_op(self.id(), "it is not there, as wanted"),
            (Presence::Absent, Some(found)) => self.delete(found),
        }
    }
}
