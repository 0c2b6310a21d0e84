//! What runs where, when and after what: conditions, loops, outputs, failures that are allowed, and the order of hosts.

use super::fleet::{Lab, is_possible, outcomes};

/// A machine that is off when the plan is made, and that something which the first host does switches on.
#[test]
fn a_host_that_another_brings_is_planned_before_it_is_there_and_waited_for() {
    if !is_possible("lab::a_host_that_another_brings_is_planned_before_it_is_there_and_waited_for") {
        return;
    }
    let lab = Lab::plain("brought", 2);
    lab.write(
        "inventory/hosts.yaml",
        "defaults: {ssh: {user: provision}}
hosts:
  host-001: {ssh: {address: 10.99.0.1}}
  host-002: {ssh: {address: 10.99.0.2}, provided_by: 'host-001/file[/srv/switch]'}
",
    );
    lab.write(
        "playbooks/site.yaml",
        r#"name: Guests
plays:
  - name: guests
    hosts: host-002
    tasks:
      - file: {path: /srv/name, content: "{{ facts.os.id }} {{ host }}"}
        notify: service[guest]
      - unit: {name: guest.service, content: "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n"}
      - service: {name: guest, state: running}
  - name: machines
    hosts: host-001
    tasks:
      - file: {path: /srv/first, content: x}
      - file: {path: /srv/switch, content: "on"}
"#,
    );
    lab.fault("host-002", &["kill"]);
    let plan = lab.provision(&["plan", "--detailed-exitcode"]).expect(2);
    assert!(plan.stdout.contains("the host is not there yet, host-001/file[/srv/switch] brings it"), "{}", plan.stdout);
    // Who interrupts while a host is waited for need not wait for it.
    let waiting = lab.command(&["apply", "--yes"]).spawn().unwrap();
    lab.wait_until("host-001", "test -e /srv/switch");
    std::thread::sleep(std::time::Duration::from_secs(1));
    std::process::Command::new("kill").args(["-INT", &waiting.id().to_string()]).status().unwrap();
    let output = waiting.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{said}");
    assert!(said.contains("waiting     for host-002, until it lets us in"), "{said}");
    lab.on("host-001", "rm /srv/first /srv/switch");

    lab.provision(&["plan", "--out", "saved.plan"]).expect(0);
    let running = lab.command(&["apply", "saved.plan", "--yes", "--json"]).spawn().unwrap();
    lab.wait_until("host-001", "test -e /srv/switch");
    lab.fault("host-002", &["boot"]);
    let output = running.wait_with_output().unwrap();
    let (said, wrong) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{said}{wrong}");
    let ends = outcomes(said.lines().last().unwrap());
    assert_eq!(ends["host-002/service[guest]"]["outcome"], "changed", "{said}");
    assert_eq!(lab.on("host-002", "cat /srv/name; systemctl is-active guest"), "debian host-002active\n");
    lab.expect_nothing_to_do();
}

