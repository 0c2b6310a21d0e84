#!/usr/bin/python3
"""Writes an inventory of many hosts that keeps to all rules: `bench/ruled.py HOSTS FOLDER`.

There is a site for every 500 hosts, with ten networks each. Every tenth host is of the control plane or the tools.
"""
import os
import sys

hosts, folder = int(sys.argv[1]), sys.argv[2]
os.makedirs(folder, exist_ok=True)
sites = [f"site{n:02}" for n in range(1, max(4, -(-hosts // 500) + 1))]
zones = {"admin-control": "administration", "admin-compute": "administration", "admin-tools": "administration",
         "control": "control", "compute": "production", "storage": "storage", "supervision": "supervision",
         "backup": "backup", "edge": "public", "tenants": "tenant"}
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI"
CA = {"control": "HP5gzcVEaCZ7aDoK6rpq6vzg3jbNCNZy0eBghupypJn", "compute": "BVFPtpKPjS4kw6BY/4T2zOLQUMZKLL+ItwVkv+Ko5XL",
      "tools": "K1+bpcrdJaE5Cg4FkyEWWhUVrDov9VXUPSWpYn7WtBo"}


def write(name, text):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as out:
        out.write(text)


general = """provider: {name: Exemple Cloud, seat: FR, domains: exemple-cloud.example, shareholders: [{name: Alpha SA, seat: FR, share: 100}]}
policy:
  packs: [sovereignty, separation, hardening]
  allowed_countries: [FR]
  waivers:
    - {rule: BP028-R12, hosts: role=hypervisor, why: they route, owner: a.b, expires: 2099-01-01}
suppliers: {acme: {seat: FR, controlled_from: FR}}
defaults: {ssh: {user: provision}, vars: {log_retention_days: 366}}
operators:
"""
for number, plane in enumerate(["control", "compute", "tools"] * 20):
    key = f"{KEY}{'ABCDEFGHIJKLMNOP'[number // 16]}{'ABCDEFGHIJKLMNOP'[number % 16]}{CA['control'][2:]}"
    general += f"  person{number}: {{name: Person Number{number}, planes: {plane}, expires: 2099-01-01, keys: {key}}}\n"
general += "planes:\n"
for plane, ca in CA.items():
    general += f"  {plane}: {{bastion: bastion-{plane}-{sites[0]}, ssh: {{host_ca: {KEY}{ca}}}}}\n"
general += "zones:\n" + "".join(f"  {name}: {{nature: {nature}}}\n" for name, nature in zones.items())
general += "sites:\n"
for site in sites:
    racks = ", ".join(f"r{n:02}" for n in range(60))
    general += f"  {site}: {{country: FR, rooms: {{a: {{racks: [{racks}], access: sensitive}}}}}}\n"
general += "networks:\n"
for at, site in enumerate(sites):
    for kind, zone in enumerate(zones):
        physical = ", physical: true" if zone.startswith("admin") else ""
        general += f"  {site}-{zone}: {{site: {site}, zone: {zone}, cidr: 10.{at * 10 + kind}.0.0/16, vlan: {100 + kind}{physical}}}\n"
general += "flows:\n"
for plane in CA:
    general += f"  - {{from: admin-{plane}, to: admin-{plane}, from_hosts: role=bastion & plane={plane}, tcp: 22, why: administration of {plane}}}\n"
    general += f"  - {{from: admin-{plane}, to: admin-{plane}, to_hosts: role=bastion & plane={plane}, tcp: 22, why: administrators reach the bastions of {plane}}}\n"
    general += f"  - {{from: admin-{plane}, to: admin-tools, to_hosts: role=log, tcp: 6514, why: logs of {plane}}}\n"
    general += f"  - {{from: admin-{plane}, to: admin-tools, to_hosts: role=time, udp: 123, why: time of {plane}}}\n"
general += "  - {from: control, to: control, from_hosts: role=etcd, to_hosts: role=etcd, tcp: 2379-2380, why: etcd}\n"
for port in range(20):
    general += f"  - {{from: compute, to: compute, tcp: {5000 + port}, why: service number {port}}}\n"
    general += f"  - {{from: storage, to: storage, tcp: {6000 + port}, why: disks number {port}}}\n"
write("fleet.yaml", general)

made = 0
for at, site in enumerate(sites):
    count = min(500, hosts - made) if at < len(sites) - 1 else hosts - made
    text = "hosts:\n"
    for n in range(count):
        roles = "hypervisor"
        name, plane = f"hv-{site}-{n:03}", "compute"
        if n < 12:
            roles, plane = [("bastion", "control"), ("bastion", "compute"), ("bastion", "tools"), ("log", "tools"), ("time", "tools"),
                            ("backup", "tools"), ("[control, etcd]", "control"), ("api", "control"), ("mirror", "tools"),
                            ("supervision", "tools"), ("ca", "tools"), ("dns", "tools")][n]
            name = f"{roles.strip('[').split(',')[0]}-{plane}-{site}"
            if roles == "[control, etcd]" and at > 4:
                roles = "api"
        admin = f"10.{at * 10 + ['admin-control', 'admin-compute', 'admin-tools'].index('admin-' + plane)}.{1 + n // 250}.{1 + n % 250}"
        via = ", via: direct" if roles == "bastion" else f", via: bastion-{plane}-{site}"
        text += f"""  {name}:
    site: {site}
    room: a
    rack: r{n % 60:02}
    plane: {plane}
    roles: {roles}
    record: {{model: R6625, serial: S{site}{n}, owner: team, security_need: high, environment: production, supplier: acme}}
    ssh: {{address: {admin}{via}}}
    interfaces:
      eno1: {{network: {site}-admin-{plane}, address: {admin}, mac: "02:00:{at:02x}:{n >> 8:02x}:{n & 255:02x}:01", cable: {{switch: sw-{n // 40}, port: "{n % 40}", color: red}}}}
"""
        if plane == "compute" and roles == "hypervisor":
            for kind in ("compute", "storage"):
                address = f"10.{at * 10 + list(zones).index(kind)}.{1 + n // 250}.{1 + n % 250}"
                text += f"      eno2.{100 + list(zones).index(kind)}: {{vlan: {{parent: eno2}}, network: {site}-{kind}, address: {address}}}\n"
        if plane == "control" and roles != "bastion":
            text += f"      eno2: {{network: {site}-control, address: 10.{at * 10 + 3}.{1 + n // 250}.{1 + n % 250}}}\n"
    made += count
    write(f"{site}.yaml", text)
