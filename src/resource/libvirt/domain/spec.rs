//! What a task says of a guest.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resource::libvirt::network::OnChange;
use crate::resource::libvirt::seed::{CloudInit, Lan};
use crate::resource::libvirt::volume::{Format, Size};
use crate::resource::libvirt::{RunState, VirtName};
use crate::resource::spec::{HostPath, Seconds};

/// A guest of a hypervisor's: its processors, memory, disks and cards, as it is stored and as it runs.
///
/// A changed definition is stored at once. While the guest runs, cards, disks, pinning and more processors (up to `vcpus_max`)
/// change live; memory is asked of the guest, which gives what it can. Anything else waits for the next start: then the stored
/// definition is as wanted and counts as such, the plan says with which one the guest runs, and `on_change: restart` has it
/// shut down and started. Another `machine` or `firmware` makes another computer of it: that happens only with
/// `--allow-replace`. What is absent is undefined with its NVRAM and its seed; no disk is ever touched.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LibvirtDomain {
    /// Its name.
    pub(super) name: VirtName,
    /// `kvm`, or `tcg` where the host's processor cannot help (slow, for tests).
    #[serde(default)]
    pub(super) accelerator: Accelerator,
    /// `q35`, `pc`, or one of their versions such as `pc-q35-7.2`.
    #[serde(default = "q35")]
    pub(super) machine: String,
    /// `bios`, `uefi`, or `uefi-secure` with Secure Boot and the usual keys enrolled. UEFI needs the package `ovmf` on the host.
    #[serde(default)]
    pub(super) firmware: Firmware,
    /// A kernel of the host's that it starts with, where its disk has no boot loader.
    #[serde(default)]
    pub(super) boot: Option<DirectBoot>,
    /// The processor that the guest sees. The default is `host-passthrough` with `kvm` and `maximum` with `tcg`.
    #[serde(default)]
    pub(super) cpu: Option<Cpu>,
    /// How many processors it has.
    #[serde(default = "one")]
    pub(super) vcpus: u16,
    /// How many it may be given while it runs. The default is `vcpus`.
    #[serde(default)]
    pub(super) vcpus_max: Option<u16>,
    /// How its processors are arranged; their product is `vcpus_max`.
    #[serde(default)]
    pub(super) topology: Option<Topology>,
    /// For each of its processors, from the first on, those of the host that it may run on: `"2"`, `"4-7,9"`.
    #[serde(default)]
    pub(super) pinning: Vec<String>,
    /// How much memory it has, such as `4GiB`.
    #[serde(default)]
    pub(super) memory: Option<Size>,
    /// How much it may be given while it runs. The default is `memory`.
    #[serde(default)]
    pub(super) memory_max: Option<Size>,
    /// The size of the host's huge pages that its memory is made of, `2MiB` or `1GiB`.
    #[serde(default)]
    pub(super) huge_pages: Option<Size>,
    /// Its disks in order. It boots from the first, those on `virtio` before others.
    #[serde(default)]
    pub(super) disks: Vec<Disk>,
    /// Its network cards in order.
    #[serde(default)]
    pub(super) nics: Vec<Nic>,
    /// Whether it has a TPM 2.0, emulated by the host, which needs the package `swtpm-tools`.
    #[serde(default)]
    pub(super) tpm: bool,
    /// Whether it has a serial console.
    #[serde(default = "yes")]
    pub(super) serial: bool,
    /// What cloud-init in the guest is told, on a small disk that is made for it.
    #[serde(default)]
    pub(super) cloud_init: Option<CloudInit>,
    /// Whether it is started with the host.
    #[serde(default = "yes")]
    pub(super) autostart: bool,
    /// A group of guests of which no two may be on one hypervisor.
    #[serde(default)]
    pub(super) anti_affinity: Option<VirtName>,
    /// What is done when a running guest must change in a way that it cannot while it runs.
    #[serde(default)]
    pub(super) on_change: OnChange,
    /// How long it may take to shut down.
    #[serde(default = "two_minutes")]
    pub(super) shutdown_within: Seconds,
    /// Whether a guest that has not shut down by then is turned off. Otherwise the task fails.
    #[serde(default)]
    pub(super) force_off: bool,
    /// `running`, `stopped` or `absent`.
    #[serde(default)]
    pub(super) state: RunState,
}

fn yes() -> bool {
    true
}

fn one() -> u16 {
    1
}

fn q35() -> String {
    "q35".to_owned()
}

