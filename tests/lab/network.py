"""The lab's datacenter network: one namespace with a bridge per network, and a namespace per host.

The fabric namespace is every network's router and has no way out, so no packet can leave the lab. A host's network
namespace is made anew at each boot, as a real kernel's network state is; what belongs to the cable (unplugged, slow)
is on the fabric's side and outlives the boot. Nothing is remembered here: the fabric is asked what it is.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from fleet import Address, Fleet, Host, Network, mac_address
from process import LabError, run

NAMESPACES = Path("/run/netns")
CLONE_NEWNET = 0x40000000
# The machine's kernel may filter bridged frames, which a stock Debian kernel does only once libvirt loads br_netfilter.
FABRIC_SYSCTLS = ("net/ipv4/ip_forward=1", "net/ipv6/conf/all/forwarding=1", "net/bridge/bridge-nf-call-iptables=0",
                  "net/bridge/bridge-nf-call-ip6tables=0", "net/bridge/bridge-nf-call-arptables=0")


def run_ip(lines: list[str], doing: str, namespace: str | None = None) -> None:
    """Runs many `ip` commands by one process; a failure names the command that failed."""
    if not lines:
        return
    inside = [] if namespace is None else ["-n", namespace]
    try:
        run(["ip", *inside, "-batch", "-"], doing, stdin="\n".join(lines) + "\n")
    except LabError as error:
        number = str(error).rpartition("Command failed -:")[2].strip()
        if number.isdecimal():
            error = LabError(f"{error}\n  line {number}: ip {' '.join(inside)} {lines[int(number) - 1]}")
        raise error


@contextlib.contextmanager
def inside_namespace(namespace: str) -> Iterator[None]:
    """Puts the calling thread into a network namespace for a while, for sockets of our own."""
    # Python has os.setns only from 3.12 on.
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as home, open(NAMESPACES / namespace) as away:
        if libc.setns(away.fileno(), CLONE_NEWNET) != 0:
            raise LabError(f"entering the network namespace `{namespace}`: {os.strerror(ctypes.get_errno())}")
        try:
            yield
        finally:
            libc.setns(home.fileno(), CLONE_NEWNET)


class Fabric:
    """The network of one lab."""

    def __init__(self, lab: str, fleet: Fleet) -> None:
        self.lab = lab
        self.fleet = fleet
        self.namespace = f"provision.{lab}.fabric"
        self._bridges = {network.name: f"br{index}" for index, network in enumerate(fleet.networks)}
        self._numbers = {host.name: index for index, host in enumerate(fleet.hosts)}

    def host_namespace(self, host: Host) -> str:
        return f"provision.{self.lab}.host.{host.name}"

    def port(self, host: Host, nic: int) -> str:
        """Returns the fabric's end of a host's cable. Short: an interface name has at most 15 characters."""
        return f"h{self._numbers[host.name]}n{nic}"

    def port_of_exec(self, host: Host) -> str:
        """Returns the end of the cable by which `lab exec` enters a host with a kernel of its own."""
        return f"h{self._numbers[host.name]}x"

    def mac_of_exec(self, host: Host) -> str:
        return mac_address(host.name, self.port_of_exec(host))

    def taps(self, host: Host, nic: int) -> tuple[str, str]:
        """Returns the two ends of the slow wire of a cable: towards the host, and towards the network."""
        number = f"{self._numbers[host.name]}n{nic}"
        return f"a{number}", f"b{number}"

    def create(self) -> None:
        """Makes the fabric's namespace, its bridges, its addresses and its forwarding."""
        doing = "making the lab's fabric"
        run(["ip", "netns", "add", self.namespace], doing)
        lines = ["link set lo up"]
        for network in self.fleet.networks:
            bridge, address = self._bridges[network.name], self._own_address(network)
            # Without spanning tree a port forwards at once, and no bridge talks by itself. The router's MAC is its own: a
            # bridge without one takes a port's, and changes it when that host reboots.
            lines += [f"link add {bridge} address {mac_address(self.lab, bridge)} type bridge stp_state 0 mcast_snooping 0",
                      f"link set {bridge} up"]
            if address is not None:
                lines.append(f"addr add {address}/{network.cidr.prefixlen} dev {bridge}{' nodad' if address.version == 6 else ''}")
        run_ip(lines, doing, self.namespace)
        settings = "".join(f"echo {value} > /proc/sys/{key}; " for key, _, value in
                           (setting.partition("=") for setting in FABRIC_SYSCTLS) if Path(f"/proc/sys/{key}").exists())
        run(["ip", "netns", "exec", self.namespace, "sh", "-ec", settings], doing)

    def plug(self, host: Host, own: frozenset[str] = frozenset()) -> None:
        """Makes a host's namespace with its NICs, as the kernel finds them at power-on, and connects the cables.

        A cable that was unplugged or slow before the boot still is. The NICs of `own` are down and have no address, as
        they are on any host: its own systemd-networkd configures them.
        """
        doing = f"making the network of {host.name}"
        namespace, before = self.host_namespace(host), self.links()
        self.unplug(host, before)
        outside, fabric = [f"netns add {namespace}"], []
        for index, nic in enumerate(host.nics):
            port = self.port(host, index)
            old = before.get(port)
            outside.append(f"link add {nic.name} netns {namespace} address {nic.mac} type veth "
                           f"peer name {port} netns {self.namespace}")
            fabric.append(f"link set {port} addrgenmode none master {old['master'] if old else self._bridges[nic.network]}")
            if old is None or "UP" in old["flags"]:
                fabric.append(f"link set {port} up")
        # The fabric's side is up first, so that the host's side has its carrier when its route is added.
        run_ip(outside, doing)
        run_ip(fabric, doing, self.namespace)
        run_ip(["link set lo up", *self.inside(host, own)], doing, namespace)

    def inside(self, host: Host, own: frozenset[str] = frozenset()) -> list[str]:
        """Returns the `ip` commands by which a host gets its addresses at power-on, but for the NICs of `own`."""
        lines, has_route = [], False
        for nic in host.nics:
            if nic.name in own:
                continue
            # One without an address is down, as on any host: up, it would answer for the addresses of the others.
            if nic.address is None:
                continue
            lines.append(f"link set {nic.name} up")
            # With the broadcast address of its network, as whatever boots a Debian host gives it.
            special = " nodad" if nic.address.version == 6 else " broadcast +" if nic.address.network.prefixlen <= 30 else ""
            lines.append(f"addr add {nic.address} dev {nic.name}{special}")
            gateway = self._network(nic.network).gateway
            if gateway is not None and gateway != nic.address.ip and not has_route:
                lines.append(f"route add default via {gateway} dev {nic.name}")
                has_route = True
        return lines

    def plug_taps(self, host: Host) -> None:
        """Makes the cables of a host with a kernel of its own, which outlive its boots, faults and all."""
        before, lines = self.links(), []
        if self.port_of_exec(host) in before:
            return
        for index, nic in enumerate(host.nics):
            port = self.port(host, index)
            lines += [f"tuntap add dev {port} mode tap", f"link set {port} addrgenmode none master {self._bridges[nic.network]} up"]
        port = self.port_of_exec(host)
        lines += [f"tuntap add dev {port} mode tap", f"link set {port} addrgenmode none up",
                  f"addr add fe80::1/64 dev {port} nodad"]
        run_ip(lines, f"making the network of {host.name}", self.namespace)

    def unplug(self, host: Host, links: dict[str, dict[str, Any]]) -> None:
        """Removes a host's namespace. The cables go first: the kernel would take its time to remove them with it."""
        ports = [self.port(host, index) for index in range(len(host.nics))]
        run_ip([f"link del {port}" for port in ports if port in links], f"unplugging {host.name}", self.namespace)
        if (NAMESPACES / self.host_namespace(host)).exists():
            run(["ip", "netns", "del", self.host_namespace(host)], f"unplugging {host.name}")

    def cut(self, host: Host, nics: Iterable[int]) -> None:
        """Pulls cables of a host, at the switch: the host sees no carrier."""
        run_ip([f"link set {self.port(host, index)} down" for index in nics], f"cutting {host.name}", self.namespace)

    def silence(self, host: Host) -> None:
        """Stops a host from sending, as the last thing before its power goes: a dying machine closes no connection."""
        run_ip([f"link set {nic.name} down" for nic in host.nics], f"silencing {host.name}", self.host_namespace(host))

    def heal(self, host: Host) -> None:
        """Plugs all cables of a host in again, without a slow wire between."""
        links, lines = self.links(), []
        for index, nic in enumerate(host.nics):
            port = self.port(host, index)
            if port in links:
                lines += [f"link set {port} master {self._bridges[nic.network]}", f"link set {port} up"]
            near, far = self.taps(host, index)
            lines += [f"link del {link}" for link in (near, far, self._wire_bridge(host, index)) if link in links]
        run_ip(lines, f"healing {host.name}", self.namespace)

    def insert_wire(self, host: Host) -> None:
        """Leads all cables of a host over two TAP devices, between which `wire.py` then carries the frames."""
        links, lines = self.links(), []
        for index, nic in enumerate(host.nics):
            near, far = self.taps(host, index)
            if near in links:
                continue
            bridge = self._wire_bridge(host, index)
            lines += [f"link add {bridge} type bridge stp_state 0 mcast_snooping 0",
                      f"link set {bridge} addrgenmode none up",
                      f"tuntap add dev {near} mode tap", f"link set {near} addrgenmode none master {bridge} up",
                      f"tuntap add dev {far} mode tap",
                      f"link set {far} addrgenmode none master {self._bridges[nic.network]} up",
                      f"link set {self.port(host, index)} master {bridge}"]
        run_ip(lines, f"inserting a wire before {host.name}", self.namespace)

    def links(self) -> dict[str, dict[str, Any]]:
        """Returns the fabric's interfaces by name, as `ip -j link` shows them."""
        shown = json.loads(run(["ip", "-n", self.namespace, "-j", "link", "show"], "reading the lab's fabric"))
        return {link["ifname"]: link for link in shown}

    def cut_nics(self, host: Host, links: dict[str, dict[str, Any]]) -> list[int]:
        """Returns the numbers of the NICs whose cables are pulled."""
        return [index for index in range(len(host.nics))
                if (port := links.get(self.port(host, index))) is not None and "UP" not in port["flags"]]

    def is_cut(self, host: Host, links: dict[str, dict[str, Any]]) -> bool:
        """Tells whether all cables of a host are pulled."""
        return bool(host.nics) and len(self.cut_nics(host, links)) == len(host.nics)

    def _wire_bridge(self, host: Host, nic: int) -> str:
        return f"w{self._numbers[host.name]}n{nic}"

    def _network(self, name: str) -> Network:
        return next(network for network in self.fleet.networks if network.name == name)

    def _own_address(self, network: Network) -> Address | None:
        """Returns the gateway's address, or the last usable one where a host has it or there is no gateway.

        A cable between two hosts, which have both addresses of its network, has no router.
        """
        used = {nic.address.ip for host in self.fleet.hosts for nic in host.nics if nic.address is not None}
        if network.gateway is not None and network.gateway not in used:
            return network.gateway
        ends = {network.cidr.network_address, network.cidr.broadcast_address} if network.cidr.num_addresses > 2 else set()
        for offset in range(min(network.cidr.num_addresses, 65536)):
            address = network.cidr.broadcast_address - offset
            if address not in used and address not in ends:
                return address
        if network.cidr.num_addresses == 2:
            return None
        raise LabError(f"network `{network.name}`: {network.cidr} has no address left for the lab's router")


def lab_namespaces(lab: str) -> list[str]:
    """Returns all namespaces of a lab, also those of an `up` that did not finish."""
    if not NAMESPACES.is_dir():
        return []
    return sorted(path.name for path in NAMESPACES.iterdir() if path.name.startswith(f"provision.{lab}."))
