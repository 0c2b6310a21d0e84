//! `init`: a new project, small enough to be read at once, that is valid as it stands.

use camino::{Utf8Path, Utf8PathBuf};
use clap::Args;

use super::exit::Exit;
use super::printer::Printer;
use crate::fs::{self, FsError};

/// Arguments of `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The folder, which must be empty or not be there yet
    #[arg(value_name = "DIR")]
    folder: Utf8PathBuf,
}

/// The files of a new project.
const FILES: &[(&str, &str)] = &[
    (".gitignore", include_str!("init/gitignore")),
    ("README.md", include_str!("init/README.md")),
    ("files/.gitkeep", ""),
    ("inventory/datacenter.yaml", include_str!("init/inventory/datacenter.yaml")),
    ("inventory/hosts.yaml", include_str!("init/inventory/hosts.yaml")),
    ("playbooks/site.yaml", include_str!("init/playbooks/site.yaml")),
    ("templates/motd.hbs", include_str!("init/templates/motd.hbs")),
];

pub(super) fn run(args: &InitArgs, printer: &Printer) -> Exit {
    let folder = &args.folder;
    match fs::metadata(folder) {
        Ok(None) => {}
        Ok(Some(found)) if !found.is_dir() => {
            printer.error(&format!("{folder} is there already, and it is no folder"), None);
            return Exit::Error;
        }
        Ok(Some(_)) => match fs::list_folder(folder) {
            Ok(entries) if entries.is_empty() => {}
            Ok(_) => {
                let hint = "name one that is empty or not there yet; nothing was written";
                printer.error(&format!("the folder {folder} is not empty"), Some(hint));
                return Exit::Error;
            }
            Err(error) => return failed(&error, printer),
        },
        Err(error) => return failed(&error, printer),
    }
    if let Err(error) = write_all(folder) {
        return failed(&error, printer);
    }
    if printer.json {
        printer.json(&FILES.iter().map(|(name, _)| folder.join(name).into_string()).collect());
        return Exit::Done;
    }
    let folder = quoted(folder);
    printer.note(&format!("A new project is in {folder}:\n"));
    for (name, _) in FILES {
        printer.note(&format!("  {name}"));
    }
    printer.note(&format!(
        "\nNext:\n  \
         cd {folder}\n  \
         provision validate playbooks/site.yaml   # it is valid as it stands\n  \
         $EDITOR inventory/hosts.yaml             # your own hosts and addresses\n  \
         provision trust all                      # record the hosts' keys\n  \
         provision plan playbooks/site.yaml       # what would change; nothing does"
    ));
    Exit::Done
}

fn failed(error: &FsError, printer: &Printer) -> Exit {
    printer.error(&format!("{error}: {}", error.source), None);
    Exit::Error
}

fn write_all(folder: &Utf8Path) -> Result<(), FsError> {
    fs::create_folder(folder)?;
    for (name, text) in FILES {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            fs::create_folder(parent)?;
        }
        fs::write_atomic(&path, text.as_bytes(), 0o644)?;
    }
    Ok(())
}

/// Returns a path as a shell reads it.
fn quoted(path: &Utf8Path) -> String {
    crate::sh!("{}", path.as_str()).text().to_owned()
}
