//! Everything that a command needs of the input: loaded, bound to hosts, and checked as a whole.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use camino::{Utf8Path, Utf8PathBuf};
use serde_json::Value;

use super::Common;
use super::printer::Printer;
use crate::addr::HostName;
use crate::connection::{Endpoint, Route, Target};
use crate::diag::{Diagnostic, Diagnostics, Sources};
use crate::load;
use crate::load::secrets::Secrets;
use crate::model::inventory::{ConnectionKind, Host, Inventory};
use crate::model::matrix::path;
use crate::model::playbook::{Domain, Playbook};
use crate::model::selector::Selector;
use crate::plan::Contents;
use crate::plan::bind::{Binder, Bound, HostInput, Known, Tags};
use crate::plan::order::{self, Order};
use crate::secret::{NOT_LOOKED_UP, Vault};
use crate::template::{Renderer, has_expression};

/// Whether secrets are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecretUse {
    /// Yes: something will be compared with a host.
    LookUp,
    /// No: a placeholder stands for each, so that a reviewer without them can validate.
    Placeholder,
}

/// Returns the day on which dates are judged.
pub fn today(common: &Common) -> jiff::civil::Date {
    common.as_of.unwrap_or_else(|| jiff::ZonedDateTime::now().date())
}

/// Loads the inventory, or adds what is wrong with it to `problems`.
pub fn load_inventory(common: &Common, sources: &mut Sources, problems: &mut Diagnostics) -> Option<Arc<Inventory>> {
    let path = match &common.inventory {
        Some(path) => path.clone(),
        None => {
            let here = Utf8PathBuf::from("inventory");
            if !here.is_dir() {
                let problem = Diagnostic::error("no-inventory", "no inventory is given");
                problems
                    .push(problem.help("give one with `-i FOLDER`, or run this where there is a folder `inventory`"));
                return None;
            }
            here
        }
    };
    load::inventory::load_on(today(common), &path, &common.set, sources, problems).map(Arc::new)
}

/// Returns the hosts that `--limit` leaves, in the order of the inventory.
pub fn limited<'a>(inventory: &'a Inventory, limit: Option<&str>, problems: &mut Diagnostics) -> Vec<&'a Host> {
    let Some(limit) = limit else { return inventory.hosts.values().collect() };
    match Selector::parse(limit).and_then(|selector| selector.select(inventory)) {
        Ok(hosts) => hosts,
        Err(error) => {
            let mut problem = Diagnostic::error("bad-limit", format!("--limit: {error}"));
            problem.help = error.help.clone();
            problems.push(problem);
            Vec::new()
        }
    }
}

/// Returns the hosts that a selector on the command line means; what is wrong with it is printed.
pub fn selected<'a>(inventory: &'a Inventory, selector: &str, printer: &Printer) -> Option<Vec<&'a Host>> {
    match Selector::parse(selector).and_then(|selector| selector.select(inventory)) {
        Ok(hosts) => Some(hosts),
        Err(error) => {
            let mut problem = Diagnostic::error(error.code, error.to_string());
            problem.help = error.help.clone();
            let mut problems = Diagnostics::default();
            problems.push(problem);
            printer.diagnostics(&problems, &Sources::default());
            None
        }
    }
}

/// A playbook on an inventory, bound to its hosts as far as that goes without asking them.
#[derive(Debug)]
pub struct Project {
    /// The inventory.
    pub inventory: Arc<Inventory>,
    /// The playbook.
    pub playbook: Playbook,
    /// The hosts that some play is for.
    pub hosts: Vec<HostInput>,
    /// Templates and files.
    pub contents: Contents,
    /// What renders.
    pub renderer: Renderer,
    /// The secrets.
    pub vault: Vault,
    /// Which tasks take part.
    pub tags: Tags,
}

