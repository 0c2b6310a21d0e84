//! The control plane of the demo, and what it outlives: the loss of a member with all that it had.

use std::process::Stdio;

use super::fleet::{Lab, is_possible, root};

const SITE: [&str; 3] = ["-i", "inventories/demo", "playbooks/site.yaml"];

/// Writes to the cluster by the member of its host, again and again, until `/run/writes/stop` is there.
const WRITER: &str = "mkdir -p /run/writes; rm -f /run/writes/*
    while [ ! -e /run/writes/stop ]; do
      if etcdctl --command-timeout=5s put beat \"$(date +%s%N)\" >/dev/null 2>>/run/writes/errors
      then echo >>/run/writes/done
      else echo >>/run/writes/lost
      fi
      sleep 0.1
    done";

struct Demo(Lab);

impl Demo {
    /// Returns the words of a command on the whole site.
    fn site(words: &[&str]) -> Vec<String> {
        let [option, inventory, playbook] = SITE;
        let inventory = root().join(inventory).into_os_string().into_string().unwrap();
        let playbook = root().join(playbook).into_os_string().into_string().unwrap();
        let words = words.iter().map(|word| (*word).to_owned());
        words.chain([option.to_owned(), inventory, playbook]).collect()
    }

    #[track_caller]
    fn expect(&self, status: i32, words: &[&str]) {
        let words = Self::site(words);
        self.0.provision(&words.iter().map(String::as_str).collect::<Vec<_>>()).expect(status);
    }

    /// Returns the members by name, each with its identifier and whether it has started.
    fn members(&self, asked: &str) -> Vec<(String, String, String)> {
        let list = self.0.on(asked, "etcdctl member list");
        let mut members: Vec<_> = list
            .lines()
            .map(|line| {
                let part = |n: usize| line.split(", ").nth(n).unwrap_or_else(|| panic!("{list}")).to_owned();
                (part(2), part(0), part(1))
            })
            .collect();
        members.sort();
        members
    }
}

#[test]
fn a_member_that_lost_everything_is_replaced_by_a_plain_apply_while_the_cluster_serves() {
    if !is_possible("lab::a_member_that_lost_everything_is_replaced_by_a_plain_apply_while_the_cluster_serves") {
        return;
    }
    let demo = Demo(Lab::of_inventory("etcd", "inventories/demo"));
    let lab = &demo.0;
    demo.expect(0, &["apply", "--yes", "-q"]);
    let founded = demo.members("ctl-par1-01");
    let names: Vec<&str> = founded.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(names, ["ctl-par1-01", "ctl-par1-02", "ctl-ren1-01"]);
    lab.on("ctl-par1-01", "etcdctl put kept before");

    lab.fault("ctl-ren1-01", &["kill"]);
    lab.fault("ctl-ren1-01", &["wipe"]);
    lab.fault("ctl-ren1-01", &["boot"]);
    assert_eq!(lab.on("ctl-ren1-01", "ls -A /var/lib/etcd /etc/etcd 2>/dev/null || :"), "", "nothing is left");

    let writer = ["exec", "ctl-par1-01", "--", "sh", "-c", WRITER];
    let mut writer = lab.lab_command(&writer).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    lab.wait_until("ctl-par1-01", "test -s /run/writes/done");
    demo.expect(0, &["apply", "--yes", "-q"]);
    lab.on("ctl-par1-01", "touch /run/writes/stop");
    writer.wait().unwrap();

    let now = demo.members("ctl-ren1-01");
    for (before, after) in founded.iter().zip(&now) {
        assert_eq!((&before.0, "started"), (&after.0, after.2.as_str()), "{now:?}");
        assert_eq!(before.1 != after.1, before.0 == "ctl-ren1-01", "who lost everything is somebody new: {now:?}");
    }
    assert_eq!(now.len(), 3);
    assert_eq!(lab.on("ctl-ren1-01", "etcdctl get kept --print-value-only").trim(), "before");
    lab.on("ctl-ren1-01", "etcdctl endpoint health --cluster");
    // The others' members are not restarted, so not one write waits longer than a change of leader takes.
    assert_eq!(lab.on("ctl-par1-01", "cat /run/writes/lost /run/writes/errors 2>/dev/null || :"), "");
    demo.expect(0, &["plan", "--detailed-exitcode"]);

    // Without a majority nobody can be taken in, and who lost the data must not found another cluster.
    for host in ["ctl-par1-02", "ctl-ren1-01"] {
        lab.on(host, "systemctl stop etcd; rm -rf /var/lib/etcd/control");
    }
    let words = Demo::site(&["apply", "--yes", "--tags", "etcd,certificates"]);
    let run = lab.provision(&words.iter().map(String::as_str).collect::<Vec<_>>()).expect(3);
    let text = format!("{}{}", run.stdout, run.stderr);
    assert!(text.contains("these members run and have no majority: https://10.20.0.21:2379"), "{text}");
    assert!(text.contains("restore a snapshot"), "{text}");
    for host in ["ctl-par1-02", "ctl-ren1-01"] {
        lab.on(host, "test ! -e /var/lib/etcd/control/member; ! systemctl is-active --quiet etcd");
    }
}
