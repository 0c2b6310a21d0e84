"""Running programs and ending exactly the ones that the lab started.

Everything else in the lab goes through `run` to start a tool and through `ProcessRecord` to end one. A pid alone
is never trusted: it may have been given to a stranger since it was written down.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


class LabError(Exception):
    """A failure that the user reads as `error:` and `hint:`, never as a traceback."""

    def __init__(self, message: str, hint: str | None = None, code: int = 1) -> None:
        super().__init__(message)
        self.hint = hint
        self.code = code


def run(command: Sequence[str | Path], doing: str, *, stdin: str | None = None, env: dict[str, str] | None = None,
        cwd: Path | None = None) -> str:
    """Runs a tool to its end and returns its stdout; a failure says what the lab was doing and the tool's own words."""
    arguments = [str(part) for part in command]
    try:
        done = subprocess.run(arguments, input=stdin, stdin=None if stdin is not None else subprocess.DEVNULL,
                              capture_output=True, text=True, env=env, cwd=cwd, check=False)
    except FileNotFoundError as error:
        raise LabError(f"{doing}: `{arguments[0]}` is not installed", "run `tests/lab/lab setup`", 2) from error
    if done.returncode != 0:
        words = (done.stderr.strip() or done.stdout.strip()).splitlines()[-12:]
        raise LabError(f"{doing}: `{arguments[0]}` ended with code {done.returncode}\n" + "\n".join(f"  {w}" for w in words))
    return done.stdout


def machine_boot() -> str:
    """Returns the machine's boot id: pids and start times recorded before a reboot of the machine mean nothing."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def start_time(pid: int) -> int | None:
    """Returns when a process started, in clock ticks since boot, or None if it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name may hold spaces and brackets; the fields after the last bracket do not.
    fields = stat[stat.rindex(")") + 2:].split()
    return None if fields[0] in "ZX" else int(fields[19])


@dataclass(frozen=True)
class ProcessRecord:
    """A process that cannot be confused with a later one of the same pid."""

    pid: int
    start: int
    boot: str

    @classmethod
    def capture(cls, pid: int) -> ProcessRecord | None:
        """Records a living process; None if it has ended already."""
        start = start_time(pid)
        return None if start is None else cls(pid, start, machine_boot())

    @classmethod
    def load(cls, path: Path) -> ProcessRecord | None:
        """Reads a record; a missing or half-written file is no record."""
        try:
            return cls(**json.loads(path.read_text()))
        except (FileNotFoundError, NotADirectoryError, ValueError, TypeError):
            return None

    def save(self, path: Path) -> None:
        write_file(path, json.dumps(asdict(self)))

    def is_alive(self) -> bool:
        return self.boot == machine_boot() and start_time(self.pid) == self.start

    def signal(self, number: int) -> None:
        """Signals this process and no other; silently does nothing if it has ended."""
        try:
            # The descriptor is taken before the check, so that the pid cannot change hands in between.
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            if self.is_alive():
                signal.pidfd_send_signal(descriptor, number)
        except ProcessLookupError:
            pass
        finally:
            os.close(descriptor)


def end_processes(records: Iterable[ProcessRecord], deadline: float = 10.0) -> list[ProcessRecord]:
    """Kills the given processes, waits for their end, and returns those that are still there at the deadline."""
    waiting = [record for record in records if record.is_alive()]
    for record in waiting:
        record.signal(signal.SIGKILL)
    until = time.monotonic() + deadline
    while (waiting := [record for record in waiting if record.is_alive()]) and time.monotonic() < until:
        time.sleep(0.02)
    return waiting


def write_file(path: Path, text: str, mode: int = 0o644) -> None:
    """Writes a file in one step, so that a reader in another process never sees half of it."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    fresh.write_text(text)
    fresh.chmod(mode)
    fresh.replace(path)
