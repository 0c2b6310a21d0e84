//! The only user of `std::fs`: every error names what was being done and to which path.

use std::fs;
use std::io::{self, Read, Write};

use camino::{Utf8Path, Utf8PathBuf};
use thiserror::Error;

pub use std::fs::File;

/// A file operation that failed, with the path it failed on.
#[derive(Debug, Error)]
#[error("{doing} {path}")]
pub struct FsError {
    /// What was being done, such as `read`.
    pub doing: &'static str,
    /// The path it was being done to.
    pub path: Utf8PathBuf,
    /// What the system answered.
    pub source: io::Error,
}

fn failed(doing: &'static str, path: &Utf8Path) -> impl FnOnce(io::Error) -> FsError {
    move |source| FsError { doing, path: path.to_owned(), source }
}

/// Returns the bytes of a file of at most `limit` bytes.
///
/// # Errors
/// A file over the limit is [`io::ErrorKind::FileTooLarge`]: no input of this tool is meant to be that large, and
/// reading it would only fail later and less clearly.
pub fn read_at_most(path: &Utf8Path, limit: u64) -> Result<Vec<u8>, FsError> {
    #[expect(clippy::disallowed_methods, reason = "this module is the wrapper")]
    let file = fs::File::open(path).map_err(failed("read", path))?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed("read", path))?;
    if bytes.len() as u64 > limit {
        let source = io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {limit} bytes"));
        return Err(FsError { doing: "read", path: path.to_owned(), source });
    }
    Ok(bytes)
}

/// Returns the text of a file.
///
/// # Errors
/// A file that is not UTF-8 is [`io::ErrorKind::InvalidData`].
pub fn read_to_string(path: &Utf8Path) -> Result<String, FsError> {
    #[expect(clippy::disallowed_methods, reason = "this module is the wrapper")]
    fs::read_to_string(path).map_err(failed("read", path))
}

/// Opens a file for reading.
pub fn open(path: &Utf8Path) -> Result<fs::File, FsError> {
    #[expect(clippy::disallowed_methods, reason = "this module is the wrapper")]
    fs::File::open(path).map_err(failed("open", path))
}

/// Opens a file for appending, private to its owner, and makes it if it is not there.
pub fn open_append(path: &Utf8Path) -> Result<fs::File, FsError> {
    use std::os::unix::fs::OpenOptionsExt;
    fs::OpenOptions::new().create(true).append(true).mode(0o600).open(path).map_err(failed("open", path))
}

/// Replaces the file at `path` by `bytes` in one step, so that a reader sees the old content or the new, never half.
///
/// The temporary file is made in the same folder with mode 0600 and takes over `mode` before it becomes visible.
pub fn write_atomic(path: &Utf8Path, bytes: &[u8], mode: u32) -> Result<(), FsError> {
    use std::os::unix::fs::PermissionsExt;
    let folder = path.parent().filter(|p| !p.as_str().is_empty()).unwrap_or(Utf8Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(failed("write", path))?;
    file.write_all(bytes).map_err(failed("write", path))?;
    file.as_file().set_permissions(fs::Permissions::from_mode(mode)).map_err(failed("write", path))?;
    file.as_file().sync_all().map_err(failed("write", path))?;
    file.persist(path).map_err(|e| FsError { doing: "write", path: path.to_owned(), source: e.error })?;
    Ok(())
}

/// Makes a folder and the ones above it, private to their owner where they are new.
pub fn create_private_folder(path: &Utf8Path) -> Result<(), FsError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(failed("make the folder", path))
}

/// Makes a folder and the ones above it.
pub fn create_folder(path: &Utf8Path) -> Result<(), FsError> {
    fs::create_dir_all(path).map_err(failed("make the folder", path))
}

/// Returns the paths of the entries of a folder, sorted.
///
/// # Errors
/// An entry whose name is not UTF-8 is an error that names it.
pub fn list_folder(path: &Utf8Path) -> Result<Vec<Utf8PathBuf>, FsError> {
    let mut entries = Vec::new();
    for entry in path.read_dir_utf8().map_err(failed("list", path))? {
        entries.push(entry.map_err(failed("list", path))?.into_path());
    }
    entries.sort();
    Ok(entries)
}

/// Returns what is at `path`, following links, or `None` where there is nothing.
pub fn metadata(path: &Utf8Path) -> Result<Option<fs::Metadata>, FsError> {
    match fs::metadata(path) {
        Ok(found) => Ok(Some(found)),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(failed("look at", path)(e)),
    }
}

/// Removes a file; one that is not there is fine.
pub fn remove_file(path: &Utf8Path) -> Result<(), FsError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed("remove", path)(e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_path_and_a_limit_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("a");
        assert_eq!(read_at_most(&path, 9).unwrap_err().to_string(), format!("read {path}"));
        write_atomic(&path, b"0123456789", 0o640).unwrap();
        assert_eq!(read_at_most(&path, 9).unwrap_err().source.kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read_at_most(&path, 10).unwrap(), b"0123456789");
    }
}
