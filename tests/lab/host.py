"""One booted host: its disk, its systemd-nspawn, its processes.

The disk is an overlay over the shared base image, so a fresh host costs nothing, and what a host writes survives its
reboot. `supervisor` calls `start` and waits for the end; `faults` and `lab exec` only look the host's leader up.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

from fleet import Host
from network import NAMESPACES
from process import LabError, ProcessRecord, end_processes, run, write_file

DISKS = Path("/var/lib/provision-lab")
MIRROR_IN_HOST = "/srv/mirror"
KEYRING_IN_HOST = "usr/share/keyrings/lab-mirror.gpg"
CONSOLE_TAIL = 15
# What systemd-nspawn returns when the host has asked for a reboot and --keep-unit leaves the restart to us.
REBOOT_CODE = 133
# The machine's clock and modules are not the hosts' to change. All else is open, as on a host of its own.
DROPPED_CAPABILITIES = "CAP_SYS_TIME,CAP_SYS_MODULE"


class HostFiles:
    """Where the things of one host are."""

    def __init__(self, state: Path, lab: str, host: Host) -> None:
        self.host = host
        self.container = f"{lab}.{host.name}"
        self.state = state / "hosts" / host.name
        self.disk = DISKS / lab / host.name
        self.root = self.disk / "root"
        self.key = self.state / "ssh_host_ed25519_key"
        self.console = self.state / "console.log"
        self.container_record = self.state / "container.json"
        self.leader_record = self.state / "leader.json"
        self.wire_config = self.state / "wire-config.json"
        self.wire_record = self.state / "wire.json"
        self.cgroups = [root / "provision-lab" / lab / host.name for root in cgroup_roots()]

    def console_tail(self) -> str:
        """Returns the last lines that the host wrote to its console, indented."""
        try:
            lines = self.console.read_text(errors="replace").splitlines()[-CONSOLE_TAIL:]
        except FileNotFoundError:
            lines = []
        return "\n".join(f"  {line}" for line in lines) or "  (its console is empty)"

    def leader(self) -> ProcessRecord | None:
        """Returns the host's init process, if the host is up."""
        record = ProcessRecord.load(self.leader_record)
        return record if record is not None and record.is_alive() else None


def cgroup_roots() -> list[Path]:
    """Returns the hierarchies in which systemd keeps its units: the unified one, and on older set-ups its own."""
    roots = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind == "cgroup2" or (kind == "cgroup" and "name=systemd" in options):
            roots.append(Path(left.split()[4]))
    return roots


def prepare(files: HostFiles, lower: str, keyring: Path, login_key: str) -> None:
    """Makes a host's disk and writes what makes this host different from the others."""
    host = files.host
    files.state.mkdir(parents=True, exist_ok=True)
    for directory in (files.root, files.disk / "upper", files.disk / "work"):
        directory.mkdir(parents=True)
    # A lab's disk may be lost with the machine, so nothing in it needs to wait for an fsync: `volatile`.
    run(["mount", "-t", "overlay", f"provision-lab:{files.container}", "-o",
         f"volatile,lowerdir={lower},upperdir={files.disk / 'upper'},workdir={files.disk / 'work'}", files.root],
        f"mounting the disk of {host.name}")
    root = files.root
    (root / "etc/hostname").write_text(f"{host.name}\n")
    (root / "etc/hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {host.name}\n::1 localhost ip6-localhost ip6-loopback\n")
    # Empty and not absent: systemd fills it in without treating this as the first boot.
    (root / "etc/machine-id").write_text("")
    (root / KEYRING_IN_HOST).write_bytes(keyring.read_bytes())
    (root / MIRROR_IN_HOST.lstrip("/")).mkdir(parents=True, exist_ok=True)
    if host.port != 22:
        (root / "etc/ssh/sshd_config.d/lab-port.conf").write_text(f"Port 22\nPort {host.port}\n")
    # A host with a new disk keeps its key: who installs a machine anew gives it the key that the fleet knows.
    if not files.key.exists():
        run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", host.name, "-f", files.key], f"making the host key of {host.name}")
    for source, mode in ((files.key, 0o600), (files.key.with_suffix(".pub"), 0o644)):
        write_file(root / "etc/ssh" / source.name, source.read_text(), mode)
    if not any(line.startswith(f"{host.user}:") for line in (root / "etc/passwd").read_text().splitlines()):
        _add_user(root, host)
    for line in (root / "etc/passwd").read_text().splitlines():
        user, _, uid, gid, _, home, _ = line.split(":")
        if user in (host.user, "provision", "root"):
            ssh = root / home.lstrip("/") / ".ssh"
            ssh.mkdir(mode=0o700, exist_ok=True)
            write_file(ssh / "authorized_keys", login_key, 0o600)
            for path in (ssh, ssh / "authorized_keys"):
                os.chown(path, int(uid), int(gid))


