//! Secret values: looked up where a reference says, only once they are needed, and kept in the vault from then on.

use std::collections::HashMap;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use camino::Utf8PathBuf;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::Value as Json;
use thiserror::Error;

use crate::fs::{self, FsError};
use crate::model::vars::SecretRef;
use crate::secret::Vault;

/// A secret is no larger than this.
const MAX_BYTES: u64 = 1 << 20;

/// Why a secret is not to be had.
#[derive(Debug, Error)]
pub enum SecretError {
    /// The environment variable is not set, or not text.
    #[error("the environment variable `{name}` of a secret is not set")]
    Env {
        /// Its name.
        name: String,
    },
    /// The file cannot be read.
    #[error("read a secret")]
    File {
        /// What went wrong, with the path.
        source: FsError,
    },
    /// The program cannot be started.
    #[error("start `{program}` for a secret")]
    Start {
        /// The program.
        program: String,
        /// What the system answered.
        source: std::io::Error,
    },
    /// The program failed.
    #[error("`{program}` gave no secret: it ended with {status}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: std::process::ExitStatus,
    },
    /// What was found is not a text.
    #[error("{from} gave a secret that is not UTF-8 text of at most 1 MiB")]
    NotText {
        /// Where it came from.
        from: String,
    },
    /// What was found is empty.
    #[error("{from} gave an empty secret")]
    Empty {
        /// Where it came from.
        from: String,
    },
}

/// Looks up secrets, each once.
#[derive(Debug)]
pub struct Secrets {
    folder: Utf8PathBuf,
    vault: Vault,
    found: Mutex<HashMap<String, SecretString>>,
}

impl Secrets {
    /// Returns a lookup with `folder` as what files are relative to; all that is found is kept in `vault`.
    pub fn new(folder: impl Into<Utf8PathBuf>, vault: Vault) -> Self {
        Self { folder: folder.into(), vault, found: Mutex::default() }
    }

    /// Returns `value` with each reference in it replaced by the secret.
    ///
    /// # Errors
    /// The first reference that leads to nothing.
    pub fn resolve(&self, value: &Json) -> Result<Json, SecretError> {
        if let Some(reference) = SecretRef::of(value) {
            return self.find(&reference).map(Json::from);
        }
        match value {
            Json::Array(items) => items.iter().map(|item| self.resolve(item)).collect(),
            Json::Object(entries) => {
                let resolved = entries.iter().map(|(key, value)| Ok((key.clone(), self.resolve(value)?)));
                resolved.collect::<Result<_, _>>().map(Json::Object)
            }
            _ => Ok(value.clone()),
        }
    }

    /// Returns the secret that `reference` stands for.
    pub fn find(&self, reference: &SecretRef) -> Result<String, SecretError> {
        let name = format!("{reference:?}");
        // Held while looking up: a program that asks for a passphrase must not be started twice.
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(secret) = found.get(&name) {
            return Ok(secret.expose_secret().to_owned());
        }
        let mut secret = self.look_up(reference)?;
        for newline in ['\n', '\r'] {
            if secret.ends_with(newline) {
                secret.pop();
            }
        }
        if secret.is_empty() {
            return Err(SecretError::Empty { from: reference.to_string() });
        }
        self.vault.keep(&secret);
        found.insert(name, SecretString::from(secret.as_str()));
        Ok(secret)
    }

    fn look_up(&self, reference: &SecretRef) -> Result<String, SecretError> {
        let not_text = || SecretError::NotText { from: reference.to_string() };
        match reference {
            SecretRef::Env(name) => std::env::var(name).map_err(|_| SecretError::Env { name: name.clone() }),
            SecretRef::File(path) => {
                let bytes = fs::read_at_most(&self.folder.join(path), MAX_BYTES)
                    .map_err(|source| SecretError::File { source })?;
                String::from_utf8(bytes).map_err(|_| not_text())
            }
            SecretRef::Command(argv) => {
                let (program, arguments) = argv.split_first().ok_or_else(not_text)?;
                let start = |source| SecretError::Start { program: program.clone(), source };
                let mut child = Command::new(program)
                    .args(arguments)
                    .current_dir(if self.folder.as_str().is_empty() { ".".into() } else { self.folder.clone() })
                    .stdin(Stdio::null())
                    .stdout(Stdio::piped())
                    .spawn()
                    .map_err(start)?;
                let mut bytes = Vec::new();
                if let Some(output) = child.stdout.take() {
                    output.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(start)?;
                }
                let status = child.wait().map_err(start)?;
                if !status.success() {
                    return Err(SecretError::Failed { program: program.clone(), status });
                }
                if bytes.len() as u64 > MAX_BYTES {
                    return Err(not_text());
                }
                String::from_utf8(bytes).map_err(|_| not_text())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use camino::Utf8Path;
    use serde_json::json;

    use super::*;

    fn secrets() -> (tempfile::TempDir, Vault, Secrets) {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().to_owned();
        let vault = Vault::default();
        (folder, vault.clone(), Secrets::new(path, vault))
    }

    #[test]
    fn references_are_replaced_at_any_depth_and_the_values_masked_from_then_on() {
        let (folder, vault, secrets) = secrets();
        let key = Utf8Path::from_path(folder.path()).unwrap().join("key");
        crate::fs::write_atomic(&key, b"from-file\n", 0o600).unwrap();
        let value = json!({
            "a": {"secret": {"file": "key"}},
            "b": [{"secret": {"command": ["sh", "-c", "echo run >> runs; echo from-command"]}}, 1],
            "c": {"secret": {"file": "key"}, "other": 1},
        });
        let resolved = secrets.resolve(&value).unwrap();
        assert_eq!(resolved["a"], "from-file");
        assert_eq!(resolved["b"], json!(["from-command", 1]));
        assert_eq!(resolved["c"], value["c"]);
        assert_eq!(vault.mask("from-file, from-command"), "(sensitive), (sensitive)");
        secrets.resolve(&value).unwrap();
        let runs = crate::fs::read_to_string(Utf8Path::from_path(&folder.path().join("runs")).unwrap()).unwrap();
        assert_eq!(runs, "run\n", "the command ran once");
    }

    #[test]
    fn a_reference_that_leads_to_nothing_says_where_it_looked() {
        let (_folder, _vault, secrets) = secrets();
        let error = |reference| secrets.find(&reference).unwrap_err().to_string();
        let env = SecretRef::Env("PROVISION_TEST_NOT_SET".to_owned());
        assert_eq!(error(env), "the environment variable `PROVISION_TEST_NOT_SET` of a secret is not set");
        assert_eq!(error(SecretRef::File("none".into())), "read a secret");
        assert_eq!(error(SecretRef::Command(vec!["true".into()])), "the command `true` gave an empty secret");
        let failed = error(SecretRef::Command(vec!["false".into()]));
        assert_eq!(failed, "`false` gave no secret: it ended with exit status: 1");
        assert_eq!(error(SecretRef::Command(vec!["/none".into()])), "start `/none` for a secret");
    }
}
