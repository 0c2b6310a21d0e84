//! What is done to a guest: how it is defined, started, stopped, and changed while it runs.

use super::definition::{ASTRAY, Pools, Source, disk_words, disks, has_carrier, nic_device, nics};
use super::spec::LibvirtDomain;
use crate::change::Step;
use crate::resource::libvirt::network::OnChange;
use crate::resource::libvirt::seed::{FOLDER, Seed};
use crate::resource::libvirt::virsh;
use crate::resource::libvirt::xml::Element;
use crate::resource::managed_file::write_script;
use crate::resource::spec::HostPath;
use crate::sh;
use crate::shell::Script;

/// How long a guest may take to let go of a card or a disk.
const LETS_GO_WITHIN: u32 = 15;

impl LibvirtDomain {
    /// Defines `_given`: the payload, with the paths of the volumes whose pools were not known when the plan was made.
    fn given(&self, pools: &Pools) -> Script {
        let mut script = Script::constant("set -- -e ''");
        for disk in &self.disks {
            let Source::Later { pool, volume } = disk.source(pools) else { continue };
            script.push(&sh!(
                r#"_path=$(virsh -q -c qemu:///system vol-path --pool {} --vol {})
_kind=file; _name=file
if [ -b "$_path" ]; then _kind=block; _name=dev; fi
_path=$(printf %s "$_path" | sed -e 's/&/\&amp;/g' -e "s/'/\&apos;/g" -e 's/</\&lt;/g' -e 's/[\\|&]/\\&/g')
set -- "$@" -e {}"$_kind|" -e {}"$_name='$_path'|""#,
                pool,
                volume,
                format!("s|@{pool}/{volume}@|"),
                format!("s|pool='{pool}' volume='{volume}'|")
            ));
        }
        script
    }

    fn has_later(&self, pools: &Pools) -> bool {
        self.disks.iter().any(|disk| matches!(disk.source(pools), Source::Later { .. }))
    }

    pub(super) fn define_step(&self, title: String, definition: &Element, pools: &Pools) -> Step {
        if !self.has_later(pools) {
            let mut step = crate::resource::libvirt::define(title, "define", definition);
            step.script = self.bridges_are_there().then(step.script);
            return step;
        }
        let script = self
            .bridges_are_there()
            .then(self.given(pools))
            .then(sh!("_payload | sed \"$@\" | virsh -q -c qemu:///system define --validate /dev/stdin >/dev/null"));
        Step::new(title, script).with_bytes(definition.render().into_bytes())
    }

    /// Ends a script where a bridge of a card is missing: libvirt stores what it could never start.
    fn bridges_are_there(&self) -> Script {
        let mut script = Script::default();
        for bridge in self.nics.iter().filter_map(|nic| nic.bridge.as_ref()).collect::<std::collections::BTreeSet<_>>()
        {
            script.push(&sh!(
                "[ -e {} ] || { echo {} >&2; exit 1; }",
                format!("/sys/class/net/{bridge}"),
                format!("there is no bridge {bridge} for a card of {}", self.name)
            ));
        }
        script
    }

    pub(super) fn autostart_step(&self, on: bool) -> Step {
        let name = &self.name;
        if on {
            Step::new(format!("start the guest {name} with the host"), virsh(["autostart", name.as_str()]))
        } else {
            let script = virsh(["autostart", "--disable", name.as_str()]);
            Step::new(format!("no longer start the guest {name} with the host"), script)
        }
    }

    pub(super) fn start_step(&self) -> Step {
        Step::new(format!("start the guest {}", self.name), self.start()).within(300)
    }

    fn start(&self) -> Script {
        virsh(["start", self.name.as_str()])
    }

    /// Starts the guest with the settings that its firmware comes with.
    pub(super) fn start_afresh_step(&self) -> Step {
        let title = format!("start the guest {} with fresh settings of its firmware", self.name);
        Step::new(title, virsh(["start", self.name.as_str(), "--reset-nvram"])).within(300)
    }

    pub(super) fn resume_step(&self) -> Step {
        Step::new(format!("resume the guest {}", self.name), virsh(["resume", self.name.as_str()]))
    }

    pub(super) fn suspend_step(&self) -> Step {
        Step::new(format!("pause the guest {}", self.name), virsh(["suspend", self.name.as_str()]))
    }

