//! The project's templates and files: read once, and handed to the resources that need them.

use std::collections::BTreeMap;
use std::io::Read;
use std::sync::Mutex;

use camino::{Utf8Path, Utf8PathBuf};
use sha2::{Digest, Sha256};

use crate::diag::{Diagnostic, Diagnostics, FileId, Sources, Span};
use crate::fs;
use crate::resource::Content;
use crate::template::Renderer;

/// The largest template.
const TEMPLATE_LIMIT: u64 = 4 << 20;

/// The templates of a project, and its files by demand.
#[derive(Debug)]
pub struct Contents {
    files: Utf8PathBuf,
    templates: BTreeMap<Utf8PathBuf, Template>,
    hashed: Mutex<BTreeMap<Utf8PathBuf, Result<Content, String>>>,
}

#[derive(Debug)]
struct Template {
    file: FileId,
    text: String,
}

impl Contents {
    /// Reads all templates below `root/templates`, gives them to the renderer and reports those that are not
    /// well-formed. Files below `root/files` are read when a resource asks for them.
    pub fn load(root: &Utf8Path, sources: &mut Sources, renderer: &mut Renderer, problems: &mut Diagnostics) -> Self {
        let folder = root.join("templates");
        let mut templates = BTreeMap::new();
        let mut open = vec![folder.clone()];
        while let Some(next) = open.pop() {
            if !matches!(fs::metadata(&next), Ok(Some(found)) if found.is_dir()) {
                continue;
            }
            let entries = match fs::list_folder(&next) {
                Ok(entries) => entries,
                Err(error) => {
                    problems.push(Diagnostic::error("unreadable", format!("{error}: {}", error.source)));
                    continue;
                }
            };
            for path in entries {
                if path.file_name().is_some_and(|name| name.starts_with('.')) {
                    continue;
                }
                if matches!(fs::metadata(&path), Ok(Some(found)) if found.is_dir()) {
                    open.push(path);
                    continue;
                }
                let text = fs::read_at_most(&path, TEMPLATE_LIMIT);
                let text = match text.map(String::from_utf8) {
                    Ok(Ok(text)) => text,
                    Ok(Err(_)) => {
                        problems.push(Diagnostic::error("not-utf8", format!("the template {path} is not UTF-8")));
                        continue;
                    }
                    Err(error) => {
                        problems.push(Diagnostic::error("unreadable", format!("{error}: {}", error.source)));
                        continue;
                    }
                };
                let file = sources.add(path.clone(), text.as_str());
                let name = path.strip_prefix(&folder).unwrap_or(&path).to_owned();
                if let Err(error) = renderer.add(name.as_str(), &text) {
                    let span = span_at(file, &text, error.line, error.column);
                    problems.push(Diagnostic::error("bad-template", error.message).at(span));
                }
                templates.insert(name, Template { file, text });
            }
        }
        Self { files: root.join("files"), templates, hashed: Mutex::default() }
    }

    /// Returns a template's text.
    pub fn template(&self, path: &Utf8Path) -> Option<&str> {
        self.templates.get(path).map(|template| template.text.as_str())
    }

    /// Returns all templates' texts.
    pub fn texts(&self) -> impl Iterator<Item = &str> {
        self.templates.values().map(|template| template.text.as_str())
    }

    /// Returns all templates: the file, the name and the text of each.
    pub fn sources(&self) -> impl Iterator<Item = (FileId, &Utf8Path, &str)> {
        self.templates.iter().map(|(name, template)| (template.file, name.as_path(), template.text.as_str()))
    }

    /// Returns the names of all templates.
    pub fn template_names(&self) -> impl Iterator<Item = &str> {
        self.templates.keys().map(|path| path.as_str())
    }

    /// Returns the place of a line and column in a template.
    pub fn template_span(&self, path: &Utf8Path, line: usize, column: usize) -> Option<Span> {
        let template = self.templates.get(path)?;
        Some(span_at(template.file, &template.text, line, column))
    }

    /// Returns the digest of each file that some resource asked for.
    pub fn digests(&self) -> Vec<(Utf8PathBuf, String)> {
        let hashed = self.hashed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let digests = hashed.values().filter_map(|content| match content {
            Ok(Content::File { path, sha256, .. }) => Some((path.clone(), sha256.clone())),
            _ => None,
        });
        digests.collect()
    }

    /// Returns a file of the project's `files` folder, by size and digest; it is hashed once in a run.
    ///
    /// # Errors
    /// The text says which file and what is wrong with it.
    pub fn source(&self, path: &Utf8Path) -> Result<Content, String> {
        let mut hashed = self.hashed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        hashed.entry(path.to_owned()).or_insert_with(|| hash(&self.files.join(path))).clone()
    }
}

fn hash(path: &Utf8Path) -> Result<Content, String> {
    let file = fs::open(path).map_err(|error| match error.source.kind() {
        std::io::ErrorKind::NotFound => format!("there is no file {path}"),
        _ => format!("{error}: {}", error.source),
    })?;
    let failed = |error: std::io::Error| format!("read {path}: {error}");
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(format!("{path} is not a regular file"));
    }
    let mut reader = std::io::BufReader::with_capacity(1 << 20, file);
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    let mut size = 0u64;
    loop {
        let read = reader.read(&mut buffer).map_err(failed)?;
        if read == 0 {
            break;
        }
        size += read as u64;
        hasher.update(buffer.get(..read).unwrap_or_default());
    }
    let sha256 = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Content::File { path: path.to_owned(), size, sha256 })
}

fn span_at(file: FileId, text: &str, line: usize, column: usize) -> Span {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let rest = text.get(start..).unwrap_or_default();
    let rest = rest.lines().next().unwrap_or_default();
    let offset: usize = rest.chars().take(column.saturating_sub(1)).map(char::len_utf8).sum();
    let at = (start + offset) as u32;
    Span { file, start: at, end: at + 1 }
}
