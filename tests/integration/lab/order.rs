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
