//! The rules on real hosts: a fleet that was configured shows what is known of it and nothing else, whatever somebody changes
//! by hand is named by its rule, and the audit leaves no trace.

use std::collections::BTreeSet;

use serde_json::Value;

use super::fleet::{Lab, is_possible, root};

/// What the demo's hosts break in the lab, and why.
const KNOWN: [&str; 7] = [
    // The lab's hosts share the machine's kernel, of whose settings only the network's can be written.
    "BP028-R9",
    "BP028-R14",
    "BP028-R45",
    // They are folders of the machine: no disks, no mounts of their own.
    "BP028-R28",
    "PA022-R14",
    // The demo's playbook does not go so far.
    "BP028-R38",
    "BP028-R73",
];

/// Succeeds where the time service follows somebody.
const IN_STEP: &str = "chronyc -n -c tracking | grep -qv '^00000000'";

struct Fleet {
    lab: Lab,
    inventory: String,
}

type Findings = BTreeSet<(String, String, String)>;

impl Fleet {
    fn words<'a>(&'a self, words: &[&'a str]) -> Vec<&'a str> {
        [&["audit", "-i", &self.inventory][..], words].concat()
    }

    /// Returns what an audit says.
    #[track_caller]
    fn audit(&self, status: i32) -> Value {
        self.lab.provision(&self.words(&["--json"])).expect(status).json()
    }

    /// Changes a host by hand, and expects exactly these rules to be broken there that were not before, each with part of
    /// a message.
    #[track_caller]
    fn finds(&self, before: &Findings, host: &str, shell: &str, wanted: &[(&str, &str)]) {
        self.lab.on(host, shell);
        let after = findings(&self.audit(1));
        let new: Vec<_> = after.difference(before).collect();
        for (rule, text) in wanted {
            let is_it = |(id, _, message): &&&(String, String, String)| id == rule && message.contains(text);
            assert!(new.iter().any(|finding| is_it(&finding)), "{rule} {text:?} is not in {new:#?}");
        }
        let rules: BTreeSet<&str> = wanted.iter().map(|(rule, _)| *rule).collect();
        for (rule, hosts, message) in new {
            assert!(hosts == host && rules.contains(rule.as_str()), "nobody expected {rule} of {hosts}: {message}");
        }
    }
}

/// Returns the findings: rule, hosts, message.
fn findings(audit: &Value) -> Findings {
    let found = audit["diagnostics"].as_array().unwrap().iter().filter(|finding| finding["severity"] != "note");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    found
        .map(|finding| {
            let hosts: Vec<&str> =
                finding["hosts"].as_array().unwrap().iter().map(|host| host.as_str().unwrap()).collect();
            assert!(finding["line"].as_u64() > Some(0), "{finding:#}");
            (text(&finding["code"]), hosts.join(" "), text(&finding["message"]))
        })
        .collect()
}

fn standing<'a>(audit: &'a Value, host: &str, rule: &str) -> &'a str {
    let mut hosts = audit["hosts"].as_array().unwrap().iter();
    hosts.find(|known| known["host"] == host).unwrap()["rules"][rule].as_str().unwrap()
}

