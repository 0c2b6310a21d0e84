//! `libvirt.volume`: a disk of a guest's, in a pool: how large, in which format, and what it began as.
//!
//! A volume grows, also under a guest that runs, and never shrinks. What would cost its content (another format, another
//! backing image, a smaller size) is a replacement, which needs consent. An image is checked against its digest before it is
//! used, and what is copied from one takes its name only when it is whole, so a run that dies leaves no half volume.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use serde_json::json;

use super::xml::Element;
use super::{VirtName, differences, is_without_libvirt, one_line, reason, silent, virsh};
use crate::change::{Action, Attributes, Change, Step};
use crate::resource::read::{Answers, Query, Virt};
use crate::resource::spec::{HostPath, Presence};
use crate::resource::{Kind, ObserveError, SpecProblem};
use crate::sh;
use crate::shell::Script;

/// A disk of a guest's, in a pool.
///
/// It grows to a larger `size`, at once and also while a guest runs on it. Another `format` or `backing`, or a smaller `size`,
/// would cost what is in it: that happens only with `--allow-replace`. `from` says what a new volume holds; a volume that is
/// there belongs to its guest, and is not compared with it. A new volume, and what one grows by, reads as zeros also where it
/// is a logical volume on a disk that others have written to.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LibvirtVolume {
    /// Its name in the pool.
    name: VirtName,
    /// The pool, which runs.
    pool: VirtName,
    /// How large the disk is for its guest, such as `20GiB`.
    #[serde(default)]
    size: Option<Size>,
    /// `qcow2` or `raw`. In a `logical` pool all are `raw`.
    #[serde(default)]
    format: Format,
    /// An image of the hypervisor's that a new volume is a copy of.
    #[serde(default)]
    from: Option<Image>,
    /// An image of the hypervisor's under a `qcow2` volume: the volume holds what differs from it. The image must never
    /// change again.
    #[serde(default)]
    backing: Option<Image>,
    /// `present` or `absent`. What is absent is deleted, with all that is in it.
    #[serde(default)]
    state: Presence,
}

/// An image on the hypervisor.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Image {
    /// Where it is; a `file` task before this one may bring it.
    image: HostPath,
    /// The SHA-256 of the file, in hexadecimal. It is checked each time before the image is used.
    sha256: String,
    /// Its format, which is never guessed from what is in it. Left out, it is known from a name that ends with `.qcow2` or `.raw`.
    #[serde(default)]
    format: Option<Format>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Format {
    #[default]
    Qcow2,
    Raw,
}

impl Format {
    pub(super) fn word(self) -> &'static str {
        match self {
            Format::Qcow2 => "qcow2",
            Format::Raw => "raw",
        }
    }
}

/// A size in bytes, written with its unit: `512MiB`, `20GiB`, `1TiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Size(u64);

impl Size {
    pub(super) fn of(bytes: u64) -> Self {
        Self(bytes)
    }

    pub(super) fn bytes(self) -> u64 {
        self.0
    }
}

const UNITS: [(&str, u64); 4] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match UNITS.iter().find(|(_, unit)| self.0 >= *unit && self.0.is_multiple_of(*unit)) {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let read = UNITS.iter().find_map(|(name, unit)| {
            let count: u64 = text.strip_suffix(name)?.trim_end().parse().ok()?;
            // libvirt counts in 64 bits with a sign.
            count.checked_mul(*unit).filter(|bytes| (1..=1 << 60).contains(bytes))
        });
        read.map(Self).ok_or_else(|| {
            de::Error::custom(format!(
                "{text:?} is not a size: write a whole number and its unit, such as 512MiB or 20GiB"
            ))
        })
    }
}

impl JsonSchema for Size {
    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[0-9]+ ?[KMGT]iB$|\\{\\{",
            "description": "A whole number with its unit: KiB, MiB, GiB or TiB"
        })
    }
}

/// A volume as it was found.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedVolume {
    /// What it is; none where it is not there.
    found: Option<Attributes>,
    /// Why it could not be seen whether it is there.
    hidden: Option<String>,
    #[serde(skip)]
    bytes: u64,
    #[serde(skip)]
    is_logical: bool,
}

/// Logical volumes are as large as whole extents, whose size is a power of two; none that is usual is larger.
const LARGEST_EXTENT: u64 = 64 << 20;

