//! `validate`: the whole input and the rules on it, and no host.

use camino::Utf8PathBuf;
use clap::{Args, ValueEnum};
use jiff::civil::Date;

use super::Common;
use super::exit::Exit;
use super::policy::{LangChoice, check_inventory, check_project};
use super::printer::{Printer, Verbosity};
use super::project::{Project, SecretUse, limited, load_inventory};
use crate::diag::{Diagnostics, Sources};
use crate::model::inventory::Inventory;
use crate::model::matrix::{self, Matrix};
use crate::policy::{Lang, Level, Report};
use crate::report::findings::{self, Checked};

/// Arguments of `validate`.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// A playbook to check on the inventory; only the inventory is checked without one
    playbook: Option<Utf8PathBuf>,
    /// How the result is written; what is not for people goes to standard output
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
    /// The language of findings
    #[arg(long, value_enum, default_value_t, value_name = "LANG")]
    lang: LangChoice,
    /// From which level on the exit code is 1
    #[arg(long, value_enum, default_value_t, value_name = "LEVEL")]
    fail_on: FailOn,
    /// Judge dates as of this day, such as `2027-01-31`, to see what will have run out by then
    #[arg(long, value_name = "DATE")]
    as_of: Option<Date>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Human,
    /// JSON, as `--json` says too
    Json,
    /// SARIF 2.1.0
    Sarif,
    /// JUnit XML
    Junit,
    /// GitLab's code quality report
    CodeQuality,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// Errors
    #[default]
    Error,
    /// Errors and warnings
    Warning,
}

pub(super) fn run(args: &ValidateArgs, common: &Common, printer: &Printer) -> Exit {
    let common = &Common { as_of: args.as_of, ..common.clone() };
    let lang: Lang = args.lang.into();
    let (mut sources, mut problems) = (Sources::default(), Diagnostics::default());
    let mut done: Option<(String, Report)> = None;
    let mut inventory = None;
    match &args.playbook {
        None => {
            inventory = load_inventory(common, &mut sources, &mut problems);
            if let Some(inventory) = &inventory {
                flows(inventory, &mut problems);
                limited(inventory, common.limit.as_deref(), &mut problems);
                let report = check_inventory(inventory, common, lang, &mut problems);
                let (hosts, networks) = (inventory.hosts.len(), inventory.networks.len());
                let text = match lang {
                    Lang::En => format!("The inventory is valid: {hosts} hosts, {networks} networks."),
                    Lang::Fr => format!("L'inventaire est valide : {hosts} hôtes, {networks} réseaux."),
                };
                done = Some((text, report));
            }
        }
        Some(path) => {
            let loaded =
                Project::load(common, path, SecretUse::Placeholder, &printer.vault, &mut sources, &mut problems);
            if let Some(project) = loaded {
                let binder = project.binder(&mut problems);
                let (bounds, order) = project.bind(&binder, &mut problems);
                let report = check_project(&project, &bounds, &mut sources, common, lang, &mut problems);
                let resources: usize = bounds.iter().map(|(_, bounds)| bounds.len()).sum();
                let (hosts, plays) = (project.hosts.len(), project.playbook.plays.len());
                let edges = order.dag.edges().count();
                let text = match lang {
                    Lang::En => format!(
                        "The playbook is valid: {plays} plays, {resources} resources on {hosts} hosts, {edges} edges."
                    ),
                    Lang::Fr => format!(
                        "Le playbook est valide : {plays} plays, {resources} ressources sur {hosts} hôtes, {edges} arêtes."
                    ),
                };
                inventory = Some(project.inventory.clone());
                done = Some((text, report));
            }
        }
    }
    problems.sort();
    let report = done.as_ref().map(|(_, report)| report);
    let checked = Checked { problems: &problems, report, inventory: inventory.as_deref(), sources: &sources, lang };
    print(args, &checked, printer);
    let bound = match args.fail_on {
        FailOn::Error => Level::Error,
        FailOn::Warning => Level::Warning,
    };
    let has_findings = report.is_some_and(|report| report.findings.iter().any(|finding| finding.level >= bound));
    let has_warnings = args.fail_on == FailOn::Warning && !checked.diagnostics(false).is_empty();
    if problems.has_errors() || has_findings || has_warnings || done.is_none() {
        return Exit::Error;
    }
    if let Some((text, _)) = &done
        && is_for_people(args, printer)
    {
        printer.note(text);
    }
    Exit::Done
}

fn is_for_people(args: &ValidateArgs, printer: &Printer) -> bool {
    args.format == Format::Human && !printer.json
}

fn print(args: &ValidateArgs, checked: &Checked<'_>, printer: &Printer) {
    match args.format {
        Format::Human if printer.json => printer.json(&findings::to_json(checked)),
        Format::Json => printer.json(&findings::to_json(checked)),
        Format::Sarif => printer.json(&findings::sarif(checked)),
        Format::CodeQuality => printer.json(&findings::code_quality(checked)),
        Format::Junit => printer.data(&findings::junit(checked)),
        Format::Human => {
            // With `--verbose` notes are drawn like everything else.
            let verbose = printer.verbosity == Verbosity::Verbose;
            printer.diagnostics_in(checked.lang, &checked.diagnostics(verbose), checked.sources);
            if !verbose {
                printer.note_lines(&findings::notes(checked, printer.stderr_style()));
            }
            printer.note_lines(&findings::summary(checked, printer.stderr_style(), printer.width()));
        }
    }
}

/// Reports flows that stand for nothing, and hops of the tool's own that are among no flow. An inventory without a flow
/// matrix makes no firewall, and closes no way.
fn flows(inventory: &Inventory, problems: &mut Diagnostics) {
    if !inventory.flows.is_empty() {
        let matrix = Matrix::build(inventory, problems);
        matrix::path::check(&matrix, inventory.hosts.values(), problems);
    }
}
