//! `exec`: a command on many hosts at once, its output grouped by host.

use std::collections::BTreeMap;

use clap::Args;
use futures_util::stream::{FuturesUnordered, StreamExt};

use super::exit::Exit;
use super::printer::Printer;
use super::project::{load_inventory, route, selected};
use super::{Common, fleet};
use crate::addr::HostName;
use crate::diag::{Diagnostics, Sources};
use crate::engine::job::{HostJob, HostMessage};
use crate::sh;
use crate::shell::Script;

/// Arguments of `exec`.
#[derive(Debug, Args)]
pub struct ExecArgs {
    /// The hosts, by a selector
    selector: String,
    /// The command and its arguments, each taken as it is; for shell syntax give `sh -c '...'`
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

pub(super) fn run(args: &ExecArgs, common: &Common, printer: &Printer) -> Exit {
    let (mut sources, mut problems) = (Sources::default(), Diagnostics::default());
    let inventory = load_inventory(common, &mut sources, &mut problems);
    let Some(inventory) = inventory else {
        printer.diagnostics(&problems, &sources);
        return Exit::Error;
    };
    let Some(hosts) = selected(&inventory, &args.selector, printer) else { return Exit::Error };
    if args.command.iter().any(|word| word.contains('\0')) {
        printer.error("a command cannot hold a NUL byte", None);
        return Exit::Usage;
    }
    let routes: Vec<_> = hosts.iter().filter_map(|host| route(&inventory, host)).collect();
    let (connector, runtime) = match fleet::ready(common, &inventory, printer) {
        Ok(ready) => ready,
        Err(exit) => return exit,
    };
    let script = sh!("{} 2>&1", Script::words(&args.command));
    let (worst, unreachable, interrupted) = runtime.block_on(async {
        let fleet = fleet::start(connector, routes, common);
        let mut running: FuturesUnordered<_> = hosts
            .iter()
            .map(|host| {
                let job = HostJob::Run { script: script.clone() };
                let fleet = &fleet;
                async move { (host.name.clone(), fleet.call(&host.name, job, |_| {}).await) }
            })
            .collect();
        let mut worst = 0;
        let mut unreachable = false;
        let mut results: BTreeMap<HostName, serde_json::Value> = BTreeMap::new();
        let mut interrupted = false;
        loop {
            let next = tokio::select! {
                next = running.next() => next,
                _ = tokio::signal::ctrl_c() => { interrupted = true; None }
            };
            let Some((host, last)) = next else { break };
            let (status, text) = match last {
                HostMessage::Done { output, status, .. } => (status, String::from_utf8_lossy(&output.0).into_owned()),
                HostMessage::Failed { error, hint, .. } => {
                    unreachable = true;
                    printer.error(&error, hint.as_deref());
                    continue;
                }
                _ => continue,
            };
            worst = worst.max(status);
            if printer.json {
                results.insert(host, serde_json::json!({"status": status, "output": printer.vault.mask(&text)}));
            } else {
                let ending = if status == 0 { String::new() } else { format!(" (exit status {status})") };
                let body: String = text.lines().map(|line| format!("  {line}\n")).collect();
                printer.data(&format!("{host}:{ending}\n{body}"));
            }
        }
        drop(running);
        if printer.json {
            printer.json(&serde_json::json!(results));
        }
        if !interrupted {
            fleet.close().await;
        }
        (worst, unreachable, interrupted)
    });
    runtime.shutdown_background();
    match worst {
        _ if interrupted => Exit::Interrupted,
        0 if unreachable => Exit::Partial,
        0 => Exit::Done,
        status => Exit::Status(u8::try_from(status).unwrap_or(255)),
    }
}
