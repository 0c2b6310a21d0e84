//! `libvirt.domain`: a guest of a hypervisor's, as it is stored and as it runs.
//!
//! Each difference is one of three: what changes while the guest runs, what waits for its next start, and what makes another
//! computer of it. The definition is owned as a whole but for what libvirt adds by itself, and a disk's content is never touched.

mod definition;
mod spec;
mod steps;

use std::collections::{BTreeSet, HashMap};

use serde::Serialize;
use serde_json::{Value, json};

use self::definition::{ASTRAY, Pools, processors, seed as seed_of};
pub use self::spec::LibvirtDomain;
use self::spec::{Accelerator, Cpu};
use super::network::{OnChange, is_mac};
use super::seed::Seed;
use super::volume::Size;
use super::xml::Element;
use super::{Found, RunState, differences, differing, find, reason};
use crate::addr::ResourceId;
use crate::change::{Action, AttributeChange, Attributes, Change, Shown, Step};
use crate::resource::parts::listed;
use crate::resource::read::{Answers, Query, Virt, Want};
use crate::resource::spec::HostPath;
use crate::resource::{Claim, Kind, ObserveError, SpecProblem};
use crate::shell::Script;

/// What makes another computer of a guest.
const ANEW: [&str; 2] = ["firmware", "machine"];

/// What can change while a guest runs. Of `vcpus` only more can be given, and memory is for the guest to give.
const LIVE: [&str; 5] = ["disks", "memory", "nics", "pinning", "vcpus"];

/// Where the answer on the hypervisor's links is found.
const LINKS: &str = "guest-links";

/// A guest as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedDomain {
    stored: Option<Attributes>,
    live: Option<Attributes>,
    autostart: bool,
    is_paused: bool,
    /// Whether the seed that is wanted is there.
    has_seed: bool,
    #[serde(skip)]
    pools: Pools,
    #[serde(skip)]
    found: Option<Found>,
}

/// Returns how an attribute changes while the guest runs.
fn class(attribute: &AttributeChange) -> &'static str {
    match attribute.name.as_str() {
        "memory" => "as far as the guest gives it",
        "vcpus" if !grows(attribute) => "at next boot",
        name if LIVE.contains(&name) => "live",
        _ => "at next boot",
    }
}

fn grows(attribute: &AttributeChange) -> bool {
    let count = |side: &Shown| match side {
        Shown::Value(value) => value.as_u64(),
        _ => None,
    };
    count(&attribute.before) < count(&attribute.after)
}

impl LibvirtDomain {
    fn virt(&self) -> Virt {
        Virt::Domain(self.name.0.clone())
    }

    /// Returns the pools that its volumes are in.
    fn pools(&self) -> impl Iterator<Item = Virt> {
        let disks = self.disks.iter().filter(|_| self.state != RunState::Absent);
        disks.filter_map(|disk| Some(Virt::Pool(disk.pool.as_ref()?.0.clone())))
    }

    /// Returns the seed with its path; none where no cloud-init is asked for.
    fn seed(&self) -> Option<(Seed, HostPath)> {
        let cards: Vec<_> = self.nics.iter().enumerate().map(|(at, nic)| (self.mac(at), nic.lan.as_ref())).collect();
        let seed = self.cloud_init.as_ref()?.seed(&self.name, &cards).ok()?;
        let path = HostPath::parse(&seed.path(&self.name)).ok()?;
        Some((seed, path))
    }

    fn desired(&self, pools: &Pools) -> Attributes {
        let seed = self.seed().map(|(_, path)| path.to_string());
        self.view(&self.element(None, pools, seed.as_deref()))
    }

    /// Returns a definition of the same guest that keeps nothing of the former.
    fn anew(&self, found: &Found, pools: &Pools, seed: Option<&str>) -> Element {
        let mut definition = self.element(None, pools, seed);
        let uuid = found.base().and_then(|base| base.find("uuid"));
        definition.children.splice(1..1, uuid.cloned()).for_each(drop);
        definition
    }

