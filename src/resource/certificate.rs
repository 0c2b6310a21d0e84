//! `certificate`: a private key that never leaves its host, and a certificate that an authority signed for it.
//!
//! The authority's key does not leave its host either. The host that needs a certificate makes a request, the host
//! of the authority signs it, and the first installs what comes back. The authority takes nothing from the request but
//! the public key: names, usages and lifetime are those of the specification, so a host that was broken into cannot ask
//! for more than it was given.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::managed_file::backup_name;
use super::read::{Answers, FileKind, PathState, Query, Want};
use super::spec::{HostPath, Mode};
use super::{Claim, Kind, ObserveError, SpecProblem};
use crate::addr::{HostName, ResourceAddr, ResourceId};
use crate::change::{Action, Attributes, Change, Step, StepPayload};
use crate::model::inventory::Country;
use crate::sh;
use crate::shell::Script;

/// A private key made on the host, and a certificate for it: signed by an authority, or an authority itself.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// The certificate's path on the host.
    path: HostPath,
    /// The private key's path. If not given, it is the certificate's with the ending `.key`. Its mode is `"0600"`.
    #[serde(default)]
    key: Option<HostPath>,
    /// Where the authority's certificate is installed. Several certificates may name the same path.
    #[serde(default)]
    ca: Option<HostPath>,
    /// The common name of the subject.
    common_name: String,
    /// The organization of the subject.
    #[serde(default)]
    organization: Option<String>,
    /// The country of the subject, in two letters, such as `FR`.
    #[serde(default)]
    country: Option<Country>,
    /// The DNS names and addresses that the certificate is for.
    #[serde(default)]
    alt_names: Vec<String>,
    /// What the certificate is for, `[server]` if not given.
    #[serde(default)]
    usages: Option<Vec<Usage>>,
    /// For how many days it is made: 365 if not given, 3650 for an authority.
    #[serde(default)]
    lifetime: Option<u32>,
    /// How many days before its end it is made anew, with the same key.
    #[serde(default = "thirty")]
    renew_before: u32,
    /// The kind of the private key. Another kind than the key that is there makes a new key.
    #[serde(default)]
    algorithm: Algorithm,
    /// The owner of the certificate and of the key.
    #[serde(default = "root")]
    owner: String,
    /// The group of the certificate and of the key.
    #[serde(default = "root")]
    group: String,
    /// The permission bits of the certificate.
    #[serde(default = "readable")]
    mode: Mode,
    /// Whether this is an authority, which signs itself and others.
    #[serde(default)]
    authority: bool,
    /// The authority that signs it, `host/certificate[/path]`. Its key stays on its host.
    #[serde(default)]
    issuer: Option<ResourceAddr>,
    /// The path of the authority's key on its host, where it is not the certificate's with the ending `.key`.
    #[serde(default)]
    issuer_key: Option<HostPath>,
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Usage {
    /// It is shown by a server.
    Server,
    /// It is shown by a client.
    Client,
}

/// A kind of private key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Algorithm {
    /// ECDSA on the curve P-256.
    #[default]
    #[serde(rename = "ecdsa-p256")]
    EcdsaP256,
    /// ECDSA on the curve P-384.
    #[serde(rename = "ecdsa-p384")]
    EcdsaP384,
    /// Ed25519, which browsers do not accept.
    #[serde(rename = "ed25519")]
    Ed25519,
    /// RSA of 3072 bits.
    #[serde(rename = "rsa-3072")]
    Rsa3072,
    /// RSA of 4096 bits.
    #[serde(rename = "rsa-4096")]
    Rsa4096,
}

impl Algorithm {
    const ALL: [Algorithm; 5] =
        [Algorithm::EcdsaP256, Algorithm::EcdsaP384, Algorithm::Ed25519, Algorithm::Rsa3072, Algorithm::Rsa4096];

