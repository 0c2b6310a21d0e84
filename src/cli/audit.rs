//! `audit`: the rules on the live hosts, in one login and one exchange with each. Nothing on them is changed.

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use clap::{Args, ValueEnum};

use super::Common;
use super::exit::Exit;
use super::fleet::{self, Patience};
use super::policy::LangChoice;
use super::printer::{Printer, Verbosity};
use super::project::{limited, load_inventory, route, today};
use crate::addr::HostName;
use crate::diag::{Diagnostics, Sources};
use crate::engine::{self, Fleet, Listener};
use crate::fs;
use crate::journal;
use crate::live::{host, network};
use crate::model::inventory::{Host, Inventory};
use crate::model::matrix::Matrix;
use crate::policy::live::Live;
use crate::policy::network::LiveNetwork;
use crate::policy::{self, Lang, Level, Report};
use crate::report::audit::{self, View};
use crate::report::findings::{self, Checked};
use crate::report::page;
use crate::report::{Counted, ProgressMode};
use crate::resource::read::Reading;

/// Arguments of `audit`.
#[derive(Debug, Args)]
pub struct AuditArgs {
    /// How the result is written; what is not for people goes to standard output, or into `--out`
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    format: Format,
    /// Write what `--format` says into a file, and the result for people on standard output beside
    #[arg(long, value_name = "FILE")]
    out: Option<Utf8PathBuf>,
    /// The language of the report
    #[arg(long, value_enum, default_value_t, value_name = "LANG")]
    lang: LangChoice,
    /// The least bad finding that the command ends with 1 for
    #[arg(long, value_enum, default_value_t, value_name = "LEVEL")]
    fail_on: FailOn,
    /// List the packages of each host with their versions too; they stand in the JSON
    #[arg(long)]
    software: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Human,
    /// Everything as JSON, as `--json` says too
    Json,
    /// The findings as SARIF 2.1.0
    Sarif,
    /// The rules as JUnit XML
    Junit,
    /// A page for an audit file, which loads nothing and prints well
    Html,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// Only for errors
    #[default]
    Error,
    /// For warnings too
    Warning,
    /// For nothing that is found
    Never,
}

/// What the hosts said.
#[derive(Default)]
struct Asked {
    live: Live,
    unreached: BTreeMap<HostName, String>,
}

pub(super) fn run(args: &AuditArgs, common: &Common, printer: &Printer) -> Exit {
    let lang: Lang = args.lang.into();
    let (mut sources, mut problems) = (Sources::default(), Diagnostics::default());
    let Some(inventory) = load_inventory(common, &mut sources, &mut problems) else {
        printer.diagnostics_in(lang, &problems, &sources);
        return Exit::Error;
    };
    let hosts = limited(&inventory, common.limit.as_deref(), &mut problems);
    let matrix = Matrix::build(&inventory, &mut problems);
    if problems.has_errors() {
        problems.sort();
        printer.diagnostics_in(lang, &problems, &sources);
        return Exit::Error;
    }
    let (connector, runtime) = match fleet::ready_with(common, &inventory, Patience::Usual, printer) {
        Ok(ready) => ready,
        Err(exit) => return exit,
    };
    let progress = printer.progress(Counted::Hosts(hosts.len()), ProgressMode::Quiet);
    let at = journal::now();
    let software = if args.software { host::Software::Listed } else { host::Software::LeftOut };
    let asked = runtime.block_on(async {
        let routes = hosts.iter().filter_map(|host| route(&inventory, host)).collect();
        let fleet = fleet::start(connector, routes, common);
        let listener = |event| progress.event(&event);
        let asked = tokio::select! {
            asked = ask(&fleet, &matrix, &hosts, software, &listener) => Some(asked),
            _ = tokio::signal::ctrl_c() => None,
        };
        if asked.is_some() {
            fleet.close().await;
        }
        asked
    });
    progress.finish();
    runtime.shutdown_background();
    let Some(mut asked) = asked else {
        printer.say("interrupted; nothing was changed");
        return Exit::Interrupted;
    };
    asked.live.is_whole = hosts.len() == inventory.hosts.len();
    let report = policy::check_live(&inventory, &asked.live, today(common), lang, &mut problems);
    let checked =
        Checked { problems: &problems, report: Some(&report), inventory: Some(&inventory), sources: &sources, lang };
    let packages = |live: &policy::live::LiveHost| live.software.as_ref().ok().cloned();
    let software: BTreeMap<HostName, BTreeMap<String, String>> =
        asked.live.hosts.iter().filter_map(|(name, live)| Some((name.clone(), packages(live)?))).collect();
    let given = common.inventory.as_ref().map_or_else(|| "inventory".to_owned(), ToString::to_string);
    let view = View {
        checked: &checked,
        report: &report,
        inventory: &inventory,
        given: &given,
        limit: common.limit.as_deref(),
        at: &at.to_string(),
        unreached: &asked.unreached,
        software: &software,
    };
    if let Err(exit) = print(args, &view, printer) {
        return exit;
    }
    exit(args.fail_on, &report, &problems, &asked)
}

