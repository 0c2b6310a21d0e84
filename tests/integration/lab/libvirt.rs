//! The objects of a real libvirt: made, unchanged, changed by hand and named, healed.

use super::fleet::{HYPERVISOR, Lab, is_possible};

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
