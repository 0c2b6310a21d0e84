//! A folder of YAML files to an [`Inventory`]: finds the files, merges their top-level maps, reads each entry into
//! its type and checks what the entries say of each other.
//!
//! Nothing stops at the first problem: a host that cannot be read is left out, and what refers to it is not reported
//! on its account.

mod check;
mod files;
mod groups;
mod sections;
mod vars;

use camino::Utf8Path;
use jiff::civil::Date;

use self::check::Check;
use self::sections::Sections;
use crate::diag::{Diagnostics, Sources, UNKNOWN_NAME};
use crate::model::inventory::Inventory;
use crate::model::rules::RulesFile;

/// Loads the inventory in a folder, or in a single file, with variables from the command line as `KEY=VALUE`.
///
/// Returns it only if there is no error in it; warnings may have been reported.
pub fn load(path: &Utf8Path, sets: &[String], sources: &mut Sources, diags: &mut Diagnostics) -> Option<Inventory> {
    load_on(jiff::ZonedDateTime::now().date(), path, sets, sources, diags)
}

/// Loads an inventory as [`load`] does, as if it were `today`.
pub fn load_on(
    today: Date,
    path: &Utf8Path,
    sets: &[String],
    sources: &mut Sources,
    diags: &mut Diagnostics,
) -> Option<Inventory> {
    let mut found = Diagnostics::default();
    let inventory = read(today, path, sets, sources, &mut found);
    found.sort();
    let has_errors = found.has_errors();
    diags.extend(found);
    inventory.filter(|_| !has_errors)
}

fn read(
    today: Date,
    path: &Utf8Path,
    sets: &[String],
    sources: &mut Sources,
    diags: &mut Diagnostics,
) -> Option<Inventory> {
    let files = files::find(path, diags)?;
    let mut sections = Sections::default();
    for file in files.paths {
        match crate::fs::read_at_most(&file, super::yaml::MAX_BYTES) {
            Ok(bytes) => {
                if let Some(node) = super::yaml::parse(sources, &file, &bytes, diags) {
                    sections.merge(node, diags);
                }
            }
            Err(error) => diags.push(files::failed(&error)),
        }
    }
    let sets = vars::read_sets(sets, sources, diags);
    let (mut inventory, declared) = sections.read(diags);
    inventory.folder = files.folder;
    inventory.sets = sets;
    groups::fill(&mut inventory, &declared, diags);
    for file in files::find_policies(&inventory.folder, diags) {
        match crate::fs::read_at_most(&file, super::yaml::MAX_BYTES) {
            Ok(bytes) => {
                let node = super::yaml::parse(sources, &file, &bytes, diags);
                let read = node.filter(|node| !node.is_null()).and_then(|node| node.read_all::<RulesFile>(diags));
                inventory.rules.extend(read.unwrap_or_default().rules);
            }
            Err(error) => diags.push(files::failed(&error)),
        }
    }
    Check { inventory: &inventory, declared: &declared, diags }.run(today);
    if diags.iter().any(|problem| problem.code == super::yaml::SYNTAX) {
        // What nobody knows may stand in the file that cannot be read.
        diags.retain(|problem| problem.code != UNKNOWN_NAME);
    }
    Some(inventory)
}
