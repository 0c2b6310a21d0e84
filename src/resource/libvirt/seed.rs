//! The disk that tells cloud-init in a guest who it is: the three files of its NoCloud source, in a small FAT image.
//!
//! The same words make the same bytes, so the digest of the image tells whether it is as wanted. It can hold the private key
//! of the guest's SSH server: it is never shown, and its file is for root alone.

use std::io::{Cursor, Write};

use base64::Engine as _;
use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::VirtName;
use crate::resource::managed_file::sha256;
use crate::resource::spec::AccountName;
use crate::secret::NOT_LOOKED_UP;

/// What cloud-init in a guest is told. When any of it changes, the guest is a new instance to cloud-init, which does all of it
/// again at the next start.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CloudInit {
    /// The guest's own name. The default is the name of the domain.
    #[serde(default)]
    hostname: Option<String>,
    /// Its accounts; the one that the image brings is left out.
    #[serde(default)]
    users: Vec<SeedUser>,
    /// The private key of its SSH server, as `ssh-keygen` writes it without a passphrase: so the guest is known before it
    /// first starts. It is a secret. Without one the guest makes its own.
    #[serde(default)]
    ssh_host_key: Option<String>,
    /// Packages that it installs.
    #[serde(default)]
    packages: Vec<String>,
    /// Shell commands that it runs once, as root.
    #[serde(default)]
    runcmd: Vec<String>,
}

/// An account of a guest's.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct SeedUser {
    /// Its name.
    name: AccountName,
    /// The public keys that may log in.
    #[serde(default)]
    ssh_keys: Vec<String>,
    /// Whether it may become root without a password.
    #[serde(default)]
    sudo: bool,
}

/// What a guest does on one of its cards.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Lan {
    /// What the guest calls the card. The default is for the guest's own rules to say.
    #[serde(default)]
    name: Option<String>,
    /// Its addresses with the length of their prefix; none with `dhcp`.
    #[serde(default)]
    addresses: Vec<String>,
    /// Whether it asks for an IPv4 address.
    #[serde(default)]
    dhcp: bool,
    /// Where what is for elsewhere goes.
    #[serde(default)]
    gateway: Option<std::net::IpAddr>,
    /// Servers for names.
    #[serde(default)]
    nameservers: Vec<std::net::IpAddr>,
    /// The size of the largest packet.
    #[serde(default)]
    mtu: Option<u32>,
}

/// Where seeds are. Each guest has a folder, and the name of a seed says what is in it.
pub(super) const FOLDER: &str = "/var/lib/libvirt/seeds";

/// The image for a guest.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Seed {
    pub(super) bytes: Vec<u8>,
    pub(super) sha256: String,
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "a seed of {} bytes", self.bytes.len())
    }
}

impl Seed {
    /// Returns the path of the seed of a guest.
    pub(super) fn path(&self, domain: &VirtName) -> String {
        format!("{FOLDER}/{domain}/{}.img", self.sha256.get(..16).unwrap_or_default())
    }
}

/// Returns the algorithm of a private key in OpenSSH's own form, as cloud-init calls it.
fn algorithm(key: &str) -> Option<&'static str> {
    let body: String = key.lines().map(str::trim).filter(|line| !line.starts_with("-----")).collect();
    let key = base64::engine::general_purpose::STANDARD.decode(body).ok()?;
    // The magic word, the cipher `none`, the function `none` without options, one key, and its public part.
    let rest = key.strip_prefix(b"openssh-key-v1\0\0\0\0\x04none\0\0\0\x04none\0\0\0\0\0\0\0\x01")?;
    let kind = rest.get(8..)?;
    [("ssh-ed25519", "ed25519"), ("ecdsa-sha2-", "ecdsa"), ("ssh-rsa", "rsa")]
        .into_iter()
        .find_map(|(name, word)| kind.starts_with(name.as_bytes()).then_some(word))
}