    fn create(&self, observed: &ObservedDomain) -> Change {
        let name = &self.name;
        let seed = self.seed();
        let path = seed.as_ref().map(|(_, path)| path.as_str());
        let definition = self.element(None, &observed.pools, path);
        let mut desired = self.view(&definition);
        desired.retain(|_, value| value.as_array().is_none_or(|list| !list.is_empty()));
        desired.insert("autostart".into(), json!(self.autostart));
        desired.insert("state".into(), json!(self.state.word()));
        let mut change = Change::create(self.id(), &desired);
        change.steps.extend(seed.as_ref().map(|(seed, path)| self.seed_step(seed, path)));
        change = change.step(self.define_step(format!("define the guest {name}"), &definition, &observed.pools));
        if self.autostart {
            change = change.step(self.autostart_step(true));
        }
        if self.state == RunState::Running {
            change = change.step(self.start_step());
        }
        change.reversed_by(vec![self.unmake_step()])
    }

    fn update(&self, observed: &ObservedDomain, found: &Found) -> Change {
        let name = &self.name;
        let pools = &observed.pools;
        let seed = self.seed();
        let path = seed.as_ref().map(|(_, path)| path.as_str());
        let desired = self.desired(pools);
        let stored_differences = match &observed.stored {
            Some(stored) => differences(stored, &desired, &[]),
            None => vec![differing("stored", false, true)],
        };
        let is_anew = stored_differences.iter().any(|a| ANEW.contains(&a.name.as_str()));
        if is_anew {
            return self.replace(observed, found, stored_differences);
        }
        let (mut steps, mut reverse) = (Vec::new(), Vec::new());
        let mut attributes = Vec::new();
        let former_seed = found.stored.as_ref().and_then(seed_of);
        if let Some((seed, path)) = seed.as_ref().filter(|_| !observed.has_seed) {
            steps.push(self.seed_step(seed, path));
            if former_seed == Some(path.as_str()) {
                attributes.push(differing("seed_file", "missing or changed", format!("sha256:{}", seed.sha256)));
            }
        }
        if !stored_differences.is_empty() {
            // What runs without being stored has marks of its run in it.
            let definition = match &found.stored {
                Some(stored) => self.element(Some(stored), pools, path),
                None => self.anew(found, pools, path),
            };
            steps.push(self.define_step(format!("define the guest {name}"), &definition, pools));
            match &found.stored {
                Some(former) => {
                    let title = format!("define the guest {name} as it was");
                    reverse.push(super::define(title, "define", former));
                }
                None => reverse.push(self.undefine_step()),
            }
        }
        let has_other_seed = former_seed.is_some() && former_seed != path;
        if let Some(former) = former_seed.filter(|_| has_other_seed) {
            reverse.insert(0, self.untidy_step(former));
        }
        let mut run = Run::default();
        match (&found.live, &observed.live, self.state) {
            (None, _, RunState::Running) => {
                run.attributes.push(differing("state", "stopped", "running"));
                run.steps.push(self.start_step());
                run.reverse.push(self.stop_step());
            }
            (Some(_), _, RunState::Stopped) => {
                run.attributes.push(differing("state", "running", "stopped"));
                run.steps.push(self.stop_step());
                run.reverse.push(self.start_step());
            }
            (Some(_), Some(live), RunState::Running) => {
                run = self.change_running(observed, found, live, &desired, &stored_differences);
            }
            _ => {}
        }
        let is_running = found.live.is_some();
        attributes.extend(stored_differences);
        if observed.autostart != self.autostart {
            attributes.push(differing("autostart", observed.autostart, self.autostart));
            steps.push(self.autostart_step(self.autostart));
            if found.stored.is_some() {
                reverse.push(self.autostart_step(observed.autostart));
            }
        }
        steps.extend(run.steps);
        reverse.extend(run.reverse);
        if has_other_seed {
            steps.push(self.tidy_step(path));
        }
        let mut notes = Vec::new();
        if !run.waiting.is_empty() {
            let words: Vec<String> = run.waiting.iter().map(with_former).collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            notes.push(format!("it runs with another {} until its next start", listed(&words)));
        }
        if let (Some(live), RunState::Running, None) =
            (&observed.live, self.state, self.memory_request(observed, &attributes))
        {
            let (has, wanted) = (live.get("memory"), desired.get("memory"));
            if let (Some(Value::String(has)), Some(Value::String(wanted))) = (has, wanted)
                && has != wanted
                && live.get("memory_max") == desired.get("memory_max")
            {
                notes.push(format!("its guest has {has} of the memory, and may have {wanted}"));
            }
        }
        let note = (!notes.is_empty()).then(|| notes.join("; "));
        if steps.is_empty() {
            let reason = format!("it is {} and defined as wanted", self.state.word());
            return Change::no_op(self.id(), reason).noting(note);
        }
        let restarts = run.attributes.iter().chain(&attributes).any(|a| a.name == "restart");
        let why = if is_running && self.state == RunState::Running && !restarts {
            classified(&attributes, &run.attributes, &run.waiting)
        } else {
            let all: Vec<AttributeChange> = attributes.iter().chain(&run.attributes).cloned().collect();
            reason(&all)
        };
        let mut change = Change::no_op(self.id(), why).noting(note);
        change.action = Action::Update;
        change.attributes = attributes;
        change.attributes.extend(run.attributes);
        change.steps = steps;
        if run.is_lost {
            change.irreversible("the definition that it ran with is stored nowhere")
        } else {
            change.reversed_by(reverse)
        }
    }

