//! `validate`: the whole input, and no host.

use camino::Utf8PathBuf;
use clap::Args;

use super::Common;
use super::exit::Exit;
use super::printer::Printer;
use super::project::{Project, SecretUse, limited, load_inventory};
use crate::diag::{Diagnostics, Sources};
use crate::model::inventory::Inventory;
use crate::model::matrix::{self, Matrix};

/// Arguments of `validate`.
#[derive(Debug, Args)]
pub struct ValidateArgs {
    /// A playbook to check on the inventory; only the inventory is checked without one
    playbook: Option<Utf8PathBuf>,
}

pub(super) fn run(args: &ValidateArgs, common: &Common, printer: &Printer) -> Exit {
    let (mut sources, mut problems) = (Sources::default(), Diagnostics::default());
    let summary = match &args.playbook {
        None => load_inventory(common, &mut sources, &mut problems).map(|inventory| {
            flows(&inventory, &mut problems);
            limited(&inventory, common.limit.as_deref(), &mut problems);
            let networks = inventory.networks.len();
            format!("The inventory is valid: {} hosts, {networks} networks.", inventory.hosts.len())
        }),
        Some(path) => {
            let loaded =
                Project::load(common, path, SecretUse::Placeholder, &printer.vault, &mut sources, &mut problems);
            loaded.map(|project| {
                let binder = project.binder(&mut problems);
                let (bounds, order) = project.bind(&binder, &mut problems);
                let resources: usize = bounds.iter().map(|(_, bounds)| bounds.len()).sum();
                let (hosts, plays) = (project.hosts.len(), project.playbook.plays.len());
                let edges = order.dag.edges().count();
                format!("The playbook is valid: {plays} plays, {resources} resources on {hosts} hosts, {edges} edges.")
            })
        }
    };
    problems.sort();
    printer.diagnostics(&problems, &sources);
    if problems.has_errors() {
        return Exit::Error;
    }
    if let Some(summary) = summary
        && !printer.json
    {
        printer.note(&summary);
    }
    Exit::Done
}

/// Reports flows that stand for nothing, and hops of the tool's own that are among no flow. An inventory without a flow
/// matrix makes no firewall, and closes no way.
fn flows(inventory: &Inventory, problems: &mut Diagnostics) {
    if !inventory.flows.is_empty() {
        let matrix = Matrix::build(inventory, problems);
        matrix::path::check(&matrix, inventory.hosts.values(), problems);
    }
}
