//! `libvirt.pool`: where a hypervisor keeps volumes: a folder, or a volume group of LVM.
//!
//! What a pool is cannot be changed in place, because the paths of its volumes follow from it: another type, folder or
//! group is another pool, and takes the place of the old one only with consent. No volume is ever touched for it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::xml::Element;
use super::{Found, RunState, VirtName, define, differences, differing, find, reason, virsh};
use crate::change::{Action, Attributes, Change, Step};
use crate::resource::read::{Answers, Query, Virt};
use crate::resource::spec::HostPath;
use crate::resource::{Kind, ObserveError, SpecProblem};
use crate::sh;
use crate::shell::Script;

/// A place where a hypervisor keeps volumes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LibvirtPool {
    /// Its name, which volumes refer to.
    name: VirtName,
    /// `dir`: each volume is a file in a folder. `logical`: each is a logical volume of LVM.
    #[serde(default, rename = "type")]
    store: Store,
    /// The folder of a `dir` pool. It is made where it is not there; a `directory` task before this one may give it an
    /// owner and a mode.
    #[serde(default)]
    path: Option<HostPath>,
    /// The volume group of a `logical` pool; it is called like the pool where this is left out.
    #[serde(default)]
    group: Option<VirtName>,
    /// The devices that a volume group which is not there yet is made of. They must be empty; what is in use is refused.
    #[serde(default)]
    devices: Vec<HostPath>,
    /// Whether it is started with the host.
    #[serde(default = "yes")]
    autostart: bool,
    /// `running`, `stopped` or `absent`. What is absent is forgotten; its volumes stay where they are.
    #[serde(default)]
    state: RunState,
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Store {
    #[default]
    Dir,
    Logical,
}

/// A pool as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedPool {
    stored: Option<Attributes>,
    live: Option<Attributes>,
    autostart: bool,
    #[serde(skip)]
    found: Option<Found>,
}

/// Returns what a definition says of where its volumes are.
fn view(pool: &Element) -> Attributes {
    let mut view = Attributes::new();
    view.insert("type".into(), json!(pool.get("type").unwrap_or_default()));
    // Of a volume group libvirt makes the path up itself.
    if pool.get("type") != Some("logical") {
        view.insert("path".into(), json!(pool.text_at("target/path").unwrap_or_default().trim_end_matches('/')));
    }
    if let Some(group) = pool.text_at("source/name") {
        view.insert("group".into(), json!(group));
    }
    view
}

impl LibvirtPool {
    fn virt(&self) -> Virt {
        Virt::Pool(self.name.0.clone())
    }

    fn group(&self) -> &str {
        self.group.as_ref().unwrap_or(&self.name).as_str()
    }

    /// Returns the definition that is wanted.
    fn element(&self, base: Option<&Element>) -> Element {
        let mut pool =
            base.cloned().unwrap_or_else(|| Element::new("pool").child(Element::of_text("name", self.name.as_str())));
        let path = self.path.as_ref().map_or("", HostPath::as_str);
        match self.store {
            Store::Dir => {
                pool.attributes.insert("type".to_owned(), "dir".to_owned());
                pool.replace("source", vec![]);
                pool.replace("target", vec![Element::new("target").child(Element::of_text("path", path))]);
            }
            Store::Logical => {
                pool.attributes.insert("type".to_owned(), "logical".to_owned());
                let devices = self.devices.iter().map(|device| Element::new("device").with("path", device.as_str()));
                let source = Element::new("source").and(devices);
                let source = source.child(Element::of_text("name", self.group()));
                let source = source.child(Element::new("format").with("type", "lvm2"));
                pool.replace("source", vec![source]);
                let path = format!("/dev/{}", self.group());
                pool.replace("target", vec![Element::new("target").child(Element::of_text("path", &path))]);
            }
        }
        for size in ["capacity", "allocation", "available"] {
            pool.remove(size);
        }
        pool
    }

    fn define_step(&self, title: String, definition: &Element) -> Step {
        define(title, "pool-define", definition)
    }

    fn start_step(&self) -> Step {
        Step::new(format!("start the pool {}", self.name), virsh(["pool-start", self.name.as_str()]))
    }

    fn stop_step(&self) -> Step {
        Step::new(format!("stop the pool {}", self.name), virsh(["pool-destroy", self.name.as_str()]))
    }

    fn undefine_step(&self) -> Step {
        Step::new(format!("undefine the pool {}", self.name), virsh(["pool-undefine", self.name.as_str()]))
    }

    fn autostart_step(&self, on: bool) -> Step {
        let name = &self.name;
        if on {
            Step::new(format!("start the pool {name} with the host"), virsh(["pool-autostart", name.as_str()]))
        } else {
            let script = virsh(["pool-autostart", "--disable", name.as_str()]);
            Step::new(format!("no longer start the pool {name} with the host"), script)
        }
    }

    /// Returns the name under which a run notes that it made what is below the pool.
    fn note(&self) -> String {
        format!("pool-{}.made", self.name)
    }

