//! Attempts to lock oneself out of a host, each of another kind: whatever the change was, the host ends as it was, and can be
//! logged in to.

use std::collections::BTreeMap;

use super::fleet::{Lab, all_text, is_possible, outcomes};

/// A play for each host; the name says what is tried there.
const PLAYBOOK: &str = r##"name: Lockouts
plays:
  - name: sshd listens elsewhere
    hosts: host-001
    tasks:
      - file: {path: /etc/ssh/sshd_config.d/port.conf, content: "Port 2222\n"}
      - file: {path: /srv/after, content: x}
  - name: rules of sudo that visudo accepts
    hosts: host-002
    tasks:
      - sudoers: {name: zz-all, content: "provision ALL=(ALL:ALL) !ALL\n"}
      - file: {path: /srv/after, content: x}
  - name: the key of the login user
    hosts: host-003
    tasks:
      - authorized_key: {user: provision, key: KEY, state: absent}
      - file: {path: /srv/after, content: x}
  - name: the shell of the login user
    hosts: host-004
    tasks:
      - user: {name: provision, shell: /usr/sbin/nologin}
      - file: {path: /srv/after, content: x}
  - name: sshd is stopped and masked
    hosts: host-005
    tasks:
      - service: {name: ssh, state: stopped, enabled: false, masked: true}
      - file: {path: /srv/after, content: x}
  - name: lines in the middle of a configuration
    hosts: host-006
    tasks:
      - block: {path: /etc/ssh/sshd_config, position: beginning, content: AllowUsers nobody}
      - file: {path: /srv/after, content: x}
  - name: rules of sudo that go with a folder
    hosts: host-007
    tasks:
      - directory: {path: /etc/sudoers.d, mode: "0750", purge: true, keep: [README]}
      - file: {path: /srv/after, content: x}
  - name: several at once, of which one locks out
    hosts: host-008
    tasks:
      - sudoers: {name: harmless, content: "# nothing\n"}
      - file: {path: /srv/between, content: x}
      - user: {name: somebody}
      - authorized_key: {user: provision, key: KEY, state: absent}
      - file: {path: /srv/after, content: x}
  - name: several at once, and all well
    hosts: host-009
    tasks:
      - sudoers: {name: harmless, content: "# nothing\n"}
      - file: {path: /srv/between, content: x}
      - user: {name: provision, comment: Provisioner}
      - file: {path: /etc/ssh/sshd_config.d/quiet.conf, content: "MaxAuthTries 5\n"}
        notify: service[ssh]
      - file: {path: /srv/after, content: x}
      - service: {name: ssh}
"##;

/// Whatever decides who gets in.
const WAY_IN: &str =
    "cat /etc/ssh/sshd_config /etc/ssh/sshd_config.d/* 2>/dev/null || :; stat -c '%n %a %U' /etc/sudoers.d
    grep -r '' /etc/sudoers.d; cat ~provision/.ssh/authorized_keys; getent passwd provision
    systemctl is-active ssh; systemctl is-enabled ssh; ss -Hltn | awk '{print $4}' | sort -u";

