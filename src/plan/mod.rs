//! The decision: what would happen on each host, and in which order.
//!
//! [`bind`] turns tasks into resources of hosts, [`order`] lays them out as a graph, and [`HostPlan`] holds what was
//! decided for a host from what it answered. A plan is plain data: [`saved`] writes it to a file and compares it
//! with what is found later. Nothing here talks to a host.

pub mod bind;
mod content;
pub mod order;
pub mod saved;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::addr::{HostName, ResourceAddr, ResourceId};
use crate::change::{Change, Reverse, Shown, Step, TextChange};
use crate::diag::Sources;
use crate::model::playbook::{OnFailure, Purpose};
use crate::resource::read::{Answers, Query, Reading};
use crate::secret::Vault;
use bind::{Bound, BoundState, Replacing};

pub use content::Contents;

/// What was decided for one host, its resources in the order in which they are changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HostPlan {
    /// The host.
    pub host: HostName,
    /// Its resources.
    pub entries: Vec<Entry>,
    /// What is refreshed at the end of each play that has something to refresh, by the play's position.
    pub handlers: BTreeMap<usize, Vec<Handler>>,
    /// What brings the host, where it is not there yet: then nothing is known of its resources.
    #[serde(default)]
    pub awaits: Option<ResourceAddr>,
}

/// What was decided for one resource.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The resource.
    pub id: ResourceId,
    /// The play, by position in the playbook.
    pub play: usize,
    /// Where the task stands, `file:line:column`.
    pub task: String,
    /// The decision.
    pub decision: Decision,
    /// What was found, to notice later that the host changed.
    pub observed: Value,
    /// What is refreshed after it changed.
    pub notify: Vec<ResourceId>,
    /// The name under which later tasks know what it printed.
    pub register: Option<String>,
    /// Whether the host goes on after it failed.
    #[serde(skip)]
    pub on_failure: OnFailure,
}

/// The decision on a resource.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Decision {
    /// This would happen.
    Change(Change),
    /// Only a running step can tell.
    KnownAfterApply {
        /// What it waits for.
        because: String,
    },
    /// It does not apply.
    Skipped {
        /// Why.
        because: String,
    },
    /// It could not be observed.
    Failed {
        /// What went wrong.
        error: String,
        /// What to do next.
        hint: Option<String>,
    },
}

/// A resource that is refreshed once, because others changed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Handler {
    /// The resource.
    pub id: ResourceId,
    /// What is done.
    #[serde(skip)]
    pub steps: Vec<Step>,
    /// The resources whose change asks for it.
    pub because: Vec<ResourceId>,
    /// Whether an earlier run left it undone.
    pub is_pending: bool,
    /// Whether it gives a drained host its work back, and so comes after all others.
    #[serde(default)]
    pub is_resume: bool,
}

impl Entry {
    /// Returns the change, where it is known and changes something.
    pub fn change(&self) -> Option<&Change> {
        match &self.decision {
            Decision::Change(change) if !change.is_no_op() => Some(change),
            _ => None,
        }
    }

    /// Returns whether something happens, or may.
    pub fn is_pending(&self) -> bool {
        self.change().is_some() || matches!(self.decision, Decision::KnownAfterApply { .. })
    }
}

impl HostPlan {
    /// Returns whether nothing would happen on the host.
    pub fn is_empty(&self) -> bool {
        self.handlers.is_empty() && !self.entries.iter().any(Entry::is_pending)
    }

    /// Returns the entries that could not be observed.
    pub fn failures(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| matches!(entry.decision, Decision::Failed { .. }))
    }
}

/// Returns the questions of all resources that may apply on a host.
pub fn questions(bounds: &[Bound]) -> Vec<Query> {
    let ready = bounds.iter().filter_map(|bound| match &bound.state {
        BoundState::Ready { resource, .. } => Some(resource.queries()),
        _ => None,
    });
    ready.flatten().collect()
}

/// Returns the questions that `asked` does not hold yet.
pub fn further_questions(bounds: &[Bound], asked: &Reading) -> Reading {
    let mut further = Reading::default();
    for query in questions(bounds) {
        if !asked.has(&query) {
            further.ask(query);
        }
    }
    further
}

