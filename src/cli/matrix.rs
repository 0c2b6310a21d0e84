//! `matrix`: the flow matrix by zone or by host, for people and for an audit file.

use camino::{Utf8Path, Utf8PathBuf};
use clap::{Args, ValueEnum};
use jiff::civil::Date;
use sha2::{Digest, Sha256};

use super::Common;
use super::exit::Exit;
use super::policy::{LangChoice, check_inventory};
use super::printer::Printer;
use super::project::{limited, load_inventory, today};
use crate::diag::{Diagnostics, Sources};
use crate::fs;
use crate::model::matrix::Matrix;
use crate::proof::Proof;
use crate::report::matrix::{self, About, Axis, Evidence, View};
use crate::report::page;

/// Arguments of `matrix`.
#[derive(Debug, Args)]
pub struct MatrixArgs {
    /// Zones by zones, or what each host may do; a page has both
    #[arg(long, value_enum, default_value_t)]
    by: By,
    /// How to show it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Show beside each pair what was seen of it: the file that `verify --out` wrote of this inventory
    #[arg(long, value_name = "FILE")]
    proof: Option<Utf8PathBuf>,
    /// The language of pictures and pages
    #[arg(long, value_enum, default_value_t, value_name = "LANG")]
    lang: LangChoice,
    /// Judge waivers as of this day, such as `2027-01-31`
    #[arg(long, value_name = "DATE")]
    as_of: Option<Date>,
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
    /// A picture
    Svg,
    /// A page that stands alone, for a screen and for paper, with the level-3 diagram
    Html,
}

pub(super) fn run(args: &MatrixArgs, common: &Common, printer: &Printer) -> Exit {
    let common = &Common { as_of: args.as_of.or(common.as_of), ..common.clone() };
    let proof = match args.proof.as_deref().map(read_proof).transpose() {
        Ok(proof) => proof,
        Err(problem) => {
            printer.error(&problem, Some("`provision verify --out FILE` writes a proof"));
            return Exit::Error;
        }
    };
    let (mut sources, mut problems) = (Sources::default(), Diagnostics::default());
    let shown = load_inventory(common, &mut sources, &mut problems).and_then(|inventory| {
        let hosts = limited(&inventory, common.limit.as_deref(), &mut problems);
        let found = Matrix::build(&inventory, &mut problems);
        let report = check_inventory(&inventory, common, args.lang.into(), &mut problems);
        if problems.has_errors() {
            return None;
        }
        let evidence = match proof.as_ref().map(|(proof, _)| Evidence::new(proof, &found)).transpose() {
            Ok(evidence) => evidence,
            Err(error) => {
                let file = args.proof.as_deref().map(Utf8Path::as_str).unwrap_or_default();
                let hint = "verify the hosts again with this inventory: `provision verify --out FILE`";
                printer.error(&format!("the proof `{file}` is not one of this inventory: {error}"), Some(hint));
                return None;
            }
        };
        let view = View::new(&found, &report, evidence, &sources, args.lang.into());
        let axis = if args.by == By::Zone { Axis::Zone } else { Axis::Host };
        let rows = || match args.by {
            By::Zone => matrix::by_zone(&view),
            By::Host => matrix::by_host(&view, &hosts),
        };
        Some(match args.format {
            Format::Text => matrix::text(&rows()),
            Format::Csv => matrix::csv(&rows()),
            Format::Markdown => matrix::markdown(&rows()),
            Format::Svg => matrix::picture(&view, &matrix::grid(&view, axis, &hosts)),
            Format::Html => {
                let name = common.inventory.as_ref().map_or("inventory", |path| path.as_str());
                let file = args.proof.as_deref().map(Utf8Path::as_str);
                let about = About {
                    inventory: name,
                    limit: common.limit.as_deref(),
                    today: today(common),
                    proof: file.zip(proof.as_ref().map(|(_, digest)| digest.as_str())),
                };
                page::html(&matrix::page(&view, &hosts, &about))
            }
        })
    });
    problems.sort();
    printer.diagnostics(&problems, &sources);
    let Some(shown) = shown else { return Exit::Error };
    printer.data(&shown);
    Exit::Done
}

/// Returns a proof and the digest of its file, or what is wrong with it.
fn read_proof(path: &Utf8Path) -> Result<(Proof, String), String> {
    let text = fs::read_to_string(path).map_err(|error| format!("read the proof: {error}"))?;
    let proof = Proof::parse(&text).map_err(|error| format!("read the proof `{path}`: {error}"))?;
    let digest = Sha256::digest(text.as_bytes());
    Ok((proof, digest.iter().map(|byte| format!("{byte:02x}")).collect()))
}
