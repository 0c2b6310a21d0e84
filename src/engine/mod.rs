//! The hands: connects, reads, and does what a plan says, in the order of the graph.
//!
//! The dispatcher walks the graph and is the only one that decides; an executor for each host owns its session and does
//! what it is told. Between them pass only the messages of [`job`]. Everything that happens leaves as an
//! [`Event`]; what is shown of it is for `report`.

mod ask;
mod dispatch;
mod executor;
pub mod job;
mod observe;
mod script;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use crate::addr::{HostName, RunId};
use crate::connection::{Connect, Route};
use crate::event::{Event, Reach};
use executor::{Afterwards, Order};
use job::{HostJob, HostMessage};

pub use ask::ask;
pub use dispatch::{Applied, ApplyRequest, Stop};
pub use executor::with_causes;
pub use observe::{ObserveRequest, ObservedHost, Purpose};

/// Why a host takes no part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostFailure {
    /// What went wrong, with its causes.
    pub error: String,
    /// What to do next.
    pub hint: Option<String>,
    /// Whether it is unreachable.
    pub reach: Reach,
}

/// Takes what happens, as it happens.
pub type Listener<'a> = dyn Fn(Event) + 'a;

/// The executors of a run, one for each host.
#[derive(Debug)]
pub struct Fleet {
    executors: BTreeMap<HostName, Executor>,
}

#[derive(Debug)]
struct Executor {
    orders: mpsc::UnboundedSender<Order>,
    task: JoinHandle<()>,
}

impl Fleet {
    /// Starts an executor for each route; at most `parallel` of them work at the same time. No connection is made yet.
    pub fn start(connect: Arc<dyn Connect>, routes: Vec<Route>, parallel: usize) -> Self {
        let active = Arc::new(Semaphore::new(parallel.max(1)));
        let executors = routes.into_iter().map(|route| {
            let host = route.target.host().clone();
            let (orders, receiver) = mpsc::unbounded_channel();
            let task = tokio::spawn(executor::run(connect.clone(), route, active.clone(), receiver));
            (host, Executor { orders, task })
        });
        Self { executors: executors.collect() }
    }

    /// Returns the hosts.
    pub fn hosts(&self) -> impl Iterator<Item = &HostName> {
        self.executors.keys()
    }

    /// Has a host do a job, hands on its messages, and returns the last one.
    pub async fn call(&self, host: &HostName, job: HostJob, on_message: impl FnMut(&HostMessage)) -> HostMessage {
        self.order(host, job, Afterwards::Keep, on_message).await
    }

    async fn order(
        &self,
        host: &HostName,
        job: HostJob,
        afterwards: Afterwards,
        mut on_message: impl FnMut(&HostMessage),
    ) -> HostMessage {
        let gone = || HostMessage::Failed {
            error: format!("{host} takes no part in this run"),
            hint: Some("take it into `--limit` too".to_owned()),
            reach: Reach::Reached,
        };
        let Some(executor) = self.executors.get(host) else { return gone() };
        let (replies, mut messages) = mpsc::unbounded_channel();
        if executor.orders.send(Order { job, replies, afterwards }).is_err() {
            return gone();
        }
        let mut last = gone();
        while let Some(message) = messages.recv().await {
            on_message(&message);
            last = message;
        }
        last
    }

    /// Ends all sessions, and lets the hosts clean up.
    pub async fn close(self) {
        let tasks: Vec<JoinHandle<()>> = self.executors.into_values().map(|executor| executor.task).collect();
        for task in tasks {
            task.await.ok();
        }
    }
}

/// Returns a new run's identifier: the time in UTC, and a random tail.
pub fn new_run_id() -> RunId {
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    RunId::from(format!("{time}-{:06x}", rand::random::<u32>() & 0x00ff_ffff))
}
