//! `matrix`: the flow matrix by zone or by host, for people and for an audit file.

use clap::{Args, ValueEnum};

use super::Common;
use super::exit::Exit;
use super::printer::Printer;
use super::project::{limited, load_inventory};
use crate::diag::{Diagnostics, Sources};
use crate::model::matrix::Matrix;
use crate::report::matrix;

/// Arguments of `matrix`.
#[derive(Debug, Args)]
pub struct MatrixArgs {
    /// Zones by zones, or what each host may do
    #[arg(long, value_enum, default_value_t)]
    by: By,
    /// How to show it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum By {
    /// Every pair of zones, those too that nothing may pass between
    #[default]
    Zone,
    /// What comes to each host and what leaves it
    Host,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// For a terminal
    #[default]
    Text,
    /// Comma-separated values
    Csv,
    /// A table in Markdown
    Markdown,
}

pub(super) fn run(args: &MatrixArgs, common: &Common, printer: &Printer) -> Exit {
    let (mut sources, mut problems) = (Sources::default(), Diagnostics::default());
    let rows = load_inventory(common, &mut sources, &mut problems).map(|inventory| {
        let hosts = limited(&inventory, common.limit.as_deref(), &mut problems);
        let found = Matrix::build(&inventory, &mut problems);
        match args.by {
            By::Zone => matrix::by_zone(&found, &sources),
            By::Host => matrix::by_host(&found, &hosts, &sources),
        }
    });
    problems.sort();
    printer.diagnostics(&problems, &sources);
    let Some(rows) = rows.filter(|_| !problems.has_errors()) else { return Exit::Error };
    printer.data(&match args.format {
        Format::Text => matrix::text(&rows),
        Format::Csv => matrix::csv(&rows),
        Format::Markdown => matrix::markdown(&rows),
    });
    Exit::Done
}