    fn as_str(self) -> &'static str {
        match self {
            Algorithm::EcdsaP256 => "ecdsa-p256",
            Algorithm::EcdsaP384 => "ecdsa-p384",
            Algorithm::Ed25519 => "ed25519",
            Algorithm::Rsa3072 => "rsa-3072",
            Algorithm::Rsa4096 => "rsa-4096",
        }
    }

    /// Returns the options with which `openssl genpkey` makes such a key.
    fn options(self) -> Script {
        Script::constant(match self {
            Algorithm::EcdsaP256 => "-algorithm EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:named_curve",
            Algorithm::EcdsaP384 => "-algorithm EC -pkeyopt ec_paramgen_curve:P-384 -pkeyopt ec_param_enc:named_curve",
            Algorithm::Ed25519 => "-algorithm ED25519",
            Algorithm::Rsa3072 => "-algorithm RSA -pkeyopt rsa_keygen_bits:3072",
            Algorithm::Rsa4096 => "-algorithm RSA -pkeyopt rsa_keygen_bits:4096",
        })
    }

    /// Returns the words by which `openssl pkey -text_pub` shows such a key.
    fn words(self) -> &'static str {
        match self {
            Algorithm::EcdsaP256 => "ASN1 OID: prime256v1",
            Algorithm::EcdsaP384 => "ASN1 OID: secp384r1",
            Algorithm::Ed25519 => "ED25519 Public-Key:",
            Algorithm::Rsa3072 => "Public-Key: (3072 bit)\nModulus:",
            Algorithm::Rsa4096 => "Public-Key: (4096 bit)\nModulus:",
        }
    }

    fn is_rsa(self) -> bool {
        matches!(self, Algorithm::Rsa3072 | Algorithm::Rsa4096)
    }
}

fn thirty() -> u32 {
    30
}

fn root() -> String {
    "root".to_owned()
}

fn readable() -> Mode {
    Mode::of(0o644)
}

/// A certificate and its key as they were found.
#[derive(Clone, Debug, Serialize)]
pub struct ObservedCertificate {
    certificate: Found,
    key: Found,
    /// Whether `openssl` was there to look.
    seen: bool,
    /// What was read, in the words of the specification; empty where the certificate cannot be read.
    attributes: Attributes,
    /// The name of who signed it.
    issuer_name: String,
}

/// What is at a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Found {
    Nothing,
    File,
    Other,
}

fn found(state: Option<&PathState>) -> Found {
    match state.map(|state| state.kind) {
        None => Found::Nothing,
        Some(FileKind::File) => Found::File,
        Some(_) => Found::Other,
    }
}

/// The attributes that are set without making the certificate anew.
const PERMISSIONS: [&str; 6] = ["mode", "owner", "group", "key mode", "key owner", "key group"];

const KEY_MODE: &str = "0600";

/// Returns a path with the ending `.key`.
fn key_beside(path: &HostPath) -> HostPath {
    let text = path.as_str();
    let stem = [".crt", ".pem", ".cert", ".cer"].iter().find_map(|ending| text.strip_suffix(ending)).unwrap_or(text);
    HostPath::parse(&format!("{stem}.key")).unwrap_or_else(|_| path.clone())
}

/// Returns text with what `-subj` reads as its own syntax behind a `\`.
fn in_subject(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, '/' | '\\' | '+') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

/// Returns an alternative name in the form in which two that mean the same are equal.
fn plain_name(name: &str) -> String {
    name.parse::<IpAddr>().map_or_else(|_| name.to_ascii_lowercase(), |address| address.to_string())
}

impl Certificate {
    fn key_path(&self) -> HostPath {
        self.key.clone().unwrap_or_else(|| key_beside(&self.path))
    }

    /// Returns where a new key waits until the certificate for it is there: in the tool's own private folder.
    fn next_key(&self) -> String {
        format!("{}.key", self.stamp())
    }

    /// Returns where it is remembered who signed the certificate: its text does not say on which host that was.
    fn stamp(&self) -> HostPath {
        let name = backup_name(self.path.as_str());
        HostPath::parse(&format!("/var/lib/provision/certificate/{name}")).expect("the path is plain")
    }

    fn snippet_key(&self) -> String {
        format!("certificate {}", self.path)
    }

    fn lifetime(&self) -> u32 {
        self.lifetime.unwrap_or(if self.authority { 3650 } else { 365 })
    }

    fn usages(&self) -> BTreeSet<Usage> {
        match (&self.usages, self.authority) {
            (_, true) => BTreeSet::new(),
            (None, false) => BTreeSet::from([Usage::Server]),
            (Some(usages), false) => usages.iter().copied().collect(),
        }
    }

    /// Returns the certificate and key of the authority, on its host.
    fn issuer_paths(&self) -> Option<(HostName, HostPath, HostPath)> {
        let issuer = self.issuer.as_ref()?;
        let path = HostPath::parse(&issuer.id.name).ok()?;
        let key = self.issuer_key.clone().unwrap_or_else(|| key_beside(&path));
        Some((issuer.host.clone(), path, key))
    }

