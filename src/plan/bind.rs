//! Binding: which task becomes which resource on which host, with its arguments rendered.
//!
//! It runs first without a host's facts. Then a task whose arguments speak of facts waits for them, and everything else
//! is already checked: an unknown variable, a wrong argument or two owners of one path is found before any host is
//! touched. It runs again once the facts are there.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use camino::Utf8Path;
use serde_json::Value;

use super::content::Contents;
use crate::addr::{HostName, ResourceAddr, ResourceId};
use crate::diag::{Diagnostic, Diagnostics, Span};
use crate::model::inventory::Inventory;
use crate::model::matrix::Matrix;
use crate::model::node::{Node, Value as NodeValue};
use crate::model::playbook::{OnFailure, Play, Playbook, Purpose, Task};
use crate::resource::fact;
use crate::resource::{Claim, Content, Input, Resource, find_kind, kinds};
use crate::secret::Vault;
use crate::template::{Expression, Renderer, TemplateError, has_expression, mentions};

/// What binding needs to know of a host: the inventory's part of the template context, an object.
#[derive(Clone, Debug)]
pub struct HostInput {
    /// The host.
    pub name: HostName,
    /// Its variables and identity, as templates see them.
    pub context: Arc<Value>,
    /// Who logs in there for the run; none on this machine itself.
    pub login: Option<String>,
    /// What brings the host, where it is a guest of another: it need not be there before.
    pub provided_by: Option<ResourceAddr>,
    /// The plays that are for this host, by position in the playbook.
    pub plays: Vec<usize>,
}

/// A task bound to a host.
#[derive(Debug)]
pub struct Bound {
    /// Its resource; for one that waits for facts the name may not be known yet, and is the task's text then.
    pub id: ResourceId,
    /// The play, by position in the playbook.
    pub play: usize,
    /// The task, by position in the play.
    pub task: usize,
    /// The item of `for_each` it stands for.
    pub item: Option<Value>,
    /// Where the task begins.
    pub span: Span,
    /// What is known of it.
    pub state: BoundState,
    /// The resources to refresh after it changed.
    pub notify: Vec<ResourceId>,
    /// The name of its output.
    pub register: Option<String>,
    /// Whether the host goes on after it failed.
    pub on_failure: OnFailure,
    /// What it is for in its play.
    pub purpose: Purpose,
    /// Whether it may be replaced where it cannot be changed.
    pub replacing: Replacing,
}

/// Whether what can only be changed by making it anew may be replaced: what is in it may be lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Replacing {
    /// It is an error of the resource, and nothing of it happens.
    #[default]
    Refused,
    /// Who runs the tool has asked for it.
    Allowed,
}

/// How far a task could be bound.
#[derive(Debug)]
pub enum BoundState {
    /// Its arguments are known; `content_waits` where a template's text is still to come with the facts.
    Ready {
        /// The resource.
        resource: Box<dyn Resource>,
        /// Whether a template speaks of facts that are not known yet.
        content_waits: bool,
        /// Whether its `when` speaks of facts that are not known yet.
        when_waits: bool,
    },
    /// Its arguments speak of facts.
    WaitsForFacts,
    /// Its arguments, its template or its `when` speak of what an earlier task prints.
    WaitsForOutput,
    /// It does not apply to this host.
    Skipped {
        /// Why.
        because: String,
    },
}

/// Which tasks take part.
#[derive(Clone, Debug, Default)]
pub struct Tags {
    /// Only tasks with one of these, where there are any.
    pub only: BTreeSet<String>,
    /// No task with one of these.
    pub skip: BTreeSet<String>,
}

impl Tags {
    /// Returns whether a task of a play takes part. What drains a host and gives it its work back does with any other.
    fn takes(&self, play: &Play, task: &Task) -> bool {
        match task.purpose {
            Purpose::Task => self.takes_task(task),
            Purpose::Drain | Purpose::Resume => {
                play.tasks.iter().any(|task| task.purpose == Purpose::Task && self.takes_task(task))
            }
        }
    }