/// Returns whether a logical volume of `bytes` can be one of `wanted` that was rounded up to whole extents.
fn is_rounded(bytes: u64, wanted: u64) -> bool {
    let extent = (1 << bytes.trailing_zeros().min(63)).min(LARGEST_EXTENT);
    bytes.checked_sub(wanted).is_some_and(|more| more < extent)
}

fn view(volume: &Element) -> Attributes {
    let mut view = Attributes::from([
        ("size".to_owned(), json!(Size(bytes_of(volume)).to_string())),
        ("format".to_owned(), json!(volume.get_at("target/format", "type").unwrap_or("raw"))),
    ]);
    if let Some(path) = volume.text_at("backingStore/path").filter(|path| !path.is_empty()) {
        let format = volume.get_at("backingStore/format", "type").unwrap_or("unknown");
        view.insert("backing".to_owned(), json!(format!("{path} ({format})")));
    }
    view
}

fn bytes_of(volume: &Element) -> u64 {
    volume.text_at("capacity").and_then(|bytes| bytes.parse().ok()).unwrap_or_default()
}

impl Image {
    fn format(&self) -> Option<Format> {
        self.format.or_else(|| match self.image.as_str().rsplit_once('.') {
            Some((_, "qcow2")) => Some(Format::Qcow2),
            Some((_, "raw")) => Some(Format::Raw),
            _ => None,
        })
    }

    fn format_word(&self) -> &'static str {
        self.format().unwrap_or_default().word()
    }

    /// Ends a script unless the image is what it must be.
    fn proof(&self) -> Script {
        sh!(
            r#"[ -f {} ] || { echo {} >&2; exit 1; }
_digest=$(sha256sum <{}); _digest=${_digest%% *}
[ "$_digest" = {} ] || { echo {}" has the SHA-256 $_digest, and "{}" is asked for" >&2; exit 1; }"#,
            self.image,
            format!("there is no image {}", self.image),
            self.image,
            self.sha256,
            self.image.as_str(),
            self.sha256
        )
    }

    fn check(&self, field: &'static str) -> Vec<SpecProblem> {
        let mut problems = Vec::new();
        if self.sha256.len() != 64 || !self.sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            let message = format!("{:?} is not a SHA-256", self.sha256);
            problems.push(SpecProblem::new(field, message).help("it is 64 lowercase digits, as `sha256sum` prints it"));
        }
        if self.format().is_none() {
            let message = format!("the name of {} does not tell its format", self.image);
            problems.push(SpecProblem::new(field, message).help("add `format: qcow2` or `format: raw`"));
        }
        problems
    }
}

impl LibvirtVolume {
    fn virt(&self) -> Virt {
        Virt::Volume { pool: self.pool.0.clone(), name: self.name.0.clone() }
    }

    fn bytes(&self) -> u64 {
        self.size.map_or(0, |size| size.0)
    }

    /// Returns the definition of a volume of this name.
    fn element(&self, name: &str) -> Element {
        let capacity = Element::of_text("capacity", &self.bytes().to_string()).with("unit", "bytes");
        let target = Element::new("target").child(Element::new("format").with("type", self.format.word()));
        let target =
            if self.format == Format::Qcow2 { target.child(Element::of_text("compat", "1.1")) } else { target };
        let volume = Element::new("volume").child(Element::of_text("name", name)).child(capacity);
        let volume = volume.child(Element::of_text("allocation", "0")).child(target);
        match &self.backing {
            Some(backing) => {
                let path = Element::of_text("path", backing.image.as_str());
                let format = Element::new("format").with("type", backing.format_word());
                volume.child(Element::new("backingStore").child(path).child(format))
            }
            None => volume,
        }
    }

    /// Returns what is wanted of a volume that is there.
    fn desired(&self, observed: &ObservedVolume) -> Attributes {
        let mut desired = view(&self.element(self.name.as_str()));
        if observed.is_logical
            && is_rounded(observed.bytes, self.bytes())
            && let Some(size) = observed.found.as_ref().and_then(|found| found.get("size"))
        {
            desired.insert("size".to_owned(), size.clone());
        }
        desired
    }

    /// Returns the name under which a run notes that it made the volume.
    fn note(&self) -> String {
        format!("volume-{}-{}.made", self.pool, self.name)
    }