    fn subject(&self) -> String {
        let country = self.country.as_ref().map(|code| format!("/C={code}"));
        let organization = self.organization.as_ref().map(|name| format!("/O={}", in_subject(name)));
        let (country, organization) = (country.unwrap_or_default(), organization.unwrap_or_default());
        format!("{country}{organization}/CN={}", in_subject(&self.common_name))
    }

    /// Returns the extensions, as a configuration file of openssl has them.
    fn extensions(&self) -> String {
        if self.authority {
            return "basicConstraints=critical,CA:TRUE,pathlen:0\n\
                    keyUsage=critical,keyCertSign,cRLSign\n\
                    subjectKeyIdentifier=hash\n"
                .to_owned();
        }
        let encipherment = if self.algorithm.is_rsa() { ",keyEncipherment" } else { "" };
        let mut text = format!(
            "basicConstraints=critical,CA:FALSE\n\
             keyUsage=critical,digitalSignature{encipherment}\n\
             subjectKeyIdentifier=hash\n\
             authorityKeyIdentifier=keyid\n"
        );
        let usages: Vec<&str> = self
            .usages()
            .into_iter()
            .map(|usage| match usage {
                Usage::Server => "serverAuth",
                Usage::Client => "clientAuth",
            })
            .collect();
        if !usages.is_empty() {
            text.push_str(&format!("extendedKeyUsage={}\n", usages.join(",")));
        }
        let names: Vec<String> = self
            .alt_names
            .iter()
            .map(|name| format!("{}:{name}", if name.parse::<IpAddr>().is_ok() { "IP" } else { "DNS" }))
            .collect();
        if !names.is_empty() {
            text.push_str(&format!("subjectAltName={}\n", names.join(",")));
        }
        text
    }

    /// Returns what the certificate is to be, where this is what was found of the one that is there.
    fn desired(&self, found: &Attributes) -> Attributes {
        let mut names: Vec<String> = self.alt_names.iter().map(|name| plain_name(name)).collect();
        names.sort();
        names.dedup();
        let mut desired = Attributes::from([
            ("common_name".to_owned(), json!(self.common_name)),
            ("algorithm".to_owned(), json!(self.algorithm.as_str())),
            ("authority".to_owned(), json!(self.authority)),
            ("key".to_owned(), json!("matches the certificate")),
            ("validity".to_owned(), json!(format!("{} days", self.lifetime()))),
            ("mode".to_owned(), json!(self.mode.as_str())),
            ("owner".to_owned(), json!(self.owner)),
            ("group".to_owned(), json!(self.group)),
            ("key mode".to_owned(), json!(KEY_MODE)),
            ("key owner".to_owned(), json!(self.owner)),
            ("key group".to_owned(), json!(self.group)),
        ]);
        if !self.authority {
            desired.insert("alt_names".to_owned(), json!(names));
            desired.insert("usages".to_owned(), json!(self.usages()));
        }
        if self.organization.is_some() || found.contains_key("organization") {
            desired.insert("organization".to_owned(), json!(self.organization));
        }
        if self.country.is_some() || found.contains_key("country") {
            desired.insert("country".to_owned(), json!(self.country));
        }
        if let Some(issuer) = &self.issuer {
            desired.insert("issuer".to_owned(), json!(issuer.to_string()));
        }
        if self.ca.is_some() {
            desired.insert("ca".to_owned(), json!("verifies the certificate"));
        }
        desired
    }

    /// Returns the files that are written, each with its name in the run's backup.
    fn files(&self) -> Vec<(HostPath, String)> {
        let name = backup_name(&Kind::id(self).to_string());
        let files = [("key", Some(self.key_path())), ("certificate", Some(self.path.clone())), ("ca", self.ca.clone())];
        let files = files.into_iter().chain([("stamp", Some(self.stamp()))]);
        files.filter_map(|(what, path)| Some((path?, format!("{name}.{what}")))).collect()
    }

