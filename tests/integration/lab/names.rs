//! Names and texts that a shell, a template or a terminal would love to misunderstand.

use super::fleet::{Lab, is_possible};

#[test]
fn hostile_names_reach_the_host_as_they_are() {
    if !is_possible("lab::hostile_names_reach_the_host_as_they_are") {
        return;
    }
    let lab = Lab::plain("hostile", 1);
    let names = [
        "a b",
        "it's",
        "say \"hi\"",
        "$(touch owned)",
        "`touch owned`",
        "-rf",
        "*",
        "é\\n",
        "a;b&c|d",
        "new\nline",
        "#x %s",
        "\u{1b}[31mred",
        "~root",
        "!!",
    ];
    // JSON is YAML.
    let text = |text: &str| serde_json::to_string(text).unwrap();
    let mut tasks = String::from("  - directory: {path: /srv/h}\n");
    for name in names {
        let (path, link) = (text(&format!("/srv/h/{name}")), text(&format!("/srv/h/l{name}")));
        let content = text(&format!("$(touch owned) `id` 'x' \"y\" \\n {name}\n"));
        tasks.push_str(&format!(
            "  - file: {{path: {path}, content: {content}}}\n  - link: {{path: {link}, target: {path}}}\n"
        ));
    }
    let comment = "it's $(touch owned) \"q\" `id`";
    tasks.push_str(&format!("  - user: {{name: odd, comment: {}}}\n", text(comment)));
    tasks.push_str(&format!(
        "  - command: {{name: {}, run: {}, creates: /srv/ran}}\n",
        text("$(touch owned) 'n' \\n"),
        text("echo \"it's\" >>/srv/ran")
    ));
    lab.tasks(&tasks);
    lab.apply(0);
    lab.expect_nothing_to_do();
    let count = "find /srv/h -type f -printf x | wc -c; find /srv/h -type l -printf x | wc -c";
    assert_eq!(lab.on("host-001", count), "14\n14\n");
    assert_eq!(lab.on("host-001", "cat '/srv/h/it'\\''s'"), "$(touch owned) `id` 'x' \"y\" \\n it's\n");
    assert_eq!(lab.on("host-001", "cat /srv/ran; getent passwd odd | cut -d: -f5"), format!("it's\n{comment}\n"));
    lab.on("host-001", "echo x >'/srv/h/$(touch owned)'");
    assert_eq!(lab.pending().into_keys().collect::<Vec<_>>(), ["host-001/file[/srv/h/$(touch owned)]"]);
    // What is shown cannot repaint a terminal or forge a line.
    lab.on("host-001", "find /srv/h -type f -exec truncate -s 0 {} +");
    let shown = lab.provision(&["plan"]).expect(0).stdout;
    assert!(shown.lines().any(|line| line.contains("/srv/h/new\\nline")), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown}");
    lab.apply(0);
    lab.expect_nothing_to_do();
    assert_eq!(lab.on("host-001", "find / -xdev -name owned"), "");
}

#[test]
fn a_password_is_on_the_host_and_in_no_other_place() {
    if !is_possible("lab::a_password_is_on_the_host_and_in_no_other_place") {
        return;
    }
    let lab = Lab::plain("password", 1);
    let inventory = lab.path("inventory/hosts.yaml");
    let hosts = std::fs::read_to_string(&inventory).unwrap();
    std::fs::write(&inventory, format!("groups: {{everybody: {{match: all, vars: {{hash: {{secret: {{env: HASH}}}}, key: {{secret: {{env: KEY}}}}}}}}}}\n{hosts}")).unwrap();
    lab.tasks(
        "  - user: {name: admin, password: \"{{hash}}\"}
  - file: {path: /srv/key, content: \"key {{key}}\\n\", mode: \"0600\"}
  - command: {name: feeds, run: \"cat >/srv/fed; touch /srv/begun; sleep 3\", stdin: \"{{key}}\", creates: /srv/fed}
",
    );
    let (hash, key) = (
        "$6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/",
        "Sesame-9-öffne",
    );
    let run = |words: &[&str]| {
        let mut command = lab.command(words);
        command.env("HASH", hash).env("KEY", key);
        command
    };
    let mut seen = String::new();
    let mut look = |output: std::process::Output| {
        seen.push_str(&String::from_utf8_lossy(&output.stdout));
        seen.push_str(&String::from_utf8_lossy(&output.stderr));
    };
    let planned = run(&["plan", "-v", "--out", "p.plan"]).output().unwrap();
    assert!(planned.status.success(), "{}", String::from_utf8_lossy(&planned.stderr));
    look(planned);
    let apply = run(&["apply", "--yes", "-v"]).spawn().unwrap();
    lab.wait_until("host-001", "test -e /srv/begun");
    let processes = lab.on(
        "host-001",
        "ps axwwe -o args; ls -laR /tmp /var/tmp /run/user /dev/shm 2>/dev/null; cat /tmp/* 2>/dev/null || :",
    );
    look(apply.wait_with_output().unwrap());
    lab.on("host-001", "usermod -p '$6$other$x' admin; echo other >/srv/key");
    look(run(&["plan"]).output().unwrap());
    look(run(&["plan", "--json"]).output().unwrap());
    look(run(&["apply", "--yes", "--json"]).output().unwrap());
    seen.push_str(&processes);
    seen.push_str(&super::fleet::all_text(&lab.path(".provision")));
    seen.push_str(&std::fs::read_to_string(lab.path("p.plan")).unwrap());
    seen.push_str(&lab.on("host-001", "journalctl -q --no-pager -o cat; cat /var/log/*.log 2>/dev/null || :"));
    assert_eq!(lab.on("host-001", "cat /srv/fed"), key);
    assert_eq!(lab.on("host-001", "getent shadow admin | cut -d: -f2"), format!("{hash}\n"));
    assert_eq!(lab.on("host-001", "cat /srv/key"), format!("key {key}\n"));
    for secret in [hash, key, "qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2"] {
        let at = seen.find(secret);
        assert!(at.is_none(), "{secret} was seen: {}", &seen[at.unwrap_or(0).saturating_sub(300)..][..400]);
    }
}
