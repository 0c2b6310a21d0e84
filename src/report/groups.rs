//! Many hosts in few words: like hosts together, names and addresses as ranges.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use crate::model::inventory::Host;

/// How many names or ranges are listed before the rest is only counted.
const LISTED: usize = 60;

/// Returns hosts that share a key together, in the order in which the first of each group comes.
pub fn alike<'a, K: Eq + Hash>(hosts: &[&'a Host], mut key: impl FnMut(&Host) -> K) -> Vec<Vec<&'a Host>> {
    let mut groups: Vec<Vec<&'a Host>> = Vec::new();
    let mut known: HashMap<K, usize> = HashMap::new();
    for host in hosts {
        let at = *known.entry(key(host)).or_insert(groups.len());
        match groups.get_mut(at) {
            Some(group) => group.push(host),
            None => groups.push(vec![host]),
        }
    }
    groups
}

/// Returns names as few words, those that differ by their last number together: `hv-par1-[01-26,28]`.
///
/// The second value is how many names of a long list are left out.
pub fn names<'a>(names: impl IntoIterator<Item = &'a str>) -> (Vec<String>, usize) {
    // What stands before and after the last number, and how many digits it has at the least.
    let mut stems: Vec<(&str, usize, &str)> = Vec::new();
    let mut numbers: HashMap<(&str, usize, &str), Vec<u64>> = HashMap::new();
    for name in names {
        let digits_end = name.rfind(|c: char| c.is_ascii_digit()).map_or(0, |at| at + 1);
        let (front, behind) = name.split_at(digits_end);
        let last_letter = front.char_indices().rev().find(|(_, c)| !c.is_ascii_digit());
        let start = last_letter.map_or(0, |(at, c)| at + c.len_utf8());
        let (before, digits) = front.split_at(start);
        let number: Option<u64> = digits.parse().ok();
        let stem = match number {
            Some(_) => (before, digits.len(), behind),
            None => (name, 0, ""),
        };
        let of_stem = numbers.entry(stem).or_insert_with(|| {
            stems.push(stem);
            Vec::new()
        });
        of_stem.extend(number);
    }
    let mut words = Vec::new();
    let mut left_out = 0;
    for stem @ (before, digits, behind) in stems {
        let mut numbers = numbers.remove(&stem).unwrap_or_default();
        if words.len() == LISTED {
            left_out += numbers.len().max(1);
            continue;
        }
        numbers.sort_unstable();
        numbers.dedup();
        let ranges: Vec<String> = runs(&numbers)
            .into_iter()
            .map(|(first, last)| match first == last {
                true => format!("{first:0digits$}"),
                false => format!("{first:0digits$}-{last:0digits$}"),
            })
            .collect();
        words.push(match ranges.as_slice() {
            [] => before.to_owned(),
            [only] if !only.contains('-') => format!("{before}{only}{behind}"),
            ranges => format!("{before}[{}]{behind}", ranges.join(",")),
        });
    }
    (words, left_out)
}

/// Returns addresses as few words: `10.1.30.101-160`.
pub fn addresses(addresses: impl IntoIterator<Item = IpAddr>) -> Vec<String> {
    let (mut four, mut six): (Vec<u64>, Vec<IpAddr>) = Default::default();
    for address in addresses {
        match address {
            IpAddr::V4(address) => four.push(u64::from(u32::from(address))),
            IpAddr::V6(_) => six.push(address),
        }
    }
    four.sort_unstable();
    four.dedup();
    six.sort_unstable();
    six.dedup();
    let shown = |number: u64| std::net::Ipv4Addr::from(u32::try_from(number).unwrap_or(u32::MAX)).to_string();
    let ranges = runs(&four).into_iter().map(|(first, last)| {
        let (from, to) = (shown(first), shown(last));
        match to.rsplit_once('.') {
            _ if first == last => from,
            Some((net, end)) if from.rsplit_once('.').is_some_and(|(known, _)| known == net) => format!("{from}-{end}"),
            _ => format!("{from}-{to}"),
        }
    });
    ranges.chain(six.iter().map(ToString::to_string)).collect()
}

/// Returns sorted numbers as runs without gaps.
fn runs(sorted: &[u64]) -> Vec<(u64, u64)> {
    let mut runs: Vec<(u64, u64)> = Vec::new();
    for number in sorted {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == *number => *last = *number,
            _ => runs.push((*number, *number)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_differ_by_a_number_are_one_word() {
        let (words, left_out) =
            names(["hv-par1-03", "hv-par1-01", "bastion", "hv-par1-02", "hv-par1-10", "é9é", "hv-ren1-01"]);
        assert_eq!(words, ["hv-par1-[01-03,10]", "bastion", "é9é", "hv-ren1-01"]);
        assert_eq!(left_out, 0);
        assert_eq!(names(["a1", "a01", "a2"]).0, ["a[1-2]", "a01"]);
        assert_eq!(names(["a99999999999999999999999"]).0, ["a99999999999999999999999"]);
        let many: Vec<String> = (0..100).map(|at| format!("h{at}x{}", "y".repeat(at))).collect();
        let (words, left_out) = names(many.iter().map(String::as_str));
        assert_eq!((words.len(), left_out), (LISTED, 40));
    }

    #[test]
    fn addresses_in_a_row_are_one_word() {
        let parsed =
            ["10.0.0.2", "10.0.0.1", "10.0.0.9", "fd00::1", "10.0.0.255", "10.0.1.0"].map(|a| a.parse().unwrap());
        assert_eq!(addresses(parsed), ["10.0.0.1-2", "10.0.0.9", "10.0.0.255-10.0.1.0", "fd00::1"]);
    }
}