#[test]
fn configured_hosts_show_what_is_known_and_what_is_changed_by_hand_is_named_by_its_rule() {
    if !is_possible("lab::configured_hosts_show_what_is_known_and_what_is_changed_by_hand_is_named_by_its_rule") {
        return;
    }
    let lab = Lab::of_inventory("audit", "inventories/demo");
    let fleet = Fleet { lab, inventory: root().join("inventories/demo").to_str().unwrap().to_owned() };
    let lab = &fleet.lab;
    let playbook = root().join("playbooks/site.yaml");
    let site = ["-i", &fleet.inventory, playbook.to_str().unwrap()];
    let hosts = ["bastion-control", "ctl-par1-01", "ctl-ren1-01", "hv-par1-01", "log-par1-01"];

    // Before, nothing is filtered and everybody logs in.
    let open: BTreeSet<String> = findings(&fleet.audit(1)).into_iter().map(|(rule, ..)| rule).collect();
    for rule in ["PA022-R19", "BP028-R33", "NT007-R22", "PA022-R36", "SNC-12.8.a", "SNC-12.7.c"] {
        assert!(open.contains(rule), "{rule} is not in {open:?}");
    }
    lab.provision(&[&["apply", "--yes", "-q"][..], &site].concat()).expect(0);
    // The time servers are followed a while after they were set.
    for host in
        ["ctl-par1-01", "ctl-par1-02", "ctl-ren1-01", "hv-par1-01", "hv-ren1-01", "bastion-compute", "bastion-control"]
    {
        lab.wait_until(host, IN_STEP);
    }

    // One login and one exchange with each host, and not a file that is newer.
    let start = lab.on("hv-par1-01", "sleep 1.1; date +%s").trim().to_owned();
    let run = lab.provision(&fleet.words(&["-v"])).expect(1);
    let read = run.stderr.lines().filter(|line| line.contains("round trips") && line.contains("1 exchange")).count();
    assert_eq!(read, 8, "{}", run.stderr);
    let audit = fleet.audit(1);
    for host in hosts {
        let newer = format!(
            "find / -xdev \\( -path /proc -o -path /sys -o -path /run -o -path /dev -o -path /var/log -o -path /tmp \\) -prune \
             -o -newermt @{start} ! -path '/var/lib/chrony*' ! -path '/var/lib/etcd*' ! -path /var/lib/rsyslog ! -path '/var/spool/rsyslog*' -print"
        );
        assert_eq!(lab.on(host, &newer), "", "{host} is not as it was");
    }
    lab.provision(&[&["plan", "--detailed-exitcode"][..], &site].concat()).expect(0);

    let before = findings(&audit);
    let broken: BTreeSet<&str> = before.iter().map(|(rule, ..)| rule.as_str()).collect();
    assert_eq!(broken, BTreeSet::from(KNOWN));
    let unread: BTreeSet<&str> =
        audit["unread"].as_array().unwrap().iter().map(|u| u["rule"].as_str().unwrap()).collect();
    assert!(unread.is_subset(&BTreeSet::from(["BP028-R9", "BP028-R12"])), "{unread:?}");
    assert_eq!(audit["scores"]["separation"]["per-cent"], 100);
    assert_eq!(standing(&audit, "bastion-control", "NT007-R27"), "held", "a bastion leads to named hosts only");
    assert_eq!(standing(&audit, "ctl-par1-01", "LOG-R17"), "waived");

    fleet.finds(
        &before,
        "hv-par1-01",
        "printf 'PermitRootLogin yes\\nX11Forwarding yes\\n' >/etc/ssh/sshd_config.d/00-hand.conf",
        &[("BP028-R33", "`PermitRootLogin yes`"), ("NT007-R28", "`X11Forwarding yes`")],
    );
    lab.on("hv-par1-01", "rm /etc/ssh/sshd_config.d/00-hand.conf");
    fleet.finds(
        &before,
        "ctl-par1-01",
        "sysctl -qw net.ipv4.tcp_syncookies=0",
        &[("BP028-R12", "`net.ipv4.tcp_syncookies` is 0, and 1 is asked for")],
    );
    lab.on("ctl-par1-01", "sysctl -qw net.ipv4.tcp_syncookies=1");
    fleet.finds(
        &before,
        "log-par1-01",
        "echo 'mallory ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/hand; chmod 440 /etc/sudoers.d/hand",
        &[
            ("BP028-R43", "the sudo rule of `mallory` allows every command, without a password"),
            ("BP028-R40", "`mallory` may run ALL as anybody"),
            ("BP028-R39", "sudo runs what `mallory` asks for without noexec"),
        ],
    );
    lab.on("log-par1-01", "rm /etc/sudoers.d/hand");
    fleet.finds(
        &before,
        "bastion-control",
        "echo 'deb https://joe:hunter2@packages.example.org/debian stable main' >/etc/apt/sources.list.d/hand.list",
        &[("BP028-R59", "takes packages from https://packages.example.org/debian, which is neither of the fleet")],
    );
    lab.on("bastion-control", "rm /etc/apt/sources.list.d/hand.list");
    fleet.finds(
        &before,
        "ctl-ren1-01",
        "useradd -o -u 0 -g 0 -M toor; useradd -M -p '$1$salt$qJH7.N4xYta3aEG/dfqo/0' eve",
        &[
            ("SNC-9.2.b", "the account `toor` has the number 0"),
            ("SNC-9.2.b", "`eve` can log in, who is no operator"),
            ("SNC-10.3.a", "the password of `eve` is kept as MD5"),
        ],
    );
    lab.on("ctl-ren1-01", "sed -i '/^toor:/d; /^eve:/d' /etc/passwd /etc/shadow");
    fleet.finds(&before, "hv-ren1-01", "systemctl stop chrony", &[("SNC-12.8.a", "no service keeps the time")]);
    lab.on("hv-ren1-01", "systemctl start chrony");
    lab.wait_until("hv-ren1-01", IN_STEP);
    fleet.finds(
        &before,
        "bastion-compute",
        "openssl req -x509 -newkey rsa:2048 -nodes -days 3650 -subj /C=US/O=Elsewhere/CN=x -keyout /etc/ssl/private/hand.key \
         -out /etc/ssl/hand.pem 2>/dev/null; sed -i s/omfwd/omnone/ /etc/rsyslog.d/*",
        &[
            ("SNC-10.6.a", "/etc/ssl/hand.pem was signed in US (CN=x,O=Elsewhere,C=US)"),
            ("SNC-12.7.c", "no message leaves for a host of the fleet"),
        ],
    );
    lab.on(
        "bastion-compute",
        "rm /etc/ssl/hand.pem /etc/ssl/private/hand.key; sed -i s/omnone/omfwd/ /etc/rsyslog.d/*",
    );
    fleet.finds(
        &before,
        "ctl-par1-02",
        "nft delete table inet provision; systemd-run --quiet --unit=listen systemd-socket-activate -l 8080 --inetd -a cat; sleep 1",
        &[
            ("PA022-R19", "the table of its flows is not loaded"),
            ("BP028-R80", "listens on tcp/8080 at every address"),
        ],
    );
    lab.on("ctl-par1-02", "systemctl stop listen; systemctl restart nftables");

    // What cannot be read is not well: it is told, and counts as asked.
    lab.on("ctl-par1-01", "mv /usr/bin/openssl /usr/bin/openssl.away");
    let audit = fleet.audit(1);
    assert_eq!(standing(&audit, "ctl-par1-01", "TLS-R25"), "unread");
    assert_eq!(standing(&audit, "ctl-par1-02", "TLS-R25"), "held");
    lab.on("ctl-par1-01", "mv /usr/bin/openssl.away /usr/bin/openssl");
    let whole = fleet.audit(1);
    assert_eq!(findings(&whole), before, "all is as it was");

    // A host that is gone is told, and makes the audit a part of one.
    lab.fault("hv-ren1-01", &["cut"]);
    let run = lab.provision(&fleet.words(&["--fail-on", "never", "--json"])).expect(3);
    let audit = run.json();
    assert!(audit["unreached"]["hv-ren1-01"].is_string(), "{}", audit["unreached"]);
    assert_eq!(audit["hosts"].as_array().unwrap().len(), 7);
    lab.fault("hv-ren1-01", &["heal"]);

    let out = |name: &str, format: &str| -> String {
        let file = lab.path(name);
        let run = lab.provision(&fleet.words(&["--format", format, "--out", file.to_str().unwrap(), "--software"]));
        assert!(run.expect(1).stdout.contains("rules on 8 of 8 hosts"));
        std::fs::read_to_string(file).unwrap()
    };
    let sarif: Value = serde_json::from_str(&out("audit.sarif", "sarif")).unwrap();
    let results = sarif["runs"][0]["results"].as_array().unwrap();
    let kinds: BTreeSet<&str> = results.iter().map(|result| result["kind"].as_str().unwrap_or("fail")).collect();
    assert_eq!(kinds, BTreeSet::from(["fail", "open"]));
    assert!(out("audit.xml", "junit").contains("<testcase name=\"BP028-R45\""));
    let page = out("audit.html", "html");
    assert!(
        page.contains("data-state=\"held\"") && page.contains("data-state=\"broken\"") && !page.contains("<script")
    );
    let json: Value = serde_json::from_str(&out("audit.json", "json")).unwrap();
    assert!(json["software"]["ctl-par1-01"]["etcd-server"].is_string(), "{}", json["software"]);
}
