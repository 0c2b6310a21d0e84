//! What is at a path: one `find` for all, one `sha256sum` for those whose content matters.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Bytes, ReadError};
use crate::sh;
use crate::shell::Script;

/// The most bytes of a file that are read to be shown or edited; a larger one is compared by digest only.
pub const CONTENT_LIMIT: usize = 256 * 1024;

/// How much of a path is to be read. Its metadata and a link's target always are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Want {
    /// The metadata only.
    #[default]
    Metadata,
    /// A regular file's digest too.
    Digest,
    /// The digest of a file that is expected to be large: by `openssl` where the host has it, which is five times as
    /// fast as Debian's `sha256sum` (0.8 s against 3.3 s for 1 GB), because it uses the processor's instructions for it.
    LargeDigest,
    /// The digest; and the content where the digest is not this one, so that a file that is right costs 64 bytes.
    ContentUnless(String),
    /// The digest and the content.
    Content,
}

impl Want {
    /// Returns what satisfies both.
    pub(super) fn join(self, other: Want) -> Want {
        match (self, other) {
            (Want::Metadata, other) | (other, Want::Metadata) => other,
            (Want::LargeDigest, other) | (other, Want::LargeDigest) => other,
            (Want::Digest, other) | (other, Want::Digest) => other,
            (Want::ContentUnless(a), Want::ContentUnless(b)) if a == b => Want::ContentUnless(a),
            _ => Want::Content,
        }
    }
}

/// What kind of thing a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, not followed.
    Link,
    /// A device, socket or pipe.
    Special,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PathState {
    /// What kind of thing it is.
    pub kind: FileKind,
    /// The permission bits, four octal digits such as `0644`.
    pub mode: String,
    /// The owner's name, or number where it has no name.
    pub owner: String,
    /// The group's name, or number where it has no name.
    pub group: String,
    /// The size in bytes.
    #[serde(default)]
    pub size: u64,
    /// Where a link points to.
    #[serde(default)]
    pub target: Option<String>,
    /// The SHA-256 of a regular file's content, where it was asked for, lowercase hexadecimal.
    #[serde(default)]
    pub sha256: Option<String>,
    /// The content of a regular file, where it was asked for and is not larger than [`CONTENT_LIMIT`].
    #[serde(default)]
    pub content: Option<Bytes>,
}

/// Asked with each part of the others: a `find` that does not answer on it (that of busybox knows no `-printf`) answers on nothing,
/// and then nothing may be taken to be absent.
const SENTINEL: &str = "/";

pub(super) fn script(paths: &BTreeMap<String, Want>) -> Script {
    let mut script = Script::default();
    let all: Vec<&str> = paths.keys().map(String::as_str).collect();
    // One process takes at most 2 MiB of arguments; a path is at most 4096 bytes.
    for chunk in all.chunks(400) {
        script.push(&sh!(
            r"_mark paths; find {} {} -maxdepth 0 -printf '%p\0%y\0%m\0%u\0%g\0%s\0%l\0' 2>/dev/null || :",
            Script::words(chunk.iter().copied()),
            SENTINEL
        ));
    }
    let is_large = |want: &Want| *want == Want::LargeDigest;
    let large = paths.iter().filter(|(_, want)| is_large(want)).map(|(path, _)| path);
    let digested: Vec<(&String, &Want)> =
        paths.iter().filter(|(_, want)| **want != Want::Metadata && !is_large(want)).collect();
    for chunk in digested.chunks(400) {
        script.push(&digest_script(chunk));
    }
    let large = Script::words(large);
    if !large.is_empty() {
        script.push(&sh!(
            r#"_mark digests; for _p in {}; do if [ -f "$_p" ] && [ ! -L "$_p" ]; then
  _h=$(openssl dgst -sha256 -r <"$_p" 2>/dev/null) || _h=$(sha256sum <"$_p") || continue
  printf '%s  %s\0' "${_h%% *}" "$_p"
fi; done"#,
            large
        ));
    }
    script
}