    /// Returns the text by which a step begins: it has openssl, the folders are there, and what was there is kept.
    fn begin_script(&self) -> Script {
        let key = self.key_path();
        let mut folders: BTreeSet<&str> = BTreeSet::from([self.path.folder(), key.folder()]);
        folders.extend(self.ca.as_ref().map(HostPath::folder));
        let keep = self.files().into_iter().map(|(path, name)| sh!("_keep {} {}", path, name)).collect::<Script>();
        sh!(
            r#"umask 077
command -v openssl >/dev/null 2>&1 || { echo '`openssl` is not there; install the package `openssl`' >&2; exit 1; }
for _dir in {}; do
  [ -d "$_dir" ] || { echo "the directory $_dir is not there; declare it before the certificate" >&2; exit 1; }
done
_path={}; _key={}; _next={}"#,
            Script::words(folders),
            self.path,
            key,
            self.next_key()
        )
        .then(keep)
    }

    /// Returns the text that sees to a key of the right kind, a new one beside the old; `$_use` is the one to use.
    fn key_script(&self) -> Script {
        let words = self.algorithm.words().replace('\n', "'*'");
        sh!(
            r#"mkdir -p -m 0700 /var/lib/provision; mkdir -p -m 0700 /var/lib/provision/certificate
rm -f -- "$_next"
_use=$_key; _found=
if [ -f "$_key" ] && [ ! -L "$_key" ]; then
  _found=$(openssl pkey -in "$_key" -passin pass: -noout -text_pub 2>/dev/null) || :
fi
case $_found in
*'{}'*) ;;
*) openssl genpkey -quiet {} -out "$_next"; _use=$_next;;
esac"#,
            Script::from_author(&words),
            self.algorithm.options()
        )
    }

    /// Returns the text that installs the certificate `$_new` and, where there is one, the authority's `$_ca_new`.
    fn install_script(&self, issuer: &str) -> Script {
        let owner = format!("{}:{}", self.owner, self.group);
        let mut script = sh!(
            r#"[ "$(openssl x509 -in "$_new" -noout -pubkey)" = "$(openssl pkey -in "$_use" -passin pass: -pubout)" ] ||
  { echo "the certificate is not for the key of $_path" >&2; exit 1; }
_said=$(openssl verify -no_check_time -CAfile "$_ca_new" "$_new" 2>&1) || { printf '%s\n' "$_said" >&2; exit 1; }
_install() {
  _file=$(mktemp -- "${2%/*}/.provision.XXXXXXXXXX")
  cat -- "$1" >"$_file"; chown -- "$4" "$_file"; chmod -- "$3" "$_file"; mv -fT -- "$_file" "$2"
}
if [ "$_use" = "$_key" ]; then chown -- {} "$_key"; chmod -- {} "$_key"
else _install "$_use" "$_key" {} {}; rm -f -- "$_use"; fi
_install "$_new" "$_path" {} {}"#,
            owner,
            KEY_MODE,
            KEY_MODE,
            owner,
            self.mode,
            owner
        );
        if let Some(ca) = &self.ca {
            script.push(&sh!("_install \"$_ca_new\" {} 0644 root:root", ca));
        }
        script.then(sh!(
            r#"printf '%s\n' {} >"$_work/stamp"
_install "$_work/stamp" {} 0600 root:root"#,
            issuer,
            self.stamp()
        ))
    }

    /// Returns the text that signs: `$_pub` is the key to be certified, the result is in `$_work/signed`.
    ///
    /// The names go through a request of the signer's own, the only one of openssl's ways that takes UTF-8.
    fn sign_script(&self, how: Script) -> Script {
        sh!(
            r#"printf '%s' {} >"$_work/extensions"
_serial=$(openssl rand -hex 16)
openssl req -new -utf8 -config /dev/null -key "$_signer" -passin pass: -subj {} -out "$_work/named"
_said=$(openssl x509 -req -in "$_work/named" -force_pubkey "$_pub" {} -passin pass: -set_serial "0x$_serial" \
  -days {} -extfile "$_work/extensions" -out "$_work/signed" 2>&1) || { printf '%s\n' "$_said" >&2; exit 1; }"#,
            self.extensions(),
            self.subject(),
            how,
            self.lifetime()
        )
    }

    fn steps(&self) -> Vec<Step> {
        let path = &self.path;
        let work = sh!(
            "_work=$(mktemp -d -- {}/.provision.XXXXXXXXXX)\ntrap 'rm -rf -- \"$_work\"' EXIT",
            path.folder().trim_end_matches('/')
        );
        let Some((host, ca, ca_key)) = self.issuer_paths() else {
            let script = self
                .begin_script()
                .then(work)
                .then(self.key_script())
                .then(Script::constant(
                    r#"_signer=$_use; _pub=$_work/pub; openssl pkey -in "$_use" -passin pass: -pubout -out "$_pub""#,
                ))
                .then(self.sign_script(Script::constant("-signkey \"$_signer\"")))
                .then(Script::constant("_new=$_work/signed; _ca_new=$_new"))
                .then(self.install_script("itself"));
            return vec![Step::new(format!("make the authority {path}"), script)];
        };
        let request = self
            .begin_script()
            .then(self.key_script())
            .then(sh!("openssl req -new -config /dev/null -key \"$_use\" -passin pass: -subj {}", "/CN=provision"));
        let sign = sh!(
            r#"umask 077
_ca={}; _signer={}
for _file in "$_ca" "$_signer"; do
  [ -f "$_file" ] || { echo "the authority's $_file is not there; make the authority first" >&2; exit 1; }
done
_work=$(mktemp -d)
trap 'rm -rf -- "$_work"' EXIT
_pub=$_work/pub
_payload >"$_work/request"
_said=$(openssl req -in "$_work/request" -config /dev/null -verify -noout -pubkey -out "$_pub" 2>&1) || :
case $_said in
*'verify OK'*) ;;
*) printf '%s\n' 'the request is not signed with its own key:' "$_said" >&2; exit 1;;
esac"#,
            ca,
            ca_key
        )
        .then(self.sign_script(Script::constant("-CA \"$_ca\" -CAkey \"$_signer\"")))
        .then(Script::constant("cat -- \"$_work/signed\"\nopenssl x509 -in \"$_ca\""));
        let issuer = self.issuer.as_ref().map(ToString::to_string).unwrap_or_default();
        let install = self
            .begin_script()
            .then(work)
            .then(Script::constant(
                r#"_use=$_key; if [ -f "$_next" ]; then _use=$_next; fi
_new=$_work/new; _ca_new=$_work/ca; export _new _ca_new
_payload | awk '
  /^-----BEGIN CERTIFICATE-----/ { number++ }
  number == 1 { print >ENVIRON["_new"] }
  number == 2 { print >ENVIRON["_ca_new"] }
'
[ -s "$_new" ] && [ -s "$_ca_new" ] || { echo 'the authority sent no certificate' >&2; exit 1; }"#,
            ))
            .then(self.install_script(&issuer));
        vec![
            Step::new(format!("make a request for {path}"), request),
            Step::new(format!("sign {path} with {ca}"), sign).with_payload(StepPayload::OutputOf(0)).on_host(host),
            Step::new(format!("install {path}"), install).with_payload(StepPayload::OutputOf(1)),
        ]
    }

    fn reverse(&self) -> Vec<Step> {
        let restore = self.files().into_iter().map(|(path, name)| sh!("_restore {} {}", path, name));
        let script = restore.collect::<Script>().then(sh!("rm -f -- {}", self.next_key()));
        vec![Step::new(format!("restore {} and its key", self.path), script)]
    }

    /// Returns the script that sets mode and owner of the certificate and of the key.
    fn permissions_script(&self, attributes: &Attributes) -> Script {
        let of = |name: &str| attributes.get(name).and_then(Value::as_str).unwrap_or("root").to_owned();
        let set = |path: &HostPath, prefix: &str| {
            let name = |what: &str| of(&format!("{prefix}{what}"));
            let owner = format!("{}:{}", name("owner"), name("group"));
            sh!("chown -h -- {} {}\nchmod -- {} {}", owner, path, name("mode"), path)
        };
        set(&self.path, "").then(set(&self.key_path(), "key "))
    }
}