def _add_user(root: Path, host: Host) -> None:
    """Adds the user that the inventory names for this host, with the rights of the image's `provision`."""
    doing = f"adding the user {host.user} to {host.name}"
    run(["chroot", root, "useradd", "--create-home", "--shell", "/bin/bash", "--password", "*", host.user], doing)
    write_file(root / "etc/sudoers.d" / host.user, f"{host.user} ALL=(ALL:ALL) NOPASSWD: ALL\n", 0o440)


def own_nics(files: HostFiles) -> frozenset[str]:
    """Returns the NICs that the host's systemd-networkd configures when it boots."""
    if not (files.root / "etc/systemd/system/multi-user.target.wants/systemd-networkd.service").is_symlink():
        return frozenset()
    lines = {line.strip() for path in (files.root / "etc/systemd/network").glob("*.network")
             for line in path.read_text(errors="replace").splitlines()}
    return frozenset(nic.name for nic in files.host.nics if f"Name={nic.name}" in lines)


def start(files: HostFiles, namespace: str, shown: dict[str, Path]) -> subprocess.Popen[bytes]:
    """Boots a host and returns once its init runs. Its network must be there already.

    `shown` are files and folders of the machine that the host sees and cannot change, by their paths there.
    """
    command = ["systemd-nspawn", "--quiet", "--settings=no", "--boot", "--register=no", "--keep-unit",
               f"--directory={files.root}", f"--machine={files.container}", f"--hostname={files.host.name}",
               f"--network-namespace-path={NAMESPACES / namespace}", "--console=read-only",
               "--capability=all", f"--drop-capability={DROPPED_CAPABILITIES}", "--system-call-filter=@known",
               "--resolv-conf=off", "--timezone=off", "--link-journal=no",
               *(f"--bind-ro={path}:{place}" for place, path in shown.items()), "--", "--show-status=yes"]
    # Only net.* sysctls can be written; the others are the machine's own.
    environment = {"PATH": os.environ["PATH"], "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network"}
    child = spawn(files, command, environment, files.container_record)
    leader = _await_leader(child)
    if leader is None:
        stop(files)
        child.wait()
        raise LabError(f"booting {files.host.name}: systemd-nspawn did not start it\n{files.console_tail()}")
    leader.save(files.leader_record)
    return child


def spawn(files: HostFiles, command: list[str], environment: dict[str, str], record_file: Path) -> subprocess.Popen[bytes]:
    """Starts what runs a host, in the host's own cgroup, with the host's console, and writes it down."""
    for cgroup in files.cgroups:
        cgroup.mkdir(parents=True, exist_ok=True)
    # Each host has a cgroup of its own: in a shared one, systemd of one host would end the services of another. The
    # shell enters it before it becomes the command, so that no process of the host was ever outside.
    enter = "".join(f"echo $$ > '{cgroup}/cgroup.procs' && " for cgroup in files.cgroups)
    with files.console.open("ab") as console:
        child = subprocess.Popen(["sh", "-c", f"{enter} exec \"$@\"", "sh", *command], stdin=subprocess.DEVNULL,
                                 stdout=console, stderr=console, env=environment, cwd=files.state, start_new_session=True)
    record = ProcessRecord.capture(child.pid)
    if record is not None:
        record.save(record_file)
    return child


