//! `provision` turns a described datacenter into a configured one, over SSH, with nothing installed on the hosts.
//!
//! A floor imports only lower floors, and modules of one floor do not import each other:
//!
//! | floor | modules | what they are |
//! |---|---|---|
//! | 0 | `addr` `diag` `secret` `fs` | names; diagnostics with spans; redacting secrets; the only user of `std::fs` |
//! | 1 | `graph` `shell` `template` `model` | the DAG; quoted shell text; strict rendering; validated inventory and plays |
//! | 2 | `change` `load` `policy` `connection` | what would happen; YAML to model; rules on the model; the way to a host |
//! | 3 | `event` `resource` | what did happen; the knowledge of each kind, pure |
//! | 4 | `plan` `journal` `proof` `live` | the decision; the memory; what must and must not connect; what a host is like |
//! | 5 | `engine` `report` | the hands; the voice |
//! | 6 | `cli` | arguments, one file per command, exit codes |

pub mod addr;
pub mod change;
pub mod cli;
pub mod connection;
pub mod diag;
pub mod engine;
pub mod event;
pub mod fs;
pub mod graph;
pub mod journal;
pub mod live;
pub mod load;
pub mod model;
pub mod plan;
pub mod policy;
pub mod proof;
pub mod report;
pub mod resource;
pub mod secret;
pub mod shell;
pub mod template;