/// Returns the value of a line `    name      = value` in the part of `text` behind the line `start`.
fn name_part(text: &str, start: &str, name: &str) -> Option<String> {
    let mut lines = text.lines().skip_while(|line| *line != start).skip(1);
    lines.by_ref().take_while(|line| line.starts_with("    ")).find_map(|line| {
        let (found, value) = line.split_once('=')?;
        // Of what it prints, openssl escapes only the backslash.
        (found.trim() == name).then(|| value.trim().replace("\\\\", "\\"))
    })
}

/// Returns the line behind one that begins with `start`.
fn line_after<'a>(text: &'a str, start: &str) -> Option<&'a str> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with(start)).skip(1);
    lines.next().map(str::trim)
}

/// Returns the public key in PEM.
fn public_key(text: &str) -> Option<&str> {
    const END: &str = "-----END PUBLIC KEY-----";
    let text = text.get(text.find("-----BEGIN PUBLIC KEY-----")?..)?;
    text.get(..text.find(END)? + END.len())
}

impl Kind for Certificate {
    const NAME: &'static str = "certificate";
    const SUMMARY: &'static str = "A private key made on the host and a certificate for it, or an authority of our own";
    const EXAMPLE: &'static str = r#"- certificate:
    path: /etc/pki/control-ca.crt
    common_name: Control plane CA par1
    organization: Exemple Cloud
    country: FR
    authority: true
    algorithm: ecdsa-p384
- certificate:
    path: /etc/etcd/pki/server.crt
    ca: /etc/etcd/pki/ca.crt
    common_name: ctl-par1-01
    alt_names: [ctl-par1-01.control.example, 10.20.0.11]
    usages: [server, client]
    owner: etcd
    group: etcd
    issuer: pki-par1-01/certificate[/etc/pki/control-ca.crt]
  notify: service[etcd]
"#;

