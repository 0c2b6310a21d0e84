#!/usr/bin/env python3
"""Have a real libvirt print the definitions of what we make, one file for each object.

Boot a lab whose hosts have libvirt (see `HYPERVISOR` in tests/integration/lab/fleet.rs) and run:

    LAB_NAME=NAME tests/cases/libvirt/record.py target/debug/provision

Each file has what was asked for and what libvirt then said; a unit test reads them all and expects that nothing is to be done.
"""

import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
LAB = HERE.parents[1] / "lab" / "lab"
HOST = "host-001"

PREPARE = r"""
if ! grep -q '^namespaces' /etc/libvirt/qemu.conf; then
  printf 'cgroup_controllers = [ ]\nnamespaces = [ ]\n' >>/etc/libvirt/qemu.conf
  systemctl restart libvirtd
fi
ip link show br-edge >/dev/null 2>&1 || { ip link add br-edge type bridge && ip link set br-edge up; }
mkdir -p /srv && printf 'an image' >/srv/base.raw && truncate -s 1M /srv/base.raw && sha256sum </srv/base.raw
"""

NETWORKS = [
    "name: bare",
    "name: edge, forward: bridge, bridge: br-edge",
    "name: nat4, forward: nat, addresses: [10.9.1.1/24]",
    "name: nat6, forward: nat, bridge: virbr-nat6, mtu: 1400, addresses: [10.9.2.1/24, 'fd00:2::1/64'], domain: b.example,"
    " dhcp: {ranges: [10.9.2.100-10.9.2.199], hosts: [{mac: '52:54:00:09:01:0A', address: 10.9.2.10, name: runner-1}]}",
    "name: routed, forward: route, device: eth0, addresses: [10.9.3.1/25]",
    "name: opened, forward: open, addresses: [10.9.4.1/30]",
    "name: silent, addresses: [10.9.5.1/24], dns: false, autostart: false, state: stopped",
]
POOLS = [
    "name: images, path: /srv/images",
    "name: odd, path: \"/srv/a b'<&>$(id)\"",
    "name: idle, path: /srv/idle, autostart: false, state: stopped",
]
VOLUMES = [
    "pool: images, name: one.qcow2, size: 64MiB",
    "pool: images, name: two.raw, size: 100MiB, format: raw",
    "pool: images, name: huge.qcow2, size: 4TiB",
    "pool: images, name: copy.qcow2, size: 8MiB, from: {image: /srv/base.raw, sha256: SHA256}",
    "pool: images, name: copy.raw, size: 8MiB, format: raw, from: {image: /srv/base.raw, sha256: SHA256}",
    "pool: images, name: over.qcow2, size: 16MiB, backing: {image: /srv/base.raw, sha256: SHA256}",
    "pool: odd, name: three.qcow2, size: 1MiB",
]
OFF = "accelerator: tcg, memory: 64MiB, state: stopped, autostart: false"
ON = "accelerator: tcg, memory: 64MiB, shutdown_within: 1, force_off: true"
ONE = "disks: [{pool: images, volume: one.qcow2}]"
KEY = "users: [{name: ops, sudo: true, ssh_keys: [ssh-ed25519 AAAA ops]}]"
DOMAINS = [
    f"name: bare, {OFF}",
    f"name: pc, machine: pc, {OFF}",
    f"name: pc-disks, machine: pc, {OFF}, {ONE}, nics: [{{network: nat4}}]",
    f"name: versioned, machine: pc-q35-6.2, {OFF}",
    f"name: uefi, firmware: uefi, {OFF}, {ONE}",
    f"name: secure, firmware: uefi-secure, tpm: true, {OFF}",
    f"name: tpm, tpm: true, {OFF}",
    f"name: silent, serial: false, {OFF}",
    f"name: many, vcpus: 2, vcpus_max: 8, {OFF}",
    f"name: arranged, vcpus: 8, topology: {{sockets: 2, cores: 2, threads: 2}}, {OFF}",
    f"name: pinned, vcpus: 2, pinning: ['0,1', '0'], {OFF}",
    "name: ballooned, accelerator: tcg, memory: 64MiB, memory_max: 1GiB, state: stopped",
    f"name: paged, huge_pages: 2MiB, {OFF}",
    f"name: disks, {OFF}, disks: [{{pool: images, volume: one.qcow2}}, {{pool: images, volume: two.raw, bus: sata}},"
    " {pool: odd, volume: three.qcow2, read_only: true}, {file: /dev/vda, bus: scsi}, {file: /srv/base.raw}]",
    f"name: cards, {OFF}, nics: [{{network: nat6}}, {{network: nat6}}, {{bridge: br-edge, model: e1000e}},"
    " {network: edge, mac: '52:54:00:AA:BB:CC'}]",
    f"name: seeded, {OFF}, {ONE}, nics: [{{network: nat4, lan: {{dhcp: true}}}}], cloud_init: {{{KEY}}}",
    f"name: started, {ON}",
    f"name: started-pc, machine: pc, {ON}, vcpus: 2, disks: [{{pool: images, volume: copy.raw}}], nics: [{{network: bare}}]",
    f"name: started-uefi, firmware: uefi, {ON}",
    f"name: started-many, vcpus: 1, vcpus_max: 4, topology: {{cores: 4}}, pinning: ['0-1'], {ON}",
    f"name: started-full, {ON}, tpm: true, disks: [{{pool: images, volume: over.qcow2}}, {{pool: odd, volume: three.qcow2}},"
    " {file: /srv/base.raw, read_only: true, bus: scsi}], nics: [{network: nat6, lan: {addresses: [10.9.2.9/24]}},"
    f" {{bridge: br-edge}}, {{network: edge, model: e1000e}}], cloud_init: {{hostname: full.b.example, {KEY}}}",
]