#[test]
fn conditions_loops_and_outputs_choose_what_is_done() {
    if !is_possible("lab::conditions_loops_and_outputs_choose_what_is_done") {
        return;
    }
    let lab = Lab::plain("choose", 2);
    lab.tasks(
        "  - file: {path: /srv/debian, content: \"{{facts.os.id}}\\n\"}
    when: facts.os.id == 'debian' && host == 'host-001'
  - file: {path: /srv/other, content: x}
    when: facts.os.id != 'debian'
  - file: {path: \"/srv/{{item}}\", content: \"{{item}}\\n\"}
    for_each: [one, two]
  - file: {path: \"/srv/{{item.key}}\", content: \"{{item.value}}\\n\"}
    for_each: {three: 3, four: 4}
    tags: late
  - command: {name: counted, run: ls /srv | grep -c -e one -e two, unless: test -e /srv/count}
    register: counted
  - file: {path: /srv/count, content: \"{{registered.counted.stdout}}\\n\"}
    when: registered.counted.changed
",
    );
    // What only a running task can tell is said to be so, and its name is told.
    assert_eq!(lab.pending()["host-002/file[/srv/count]"], ["(known after apply)"]);
    lab.provision(&["apply", "--yes", "--skip-tags", "late"]).expect(0);
    assert_eq!(lab.on("host-002", "ls /srv | grep -v mirror | xargs; cat /srv/count"), "count one two\n2\n");
    assert_eq!(lab.on("host-001", "cat /srv/debian"), "debian\n");
    assert_eq!(lab.pending().keys().filter(|addr| !addr.contains("count")).count(), 4);
    lab.provision(&["apply", "--yes", "--tags", "late", "--limit", "host-002"]).expect(0);
    assert_eq!(lab.on("host-002", "cat /srv/three /srv/four"), "3\n4\n");
    assert_eq!(lab.on("host-001", "test ! -e /srv/three; echo untouched"), "untouched\n");
}

#[test]
fn a_failure_stops_its_host_and_what_needs_it_and_nothing_else() {
    if !is_possible("lab::a_failure_stops_its_host_and_what_needs_it_and_nothing_else") {
        return;
    }
    let lab = Lab::plain("needs", 3);
    let playbook = |broken: &str| {
        format!(
            "plays:
- name: base
  hosts: host-001
  tasks:
  - command: {{name: allowed, run: exit 7, unless: test -e /srv/mended}}
    ignore_errors: true
  - file: {{path: /srv/before, content: x}}
  - command: {{name: broken, run: \"sleep 1; {broken}\", creates: /srv/base}}
  - file: {{path: /srv/behind, content: x}}
- name: dependent
  hosts: host-002
  needs: base
  tasks:
  - command: {{name: late, run: date +%s%N >/srv/late, creates: /srv/late}}
- name: one of it
  hosts: host-003
  needs: host-001/file[/srv/before]
  tasks:
  - command: {{name: early, run: date +%s%N >/srv/early, creates: /srv/early}}
"
        )
    };
    lab.write("playbooks/site.yaml", &playbook("echo no way >&2; exit 3"));
    let ended = lab.apply(3);
    assert_eq!(ended["host-001/command[allowed]"]["outcome"], "failed");
    assert_eq!(ended["host-001/file[/srv/before]"]["outcome"], "changed");
    let error = ended["host-001/command[broken]"]["error"].as_str().unwrap();
    assert!(error.contains("no way") && error.contains("exit status 3"), "{error}");
    for skipped in ["host-001/file[/srv/behind]", "host-002/command[late]"] {
        assert_eq!(ended[skipped]["outcome"], "skipped", "{skipped}");
        assert_eq!(ended[skipped]["because"], "host-001/command[broken] failed", "{skipped}");
    }
    assert_eq!(ended["host-003/command[early]"]["outcome"], "changed");
    assert_eq!(lab.on("host-002", "test ! -e /srv/late; echo not begun"), "not begun\n");

    lab.on("host-001", "touch /srv/mended");
    lab.on("host-003", "rm /srv/early");
    lab.write("playbooks/site.yaml", &playbook("date +%s%N >/srv/base"));
    lab.apply(0);
    lab.expect_nothing_to_do();
    let time = |host: &str, path: &str| lab.on(host, &format!("cat {path}")).trim().parse::<u128>().unwrap();
    assert!(time("host-001", "/srv/base") < time("host-002", "/srv/late"), "a play waits for the one it needs");
    assert!(time("host-003", "/srv/early") < time("host-001", "/srv/base"), "nobody waits for more than is needed");
}

#[test]
fn an_interrupted_run_ends_what_it_does_and_begins_nothing_more() {
    if !is_possible("lab::an_interrupted_run_ends_what_it_does_and_begins_nothing_more") {
        return;
    }
    let lab = Lab::plain("stopped", 1);
    lab.tasks(
        "  - command: {name: slow, run: \"touch /srv/begun; sleep 2; touch /srv/done\", creates: /srv/done}
    register: slow
  - file: {path: /srv/after, content: \"{{registered.slow.stdout}}\"}
",
    );
    let child = lab.command(&["apply", "--yes", "--json"]).spawn().unwrap();
    lab.wait_until("host-001", "test -e /srv/begun");
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(130), "{stdout}");
    let ended = super::fleet::outcomes(stdout.lines().last().unwrap());
    assert_eq!(ended["host-001/command[slow]"]["outcome"], "changed");
    assert_eq!(ended["host-001/file[/srv/after]"]["outcome"], "not-started");
    assert_eq!(ended["host-001/file[/srv/after]"]["because"], "the run was interrupted");
    assert_eq!(lab.on("host-001", "test -e /srv/done; test ! -e /srv/after; echo ended"), "ended\n");
    lab.apply(0);
}

/// Work is taken off a host before it is changed and given back after, whatever becomes of the run in between.
#[test]
fn hosts_are_drained_before_they_change_and_get_their_work_back() {
    if !is_possible("lab::hosts_are_drained_before_they_change_and_get_their_work_back") {
        return;
    }
    let lab = Lab::plain("drained", 3);
    lab.write(
        "inventory/hosts.yaml",
        "sites: {par1: {country: FR, rooms: {r1: {racks: [a, b]}}}}
defaults: {ssh: {user: provision}}
hosts:
  host-001: {site: par1, room: r1, rack: a, ssh: {address: 10.99.0.1}}
  host-002: {site: par1, room: r1, rack: a, ssh: {address: 10.99.0.2}}
  host-003: {site: par1, room: r1, rack: b, ssh: {address: 10.99.0.3}}
",
    );
    let playbook = |content: &str| {
        format!(
            "plays:
- name: machines
  hosts: all
  rolling:
    max_unavailable: {{rack: 1}}
    drain: {{run: \"date +%s%N >>/srv/drained; while test -e /srv/stuck; do sleep 0.1; done\"}}
    resume: {{run: \"date +%s%N >>/srv/resumed\"}}
    health: [{{command: test -e /srv/resumed}}]
  tasks:
  - file: {{path: /srv/config, content: {content}}}
    notify: command[refresh]
  - command: {{name: refresh, run: date +%s%N >>/srv/refreshed, on_notify: true}}
  - command: {{name: last, run: exit 7, unless: test ! -e /srv/broken}}
"
        )
    };
    lab.write("playbooks/site.yaml", &playbook("one"));
    let ended = lab.apply(0);
    assert_eq!(ended["host-001/command[drain machines]"]["outcome"], "changed");
    assert_eq!(ended["host-001/command[resume machines]"]["outcome"], "changed");
    let times = |host: &str, path: &str| -> Vec<u128> {
        lab.on(host, &format!("cat /srv/{path} 2>/dev/null || :")).lines().map(|line| line.parse().unwrap()).collect()
    };
    for host in ["host-001", "host-002", "host-003"] {
        let [drained, refreshed, resumed] = ["drained", "refreshed", "resumed"].map(|path| times(host, path));
        assert_eq!((drained.len(), refreshed.len(), resumed.len()), (1, 1, 1), "{host}");
        assert!(drained < refreshed && refreshed < resumed, "{host}: drain, change, refresh, and then the work again");
    }
    assert!(times("host-001", "resumed") < times("host-002", "drained"), "one host of a rack at a time");
    assert!(times("host-003", "drained") < times("host-002", "drained"), "another rack goes along");
    lab.expect_nothing_to_do();

    // Where nothing changes, nobody is disturbed.
    lab.on("host-002", "rm /srv/config");
    let wanted = ["command[drain machines]", "command[refresh]", "command[resume machines]", "file[/srv/config]"];
    assert_eq!(lab.pending().into_keys().collect::<Vec<_>>(), wanted.map(|id| format!("host-002/{id}")));
    lab.apply(0);
    assert_eq!((times("host-001", "drained").len(), times("host-002", "drained").len()), (1, 2));

    // What fails after the drain leaves the host drained and its neighbour alone; the next run gives the work back.
    lab.on("host-001", "touch /srv/broken");
    lab.write("playbooks/site.yaml", &playbook("two"));
    lab.apply(3);
    assert_eq!((times("host-001", "drained").len(), times("host-001", "resumed").len()), (2, 1));
    assert_eq!(times("host-002", "drained").len(), 2, "no further batch after a failure");
    lab.on("host-001", "rm /srv/broken");
    lab.apply(0);
    assert_eq!(times("host-001", "resumed").len(), 2);
    lab.expect_nothing_to_do();

    // Killed in the midst of a drain, and what it was for is wanted no more: the work comes back all the same.
    lab.on("host-003", "touch /srv/stuck");
    lab.write("playbooks/site.yaml", &playbook("three"));
    let mut running = lab.command(&["apply", "--yes", "--limit", "host-003"]).spawn().unwrap();
    lab.wait_until("host-003", "test $(grep -c . /srv/drained) = 3");
    running.kill().unwrap();
    running.wait().unwrap();
    lab.on("host-003", "rm /srv/stuck");
    lab.write("playbooks/site.yaml", &playbook("two"));
    lab.wait_until("host-003", "test ! -e /var/lib/provision/lock || ! fuser /var/lib/provision/lock");
    lab.provision(&["apply", "--yes", "--limit", "host-003"]).expect(0);
    assert_eq!(times("host-003", "resumed").len(), 3);
    lab.expect_nothing_to_do();
}
