//! How a run goes: plans that are applied exactly, handlers, order across hosts, secrets, and what it costs.

use super::fleet::{Lab, all_text, is_possible};

#[test]
fn a_saved_plan_is_applied_exactly_or_refused() {
    if !is_possible("lab::a_saved_plan_is_applied_exactly_or_refused") {
        return;
    }
    let lab = Lab::plain("saved", 2);
    lab.tasks(
        "  - file: {path: /srv/a, content: \"1\\n\", mode: \"0644\"}\n  - file: {path: /srv/b, content: \"1\\n\"}\n",
    );
    lab.provision(&["plan", "--out", "site.plan"]).expect(0);
    lab.on("host-002", "echo by hand > /srv/a; chmod 600 /srv/a");
    let run = lab.provision(&["apply", "site.plan", "--yes"]).expect(3);
    let said = format!("{}{}", run.stdout, run.stderr);
    assert!(said.contains("host-002/file[/srv/a] changed since the plan was made"), "{said}");
    assert_eq!(lab.on("host-001", "cat /srv/a /srv/b"), "1\n1\n");
    assert_eq!(lab.on("host-002", "cat /srv/a; test ! -e /srv/b"), "by hand\n");

    lab.provision(&["plan", "--out", "site.plan"]).expect(0);
    lab.provision(&["apply", "site.plan", "--yes", "--limit", "host-001"]).expect(64);
    lab.tasks("  - file: {path: /srv/a, content: \"2\\n\"}\n");
    let run = lab.provision(&["apply", "site.plan", "--yes"]).expect(1);
    assert!(run.stderr.contains("site.yaml changed since the plan was made"), "{}", run.stderr);
    assert_eq!(lab.on("host-002", "cat /srv/a"), "by hand\n");
    lab.write("other.plan", "{\"version\": 99}");
    assert!(lab.provision(&["apply", "other.plan", "--yes"]).expect(1).stderr.contains("version 99"));
}

