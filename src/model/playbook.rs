//! Plays and tasks, as they were written: no host has been chosen and nothing has been rendered yet.
//!
//! A task's kind and arguments are still a [`Node`]: this floor does not know which kinds there are. Each part keeps
//! its span, because what is wrong with a task often shows only once it is bound to a host.

use std::collections::HashMap;

use crate::diag::Span;
use crate::model::node::{Node, Spanned};

/// A playbook with everything that it includes, in the order in which it runs on a host.
#[derive(Clone, Debug, Default)]
pub struct Playbook {
    /// What it is called.
    pub name: Option<String>,
    /// The plays.
    pub plays: Vec<Play>,
}

/// Tasks for some hosts.
#[derive(Clone, Debug)]
pub struct Play {
    /// The name, unique in the playbook.
    pub name: Spanned<String>,
    /// The selector of its hosts.
    pub hosts: Spanned<String>,
    /// Plays (by name) or resources (`host/kind[name]`) that must be done before it starts on any host.
    pub needs: Vec<Spanned<String>>,
    /// How many hosts it changes at a time, and what must be well before the next.
    pub rolling: Option<Rolling>,
    /// Variables that hold where the inventory says nothing, with their places.
    pub defaults: Vec<(String, Node)>,
    /// Variables of the play, with their places; they win over the inventory's.
    pub vars: Vec<(String, Node)>,
    /// Tags of all its tasks.
    pub tags: Vec<String>,
    /// The tasks, in the order in which they run on a host.
    pub tasks: Vec<Task>,
}

/// A play that goes through its hosts in batches.
#[derive(Clone, Debug)]
pub struct Rolling {
    /// How many hosts at a time; none where only `max_unavailable` says so.
    pub batch: Option<Batch>,
    /// How many hosts at a time of any one failure domain.
    pub max_unavailable: Vec<(Domain, usize)>,
    /// How many hosts may fail before no further batch is begun.
    pub max_failures: usize,
    /// What must hold on each host of a batch before the next begins: arguments of the kind `check`.
    pub health: Vec<Node>,
}

/// What fails as one: the hosts in it are lost together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// A rack.
    Rack,
    /// A room.
    Room,
    /// A site.
    Site,
}

impl Domain {
    /// Returns the word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rack => "rack",
            Self::Room => "room",
            Self::Site => "site",
        }
    }
}

impl Rolling {
    /// Returns the batches of `hosts`, which keep their order as far as the limits allow.
    ///
    /// `domain` says where a host stands; hosts of which that is not known stand together, because they might.
    pub fn batches<T: Clone>(&self, hosts: &[T], domain: &dyn Fn(&T, Domain) -> Option<String>) -> Vec<Vec<T>> {
        let size = self.batch.map_or(usize::MAX, |batch| batch.size(hosts.len()));
        let mut batches: Vec<Vec<T>> = Vec::new();
        // Of each failure domain, how many of its hosts have been given a batch, and the last of these batches.
        let mut taken: HashMap<(usize, Option<String>), (usize, usize)> = HashMap::new();
        let mut first_with_room = 0;
        for host in hosts {
            let stands: Vec<_> = (self.max_unavailable.iter().enumerate())
                .map(|(at, (kind, most))| ((at, domain(host, *kind)), (*most).max(1)))
                .collect();
            // A batch that has taken as many of a domain as it may is closed to that domain, and so are those before it.
            let open = stands.iter().map(|(place, most)| match taken.get(place) {
                Some((in_last, last)) if in_last >= most => last + 1,
                Some((_, last)) => *last,
                None => 0,
            });
            let mut at = open.max().unwrap_or(0).max(first_with_room);
            while batches.get(at).is_some_and(|batch| batch.len() >= size) {
                at += 1;
            }
            if batches.len() <= at {
                batches.resize_with(at + 1, Vec::new);
            }
            if let Some(batch) = batches.get_mut(at) {
                batch.push(host.clone());
            }
            for (place, _) in stands {
                let (in_last, last) = taken.entry(place).or_insert((0, at));
                (*in_last, *last) = if *last == at { (*in_last + 1, at) } else { (1, at) };
            }
            while batches.get(first_with_room).is_some_and(|batch| batch.len() >= size) {
                first_with_room += 1;
            }
        }
        batches
    }
}

/// The size of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// So many hosts.
    Hosts(usize),
    /// So many of a hundred hosts, but at least one.
    Percent(usize),
}

