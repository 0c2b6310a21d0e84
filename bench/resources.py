"""The workload: the same 50 things on a host, in the language of each tool, and how to see that they are there.

20 files of 0.5 to 10 KB, 10 directories, 5 links, 5 packages, 5 services, 3 users and 2 groups. `expected` and `reader`
know nothing of any tool: the one is made from the table below, the other asks the host by `find` and its like.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

ROOT = "/srv/bench"
DIRECTORIES = [ROOT, f"{ROOT}/files", *(f"{ROOT}/d{number}" for number in range(8))]
FILES = {f"{ROOT}/files/f{number:02}": f"f{number:02}" for number in range(20)}
LINKS = {f"{ROOT}/l{number}": f"{ROOT}/files/f{number:02}" for number in range(5)}
PACKAGES = ["bzip2", "less", "tree", "unzip", "zip"]
SERVICES = [f"bench-{number}" for number in range(5)]
GROUPS = ["bench-red", "bench-blue"]
USERS = {"bench-alice": "bench-red", "bench-bob": "bench-blue", "bench-carol": "bench-red"}
SHELL = "/bin/bash"
COUNT = len(DIRECTORIES) + len(FILES) + len(LINKS) + len(PACKAGES) + len(SERVICES) + len(GROUPS) + len(USERS)

# What a fresh host gets before anybody is measured: the services' units, not started, and the mirror.
PREPARE = f"""set -eu
for n in 0 1 2 3 4; do
  printf '[Service]\\nExecStart=/bin/sleep infinity\\n' > /etc/systemd/system/bench-$n.service
done
systemctl daemon-reload
echo 'deb [signed-by=/usr/share/keyrings/lab-mirror.gpg] file:/srv/mirror bookworm main' > /etc/apt/sources.list
apt-get -qq update
"""


def content(number: int) -> str:
    """Returns the text of a file: from 500 bytes to 10 KB, in lines, different in each."""
    size = 500 * (number + 1)
    line = f"file {number:02} of the benchmark, a line as a configuration has them = {number * 7919}\n"
    return (line * (size // len(line) + 1))[:size - 1] + "\n"


def write_files(folder: Path) -> None:
    """Writes the files that the tools copy."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(FILES.values()):
        (folder / name).write_text(content(number))


def expected() -> str:
    """Returns what `reader` prints on a host that has all 50 things."""
    lines = [f"{path} d 750 root root" for path in DIRECTORIES]
    lines += [f"{path} f 644 root root {hashlib.sha256(content(number).encode()).hexdigest()}" for number, path in enumerate(FILES)]
    lines += [f"{path} l {target}" for path, target in LINKS.items()]
    lines += [f"package {name} installed" for name in PACKAGES]
    lines += [f"service {name} active" for name in SERVICES]
    lines += [f"user {name} {SHELL} {group}" for name, group in USERS.items()]
    lines += [f"group {name}" for name in GROUPS]
    return "".join(f"{line}\n" for line in sorted(lines))


def reader() -> str:
    """Returns a script that prints what is there of the 50 things, sorted."""
    paths = " ".join(DIRECTORIES)
    return f"""export LC_ALL=C
{{
  find {paths} -maxdepth 0 -printf '%p %y %m %u %g\\n'
  find {ROOT}/files -type f -printf '%p %y %m %u %g ' -exec sh -c 'sha256sum < "$1" | cut -d" " -f1' sh {{}} ';'
  find {ROOT} -maxdepth 1 -type l -printf '%p %y %l\\n'
  dpkg-query -W -f 'package ${{Package}} ${{db:Status-Status}}\\n' {' '.join(PACKAGES)}
  for s in {' '.join(SERVICES)}; do echo "service $s $(systemctl is-active $s)"; done
  for u in {' '.join(USERS)}; do
    g=$(id -nG $u | tr ' ' '\\n' | grep -x 'bench-red\\|bench-blue' | tr '\\n' ' ')
    echo "user $u $(getent passwd $u | cut -d: -f7) ${{g% }}"
  done
  for g in {' '.join(GROUPS)}; do getent group $g | sed 's/^\\([^:]*\\):.*/group \\1/'; done
}} 2>&1 | sort
"""


