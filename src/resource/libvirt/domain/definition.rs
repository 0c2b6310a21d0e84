//! A guest's definition: the XML that a task wants, and what any definition says in the task's words.
//!
//! Disks, cards and consoles are owned as a whole, and so is everything that somebody can have added (graphics, a passed-through
//! device, a shared folder). Controllers, addresses, the memory balloon and other defaults are libvirt's own and stay as they are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::spec::{Bus, Disk, Firmware, LibvirtDomain, Nic};
use crate::change::Attributes;
use crate::resource::libvirt::VirtName;
use crate::resource::libvirt::seed::FOLDER;
use crate::resource::libvirt::volume::{Format, Size};
use crate::resource::libvirt::xml::Element;
use crate::resource::managed_file::sha256;
use crate::resource::spec::HostPath;

/// Elements of a definition that are described, or libvirt's own; any other was added by hand.
const KNOWN: [&str; 24] = [
    "clock",
    "cpu",
    "cputune",
    "currentMemory",
    "description",
    "devices",
    "features",
    "genid",
    "id",
    "memory",
    "memoryBacking",
    "metadata",
    "name",
    "on_crash",
    "on_poweroff",
    "on_reboot",
    "os",
    "pm",
    "resource",
    "seclabel",
    "title",
    "uuid",
    "vcpu",
    "vcpus",
];

/// The same of its devices.
const KNOWN_DEVICES: [&str; 12] = [
    "audio",
    "console",
    "controller",
    "disk",
    "emulator",
    "input",
    "interface",
    "memballoon",
    "panic",
    "serial",
    "tpm",
    "watchdog",
];

/// What of a guest's operating system says with which kernel it starts.
const BOOT: [&str; 3] = ["kernel", "initrd", "cmdline"];

/// Where a disk is on the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    File(String),
    Device(String),
    /// A volume of a pool that libvirt does not know yet.
    Later {
        pool: String,
        volume: String,
    },
}

/// A pool's folder, and whether its volumes are devices.
pub(super) type Pools = BTreeMap<String, (String, bool)>;

/// Returns a number with its unit as bytes.
fn bytes_of(element: Option<&Element>) -> u64 {
    let Some(element) = element else { return 0 };
    let count: u64 = element.text.trim().parse().unwrap_or_default();
    count.saturating_mul(unit(element.get("unit")))
}

fn unit(name: Option<&str>) -> u64 {
    match name.unwrap_or("KiB") {
        "b" | "bytes" => 1,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "M" | "MiB" => 1 << 20,
        "G" | "GiB" => 1 << 30,
        "T" | "TiB" => 1 << 40,
        _ => 1 << 10,
    }
}

/// Returns a set of processors as libvirt writes it: `0-3,7`; none where it cannot be one.
pub(super) fn processors(text: &str) -> Option<String> {
    let mut all = BTreeSet::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        if first > last || last > 4096 {
            return None;
        }
        all.extend(first..=last);
    }
    let mut ranges: Vec<(u32, u32)> = Vec::new();
    for one in all {
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == one => *last = one,
            _ => ranges.push((one, one)),
        }
    }
    let words = ranges.iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") });
    Some(words.collect::<Vec<_>>().join(","))
}

/// Returns a disk in few words: `vda virtio qcow2 /srv/a.qcow2`.
pub(super) fn disk_words(disk: &Element) -> String {
    let driver = disk.find("driver");
    let source = disk.find("source");
    let place = source.map(|source| match (source.get("file").or(source.get("dev")), source.get("volume")) {
        (Some(path), _) => path.to_owned(),
        (None, Some(volume)) => format!("{}/{volume}", source.get("pool").unwrap_or_default()),
        _ => format!("{} {}", disk.get("type").unwrap_or_default(), source.get("name").unwrap_or_default()),
    });
    let mut words = vec![
        disk.get_at("target", "dev").unwrap_or_default().to_owned(),
        disk.get_at("target", "bus").unwrap_or_default().to_owned(),
        driver.and_then(|driver| driver.get("type")).unwrap_or("raw").to_owned(),
        place.unwrap_or_else(|| "nothing".to_owned()),
    ];
    if let Some(device) = disk.get("device").filter(|device| *device != "disk") {
        words.push(device.to_owned());
    }
    let extra = driver.into_iter().flat_map(|driver| &driver.attributes);
    let extra = extra.filter(|(name, _)| !matches!(name.as_str(), "name" | "type" | "queues"));
    words.extend(extra.map(|(name, value)| format!("{name}={value}")));
    if disk.find("readonly").is_some() {
        words.push("read-only".to_owned());
    }
    let own = ["driver", "source", "target", "readonly", "backingStore", "alias", "address", "mirror"];
    words.extend(disk.children.iter().map(|child| child.name.clone()).filter(|name| !own.contains(&name.as_str())));
    words.join(" ")
}

