//! Rules on the model: which of them a fleet breaks, what was waived, and what is only declared.
//!
//! The rules are one table ([`rules()`]); each row has an identifier, its text in two languages and a pure function over
//! the inventory and, where one is given, what a playbook would write. Nothing here loads a file, touches a host or
//! prints: `load` reads, `report` draws, and the structure of an inventory (names that lead nowhere, addresses given
//! twice) is checked by `load` before any rule is asked.

mod check;
mod check_live;
mod conflicts;
mod custom;
mod cx;
mod finding;
pub mod live;
pub mod network;
mod rule;
mod rules;
mod score;
mod waive;

pub use self::check::{ALWAYS, Always, Input, Report, check};
pub use self::check_live::{check_live, check_network};
pub use self::conflicts::{CONFLICTS, Conflict, conflicts_of};
pub use self::cx::{Playbook, SourceText, Written};
pub use self::finding::{Declared, Finding, Unasked, Waived};
pub use self::rule::{Kind, Lang, Needs, Pack, Rule, Words};
pub use self::rules::{find_rule, kernel_settings, rules};
pub use self::score::{Score, Standing, Standings};
pub use crate::model::rules::RuleLevel as Level;

/// Renders a text in the language of the run: `say!(cx, "…", "…")`, English first.
macro_rules! say {
    ($cx:expr, $en:literal, $fr:literal $(,)?) => {
        match $cx.lang {
            $crate::policy::Lang::En => format!($en),
            $crate::policy::Lang::Fr => format!($fr),
        }
    };
}
use say;
