"""Real hosts with 50 things each: first apply, no-op apply and plan, near and far, and through a bastion."""

from __future__ import annotations

from pathlib import Path

import resources
from figures import Figures
from labs import Hosts, SshClient
from process import BenchError, Sample, measure
from tools import Ansible, Floor, Provision, Pyinfra, Tool, write

READ = resources.floor_script()


def first_apply(figures: Figures, hosts: Hosts, tool: Tool, names: list[str], what: str) -> None:
    """Has a tool make the 50 things on fresh hosts, and sees to it that they are there."""
    sample = tool.apply()
    if tool.changed(sample) == 0:
        raise BenchError(f"{tool.name} says that it changed nothing on fresh hosts")
    hosts.check(names)
    figures.add(what, tool.name, sample)


def no_op(figures: Figures, tool: Tool, what: str) -> Sample:
    """Has a tool apply where nothing is to be done; it must say so itself."""
    sample = tool.apply()
    if tool.changed(sample) != 0:
        raise BenchError(f"{tool.name} says that it changed {tool.changed(sample)} things where nothing was to be done:\n{sample.stdout[-2000:]}")
    figures.add(what, tool.name, sample)
    return sample


def floor_apply(figures: Figures, hosts: Hosts, names: list[str], folder: Path, what: str) -> None:
    """Measures what the hosts themselves take for a first apply: one hand-written script each, and no tool."""
    floor = Floor(hosts, names, folder, script=resources.floor_apply_script())
    figures.add(what, "floor", floor.plan())
    hosts.check(names)


def small(figures: Figures, hosts: Hosts, folder: Path, ansible: bool) -> None:
    """1 and 10 hosts: each tool on hosts of its own for the first apply, then all tools on the same ones."""
    for count in (1, 10):
        rest = [name for name in hosts.names if not hosts.exec(name, f"ls -d {resources.ROOT} 2>/dev/null || :")]
        groups = [rest[at:at + count] for at in range(0, len(rest) - count + 1, count)]
        makers = [lambda names: Provision(hosts, names, folder), lambda names: Pyinfra(hosts, names, folder)]
        if ansible:
            makers += [lambda names: Ansible(hosts, names, folder, mitogen=True), lambda names: Ansible(hosts, names, folder)]
        what = f"first apply, {count} × 50"
        floor_apply(figures, hosts, groups[0], folder, what)
        for make, names in zip(makers, groups[1:]):
            first_apply(figures, hosts, make(names), names, what)
        # All on the hosts that Ansible or pyinfra made: what one tool has made, the others must find nothing to do on.
        names = groups[len(makers)] if len(groups) > len(makers) else groups[-1]
        for repetition in range(3):
            reads(figures, hosts, names, folder, repetition)
            for make in makers[:1] if repetition else makers:
                tool = make(names)
                # Of ten hosts, Ansible takes three minutes for each; its plan is the one that has a budget.
                if count == 1 or tool.name in ("provision", "pyinfra"):
                    no_op(figures, tool, f"no-op apply, {count} × 50")
                if tool.name != "provision":
                    sample = tool.plan()
                    if tool.name != "pyinfra" and tool.changed(sample) != 0:
                        raise BenchError(f"{tool.name} would change something where nothing is to be done")
                    figures.add(f"plan, {count} × 50", tool.name, sample)


def reads(figures: Figures, hosts: Hosts, names: list[str], folder: Path, repetition: int) -> None:
    """The plan of the tool beside the floor and the OpenSSH client, in an order that changes from time to time."""
    what = f"plan, {len(names)} × 50"
    ours, floor, client = Provision(hosts, names, folder), Floor(hosts, names, folder), SshClient(hosts)
    runs = [
        lambda: figures.add(what, "provision", ours.plan()),
        lambda: figures.add(what, "floor", floor.plan()),
        lambda: figures.add(what, "OpenSSH `true`", client.all_at_once(names)),
    ]
    for step in runs[repetition % 3:] + runs[:repetition % 3]:
        step()


def large(figures: Figures, hosts: Hosts, names: list[str], folder: Path, repetitions: int) -> None:
    """50 hosts, made by the tool: the floor, the OpenSSH client and the tool, each as often as the others."""
    ours = Provision(hosts, names, folder)
    first_apply(figures, hosts, ours, names, f"first apply, {len(names)} × 50")
    ours.plan()
    for repetition in range(repetitions):
        reads(figures, hosts, names, folder, repetition)
    what = f"no-op apply, {len(names)} × 50"
    for _ in range(min(3, repetitions)):
        no_op(figures, ours, what)
    figures.notes["round trips of a plan, as the tool counts them"] = ours.round_trips()


