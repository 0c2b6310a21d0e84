//! What goes wrong with hosts, and that the rest of the fleet does not suffer for it.

use std::time::{Duration, Instant};

use super::fleet::{Lab, is_possible, outcomes};

#[test]
fn a_host_killed_in_mid_step_does_not_stop_the_others() {
    if !is_possible("lab::a_host_killed_in_mid_step_does_not_stop_the_others") {
        return;
    }
    let lab = Lab::plain("killed", 3);
    lab.tasks(
        "  - file: {path: /srv/first, content: \"1\\n\"}
  - command: {name: slow, run: \"touch /srv/begun; sleep 6; touch /srv/done\", creates: /srv/done}
  - file: {path: /srv/last, content: \"2\\n\"}
",
    );
    let child = lab.command(&["apply", "--yes", "--json"]).spawn().unwrap();
    lab.wait_until("host-002", "test -e /srv/begun");
    lab.fault("host-002", &["kill"]);
    // A power cut sends no word: the connection is noticed dead by its silence, or by the reset of the host that is back.
    std::thread::sleep(Duration::from_secs(1));
    lab.fault("host-002", &["boot"]);
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(3), "{stdout}{}", String::from_utf8_lossy(&output.stderr));
    let ended = outcomes(stdout.lines().last().unwrap());
    assert_eq!(ended["host-001/file[/srv/last]"]["outcome"], "changed");
    assert_eq!(ended["host-003/file[/srv/last]"]["outcome"], "changed");
    assert_eq!(ended["host-002/command[slow]"]["outcome"], "failed");
    let last = &ended["host-002/file[/srv/last]"];
    assert!(["skipped", "not-started"].contains(&last["outcome"].as_str().unwrap()), "{last}");
    assert!(last["because"].as_str().unwrap().contains("host-002"), "{last}");
    lab.wait_until("host-002", "systemctl is-active ssh");
    lab.apply(0);
    lab.expect_nothing_to_do();
}

#[test]
fn hosts_that_cannot_be_reached_or_entered_are_told_apart() {
    if !is_possible("lab::hosts_that_cannot_be_reached_or_entered_are_told_apart") {
        return;
    }
    let lab = Lab::plain("unreachable", 5);
    lab.tasks("  - file: {path: /srv/a, content: \"1\\n\"}\n");
    lab.fault("host-001", &["freeze"]);
    lab.on("host-002", "rm /etc/sudoers.d/provision");
    lab.on("host-003", "rm /etc/ssh/ssh_host_*; ssh-keygen -qA; systemctl restart ssh");
    lab.on("host-004", "systemctl stop ssh.socket ssh");
    let run = lab.provision(&["apply", "--yes"]).expect(3);
    let said = format!("{}{}", run.stdout, run.stderr);
    for (host, words) in
        [("host-001", "silent"), ("host-002", "sudo"), ("host-003", "not the recorded one"), ("host-004", "refused")]
    {
        assert!(said.lines().any(|line| line.contains(host) && line.contains(words)), "{host}: {words}\n{said}");
    }
    assert_eq!(lab.on("host-005", "cat /srv/a"), "1\n");
    // A key that nobody has recorded is not trusted.
    lab.provision(&["plan", "--limit", "host-005", "--detailed-exitcode"]).expect(0);
    let run = lab.provision(&["plan", "--limit", "host-005", "--known-hosts", "/dev/null"]).expect(1);
    assert!(run.stderr.contains("is not known; it offers") && run.stderr.contains("provision trust"), "{}", run.stderr);
    lab.write("inventory/hosts.yaml", "hosts: {host-005: {ssh: {address: 10.99.0.5, user: nobody}}}\n");
    let run = lab.provision(&["plan"]).expect(1);
    assert!(run.stderr.contains("log in to host-005 as nobody"), "{}", run.stderr);
}

#[test]
fn a_full_or_read_only_file_system_is_named_and_nothing_is_half_written() {
    if !is_possible("lab::a_full_or_read_only_file_system_is_named_and_nothing_is_half_written") {
        return;
    }
    let lab = Lab::plain("full", 1);
    lab.on("host-001", "mkdir -p /srv/full /srv/ro; echo old > /srv/ro/a; mount --bind /srv/ro /srv/ro; mount -o remount,bind,ro /srv/ro");
    lab.fault("host-001", &["full", "/srv/full"]);
    for (path, words) in [("/srv/full/a", "No space left"), ("/srv/ro/a", "Read-only file system")] {
        lab.tasks(&format!(
            "  - file: {{path: {path}, content: \"{}\\n\"}}\n  - file: {{path: /srv/after, content: x}}\n",
            "x".repeat(5000)
        ));
        let run = lab.provision(&["apply", "--yes"]).expect(3);
        let said = format!("{}{}", run.stdout, run.stderr);
        assert!(said.contains(words) && said.contains(&format!("host-001/file[{path}]")), "{said}");
        assert!(said.contains("hint:"), "{said}");
    }
    assert_eq!(
        lab.on("host-001", "cat /srv/ro/a; ls -A /srv/full | grep -c provision || :; test ! -e /srv/after"),
        "old\n0\n"
    );
}

#[test]
fn a_second_run_is_told_who_holds_the_host_and_a_dead_run_holds_nobody_up() {
    if !is_possible("lab::a_second_run_is_told_who_holds_the_host_and_a_dead_run_holds_nobody_up") {
        return;
    }
    let lab = Lab::plain("lock", 1);
    lab.tasks("  - command: {name: slow, run: \"touch /srv/begun; sleep 5; touch /srv/done\", creates: /srv/done}\n  - file: {path: /srv/last, content: \"1\\n\"}\n");
    let mut child = lab.command(&["apply", "--yes", "--json"]).spawn().unwrap();
    lab.wait_until("host-001", "test -e /srv/begun");
    let second = lab.provision(&["apply", "--yes"]).expect(1);
    let said = format!("{}{}", second.stdout, second.stderr);
    assert!(said.contains("being changed by another run") && said.contains('@'), "{said}");
    // A plan changes nothing, so it waits for nobody.
    lab.provision(&["plan"]).expect(0);
    // The tool dies: the step that is being done goes on to its end, nothing after it is begun, and the lock frees itself.
    child.kill().unwrap();
    child.wait().unwrap();
    lab.wait_until("host-001", "test -e /srv/done");
    let deadline = Instant::now() + Duration::from_secs(20);
    while lab.provision(&["apply", "--yes"]).status != 0 {
        assert!(Instant::now() < deadline, "the lock of a dead run is held");
    }
    lab.expect_nothing_to_do();
}

#[test]
fn a_run_killed_at_any_moment_is_finished_by_the_next() {
    if !is_possible("lab::a_run_killed_at_any_moment_is_finished_by_the_next") {
        return;
    }
    let lab = Lab::plain("kill", 2);
    let tasks: String = (0..12)
        .map(|n| format!("  - file: {{path: /srv/f{n}, content: \"{{{{round}}}}-{n}\\n\"}}\n    notify: service[cron-like]\n  - command: {{name: pause {n} {{{{round}}}}, run: sleep 0.1; touch /srv/p{n}-{{{{round}}}}, creates: \"/srv/p{n}-{{{{round}}}}\"}}\n"))
        .collect();
    let unit = "  - unit: {name: cron-like.service, content: \"[Service]\\nExecStart=/bin/sleep infinity\\n\"}\n  - service: {name: cron-like, state: running}\n";
    for (round, moment) in [150u64, 400, 700, 1000, 1400].into_iter().enumerate() {
        lab.tasks(&format!("{unit}{}", tasks.replace("{{round}}", &round.to_string())));
        let mut child = lab.command(&["apply", "--yes"]).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(moment));
        child.kill().unwrap();
        child.wait().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let run = lab.provision(&["apply", "--yes"]);
            if run.status == 0 {
                break;
            }
            assert!(Instant::now() < deadline, "{}{}", run.stdout, run.stderr);
        }
        lab.expect_nothing_to_do();
        assert_eq!(
            lab.on("host-002", "cat /srv/f11; ls /var/lib/provision/pending | wc -l"),
            format!("{round}-11\n0\n")
        );
    }
}
