"""Faults by real means: pulled cables, slow wires, stopped daemons, lost power, full disks.

What is broken is never written down; `describe` asks the fabric and the processes, so that a fault which a host or a
test has removed in another way does not show.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import own_kernel
from fleet import Host
from host import HostFiles, is_stopped, sshd_processes
from network import NAMESPACES, Fabric
from process import LabError, ProcessRecord, end_processes, run, write_file
from state import Lab

WIRE = Path(__file__).resolve().parent / "wire.py"
FULL_SOURCE = "lab-full"
DEFAULT_FULL = "/srv/full"
# Again until nothing new appears: the listener may just have started a session.
FREEZE = "while ps -C sshd -o stat= | grep -qv ^T; do pkill -STOP -x sshd; sleep 0.1; done"
# Whether an sshd is stopped, and the mounts.
LOOK = "ps -C sshd -o stat= | grep -o -m 1 ^T || echo -; cat /proc/1/mountinfo"


def cut(lab: Lab, host: Host, nic: str | None = None) -> None:
    """Pulls the host's cables, or that of one NIC."""
    chosen = [index for index, one in enumerate(host.nics) if nic in (None, one.name)]
    if not chosen:
        raise LabError(f"the host {host.name} has no NIC `{nic}`", f"its NICs are {', '.join(one.name for one in host.nics)}", 2)
    lab.fabric().cut(host, chosen)
    _set_cables(lab.files(host), chosen, "off")


def heal(lab: Lab, host: Host) -> None:
    """Plugs the host's cables in again and removes the slow wire."""
    fabric, files = lab.fabric(), lab.files(host)
    fabric.heal(host)
    _set_cables(files, list(range(len(host.nics))), "on")
    _end_wire(files)


def _set_cables(files: HostFiles, nics: list[int], state: str) -> None:
    # One that is off now learns it when it boots.
    if files.host.own_kernel and files.leader() is not None:
        for index in nics:
            own_kernel.set_cable(files, index, state)


def freeze(lab: Lab, host: Host) -> None:
    """Stops sshd: the kernel still accepts connections, and nobody says anything on them."""
    leader = lab.leader(host)
    if host.own_kernel:
        run(lab.enter_command(host, ["sh", "-c", FREEZE]), f"freezing sshd of {host.name}")
        return
    # Again until nothing new appears: the listener may just have started a session.
    while running := [record for record in sshd_processes(leader) if not is_stopped(record.pid)]:
        for record in running:
            record.signal(signal.SIGSTOP)
        time.sleep(0.02)


def thaw(lab: Lab, host: Host) -> None:
    """Lets sshd go on."""
    leader = lab.leader(host)
    if host.own_kernel:
        run(lab.enter_command(host, ["pkill", "-CONT", "-x", "sshd"]), f"thawing sshd of {host.name}")
        return
    for record in sshd_processes(leader):
        record.signal(signal.SIGCONT)


def kill(lab: Lab, host: Host) -> None:
    """Takes the host's power away."""
    lab.ask_supervisor({"do": "kill", "host": host.name}, 30)


def boot(lab: Lab, host: Host) -> None:
    """Powers the host on, with its disk as it was."""
    lab.ask_supervisor({"do": "boot", "host": host.name}, 60)


def fill(lab: Lab, host: Host, path: str) -> None:
    """Mounts a file system of 1 MiB in the host and fills it to the last byte."""
    script = ('mkdir -p -- "$1" && mount -t tmpfs -o size=1m,mode=0755 "$2" "$1" && '
              '{ dd if=/dev/zero of="$1/filler" bs=4k status=none 2>/dev/null || :; }')
    run(lab.enter_command(host, ["sh", "-c", script, "sh", path, FULL_SOURCE]), f"filling {path} of {host.name}")


def spoil_wire(lab: Lab, host: Host, change: dict[str, float]) -> None:
    """Makes the host's cables slow or lossy; the one does not touch the other. Both at zero remove the wire."""
    fabric, files = lab.fabric(), lab.files(host)
    config: dict[str, Any] = {"delay_ms": 0.0, "loss_pct": 0.0, **_wire_settings(files), **change}
    config["pairs"] = [fabric.taps(host, index) for index in range(len(host.nics))]
    if not config["delay_ms"] and not config["loss_pct"]:
        cables_cut = fabric.is_cut(host, fabric.links())
        heal(lab, host)
        if cables_cut:
            fabric.cut(host)
        return
    write_file(files.wire_config, json.dumps(config))
    wire = _wire(files)
    if wire is not None:
        wire.signal(signal.SIGHUP)
    else:
        fabric.insert_wire(host)
        _start_wire(fabric, files)


def _start_wire(fabric: Fabric, files: HostFiles) -> None:
    with (files.state / "wire.log").open("ab") as log:
        child = subprocess.Popen(
            ["nsenter", f"--net={NAMESPACES / fabric.namespace}", sys.executable, str(WIRE), str(files.wire_config)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    record = ProcessRecord.capture(child.pid)
    if record is not None:
        record.save(files.wire_record)
    # A TAP has its carrier once the wire holds it.
    until = time.monotonic() + 10
    taps = [tap for index in range(len(files.host.nics)) for tap in fabric.taps(files.host, index)]
    while time.monotonic() < until and child.poll() is None:
        links = fabric.links()
        if all("LOWER_UP" in links[tap]["flags"] for tap in taps):
            return
        time.sleep(0.02)
    raise LabError(f"starting the wire before {files.host.name}: it does not carry", f"look at {files.state / 'wire.log'}")


def _end_wire(files: HostFiles) -> None:
    record = ProcessRecord.load(files.wire_record)
    if record is not None:
        end_processes([record])
    files.wire_record.unlink(missing_ok=True)
    files.wire_config.unlink(missing_ok=True)


def _wire(files: HostFiles) -> ProcessRecord | None:
    record = ProcessRecord.load(files.wire_record)
    return record if record is not None and record.is_alive() else None


def _wire_settings(files: HostFiles) -> dict[str, Any]:
    try:
        settings: dict[str, Any] = json.loads(files.wire_config.read_text())
        return settings
    except FileNotFoundError:
        return {}


def describe(lab: Lab, fabric: Fabric, host: Host, links: dict[str, dict[str, Any]]) -> list[str]:
    """Returns the faults of a host in the words of `lab fault`, and what they were given."""
    files = lab.files(host)
    faults = []
    leader = files.leader()
    if fabric.is_cut(host, links):
        faults.append("cut")
    else:
        faults += [f"cut {host.nics[index].name}" for index in fabric.cut_nics(host, links)]
    settings = _wire_settings(files)
    if settings and _wire(files) is None:
        faults.append("wire broken")
    faults += [f"{word} {settings[key]:g}" for word, key in (("slow", "delay_ms"), ("loss", "loss_pct")) if settings.get(key)]
    if leader is None:
        return faults
    if host.own_kernel:
        try:
            is_frozen, *mounts = run(lab.enter_command(host, ["sh", "-c", LOOK]), "looking").splitlines()
        except (LabError, ValueError):
            return [*faults, "no answer"]
        stopped = is_frozen == "T"
    else:
        stopped = any(is_stopped(record.pid) for record in sshd_processes(leader))
        try:
            mounts = Path(f"/proc/{leader.pid}/mountinfo").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            mounts = []
    if stopped:
        faults.append("freeze")
    return [*faults, *(f"full {mount.split()[4]}" for mount in mounts if f" - tmpfs {FULL_SOURCE} " in mount)]