def parts(figures: Figures, hosts: Hosts, names: list[str], folder: Path, repetitions: int) -> None:
    """Of what the floor is made: the login, sudo, the read; and what the key exchange and the cipher cost."""
    what = f"parts of the floor, {len(names)} hosts"
    true = "exit 0\n"
    variants = {
        "root, `true`": Floor(hosts, names, folder, command="sh -s", user="root", script=true),
        "user, `true`": Floor(hosts, names, folder, command="sh -s", script=true),
        "user and sudo, `true`": Floor(hosts, names, folder, script=true),
        "user and sudo, the read": Floor(hosts, names, folder),
        "the same, curve25519-sha256 only": Floor(hosts, names, folder, extra=["--kex", "curve25519-sha256"]),
        "the same, aes256-gcm only": Floor(hosts, names, folder, extra=["--cipher", "aes256-gcm@openssh.com"]),
    }
    for _ in range(repetitions):
        for name, floor in variants.items():
            figures.add(what, name, floor.plan())


def far(figures: Figures, hosts: Hosts, folder: Path, ansible: bool) -> None:
    """1 and 10 hosts behind a wire that delays: plans, and how many round trips the delay was paid for."""
    for count in (1, 10):
        names = hosts.names[:count]
        tools: list[Tool] = [Provision(hosts, names, folder), Pyinfra(hosts, names, folder)]
        if ansible and count == 1:
            tools += [Ansible(hosts, names, folder, mitogen=True), Ansible(hosts, names, folder)]
        floor, client = Floor(hosts, names, folder), SshClient(hosts)
        for delay in (0, 10, 80) if count == 1 else (0, 80):
            for name in names:
                # The wire delays each direction.
                hosts.fault(name, "slow", str(delay / 2))
            what = f"plan at {delay} ms of round trip, {count} × 50"
            for _ in range(3):
                figures.add(what, "provision", tools[0].plan())
                figures.add(what, "floor", floor.plan())
                figures.add(what, "OpenSSH `true`", client.all_at_once(names))
            for tool in tools[1:]:
                figures.add(what, tool.name, tool.plan())
        for name in names:
            hosts.fault(name, "heal")
        near, away = (f"plan at {delay} ms of round trip, {count} × 50" for delay in (0, 80))
        figures.notes[f"round trips by the delay, {count} × 50"] = {
            tool: round((figures.median(away, tool) - figures.median(near, tool)) / 0.080, 1)
            for what, tool in list(figures.rows) if what == away}


def through_bastion(figures: Figures, hosts: Hosts, names: list[str], bastion: str, folder: Path, repetitions: int) -> None:
    """Hosts behind one bastion with the limits that sshd has by itself (`MaxStartups 10:30:100`, `MaxSessions 10`)."""
    # Leading on is what a bastion is for; that of the lab is a host like the others.
    ours = Provision(hosts, names, folder, via=bastion)
    what = f"plan through one bastion, {len(names)} × 50"
    config = folder / "bastion.ssh"
    options = SshClient(hosts).options()
    pairs = [word.replace("=", " ", 1) for word in options[3::2]]
    write(config, "\n".join(pairs) + f"\nHost jump\n  HostName {hosts.addresses[bastion]}\n  ControlMaster auto\n"
                  f"  ControlPath {folder}/jump.sock\n  ControlPersist 60\nHost *\n")
    targets = "".join(f"ssh -F {config} -J jump {hosts.addresses[name]} true </dev/null & p=\"$p $!\"\n" for name in names)
    # The plain client opens a connection to the bastion for each host, of which sshd refuses many; so one is opened first
    # and all hosts go over it, as an administrator would have it.
    script = f"ssh -F {config} -fN jump\np=\nbad=0\n{targets}for i in $p; do wait $i || bad=$((bad+1)); done\n" \
             f"ssh -F {config} -O exit jump 2>/dev/null\necho \"$bad failed\"\n"
    for _ in range(repetitions):
        figures.add(what, "provision", ours.plan())
        sample = measure(["bash", "-c", script], namespace=hosts.namespace)
        failed = int(sample.stdout.split()[0])
        figures.add(what, "OpenSSH `true`", sample, failed=failed)
        if failed:
            figures.notes["OpenSSH through the bastion"] = f"{failed} of {len(names)} hosts refused"
