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

use self::live::{Live, UNIT, differences, ends_query, ifupdown_query, managed_query, tunnel_query};
use self::scripts::{Becomes, Kept, Settings};
use self::wanted::Wanted;
use super::managed_file::{ManagedFile, ObservedFile};
use super::parts::{in_folder, join, listed, one_line};
use super::read::{Answers, Query};
use super::spec::{HostPath, Presence};
use super::{Claim, Content, Input, Kind, ObserveError, SpecProblem, ip};
use crate::change::{Action, AttributeChange, Change, Shown, Step};
use crate::model::inventory::{LinkAddress, LinkRoute, LinkRule, LinkSort, LinkView, Mac};
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
    /// Further rules of routing: which packets look into which table.
    #[serde(default)]
    rules: Vec<LinkRule>,
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
    /// The card that has this name from the next boot on, where the kernel would give it another.
    #[serde(default, rename = "match")]
    card: Option<CardMatch>,
    /// Whether it is configured. What is absent loses its addresses, and is removed where it is not a card.
    #[serde(default)]
    state: Presence,
    #[serde(skip)]
    link: Option<LinkView>,
}

/// What a card is known by, whatever its name.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CardMatch {
    /// Its permanent hardware address.
    #[serde(default)]
    mac: Option<Mac>,
    /// Where it is plugged in, such as `pci-0000:3b:00.0`; `udevadm info` says it as `ID_PATH`.
    #[serde(default)]
    path: Option<String>,
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
    /// What gives a card its name at boot.
    name: ObservedFile,
    /// The private key of a tunnel, whose content nobody reads.
    key: ObservedFile,
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

    /// Returns what of the card's name at the next boot is to be changed.
    fn diff_name(&self, observed: &ObservedLink) -> Change {
        let path = HostPath::of(self.path("link"));
        let Some(card) = &self.card else { return super::managed_file::diff_absent(&path, self.id(), &observed.name) };
        let folder = path.folder().to_owned();
        in_folder(
            ManagedFile::of_root(path, render::link(&self.name, card), 0o644).diff(self.id(), &observed.name),
            &folder,
        )
    }

    /// Returns the private key of a tunnel, with what may look at it; none for other links.
    fn key(&self) -> Option<ManagedFile> {
        let sort = self.link.as_ref().map(|link| &link.sort);
        matches!(sort, Some(LinkSort::Wireguard { .. })).then(|| ManagedFile {
            content: None,
            group: Some("systemd-network".to_owned()),
            ..ManagedFile::of_root(HostPath::of(render::key_path(&self.name)), "", 0o640)
        })
    }

    /// Returns the files that a change of it may touch.
    fn files(&self, observed: &ObservedLink) -> Vec<String> {
        let key = (self.key().is_some() || self.state.is_absent()).then(|| render::key_path(&self.name));
        [SETTINGS.to_owned(), self.path("netdev"), self.path("network"), self.path("link")]
            .into_iter()
            .chain(key)
            .chain(observed.live.ifupdown.iter().cloned())
            .collect()
    }

    /// Returns what of the private key is to be changed: it is made where there is none, and never made anew.
    fn diff_key(&self, observed: &ObservedFile) -> Change {
        match self.key() {
            None => Change::no_op(self.id(), "it has no key"),
            Some(key) if observed.is_there() => key.diff(self.id(), observed),
            Some(key) => {
                let path = key.path.as_str();
                let mut change = key.diff(self.id(), observed);
                change.steps.clear();
                let made = Step::new(format!("make the private key {path}"), scripts::make_key(path));
                in_folder(change.step(made), key.path.folder())
            }
        }
    }

    /// Gives a change what all of them have: the link's state is kept first, and comes back with the files.
    fn protected(&self, observed: &ObservedLink, mut change: Change, becomes: Becomes, last: Step) -> Change {
        let files = self.files(observed);
        let wanted = Wanted::of(self);
        let priorities: Vec<String> = wanted.rules.iter().map(|rule| rule.priority.to_string()).collect();
        let kept = Kept { name: &self.name, files: &files, priorities: &priorities, becomes };
        let container = wanted.part_of.filter(|_| !self.state.is_absent());
        let is_there = container.map(|container| scripts::must_be_there(container.name(), &self.name));
        let keep = is_there.unwrap_or_default().then(kept.save());
        change.steps.insert(0, Step::new(format!("keep what {} has", self.name), keep));
        let back = Step::new(format!("bring back what {} had", self.name), kept.restore());
        change.step(last).reversed_by(vec![back]).guarded_by(kept.guard())
    }

    fn diff_absent(&self, observed: &ObservedLink) -> Change {
        let path = |ending| HostPath::of(self.path(ending));
        let removed = |path: &HostPath, found: &ObservedFile| super::managed_file::diff_absent(path, self.id(), found);
        let (network, netdev) = (path("network"), path("netdev"));
        let parts = vec![
            ("network", removed(&network, &observed.network)),
            ("netdev", removed(&netdev, &observed.netdev)),
            ("key", removed(&path("key"), &observed.key)),
            ("name", removed(&path("link"), &observed.name)),
        ];
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
        self.protected(observed, change, becomes, Step::new(format!("have networkd forget {}", self.name), forget))
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
        if let Some(CardMatch { mac, path }) = &self.card {
            let is_path = |path: &String| {
                !path.is_empty() && path.chars().all(|c| c.is_ascii_alphanumeric() || "-_.:/+".contains(c))
            };
            if mac.is_none() && path.is_none() {
                problems.push(SpecProblem::new("match", "it says neither the `mac` nor the `path` of the card"));
            }
            if let Some(path) = path.as_ref().filter(|path| !is_path(path)) {
                problems.push(SpecProblem::new(
                    "match",
                    format!("{path:?} is no path of a card such as `pci-0000:3b:00.0`"),
                ));
            }
        }
        for rule in &self.rules {
            problems.extend(rule.problem().map(|problem| SpecProblem::new("rules", problem)));
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
        let paths = ["network", "netdev", "link", "key"].map(|ending| Claim::Path(self.path(ending)));
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
        let mut queries = vec![
            ip::links_query(),
            ip::routes_query(),
            managed_query(),
            ifupdown_query(),
            Query::Unit(UNIT.to_owned()),
        ];
        queries.extend(Self::settings().queries(true));
        queries.extend(self.network(&wanted).queries(true));
        queries.push(Query::Path(self.path("link"), super::read::Want::Content));
        if !wanted.rules.is_empty() {
            queries.push(ip::rules_query());
        }
        if self.key().is_some() {
            queries.push(tunnel_query(&self.name));
        }
        if self.key().is_some() || self.state.is_absent() {
            queries.push(Query::Path(render::key_path(&self.name), super::read::Want::Metadata));
        }
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
        let wanted = Wanted::of(self);
        if let Some(way) = wanted.unreachable().filter(|_| !self.state.is_absent()) {
            let what = format!("the router of `{way}` is in no network of {}", self.name);
            let hint =
                "name a router in one of its networks, or say `onlink: true` where it is on the link all the same"
                    .to_owned();
            return Err(ObserveError::Impossible { id: self.id(), what, hint });
        }
        let live = live::read(answers, &wanted).map_err(|what| ObserveError::unexpected(self, what))?;
        let found = |path: &str| super::managed_file::observe_path(path, answers);
        let (network, netdev) = (found(&self.path("network")), found(&self.path("netdev")));
        let key = found(&render::key_path(&self.name));
        let name = found(&self.path("link"));
        Ok(ObservedLink { live, settings: found(SETTINGS), network, netdev, name, key })
    }

    fn diff(&self, observed: &ObservedLink) -> Change {
        if self.state.is_absent() {
            return self.diff_absent(observed);
        }
        let wanted = Wanted::of(self);
        let name = self.diff_name(observed);
        if self.card.is_some() && wanted.is_physical() && observed.live.link.is_none() {
            let reason = format!("there is no {} yet: the card has the name from the next boot on", self.name);
            return if name.is_no_op() { Change::no_op(self.id(), reason) } else { name.because(reason) };
        }
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
        let mut differences = differences(&wanted, &observed.live, file.path.as_str());
        let key = self.diff_key(&observed.key);
        if self.key().is_some() && observed.live.link.is_some() && !(netdev.is_no_op() && observed.key.is_there()) {
            // networkd reads what a tunnel is made of when it makes it, and not again.
            let what = if observed.key.is_there() { "settings" } else { "key" };
            differences.only_new.push(what.to_owned());
        }
        let is_files_right = settings.is_no_op() && netdev.is_no_op() && network.is_no_op() && key.is_no_op();
        let is_right = is_files_right && name.is_no_op();
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
            let key = observed.live.link.as_ref().and_then(|found| found.special.get("public key"));
            return Change::no_op(
                self.id(),
                match key {
                    Some(key) => format!("{what}; its public key is {key}"),
                    None => what,
                },
            );
        }
        let is_name_alone = is_files_right && differences.attributes.is_empty();
        let parts =
            vec![("key", key), ("network", network), ("netdev", netdev), ("name", name), ("settings", settings)];
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
            (true, []) if is_name_alone => "its card is known by another sign from the next boot on".to_owned(),
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
        for path in &observed.live.ifupdown {
            change
                .steps
                .push(Step::new(format!("take {} out of {path}", self.name), scripts::take_out(&self.name, path)));
        }
        self.protected(observed, change, becomes, last)
    }
}
