//! The flow matrix proved on real hosts, and whatever somebody changes by hand found and named by the proof.

use std::collections::BTreeSet;

use provision::model::matrix::Transport;
use provision::proof::{Expected, Proof, Seen, Verdict};
use serde_json::Value;

use super::fleet::{Lab, Run, is_possible, root};

const INVENTORY: &str = "tests/cases/verify";

/// A fleet that is brought to what its flow matrix says.
struct Fleet {
    lab: Lab,
    inventory: String,
}

impl Fleet {
    fn verify(&self, words: &[&str]) -> Run {
        self.lab.provision(&[&["verify", "-i", &self.inventory], words].concat())
    }

    /// Returns the proof, and how the run ended.
    #[track_caller]
    fn proof(&self) -> (Proof, i32) {
        let run = self.verify(&["--json"]);
        let proof = Proof::parse(&run.stdout).unwrap_or_else(|e| panic!("{e}\n{}\n{}", run.stdout, run.stderr));
        (proof, run.status)
    }

    /// Fails the test unless everything is proved and nothing found.
    #[track_caller]
    fn is_green(&self) -> Proof {
        let (proof, status) = self.proof();
        let doubtful: Vec<_> = proof.cells.iter().filter(|cell| cell.verdict != Verdict::Proved).collect();
        assert!(doubtful.is_empty(), "{doubtful:#?}");
        assert!(proof.findings.is_empty(), "{:#?}", proof.findings);
        assert_eq!((status, proof.unreachable.len()), (0, 0));
        proof
    }

    /// Changes a host by hand, and expects the run to end with 1 and to find exactly these: rule, host, and part of the
    /// message.
    #[track_caller]
    fn finds(&self, changes: &[(&str, &str)], wanted: &[(&str, &str, &str)]) -> Proof {
        for (host, shell) in changes {
            self.lab.on(host, shell);
        }
        let (proof, status) = self.proof();
        assert_eq!(status, 1, "{:#?}", proof.findings);
        for (rule, host, text) in wanted {
            let is_it = |finding: &&provision::proof::Finding| {
                finding.rule == *rule && finding.hosts.iter().any(|name| name.as_str() == *host)
            };
            let found: Vec<_> = proof.findings.iter().filter(is_it).collect();
            let says_it = found.iter().any(|finding| finding.message.contains(text));
            assert!(says_it, "{rule} of {host}: {text:?} is not in {:#?}", proof.findings);
            assert!(found.iter().all(|finding| finding.place.is_some()), "each has its place: {found:#?}");
        }
        let named: BTreeSet<(&str, &str)> = wanted.iter().map(|(rule, host, _)| (*rule, *host)).collect();
        for finding in &proof.findings {
            let host = finding.hosts.first().map(|host| host.as_str()).unwrap_or_default();
            assert!(named.contains(&(finding.rule.as_str(), host)), "nobody expected {finding:#?}");
        }
        proof
    }

    fn listen(&self, host: &str, port: &str) {
        let script = format!(
            "systemd-run --quiet --unit=listen-{port} --service-type=exec systemd-socket-activate -l {port} --inetd -a cat"
        );
        self.lab.on(host, &script);
    }
}

fn is_open(seen: Seen) -> bool {
    matches!(seen, Seen::Connected | Seen::Answered | Seen::Refused)
}

