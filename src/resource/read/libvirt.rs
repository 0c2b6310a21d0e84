//! What libvirt knows of its objects: one `virsh` for all of them, since each start of it costs a host as much as fifty
//! answers.
//!
//! The answers are kept as `virsh` gave them; the kinds read the XML.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::ReadError;
use crate::sh;
use crate::shell::Script;

/// An object of libvirt's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Virt {
    /// A guest.
    Domain(String),
    /// A virtual network.
    Network(String),
    /// A storage pool.
    Pool(String),
    /// A volume of a pool.
    Volume {
        /// The pool.
        pool: String,
        /// The volume's name in it.
        name: String,
    },
}

impl fmt::Display for Virt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Virt::Domain(name) => write!(f, "domain {name}"),
            Virt::Network(name) => write!(f, "network {name}"),
            Virt::Pool(name) => write!(f, "pool {name}"),
            Virt::Volume { pool, name } => write!(f, "volume {pool}/{name}"),
        }
    }
}

/// What `virsh` printed of an object, errors included.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VirtState {
    /// Its state: lines of a name, a colon and a value. Of a volume there is none.
    pub info: String,
    /// The XML of the definition that it is started with; of a volume what it is.
    pub stored: String,
    /// The XML that it runs with; the stored one where it does not run.
    pub live: String,
    /// Of a network, the UUIDs of the ports that guests have on it. Its XML has their number, but loses it at an update.
    pub ports: String,
}

/// Begins a line that says whose answer follows. XML cannot have this character in it.
const MARK: char = '\x1e';

/// How many bytes of commands one `virsh` gets: the kernel takes 128 KiB in one argument.
const CHUNK: usize = 64 * 1024;

impl Virt {
    /// Returns what is asked, as commands of `virsh` with the name of each answer.
    fn commands(&self) -> Vec<(&'static str, String)> {
        let (verb, name) = match self {
            Virt::Domain(name) => ("dom", name),
            Virt::Network(name) => ("net-", name),
            Virt::Pool(name) => ("pool-", name),
            Virt::Volume { pool, name } => {
                return vec![("stored", format!("vol-dumpxml --pool {} --vol {}", quoted(pool), quoted(name)))];
            }
        };
        let name = quoted(name);
        let dump = if verb == "dom" { "dumpxml".to_owned() } else { format!("{verb}dumpxml") };
        let mut commands = vec![
            ("info", format!("{verb}info -- {name}")),
            ("stored", format!("{dump} --inactive -- {name}")),
            ("live", format!("{dump} -- {name}")),
        ];
        if let Virt::Network(_) = self {
            commands.push(("ports", format!("net-port-list --uuid -- {name}")));
        }
        commands
    }
}

/// Returns a word as `virsh` reads it from a line of commands.
fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

pub(super) fn script(objects: &[Virt]) -> Script {
    if objects.is_empty() {
        return Script::default();
    }
    let mut chunks = vec![String::new()];
    for object in objects {
        let mut text = String::new();
        for (part, command) in object.commands() {
            let mark = quoted(&format!("\n{MARK}{object} {part}\n"));
            text.push_str(&format!("echo --str {mark};{command};"));
        }
        match chunks.last_mut() {
            Some(last) if last.is_empty() || last.len() + text.len() <= CHUNK => last.push_str(&text),
            _ => chunks.push(text),
        }
    }
    let mut asking = Script::default();
    for chunk in &chunks {
        // Ended by hand if libvirt hangs, and said so: what was not read is not taken for absent.
        asking.push(&sh!("timeout 60 virsh -q -c qemu:///system {} 2>&1 || printf '\\n\\036status %s\\n' $?", chunk));
    }
    if objects.iter().any(|object| matches!(object, Virt::Volume { .. })) {
        asking.push(&sh!(
            r"if command -v lvs >/dev/null 2>&1; then
printf '\n\036lvs logical\n'
timeout 60 lvs --noheadings --units b --nosuffix --options lv_path,lv_size </dev/null 2>/dev/null || printf '\n\036lvs trouble\n'
fi"
        ));
    }
    sh!(
        r#"if ! command -v virsh >/dev/null 2>&1; then :
elif [ ! -x /usr/sbin/libvirtd ] && [ ! -x /usr/sbin/virtqemud ]; then _mark missing libvirtd
else
_mark libvirt
{}
fi"#,
        asking
    )
}

/// What a host's libvirt answered.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VirtStates {
    /// Why it did not answer all; empty where it did.
    pub trouble: String,
    /// The size in bytes of each logical volume on the host, by its path, as LVM has it: libvirt remembers those that it has
    /// seen once. `None` where the host has no LVM, or was not asked.
    pub logical: Option<BTreeMap<String, u64>>,
    objects: BTreeMap<String, VirtState>,
}

impl VirtStates {
    /// Returns what was said of an object; `None` where nothing was.
    pub fn get(&self, object: &Virt) -> Option<&VirtState> {
        self.objects.get(&object.to_string())
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.objects.extend(other.objects);
        if let Some(logical) = other.logical {
            self.logical.get_or_insert_default().extend(logical);
        }
        if !other.trouble.is_empty() {
            self.trouble = other.trouble;
        }
    }
}

