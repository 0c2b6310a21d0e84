//! Each kind on a real host: made, unchanged, drifted by hand and named, healed.

use super::fleet::{Lab, is_possible};

const MIRROR: &str = "
  - apt.repository: {name: internal, uris: [\"file:/srv/mirror\"], suites: [bookworm], components: [main], signed_by: /usr/share/keyrings/lab-mirror.gpg, exclusive: true}
";

/// Drifts a host by hand, expects exactly this resource with this attribute in the plan, and heals it.
#[track_caller]
fn drifts(lab: &Lab, shell: &str, resource: &str, attribute: &str) {
    lab.on("host-001", shell);
    let pending = lab.pending();
    let addr = format!("host-001/{resource}");
    let found = pending.get(&addr).unwrap_or_else(|| panic!("{shell}: {resource} is not in {pending:?}"));
    assert!(found.iter().any(|name| name.contains(attribute)), "{shell}: {attribute} is not in {found:?}");
    assert!(pending.len() == 1 || (pending.len() == 2 && pending.values().any(|v| v == &["(refresh)"])), "{pending:?}");
    lab.apply(0);
    lab.expect_nothing_to_do();
}

#[test]
fn files_and_what_is_like_them() {
    if !is_possible("lab::files_and_what_is_like_them") {
        return;
    }
    let lab = Lab::plain("files", 1);
    lab.write("templates/os.hbs", "{{facts.os.id}} on {{host}}\n");
    lab.write("files/copied.bin", &"\u{1}binary\u{0}".repeat(1000));
    std::process::Command::new("tar")
        .args(["-C", lab.path("files").to_str().unwrap(), "-czf"])
        .arg(lab.path("files/a.tar.gz"))
        .arg("copied.bin")
        .status()
        .unwrap();
    lab.tasks(
        "  - directory: {path: /srv/tree, mode: \"0750\", purge: true, keep: [\"*.keep\"]}
  - file: {path: /srv/tree/given, content: \"one\\n\", mode: \"0640\", group: adm}
  - file: {path: /srv/tree/rendered, template: os.hbs, owner: root}
  - file: {path: /srv/tree/copied, source: copied.bin}
  - file: {path: \"/srv/tree/a b'$(touch owned)\\n\", content: \"`id` $(id)\\n\"}
  - link: {path: /srv/tree/link, target: given}
  - block: {path: /etc/motd, marker: site, content: \"Authorised use only.\\n\"}
  - archive: {source: a.tar.gz, dest: /srv/unpacked}
  - hosts_entry: {address: 10.99.9.9, names: [mirror.example, mirror]}
  - file: {path: /etc/old.conf, state: absent}
",
    );
    lab.on(
        "host-001",
        "mkdir -p /srv/tree; echo x > /srv/tree/stray; echo k > /srv/tree/a.keep; echo o > /etc/old.conf",
    );
    lab.apply(0);
    lab.expect_nothing_to_do();
    assert_eq!(lab.on("host-001", "cat /srv/tree/rendered"), "debian on host-001\n");
    assert_eq!(lab.on("host-001", "stat -c '%a %U %G' /srv/tree/given"), "640 root adm\n");
    assert_eq!(lab.on("host-001", "cat \"/srv/tree/a b'\\$(touch owned)\n\""), "`id` $(id)\n");
    assert_eq!(
        lab.on("host-001", "ls /srv/tree/*.keep; test ! -e /srv/tree/stray; test ! -e /etc/old.conf"),
        "/srv/tree/a.keep\n"
    );
    assert_eq!(lab.on("host-001", "cmp /srv/tree/copied /srv/unpacked/copied.bin && echo same"), "same\n");
    assert!(lab.on("host-001", "cat /etc/hosts").contains("10.99.9.9"));

    drifts(&lab, "echo more >> /srv/tree/given", "file[/srv/tree/given]", "content");
    drifts(&lab, "chmod 600 /srv/tree/given", "file[/srv/tree/given]", "mode");
    drifts(&lab, "chgrp daemon /srv/tree/given", "file[/srv/tree/given]", "group");
    drifts(&lab, "ln -sfn /tmp /srv/tree/link", "link[/srv/tree/link]", "target");
    drifts(&lab, "touch /srv/tree/stranger", "directory[/srv/tree]", "stranger");
    drifts(&lab, "sed -i /Authorised/d /etc/motd", "block[/etc/motd site]", "content");
    drifts(&lab, "sed -i /10.99.9.9/d /etc/hosts", "hosts_entry[10.99.9.9]", "");
    drifts(&lab, "echo o > /etc/old.conf", "file[/etc/old.conf]", "mode");
}

#[test]
fn packages_and_services() {
    if !is_possible("lab::packages_and_services") {
        return;
    }
    let lab = Lab::plain("packages", 1);
    lab.tasks(&format!(
        "{MIRROR}
  - package: {{names: [tree, cron]}}
  - package: {{name: provision-lab-probe, version: \"1.0\", hold: true}}
  - service: {{name: cron, enabled: true, state: running}}
  - unit: {{name: demo.service, content: \"[Service]\\nExecStart=/bin/sleep infinity\\n[Install]\\nWantedBy=multi-user.target\\n\"}}
  - service: {{name: demo, enabled: true, state: running}}
  - timer: {{name: sweep, on_calendar: daily, command: [/bin/true]}}
  - sysctl: {{key: net.ipv4.conf.all.send_redirects, value: 0}}
"
    ));
    lab.apply(0);
    lab.expect_nothing_to_do();
    assert_eq!(lab.on("host-001", "dpkg-query -W -f '${Version}' provision-lab-probe"), "1.0");
    assert_eq!(lab.on("host-001", "systemctl is-active cron demo sweep.timer"), "active\nactive\nactive\n");
    assert_eq!(lab.on("host-001", "cat /proc/sys/net/ipv4/conf/all/send_redirects"), "0\n");

    drifts(&lab, "systemctl stop cron", "service[cron]", "state");
    drifts(&lab, "systemctl disable demo", "service[demo]", "enabled");
    drifts(&lab, "apt-get -qq -y remove tree", "package[tree,cron]", "tree");
    drifts(&lab, "apt-mark unhold provision-lab-probe", "package[provision-lab-probe]", "hold");
    drifts(&lab, "sysctl -qw net.ipv4.conf.all.send_redirects=1", "sysctl[net.ipv4.conf.all.send_redirects]", "live");
    drifts(&lab, "echo '[Unit]' >> /etc/systemd/system/demo.service", "unit[demo.service]", "content");

    // A package whose own script fails is a clear failure, and the half-configured one is named in the next plan.
    lab.tasks(&format!(
        "{MIRROR}\n  - package: {{name: provision-lab-broken}}\n  - package: {{name: no-such-thing}}\n"
    ));
    let ended = lab.apply(3);
    assert_eq!(ended["host-001/package[provision-lab-broken]"]["outcome"], "failed");
    assert_eq!(ended["host-001/package[no-such-thing]"]["outcome"], "skipped");
    assert!(ended["host-001/package[no-such-thing]"]["because"].as_str().unwrap().contains("provision-lab-broken"));
}

#[test]
fn accounts_and_keys() {
    if !is_possible("lab::accounts_and_keys") {
        return;
    }
    let lab = Lab::plain("accounts", 1);
    let key =
        |n: u8| format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI{}", "A".repeat(42) + &char::from(b'A' + n).to_string());
    lab.tasks(&format!(
        "  - group: {{name: ops}}
  - user: {{name: alice, comment: \"A. \\\"$(id)\\\" Martin\", groups: [ops], exclusive_groups: true, shell: /bin/sh}}
  - authorized_key: {{user: alice, keys: [\"{}\"], exclusive: true}}
  - sudoers: {{name: ops, content: \"%ops ALL=(root) /usr/bin/id\\n\"}}
  - user: {{name: gone, state: absent}}
  - timezone: {{name: UTC}}
  - hostname: {{name: renamed}}
  - mount: {{path: /srv/ram, source: tmpfs, fstype: tmpfs, options: [nodev, noexec, size=1m], state: mounted}}
",
        key(0)
    ));
    lab.on("host-001", "useradd gone; mkdir -p /srv/ram");
    lab.apply(0);
    lab.expect_nothing_to_do();
    assert_eq!(lab.on("host-001", "getent passwd alice | cut -d: -f5"), "A. \"$(id)\" Martin\n");
    assert_eq!(lab.on("host-001", "stat -c %a /home/alice/.ssh /home/alice/.ssh/authorized_keys"), "700\n600\n");
    assert_eq!(
        lab.on("host-001", "hostname; findmnt -no FSTYPE /srv/ram; getent passwd gone || echo none"),
        "renamed\ntmpfs\nnone\n"
    );

    drifts(&lab, "gpasswd -d alice ops", "user[alice]", "groups");
    drifts(
        &lab,
        &format!("echo '{} stranger' >> /home/alice/.ssh/authorized_keys", key(1)),
        "authorized_key[alice]",
        "",
    );
    drifts(&lab, "umount /srv/ram", "mount[/srv/ram]", "");
    drifts(&lab, "hostname other", "hostname[renamed]", "");
    // Rules that sudo would refuse never replace those that it accepts.
    lab.tasks("  - sudoers: {name: ops, content: \"%ops ALL=(root /usr/bin/id\\n\"}\n");
    let ended = lab.apply(3);
    assert_eq!(ended["host-001/sudoers[ops]"]["outcome"], "failed");
    assert_eq!(lab.on("host-001", "cat /etc/sudoers.d/ops").trim(), "%ops ALL=(root) /usr/bin/id");
}

#[test]
fn certificates_from_an_authority_on_another_host() {
    if !is_possible("lab::certificates_from_an_authority_on_another_host") {
        return;
    }
    let lab = Lab::plain("certificates", 2);
    lab.write(
        "playbooks/site.yaml",
        &format!(
            "plays:
- name: openssl
  hosts: all
  tasks:
{MIRROR}
  - package: {{name: openssl}}
- name: authority
  hosts: host-001
  tasks:
  - directory: {{path: /etc/ca, mode: \"0700\"}}
  - certificate: {{path: /etc/ca/ca.crt, key: /etc/ca/ca.key, common_name: Lab CA, authority: true}}
- name: member
  hosts: host-002
  tasks:
  - directory: {{path: /etc/pki}}
  - certificate: {{path: /etc/pki/m.crt, key: /etc/pki/m.key, ca: /etc/pki/ca.crt, common_name: m, alt_names: [m.example, 10.99.0.2], usages: [server, client], issuer: \"host-001/certificate[/etc/ca/ca.crt]\"}}
"
        ),
    );
    lab.apply(0);
    lab.expect_nothing_to_do();
    let verified =
        lab.on("host-002", "openssl verify -CAfile /etc/pki/ca.crt /etc/pki/m.crt; stat -c %a /etc/pki/m.key");
    assert_eq!(verified, "/etc/pki/m.crt: OK\n600\n");
    // The authority's key stays where it was made.
    assert_eq!(lab.on("host-002", "grep -rl 'PRIVATE KEY' /etc/pki"), "/etc/pki/m.key\n");
    lab.on("host-002", "rm /etc/pki/m.crt");
    assert_eq!(lab.pending().len(), 1);
    lab.apply(0);
    lab.expect_nothing_to_do();
}

#[test]
fn commands_checks_and_reboots() {
    if !is_possible("lab::commands_checks_and_reboots") {
        return;
    }
    let lab = Lab::plain("commands", 1);
    lab.tasks(
        "  - command: {name: once, run: \"echo made > /srv/made\", creates: /srv/made}
  - command: {name: told, run: \"cat /srv/made\", unless: test -e /srv/copy}
    register: told
  - file: {path: /srv/copy, content: \"{{registered.told.stdout}}\\n\"}
    when: registered.told.changed
  - check: {name: ssh answers, port: 22, timeout: 10s}
",
    );
    lab.apply(0);
    assert_eq!(lab.on("host-001", "cat /srv/copy"), "made\n");
    let before = lab.on("host-001", "cat /proc/sys/kernel/random/boot_id");
    lab.tasks(
        "  - file: {path: /etc/needs-a-boot, content: \"1\\n\"}\n    notify: reboot[now]\n  - reboot: {name: now}\n",
    );
    lab.apply(0);
    lab.expect_nothing_to_do();
    assert_ne!(lab.on("host-001", "cat /proc/sys/kernel/random/boot_id"), before);
    lab.tasks("  - check: {name: nobody, port: 9, timeout: 2s, interval: 1s}\n");
    let ended = lab.apply(3);
    assert_eq!(ended["host-001/check[nobody]"]["outcome"], "failed");
}