impl Project {
    /// Loads all that a playbook needs; adds what is wrong to `problems`.
    pub fn load(
        common: &Common,
        playbook: &Utf8Path,
        secret_use: SecretUse,
        vault: &Vault,
        sources: &mut Sources,
        problems: &mut Diagnostics,
    ) -> Option<Self> {
        let inventory = load_inventory(common, sources, problems);
        let model = load::playbook::load(playbook, sources, problems);
        let (inventory, playbook_model) = (inventory?, model?);
        let lookup = Lookup::new(inventory.clone());
        let mut renderer = Renderer::new(Arc::new(move |selector: &str| lookup.hosts(selector)));
        let contents = Contents::load(&root_of(playbook), sources, &mut renderer, problems);
        let chosen = limited(&inventory, common.limit.as_deref(), problems);
        if problems.has_errors() {
            return None;
        }
        let mut plays_of: BTreeMap<HostName, Vec<usize>> = BTreeMap::new();
        for (at, play) in playbook_model.plays.iter().enumerate() {
            match Selector::parse_at(&play.hosts) {
                Ok(selector) => match selector.select(&inventory) {
                    Ok(hosts) => {
                        for host in hosts {
                            plays_of.entry(host.name.clone()).or_default().push(at);
                        }
                    }
                    Err(error) => problems.push(error.diagnostic(play.hosts.span)),
                },
                Err(problem) => problems.push(*problem),
            }
        }
        let secrets = Secrets::new(inventory.folder.clone(), vault.clone());
        let mut hosts = Vec::new();
        for host in chosen {
            let Some(plays) = plays_of.remove(&host.name) else { continue };
            let Some(context) = context_of(&inventory, host, &renderer, secret_use, &secrets, problems) else {
                continue;
            };
            let login = (host.connection() != ConnectionKind::Local).then(|| endpoint(&inventory, host)).flatten();
            let login = login.map(|endpoint| endpoint.user);
            let provided_by = host.provided_by.as_ref().map(|by| by.value.clone());
            hosts.push(HostInput { name: host.name.clone(), context: Arc::new(context), login, provided_by, plays });
        }
        if hosts.is_empty() && !problems.has_errors() {
            let problem = Diagnostic::error("no-hosts", "no play is for any of the hosts that are left");
            problems.push(problem.help("look at `--limit` and at the plays' `hosts`"));
        }
        let tags =
            Tags { only: common.tags.iter().cloned().collect(), skip: common.skip_tags.iter().cloned().collect() };
        let vault = vault.clone();
        Some(Self { inventory, playbook: playbook_model, hosts, contents, renderer, vault, tags })
    }

    /// Binds all hosts without their facts and lays out the order; what is wrong is added to `problems`, each mistake
    /// once however many hosts it is made on.
    pub fn bind<'a>(&'a self, binder: &Binder<'a>, problems: &mut Diagnostics) -> (Vec<(HostName, Vec<Bound>)>, Order) {
        let mut found = Diagnostics::default();
        let bounds: Vec<(HostName, Vec<Bound>)> = self
            .hosts
            .iter()
            .map(|host| (host.name.clone(), binder.bind(host, Known::default(), &mut found)))
            .collect();
        for host in &self.hosts {
            for play in &host.plays {
                if let Err(error) = binder.bind_health(host, *play, Known::default()) {
                    let span = self.playbook.plays.get(*play).map(|play| play.name.span);
                    let problem =
                        Diagnostic::error("bad-health", format!("a health check of the play is wrong: {error}"));
                    found.push(match span {
                        Some(span) => problem.at(span),
                        None => problem,
                    });
                }
            }
        }
        let brought = |host: &HostName| {
            let host = self.inventory.host(host.as_str())?;
            Some(&host.provided_by.as_ref()?.value)
        };
        let order = order::build(&self.playbook, &bounds, &brought, &|host, kind| self.domain(host, kind), &mut found);
        if let Some(matrix) = binder.matrix() {
            // A firewall that is made of a matrix without the tool's own way locks it out.
            let filtered = bounds.iter().filter(|(_, bounds)| bounds.iter().any(Bound::needs_flows));
            let hosts = filtered.filter_map(|(name, _)| self.inventory.host(name.as_str()));
            path::check(matrix, hosts, &mut found);
        }
        problems.extend(once_each(found));
        (bounds, order)
    }

    /// Returns the failure domain that a host stands in.
    pub fn domain(&self, host: &HostName, kind: Domain) -> Option<String> {
        self.inventory.domain(self.inventory.host(host.as_str())?, kind)
    }

    /// Returns the binder.
    pub fn binder<'a>(&'a self, problems: &mut Diagnostics) -> Binder<'a> {
        let (tags, vault) = (self.tags.clone(), self.vault.clone());
        Binder::new(&self.playbook, &self.renderer, &self.contents, tags, vault, &self.inventory, problems)
    }

    /// Returns the way to each host.
    pub fn routes(&self) -> Vec<Route> {
        self.hosts.iter().filter_map(|host| route(&self.inventory, self.inventory.host(host.name.as_str())?)).collect()
    }
}

