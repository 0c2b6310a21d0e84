//! What needs a kernel of the host's own: modules, settings outside the network, bonds, VLANs and encrypted tunnels, and reboots that forget all
//! that is not stored.

use std::collections::BTreeMap;

use serde_json::Value;

use super::fleet::{Lab, all_text, is_possible, outcomes};

/// Two hosts with a way in of their own, a VLAN between them over bonds of two cards, and an encrypted tunnel over that. The
/// second is reached over one or the other.
struct Inventory {
    second: String,
    /// The number of the VLAN at the second.
    vlan: u16,
    /// The public keys of the tunnel's ends, once the hosts have made them.
    keys: Option<[String; 2]>,
    /// By what each host knows the card that is called `eth2`: its hardware address, and where it is plugged in.
    cards: [String; 2],
}

impl Inventory {
    fn text(&self) -> String {
        let host = |number: u16, ssh: &str, vlan: u16| {
            let other = 3 - number;
            let card = &self.cards[usize::from(number) - 1];
            let key = self.keys.as_ref().and_then(|keys| keys.get(usize::from(other) - 1));
            let peers = key.map_or(String::new(), |key| {
                format!("{{public_key: {key:?}, endpoint: '10.98.0.{other}:51820', allowed: [10.61.0.{other}]}}")
            });
            format!(
                "  host-00{number}:
    ssh: {{{ssh}}}
    vars: {{number: {number}, card: {card}}}
    interfaces:
      eth0: {{network: lab-admin, address: 10.99.0.{number}}}
      bond0: {{bond: {{mode: active-backup, members: [eth1, eth2]}}}}
      tagged:
        vlan: {{parent: bond0, id: {vlan}}}
        network: lab-tagged
        address: 10.98.0.{number}
        addresses: 'fd00:98::{number}/64'
        rules:
          - {{from: 10.98.0.{number}, to: 10.97.0.0/16, table: 7, priority: 100}}
          - {{from: 'fd00:98::{number}', to: 'fd00:97::/64', table: 7, priority: 101}}
        routes:
          - {{to: 10.97.0.0/16, via: 10.98.0.{other}, table: 7}}
          - {{to: 'fd00:97::/64', via: 'fd00:98::{other}', table: 7}}
      svc0: {{dummy: true, addresses: 10.62.0.{number}/32}}
      wg0: {{wireguard: {{port: 51820, peers: [{peers}]}}, addresses: 10.61.0.{number}/24}}
"
            )
        };
        let hosts = host(1, "address: 10.99.0.1", 140) + &host(2, &self.second, self.vlan);
        format!(
            "sites: {{lab: {{country: FR}}}}
zones: {{admin: {{nature: administration}}}}
networks:
  lab-admin: {{site: lab, zone: admin, cidr: 10.99.0.0/16}}
  lab-tagged: {{site: lab, zone: admin, cidr: 10.98.0.0/24}}
defaults: {{ssh: {{user: provision}}}}
hosts:
{hosts}"
        )
    }

    fn write(&self, lab: &Lab) {
        lab.write("inventory/hosts.yaml", &self.text());
    }
}

/// What a shared kernel does not let a host do.
const TASKS: &str = r#"  - kernel.module: {name: bonding, parameters: {max_bonds: 0}}
  - kernel.module: {name: dummy}
  - sysctl: {key: vm.swappiness, value: 10}
  - sysctl: {key: kernel.panic, value: 30}
  - mount: {path: /srv/scratch, source: tmpfs, fstype: tmpfs, options: [size=16m, noexec]}
  - mount: {path: /srv/packages, source: LABEL=lab-mirror, fstype: ext4, options: [ro]}
  - network.link: {name: "{{item}}"}
    for_each: [eth0, bond0, eth1, tagged, svc0, wg0]
  - network.link: {name: eth2, match: "{{card}}"}
  - file: {path: /srv/settled, content: x}
    when: number == 1
    notify: reboot[now]
  - reboot: {name: now}
"#;

const BOOT_ID: &str = "cat /proc/sys/kernel/random/boot_id";
const ACTIVE: &str = "cat /sys/class/net/bond0/bonding/active_slave";
/// Returns what succeeds where the sshd at an address says hello.
fn answers(address: &str) -> String {
    format!(
        "[ \"$(timeout 10 bash -c 'read -r line </dev/tcp/{address}/22; echo \"${{line%%-OpenSSH*}}\"')\" = SSH-2.0 ]"
    )
}

/// The second host, by its addresses in the VLAN and in the tunnel.
const IN_VLAN: &str = "10.98.0.2";
const IN_TUNNEL: &str = "10.61.0.2";
/// All that a change of a link may touch.
const LINKS: &str = "ip -d -o link show type vlan; ip -o addr show scope global; ip route; ip route show table 7; ip rule; ip -6 route show table 7; ip -6 rule; ls /etc/systemd/network";