    fn takes_task(&self, task: &Task) -> bool {
        let has = |set: &BTreeSet<String>| task.tags.iter().any(|tag| set.contains(tag));
        let chosen = self.only.is_empty() || has(&self.only) || task.tags.iter().any(|tag| tag == "always");
        chosen && !has(&self.skip)
    }
}

impl Unrendered {
    fn wrong(problem: Diagnostic) -> Self {
        Self::Wrong(Box::new(problem))
    }
}

/// A resource, and whether a template of it still waits for facts.
type Rendered = (Box<dyn Resource>, bool);

/// Binds the tasks of a playbook to hosts, one host at a time.
#[derive(Debug)]
pub struct Binder<'a> {
    playbook: &'a Playbook,
    renderer: &'a Renderer,
    contents: &'a Contents,
    tags: Tags,
    vault: Vault,
    expressions: HashMap<Span, Expression>,
    inventory: &'a Inventory,
    /// The flow matrix, where a task is made from it.
    matrix: Option<Matrix<'a>>,
    replacing: Replacing,
}

/// What is known of a host beyond the inventory.
#[derive(Clone, Copy, Debug, Default)]
pub struct Known<'a> {
    /// The host's facts, an object of groups.
    pub facts: Option<&'a Value>,
    /// What its tasks printed so far, by the name they registered.
    pub registered: Option<&'a Value>,
}

/// Stands for a text that only a running task can tell.
const LATER: &str = "(known after apply)";

/// What only a host or a running task can tell.
const LATER_ROOTS: [&str; 2] = ["facts", "registered"];

/// Why a value could not be rendered yet or at all.
enum Unrendered {
    WaitsForFacts,
    WaitsForOutput,
    Wrong(Box<Diagnostic>),
}

impl<'a> Binder<'a> {
    /// Returns a binder, and reports every task whose kind or `when` is wrong wherever it applies.
    pub fn new(
        playbook: &'a Playbook,
        renderer: &'a Renderer,
        contents: &'a Contents,
        tags: Tags,
        vault: Vault,
        inventory: &'a Inventory,
        problems: &mut Diagnostics,
    ) -> Self {
        let mut expressions = HashMap::new();
        for task in playbook.plays.iter().flat_map(|play| &play.tasks) {
            if find_kind(&task.kind).is_none() {
                let problem = Diagnostic::error("unknown-kind", format!("there is no kind `{}`", task.kind));
                let known = kinds().iter().map(|kind| kind.name);
                let known = known.chain(crate::load::playbook::TASK_KEYS.iter().copied());
                let hint = crate::diag::suggestion(&task.kind, known);
                let hint = hint.unwrap_or_else(|| "`provision explain --list` lists the kinds".to_owned());
                problems.push(problem.at(task.kind.span).help(hint));
            }
            if let Some(when) = &task.when {
                match Expression::parse(when) {
                    Ok(expression) => {
                        expressions.insert(when.span, expression);
                    }
                    Err(error) => problems.push(Diagnostic::error("bad-expression", error.to_string()).at(when.span)),
                }
            }
        }
        let mut seen: BTreeSet<&str> = BTreeSet::new();
        let all: BTreeSet<&str> =
            playbook.plays.iter().flat_map(|p| &p.tasks).flat_map(|t| &t.tags).map(String::as_str).collect();
        for tag in tags.only.iter().chain(&tags.skip) {
            if !all.contains(tag.as_str()) && tag != "always" && seen.insert(tag) {
                let problem = Diagnostic::error("unknown-tag", format!("no task has the tag `{tag}`"));
                problems.push(problem.suggest(tag, all.iter().copied()));
            }
        }
        let needs_flows = |task: &Task| find_kind(&task.kind).is_some_and(|kind| kind.needs_flows);
        let is_needed = playbook.plays.iter().flat_map(|play| &play.tasks).any(needs_flows);
        let matrix = is_needed.then(|| Matrix::build(inventory, problems));
        let replacing = Replacing::Refused;
        Self { playbook, renderer, contents, tags, vault, expressions, inventory, matrix, replacing }
    }

    /// Says whether what can only be changed by making it anew may be replaced.
    #[must_use]
    pub fn replacing(mut self, replacing: Replacing) -> Self {
        self.replacing = replacing;
        self
    }

