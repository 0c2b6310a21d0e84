//! The readers of what a host says of itself. Each takes the output of one question and knows nothing of the others.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::Deserialize;
use serde_json::Value;

use crate::policy::live::{
    Account, AppArmor, AptSource, Certificate, Disk, HostKey, LogTarget, Logs, Matched, Mount, Password, Right, Sshd,
    Sudo, Time, Trail, Umask,
};

/// Returns the parts of a text: what stands before the first `== NAME`, and each named part.
fn parts(text: &str) -> Vec<(&str, Vec<&str>)> {
    let mut parts = vec![("", Vec::new())];
    for line in text.lines() {
        match (line.strip_prefix("== "), parts.last_mut()) {
            (Some(name), _) => parts.push((name, Vec::new())),
            (None, Some((_, lines))) => lines.push(line),
            (None, None) => {}
        }
    }
    parts
}

pub(super) fn sshd(text: &str) -> Result<Sshd, String> {
    let mut sshd = Sshd::default();
    for (name, lines) in parts(text) {
        for line in lines {
            match name {
                "matched" => {
                    let Some((only, directive)) = line.split_once('\t') else { continue };
                    let directive = directive.trim();
                    let Some((key, value)) = directive.split_once(|c: char| c.is_whitespace() || c == '=') else {
                        continue;
                    };
                    let value = value.trim_start_matches(['=', ' ', '\t']).trim().trim_matches('"').to_owned();
                    sshd.matched.push(Matched { only: only.trim().to_owned(), key: key.to_lowercase(), value });
                }
                "keys" => {
                    // `PATH<TAB>BITS FINGERPRINT COMMENT (SORT)`.
                    let Some((path, key)) = line.split_once('\t') else { continue };
                    let bits = key.split(' ').next().and_then(|bits| bits.parse().ok());
                    let sort = key.rsplit_once('(').map(|(_, sort)| sort.trim_end_matches(')'));
                    let (Some(bits), Some(sort)) = (bits, sort) else {
                        return Err(format!("`ssh-keygen -l` said {key:?}"));
                    };
                    sshd.keys.push(HostKey { path: path.to_owned(), sort: sort.to_owned(), bits });
                }
                _ => {
                    let Some((key, value)) = line.split_once(' ') else { continue };
                    sshd.settings.entry(key.to_lowercase()).or_default().push(value.to_owned());
                }
            }
        }
    }
    // Every server listens on a port.
    match sshd.settings.contains_key("port") {
        true => Ok(sshd),
        false => Err("`sshd -T` listed no settings".to_owned()),
    }
}

/// Returns a value as rules compare it: one space between words.
fn value(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

pub(super) fn settings(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("/proc/sys/")?.split_once(':'));
    lines.map(|(path, text)| (path.replace('/', "."), value(text))).collect()
}

pub(super) fn cards(text: &str) -> BTreeMap<(String, String, String), String> {
    let lines = text.lines().filter_map(|line| {
        let (value, path) = line.split_once(' ')?;
        let mut names = path.strip_prefix("/proc/sys/net/")?.split('/');
        let (family, _conf, card, name) = (names.next()?, names.next()?, names.next()?, names.next()?);
        Some(((family.to_owned(), card.to_owned(), name.to_owned()), value.trim().to_owned()))
    });
    lines.collect()
}

/// Returns a text of the kernel's with its `\040` and the like turned back.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

pub(super) fn mounts(text: &str) -> Result<BTreeMap<String, Mount>, String> {
    let mut mounts = BTreeMap::new();
    for line in text.lines() {
        // `36 35 98:0 /root /path rw,nosuid - ext4 /dev/vda rw`; what lies above hides what was mounted before.
        let (before, after) = line.split_once(" - ").ok_or_else(|| format!("the line {line:?} of mountinfo"))?;
        let before: Vec<&str> = before.split(' ').collect();
        let mut after = after.split(' ');
        let (Some(path), Some(own)) = (before.get(4), before.get(5)) else {
            return Err(format!("the line {line:?} of mountinfo"));
        };
        let (sort, source) = (after.next().unwrap_or_default(), after.next().unwrap_or_default());
        let options = own.split(',').chain(after.next().unwrap_or_default().split(',')).map(str::to_owned).collect();
        let mount = Mount { sort: sort.to_owned(), source: unescaped(source), options };
        mounts.insert(unescaped(path), mount);
    }
    match mounts.is_empty() {
        true => Err("mountinfo is empty".to_owned()),
        false => Ok(mounts),
    }
}

