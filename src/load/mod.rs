//! From YAML files to the model: reads, resolves and collects every problem with its place.
//!
//! Nothing here decides what a configuration should be (that is `policy`), and nothing here reaches a host.

pub mod inventory;
pub mod playbook;
pub mod secrets;
pub mod yaml;