/// Hashes the regular files of a chunk, and prints the content of those that are wanted and not as they should be.
fn digest_script(chunk: &[(&String, &Want)]) -> Script {
    let wants_content = |want: &Want| matches!(want, Want::Content | Want::ContentUnless(_));
    // Only regular files: opening a pipe or a device would wait for ever.
    let mut script = sh!(
        "set --; for _p in {}; do if [ -f \"$_p\" ] && [ ! -L \"$_p\" ]; then set -- \"$@\" \"$_p\"; fi; done",
        Script::words(chunk.iter().map(|(path, _)| *path))
    );
    if !chunk.iter().any(|(_, want)| wants_content(want)) {
        script.push(&Script::constant("_mark digests; [ $# -eq 0 ] || sha256sum -z -- \"$@\" 2>/dev/null || :"));
        return script;
    }
    // The digest lines of files that are right, and the paths whose content is wanted at all, each between newlines.
    let mut right = String::from("\n");
    let mut shown = String::from("\n");
    for (path, want) in chunk {
        if let Want::ContentUnless(digest) = want {
            right.push_str(&format!("{digest}  {path}\n"));
        }
        if wants_content(want) {
            shown.push_str(&format!("{path}\n"));
        }
    }
    script.push(&sh!("_right={}\n_shown={}", right, shown));
    // The digests are taken once, into a variable, with builtins doing the rest: no process for a file that is right.
    // A name that `sha256sum` escapes (it starts the line with a backslash) is compared by digest only.
    script.push(&Script::constant(
        r#"if [ $# -gt 0 ]; then _sums=$(sha256sum -- "$@" 2>/dev/null || :); else _sums=; fi
_nl='
'
_mark digests
printf '%s\n' "$_sums" | while IFS= read -r _line; do
  case $_line in '') ;; '\'*) ;; *) printf '%s\0' "$_line";; esac
done
printf '%s\n' "$_sums" | while IFS= read -r _line; do
  case $_line in ''|'\'*) continue;; esac
  case $_right in *"$_nl$_line$_nl"*) continue;; esac
  _p=${_line#*  }
  case $_shown in *"$_nl$_p$_nl"*) ;; *) continue;; esac
  _mark content "$_p"; head -c 262145 -- "$_p" || :
done
for _p do
  case $_p in *'\'*|*"$_nl"*) _mark digests; sha256sum -z -- "$_p" 2>/dev/null || :;; esac
done"#,
    ));
    script
}

pub(super) fn parse_states(data: &[u8], paths: &mut BTreeMap<String, PathState>) -> Result<(), ReadError> {
    let text = String::from_utf8_lossy(data);
    if text.is_empty() {
        return Err(ReadError::shape(
            super::PATHS,
            "nothing, so the host's `find` is not that of the package findutils",
        ));
    }
    let mut fields = text.split('\0');
    while let Some(path) = fields.next() {
        if path.is_empty() {
            break;
        }
        let mut field = |name: &str| fields.next().ok_or_else(|| ReadError::shape(super::PATHS, format!("no {name}")));
        let kind = match field("type")? {
            "f" => FileKind::File,
            "d" => FileKind::Directory,
            "l" => FileKind::Link,
            _ => FileKind::Special,
        };
        let mode = format!("{:0>4}", field("mode")?);
        let (owner, group) = (field("owner")?.to_owned(), field("group")?.to_owned());
        let size = field("size")?;
        let size = size.parse().map_err(|_| ReadError::shape(super::PATHS, format!("the size {size:?}")))?;
        let target = Some(field("target")?.to_owned()).filter(|_| kind == FileKind::Link);
        let state = PathState { kind, mode, owner, group, size, target, sha256: None, content: None };
        paths.insert(path.to_owned(), state);
    }
    Ok(())
}

pub(super) fn parse_digests(data: &[u8], paths: &mut BTreeMap<String, PathState>) -> Result<(), ReadError> {
    let text = String::from_utf8_lossy(data);
    for line in text.split('\0').filter(|line| !line.is_empty()) {
        let (digest, path) =
            line.split_once("  ").ok_or_else(|| ReadError::shape(super::DIGESTS, format!("the line {line:?}")))?;
        // A file may vanish between `find` and `sha256sum`; then there is nothing to complete.
        if let Some(state) = paths.get_mut(path) {
            state.sha256 = Some(digest.to_owned());
        }
    }
    Ok(())
}

pub(super) fn take_content(
    path: &str,
    data: Vec<u8>,
    paths: &mut BTreeMap<String, PathState>,
) -> Result<(), ReadError> {
    if let Some(state) = paths.get_mut(path)
        && data.len() <= CONTENT_LIMIT
    {
        state.content = Some(Bytes(data));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a thousand files that are all still to be made, no part of the answer may look like that of another `find`.
    #[test]
    fn each_part_of_many_paths_is_asked_with_one_that_is_there() {
        let paths = (0..1000).map(|n| (format!("/srv/n{n:04}"), Want::Metadata)).collect();
        let text = script(&paths).text().to_owned();
        assert_eq!(text.matches("_mark paths; find ").count(), 3);
        assert_eq!(text.matches(" / -maxdepth 0 ").count(), 3);
    }
}
