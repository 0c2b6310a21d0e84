//! Facts: what templates and conditions may ask of a host, as `facts.GROUP.NAME`.
//!
//! Only the groups that somebody uses are read, each with one snippet in the same exchange as the resources. A group
//! is a script and a parser, with nothing between them. What a host does not know is null, never a guess.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value, json};

use super::read::{Answers, Query};
use super::{ObserveError, ip};
use crate::addr::ResourceId;
use crate::shell::Script;

/// Facts that are read together.
pub struct FactGroup {
    /// The group's name, as in `facts.os.codename`.
    pub name: &'static str,
    /// One sentence on what it holds.
    pub summary: &'static str,
    /// What it may look like, as JSON.
    pub example: &'static str,
    tools: &'static [(&'static str, &'static str)],
    script: &'static str,
    parse: fn(&str) -> Option<Value>,
}

impl fmt::Debug for FactGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FactGroup({})", self.name)
    }
}

/// Prints a file with builtins only, line by line, so that it costs no process.
const OS: &str = r#"for _f in /etc/os-release /usr/lib/os-release; do
  if [ -r "$_f" ]; then
    while IFS= read -r _l || [ -n "$_l" ]; do printf '%s\n' "$_l"; done <"$_f"
    break
  fi
done"#;

const KERNEL: &str = r#"read -r _l </proc/sys/kernel/osrelease; printf 'release=%s\n' "$_l"
if [ -r /proc/sys/kernel/arch ]; then read -r _l </proc/sys/kernel/arch; else _l=$(uname -m); fi
printf 'arch=%s\n' "$_l"
read -r _l </proc/sys/kernel/random/boot_id; printf 'boot_id=%s\n' "$_l""#;

const HOSTNAME: &str = r#"read -r _l </proc/sys/kernel/hostname; printf 'name=%s\n' "$_l"
printf 'fqdn=%s\n' "$(timeout 2 hostname -f 2>/dev/null)""#;

const CPU: &str = r#"read -r _l </sys/devices/system/cpu/online; printf 'online=%s\n' "$_l"
_i=0
while [ $_i -lt 30 ] && IFS= read -r _l; do
  case $_l in 'model name'*) printf 'model=%s\n' "${_l#*: }"; break;; esac
  _i=$((_i + 1))
done </proc/cpuinfo"#;

const MEMORY: &str = r#"while read -r _n _v _; do
  case $_n in MemTotal:) printf 'total=%s\n' "$_v";; SwapTotal:) printf 'swap=%s\n' "$_v"; break;; esac
done </proc/meminfo"#;

const MACHINE: &str = r#"_read() {
  _l=
  if [ -r "$2" ]; then IFS= read -r _l <"$2" || :; fi
  printf '%s=%s\n' "$1" "$_l"
}
_read id /etc/machine-id
_read vendor /sys/class/dmi/id/sys_vendor
_read model /sys/class/dmi/id/product_name
_read serial /sys/class/dmi/id/product_serial"#;

const TIME: &str = r#"date '+epoch=%s
offset=%z
abbreviation=%Z'
if [ -r /etc/timezone ]; then IFS= read -r _l </etc/timezone || :; printf 'zone=%s\n' "$_l"; fi"#;

const IP: &[(&str, &str)] = &[("ip", "iproute2")];

