//! `inventory`: what the inventory says, before any host is asked.

use clap::{Args, Subcommand};

use super::Common;
use super::exit::Exit;
use super::printer::Printer;
use super::project::{limited, load_inventory};
use crate::diag::{Diagnostic, Diagnostics, Sources, suggestion};
use crate::model::inventory::{Host, Inventory, ViewVars};
use crate::model::selector::Selector;

/// Arguments of `inventory`.
#[derive(Debug, Args)]
pub struct InventoryArgs {
    #[command(subcommand)]
    command: InventoryCommand,
}

#[derive(Debug, Subcommand)]
enum InventoryCommand {
    /// List the hosts
    #[command(after_help = "Example: provision inventory list -i inventories/demo --json")]
    List,
    /// Show a host with its variables
    #[command(after_help = "Example: provision inventory show ctl-par1-01 --origins -i inventories/demo")]
    Show {
        /// The host
        host: String,
        /// Show where each variable comes from, and what it overrode
        #[arg(long)]
        origins: bool,
    },
    /// Print the names of the hosts that a selector means
    #[command(after_help = "Example: provision inventory select 'role=etcd & site=par1' -i inventories/demo")]
    Select {
        /// The selector
        selector: String,
    },
}

pub(super) fn run(args: &InventoryArgs, common: &Common, printer: &Printer) -> Exit {
    let (mut sources, mut problems) = (Sources::default(), Diagnostics::default());
    let Some(inventory) = load_inventory(common, &mut sources, &mut problems) else {
        printer.diagnostics(&problems, &sources);
        return Exit::Error;
    };
    let hosts = limited(&inventory, common.limit.as_deref(), &mut problems);
    match &args.command {
        InventoryCommand::List if !problems.has_errors() => list(&inventory, hosts, printer),
        InventoryCommand::Show { host, origins } if !problems.has_errors() => match inventory.host(host) {
            Some(host) => show(&inventory, host, *origins, &sources, printer),
            None => {
                let hint = suggestion(host, inventory.hosts.keys().map(|name| name.as_str()));
                printer.error(&format!("there is no host `{host}` in the inventory"), hint.as_deref());
                return Exit::Error;
            }
        },
        InventoryCommand::Select { selector } if !problems.has_errors() => {
            match Selector::parse(selector).and_then(|selector| selector.select(&inventory)) {
                Ok(hosts) => {
                    let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
                    if printer.json {
                        printer.json(&serde_json::json!(names));
                    } else {
                        printer.data(&names.join("\n"));
                    }
                }
                Err(error) => {
                    let mut problem = Diagnostic::error(error.code, error.to_string());
                    problem.help = error.help.clone();
                    problems.push(problem);
                }
            }
        }
        _ => {}
    }
    if problems.has_errors() {
        printer.diagnostics(&problems, &sources);
        return Exit::Error;
    }
    Exit::Done
}

fn list(inventory: &Inventory, hosts: Vec<&Host>, printer: &Printer) {
    if printer.json {
        let view = inventory.view_of(hosts, ViewVars::Hidden);
        printer.json(&serde_json::to_value(&view).unwrap_or_default());
        return;
    }
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(["HOST", "SITE", "PLANE", "ROLES", "ADDRESS", "VIA"]);
    for host in hosts {
        let text = |value: Option<&str>| value.unwrap_or("-").to_owned();
        let roles: Vec<&str> = host.roles.iter().map(|role| role.as_str()).collect();
        table.add_row([
            host.name.to_string(),
            text(host.site.as_ref().map(|site| site.as_str())),
            text(host.plane.as_ref().map(|plane| plane.as_str())),
            if roles.is_empty() { "-".to_owned() } else { roles.join(",") },
            inventory.ssh(host).map_or_else(|| "-".to_owned(), |ssh| ssh.address),
            text(inventory.via(host).map(|via| via.name.as_str())),
        ]);
    }
    printer.data(&trimmed(&table.to_string()));
}

/// Returns a table's text without the spaces that fill its last column.
fn trimmed(table: &str) -> String {
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

fn show(inventory: &Inventory, host: &Host, origins: bool, sources: &Sources, printer: &Printer) {
    if printer.json {
        let view = inventory.view_of([host], ViewVars::Shown);
        let mut json = serde_json::to_value(&view.hosts).unwrap_or_default();
        let mut json = json.get_mut(0).map(serde_json::Value::take).unwrap_or_default();
        if origins && let Some(entries) = json.as_object_mut() {
            let places = inventory.vars(host).into_iter().map(|(name, var)| {
                let place = |origin: &crate::model::vars::Origin| {
                    serde_json::json!({"layer": origin.layer.to_string(), "at": sources.locate(origin.span).to_string()})
                };
                let overrode: Vec<_> = var.overrode.iter().map(place).collect();
                (name.to_owned(), serde_json::json!({"from": place(&var.origin), "overrode": overrode}))
            });
            entries.insert("origins".to_owned(), serde_json::Value::Object(places.collect()));
        }
        printer.json(&json);
        return;
    }
    let mut out = format!("{}\n", host.name);
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            out.push_str(&format!("  {name:<10} {value}\n"));
        }
    };
    line("site", host.site.as_ref().map(|site| site.to_string()));
    line("room", host.room.as_ref().map(|room| room.to_string()));
    line("rack", host.rack.as_ref().map(|rack| rack.to_string()));
    line("plane", host.plane.as_ref().map(|plane| plane.to_string()));
    line("roles", Some(host.roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ")));
    line("groups", Some(host.groups.iter().map(|group| group.as_str()).collect::<Vec<_>>().join(", ")));
    line("address", inventory.ssh(host).map(|ssh| ssh.address));
    line("via", inventory.via(host).map(|via| via.name.to_string()));
    for (name, interface) in &host.interfaces {
        let network = interface.network.as_ref().map(|network| network.as_str()).unwrap_or("no network");
        let address = interface.address.map(|address| address.value.to_string()).unwrap_or_default();
        line(name.as_str(), Some(format!("{address} in {network}").trim().to_owned()));
    }
    let vars = inventory.vars(host);
    if !vars.is_empty() {
        out.push_str("  variables:\n");
    }
    for (name, var) in vars {
        out.push_str(&format!("    {name} = {}\n", var.value));
        if origins {
            let place =
                |origin: &crate::model::vars::Origin| format!("{} {}", origin.layer, sources.locate(origin.span));
            out.push_str(&format!("      from {}\n", place(&var.origin)));
            for other in &var.overrode {
                out.push_str(&format!("      overrode {}\n", place(other)));
            }
        }
    }
    printer.data(&out);
}
