//! `trust`: fetches host keys and writes them into the inventory, where a reviewer sees them.

use camino::Utf8PathBuf;
use clap::Args;

use super::exit::Exit;
use super::printer::Printer;
use super::project::{load_inventory, route};
use super::{Common, fleet};
use crate::diag::{Diagnostic, Diagnostics, Sources};
use crate::engine;
use crate::fs;
use crate::model::selector::Selector;

/// Arguments of `trust`.
#[derive(Debug, Args)]
pub struct TrustArgs {
    /// The hosts, by a selector
    selector: String,
    /// Write the keys to this known_hosts file instead of printing them as pins of the inventory
    #[arg(long, value_name = "FILE")]
    write: Option<Utf8PathBuf>,
}

pub(super) fn run(args: &TrustArgs, common: &Common, printer: &Printer) -> Exit {
    let (mut sources, mut problems) = (Sources::default(), Diagnostics::default());
    let Some(inventory) = load_inventory(common, &mut sources, &mut problems) else {
        printer.diagnostics(&problems, &sources);
        return Exit::Error;
    };
    let hosts = match Selector::parse(&args.selector).and_then(|selector| selector.select(&inventory)) {
        Ok(hosts) => hosts,
        Err(error) => {
            let mut problem = Diagnostic::error(error.code, error.to_string());
            problem.help = error.help.clone();
            problems.push(problem);
            printer.diagnostics(&problems, &sources);
            return Exit::Error;
        }
    };
    let (connector, runtime) = match (fleet::connector(common, &inventory, printer), fleet::runtime()) {
        (Ok(connector), Ok(runtime)) => (connector, runtime),
        (Err((error, hint)), _) => {
            printer.error(&error, hint.as_deref());
            return Exit::Error;
        }
        (_, Err(error)) => {
            printer.error(&format!("start the engine: {error}"), None);
            return Exit::Error;
        }
    };
    let mut failed = false;
    let mut known = String::new();
    let mut pins = String::new();
    for host in hosts {
        let Some(route) = route(&inventory, host) else { continue };
        match runtime.block_on(connector.host_keys(&route)) {
            Ok(keys) => {
                for key in &keys {
                    printer.note(&format!("{}: {} {}", host.name, key.algorithm, key.fingerprint));
                }
                if let Some(ssh) = inventory.ssh(host) {
                    let place =
                        if ssh.port == 22 { ssh.address.clone() } else { format!("[{}]:{}", ssh.address, ssh.port) };
                    keys.iter().for_each(|key| known.push_str(&format!("{place} {}\n", key.line)));
                }
                let lines: Vec<String> = keys.iter().map(|key| format!("        - {}\n", key.line)).collect();
                pins.push_str(&format!("  {}:\n    ssh:\n      host_key:\n{}", host.name, lines.concat()));
            }
            Err(error) => {
                failed = true;
                printer.error(&engine::with_causes(&error), error.hint().as_deref());
            }
        }
    }
    match &args.write {
        Some(path) => {
            let before = fs::metadata(path).ok().flatten().map(|_| fs::read_to_string(path)).transpose();
            let written = before.and_then(|before| {
                let before = before.unwrap_or_default();
                let new: String = known
                    .lines()
                    .filter(|line| !before.lines().any(|old| old == *line))
                    .map(|l| format!("{l}\n"))
                    .collect();
                fs::write_atomic(path, format!("{before}{new}").as_bytes(), 0o644)
            });
            if let Err(error) = written {
                printer.error(&engine::with_causes(&error), None);
                return Exit::Error;
            }
            printer.note(&format!("Compare the fingerprints with the hosts' consoles, then commit {path}."));
        }
        None => {
            printer.data(&format!("hosts:\n{pins}"));
            printer.note("Compare the fingerprints with the hosts' consoles, then put these pins into the inventory.");
        }
    }
    if failed { Exit::Partial } else { Exit::Done }
}