static GROUPS: [FactGroup; 12] = [
    FactGroup {
        name: "cpu",
        summary: "The processors: how many are online, and their model",
        example: r#"{"count": 64, "model": "AMD EPYC 7543P 32-Core Processor"}"#,
        tools: &[],
        script: CPU,
        parse: parse_cpu,
    },
    FactGroup {
        name: "disks",
        summary: "The disks by name: size in bytes, type, model and serial number",
        example: r#"{"sda": {"size": 480103981056, "type": "disk", "model": "MZ7L3480", "serial": "S6AB"}}"#,
        tools: &[("lsblk", "util-linux")],
        script: "lsblk -J -b -d -e 1,7 -o NAME,SIZE,TYPE,MODEL,SERIAL 2>/dev/null || :",
        parse: parse_disks,
    },
    FactGroup {
        name: "hostname",
        summary: "The host's own name, and the full one that it finds for itself",
        example: r#"{"name": "ctl-par1-01", "fqdn": "ctl-par1-01.example.net"}"#,
        tools: &[],
        script: HOSTNAME,
        parse: parse_hostname,
    },
    FactGroup {
        name: "interfaces",
        summary: "The network interfaces by name: MAC, MTU, state and addresses, without link-local ones",
        example: r#"{"eno1": {"mac": "52:54:00:12:34:56", "mtu": 1500, "state": "up", "addresses": ["10.10.0.11/24"]}}"#,
        tools: IP,
        script: "ip -j addr",
        parse: parse_interfaces,
    },
    FactGroup {
        name: "kernel",
        summary: "The running kernel: release, architecture, and the id of this boot",
        example: r#"{"release": "6.1.0-26-amd64", "arch": "x86_64", "boot_id": "5b0c0d7a-3c6e-4b1f-9d2a-3e0b7f0a9c11"}"#,
        tools: &[],
        script: KERNEL,
        parse: parse_kernel,
    },
    FactGroup {
        name: "machine",
        summary: "The machine: its id, and the vendor, model and serial number that its firmware names",
        example: r#"{"id": "9f0c5c0e5d9c4a0f8f6a2d1b3c4e5f60", "vendor": "Dell Inc.", "model": "PowerEdge R6625", "serial": "FR0001"}"#,
        tools: &[],
        script: MACHINE,
        parse: parse_machine,
    },
    FactGroup {
        name: "memory",
        summary: "The memory and the swap, in MiB",
        example: r#"{"total_mb": 515652, "swap_mb": 0}"#,
        tools: &[],
        script: MEMORY,
        parse: parse_memory,
    },
    FactGroup {
        name: "mounts",
        summary: "The local file systems by path: type, size and free space in MiB",
        example: r#"{"/": {"fstype": "ext4", "size_mb": 96000, "free_mb": 81000}}"#,
        tools: &[],
        // A network file system whose server is gone would hold `df` up. Its own `-l` takes every source with a colon
        // for a remote one, so the types are named.
        script: "timeout 5 df -B 1048576 --output=fstype,size,avail,target -x nfs -x nfs4 -x cifs -x smb3 -x ceph \
                 -x fuse.sshfs -x fuse.glusterfs -x lustre -x afs -x 9p 2>/dev/null || :",
        parse: parse_mounts,
    },
    FactGroup {
        name: "os",
        summary: "The distribution: id, version, codename and full name",
        example: r#"{"id": "debian", "version": "12", "codename": "bookworm", "pretty": "Debian GNU/Linux 12 (bookworm)"}"#,
        tools: &[],
        script: OS,
        parse: parse_os,
    },
    FactGroup {
        name: "routes",
        summary: "The default routes of IPv4 and IPv6",
        example: r#"{"default_gateway": "10.10.0.1", "default_interface": "eno1", "default_gateway6": null, "default_interface6": null}"#,
        tools: IP,
        script: "ip -j route show default; echo; ip -j -6 route show default 2>/dev/null || :",
        parse: parse_routes,
    },
    FactGroup {
        name: "time",
        summary: "The host's clock: seconds since 1970, the time zone and its distance from UTC",
        example: r#"{"epoch": 1795464546, "zone": "Europe/Paris", "offset": "+0100"}"#,
        tools: &[],
        script: TIME,
        parse: parse_time,
    },
    FactGroup {
        name: "virtual",
        summary: "Whether the host is a virtual machine or a container, and of which technology; `none` on metal",
        example: r#"{"technology": "kvm", "is_virtual": true, "is_container": false}"#,
        tools: &[("systemd-detect-virt", "systemd")],
        script: "systemd-detect-virt 2>/dev/null || :",
        parse: parse_virtual,
    },
];

