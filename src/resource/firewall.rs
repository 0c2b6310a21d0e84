//! `firewall`: what a host lets through, made from the flow matrix of the inventory, live and for the next boot.
//!
//! The kernel's own ruleset is looked at, not a file that may have been loaded once: a rule that was added by hand, a
//! table that was flushed and a table of somebody else are differences. The new ruleset is tried by `nft -c` on the host,
//! takes the place of the old in one transaction, and is kept for the boot; and because it can cut the way to the host, the
//! host takes it back by itself unless a new login confirms it.

mod compare;
mod examine;
mod live;
mod ruleset;
mod scripts;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};

use self::compare::{differences, only, rules};
pub use self::examine::{Counted, Difference, Examined, counted, counters_question, examine, question};
use self::ruleset::{TABLE, Table};
use self::scripts::{FILE, UNIT};
use super::managed_file::{ManagedFile, ObservedFile};
use super::parts::join;
use super::read::{Answers, Query};
use super::spec::HostPath;
use super::{Claim, Content, Input, Kind, ObserveError, SpecProblem};
use crate::change::{Action, Attributes, Change, Step};
use crate::model::matrix::HostFlows;
use crate::sh;

/// The host's part of the flow matrix as nftables rules. Whatever no flow of the inventory allows is dropped.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Firewall {
    /// Tables of other programs that may be there, such as `ip libvirt_network`; a `*` at the end stands for any rest. All
    /// others are removed.
    #[serde(default)]
    keep: Vec<String>,
    /// Whether dropped packets are written to the kernel's log, ten in a minute at the most.
    #[serde(default)]
    log: bool,
    #[serde(skip)]
    flows: Option<HostFlows>,
}

/// A firewall as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedFirewall {
    /// Whether the host has `nft` at all.
    has_nft: bool,
    /// The digest of all tables that matter, so that a plan notices when one of them changes.
    digest: String,
    /// Tables of others that must not be there, each with how many rules it has.
    others: BTreeMap<String, usize>,
    file: ObservedFile,
    at_boot: String,
    #[serde(skip)]
    table: Option<Table>,
}

const KEY: &str = "nft-ruleset";

impl Firewall {
    fn desired(&self) -> Table {
        self.flows.as_ref().map(|flows| Table::of(flows, self.log)).unwrap_or_default()
    }

    fn file(&self, table: &Table) -> ManagedFile {
        let validate = Some("/usr/sbin/nft -c -f %".to_owned());
        ManagedFile { validate, ..ManagedFile::of_root(HostPath::of(FILE.to_owned()), table.render(), 0o600) }
    }

    fn keeps(&self, table: &str) -> bool {
        self.keep.iter().any(|kept| match kept.strip_suffix('*') {
            Some(beginning) => table.starts_with(beginning),
            None => kept == table,
        })
    }

    /// Returns the change of what the kernel does.
    fn live_change(&self, wanted: &Table, observed: &ObservedFirewall) -> Change {
        let mut attributes = Vec::new();
        match &observed.table {
            None => attributes.push(only(format!("table {TABLE}"), None, Some(json!(rules(wanted.size()))))),
            Some(found) => differences(found, wanted, &mut attributes),
        }
        let is_as_wanted = attributes.is_empty();
        for (name, size) in &observed.others {
            attributes.push(only(format!("table {name}"), Some(json!(rules(*size))), None));
        }
        if attributes.is_empty() {
            let reason = format!("the {} of its flows are loaded, and no others", rules(wanted.size()));
            return Change::no_op(self.id(), reason);
        }
        let own = match &observed.table {
            _ if is_as_wanted => None,
            None if !observed.has_nft => Some(
                "nothing is filtered: the host has no `nft` yet, and a task before this one must install `nftables`",
            ),
            None => Some("nothing is filtered: its table is not loaded"),
            Some(found) if found.size() == 0 => Some("its table was flushed"),
            Some(_) => Some("the rules that are loaded are not those of its flows"),
        };
        let others = match observed.others.len() {
            0 => None,
            1 => Some("a table of others must go".to_owned()),
            count => Some(format!("{count} tables of others must go")),
        };
        let reasons: Vec<String> = own.map(str::to_owned).into_iter().chain(others).collect();
        let mut change = Change::no_op(self.id(), reasons.join("; "));
        change.action = if observed.table.is_some() { Action::Update } else { Action::Create };
        change.attributes = attributes;
        let others: Vec<&str> = observed.others.keys().map(String::as_str).collect();
        change
            .step(Step::new("load the rules in one transaction", scripts::load(&others)))
            .reversed_by(vec![Step::new("load the former rules", scripts::load_former())])
    }

