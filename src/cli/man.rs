//! `man`: the manual pages, made from the same texts as `--help`.

use camino::{Utf8Path, Utf8PathBuf};
use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;

use super::Cli;
use super::exit::Exit;
use super::printer::Printer;
use crate::fs::{self, FsError};

/// Arguments of `man`.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// A folder to write the pages of all commands into; without one, the main page is printed
    #[arg(value_name = "DIR")]
    folder: Option<Utf8PathBuf>,
}

pub(super) fn run(args: &ManArgs, printer: &Printer) -> Exit {
    let mut command = Cli::command();
    // Names subcommands by their whole way, `provision-inventory-list`, and gives them the common options.
    command.build();
    let Some(folder) = &args.folder else {
        printer.data(&page(&command));
        return Exit::Done;
    };
    let written = fs::create_folder(folder).and_then(|()| write_all(&command, folder));
    match written {
        Ok(pages) => {
            printer.note(&format!("{pages} pages are in {folder}. Read one with `man -l {folder}/provision.1`."));
            Exit::Done
        }
        Err(error) => {
            printer.error(&format!("{error}: {}", error.source), None);
            Exit::Error
        }
    }
}

/// Writes the page of a command and those of its subcommands, and returns how many.
fn write_all(command: &Command, folder: &Utf8Path) -> Result<usize, FsError> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    fs::write_atomic(&folder.join(format!("{name}.1")), page(command).as_bytes(), 0o644)?;
    let mut pages = 1;
    for sub in command.get_subcommands().filter(|sub| !sub.is_hide_set() && sub.get_name() != "help") {
        pages += write_all(sub, folder)?;
    }
    Ok(pages)
}

fn page(command: &Command) -> String {
    let mut text = Vec::new();
    // Writing into memory cannot fail.
    Man::new(command.clone()).render(&mut text).ok();
    String::from_utf8_lossy(&text).into_owned()
}
