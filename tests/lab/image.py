"""The base image that all hosts share, and the machine's own packages that the lab needs.

An image is a folder in the cache, named after a digest of the recipe below: a changed recipe makes a new image, an
unchanged one costs nothing. What differs from host to host is not in it; `host` writes that.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from process import LabError, run

SUITE = "bookworm"
PACKAGES = ("systemd", "systemd-sysv", "dbus", "openssh-server", "iproute2", "nftables", "procps", "ca-certificates", "sudo",
            # Further ones for an image of its own, such as what the benchmark's peers need on a host.
            *sorted(filter(None, os.environ.get("LAB_INCLUDE", "").split(","))))
# Commands that the lab uses on the machine, and the Debian package of each.
TOOLS = {
    "mmdebstrap": "mmdebstrap", "systemd-nspawn": "systemd-container", "apt-ftparchive": "apt-utils", "ip": "iproute2",
    "gpg": "gnupg", "ssh-keygen": "openssh-client", "dpkg-deb": "dpkg", "nsenter": "util-linux", "mount": "mount",
}
FILES = {
    "etc/apt/sources.list": (0o644, ""),
    "etc/hostname": (0o644, ""),
    "etc/machine-id": (0o444, ""),
    "etc/resolv.conf": (0o644, ""),
    "etc/sudoers.d/provision": (0o440, "provision ALL=(ALL:ALL) NOPASSWD: ALL\n"),
    "etc/ssh/sshd_config.d/lab.conf": (0o644, "PermitRootLogin prohibit-password\n"),
    # A stock Debian kernel filters bridged frames only once br_netfilter is loaded; the machine's may have it built in.
    "usr/lib/sysctl.d/60-lab-bridge.conf": (0o644, "-net.bridge.bridge-nf-call-iptables = 0\n"
                                                   "-net.bridge.bridge-nf-call-ip6tables = 0\n"
                                                   "-net.bridge.bridge-nf-call-arptables = 0\n"),
    # All hosts share the machine's clock, which is not theirs to set: chronyd serves and compares time, and leaves it.
    "usr/lib/systemd/system/chrony.service.d/lab.conf": (0o644, "[Unit]\nConditionCapability=\n[Service]\nExecStart=\n"
                                                                "ExecStart=!/usr/sbin/chronyd -x $DAEMON_OPTS\n"),
}
# Views into the machine's kernel that a host has no business with, a login on a console that nobody sees, and the
# search for snapshots on disks that are not there, which is the longest part of a boot.
MASKED_UNITS = ("sys-kernel-debug.mount", "sys-kernel-tracing.mount", "dev-hugepages.mount", "console-getty.service",
                "e2scrub_reap.service")
IN_IMAGE = (
    "useradd --create-home --shell /bin/bash provision",
    # Not `!`, which is what `useradd` leaves: sshd refuses a locked account even with the right key.
    "usermod --password '*' provision",
    "usermod --password '*' root",
    "rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub",
)


def cache_folder() -> Path:
    return Path(os.environ.get("LAB_CACHE") or "/var/cache/provision-lab").absolute()


def digest(*parts: object) -> str:
    """Returns a short name for a recipe."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:12]


def image_folder() -> Path:
    """Returns where the image of this recipe is, or will be."""
    return cache_folder() / f"base-{digest(SUITE, PACKAGES, FILES, MASKED_UNITS, IN_IMAGE)}"


def image_root() -> Path:
    """Returns the file system of the image, or says how to make it."""
    root = image_folder() / "root"
    if not root.is_dir():
        raise LabError("the base image is not made yet, or its recipe has changed", "run `tests/lab/lab setup`", 2)
    return root


def missing_tools() -> dict[str, str]:
    """Returns the commands that are not there, with their packages."""
    return {tool: package for tool, package in TOOLS.items() if shutil.which(tool) is None}


def install_tools(missing: dict[str, str]) -> list[str]:
    """Installs what is missing on the machine and returns the names of those packages."""
    packages = sorted(set(missing.values()))
    if packages:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        doing = f"installing {', '.join(packages)}"
        run(["apt-get", "update"], doing, env=environment)
        run(["apt-get", "install", "--yes", "--no-install-recommends", *packages], doing, env=environment)
    return packages


@contextlib.contextmanager
def cache_lock() -> Iterator[None]:
    """Lets one `setup` at a time build, and clears away what an interrupted one has left."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with (cache_folder() / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for leftover in cache_folder().glob("*.building"):
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
        yield


def build_image() -> bool:
    """Makes the image if it is not there, and tells whether it had to."""
    folder = image_folder()
    if folder.is_dir():
        return False
    building = folder.with_suffix(".building")
    root = building / "root"
    building.mkdir()
    run(["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(PACKAGES)}", "--skip=cleanup/apt/lists",
         SUITE, root], "making the base image")
    # The package lists leave the image, but the mirror's packages are resolved against them.
    (building / "apt").mkdir()
    shutil.move(root / "var/lib/apt/lists", building / "apt/lists")
    shutil.copy(root / "etc/apt/sources.list", building / "apt/sources.list")
    (root / "var/lib/apt/lists/partial").mkdir(parents=True)
    for name, (mode, text) in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.write_text(text)
        path.chmod(mode)
    for unit in MASKED_UNITS:
        (root / "etc/systemd/system" / unit).symlink_to("/dev/null")
    run(["chroot", root, "sh", "-ec", "\n".join(IN_IMAGE)], "finishing the base image")
    building.rename(folder)
    return True