/// Applies the playbook, with time for hosts that are emulated beside other tests.
fn apply(lab: &Lab) -> BTreeMap<String, Value> {
    let run = lab.provision(&["apply", "--yes", "--json", "--confirm-timeout", "240"]).expect(0);
    outcomes(run.stdout.lines().last().unwrap())
}

/// Fails the test unless a host has what `TASKS` say.
fn expect_all(lab: &Lab, host: &str) {
    let shown = "cat /proc/sys/vm/swappiness /proc/sys/kernel/panic; ls -d /sys/module/dummy; findmnt -no FSTYPE,OPTIONS /srv/scratch
        ls /srv/packages/dists; ls /sys/class/net/bond0/lower_eth1 /sys/class/net/bond0/lower_eth2 -d
        cat /sys/class/net/bond0/bonding/mode; grep 'tagged ' /proc/net/vlan/config";
    let found = lab.on(host, shown);
    assert!(found.starts_with("10\n30\n/sys/module/dummy\ntmpfs"), "{found}");
    for words in ["noexec", "size=16384k", "bookworm", "lower_eth2", "active-backup 1", "| 140  | bond0"] {
        assert!(found.contains(words), "{words}\n{found}");
    }
}

/// One test, because a boot is what costs.
#[test]
fn a_kernel_of_its_own_keeps_what_was_applied_and_forgets_what_was_not_confirmed() {
    if !is_possible("lab::a_kernel_of_its_own_keeps_what_was_applied_and_forgets_what_was_not_confirmed") {
        return;
    }
    let lab = Lab::own_kernel("kernel", 2);
    // What the lab calls a card by is taken away: from the next boot on it has its name from the playbook, or one of the kernel's.
    let card = |host: &str, shell: &str| {
        let shell = format!("rm /usr/lib/systemd/network/10-lab-2.link; {shell}");
        lab.on(host, &shell).trim().to_owned()
    };
    let mac = card("host-001", "cat /sys/class/net/eth2/address");
    let path = card("host-002", "udevadm info -q property /sys/class/net/eth2 | sed -n s/^ID_PATH=//p");
    let cards = [format!("{{mac: '{mac}'}}"), format!("{{path: '{path}'}}")];
    let mut inventory = Inventory { second: "address: 10.99.0.2".to_owned(), vlan: 140, keys: None, cards };
    inventory.write(&lab);
    for host in ["host-001", "host-002"] {
        lab.on(host, "dpkg --install $(find /srv/mirror -name 'wireguard-tools_*.deb')");
    }
    lab.tasks(TASKS);
    let boot = lab.on("host-001", BOOT_ID);
    let ended = apply(&lab);
    assert_eq!(ended["host-001/reboot[now]"]["outcome"], "changed");
    lab.expect_nothing_to_do();
    assert_ne!(lab.on("host-001", BOOT_ID), boot);
    expect_all(&lab, "host-001");

    // Packets go over the VLAN on the bond, also when the card that carries them loses its cable.
    lab.wait_until("host-001", &answers(IN_VLAN));
    let carries = lab.on("host-001", ACTIVE);
    lab.fault("host-001", &["cut", carries.trim()]);
    let other = if carries.trim() == "eth1" { "eth2\n" } else { "eth1\n" };
    lab.wait_until("host-001", &format!("[ \"$({ACTIVE})\" = {} ]", other.trim()));
    lab.on("host-001", &answers(IN_VLAN));
    assert!(lab.lab(&["status"]).stdout.contains(&format!("cut {}", carries.trim())));
    lab.fault("host-001", &["heal"]);
    // The module takes its link with it. What was changed by hand, and would not have outlived the next boot, is drift now.
    lab.on(
        "host-001",
        "echo 60 > /proc/sys/vm/swappiness; rmmod dummy; umount /srv/scratch; ip link set eth2 nomaster",
    );
    let pending: Vec<String> = lab.pending().into_keys().collect();
    assert_eq!(
        pending,
        [
            "host-001/kernel.module[dummy]",
            "host-001/mount[/srv/scratch]",
            "host-001/network.link[eth2]",
            "host-001/network.link[svc0]",
            "host-001/sysctl[vm.swappiness]"
        ]
    );
    // Each end of the tunnel has a key of its own by now, and is told that of the other.
    let key = |host: &str| lab.on(host, "wg show wg0 public-key").trim().to_owned();
    inventory.keys = Some(["host-001", "host-002"].map(key));
    inventory.write(&lab);
    let plan = lab.provision(&["plan", "--limit", "host-002"]).expect(0).stdout;
    assert!(plan.contains("to be made anew, because of its peers"), "{plan}");
    apply(&lab);
    lab.expect_nothing_to_do();
    lab.wait_until("host-001", &answers(IN_TUNNEL));
    assert_eq!(lab.on("host-001", "stat -c '%a %U:%G' /etc/systemd/network/50-wg0.key"), "640 root:systemd-network\n");
    let secret = lab.on("host-001", "cat /etc/systemd/network/50-wg0.key");
    assert!(!all_text(&lab.path(".provision")).contains(secret.trim()), "the private key has left the host");
    assert!(lab.on("host-001", "ip route get 10.97.0.1 from 10.98.0.1").contains("via 10.98.0.2"));
    assert!(lab.on("host-001", "ip route get fd00:97::1 from fd00:98::1").contains("via fd00:98::2"));

    expect_wrong_vlan_to_be_taken_back(&lab, &mut inventory);
    expect_unconfirmed_to_be_forgotten(&lab);
    lab.wait_until("host-001", &answers(IN_TUNNEL));
}

