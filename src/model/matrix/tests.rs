use super::*;
use crate::diag::Sources;

const DATACENTER: &str = "
sites: {a: {country: FR}}
zones:
  admin: {nature: administration}
  control: {nature: control}
  office: {nature: office}
networks:
  a-admin: {site: a, zone: admin, cidr: 10.1.0.0/24}
  b-admin: {site: a, zone: admin, cidr: 10.1.1.0/24}
  a-control: {site: a, zone: control, cidr: 10.2.0.0/24}
  a-office: {site: a, zone: office, cidr: 10.3.0.0/24}
endpoints:
  mirror: {url: 'https://192.0.2.9', operator: self, jurisdiction: FR, addresses: [192.0.2.9, '2001:db8::9']}
hosts:
  jump: {roles: bastion, ssh: {address: 10.1.0.2, via: direct}, interfaces: {eth0: {network: a-admin, address: 10.1.0.2}}}
  one:
    roles: etcd
    ssh: {address: 10.1.1.11, via: jump}
    interfaces: {eth0: {network: b-admin, address: 10.1.1.11}, eth1: {network: a-control, address: 10.2.0.11}}
  two:
    roles: etcd
    ssh: {address: 10.1.1.12, via: jump}
    interfaces: {eth0: {network: b-admin, address: 10.1.1.12}, eth1: {network: a-control, address: 10.2.0.12}}
  router: {ssh: {address: 10.1.0.3, via: jump}, forwards: [admin, a-control], interfaces: {eth0: {network: a-admin, address: 10.1.0.3}}}
";

fn inventory(flows: &str) -> (Inventory, Sources) {
    let folder = tempfile::tempdir().unwrap();
    let path = camino::Utf8Path::from_path(folder.path()).unwrap().join("a.yaml");
    crate::fs::write_atomic(&path, format!("{DATACENTER}{flows}").as_bytes(), 0o600).unwrap();
    let (mut sources, mut problems) = (Sources::default(), Diagnostics::default());
    let inventory = crate::load::inventory::load(&path, &[], &mut sources, &mut problems);
    (inventory.unwrap_or_else(|| panic!("{problems:?}")), sources)
}

const FLOWS: &str = "
flows:
  - {from: admin, to: admin, to_hosts: jump, tcp: 22, why: administrators reach the bastion}
  - {from: admin, from_hosts: jump, to: admin, tcp: 22, why: 'the bastion reaches every host, over SSH'}
  - {from: control, from_hosts: role=etcd, to: control, to_hosts: role=etcd, tcp: [2380, 2379, 2378-2379], why: etcd}
  - {from: admin, to: mirror, tcp: 443, icmp: true, why: etcd}
  - {from: admin, to: control, protocols: [esp, 99], why: tunnels}
";

fn told(passages: &[Passage]) -> Vec<String> {
    let told = passages.iter().map(|p| {
        let own: Vec<String> = p.own.iter().map(|own| format!("{}:{}", own.interface, own.address)).collect();
        let services: Vec<String> = p.services.iter().map(ToString::to_string).collect();
        let peers: Vec<String> = p.peers.networks().iter().map(ToString::to_string).collect();
        format!("{} {} {} <> {}", p.flow, services.join("+"), own.join(" "), peers.join(" "))
    });
    told.collect()
}

#[test]
fn an_address_of_the_loopback_interface_is_reached_by_every_card_of_its_zone() {
    let host = "
  leaf:
    ssh: {address: 10.1.0.9, via: jump}
    interfaces:
      lo: {network: a-control, address: 10.2.0.99}
      eth0: {network: a-admin, address: 10.1.0.9}
      eth1: {network: a-control, address: 10.2.0.9}
      eth2: {network: a-control, address: 10.2.0.10}
";
    let (inventory, _sources) =
        inventory(&format!("{host}flows:\n  - {{from: control, to: control, tcp: 179, why: routes}}\n"));
    let matrix = Matrix::build(&inventory, &mut Diagnostics::default());
    let own = |passages: &[Passage]| -> Vec<String> {
        let own = passages.iter().flat_map(|passage| &passage.own);
        own.map(|own| format!("{}:{}", own.interface, own.address)).collect()
    };
    let flows = matrix.host(inventory.hosts.get("leaf").unwrap());
    assert_eq!(own(&flows.incoming), ["eth1:10.2.0.9", "eth1:10.2.0.99", "eth2:10.2.0.10", "eth2:10.2.0.99"]);
}

