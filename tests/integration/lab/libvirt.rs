//! The objects of a real libvirt: made, unchanged, changed by hand and named, healed.

use super::fleet::{HYPERVISOR, Lab, all_text, is_possible};

/// What lets guests run in a container, and a bridge of the host's.
const READY: &str = r"printf 'cgroup_controllers = [ ]\nnamespaces = [ ]\n' >>/etc/libvirt/qemu.conf
systemctl restart libvirtd
ip link add br-control type bridge && ip link set br-control up";

const NETWORKS: &str = r#"
  - libvirt.network: {name: default, state: absent}
  - libvirt.network: {name: par1-control, forward: bridge, bridge: br-control}
  - libvirt.network:
      name: build
      forward: nat
      bridge: virbr-build
      mtu: MTU
      addresses: [10.9.2.1/24, "fd00:2::1/64"]
      dhcp: {ranges: [10.9.2.100-10.9.2.199], hosts: [{mac: "52:54:00:09:01:0a", address: 10.9.2.10, name: runner-1}]}
      domain: build.example
  - libvirt.network: {name: iso}
  - libvirt.network: {name: spare, addresses: [10.9.3.1/24], dns: false, autostart: false, state: stopped}
  - libvirt.network: {name: opened, forward: open, addresses: [10.9.4.1/24]}
  - libvirt.network: {name: routed, forward: route, device: eth0, addresses: [10.9.5.1/24]}
"#;

/// Defines and starts a guest without a system, with a disk and a card.
const GUEST: &str = r#"cat >/tmp/guest.xml <<END
<domain type='qemu'><name>guest</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
<os><type arch='x86_64' machine='q35'>hvm</type></os><devices>
<disk type='file' device='disk'><driver name='qemu' type='qcow2'/><source file='/srv/images/plain.qcow2'/><target dev='vda' bus='virtio'/></disk>
<interface type='network'><source network='build'/><model type='virtio'/></interface>
</devices></domain>
END
virsh define --validate /tmp/guest.xml && virsh start guest"#;

/// Drifts a host by hand, expects exactly these attributes of this resource in the plan, and heals it.
#[track_caller]
fn drifts(lab: &Lab, shell: &str, resource: &str, attributes: &[&str]) {
    lab.on("host-001", shell);
    let pending = lab.pending();
    let wanted = attributes.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(pending, [(format!("host-001/{resource}"), wanted)].into(), "{shell}");
    lab.apply(0);
    lab.expect_nothing_to_do();
}

