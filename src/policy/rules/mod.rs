//! The table of rules. A room for each subject; each room has its rows first and their checks below.
//!
//! A new rule is a row and a function. A row without a check that can fail has no place here.

mod accounts;
mod cables;
mod environments;
mod hypervisors;
mod keys;
mod law;
mod live;
mod live_connections;
mod live_hosts;
mod live_kernel;
mod live_network;
mod live_services;
mod live_sshd;
mod live_sudo;
mod logs;
mod networks;
mod nics;
mod packages;
mod places;
mod planes;
mod quorum;
mod reach;
mod records;
mod secrets;
mod settings;
mod sshd;
mod urls;

pub use self::settings::kernel_settings;
use super::rule::Rule;

/// The rooms, in the order in which reports and listings have them.
const TABLE: &[&[Rule]] = &[
    places::RULES,
    law::RULES,
    urls::RULES,
    reach::RULES,
    planes::RULES,
    networks::RULES,
    nics::RULES,
    hypervisors::RULES,
    environments::RULES,
    quorum::RULES,
    cables::RULES,
    records::RULES,
    accounts::RULES,
    keys::RULES,
    secrets::RULES,
    logs::RULES,
    packages::RULES,
    settings::RULES,
    sshd::RULES,
    live_connections::RULES,
    live_network::RULES,
    live_sshd::RULES,
    live_kernel::RULES,
    live_hosts::RULES,
    live_sudo::RULES,
    live_services::RULES,
];

/// Returns all rules.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    TABLE.iter().copied().flatten()
}

/// Returns the rule with this identifier.
pub fn find_rule(id: &str) -> Option<&'static Rule> {
    rules().find(|rule| rule.id == id)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn an_identifier_has_one_row_for_each_way_of_checking_and_a_text_in_both_languages() {
        let mut seen = BTreeSet::new();
        for rule in rules() {
            assert!(seen.insert((rule.id, rule.kind)), "{} is there twice", rule.id);
            for text in [rule.text.en, rule.text.fr] {
                assert!(!text.is_empty() && !text.ends_with('.') && !text.contains('\n'), "{}: {text}", rule.id);
            }
            assert!(rule.id.is_ascii(), "{}", rule.id);
        }
        assert!(super::super::CONFLICTS.iter().all(|conflict| find_rule(conflict.rule).is_some()));
    }
}
