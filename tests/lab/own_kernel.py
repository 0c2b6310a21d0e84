"""A host with a kernel of its own: Debian's, in qemu without the machine's help (TCG), for what the machine's kernel lacks.

It differs from the other hosts in how it is made, booted and entered, and in nothing else: its disk is made of the same
overlay that `host.prepare` writes, its cables end at the same ports of the fabric, and the same records say what runs.
`lab exec` enters it by a NIC of its own, which the host keeps out of sight in a network namespace: it works whatever the
host's sshd, firewall and cables do.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import image
import mirror
from fleet import Host
from host import MIRROR_IN_HOST, HostFiles, login_environment, spawn, stop
from network import NAMESPACES, Fabric
from process import LabError, ProcessRecord, run, write_file

EMULATOR = "qemu-system-x86_64"
# Commands that only these hosts need on the machine, and the Debian package of each.
TOOLS = {EMULATOR: "qemu-system-x86", "mke2fs": "e2fsprogs", "ssh": "openssh-client"}
PACKAGES = ("initramfs-tools", "kmod", "linux-image-cloud-amd64", "udev", "zstd")
RECIPE_VERSION = 1
REBOOT_REASON = "guest-reset"
MEMORY_MIB = 1024
PROCESSORS = 2
DISK_MIB = 4096
# A boot takes about 20 s where the machine has nothing else to do, and several times that in the middle of a test run.
BOOT_DEADLINE = 300.0
OURS = "usr/lib/provision-lab"
UNITS = "usr/lib/systemd/system"
NIC_OF_EXEC = "lab0"
MIRROR_LABEL = "lab-mirror"
QMP_SOCKET = "qmp.sock"
EVENTS_SOCKET = "events.sock"

NETWORK_UNIT = """[Unit]
Description=Addresses of the lab's cables
DefaultDependencies=no
Wants=network-pre.target
Before=network-pre.target
{devices}
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/sh /{ours}/network
"""
# As `host.own_nics` and `Fabric.inside` have it for other hosts: what the host's own systemd-networkd configures is left to it.
NETWORK_SCRIPT = """set -e
is_own() {
  [ -L /etc/systemd/system/multi-user.target.wants/systemd-networkd.service ] && grep -qsx "Name=$1" /etc/systemd/network/*.network
}
has_route=
ip link set lo up
"""
EXEC_UNIT = """[Unit]
Description=Way in for lab exec
Wants={device}
After={device}
StartLimitIntervalSec=0

[Service]
ExecStart=/usr/bin/unshare --net --mount /bin/sh /{ours}/exec
Restart=always
RestartSec=1
StandardError=null
"""
# The folder /run/sshd is the other sshd's, and comes and goes with it.
EXEC_SCRIPT = """set -e
nsenter --target 1 --net ip link set {nic} netns $$
mount -t tmpfs -o size=64k,mode=0755 lab /run
mkdir /run/sshd
ip address add fe80::2/64 dev {nic} nodad
ip link set {nic} up
exec /{ours}/lab-exec -D -e -f /{ours}/sshd_config
"""
EXEC_SSHD = """HostKey /{ours}/host_key
AuthorizedKeysFile /{ours}/authorized_keys
PermitRootLogin prohibit-password
PidFile none
UsePAM no
MaxStartups 100
"""
MIRROR_MOUNT = f"""[Unit]
Description=The lab's package mirror
Before=local-fs.target

[Mount]
What=/dev/disk/by-label/{MIRROR_LABEL}
Where={{where}}
Type=ext4
Options=ro,noload
"""
INSTALL = """mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
mount -t proc proc "$2/root/proc"
mount --bind "$2/debs" "$2/root/mnt"
# apt knows the order in which they can be installed, and needs nothing but them.
chroot "$2/root" sh -ec 'apt-get -q --yes -o DPkg::Options::=--force-unsafe-io -o APT::Sandbox::User=root install /mnt/*.deb'
"""


def missing_tools() -> dict[str, str]:
    """Returns the commands that are not there, with their packages."""
    return {tool: package for tool, package in TOOLS.items() if shutil.which(tool) is None}


def require_tools() -> None:
    missing = missing_tools()
    if missing:
        raise LabError(f"hosts with a kernel of their own need {', '.join(f'`{tool}`' for tool in missing)} on the machine",
                       "run `tests/lab/lab setup --own-kernel`", 2)


class Image:
    """What these hosts have beyond the base image: a layer with the kernel, and the mirror as a disk."""

    def __init__(self) -> None:
        self.folder = image.cache_folder() / f"kernel-{image.digest(image.image_folder().name, PACKAGES, INSTALL, RECIPE_VERSION)}"
        self.layer = self.folder / "layer"
        self.kernel = self.folder / "vmlinuz"
        self.initrd = self.folder / "initrd"
        self.mirror = mirror.mirror_folder().with_suffix(".ext4")

    def require(self) -> None:
        """Says how to make what is not there."""
        for path, what in ((self.folder, "kernel image"), (self.mirror, "mirror's disk")):
            if not path.exists():
                raise LabError(f"the {what} is not made yet, or its recipe has changed", "run `tests/lab/lab setup --own-kernel`", 2)

    def lower(self) -> str:
        """Returns the layers of a host's disk in overlayfs's words, the upper one first."""
        return f"{self.layer}:{image.image_root()}"

    def build(self) -> bool:
        """Makes the layer with the kernel if it is not there, and tells whether it had to."""
        if self.folder.is_dir():
            return False
        building = self.folder.with_suffix(".building")
        build_layer(building, str(image.image_root()), PACKAGES, "installing a kernel")
        boot = building / "layer/boot"
        for pattern, name in (("vmlinuz-*", "vmlinuz"), ("initrd.img-*", "initrd")):
            shutil.copy(next(boot.glob(pattern)), building / name)
        building.rename(self.folder)
        return True

    def build_mirror(self) -> bool:
        """Makes the mirror's disk if it is not there, and tells whether it had to."""
        if self.mirror.is_file():
            return False
        building = self.mirror.with_suffix(".building")
        source = mirror.mirror_root()
        size = sum(path.stat().st_size for path in source.rglob("*") if path.is_file())
        make_file_system(building, source, size * 5 // 4 // 2**20 + 32, "making the mirror's disk", label=MIRROR_LABEL)
        building.rename(self.mirror)
        return True


def build_layer(building: Path, lower: str, packages: tuple[str, ...], doing: str) -> None:
    """Installs packages over the layers `lower`, and leaves what came with them in the folder `layer`."""
    for name in ("root", "upper", "work", "debs"):
        (building / name).mkdir(parents=True)
    mirror.download(building / "apt", building / "debs", list(packages))
    # In mounts of its own, which are gone with it, however it ends.
    run(["unshare", "--mount", "sh", "-ec", INSTALL, "sh", lower, building], doing,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C"})
    for name in ("root", "work", "debs"):
        shutil.rmtree(building / name)
    (building / "upper").rename(building / "layer")


def make_file_system(path: Path, content: Path, mib: int, doing: str, label: str = "") -> None:
    # Without a journal: a disk of the lab is never looked at again after the machine's own crash.
    run(["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-L", label, "-d", content, path, f"{mib}M"], doing)


def make_disk(files: HostFiles, fabric: Fabric, login_key: str) -> None:
    """Turns the overlay that `host.prepare` has written into the disk that the host boots from."""
    host = files.host
    _write_ours(files, fabric, login_key)
    doing = f"making the disk of {host.name}"
    make_file_system(disk(files), files.root, DISK_MIB, doing)
    run(["umount", files.root], doing)
    for name in ("upper", "work", "root"):
        shutil.rmtree(files.disk / name)


def disk(files: HostFiles) -> Path:
    return files.disk / "disk.ext4"


def _write_ours(files: HostFiles, fabric: Fabric, login_key: str) -> None:
    """Writes what gives the host its NICs' names and addresses at power-on, its mirror, and the way in of `lab exec`."""
    host, root = files.host, files.root
    ours, units = root / OURS, root / UNITS
    ours.mkdir()
    # Its clock is its own: chronyd may set it.
    shutil.rmtree(root / UNITS / "chrony.service.d")
    os.link(root / "usr/sbin/sshd", ours / "lab-exec")
    named = [*((nic.mac, nic.name) for nic in host.nics), (fabric.mac_of_exec(host), NIC_OF_EXEC)]
    for index, (mac, name) in enumerate(named):
        # By driver, too: a VLAN has the permanent address of the NIC below it.
        write_file(root / f"usr/lib/systemd/network/10-lab-{index}.link",
                   f"[Match]\nPermanentMACAddress={mac}\nDriver=virtio_net\n\n[Link]\nName={name}\n")
    write_file(ours / "network", _network_script(host, fabric))
    write_file(ours / "exec", EXEC_SCRIPT.format(nic=NIC_OF_EXEC, ours=OURS))
    write_file(ours / "sshd_config", EXEC_SSHD.format(ours=OURS))
    write_file(ours / "authorized_keys", login_key, 0o600)
    write_file(ours / "host_key", files.key.read_text(), 0o600)
    devices = "".join(f"{word}={_device_unit(nic.name)}\n" for nic in host.nics for word in ("Wants", "After"))
    mount, mount_text = mirror_mount()
    for name, text, target in (
        ("lab-network.service", NETWORK_UNIT.format(devices=devices, ours=OURS), "multi-user.target"),
        ("lab-exec.service", EXEC_UNIT.format(device=_device_unit(NIC_OF_EXEC), ours=OURS), "multi-user.target"),
        (mount, mount_text, "local-fs.target"),
    ):
        write_file(units / name, text)
        wants = units / f"{target}.wants"
        wants.mkdir(exist_ok=True)
        (wants / name).symlink_to(f"../{name}")
    known = f"lab-exec {' '.join(files.key.with_suffix('.pub').read_text().split()[:2])}\n"
    write_file(files.state / "exec_known_hosts", known)


def mirror_mount() -> tuple[str, str]:
    """Returns the unit that mounts the mirror's disk: its name and its text."""
    return f"{MIRROR_IN_HOST.strip('/').replace('/', '-')}.mount", MIRROR_MOUNT.format(where=MIRROR_IN_HOST)


def _network_script(host: Host, fabric: Fabric) -> str:
    """Returns what gives the NICs that the host does not configure itself their addresses at power-on."""
    script, names = NETWORK_SCRIPT, frozenset(nic.name for nic in host.nics)
    for nic in host.nics:
        lines = []
        for line in fabric.inside(host, names - {nic.name}):
            is_route = line.startswith("route ")
            lines.append(f'  [ -n "$has_route" ] || {{ ip {line}; has_route=1; }}' if is_route else f"  ip {line}")
        if lines:
            script += "\n".join([f"is_own {shlex.quote(nic.name)} || {{", *lines, "}", ""])
    return script


def _device_unit(nic: str) -> str:
    """Returns systemd's name for a NIC, in which most signs are written in hexadecimal."""
    escaped = re.sub(r"[^A-Za-z0-9:_.]", lambda sign: "".join(f"\\x{byte:02x}" for byte in sign[0].encode()), nic)
    return f"sys-subsystem-net-devices-{escaped}.device"


def start(files: HostFiles, fabric: Fabric) -> subprocess.Popen[bytes]:
    """Boots a host and returns once its kernel runs. Its cables must be there already."""
    host, made = files.host, Image()
    made.require()
    command = ["nsenter", f"--net={NAMESPACES / fabric.namespace}", EMULATOR, "-machine", "q35", "-accel", "tcg,thread=multi",
               "-cpu", "Nehalem", "-m", str(MEMORY_MIB), "-smp", str(PROCESSORS), "-no-user-config", "-nodefaults",
               "-display", "none", "-serial", "stdio", "-qmp", f"unix:{QMP_SOCKET},server=on,wait=off",
               # A second boot in the same process costs twice the time of the first.
               "-no-reboot", "-qmp", f"unix:{EVENTS_SOCKET},server=on,wait=off",
               "-kernel", str(made.kernel), "-initrd", str(made.initrd),
               "-append", "root=/dev/vda rw console=ttyS0 mitigations=off", "-device", "virtio-rng-pci",
               # What the host has synced is kept by the machine's own cache; what it has not is lost with its power.
               "-drive", f"file={disk(files)},format=raw,if=virtio,cache=unsafe",
               "-drive", f"file={made.mirror},format=raw,if=virtio,readonly=on"]
    cables = [(fabric.port(host, index), nic.mac) for index, nic in enumerate(host.nics)]
    for index, (tap, mac) in enumerate([*cables, (fabric.port_of_exec(host), fabric.mac_of_exec(host))]):
        command += ["-netdev", f"tap,id=t{index},ifname={tap},script=no,downscript=no",
                    "-device", f"virtio-net-pci,id={_cable(index)},netdev=t{index},mac={mac},romfile="]
    for name in (QMP_SOCKET, EVENTS_SOCKET):
        (files.state / name).unlink(missing_ok=True)
    child = spawn(files, command, {"PATH": os.environ["PATH"]}, files.leader_record)
    try:
        _await_monitor(files, child)
        links = fabric.links()
        for index in range(len(host.nics)):
            if "UP" not in links[fabric.port(host, index)]["flags"]:
                set_cable(files, index, "off")
    except LabError:
        stop(files)
        child.wait()
        raise
    return child


def _cable(index: int) -> str:
    return f"cable{index}"


def _await_monitor(files: HostFiles, child: subprocess.Popen[bytes], deadline: float = 20.0) -> None:
    until = time.monotonic() + deadline
    while not all((files.state / name).exists() for name in (QMP_SOCKET, EVENTS_SOCKET)):
        if child.poll() is not None or time.monotonic() > until:
            raise LabError(f"booting {files.host.name}: {EMULATOR} did not start it\n{files.console_tail()}")
        time.sleep(0.01)


@contextlib.contextmanager
def _monitor(files: HostFiles, name: str, patience: float | None) -> Iterator[IO[str]]:
    """Opens a host's monitor, in which each line is JSON."""
    # By way of a descriptor, because the path of a socket may have 107 bytes only.
    folder = os.open(files.state, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.connect(f"/proc/self/fd/{folder}/{name}")
            connection.settimeout(patience)
            with connection.makefile("rw") as monitor:
                monitor.readline()
                _ask(monitor, "qmp_capabilities", {})
                yield monitor
    finally:
        os.close(folder)


def _ask(monitor: IO[str], execute: str, arguments: dict[str, Any]) -> None:
    monitor.write(json.dumps({"execute": execute, "arguments": arguments}) + "\n")
    monitor.flush()
    # Events come in between, as they happen.
    while "return" not in (answer := json.loads(monitor.readline())):
        if "error" in answer:
            raise LabError(f"asking a host's monitor for `{execute}`: {answer['error']['desc']}")


def set_cable(files: HostFiles, index: int, state: str) -> None:
    """Tells a host whether there is a carrier on a cable, `on` or `off`: it sees nothing of the fabric's port."""
    try:
        with _monitor(files, QMP_SOCKET, 20) as monitor:
            _ask(monitor, "set_link", {"name": _cable(index), "up": state == "on"})
    except (OSError, ValueError) as error:
        raise LabError(f"turning a cable of {files.host.name} {state}: {error}") from error


def await_end(files: HostFiles, child: subprocess.Popen[bytes]) -> str:
    """Waits for a host's end, and returns qemu's word for why: `guest-reset` where it wants to be booted again."""
    reason = "unknown"
    try:
        with _monitor(files, EVENTS_SOCKET, None) as monitor:
            for line in monitor:
                event = json.loads(line)
                if event.get("event") == "SHUTDOWN":
                    reason = event["data"]["reason"]
    except (OSError, ValueError):
        # Its power is gone.
        pass
    child.wait()
    return reason


def enter_command(files: HostFiles, fabric: Fabric, command: list[str]) -> list[str]:
    """Returns the command that runs another one as root inside a host, with a login's plain environment."""
    inside = ["nsenter", "--target", "1", "--net", "--mount", "--", "env", "-i", *login_environment(), *command]
    identity = files.state.parents[1] / "id_ed25519"
    options = ["BatchMode=yes", "ConnectTimeout=10", "HostKeyAlias=lab-exec", "IdentitiesOnly=yes", "LogLevel=ERROR",
               "ServerAliveInterval=10", f"UserKnownHostsFile={files.state / 'exec_known_hosts'}", "StrictHostKeyChecking=yes"]
    return ["nsenter", f"--net={NAMESPACES / fabric.namespace}", "ssh", "-F", "/dev/null", "-i", str(identity),
            *(word for option in options for word in ("-o", option)), "-tt" if sys.stdin.isatty() else "-T",
            f"root@fe80::2%{fabric.port_of_exec(files.host)}", shlex.join(inside)]