/// Marks a card whose end at the hypervisor is not in the bridge that it was put into. libvirt does not look.
pub(super) const ASTRAY: &str = "out-of-its-bridge";

/// Returns whether the guest sees a carrier on a card.
pub(super) fn has_carrier(nic: &Element) -> bool {
    nic.get_at("link", "state") != Some("down")
}

/// Returns a card in few words, with what became of its cable: `52:54:00:11:22:33 virtio network=build link=down`.
pub(super) fn nic_words(nic: &Element) -> String {
    let mut words = nic_device(nic);
    if !has_carrier(nic) {
        words.push_str(" link=down");
    }
    if nic.find(ASTRAY).is_some() {
        words.push(' ');
        words.push_str(ASTRAY);
    }
    words
}

/// Returns what a card is, in few words, whatever became of its cable: `52:54:00:11:22:33 virtio network=build`.
pub(super) fn nic_device(nic: &Element) -> String {
    let source = nic.find("source");
    let named = |name: &str| source.and_then(|source| source.get(name)).map(|value| format!("{name}={value}"));
    let kind = nic.get("type").unwrap_or_default();
    // A card that runs names the bridge of its network too, and can be of that type.
    let place = named("network").or_else(|| named("bridge"));
    let mut words = vec![
        nic.get_at("mac", "address").unwrap_or_default().to_lowercase(),
        nic.get_at("model", "type").unwrap_or("none").to_owned(),
        place.unwrap_or_else(|| kind.to_owned()),
    ];
    // What libvirt puts into that which runs, from the network it is on, is not the guest's.
    let own = [
        "mac",
        "source",
        "target",
        "model",
        "alias",
        "address",
        "mtu",
        "virtualport",
        "backend",
        "driver",
        "link",
        ASTRAY,
    ];
    words.extend(nic.children.iter().map(|child| child.name.clone()).filter(|name| !own.contains(&name.as_str())));
    words.join(" ")
}

/// Returns the path of a seed of ours, where a disk is one.
fn seed_of(disk: &Element) -> Option<&str> {
    disk.get_at("source", "file").filter(|path| path.starts_with(FOLDER))
}

/// Returns the disks of a definition, but for the seed.
pub(super) fn disks(domain: &Element) -> Vec<&Element> {
    let devices = domain.find("devices").map(|devices| devices.all("disk"));
    devices.into_iter().flatten().filter(|disk| seed_of(disk).is_none()).collect()
}

pub(super) fn nics(domain: &Element) -> Vec<&Element> {
    domain.find("devices").map(|devices| devices.all("interface")).into_iter().flatten().collect()
}

/// Returns the path of the seed of a definition.
pub(super) fn seed(domain: &Element) -> Option<&str> {
    domain.find("devices")?.all("disk").find_map(seed_of)
}

fn firmware(domain: &Element) -> &'static str {
    let Some(os) = domain.find("os") else { return "bios" };
    let is_uefi = os.get("firmware") == Some("efi") || os.get_at("loader", "type") == Some("pflash");
    let asks = os.find("firmware").is_some_and(|firmware| {
        firmware.all("feature").any(|f| f.get("name") == Some("secure-boot") && f.get("enabled") == Some("yes"))
    });
    match (is_uefi, asks || os.get_at("loader", "secure") == Some("yes")) {
        (false, _) => "bios",
        (true, false) => "uefi",
        (true, true) => "uefi-secure",
    }
}

