//! `graph`: what waits for what, as a picture or as text for other programs.

use camino::Utf8PathBuf;
use clap::{Args, ValueEnum};

use super::Common;
use super::exit::Exit;
use super::printer::Printer;
use super::project::{Project, SecretUse, limited, load_inventory};
use crate::diag::{Diagnostics, Sources};
use crate::report::drawing::{self, Drawing};

/// Arguments of `graph`.
#[derive(Debug, Args)]
pub struct GraphArgs {
    /// The playbook; only hosts can be shown without one
    playbook: Option<Utf8PathBuf>,
    /// What to show; resources where a playbook is given, hosts otherwise
    #[arg(long, value_enum)]
    scope: Option<Scope>,
    /// How to show it
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scope {
    /// The hosts by site, and the way to each
    Hosts,
    /// The plays, and what each waits for
    Plays,
    /// Every resource of every host, in the order in which they are changed
    Resources,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// Graphviz's language
    #[default]
    Dot,
    /// Mermaid's language
    Mermaid,
    /// A picture
    Svg,
}

pub(super) fn run(args: &GraphArgs, common: &Common, printer: &Printer) -> Exit {
    let default = if args.playbook.is_some() { Scope::Resources } else { Scope::Hosts };
    let scope = args.scope.unwrap_or(default);
    let (mut sources, mut problems) = (Sources::default(), Diagnostics::default());
    let drawing = match (scope, &args.playbook) {
        (Scope::Hosts, _) => load_inventory(common, &mut sources, &mut problems).map(|inventory| {
            let hosts = limited(&inventory, common.limit.as_deref(), &mut problems);
            drawing::hosts(&inventory, &hosts)
        }),
        (_, None) => {
            let hint = "give one, such as `provision graph playbooks/site.yaml --scope plays`";
            printer.error("plays and resources are those of a playbook, and none is given", Some(hint));
            return Exit::Usage;
        }
        (_, Some(path)) => {
            let project =
                Project::load(common, path, SecretUse::Placeholder, &printer.vault, &mut sources, &mut problems);
            project.map(|project| {
                let binder = project.binder(&mut problems);
                let (bounds, order) = project.bind(&binder, &mut problems);
                if scope == Scope::Plays {
                    drawing::plays(&project.playbook, &bounds, &|host, kind| project.domain(host, kind))
                } else {
                    drawing::resources(&project.playbook, &bounds, &order)
                }
            })
        }
    };
    if problems.has_errors() {
        problems.sort();
        printer.diagnostics(&problems, &sources);
        return Exit::Error;
    }
    if let Some(drawing) = drawing {
        print(&drawing, args.format, printer);
    }
    Exit::Done
}

fn print(drawing: &Drawing, format: Format, printer: &Printer) {
    if printer.json {
        printer.json(&serde_json::to_value(drawing).unwrap_or_default());
        return;
    }
    printer.data(&match format {
        Format::Dot => drawing::dot(drawing),
        Format::Mermaid => drawing::mermaid(drawing),
        Format::Svg => drawing::svg(drawing),
    });
}