    /// Makes what is below the pool where it is not there, and notes it for the reverse.
    fn build_step(&self) -> Step {
        let note = sh!("[ -d \"$_backup\" ] || mkdir -p -m 0700 -- \"$_backup\"; : >\"$_backup\"/{}", self.note());
        match self.store {
            Store::Dir => {
                let path = self.path.as_ref().map_or("", HostPath::as_str);
                let build = virsh(["pool-build", self.name.as_str()]);
                let script = sh!("if [ ! -d {} ]; then\n{}\n{}\nfi", path, build, note);
                Step::new(format!("make {path} where it is not there"), script)
            }
            Store::Logical => {
                let group = self.group();
                let script = if self.devices.is_empty() {
                    sh!(
                        "vgs -- {} >/dev/null 2>&1 || { echo {} >&2; exit 1; }",
                        group,
                        format!("there is no volume group {group}, and no `devices` to make it of are given")
                    )
                } else {
                    // Without `-y` and `-ff` LVM itself refuses what it knows, and says less of it.
                    sh!(
                        r#"if ! vgs -- {} >/dev/null 2>&1; then
for _device in {}; do
_holds=$(wipefs --noheadings --output TYPE -- "$_device" | tr '\n' ' ')
[ -z "$_holds" ] || { echo "$_device holds ${_holds% }, and is not taken; \`wipefs --all $_device\` empties it" >&2; exit 1; }
done
vgcreate -q -- {} {} </dev/null >/dev/null
{}
fi"#,
                        group,
                        Script::words(&self.devices),
                        group,
                        Script::words(&self.devices),
                        note
                    )
                };
                Step::new(format!("make the volume group {group} where it is not there"), script)
            }
        }
    }

    /// Takes away what this run has made below the pool, unless something is in it by now.
    fn unbuild_step(&self) -> Step {
        let (title, remove) = match self.store {
            Store::Dir => {
                let path = self.path.as_ref().map_or("", HostPath::as_str);
                (format!("remove {path} where it was made"), sh!("rmdir -- {}", path))
            }
            Store::Logical => {
                let group = self.group();
                let remove = sh!("vgremove -q -- {} </dev/null >/dev/null", group);
                let devices = Script::words(&self.devices);
                let wipe = if self.devices.is_empty() {
                    Script::default()
                } else {
                    sh!("pvremove -q -- {} >/dev/null", devices)
                };
                (format!("remove the volume group {group} where it was made"), remove.then(wipe))
            }
        };
        Step::new(title, sh!("if [ -e \"$_backup\"/{} ]; then\n{}\nfi", self.note(), remove))
    }

    fn create(&self) -> Change {
        let mut desired = view(&self.element(None));
        desired.insert("autostart".into(), json!(self.autostart));
        desired.insert("state".into(), json!(self.state.word()));
        let (steps, reverse) = self.make();
        let mut change = Change::create(self.id(), &desired);
        change.steps = steps;
        change.reversed_by(reverse)
    }

    /// Returns the steps that make the pool, and those that take it away again.
    fn make(&self) -> (Vec<Step>, Vec<Step>) {
        let name = &self.name;
        let mut steps =
            vec![self.define_step(format!("define the pool {name}"), &self.element(None)), self.build_step()];
        let stop = sh!("{} 2>&1 || :", virsh(["pool-destroy", name.as_str()]));
        let mut reverse = vec![self.undefine_step(), self.unbuild_step()];
        if self.autostart {
            steps.push(self.autostart_step(true));
        }
        if self.state == RunState::Running {
            steps.push(self.start_step());
            reverse.insert(0, Step::new(format!("stop the pool {name}"), stop));
        }
        (steps, reverse)
    }

    /// Returns the steps that take away the pool that was found, and those that bring it back.
    fn unmake(&self, found: &Found) -> (Vec<Step>, Vec<Step>) {
        let (mut steps, mut reverse) = (Vec::new(), Vec::new());
        if found.live.is_some() {
            steps.push(self.stop_step());
        }
        if let Some(stored) = &found.stored {
            steps.push(self.undefine_step());
            reverse.push(self.define_step(format!("define the pool {} as it was", self.name), stored));
            if found.autostart {
                reverse.push(self.autostart_step(true));
            }
            if found.live.is_some() {
                reverse.push(self.start_step());
            }
        } else if let Some(live) = &found.live {
            reverse.push(define(format!("make the pool {} as it was", self.name), "pool-create", live));
        }
        (steps, reverse)
    }