/// Decides for all resources of a host, from its answers.
pub fn decide(
    host: &HostName,
    bounds: &[Bound],
    answers: &Answers,
    pending: &BTreeSet<ResourceId>,
    sources: &Sources,
    vault: &Vault,
) -> HostPlan {
    let mut entries = Vec::with_capacity(bounds.len());
    for bound in bounds {
        let (decision, observed) = decide_one(bound, answers, vault);
        entries.push(Entry {
            id: bound.id.clone(),
            play: bound.play,
            task: sources.locate(bound.span).to_string(),
            decision,
            observed,
            notify: bound.notify.clone(),
            register: bound.register.clone(),
            on_failure: bound.on_failure,
        });
    }
    spare_drains(bounds, &mut entries, pending);
    let handlers = handlers(bounds, &entries, pending);
    HostPlan { host: host.clone(), entries, handlers, awaits: None }
}

/// Says of what drains a host that nothing is to be done, where its play changes nothing else there.
fn spare_drains(bounds: &[Bound], entries: &mut [Entry], pending: &BTreeSet<ResourceId>) {
    for at in 0..bounds.len() {
        let Some(drain) = bounds.get(at).filter(|bound| bound.purpose == Purpose::Drain) else { continue };
        let is_needed = bounds.iter().zip(entries.iter()).any(|(bound, entry)| {
            let is_task = bound.play == drain.play && bound.purpose == Purpose::Task;
            is_task && (entry.is_pending() || pending.contains(&entry.id))
        });
        if let Some(entry) = entries.get_mut(at)
            && !is_needed
            && entry.is_pending()
        {
            let reason = "nothing else of its play changes here";
            entry.decision = Decision::Change(Change::no_op(entry.id.clone(), reason));
        }
    }
}

/// Says of all resources of a host that it is not there yet, and that `by` brings it.
pub fn await_host(host: &HostName, by: &ResourceAddr, bounds: &[Bound], sources: &Sources, vault: &Vault) -> HostPlan {
    let mut plan = decide(host, bounds, &Answers::default(), &BTreeSet::new(), sources, vault);
    for entry in &mut plan.entries {
        if !matches!(entry.decision, Decision::Skipped { .. }) {
            entry.decision =
                Decision::KnownAfterApply { because: format!("the host is not there yet, {by} brings it") };
            entry.observed = Value::Null;
        }
    }
    plan.handlers = handlers(bounds, &plan.entries, &BTreeSet::new());
    plan.awaits = Some(by.clone());
    plan
}

/// Decides for one resource.
pub fn decide_one(bound: &Bound, answers: &Answers, vault: &Vault) -> (Decision, Value) {
    match &bound.state {
        BoundState::Skipped { because } => (Decision::Skipped { because: because.clone() }, Value::Null),
        BoundState::WaitsForOutput => {
            let because = "it depends on what an earlier task prints".to_owned();
            (Decision::KnownAfterApply { because }, Value::Null)
        }
        BoundState::WaitsForFacts => {
            let because = "it depends on the host's facts".to_owned();
            (Decision::KnownAfterApply { because }, Value::Null)
        }
        BoundState::Ready { resource, .. } => match resource.decide(answers) {
            Ok(decision) => {
                let change = masked(decision.change, vault);
                let decided = match &change.consent {
                    Some(why) if bound.replacing == Replacing::Refused => refused(&change, why),
                    _ => Decision::Change(change),
                };
                (decided, masked_value(decision.observed, vault))
            }
            Err(error) => {
                let shown = vault.mask(&error.to_string()).into_owned();
                (Decision::Failed { error: shown, hint: error.hint() }, Value::Null)
            }
        },
    }
}