fn two_minutes() -> Seconds {
    Seconds::of(120)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Accelerator {
    #[default]
    Kvm,
    Tcg,
}

impl Accelerator {
    /// Returns libvirt's own word.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Accelerator::Kvm => "kvm",
            Accelerator::Tcg => "qemu",
        }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Firmware {
    #[default]
    Bios,
    Uefi,
    UefiSecure,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Cpu {
    /// That of the host.
    HostPassthrough,
    /// The nearest to it that other hosts can have too.
    HostModel,
    /// All that the accelerator can do.
    Maximum,
}

impl Cpu {
    pub(super) fn word(self) -> &'static str {
        match self {
            Cpu::HostPassthrough => "host-passthrough",
            Cpu::HostModel => "host-model",
            Cpu::Maximum => "maximum",
        }
    }
}

/// A kernel that a guest starts with, as files of the host.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DirectBoot {
    /// The kernel.
    pub(super) kernel: HostPath,
    /// What is in its memory at first.
    #[serde(default)]
    pub(super) initrd: Option<HostPath>,
    /// What it is told, such as `root=/dev/vda console=ttyS0`.
    #[serde(default)]
    pub(super) command_line: Option<String>,
}

/// How processors are arranged.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Topology {
    /// How many sockets there are.
    #[serde(default = "one")]
    pub(super) sockets: u16,
    /// How many cores each has.
    pub(super) cores: u16,
    /// How many threads each core has.
    #[serde(default = "one")]
    pub(super) threads: u16,
}

/// A disk: a volume of a pool, or a file or device of the host.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Disk {
    /// The pool that the volume is in.
    #[serde(default)]
    pub(super) pool: Option<VirtName>,
    /// The volume.
    #[serde(default)]
    pub(super) volume: Option<VirtName>,
    /// A file, or a device below `/dev`.
    #[serde(default)]
    pub(super) file: Option<HostPath>,
    /// `qcow2` or `raw`, which is never guessed from what is in it. Left out, it is known from a name that ends with `.qcow2`
    /// or `.raw`.
    #[serde(default)]
    pub(super) format: Option<Format>,
    /// How it is connected.
    #[serde(default)]
    pub(super) bus: Bus,
    /// Whether the guest may only read it.
    #[serde(default)]
    pub(super) read_only: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Bus {
    #[default]
    Virtio,
    Sata,
    Scsi,
}

impl Bus {
    pub(super) fn word(self) -> &'static str {
        match self {
            Bus::Virtio => "virtio",
            Bus::Sata => "sata",
            Bus::Scsi => "scsi",
        }
    }
}

/// A network card.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Nic {
    /// A network of libvirt's.
    #[serde(default)]
    pub(super) network: Option<VirtName>,
    /// A bridge of the host's.
    #[serde(default)]
    pub(super) bridge: Option<String>,
    /// Its MAC address. Left out, it follows from the name of the guest and of the network, so it stays when the guest
    /// moves to another host.
    #[serde(default)]
    pub(super) mac: Option<String>,
    /// What the card looks like to the guest.
    #[serde(default)]
    pub(super) model: Model,
    /// What the guest does on it, told to it by `cloud_init`.
    #[serde(default)]
    pub(super) lan: Option<Lan>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Model {
    #[default]
    Virtio,
    E1000e,
}

impl Model {
    pub(super) fn word(self) -> &'static str {
        match self {
            Model::Virtio => "virtio",
            Model::E1000e => "e1000e",
        }
    }
}

impl Disk {
    /// Returns its format, where it is told.
    pub(super) fn format(&self) -> Option<Format> {
        let name = self.volume.as_ref().map(VirtName::as_str).or(self.file.as_ref().map(HostPath::as_str));
        self.format.or_else(|| match name? {
            name if name.ends_with(".qcow2") => Some(Format::Qcow2),
            name if name.ends_with(".raw") || name.starts_with("/dev/") => Some(Format::Raw),
            _ => None,
        })
    }
}

impl LibvirtDomain {
    pub(super) fn most_vcpus(&self) -> u16 {
        self.vcpus_max.unwrap_or(self.vcpus)
    }

    /// Returns its memory in bytes.
    pub(super) fn bytes(&self) -> u64 {
        self.memory.map_or(0, Size::bytes)
    }

    pub(super) fn most_bytes(&self) -> u64 {
        self.memory_max.map_or(self.bytes(), Size::bytes)
    }

    pub(super) fn cpu(&self) -> Cpu {
        self.cpu.unwrap_or(match self.accelerator {
            Accelerator::Kvm => Cpu::HostPassthrough,
            Accelerator::Tcg => Cpu::Maximum,
        })
    }
}
