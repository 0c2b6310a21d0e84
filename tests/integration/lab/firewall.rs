//! Firewalls made from a flow matrix: what they drop, proved by packets; what changes by hand; and that nobody locks himself
//! out by one, whatever happens to the tool, the network or the host in the meantime.

use std::time::{Duration, Instant};

use super::fleet::{Lab, is_possible, root};

/// Two plain hosts in a network of administration. `interface` is what the inventory calls the NIC of the first.
fn inventory(interface: &str) -> String {
    format!(
        "sites: {{lab: {{country: FR}}}}
zones: {{admin: {{nature: administration}}}}
networks: {{lab-admin: {{site: lab, zone: admin, cidr: 10.99.0.0/24}}}}
endpoints: {{operator: {{url: 'ssh://operator', operator: self, jurisdiction: FR, addresses: [10.99.255.254, 10.99.0.254]}}}}
flows:
  - {{from: admin, to: admin, tcp: 22, why: administration over SSH}}
  - {{from: operator, to: admin, tcp: 22, why: where the tool runs}}
defaults: {{ssh: {{user: provision}}}}
hosts:
  host-001: {{ssh: {{address: 10.99.0.1}}, interfaces: {{{interface}: {{network: lab-admin, address: 10.99.0.1}}}}}}
  host-002: {{ssh: {{address: 10.99.0.2}}, interfaces: {{eth0: {{network: lab-admin, address: 10.99.0.2}}}}}}
"
    )
}

fn ruleset(lab: &Lab) -> String {
    lab.on("host-001", "nft -s list ruleset; cat /etc/nftables.conf; systemctl is-enabled nftables || :")
}

/// Waits until a host is as it was, and fails where it is not after a while.
fn await_former(lab: &Lab, former: &str, seconds: u64) {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    while ruleset(lab) != former {
        assert!(Instant::now() < deadline, "{}\nis not\n{former}", ruleset(lab));
        std::thread::sleep(Duration::from_millis(300));
    }
}

#[test]
fn a_firewall_that_locks_the_tool_out_is_taken_back_by_the_host() {
    if !is_possible("lab::a_firewall_that_locks_the_tool_out_is_taken_back_by_the_host") {
        return;
    }
    let lab = Lab::plain("lockout", 2);
    // No card is called so: what comes to the address comes by another, and is dropped.
    lab.write("inventory/hosts.yaml", &inventory("eth9"));
    lab.write(
        "playbooks/site.yaml",
        "name: Firewall\nplays:\n  - name: firewall\n    hosts: host-001\n    tasks:\n      - firewall: {}\n      - file: {path: /srv/after, content: x}\n",
    );
    let former = ruleset(&lab);
    let run = lab.provision(&["apply", "--yes", "--confirm-timeout", "8"]).expect(4);
    assert!(run.stdout.contains("host-001/firewall[flows] rolled back"), "{}", run.stdout);
    assert_eq!(ruleset(&lab), former);
    lab.on("host-001", "test ! -e /srv/after && test ! -e /var/lib/provision/window");
    // And with the right card it is confirmed, by the same connection that was open before.
    lab.write("inventory/hosts.yaml", &inventory("eth0"));
    lab.provision(&["apply", "--yes"]).expect(0);
    lab.provision(&["plan", "--detailed-exitcode"]).expect(0);
    lab.on("host-001", "test ! -e /var/lib/provision/window && ! systemctl is-active provision-window.timer");
}

#[test]
fn a_tool_that_is_killed_in_the_window_leaves_the_host_as_it_was() {
    if !is_possible("lab::a_tool_that_is_killed_in_the_window_leaves_the_host_as_it_was") {
        return;
    }
    let lab = Lab::plain("killed", 2);
    lab.write("inventory/hosts.yaml", &inventory("eth9"));
    lab.tasks("  - firewall: {}\n");
    let former = ruleset(&lab);
    let mut running =
        lab.command(&["apply", "--yes", "--limit", "host-001", "--confirm-timeout", "12"]).spawn().unwrap();
    lab.wait_until("host-001", "nft list table inet provision");
    running.kill().unwrap();
    running.wait().unwrap();
    assert_ne!(ruleset(&lab), former);
    await_former(&lab, &former, 20);
}

