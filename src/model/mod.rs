//! What the input means: the tree a file is read into, and the validated inventory built from it.
//!
//! Everything here is plain data that came from files; reading those files is `load`'s work. Nothing in this
//! floor knows of playbook kinds, plans or connections.

pub mod inventory;
pub mod matrix;
pub mod node;
pub mod playbook;
pub mod rules;
pub mod selector;
pub mod vars;