pub(super) fn disks(text: &str) -> Result<Vec<Disk>, String> {
    #[derive(Deserialize)]
    struct Listing {
        blockdevices: Vec<Device>,
    }
    #[derive(Deserialize)]
    struct Device {
        name: String,
        #[serde(rename = "type")]
        sort: String,
        mountpoint: Option<String>,
        #[serde(default)]
        children: Vec<Device>,
    }
    fn visit(device: &Device, is_encrypted: bool, disks: &mut Vec<Disk>) {
        let is_encrypted = is_encrypted || device.sort == "crypt";
        if let Some(mount) = &device.mountpoint {
            disks.push(Disk { mount: mount.clone(), device: device.name.clone(), is_encrypted });
        }
        device.children.iter().for_each(|child| visit(child, is_encrypted, disks));
    }
    let listing: Listing = serde_json::from_str(text).map_err(|error| format!("`lsblk -J`: {error}"))?;
    let mut disks = Vec::new();
    // What lies in memory is gone with the power.
    let kept = listing.blockdevices.iter().filter(|device| !device.name.starts_with("/dev/zram"));
    kept.for_each(|device| visit(device, false, &mut disks));
    Ok(disks)
}

pub(super) fn apparmor(text: &str) -> Result<AppArmor, String> {
    let mut lines = text.lines();
    let is_on = match lines.next() {
        Some("Y") => true,
        Some("N") => false,
        other => return Err(format!("AppArmor's switch is {other:?}")),
    };
    Ok(AppArmor { is_on, enforced: lines.filter(|line| line.ends_with("(enforce)")).count() })
}

/// The sorts of hashes that `crypt(5)` knows, by their beginnings.
const HASHES: [(&str, &str); 10] = [
    ("$y$", "yescrypt"),
    ("$gy$", "gost-yescrypt"),
    ("$7$", "scrypt"),
    ("$2b$", "bcrypt"),
    ("$2y$", "bcrypt"),
    ("$6$", "SHA-512"),
    ("$5$", "SHA-256"),
    ("$sha1$", "SHA-1"),
    ("$1$", "MD5"),
    ("des", "DES"),
];

pub(super) fn accounts(text: &str) -> Result<Vec<Account>, String> {
    let mut accounts: Vec<Account> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("keys:") {
            accounts.iter_mut().filter(|account| account.name == name).for_each(|account| account.has_keys = true);
            continue;
        }
        let mut fields = line.strip_prefix("account:").unwrap_or_default().split(':');
        let (Some(name), Some(uid), Some(shell), Some(sort)) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err(format!("an account is told as {line:?}"));
        };
        let uid = uid.parse().map_err(|_| format!("the account `{name}` has the number {uid:?}"))?;
        let password = match sort {
            "locked" => Password::Locked,
            "empty" => Password::Empty,
            sort => {
                let known = HASHES.iter().find(|(prefix, _)| *prefix == sort);
                Password::Hash(known.map_or("unknown", |(_, name)| name))
            }
        };
        accounts.push(Account { name: name.to_owned(), uid, shell: shell.to_owned(), password, has_keys: false });
    }
    match accounts.is_empty() {
        true => Err("no account was told".to_owned()),
        false => Ok(accounts),
    }
}

pub(super) fn umask(text: &str) -> Umask {
    let said = text.lines().filter_map(|line| line.split_once('\t'));
    Umask {
        said: said.map(|(file, mask)| (file.to_owned(), mask.trim().to_owned())).collect(),
        has_pam: text.lines().any(|line| line == "pam"),
    }
}

/// Returns the options of an object of `cvtsudoers`, each as `name`, `!name` or `name=value`.
fn options(of: &Value) -> Vec<String> {
    let objects = of.get("Options").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object);
    let options = objects.flatten().map(|(name, value)| match value {
        Value::Bool(true) => name.clone(),
        Value::Bool(false) => format!("!{name}"),
        Value::String(text) => format!("{name}={text}"),
        other => format!("{name}={other}"),
    });
    options.collect()
}

