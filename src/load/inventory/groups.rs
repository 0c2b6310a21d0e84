//! Which hosts are in which group: evaluates the groups in the order in which they refer to each other.

use super::sections::Declared;
use crate::diag::{Diagnostic, Diagnostics};
use crate::model::inventory::Inventory;
use crate::model::selector::Selector;

/// Fills in the groups of every host.
pub(super) fn fill(inventory: &mut Inventory, declared: &Declared, diags: &mut Diagnostics) {
    let parsed: Vec<Option<Selector>> = inventory
        .groups
        .values()
        .map(|group| match Selector::parse_at(group.selector.as_ref()?) {
            Ok(selector) => Some(selector),
            Err(problem) => {
                diags.push(*problem);
                None
            }
        })
        .collect();
    let uses: Vec<Vec<usize>> = parsed
        .iter()
        .map(|selector| {
            let mut groups = Vec::new();
            if let Some(selector) = selector {
                selector.visit_groups(inventory, &mut |at, _| groups.push(at));
            }
            groups
        })
        .collect();
    let mut members: Vec<Vec<bool>> = vec![Vec::new(); parsed.len()];
    for at in order(inventory, &uses, diags) {
        let (Some((name, group)), Some(slot)) = (inventory.groups.get_index(at), members.get_mut(at)) else { continue };
        let mut chosen = vec![false; inventory.hosts.len()];
        // With hosts missing that could not be read, a selector that finds nobody may be right.
        if let (Some(Some(selector)), Some(text), true) = (parsed.get(at), &group.selector, declared.complete) {
            match selector.matches(inventory) {
                Ok(matched) => chosen = matched,
                Err(error) => diags.push(error.diagnostic(text.span)),
            }
        }
        for host in &group.hosts {
            if let Some(chosen) = inventory.hosts.get_index_of(host.as_str()).and_then(|at| chosen.get_mut(at)) {
                *chosen = true;
            }
        }
        // A selector of a later group asks the hosts themselves, so they are told at once.
        let name = name.clone();
        for (host, chosen) in inventory.hosts.values_mut().zip(&chosen) {
            if *chosen {
                host.groups.push(name.clone());
            }
        }
        *slot = chosen;
    }
    // Hosts were told in the order of evaluation, but variables go by the order of the file.
    for (at, host) in inventory.hosts.values_mut().enumerate() {
        host.groups.clear();
        for (name, members) in inventory.groups.keys().zip(&members) {
            if members.get(at).copied().unwrap_or_default() {
                host.groups.push(name.clone());
            }
        }
        host.groups.shrink_to_fit();
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    Open,
    Done,
}

/// Returns the groups so that each comes after those it refers to, and reports those that refer to themselves.
fn order(inventory: &Inventory, uses: &[Vec<usize>], diags: &mut Diagnostics) -> Vec<usize> {
    let mut marks = vec![Mark::New; uses.len()];
    let mut ordered = Vec::with_capacity(uses.len());
    for root in 0..uses.len() {
        // A stack of groups with the number of references already followed.
        let mut path: Vec<(usize, usize)> = vec![(root, 0)];
        while let Some((at, followed)) = path.last_mut() {
            let at = *at;
            let Some(mark) = marks.get_mut(at) else { break };
            if *mark == Mark::Done {
                path.pop();
                continue;
            }
            *mark = Mark::Open;
            match uses.get(at).and_then(|uses| uses.get(*followed)) {
                Some(next) => {
                    *followed += 1;
                    match marks.get(*next) {
                        Some(Mark::Open) => report_loop(inventory, &path, *next, diags),
                        Some(Mark::New) => path.push((*next, 0)),
                        _ => {}
                    }
                }
                None => {
                    if let Some(mark) = marks.get_mut(at) {
                        *mark = Mark::Done;
                    }
                    ordered.push(at);
                    path.pop();
                }
            }
        }
    }
    ordered
}

fn report_loop(inventory: &Inventory, path: &[(usize, usize)], again: usize, diags: &mut Diagnostics) {
    let start = path.iter().position(|(at, _)| *at == again).unwrap_or_default();
    let groups = path.iter().skip(start).filter_map(|(at, _)| inventory.groups.get_index(*at));
    let mut names: Vec<&str> = groups.clone().map(|(name, _)| name.as_str()).collect();
    names.extend(inventory.groups.get_index(again).map(|(name, _)| name.as_str()));
    let message = format!("groups refer to themselves: {}", names.join(" → "));
    let mut spans = groups.filter_map(|(_, group)| group.selector.as_ref()).map(|selector| selector.span);
    let Some(first) = spans.next() else { return };
    let diagnostic = Diagnostic::error("group-loop", message).at(first);
    diags.push(spans.fold(diagnostic, |diagnostic, span| diagnostic.label(span, "and here")));
}
