"""Real hosts for the benchmark: the lab of the tests, with what the peers need on a host."""

from __future__ import annotations

import json
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import resources
from process import BenchError, measure, run

REPOSITORY = Path(__file__).resolve().parents[1]
LAB = REPOSITORY / "tests/lab/lab"
# Ansible works with Python on the host, and rsync with itself. All tools are measured on the same hosts.
INCLUDED = "python3,python3-apt,rsync"


class Hosts:
    """A lab of plain hosts, fresh: it is taken down at the end of the `with` block."""

    def __init__(self, name: str, count: int) -> None:
        self.name = name
        self.count = count
        self.namespace = f"provision.{name}.fabric"
        self.names: list[str] = []
        self.addresses: dict[str, str] = {}

    def __enter__(self) -> Hosts:
        self._lab("setup")
        self._lab("down")
        self._lab("up", "plain", "--hosts", str(self.count))
        try:
            for host in json.loads(self._lab("status", "--json"))["hosts"]:
                self.names.append(host["name"])
                self.addresses[host["name"]] = host["ssh"]["address"]
            self.environment = {key: value for key, _, value in
                                (line.removeprefix("export ").partition("=") for line in self._lab("env").splitlines())}
            self.on_all(self.names, resources.PREPARE)
        except BaseException:
            self._lab("down")
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._lab("down")

    @property
    def identity(self) -> Path:
        """The private key that every host takes."""
        return Path(self.environment["PROVISION_IDENTITY"])

    @property
    def known_hosts(self) -> Path:
        """The hosts' keys."""
        return Path(self.environment["PROVISION_KNOWN_HOSTS"])

    def exec(self, host: str, script: str) -> str:
        """Runs shell text as root in a host, by no tool and not over SSH."""
        return self._lab("exec", host, "--", "sh", "-c", script)

    def on_all(self, hosts: list[str], script: str) -> list[str]:
        """Runs shell text in several hosts, two at a time."""
        with ThreadPoolExecutor(2) as pool:
            return list(pool.map(lambda host: self.exec(host, script), hosts))

    def check(self, hosts: list[str]) -> None:
        """Raises `BenchError` unless the hosts have exactly the 50 things; neither tool is asked."""
        for host, found in zip(hosts, self.on_all(hosts, resources.reader())):
            if found != resources.expected():
                wanted, seen = set(resources.expected().splitlines()), set(found.splitlines())
                raise BenchError(f"{host} is not as it should be\n  missing: {sorted(wanted - seen)}\n  instead: {sorted(seen - wanted)}")

    def fault(self, host: str, *words: str) -> None:
        """Breaks or mends a host."""
        self._lab("fault", host, *words)

    def _lab(self, *words: str) -> str:
        return run([LAB, *words], env={**os.environ, "LAB_NAME": self.name, "LAB_INCLUDE": INCLUDED})


class SshClient:
    """The OpenSSH client on the same hosts, all at once: the login and nothing else, or with a script."""

    def __init__(self, hosts: Hosts) -> None:
        self.hosts = hosts

    def options(self) -> list[str]:
        """Returns what makes it use the lab's keys only."""
        pairs = {"IdentityFile": self.hosts.identity, "UserKnownHostsFile": self.hosts.known_hosts, "IdentitiesOnly": "yes",
                 "GlobalKnownHostsFile": "/dev/null", "BatchMode": "yes", "User": "provision", "LogLevel": "ERROR"}
        return ["-F", "/dev/null", *(word for key, value in pairs.items() for word in ("-o", f"{key}={value}"))]

    def all_at_once(self, names: list[str], command: str = "true", extra: list[str] | None = None):
        """Measures one client process for each host, all started at once by one shell."""
        with tempfile.NamedTemporaryFile("w", suffix=".sh") as script:
            words = " ".join(str(word) for word in [*self.options(), *(extra or [])])
            lines = "".join(f"ssh {words} {self.hosts.addresses[name]} '{command}' </dev/null & p=\"$p $!\"\n" for name in names)
            script.write(f"p=\n{lines}for i in $p; do wait $i || exit 1; done\n")
            script.flush()
            return measure(["bash", script.name], namespace=self.hosts.namespace)
