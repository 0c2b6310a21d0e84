//! Shared connections to bastions.
//!
//! The way to a bastion is a chain of endpoints, and every host beyond the same chain shares its connections. Each
//! carries at most 50 hosts, because a stuck one may hold up the others on it, and a further one is opened when all are
//! full. They are opened one at a time, so that the bastion never sees a crowd of logins (`MaxStartups`); who waited for
//! one that failed gets the same failure without a try of its own.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::ssh::{Link, Shared};
use super::{ConnectError, Endpoint};
use crate::addr::HostName;

/// How many hosts one connection to a bastion carries.
const HOSTS_PER_CONNECTION: usize = 50;

/// The bastions of a run.
#[derive(Default)]
pub(super) struct Bastions(Mutex<HashMap<Vec<Endpoint>, Arc<tokio::sync::Mutex<Pool>>>>);

#[derive(Default)]
struct Pool {
    relays: Vec<Relay>,
    last_failure: Option<(Instant, Arc<ConnectError>)>,
}

struct Relay {
    link: Arc<Link>,
    room: Arc<Semaphore>,
}

/// The right to one of a bastion connection's places, given back when it is dropped.
pub(super) struct Ticket {
    link: Arc<Link>,
    _place: OwnedSemaphorePermit,
}

impl Ticket {
    /// Returns the connection to the bastion.
    pub(super) fn link(&self) -> &Link {
        &self.link
    }
}

impl Bastions {
    /// Returns a place on a connection to a bastion, itself behind those `before` it, and how many round trips it took.
    ///
    /// The future is boxed because a bastion may be behind a bastion.
    pub(super) fn ticket<'a>(
        &'a self,
        shared: &'a Shared,
        before: &'a [Endpoint],
        bastion: &'a Endpoint,
        host: &'a HostName,
    ) -> BoxFuture<'a, Result<(Ticket, u32), ConnectError>> {
        Box::pin(async move {
            let failed = |source| ConnectError::Bastion { host: host.clone(), bastion: bastion.host.clone(), source };
            let asked_at = Instant::now();
            let way: Vec<Endpoint> = before.iter().chain([bastion]).cloned().collect();
            let pool = self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(way).or_default().clone();
            let mut pool = pool.lock().await;
            pool.relays.retain(|relay| !relay.link.handle.is_closed());
            for relay in &pool.relays {
                if let Ok(place) = relay.room.clone().try_acquire_owned() {
                    return Ok((Ticket { link: relay.link.clone(), _place: place }, 0));
                }
            }
            if pool.relays.len() >= shared.settings.bastion_connections {
                let limit = pool.relays.len() * HOSTS_PER_CONNECTION;
                return Err(ConnectError::BastionFull { host: host.clone(), bastion: bastion.host.clone(), limit });
            }
            if let Some((at, error)) = &pool.last_failure
                && *at >= asked_at
            {
                return Err(failed(error.clone()));
            }
            match shared.log_in(before, bastion).await {
                Ok(link) => {
                    let round_trips = link.round_trips;
                    let relay = Relay { link: Arc::new(link), room: Arc::new(Semaphore::new(HOSTS_PER_CONNECTION)) };
                    let place = relay.room.clone().try_acquire_owned().expect("a new connection has room");
                    let ticket = Ticket { link: relay.link.clone(), _place: place };
                    pool.relays.push(relay);
                    Ok((ticket, round_trips))
                }
                Err(error) => {
                    let error = Arc::new(error);
                    pool.last_failure = Some((Instant::now(), error.clone()));
                    Err(failed(error))
                }
            }
        })
    }
}