    /// Returns how many bytes are asked of the running guest by a change.
    fn memory_request(&self, observed: &ObservedDomain, attributes: &[AttributeChange]) -> Option<u64> {
        let is_changed = attributes.iter().any(|attribute| attribute.name == "memory");
        let live = observed.live.as_ref()?;
        let fits = live.get("memory_max").and_then(read_size).is_some_and(|most| self.bytes() <= most);
        (is_changed && fits).then(|| self.bytes())
    }

    /// Returns what is done to the guest that runs.
    fn change_running(
        &self,
        observed: &ObservedDomain,
        found: &Found,
        live: &Attributes,
        desired: &Attributes,
        stored_differences: &[AttributeChange],
    ) -> Run {
        let mut run = Run::default();
        let differing_now = differences(live, desired, &["memory"]);
        let is_stored = |a: &AttributeChange| stored_differences.iter().any(|stored| stored.name == a.name);
        let (now, later): (Vec<_>, Vec<_>) = differing_now.into_iter().partition(|a| self.is_live(a, live, desired));
        let as_live = |a: &AttributeChange| AttributeChange { name: format!("live.{}", a.name), ..a.clone() };
        if !later.is_empty() && self.on_change == OnChange::Restart {
            run.attributes.extend(now.iter().chain(&later).filter(|a| !is_stored(a)).map(as_live));
            run.is_lost = !run.attributes.is_empty();
            run.steps.push(self.restart_step());
            run.reverse.push(self.restart_step());
            return run;
        }
        if observed.is_paused {
            run.attributes.push(differing("state", "paused", "running"));
            run.steps.push(self.resume_step());
            run.reverse.push(self.suspend_step());
        }
        let Some(running) = &found.live else { return run };
        let wanted = self.element(None, &observed.pools, None);
        if now.iter().any(|a| a.name == "disks" || a.name == "nics") {
            run.steps.extend(self.device_steps(running, &wanted, &observed.pools));
            run.reverse.extend(self.device_steps(&wanted, running, &observed.pools));
        }
        if now.iter().any(|a| a.name == "vcpus") {
            run.steps.push(self.vcpus_step(u64::from(self.vcpus)));
        }
        if now.iter().any(|a| a.name == "pinning") {
            // A processor that is not there yet is pinned when it comes.
            let count = u64::from(self.vcpus);
            let pins: Vec<_> = self.pins(desired).into_iter().filter(|(vcpu, _)| *vcpu < count).collect();
            run.steps.push(self.pin_step(&pins));
            let former = self.pins(live);
            let free = pins.iter().filter(|(vcpu, _)| !former.iter().any(|(at, _)| at == vcpu));
            let free = free.map(|(vcpu, _)| (*vcpu, "r".to_owned()));
            run.reverse.push(self.pin_step(&former.iter().cloned().chain(free).collect::<Vec<_>>()));
        }
        if let Some(bytes) = self.memory_request(observed, stored_differences) {
            run.steps.push(self.memory_step(bytes));
            run.reverse.extend(live.get("memory").and_then(read_size).map(|bytes| self.memory_step(bytes)));
        }
        run.attributes.extend(now.iter().filter(|a| !is_stored(a)).map(as_live));
        run.waiting = later;
        run
    }