    fn update(&self, observed: &ObservedPool, found: &Found) -> Change {
        let name = &self.name;
        let desired = view(&self.element(None));
        let known = observed.stored.as_ref().or(observed.live.as_ref()).cloned().unwrap_or_default();
        let another = differences(&known, &desired, &[]);
        if !another.is_empty() {
            let (mut steps, back) = self.unmake(found);
            let (make, mut reverse) = self.make();
            steps.extend(make);
            reverse.extend(back);
            let mut change = Change::no_op(self.id(), reason(&another));
            change.action = Action::Replace;
            change.attributes = another;
            change.steps = steps;
            return change.reversed_by(reverse).needs_consent("it is another pool then, and its volumes are not in it");
        }
        let mut change = Change::no_op(self.id(), "");
        let mut reverse = Vec::new();
        if found.stored.is_none() {
            change.attributes.push(differing("stored", false, true));
            change = change.step(self.define_step(format!("define the pool {name}"), &self.element(found.base())));
            reverse.push(self.undefine_step());
        }
        if observed.autostart != self.autostart {
            change.attributes.push(differing("autostart", observed.autostart, self.autostart));
            change = change.step(self.autostart_step(self.autostart));
            if found.stored.is_some() {
                reverse.insert(0, self.autostart_step(observed.autostart));
            }
        }
        match (&observed.live, self.state) {
            (None, RunState::Running) => {
                change.attributes.push(differing("state", "stopped", "running"));
                change = change.step(self.build_step()).step(self.start_step());
                reverse.splice(0..0, [self.stop_step(), self.unbuild_step()]).for_each(drop);
            }
            (Some(_), RunState::Stopped) => {
                change.attributes.push(differing("state", "running", "stopped"));
                change = change.step(self.stop_step());
                reverse.push(self.start_step());
            }
            (Some(live), RunState::Running) => {
                let mut running = differences(live, &desired, &[]);
                if !running.is_empty() {
                    running.iter_mut().for_each(|attribute| attribute.name = format!("live.{}", attribute.name));
                    change.attributes.extend(running);
                    let script = virsh(["pool-destroy", name.as_str()]).then(virsh(["pool-start", name.as_str()]));
                    change = change.step(Step::new(format!("restart the pool {name}"), script));
                    change = change.irreversible("the definition that it ran with is stored nowhere");
                }
            }
            (None, _) | (Some(_), RunState::Absent) => {}
        }
        if change.steps.is_empty() {
            return change.because(format!("it is {} and defined as wanted", self.state.word()));
        }
        change.action = Action::Update;
        change.reason = reason(&change.attributes);
        if matches!(change.reverse, crate::change::Reverse::Impossible(_)) {
            change
        } else {
            change.reversed_by(reverse)
        }
    }
}

impl Kind for LibvirtPool {
    const NAME: &'static str = "libvirt.pool";
    const SUMMARY: &'static str = "Where a hypervisor keeps volumes: a folder, or a volume group of LVM";
    const EXAMPLE: &'static str = r#"- libvirt.pool: {name: images, path: /var/lib/libvirt/images}
- libvirt.pool: {name: vms, type: logical, group: vg-vms, devices: [/dev/disk/by-id/nvme-0]}
- libvirt.pool: {name: old, state: absent}
"#;

    type Observed = ObservedPool;

    fn name(&self) -> String {
        self.name.0.clone()
    }

    fn check(&self) -> Vec<SpecProblem> {
        let mut problems = Vec::new();
        match self.store {
            Store::Dir => {
                if self.path.is_none() && self.state != RunState::Absent {
                    let problem = SpecProblem::new("path", "it is not said in which folder the volumes are");
                    problems.push(problem.help("with `type: logical` they are in a volume group"));
                }
                if self.path.as_ref().is_some_and(|path| path.as_str() == "/") {
                    problems.push(SpecProblem::new("path", "the root is no folder for volumes"));
                }
                for (field, is_given) in [("group", self.group.is_some()), ("devices", !self.devices.is_empty())] {
                    if is_given {
                        problems.push(SpecProblem::new(field, "a folder has none").help("add `type: logical`"));
                    }
                }
            }
            Store::Logical if self.path.is_some() => {
                problems.push(SpecProblem::new("path", "a volume group has no folder").help("name the `group`"));
            }
            Store::Logical => {}
        }
        problems
    }

    fn queries(&self) -> Vec<Query> {
        vec![Query::Virt(self.virt())]
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedPool, ObserveError> {
        let found = find(self, &self.virt(), answers)?;
        Ok(ObservedPool {
            stored: found.as_ref().and_then(|found| found.stored.as_ref()).map(view),
            live: found.as_ref().and_then(|found| found.live.as_ref()).map(view),
            autostart: found.as_ref().is_some_and(|found| found.autostart),
            found,
        })
    }

    fn diff(&self, observed: &ObservedPool) -> Change {
        match (&observed.found, self.state) {
            (None, RunState::Absent) => Change::no_op(self.id(), "it is not there, as wanted"),
            (None, _) => self.create(),
            (Some(found), RunState::Absent) => {
                let known = observed.stored.as_ref().or(observed.live.as_ref()).cloned().unwrap_or_default();
                let (steps, reverse) = self.unmake(found);
                let mut change = Change::delete(self.id(), &known);
                change.steps = steps;
                change.because("it must not be there; its volumes stay where they are").reversed_by(reverse)
            }
            (Some(found), _) => self.update(observed, found),
        }
    }
}