/// Asks each host once. The whole of it is one exchange, so the hosts are as they were at one moment each.
async fn ask(
    fleet: &Fleet,
    matrix: &Matrix<'_>,
    hosts: &[&Host],
    software: host::Software,
    listener: &Listener<'_>,
) -> Asked {
    let inventory: &Inventory = matrix.inventory();
    let (hosts, without): (Vec<&Host>, Vec<&Host>) = hosts.iter().partition(|host| route(inventory, host).is_some());
    let readings: BTreeMap<HostName, Reading> = hosts
        .into_iter()
        .map(|host| {
            let mut reading = Reading::default();
            network::queries().into_iter().chain(host::queries(software)).for_each(|query| reading.ask(query));
            (host.name.clone(), reading)
        })
        .collect();
    let (answers, failed) = engine::ask(fleet, &readings, listener).await;
    let mut unreached: BTreeMap<HostName, String> =
        failed.into_iter().map(|(host, failure)| (host, failure.error)).collect();
    unreached.extend(without.iter().map(|host| (host.name.clone(), "it has no address to log in to".to_owned())));
    let mut networks = BTreeMap::new();
    let mut lives = BTreeMap::new();
    for (name, answers) in &answers {
        let flows = inventory.host(name.as_str()).map(|host| matrix.host(host)).unwrap_or_default();
        networks.insert(name.clone(), network::parse(&flows, answers));
        lives.insert(name.clone(), host::parse(answers));
    }
    let silent: BTreeSet<HostName> = unreached.keys().cloned().collect();
    let network = LiveNetwork { hosts: networks, ..LiveNetwork::default() };
    Asked { live: Live { hosts: lives, network, silent, is_whole: false }, unreached }
}

fn print(args: &AuditArgs, view: &View<'_>, printer: &Printer) -> Result<(), Exit> {
    let format = if printer.json && args.format == Format::Human { Format::Json } else { args.format };
    let document = match format {
        Format::Human => None,
        Format::Json => Some(format!("{:#}\n", audit::json(view))),
        Format::Sarif => Some(format!("{:#}\n", findings::sarif(view.checked))),
        Format::Junit => Some(findings::junit(view.checked)),
        Format::Html => Some(page::html(&audit::page(view))),
    };
    let text = || audit::text(view, printer.stdout_style(), printer.width());
    match (&args.out, document) {
        (None, Some(document)) => printer.data(&document),
        (Some(out), document) => {
            let document = document.unwrap_or_else(|| audit::text(view, crate::report::style::Color::Never, 100));
            if let Err(error) = fs::write_atomic(out, document.as_bytes(), 0o644) {
                printer.error(&engine::with_causes(&error), None);
                return Err(Exit::Error);
            }
            if !printer.json {
                printer.data(&text());
            }
        }
        (None, None) => {
            printer.data(&text());
            let lang = view.checked.lang;
            printer.diagnostics_in(lang, view.checked.problems, view.checked.sources);
            if printer.verbosity == Verbosity::Verbose {
                printer.note_lines(&findings::notes(view.checked, printer.stderr_style()));
            }
            printer.note_lines(&findings::signed(view.checked, printer.stderr_style(), printer.width()));
        }
    }
    Ok(())
}

fn exit(fail_on: FailOn, report: &Report, problems: &Diagnostics, asked: &Asked) -> Exit {
    let is_failure = match fail_on {
        FailOn::Error => report.has_errors(),
        FailOn::Warning => report.has_errors() || report.count(Level::Warning) > 0,
        FailOn::Never => false,
    };
    if is_failure || problems.has_errors() {
        Exit::Error
    } else if !asked.unreached.is_empty() || !report.unasked.is_empty() {
        // What nobody saw may be anything.
        Exit::Partial
    } else {
        Exit::Done
    }
}