    /// Returns the flow matrix, where a task is made from it.
    pub fn matrix(&self) -> Option<&Matrix<'a>> {
        self.matrix.as_ref()
    }

    /// Returns a host's part of the flow matrix.
    fn flows(&self, host: &Value) -> Content {
        let name = host.get("host").and_then(Value::as_str).unwrap_or_default();
        let flows = self.matrix.as_ref().and_then(|matrix| Some(matrix.host(matrix.inventory().host(name)?)));
        let flows = flows.unwrap_or_default();
        Content::Text(serde_json::to_string(&flows).unwrap_or_default().into())
    }

    /// Returns what the inventory says of a link of a host.
    fn link(&self, host: &Value, name: &str) -> Content {
        let host = host.get("host").and_then(Value::as_str).unwrap_or_default();
        let link = self.inventory.host(host).and_then(|host| self.inventory.link(host, name));
        Content::Text(serde_json::to_string(&link).unwrap_or_default().into())
    }

    /// Returns the groups of facts that the playbook speaks of.
    pub fn facts_used(&self) -> BTreeSet<String> {
        let mut used = BTreeSet::new();
        for task in self.playbook.plays.iter().flat_map(|play| &play.tasks) {
            collect_mentions(&task.arguments, &mut used);
            if let Some(for_each) = &task.for_each {
                collect_mentions(for_each, &mut used);
            }
            for (_, value) in &task.vars {
                collect_mentions(value, &mut used);
            }
        }
        for play in &self.playbook.plays {
            for (_, value) in play.defaults.iter().chain(&play.vars) {
                collect_mentions(value, &mut used);
            }
        }
        used.extend(self.expressions.values().flat_map(|e| e.mentions("facts")));
        used.extend(self.contents.texts().flat_map(|text| mentions(text, "facts")));
        used
    }

    /// Returns all tasks of a host, bound as far as they can be, in the order in which they run there.
    pub fn bind(&self, host: &HostInput, known: Known<'_>, problems: &mut Diagnostics) -> Vec<Bound> {
        let mut all = Vec::new();
        // What `--tags` leaves out still owns what it owns, and must not be purged as nobody's.
        let (mut left_out, mut ignored) = (Vec::new(), Diagnostics::default());
        for play_at in &host.plays {
            let Some(play) = self.playbook.plays.get(*play_at) else { continue };
            let play_context = context_of(&host.context, play, known);
            for (task_at, task) in play.tasks.iter().enumerate() {
                if find_kind(&task.kind).is_none() {
                    continue;
                }
                let place = (*play_at, task_at);
                let own_context = (!task.vars.is_empty()).then(|| context_with(&play_context, &task.vars, known));
                let context = own_context.as_ref().unwrap_or(&play_context);
                if self.tags.takes(play, task) {
                    self.bind_task(host, place, task, context, known, problems, &mut all);
                } else {
                    self.bind_task(host, place, task, context, known, &mut ignored, &mut left_out);
                }
            }
        }
        self.check_claims(host, &all, problems);
        let owned: BTreeSet<Claim> = all
            .iter()
            .chain(&left_out)
            .filter_map(|bound| match &bound.state {
                BoundState::Ready { resource, .. } => Some(resource.claims()),
                _ => None,
            })
            .flatten()
            .collect();
        for bound in &mut all {
            if let BoundState::Ready { resource, .. } = &mut bound.state {
                resource.learn_owned(&owned);
                if let Some(login) = &host.login {
                    resource.learn_login(login);
                }
            }
        }
        self.resolve_notifies(&mut all, problems);
        all
    }

    /// Returns one task of a host, bound again with what is known by now.
    ///
    /// All tasks of the host are bound, because what one of them may remove depends on what the others own.
    pub fn bind_again(
        &self,
        host: &HostInput,
        bound: &Bound,
        known: Known<'_>,
        problems: &mut Diagnostics,
    ) -> Option<Bound> {
        let all = self.bind(host, known, problems);
        let is_it = |other: &Bound| (other.play, other.task, &other.item) == (bound.play, bound.task, &bound.item);
        all.into_iter().find(is_it)
    }

    /// Returns the health checks of a rolling play, bound to a host.
    ///
    /// # Errors
    /// The text says what is wrong with a check; `bind` has reported it with its place before.
    pub fn bind_health(&self, host: &HostInput, play: usize, known: Known<'_>) -> Result<Vec<Bound>, String> {
        let Some(play_model) = self.playbook.plays.get(play) else { return Ok(Vec::new()) };
        let Some(rolling) = &play_model.rolling else { return Ok(Vec::new()) };
        let context = context_of(&host.context, play_model, known);
        let mut checks = Vec::new();
        for (at, arguments) in rolling.health.iter().enumerate() {
            let mut problems = Diagnostics::default();
            let task = Task {
                span: arguments.span,
                name: None,
                kind: crate::model::node::Spanned::new(arguments.span, "check".to_owned()),
                arguments: arguments.clone(),
                when: None,
                for_each: None,
                notify: Vec::new(),
                register: None,
                tags: Vec::new(),
                on_failure: OnFailure::Stop,
                vars: Vec::new(),
                purpose: Purpose::Task,
            };
            let bound = self.bind_one((play, at), &task, &context, None, known, &mut problems);
            match problems.iter().next() {
                Some(problem) => return Err(problem.message.clone()),
                None => checks.push(bound),
            }
        }
        Ok(checks)
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one loop body")]
    fn bind_task(
        &self,
        host: &HostInput,
        place: (usize, usize),
        task: &Task,
        context: &Value,
        known: Known<'_>,
        problems: &mut Diagnostics,
        all: &mut Vec<Bound>,
    ) {
        let Some(for_each) = &task.for_each else {
            all.push(self.bind_one(place, task, context, None, known, problems));
            return;
        };
        let items = match self.render(for_each, context, known).map(|node| node.to_json()) {
            Ok(Value::Array(items)) => items,
            Ok(Value::Object(entries)) => {
                entries.into_iter().map(|(key, value)| serde_json::json!({"key": key, "value": value})).collect()
            }
            Ok(other) => {
                let message = format!("`for_each` is {other}, which is neither a list nor a map");
                problems.push(Diagnostic::error("wrong-type", message).at(for_each.span));
                return;
            }
            Err(Unrendered::WaitsForFacts) => {
                all.push(self.waiting(place, task, BoundState::WaitsForFacts));
                return;
            }
            Err(Unrendered::WaitsForOutput) => {
                let message =
                    "`for_each` speaks of what a task prints, so it cannot be planned which resources there are";
                problems.push(Diagnostic::error("unknown-resources", message).at(for_each.span));
                return;
            }
            Err(Unrendered::Wrong(problem)) => {
                problems.push(on_host(*problem, &host.name));
                return;
            }
        };
        for item in items {
            let mut context = context.clone();
            set(&mut context, "item", item.clone());
            let mut found = Diagnostics::default();
            all.push(self.bind_one(place, task, &context, Some(item.clone()), known, &mut found));
            problems.extend(found.into_iter().map(|problem| of_item(problem, &host.name, &item)));
        }
    }

    fn waiting(&self, (play, task_at): (usize, usize), task: &Task, state: BoundState) -> Bound {
        let name = task.name.clone().unwrap_or_else(|| LATER.to_owned());
        Bound {
            id: ResourceId::new(task.kind.as_str(), name),
            play,
            task: task_at,
            item: None,
            span: task.span,
            state,
            notify: Vec::new(),
            register: task.register.as_ref().map(|name| name.value.clone()),
            on_failure: task.on_failure,
            purpose: task.purpose,
            replacing: self.replacing,
        }
    }

    fn bind_one(
        &self,
        place: (usize, usize),
        task: &Task,
        context: &Value,
        item: Option<Value>,
        known: Known<'_>,
        problems: &mut Diagnostics,
    ) -> Bound {
        let mut bound = self.waiting(place, task, BoundState::WaitsForFacts);
        bound.item = item;
        for notified in &task.notify {
            match self.renderer.render_value(notified, context) {
                Ok(text) => match text.as_str().unwrap_or_default().parse::<ResourceId>() {
                    Ok(id) => bound.notify.push(id),
                    Err(error) => problems.push(
                        Diagnostic::error("bad-address", error.to_string())
                            .at(notified.span)
                            .help("write the resource to refresh, such as `service[etcd]`"),
                    ),
                },
                Err(error) => problems.push(template_problem(&error, notified.span)),
            }
        }
        let mut when_waits = false;
        if let Some(expression) = task.when.as_ref().and_then(|when| self.expressions.get(&when.span)) {
            let when_span = task.when.as_ref().map_or(task.span, |when| when.span);
            if expression.uses("registered") && known.registered.is_none() {
                bound.state = BoundState::WaitsForOutput;
                self.name_if_known(&mut bound, task, context, known);
                return bound;
            }
            if expression.uses("facts") && known.facts.is_none() {
                if let Some(problem) = unknown_facts(&expression.mentions("facts"), when_span) {
                    problems.push(*problem);
                }
                let unknown: Vec<&str> =
                    expression.unknown_variables(context).filter(|name| *name != "facts").collect();
                for name in unknown {
                    problems.push(unknown_variable(name, context, when_span));
                }
                when_waits = true;
            } else {
                match expression.is_true(context) {
                    Ok(true) => {}
                    Ok(false) => {
                        self.name_if_known(&mut bound, task, context, known);
                        bound.state =
                            BoundState::Skipped { because: format!("`when: {}` is false", expression.text()) };
                        return bound;
                    }
                    Err(error) => {
                        let unknown: Vec<&str> = expression.unknown_variables(context).collect();
                        match unknown.first() {
                            Some(name) => problems.push(unknown_variable(name, context, when_span)),
                            None => {
                                problems.push(Diagnostic::error("bad-expression", error.to_string()).at(when_span));
                            }
                        }
                        bound.state = BoundState::Skipped { because: "its `when` cannot be evaluated".to_owned() };
                        return bound;
                    }
                }
            }
        }
        match self.resource(task, context, known, problems) {
            Ok(Some((resource, content_waits))) => {
                bound.id = resource.id();
                bound.state = BoundState::Ready { resource, content_waits, when_waits };
            }
            Ok(None) => bound.state = BoundState::Skipped { because: "its arguments are wrong".to_owned() },
            Err(Unrendered::WaitsForFacts) => bound.state = BoundState::WaitsForFacts,
            Err(Unrendered::WaitsForOutput) => {
                bound.state = BoundState::WaitsForOutput;
                self.name_if_known(&mut bound, task, context, known);
            }
            Err(Unrendered::Wrong(problem)) => {
                problems.push(*problem);
                bound.state = BoundState::Skipped { because: "its arguments cannot be rendered".to_owned() };
            }
        }
        bound
    }

    /// Names a resource that will not be looked at now, where its arguments say how it is called.
    fn name_if_known(&self, bound: &mut Bound, task: &Task, context: &Value, known: Known<'_>) {
        let mut ignored = Diagnostics::default();
        let arguments = self.render_what_is_known(&task.arguments, context, known);
        if let Some(kind) = find_kind(&task.kind)
            && let Some(resource) = kind.read(&arguments, task.kind.span, &mut ignored)
            && !resource.id().name.contains(LATER)
        {
            bound.id = resource.id();
        }
    }

    /// Returns a node with a placeholder for each text that cannot be rendered yet.
    fn render_what_is_known(&self, node: &Node, context: &Value, known: Known<'_>) -> Node {
        let value = match &node.value {
            NodeValue::Scalar(_) => {
                return self.render(node, context, known).unwrap_or_else(|_| Node::text(node.span, LATER));
            }
            NodeValue::Seq(items) => {
                NodeValue::Seq(items.iter().map(|item| self.render_what_is_known(item, context, known)).collect())
            }
            NodeValue::Map(entries) => NodeValue::Map(
                entries
                    .iter()
                    .map(|(key, value)| (key.clone(), self.render_what_is_known(value, context, known)))
                    .collect(),
            ),
        };
        Node { span: node.span, value }
    }

    fn resource(
        &self,
        task: &Task,
        context: &Value,
        known: Known<'_>,
        problems: &mut Diagnostics,
    ) -> Result<Option<Rendered>, Unrendered> {
        let Some(kind) = find_kind(&task.kind) else { return Ok(None) };
        let arguments = self.render(&task.arguments, context, known)?;
        let Some(mut resource) = kind.read(&arguments, task.kind.span, problems) else { return Ok(None) };
        let mistakes = resource.check();
        for mistake in &mistakes {
            let place = arguments.get(mistake.field).map_or(task.kind.span, |node| node.span);
            let mut problem = Diagnostic::error("wrong-argument", mistake.message.clone()).at(place);
            problem.help = mistake.help.clone();
            problems.push(problem);
        }
        if !mistakes.is_empty() {
            return Ok(None);
        }
        let mut contents = Vec::new();
        for input in resource.inputs() {
            match self.content(&input, task, &arguments, context, known) {
                Ok(content) => contents.push(content),
                Err(Unrendered::WaitsForFacts) => return Ok(Some((resource, true))),
                Err(other) => return Err(other),
            }
        }
        if !contents.is_empty() {
            resource.supply(contents);
        }
        Ok(Some((resource, false)))
    }

    fn content(
        &self,
        input: &Input,
        task: &Task,
        arguments: &Node,
        context: &Value,
        known: Known<'_>,
    ) -> Result<Content, Unrendered> {
        let place = |path: &Utf8Path| place_of(arguments, path).unwrap_or(task.kind.span);
        match input {
            Input::Flows => Ok(self.flows(context)),
            Input::Link(name) => Ok(self.link(context, name)),
            Input::Source(path) => self
                .contents
                .source(path)
                .map_err(|message| Unrendered::wrong(Diagnostic::error("no-such-file", message).at(place(path)))),
            Input::Template(path) => {
                let Some(text) = self.contents.template(path) else {
                    let problem = Diagnostic::error("no-such-template", format!("there is no template `{path}`"));
                    let known = self.contents.template_names();
                    return Err(Unrendered::wrong(problem.at(place(path)).suggest(path.as_str(), known)));
                };
                let wrong = |error: TemplateError| {
                    let mut problem = match self.contents.template_span(path, error.line, error.column) {
                        Some(span) => template_problem(&error, span).label(place(path), "used by this task"),
                        None => template_problem(&error, place(path)),
                    };
                    suggest_variable(&mut problem, &error, context);
                    Unrendered::wrong(problem)
                };
                if let Some(waits) = waits_for(text, known, place(path)) {
                    self.renderer.check(path.as_str(), context, &LATER_ROOTS).map_err(wrong)?;
                    return Err(waits);
                }
                self.renderer.render(path.as_str(), context).map(|text| Content::Text(text.into())).map_err(wrong)
            }
        }
    }

    /// Returns a node with every text in it rendered.
    fn render(&self, node: &Node, context: &Value, known: Known<'_>) -> Result<Node, Unrendered> {
        let value = match &node.value {
            NodeValue::Scalar(scalar) if has_expression(&scalar.text) => {
                let wrong = |error: TemplateError| {
                    let mut problem = template_problem(&error, node.span);
                    suggest_variable(&mut problem, &error, context);
                    Unrendered::wrong(problem)
                };
                if let Some(waits) = waits_for(&scalar.text, known, node.span) {
                    self.renderer.check_value(&scalar.text, context, &LATER_ROOTS).map_err(wrong)?;
                    return Err(waits);
                }
                let value = self.renderer.render_value(&scalar.text, context).map_err(wrong)?;
                return Ok(Node::from_json(node.span, &value));
            }
            NodeValue::Scalar(_) => return Ok(node.clone()),
            NodeValue::Seq(items) => {
                let items = items.iter().map(|item| self.render(item, context, known));
                NodeValue::Seq(items.collect::<Result<_, _>>()?)
            }
            NodeValue::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| Ok((key.clone(), self.render(value, context, known)?)));
                NodeValue::Map(entries.collect::<Result<_, Unrendered>>()?)
            }
        };
        Ok(Node { span: node.span, value })
    }

    fn check_claims(&self, host: &HostInput, all: &[Bound], problems: &mut Diagnostics) {
        let mut owners: BTreeMap<Claim, (Span, ResourceId)> = BTreeMap::new();
        for bound in all {
            let BoundState::Ready { resource, when_waits: false, .. } = &bound.state else { continue };
            for claim in resource.claims() {
                if let Some((first, id)) = owners.get(&claim) {
                    let message = format!("{} and {id} both own {claim} on {}", bound.id, host.name);
                    let problem =
                        Diagnostic::error("two-owners", message).at(bound.span).label(*first, "the first owner");
                    problems.push(problem.help("keep one of the two tasks, or make their `when` exclude each other"));
                } else {
                    owners.insert(claim, (bound.span, bound.id.clone()));
                }
            }
        }
    }

    fn resolve_notifies(&self, all: &mut [Bound], problems: &mut Diagnostics) {
        let declared: BTreeSet<ResourceId> = all.iter().map(|bound| bound.id.clone()).collect();
        let refreshable: BTreeSet<ResourceId> = all
            .iter()
            .filter(|bound| match &bound.state {
                BoundState::Ready { resource, .. } => resource.refresh().is_some(),
                _ => true,
            })
            .map(|bound| bound.id.clone())
            .collect();
        let some_wait = all.iter().any(|bound| matches!(bound.state, BoundState::WaitsForFacts));
        for bound in all.iter_mut() {
            if matches!(bound.state, BoundState::Skipped { .. }) {
                continue;
            }
            for id in &bound.notify {
                let problem = if !declared.contains(id) && !some_wait {
                    let same_kind: Vec<String> =
                        declared.iter().filter(|known| known.kind == id.kind).map(ToString::to_string).collect();
                    let problem = Diagnostic::error(
                        "unknown-resource",
                        format!("{id} is notified and no task of the host declares it"),
                    );
                    problem.suggest(&id.to_string(), same_kind.iter().map(String::as_str))
                } else if declared.contains(id) && !refreshable.contains(id) {
                    Diagnostic::error(
                        "not-refreshable",
                        format!("{id} cannot be notified: its kind has nothing to refresh"),
                    )
                } else {
                    continue;
                };
                problems.push(problem.at(bound.span));
            }
        }
    }

    /// Returns the secrets' vault, for whoever shows what was bound.
    pub fn vault(&self) -> &Vault {
        &self.vault
    }
}

