"""The one process of a lab that stays: it boots hosts, boots them again when they reboot, and takes their power away.

Started by `lab up` in the machine's own namespaces, so that `lab fault HOST boot` works also from inside the fabric.
Takes one JSON request per connection on the lab's socket: {"do": "boot", "host": ...}, {"do": "kill", ...}, or
{"do": "stop"}. It writes down the processes that it starts, so that `lab down` manages without it.
"""

from __future__ import annotations

import sys

sys.dont_write_bytecode = True

import json
import os
import signal
import socket
import subprocess
import threading
import traceback
from pathlib import Path

import own_kernel
from guest import IMAGES_IN_HOST
from host import MIRROR_IN_HOST, REBOOT_CODE, own_nics, start, stop
from process import LabError
from state import Lab


class Supervisor:
    """Owns the processes that run a lab's hosts."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.fleet = lab.fleet()
        self.fabric = lab.fabric()
        base = json.loads(lab.base_file.read_text())
        images = {f"{IMAGES_IN_HOST}/{name}": Path(path) for name, path in base["images"].items()}
        self.shown = {MIRROR_IN_HOST: Path(base["mirror"]), **images}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        # One lock per host: a boot, a reboot and a kill of the same host wait for each other.
        self.locks = {host.name: threading.RLock() for host in self.fleet.hosts}
        self.stopping = False

    def boot(self, name: str) -> None:
        """Powers a host on."""
        host = self.fleet.host(name)
        with self.locks[name]:
            if self.stopping:
                raise LabError(f"booting {name}: the lab is going down")
            if name in self.running:
                raise LabError(f"booting {name}: it is running", f"run `tests/lab/lab fault {name} kill` first")
            files = self.lab.files(host)
            if host.own_kernel:
                self.fabric.plug_taps(host)
                child = own_kernel.start(files, self.fabric)
            else:
                self.fabric.plug(host, own_nics(files))
                child = start(files, self.fabric.host_namespace(host), self.shown)
            self.running[name] = child
        threading.Thread(target=self._watch, args=(name, child), daemon=True).start()

    def kill(self, name: str) -> None:
        """Takes a host's power away: it closes no connection and writes nothing more."""
        host = self.fleet.host(name)
        with self.locks[name]:
            child = self.running.pop(name, None)
            if child is None:
                raise LabError(f"killing {name}: it is not running", f"run `tests/lab/lab fault {name} boot` first")
            if not host.own_kernel:
                self.fabric.silence(host)
            left = stop(self.lab.files(host))
            if left:
                raise LabError(f"killing {name}: process {left[0].pid} does not end")
            child.wait()

    def stop(self) -> None:
        """Takes the power of all hosts away, for good."""
        self.stopping = True
        # All at once first: to wait for each in turn takes seconds with many hosts.
        for host in self.fleet.hosts:
            leader = self.lab.files(host).leader()
            if leader is not None:
                leader.signal(signal.SIGKILL)
        for host in self.fleet.hosts:
            with self.locks[host.name]:
                child = self.running.pop(host.name, None)
                if child is not None and not stop(self.lab.files(host)):
                    child.wait()

    def _watch(self, name: str, child: subprocess.Popen[bytes]) -> None:
        """Waits for a host's end, and boots it again if it asked for that."""
        host = self.fleet.host(name)
        if host.own_kernel:
            end = own_kernel.await_end(self.lab.files(host), child)
            is_reboot = end == own_kernel.REBOOT_REASON
        else:
            end = f"code {child.wait()}"
            is_reboot = end == f"code {REBOOT_CODE}"
        with self.locks[name]:
            if self.running.get(name) is not child:
                return
            del self.running[name]
            stop(self.lab.files(host))
            print(f"{name} ended: {end}", flush=True)
            if is_reboot and not self.stopping:
                try:
                    self.boot(name)
                except LabError as error:
                    print(f"{name}: {error}", flush=True)


def answer(supervisor: Supervisor, connection: socket.socket) -> None:
    """Serves one request. A failure of ours goes to the one who asked, too: nobody reads the log first."""
    with connection:
        reply: dict[str, str | None] = {}
        ended = False
        try:
            request = json.loads(connection.makefile().readline())
            if request["do"] == "boot":
                supervisor.boot(request["host"])
            elif request["do"] == "kill":
                supervisor.kill(request["host"])
            else:
                supervisor.stop()
                ended = True
        except LabError as error:
            reply = {"error": str(error), "hint": error.hint}
        except Exception as error:
            traceback.print_exc()
            reply = {"error": f"the supervisor failed: {error!r}", "hint": f"look at {supervisor.lab.supervisor_log}"}
        try:
            connection.sendall(json.dumps(reply).encode() + b"\n")
        except OSError:
            pass
    if ended:
        os._exit(0)


def serve(lab: Lab) -> None:
    """Listens until it is told to stop."""
    # An interrupt of `lab up` at the terminal is for `lab up` alone, which then tells us to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    supervisor = Supervisor(lab)
    os.chdir(lab.state)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        # Under its name only once it listens: whoever sees it may connect.
        early = f"{lab.socket.name}.new"
        listener.bind(early)
        listener.listen(128)
        os.rename(early, lab.socket.name)
        print("ready", flush=True)
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=answer, args=(supervisor, connection), daemon=True).start()


if __name__ == "__main__":
    serve(Lab(sys.argv[1]))