/// Returns all groups, by name.
pub fn groups() -> &'static [FactGroup] {
    &GROUPS
}

fn find(name: &str) -> Option<&'static FactGroup> {
    GROUPS.iter().find(|group| group.name == name)
}

fn key(group: &FactGroup) -> String {
    format!("fact:{}", group.name)
}

/// Returns what to ask for these groups. A name that is no group's asks nothing.
pub fn queries(groups: &BTreeSet<&str>) -> Vec<Query> {
    let groups = groups.iter().filter_map(|name| find(name));
    groups
        .map(|group| Query::Snippet {
            key: key(group),
            tools: group.tools.to_vec(),
            script: Script::constant(group.script),
        })
        .collect()
}

/// Returns the facts of these groups, each under its name.
///
/// # Errors
/// A host without the program that a group needs, or whose answer is not understood, is an error that names the
/// group as `fact[GROUP]`.
pub fn parse(groups: &BTreeSet<&str>, answers: &Answers) -> Result<Value, ObserveError> {
    let mut facts = Map::new();
    for group in groups.iter().filter_map(|name| find(name)) {
        let id = || ResourceId::new("fact", group.name);
        if let Some((tool, package)) = group.tools.iter().find(|(tool, _)| answers.lacks(tool)) {
            let (tool, package) = ((*tool).to_owned(), (*package).to_owned());
            return Err(ObserveError::MissingTool { id: id(), tool, package });
        }
        let output = answers.snippet(&key(group));
        let text = output.map(|output| output.text().into_owned()).unwrap_or_default();
        let fact = (group.parse)(&text).ok_or_else(|| {
            let beginning: String = text.chars().take(200).collect();
            ObserveError::Unexpected { id: id(), what: format!("{beginning:?}") }
        })?;
        facts.insert(group.name.to_owned(), fact);
    }
    Ok(Value::Object(facts))
}

/// Returns the value of a `name=value` line; none where there is no such line or nothing in it.
fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    found.map(str::trim).filter(|value| !value.is_empty())
}

fn parse_os(text: &str) -> Option<Value> {
    let read = |name: &str| -> Option<String> {
        let quoted = value(text, name)?;
        // The file is shell syntax.
        shlex::split(quoted).and_then(|words| words.into_iter().next()).filter(|word| !word.is_empty())
    };
    let id = read("ID")?;
    Some(json!({
        "id": id,
        // Debian's testing and unstable have no version.
        "version": read("VERSION_ID"),
        "codename": read("VERSION_CODENAME"),
        "pretty": read("PRETTY_NAME"),
    }))
}

fn parse_kernel(text: &str) -> Option<Value> {
    Some(json!({
        "release": value(text, "release")?,
        "arch": value(text, "arch")?,
        "boot_id": value(text, "boot_id"),
    }))
}

fn parse_hostname(text: &str) -> Option<Value> {
    let name = value(text, "name")?;
    Some(json!({"name": name, "fqdn": value(text, "fqdn").unwrap_or(name)}))
}

fn parse_cpu(text: &str) -> Option<Value> {
    let mut count = 0_u64;
    for part in value(text, "online")?.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        count += (last + 1).checked_sub(first)?;
    }
    Some(json!({"count": count, "model": value(text, "model")}))
}

fn parse_memory(text: &str) -> Option<Value> {
    let kib = |name: &str| value(text, name)?.parse::<u64>().ok();
    Some(json!({"total_mb": kib("total")? / 1024, "swap_mb": kib("swap").unwrap_or(0) / 1024}))
}

