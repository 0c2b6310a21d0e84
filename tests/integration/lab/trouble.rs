//! Trouble on the way and on the host: each is named where it is, and heals without help where it can.

use super::fleet::{Lab, is_possible};

const MIRROR: &str = "  - apt.repository: {name: internal, uris: [\"file:/srv/mirror\"], suites: [bookworm], components: [main], signed_by: /usr/share/keyrings/lab-mirror.gpg, exclusive: true}
";

#[test]
fn a_cable_pulled_in_mid_step_is_noticed_and_the_next_run_converges() {
    if !is_possible("lab::a_cable_pulled_in_mid_step_is_noticed_and_the_next_run_converges") {
        return;
    }
    let lab = Lab::plain("cable", 2);
    lab.tasks(
        "  - command: {name: slow, run: \"touch /srv/begun; sleep 4; touch /srv/done\", creates: /srv/done}
  - file: {path: /srv/last, content: \"x\\n\"}
",
    );
    let child = lab.command(&["apply", "--yes", "--json"]).spawn().unwrap();
    lab.wait_until("host-002", "test -e /srv/begun");
    lab.fault("host-002", &["cut"]);
    let output = child.wait_with_output().unwrap();
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(3), "{stdout}");
    let ended = super::fleet::outcomes(stdout.lines().last().unwrap());
    assert_eq!(ended["host-001/file[/srv/last]"]["outcome"], "changed");
    let error = ended["host-002/command[slow]"]["error"].as_str().unwrap();
    assert!(error.contains("the connection was lost while it was to"), "{error}");
    assert_eq!(ended["host-002/file[/srv/last]"]["because"], "host-002 was lost");
    assert_eq!(lab.on("host-002", "test -e /srv/done; test ! -e /srv/last; echo so far"), "so far\n");
    lab.fault("host-002", &["heal"]);
    // The session of the lost run may hold the host until its own end is told to it.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let run = lab.provision(&["apply", "--yes"]);
        if run.status == 0 {
            break;
        }
        assert!(
            run.stdout.contains("another run") || run.stderr.contains("another run"),
            "{}{}",
            run.stdout,
            run.stderr
        );
        assert!(std::time::Instant::now() < deadline, "the lock of a lost run is held: {}", run.stderr);
    }
    lab.expect_nothing_to_do();
}

#[test]
fn slow_and_lossy_wires_only_take_longer() {
    if !is_possible("lab::slow_and_lossy_wires_only_take_longer") {
        return;
    }
    let lab = Lab::plain("slow", 2);
    let content = "0123456789abcdef".repeat(4000);
    lab.tasks(&format!("  - file: {{path: /srv/a, content: \"{content}\\n\"}}\n  - package: {{name: sudo}}\n"));
    lab.fault("host-001", &["slow", "150"]);
    lab.fault("host-002", &["loss", "5"]);
    lab.apply(0);
    lab.expect_nothing_to_do();
}

#[test]
fn trouble_with_packages_is_named_and_healed_by_the_next_run() {
    if !is_possible("lab::trouble_with_packages_is_named_and_healed_by_the_next_run") {
        return;
    }
    let lab = Lab::plain("dpkg", 2);
    lab.tasks(MIRROR);
    lab.apply(0);
    // Somebody else's dpkg is waited for.
    lab.on("host-001", "nohup flock /var/lib/dpkg/lock-frontend sleep 4 >/dev/null 2>&1 &");
    lab.tasks(&format!("{MIRROR}  - package: {{name: hello}}\n"));
    lab.apply(0);
    lab.expect_nothing_to_do();

    // One whose own script fails leaves dpkg half-configured. The error is its own, and the other host goes on.
    lab.tasks(&format!(
        "{MIRROR}  - package: {{name: provision-lab-broken}}\n    when: host == 'host-001'\n  - package: {{name: sl}}\n"
    ));
    let ended = lab.apply(3);
    assert_eq!(ended["host-001/package[provision-lab-broken]"]["outcome"], "failed");
    assert_eq!(ended["host-001/package[sl]"]["outcome"], "skipped");
    assert_eq!(ended["host-002/package[sl]"]["outcome"], "changed");
    assert_eq!(lab.on("host-001", "dpkg-query -W -f '${Status}' provision-lab-broken"), "install ok half-configured");
    assert!(lab.pending().contains_key("host-001/package[provision-lab-broken]"));
    lab.tasks(&format!(
        "{MIRROR}  - package: {{name: provision-lab-broken, state: purged}}\n  - package: {{name: sl}}\n"
    ));
    lab.apply(0);
    lab.expect_nothing_to_do();

    // A dpkg that was cut short is repaired first.
    lab.on("host-001", "dpkg --unpack /srv/mirror/pool/**/tree_*.deb >/dev/null 2>&1 || dpkg --unpack $(find /srv/mirror -name 'tree_*.deb') >/dev/null");
    lab.tasks(&format!("{MIRROR}  - package: {{name: tree}}\n  - package: {{name: hello, state: purged}}\n"));
    lab.apply(0);
    lab.expect_nothing_to_do();
    assert_eq!(lab.on("host-001", "dpkg --audit"), "");
}

