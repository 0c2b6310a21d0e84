"""Many hosts: inventories of 100 to 10,000 hosts without any host, and plans of 200 to 5,000 simulated ones."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import inventory
from figures import Figures
from labs import REPOSITORY, Hosts
from process import BenchError, measure, run
from tools import CACHE, Provision, write

COUNTS = (100, 1000, 10000)
COMMANDS = {
    "validate": ["validate"],
    "inventory list": ["inventory", "list", "--json"],
    "graph of the hosts": ["graph", "--scope", "hosts", "--format", "dot"],
    "offline plan of 50 each": ["validate", "playbooks/site.yaml"],
}


def inventories(figures: Figures, folder: Path, ansible: bool, repetitions: int) -> None:
    """Reads large inventories, and prints how the time grows with the number of hosts: 1.0 is in step with it."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
    for count in COUNTS:
        project = folder / f"inventory-{count}"
        inventory.provision_project(project, count)
        for name, words in COMMANDS.items():
            for _ in range(repetitions):
                sample = measure([Provision.program, *words], cwd=project, env=environment)
                figures.add(f"{name}, {count} hosts", "provision", sample)
        if ansible:
            inventory.ansible_inventory(project / "ansible/hosts.yaml", count)
            sample = measure([CACHE / "venv/bin/ansible-inventory", "-i", project / "ansible/hosts.yaml", "--list"],
                             cwd=project / "ansible", env={**environment, "PATH": f"{CACHE / 'venv/bin'}:{environment['PATH']}", "LC_ALL": "C.UTF-8"})
            if len(json.loads(sample.stdout)["_meta"]["hostvars"]) != count:
                raise BenchError("ansible-inventory does not list all hosts")
            figures.add(f"validate, {count} hosts", "ansible-inventory --list", sample)
    ruled = folder / "ruled"
    run([sys.executable, Path(__file__).with_name("ruled.py"), "10000", ruled])
    for _ in range(repetitions):
        sample = measure([Provision.program, "validate", "-i", ruled, "--fail-on", "warning"], cwd=folder, env=environment)
        figures.add("validate with all packs of rules, 10000 hosts", "provision", sample)
    figures.notes["growth from 1,000 to 10,000 hosts, as an exponent"] = {
        name: round(math.log10(figures.median(f"{name}, 10000 hosts", "provision") / figures.median(f"{name}, 1000 hosts", "provision")), 2)
        for name in COMMANDS}


@contextlib.contextmanager
def simulated(hosts: Hosts, real: str, folder: Path) -> Iterator[str]:
    """Starts simulated hosts in a network namespace that has loopback only, and returns its name. They answer what the
    real host `real` answers."""
    namespace = f"provision.{hosts.name}.simulated"
    run(["ip", "netns", "add", namespace])
    try:
        run(["ip", "-n", namespace, "link", "set", "lo", "up"])
        key = folder / "simulated-key"
        if not key.exists():
            run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key])
        leader = next(host["pid"] for host in json.loads(hosts._lab("status", "--json"))["hosts"] if host["name"] == real)
        inside = ["nsenter", "--target", str(leader), "--all", "--", "sh"]
        with (folder / "simulated.log").open("w") as log:
            server = subprocess.Popen(["nsenter", f"--net=/run/netns/{namespace}", "--", "sh", "-c", "ulimit -n 65536; exec \"$@\"", "sh",
                                       str(REPOSITORY / "target/release/simulated"), "--host-key", str(key), "--", *inside], stdout=log, stderr=log)
        try:
            until = time.monotonic() + 10
            while "LISTEN" not in run(["ip", "netns", "exec", namespace, "ss", "-tln"]):
                if time.monotonic() > until or server.poll() is not None:
                    raise BenchError(f"the simulated hosts do not start:\n{(folder / 'simulated.log').read_text()}")
                time.sleep(0.1)
            yield namespace
        finally:
            server.terminate()
            server.wait()
    finally:
        run(["ip", "netns", "del", namespace])


def many(figures: Figures, hosts: Hosts, real: str, folder: Path, counts: tuple[int, ...]) -> None:
    """Plans for many simulated hosts, as it comes and with all connections open at once."""
    with simulated(hosts, real, folder) as namespace:
        key = " ".join((folder / "simulated-key.pub").read_text().split()[:2])
        for count in counts:
            where = folder / f"simulated-{count}"
            entries = "".join(f"  sim-{n:04}: {{ssh: {{address: 127.1.{n // 250}.{n % 250 + 1}, host_key: \"{key}\"}}}}\n" for n in range(count))
            write(where / "inventory/hosts.yaml", f"defaults: {{ssh: {{user: root}}}}\nhosts:\n{entries}")
            inventory.provision_project(where / "unused", 1)
            write(where / "playbooks/site.yaml", (where / "unused/playbooks/site.yaml").read_text())
            inventory.resources.write_files(where / "files")
            env = {"PATH": os.environ["PATH"], "HOME": str(where), "USER": "bench", **hosts.environment}
            for how, words in (("", []), (", all connections at once", ["--parallel", str(count)])):
                what = f"plan of {count} simulated hosts{how}"
                peak = {"descriptors": 0, "rss": []}

                def watch(pid: int) -> None:
                    with contextlib.suppress(OSError):
                        peak["descriptors"] = max(peak["descriptors"], len(os.listdir(f"/proc/{pid}/fd")))
                        found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
                        peak["rss"].append(int(found[1]) if found else 0)

                sample = measure([Provision.program, "plan", "--json", *words], namespace=namespace, env=env, cwd=where, watch=watch)
                plan = json.loads(sample.stdout)
                read = [host for host in plan["hosts"] if not host["changes"]]
                if len(read) != count:
                    raise BenchError(f"of {count} simulated hosts {len(read)} were read and found as they should be\n{sample.stderr[-1500:]}")
                figures.add(what, "provision", sample, cpu_per_host=sample.cpu / count, descriptors=peak["descriptors"],
                            kib_per_host=sample.rss_kib / count)
