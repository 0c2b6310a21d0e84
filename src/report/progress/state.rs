//! What is known of a run: who is at what, and what has ended how.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use super::{Counted, Summary};
use crate::addr::{HostName, ResourceAddr};
use crate::event::{Event, Outcome, Reach};
use crate::report::style::escape;
use crate::secret::Vault;

/// What is known of a run.
pub(super) struct State {
    pub(super) counted: Counted,
    pub(super) began: Instant,
    pub(super) busy: BTreeMap<HostName, Busy>,
    pub(super) ended: HashMap<ResourceAddr, Ending>,
    pub(super) hosts: BTreeSet<HostName>,
    pub(super) lost: BTreeMap<HostName, Reach>,
    /// Lines that wait to be printed above the bars.
    pub(super) waiting: Vec<String>,
    pub(super) is_over: bool,
}

/// What a host is at.
pub(super) struct Busy {
    pub(super) what: String,
    pub(super) since: Instant,
    /// The resources that were begun and have not ended.
    open: BTreeSet<ResourceAddr>,
}

/// How a resource ended, without the words.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Unchanged,
    Changed,
    Failed,
    Skipped,
    NotStarted,
}

impl State {
    pub(super) fn new(counted: Counted, now: Instant) -> Self {
        Self {
            counted,
            began: now,
            busy: BTreeMap::new(),
            ended: HashMap::new(),
            hosts: BTreeSet::new(),
            lost: BTreeMap::new(),
            waiting: Vec::new(),
            is_over: false,
        }
    }

    pub(super) fn take(&mut self, event: &Event, vault: &Vault, now: Instant) {
        let shown = |text: &str| escape(&vault.mask(text)).into_owned();
        match event {
            Event::RunStarted { .. } => {}
            Event::Connecting { host } => {
                let busy = Busy { what: "connecting".to_owned(), since: now, open: BTreeSet::new() };
                self.busy.insert(host.clone(), busy);
            }
            Event::Awaited { .. } => {}
            Event::Observed { host, .. } => {
                self.hosts.insert(host.clone());
                self.busy.remove(host);
            }
            Event::HostFailed { host, reach, .. } => {
                self.lost.insert(host.clone(), *reach);
                self.busy.remove(host);
            }
            Event::Started { addr, .. } => {
                let busy = self.at_work(addr, shown(&addr.id.to_string()), now);
                busy.open.insert(addr.clone());
            }
            Event::Step { addr, title } => {
                self.at_work(addr, shown(title), now);
            }
            Event::Finished { addr, outcome, .. } => {
                let ending = match outcome {
                    Outcome::Unchanged => Ending::Unchanged,
                    Outcome::Changed => Ending::Changed,
                    Outcome::Failed { .. } | Outcome::RolledBack { .. } | Outcome::Unproven { .. } => Ending::Failed,
                    Outcome::Skipped { .. } => Ending::Skipped,
                    Outcome::NotStarted { .. } => Ending::NotStarted,
                };
                // A refresh ends under the name of its resource, which ended before: the later word counts.
                self.ended.insert(addr.clone(), ending);
                if let Some(busy) = self.busy.get_mut(&addr.host) {
                    busy.open.remove(addr);
                    if busy.open.is_empty() {
                        self.busy.remove(&addr.host);
                    }
                }
            }
            Event::Gate { .. } => {}
        }
    }

    fn at_work(&mut self, addr: &ResourceAddr, what: String, now: Instant) -> &mut Busy {
        let busy = self.busy.entry(addr.host.clone());
        let busy = busy.or_insert_with(|| Busy { what: String::new(), since: now, open: BTreeSet::new() });
        busy.what = what;
        busy.since = now;
        busy
    }

    pub(super) fn summary(&self, now: Instant) -> Summary {
        let of = |ending| self.ended.values().filter(|known| **known == ending).count();
        let lost = |reach| self.lost.values().filter(|known| **known == reach).count();
        Summary {
            unchanged: of(Ending::Unchanged),
            changed: of(Ending::Changed),
            failed: of(Ending::Failed),
            skipped: of(Ending::Skipped),
            not_started: of(Ending::NotStarted),
            hosts: self.hosts.len(),
            hosts_unreachable: lost(Reach::Unreachable),
            hosts_failed: lost(Reach::Reached),
            elapsed: now.saturating_duration_since(self.began),
        }
    }
}