#[test]
fn a_fleet_that_is_as_its_flow_matrix_is_proved_and_what_is_changed_by_hand_is_named() {
    if !is_possible("lab::a_fleet_that_is_as_its_flow_matrix_is_proved_and_what_is_changed_by_hand_is_named") {
        return;
    }
    let lab = Lab::of_inventory("verify", INVENTORY);
    let fleet = Fleet { lab, inventory: root().join(INVENTORY).to_str().unwrap().to_owned() };
    let lab = &fleet.lab;
    fleet.listen("ctl-1", "2379");
    // A service that hears and never answers.
    let deaf = "use Socket; socket(S, AF_INET, SOCK_DGRAM, 0); bind(S, pack_sockaddr_in(514, INADDR_ANY)) or die; \
                recv(S, my $b, 99, 0) while 1";
    lab.on("ctl-1", &format!("systemd-run --quiet --unit=deaf --service-type=exec perl -e '{deaf}'"));

    // Before, nothing is filtered: the tool says so of every host, and that what no flow allows goes through.
    let (proof, status) = fleet.proof();
    assert_eq!(status, 1);
    let unfiltered = proof.findings.iter().filter(|finding| finding.rule == "PA022-R19").count();
    assert_eq!(unfiltered, 5, "{:#?}", proof.findings);
    let mut denied = proof.cells.iter().filter(|cell| cell.expected == Expected::Denied).collect::<Vec<_>>();
    denied.retain(|cell| cell.transport == Transport::Tcp);
    assert!(denied.len() > 20 && denied.iter().all(|cell| is_open(cell.seen)), "{denied:#?}");
    assert!(proof.findings.iter().any(|finding| finding.rule == "PA022-R20"), "host to host over SSH");

    lab.tasks("  - sysctl: {key: net.ipv4.conf.all.forwarding, value: 0}\n  - firewall: {}\n");
    lab.provision(&["apply", "-i", &fleet.inventory, "playbooks/site.yaml", "--yes"]).expect(0);
    let proof = fleet.is_green();
    let seen = |from: &str, to: &str, port: u16| {
        let mut allowed = proof.cells.iter().filter(|cell| cell.expected == Expected::Allowed);
        let cell = allowed.find(|c| c.from.as_str() == from && c.to.as_str() == to && c.port == port);
        cell.unwrap_or_else(|| panic!("{from} {to} {port} was not tried")).seen
    };
    assert_eq!(seen("bastion", "hv-1", 22), Seen::Connected);
    assert_eq!(seen("hv-2", "ctl-1", 2379), Seen::Connected);
    assert_eq!(seen("ctl-1", "ctl-2", 2379), Seen::Refused, "nobody listens there, and the way is open");
    assert_eq!(seen("ctl-2", "ctl-1", 514), Seen::Delivered, "the destination has counted what nobody answers");
    let around = proof.cells.iter().filter(|cell| cell.expected == Expected::Denied).map(|cell| cell.around);
    assert!(around.clone().all(|around| around == Some(Seen::Dropped)), "each host's own filter was tried");
    assert!(around.count() > 20);
    let whole = fleet.verify(&["--exhaustive", "--quiet"]).expect(0);
    assert!(whole.stdout.contains(" 0 contradicted, 0 undecided, 0 not tried."), "{}", whole.stdout);

    // A rule by hand.
    fleet.finds(
        &[("ctl-1", "nft insert rule inet provision input tcp dport 2379 accept")],
        &[
            ("SNC-13.2.e", "ctl-1", "rule of input: tcp dport 2379 accept"),
            ("PA022-R19", "ctl-1", "only the filter of the other side holds it back"),
        ],
    );
    let sarif = fleet.verify(&["--format", "sarif"]).expect(1).json();
    let rules = |sarif: &Value| -> BTreeSet<String> {
        let results = sarif["runs"][0]["results"].as_array().unwrap().iter();
        results.map(|result| result["ruleId"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(rules(&sarif), BTreeSet::from(["PA022-R19".to_owned(), "SNC-13.2.e".to_owned()]));
    lab.on("ctl-1", "systemctl restart nftables");
    fleet.is_green();

    // A table that was flushed keeps the policy of its chains: nobody can log in, and that is what is said.
    let proof = fleet.finds(
        &[("ctl-1", "nft flush table inet provision")],
        &[
            ("PROV-FLOW", "ctl-1", "`ctl-1` is there, but the tool cannot log in to it"),
            ("PROV-FLOW", "ctl-1", "the flow `the bastion reaches every host over SSH` does not reach `ctl-1`"),
        ],
    );
    assert!(proof.unreachable.keys().any(|host| host.as_str() == "ctl-1"));
    assert!(proof.cells.iter().any(|cell| cell.from.as_str() == "ctl-1" && cell.verdict == Verdict::NotTried));
    lab.on("ctl-1", "systemctl restart nftables");
    // One that was deleted lets everything in.
    fleet.finds(
        &[("ctl-2", "nft delete table inet provision")],
        &[
            ("PA022-R19", "ctl-2", "the table of its flows is not loaded"),
            ("PA022-R19", "ctl-2", "`ctl-2` takes what no flow allows"),
        ],
    );
    lab.on("ctl-2", "systemctl restart nftables");
    fleet.is_green();

    // A listener; an address of a zone that the host does not stand in, and of one that it does; a card; a table of others.
    fleet.listen("hv-1", "8080");
    fleet.finds(
        &[
            ("hv-1", "ip addr add 10.20.0.99/32 dev eno2"),
            ("hv-2", "ip addr add 10.30.0.98/32 dev eno2"),
            ("ctl-2", "ip link add eno9 type veth peer name eno10; ip link set eno9 up"),
            ("ctl-2", "nft add table ip nat; nft add chain ip nat mine; nft add rule ip nat mine accept"),
        ],
        &[
            ("BP028-R80", "hv-1", "listens on tcp/8080 at every address, and no flow leads there"),
            ("SNC-13.2.a", "hv-1", "stands in the zone `control` by 10.20.0.99 on `eno2`"),
            ("SNC-8.1.a", "hv-2", "10.30.0.98 on `eno2`"),
            ("SNC-13.2.a", "ctl-2", "a network card `eno9` that is on"),
            ("SNC-13.2.e", "ctl-2", "a table `ip nat` of somebody else (1 rule)"),
        ],
    );
    lab.on("hv-1", "systemctl stop listen-8080; ip addr del 10.20.0.99/32 dev eno2");
    lab.on("hv-2", "ip addr del 10.30.0.98/32 dev eno2");
    lab.on("ctl-2", "ip link del eno9; nft delete table ip nat");
    fleet.is_green();

    // A hypervisor that passes packets on, another that sends by it, and a tunnel past every filter.
    fleet.finds(
        &[
            ("hv-1", "sysctl -qw net.ipv4.conf.all.forwarding=1"),
            ("hv-2", "ip route add 10.20.0.0/24 via 10.30.0.11"),
            (
                "hv-2",
                "ip link add vxlan7 type vxlan id 7 dstport 4789 remote 10.10.0.21 dev eno1; ip link set vxlan7 up",
            ),
        ],
        &[
            ("BP028-R12", "hv-1", "net.ipv4.conf.all.forwarding"),
            ("SNC-13.2.a", "hv-2", "a route to 10.20.0.0/24 (`lab-control`, zone `control`) by 10.30.0.11 (`hv-1`)"),
            // Its packets go the other way now, to a host that lets none of them pass.
            ("PROV-FLOW", "ctl-1", "the flow `hypervisors ask what to run` does not reach `ctl-1`: from `hv-2`"),
            ("BP028-R80", "hv-2", "listens on udp/4789"),
            ("SNC-13.2.a", "hv-2", "`vxlan7` (vxlan) to 10.10.0.21, `ctl-1` in the zone `admin`"),
        ],
    );
    lab.on("hv-1", "sysctl -qw net.ipv4.conf.all.forwarding=0");
    lab.on("hv-2", "ip route del 10.20.0.0/24; ip link del vxlan7");

    // A host whose cables are pulled proves nothing, and breaks nothing either.
    lab.fault("hv-2", &["cut"]);
    let (proof, status) = fleet.proof();
    assert!(proof.findings.is_empty(), "{:#?}", proof.findings);
    assert_eq!((status, proof.count(Verdict::Contradicted)), (3, 0), "{:#?}", proof.cells);
    assert!(proof.count(Verdict::NotTried) > 0);
    lab.fault("hv-2", &["heal"]);
    let file = lab.path("proof.json");
    fleet.verify(&["--out", file.to_str().unwrap()]).expect(0);
    let saved = Proof::parse(&std::fs::read_to_string(file).unwrap()).unwrap();
    assert_eq!(saved.count(Verdict::Proved), saved.cells.len());
}
