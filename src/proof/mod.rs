//! The proof of a flow matrix: which connections between hosts must pass and which must not, and what came of trying them.
//!
//! [`expect`] makes the list of probes from the inventory, [`probe`] the script that a host runs for its part of the list
//! and the reader of what it says, and [`judge`] compares. A [`Proof`] is what is left of it: plain data with a version,
//! which `verify --out` writes and whoever draws the matrix reads. Nothing here touches a host.

pub mod expect;
pub mod judge;
pub mod probe;
mod words;

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::addr::HostName;
use crate::model::matrix::Transport;

/// The version of [`Proof`]; it grows when a field changes its meaning or goes.
pub const VERSION: u32 = 1;

/// What was tried between hosts, and what was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The version of this shape.
    pub version: u32,
    /// When the probes were sent, in UTC: `2027-01-31T04:05:06.789Z`.
    pub at: String,
    /// The inventory, as it was given on the command line.
    pub inventory: String,
    /// Each connection that was to be tried, by source and destination in the order of the inventory.
    pub cells: Vec<Cell>,
    /// Which rules the hosts break.
    pub findings: Vec<Finding>,
    /// The hosts that could not be asked, each with why.
    #[serde(default)]
    pub unreachable: BTreeMap<HostName, String>,
}

/// One connection: from an address of one host to a port of an address of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// The host that connects.
    pub from: HostName,
    /// The address that it connects from.
    pub source: IpAddr,
    /// The host that is connected to.
    pub to: HostName,
    /// The address that is connected to.
    pub address: IpAddr,
    /// TCP or UDP.
    pub transport: Transport,
    /// The port.
    pub port: u16,
    /// What the flow matrix says.
    pub expected: Expected,
    /// What was seen.
    pub seen: Seen,
    /// What follows.
    pub verdict: Verdict,
    /// Why the flow is there that allows it; none where no flow does.
    pub flow: Option<String>,
    /// What was seen of packets that got around the source's own filter, where a connection is denied: what the source alone
    /// holds back is open to whoever owns the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub around: Option<Seen>,
    /// What else is to be known of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Note>,
}

/// What the flow matrix says of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expected {
    /// A flow allows it.
    Allowed,
    /// No flow allows it.
    Denied,
}

/// What was seen of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// TCP: somebody took it.
    Connected,
    /// UDP: somebody answered.
    Answered,
    /// The host itself answered that nobody listens there (a reset, or "port unreachable"): the way is open.
    Refused,
    /// UDP: nothing came back, but the destination counted the datagrams among those of the flow.
    Delivered,
    /// A filter said no: another ICMP error, or a reset from a port where somebody listens.
    Rejected,
    /// Nothing came back.
    Dropped,
    /// The source let nothing out.
    Withheld,
    /// UDP: nothing came back, and somebody listens there who need not answer.
    Silent,
    /// There is no way there: no route, no neighbour.
    Unroutable,
    /// It was not tried.
    NotTried,
}

/// What follows from a connection that was tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is as the flow matrix says.
    Proved,
    /// It is not as the flow matrix says.
    Contradicted,
    /// What was seen says neither.
    Undecided,
    /// Nobody knows: a host was not reached.
    NotTried,
}

/// What else is to be known of a connection that was tried, or was not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Note {
    /// The source could not be asked.
    SourceUnreachable,
    /// The probes of the source came to no end.
    ProbesFailed,
    /// The source does not have the address that it was to connect from.
    NoAddress,
    /// The destination answers nobody, not even on its wire.
    DestinationGone,
    /// The destination is there, but the tool cannot log in to it.
    DestinationClosed,
    /// Only the source's own filter holds it back: the destination takes it.
    HeldBackBySource,
    /// Whether the destination's own filter holds it back could not be tried.
    AroundNotTried,
    /// That no answer came proves nothing: who listens there need not answer.
    NeedNotAnswer,
}

/// A breach of a rule that the hosts showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The identifier of the rule.
    pub rule: String,
    /// `error`, `warning` or `note`.
    pub level: String,
    /// What breaks it, by section and name: `hosts.hv-par1-01`.
    pub subject: String,
    /// The hosts that it is about.
    pub hosts: Vec<HostName>,
    /// What is wrong.
    pub message: String,
    /// Where the inventory speaks of it, as `file:line:column`.
    pub place: Option<String>,
    /// What to do next.
    pub help: Option<String>,
}

impl Proof {
    /// Returns how many cells have a verdict.
    pub fn count(&self, verdict: Verdict) -> usize {
        self.cells.iter().filter(|cell| cell.verdict == verdict).count()
    }

    /// Reads a proof that `verify --out` wrote.
    ///
    /// # Errors
    /// The text says what is wrong with it: another version, or no proof at all.
    pub fn parse(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } =
            serde_json::from_str(text).map_err(|error| format!("it is no proof that `verify --out` wrote: {error}"))?;
        if version > VERSION {
            return Err(format!("it has the version {version}, and this program reads versions up to {VERSION}"));
        }
        serde_json::from_str(text).map_err(|error| error.to_string())
    }
}
