//! `trust`: fetches host keys and writes them into the inventory's known_hosts file, where a reviewer sees them.
//!
//! This is the only place where a key is taken without being known before, and it changes nothing on any host. A key that
//! is another one than the recorded one is never replaced without being told to.

use camino::Utf8PathBuf;
use clap::Args;

use super::exit::Exit;
use super::printer::Printer;
use super::project::{load_inventory, route, selected};
use super::{Common, fleet};
use crate::diag::{Diagnostics, Sources};
use crate::engine;
use crate::fs;

/// Arguments of `trust`.
#[derive(Debug, Args)]
pub struct TrustArgs {
    /// The hosts, by a selector
    selector: String,
    /// The known_hosts file to write to, instead of the one that the inventory names
    #[arg(long, value_name = "FILE")]
    write: Option<Utf8PathBuf>,
    /// Replace recorded keys that the hosts do not have any more
    #[arg(long)]
    replace: bool,
}

pub(super) fn run(args: &TrustArgs, common: &Common, printer: &Printer) -> Exit {
    let (mut sources, mut problems) = (Sources::default(), Diagnostics::default());
    let Some(inventory) = load_inventory(common, &mut sources, &mut problems) else {
        printer.diagnostics(&problems, &sources);
        return Exit::Error;
    };
    let Some(hosts) = selected(&inventory, &args.selector, printer) else { return Exit::Error };
    let (connector, runtime) = match fleet::ready(common, &inventory, printer) {
        Ok(ready) => ready,
        Err(exit) => return exit,
    };
    let named = hosts.iter().find_map(|host| inventory.ssh(host)?.known_hosts);
    let path = args.write.clone().or_else(|| named.clone()).unwrap_or_else(|| inventory.folder.join("known_hosts"));
    let before = match fs::metadata(&path) {
        Ok(None) => Ok(String::new()),
        Ok(Some(_)) => fs::read_to_string(&path),
        Err(error) => Err(error),
    };
    let mut lines: Vec<String> = match before {
        Ok(text) => text.lines().map(str::to_owned).collect(),
        Err(error) => {
            printer.error(&engine::with_causes(&error), None);
            return Exit::Error;
        }
    };
    let (mut failed, mut added) = (false, 0);
    for host in hosts {
        let (Some(route), Some(ssh)) = (route(&inventory, host), inventory.ssh(host)) else { continue };
        let keys = match runtime.block_on(connector.host_keys(&route)) {
            Ok(keys) => keys,
            Err(error) => {
                failed = true;
                printer.error(&engine::with_causes(&error), error.hint().as_deref());
                continue;
            }
        };
        let place = if ssh.port == 22 { ssh.address.clone() } else { format!("[{}]:{}", ssh.address, ssh.port) };
        for key in &keys {
            let mut words = key.line.split_whitespace();
            let (algorithm, blob) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let is_of_this = |line: &String| line.starts_with(&format!("{place} {algorithm} "));
            let known = lines.iter().position(is_of_this);
            let recorded = known.and_then(|at| lines.get_mut(at));
            let (word, is_new) = match recorded {
                Some(line) if line.split_whitespace().nth(2) == Some(blob) => ("known", false),
                Some(line) if args.replace => {
                    *line = format!("{place} {algorithm} {blob}");
                    ("replaced", true)
                }
                Some(_) => {
                    failed = true;
                    let error = format!(
                        "{} at {place} has another {algorithm} key than the recorded one: {}",
                        host.name, key.fingerprint
                    );
                    let hint = "find out why on its console; if it was installed anew, run this with `--replace`";
                    printer.error(&error, Some(hint));
                    continue;
                }
                None => {
                    lines.push(format!("{place} {algorithm} {blob}"));
                    ("new", true)
                }
            };
            added += usize::from(is_new);
            printer.data(&format!("{word:<9} {} {} {}", host.name, key.algorithm, key.fingerprint));
        }
    }
    if added > 0 {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        if let Err(error) = fs::write_atomic(&path, text.as_bytes(), 0o644) {
            printer.error(&engine::with_causes(&error), None);
            return Exit::Error;
        }
        printer.note(&format!(
            "{added} keys are written to {path}: compare the fingerprints with the hosts' consoles, then commit it."
        ));
        if named.is_none() && args.write.is_none() {
            printer.note(
                "The inventory does not name that file yet: add `defaults: {ssh: {known_hosts: known_hosts}}` to it.",
            );
        }
    }
    if failed { Exit::Partial } else { Exit::Done }
}
