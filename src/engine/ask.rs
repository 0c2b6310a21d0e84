//! Asking hosts questions that belong to no resource: one exchange with each, all hosts at once.

use std::collections::BTreeMap;

use futures_util::stream::{FuturesUnordered, StreamExt};

use super::job::{HostJob, HostMessage};
use super::{Fleet, HostFailure, Listener, script};
use crate::addr::HostName;
use crate::event::{Event, Reach};
use crate::resource::read::{Answers, Reading};

/// Asks each host its own questions. The sessions stay open.
pub async fn ask(
    fleet: &Fleet,
    readings: &BTreeMap<HostName, Reading>,
    listener: &Listener<'_>,
) -> (BTreeMap<HostName, Answers>, BTreeMap<HostName, HostFailure>) {
    let mut waiting: FuturesUnordered<_> = readings
        .iter()
        .map(|(host, reading)| async move {
            let job = HostJob::Read { questions: script::questions(reading), lock: None, patience: None };
            let last = fleet.call(host, job, |message| {
                if matches!(message, HostMessage::Connecting) {
                    listener(Event::Connecting { host: host.clone() });
                }
            });
            (host, reading, last.await)
        })
        .collect();
    let (mut answered, mut failed) = (BTreeMap::new(), BTreeMap::new());
    while let Some((host, reading, last)) = waiting.next().await {
        let failure = match last {
            HostMessage::Done { answers, cost, .. } => {
                listener(Event::Observed { host: host.clone(), resources: reading.len(), cost });
                answered.insert(host.clone(), answers);
                continue;
            }
            HostMessage::Failed { error, hint, reach } => HostFailure { error, hint, reach },
            other => {
                let error = format!("{host} ended its job with {other:?}");
                HostFailure { error, hint: None, reach: Reach::Reached }
            }
        };
        let HostFailure { error, hint, reach } = failure.clone();
        listener(Event::HostFailed { host: host.clone(), error, hint, reach });
        failed.insert(host.clone(), failure);
    }
    (answered, failed)
}