pub(super) fn parse(data: &[u8], states: &mut VirtStates) -> Result<(), ReadError> {
    let text = String::from_utf8_lossy(data);
    let mark = format!("\n{MARK}");
    let mut answers = text.split(mark.as_str());
    // Before the first mark nothing is said, unless libvirt cannot be reached at all.
    let before = answers.next().unwrap_or_default().trim();
    if !before.is_empty() {
        states.trouble = before.to_owned();
    }
    for answer in answers {
        let (head, said) = answer.split_once('\n').unwrap_or((answer, ""));
        let said = said.trim();
        let Some((object, part)) = head.rsplit_once(' ') else {
            return Err(ReadError::shape(super::LIBVIRT, format!("the line {head:?}")));
        };
        if object == "status" {
            // Any command that failed makes it so; only a `virsh` that was ended left things out.
            if part == "124" || part == "137" {
                states.trouble = "`virsh` did not end within a minute".to_owned();
            }
            continue;
        }
        if object == "lvs" {
            states.logical = if part == "logical" { Some(logical(said)?) } else { None };
            continue;
        }
        let state = states.objects.entry(object.to_owned()).or_default();
        match part {
            "info" => state.info = said.to_owned(),
            "stored" => state.stored = said.to_owned(),
            "live" => state.live = said.to_owned(),
            "ports" => state.ports = said.to_owned(),
            _ => return Err(ReadError::shape(super::LIBVIRT, format!("the line {head:?}"))),
        }
    }
    Ok(())
}

/// Reads lines of a path and a size. What has no path, as the parts of a mirror, is no volume.
fn logical(said: &str) -> Result<BTreeMap<String, u64>, ReadError> {
    let volume = |line: &str| {
        let (path, size) = line.trim().rsplit_once(char::is_whitespace)?;
        Some((path.trim_end().to_owned(), size.parse().ok()?))
    };
    let lines = said.lines().filter(|line| line.trim().starts_with('/'));
    lines
        .map(|line| volume(line).ok_or_else(|| ReadError::shape(super::LIBVIRT, format!("lvs's line {line:?}"))))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_answer_is_found_by_its_object() {
        let mut states = VirtStates::default();
        let text = "\n\x1enetwork n1 info\nName:  n1\nActive:  yes\n\n\x1enetwork n1 stored\n<network/>\n\n\n\x1epool p info\nerror: failed to get pool 'p'\nerror: Storage pool not found\n\n\x1estatus 1\n";
        parse(text.as_bytes(), &mut states).unwrap();
        let network = states.get(&Virt::Network("n1".to_owned())).unwrap();
        assert_eq!((network.info.as_str(), network.stored.as_str()), ("Name:  n1\nActive:  yes", "<network/>"));
        let pool = states.get(&Virt::Pool("p".to_owned())).unwrap();
        assert!(pool.info.starts_with("error: failed to get pool"));
        assert_eq!(states.trouble, "");
    }

    #[test]
    fn a_libvirt_that_does_not_answer_is_trouble() {
        let mut states = VirtStates::default();
        parse(b"error: failed to connect to the hypervisor\nerror: no such socket\n\n\x1estatus 1\n", &mut states)
            .unwrap();
        assert_eq!(states.trouble, "error: failed to connect to the hypervisor\nerror: no such socket");
        parse(b"\n\x1enetwork n1 info\nName: n1\n\x1estatus 124\n", &mut states).unwrap();
        assert_eq!(states.trouble, "`virsh` did not end within a minute");
    }

    #[test]
    fn logical_volumes_are_as_lvm_has_them() {
        let mut states = VirtStates::default();
        parse(b"\n\x1elvs logical\n  /dev/vg/a 4194304\n  /dev/vg/b-c.part    8388608\n", &mut states).unwrap();
        let wanted = [("/dev/vg/a".to_owned(), 4 << 20), ("/dev/vg/b-c.part".to_owned(), 8 << 20)];
        assert_eq!(states.logical, Some(wanted.into()));
        // What was not told whole is not believed.
        parse(b"\n\x1elvs logical\n  /dev/vg/a 4194304\n\n\x1elvs trouble\n", &mut states).unwrap();
        assert_eq!(states.logical, None);
        assert!(parse(b"\n\x1elvs logical\n  /dev/vg/a 4.00m\n", &mut states).is_err());
    }

    #[test]
    fn many_objects_are_asked_for_in_few_calls() {
        let pools: Vec<Virt> = (0..200).map(|n| Virt::Pool(format!("pool-{n:03}"))).collect();
        let text = script(&pools);
        assert_eq!(text.text().matches("timeout 60 virsh").count(), 1);
        let pools: Vec<Virt> = (0..2000).map(|n| Virt::Pool(format!("pool-{n:04}"))).collect();
        assert!(
            script(&pools).text().lines().filter(|line| line.contains("virsh -q")).all(|line| line.len() < 100_000)
        );
    }
}
