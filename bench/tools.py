"""The tools that are measured: each is given the same hosts and the same 50 things, and says what it changed."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Protocol

import resources
from labs import REPOSITORY, Hosts
from process import BenchError, Sample, measure, run

# Peers are pinned, so that a figure of one day can be had on another.
PEERS = {"pyinfra": "pyinfra==3.10.0", "ansible-core": "ansible-core==2.19.14", "mitogen": "mitogen==0.3.54"}
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "provision/bench"


class Tool(Protocol):
    """A tool on some hosts."""

    name: str

    def apply(self) -> Sample: ...
    def plan(self) -> Sample: ...
    def changed(self, sample: Sample) -> int: ...


def install_peers(wanted: list[str]) -> None:
    """Installs peers into a virtual environment of the benchmark's own, where they are not yet."""
    if not (CACHE / "venv/bin/python").exists():
        run([sys.executable, "-m", "venv", CACHE / "venv"])
    present = run([CACHE / "venv/bin/pip", "freeze"]).splitlines()
    missing = [pin for name, pin in PEERS.items() if name in wanted and pin not in present]
    if missing:
        run([CACHE / "venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", *missing])


def peer_versions(wanted: list[str]) -> list[str]:
    """Returns what is installed of the peers."""
    frozen = run([CACHE / "venv/bin/pip", "freeze"]).splitlines()
    return [pin for name, pin in PEERS.items() if name in wanted and pin in frozen]


class Provision:
    """The tool itself, as it is released."""

    name = "provision"
    program = REPOSITORY / "target/release/provision"

    def __init__(self, hosts: Hosts, names: list[str], folder: Path, via: str | None = None, playbook: str | None = None) -> None:
        self.hosts, self.names, self.folder = hosts, names, folder
        self.where = folder / f"provision-{len(names)}-{names[0]}{'-via' if via else ''}"
        bastion = f"  {via}: {{ssh: {{address: {hosts.addresses[via]}, via: direct}}}}\n" if via else ""
        way = f", via: {via}" if via else ""
        entries = "".join(f"  {name}: {{ssh: {{address: {hosts.addresses[name]}{way}}}}}\n" for name in names)
        write(self.where / "inventory/hosts.yaml", f"defaults: {{ssh: {{user: provision}}}}\nhosts:\n{bastion}{entries}")
        write(self.where / "playbooks/site.yaml", playbook or resources.provision_playbook())
        resources.write_files(self.where / "files")
        self.limit = ["--limit", f"!{via}"] if via else []

    def run(self, *words: str, expect: tuple[int, ...] = (0,)) -> Sample:
        """Runs it in its project, with nothing of our own environment."""
        env = {"PATH": os.environ["PATH"], "HOME": str(self.where), "USER": "bench", **self.hosts.environment}
        return measure([self.program, *words, *self.limit], namespace=self.hosts.namespace, env=env, cwd=self.where, expect=expect)

    def apply(self) -> Sample:
        return self.run("apply", "--yes")

    def plan(self) -> Sample:
        return self.run("plan")

    def changed(self, sample: Sample) -> int:
        text = sample.stdout + sample.stderr
        if found := re.search(r"Apply: (\d+) changed, (\d+) failed", text):
            return int(found[1]) + int(found[2])
        if found := re.search(r"Plan: (\d+) to create, (\d+) to update, (\d+) to delete, (\d+) to run", text):
            return sum(int(number) for number in found.groups())
        if re.search(r"^No changes\.", text, re.MULTILINE):
            return 0
        raise BenchError(f"provision does not say what it changed:\n{text[-2000:]}")

    def round_trips(self) -> int:
        """Returns how many round trips a plan costs a host, as the tool counts them."""
        sample = self.run("plan", "--verbose")
        found = [int(number) for number in re.findall(r"(\d+) round trips", sample.stdout + sample.stderr)]
        if not found:
            raise BenchError("`plan --verbose` does not say how many round trips it took")
        return max(found)


class Floor:
    """The bare program beside this file: a login and one hand-written read of the same things."""

    name = "floor"
    program = REPOSITORY / "target/release/floor"

    def __init__(self, hosts: Hosts, names: list[str], folder: Path, command: str = "sudo -n sh -s", user: str = "provision",
                 script: str | None = None, extra: list[str] | None = None) -> None:
        self.hosts, self.names = hosts, names
        text, lines = resources.floor_script() if script is None else (script, 0)
        self.script = folder / f"floor-{abs(hash((text, command)))}.sh"
        write(self.script, text)
        self.words = ["--user", user, "--identity", hosts.identity, "--command", command, "--at-least", str(lines), *(extra or [])]

    def plan(self) -> Sample:
        addresses = "".join(f"{self.hosts.addresses[name]}\n" for name in self.names)
        return measure([self.program, *self.words, "--script", self.script], namespace=self.hosts.namespace, stdin=addresses)


