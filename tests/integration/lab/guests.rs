//! A real machine on a real hypervisor: made by one apply, known before its first contact, and made again when it is lost.

use std::fs;

use super::fleet::{HYPERVISOR, Lab, is_possible};

const PLAYBOOK: &str = r#"name: Guests
plays:
  - name: hypervisor
    hosts: hv-1
    tasks:
      - block:
          path: /etc/libvirt/qemu.conf
          content: |
            cgroup_controllers = [ ]
            namespaces = [ ]
            security_driver = "none"
        notify: service[libvirtd]
      - service: {name: libvirtd, state: running}

  - name: machines
    hosts: hv-1
    tasks:
      - network.link: {name: "{{ item }}"}
        for_each: [br-admin, eno2]
      - libvirt.pool: {name: machines, path: /var/lib/libvirt/machines}
      - libvirt.volume:
          pool: machines
          name: ctl-1.raw
          format: raw
          size: 2GiB
          from: {image: /srv/images/debian-12.raw, sha256: "{{ guest_sha256 }}"}
      - libvirt.domain:
          name: ctl-1
          accelerator: tcg
          vcpus: 2
          memory: 768MiB
          boot: {kernel: /srv/images/vmlinuz, initrd: /srv/images/initrd.img, command_line: root=/dev/vda rw console=ttyS0}
          disks:
            - {pool: machines, volume: ctl-1.raw}
            - {file: /srv/images/mirror.ext4, format: raw, read_only: true}
          nics:
            - {bridge: br-admin, mac: "52:54:00:00:00:21", lan: {name: eno1, addresses: [10.10.0.21/24]}}
          cloud_init:
            ssh_host_key: "{{ guest_host_key }}"
            users:
              - {name: provision, ssh_keys: ["{{ login_key }}"], sudo: true}

  - name: control
    hosts: ctl-1
    tasks:
      - apt.repository: {name: internal, uris: ["file:/srv/mirror"], suites: [bookworm], components: [main], signed_by: /usr/share/keyrings/lab-mirror.gpg, exclusive: true}
      - package: {name: hello}
      - file: {path: /etc/motd, content: "{{ facts.os.id }} on {{ host }}\n"}
      - kernel.module: {name: dummy}
      - sysctl: {key: net/ipv6/conf/eno1/accept_redirects, value: 0}
"#;

#[test]
fn a_machine_is_made_with_its_key_known_and_is_made_again_when_it_is_lost() {
    if !is_possible("lab::a_machine_is_made_with_its_key_known_and_is_made_again_when_it_is_lost") {
        return;
    }
    let lab = Lab::unbooted("guest");
    let key = lab.path("host-key");
    let made = lab.keygen(&key);
    lab.write(
        "inventory/hosts.yaml",
        &format!(
            r#"sites: {{lab: {{country: FR}}}}
zones: {{admin: {{nature: administration}}}}
networks: {{lab-admin: {{site: lab, zone: admin, cidr: 10.10.0.0/24, gateway: 10.10.0.1}}}}
defaults: {{ssh: {{user: provision}}}}
hosts:
  hv-1:
    ssh: {{address: 10.10.0.11}}
    vars: {{guest_host_key: {{secret: {{file: ../host-key}}}}}}
    interfaces:
      eno1: {{network: lab-admin, address: 10.10.0.11}}
      eno2: {{network: lab-admin}}
      br-admin: {{bridge: {{ports: [eno2]}}}}
  ctl-1:
    ssh: {{address: 10.10.0.21, host_key: {made}}}
    provided_by: hv-1/libvirt.domain[ctl-1]
    interfaces: {{eno1: {{network: lab-admin, address: 10.10.0.21, mac: "52:54:00:00:00:21"}}}}
"#
        ),
    );
    lab.write("playbooks/site.yaml", PLAYBOOK);
    let image = lab.guest_image();
    lab.boot(&[lab.path("inventory").to_str().unwrap(), "--guest-image"], HYPERVISOR);
    let login = fs::read_to_string(lab.state().join("id_ed25519.pub")).unwrap();
    let given = ["--set", &format!("guest_sha256={image}"), "--set", &format!("login_key={}", login.trim())];
    let run = |words: &[&str], status: i32| lab.provision(&[words, &given].concat()).expect(status);

    let plan = run(&["plan", "--detailed-exitcode"], 2).stdout;
    assert!(plan.contains("the host is not there yet, hv-1/libvirt.domain[ctl-1] brings it"), "{plan}");
    run(&["apply", "--yes", "-q"], 0);
    run(&["plan", "--detailed-exitcode"], 0);
    let said = || lab.provision(&["exec", "ctl-1", "--", "sh", "-c", "cat /etc/motd; hello"]).expect(0).stdout;
    assert!(said().contains("debian on ctl-1") && said().contains("Hello, world!"), "{}", said());
    // The private key of the guest is on the hypervisor's disk for its machine, and nowhere that is shown or kept.
    let secret = fs::read_to_string(&key).unwrap().lines().nth(2).unwrap().to_owned();
    assert!(!super::fleet::all_text(&lab.path(".provision")).contains(&secret), "a journal has the private key");

    // It keeps what it was given over a boot, also what hangs on the name of a card.
    let boot_id = || lab.provision(&["exec", "ctl-1", "--", "cat", "/proc/sys/kernel/random/boot_id"]);
    let former = boot_id().expect(0).stdout;
    lab.provision(&["exec", "ctl-1", "--", "systemctl", "reboot"]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(300);
    while !Some(boot_id()).is_some_and(|run| run.status == 0 && run.stdout != former) {
        assert!(std::time::Instant::now() < deadline, "the machine has not come back from its boot");
        std::thread::sleep(std::time::Duration::from_secs(1));
    }
    run(&["plan", "--detailed-exitcode"], 0);

    // Its cable is pulled, at either end: what is plugged in again is the cable and not another card.
    let card = "virsh -q -c qemu:///system domiflist ctl-1";
    let before = lab.on("hv-1", card);
    for (pull, named) in [
        (format!("ip link set $({card} | cut -d ' ' -f 2) nomaster"), "out-of-its-bridge"),
        ("virsh -q -c qemu:///system domif-setlink ctl-1 52:54:00:00:00:21 down".to_owned(), "link=down"),
    ] {
        lab.on("hv-1", &pull);
        let plan = run(&["plan", "--detailed-exitcode", "--limit", "hv-1"], 2).stdout;
        assert!(plan.contains("live.nics") && plan.contains(named), "{plan}");
        run(&["apply", "--yes", "-q", "--limit", "hv-1"], 0);
        run(&["plan", "--detailed-exitcode"], 0);
        assert_eq!(lab.on("hv-1", card), before);
    }
    // That a cable was said to be plugged in is no difference.
    lab.on("hv-1", "virsh -q -c qemu:///system dumpxml ctl-1 | grep -q \"link state='up'\"");

    lab.on(
        "hv-1",
        "virsh -q -c qemu:///system destroy ctl-1; virsh -q -c qemu:///system undefine ctl-1
         virsh -q -c qemu:///system vol-delete ctl-1.raw machines",
    );
    run(&["apply", "--yes", "-q"], 0);
    assert!(said().contains("debian on ctl-1"), "{}", said());
    run(&["plan", "--detailed-exitcode"], 0);
}
