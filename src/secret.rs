//! Text that must not be seen: kept apart by type, and masked wherever text leaves the tool.
//!
//! A secret enters through [`Vault::keep`] and from then on every output goes through [`Vault::mask`], which
//! replaces each occurrence. So a secret that travelled through a template, a command's error message or a diff
//! is masked too, without anybody having had to remember that it was one.

use std::sync::{Arc, RwLock};

use secrecy::{ExposeSecret, SecretString};

/// What stands for a secret in every output.
pub const SENSITIVE: &str = "(sensitive)";

/// Stands for a secret that was not looked up, so that who may not read it can validate.
pub const NOT_LOOKED_UP: &str = "(secret)";

/// The secrets of this run, shared by all who print.
#[derive(Clone, Default)]
pub struct Vault(Arc<RwLock<Vec<SecretString>>>);

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault")
    }
}

impl Vault {
    /// Remembers `secret`, so that every later output masks it. Blank text is no secret and is not kept.
    pub fn keep(&self, secret: &str) {
        if secret.trim().is_empty() {
            return;
        }
        let mut kept = self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut add = |text: &str| {
            if !kept.iter().any(|known| known.expose_secret() == text) {
                kept.push(SecretString::from(text));
            }
        };
        add(secret);
        add(secret.trim_end());
        // A multi-line secret (a private key) is masked line by line too: a diff or an error shows single lines.
        for line in secret.lines().filter(|line| secret.contains('\n') && line.trim().len() >= 8) {
            if !line.starts_with("-----") {
                add(line);
            }
        }
        // The longest first, so that a secret that contains another is masked whole.
        kept.sort_by_key(|known| std::cmp::Reverse(known.expose_secret().len()));
    }

    /// Returns whether `text` holds a secret of this run.
    pub fn is_tainted(&self, text: &str) -> bool {
        let kept = self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        kept.iter().any(|known| text.contains(known.expose_secret()))
    }

    /// Returns whether there is no secret in this run.
    pub fn is_empty(&self) -> bool {
        self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner).is_empty()
    }

    /// Returns `text` with every secret replaced by [`SENSITIVE`].
    pub fn mask<'a>(&self, text: &'a str) -> std::borrow::Cow<'a, str> {
        let kept = self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut masked = std::borrow::Cow::Borrowed(text);
        for known in kept.iter() {
            if masked.contains(known.expose_secret()) {
                masked = masked.replace(known.expose_secret(), SENSITIVE).into();
            }
        }
        masked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kept_secret_is_masked_wherever_it_stands() {
        let vault = Vault::default();
        vault.keep("hunter2hunter2");
        vault.keep("hunter2");
        assert_eq!(vault.mask("a=hunter2hunter2 b=hunter2"), "a=(sensitive) b=(sensitive)");
        assert!(vault.is_tainted("xhunter2x"));
        assert!(!vault.is_tainted("hunter"));
    }

    #[test]
    fn blank_text_is_no_secret() {
        let vault = Vault::default();
        vault.keep("");
        vault.keep(" \n");
        assert_eq!(vault.mask("a b"), "a b");
    }

    #[test]
    fn each_line_of_a_private_key_is_masked() {
        let vault = Vault::default();
        vault.keep("-----BEGIN KEY-----\nAAAABBBBCCCC\n-----END KEY-----\n");
        assert_eq!(vault.mask("+AAAABBBBCCCC"), "+(sensitive)");
        assert_eq!(vault.mask("-----BEGIN KEY-----"), "-----BEGIN KEY-----");
    }
}