/// Returns problems without those that are the same at the same place.
fn once_each(found: Diagnostics) -> Diagnostics {
    let mut seen: HashMap<(Cow<'static, str>, Option<crate::diag::Span>), usize> = HashMap::new();
    let mut kept: Vec<(Diagnostic, usize)> = Vec::new();
    for problem in found {
        // A problem without a place is told apart by its words.
        let place = problem.primary.as_ref().map(|label| label.span);
        if place.is_some() {
            if let Some(at) = seen.get(&(problem.code.clone(), place)) {
                if let Some((_, count)) = kept.get_mut(*at) {
                    *count += 1;
                }
                continue;
            }
            seen.insert((problem.code.clone(), place), kept.len());
        }
        kept.push((problem, 1));
    }
    let mut once = Diagnostics::default();
    once.extend(kept.into_iter().map(|(mut problem, count)| {
        if count > 1 {
            problem.message =
                format!("{} (and {} more of its kind here, on other hosts or items)", problem.message, count - 1);
        }
        problem
    }));
    once
}

/// Returns the folder that `templates` and `files` are in: beside the folder `playbooks`, or beside the playbook.
pub fn root_of(playbook: &Utf8Path) -> Utf8PathBuf {
    let folder = playbook.parent().unwrap_or(Utf8Path::new(""));
    let root = if folder.file_name() == Some("playbooks") { folder.parent().unwrap_or(folder) } else { folder };
    if root.as_str().is_empty() { Utf8PathBuf::from(".") } else { root.to_owned() }
}

/// Returns the way to a host; none where it has no address.
pub fn route(inventory: &Inventory, host: &Host) -> Option<Route> {
    if host.connection() == ConnectionKind::Local {
        return Some(Route { via: Vec::new(), target: Target::Local(host.name.clone()) });
    }
    let via = inventory.hops(host).into_iter().filter_map(|hop| endpoint(inventory, hop)).collect();
    Some(Route { via, target: Target::Ssh(endpoint(inventory, host)?) })
}

fn endpoint(inventory: &Inventory, host: &Host) -> Option<Endpoint> {
    let ssh = inventory.ssh(host)?;
    let user = ssh.user.or_else(|| std::env::var("USER").ok()).unwrap_or_else(|| "root".to_owned());
    Some(Endpoint { host: host.name.clone(), address: ssh.address, port: ssh.port, user, host_keys: ssh.host_keys })
}

/// Returns what the templates of a host see.
fn context_of(
    inventory: &Inventory,
    host: &Host,
    renderer: &Renderer,
    secret_use: SecretUse,
    secrets: &Secrets,
    problems: &mut Diagnostics,
) -> Option<Value> {
    let context = Value::Object(inventory.context(host));
    let context = match secret_use {
        SecretUse::LookUp => match secrets.resolve(&context) {
            Ok(context) => context,
            Err(error) => {
                let problem =
                    Diagnostic::error("no-secret", format!("{}: {}", host.name, crate::engine::with_causes(&error)));
                problems.push(problem.at(host.span));
                return None;
            }
        },
        SecretUse::Placeholder => without_secrets(context),
    };
    Some(render_variables(context, inventory, host, renderer, problems))
}

fn without_secrets(value: Value) -> Value {
    if crate::model::vars::SecretRef::of(&value).is_some() {
        return Value::from(NOT_LOOKED_UP);
    }
    match value {
        Value::Array(items) => items.into_iter().map(without_secrets).collect(),
        Value::Object(entries) => entries.into_iter().map(|(key, value)| (key, without_secrets(value))).collect(),
        other => other,
    }
}

/// Renders variables that speak of others, until none does.
fn render_variables(
    mut context: Value,
    inventory: &Inventory,
    host: &Host,
    renderer: &Renderer,
    problems: &mut Diagnostics,
) -> Value {
    let names: Vec<String> = inventory
        .vars(host)
        .iter()
        .filter(|(_, var)| speaks_of_others(var.value))
        .map(|(name, _)| (*name).to_owned())
        .collect();
    let mut left = names;
    // Each round settles at least one variable, or what is left goes round in a circle or is wrong.
    while !left.is_empty() {
        let mut still = Vec::new();
        let mut errors = Vec::new();
        for name in &left {
            let value = context.get(name).cloned().unwrap_or(Value::Null);
            match render_deep(&value, &context, renderer) {
                Ok(rendered) if !speaks_of_others(&rendered) => {
                    if let Some(entries) = context.as_object_mut() {
                        entries.insert(name.clone(), rendered);
                    }
                }
                Ok(_) => still.push(name.clone()),
                Err(error) => {
                    errors.push((name.clone(), error));
                    still.push(name.clone());
                }
            }
        }
        if still.len() == left.len() {
            for name in &still {
                let span = inventory.vars(host).get(name.as_str()).map_or(host.span, |var| var.origin.span);
                let why = errors.iter().find(|(known, _)| known == name).map(|(_, error)| error.clone());
                let message = match why {
                    Some(why) => format!("the variable `{name}` cannot be rendered for {}: {why}", host.name),
                    None => format!("the variable `{name}` speaks of itself, directly or through others"),
                };
                let problem = Diagnostic::error("bad-variable", message).at(span);
                problems
                    .push(problem.help("a variable may speak of other variables of the host, but not of its facts"));
            }
            break;
        }
        left = still;
    }
    context
}

fn speaks_of_others(value: &Value) -> bool {
    match value {
        Value::String(text) => has_expression(text),
        Value::Array(items) => items.iter().any(speaks_of_others),
        Value::Object(entries) => entries.values().any(speaks_of_others),
        _ => false,
    }
}

fn render_deep(value: &Value, context: &Value, renderer: &Renderer) -> Result<Value, String> {
    match value {
        Value::String(text) => renderer.render_value(text, context).map_err(|error| error.to_string()),
        Value::Array(items) => items.iter().map(|item| render_deep(item, context, renderer)).collect(),
        Value::Object(entries) => {
            let entries = entries.iter().map(|(key, value)| Ok((key.clone(), render_deep(value, context, renderer)?)));
            entries.collect::<Result<_, String>>().map(Value::Object)
        }
        other => Ok(other.clone()),
    }
}

/// What templates ask of other hosts, each question answered once.
struct Lookup {
    inventory: Arc<Inventory>,
    known: Mutex<HashMap<String, Value>>,
}

impl Lookup {
    fn new(inventory: Arc<Inventory>) -> Self {
        Self { inventory, known: Mutex::default() }
    }

    fn hosts(&self, selector: &str) -> Result<Value, String> {
        let mut known = self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(answer) = known.get(selector) {
            return Ok(answer.clone());
        }
        let parsed = Selector::parse(selector).map_err(|error| error.to_string())?;
        let hosts = parsed.select(&self.inventory).map_err(|error| error.to_string())?;
        let answer: Value = hosts.into_iter().map(|host| self.inventory.lookup(host)).collect();
        known.insert(selector.to_owned(), answer.clone());
        Ok(answer)
    }
}