    type Observed = ObservedCertificate;

    fn name(&self) -> String {
        self.path.as_str().to_owned()
    }

    fn check(&self) -> Vec<SpecProblem> {
        let mut problems = Vec::new();
        let key = self.key_path();
        if key == self.path || self.ca.as_ref() == Some(&self.path) || self.ca.as_ref() == Some(&key) {
            let problem = SpecProblem::new("path", "the certificate, its key and `ca` need a path each");
            problems.push(problem.help("give each of `path`, `key` and `ca` another name"));
        }
        let names = [("common_name", Some(&self.common_name)), ("organization", self.organization.as_ref())];
        for (field, name) in names {
            let Some(name) = name else { continue };
            let length = name.chars().count();
            if length == 0 || length > 64 || name.chars().any(char::is_control) || name.trim() != name {
                problems.push(SpecProblem::new(field, format!("{name:?} is no name of 1 to 64 characters")));
            }
        }
        for name in &self.alt_names {
            let host = name.strip_prefix("*.").unwrap_or(name);
            let is_label = |label: &str| {
                !label.is_empty()
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
                    && !label.starts_with('-')
            };
            if name.parse::<IpAddr>().is_err() && !host.split('.').all(is_label) {
                problems.push(SpecProblem::new("alt_names", format!("{name:?} is neither a DNS name nor an address")));
            }
        }
        if self.renew_before >= self.lifetime() {
            let message = format!("it would be made anew at once: it lives {} days", self.lifetime());
            problems.push(SpecProblem::new("renew_before", message));
        }
        if self.authority {
            let given = [
                ("alt_names", !self.alt_names.is_empty()),
                ("usages", self.usages.is_some()),
                ("issuer", self.issuer.is_some()),
                ("ca", self.ca.is_some()),
            ];
            for (field, _) in given.iter().filter(|(_, is_given)| *is_given) {
                problems.push(SpecProblem::new(field, "an authority signs itself and serves for nothing else"));
            }
        } else {
            match &self.issuer {
                None => {
                    let problem = SpecProblem::new("issuer", "nothing says who signs the certificate");
                    problems.push(problem.help("give `issuer: host/certificate[/path]`, or set `authority: true`"));
                }
                Some(issuer) if issuer.id.kind.as_str() != Self::NAME || HostPath::parse(&issuer.id.name).is_err() => {
                    let problem = SpecProblem::new("issuer", format!("{issuer} is no certificate"));
                    problems.push(problem.help("name the authority, as in `pki1/certificate[/etc/pki/ca.crt]`"));
                }
                Some(_) => {}
            }
            let usages = self.usages();
            if usages.is_empty() {
                problems.push(SpecProblem::new("usages", "a certificate is for something"));
            }
            if usages.contains(&Usage::Server) && self.alt_names.is_empty() {
                let problem = SpecProblem::new("alt_names", "no client accepts a server's certificate without them");
                problems.push(problem.help(format!("begin with `alt_names: [{}]`", self.common_name)));
            }
        }
        if self.issuer_key.is_some() && self.issuer.is_none() {
            problems.push(SpecProblem::new("issuer_key", "without `issuer` there is no key to name"));
        }
        problems
    }