/// Returns whom a list of `cvtsudoers` names: a name, `%` and a group, `#` and a number; `!` before what is excepted.
fn people(list: Option<&Value>) -> Vec<String> {
    let objects = list.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_object);
    let people = objects.filter_map(|object| {
        let text = |key: &str| match object.get(key)? {
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        let groups = ["usergroup", "netgroup", "nonunixgroup"].iter().find_map(|key| text(key));
        let name = text("username")
            .or_else(|| groups.map(|group| format!("%{group}")))
            .or_else(|| text("userid").map(|id| format!("#{id}")))
            .or_else(|| text("usergid").map(|id| format!("%#{id}")))
            .or_else(|| text("useralias"))?;
        let is_negated = object.get("negated").and_then(Value::as_bool).unwrap_or_default();
        Some(if is_negated { format!("!{name}") } else { name })
    });
    people.collect()
}

pub(super) fn sudo(text: &str) -> Result<Option<Sudo>, String> {
    if text.trim() == "none" {
        return Ok(None);
    }
    let (mode, json) = text.split_once('\n').ok_or("`cvtsudoers` said nothing")?;
    let json: Value = serde_json::from_str(json).map_err(|error| format!("`cvtsudoers -f json`: {error}"))?;
    let list = |of: &Value, key: &str| of.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
    let mut sudo = Sudo { mode: mode.trim().to_owned(), ..Sudo::default() };
    for defaults in list(&json, "Defaults") {
        let whom = people(defaults.get("Binding"));
        for option in options(&defaults) {
            match whom.is_empty() {
                true => sudo.defaults.push((None, option)),
                false => sudo.defaults.extend(whom.iter().map(|whom| (Some(whom.clone()), option.clone()))),
            }
        }
    }
    for spec in list(&json, "User_Specs") {
        for who in people(spec.get("User_List")) {
            for commands in list(&spec, "Cmnd_Specs") {
                let mut options = options(&commands);
                let is_without_password = options.iter().any(|option| option == "!authenticate");
                // What `setenv` says follows from `ALL`, and the question for a password stands by itself.
                options.retain(|option| !matches!(option.as_str(), "authenticate" | "!authenticate"));
                let named = list(&commands, "Commands").into_iter().filter_map(|command| {
                    let text = command.get("command").or_else(|| command.get("cmndalias"))?.as_str()?.to_owned();
                    let is_negated = command.get("negated").and_then(Value::as_bool).unwrap_or_default();
                    Some(if is_negated { format!("!{text}") } else { text })
                });
                sudo.rights.push(Right {
                    who: who.clone(),
                    run_as: people(commands.get("runasusers")),
                    commands: named.collect(),
                    is_without_password,
                    options,
                });
            }
        }
    }
    Ok(Some(sudo))
}

pub(super) fn sources(text: &str) -> Vec<AptSource> {
    let mut sources = Vec::new();
    for (file, lines) in parts(text) {
        if file.ends_with(".sources") {
            for stanza in lines.split(|line| line.trim().is_empty()) {
                sources.extend(stanza_sources(file, stanza));
            }
        } else {
            sources.extend(lines.iter().filter_map(|line| one_line_source(file, line)));
        }
    }
    sources
}

/// Returns the source of a line such as `deb [signed-by=/k trusted=yes] https://a/debian bookworm main`.
fn one_line_source(file: &str, line: &str) -> Option<AptSource> {
    let line = line.split('#').next().unwrap_or_default().trim();
    let rest = line.strip_prefix("deb-src").or_else(|| line.strip_prefix("deb"))?;
    let rest = rest.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match rest.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", rest),
    };
    let mut source = AptSource { file: file.to_owned(), ..AptSource::default() };
    source.uri = rest.split_whitespace().next()?.to_owned();
    for option in options.split_whitespace() {
        let (key, value) = option.split_once('=').unwrap_or((option, ""));
        match key {
            "signed-by" => source.has_key = true,
            "trusted" => source.is_trusted = is_yes(value),
            _ => {}
        }
    }
    Some(source)
}

/// Returns the sources of a stanza in deb822's form; a line that begins with a space goes on with the one before.
fn stanza_sources(file: &str, stanza: &[&str]) -> Vec<AptSource> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in stanza {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = fields.last_mut() {
                value.push(' ');
                value.push_str(line.trim());
            }
        } else if let Some((key, value)) = line.split_once(':') {
            fields.push((key.trim().to_lowercase(), value.trim().to_owned()));
        }
    }
    let field = |key: &str| fields.iter().find(|(known, _)| known == key).map(|(_, value)| value.as_str());
    if field("enabled").is_some_and(|value| !is_yes(value)) {
        return Vec::new();
    }
    let uris = field("uris").unwrap_or_default().split_whitespace();
    let source = |uri: &str| AptSource {
        file: file.to_owned(),
        uri: uri.to_owned(),
        has_key: field("signed-by").is_some_and(|value| !value.is_empty()),
        is_trusted: field("trusted").is_some_and(is_yes),
    };
    uris.map(source).collect()
}

