//! Arrivals: a host that this run brings is waited for, observed, and then treated as if it had been there before.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::pin::pin;

use futures_util::future::{Either, select};

use super::super::{HostFailure, ObserveRequest, Purpose};
use super::{Dispatcher, Finished, Status};
use crate::addr::HostName;
use crate::diag::Diagnostics;
use crate::event::{Event, Reach};
use crate::graph::VertexId;
use crate::plan::bind::Known;

/// How long a host that was just brought up may take until it lets us in, in seconds.
const ARRIVAL_SECONDS: u64 = 900;

impl Dispatcher<'_> {
    /// Waits for a host and observes it; its first vertex, which asked for it, is then begun again.
    pub(super) async fn arrive(&self, id: VertexId, host: &HostName) -> Finished {
        let again = Finished { vertices: vec![(id, Status::Waiting)] };
        let (Some(input), Some(arrived)) = (self.request.inputs.get(host), self.arrived.get(host)) else {
            return Finished { vertices: vec![(id, Status::Done)] };
        };
        let request = ObserveRequest {
            fleet: self.request.fleet,
            binder: self.request.binder,
            sources: self.request.sources,
            hosts: &[],
            bounds: Default::default(),
            facts: Default::default(),
            lock: Some(self.request.lock.clone()),
            purpose: Purpose::Apply,
            patience: Some(ARRIVAL_SECONDS),
            listener: self.request.listener,
        };
        let mut problems = Diagnostics::default();
        let bounds = self.request.binder.bind(input, Known::default(), &mut problems);
        let found = RefCell::new(Diagnostics::default());
        let groups: BTreeSet<String> = self.request.binder.facts_used();
        (self.request.listener)(Event::Awaited { host: host.clone() });
        let observing = pin!(request.observe(input, bounds, &groups, &found));
        let Either::Left((observed, _)) = select(observing, pin!(self.request.stop.asked())).await else {
            // Nothing is being done there that would have to be finished.
            return again;
        };
        let observed = observed.and_then(|observed| {
            // The order was laid out before anybody knew its facts.
            let planned = self.request.observed.get(host).map(|host| host.plan.entries.len());
            if planned == Some(observed.plan.entries.len()) {
                return Ok(observed);
            }
            let error = "how many tasks there are for it depends on its facts, which nobody knew before".to_owned();
            Err(HostFailure { error, hint: Some("run again, now that it is there".to_owned()), reach: Reach::Reached })
        });
        let wrong = found.borrow().iter().next().map(|problem| problem.message.clone());
        match observed {
            Ok(observed) => drop(arrived.set(observed)),
            // Its vertices see that it is lost.
            Err(mut failure) => {
                failure.error.extend(wrong.iter().flat_map(|what| [": ", what]));
                drop(self.lose(host, failure));
            }
        }
        again
    }
}