#[test]
fn whatever_locks_the_tool_out_is_taken_back_by_the_host() {
    if !is_possible("lab::whatever_locks_the_tool_out_is_taken_back_by_the_host") {
        return;
    }
    let lab = Lab::plain("ways-in", 9);
    let key = lab.on("host-003", "cat ~provision/.ssh/authorized_keys");
    lab.write("playbooks/site.yaml", &PLAYBOOK.replace("KEY", &format!("\"{}\"", key.trim())));
    let hosts: Vec<String> = (1..=9).map(|n| format!("host-{n:03}")).collect();
    let former: BTreeMap<&str, String> = hosts.iter().map(|host| (host.as_str(), lab.on(host, WAY_IN))).collect();
    let run = lab.provision(&["apply", "--yes", "--json", "--confirm-timeout", "8"]).expect(4);
    let ends = outcomes(run.stdout.lines().last().unwrap());
    let ended = |addr: &str| ends.get(addr).map(|end| end["outcome"].as_str().unwrap_or_default().to_owned());
    for host in hosts.iter().take(8) {
        assert_eq!(lab.on(host, WAY_IN), former[host.as_str()], "{host}\n{}", run.stdout);
        lab.on(host, "test ! -e /srv/after && test ! -e /var/lib/provision/window");
    }
    for addr in [
        "host-001/file[/etc/ssh/sshd_config.d/port.conf]",
        "host-002/sudoers[zz-all]",
        "host-004/user[provision]",
        "host-005/service[ssh]",
        "host-006/block[/etc/ssh/sshd_config]",
        "host-007/directory[/etc/sudoers.d]",
        "host-008/sudoers[harmless]",
    ] {
        assert_eq!(ended(addr).as_deref(), Some("rolled-back"), "{addr}\n{}", run.stdout);
    }
    // What could not lock anybody out stays, and is told as done.
    lab.on("host-008", "test -e /srv/between && getent passwd somebody");
    assert_eq!(ended("host-008/file[/srv/between]").as_deref(), Some("changed"));
    assert_eq!(ended("host-008/file[/srv/after]").as_deref(), Some("skipped"));
    assert_eq!(ended("host-009/file[/etc/ssh/sshd_config.d/quiet.conf]").as_deref(), Some("changed"));
    lab.on("host-009", "test -e /srv/after && test -e /etc/ssh/sshd_config.d/quiet.conf");
    // All that can cut the way to a host was one window there.
    let journal = all_text(&lab.path(".provision"));
    let windows =
        |host: &str| journal.lines().filter(|l| l.contains("\"window\"") && l.contains(&format!("\"{host}\""))).count();
    assert_eq!((windows("host-008"), windows("host-009")), (1, 1), "{journal}");
    // Everybody can be logged in to, and what was taken back is in the plan again.
    let pending = lab.pending();
    assert!(pending.keys().all(|addr| !addr.starts_with("host-009/")), "{pending:?}");
    assert!(pending.contains_key("host-005/service[ssh]"), "{pending:?}");
}

#[test]
fn an_sshd_that_is_slow_to_read_a_change_confirms_nothing() {
    if !is_possible("lab::an_sshd_that_is_slow_to_read_a_change_confirms_nothing") {
        return;
    }
    let lab = Lab::plain("slow-in", 1);
    lab.tasks("  - file: {path: /etc/ssh/sshd_config.d/port.conf, content: \"Port 2222\\n\"}\n");
    // The signal to read it comes when the next login could long be over.
    let late = "[Service]\nExecReload=\nExecReload=/bin/sh -c \"sleep 3 && kill -HUP $MAINPID &\"\n";
    lab.on("host-001", &format!("mkdir -p /etc/systemd/system/ssh.service.d; printf '%s' '{late}' >/etc/systemd/system/ssh.service.d/late.conf; systemctl daemon-reload"));
    lab.provision(&["apply", "--yes", "--confirm-timeout", "8"]).expect(4);
    lab.on("host-001", "test ! -e /etc/ssh/sshd_config.d/port.conf");
    assert_eq!(lab.pending().len(), 1);
}

#[test]
fn a_host_that_cannot_go_back_is_told_apart() {
    if !is_possible("lab::a_host_that_cannot_go_back_is_told_apart") {
        return;
    }
    let lab = Lab::plain("unproven", 1);
    lab.tasks("  - sudoers: {name: zz-all, content: \"provision ALL=(ALL:ALL) !ALL\\n\"}\n");
    let running = lab.command(&["apply", "--yes", "--confirm-timeout", "6"]).spawn().unwrap();
    lab.wait_until("host-001", "test -e /var/lib/provision/window/done");
    // What the host has kept is lost, and somebody mends the rules by hand before the tool gives up.
    lab.on("host-001", "rm -rf /var/lib/provision/window/saved");
    lab.wait_until("host-001", "test -e /var/lib/provision/window/failed");
    lab.on("host-001", "rm /etc/sudoers.d/zz-all");
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("host-001/sudoers[zz-all] not confirmed"), "{said}");
}