fn is_yes(value: &str) -> bool {
    matches!(value.trim().to_lowercase().as_str(), "yes" | "true" | "1" | "with" | "on" | "enable")
}

/// Returns the settings that let apt install what nobody signed, as `NAME value`.
pub(super) fn unsigned(text: &str) -> Vec<String> {
    let weak = [
        "AllowUnauthenticated",
        "AllowInsecureRepositories",
        "AllowWeakRepositories",
        "AllowDowngradeToInsecureRepositories",
    ];
    let lines = text.lines().filter_map(|line| {
        let (name, value) = line.trim_end_matches(';').split_once(' ')?;
        let value = value.trim_matches('"');
        let is_weak =
            weak.iter().any(|weak| name.rsplit("::").next().is_some_and(|own| own.eq_ignore_ascii_case(weak)));
        (is_weak && is_yes(value)).then(|| format!("{name} {value}"))
    });
    lines.collect()
}

pub(super) fn time(text: &str) -> Time {
    let mut time = Time::default();
    let mut said: Vec<(&str, &str)> = Vec::new();
    for line in text.lines() {
        if let Some(service) = line.strip_prefix("service ") {
            time.service.get_or_insert_with(|| service.to_owned());
        } else if let Some((file, directive)) = line.strip_prefix("line ").and_then(|line| line.split_once(' ')) {
            said.push((file, directive));
        } else if let Some(tracking) = line.strip_prefix("tracking ") {
            // `REFID,ADDRESS,STRATUM,…`; without a source the address is empty, and 7F7F0101 is the own clock.
            let mut fields = tracking.split(',');
            let (id, address) = (fields.next().unwrap_or_default(), fields.next().unwrap_or_default());
            time.is_local = id == "7F7F0101";
            time.follows = Some(address.to_owned()).filter(|address| !address.is_empty() && !time.is_local);
        }
    }
    // Only the files of the service that runs say where it goes; without one they all say where it would.
    let folder = match time.service.as_deref() {
        Some("chrony") => "/etc/chrony/",
        Some("systemd-timesyncd") => "/etc/systemd/",
        Some("openntpd") => "/etc/openntpd/",
        Some(_) => "/etc/ntp",
        None => "/etc/",
    };
    for (_, directive) in said.iter().filter(|(file, _)| file.starts_with(folder)) {
        if let Some(names) = directive.strip_prefix("NTP=") {
            time.sources.extend(names.split_whitespace().map(str::to_owned));
            continue;
        }
        let mut words = directive.split_whitespace();
        if matches!(words.next(), Some("server" | "servers" | "pool" | "peer")) {
            time.sources.extend(words.next().map(str::to_owned));
        }
    }
    time
}

pub(super) fn logs(text: &str) -> Logs {
    let mut logs = Logs::default();
    let mut storage = None;
    let (mut has_journald, mut has_folder) = (false, false);
    let mut rsyslog = String::new();
    for line in text.lines() {
        match line.split_once(' ') {
            None if line == "journald" => has_journald = true,
            None if line == "rsyslog" => logs.is_running = true,
            None if line == "kept" => has_folder = true,
            Some(("journald", line)) => storage = line.strip_prefix("Storage=").map(str::trim),
            Some(("rsyslog", line)) => {
                rsyslog.push_str(line);
                rsyslog.push('\n');
            }
            Some(("open", file)) => {
                logs.open_files.extend(file.split_once(' ').map(|(mode, path)| (path.to_owned(), mode.to_owned())));
            }
            _ => {}
        }
    }
    logs.is_kept = has_journald
        && match storage {
            Some("persistent") => true,
            Some("volatile" | "none") => false,
            _ => has_folder,
        };
    if logs.is_running {
        logs.targets = targets(&rsyslog);
    }
    logs
}

