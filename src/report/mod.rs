//! The voice: turns plain data into what a person or a machine reads.
//!
//! Everything here is a pure function from data to text, except [`progress`], which draws on the sinks it is given while
//! a run goes on. Nothing here prints by itself, asks a host or decides anything; `cli` puts the text where it belongs.
//! All output reads the same without colour.

pub mod audit;
pub mod diagnostic;
pub mod drawing;
pub mod findings;
mod groups;
pub mod matrix;
pub mod page;
pub mod plan;
pub mod progress;
pub mod proof;
pub mod style;
pub mod summary;

pub use plan::Failure;
pub use progress::{Counted, Progress, ProgressMode};
pub use style::Color;
