//! YAML text to a [`Node`](crate::model::node::Node) tree, within limits that no honest file meets.
//!
//! The language is YAML 1.2 as one document of core types: merge keys and aliases are expanded here, so nobody
//! above ever meets one; duplicate keys, foreign tags and NUL characters are refused.

mod parser;

pub use self::parser::{MAX_BYTES, MAX_DEPTH, SYNTAX, parse};

#[cfg(test)]
mod tests;