#[test]
fn networks_pools_and_volumes() {
    if !is_possible("lab::networks_pools_and_volumes") {
        return;
    }
    let lab = Lab::plain_with("virt", 1, HYPERVISOR);
    lab.on("host-001", READY);
    lab.on("host-001", "head -c 8388608 /dev/urandom >'/srv/a b$(id).raw'");
    let sha256 = lab.on("host-001", "sha256sum <'/srv/a b$(id).raw'");
    let sha256 = sha256.split(' ').next().unwrap();
    let image = format!("{{image: \"/srv/a b$(id).raw\", sha256: {sha256}}}");
    let site = |mtu: &str, size: &str| {
        let networks = NETWORKS.replace("MTU", mtu);
        lab.tasks(&format!(
            "{networks}
  - libvirt.pool: {{name: images, path: /srv/images}}
  - libvirt.pool: {{name: idle, path: \"/srv/b '<&$(id)\", autostart: false, state: stopped}}
  - libvirt.volume: {{pool: images, name: plain.qcow2, size: {size}}}
  - libvirt.volume: {{pool: images, name: plain.raw, size: 100MiB, format: raw}}
  - libvirt.volume: {{pool: images, name: copy.qcow2, size: 64MiB, from: {image}}}
  - libvirt.volume: {{pool: images, name: copy.raw, size: 64MiB, format: raw, from: {image}}}
  - libvirt.volume: {{pool: images, name: over.qcow2, size: 80MiB, backing: {image}}}
"
        ));
    };
    site("1400", "64MiB");
    lab.apply(0);
    lab.expect_nothing_to_do();
    // One exchange, however many objects.
    let run = lab.provision(&["plan", "-v"]).expect(0);
    assert!(run.stderr.contains("9 round trips, 1 exchange"), "{}", run.stderr);
    for copy in ["copy.qcow2", "copy.raw", "over.qcow2"] {
        let shell = format!("qemu-img convert -O raw /srv/images/{copy} /tmp/x && head -c 8388608 /tmp/x | sha256sum");
        assert!(lab.on("host-001", &shell).starts_with(sha256), "{copy}");
    }

    let build = "libvirt.network[build]";
    drifts(&lab, "virsh net-destroy build", build, &["state"]);
    drifts(&lab, "virsh net-autostart --disable build", build, &["autostart"]);
    let all =
        ["addresses", "autostart", "bridge", "dhcp_hosts", "dhcp_ranges", "dns", "domain", "forward", "mtu", "state"];
    drifts(&lab, "virsh net-destroy build && virsh net-undefine build", build, &all);
    let edit = |what: &str| {
        let dump = "virsh net-dumpxml --inactive build >/tmp/n.xml";
        format!("{dump} && sed -i '{what}' /tmp/n.xml && virsh net-define /tmp/n.xml")
    };
    drifts(&lab, &edit("s/1400/1300/"), build, &["mtu"]);
    drifts(&lab, &edit("s/build.example/else.example/"), build, &["domain"]);
    drifts(&lab, &edit("s/10[.]9[.]2[.]1\\x27/10.9.2.2\\x27/"), build, &["addresses"]);
    drifts(&lab, &edit("/<mtu/a <dns><forwarder addr=\"192.0.2.1\"/></dns>"), build, &["others"]);
    // What runs is looked at, and not only what is stored.
    let add = r#"virsh net-update build add-last ip-dhcp-host '<host mac="52:54:00:09:01:0f" ip="10.9.2.77"/>'"#;
    drifts(&lab, &format!("{add} --live"), build, &["live.dhcp_hosts"]);
    drifts(&lab, &format!("{add} --live --config"), build, &["dhcp_hosts"]);
    drifts(&lab, "virsh net-start spare", "libvirt.network[spare]", &["state"]);
    let stop = "virsh pool-destroy idle || virsh pool-start idle";
    drifts(&lab, stop, "libvirt.pool[idle]", &["state"]);
    drifts(&lab, "virsh pool-autostart --disable images", "libvirt.pool[images]", &["autostart"]);
    let raw = "libvirt.volume[images/plain.raw]";
    drifts(&lab, "virsh vol-delete --pool images plain.raw", raw, &["format", "size"]);
    drifts(&lab, "rm /srv/images/plain.raw", raw, &["format", "size"]);

    // A pool that does not run hides its volumes: they are looked for once it runs, and none is made anew.
    lab.on("host-001", "echo kept >/srv/images/plain.raw && truncate -s 100M /srv/images/plain.raw");
    lab.on("host-001", "virsh pool-destroy images");
    assert_eq!(lab.pending().len(), 6);
    lab.apply(0);
    lab.expect_nothing_to_do();
    assert_eq!(lab.on("host-001", "head -n 1 /srv/images/plain.raw"), "kept\n");

    // A guest is on the network and on a volume: the volume grows under it, and the network is not taken from it.
    lab.on("host-001", GUEST);
    site("9000", "128MiB");
    assert_eq!(lab.pending().len(), 2);
    lab.apply(0);
    lab.expect_nothing_to_do();
    let plan = lab.provision(&["plan", "-v"]).expect(0);
    let waits = "it runs with another mtu until its next start, because guests are on it";
    let text = plan.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains(waits), "{}", plan.stdout);
    assert!(lab.on("host-001", "virsh net-dumpxml build").contains("<mtu size='1400'/>"));
    assert!(lab.on("host-001", "virsh domblkinfo guest vda").contains("134217728"));
    drifts(&lab, &format!("{add} --live"), build, &["live.dhcp_hosts"]);
    assert_eq!(lab.on("host-001", "virsh -q net-port-list build --uuid | grep -c -"), "1\n");
    lab.on("host-001", "virsh destroy guest && virsh undefine guest");
    assert_eq!(lab.pending()[&format!("host-001/{build}")], ["live.mtu"]);
    lab.apply(0);
    lab.expect_nothing_to_do();

    // A volume never shrinks unless it is asked for by name; a saved plan keeps that it was.
    site("9000", "32MiB");
    let refused = lab.provision(&["plan"]).expect(3);
    let text = refused.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains(r#"size: "128MiB" -> "32MiB": all that is in the volume is lost"#), "{}", refused.stdout);
    lab.provision(&["apply", "--yes"]).expect(3);
    assert!(lab.on("host-001", "virsh vol-info --pool images plain.qcow2").contains("128.00 MiB"));
    lab.provision(&["plan", "--allow-replace", "--out", "plan.json"]).expect(0);
    lab.provision(&["apply", "--yes", "--allow-replace", "plan.json"]).expect(64);
    lab.provision(&["apply", "--yes", "plan.json"]).expect(0);
    lab.expect_nothing_to_do();
    assert!(lab.on("host-001", "virsh vol-info --pool images plain.qcow2").contains("32.00 MiB"));

    // Nothing is made of an image that is another than it should be.
    lab.on("host-001", "virsh vol-delete --pool images copy.raw && echo x >>'/srv/a b$(id).raw'");
    let ended = lab.apply(3);
    let error = ended["host-001/libvirt.volume[images/copy.raw]"]["error"].as_str().unwrap();
    assert!(error.contains("has the SHA-256"), "{error}");
    assert_eq!(lab.on("host-001", "ls /srv/images | grep -c copy.raw || :"), "0\n");
}

#[test]
fn a_libvirt_that_is_silent() {
    if !is_possible("lab::a_libvirt_that_is_silent") {
        return;
    }
    let lab = Lab::plain_with("silent", 1, HYPERVISOR);
    let units = "libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd.service";
    lab.tasks("  - libvirt.network: {name: default, state: absent}\n  - libvirt.pool: {name: none, state: absent}\n");
    // A daemon that is installed and does not answer knows more than it says: nothing is taken for absent.
    lab.on("host-001", &format!("systemctl mask --now --quiet {units}"));
    let run = lab.provision(&["plan"]).expect(3);
    assert!(run.stdout.contains("libvirt does not answer"), "{}", run.stdout);
    lab.on("host-001", &format!("systemctl unmask --quiet {units} && systemctl start libvirtd.socket"));
    assert_eq!(lab.pending().len(), 1);
    lab.apply(0);
    lab.expect_nothing_to_do();
}

/// A guest, with what differs from it in the place of `MORE`, and a data disk where `DISK` is.
const VM: &str = r#"
  - libvirt.network: {name: iso}
  - libvirt.pool: {name: images, path: /srv/images}
  - libvirt.volume: {pool: images, name: vm.qcow2, size: 8MiB}
  - libvirt.volume: {pool: images, name: more.raw, size: 8MiB, format: raw}
  - libvirt.domain: {name: vm, accelerator: tcg, shutdown_within: 1, force_off: true, SPEC}
"#;

/// The arguments of the guest, to be changed one by one.
const SPEC: [(&str, &str); 15] = [
    ("machine", "q35"),
    ("firmware", "bios"),
    ("vcpus", "1"),
    ("vcpus_max", "4"),
    ("topology", "{cores: 4}"),
    ("pinning", "[\"0-1\"]"),
    ("memory", "64MiB"),
    ("memory_max", "128MiB"),
    ("disks", "[{pool: images, volume: vm.qcow2}]"),
    ("nics", "[{network: iso, lan: {dhcp: true}}]"),
    ("tpm", "false"),
    ("serial", "true"),
    ("cloud_init", "{hostname: first, ssh_host_key: \"{{ key }}\"}"),
    ("autostart", "true"),
    ("on_change", "live"),
];

/// One argument, what it becomes, which attributes the plan tells, whether it is live, and what `virsh dumpxml` has then.
type Single<'a> = (&'a str, &'a str, &'a [&'a str], bool, &'a str);

const SINGLES: [Single<'_>; 9] = [
    ("vcpus", "2", &["vcpus"], true, "current='2'"),
    ("pinning", "[\"1\"]", &["pinning"], true, "<vcpupin vcpu='0' cpuset='1'/>"),
    (
        "disks",
        "[{pool: images, volume: vm.qcow2}, {pool: images, volume: more.raw}]",
        &["disks"],
        true,
        "/srv/images/more.raw",
    ),
    (
        "nics",
        "[{network: iso, lan: {dhcp: true}}, {bridge: br-control, mac: \"52:54:00:AA:00:01\"}]",
        &["nics"],
        true,
        "<mac address='52:54:00:aa:00:01'/>",
    ),
    ("topology", "{cores: 2, threads: 2}", &["topology"], false, "cores='2' threads='2'"),
    ("memory_max", "256MiB", &["memory_max"], false, "<memory unit='KiB'>262144</memory>"),
    ("tpm", "true", &["tpm"], false, "<tpm model='tpm-crb'>"),
    (
        "cloud_init",
        "{hostname: second, ssh_host_key: \"{{ key }}\"}",
        &["seed"],
        false,
        "/var/lib/libvirt/seeds/vm/SEED",
    ),
    ("serial", "false", &["serial"], false, "NO<serial"),
];

#[test]
fn guests() {
    if !is_possible("lab::guests") {
        return;
    }
    let lab = Lab::plain_with("guests", 1, HYPERVISOR);
    lab.on("host-001", READY);
    let key = lab.path("key");
    lab.keygen(&key);
    let hosts = "defaults: {ssh: {user: provision}, vars: {key: {secret: {file: KEY}}}}\nhosts:\n  host-001: {ssh: {address: 10.99.0.1}}\n";
    lab.write("inventory/hosts.yaml", &hosts.replace("KEY", key.to_str().unwrap()));
    let mut spec: Vec<(&str, &str)> = SPEC.to_vec();
    let site = |spec: &[(&str, &str)], state: &str| {
        let words: Vec<String> = spec.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        lab.tasks(&VM.replace("SPEC", &format!("{}, state: {state}", words.join(", "))));
    };
    let set = |spec: &mut Vec<(&str, &str)>, name: &str, value: &'static str| {
        spec.iter_mut().find(|(known, _)| *known == name).unwrap().1 = value;
    };
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let said = || words(&lab.provision(&["plan", "-v"]).expect(0).stdout);
    let stored = || lab.on("host-001", "virsh dumpxml --inactive vm");
    let live = || lab.on("host-001", "virsh dumpxml vm");
    let vm = "libvirt.domain[vm]";
    site(&spec, "running");
    lab.apply(0);
    lab.expect_nothing_to_do();
    let first = lab.on("host-001", "ls /var/lib/libvirt/seeds/vm");
    // The guest's key is in its seed, which nobody else may read, and nowhere else.
    let seed = "cd /var/lib/libvirt/seeds/vm && stat -c %a *.img && grep -ao ed25519_private *.img";
    assert_eq!(lab.on("host-001", seed), "600\ned25519_private\n");
    let key = std::fs::read_to_string(key).unwrap();
    let secret = key.lines().nth(2).unwrap();
    let seed_has = format!("grep -qF {secret} /var/lib/libvirt/seeds/vm/*.img");
    lab.on("host-001", &seed_has);
    let seen = format!("{}{}", lab.provision(&["plan", "-v"]).stdout, all_text(&lab.path(".provision")));
    assert!(seen.contains("vm") && !seen.contains(secret), "{seen}");

    // Each argument alone: what the plan says of when it takes effect is what `virsh dumpxml` shows.
    for (name, value, attributes, is_live, text) in SINGLES {
        set(&mut spec, name, value);
        site(&spec, "running");
        let wanted = attributes.iter().map(|name| (*name).to_owned()).collect();
        assert_eq!(lab.pending(), [(format!("host-001/{vm}"), wanted)].into(), "{name}");
        let class = format!("{} ({}) differs", attributes[0], if is_live { "live" } else { "at next boot" });
        assert!(said().replace("differ)", "differs)").contains(&class), "{name}: {}", said());
        lab.apply(0);
        lab.expect_nothing_to_do();
        let (text, is_there) = text.strip_prefix("NO").map_or((text, true), |text| (text, false));
        let text = match text.strip_suffix("SEED") {
            Some(folder) => {
                let seeds = lab.on("host-001", "ls /var/lib/libvirt/seeds/vm");
                format!("{folder}{}", seeds.lines().find(|seed| *seed != first.trim()).unwrap())
            }
            None => text.to_owned(),
        };
        assert_eq!(stored().contains(&text), is_there, "{name}: {}", stored());
        assert_eq!(live().contains(&text), is_there == is_live, "{name}: {}", live());
        let waiting = if name == "cloud_init" { "seed" } else { name };
        let note =
            said().split("it runs with another ").nth(1).map(|note| note.split("until").next().unwrap().to_owned());
        assert_eq!(note.is_some_and(|note| note.contains(waiting)), !is_live, "{name}: {}", said());
    }
    // What libvirt could never start is not stored.
    let cards = spec.iter().find(|(known, _)| *known == "nics").unwrap().1;
    set(&mut spec, "nics", "[{bridge: br-contrl}]");
    site(&spec, "running");
    let ended = lab.apply(3);
    let error = ended[&format!("host-001/{vm}")]["error"].as_str().unwrap();
    assert!(error.contains("there is no bridge br-contrl for a card of vm"), "{error}");
    assert!(!stored().contains("br-contrl"));
    spec.iter_mut().find(|(known, _)| *known == "nics").unwrap().1 = cards;
    site(&spec, "running");
    lab.expect_nothing_to_do();
    // Memory is asked of the guest. This one has no system that could give it.
    set(&mut spec, "memory", "96MiB");
    site(&spec, "running");
    assert_eq!(lab.pending()[&format!("host-001/{vm}")], ["memory"]);
    assert!(said().contains("memory (as far as the guest gives it)"), "{}", said());
    lab.apply(0);
    lab.expect_nothing_to_do();
    assert!(stored().contains("<currentMemory unit='KiB'>98304</currentMemory>"));

    // What waits is what it runs with once it may be restarted; then nothing waits any more.
    set(&mut spec, "on_change", "restart");
    site(&spec, "running");
    let pending = lab.pending();
    let waiting = ["live.memory_max", "live.seed", "live.serial", "live.topology", "live.tpm"];
    assert_eq!(pending, [(format!("host-001/{vm}"), waiting.map(str::to_owned).to_vec())].into());
    lab.apply(0);
    lab.expect_nothing_to_do();
    assert!(!said().contains("until its next start"), "{}", said());
    assert!(live().contains("cores='2' threads='2'") && live().contains("<tpm"), "{}", live());

    // Edits by hand, of what is stored and of what runs, are named and healed. The guest lets go of nothing, so it is restarted.
    let edit = |what: &str| {
        format!("virsh dumpxml --inactive vm >/tmp/vm.xml && sed -i '{what}' /tmp/vm.xml && virsh define /tmp/vm.xml")
    };
    drifts(&lab, &edit("s/<vcpu[^>]*>4/<vcpu current=\"1\">4/"), vm, &["vcpus"]);
    drifts(&lab, &edit("s/cpuset=.1./cpuset=\"0\"/"), vm, &["pinning"]);
    drifts(&lab, &edit("/<tpm/,/<.tpm>/d"), vm, &["tpm"]);
    drifts(&lab, &edit("s/cores=.2. threads=.2./cores=\"4\" threads=\"1\"/"), vm, &["topology"]);
    drifts(&lab, &edit("s/name=.qemu. type=.raw./& cache=\"unsafe\"/"), vm, &["disks"]);
    drifts(&lab, &edit("s,</devices>,<graphics type=\"vnc\"/></devices>,"), vm, &["others"]);
    drifts(&lab, &edit("s/52:54:00:aa:00:01/52:54:00:aa:00:02/"), vm, &["nics"]);
    drifts(&lab, "virsh vcpupin vm 0 0 --live", vm, &["live.pinning"]);
    drifts(&lab, "virsh attach-interface vm bridge br-control --model virtio --live", vm, &["live.nics"]);
    drifts(&lab, "qemu-img create -q /srv/x.raw 1M && virsh attach-disk vm /srv/x.raw vdq --live", vm, &["live.disks"]);
    drifts(&lab, "virsh suspend vm", vm, &["state"]);
    drifts(&lab, "virsh destroy vm", vm, &["state"]);
    drifts(&lab, "virsh autostart --disable vm", vm, &["autostart"]);
    drifts(&lab, "for seed in /var/lib/libvirt/seeds/vm/*; do echo x >>$seed; done", vm, &["seed_file"]);

    // Another machine is another computer: only who asks for it gets it, and the disk stays.
    lab.on("host-001", "sha256sum /srv/images/vm.qcow2 >/tmp/sum");
    set(&mut spec, "firmware", "uefi");
    site(&spec, "running");
    let refused = words(&lab.provision(&["plan"]).expect(3).stdout);
    assert!(refused.contains("it becomes another computer"), "{refused}");
    lab.provision(&["apply", "--yes"]).expect(3);
    assert!(!stored().contains("firmware='efi'"));
    lab.provision(&["apply", "--yes", "--allow-replace"]).expect(0);
    lab.expect_nothing_to_do();
    assert!(stored().contains("<os firmware='efi'>") && live().contains("OVMF"), "{}", live());
    assert_eq!(lab.on("host-001", "sha256sum -c /tmp/sum"), "/srv/images/vm.qcow2: OK\n");

    site(&spec, "stopped");
    lab.apply(0);
    lab.expect_nothing_to_do();
    site(&spec, "absent");
    lab.apply(0);
    lab.expect_nothing_to_do();
    let left = "virsh list --all --name; ls /var/lib/libvirt/seeds/vm /var/lib/libvirt/qemu/nvram; ls /srv/images";
    assert_eq!(
        words(&lab.on("host-001", left)).replace("/var/lib/libvirt/", ""),
        "qemu/nvram: seeds/vm: more.raw vm.qcow2"
    );
}

#[test]
fn two_hundred_guests_are_seen_in_one_exchange() {
    if !is_possible("lab::two_hundred_guests_are_seen_in_one_exchange") {
        return;
    }
    let lab = Lab::plain_with("herd", 1, HYPERVISOR);
    lab.on("host-001", READY);
    let guest = |n: u32| {
        format!(
            "  - libvirt.domain: {{name: vm-{n:03}, accelerator: tcg, memory: 64MiB, state: stopped, nics: [{{network: iso}}]}}\n"
        )
    };
    lab.tasks(&format!("  - libvirt.network: {{name: iso}}\n{}", (1..=200).map(guest).collect::<String>()));
    lab.apply(0);
    lab.expect_nothing_to_do();
    assert_eq!(lab.on("host-001", "virsh list --all --name | grep -c vm-"), "200\n");
    let run = lab.provision(&["plan", "-v"]).expect(0);
    assert!(run.stderr.contains(", 1 exchange,"), "{}", run.stderr);
}