    /// Returns whether a difference can be made while the guest runs.
    fn is_live(&self, attribute: &AttributeChange, live: &Attributes, desired: &Attributes) -> bool {
        match attribute.name.as_str() {
            "vcpus" => grows(attribute) && live.get("vcpus_max") == desired.get("vcpus_max"),
            // A set can be changed but not taken away.
            "pinning" => self.pins(live).iter().all(|(vcpu, _)| self.pins(desired).iter().any(|(at, _)| at == vcpu)),
            name => LIVE.contains(&name),
        }
    }

    /// Returns the processors that have a set, with it.
    fn pins(&self, view: &Attributes) -> Vec<(u64, String)> {
        let pins = view.get("pinning").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let read = |pin: &Value| {
            let (vcpu, set) = pin.as_str()?.split_once(": ")?;
            Some((vcpu.parse().ok()?, set.to_owned()))
        };
        pins.iter().filter_map(read).collect()
    }

    /// Returns the change to another computer of the same name.
    fn replace(&self, observed: &ObservedDomain, found: &Found, mut attributes: Vec<AttributeChange>) -> Change {
        let name = &self.name;
        let seed = self.seed();
        let path = seed.as_ref().map(|(_, path)| path.as_str());
        let definition = self.anew(found, &observed.pools, path);
        let mut change = Change::no_op(self.id(), reason(&attributes));
        change.action = Action::Replace;
        if found.live.is_some() != (self.state == RunState::Running) {
            let word = |runs: bool| if runs { "running" } else { "stopped" };
            attributes.push(differing("state", word(found.live.is_some()), self.state.word()));
        }
        if observed.autostart != self.autostart {
            attributes.push(differing("autostart", observed.autostart, self.autostart));
        }
        let is_new_firmware = attributes.iter().any(|a| a.name == "firmware");
        change.attributes = attributes;
        change
            .steps
            .extend(seed.as_ref().filter(|_| !observed.has_seed).map(|(seed, path)| self.seed_step(seed, path)));
        // Checked by libvirt before the guest is shut down for it.
        change.steps.push(self.define_step(format!("define the guest {name} anew"), &definition, &observed.pools));
        if found.live.is_some() {
            change.steps.push(self.stop_step());
        }
        if observed.autostart != self.autostart {
            change.steps.push(self.autostart_step(self.autostart));
        }
        if self.state == RunState::Running {
            let is_uefi = self.firmware != spec::Firmware::Bios;
            change.steps.push(if is_new_firmware && is_uefi { self.start_afresh_step() } else { self.start_step() });
        }
        let former_seed = found.stored.as_ref().and_then(seed_of).filter(|former| Some(*former) != path);
        change.steps.extend(former_seed.map(|_| self.tidy_step(path)));
        let why = if is_new_firmware {
            "it becomes another computer, without the settings of its firmware; its disks stay"
        } else {
            "it becomes another computer; its disks stay"
        };
        let change = change.needs_consent(why);
        match &found.stored {
            Some(former) if !is_new_firmware => {
                let mut reverse: Vec<Step> = former_seed.map(|former| self.untidy_step(former)).into_iter().collect();
                reverse.push(super::define(format!("define the guest {name} as it was"), "define", former));
                if observed.autostart != self.autostart {
                    reverse.push(self.autostart_step(observed.autostart));
                }
                if self.state == RunState::Running {
                    reverse.push(self.stop_step());
                }
                if found.live.is_some() {
                    reverse.push(self.start_step());
                }
                change.reversed_by(reverse)
            }
            _ => change.irreversible("what it was is not kept as a whole"),
        }
    }

    fn delete(&self, observed: &ObservedDomain, found: &Found) -> Change {
        let name = &self.name;
        let view = observed.stored.as_ref().or(observed.live.as_ref()).cloned().unwrap_or_default();
        let has = |attribute: &str| view.get(attribute).is_some_and(|value| *value == json!(true));
        let keeps_more = view.get("firmware").is_some_and(|firmware| *firmware != json!("bios")) || has("tpm");
        let mut change = Change::delete(self.id(), &view);
        let former_seed = found.base().and_then(seed_of);
        let mut reverse = Vec::new();
        if found.live.is_some() {
            change = change.step(self.stop_step());
        }
        if let Some(stored) = &found.stored {
            change = change.step(self.undefine_step());
            reverse.extend(former_seed.map(|path| self.untidy_step(path)));
            reverse.push(super::define(format!("define the guest {name} as it was"), "define", stored));
            if found.autostart {
                reverse.push(self.autostart_step(true));
            }
            if found.live.is_some() {
                reverse.push(self.start_step());
            }
        }
        if former_seed.is_some() {
            change = change.step(self.tidy_step(None));
        }
        if found.stored.is_none() {
            return change.irreversible("its definition is stored nowhere");
        }
        if keeps_more {
            return change.irreversible("the settings of its firmware and its TPM are lost; its disks stay");
        }
        change.reversed_by(reverse)
    }
}

