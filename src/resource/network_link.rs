//! `network.link`: a link of a host with its addresses and routes, by systemd-networkd, from the inventory.
//!
//! What the kernel has is looked at, not only a file that may never have been read: an address or a route that was put there by
//! hand is a difference, and one that is in the file and not on the link is too. networkd makes the change, so that the link
//! is the same after a reboot; what it leaves is removed, and the step waits until the link is as wanted. Because that can cut
//! the way to the host, the host takes it back by itself unless a new login confirms it.

mod live;
mod render;
mod scripts;
mod wanted;

use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use self::live::{Live, UNIT, differences, ends_query, managed_query};
use self::scripts::{Becomes, Kept, Settings};
use self::wanted::Wanted;
use super::managed_file::{ManagedFile, ObservedFile};
use super::parts::{in_folder, join, listed, one_line};
use super::read::{Answers, Query};
use super::spec::{HostPath, Presence};
use super::{Claim, Content, Input, Kind, ObserveError, SpecProblem, ip};
use crate::change::{Action, AttributeChange, Change, Shown, Step};
use crate::model::inventory::{LinkAddress, LinkRoute, LinkSort, LinkView};
use crate::model::node::OneOrMany;

/// A link of the host. What the inventory's `interfaces` say of it holds, and these arguments add to it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkLink {
    /// The link's name, such as `eno2`. `for_each: "{{links}}"` is for all of the host's.
    name: String,
    /// Further addresses with the lengths of their networks, such as `10.20.0.5/24`.
    #[serde(default)]
    addresses: OneOrMany<LinkAddress>,
    /// Further routes. One to `default` takes the place of that of the network.
    #[serde(default)]
    routes: Vec<LinkRoute>,
    /// Whether it has the default route, where its network is the first of the host's that has a `gateway`.
    #[serde(default = "yes")]
    default_route: bool,
    /// Further servers of names, for systemd-resolved.
    #[serde(default)]
    #[schemars(with = "OneOrMany<String>")]
    dns: OneOrMany<IpAddr>,
    /// The domains in which a short name is looked up.
    #[serde(default)]
    search: OneOrMany<String>,
    /// The largest packet, in bytes, where it is not what the inventory says.
    #[serde(default)]
    mtu: Option<u32>,
    /// Whether more addresses and routes come from DHCP.
    #[serde(default)]
    dhcp: Dhcp,
    /// Whether it is configured. What is absent loses its addresses, and is removed where it is not a card.
    #[serde(default)]
    state: Presence,
    #[serde(skip)]
    link: Option<LinkView>,
}

fn yes() -> bool {
    true
}

/// Whether addresses come from DHCP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Dhcp {
    /// They do not.
    #[default]
    No,
    /// Those of both families do.
    Yes,
    /// Those of IPv4 do.
    Ipv4,
    /// Those of IPv6 do.
    Ipv6,
}

impl Dhcp {
    fn word(self) -> &'static str {
        match self {
            Dhcp::No => "no",
            Dhcp::Yes => "yes",
            Dhcp::Ipv4 => "ipv4",
            Dhcp::Ipv6 => "ipv6",
        }
    }
}

/// A link as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedLink {
    live: Live,
    /// What networkd itself is told.
    settings: ObservedFile,
    network: ObservedFile,
    netdev: ObservedFile,
}

/// Where networkd is told how to treat what others do.
const SETTINGS: &str = "/etc/systemd/networkd.conf.d/50-provision.conf";

/// The longest name that the kernel takes.
const LONGEST_NAME: usize = 15;

impl NetworkLink {
    fn path(&self, ending: &str) -> String {
        format!("/etc/systemd/network/50-{}.{ending}", self.name)
    }

    fn settings() -> ManagedFile {
        ManagedFile::of_root(HostPath::of(SETTINGS.to_owned()), render::CONF, 0o644)
    }

    fn network(&self, wanted: &Wanted) -> ManagedFile {
        ManagedFile::of_root(HostPath::of(self.path("network")), render::network(wanted), 0o644)
    }

    fn netdev(&self, wanted: &Wanted) -> Option<ManagedFile> {
        let content = render::netdev(wanted)?;
        Some(ManagedFile::of_root(HostPath::of(self.path("netdev")), content, 0o644))
    }

    /// Returns the files that a change of it may touch.
    fn files(&self) -> [String; 3] {
        [SETTINGS.to_owned(), self.path("netdev"), self.path("network")]
    }