    fn claims(&self) -> Vec<Claim> {
        // `ca` is not claimed: several certificates of a host share it.
        vec![Claim::Path(self.path.as_str().to_owned()), Claim::Path(self.key_path().as_str().to_owned())]
    }

    fn queries(&self) -> Vec<Query> {
        let metadata = |path: &HostPath| Query::Path(path.as_str().to_owned(), Want::Metadata);
        let mut script = sh!(
            r#"command -v openssl >/dev/null 2>&1 || exit 0
_soon={}; _path={}; _key={}
exec </dev/null 2>/dev/null
_show() { openssl x509 -in "$1" -noout -subject -issuer -nameopt multiline,-esc_msb,utf8 -checkend "$_soon" "$2" "$3" "$4"; }
echo @certificate
if [ -f "$_path" ]; then _show "$_path" -pubkey -ext basicConstraints,extendedKeyUsage,subjectAltName || :; fi
echo @key
if [ -f "$_key" ]; then openssl pkey -in "$_key" -passin pass: -pubout -text_pub || :; fi"#,
            u64::from(self.renew_before) * 86_400,
            self.path,
            self.key_path()
        );
        if let Some(ca) = &self.ca {
            script.push(&sh!(
                r#"echo @ca
_ca={}
if [ -f "$_ca" ] && [ -f "$_path" ]; then
  openssl x509 -in "$_ca" -noout -checkend "$_soon" || :
  openssl verify -no_check_time -CAfile "$_ca" "$_path" && echo verified || :
fi"#,
                ca
            ));
        }
        let mut queries = vec![
            metadata(&self.path),
            metadata(&self.key_path()),
            Query::Path(self.stamp().as_str().to_owned(), Want::Content),
            Query::Snippet { key: self.snippet_key(), tools: vec![("openssl", "openssl")], script },
        ];
        queries.extend(self.ca.as_ref().map(metadata));
        queries
    }