impl CloudInit {
    /// Returns what is wrong.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let key = self.ssh_host_key.as_deref().filter(|key| *key != NOT_LOOKED_UP);
        if key.is_some_and(|key| algorithm(key).is_none()) {
            problems.push("`ssh_host_key` is not a private key of OpenSSH's without a passphrase".to_owned());
        }
        if let Some(name) = self.hostname.as_deref().filter(|name| !super::network::is_host_name(name)) {
            problems.push(format!("{name:?} is not the name of a host"));
        }
        for key in self.users.iter().flat_map(|user| &user.ssh_keys) {
            if key.contains(['\n', '\r']) || key.split_whitespace().count() < 2 || key.contains("PRIVATE") {
                problems.push("one of `ssh_keys` is not a public key on one line".to_owned());
            }
        }
        problems
    }

    /// Returns the image for a guest with these cards.
    pub(super) fn seed(&self, domain: &VirtName, cards: &[(String, Option<&Lan>)]) -> std::io::Result<Seed> {
        let hostname = self.hostname.as_deref().unwrap_or(domain.as_str());
        let user_data = format!("#cloud-config\n{}\n", self.user_data(hostname, cards));
        let network = format!("{}\n", network(cards));
        let digest = sha256(format!("{user_data}{network}").as_bytes());
        let id = format!("{domain}-{}", digest.get(..12).unwrap_or_default());
        let meta_data = format!("{}\n", json!({"instance-id": id, "local-hostname": hostname}));
        let bytes = image(&[("meta-data", &meta_data), ("network-config", &network), ("user-data", &user_data)])?;
        let sha256 = sha256(&bytes);
        Ok(Seed { bytes, sha256 })
    }

    fn user_data(&self, hostname: &str, cards: &[(String, Option<&Lan>)]) -> Value {
        let users = self.users.iter().map(|user| {
            object([
                ("name", Some(json!(user.name))),
                ("shell", Some(json!("/bin/bash"))),
                ("lock_passwd", Some(json!(true))),
                ("sudo", user.sudo.then(|| json!("ALL=(ALL) NOPASSWD:ALL"))),
                ("ssh_authorized_keys", given(&user.ssh_keys)),
            ])
        });
        let keys = self.ssh_host_key.as_ref().map(|key| {
            let key = format!("{}\n", key.trim_end());
            let name = format!("{}_private", algorithm(&key).unwrap_or("ed25519"));
            object([(name.as_str(), Some(json!(key)))])
        });
        object([
            ("hostname", Some(json!(hostname.split('.').next().unwrap_or(hostname)))),
            ("fqdn", hostname.contains('.').then(|| json!(hostname))),
            ("users", Some(users.collect())),
            // A key that the guest has made for itself stays when something else changes.
            ("ssh_deletekeys", Some(json!(keys.is_some()))),
            ("ssh_keys", keys),
            ("write_files", given(&cards.iter().filter_map(link_file).collect::<Vec<_>>())),
            ("packages", given(&self.packages)),
            ("runcmd", given(&self.runcmd)),
        ])
    }
}

/// Returns the file by which udev gives a card its name, where it has one.
///
/// cloud-init gives it too, but at each boot only after the kernel's settings were applied to the cards that there were.
fn link_file((mac, lan): &(String, Option<&Lan>)) -> Option<Value> {
    let name = lan.as_ref()?.name.as_ref()?;
    // A VLAN has the address of the card below it.
    let content = format!("[Match]\nPermanentMACAddress={mac}\nType=ether\n\n[Link]\nName={name}\n");
    Some(json!({"path": format!("/etc/systemd/network/10-{name}.link"), "content": content}))
}

/// Returns an object of those values that are given.
fn object<'a>(pairs: impl IntoIterator<Item = (&'a str, Option<Value>)>) -> Value {
    let pairs = pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
    Value::Object(pairs.collect())
}

/// Returns a list as a value, unless nothing is in it.
fn given<T: Serialize>(list: &[T]) -> Option<Value> {
    (!list.is_empty()).then(|| json!(list))
}

/// Returns cloud-init's network configuration, in which a card is found by its MAC address.
fn network(cards: &[(String, Option<&Lan>)]) -> Value {
    let card = |(at, (mac, lan)): (usize, &(String, Option<&Lan>))| {
        let lan = (*lan)?;
        let gateway = lan.gateway.map(|gateway| {
            let all = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
            json!([{"to": all, "via": gateway}])
        });
        let card = object([
            ("match", Some(json!({"macaddress": mac}))),
            ("set-name", lan.name.as_ref().map(|name| json!(name))),
            ("dhcp4", Some(json!(lan.dhcp))),
            ("addresses", given(&lan.addresses)),
            ("routes", gateway),
            ("nameservers", given(&lan.nameservers).map(|servers| json!({"addresses": servers}))),
            ("mtu", lan.mtu.map(|mtu| json!(mtu))),
        ]);
        Some((lan.name.clone().unwrap_or_else(|| format!("nic{at}")), card))
    };
    let ethernets: Map<String, Value> = cards.iter().enumerate().filter_map(card).collect();
    json!({"version": 2, "ethernets": ethernets})
}