    /// Returns the words for `virsh` that name the volume.
    fn words<'a>(&'a self, verb: &'a str, name: &'a str) -> [&'a str; 5] {
        [verb, "--pool", self.pool.as_str(), "--vol", name]
    }

    fn make_step(&self) -> Step {
        let (pool, name) = (&self.pool, self.name.as_str());
        let part = format!("{name}.part");
        // What is not whole at once has another name until it is.
        let is_whole = self.format == Format::Qcow2 && self.from.is_none();
        let first = if is_whole { name } else { part.as_str() };
        let mut script = Script::default();
        for image in self.from.iter().chain(&self.backing) {
            script.push(&image.proof());
        }
        script.push(&virsh(["pool-refresh", pool.as_str()]));
        // A volume of a pool that did not run could not be seen before. Whether it is the wanted one is looked at after.
        script.push(&sh!("if {} 2>&1; then exit 0; fi", virsh(self.words("vol-path", name))));
        script.push(&sh!("[ -d \"$_backup\" ] || mkdir -p -m 0700 -- \"$_backup\"\n: >\"$_backup\"/{}", self.note()));
        if !is_whole {
            script.push(&sh!("{} 2>&1 || :", virsh(self.words("vol-delete", &part))));
        }
        if self.format == Format::Raw {
            // A logical volume that is not given all of its size at once would run full.
            script.push(&sh!(
                r#"set --
case $(virsh -q -c qemu:///system pool-dumpxml {}) in *"<pool type='logical'>"*) ;; *) set -- --allocation 0;; esac
virsh -q -c qemu:///system vol-create-as {} {} {} --format raw "$@" >/dev/null"#,
                pool,
                pool,
                first,
                self.bytes()
            ));
        } else {
            script.push(&sh!("_payload | virsh -q -c qemu:///system vol-create {} /dev/stdin >/dev/null", pool));
        }
        if !is_whole {
            script.push(&self.fill(&part));
        }
        let title = match (&self.from, &self.backing) {
            (Some(from), _) => format!("make the volume {pool}/{name} of {}", from.image),
            (_, Some(backing)) => format!("make the volume {pool}/{name} on {}", backing.image),
            _ => format!("make the volume {pool}/{name}"),
        };
        let step = Step::new(title, script).within(3600);
        if self.format == Format::Raw { step } else { step.with_bytes(self.element(first).render().into_bytes()) }
    }

    /// Gives the volume `part` what it begins with, and then its own name.
    ///
    /// A file that was just made reads as zeros. A logical volume reads as what was on the disk before, which was another
    /// guest's: nothing of it may be seen from this one.
    fn fill(&self, part: &str) -> Script {
        let mut script = sh!(
            r#"_path=$(virsh -q -c qemu:///system {})
_new=${_path%/*}/{}
[ ! -b "$_path" ] || blkdiscard --force --zeroout -- "$_path" || { {} || :; exit 1; }"#,
            Script::words(self.words("vol-path", part)),
            self.name.as_str(),
            virsh(self.words("vol-delete", part))
        );
        if let Some(from) = &self.from {
            script.push(&sh!(
                r#"qemu-img convert -n --target-is-zero -f {} -O {} -- {} "$_path" || { {} || :; exit 1; }"#,
                from.format_word(),
                self.format.word(),
                from.image,
                virsh(self.words("vol-delete", part))
            ));
        }
        script.then(sh!(
            r#"if [ -b "$_path" ]; then lvrename -q -- "$_path" "$_new" >/dev/null; else mv -T -- "$_path" "$_new"; fi
{}"#,
            virsh(["pool-refresh", self.pool.as_str()])
        ))
    }

    /// Sets `_path` to where the volume is, and `_guest` to a running guest that has it as a disk.
    fn find_guest(&self) -> Script {
        sh!(
            r#"_path=$(virsh -q -c qemu:///system {})
_guest=$(virsh -q -c qemu:///system list --name | while IFS= read -r _name; do
  [ -z "$_name" ] || ! virsh -q -c qemu:///system domblkinfo --domain "$_name" --device "$_path" >/dev/null 2>&1 || { printf '%s\n' "$_name"; break; }
done)"#,
            Script::words(self.words("vol-path", self.name.as_str()))
        )
    }

    fn delete_step(&self) -> Step {
        let name = format!("{}/{}", self.pool, self.name);
        let script = self.find_guest().then(sh!(
            "[ -z \"$_guest\" ] || { echo {}\" is a disk of $_guest, which runs\" >&2; exit 1; }\n{}",
            name,
            virsh(self.words("vol-delete", self.name.as_str()))
        ));
        Step::new(format!("delete the volume {name}"), script)
    }

    /// libvirt makes no logical volume larger, and QEMU takes such a disk only as large as it is.
    fn grow_step(&self) -> Step {
        let size = self.bytes().to_string();
        let idle = virsh(self.words("vol-resize", self.name.as_str()).into_iter().chain(["--capacity", size.as_str()]));
        let script = self.find_guest().then(sh!(
            r#"_size={}
if [ -b "$_path" ]; then
_old=$(blockdev --getsize64 "$_path")
lvextend -q --size "$_size"b -- "$_path" >/dev/null
_size=$(blockdev --getsize64 "$_path")
blkdiscard --force --zeroout --offset "$_old" -- "$_path"
{}
fi
if [ -n "$_guest" ]; then
virsh -q -c qemu:///system blockresize --domain "$_guest" --path "$_path" --size "$_size"B >/dev/null
elif [ ! -b "$_path" ]; then
{}
fi"#,
            self.bytes(),
            virsh(["pool-refresh", self.pool.as_str()]),
            idle
        ));
        let size = self.size.map(|size| size.to_string()).unwrap_or_default();
        Step::new(format!("grow the volume {}/{} to {size}", self.pool, self.name), script).within(3600)
    }

    fn create(&self, observed: &ObservedVolume) -> Change {
        let mut desired = view(&self.element(self.name.as_str()));
        if let Some(from) = &self.from {
            desired.insert("from".into(), json!(from.image));
        }
        let back = sh!(
            "if [ -e \"$_backup\"/{} ] && {} 2>&1; then\n{}\nfi",
            self.note(),
            virsh(self.words("vol-path", self.name.as_str())),
            virsh(self.words("vol-delete", self.name.as_str()))
        );
        let change = Change::create(self.id(), &desired).step(self.make_step()).reversed_by(vec![Step::new(
            format!("delete the volume {}/{} where it was made", self.pool, self.name),
            back,
        )]);
        match &observed.hidden {
            Some(why) => change.because(format!("it is not seen, because {why}; if it is there it stays")),
            None => change,
        }
    }

    fn update(&self, observed: &ObservedVolume, found: &Attributes) -> Change {
        let attributes = differences(found, &self.desired(observed), &[]);
        if attributes.is_empty() {
            let size = found.get("size").and_then(|size| size.as_str()).unwrap_or_default();
            return Change::no_op(self.id(), format!("it is there with {size}, as wanted"));
        }
        let grows = observed.bytes < self.bytes();
        let mut change = Change::no_op(self.id(), reason(&attributes));
        let is_only_size = attributes.iter().all(|attribute| attribute.name == "size");
        change.attributes = attributes;
        if is_only_size && grows {
            change.action = Action::Update;
            return change
                .step(self.grow_step())
                .irreversible("a volume is not made smaller: that cuts off what is in it");
        }
        change.action = Action::Replace;
        change
            .step(self.delete_step())
            .step(self.make_step())
            .irreversible("what is in the volume is lost")
            .needs_consent("all that is in the volume is lost")
    }
}

impl Kind for LibvirtVolume {
    const NAME: &'static str = "libvirt.volume";
    const SUMMARY: &'static str = "A disk of a guest's in a pool: its size, its format, and what it began as";
    const EXAMPLE: &'static str = r#"- libvirt.volume: {pool: images, name: ctl1-data.qcow2, size: 50GiB}
- libvirt.volume:
    pool: images
    name: ctl1.qcow2
    size: 20GiB
    from:
      image: /srv/images/debian-12.qcow2
      sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08
- libvirt.volume: {pool: vms, name: db1, size: 200GiB, format: raw}
"#;

    type Observed = ObservedVolume;

    fn name(&self) -> String {
        format!("{}/{}", self.pool, self.name)
    }

    fn check(&self) -> Vec<SpecProblem> {
        let mut problems = Vec::new();
        if self.state.is_absent() {
            let given =
                [("size", self.size.is_some()), ("from", self.from.is_some()), ("backing", self.backing.is_some())];
            for (field, _) in given.into_iter().filter(|(_, is_given)| *is_given) {
                problems.push(SpecProblem::new(field, "it has no meaning for what is not to be there"));
            }
            return problems;
        }
        if self.size.is_none() {
            problems.push(SpecProblem::new("size", "it is not said how large it is").help("such as `size: 20GiB`"));
        }
        if self.name.as_str().ends_with(".part") {
            problems.push(SpecProblem::new("name", "a name with `.part` is for what is being copied"));
        }
        if self.from.is_some() && self.backing.is_some() {
            let problem = SpecProblem::new("from", "a volume is a copy of an image or lies on one, not both");
            problems.push(problem.help("leave out `from` or `backing`"));
        }
        if self.backing.is_some() && self.format == Format::Raw {
            problems.push(SpecProblem::new("backing", "a `raw` volume lies on nothing").help("use `format: qcow2`"));
        }
        problems.extend(self.from.iter().flat_map(|image| image.check("from")));
        problems.extend(self.backing.iter().flat_map(|image| image.check("backing")));
        problems
    }

    fn queries(&self) -> Vec<Query> {
        vec![Query::Virt(self.virt())]
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedVolume, ObserveError> {
        let mut observed = ObservedVolume { found: None, hidden: None, bytes: 0, is_logical: false };
        if is_without_libvirt(answers) {
            return Ok(observed);
        }
        let said = answers.libvirt();
        let text = said.get(&self.virt()).map_or("", |state| state.stored.as_str());
        if text.starts_with("error:") {
            if text.contains("is not active") {
                observed.hidden = Some(format!("the pool {} does not run", self.pool));
                return Ok(observed);
            }
            // Of a volume whose file was removed by hand libvirt says only the second line.
            let is_absent = text.starts_with("error: failed to get ") || text.contains("Storage volume not found");
            return if is_absent { Ok(observed) } else { Err(silent(self, &one_line(text))) };
        }
        if text.is_empty() {
            return Err(silent(self, &said.trouble));
        }
        let mut volume = Element::parse(text).map_err(|error| ObserveError::unexpected(self, error.to_string()))?;
        observed.is_logical = volume.get("type") == Some("block");
        // libvirt goes by what it last saw of a volume group, and looks at it again only when it is told to.
        if let (true, Some(logical)) = (observed.is_logical, &said.logical) {
            let Some(bytes) = volume.text_at("target/path").and_then(|path| logical.get(path)) else {
                return Ok(observed);
            };
            volume.replace("capacity", vec![Element::of_text("capacity", &bytes.to_string())]);
        }
        observed.bytes = bytes_of(&volume);
        observed.found = Some(view(&volume));
        Ok(observed)
    }

    fn diff(&self, observed: &ObservedVolume) -> Change {
        match (&observed.found, self.state) {
            (None, Presence::Present) => self.create(observed),
            (Some(found), Presence::Present) => self.update(observed, found),
            (None, Presence::Absent) => {
                let reason = "it is not there, as wanted";
                let hidden = observed.hidden.as_ref().map(|why| format!("it is not seen, because {why}"));
                Change::no_op(self.id(), hidden.unwrap_or_else(|| reason.to_owned()))
            }
            (Some(found), Presence::Absent) => {
                Change::delete(self.id(), found).step(self.delete_step()).irreversible("what is in the volume is lost")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_logical_volume_is_larger_than_wanted_by_less_than_an_extent() {
        let mib = |count: u64| count << 20;
        // By extents of 4 MiB, which are LVM's own choice, and of 64 MiB.
        assert!(is_rounded(mib(52), mib(50)) && is_rounded(mib(52), mib(52)) && is_rounded(mib(64), mib(1)));
        assert!(!is_rounded(mib(52), mib(48)) && !is_rounded(mib(52), mib(53)) && !is_rounded(mib(128), mib(64)));
    }

    #[test]
    fn a_size_has_a_unit_and_is_shown_in_the_largest() {
        let read = |text: &str| serde_json::from_value::<Size>(text.into()).map(|size| (size.0, size.to_string()));
        assert_eq!(read("20GiB").unwrap(), (20 << 30, "20GiB".to_owned()));
        assert_eq!(read("2048 MiB").unwrap(), (2 << 30, "2GiB".to_owned()));
        assert_eq!(read("1536KiB").unwrap(), (1536 << 10, "1536KiB".to_owned()));
        assert_eq!(Size(1000).to_string(), "1000 bytes");
        for bad in ["", "20", "20GB", "20G", "0GiB", "-1GiB", "1.5GiB", "99999999TiB", "GiB"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