fn parse_interfaces(text: &str) -> Option<Value> {
    let mut interfaces = BTreeMap::new();
    for found in ip::links(text).ok()? {
        let addresses = found.addresses.iter().filter(|address| address.scope != "link");
        let addresses: Vec<String> =
            addresses.filter_map(|address| Some(format!("{}/{}", address.local?, address.prefixlen))).collect();
        let fact = json!({
            "mac": found.address.filter(|_| found.link_type == "ether"),
            "mtu": found.mtu,
            "state": found.operstate.to_lowercase(),
            "addresses": addresses,
        });
        interfaces.insert(found.name, fact);
    }
    Some(json!(interfaces))
}

/// Returns the gateway and the interface of the default route that wins.
fn default_route(line: &str) -> Option<(Value, Value)> {
    if line.trim().is_empty() {
        return Some((Value::Null, Value::Null));
    }
    let routes: Vec<Value> = serde_json::from_str(line).ok()?;
    let metric = |route: &Value| route.get("metric").and_then(Value::as_u64).unwrap_or(0);
    let Some(route) = routes.iter().filter(|route| route.get("dst").is_some()).min_by_key(|route| metric(route)) else {
        return Some((Value::Null, Value::Null));
    };
    // With several ways of equal worth, the first stands for all.
    let hop = route.get("nexthops").and_then(|hops| hops.get(0)).unwrap_or(route);
    let gateway = hop.get("gateway").or_else(|| hop.get("via").and_then(|via| via.get("host")));
    let field = |value: Option<&Value>| value.cloned().unwrap_or(Value::Null);
    Some((field(gateway), field(hop.get("dev"))))
}

fn parse_routes(text: &str) -> Option<Value> {
    let mut answers = text.lines().filter(|line| !line.trim().is_empty());
    let (gateway, interface) = default_route(answers.next().unwrap_or_default())?;
    let (gateway6, interface6) = default_route(answers.next().unwrap_or_default())?;
    Some(json!({
        "default_gateway": gateway,
        "default_interface": interface,
        "default_gateway6": gateway6,
        "default_interface6": interface6,
    }))
}

fn parse_disks(text: &str) -> Option<Value> {
    let mut disks = BTreeMap::new();
    // A container has no block devices and `lsblk` nothing to say.
    if text.trim().is_empty() {
        return Some(json!(disks));
    }
    let answer: Value = serde_json::from_str(text).ok()?;
    for device in answer.get("blockdevices")?.as_array()? {
        let name = device.get("name")?.as_str()?;
        // Before version 2.33 every number was a string.
        let size = device.get("size").and_then(|size| size.as_u64().or_else(|| size.as_str()?.parse().ok()));
        let word = |name: &str| device.get(name).and_then(Value::as_str).map(str::trim).filter(|word| !word.is_empty());
        // An empty card reader, or zram that is not set up.
        if let Some(size) = size.filter(|size| *size > 0) {
            let disk = json!({"size": size, "type": word("type"), "model": word("model"), "serial": word("serial")});
            disks.insert(name.to_owned(), disk);
        }
    }
    Some(json!(disks))
}

fn parse_mounts(text: &str) -> Option<Value> {
    let mut mounts = BTreeMap::new();
    for line in text.lines().skip(1) {
        let mut rest = line.trim_start();
        let mut column = || {
            let (word, tail) = rest.split_once(char::is_whitespace)?;
            rest = tail.trim_start();
            Some(word)
        };
        let (fstype, size, free) = (column()?, column()?, column()?);
        // A path may have spaces; it is the rest of the line.
        if rest.starts_with('/') {
            let (size, free) = (size.parse::<u64>().unwrap_or(0), free.parse::<u64>().unwrap_or(0));
            mounts.insert(rest.to_owned(), json!({"fstype": fstype, "size_mb": size, "free_mb": free}));
        }
    }
    // Not even a root: `df` did not answer in time.
    (!mounts.is_empty()).then(|| json!(mounts))
}

