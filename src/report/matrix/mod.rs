//! The flow matrix for people and for an audit file: zones by zones, or host by host, each flow with its reason and place.
//!
//! [`View`] holds what all forms show: the matrix, what of it is only there because somebody signed for it, and, where
//! there is a proof, what was seen on the hosts. [`by_zone`] and [`by_host`] make rows of it for text, CSV and Markdown;
//! [`picture()`] draws it, and [`page()`] makes the page for an audit file, with the level-3 diagram.

mod evidence;
mod grid;
mod page;
mod picture;
mod rows;
mod view;

pub use evidence::{Evidence, EvidenceError, Tally};
pub use grid::{Axis, Grid, grid};
pub use page::{About, page};
pub use picture::picture;
pub use rows::{Row, by_host, by_zone, csv, markdown, text};
pub use view::{Crossing, Passing, State, View};
