"""The disk that a hypervisor of the lab makes its virtual machines of: Debian with a kernel and cloud-init.

It has no key, no address and nobody who may log in: all of that a machine gets from the seed that it is given. The
hypervisors see it, its kernel and the mirror as files below `/srv/images`.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import image
import own_kernel
from host import KEYRING_IN_HOST, MIRROR_IN_HOST
from process import LabError, run, write_file

PACKAGES = ("cloud-init",)
RECIPE_VERSION = 1
DISK_MIB = 2048
IMAGES_IN_HOST = "/srv/images"
FILES = {
    # Only what a hypervisor gives is asked: the other sources of cloud-init would be waited for.
    "etc/cloud/cloud.cfg.d/90-lab.cfg": "datasource_list: [NoCloud]\n"
                                        "system_info: {network: {renderers: [networkd]}}\n"
                                        "apt: {preserve_sources_list: true}\n",
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n",
    "etc/fstab": "/dev/vda / ext4 defaults 0 0\n",
}
ENABLED = {
    "etc/systemd/system/multi-user.target.wants/systemd-networkd.service": "/lib/systemd/system/systemd-networkd.service",
    "etc/systemd/system/network-online.target.wants/systemd-networkd-wait-online.service":
        "/lib/systemd/system/systemd-networkd-wait-online.service",
}
ASSEMBLE = """mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
mke2fs -q -F -t ext4 -m 0 -d "$2/root" "$2/disk.raw" "$3M"
"""


def shown_file() -> Path:
    return image.cache_folder() / "guest.json"


def shown() -> dict[str, Any]:
    """Returns what hypervisors are shown: `files` by their names below `/srv/images`, and the `sha256` of the disk.

    It is the same whatever else the hypervisors' own image has.
    """
    try:
        found: dict[str, Any] = json.loads(shown_file().read_text())
        if all(Path(path).exists() for path in found["files"].values()):
            return found
    except FileNotFoundError:
        pass
    raise LabError("the image for virtual machines is not made yet", "run `tests/lab/lab setup --guest-image`", 2)


class GuestImage:
    """The recipe of the image."""

    def __init__(self) -> None:
        self.kernel = own_kernel.Image()
        recipe = image.digest(self.kernel.folder.name, PACKAGES, FILES, ENABLED, ASSEMBLE, RECIPE_VERSION)
        self.folder = image.cache_folder() / f"guest-{recipe}"

    def build(self) -> bool:
        """Makes the disk if it is not there, tells whether it had to, and writes down what hypervisors are shown."""
        is_new = not self.folder.is_dir()
        if is_new:
            self._build_disk()
        digest = (self.folder / "sha256").read_text().strip()
        files = {"debian-12.raw": self.folder / "disk.raw", "vmlinuz": self.kernel.kernel, "initrd.img": self.kernel.initrd,
                 "mirror.ext4": self.kernel.mirror}
        write_file(shown_file(), json.dumps({"sha256": digest, "files": {name: str(path) for name, path in files.items()}}))
        return is_new

    def _build_disk(self) -> None:
        building = self.folder.with_suffix(".building")
        own_kernel.build_layer(building, self.kernel.lower(), PACKAGES, "installing cloud-init")
        for name in ("root", "upper", "work"):
            (building / name).mkdir()
        upper = building / "upper"
        mount, mount_text = own_kernel.mirror_mount()
        units = {f"etc/systemd/system/{mount}": mount_text}
        for name, text in {**FILES, **units}.items():
            (upper / name).parent.mkdir(parents=True, exist_ok=True)
            write_file(upper / name, text)
        wants = {f"etc/systemd/system/local-fs.target.wants/{mount}": f"/etc/systemd/system/{mount}"}
        for name, target in {**ENABLED, **wants}.items():
            (upper / name).parent.mkdir(parents=True, exist_ok=True)
            (upper / name).symlink_to(target)
        (upper / MIRROR_IN_HOST.strip("/")).mkdir(parents=True)
        (upper / KEYRING_IN_HOST).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(image.cache_folder() / Path(KEYRING_IN_HOST).name, upper / KEYRING_IN_HOST)
        run(["unshare", "--mount", "sh", "-ec", ASSEMBLE, "sh", f"{building / 'layer'}:{self.kernel.lower()}", building, str(DISK_MIB)],
            "making the disk of virtual machines", env={**os.environ, "LC_ALL": "C"})
        digest = hashlib.sha256()
        with (building / "disk.raw").open("rb") as disk:
            while block := disk.read(1 << 20):
                digest.update(block)
        write_file(building / "sha256", f"{digest.hexdigest()}\n")
        for name in ("root", "upper", "work", "layer"):
            shutil.rmtree(building / name)
        building.rename(self.folder)