def lab(*words, stdin=None):
    run = subprocess.run([LAB, *words], input=stdin, text=True, capture_output=True)
    if run.returncode:
        sys.exit(f"{words}: {run.stdout}{run.stderr}")
    return run.stdout


def on_host(shell):
    return lab("exec", HOST, "--", "sh", "-c", shell)


def indented(text, by):
    return "".join(f"{' ' * by}{line}\n" for line in text.strip().splitlines())


def answer(kind, name):
    """Returns what libvirt says of an object, as a case has it."""
    if kind == "volume":
        pool, _, volume = name.partition("/")
        parts = {"stored": f"vol-dumpxml --pool {pool} --vol {volume}"}
    else:
        verb = {"network": "net-", "pool": "pool-", "domain": ""}[kind]
        info = "dominfo" if kind == "domain" else f"{verb}info"
        parts = {"info": f"{info} {name}", "stored": f"{verb}dumpxml --inactive {name}", "live": f"{verb}dumpxml {name}"}
    text = f'      "{kind} {name}":\n'
    for part, command in parts.items():
        text += f"        {part}: |\n" + indented(on_host(f"virsh -q -c qemu:///system {command}"), 10)
    return text


def field(spec, name):
    return spec.split(f"{name}: ", 1)[1].split(",")[0].strip("'\"")


def record(kind, spec):
    name = field(spec, "name")
    objects, paths = "", ""
    if kind == "volume":
        name = f"{field(spec, 'pool')}/{name}"
    objects += answer(kind, name)
    if kind == "domain":
        for pool in sorted({part.split(",")[0] for part in spec.split("pool: ")[1:]}):
            objects += answer("pool", pool)
        for seed in on_host(f"ls -d /var/lib/libvirt/seeds/{name}/*.img 2>/dev/null || :").split():
            digest = on_host(f"sha256sum {seed}").split()[0]
            mode = on_host(f"stat -c %a {seed}").strip().zfill(4)
            paths += f"  paths:\n    {seed}: {{kind: file, mode: '{mode}', owner: root, group: root, sha256: {digest}}}\n"
    path = HERE / f"{kind}-{name.replace('/', '-')}.yaml"
    path.write_text(f"kind: libvirt.{kind}\ndesired: {{{spec}}}\nanswers:\n{paths}  libvirt:\n    objects:\n{objects}")


def main():
    provision = pathlib.Path(sys.argv[1]).resolve()
    sha256 = on_host(PREPARE).split()[-2]
    kinds = [("network", NETWORKS), ("pool", POOLS), ("volume", VOLUMES), ("domain", DOMAINS)]
    kinds = [(kind, [spec.replace("SHA256", sha256) for spec in specs]) for kind, specs in kinds]
    with tempfile.TemporaryDirectory() as folder:
        project = pathlib.Path(folder)
        (project / "inventory").mkdir()
        (project / "playbooks").mkdir()
        (project / "inventory" / "hosts.yaml").write_text(
            f"defaults: {{ssh: {{user: provision}}}}\nhosts:\n  {HOST}: {{ssh: {{address: 10.99.0.1}}}}\n"
        )
        tasks = "".join(f"  - libvirt.{kind}: {{{spec}}}\n" for kind, specs in kinds for spec in specs)
        (project / "playbooks" / "site.yaml").write_text(f"plays:\n- name: site\n  hosts: all\n  tasks:\n{tasks}")
        os.chdir(project)
        os.environ["HOME"] = folder
        print(lab("run", "--", str(provision), "apply", "--yes"))
        for kind, specs in kinds:
            for spec in specs:
                record(kind, spec)


if __name__ == "__main__":
    main()