impl Bound {
    /// Returns whether it is made from the host's part of the flow matrix.
    pub fn needs_flows(&self) -> bool {
        match &self.state {
            BoundState::Ready { resource, .. } => resource.inputs().contains(&Input::Flows),
            _ => false,
        }
    }

    /// Returns the address on a host.
    pub fn addr(&self, host: &HostName) -> ResourceAddr {
        self.id.on(host)
    }
}

/// Returns `problem` with the host named, where its message does not say it.
fn on_host(mut problem: Diagnostic, host: &HostName) -> Diagnostic {
    if !problem.message.contains(host.as_str()) {
        problem.message = format!("{} (on {host})", problem.message);
    }
    problem
}

/// Returns `problem` with the host and the item named: the task is right for others.
fn of_item(mut problem: Diagnostic, host: &HostName, item: &Value) -> Diagnostic {
    let name = [item.as_str()].into_iter().chain(["name", "key"].map(|key| item.get(key).and_then(Value::as_str)));
    match name.flatten().next() {
        Some(name) => problem.message = format!("{} (on {host}, for {name})", problem.message),
        None => problem = on_host(problem, host),
    }
    problem
}

/// Returns what a text waits for; or that it would wait in vain, for facts that no host has.
fn waits_for(text: &str, known: Known<'_>, span: Span) -> Option<Unrendered> {
    let facts = mentions(text, "facts");
    if known.facts.is_none()
        && let Some(problem) = unknown_facts(&facts, span)
    {
        return Some(Unrendered::Wrong(problem));
    }
    if known.registered.is_none() && !mentions(text, "registered").is_empty() {
        return Some(Unrendered::WaitsForOutput);
    }
    (known.facts.is_none() && !facts.is_empty()).then_some(Unrendered::WaitsForFacts)
}