#[test]
fn a_refresh_that_a_failed_run_left_undone_is_done_by_the_next() {
    if !is_possible("lab::a_refresh_that_a_failed_run_left_undone_is_done_by_the_next") {
        return;
    }
    let lab = Lab::plain("handlers", 1);
    let tasks = |last: &str| {
        format!(
            "  - unit: {{name: counted.service, content: \"[Service]\\nExecStartPre=/bin/sh -c 'echo start >> /srv/starts'\\nExecStart=/bin/sleep infinity\\n\"}}
  - service: {{name: counted, state: running}}
  - file: {{path: /srv/conf1, content: \"1\\n\"}}
    notify: service[counted]
  - file: {{path: /srv/conf2, content: \"1\\n\"}}
    notify: service[counted]
  - command: {{name: last, run: \"{last}\", creates: /srv/last}}
"
        )
    };
    lab.tasks(&tasks("false"));
    lab.apply(3);
    assert_eq!(lab.on("host-001", "cat /srv/starts; ls /var/lib/provision/pending | wc -l"), "start\n1\n");
    lab.tasks(&tasks("touch /srv/last"));
    assert!(lab.pending()["host-001/service[counted]"].contains(&"(refresh)".to_owned()));
    lab.apply(0);
    // Two resources notified it, and it was restarted once.
    assert_eq!(lab.on("host-001", "cat /srv/starts; ls /var/lib/provision/pending | wc -l"), "start\nstart\n0\n");
    lab.expect_nothing_to_do();
}

#[test]
fn a_rolling_play_stops_at_the_first_batch_that_is_not_well() {
    if !is_possible("lab::a_rolling_play_stops_at_the_first_batch_that_is_not_well") {
        return;
    }
    let lab = Lab::plain("rolling", 3);
    let playbook = |health: &str| {
        format!(
            "plays:
- name: first
  hosts: host-003
  tasks:
  - command: {{name: slow, run: \"sleep 1; touch /srv/first\", creates: /srv/first}}
- name: roll
  hosts: all
  needs: first
  rolling: {{batch: 1, health: [{{command: \"{health}\", timeout: 2s, interval: 1s}}]}}
  tasks:
  - file: {{path: /srv/rolled, content: \"{health}\\n\"}}
"
        )
    };
    lab.write("playbooks/site.yaml", &playbook("test -e /srv/well"));
    lab.on("host-001", "touch /srv/well");
    let ended = lab.apply(3);
    assert_eq!(ended["host-001/file[/srv/rolled]"]["outcome"], "changed");
    assert_eq!(ended["host-002/file[/srv/rolled]"]["outcome"], "changed");
    let third = &ended["host-003/file[/srv/rolled]"];
    assert_eq!(third["outcome"], "skipped");
    assert!(third["because"].as_str().unwrap().contains("host-002"), "{third}");
    assert_eq!(lab.on("host-003", "ls /srv | grep -v mirror"), "first\n");
    for host in ["host-002", "host-003"] {
        lab.on(host, "touch /srv/well");
    }
    lab.apply(0);
    lab.expect_nothing_to_do();
}

#[test]
fn a_secret_is_seen_nowhere_but_where_it_belongs() {
    if !is_possible("lab::a_secret_is_seen_nowhere_but_where_it_belongs") {
        return;
    }
    let lab = Lab::plain("secrets", 1);
    let secret = "Tr0ub4dor-and-3";
    let text = "defaults:\n  ssh: {user: provision}\n  vars: {token: {secret: {env: LAB_TOKEN}}}\nhosts:\n  host-001: {ssh: {address: 10.99.0.1}}\n";
    lab.write("inventory/hosts.yaml", text);
    lab.write("templates/app.hbs", "token={{token}}\n");
    lab.tasks(
        "  - file: {path: /srv/app.conf, template: app.hbs, mode: \"0600\"}
  - command: {name: shown, run: \"cat /srv/app.conf; ps axww -o args; sleep 2; exit 1\", environment: {TOKEN: \"{{token}}\"}}
",
    );
    let mut seen = String::new();
    for words in [
        &["plan", "--out", "p.plan", "-v"][..],
        &["plan", "--json"],
        &["apply", "--yes", "-v"],
        &["apply", "--yes", "--json"],
    ] {
        let output = lab.command(words).env("LAB_TOKEN", secret).output().unwrap();
        seen.push_str(&String::from_utf8_lossy(&output.stdout));
        seen.push_str(&String::from_utf8_lossy(&output.stderr));
    }
    assert_eq!(lab.on("host-001", "cat /srv/app.conf"), format!("token={secret}\n"));
    assert!(seen.contains("(sensitive)"), "{seen}");
    seen.push_str(&crate::lab::fleet::all_text(&lab.path("p.plan").parent().unwrap().join(".provision")));
    seen.push_str(&std::fs::read_to_string(lab.path("p.plan")).unwrap());
    assert!(!seen.contains(secret), "the secret was seen:\n{seen}");
    assert!(!all_text(&lab.path(".provision")).is_empty(), "there is a journal");
}

#[test]
fn a_large_file_goes_at_constant_memory() {
    if !is_possible("lab::a_large_file_goes_at_constant_memory") {
        return;
    }
    let lab = Lab::plain("large", 1);
    std::fs::create_dir_all(lab.path("files")).unwrap();
    let file = std::fs::File::create(lab.path("files/large.img")).unwrap();
    file.set_len(400 << 20).unwrap();
    lab.tasks("  - file: {path: /srv/large.img, source: large.img}\n");
    let time = ["/usr/bin/time", "-f", "%M", "-o", "rss.txt", env!("CARGO_BIN_EXE_provision"), "apply", "--yes"];
    assert!(lab.program(&time).output().unwrap().status.success());
    let peak: u64 = std::fs::read_to_string(lab.path("rss.txt")).unwrap().trim().parse().unwrap();
    assert!(peak < 120_000, "{peak} KiB at the peak for a file of 400 MiB");
    lab.expect_nothing_to_do();
}

#[test]
fn fifty_hosts_cost_one_login_and_one_exchange_each() {
    if !is_possible("lab::fifty_hosts_cost_one_login_and_one_exchange_each") {
        return;
    }
    let lab = Lab::plain("fifty", 50);
    let mut tasks = String::from("  - directory: {path: /srv/b}\n");
    tasks.extend((0..10).map(|n| format!("  - directory: {{path: /srv/b/d{n}}}\n")));
    tasks.extend(
        (0..20).map(|n| format!("  - file: {{path: /srv/b/f{n}, content: \"{}\\n\"}}\n", "x".repeat(500 * (n + 1)))),
    );
    tasks.extend((0..5).map(|n| format!("  - link: {{path: /srv/b/l{n}, target: d{n}}}\n")));
    tasks.extend(
        ["sudo", "openssh-server", "iproute2", "nftables", "procps"].map(|p| format!("  - package: {{name: {p}}}\n")),
    );
    tasks.extend(
        ["ssh", "dbus", "systemd-journald", "systemd-logind"]
            .map(|s| format!("  - service: {{name: {s}, state: running}}\n")),
    );
    tasks.extend((0..2).map(|n| format!("  - group: {{name: g{n}}}\n")));
    tasks.extend((0..3).map(|n| format!("  - user: {{name: u{n}}}\n")));
    lab.tasks(&tasks);
    lab.apply(0);
    let run = lab.provision(&["plan", "-v", "--detailed-exitcode"]).expect(0);
    let read = run.stderr.lines().filter(|line| line.contains("round trips") && line.contains("1 exchange")).count();
    assert_eq!(read, 50, "{}", run.stderr);
}

#[test]
fn the_demo_converges_and_its_cluster_is_healthy() {
    if !is_possible("lab::the_demo_converges_and_its_cluster_is_healthy") {
        return;
    }
    let lab = Lab::of_inventory("demo", "inventories/demo");
    let (inventory, playbook) =
        (super::fleet::root().join("inventories/demo"), super::fleet::root().join("playbooks/site.yaml"));
    let words = ["-i", inventory.to_str().unwrap(), playbook.to_str().unwrap()];
    lab.provision(&[&["apply", "--yes", "-q"][..], &words].concat()).expect(0);
    lab.provision(&[&["plan", "--detailed-exitcode"][..], &words].concat()).expect(0);
    let health = lab.on("ctl-par1-01", "etcdctl endpoint health --cluster 2>&1");
    assert_eq!(health.matches("is healthy").count(), 3, "{health}");
    for (host, shell, resource) in [
        (
            "hv-par1-01",
            "echo x >> /etc/ssh/sshd_config.d/10-provision.conf",
            "file[/etc/ssh/sshd_config.d/10-provision.conf]",
        ),
        ("hv-ren1-01", "systemctl stop chrony", "service[chrony]"),
        ("bastion-control", "apt-get -qq -y remove less", "package["),
    ] {
        lab.on(host, shell);
        let run = lab.provision(&[&["plan", "--json", "--detailed-exitcode"][..], &words].concat()).expect(2);
        let pending = super::fleet::pending(&run.json());
        assert!(pending.keys().all(|addr| addr.starts_with(host)), "{pending:?}");
        assert!(pending.keys().any(|addr| addr.contains(resource)), "{pending:?}");
        lab.provision(&[&["apply", "--yes", "-q"][..], &words].concat()).expect(0);
    }
    lab.provision(&[&["plan", "--detailed-exitcode"][..], &words].concat()).expect(0);
}
