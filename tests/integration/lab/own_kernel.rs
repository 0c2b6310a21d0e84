//! What needs a kernel of the host's own: modules, settings outside the network, bonds and VLANs, and reboots that forget all
//! that is not stored.

use super::fleet::{Lab, is_possible};

/// A bond of two cards with a VLAN on it, by the files of systemd-networkd, and what else a shared kernel does not let a host do.
const TASKS: &str = r#"  - kernel.module: {name: bonding, parameters: {max_bonds: 0}}
  - kernel.module: {name: 8021q}
  - kernel.module: {name: dummy}
  - sysctl: {key: vm.swappiness, value: 10}
  - sysctl: {key: kernel.panic, value: 30}
  - mount: {path: /srv/scratch, source: tmpfs, fstype: tmpfs, options: [size=16m, noexec]}
  - mount: {path: /srv/packages, source: LABEL=lab-mirror, fstype: ext4, options: [ro]}
  - file:
      path: /etc/systemd/network/bond0.netdev
      content: |
        [NetDev]
        Name=bond0
        Kind=bond
        [Bond]
        Mode=active-backup
        MIIMonitorSec=100ms
    notify: reboot[now]
  - file:
      path: /etc/systemd/network/bond0-members.network
      content: |
        [Match]
        Name=eth1 eth2
        [Network]
        Bond=bond0
  - file:
      path: /etc/systemd/network/bond0.network
      content: |
        [Match]
        Name=bond0
        [Network]
        LinkLocalAddressing=no
        VLAN=bond0.140
  - file:
      path: /etc/systemd/network/bond0.140.netdev
      content: |
        [NetDev]
        Name=bond0.140
        Kind=vlan
        [VLAN]
        Id=140
  - file:
      path: /etc/systemd/network/bond0.140.network
      content: |
        [Match]
        Name=bond0.140
        [Network]
        Address=10.98.0.{{ number }}/24
  - service: {name: systemd-networkd, enabled: true}
  - reboot: {name: now}
"#;

const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";
const ACTIVE: &str = "cat /sys/class/net/bond0/bonding/active_slave";
/// The other host's sshd, by its address in the VLAN.
const BANNER: &str = "timeout 10 bash -c 'read -r line < /dev/tcp/10.98.0.2/22; echo \"${line%%-OpenSSH*}\"'";

#[test]
fn modules_settings_mounts_bonds_and_vlans_are_there_after_a_reboot() {
    if !is_possible("lab::modules_settings_mounts_bonds_and_vlans_are_there_after_a_reboot") {
        return;
    }
    let lab = Lab::own_kernel("bond", 2);
    lab.tasks(TASKS);
    let boots = ["host-001", "host-002"].map(|host| lab.on(host, BOOT_ID));
    let ended = lab.apply(0);
    assert_eq!(ended["host-001/reboot[now]"]["outcome"], "changed");
    lab.expect_nothing_to_do();
    assert_ne!(["host-001", "host-002"].map(|host| lab.on(host, BOOT_ID)), boots);
    let shown = "cat /proc/sys/vm/swappiness /proc/sys/kernel/panic; ls -d /sys/module/dummy; findmnt -no FSTYPE,OPTIONS /srv/scratch
        ls /srv/packages/dists; ls /sys/class/net/bond0/lower_eth1 /sys/class/net/bond0/lower_eth2 -d
        cat /sys/class/net/bond0/bonding/mode; grep 'bond0.140 ' /proc/net/vlan/config";
    let found = lab.on("host-001", shown);
    assert!(found.starts_with("10\n30\n/sys/module/dummy\ntmpfs"), "{found}");
    for words in ["noexec", "size=16384k", "bookworm", "lower_eth2", "active-backup 1", "| 140  | bond0"] {
        assert!(found.contains(words), "{words}\n{found}");
    }

    // Packets go over the VLAN on the bond, also when the card that carries them loses its cable.
    lab.wait_until("host-001", BANNER);
    let carries = lab.on("host-001", ACTIVE);
    lab.fault("host-001", &["cut", carries.trim()]);
    let other = if carries.trim() == "eth1" { "eth2\n" } else { "eth1\n" };
    lab.wait_until("host-001", &format!("[ \"$({ACTIVE})\" = {} ]", other.trim()));
    assert_eq!(lab.on("host-001", BANNER), "SSH-2.0\n");
    assert!(lab.lab(&["status"]).stdout.contains(&format!("cut {}", carries.trim())));
    lab.fault("host-001", &["heal"]);
    // What was changed by hand, and would not have outlived the next boot, is drift now.
    lab.on("host-001", "echo 60 > /proc/sys/vm/swappiness; rmmod dummy; umount /srv/scratch");
    let pending: Vec<String> = lab.pending().into_keys().collect();
    assert_eq!(
        pending,
        ["host-001/kernel.module[dummy]", "host-001/mount[/srv/scratch]", "host-001/sysctl[vm.swappiness]"]
    );
    lab.apply(0);
    lab.expect_nothing_to_do();
}

#[test]
fn a_change_that_locks_out_is_gone_after_a_reboot_and_after_a_power_cut_in_its_window() {
    if !is_possible("lab::a_change_that_locks_out_is_gone_after_a_reboot_and_after_a_power_cut_in_its_window") {
        return;
    }
    let lab = Lab::own_kernel("window", 1);
    let way_in = "cat /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*; ls /etc/ssh/sshd_config.d";
    // An old file that is changed, and one that was not there.
    lab.tasks(
        "  - block: {path: /etc/ssh/sshd_config, position: beginning, content: AllowUsers nobody}
  - file: {path: /etc/ssh/sshd_config.d/port.conf, content: \"Port 2222\\n\"}
  - file: {path: /srv/after, content: x}\n",
    );
    let former = lab.on("host-001", &format!("sync; {way_in}"));
    for power in ["rebooted", "cut"] {
        let boot = lab.on("host-001", BOOT_ID);
        let mut running = lab.command(&["apply", "--yes", "--confirm-timeout", "300"]).spawn().unwrap();
        // What is left of the window before is not armed.
        lab.wait_until("host-001", "cd /var/lib/provision/window && test -e armed && test -e done");
        assert_ne!(lab.on("host-001", way_in), former);
        if power == "cut" {
            // Nothing that was not synced is there afterwards.
            lab.fault("host-001", &["kill"]);
            running.kill().unwrap();
            lab.fault("host-001", &["boot"]);
        } else {
            // The connection dies with the command.
            lab.lab(&["exec", "host-001", "--", "systemctl", "reboot", "--force"]);
            running.kill().unwrap();
        }
        running.wait().unwrap();
        lab.wait_until("host-001", &format!("[ \"$({BOOT_ID})\" != {} ] && systemctl is-active ssh", boot.trim()));
        assert_eq!(lab.on("host-001", way_in), former, "{power}");
        lab.on("host-001", "test ! -e /etc/systemd/system/provision-window-boot.service && test ! -e /srv/after");
        // And the tool gets in.
        lab.provision(&["plan", "--detailed-exitcode"]).expect(2);
    }
}