fn unknown_facts(groups: &[String], span: Span) -> Option<Box<Diagnostic>> {
    let known = || fact::groups().iter().map(|group| group.name);
    let unknown = groups.iter().find(|group| known().all(|name| name != group.as_str()))?;
    let problem = Diagnostic::error("unknown-fact", format!("there are no facts `{unknown}`"));
    Some(Box::new(problem.at(span).suggest(unknown, known())))
}

fn template_problem(error: &TemplateError, span: Span) -> Diagnostic {
    let code = if error.missing.is_some() { "unknown-variable" } else { "bad-template" };
    Diagnostic::error(code, error.message.clone()).at(span)
}

fn suggest_variable(problem: &mut Diagnostic, error: &TemplateError, context: &Value) {
    if let Some(missing) = &error.missing
        && let Some(entries) = context.as_object()
    {
        let first = missing.split('.').next().unwrap_or(missing);
        problem.help = crate::diag::suggestion(first, entries.keys().map(String::as_str))
            .or_else(|| Some("`provision inventory show HOST` lists the variables of a host".to_owned()));
    }
}

fn unknown_variable(name: &str, context: &Value, span: Span) -> Diagnostic {
    let problem = Diagnostic::error("unknown-variable", format!("there is no variable `{name}`")).at(span);
    match context.as_object() {
        Some(entries) => problem.suggest(name, entries.keys().map(String::as_str)),
        None => problem,
    }
}