def _await_leader(child: subprocess.Popen[bytes], deadline: float = 20.0) -> ProcessRecord | None:
    """Waits for the child of nspawn that is process 1 in a pid namespace of its own."""
    until = time.monotonic() + deadline
    while time.monotonic() < until and child.poll() is None:
        try:
            pids = Path(f"/proc/{child.pid}/task/{child.pid}/children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            pids = []
        for pid in pids:
            numbers = namespace_pids(int(pid))
            if len(numbers) > 1 and numbers[-1] == 1:
                return ProcessRecord.capture(int(pid))
        time.sleep(0.01)
    return None


def namespace_pids(pid: int) -> list[int]:
    """Returns a process's numbers in all nested pid namespaces, outermost first; empty if it is gone."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("NSpid:"):
                return [int(number) for number in line.split()[1:]]
    except (FileNotFoundError, ProcessLookupError):
        pass
    return []


def stop(files: HostFiles) -> list[ProcessRecord]:
    """Ends a host at once, as a power cut does, and returns what would not go.

    The recorded processes go first. What is left in the host's own cgroup, in which the lab alone has put anything,
    belongs to a start that was interrupted before its record.
    """
    records = [ProcessRecord.load(path) for path in (files.leader_record, files.container_record)]
    left = end_processes(record for record in records if record is not None)
    left += end_processes(record for pid in cgroup_members(files.cgroups)
                          if (record := ProcessRecord.capture(pid)) is not None)
    files.leader_record.unlink(missing_ok=True)
    files.container_record.unlink(missing_ok=True)
    for cgroup in () if left else files.cgroups:
        remove_cgroups(cgroup)
    return left


def cgroup_members(cgroups: list[Path]) -> set[int]:
    """Returns all processes below the given cgroups."""
    members = set()
    for cgroup in cgroups:
        for path in cgroup.rglob("cgroup.procs") if cgroup.is_dir() else ():
            try:
                members |= {int(pid) for pid in path.read_text().split()}
            except OSError:
                continue
    return members - {0}


def remove_cgroups(cgroup: Path) -> None:
    """Removes a cgroup and those below, deepest first.

    The next boot needs a new one: where controllers were passed down, the kernel lets no process into a cgroup that
    has others below.
    """
    if not cgroup.is_dir():
        return
    folders = [cgroup, *(path for path in cgroup.rglob("*") if path.is_dir())]
    for folder in sorted(folders, key=lambda path: len(path.parts), reverse=True):
        for attempt in range(50):
            try:
                folder.rmdir()
                break
            except OSError as error:
                # A process that has just ended may be counted for a moment longer.
                if attempt == 49:
                    raise LabError(f"removing the cgroup {folder}: {error.strerror}") from error
                time.sleep(0.02)


def sshd_processes(leader: ProcessRecord) -> list[ProcessRecord]:
    """Returns the listener and all sessions of a host's sshd."""
    return [record for pid in processes_of(leader) if _command_name(pid).startswith("sshd")
            and (record := ProcessRecord.capture(pid)) is not None]


def processes_of(leader: ProcessRecord) -> list[int]:
    """Returns all processes that run in a host."""
    try:
        namespace = os.readlink(f"/proc/{leader.pid}/ns/pid")
    except FileNotFoundError:
        return []
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if os.readlink(entry / "ns/pid") == namespace:
                    found.append(int(entry.name))
            except OSError:
                # Gone, or one that even root may not look at; it is not ours then.
                continue
    return found


def is_stopped(pid: int) -> bool:
    """Tells whether a process is held by SIGSTOP."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat[stat.rindex(")") + 2] == "T"


def _command_name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def enter_command(leader: ProcessRecord, command: list[str]) -> list[str]:
    """Returns the command that runs another one as root inside a host, with a login's plain environment."""
    return ["nsenter", "--target", str(leader.pid), "--all", "--", "env", "-i", *login_environment(), *command]


def login_environment() -> list[str]:
    return ["HOME=/root", "USER=root", "LANG=C.UTF-8", f"TERM={os.environ.get('TERM', 'dumb')}",
            "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