fn parse_virtual(text: &str) -> Option<Value> {
    let technology = text.trim();
    if technology.is_empty() || technology.contains(char::is_whitespace) {
        return None;
    }
    let is_container = matches!(
        technology,
        "systemd-nspawn"
            | "lxc"
            | "lxc-libvirt"
            | "docker"
            | "podman"
            | "rkt"
            | "openvz"
            | "wsl"
            | "proot"
            | "pouch"
            | "container-other"
    );
    Some(json!({"technology": technology, "is_virtual": technology != "none", "is_container": is_container}))
}

fn parse_time(text: &str) -> Option<Value> {
    let epoch: u64 = value(text, "epoch")?.parse().ok()?;
    let zone = value(text, "zone").or_else(|| value(text, "abbreviation"));
    Some(json!({"epoch": epoch, "zone": zone, "offset": value(text, "offset")}))
}

/// What firmware says when nobody filled it in.
const PLACEHOLDERS: [&str; 8] = [
    "to be filled by o.e.m.",
    "default string",
    "not specified",
    "not applicable",
    "system manufacturer",
    "system product name",
    "system serial number",
    "none",
];

fn parse_machine(text: &str) -> Option<Value> {
    let read = |name: &str| value(text, name).filter(|value| !PLACEHOLDERS.contains(&value.to_lowercase().as_str()));
    // An image that was never booted says `uninitialized`.
    let id = read("id").filter(|id| id.len() == 32);
    // The script prints every name; an empty answer is none.
    text.contains("id=")
        .then(|| json!({"id": id, "vendor": read("vendor"), "model": read("model"), "serial": read("serial")}))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::diag::{Diagnostics, Sources};

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Case {
        group: String,
        output: String,
        fact: Value,
    }

    #[test]
    fn fact_cases() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/facts");
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let text = crate::fs::read_to_string(path.as_path().try_into().unwrap()).unwrap().into_bytes();
            let mut problems = Diagnostics::default();
            let node = crate::load::yaml::parse(&mut Sources::default(), "case.yaml".into(), &text, &mut problems);
            assert!(problems.is_empty(), "{}: {problems:?}", path.display());
            let case: Case = serde_json::from_value(node.unwrap().to_json()).unwrap();
            let group = find(&case.group).unwrap_or_else(|| panic!("{}: no such group", path.display()));
            // Null is the expectation that the answer is not understood.
            let fact = (group.parse)(case.output.trim_end_matches('\n')).unwrap_or(Value::Null);
            assert_eq!(fact, case.fact, "{}", path.display());
            *seen.entry(case.group).or_default() += 1;
        }
        for group in groups() {
            let count = seen.get(group.name).copied().unwrap_or(0);
            assert!(count >= 2, "{} has {count} data cases: a plain one and an odd one", group.name);
        }
    }

    #[test]
    fn groups_are_sorted_and_have_valid_examples() {
        assert!(GROUPS.is_sorted_by_key(|group| group.name));
        for group in groups() {
            let example: Value = serde_json::from_str(group.example).unwrap();
            assert!(example.is_object(), "{}", group.name);
        }
    }

    #[test]
    fn only_the_groups_that_are_used_are_asked_and_a_missing_tool_is_named() {
        let used = BTreeSet::from(["os", "interfaces", "nonsense"]);
        assert_eq!(queries(&used).len(), 2);
        let answers: Answers = serde_json::from_value(json!({
            "missing_tools": ["ip"],
            "snippets": {"fact:os": {"output": "ID=debian\nVERSION_ID=\"12\"\n", "status": 0}},
        }))
        .unwrap();
        let error = parse(&used, &answers).unwrap_err();
        assert_eq!(error.to_string(), "fact[interfaces] needs `ip`, which the host does not have");
        assert_eq!(error.hint().unwrap(), "install the package `iproute2` on the host first");
        let facts = parse(&BTreeSet::from(["os"]), &answers).unwrap();
        assert_eq!(facts["os"]["id"], "debian");
        assert!(parse(&BTreeSet::from(["cpu"]), &answers).is_err());
    }
}
