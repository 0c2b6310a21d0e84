//! Which files an inventory is made of.

use std::io::ErrorKind;

use camino::{Utf8Path, Utf8PathBuf};

use crate::diag::{Diagnostic, Diagnostics};
use crate::fs::{self, FsError};

/// The deepest nesting of folders; a link to a folder above it would otherwise be followed for ever.
const MAX_FOLDERS: usize = 16;

/// The files of an inventory.
pub(super) struct Files {
    /// The folder that paths in the inventory are relative to.
    pub(super) folder: Utf8PathBuf,
    /// The YAML files, in the order they are read.
    pub(super) paths: Vec<Utf8PathBuf>,
}

/// Returns the YAML files in a folder and those below it, sorted, without hidden ones; or the one file that `path` is.
pub(super) fn find(path: &Utf8Path, diags: &mut Diagnostics) -> Option<Files> {
    let found = match fs::metadata(path) {
        Ok(Some(found)) => found,
        Ok(None) => {
            let message = format!("there is no inventory at {path}");
            diags.push(Diagnostic::error("no-inventory", message).help("name the folder that holds its YAML files"));
            return None;
        }
        Err(error) => {
            diags.push(failed(&error));
            return None;
        }
    };
    if !found.is_dir() {
        if !is_yaml(path) {
            let message = format!("{path} is no inventory: neither a folder nor a YAML file");
            diags.push(Diagnostic::error("no-inventory", message));
            return None;
        }
        let folder = path.parent().filter(|parent| !parent.as_str().is_empty()).unwrap_or(Utf8Path::new("."));
        return Some(Files { folder: folder.to_owned(), paths: vec![path.to_owned()] });
    }
    let mut paths = Vec::new();
    collect(path, MAX_FOLDERS, &mut paths, diags);
    // What is in there are rules on the inventory, and no part of it.
    let policies = policies(path);
    paths.retain(|file| !file.starts_with(&policies));
    if diags.has_errors() {
        return None;
    }
    if paths.is_empty() {
        let message = format!("the folder {path} holds no YAML file");
        diags
            .push(Diagnostic::error("no-inventory", message).help("an inventory is made of `*.yaml` or `*.yml` files"));
        return None;
    }
    Some(Files { folder: path.to_owned(), paths })
}

/// Returns the folder with the rules of an inventory's own.
pub(super) fn policies(folder: &Utf8Path) -> Utf8PathBuf {
    folder.join("policies")
}

/// Returns the files with the rules of an inventory's own, sorted.
pub(super) fn find_policies(folder: &Utf8Path, diags: &mut Diagnostics) -> Vec<Utf8PathBuf> {
    let mut paths = Vec::new();
    let folder = policies(folder);
    if matches!(fs::metadata(&folder), Ok(Some(found)) if found.is_dir()) {
        collect(&folder, MAX_FOLDERS, &mut paths, diags);
    }
    paths
}

fn collect(folder: &Utf8Path, depth: usize, paths: &mut Vec<Utf8PathBuf>, diags: &mut Diagnostics) {
    if depth == 0 {
        let message = format!("the folders of the inventory are nested more than {MAX_FOLDERS} deep at {folder}");
        diags.push(Diagnostic::error("too-deep", message).help("look for a link to a folder above it"));
        return;
    }
    let entries = match fs::list_folder(folder) {
        Ok(entries) => entries,
        Err(error) => return diags.push(failed(&error)),
    };
    for entry in entries {
        if entry.file_name().is_none_or(|name| name.starts_with('.')) {
            continue;
        }
        match fs::metadata(&entry) {
            Ok(Some(found)) if found.is_dir() => collect(&entry, depth - 1, paths, diags),
            Ok(_) if is_yaml(&entry) => paths.push(entry),
            Ok(_) => {}
            Err(error) => diags.push(failed(&error)),
        }
    }
}

fn is_yaml(path: &Utf8Path) -> bool {
    matches!(path.extension(), Some("yaml" | "yml"))
}

/// Returns a file operation that failed as a diagnostic.
pub(super) fn failed(error: &FsError) -> Diagnostic {
    let diagnostic = Diagnostic::error("unreadable", format!("cannot {error}: {}", error.source));
    match error.source.kind() {
        ErrorKind::FileTooLarge => diagnostic.help("split it into several files"),
        _ => diagnostic,
    }
}