/// Returns where rsyslog's settings send messages, in its old form (`*.* @@host:514`) and its new (`action(type="omfwd" …)`).
fn targets(text: &str) -> Vec<LogTarget> {
    let mut targets = Vec::new();
    // In the old form the driver of all forwarding is set before.
    let lower = text.to_lowercase();
    let is_mode_on = lower.contains("$actionsendstreamdrivermode 1");
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        let Some((_, target)) = line.split_once(char::is_whitespace) else { continue };
        let Some(target) = target.trim().strip_prefix('@') else { continue };
        let (by, target) = match target.strip_prefix('@') {
            Some(target) => ("tcp", target),
            None => ("udp", target),
        };
        let target = target.rsplit_once(')').map_or(target, |(_, target)| target);
        let host = match target.strip_prefix('[') {
            Some(rest) => rest.split(']').next(),
            None => target.split([':', ';', ' ']).next(),
        };
        let host = host.unwrap_or_default().to_owned();
        targets.push(LogTarget { host, by: by.to_owned(), is_encrypted: by == "tcp" && is_mode_on });
    }
    for action in text.split("action(").skip(1) {
        let action = action.split(')').next().unwrap_or_default();
        let parameter = |name: &str| {
            let at = action.to_lowercase().match_indices(&format!("{name}=\"")).map(|(at, _)| at).find(|at| {
                let before = at.checked_sub(1).and_then(|before| action.as_bytes().get(before));
                before.is_none_or(|byte| byte.is_ascii_whitespace() || *byte == b'(')
            })?;
            action.get(at + name.len() + 2..)?.split('"').next().map(str::to_owned)
        };
        let sort = parameter("type").unwrap_or_default();
        let by = match sort.as_str() {
            "omfwd" => parameter("protocol").unwrap_or_else(|| "udp".to_owned()).to_lowercase(),
            "omrelp" => "relp".to_owned(),
            _ => continue,
        };
        let mode = parameter("streamdrivermode").or_else(|| parameter("tls"));
        let is_encrypted = by != "udp" && mode.is_some_and(|mode| mode == "1" || mode == "on");
        targets.push(LogTarget { host: parameter("target").unwrap_or_default(), by, is_encrypted });
    }
    targets
}

pub(super) fn trail(text: &str) -> Trail {
    let mut trail = Trail::default();
    for (name, lines) in parts(text) {
        if name == "rules" {
            trail.rules = Some(lines.iter().filter(|line| line.starts_with('-')).count());
        } else {
            trail.is_installed = lines.contains(&"installed");
            trail.is_running = lines.contains(&"running");
        }
    }
    trail
}

pub(super) fn certificates(text: &str) -> Result<Vec<Certificate>, String> {
    let mut certificates = Vec::new();
    for (path, lines) in parts(text).into_iter().filter(|(path, _)| !path.is_empty()) {
        let mut certificate = Certificate { path: path.to_owned(), ..Certificate::default() };
        let mut days = [None; 2];
        for line in lines {
            let line = line.trim();
            let day = |text: &str| text.get(..10).and_then(|day| day.parse::<Date>().ok());
            if let Some(name) = line.strip_prefix("subject=") {
                name.clone_into(&mut certificate.subject);
            } else if let Some(name) = line.strip_prefix("issuer=") {
                name.clone_into(&mut certificate.issuer);
                let country = name.split(',').find_map(|part| part.trim().strip_prefix("C="));
                certificate.country = country.map(|country| country.trim().to_uppercase());
            } else if let Some(text) = line.strip_prefix("notBefore=") {
                days[0] = day(text);
            } else if let Some(text) = line.strip_prefix("notAfter=") {
                days[1] = day(text);
            } else if let Some(signature) = line.strip_prefix("Signature Algorithm: ") {
                signature.clone_into(&mut certificate.signature);
            } else if let Some(key) = line.strip_prefix("Public Key Algorithm: ") {
                key.clone_into(&mut certificate.key);
            } else if let Some(bits) = line.strip_prefix("Public-Key: (") {
                certificate.bits = bits.split(' ').next().and_then(|bits| bits.parse().ok()).unwrap_or_default();
            } else if line.starts_with("CA:TRUE") {
                certificate.is_authority = true;
            }
        }
        let [Some(first), Some(last)] = days else {
            return Err(format!("`openssl x509` cannot read {path}"));
        };
        certificate.days = Some((first, last));
        certificates.push(certificate);
    }
    Ok(certificates)
}

/// Returns the packages that are installed.
pub(super) fn software(text: &str) -> BTreeMap<String, String> {
    let lines = text.lines().filter_map(|line| {
        let mut fields = line.split('\t');
        let (status, name, version) = (fields.next()?, fields.next()?, fields.next()?);
        status.starts_with("ii").then(|| (name.to_owned(), version.to_owned()))
    });
    lines.collect()
}
