"""Large inventories, the same for the tool and for Ansible."""

from __future__ import annotations

import json
from pathlib import Path

import resources
from tools import write

PER_SITE = 1000


def provision_inventory(folder: Path, count: int) -> None:
    """Writes an inventory with as many hosts, a file for each site and 200 networks at 10,000 hosts: 20 for each site."""
    sites = range((count + PER_SITE - 1) // PER_SITE)
    names = [f"s{site:02}" for site in sites]
    write(folder / "sites.yaml",
          "sites:\n" + "".join(f"  {name}: {{country: FR, city: Rennes, rooms: {{r1: {{racks: [{', '.join(f'k{rack:02}' for rack in range(20))}]}}}}}}\n" for name in names)
          + "zones:\n  admin: {nature: administration}\n  compute: {nature: production}\n"
          + "planes:\n  compute: {description: what runs the customers' machines}\n"
          + "networks:\n" + "".join(f"  {name}-{zone}-{number}: {{site: {name}, zone: {zone}, cidr: 10.{site * 20 + number + half * 10}.0.0/16}}\n"
                                     if site < 12 else ""
                                     for site, name in zip(sites, names) for half, zone in enumerate(("admin", "compute")) for number in range(10))
          + "flows:\n  - {from: admin, to: admin, tcp: 22, why: administration over SSH}\n"
          + "groups:\n  hypervisors: {match: role=hypervisor, vars: {tier: two}}\n  stores: {match: role=store}\n"
          + "defaults: {ssh: {user: provision}, vars: {tier: one, ntp: [10.0.0.1, 10.0.0.2]}}\n")
    for site, name in zip(sites, names):
        lines = ["hosts:\n"]
        for number in range(min(PER_SITE, count - site * PER_SITE)):
            part = number % 10
            third, fourth = number // 250 + 1, number % 250 + 1
            admin, compute = f"10.{site * 20 + part}.{third}.{fourth}", f"10.{site * 20 + 10 + part}.{third}.{fourth}"
            role = "hypervisor" if number % 4 else "store"
            lines.append(f"  {name}-h{number:04}:\n    site: {name}\n    room: r1\n    rack: k{number % 20:02}\n    plane: compute\n    roles: [{role}]\n"
                         f"    record: {{model: R6625, serial: FR-{name}-{number:04}, owner: compute-team, security_need: high, environment: production}}\n"
                         f"    ssh: {{address: {admin}}}\n    vars: {{slot: {number % 42}, rank: {number}}}\n"
                         f"    interfaces:\n      eno1: {{network: {name}-admin-{part}, address: {admin}}}\n"
                         f"      eno2: {{network: {name}-compute-{part}, address: {compute}}}\n")
        write(folder / f"hosts-{name}.yaml", "".join(lines))


def provision_project(folder: Path, count: int) -> None:
    """Writes an inventory, and a playbook with the 50 things for each host."""
    provision_inventory(folder / "inventory", count)
    write(folder / "playbooks/site.yaml", resources.provision_playbook())
    resources.write_files(folder / "files")


def ansible_inventory(path: Path, count: int) -> None:
    """Writes the same hosts, groups and variables in Ansible's YAML."""
    groups: dict[str, dict[str, object]] = {}
    for index in range(count):
        site, number = divmod(index, PER_SITE)
        name = f"s{site:02}-h{number:04}"
        role = "hypervisors" if number % 4 else "stores"
        variables = {"ansible_host": f"10.{site * 20 + number % 10}.{number // 250 + 1}.{number % 250 + 1}", "slot": number % 42,
                     "rank": number, "rack": f"k{number % 20:02}", "serial": f"FR-{name}", "plane": "compute"}
        groups.setdefault(f"s{site:02}", {})[name] = variables
        groups.setdefault(role, {})[name] = {}
    lines = ["all:\n  vars: {tier: one, ntp: [10.0.0.1, 10.0.0.2]}\n  children:\n"]
    for group, hosts in groups.items():
        lines.append(f"    {group}:\n      hosts:\n")
        lines += [f"        {name}: {json.dumps(variables)}\n" for name, variables in hosts.items()]
    write(path, "".join(lines))
