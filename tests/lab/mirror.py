"""The lab's package mirror: a small signed apt repository, as an air-gapped datacenter has one.

It holds the packages of `packages.txt` with all that they need beyond the base image, resolved by apt itself, and a
few packages of the lab's own whose versions and failures tests can count on.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from image import SUITE, cache_folder, digest, image_folder, image_root
from process import LabError, run, write_file

LIST = Path(__file__).resolve().parent / "packages.txt"
COMPONENT = "main"
KEY_NAME = "provision lab mirror"
# (name, version, maintainer scripts, what its one file says)
OWN_PACKAGES = (
    ("provision-lab-probe", "1.0", {}, "probe 1.0\n"),
    ("provision-lab-probe", "2.0", {}, "probe 2.0\n"),
    ("provision-lab-broken", "0.1", {"postinst": "#!/bin/sh\necho 'provision-lab-broken: this never works' >&2\nexit 1\n"},
     "broken 0.1\n"),
)
RECIPE_VERSION = 1


def mirror_folder() -> Path:
    """Returns where the mirror of this package list and this key is, or will be."""
    key = keyring().read_bytes().hex() if keyring().is_file() else ""
    return cache_folder() / f"mirror-{digest(RECIPE_VERSION, wanted_packages(), OWN_PACKAGES, image_folder().name, key)}"


def mirror_root() -> Path:
    """Returns the folder that hosts see as their mirror, or says how to make it."""
    folder = mirror_folder()
    if not folder.is_dir():
        raise LabError("the package mirror is not made yet, or its package list has changed", "run `tests/lab/lab setup`", 2)
    return folder


def keyring() -> Path:
    """Returns the public key of the mirror in the form that `signed-by` wants."""
    return cache_folder() / "lab-mirror.gpg"


def wanted_packages() -> list[str]:
    names = (line.partition("#")[0].strip() for line in LIST.read_text().splitlines())
    return sorted({name for name in names if name})


def build_mirror() -> bool:
    """Makes the mirror if it is not there, and tells whether it had to."""
    make_key()
    folder = mirror_folder()
    if folder.is_dir():
        return False
    building = folder.with_suffix(".building")
    pool = building / "pool" / COMPONENT
    pool.mkdir(parents=True)
    download(building / "apt", pool, wanted_packages())
    for package in OWN_PACKAGES:
        _build_package(building / "package", pool, *package)
    _index(building)
    building.rename(folder)
    return True


def make_key() -> None:
    """Makes the signing key of this machine's mirrors, once."""
    if keyring().is_file():
        return
    home = cache_folder() / "gnupg"
    # Without its public half, a key is one that was never finished.
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(mode=0o700)
    doing = "making the mirror's key"
    try:
        run([*_gpg(), "--passphrase", "", "--quick-generate-key", KEY_NAME, "ed25519", "sign", "never"], doing)
        fresh = home / keyring().name
        run([*_gpg(), "--output", fresh, "--export", KEY_NAME], doing)
        fresh.rename(keyring())
    finally:
        _end_agent()


def download(work: Path, pool: Path, names: list[str]) -> None:
    """Fetches packages by apt's own resolver, as if it installed them in the base image."""
    lists = image_folder() / "apt"
    for name in ("archives/partial", "lists"):
        (work / name).mkdir(parents=True)
    shutil.copytree(lists / "lists", work / "lists", dirs_exist_ok=True)
    (work / "lists/partial").mkdir(exist_ok=True)
    # The machine's own apt settings (a proxy, say) stay in force; its sources, state and preferences do not.
    options = [word for setting in (
        f"Dir::State::status={image_root()}/var/lib/dpkg/status", f"Dir::State::lists={work}/lists",
        f"Dir::State::extended_states={work}/extended_states", f"Dir::Cache={work}", f"Dir::Cache::archives={work}/archives",
        f"Dir::Etc::sourcelist={lists}/sources.list", "Dir::Etc::sourceparts=/dev/null", "Dir::Etc::preferences=/dev/null",
        "Dir::Etc::preferencesparts=/dev/null", "APT::Sandbox::User=root", "APT::Get::AllowUnauthenticated=false",
        "Acquire::Languages=none", "APT::Install-Recommends=false", "Debug::NoLocking=true",
    ) for word in ("-o", setting)]
    # The image may be older than the archive, which keeps no superseded packages.
    run(["apt-get", *options, "-q", "update"], "reading the archive's package lists")
    # --reinstall, so that a listed package which the image has already can be removed and installed again in a host.
    run(["apt-get", *options, "-q", "--yes", "--download-only", "--reinstall", "install", *names],
        f"fetching {len(names)} packages and what they need")
    for package in (work / "archives").glob("*.deb"):
        # apt writes an epoch as `1%3a` into the file name; a pool has no epochs in its names.
        name, version, rest = package.name.split("_", 2)
        package.rename(pool / f"{name}_{version.rpartition('%3a')[2]}_{rest}")
    shutil.rmtree(work)


def _build_package(work: Path, pool: Path, name: str, version: str, scripts: dict[str, str], says: str) -> None:
    control = work / "DEBIAN"
    content = work / "usr/share" / name
    control.mkdir(parents=True)
    content.mkdir(parents=True)
    (content / "says").write_text(says)
    (control / "control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: all\nSection: misc\nPriority: optional\n"
        f"Maintainer: provision lab <lab@localhost>\nDescription: package of the provision lab\n")
    for script, text in scripts.items():
        write_file(control / script, text, 0o755)
    run(["dpkg-deb", "--root-owner-group", "--build", work, pool / f"{name}_{version}_all.deb"], f"building {name} {version}")
    shutil.rmtree(work)


def _index(root: Path) -> None:
    """Writes and signs the indexes."""
    doing = "indexing the mirror"
    architecture = run(["dpkg", "--print-architecture"], doing).strip()
    suite = root / "dists" / SUITE
    binary = suite / COMPONENT / f"binary-{architecture}"
    binary.mkdir(parents=True)
    # From the root of the mirror, because the index names files relative to it.
    packages = run(["apt-ftparchive", "packages", f"pool/{COMPONENT}"], doing, cwd=root)
    (binary / "Packages").write_text(packages)
    release = {"Origin": "provision-lab", "Label": "provision-lab", "Suite": SUITE, "Codename": SUITE,
               "Components": COMPONENT, "Architectures": architecture, "Description": "Mirror of the provision lab"}
    settings = [word for key, value in release.items() for word in ("-o", f"APT::FTPArchive::Release::{key}={value}")]
    (suite / "Release").write_text(run(["apt-ftparchive", *settings, "release", suite], doing))
    try:
        run([*_gpg(), "--local-user", KEY_NAME, "--yes", "--clearsign", "--output", suite / "InRelease", suite / "Release"], doing)
        run([*_gpg(), "--local-user", KEY_NAME, "--yes", "--armor", "--detach-sign", "--output", suite / "Release.gpg",
             suite / "Release"], doing)
    finally:
        _end_agent()


def _gpg() -> list[str]:
    return ["gpg", "--homedir", str(cache_folder() / "gnupg"), "--batch", "--quiet", "--pinentry-mode", "loopback"]


def _end_agent() -> None:
    """Ends the agent that gpg starts for its home folder; nothing of the lab runs between its commands."""
    environment = {**os.environ, "GNUPGHOME": str(cache_folder() / "gnupg")}
    run(["gpgconf", "--kill", "gpg-agent"], "ending the mirror's gpg-agent", env=environment)