    fn observe(&self, answers: &Answers) -> Result<ObservedCertificate, ObserveError> {
        let (certificate, key) = (answers.path(self.path.as_str()), answers.path(self.key_path().as_str()));
        let seen = !answers.lacks("openssl");
        let mut observed = ObservedCertificate {
            certificate: found(certificate),
            key: found(key),
            seen,
            attributes: Attributes::new(),
            issuer_name: String::new(),
        };
        for (path, state) in [(&self.path, certificate), (&self.key_path(), key)] {
            if state.is_some_and(|state| state.kind == FileKind::Directory) {
                return Err(ObserveError::unexpected(self, format!("{path} is a directory")));
            }
        }
        let text = answers.snippet(&self.snippet_key()).map(|answer| answer.text().into_owned()).unwrap_or_default();
        let mut parts: BTreeMap<&str, &str> = BTreeMap::new();
        for part in text.split('@').skip(1) {
            let (name, part) = part.split_once('\n').unwrap_or((part, ""));
            parts.insert(name, part);
        }
        let part = |name: &str| parts.get(name).copied().unwrap_or_default();
        let (shown, shown_key) = (part("certificate"), part("key"));
        let Some(certified) = public_key(shown).filter(|_| observed.certificate == Found::File) else {
            return Ok(observed);
        };

        let attributes = &mut observed.attributes;
        let mut put = |name: &str, value: Value| attributes.insert(name.to_owned(), value);
        put("common_name", json!(name_part(shown, "subject=", "commonName").unwrap_or_default()));
        if let Some(organization) = name_part(shown, "subject=", "organizationName") {
            put("organization", json!(organization));
        }
        if let Some(country) = name_part(shown, "subject=", "countryName") {
            put("country", json!(country));
        }
        let constraints = line_after(shown, "X509v3 Basic Constraints").unwrap_or_default();
        put("authority", json!(constraints.starts_with("CA:TRUE")));
        let names = line_after(shown, "X509v3 Subject Alternative Name").unwrap_or_default();
        let mut names: Vec<String> = names
            .split(", ")
            .filter(|name| !name.is_empty())
            .map(|name| name.strip_prefix("DNS:").or(name.strip_prefix("IP Address:")).unwrap_or(name))
            .map(plain_name)
            .collect();
        names.sort();
        names.dedup();
        put("alt_names", json!(names));
        let usages = line_after(shown, "X509v3 Extended Key Usage").unwrap_or_default();
        let mut usages: Vec<&str> = usages.split(", ").filter(|usage| !usage.is_empty()).collect();
        for (theirs, ours) in [("TLS Web Server Authentication", "server"), ("TLS Web Client Authentication", "client")]
        {
            usages.iter_mut().filter(|usage| **usage == theirs).for_each(|usage| *usage = ours);
        }
        // The order is that of the specification's type, whatever the certificate's is.
        usages.sort_by_key(|usage| (*usage != "server", *usage != "client"));
        put("usages", json!(usages));
        let is_due = |text: &str| text.contains("Certificate will expire");
        let lifetime = format!("{} days", self.lifetime());
        put("validity", if is_due(shown) { json!("to be renewed") } else { json!(lifetime) });

        let public = public_key(shown_key);
        let key_is = match (observed.key, public) {
            (Found::Nothing, _) => "absent",
            (Found::Other, _) => "is no regular file",
            (_, None) => "unreadable",
            (_, Some(public)) if public == certified => "matches the certificate",
            (_, Some(_)) => "is of another certificate",
        };
        put("key", json!(key_is));
        let algorithm = Algorithm::ALL.into_iter().find(|algorithm| shown_key.contains(algorithm.words()));
        if let Some(algorithm) = algorithm {
            put("algorithm", json!(algorithm.as_str()));
        }
        for (prefix, state) in [("", certificate), ("key ", key)] {
            let Some(state) = state else { continue };
            for (name, value) in [("mode", &state.mode), ("owner", &state.owner), ("group", &state.group)] {
                put(&format!("{prefix}{name}"), json!(value));
            }
        }
        let stamp = answers.path(self.stamp().as_str()).and_then(|state| state.content.as_ref());
        let issuer = stamp.map(|bytes| String::from_utf8_lossy(&bytes.0).trim().to_owned());
        put("issuer", json!(issuer.unwrap_or_else(|| "unknown".to_owned())));
        if let Some(ca) = &self.ca {
            let ca_is = match part("ca") {
                _ if answers.path(ca.as_str()).is_none() => "absent",
                text if !text.lines().any(|line| line == "verified") => "does not verify the certificate",
                text if is_due(text) => "to be renewed",
                _ => "verifies the certificate",
            };
            put("ca", json!(ca_is));
        }
        observed.issuer_name = name_part(shown, "issuer=", "commonName").unwrap_or_default();
        Ok(observed)
    }

    fn diff(&self, observed: &ObservedCertificate) -> Change {
        let id = Kind::id(self);
        let desired = self.desired(&observed.attributes);
        let anew = |change: Change| {
            let change = self.steps().into_iter().fold(change, Change::step);
            change.reversed_by(self.reverse())
        };
        if observed.certificate == Found::Nothing || observed.attributes.is_empty() {
            let mut desired = desired;
            let key = if observed.key == Found::Nothing { "made on the host" } else { "kept, if it is of this kind" };
            desired.insert("key".to_owned(), json!(key));
            let mut change = Change::create(id, &desired);
            if observed.certificate != Found::Nothing {
                change.action = Action::Update;
                change = change.because(if observed.seen {
                    "what is there is no certificate"
                } else {
                    "without openssl nobody can say what is there: it is made anew"
                });
            }
            return anew(change);
        }
        let change = Change::between(id, &observed.attributes, &desired);
        if change.is_no_op() {
            return change.because(format!("it is as wanted, and more than {} days from its end", self.renew_before));
        }
        if change.attributes.iter().all(|attribute| PERMISSIONS.contains(&attribute.name.as_str())) {
            let path = &self.path;
            return change
                .step(Step::new(format!("set mode and owner of {path} and its key"), self.permissions_script(&desired)))
                .reversed_by(vec![Step::new(
                    format!("set the former mode and owner of {path} and its key"),
                    self.permissions_script(&observed.attributes),
                )]);
        }
        let due = change.attributes.iter().all(|a| a.name == "validity" || PERMISSIONS.contains(&a.name.as_str()));
        let change =
            if due { change.because(format!("it ends in less than {} days", self.renew_before)) } else { change };
        anew(change)
    }

    fn elsewhere(&self) -> Vec<(HostName, ResourceId)> {
        self.issuer.iter().map(|issuer| (issuer.host.clone(), issuer.id.clone())).collect()
    }
}