impl Lan {
    /// Returns what is wrong.
    pub(super) fn problems(&self) -> Vec<String> {
        let bad = self.addresses.iter().filter(|address| address.parse::<IpNet>().is_err());
        let bad = bad.map(|address| format!("{address:?} is not an address with the length of its prefix"));
        let is_name = |name: &str| {
            (1..=15).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-_".contains(&b))
        };
        let name = self.name.iter().filter(|name| !is_name(name)).map(|name| format!("{name:?} is no name of a card"));
        bad.chain(name).collect()
    }
}

/// Returns a FAT image that cloud-init knows by its label.
fn image(files: &[(&str, &str)]) -> std::io::Result<Vec<u8>> {
    const STEP: usize = 64 * 1024;
    // What is beside the content: the tables, the folder, and the end of each file's last cluster.
    let needed = files.iter().map(|(_, text)| text.len() + 4096).sum::<usize>() + STEP;
    let mut bytes = vec![0; needed.next_multiple_of(STEP)];
    let options = fatfs::FormatVolumeOptions::new().volume_label(*b"CIDATA     ").volume_id(0x5EED_C1DA);
    fatfs::format_volume(Cursor::new(&mut bytes), options)?;
    let system = fatfs::FileSystem::new(Cursor::new(&mut bytes), fatfs::FsOptions::new())?;
    for (name, text) in files {
        let mut file = system.root_dir().create_file(name)?;
        file.write_all(text.as_bytes())?;
        file.flush()?;
    }
    system.unmount()?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    fn seed_of(spec: Value) -> Seed {
        let cloud_init: CloudInit = serde_json::from_value(spec).unwrap();
        let lan: Lan =
            serde_json::from_value(json!({"name": "eno1", "addresses": ["10.0.0.2/24"], "gateway": "10.0.0.1"}))
                .unwrap();
        let name: VirtName = serde_json::from_value(json!("vm1")).unwrap();
        let cards = [("52:54:00:00:00:01".to_owned(), Some(&lan)), ("52:54:00:00:00:02".to_owned(), None)];
        cloud_init.seed(&name, &cards).unwrap()
    }

    #[test]
    fn a_seed_holds_the_three_files_of_its_guest() {
        let seed = seed_of(json!({
            "users": [{"name": "ops", "ssh_keys": ["ssh-ed25519 AAAA it's"], "sudo": true}], "runcmd": ["echo \"$(id)\""]
        }));
        let mut bytes = seed.bytes.clone();
        let system = fatfs::FileSystem::new(Cursor::new(&mut bytes), fatfs::FsOptions::new()).unwrap();
        assert_eq!(system.volume_label(), "CIDATA");
        let mut text = String::new();
        for name in ["meta-data", "network-config", "user-data"] {
            text.push_str(&format!("{name}: "));
            system.root_dir().open_file(name).unwrap().read_to_string(&mut text).unwrap();
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn the_same_words_make_the_same_bytes() {
        let of = |hostname: &str| seed_of(json!({"hostname": hostname}));
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a"), of("b"));
        let large = seed_of(json!({"runcmd": ["x".repeat(300_000)]}));
        assert!(large.bytes.len() > 300_000);
    }

    #[test]
    fn only_a_private_key_is_one() {
        let problems =
            |key: &str| serde_json::from_value::<CloudInit>(json!({"ssh_host_key": key})).unwrap().problems().join(" ");
        assert!(problems("secret").contains("`ssh_host_key` is not") && !problems("secret").contains("secret"));
        let mut key = b"openssh-key-v1\0\0\0\0\x04none\0\0\0\x04none\0\0\0\0\0\0\0\x01\0\0\0\x33\0\0\0\x0b".to_vec();
        key.extend_from_slice(b"ssh-ed25519....");
        let body = base64::engine::general_purpose::STANDARD.encode(key);
        let key = format!("-----BEGIN OPENSSH PRIVATE KEY-----\n{body}\n-----END OPENSSH PRIVATE KEY-----\n");
        assert_eq!(algorithm(&key), Some("ed25519"));
        assert_eq!(problems(&key), "");
    }
}