fn place_of(arguments: &Node, path: &Utf8Path) -> Option<Span> {
    let entries = arguments.as_map()?;
    entries.iter().find(|(_, value)| value.as_str() == Some(path.as_str())).map(|(_, value)| value.span)
}

fn set(context: &mut Value, name: &str, value: Value) {
    if let Some(entries) = context.as_object_mut() {
        entries.insert(name.to_owned(), value);
    }
}

/// Returns what the tasks of a play see on a host: its defaults, then the host's own, then the play's variables.
fn context_of(host: &Value, play: &Play, known: Known<'_>) -> Value {
    let is_given = |name: &str| host.get(name).is_some();
    let defaults = play.defaults.iter().filter(|(name, _)| !is_given(name));
    let vars: Vec<(String, Node)> = defaults.chain(&play.vars).cloned().collect();
    context_with(host, &vars, known)
}

fn context_with(base: &Value, vars: &[(String, Node)], known: Known<'_>) -> Value {
    let mut context = base.clone();
    for (name, value) in vars {
        set(&mut context, name, value.to_json());
    }
    if let Some(facts) = known.facts {
        set(&mut context, "facts", facts.clone());
    }
    if let Some(registered) = known.registered {
        set(&mut context, "registered", registered.clone());
    }
    context
}

fn collect_mentions(node: &Node, used: &mut BTreeSet<String>) {
    match &node.value {
        NodeValue::Scalar(scalar) => used.extend(mentions(&scalar.text, "facts")),
        NodeValue::Seq(items) => items.iter().for_each(|item| collect_mentions(item, used)),
        NodeValue::Map(entries) => entries.iter().for_each(|(_, value)| collect_mentions(value, used)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diag::Sources;

    #[test]
    fn a_default_gives_way_to_the_inventory_and_a_variable_of_the_playbook_does_not() {
        let text = "name: Site\ndefaults: {a: 1, b: 1}\nvars: {c: 1}\nplays:\n- {name: one, hosts: all, tasks: []}\n";
        let folder = tempfile::tempdir().unwrap();
        let path = camino::Utf8Path::from_path(folder.path()).unwrap().join("site.yaml");
        crate::fs::write_atomic(&path, text.as_bytes(), 0o600).unwrap();
        let (mut sources, mut problems) = (Sources::default(), Diagnostics::default());
        let playbook = crate::load::playbook::load(&path, &mut sources, &mut problems);
        let playbook = playbook.unwrap_or_else(|| panic!("{problems:?}"));
        let host = serde_json::json!({"b": 2, "c": 2});
        let known = Known { facts: None, registered: None };
        assert_eq!(context_of(&host, &playbook.plays[0], known), serde_json::json!({"a": 1, "b": 2, "c": 1}));
    }
}
