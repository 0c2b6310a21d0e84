//! The rules, asked before anything is shown or done: hands `policy` what the other floors know.

use std::collections::BTreeSet;
use std::sync::Arc;

use camino::{Utf8Path, Utf8PathBuf};
use clap::ValueEnum;
use serde_json::Value;

use super::Common;
use super::printer::Printer;
use super::project::{Project, today};
use crate::addr::HostName;
use crate::diag::{Diagnostics, FileId, Sources};
use crate::fs;
use crate::model::inventory::Inventory;
use crate::model::node::{Node, Value as NodeValue};
use crate::plan::bind::{Bound, BoundState};
use crate::policy::{self, Input, Lang, Level, Playbook, Report, SourceText, Written};
use crate::report::findings::Checked;
use crate::resource::Content;
use crate::template::has_expression;

/// The language of findings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LangChoice {
    /// English
    #[default]
    En,
    /// French
    Fr,
}

impl From<LangChoice> for Lang {
    fn from(choice: LangChoice) -> Self {
        match choice {
            LangChoice::En => Lang::En,
            LangChoice::Fr => Lang::Fr,
        }
    }
}

/// The largest file of the project whose text is looked into.
const FILE_LIMIT: u64 = 1 << 20;

/// The kinds whose arguments rules look into.
const KINDS: [&str; 5] = ["apt.repository", "file", "mount", "sudoers", "sysctl"];

/// A project's hosts with their resources.
pub type Bounds = [(HostName, Vec<Bound>)];

/// Asks the rules of an inventory alone.
pub fn check_inventory(inventory: &Inventory, common: &Common, lang: Lang, problems: &mut Diagnostics) -> Report {
    policy::check(&Input { inventory, playbook: None, today: today(common), lang }, problems)
}

/// Asks the rules of an inventory and of what a playbook would write.
pub fn check_project(
    project: &Project,
    bounds: &Bounds,
    sources: &mut Sources,
    common: &Common,
    lang: Lang,
    problems: &mut Diagnostics,
) -> Report {
    let files = files(bounds, sources);
    let templates = project.contents.sources().map(|(file, name, text)| SourceText { file, name, text });
    let files = files.iter().map(|(file, name, text)| SourceText { file: *file, name, text });
    let playbook = Playbook {
        sources: templates.chain(files).collect(),
        resources: resources(project, bounds),
        is_whole: common.limit.is_none() && common.tags.is_empty() && common.skip_tags.is_empty(),
    };
    let input = Input { inventory: &project.inventory, playbook: Some(&playbook), today: today(common), lang };
    policy::check(&input, problems)
}

/// Returns the texts among the project's files that some resource copies.
fn files(bounds: &Bounds, sources: &mut Sources) -> Vec<(FileId, Utf8PathBuf, Arc<str>)> {
    let mut seen: BTreeSet<&Utf8Path> = BTreeSet::new();
    let mut texts = Vec::new();
    for bound in bounds.iter().flat_map(|(_, bounds)| bounds) {
        let BoundState::Ready { resource, .. } = &bound.state else { continue };
        let Some(Content::File { path, size, .. }) = resource.supplied() else { continue };
        if *size > FILE_LIMIT || !seen.insert(path) {
            continue;
        }
        // What is not text, or has gone meanwhile, holds no URL that could be shown.
        let text = fs::read_at_most(path, FILE_LIMIT).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        if let Some(text) = text {
            let text: Arc<str> = text.into();
            let name = resource.specification().get("source").and_then(Value::as_str).unwrap_or_default().to_owned();
            texts.push((sources.add(path.clone(), text.clone()), name.into(), text));
        }
    }
    texts
}

/// Returns the resources that rules look into.
fn resources<'a>(project: &'a Project, bounds: &'a Bounds) -> Vec<Written<'a>> {
    // Most tasks hold nothing that a rule asks for, on any host.
    let is_looked_at: Vec<Vec<bool>> = project
        .playbook
        .plays
        .iter()
        .map(|play| {
            let tasks = play.tasks.iter();
            tasks.map(|task| KINDS.contains(&task.kind.as_str()) || may_hold_url(&task.arguments)).collect()
        })
        .collect();
    let mut written = Vec::new();
    for (host, bounds) in bounds {
        for bound in bounds {
            let BoundState::Ready { resource, .. } = &bound.state else { continue };
            let is_looked_at = is_looked_at.get(bound.play).and_then(|play| play.get(bound.task)).copied();
            let supplied = match resource.supplied() {
                Some(Content::Text(text)) => Some(text.clone()),
                _ => None,
            };
            if is_looked_at != Some(true) && supplied.is_none() {
                continue;
            }
            let spec = resource.specification();
            let own = || spec.get("content").and_then(Value::as_str).map(Arc::from);
            written.push(Written {
                host,
                kind: bound.id.kind.as_str(),
                name: &bound.id.name,
                text: supplied.or_else(own),
                spec: Arc::new(spec),
                span: bound.span,
            });
        }
    }
    written
}

fn may_hold_url(node: &Node) -> bool {
    match &node.value {
        NodeValue::Scalar(scalar) => scalar.text.contains("://") || has_expression(&scalar.text),
        NodeValue::Seq(items) => items.iter().any(may_hold_url),
        NodeValue::Map(entries) => entries.iter().any(|(_, value)| may_hold_url(value)),
    }
}

/// Asks the rules before a plan or an apply, and returns whether they refuse it: then what is wrong is printed. Warnings
/// are counted.
pub fn refuses(project: &Project, bounds: &Bounds, sources: &mut Sources, common: &Common, printer: &Printer) -> bool {
    let mut problems = Diagnostics::default();
    let report = check_project(project, bounds, sources, common, Lang::En, &mut problems);
    if problems.has_errors() || report.has_errors() {
        let inventory = Some(&*project.inventory);
        let checked = Checked { problems: &problems, report: Some(&report), inventory, sources, lang: Lang::En };
        printer.diagnostics(&checked.diagnostics(false), sources);
        let hint = "`provision validate` shows what was waived too; an exception is signed under `policy.waivers`";
        if !printer.json {
            printer.error("the rules refuse this, and no host was touched", Some(hint));
        }
        return true;
    }
    let warnings = report.count(Level::Warning);
    if warnings > 0 {
        let them = if warnings == 1 { "1 warning".to_owned() } else { format!("{warnings} warnings") };
        printer.note(&format!("The rules have {them}: `provision validate` shows them."));
    }
    false
}