fn read_size(value: &Value) -> Option<u64> {
    Some(serde_json::from_value::<Size>(value.clone()).ok()?.bytes())
}

/// What is done to a guest that runs.
#[derive(Default)]
struct Run {
    steps: Vec<Step>,
    reverse: Vec<Step>,
    attributes: Vec<AttributeChange>,
    /// What waits for the next start.
    waiting: Vec<AttributeChange>,
    is_lost: bool,
}

/// Returns the name of an attribute, with what it was where that is short.
fn with_former(attribute: &AttributeChange) -> String {
    match &attribute.before {
        Shown::Value(Value::String(text)) => format!("{} ({text})", attribute.name),
        Shown::Value(value @ (Value::Number(_) | Value::Bool(_))) => format!("{} ({value})", attribute.name),
        _ => attribute.name.clone(),
    }
}

/// Marks the cards of a running guest whose ends are not in their bridges, by what `ip -o link show` says.
fn mark_astray(live: &mut Element, links: &str) {
    // 7: vnet4: <BROADCAST,UP> mtu 1500 qdisc noqueue master br-control state UNKNOWN ...
    let masters: HashMap<&str, Option<&str>> = links
        .lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            let name = words.next()?.trim_end_matches(':');
            let master = words.skip_while(|word| *word != "master").nth(1);
            Some((name.split('@').next().unwrap_or(name), master))
        })
        .collect();
    let devices = live.children.iter_mut().filter(|child| child.name == "devices");
    for nic in devices.flat_map(|devices| &mut devices.children).filter(|device| device.name == "interface") {
        // A switch of another sort has its ends elsewhere.
        if nic.find("virtualport").is_some() {
            continue;
        }
        let (end, bridge) = (nic.get_at("target", "dev"), nic.get_at("source", "bridge"));
        let master = end.and_then(|end| masters.get(end));
        if master.is_some_and(|master| bridge.is_some() && *master != bridge) {
            nic.children.push(Element::new(ASTRAY));
        }
    }
}

/// Returns the reason of a change to a running guest, with when each attribute takes effect; those of `waiting` do not now.
fn classified(stored: &[AttributeChange], live: &[AttributeChange], waiting: &[AttributeChange]) -> String {
    let mut words: Vec<String> = Vec::new();
    for attribute in stored {
        let is_of_guest = !matches!(attribute.name.as_str(), "autostart" | "stored" | "seed_file");
        words.push(if is_of_guest {
            let waits = waiting.iter().any(|other| other.name == attribute.name);
            format!("{} ({})", attribute.name, if waits { "at next boot" } else { class(attribute) })
        } else {
            attribute.name.clone()
        });
    }
    words.extend(live.iter().map(|attribute| attribute.name.clone()));
    let verb = if words.len() == 1 { "differs" } else { "differ" };
    format!("{} {verb}", words.join(", "))
}

