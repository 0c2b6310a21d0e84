//! Hypervisors with real machines on them: what needs the host's kernel anew is done on empty hosts, one at a time.

use super::fleet::{HYPERVISOR, Lab, is_possible, root};

const INVENTORY: &str = "tests/cases/hypervisors";

/// Machines without disks, which run their firmware.
const MACHINES: &str = "for name in web-1 stateless-1; do
      echo \"<domain type='qemu'><name>$name</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>
        <os><type arch='x86_64' machine='pc'>hvm</type></os><cpu mode='custom' match='exact'><model>qemu64</model></cpu>
        <devices><emulator>/usr/bin/qemu-system-x86_64</emulator><serial type='pty'/><memballoon model='none'/></devices>
        </domain>\" >/root/$name.xml
      virsh -q define /root/$name.xml; virsh -q start $name
    done";

#[test]
fn machines_leave_a_hypervisor_before_it_reboots_and_return_when_it_is_well() {
    if !is_possible("lab::machines_leave_a_hypervisor_before_it_reboots_and_return_when_it_is_well") {
        return;
    }
    let lab = Lab::of_inventory_with("moves", INVENTORY, HYPERVISOR);
    let place = |path: &str| root().join(path).into_os_string().into_string().unwrap();
    let site = ["-i".to_owned(), place(INVENTORY), place("playbooks/hypervisors.yaml")];
    let site: Vec<&str> = site.iter().map(String::as_str).collect();
    lab.provision(&[&["apply", "--yes", "-q"], &site[..]].concat()).expect(0);
    lab.provision(&[&["plan", "--detailed-exitcode"], &site[..]].concat()).expect(0);
    // The daemon stays, also where nobody asks it anything.
    lab.on("hv-2", "! grep -q timeout /proc/$(cat /run/libvirtd.pid)/cmdline");
    // Only where machines move does anybody listen, and only to those of the fleet.
    assert_eq!(lab.on("hv-1", "ss -Hltn sport = :16514 | awk '{print $4}'").trim(), "10.30.0.11:16514");
    lab.on("hv-1", "virsh -q -c qemu+tls://10.30.0.12/system list");
    lab.on("hv-1", "mv /etc/pki/libvirt/clientcert.pem /root; ! virsh -c qemu+tls://10.30.0.12/system list 2>/dev/null; mv /root/clientcert.pem /etc/pki/libvirt");

    lab.on("hv-1", &format!("export LIBVIRT_DEFAULT_URI=qemu:///system; {MACHINES}"));
    // When each was seen where, told by the hypervisors themselves.
    let watch = "while sleep 0.2; do echo $(virsh -q list --name | sort); done >/srv/seen 2>/dev/null";
    lab.on("hv-2", &format!("LIBVIRT_DEFAULT_URI=qemu:///system systemd-run --quiet -E LIBVIRT_DEFAULT_URI=qemu:///system sh -c '{watch}'"));
    let boots = |host: &str| lab.on(host, "cat /proc/sys/kernel/random/boot_id; who -b");
    let before = [boots("hv-1"), boots("hv-2")];

    let change = ["--set", "kernel_parameters=audit=1", "--limit", "hv-1 | sign-1"];
    lab.provision(&[&["apply", "--yes", "-q"], &site[..], &change].concat()).expect(0);
    assert_ne!(boots("hv-1"), before[0]);
    assert_eq!(boots("hv-2"), before[1]);
    assert_eq!(lab.on("hv-1", "virsh -q -c qemu:///system list --name | sort | xargs").trim(), "stateless-1 web-1");
    let seen = lab.on("hv-2", "sort -u /srv/seen");
    assert!(seen.lines().any(|line| line == "web-1"), "it was there meanwhile: {seen}");
    assert!(!seen.contains("stateless-1"), "{seen}");
    // It went over without a stop: QEMU was told on each side to take in a machine that ran, and did not begin one anew.
    lab.on("hv-1", "test ! -s /var/lib/provision-guests/left");
    let begun = |host: &str, name: &str| {
        let log = lab.on(host, &format!("cat /var/log/libvirt/qemu/{name}.log 2>/dev/null || :"));
        (log.matches("starting up libvirt").count(), log.matches("-incoming").count())
    };
    assert_eq!((begun("hv-1", "web-1"), begun("hv-2", "web-1")), ((2, 1), (1, 1)));
    assert_eq!((begun("hv-1", "stateless-1"), begun("hv-2", "stateless-1")), ((2, 0), (0, 0)));
    lab.provision(&[&["plan", "--detailed-exitcode"], &site[..], &change].concat()).expect(0);

    // Where nobody takes a machine in, its host is left as it is.
    lab.on(
        "hv-2",
        "systemctl stop libvirtd.socket libvirtd-ro.socket libvirtd-admin.socket libvirtd-tls.socket libvirtd",
    );
    let last = boots("hv-1");
    let again = ["--set", "kernel_parameters=audit=0", "--limit", "hv-1 | sign-1"];
    let run = lab.provision(&[&["apply", "--yes"], &site[..], &again].concat()).expect(3);
    assert!(
        format!("{}{}", run.stdout, run.stderr).contains("no hypervisor takes web-1 in"),
        "{}{}",
        run.stdout,
        run.stderr
    );
    assert_eq!(boots("hv-1"), last);
    assert_eq!(lab.on("hv-1", "virsh -q -c qemu:///system domstate web-1").trim(), "running");
    assert_eq!(lab.on("hv-1", "cat /etc/default/grub.d/50-provision.cfg | grep -c audit=1").trim(), "1");
}