    /// Gives a change what all of them have: the link's state is kept first, and comes back with the files.
    fn protected(&self, mut change: Change, becomes: Becomes, last: Step) -> Change {
        let files = self.files();
        let kept = Kept { name: &self.name, files: &files, becomes };
        change.steps.insert(0, Step::new(format!("keep what {} has", self.name), kept.save()));
        let back = Step::new(format!("bring back what {} had", self.name), kept.restore());
        change.step(last).reversed_by(vec![back]).guarded_by(kept.guard())
    }

    fn diff_absent(&self, observed: &ObservedLink) -> Change {
        let path = |ending| HostPath::of(self.path(ending));
        let removed = |path: &HostPath, found: &ObservedFile| super::managed_file::diff_absent(path, self.id(), found);
        let (network, netdev) = (path("network"), path("netdev"));
        let parts =
            vec![("network", removed(&network, &observed.network)), ("netdev", removed(&netdev, &observed.netdev))];
        let mut change = join(self.id(), parts);
        let is_made =
            self.link.as_ref().is_some_and(|link| link.sort != LinkSort::Physical) || observed.netdev.is_there();
        if let Some(found) = observed.live.link.as_ref().filter(|found| is_made && found.sort.is_some()) {
            change.action = Action::Delete;
            let sort = Shown::Value(json!(found.sort));
            change
                .attributes
                .insert(0, AttributeChange { name: "sort".to_owned(), before: sort, after: Shown::Absent });
        }
        if change.is_no_op() {
            return change.because("nothing configures it, as wanted");
        }
        change.action = Action::Delete;
        change.reason = "it must not be configured".to_owned();
        let forget = scripts::forget(&self.name, is_made);
        let becomes = if is_made { Becomes::Another } else { Becomes::Changed };
        self.protected(change, becomes, Step::new(format!("have networkd forget {}", self.name), forget))
    }
}

impl Kind for NetworkLink {
    const NAME: &'static str = "network.link";
    const SUMMARY: &'static str = "A network link with its addresses and routes, live and at boot, by systemd-networkd";
    const EXAMPLE: &'static str = r#"- network.link: {name: eno2}
- network.link:
    name: eno1
    addresses: 10.10.0.5/32
    routes: [{to: 10.30.0.0/16, via: 10.10.0.254}]
"#;

    type Observed = ObservedLink;

    fn name(&self) -> String {
        self.name.clone()
    }

    fn check(&self) -> Vec<SpecProblem> {
        let mut problems = Vec::new();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.@+".contains(c);
        let name = &self.name;
        if name.is_empty()
            || name.len() > LONGEST_NAME
            || !name.chars().all(is_plain)
            || name.starts_with('-')
            || matches!(name.as_str(), "." | ".." | "lo")
        {
            let problem = SpecProblem::new("name", format!("{name:?} cannot be the name of a link"));
            let help = format!("it has up to {LONGEST_NAME} letters, digits and `-_.@+`, and is not `lo`");
            problems.push(problem.help(help));
        }
        for route in &self.routes {
            problems.extend(route.problem().map(|problem| SpecProblem::new("routes", problem)));
        }
        if let Some(mtu) = self.mtu
            && !(68..=65535).contains(&mtu)
        {
            problems.push(SpecProblem::new("mtu", format!("{mtu} is no MTU: it is from 68 to 65535")));
        }
        for domain in self.search.iter() {
            let is_domain =
                !domain.is_empty() && domain.chars().all(|c| c.is_ascii_alphanumeric() || "-_.~".contains(c));
            if !is_domain {
                let message = one_line(domain).unwrap_or_else(|| format!("{domain:?} is no domain"));
                problems.push(SpecProblem::new("search", message));
            }
        }
        problems
    }

    fn claims(&self) -> Vec<Claim> {
        let paths = [self.path("network"), self.path("netdev")].map(Claim::Path);
        std::iter::once(Claim::Resource(self.id())).chain(paths).collect()
    }

    fn inputs(&self) -> Vec<Input> {
        vec![Input::Link(self.name.clone())]
    }

    fn supply(&mut self, contents: Vec<Content>) {
        self.link = contents.into_iter().find_map(|content| match content {
            Content::Text(text) => serde_json::from_str(&text).ok()?,
            Content::File { .. } => None,
        });
    }

