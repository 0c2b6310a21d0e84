"""Running a program and measuring it as a whole process."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

NAMESPACES = Path("/run/netns")


class BenchError(Exception):
    """Something that makes a figure worthless; the message says what."""


@dataclass(frozen=True)
class Sample:
    """One run of one program: seconds of wall clock and of processor, seconds that the other processors of the machine
    were busy meanwhile (on a machine that does nothing else: the hosts' own), the largest resident set of its processes in
    KiB, and how many processes the whole machine started meanwhile, the hosts' own included."""

    wall: float
    cpu: float
    hosts: float
    rss_kib: int
    forks: int
    status: int
    stdout: str
    stderr: str

    def figures(self) -> dict[str, float]:
        """Returns what is kept in the raw figures."""
        return {key: round(value, 4) for key, value in asdict(self).items() if isinstance(value, (int, float))}


def forks_so_far() -> int:
    """Returns how many processes the machine has started since it booted."""
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("processes "):
            return int(line.split()[1])
    raise BenchError("/proc/stat does not count processes")


def busy_so_far() -> float:
    """Returns how many seconds the machine's processors have worked since it booted."""
    user, nice, system, idle, wait, *rest = (int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:])
    return (user + nice + system + sum(rest[:2])) / os.sysconf("SC_CLK_TCK")


def measure(command: Sequence[str | Path], *, namespace: str | None = None, env: dict[str, str] | None = None,
            cwd: Path | None = None, stdin: str = "", expect: Sequence[int] = (0,), timeout: float = 3600,
            watch: Callable[[int], None] | None = None) -> Sample:
    """Runs a program to its end. `namespace` is the network namespace that it runs in; `watch` is called with its pid,
    five times a second.

    Raises `BenchError` if it ends with a status that is not expected, with the end of what it said.
    """
    words = [str(word) for word in command]
    if namespace is not None:
        words = ["nsenter", f"--net={NAMESPACES / namespace}", "--", *words]
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors:
        given.write(stdin.encode())
        given.seek(0)
        forks, busy, began = forks_so_far(), busy_so_far(), time.monotonic()
        child = subprocess.Popen(words, stdin=given, stdout=out, stderr=errors, env=env, cwd=cwd)
        if watch is None:
            _, status, usage = _await(child, timeout)
        else:
            status, usage = _watched(child, watch, timeout)
        wall = time.monotonic() - began
        forks, cpu = forks_so_far() - forks, usage.ru_utime + usage.ru_stime
        out.seek(0)
        errors.seek(0)
        sample = Sample(wall, cpu, max(busy_so_far() - busy - cpu, 0.0), usage.ru_maxrss, forks, os.waitstatus_to_exitcode(status),
                        out.read().decode(errors="replace"), errors.read().decode(errors="replace"))
    if sample.status not in expect:
        said = (sample.stderr or sample.stdout)[-3000:]
        raise BenchError(f"{' '.join(words)} ended with {sample.status}:\n{said}")
    return sample


def _await(child: subprocess.Popen[bytes], timeout: float) -> tuple[int, int, os.struct_rusage]:
    """Waits for a child and what it used; `Popen.wait` cannot tell the latter."""
    def give_up(*_: object) -> None:
        child.kill()

    previous = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, timeout)
    try:
        result = os.wait4(child.pid, 0)
    except BaseException:
        child.kill()
        os.wait4(child.pid, 0)
        child.returncode = -1
        raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
    child.returncode = os.waitstatus_to_exitcode(result[1])
    return result


def _watched(child: subprocess.Popen[bytes], watch: Callable[[int], None], timeout: float) -> tuple[int, os.struct_rusage]:
    until = time.monotonic() + timeout
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return status, usage
        if time.monotonic() > until:
            child.kill()
        watch(child.pid)
        time.sleep(0.2)


def run(command: Sequence[str | Path], *, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """Runs a program that is not measured, and returns what it printed."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, env=env, cwd=cwd, check=False)
    if done.returncode != 0:
        raise BenchError(f"{' '.join(str(word) for word in command)} ended with {done.returncode}:\n{(done.stderr or done.stdout)[-3000:]}")
    return done.stdout
