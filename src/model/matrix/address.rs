//! Sets of addresses, as networks that neither overlap nor touch where one could be written for two.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// A set of addresses of both families, sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AddressSet(Vec<IpNet>);

impl AddressSet {
    /// Returns the set of all addresses of some networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        let truncated: Vec<IpNet> = networks.iter().map(IpNet::trunc).collect();
        let mut merged = IpNet::aggregate(&truncated);
        merged.sort();
        Self(merged)
    }

    /// Returns the networks.
    pub fn networks(&self) -> &[IpNet] {
        &self.0
    }

    /// Returns the networks of one family.
    pub fn of_family(&self, family: Family) -> impl Iterator<Item = &IpNet> {
        self.0.iter().filter(move |network| Family::of(network.network()) == family)
    }

    /// Returns whether there is no address in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns whether an address is in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.holds(&IpNet::from(address))
    }

    /// Returns whether a whole network is in it.
    pub fn holds(&self, network: &IpNet) -> bool {
        // The only network that can hold it is the last that does not begin after it.
        let after = self.0.partition_point(|known| known.network() <= network.network());
        after.checked_sub(1).and_then(|at| self.0.get(at)).is_some_and(|known| known.contains(network))
    }
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// Returns the family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Family::V4 } else { Family::V6 }
    }
}