/// Returns the decision on a change that nobody has asked for by name.
fn refused(change: &Change, why: &str) -> Decision {
    let said = |side: &Shown| match side {
        Shown::Absent => "(absent)".to_owned(),
        Shown::Value(value) => value.to_string(),
        Shown::Sensitive => "(sensitive)".to_owned(),
        Shown::KnownAfterApply => "(known after apply)".to_owned(),
    };
    let attributes: Vec<String> =
        change.attributes.iter().map(|a| format!("{}: {} -> {}", a.name, said(&a.before), said(&a.after))).collect();
    Decision::Failed {
        error: format!("it must be made anew for {}: {why}", attributes.join(", ")),
        hint: Some("give `--allow-replace` to have it replaced; until then nothing of it is changed".to_owned()),
    }
}

/// Gathers what is refreshed at the end of each play: once, however many ask for it.
fn handlers(bounds: &[Bound], entries: &[Entry], pending: &BTreeSet<ResourceId>) -> BTreeMap<usize, Vec<Handler>> {
    if pending.is_empty() && !entries.iter().any(|entry| entry.is_pending() && !entry.notify.is_empty()) {
        return BTreeMap::new();
    }
    let refresh: BTreeMap<&ResourceId, (&Bound, Vec<Step>)> = bounds
        .iter()
        .filter_map(|bound| match &bound.state {
            BoundState::Ready { resource, .. } => Some((&bound.id, (bound, resource.refresh()?))),
            _ => None,
        })
        .collect();
    let mut handlers: BTreeMap<usize, Vec<Handler>> = BTreeMap::new();
    let mut add = |play: usize, id: &ResourceId, because: Option<&ResourceId>| {
        let Some((bound, steps)) = refresh.get(id) else { return };
        let is_resume = bound.purpose == Purpose::Resume;
        let of_play = handlers.entry(play).or_default();
        let at = of_play.iter().position(|handler| handler.id == *id);
        let handler = match at.and_then(|at| of_play.get_mut(at)) {
            Some(handler) => handler,
            None => {
                let (id, steps) = (id.clone(), steps.clone());
                of_play.push(Handler { id, steps, because: Vec::new(), is_pending: false, is_resume });
                match of_play.last_mut() {
                    Some(handler) => handler,
                    None => return,
                }
            }
        };
        match because {
            Some(because) => handler.because.push(because.clone()),
            None => handler.is_pending = true,
        }
    };
    for entry in entries.iter().filter(|entry| entry.is_pending()) {
        for id in &entry.notify {
            add(entry.play, id, Some(&entry.id));
        }
    }
    // What an earlier run left undone is done at the end of the play that declares the resource.
    for id in pending {
        if let Some((bound, _)) = refresh.get(id) {
            add(bound.play, id, None);
        }
    }
    for of_play in handlers.values_mut() {
        of_play.sort_by_key(|handler| handler.is_resume);
    }
    handlers
}

/// Returns a change in which nothing that is shown holds a secret. Its scripts and payloads stay as they are.
pub fn masked(mut change: Change, vault: &Vault) -> Change {
    if vault.is_empty() {
        return change;
    }
    let mask = |side: &mut Shown| {
        if let Shown::Value(value) = side
            && vault.is_tainted(&value.to_string())
        {
            *side = Shown::Sensitive;
        }
    };
    for attribute in &mut change.attributes {
        mask(&mut attribute.before);
        mask(&mut attribute.after);
    }
    if let Some(text) = &change.text
        && (vault.is_tainted(&text.before) || vault.is_tainted(&text.after))
    {
        change.text =
            Some(TextChange { before: vault.mask(&text.before).into(), after: vault.mask(&text.after).into() });
    }
    let mask_title = |step: &mut Step| step.title = vault.mask(&step.title).into_owned();
    change.steps.iter_mut().for_each(mask_title);
    if let Reverse::Steps(steps) = &mut change.reverse {
        steps.iter_mut().for_each(mask_title);
    }
    change.reason = vault.mask(&change.reason).into_owned();
    change
}

fn masked_value(value: Value, vault: &Vault) -> Value {
    if vault.is_empty() {
        return value;
    }
    match value {
        Value::String(text) => Value::String(vault.mask(&text).into_owned()),
        Value::Array(items) => items.into_iter().map(|item| masked_value(item, vault)).collect(),
        Value::Object(entries) => entries.into_iter().map(|(key, value)| (key, masked_value(value, vault))).collect(),
        other => other,
    }
}
