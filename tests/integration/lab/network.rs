//! Links that are taken over from what booted the host, changed by hand, and changed so that nobody reaches the host any more.

use std::collections::BTreeMap;

use super::fleet::{Lab, is_possible, outcomes};

/// Hosts in a network of administration, and one behind a router. `changed` is what is said of their interfaces later.
fn inventory(interfaces: &BTreeMap<&str, &str>) -> String {
    let mut text = "sites: {lab: {country: FR}}
zones: {admin: {nature: administration}}
networks:
  lab-admin: {site: lab, zone: admin, cidr: 10.99.0.0/24, mtu: 1500, gateway: 10.99.0.254}
  lab-far: {site: lab, zone: admin, cidr: 10.98.0.0/24, gateway: 10.98.0.254}
defaults: {ssh: {user: provision}}
hosts:
"
    .to_owned();
    let hosts = [
        ("jump", "10.99.0.1", "eth0: {network: lab-admin, address: 10.99.0.1}"),
        ("near", "10.99.0.2", "eno1: {network: lab-admin, address: 10.99.0.2}"),
        ("addressed", "10.99.0.3", "eno1: {network: lab-admin, address: 10.99.0.3}"),
        ("bridged", "10.99.0.4", "eno1: {network: lab-admin, address: 10.99.0.4}"),
        ("far", "10.98.0.2", "eno1: {network: lab-far, address: 10.98.0.2}"),
    ];
    for (name, address, usual) in hosts {
        let via = if name == "far" { ", via: jump" } else { "" };
        let interfaces = interfaces.get(name).unwrap_or(&usual);
        text.push_str(&format!("  {name}: {{ssh: {{address: {address}{via}}}, interfaces: {{{interfaces}}}}}\n"));
    }
    text
}

/// A file of ifupdown, as `printf` takes it.
const IFUPDOWN: &str =
    r"auto lo eno1\niface lo inet loopback\n\niface eno1 inet static\n  address 10.99.0.2/24\n\niface eno9 inet dhcp\n";

/// Every link of the host, as the inventory has it.
const LINKS: &str = "  - network.link: {name: \"{{item}}\"}\n    for_each: \"{{links}}\"\n";

/// All that a change of a link may touch.
const NETWORK: &str =
    "ip -o link | sed 's/ qdisc.*mode/ mode/'; ip -o addr show scope global; ip -4 route show table all
    ip -6 route show proto static; ls /etc/systemd/network; cat /etc/network/interfaces || :
    systemctl is-active systemd-networkd.service systemd-networkd.socket || :
    systemctl is-enabled systemd-networkd.service systemd-networkd.socket systemd-networkd-wait-online.service || :";