impl Batch {
    /// Returns the number of hosts in a batch, of `total`.
    pub fn size(self, total: usize) -> usize {
        match self {
            Batch::Hosts(hosts) => hosts.max(1),
            Batch::Percent(percent) => (total * percent / 100).max(1),
        }
    }
}

/// One task.
#[derive(Clone, Debug)]
pub struct Task {
    /// Where it begins.
    pub span: Span,
    /// What its author calls it.
    pub name: Option<String>,
    /// The kind's name.
    pub kind: Spanned<String>,
    /// The kind's arguments.
    pub arguments: Node,
    /// The expression that must be true for the task to apply.
    pub when: Option<Spanned<String>>,
    /// The list to repeat the task for, as `item`.
    pub for_each: Option<Node>,
    /// The resources to refresh once after it changed: `kind[name]`.
    pub notify: Vec<Spanned<String>>,
    /// The name under which later tasks know what it printed.
    pub register: Option<Spanned<String>>,
    /// Tags, its play's included.
    pub tags: Vec<String>,
    /// Whether the host goes on after it failed.
    pub on_failure: OnFailure,
    /// Variables given where its file was included.
    pub vars: Vec<(String, Node)>,
    /// What it is for in its play.
    pub purpose: Purpose,
}

/// What a task is for in its play.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Purpose {
    /// One of the tasks of the play.
    #[default]
    Task,
    /// It takes the work off a host before the play changes something there, and runs only then.
    Drain,
    /// It gives a drained host its work back, after all that the play does there; an unfinished run leaves it to the next.
    Resume,
}

/// What happens on the host after a task failed there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// What comes after it is skipped.
    #[default]
    Stop,
    /// The failure is reported and the next task runs.
    GoOn,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batches(batch: Option<Batch>, most: &[(Domain, usize)], hosts: &[&'static str]) -> Vec<Vec<&'static str>> {
        let rolling = Rolling { batch, max_unavailable: most.to_vec(), max_failures: 0, health: Vec::new() };
        // A host is called by its site, its rack and a number.
        rolling.batches(hosts, &|host, domain| match domain {
            Domain::Rack | Domain::Room => host.get(..2).map(str::to_owned),
            Domain::Site => host.get(..1).map(str::to_owned),
        })
    }

    #[test]
    fn a_batch_holds_no_more_of_a_failure_domain_than_may_be_lost() {
        let hosts = ["pa1", "pa2", "pa3", "pb1", "ra1", "ra2"];
        assert_eq!(batches(Some(Batch::Hosts(4)), &[], &hosts), [vec!["pa1", "pa2", "pa3", "pb1"], vec!["ra1", "ra2"]]);
        assert_eq!(
            batches(None, &[(Domain::Rack, 1)], &hosts),
            [vec!["pa1", "pb1", "ra1"], vec!["pa2", "ra2"], vec!["pa3"]]
        );
        assert_eq!(
            batches(Some(Batch::Hosts(2)), &[(Domain::Rack, 1)], &hosts),
            [vec!["pa1", "pb1"], vec!["pa2", "ra1"], vec!["pa3", "ra2"]]
        );
        assert_eq!(
            batches(None, &[(Domain::Rack, 2), (Domain::Site, 2)], &hosts),
            [vec!["pa1", "pa2", "ra1", "ra2"], vec!["pa3", "pb1"]]
        );
        assert_eq!(batches(Some(Batch::Percent(50)), &[], &hosts).len(), 2);
        assert!(batches(None, &[(Domain::Site, 1)], &[]).is_empty());
    }

    #[test]
    fn every_host_has_exactly_one_batch_and_no_limit_is_passed() {
        let names: Vec<String> =
            (0..200).map(|n| format!("{}{}{n}", ["p", "r", "m"][n % 3], ["a", "b"][n / 7 % 2])).collect();
        let hosts: Vec<&'static str> = names.iter().map(|name| &*name.clone().leak()).collect();
        let all = batches(Some(Batch::Hosts(5)), &[(Domain::Rack, 2), (Domain::Site, 3)], &hosts);
        let mut seen: Vec<&str> = all.iter().flatten().copied().collect();
        seen.sort_unstable();
        let mut wanted = hosts.clone();
        wanted.sort_unstable();
        assert_eq!(seen, wanted);
        for batch in &all {
            assert!(!batch.is_empty() && batch.len() <= 5, "{batch:?}");
            for (length, most) in [(2, 2), (1, 3)] {
                for host in batch {
                    let of_domain = batch.iter().filter(|other| other[..length] == host[..length]).count();
                    assert!(of_domain <= most, "{batch:?}");
                }
            }
        }
    }
}
