"""Where a lab keeps what it knows, and how a command finds a lab that is up.

A lab's state is a folder; there is no other memory. What can be asked of the kernel (is it running, is it cut) is
asked and not written down.
"""

from __future__ import annotations

import json
import os
import re
import socket
from pathlib import Path

import own_kernel
from fleet import Fleet, Host, parse_inventory
from host import DISKS, HostFiles, enter_command
from network import Fabric
from process import LabError, ProcessRecord

LAB_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,14}")


def labs_folder() -> Path:
    return Path(os.environ.get("LAB_ROOT") or "/run/provision-lab").absolute()


class Lab:
    """The paths and names of one lab, whether it is up or not."""

    def __init__(self, name: str) -> None:
        if not LAB_NAME.fullmatch(name):
            raise LabError(f"`{name}` cannot be a lab's name", "use up to 15 small letters, digits and hyphens", 2)
        self.name = name
        self.state = labs_folder() / name
        self.disks = DISKS / name
        # A host cannot be called so.
        self.owner_file = self.disks / ".state"
        self.fleet_file = self.state / "fleet.json"
        self.base_file = self.state / "base.json"
        self.identity = self.state / "id_ed25519"
        self.known_hosts = self.state / "known_hosts"
        self.socket = self.state / "supervisor.sock"
        self.supervisor_log = self.state / "supervisor.log"
        self.supervisor_record = self.state / "supervisor.json"

    def claim(self) -> None:
        """Takes the lab's name, which is free only if nothing of an earlier lab of that name is left."""
        made: list[Path] = []
        try:
            for folder in (self.disks, self.state):
                folder.mkdir(parents=True)
                made.append(folder)
        except FileExistsError as error:
            for folder in made:
                folder.rmdir()
            raise LabError(f"the lab `{self.name}` is up already, or half of it: there is {error.filename}",
                           f"run `tests/lab/lab down --name {self.name}`") from error
        self.owner_file.write_text(str(self.state))

    def require_ours(self) -> None:
        """Refuses to touch a lab of the same name whose state is kept under another LAB_ROOT."""
        owner = self.owner_file.read_text() if self.owner_file.is_file() else ""
        if owner not in ("", str(self.state)) and Path(owner).is_dir():
            raise LabError(f"the lab `{self.name}` keeps its state in {owner}", f"set LAB_ROOT to {Path(owner).parent}")

    def fleet(self) -> Fleet:
        """Returns the fleet of a lab that is up."""
        if not self.fleet_file.is_file():
            raise LabError(f"the lab `{self.name}` is not up", "run `tests/lab/lab up SOURCE`")
        return parse_inventory(self.fleet_file.read_text(), str(self.fleet_file))

    def fabric(self) -> Fabric:
        return Fabric(self.name, self.fleet())

    def files(self, host: Host) -> HostFiles:
        return HostFiles(self.state, self.name, host)

    def leader(self, host: Host) -> ProcessRecord:
        """Returns the process that a host's life hangs on: its init, or the qemu that runs it."""
        leader = self.files(host).leader()
        if leader is None:
            raise LabError(f"the host {host.name} is not running", f"run `tests/lab/lab fault {host.name} boot`")
        return leader

    def enter_command(self, host: Host, command: list[str]) -> list[str]:
        """Returns the command that runs another one as root inside a host."""
        leader = self.leader(host)
        if host.own_kernel:
            return own_kernel.enter_command(self.files(host), self.fabric(), command)
        return enter_command(leader, command)

    def environment(self) -> dict[str, str]:
        """Returns what the tool under test needs to reach this lab's hosts, and what nested `lab` commands need."""
        return {"LAB_NAME": self.name, "LAB_ROOT": str(self.state.parent), "LAB_STATE": str(self.state),
                "PROVISION_KNOWN_HOSTS": str(self.known_hosts), "PROVISION_IDENTITY": str(self.identity)}

    def supervisor(self) -> ProcessRecord | None:
        """Returns the lab's supervisor, if it runs."""
        record = ProcessRecord.load(self.supervisor_record)
        return record if record is not None and record.is_alive() else None

    def ask_supervisor(self, request: dict[str, str], timeout: float) -> None:
        """Has the supervisor do something, and raises what went wrong there."""
        doing = f"asking the supervisor of the lab `{self.name}`"
        try:
            # By way of a descriptor, because the path of a socket may have 107 bytes only.
            folder = os.open(self.state, os.O_PATH | os.O_DIRECTORY)
            try:
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                    connection.settimeout(timeout)
                    connection.connect(f"/proc/self/fd/{folder}/{self.socket.name}")
                    connection.sendall(json.dumps(request).encode() + b"\n")
                    answer = json.loads(connection.makefile().readline() or "null")
            finally:
                os.close(folder)
        except (OSError, ValueError) as error:
            raise LabError(f"{doing}: {error}", f"look at {self.supervisor_log}, or take the lab down by `tests/lab/lab down`") from error
        if answer is None:
            raise LabError(f"{doing}: it has ended", f"look at {self.supervisor_log}")
        if "error" in answer:
            raise LabError(answer["error"], answer.get("hint"))
