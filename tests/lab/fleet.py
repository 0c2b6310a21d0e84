"""What to boot: hosts, their NICs and the networks between them.

Every source (an inventory folder, a JSON file, a host list) becomes the same `Fleet`. This module only reads and
checks; `network` and `host` make it real.
"""

from __future__ import annotations

import ipaddress
import itertools
import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from process import LabError, run

REPOSITORY = Path(__file__).resolve().parents[2]
FORMAT_VERSION = 1
PLAIN_NETWORK = ipaddress.ip_network("10.99.0.0/16")
LABEL = r"[A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?"
NAME = re.compile(rf"{LABEL}(\.{LABEL})*")
USER = re.compile(r"[a-z_][a-z0-9_-]*")
NIC_NAME = re.compile(r"[^\s/:]{1,15}")
MAC = re.compile(r"[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Cidr = ipaddress.IPv4Network | ipaddress.IPv6Network
AddressWithPrefix = ipaddress.IPv4Interface | ipaddress.IPv6Interface


@dataclass(frozen=True)
class Network:
    """A bridge of the fabric. `gateway` is what the inventory says; the fabric may own another address."""

    name: str
    cidr: Cidr
    gateway: Address | None


@dataclass(frozen=True)
class Nic:
    """A network card of a host, wired to the network's bridge."""

    name: str
    network: str
    address: AddressWithPrefix | None
    mac: str


@dataclass(frozen=True)
class Host:
    """A host to boot. `address`, `port` and `user` are how the tool reaches it."""

    name: str
    address: Address
    port: int
    user: str
    nics: tuple[Nic, ...]
    # Whether it boots a kernel of its own instead of sharing the machine's.
    own_kernel: bool = False

    def addresses(self) -> list[Address]:
        """Returns the address of SSH first, then the others in the order of the NICs."""
        others = [nic.address.ip for nic in self.nics if nic.address is not None]
        return [self.address, *(address for address in others if address != self.address)]


@dataclass(frozen=True)
class Fleet:
    """All that one lab holds."""

    hosts: tuple[Host, ...]
    networks: tuple[Network, ...]

    def host(self, name: str) -> Host:
        """Returns the host of that name, or says which names there are."""
        for host in self.hosts:
            if host.name == name:
                return host
        known = ", ".join(host.name for host in self.hosts[:8]) + (", ..." if len(self.hosts) > 8 else "")
        raise LabError(f"the lab has no host `{name}`", f"its hosts are {known}")

    def render(self) -> str:
        """Returns the fleet in the format that `parse_inventory` reads."""
        return json.dumps({
            "version": FORMAT_VERSION,
            "hosts": [{
                "name": host.name, "own_kernel": host.own_kernel,
                "ssh": {"address": str(host.address), "port": host.port, "user": host.user},
                "interfaces": [{
                    "name": nic.name, "network": nic.network, "mac": nic.mac,
                    "address": None if nic.address is None else str(nic.address.ip),
                    "prefix": None if nic.address is None else nic.address.network.prefixlen,
                } for nic in host.nics],
            } for host in self.hosts],
            "networks": [{
                "name": network.name, "cidr": str(network.cidr),
                "gateway": None if network.gateway is None else str(network.gateway),
            } for network in self.networks],
        }, indent=1)


def load_fleet(source: str, count: int | None) -> Fleet:
    """Reads a folder, a `.json` file, a host list, or the word `plain`, and keeps the first `count` hosts.

    A host list that is too short is filled up with `host-001`, `host-002`, ..., so that a load test needs no file.
    """
    path = Path(source)
    if path.is_dir():
        fleet = parse_inventory(_ask_tool(path), source)
    elif path.suffix == ".json":
        fleet = parse_inventory(_read(path), source)
    elif source == "plain" and not path.exists():
        fleet = parse_list("", source, count or 1)
    else:
        fleet = parse_list(_read(path), source, count or 0)
    if count is not None:
        if count > len(fleet.hosts):
            raise LabError(f"`{source}` has {len(fleet.hosts)} hosts to boot, and {count} were asked for",
                           "give a smaller `--hosts`, or boot `plain` hosts")
        fleet = replace(fleet, hosts=fleet.hosts[:count])
    # A network without a booted host needs no bridge.
    used = {nic.network for host in fleet.hosts for nic in host.nics}
    fleet = replace(fleet, networks=tuple(network for network in fleet.networks if network.name in used))
    _check(fleet, source)
    return fleet


def with_own_kernels(fleet: Fleet, names: str) -> Fleet:
    """Gives the named hosts a kernel of their own: `all`, or names with commas between."""
    chosen = {host.name for host in fleet.hosts} if names == "all" else {fleet.host(name).name for name in names.split(",")}
    return replace(fleet, hosts=tuple(replace(host, own_kernel=host.own_kernel or host.name in chosen) for host in fleet.hosts))


def parse_inventory(text: str, source: str) -> Fleet:
    """Parses the JSON of `provision inventory list --json`. Unknown keys are none of the lab's business."""
    try:
        data = json.loads(text)
        if data["version"] != FORMAT_VERSION:
            raise LabError(f"{source}: version {data['version']} is unknown to the lab", "the lab reads version 1")
        networks = {}
        for item in data["networks"]:
            gateway = item.get("gateway")
            cidr = ipaddress.ip_network(item["cidr"])
            networks[item["name"]] = Network(item["name"], cidr, ipaddress.ip_address(gateway) if gateway else None)
        hosts = []
        for item in data["hosts"]:
            if item.get("provided_by") is None:
                hosts.append(_parse_host(item, networks))
    except KeyError as error:
        raise LabError(f"{source}: the key or network {error} is missing") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise LabError(f"{source}: this is not a fleet in JSON: {error}") from error
    return Fleet(tuple(hosts), tuple(networks.values()))


def parse_list(text: str, source: str, at_least: int) -> Fleet:
    """Parses `name address` lines: one NIC each, in one network as wide as the /16 of the first address."""
    pairs: list[tuple[str, Address]] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        if len(words) != 2:
            raise LabError(f"{source}:{number}: `{line.strip()}` is not `name address`")
        try:
            pairs.append((words[0], ipaddress.ip_address(words[1])))
        except ValueError as error:
            raise LabError(f"{source}:{number}: {error}") from error
    cidr = ipaddress.ip_network(f"{pairs[0][1]}/16", strict=False) if pairs else PLAIN_NETWORK
    taken_names, taken = {name for name, _ in pairs}, {address for _, address in pairs}
    for name, address in _numbered(cidr):
        if len(pairs) >= at_least:
            break
        if name not in taken_names and address not in taken:
            pairs.append((name, address))
    hosts = []
    for name, address in pairs:
        with_prefix = ipaddress.ip_interface(f"{address}/{cidr.prefixlen}")
        hosts.append(Host(name, address, 22, "provision", (Nic("eth0", "plain", with_prefix, mac_address(name, "eth0")),)))
    return Fleet(tuple(hosts), (Network("plain", cidr, None),))


def _parse_host(item: dict[str, Any], networks: dict[str, Network]) -> Host:
    name, ssh = item["name"], item["ssh"]
    nics = []
    for nic in item["interfaces"]:
        # A host has its loopback interface by itself; what addresses it gets there is for who configures the host.
        if nic.get("network") is None or nic["name"] == "lo":
            continue
        network = networks[nic["network"]]
        address = nic.get("address")
        if address is not None:
            address = ipaddress.ip_interface(f"{address}/{nic.get('prefix') or network.cidr.prefixlen}")
        nics.append(Nic(nic["name"], network.name, address, nic.get("mac") or mac_address(name, nic["name"])))
    address = ipaddress.ip_address(ssh["address"])
    if not nics:
        nics.append(_only_nic(name, address, networks))
    return Host(name, address, ssh.get("port") or 22, ssh.get("user") or "provision", tuple(nics),
                bool(item.get("own_kernel")))


def _only_nic(host: str, address: Address, networks: dict[str, Network]) -> Nic:
    """Gives a host whose inventory names no NIC the one that its SSH address needs, in a new network if none fits."""
    network = next((network for network in networks.values() if address in network.cidr), None)
    if network is None:
        network = Network(f"of-{address}", ipaddress.ip_network(f"{address}/16", strict=False), None)
        networks[network.name] = network
    return Nic("eth0", network.name, ipaddress.ip_interface(f"{address}/{network.cidr.prefixlen}"), mac_address(host, "eth0"))


def _numbered(cidr: Cidr) -> Iterator[tuple[str, Address]]:
    """Yields host-001 at x.x.0.1, host-002 at x.x.0.2, ... and never an address that ends in 0 or 255."""
    for index in range(200 * 250):
        yield f"host-{index + 1:03}", cidr.network_address + (index // 250) * 256 + index % 250 + 1


def mac_address(owner: str, nic: str) -> str:
    """Returns a locally administered address that stays the same over boots and labs."""
    digest = zlib.crc32(f"{owner}/{nic}".encode())
    return "02:1a:" + ":".join(f"{byte:02x}" for byte in digest.to_bytes(4, "big"))


def _check(fleet: Fleet, source: str) -> None:
    """Refuses what would only fail in the middle of `up`, with all problems at once."""
    problems = []
    networks = {network.name: network for network in fleet.networks}
    if not fleet.hosts:
        problems.append("there is no host to boot")
    for network in fleet.networks:
        if network.gateway is not None and network.gateway not in network.cidr:
            problems.append(f"network `{network.name}`: the gateway {network.gateway} is not in {network.cidr}")
    for one, other in itertools.combinations(fleet.networks, 2):
        if one.cidr.version == other.cidr.version and one.cidr.overlaps(other.cidr):
            problems.append(f"the networks `{one.name}` and `{other.name}` overlap")
    for host in fleet.hosts:
        if not NAME.fullmatch(host.name) or len(host.name) > 48:
            problems.append(f"host `{host.name}`: this is no host name, or is longer than 48 characters")
        if not USER.fullmatch(host.user):
            problems.append(f"host `{host.name}`: `{host.user}` is no user name")
        if host.address not in [nic.address.ip for nic in host.nics if nic.address is not None]:
            problems.append(f"host `{host.name}`: no interface with a network has the SSH address {host.address}")
        for nic in host.nics:
            if not NIC_NAME.fullmatch(nic.name) or nic.name in (".", "..", "lo"):
                problems.append(f"host `{host.name}`: `{nic.name}` cannot be a NIC's name (at most 15 characters)")
            if not MAC.fullmatch(nic.mac):
                problems.append(f"host `{host.name}`: `{nic.mac}` is no MAC address")
            if nic.address is not None and nic.address.ip not in networks[nic.network].cidr:
                problems.append(f"host `{host.name}`: {nic.address.ip} is not in network `{nic.network}`")
        problems += [f"host `{host.name}`: two NICs are called `{name}`" for name in _twice(nic.name for nic in host.nics)]
    problems += [f"two hosts are called `{name}`" for name in _twice(host.name for host in fleet.hosts)]
    given = (str(nic.address.ip) for host in fleet.hosts for nic in host.nics if nic.address is not None)
    problems += [f"two NICs have the address {address}" for address in _twice(given)]
    if problems:
        raise LabError(f"`{source}` cannot be booted:\n" + "\n".join(f"  {problem}" for problem in problems[:20]))


def _twice(items: Iterator[str]) -> list[str]:
    return [item for item, times in Counter(items).items() if times > 1]


def _ask_tool(folder: Path) -> str:
    tool = os.environ.get("PROVISION") or str(REPOSITORY / "target/debug/provision")
    if not os.access(tool, os.X_OK):
        raise LabError(f"reading the inventory `{folder}`: there is no program `{tool}`",
                       "run `cargo build`, or set PROVISION to the program", 2)
    return run([tool, "inventory", "list", "--json", "-i", folder], f"reading the inventory `{folder}`")


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise LabError(f"reading `{path}`: {error}", "give a folder, a `.json` file, a host list, or `plain`") from error