#[test]
fn a_host_has_the_flows_of_its_networks_and_no_others() {
    let (inventory, _sources) = inventory(FLOWS);
    let mut problems = Diagnostics::default();
    let matrix = Matrix::build(&inventory, &mut problems);
    assert!(problems.is_empty(), "{problems:?}");
    let one = matrix.host(inventory.host("one").unwrap());
    insta::assert_snapshot!(told(&one.incoming).join("\n"), @r"
    the_bastion_reaches_every_host_over_ssh tcp/22 eth0:10.1.1.11 <> 10.1.0.2/32
    etcd tcp/2378-2380 eth1:10.2.0.11 <> 10.2.0.11/32 10.2.0.12/32
    tunnels esp+protocol 99 eth1:10.2.0.11 <> 10.1.0.0/23
    ");
    insta::assert_snapshot!(told(&one.outgoing).join("\n"), @r"
    administrators_reach_the_bastion tcp/22 eth0:10.1.1.11 <> 10.1.0.2/32
    etcd tcp/2378-2380 eth1:10.2.0.11 <> 10.2.0.11/32 10.2.0.12/32
    etcd_2 tcp/443+ping eth0:10.1.1.11 <> 192.0.2.9/32 2001:db8::9/128
    tunnels esp+protocol 99 eth0:10.1.1.11 <> 10.2.0.0/24
    ");
    assert!(one.forwarded.is_empty());
}

#[test]
fn a_router_passes_on_what_crosses_the_networks_that_it_forwards_between() {
    let (inventory, _sources) = inventory(FLOWS);
    let matrix = Matrix::build(&inventory, &mut Diagnostics::default());
    let passed = matrix.host(inventory.host("router").unwrap()).forwarded;
    let names: Vec<&str> = passed.iter().map(|flow| flow.flow.as_str()).collect();
    // The two SSH flows cross between the two networks of administration, and only etcd stays within one.
    let expected = ["administrators_reach_the_bastion", "the_bastion_reaches_every_host_over_ssh", "etcd_2", "tunnels"];
    assert_eq!(names, expected);
}

#[test]
fn zones_by_zones_name_the_flows_and_what_has_none_is_denied() {
    let (inventory, _sources) = inventory(FLOWS);
    let matrix = Matrix::build(&inventory, &mut Diagnostics::default());
    let cells = matrix.cells();
    let names: Vec<&str> = matrix.ends().iter().map(|end| end.name()).collect();
    assert_eq!(names, ["admin", "control", "office", "mirror"]);
    assert_eq!(cells[&(End::Zone("admin"), End::Zone("admin"))], [0, 1]);
    assert_eq!(cells[&(End::Zone("admin"), End::Endpoint("mirror"))], [3]);
    assert_eq!(cells.get(&(End::Zone("office"), End::Zone("control"))), None);
    assert_eq!(matrix.lateral().count(), 0);
}

#[test]
fn a_connection_is_allowed_by_the_flows_that_hold_both_its_ends_and_its_port() {
    let (inventory, _sources) = inventory(FLOWS);
    let matrix = Matrix::build(&inventory, &mut Diagnostics::default());
    let count = |from: &str, to: &str, transport, port| {
        matrix.allows(from.parse().unwrap(), to.parse().unwrap(), transport, port).count()
    };
    assert_eq!(count("10.2.0.11", "10.2.0.12", Transport::Tcp, 2380), 1);
    assert_eq!(count("10.2.0.11", "10.2.0.12", Transport::Udp, 2380), 0);
    assert_eq!(count("10.2.0.99", "10.2.0.12", Transport::Tcp, 2380), 0);
    assert_eq!(count("10.1.0.200", "10.1.0.2", Transport::Tcp, 22), 1);
    assert_eq!(count("10.1.0.200", "10.1.1.11", Transport::Tcp, 22), 0);
}

fn way(flows: &str) -> String {
    let (inventory, sources) = inventory(flows);
    let mut problems = Diagnostics::default();
    let matrix = Matrix::build(&inventory, &mut problems);
    path::check(&matrix, inventory.hosts.values(), &mut problems);
    let told = problems.iter().map(|problem| {
        let line = problem.primary.as_ref().map_or(0, |label| sources.locate(label.span).line);
        format!("line {line}: {} ({})\n", problem.message, problem.help.clone().unwrap_or_default())
    });
    told.collect()
}

#[test]
fn a_hop_of_the_tool_itself_that_no_flow_lets_through_is_named_with_the_flow_to_add() {
    assert_eq!(way(FLOWS), "");
    insta::assert_snapshot!(
        "only_the_bastion",
        way("flows: [{from: admin, to: admin, to_hosts: jump, tcp: 22, why: x}]\n")
    );
    insta::assert_snapshot!(
        "no_bastion",
        way("flows: [{from: admin, from_hosts: jump, to: admin, tcp: 22, why: x}]\n")
    );
    insta::assert_snapshot!("elsewhere", way(&format!("defaults: {{ssh: {{from: [office, one]}}}}\n{FLOWS}")));
}

#[test]
fn an_endpoint_without_addresses_cannot_be_let_through() {
    let (mut inventory, _sources) = inventory(FLOWS);
    inventory.endpoints.get_mut("mirror").unwrap().value.addresses.0.clear();
    let mut problems = Diagnostics::default();
    Matrix::build(&inventory, &mut problems);
    let codes: Vec<&str> = problems.iter().map(|problem| &*problem.code).collect();
    assert_eq!(codes, ["missing-addresses"]);
}

#[test]
fn sets_of_addresses_are_written_once_and_found() {
    let nets = |texts: &[&str]| AddressSet::new(texts.iter().map(|text| text.parse().unwrap()).collect());
    let set = nets(&["10.0.1.0/24", "10.0.0.0/24", "10.0.0.7/32", "2001:db8::/32", "192.0.2.1/32"]);
    let told: Vec<String> = set.networks().iter().map(ToString::to_string).collect();
    assert_eq!(told, ["10.0.0.0/23", "192.0.2.1/32", "2001:db8::/32"]);
    assert!(set.contains("10.0.1.255".parse().unwrap()) && set.contains("2001:db8::1".parse().unwrap()));
    assert!(!set.contains("10.0.2.0".parse().unwrap()) && !set.contains("9.255.255.255".parse().unwrap()));
    assert!(set.holds(&"10.0.0.128/25".parse().unwrap()) && !set.holds(&"10.0.0.0/22".parse().unwrap()));
    assert!(!nets(&[]).contains("10.0.0.1".parse().unwrap()));
}

#[test]
fn ten_thousand_hosts_on_two_hundred_networks_are_looked_up_without_pairs() {
    use std::fmt::Write as _;
    let mut text = String::from("\nsites: {s: {country: FR}}\nzones:\n");
    for zone in 0..20 {
        writeln!(text, "  z{zone}: {{nature: production}}").unwrap();
    }
    text.push_str("networks:\n");
    for net in 0..200 {
        writeln!(text, "  n{net}: {{site: s, zone: z{}, cidr: 10.{net}.0.0/16}}", net % 20).unwrap();
    }
    text.push_str("hosts:\n");
    for host in 0..10_000 {
        let (net, at) = (host % 200, host / 200 + 2);
        let own = format!("10.{net}.0.{at}");
        writeln!(
            text,
            "  h{host}: {{ssh: {{address: {own}}}, interfaces: {{e: {{network: n{net}, address: {own}}}}}}}"
        )
        .unwrap();
    }
    text.push_str("flows:\n");
    for flow in 0..300 {
        let (from, to, port) = (flow % 20, flow / 20, flow + 1);
        writeln!(text, "  - {{from: z{from}, to: z{to}, to_hosts: 'h*1', tcp: {port}, why: f{flow}}}").unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = camino::Utf8Path::from_path(folder.path()).unwrap().join("a.yaml");
    crate::fs::write_atomic(&path, text.as_bytes(), 0o600).unwrap();
    let (mut sources, mut problems) = (Sources::default(), Diagnostics::default());
    let inventory = crate::load::inventory::load(&path, &[], &mut sources, &mut problems).unwrap();
    let matrix = Matrix::build(&inventory, &mut problems);
    let passages: usize = inventory
        .hosts
        .values()
        .map(|host| matrix.host(host))
        .map(|flows| flows.incoming.len() + flows.outgoing.len())
        .sum();
    // The 15 flows that leave a zone, on every host; and the 20 that come to one, on the thousand hosts that end in 1.
    assert_eq!(passages, 10_000 * 15 + 1_000 * 20);
}