/// Returns what somebody has added to a definition.
fn others(domain: &Element) -> BTreeSet<String> {
    let unknown = domain.children.iter().filter(|child| !KNOWN.contains(&child.name.as_str()));
    let mut others: BTreeSet<String> = unknown.map(|child| child.name.clone()).collect();
    if let Some(devices) = domain.find("devices") {
        let unknown = devices.children.iter().filter(|child| !KNOWN_DEVICES.contains(&child.name.as_str()));
        others.extend(unknown.map(|child| child.name.clone()));
        let ports: Vec<&Element> = devices.all("serial").collect();
        if ports.len() > 1 || ports.iter().any(|port| port.get("type") != Some("pty")) {
            others.insert("serial".to_owned());
        }
        if devices.all("tpm").any(|tpm| tpm.get_at("backend", "type") != Some("emulator")) {
            others.insert("tpm".to_owned());
        }
    }
    let has_more = |path: &str, own: &str| {
        domain.find(path).is_some_and(|element| element.children.iter().any(|child| child.name != own))
    };
    if has_more("cputune", "vcpupin") {
        others.insert("cputune".to_owned());
    }
    if has_more("memoryBacking", "hugepages") {
        others.insert("memoryBacking".to_owned());
    }
    others
}

impl Disk {
    /// Returns where it is. A volume is always told by its path: with pool and name alone, AppArmor's helper for libvirt does
    /// not see what the guest may open.
    pub(super) fn source(&self, pools: &Pools) -> Source {
        if let Some(file) = &self.file {
            let path = file.as_str().to_owned();
            return if path.starts_with("/dev/") { Source::Device(path) } else { Source::File(path) };
        }
        let name = |name: &Option<VirtName>| name.as_ref().map(VirtName::to_string).unwrap_or_default();
        let (pool, volume) = (name(&self.pool), name(&self.volume));
        match pools.get(&pool) {
            Some((folder, is_logical)) => {
                let path = format!("{}/{volume}", folder.trim_end_matches('/'));
                if *is_logical { Source::Device(path) } else { Source::File(path) }
            }
            None => Source::Later { pool, volume },
        }
    }
}

impl LibvirtDomain {
    /// Returns what a definition says, without what is libvirt's own.
    pub(super) fn view(&self, domain: &Element) -> Attributes {
        let mut view = Attributes::new();
        let mut set = |name: &str, value: Value| view.insert(name.to_owned(), value);
        let accelerator = match domain.get("type") {
            Some("qemu") => "tcg",
            other => other.unwrap_or_default(),
        };
        set("accelerator", json!(accelerator));
        set("machine", json!(self.family(domain.get_at("os/type", "machine").unwrap_or_default())));
        set("firmware", json!(firmware(domain)));
        let booted: Vec<&str> = BOOT.iter().filter_map(|name| domain.text_at(&format!("os/{name}"))).collect();
        if !booted.is_empty() {
            set("boot", json!(booted.join(" ")));
        }
        let cpu = domain.find("cpu");
        let mode = match cpu.and_then(|cpu| cpu.get("mode")) {
            // What runs of a `host-model` is spelled out.
            Some("custom") if domain.get("id").is_some() && self.cpu().word() == "host-model" => "host-model",
            mode => mode.unwrap_or("custom"),
        };
        set("cpu", json!(mode));
        let most = domain.text_at("vcpu").unwrap_or("1").parse::<u16>().unwrap_or_default();
        let current = domain.get_at("vcpu", "current").and_then(|count| count.parse::<u16>().ok());
        set("vcpus", json!(current.unwrap_or(most)));
        set("vcpus_max", json!(most));
        if let Some(topology) = cpu.and_then(|cpu| cpu.find("topology")) {
            let count = |name: &str| topology.get(name).unwrap_or("1");
            let dies = topology.get("dies").filter(|dies| *dies != "1");
            let dies = dies.map(|dies| format!(", {dies} dies")).unwrap_or_default();
            let words =
                format!("sockets {}, cores {}, threads {}{dies}", count("sockets"), count("cores"), count("threads"));
            set("topology", json!(words));
        }
        let pins = domain.find("cputune").map(|tune| tune.all("vcpupin").collect::<Vec<_>>()).unwrap_or_default();
        let pins: BTreeMap<u32, String> = pins
            .into_iter()
            .filter_map(|pin| {
                let set = pin.get("cpuset").unwrap_or_default();
                Some((pin.get("vcpu")?.parse().ok()?, processors(set).unwrap_or_else(|| set.to_owned())))
            })
            .collect();
        if !pins.is_empty() {
            set("pinning", pins.iter().map(|(vcpu, set)| json!(format!("{vcpu}: {set}"))).collect());
        }
        let most = bytes_of(domain.find("memory"));
        let current = domain.find("currentMemory").map_or(most, |current| bytes_of(Some(current)));
        set("memory", json!(Size::of(current).to_string()));
        set("memory_max", json!(Size::of(most).to_string()));
        if let Some(pages) = domain.find("memoryBacking/hugepages") {
            let page = pages.find("page");
            let size = page.and_then(|page| page.get("size")?.parse::<u64>().ok());
            let bytes = size.map(|size| size.saturating_mul(unit(page.and_then(|page| page.get("unit")))));
            set("huge_pages", json!(bytes.map_or("default".to_owned(), |bytes| Size::of(bytes).to_string())));
        }
        // libvirt puts disks in an order of its own, and what is added while the guest runs at the end.
        let sorted = |words: Vec<String>| json!(words.into_iter().collect::<BTreeSet<_>>());
        set("disks", sorted(disks(domain).into_iter().map(disk_words).collect()));
        set("nics", sorted(nics(domain).into_iter().map(nic_words).collect()));
        let has = |name: &str| domain.find("devices").is_some_and(|devices| devices.find(name).is_some());
        set("serial", json!(has("serial")));
        set("tpm", json!(has("tpm")));
        if let Some(path) = seed(domain) {
            set("seed", json!(path));
        }
        let others = others(domain);
        if !others.is_empty() {
            set("others", json!(others));
        }
        view
    }

