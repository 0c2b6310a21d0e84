//! What the commands that reach hosts share: connections, the runtime, and locks.

use std::sync::Arc;
use std::time::Duration;

use camino::Utf8PathBuf;
use secrecy::SecretString;

use super::Common;
use super::exit::Exit;
use super::printer::Printer;
use crate::addr::RunId;
use crate::connection::{AgentUse, Become, Connect, Connector, Route, Settings};
use crate::engine::Fleet;
use crate::engine::job::Lock;
use crate::journal;
use crate::model::inventory::Inventory;

/// How long a host is waited for that does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// As long as one needs that is only slow or busy.
    Usual,
    /// Five seconds, once: that a host does not answer is what was to be found out.
    Short,
}

/// Returns what opens connections.
///
/// # Errors
/// The text and the hint say what is wrong with the keys.
fn connector(
    common: &Common,
    inventory: &Inventory,
    patience: Patience,
    printer: &Printer,
) -> Result<Connector, (String, Option<String>)> {
    let mut settings = Settings::default();
    if patience == Patience::Short {
        settings.connect_timeout = Duration::from_secs(5);
        settings.attempts = 1;
    }
    let home = std::env::var("HOME").ok().map(Utf8PathBuf::from);
    let own = |path: &Utf8PathBuf| match (path.strip_prefix("~"), &home) {
        (Ok(rest), Some(home)) => home.join(rest),
        _ => path.clone(),
    };
    let mut identities: Vec<Utf8PathBuf> = common.identity.iter().map(&own).collect();
    let mut known_hosts: Vec<Utf8PathBuf> = common.known_hosts.iter().map(&own).collect();
    for host in inventory.hosts.values() {
        if let Some(ssh) = inventory.ssh(host) {
            identities.extend(ssh.identities.iter().map(&own).filter(|_| common.identity.is_empty()));
            known_hosts.extend(ssh.known_hosts.iter().map(&own));
        }
    }
    if identities.is_empty()
        && let Some(home) = &home
    {
        let usual = ["id_ed25519", "id_ecdsa", "id_rsa"].map(|name| home.join(".ssh").join(name));
        identities.extend(usual.into_iter().filter(|path| path.exists()));
    }
    if let Some(home) = &home {
        known_hosts.push(home.join(".ssh/known_hosts"));
    }
    dedup(&mut identities);
    dedup(&mut known_hosts);
    settings.identities = identities;
    settings.known_hosts = known_hosts;
    settings.agent = if common.identity.is_empty() { AgentUse::AfterFiles } else { AgentUse::Never };
    if common.ask_sudo_password {
        let password = dialoguer_password().map_err(|error| (error, Some("run this on a terminal".to_owned())))?;
        printer.vault.keep(&password);
        settings.become_root = Become::SudoWithPassword(SecretString::from(password));
    }
    Connector::new(settings).map_err(|error| (crate::engine::with_causes(&error), error.hint()))
}

fn dedup(paths: &mut Vec<Utf8PathBuf>) {
    let mut seen = std::collections::HashSet::new();
    paths.retain(|path| seen.insert(path.clone()));
}

fn dialoguer_password() -> Result<String, String> {
    let terminal = console::Term::stderr();
    if !terminal.is_term() {
        return Err("a sudo password was to be asked for, and there is no terminal".to_owned());
    }
    terminal.write_str("sudo password: ").map_err(|error| error.to_string())?;
    terminal.read_secure_line().map_err(|error| error.to_string())
}

/// Returns what opens connections and the runtime for it; what is wrong with either is printed.
///
/// # Errors
/// The exit code to end with.
pub fn ready(
    common: &Common,
    inventory: &Inventory,
    printer: &Printer,
) -> Result<(Connector, tokio::runtime::Runtime), Exit> {
    ready_with(common, inventory, Patience::Usual, printer)
}

/// Does what [`ready`] does, with another patience.
///
/// # Errors
/// The exit code to end with.
pub fn ready_with(
    common: &Common,
    inventory: &Inventory,
    patience: Patience,
    printer: &Printer,
) -> Result<(Connector, tokio::runtime::Runtime), Exit> {
    crate::connection::descriptors::raise_limit();
    let connector = connector(common, inventory, patience, printer).map_err(|(error, hint)| {
        printer.error(&error, hint.as_deref());
        Exit::Error
    })?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        printer.error(&format!("start the engine: {error}"), None);
        Exit::Error
    })?;
    Ok((connector, runtime))
}

/// Starts the executors.
pub fn start(connector: Connector, routes: Vec<Route>, common: &Common) -> Fleet {
    let connect: Arc<dyn Connect> = Arc::new(connector);
    Fleet::start(connect, routes, common.parallel)
}

/// Returns what a host's lock says of this run.
pub fn lock(run: &RunId) -> Lock {
    Lock { owner: owner(), run: run.clone(), since: journal::now() }
}

/// Returns who runs the tool, as `user@machine`.
pub fn owner() -> String {
    let user = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).unwrap_or_else(|_| "root".to_owned());
    let machine = crate::fs::read_to_string("/proc/sys/kernel/hostname".into()).unwrap_or_default();
    let plain = |text: &str| text.trim().replace(char::is_whitespace, "_");
    format!("{}@{}", plain(&user), plain(&machine))
}