#[test]
fn a_link_is_taken_over_in_place_and_what_is_changed_by_hand_is_put_right() {
    if !is_possible("lab::a_link_is_taken_over_in_place_and_what_is_changed_by_hand_is_put_right") {
        return;
    }
    let lab = Lab::of_text("links", &inventory(&BTreeMap::new()));
    lab.tasks(LINKS);
    // The address that a person gave a moment ago has no broadcast address; networkd cannot give it one.
    lab.on(
        "near",
        "ip addr del 10.99.0.2/24 dev eno1; ip addr add 10.99.0.2/24 dev eno1; ip route add default via 10.99.0.254",
    );
    // ifupdown would give it an address of its own at the next boot, and is to give others theirs.
    lab.on("near", &format!("mkdir -p /etc/network; printf '{IFUPDOWN}' >/etc/network/interfaces"));
    let session = "ss -Htn state established '( sport = :22 )' | grep -c . || :";
    let ends = lab.apply(0);
    assert!(ends.values().all(|end| end["outcome"] == "changed"), "{ends:?}");
    lab.expect_nothing_to_do();
    let shown = lab.on("near", "ip -o -4 addr show dev eno1; ip route; networkctl --no-legend list eno1");
    for part in
        ["inet 10.99.0.2/24 brd 10.99.0.255 scope", "default via 10.99.0.254 dev eno1 proto static", "configured"]
    {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    lab.on("near", session);
    assert_eq!(
        lab.on("near", "cat /etc/network/interfaces"),
        "# provision: auto lo eno1\nauto lo\niface lo inet loopback\n\n# provision: iface eno1 inet static
# provision:   address 10.99.0.2/24\n\niface eno9 inet dhcp\n"
    );

    // By hand: an address and a route too many, one of each too few, another MTU. A routing daemon's route is its own.
    lab.on(
        "near",
        "ip addr add 10.97.0.9/24 dev eno1; ip addr add fd00:9::9/64 dev eno1; ip route add 10.31.0.0/16 via 10.99.0.3
         ip route add 10.32.0.0/16 via 10.99.0.3 proto bgp; ip route del default; ip link set eno1 mtu 1400",
    );
    let pending = lab.pending();
    assert_eq!(pending.keys().collect::<Vec<_>>(), ["near/network.link[eno1]"]);
    assert_eq!(pending["near/network.link[eno1]"], ["mtu", "addresses", "routes"]);
    lab.apply(0);
    lab.expect_nothing_to_do();
    let shown = lab.on("near", "ip -o addr show dev eno1 scope global; ip route; ip -o link show dev eno1");
    assert!(!shown.contains("10.97.0.9") && !shown.contains("fd00:9::9") && !shown.contains("10.31.0.0"), "{shown}");
    assert!(
        shown.contains("10.32.0.0/16") && shown.contains("default via 10.99.0.254") && shown.contains("mtu 1500"),
        "{shown}"
    );
    // On the host behind the router too; the route that it booted with is not beside the one that networkd gave it.
    assert_eq!(lab.on("far", "ip route show default | grep -c via").trim(), "1");
    lab.on("far", "ip route add default via 10.98.0.77 metric 50");
    assert_eq!(lab.pending()["far/network.link[eno1]"], ["routes"]);
    lab.apply(0);
    lab.expect_nothing_to_do();

    // More of everything, and a cable that is pulled is no difference.
    lab.tasks(
        "  - network.link:
      name: eno1
      addresses: [10.96.0.2/24, 'fd00:1::2/64']
      routes: [{to: 10.33.0.0/16, via: 10.96.0.254}, {to: 'fd00:7::/48', via: 'fd00:1::1'}, {to: 10.34.0.0/16, via: 10.99.0.3, table: 7, metric: 5}]
      mtu: 1420
      dns: 10.99.0.254
      search: lab.example
    when: host != 'jump'
",
    );
    lab.provision(&["apply", "--yes", "--limit", "near"]).expect(0);
    lab.provision(&["plan", "--limit", "near", "--detailed-exitcode"]).expect(0);
    let shown = lab.on(
        "near",
        "ip -o addr show dev eno1 scope global; ip route show table all; ip -6 route; cat /run/systemd/netif/links/*",
    );
    for part in [
        "10.96.0.2/24",
        "fd00:1::2/64",
        "10.33.0.0/16 via 10.96.0.254",
        "10.34.0.0/16 via 10.99.0.3 dev eno1 table 7",
        "fd00:7::/48 via fd00:1::1",
        "DNS=10.99.0.254",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    // After a reboot the host has what networkd gives it, beside what it boots with.
    lab.fault("near", &["kill"]);
    lab.fault("near", &["boot"]);
    lab.wait_until("near", "networkctl --no-legend list eno1 | grep -q configured");
    lab.provision(&["plan", "--limit", "near", "--detailed-exitcode"]).expect(0);
}

#[test]
fn a_link_that_locks_the_tool_out_is_taken_back_by_the_host() {
    if !is_possible("lab::a_link_that_locks_the_tool_out_is_taken_back_by_the_host") {
        return;
    }
    let lab = Lab::of_text("cutoff", &inventory(&BTreeMap::new()));
    let hosts = ["addressed", "bridged", "far"];
    // Another address, the card in a bridge with another address, and a router that is not there.
    let wrong = BTreeMap::from([
        ("addressed", "eno1: {network: lab-admin, address: 10.99.0.33}"),
        ("bridged", "br0: {bridge: {ports: [eno1]}, network: lab-admin, address: 10.99.0.44}"),
    ]);
    lab.write("inventory/hosts.yaml", &inventory(&wrong));
    let playbook = format!(
        "plays:
- name: links
  hosts: addressed | bridged
  tasks:
{LINKS}  - file: {{path: /srv/after, content: x}}
- name: router
  hosts: far
  tasks:
  - network.link: {{name: eno1, routes: [{{to: default, via: 10.98.0.77}}]}}
  - file: {{path: /srv/after, content: x}}
"
    );
    lab.write("playbooks/site.yaml", &playbook);
    lab.on("addressed", &format!("mkdir -p /etc/network; printf '{IFUPDOWN}' >/etc/network/interfaces"));
    let attempt = || {
        let former: BTreeMap<&str, String> = hosts.iter().map(|host| (*host, lab.on(host, NETWORK))).collect();
        let run = lab.provision(&["apply", "--yes", "--json", "--confirm-timeout", "15"]).expect(4);
        let ends = outcomes(run.stdout.lines().last().unwrap());
        for link in [
            "addressed/network.link[eno1]",
            "bridged/network.link[br0]",
            "bridged/network.link[eno1]",
            "far/network.link[eno1]",
        ] {
            assert_eq!(ends[link]["outcome"], "rolled-back", "{link}\n{}", run.stdout);
        }
        for host in hosts {
            assert_eq!(lab.on(host, NETWORK), former[host], "{host}\n{}", run.stdout);
            lab.on(host, "test ! -e /srv/after && test ! -e /var/lib/provision/window && test ! -e /sys/class/net/br0");
        }
        // Everybody can be logged in to again.
        assert_eq!(lab.pending().len(), 7);
    };
    // First where networkd has never run, then where it manages the links already.
    attempt();
    lab.write("inventory/hosts.yaml", &inventory(&BTreeMap::new()));
    lab.tasks(LINKS);
    lab.apply(0);
    lab.expect_nothing_to_do();
    lab.write("inventory/hosts.yaml", &inventory(&wrong));
    lab.write("playbooks/site.yaml", &playbook);
    attempt();
}

/// Two hosts with a tunnel between them, and what is said of their interfaces.
fn tunnelled(one: &str, two: &str) -> String {
    format!(
        "sites: {{lab: {{country: FR}}}}
zones: {{admin: {{nature: administration}}}}
networks:
  lab-admin: {{site: lab, zone: admin, cidr: 10.99.0.0/24}}
  lab-over: {{site: lab, zone: admin, cidr: 10.60.0.0/24, mtu: 1450}}
defaults: {{ssh: {{user: provision}}}}
hosts:
  one: {{ssh: {{address: 10.99.0.1}}, interfaces: {{{one}}}}}
  two: {{ssh: {{address: 10.99.0.2}}, interfaces: {{{two}}}}}
"
    )
}

#[test]
fn bridges_and_tunnels_are_made_over_the_way_in_and_come_back_after_a_reboot() {
    if !is_possible("lab::bridges_and_tunnels_are_made_over_the_way_in_and_come_back_after_a_reboot") {
        return;
    }
    let plain = |address| format!("eno1: {{network: lab-admin, address: {address}}}");
    let lab = Lab::of_text("tunnel", &tunnelled(&plain("10.99.0.1"), &plain("10.99.0.2")));
    // On one the way in moves into a bridge; two has the tunnel's end in a bridge. The tunnel has ends that nobody is at.
    let write = |vni: &str, ends: &str| {
        let one = format!(
            "br0: {{bridge: {{ports: [eno1]}}, network: lab-admin, address: 10.99.0.1}},
    vx7: {{vxlan: {{vni: {vni}, local: 10.99.0.1, remote: {ends}}}, network: lab-over, address: 10.60.0.1}}"
        );
        let two = format!(
            "eno1: {{network: lab-admin, address: 10.99.0.2}}, brx: {{bridge: {{ports: [vx7]}}, network: lab-over, address: 10.60.0.2}},
    vx7: {{vxlan: {{vni: {vni}, local: 10.99.0.2, remote: 10.99.0.1}}, mtu: 1450}}"
        );
        lab.write("inventory/hosts.yaml", &tunnelled(&one, &two));
    };
    let joins = || lab.on("one", "timeout 5 bash -c ': </dev/tcp/10.60.0.2/22'");
    write("7", "[10.99.0.2, 10.99.0.3]");
    // A part comes after what it is a part of.
    lab.tasks("  - network.link: {name: eno1}\n  - network.link: {name: br0}\n");
    let run = lab.provision(&["apply", "--yes", "--limit", "one"]).expect(4);
    let why = "there is no br0, of which eno1 is to be a part: its task comes before that of eno1";
    let words = run.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words.contains(why), "{}", run.stdout);
    lab.tasks(LINKS);
    let ends = lab.apply(0);
    assert_eq!(ends.len(), 6, "{ends:?}");
    lab.expect_nothing_to_do();
    joins();

    // Another number needs new links, and another end does not. The spanning tree protocol is no matter of networkd's.
    write("9", "[10.99.0.2, 10.99.0.4]");
    lab.on("two", "ip link set brx type bridge stp_state 1");
    let plan = lab.provision(&["plan"]).expect(0).stdout;
    assert!(plan.contains("1 to update, 2 to replace"), "{plan}");
    lab.apply(0);
    lab.expect_nothing_to_do();
    joins();
    let shown = lab.on("one", "bridge fdb show dev vx7; ip -d link show vx7");
    assert!(shown.contains("10.99.0.4") && !shown.contains("10.99.0.3") && shown.contains("vxlan id 9"), "{shown}");

    // What is left of the network after a boot is what the host makes by itself.
    for host in ["one", "two"] {
        lab.fault(host, &["kill"]);
        lab.fault(host, &["boot"]);
    }
    lab.expect_nothing_to_do();
    joins();

    // A tunnel that was made by hand could not be brought back, and is left alone.
    lab.on("one", "rm /etc/systemd/network/50-vx7.*; ip link delete vx7; ip link add vx7 type vxlan id 5 dstport 4789 local 10.99.0.1");
    let run = lab.provision(&["apply", "--yes", "--limit", "one"]).expect(3);
    assert!(run.stdout.contains("so it could not be brought back"), "{}", run.stdout);
    lab.on(
        "one",
        "ip -d link show vx7 | grep -q 'vxlan id 5' && ip link delete vx7 && test ! -e /var/lib/provision/window/armed",
    );
    lab.apply(0);
    lab.expect_nothing_to_do();

    lab.tasks("  - network.link: {name: vx7, state: absent}\n");
    lab.apply(0);
    lab.expect_nothing_to_do();
    lab.on("one", "! ip link show vx7 2>/dev/null");
}