    /// Returns a machine in the words of the task: libvirt writes out which version of `q35` it has taken.
    fn family<'a>(&'a self, machine: &'a str) -> &'a str {
        let is_of = |family: &str, begin: &str| self.machine == family && machine.starts_with(begin);
        if is_of("q35", "pc-q35-") || is_of("pc", "pc-i440fx-") { &self.machine } else { machine }
    }

    /// Returns the card's MAC address: the one that is given, or one that follows from names.
    pub(super) fn mac(&self, at: usize) -> String {
        let Some(nic) = self.nics.get(at) else { return String::new() };
        if let Some(mac) = &nic.mac {
            return mac.to_lowercase();
        }
        let is_same = |other: &&Nic| other.network == nic.network && other.bridge == nic.bridge;
        let number = self.nics.iter().take(at).filter(is_same).count();
        let network = nic.network.as_ref().map(VirtName::as_str);
        let place = network.or(nic.bridge.as_deref()).unwrap_or_default();
        let digest = sha256(format!("{}\n{place}\n{number}", self.name).as_bytes());
        let bytes = digest.as_bytes().chunks(2).take(5).map(|pair| String::from_utf8_lossy(pair).into_owned());
        // The first byte says that it is one of a local choice, and of a single card.
        std::iter::once("52".to_owned()).chain(bytes).collect::<Vec<_>>().join(":")
    }

    fn disk_elements(&self, pools: &Pools) -> Vec<Element> {
        let mut counts: BTreeMap<&str, u8> = BTreeMap::new();
        let element = |disk: &Disk| {
            let begin = if disk.bus == Bus::Virtio { "vd" } else { "sd" };
            let count = counts.entry(begin).or_default();
            let target = format!("{begin}{}", char::from(b'a' + *count));
            *count += 1;
            let (kind, source) = match disk.source(pools) {
                Source::File(path) => ("file".to_owned(), Element::new("source").with("file", &path)),
                Source::Device(path) => ("block".to_owned(), Element::new("source").with("dev", &path)),
                // The step that hands it to libvirt looks it up.
                Source::Later { pool, volume } => {
                    let source = Element::new("source").with("pool", &pool).with("volume", &volume);
                    (format!("@{pool}/{volume}@"), source)
                }
            };
            let format = disk.format().unwrap_or_default().word();
            let element = Element::new("disk").with("type", &kind).with("device", "disk");
            let element = element.child(Element::new("driver").with("name", "qemu").with("type", format)).child(source);
            let element = element.child(Element::new("target").with("dev", &target).with("bus", disk.bus.word()));
            if disk.read_only { element.child(Element::new("readonly")) } else { element }
        };
        self.disks.iter().map(element).collect()
    }