class Pyinfra:
    """pyinfra over its own SSH."""

    name = "pyinfra"

    def __init__(self, hosts: Hosts, names: list[str], folder: Path, deploy: str | None = None) -> None:
        self.hosts = hosts
        self.where = folder / f"pyinfra-{len(names)}-{names[0]}"
        resources.write_files(self.where / "files")
        entries = ", ".join(f'("{name}", {{"ssh_hostname": "{hosts.addresses[name]}"}})' for name in names)
        data = (f'{{"ssh_user": "provision", "ssh_key": "{hosts.identity}", "ssh_known_hosts_file": "{hosts.known_hosts}", '
                f'"ssh_strict_host_key_checking": "yes", "_sudo": True}}')
        write(self.where / "inventory.py", f"bench = ([{entries}], {data})\n")
        write(self.where / "deploy.py", deploy or resources.pyinfra_deploy(self.where / "files"))
        self.parallel = len(names)

    def run(self, *words: str) -> Sample:
        """Runs it on all hosts at once."""
        env = {"PATH": os.environ["PATH"], "HOME": str(self.where), "NO_COLOR": "1", "COLUMNS": "200"}
        command = [CACHE / "venv/bin/pyinfra", "--parallel", str(self.parallel), *words, "inventory.py", "deploy.py"]
        return measure(command, namespace=self.hosts.namespace, env=env, cwd=self.where)

    def apply(self) -> Sample:
        return self.run("-y")

    def plan(self) -> Sample:
        # With `-y` it would skip the detection of changes, and there would be no plan.
        return self.run("--dry")

    def changed(self, sample: Sample) -> int:
        # The last row of its table of results: hosts, operations, changed, unchanged.
        text = re.sub(r"\x1b\[[0-9;]*m", "", sample.stdout + sample.stderr)
        found = [re.findall(r"\d+|-", line.partition("total")[2]) for line in text.splitlines()
                 if re.search(r"\bGrand total\b", line)]
        if not found:
            raise BenchError(f"pyinfra does not say what it changed:\n{text[-3000:]}")
        return sum(0 if word == "-" else int(word) for word in found[-1][1:2])


class Ansible:
    """ansible-core with pipelining and shared connections, and with or without Mitogen's strategy."""

    def __init__(self, hosts: Hosts, names: list[str], folder: Path, mitogen: bool = False, playbook: str | None = None) -> None:
        self.name = "ansible + mitogen" if mitogen else "ansible-core"
        self.hosts = hosts
        self.where = folder / f"{'mitogen' if mitogen else 'ansible'}-{len(names)}-{names[0]}"
        resources.write_files(self.where / "files")
        entries = "".join(f"{name} ansible_host={hosts.addresses[name]}\n" for name in names)
        write(self.where / "hosts.ini", f"{entries}[all:vars]\nansible_user=provision\nansible_python_interpreter=/usr/bin/python3\n")
        write(self.where / "site.yaml", playbook or resources.ansible_playbook())
        strategy = ""
        if mitogen:
            plugins = run([CACHE / "venv/bin/python", "-c", "import ansible_mitogen, os; print(os.path.dirname(ansible_mitogen.__file__))"]).strip()
            strategy = f"strategy_plugins = {plugins}/plugins/strategy\nstrategy = mitogen_linear\n"
        write(self.where / "ansible.cfg",
              f"[defaults]\ninventory = hosts.ini\nforks = 50\nprivate_key_file = {hosts.identity}\ngathering = explicit\n"
              f"deprecation_warnings = false\n{strategy}"
              f"[ssh_connection]\npipelining = true\nssh_args = -F /dev/null -o ControlMaster=auto -o ControlPersist=60s "
              f"-o UserKnownHostsFile={hosts.known_hosts} -o GlobalKnownHostsFile=/dev/null -o IdentitiesOnly=yes\n")

    def run(self, *words: str) -> Sample:
        """Runs it, and ends the connections that it keeps, which the next one measured must not find."""
        env = {"PATH": f"{CACHE / 'venv/bin'}:{os.environ['PATH']}", "HOME": str(self.where), "ANSIBLE_NOCOLOR": "1",
               "LC_ALL": "C.UTF-8"}
        sample = measure(["ansible-playbook", "site.yaml", *words], namespace=self.hosts.namespace, env=env, cwd=self.where)
        for socket in (self.where / ".ansible/cp").glob("*"):
            run(["ssh", "-F", "/dev/null", "-O", "exit", "-o", f"ControlPath={socket}", "any"])
        return sample

    def apply(self) -> Sample:
        return self.run()

    def plan(self) -> Sample:
        return self.run("--check")

    def changed(self, sample: Sample) -> int:
        found = re.findall(r"changed=(\d+)\s+unreachable=(\d+)\s+failed=(\d+)", sample.stdout)
        if not found:
            raise BenchError(f"Ansible does not say what it changed:\n{sample.stdout[-2000:]}")
        return sum(int(number) for row in found for number in row)


def write(path: Path, text: str) -> None:
    """Writes a file, and the folders that lead to it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