def floor_script() -> tuple[str, int]:
    """Returns the hand-written batched read of the 50 things, and how many lines it prints at the least on a host that
    has them; the host's other groups come on top."""
    paths = " ".join([*DIRECTORIES, *FILES, *LINKS])
    script = f"""export LC_ALL=C
find {paths} -maxdepth 0 -printf '%p %y %m %u %g %s %l\\n'
sha256sum {' '.join(FILES)}
dpkg-query -W -f '${{Package}} ${{Version}} ${{db:Status-Status}}\\n' {' '.join(PACKAGES)}
systemctl show -p Id,LoadState,ActiveState,UnitFileState {' '.join(f'{name}.service' for name in SERVICES)}
getent passwd {' '.join(USERS)}
getent group
"""
    paths_read = len(DIRECTORIES) + 2 * len(FILES) + len(LINKS)
    return script, paths_read + len(PACKAGES) + 5 * len(SERVICES) - 1 + len(USERS) + len(GROUPS)


def floor_apply_script() -> str:
    """Returns the hand-written script that makes the 50 things on a fresh host, with nothing looked at before or after."""
    lines = ["set -e; umask 022", f"mkdir -p {' '.join(DIRECTORIES)}; chmod 0750 {' '.join(DIRECTORIES)}"]
    lines += [f"cat > {path} <<'END'\n{content(number)}END" for number, path in enumerate(FILES)]
    lines += [f"ln -s {target} {path}" for path, target in LINKS.items()]
    lines += [f"DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends {' '.join(PACKAGES)} </dev/null >/dev/null 2>&1"]
    lines += [f"systemctl start {' '.join(SERVICES)}"]
    lines += [f"groupadd {name}" for name in GROUPS]
    lines += [f"useradd -m -s {SHELL} -G {group} {name}" for name, group in USERS.items()]
    return "\n".join([*lines, "echo done", ""])


def provision_playbook() -> str:
    """Returns the playbook of the tool."""
    tasks = [f"- directory: {{path: {path}, mode: \"0750\"}}" for path in DIRECTORIES]
    tasks += [f"- file: {{path: {path}, source: {name}, mode: \"0644\"}}" for path, name in FILES.items()]
    tasks += [f"- link: {{path: {path}, target: {target}}}" for path, target in LINKS.items()]
    tasks += [f"- package: {{names: {json.dumps(PACKAGES)}}}"]
    tasks += [f"- service: {{name: {name}, state: running}}" for name in SERVICES]
    tasks += [f"- group: {{name: {name}}}" for name in GROUPS]
    tasks += [f"- user: {{name: {name}, shell: {SHELL}, groups: [{group}]}}" for name, group in USERS.items()]
    body = "\n".join(f"      {task}" for task in tasks)
    return f"name: The 50 things\nplays:\n  - name: bench\n    hosts: all\n    tasks:\n{body}\n"


def ansible_playbook() -> str:
    """Returns the playbook for Ansible, with loops where it has them and one call for all packages."""
    def loop(items: list[object]) -> str:
        return json.dumps(items)
    tasks = f"""- hosts: all
  gather_facts: false
  become: true
  tasks:
    - file: {{path: "{{{{ item }}}}", state: directory, mode: "0750"}}
      loop: {loop(list(DIRECTORIES))}
    - copy: {{src: "{{{{ item.name }}}}", dest: "{{{{ item.path }}}}", mode: "0644", owner: root, group: root}}
      loop: {loop([{"path": path, "name": name} for path, name in FILES.items()])}
    - file: {{path: "{{{{ item.path }}}}", src: "{{{{ item.target }}}}", state: link}}
      loop: {loop([{"path": path, "target": target} for path, target in LINKS.items()])}
    - apt: {{name: {json.dumps(PACKAGES)}, install_recommends: false}}
    - systemd_service: {{name: "{{{{ item }}}}", state: started}}
      loop: {loop(list(SERVICES))}
    - group: {{name: "{{{{ item }}}}"}}
      loop: {loop(list(GROUPS))}
    - user: {{name: "{{{{ item.name }}}}", shell: {SHELL}, groups: ["{{{{ item.group }}}}"], append: true}}
      loop: {loop([{"name": name, "group": group} for name, group in USERS.items()])}
"""
    return tasks


def pyinfra_deploy(files: Path) -> str:
    """Returns the deploy of pyinfra."""
    return f"""from pyinfra.operations import apt, files, server, systemd
for path in {DIRECTORIES!r}:
    files.directory(path=path, mode="750", user="root", group="root")
for path, name in {FILES!r}.items():
    files.put(src={str(files)!r} + "/" + name, dest=path, mode="644", user="root", group="root")
for path, target in {LINKS!r}.items():
    files.link(path=path, target=target)
apt.packages(packages={PACKAGES!r}, no_recommends=True)
for name in {SERVICES!r}:
    systemd.service(service=name + ".service", running=True)
for name in {GROUPS!r}:
    server.group(group=name)
for name, group in {USERS!r}.items():
    server.user(user=name, shell={SHELL!r}, groups=[group])
"""