    fn nic_elements(&self) -> Vec<Element> {
        let element = |(at, nic): (usize, &Nic)| {
            let (kind, source) = match (&nic.network, &nic.bridge) {
                (Some(network), _) => ("network", Element::new("source").with("network", network.as_str())),
                (None, bridge) => ("bridge", Element::new("source").with_some("bridge", bridge.as_deref())),
            };
            let element = Element::new("interface").with("type", kind);
            let element = element.child(Element::new("mac").with("address", &self.mac(at))).child(source);
            element.child(Element::new("model").with("type", nic.model.word()))
        };
        self.nics.iter().enumerate().map(element).collect()
    }

    /// Returns the definition that is wanted, made from the one that is there.
    pub(super) fn element(&self, base: Option<&Element>, pools: &Pools, seed: Option<&str>) -> Element {
        let mut domain = base.cloned().unwrap_or_else(|| self.bare());
        let before = self.view(&domain);
        domain.attributes.shift_remove("id");
        domain.attributes.insert("type".to_owned(), self.accelerator.kind().to_owned());
        domain.children.retain(|child| KNOWN.contains(&child.name.as_str()));
        if let Some(os) = domain.children.iter_mut().find(|child| child.name == "os") {
            os.children.retain(|child| !BOOT.contains(&child.name.as_str()));
            let at = os.children.iter().position(|child| child.name == "boot").unwrap_or(os.children.len());
            let boot = self.boot.iter().flat_map(|boot| {
                let texts = [
                    Some(boot.kernel.as_str()),
                    boot.initrd.as_ref().map(HostPath::as_str),
                    boot.command_line.as_deref(),
                ];
                BOOT.into_iter().zip(texts).filter_map(|(name, text)| Some(Element::of_text(name, text?)))
            });
            os.children.splice(at..at, boot);
        }
        let kib = |name: &str, bytes: u64| Element::of_text(name, &(bytes / 1024).to_string()).with("unit", "KiB");
        domain.replace("memory", vec![kib("memory", self.most_bytes())]);
        domain.replace("currentMemory", vec![kib("currentMemory", self.bytes())]);
        domain.remove("vcpus");
        let vcpu = Element::of_text("vcpu", &self.most_vcpus().to_string()).with("placement", "static");
        let current = (self.vcpus != self.most_vcpus()).then(|| self.vcpus.to_string());
        domain.replace("vcpu", vec![vcpu.with_some("current", current.as_deref())]);
        let pins: Vec<Element> = self
            .pinning
            .iter()
            .enumerate()
            .map(|(at, set)| {
                let set = processors(set).unwrap_or_default();
                Element::new("vcpupin").with("vcpu", &at.to_string()).with("cpuset", &set)
            })
            .collect();
        domain.replace("cputune", if pins.is_empty() { vec![] } else { vec![Element::new("cputune").and(pins)] });
        let pages = self.huge_pages.map(|size| {
            let page = Element::new("page").with("size", &(size.bytes() / 1024).to_string()).with("unit", "KiB");
            Element::new("memoryBacking").child(Element::new("hugepages").child(page))
        });
        domain.replace("memoryBacking", pages.into_iter().collect());
        let cpu = self.cpu_element();
        let mut wanted = Element::new("domain").child(cpu.clone());
        wanted.attributes.clone_from(&domain.attributes);
        let same = |name: &str| self.view(&wanted).get(name) == before.get(name);
        if !same("cpu") || !same("topology") {
            domain.replace("cpu", vec![cpu]);
        }
        let devices = self.devices(domain.find("devices"), pools, seed);
        domain.replace("devices", vec![devices]);
        domain
    }

    fn cpu_element(&self) -> Element {
        let cpu = Element::new("cpu").with("mode", self.cpu().word());
        match self.topology {
            Some(topology) => cpu.child(
                Element::new("topology")
                    .with("sockets", &topology.sockets.to_string())
                    .with("dies", "1")
                    .with("cores", &topology.cores.to_string())
                    .with("threads", &topology.threads.to_string()),
            ),
            None => cpu,
        }
    }