impl Kind for LibvirtDomain {
    const NAME: &'static str = "libvirt.domain";
    const SUMMARY: &'static str =
        "A guest of a hypervisor's: processors, memory, disks, cards, as stored and as it runs";
    const EXAMPLE: &'static str = r#"- libvirt.domain:
    name: ctl1
    vcpus: 4
    memory: 8GiB
    firmware: uefi
    disks: [{pool: images, volume: ctl1.qcow2}]
    nics: [{network: par1-control, lan: {addresses: [10.9.1.11/24], gateway: 10.9.1.1}}]
    cloud_init:
      users: [{name: ops, sudo: true, ssh_keys: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIH ops"]}]
    anti_affinity: etcd
- libvirt.domain: {name: old, state: absent}
"#;

    type Observed = ObservedDomain;

    fn name(&self) -> String {
        self.name.0.clone()
    }

    fn check(&self) -> Vec<SpecProblem> {
        let mut problems = Vec::new();
        if self.state == RunState::Absent {
            return problems;
        }
        let mut problem = |field: &'static str, message: String, help: &str| {
            let problem = SpecProblem::new(field, message);
            problems.push(if help.is_empty() { problem } else { problem.help(help) });
        };
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
        if self.machine.is_empty() || !self.machine.chars().all(is_plain) {
            problem(
                "machine",
                format!("{:?} is not a machine", self.machine),
                "write `q35`, `pc`, or a version of them",
            );
        }
        if self.accelerator == Accelerator::Tcg && self.cpu() != Cpu::Maximum {
            problem(
                "cpu",
                "without `kvm` there is no processor of the host's to pass on".to_owned(),
                "use `cpu: maximum`",
            );
        }
        if self.vcpus == 0 || self.most_vcpus() > 1024 {
            problem("vcpus", "a guest has between 1 and 1024 processors".to_owned(), "");
        }
        if self.most_vcpus() < self.vcpus {
            problem("vcpus_max", "it is less than `vcpus`".to_owned(), "");
        }
        if let Some(topology) = self.topology {
            let product = u32::from(topology.sockets) * u32::from(topology.cores) * u32::from(topology.threads);
            if product != u32::from(self.most_vcpus()) {
                let message = format!("it makes {product} processors, and `vcpus_max` is {}", self.most_vcpus());
                problem("topology", message, "sockets times cores times threads is `vcpus_max`");
            }
        }
        for set in self.pinning.iter().filter(|set| processors(set).is_none()) {
            problem("pinning", format!("{set:?} is not a set of processors"), "write it as `2` or `4-7,9`");
        }
        if self.pinning.len() > usize::from(self.most_vcpus()) {
            problem("pinning", format!("there are more sets than processors, {}", self.most_vcpus()), "");
        }
        match self.memory {
            None => problem("memory", "a guest needs memory".to_owned(), "write it as `memory: 2GiB`"),
            Some(_) if self.most_bytes() < self.bytes() => {
                problem("memory_max", "it is less than `memory`".to_owned(), "")
            }
            Some(_) => {}
        }
        if self.huge_pages.is_some_and(|size| ![2 << 20, 1 << 30].contains(&size.bytes())) {
            problem("huge_pages", "huge pages are of 2MiB or 1GiB".to_owned(), "");
        }
        for disk in &self.disks {
            match (&disk.pool, &disk.volume, &disk.file) {
                (Some(_), Some(_), None) | (None, None, Some(_)) => {}
                _ => problem("disks", "a disk is a `volume` of a `pool`, or a `file`".to_owned(), ""),
            }
            if disk.format().is_none() {
                problem(
                    "disks",
                    "the name of a disk does not tell its format".to_owned(),
                    "add `format: qcow2` or `format: raw`",
                );
            }
        }
        if self.disks.len() > 20 {
            problem("disks", "there are more than 20".to_owned(), "");
        }
        let mut macs = BTreeSet::new();
        for (at, nic) in self.nics.iter().enumerate() {
            if nic.network.is_some() == nic.bridge.is_some() {
                problem("nics", "a card is on a `network` or on a `bridge`".to_owned(), "");
            }
            let is_interface = |name: &String| (1..=15).contains(&name.len()) && name.chars().all(is_plain);
            if nic.bridge.as_ref().is_some_and(|name| !is_interface(name)) {
                problem(
                    "nics",
                    format!("{:?} is not the name of an interface", nic.bridge.as_deref().unwrap_or_default()),
                    "",
                );
            }
            if nic.mac.as_ref().is_some_and(|mac| !is_mac(mac)) {
                let message = format!("{:?} is not a MAC address", nic.mac.as_deref().unwrap_or_default());
                problem("nics", message, "write it as `52:54:00:09:01:0a`");
            }
            if !macs.insert(self.mac(at)) {
                problem("nics", format!("two cards have the MAC address {}", self.mac(at)), "");
            }
            if nic.lan.is_some() && self.cloud_init.is_none() {
                problem(
                    "nics",
                    "nobody tells the guest of its `lan`".to_owned(),
                    "add `cloud_init`, which may be `{}`",
                );
            }
            for message in nic.lan.iter().flat_map(super::seed::Lan::problems) {
                problem("nics", message, "");
            }
        }
        for message in self.cloud_init.iter().flat_map(super::seed::CloudInit::problems) {
            problem("cloud_init", message, "");
        }
        problems
    }

    fn claims(&self) -> Vec<Claim> {
        let group = self.anti_affinity.as_ref().filter(|_| self.state != RunState::Absent);
        let group = group.map(|group| Claim::Resource(ResourceId::new("libvirt.anti_affinity", group.0.clone())));
        std::iter::once(Claim::Resource(self.id())).chain(group).collect()
    }

    fn queries(&self) -> Vec<Query> {
        let mut queries = vec![Query::Virt(self.virt())];
        queries.extend(self.pools().map(Query::Virt));
        if self.state == RunState::Running && !self.nics.is_empty() {
            let script = Script::constant("! command -v ip >/dev/null 2>&1 || ip -o link show");
            queries.push(Query::Snippet { key: LINKS.to_owned(), tools: Vec::new(), script });
        }
        if self.state != RunState::Absent {
            queries.extend(self.seed().map(|(_, path)| Query::Path(path.to_string(), Want::Digest)));
        }
        queries
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedDomain, ObserveError> {
        let mut found = find(self, &self.virt(), answers)?;
        if let (Some(live), Some(links)) =
            (found.as_mut().and_then(|found| found.live.as_mut()), answers.snippet(LINKS))
        {
            mark_astray(live, &links.text());
        }
        let mut pools = Pools::new();
        for pool in self.pools() {
            let there = find(self, &pool, answers)?;
            let Some(definition) = there.as_ref().and_then(Found::base) else { continue };
            if let (Virt::Pool(name), Some(path)) = (pool, definition.text_at("target/path")) {
                pools.insert(name, (path.to_owned(), definition.get("type") == Some("logical")));
            }
        }
        let info = answers.libvirt().get(&self.virt()).map_or("", |state| state.info.as_str());
        let state = info.lines().find_map(|line| line.strip_prefix("State:")).unwrap_or_default().trim();
        let has_seed = self.seed().is_none_or(|(seed, path)| {
            let there = answers.path(path.as_str());
            there.is_some_and(|there| there.sha256.as_deref() == Some(seed.sha256.as_str()) && there.mode == "0600")
        });
        Ok(ObservedDomain {
            stored: found.as_ref().and_then(|found| found.stored.as_ref()).map(|stored| self.view(stored)),
            live: found.as_ref().and_then(|found| found.live.as_ref()).map(|live| self.view(live)),
            autostart: found.as_ref().is_some_and(|found| found.autostart),
            is_paused: state == "paused",
            has_seed,
            pools,
            found,
        })
    }

    fn diff(&self, observed: &ObservedDomain) -> Change {
        match (&observed.found, self.state) {
            (None, RunState::Absent) => Change::no_op(self.id(), "it is not there, as wanted"),
            (None, _) => self.create(observed),
            (Some(found), RunState::Absent) => self.delete(observed, found),
            (Some(found), _) => self.update(observed, found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guest(spec: Value) -> LibvirtDomain {
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn two_guests_of_a_group_own_the_same_thing_on_a_host() {
        let group = |name: &str, state: &str| {
            let guest = guest(json!({"name": name, "memory": "1GiB", "anti_affinity": "etcd", "state": state}));
            guest.claims().into_iter().collect::<BTreeSet<_>>()
        };
        assert_eq!(group("a", "running").intersection(&group("b", "stopped")).count(), 1);
        assert_eq!(group("a", "running").intersection(&group("b", "absent")).count(), 0);
    }

    #[test]
    fn a_mac_address_follows_from_names_and_stays() {
        let nics = json!([{"network": "x"}, {"network": "x"}, {"bridge": "b"}]);
        let one = guest(json!({"name": "a", "memory": "1GiB", "nics": nics}));
        let macs: BTreeSet<String> = (0..3).map(|at| one.mac(at)).collect();
        assert_eq!(macs.len(), 3);
        assert!(macs.iter().all(|mac| is_mac(mac)), "{macs:?}");
        // A card of another network before it is no reason for another address.
        let other = guest(json!({"name": "a", "memory": "1GiB", "nics": [{"network": "y"}, {"network": "x"}]}));
        assert_eq!(other.mac(1), one.mac(0));
    }
}
