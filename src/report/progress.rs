//! interim
use crate::event::Event;
use crate::secret::Vault;
/// m
pub enum ProgressMode {
    /// q
    Quiet,
    /// b
    Bars {
        /// c
        color: bool,
        /// w
        width: usize,
    },
    /// l
    Lines {
        /// c
        color: bool,
        /// v
        verbose: bool,
    },
}
/// p
pub struct Progress {
    on: bool,
    vault: Vault,
}
impl Progress {
    /// s
    pub fn start(mode: ProgressMode, vault: &Vault, _n: usize) -> Self {
        Self { on: !matches!(mode, ProgressMode::Quiet), vault: vault.clone() }
    }
    /// e
    pub fn event(&self, e: &Event) {
        if self.on {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "{}", self.vault.mask(&format!("{e:?}")));
        }
    }
    /// f
    pub fn finish(self) {}
}
