"""Files: one of 1 GB to one host and to eight, and 1,000 small ones to one host."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from figures import Figures
from labs import Hosts, SshClient
from process import BenchError, Sample, measure
from tools import Ansible, Provision, Pyinfra, Tool, write

BIG = 1_000_000_000
SMALL = 1000
TARGET = "/srv/copied"


def big(figures: Figures, hosts: Hosts, folder: Path, repetitions: int) -> None:
    """One file of 1 GB that does not compress, by the tool, by scp and by rsync; afterwards every host has it."""
    source = folder / "big"
    digest = hashlib.sha256()
    with source.open("wb") as file:
        for _ in range(BIG // 1_000_000):
            block = os.urandom(1_000_000)
            digest.update(block)
            file.write(block)
    for count in (1, 8):
        names = hosts.names[:count]
        playbook = f"plays:\n  - name: big\n    hosts: all\n    tasks:\n      - directory: {{path: {TARGET}}}\n      - file: {{path: {TARGET}/big, source: big}}\n"
        ours = Provision(hosts, names, folder, playbook=playbook)
        link = ours.where / "files/big"
        link.unlink(missing_ok=True)
        os.link(source, link)
        what = f"1 GB to {count} host{'s' if count > 1 else ''}"
        options = " ".join(SshClient(hosts).options())
        copies = {
            "provision": ours.apply,
            "scp": lambda: _all(hosts, names, f"scp -q {options} {source} {{address}}:/tmp/big"),
            "rsync": lambda: _all(hosts, names, f"rsync --whole-file -e \"ssh {options}\" {source} {{address}}:/tmp/big"),
        }
        for _ in range(repetitions):
            for tool, copy in copies.items():
                hosts.on_all(names, f"rm -rf /tmp/big {TARGET}; sync -f /srv")
                figures.add(what, tool, copy())
                path = f"{TARGET}/big" if tool == "provision" else "/tmp/big"
                for found in hosts.on_all(names, f"sha256sum < {path}"):
                    if found.split()[0] != digest.hexdigest():
                        raise BenchError(f"{tool} has not copied the file as it is")
        hosts.on_all(names, f"rm -rf /tmp/big {TARGET}")
        link.unlink()
    source.unlink()


def small(figures: Figures, hosts: Hosts, folder: Path, ansible: bool) -> None:
    """1,000 files of 1 KB into a folder of one host."""
    host = hosts.names[0]
    source = folder / "small"
    source.mkdir()
    for number in range(SMALL):
        (source / f"n{number:04}").write_text(f"{number} {hashlib.sha256(str(number).encode()).hexdigest()}\n" * 14)
    wanted = hashlib.sha256("".join(f"{hashlib.sha256((source / f'n{n:04}').read_bytes()).hexdigest()}\n" for n in range(SMALL)).encode()).hexdigest()
    tasks = "".join(f"      - file: {{path: {TARGET}/n{number:04}, source: n{number:04}}}\n" for number in range(SMALL))
    ours = Provision(hosts, [host], folder, playbook=f"plays:\n  - name: small\n    hosts: all\n    tasks:\n      - directory: {{path: {TARGET}}}\n{tasks}")
    for file in source.iterdir():
        (ours.where / "files" / file.name).write_bytes(file.read_bytes())
    options = " ".join(SshClient(hosts).options())
    # One operation that copies the folder, which is how it is done there.
    deploy = f"from pyinfra.operations import files\nfiles.sync(src=\"{source}\", dest=\"{TARGET}\")\n"
    tools: list[Tool] = [Pyinfra(hosts, [host], folder, deploy=deploy)]
    if ansible:
        playbook = f"- hosts: all\n  gather_facts: false\n  become: true\n  tasks:\n    - copy: {{src: {source}/, dest: {TARGET}/}}\n"
        tools.append(Ansible(hosts, [host], folder, mitogen=True, playbook=playbook))
    copies = [("provision", ours.apply), ("scp", lambda: _all(hosts, [host], f"scp -q -r {options} {source} {{address}}:/tmp/copied")),
              ("rsync", lambda: _all(hosts, [host], f"rsync -r -e \"ssh {options}\" {source}/ {{address}}:/tmp/copied")),
              *((tool.name, tool.apply) for tool in tools)]
    for tool, copy in copies:
        for _ in range(3 if tool in ("provision", "scp", "rsync") else 1):
            hosts.exec(host, f"rm -rf {TARGET} /tmp/copied")
            figures.add("1,000 small files to 1 host", tool, copy())
            path = "/tmp/copied" if tool in ("scp", "rsync") else TARGET
            found = hosts.exec(host, f"cd {path} && sha256sum n* | cut -d' ' -f1 | sha256sum")
            if found.split()[0] != wanted:
                raise BenchError(f"{tool} has not copied the files as they are")
    hosts.exec(host, f"rm -rf {TARGET} /tmp/copied")


def _all(hosts: Hosts, names: list[str], command: str) -> Sample:
    """Measures one copy for each host, all at once."""
    lines = "".join(f"{command.format(address='provision@' + hosts.addresses[name])} & p=\"$p $!\"\n" for name in names)
    return measure(["bash", "-c", f"p=\n{lines}for i in $p; do wait $i || exit 1; done"], namespace=hosts.namespace)
