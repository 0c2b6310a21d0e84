//! `facts`: what a host says of itself.

use std::collections::BTreeSet;

use clap::Args;

use super::exit::Exit;
use super::printer::{Printer, Verbosity};
use super::project::{load_inventory, route};
use super::{Common, fleet};
use crate::addr::HostName;
use crate::diag::{Diagnostics, Sources, suggestion};
use crate::engine;
use crate::engine::job::{HostJob, HostMessage, Questions};
use crate::resource::fact;
use crate::resource::read::Reading;

/// Arguments of `facts`.
#[derive(Debug, Args)]
pub struct FactsArgs {
    /// The host
    host: HostName,
    /// Read only these groups of facts
    #[arg(value_name = "GROUP")]
    groups: Vec<String>,
}

pub(super) fn run(args: &FactsArgs, common: &Common, printer: &Printer) -> Exit {
    let (mut sources, mut problems) = (Sources::default(), Diagnostics::default());
    let Some(inventory) = load_inventory(common, &mut sources, &mut problems) else {
        printer.diagnostics(&problems, &sources);
        return Exit::Error;
    };
    let Some(host) = inventory.host(args.host.as_str()) else {
        let hint = suggestion(args.host.as_str(), inventory.hosts.keys().map(|name| name.as_str()));
        printer.error(&format!("there is no host `{}` in the inventory", args.host), hint.as_deref());
        return Exit::Error;
    };
    let known: Vec<&str> = fact::groups().iter().map(|group| group.name).collect();
    if let Some(wrong) = args.groups.iter().find(|group| !known.contains(&group.as_str())) {
        let hint = suggestion(wrong, known.iter().copied());
        printer.error(&format!("there is no group of facts `{wrong}`"), hint.as_deref());
        return Exit::Usage;
    }
    let names: BTreeSet<&str> = match args.groups.as_slice() {
        [] => known.into_iter().collect(),
        some => some.iter().map(String::as_str).collect(),
    };
    let Some(route) = route(&inventory, host) else {
        printer.error(&format!("{} has no address", host.name), None);
        return Exit::Error;
    };
    let (connector, runtime) = match fleet::ready(common, &inventory, printer) {
        Ok(ready) => ready,
        Err(exit) => return exit,
    };
    let mut reading = Reading::default();
    fact::queries(&names).into_iter().for_each(|query| reading.ask(query));
    let last = runtime.block_on(async {
        let fleet = fleet::start(connector, vec![route], common);
        let questions = Questions { script: reading.script(), asked: reading.asked() };
        let last = fleet.call(&host.name, HostJob::Read { questions, lock: None, patience: None }, |_| {}).await;
        fleet.close().await;
        last
    });
    match last {
        HostMessage::Done { answers, cost, .. } => match fact::parse(&names, &answers) {
            Ok(facts) => {
                printer.json(&facts);
                if printer.verbosity == Verbosity::Verbose {
                    printer
                        .note(&format!("{}: {} round trips, {} exchange", host.name, cost.round_trips, cost.exchanges));
                }
                Exit::Done
            }
            Err(error) => {
                printer.error(&engine::with_causes(&error), error.hint().as_deref());
                Exit::Error
            }
        },
        HostMessage::Failed { error, hint, .. } => {
            printer.error(&error, hint.as_deref());
            Exit::Partial
        }
        other => {
            printer.error(&format!("{} ended its job with {other:?}", host.name), None);
            Exit::Partial
        }
    }
}