    fn queries(&self) -> Vec<Query> {
        let wanted = Wanted::of(self);
        let mut queries = vec![ip::links_query(), ip::routes_query(), managed_query(), Query::Unit(UNIT.to_owned())];
        queries.extend(Self::settings().queries(true));
        queries.extend(self.network(&wanted).queries(true));
        if !render::ends(&wanted.sort).is_empty() {
            queries.push(ends_query(&self.name));
        }
        match self.netdev(&wanted) {
            Some(netdev) => queries.extend(netdev.queries(true)),
            None => queries.push(Query::Path(self.path("netdev"), super::read::Want::Content)),
        }
        queries
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedLink, ObserveError> {
        if answers.lacks("ip") {
            let (tool, package) = ("ip".to_owned(), "iproute2".to_owned());
            return Err(ObserveError::MissingTool { id: self.id(), tool, package });
        }
        let live = live::read(answers, &self.name, self.dhcp).map_err(|what| ObserveError::unexpected(self, what))?;
        let found = |path: &str| super::managed_file::observe_path(path, answers);
        let (network, netdev) = (found(&self.path("network")), found(&self.path("netdev")));
        Ok(ObservedLink { live, settings: found(SETTINGS), network, netdev })
    }

    fn diff(&self, observed: &ObservedLink) -> Change {
        if self.state.is_absent() {
            return self.diff_absent(observed);
        }
        let wanted = Wanted::of(self);
        let file = self.network(&wanted);
        let settings = Self::settings();
        let settings = in_folder(settings.diff(self.id(), &observed.settings), settings.path.folder());
        let is_new_to_networkd = if settings.is_no_op() { Settings::Known } else { Settings::Changed };
        let network = in_folder(file.diff(self.id(), &observed.network), file.path.folder());
        let netdev = match self.netdev(&wanted) {
            Some(netdev) => netdev.diff(self.id(), &observed.netdev),
            // A card is not made: a file that would make a link of its name is in the way.
            None => super::managed_file::diff_absent(&HostPath::of(self.path("netdev")), self.id(), &observed.netdev),
        };
        let differences = differences(&wanted, &observed.live, file.path.as_str());
        let is_right = settings.is_no_op() && netdev.is_no_op() && network.is_no_op();
        if is_right && differences.attributes.is_empty() {
            let what = match (wanted.addresses.len(), wanted.routes.len()) {
                (0, 0) => "the link is as wanted".to_owned(),
                (addresses, routes) => {
                    let one = |count: usize, word: &str, many: &str| match count {
                        0 => None,
                        1 => Some(format!("1 {word}")),
                        _ => Some(format!("{count} {many}")),
                    };
                    let parts = [one(addresses, "address", "addresses"), one(routes, "route", "routes")];
                    let parts: Vec<String> = parts.into_iter().flatten().collect();
                    let verb = if addresses + routes == 1 { "is" } else { "are" };
                    format!("its {} {verb} live and in its file, and no others", listed(&parts))
                }
            };
            return Change::no_op(self.id(), what);
        }
        let parts = vec![("network", network), ("netdev", netdev), ("settings", settings)];
        let mut change = join(self.id(), parts);
        // Of a file that is new nobody wonders about the owner.
        change.attributes.retain(|attribute| attribute.name.ends_with("content") || attribute.before != Shown::Absent);
        let files = std::mem::replace(&mut change.attributes, differences.attributes.clone());
        let names: Vec<&str> = change.attributes.iter().map(|attribute| attribute.name.as_str()).collect();
        let is_there = observed.live.link.is_some();
        change.reason = match (is_there, names.as_slice()) {
            (false, _) if wanted.is_physical() => {
                format!("the host has no such interface; it has {}", listed(&observed.live.names))
            }
            (false, _) => "it is not there".to_owned(),
            (true, []) => "its files are not as wanted".to_owned(),
            (true, names) => format!("to be changed live: {}", listed(names)),
        };
        change.attributes.extend(files);
        let becomes = if is_there && !differences.only_new.is_empty() { Becomes::Another } else { Becomes::Changed };
        change.action = match becomes {
            Becomes::Another => Action::Replace,
            Becomes::Changed if is_there => Action::Update,
            Becomes::Changed => Action::Create,
        };
        if becomes == Becomes::Another {
            change.reason = format!("to be made anew, because of its {}", listed(&differences.only_new));
        }
        let script = scripts::configure(&wanted, &differences, file.path.as_str(), is_new_to_networkd);
        let last = Step::new(format!("have networkd configure {}", self.name), script).within(120);
        self.protected(change, becomes, last)
    }
}
