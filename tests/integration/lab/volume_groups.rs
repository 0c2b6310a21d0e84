//! Guests whose disks are logical volumes, on a hypervisor with a kernel of its own: device-mapper, and AppArmor around each guest.

use super::fleet::{HYPERVISOR, Lab, is_possible};

/// Two disks, each full of what somebody else has left there; one holds something, the other a group that was made by hand.
const READY: &str = "modprobe loop
for n in 0 1; do yes LEFTOVER | head -c 256M >/var/disk-$n && losetup /dev/loop$n /var/disk-$n; done
mkswap -q /dev/loop0 && vgcreate -q vg-old /dev/loop1
head -c 8M /dev/urandom >/srv/image.raw";

/// Fails if anything of what was left on the disks can be read from a volume.
const CLEAN: &str = "! grep -l LEFTOVER /dev/vg-machines/ctl-1 /dev/vg-machines/data /dev/vg-old/kept";

const GUEST: &str = "virsh -q -c qemu:///system";

fn bytes(lab: &Lab, volume: &str) -> u64 {
    lab.on("host-001", &format!("blockdev --getsize64 /dev/{volume}")).trim().parse().unwrap()
}

#[test]
fn disks_of_guests_are_logical_volumes_and_hold_nothing_of_anybody_else() {
    if !is_possible("lab::disks_of_guests_are_logical_volumes_and_hold_nothing_of_anybody_else") {
        return;
    }
    let lab = Lab::own_kernel_with("groups", 1, HYPERVISOR);
    lab.on("host-001", READY);
    let sha256 = lab.on("host-001", "sha256sum </srv/image.raw");
    let sha256 = sha256.split(' ').next().unwrap();
    let site = |size: &str, data: &str| {
        lab.tasks(&format!(
            "  - libvirt.pool: {{name: machines, type: logical, group: vg-machines, devices: [/dev/loop0]}}
  - libvirt.pool: {{name: old, type: logical, group: vg-old}}
  - libvirt.volume: {{pool: machines, name: ctl-1, size: {size}, format: raw, from: {{image: /srv/image.raw, sha256: {sha256}}}}}
  - libvirt.volume: {{pool: machines, name: data, size: {data}, format: raw}}
  - libvirt.volume: {{pool: old, name: kept, size: 32MiB, format: raw}}
  - libvirt.domain:
      name: ctl-1
      accelerator: tcg
      memory: 64MiB
      disks: [{{pool: machines, volume: ctl-1, format: raw}}, {{pool: machines, volume: data, format: raw}}]
      shutdown_within: 1
      force_off: true
"
        ));
    };
    site("32MiB", "30MiB");

    // A device that holds something is not taken.
    let ended = lab.apply(3);
    let error = ended["host-001/libvirt.pool[machines]"]["error"].as_str().unwrap();
    assert!(error.contains("/dev/loop0 holds swap, and is not taken"), "{error}");
    assert_eq!(lab.on("host-001", "blkid -o value -s TYPE /dev/loop0"), "swap\n");
    lab.on("host-001", "wipefs -q --all /dev/loop0");

    lab.apply(0);
    lab.expect_nothing_to_do();
    // Volumes have whole extents of 4 MiB.
    assert_eq!([bytes(&lab, "vg-machines/ctl-1"), bytes(&lab, "vg-machines/data")], [32 << 20, 32 << 20]);
    assert!(lab.on("host-001", "head -c 8M /dev/vg-machines/ctl-1 | sha256sum").starts_with(sha256));
    lab.on("host-001", CLEAN);
    // The guest has a profile of its own, by which it may open its disks, told by what their paths lead to, and no other.
    let profile = "cat /proc/$(cat /run/libvirt/qemu/ctl-1.pid)/attr/current
        cat /etc/apparmor.d/libvirt/*.files | grep -o '/dev/dm-[0-9]*' | sort -u | xargs
        readlink -f /dev/vg-machines/* | sort | xargs";
    let profile = lab.on("host-001", profile);
    let lines: Vec<&str> = profile.lines().collect();
    assert!(lines[0].starts_with("libvirt-") && lines[0].ends_with("(enforce)"), "{profile}");
    assert!(lines[1].contains("/dev/dm-") && lines[1] == lines[2], "{profile}");

    // Under a guest that runs: it sees the new size at once, and nothing of what was on the disk.
    site("60MiB", "30MiB");
    assert_eq!(lab.pending(), [("host-001/libvirt.volume[machines/ctl-1]".to_owned(), vec!["size".to_owned()])].into());
    lab.apply(0);
    lab.expect_nothing_to_do();
    assert_eq!(bytes(&lab, "vg-machines/ctl-1"), 60 << 20);
    assert!(lab.on("host-001", &format!("{GUEST} domblkinfo ctl-1 vda")).contains("62914560"));
    lab.on("host-001", CLEAN);
    // And under one that does not.
    lab.on("host-001", &format!("{GUEST} destroy ctl-1"));
    site("60MiB", "50MiB");
    lab.apply(0);
    lab.expect_nothing_to_do();
    assert_eq!(bytes(&lab, "vg-machines/data"), 52 << 20);
    lab.on("host-001", CLEAN);

    // libvirt does not see what LVM is told by hand.
    lab.on("host-001", "lvextend -q --size 72M vg-old/kept");
    assert!(lab.provision(&["plan"]).expect(3).stdout.contains(r#"size: "72MiB" -> "32MiB""#));
    lab.on("host-001", "lvreduce -q --force --size 32M vg-old/kept");
    lab.expect_nothing_to_do();

    // Never smaller unless it is asked for by name.
    site("40MiB", "50MiB");
    lab.provision(&["apply", "--yes"]).expect(3);
    assert_eq!(bytes(&lab, "vg-machines/ctl-1"), 60 << 20);
    site("60MiB", "50MiB");

    // What is lost by hand is made again, and what is only hidden stays.
    lab.on("host-001", &format!("{GUEST} destroy ctl-1; lvremove -q -y vg-machines/data; echo kept >/dev/vg-old/kept"));
    lab.on("host-001", &format!("{GUEST} pool-destroy old; vgchange -q -a n vg-old"));
    let pending: Vec<String> = lab.pending().into_keys().collect();
    let wanted =
        ["libvirt.domain[ctl-1]", "libvirt.pool[old]", "libvirt.volume[machines/data]", "libvirt.volume[old/kept]"];
    assert_eq!(pending, wanted.map(|resource| format!("host-001/{resource}")));
    lab.apply(0);
    lab.expect_nothing_to_do();
    assert_eq!(lab.on("host-001", "head -n 1 /dev/vg-old/kept"), "kept\n");

    // A pool that is forgotten leaves its volumes.
    lab.tasks(
        "  - libvirt.domain: {name: ctl-1, memory: 64MiB, state: absent, shutdown_within: 1, force_off: true}
  - libvirt.volume: {pool: machines, name: data, state: absent}
  - libvirt.pool: {name: old, type: logical, group: vg-old, state: absent}\n",
    );
    lab.apply(0);
    lab.expect_nothing_to_do();
    assert_eq!(lab.on("host-001", "lvs --noheadings -o lv_name | xargs"), "ctl-1 kept\n");
}