#[test]
fn a_repository_whose_signature_does_not_hold_is_refused() {
    if !is_possible("lab::a_repository_whose_signature_does_not_hold_is_refused") {
        return;
    }
    let lab = Lab::plain("unsigned", 1);
    lab.on("host-001", "cp /usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/other.gpg");
    lab.tasks(&MIRROR.replace("lab-mirror.gpg", "other.gpg"));
    let ended = lab.apply(3);
    let error = ended["host-001/apt.repository[internal]"]["error"].as_str().unwrap();
    assert!(error.contains("could not verify their signatures"), "{error}");
    assert_eq!(lab.on("host-001", "ls /etc/apt/sources.list.d"), "");
    lab.tasks(MIRROR);
    lab.apply(0);
    lab.expect_nothing_to_do();
}

#[test]
fn a_host_without_a_tool_is_told_which_package_brings_it() {
    if !is_possible("lab::a_host_without_a_tool_is_told_which_package_brings_it") {
        return;
    }
    let lab = Lab::plain("tools", 2);
    lab.tasks("  - user: {name: someone}\n");
    lab.on("host-001", "mv /usr/sbin/useradd /usr/sbin/useradd.away; mv /usr/bin/flock /usr/bin/flock.away");
    let run = lab.provision(&["apply", "--yes"]).expect(3);
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(said.lines().any(|line| line.contains("host-001") && line.contains("flock")), "{said}");
    assert!(said.contains("util-linux"), "{said}");
    assert_eq!(lab.on("host-001", "id someone >/dev/null 2>&1 || echo unchanged"), "unchanged\n");
    assert_eq!(lab.on("host-002", "id -un someone"), "someone\n");
    lab.on("host-001", "mv /usr/bin/flock.away /usr/bin/flock");
    let run = lab.provision(&["apply", "--yes"]).expect(3);
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(said.contains("useradd") && said.contains("install the package that brings it"), "{said}");
    lab.on("host-001", "mv /usr/sbin/useradd.away /usr/sbin/useradd");
    lab.apply(0);
    lab.expect_nothing_to_do();
}

#[test]
fn a_host_whose_own_state_cannot_be_written_is_not_changed() {
    if !is_possible("lab::a_host_whose_own_state_cannot_be_written_is_not_changed") {
        return;
    }
    let lab = Lab::plain("state", 2);
    lab.tasks("  - file: {path: /srv/a, content: \"x\\n\"}\n");
    lab.fault("host-001", &["full", "/var/lib/provision"]);
    let run = lab.provision(&["apply", "--yes"]).expect(3);
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(said.contains("host-001") && said.contains("lock in /var/lib/provision"), "{said}");
    assert_eq!(lab.on("host-001", "test ! -e /srv/a; echo untouched"), "untouched\n");
    assert_eq!(lab.on("host-002", "cat /srv/a"), "x\n");
    lab.on("host-001", "umount /var/lib/provision");
    lab.apply(0);
    lab.expect_nothing_to_do();
}