    /// Shuts the guest down and waits for it, whatever state it is in.
    fn stop(&self) -> Script {
        let name = self.name.as_str();
        let end = if self.force_off {
            virsh(["destroy", name])
        } else {
            sh!(
                "echo {} >&2; exit 1",
                format!(
                    "the guest {name} has not shut down within {}; `force_off: true` turns it off",
                    self.shutdown_within
                )
            )
        };
        // A guest that is paused, or that has crashed, hears nothing.
        sh!(
            r#"_state() { virsh -q -c qemu:///system domstate --domain {}; }
_now=$(_state)
case $_now in
  running|idle) {} 2>&1 || :;;
esac
_left={}
while _now=$(_state) && [ "$_now" != "shut off" ] && [ "$_left" -gt 0 ]; do
  case $_now in crashed) break;; esac
  sleep 1; _left=$((_left - 1))
done
if [ "$_now" != "shut off" ]; then
{}
fi"#,
            name,
            virsh(["shutdown", name]),
            self.shutdown_within.count(),
            end
        )
    }

    fn stop_seconds(&self) -> u32 {
        self.shutdown_within.count().saturating_mul(2).saturating_add(60)
    }

    pub(super) fn stop_step(&self) -> Step {
        Step::new(format!("shut down the guest {}", self.name), self.stop()).within(self.stop_seconds())
    }

    pub(super) fn restart_step(&self) -> Step {
        let script = self.stop().then(self.start());
        Step::new(format!("shut down and start the guest {}", self.name), script)
            .within(self.stop_seconds().saturating_add(300))
    }

    /// Removes the definition, with the firmware's settings and a saved state; never a disk.
    pub(super) fn undefine_step(&self) -> Step {
        let script = virsh(["undefine", self.name.as_str(), "--nvram", "--managed-save"]);
        Step::new(format!("undefine the guest {}", self.name), script)
    }

    /// Takes away what a run has made, however far it came.
    pub(super) fn unmake_step(&self) -> Step {
        let name = self.name.as_str();
        let script = sh!(
            "{} 2>&1 || :\nif {} 2>&1; then\n{}\nfi\nrm -rf -- {}",
            virsh(["destroy", name]),
            virsh(["dominfo", name]),
            virsh(["undefine", name, "--nvram", "--managed-save"]),
            self.folder()
        );
        Step::new(format!("turn off and undefine the guest {name}"), script)
    }

    /// Returns the folder of the guest's seeds.
    fn folder(&self) -> String {
        format!("{FOLDER}/{}", self.name)
    }

    pub(super) fn seed_step(&self, seed: &Seed, path: &HostPath) -> Step {
        let folders = sh!("mkdir -p -m 0711 -- {} {}", FOLDER, self.folder());
        let script = folders.then(write_script(path, "0600", "root", "root", None));
        Step::new(format!("write the seed {path}"), script).with_bytes(seed.bytes.clone())
    }

    /// Removes the seeds that neither the stored definition nor the running guest has, and keeps them for the reverse.
    pub(super) fn tidy_step(&self, path: Option<&str>) -> Step {
        let script = sh!(
            r#"_live=$(virsh -q -c qemu:///system dumpxml --domain {} 2>/dev/null || :)
for _seed in {}/*.img; do
  [ -e "$_seed" ] && [ "$_seed" != {} ] || continue
  case $_live in *"'$_seed'"*) continue;; esac
  _keep "$_seed" {}"${_seed##*/}"
  rm -f -- "$_seed"
done"#,
            self.name,
            self.folder(),
            path.unwrap_or_default(),
            format!("seed-{}-", self.name)
        );
        Step::new(format!("remove former seeds of the guest {}", self.name), script)
    }

    /// Brings back a seed that was removed.
    pub(super) fn untidy_step(&self, path: &str) -> Step {
        let kept = format!("seed-{}-{}", self.name, path.rsplit('/').next().unwrap_or_default());
        let script = sh!("[ -e {} ] || _restore {} {}", path, path, kept);
        Step::new(format!("bring back the seed {path}"), script)
    }

    /// Returns the steps that give the running guest the disks and cards of another definition.
    ///
    /// A guest must let go of what is taken from it. One that does not is restarted where it may be.
    pub(super) fn device_steps(&self, live: &Element, wanted: &Element, pools: &Pools) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut takes = false;
        let mut plan = |what: &str, there: Vec<&Element>, wanted: Vec<&Element>, words: fn(&Element) -> String| {
            let is_in = |list: &[&Element], one: &Element| list.iter().any(|other| words(other) == words(one));
            for device in there.iter().filter(|device| !is_in(&wanted, device)) {
                steps.push(self.detach_step(what, device, &words(device)));
                takes = true;
            }
            for device in wanted.iter().filter(|device| !is_in(&there, device)) {
                let script = self.given(pools).then(sh!(
                    "[ ! -e \"$_backup\"/{} ] || exit 0\n_payload | sed \"$@\" | virsh -q -c qemu:///system attach-device --live --domain {} --file /dev/stdin >/dev/null",
                    self.holds(),
                    self.name
                ));
                let title = format!("give the running guest {} the {what} {}", self.name, words(device));
                let mut device = (*device).clone();
                device.remove("address");
                steps.push(Step::new(title, script).with_bytes(device.render().into_bytes()));
            }
        };
        plan("card", nics(live), nics(wanted), nic_device);
        plan("disk", disks(live), disks(wanted), disk_words);
        // A card that stays is not taken from the guest for its cable.
        let same = |one: &Element| nics(wanted).into_iter().find(|other| nic_device(other) == nic_device(one));
        let cables = nics(live).into_iter().filter_map(|there| Some((there, same(there)?)));
        steps.extend(cables.filter_map(|(there, wanted)| self.cable_step(there, wanted)));
        if takes && self.on_change == OnChange::Restart {
            let script = sh!(
                "[ -e \"$_backup\"/{} ] || exit 0\n{}\nrm -f -- \"$_backup\"/{}",
                self.holds(),
                self.stop().then(self.start()),
                self.holds()
            );
            let title = format!("restart the guest {} if it has not let go", self.name);
            steps.push(Step::new(title, script).within(self.stop_seconds().saturating_add(300)));
        }
        steps
    }

    /// Plugs the cable of a running guest's card in, or out where that is wanted.
    fn cable_step(&self, there: &Element, wanted: &Element) -> Option<Step> {
        let mut script = Script::default();
        let mac = there.get_at("mac", "address").unwrap_or_default();
        if has_carrier(there) != has_carrier(wanted) {
            let state = if has_carrier(wanted) { "up" } else { "down" };
            script.push(&virsh([
                "domif-setlink",
                "--domain",
                self.name.as_str(),
                "--interface",
                mac,
                "--state",
                state,
            ]));
        }
        if there.find(ASTRAY).is_some() && wanted.find(ASTRAY).is_none() {
            let (end, bridge) = (there.get_at("target", "dev"), there.get_at("source", "bridge"));
            let (end, bridge) = (end.unwrap_or_default(), bridge.unwrap_or_default());
            script.push(&sh!("ip link set dev {} master {}", end, bridge));
        }
        let title = format!("mend the cable of the card {mac} of the running guest {}", self.name);
        (script != Script::default()).then(|| Step::new(title, script))
    }

    /// Returns the name under which a run notes that the guest has not let go of something.
    fn holds(&self) -> String {
        format!("domain-{}.holds", self.name)
    }

    /// Takes a device from the running guest and waits until the guest has let go of it.
    fn detach_step(&self, what: &str, device: &Element, words: &str) -> Step {
        let mark = match device.name.as_str() {
            "interface" => format!("<mac address='{}'/>", device.get_at("mac", "address").unwrap_or_default()),
            _ => format!("<target dev='{}'", device.get_at("target", "dev").unwrap_or_default()),
        };
        let end = if self.on_change == OnChange::Restart {
            let holds = self.holds();
            sh!("[ -d \"$_backup\" ] || mkdir -p -m 0700 -- \"$_backup\"; : >\"$_backup\"/{}; exit 0", holds)
        } else {
            let said = format!("the guest {} has not let go of the {what} {words}", self.name);
            sh!("echo {} >&2; exit 1", format!("{said}; it is gone from the next start on"))
        };
        let script = sh!(
            r#"[ ! -e "$_backup"/{} ] || exit 0
_payload | virsh -q -c qemu:///system detach-device --live --domain {} --file /dev/stdin >/dev/null
_left={}
while virsh -q -c qemu:///system dumpxml --domain {} | grep -qF -e {}; do
  [ "$_left" -gt 0 ] || { {}; }
  sleep 1; _left=$((_left - 1))
done"#,
            self.holds(),
            self.name,
            LETS_GO_WITHIN,
            self.name,
            mark,
            end
        );
        let title = format!("take the {what} {words} from the running guest {}", self.name);
        Step::new(title, script).with_bytes(device.render().into_bytes()).within(LETS_GO_WITHIN + 60)
    }

    pub(super) fn vcpus_step(&self, count: u64) -> Step {
        let script = virsh(["setvcpus", self.name.as_str(), &count.to_string(), "--live"]);
        Step::new(format!("give the running guest {} {count} processors", self.name), script)
    }

    /// Asks the running guest to make do with this much memory.
    pub(super) fn memory_step(&self, bytes: u64) -> Step {
        let kib = (bytes / 1024).to_string();
        let script = virsh(["setmem", self.name.as_str(), kib.as_str(), "--live"]);
        Step::new(format!("ask the running guest {} to have {kib} KiB of memory", self.name), script)
    }

    /// Pins the running guest's processors; one without a set may run anywhere.
    pub(super) fn pin_step(&self, pins: &[(u64, String)]) -> Step {
        let mut script = Script::default();
        for (vcpu, set) in pins {
            let vcpu = vcpu.to_string();
            script.push(&virsh(["vcpupin", self.name.as_str(), vcpu.as_str(), set.as_str(), "--live"]));
        }
        Step::new(format!("pin the processors of the running guest {}", self.name), script)
    }
}
