//! The network below all others: BGP between hypervisors and route servers, BFD on the cables, and networks of tenants over it
//! by VXLAN, whose ends learn by EVPN.

use super::fleet::{Lab, is_possible, root};

const INVENTORY: &str = "tests/cases/underlay";

/// Succeeds where both sessions with the route servers stand, and BFD watches both cables.
const IN_SESSION: &str =
    "[ $(vtysh -c 'show bgp ipv4 unicast summary json' | grep -c '\"state\":\"Established\"') = 2 ] &&
    [ $(vtysh -c 'show bfd peers brief' | grep -c ' up ') = 2 ]";

/// Makes the end of a tenant's network on hypervisor `N`, and a machine in it.
const TENANT: &str = "ip link add br100 type bridge; ip link set br100 up
    ip link add vxlan100 type vxlan id 100 local 10.60.255.10N dstport 4789 nolearning
    ip link set vxlan100 master br100 up; bridge link set dev vxlan100 learning off neigh_suppress on
    ip netns add machine; ip link add tap0 type veth peer name eth0 netns machine
    ip link set tap0 master br100 up
    ip -n machine link set eth0 address 02:00:00:00:00:0N up; ip -n machine addr add 192.168.100.N/24 dev eth0
    ip -n machine link set lo up";

/// Says hello on port 7 of the machine.
const LISTENS: &str = "systemd-run --quiet --unit=hello --property=NetworkNamespacePath=/run/netns/machine \
    perl -MSocket -e 'socket(S, PF_INET, SOCK_STREAM, 0); setsockopt(S, SOL_SOCKET, SO_REUSEADDR, 1);
      bind(S, sockaddr_in(7, INADDR_ANY)) or die; listen(S, 5) or die;
      while (accept(C, S)) { print C \"hello\\n\"; close C }'";

/// Succeeds where the machine of this hypervisor is greeted by that of hypervisor `to`.
fn hello(to: u8) -> String {
    format!("[ \"$(ip netns exec machine timeout 3 bash -c 'cat </dev/tcp/192.168.100.{to}/7')\" = hello ]")
}

#[test]
fn routes_are_learnt_tenants_are_carried_and_a_lost_route_server_is_survived() {
    if !is_possible("lab::routes_are_learnt_tenants_are_carried_and_a_lost_route_server_is_survived") {
        return;
    }
    let lab = Lab::of_inventory("underlay", INVENTORY);
    let place = |path: &str| root().join(path).into_os_string().into_string().unwrap();
    let inventory = place(INVENTORY);
    lab.tasks(
        "  - apt.repository: {name: internal, uris: ['{{ mirror_url }}'], suites: [bookworm], components: [main], signed_by: '{{ mirror_key }}', exclusive: true}\n",
    );
    let playbooks =
        ["playbooks/site.yaml".to_owned(), place("playbooks/underlay.yaml"), place("playbooks/firewall.yaml")];
    let all = |words: &[&str]| {
        for playbook in &playbooks {
            lab.provision(&[words, &["-i", &inventory, playbook]].concat()).expect(0);
        }
    };
    all(&["apply", "--yes", "-q"]);
    all(&["plan", "--detailed-exitcode"]);

    for host in ["hv-1", "hv-2", "hv-3"] {
        lab.wait_until(host, IN_SESSION);
    }
    // Two ways to each other hypervisor, and one route for each other host: nothing else was announced.
    lab.wait_until("hv-1", "[ $(ip route show 10.60.255.103 | grep -c nexthop) = 2 ]");
    let routes = lab.on("hv-1", "ip -o route show proto bgp | awk '{print $1}' | sort");
    assert_eq!(routes.lines().collect::<Vec<_>>(), ["10.60.255.1", "10.60.255.102", "10.60.255.103", "10.60.255.2"]);

    for number in ["1", "2", "3"] {
        lab.on(&format!("hv-{number}"), &TENANT.replace('N', number));
    }
    lab.on("hv-3", LISTENS);
    lab.wait_until("hv-1", &hello(3));
    // The other end was told where the machine is, and did not learn it from what went by.
    lab.wait_until("hv-2", "bridge fdb show dev vxlan100 | grep '^02:00:00:00:00:03 .*extern_learn.* dst 10.60.255.103\\|^02:00:00:00:00:03 dst 10.60.255.103 .*extern_learn'");

    // What carries the tenants is no way between the hosts: only its own flows pass.
    lab.on("hv-1", "! timeout 2 bash -c 'exec 2>/dev/null; </dev/tcp/10.60.255.103/22'");

    lab.fault("rs-1", &["kill"]);
    lab.wait_until("hv-1", "[ \"$(ip -o route show 10.60.255.103 | grep -o 'via [0-9.]*')\" = 'via 10.60.1.2' ]");
    lab.on("hv-1", &hello(3));
    lab.fault("rs-1", &["boot"]);
    lab.wait_until("hv-1", IN_SESSION);
    all(&["plan", "--detailed-exitcode"]);

    // A change of what is believed is read without a session being lost.
    let underlay = place("playbooks/underlay.yaml");
    let elsewhere = ["--set", "router_addresses=10.60.254.0/24"];
    lab.provision(&[&["apply", "--yes", "-q", "-i", &inventory, &underlay][..], &elsewhere].concat()).expect(0);
    lab.wait_until("hv-1", "[ -z \"$(ip route show proto bgp)\" ]");
    lab.on("hv-1", IN_SESSION);
}