#[test]
fn a_network_that_dies_in_the_window_leaves_the_host_as_it_was() {
    if !is_possible("lab::a_network_that_dies_in_the_window_leaves_the_host_as_it_was") {
        return;
    }
    let lab = Lab::plain("wire", 2);
    lab.write("inventory/hosts.yaml", &inventory("eth9"));
    lab.tasks("  - firewall: {}\n");
    let former = ruleset(&lab);
    let running = lab.command(&["apply", "--yes", "--limit", "host-001", "--confirm-timeout", "8"]).spawn().unwrap();
    lab.wait_until("host-001", "nft list table inet provision");
    lab.fault("host-001", &["cut"]);
    await_former(&lab, &former, 20);
    // The cable comes back after the window, and the tool hears how it ended.
    lab.fault("host-001", &["heal"]);
    let output = running.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(4), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_host_that_loses_its_power_in_the_window_boots_as_it_was() {
    if !is_possible("lab::a_host_that_loses_its_power_in_the_window_boots_as_it_was") {
        return;
    }
    let lab = Lab::plain("power", 2);
    lab.write("inventory/hosts.yaml", &inventory("eth9"));
    lab.tasks("  - firewall: {}\n");
    lab.on("host-001", "systemctl enable --quiet --now nftables");
    let former = ruleset(&lab);
    let mut running =
        lab.command(&["apply", "--yes", "--limit", "host-001", "--confirm-timeout", "300"]).spawn().unwrap();
    lab.wait_until("host-001", "test -e /var/lib/provision/window/done");
    lab.fault("host-001", &["kill"]);
    running.kill().unwrap();
    running.wait().unwrap();
    lab.fault("host-001", &["boot"]);
    await_former(&lab, &former, 20);
    lab.on("host-001", "test ! -e /etc/systemd/system/provision-window-boot.service");
}

#[test]
fn what_no_flow_allows_is_dropped_between_real_hosts_and_what_is_changed_by_hand_is_named() {
    if !is_possible("lab::what_no_flow_allows_is_dropped_between_real_hosts_and_what_is_changed_by_hand_is_named") {
        return;
    }
    let lab = Lab::of_inventory("packets", "inventories/demo");
    let (inventory, playbook) = (root().join("inventories/demo"), root().join("playbooks/site.yaml"));
    let (inventory, playbook) = (inventory.to_str().unwrap(), playbook.to_str().unwrap());
    let words = |verb: &'static str| vec![verb, "-i", inventory, playbook, "--tags", "packages,firewall"];
    // Something listens where nothing may come in, so that only the firewall can be what keeps it out.
    let listen = |host: &str, port: &str| {
        let unit = format!("listen-{port}");
        let script = format!(
            "systemd-run --quiet --unit={unit} --service-type=exec systemd-socket-activate -l {port} --inetd -a cat"
        );
        lab.on(host, &script);
    };
    listen("ctl-par1-01", "2379");
    listen("ctl-par1-01", "8080");
    let connects = |from: &str, address: &str, port: &str| {
        let script = format!("timeout 2 bash -c ': </dev/tcp/{address}/{port}'");
        lab.lab(&["exec", from, "--", "sh", "-c", &script]).status == 0
    };
    assert!(connects("hv-par1-01", "10.10.0.21", "2379"), "before, nothing is filtered");
    lab.provision(&[&words("apply")[..], &["--yes"]].concat()).expect(0);
    lab.provision(&[&words("plan")[..], &["--detailed-exitcode"]].concat()).expect(0);
    // Flows that are declared.
    assert!(connects("ctl-par1-02", "10.20.0.21", "2379"), "etcd members reach each other");
    assert!(connects("bastion-control", "10.10.0.21", "22"), "the bastion reaches a host");
    // Flows that nobody declared: another zone, another port, another host of the network of administration.
    assert!(!connects("hv-par1-01", "10.10.0.21", "2379"), "a hypervisor and etcd");
    assert!(!connects("ctl-par1-02", "10.20.0.21", "8080"), "a port that no flow names");
    assert!(!connects("hv-par1-01", "10.10.0.21", "22"), "host to host across the network of administration");
    assert!(!connects("ctl-par1-01", "10.10.0.11", "22"), "and the other way");

    let drift = |shell: &str, said: &str| {
        lab.on("ctl-par1-01", shell);
        let run = lab.provision(&[&words("plan")[..], &["--detailed-exitcode"]].concat()).expect(2);
        assert!(run.stdout.contains(said), "{}", run.stdout);
        assert!(run.stdout.contains("1 to update") || run.stdout.contains("1 to create"), "{}", run.stdout);
        lab.provision(&[&words("apply")[..], &["--yes"]].concat()).expect(0);
    };
    drift("nft insert rule inet provision input tcp dport 8080 accept", "tcp dport 8080 accept");
    assert!(!connects("ctl-par1-02", "10.20.0.21", "8080"));
    drift(
        "nft flush chain inet provision output; nft chain inet provision output '{ policy accept; }'",
        "policy accept",
    );
    drift("nft add table ip nat; nft add chain ip nat mine", "table ip nat");
    drift("nft flush ruleset", "its table is not loaded");
    lab.provision(&[&words("plan")[..], &["--detailed-exitcode"]].concat()).expect(0);
}