/// Gives the second host the number of another VLAN, while it is reached over the right one.
fn expect_wrong_vlan_to_be_taken_back(lab: &Lab, inventory: &mut Inventory) {
    let key = lab.on("host-002", "cat /etc/ssh/ssh_host_ed25519_key.pub");
    let own = std::mem::replace(
        &mut inventory.second,
        format!("address: 10.98.0.2, via: host-001, host_key: '{}'", key.trim()),
    );
    inventory.write(lab);
    lab.expect_nothing_to_do();
    inventory.vlan = 141;
    inventory.write(lab);
    let former = lab.on("host-002", LINKS);
    let run = lab.provision(&["apply", "--yes", "--json", "--confirm-timeout", "40"]).expect(4);
    let ends = outcomes(run.stdout.lines().last().unwrap());
    assert_eq!(ends["host-002/network.link[tagged]"]["outcome"], "rolled-back", "{}", run.stdout);
    // The tool has got in by the VLAN; what networkd makes beside it comes with it or a moment later.
    let settled = "ip route show table 7 | grep -q 10.97.0.0/16 && ip rule | grep -q 10.97.0.0/16
        ip -6 route show table 7 | grep -q fd00:97::/64 && ip -6 rule | grep -q fd00:97::/64";
    lab.wait_until("host-002", &format!("set -e; {settled}"));
    // A link that was made anew has another number, and another place in each list.
    let comparable = |text: &str| {
        let mut lines: Vec<String> =
            text.lines().map(|line| line.trim_start_matches(|c: char| c.is_ascii_digit()).to_owned()).collect();
        lines.sort();
        lines
    };
    assert_eq!(comparable(&lab.on("host-002", LINKS)), comparable(&former));
    lab.on("host-002", "grep -q 'tagged .* 140 ' /proc/net/vlan/config");
    inventory.vlan = 140;
    inventory.write(lab);
    lab.expect_nothing_to_do();
    inventory.second = own;
    inventory.write(lab);
}

/// Locks the tool out of both hosts, and takes one's power and has the other reboot before they take that back.
fn expect_unconfirmed_to_be_forgotten(lab: &Lab) {
    let hosts = ["host-001", "host-002"];
    let way_in = "cat /etc/ssh/sshd_config /etc/ssh/sshd_config.d/*; ls /etc/ssh/sshd_config.d";
    // An old file that is changed, and one that was not there.
    let lockout = "  - block: {path: /etc/ssh/sshd_config, position: beginning, content: AllowUsers nobody}
  - file: {path: /etc/ssh/sshd_config.d/port.conf, content: \"Port 2222\\n\"}
  - file: {path: /srv/after, content: x}\n";
    lab.tasks(lockout);
    let former = hosts.map(|host| lab.on(host, &format!("sync; {way_in}")));
    let boots = hosts.map(|host| lab.on(host, BOOT_ID));
    let mut running = lab.command(&["apply", "--yes", "--confirm-timeout", "300"]).spawn().unwrap();
    for host in hosts {
        // What is left of the window before is not armed.
        lab.wait_until(host, "cd /var/lib/provision/window && test -e armed && test -e done");
    }
    for (host, former) in hosts.iter().zip(&former) {
        assert_ne!(&lab.on(host, way_in), former);
    }
    // The connection dies with the command; nothing that was not synced is there after the loss of power.
    lab.lab(&["exec", "host-001", "--", "systemctl", "reboot", "--force"]);
    lab.fault("host-002", &["kill"]);
    running.kill().unwrap();
    running.wait().unwrap();
    lab.fault("host-002", &["boot"]);
    for ((host, former), boot) in hosts.iter().zip(former).zip(boots) {
        lab.wait_until(host, &format!("[ \"$({BOOT_ID})\" != {} ] && systemctl is-active ssh", boot.trim()));
        assert_eq!(lab.on(host, way_in), former, "{host}");
        lab.on(host, "test ! -e /etc/systemd/system/provision-window-boot.service && test ! -e /srv/after");
        expect_all(lab, host);
    }
    // And the tool gets in, and finds all that it had applied before.
    lab.tasks(TASKS);
    lab.expect_nothing_to_do();
}