    /// Returns the change of whether the rules are loaded at boot.
    fn boot_change(&self, observed: &ObservedFirewall) -> Change {
        let is = |state: &str| Attributes::from([("boot".into(), json!(state))]);
        let found = if observed.at_boot == "enabled" { "loaded" } else { "not loaded" };
        let change = Change::between(self.id(), &is(found), &is("loaded"));
        if change.is_no_op() {
            return change.because("they are loaded at boot");
        }
        let enable = sh!("systemctl unmask --quiet -- {}\nsystemctl enable --quiet -- {}", UNIT, UNIT);
        change
            .because("they are not loaded at boot")
            .step(Step::new(format!("enable {UNIT}"), enable))
            .reversed_by(vec![Step::new(format!("disable {UNIT}"), sh!("systemctl disable --quiet -- {}", UNIT))])
    }
}

impl Kind for Firewall {
    const NAME: &'static str = "firewall";
    const SUMMARY: &'static str = "What a host lets through: nftables rules from the flow matrix, live and at boot";
    const EXAMPLE: &'static str = r#"- firewall: {}
- firewall:
    keep: ["ip libvirt_*", "ip6 libvirt_*"]
    log: true
"#;

    const NEEDS_FLOWS: bool = true;

    type Observed = ObservedFirewall;

    fn name(&self) -> String {
        "flows".to_owned()
    }

    fn check(&self) -> Vec<SpecProblem> {
        let is_table = |text: &str| {
            let families = ["ip", "ip6", "inet", "arp", "bridge", "netdev"];
            let is_name = |name: &str| {
                let name = name.strip_suffix('*').unwrap_or(name);
                name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-/".contains(&b))
            };
            text.split_once(' ')
                .is_some_and(|(family, name)| families.contains(&family) && !name.is_empty() && is_name(name))
        };
        let mut problems = Vec::new();
        for table in &self.keep {
            if !is_table(table) {
                let problem = SpecProblem::new("keep", format!("{table:?} is not a table"));
                problems.push(problem.help("write its family and its name, such as `ip libvirt_network`"));
            }
        }
        if self.keeps(TABLE) {
            problems.push(SpecProblem::new("keep", format!("`{TABLE}` is the table that is made here")));
        }
        problems
    }

    fn claims(&self) -> Vec<Claim> {
        vec![Claim::Resource(self.id()), Claim::Path(FILE.to_owned())]
    }

    fn inputs(&self) -> Vec<Input> {
        vec![Input::Flows]
    }

    fn supply(&mut self, contents: Vec<Content>) {
        self.flows = contents.into_iter().find_map(|content| match content {
            Content::Text(text) => serde_json::from_str(&text).ok(),
            Content::File { .. } => None,
        });
    }

    fn queries(&self) -> Vec<Query> {
        let live = Query::Snippet { key: KEY.to_owned(), tools: vec![("nft", "nftables")], script: question() };
        let mut queries = self.file(&self.desired()).queries(true);
        queries.extend([Query::Unit(UNIT.to_owned()), live]);
        queries
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedFirewall, ObserveError> {
        if self.flows.is_none() {
            return Err(ObserveError::unexpected(self, "its flows are not known"));
        }
        let has_nft = !answers.lacks("nft");
        let mut tables = BTreeMap::new();
        if has_nft {
            let answer = answers.snippet(KEY).ok_or_else(|| ObserveError::unexpected(self, "`nft` said nothing"))?;
            if !answer.succeeded() {
                let what = format!("`nft -j list ruleset` failed: {}", answer.text());
                return Err(ObserveError::unexpected(self, what));
            }
            tables = live::parse(&answer.text()).map_err(|what| ObserveError::unexpected(self, what))?;
        }
        tables.retain(|name, _| !self.keeps(name));
        let bytes = serde_json::to_vec(&tables).unwrap_or_default();
        let digest = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let table = tables.remove(TABLE);
        let others = tables.into_iter().map(|(name, table)| (name, table.size())).collect();
        let file = self.file(&self.desired()).observe(answers);
        let at_boot = answers.unit(UNIT).map(|unit| unit.file.clone()).unwrap_or_default();
        Ok(ObservedFirewall { has_nft, digest, others, file, at_boot, table })
    }

    fn diff(&self, observed: &ObservedFirewall) -> Change {
        let wanted = self.desired();
        let file = self.file(&wanted).diff(self.id(), &observed.file);
        let live = self.live_change(&wanted, observed);
        let (action, reason) = (live.action, live.reason.clone());
        // The file comes first: it is tried before anything is loaded, and loaded from there.
        let parts = vec![(FILE, file), ("", live), ("", self.boot_change(observed))];
        let mut change = join(self.id(), parts);
        if change.is_no_op() {
            return change;
        }
        match action {
            Action::Create => {
                change.action = Action::Create;
                change.reason = reason;
            }
            Action::NoOp if change.action == Action::Create => {
                change.action = Action::Update;
                change.reason = "its rules are loaded, and the host does not keep them for the next boot".to_owned();
            }
            _ => change.action = Action::Update,
        }
        let others: Vec<&str> = observed.others.keys().map(String::as_str).collect();
        change.guarded_by(scripts::guard(&others))
    }
}

#[cfg(test)]
mod tests;