    /// Returns a new computer without anything in it.
    fn bare(&self) -> Element {
        let os = Element::new("os").with_some("firmware", (self.firmware != Firmware::Bios).then_some("efi"));
        let os = os.child(Element::of_text("type", "hvm").with("arch", "x86_64").with("machine", &self.machine));
        let is_secure = self.firmware == Firmware::UefiSecure;
        let feature = |name: &str, on: bool| {
            Element::new("feature").with("enabled", if on { "yes" } else { "no" }).with("name", name)
        };
        let os = if self.firmware == Firmware::Bios {
            os
        } else {
            let keys = is_secure.then(|| feature("enrolled-keys", true));
            os.child(Element::new("firmware").and(keys).child(feature("secure-boot", is_secure)))
        };
        let features = Element::new("features").child(Element::new("acpi")).child(Element::new("apic"));
        let features = if is_secure { features.child(Element::new("smm").with("state", "on")) } else { features };
        // Ports that are free, so that cards and disks can be added while the guest runs.
        let ports = if self.machine.contains("q35") { 10 + self.disks.len() + self.nics.len() } else { 0 };
        let ports = (1..=ports.min(28)).map(|at| {
            Element::new("controller")
                .with("type", "pci")
                .with("index", &at.to_string())
                .with("model", "pcie-root-port")
        });
        Element::new("domain")
            .with("type", self.accelerator.kind())
            .child(Element::of_text("name", self.name.as_str()))
            .child(os.child(Element::new("boot").with("dev", "hd")))
            .child(features)
            .child(Element::new("clock").with("offset", "utc"))
            .child(Element::new("devices").and(ports))
    }

    /// Returns the devices that are wanted; what is there and as wanted keeps its place in the guest.
    fn devices(&self, base: Option<&Element>, pools: &Pools, seed: Option<&str>) -> Element {
        let mut devices = base.cloned().unwrap_or_else(|| Element::new("devices"));
        devices.children.retain(|child| KNOWN_DEVICES.contains(&child.name.as_str()));
        let kept = |wanted: Element, tag: &str, words: fn(&Element) -> String| {
            let there = base.and_then(|base| base.all(tag).find(|there| words(there) == words(&wanted)));
            there.cloned().unwrap_or(wanted)
        };
        let seed = seed.map(|path| {
            Element::new("disk")
                .with("type", "file")
                .with("device", "disk")
                .child(Element::new("driver").with("name", "qemu").with("type", Format::Raw.word()))
                .child(Element::new("source").with("file", path))
                .child(Element::new("target").with("dev", "vdz").with("bus", "virtio"))
                .child(Element::new("readonly"))
        });
        let disks =
            self.disk_elements(pools).into_iter().chain(seed).map(|disk| kept(disk, "disk", disk_words)).collect();
        devices.replace("disk", disks);
        let has_bus = |name: &str| devices.all("controller").any(|controller| controller.get("type") == Some(name));
        if self.disks.iter().any(|disk| disk.bus == Bus::Scsi) && !has_bus("scsi") {
            let bus = Element::new("controller").with("type", "scsi").with("index", "0").with("model", "virtio-scsi");
            devices.children.push(bus);
        }
        let nics = self.nic_elements().into_iter().map(|nic| kept(nic, "interface", nic_words)).collect();
        devices.replace("interface", nics);
        let is_plain = |serial: &Element| serial.get("type") == Some("pty");
        if !self.serial {
            devices.remove("serial");
            devices.remove("console");
        } else if devices.all("serial").count() != 1 || !devices.all("serial").all(is_plain) {
            devices.remove("console");
            devices.replace("serial", vec![Element::new("serial").with("type", "pty")]);
        }
        if !self.tpm {
            devices.remove("tpm");
        } else if devices.get_at("tpm/backend", "type") != Some("emulator") {
            let backend = Element::new("backend").with("type", "emulator").with("version", "2.0");
            devices.replace("tpm", vec![Element::new("tpm").with("model", "tpm-crb").child(backend)]);
        }
        devices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_processors_is_written_in_one_way() {
        assert_eq!(processors("3,1-2, 7").as_deref(), Some("1-3,7"));
        assert_eq!(processors("0").as_deref(), Some("0"));
        for bad in ["", "a", "3-1", "^2", "1,,2", "99999"] {
            assert_eq!(processors(bad), None, "{bad}");
        }
    }
}
