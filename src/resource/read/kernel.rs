//! Files of the kernel's below `/proc` and `/sys`: one `grep` for all.
//!
//! Not the shell's `read`: it takes one byte at a time, and of a number in `/proc/sys` the kernel gives the first
//! byte only that way.

use std::collections::BTreeMap;

use super::ReadError;
use crate::sh;
use crate::shell::Script;

pub(super) fn script(paths: &[String]) -> Script {
    if paths.is_empty() {
        return Script::default();
    }
    // `-s`: a file that is not there or cannot be read has no answer. The name ends with a NUL (`-Z`).
    sh!("_mark kernel; grep -sHZ '' -- {} || :", Script::words(paths))
}

pub(super) fn parse(data: &[u8], files: &mut BTreeMap<String, String>) -> Result<(), ReadError> {
    let text = String::from_utf8_lossy(data);
    for line in text.lines() {
        let (path, line) =
            line.split_once('\0').ok_or_else(|| ReadError::shape(super::KERNEL, format!("the line {line:?}")))?;
        let known = files.entry(path.to_owned()).or_default();
        if !known.is_empty() {
            known.push('\n');
        }
        known.push_str(line);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_several_lines_is_one_text() {
        let mut files = BTreeMap::new();
        parse(b"/proc/a\x004\t5\n/proc/b\x00x\n/proc/b\x00y\n", &mut files).unwrap();
        assert_eq!(files["/proc/a"], "4\t5");
        assert_eq!(files["/proc/b"], "x\ny");
    }
}
