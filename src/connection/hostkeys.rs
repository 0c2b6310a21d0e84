//! Which host keys are trusted: pins of the inventory, known_hosts files, and host CAs.
//!
//! A key is trusted because someone recorded it, never because it was the first one seen. Of a host certificate
//! everything is checked that makes it one: russh only proves that the host holds the key in it.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use camino::Utf8PathBuf;
use hmac::{Hmac, KeyInit, Mac};
use russh::Preferred;
use russh::keys::ssh_key::certificate::CertType;
use russh::keys::ssh_key::public::KeyData;
use russh::keys::{Algorithm, Certificate, EcdsaCurve, HashAlg, PublicKey, PublicKeyOrCertificate};
use sha1::Sha1;

use super::{ConnectError, Endpoint};
use crate::fs;

/// A known_hosts file larger than this is none.
const FILE_LIMIT: u64 = 64 * 1024 * 1024;

/// Every host key algorithm that we accept; SHA-1 signatures and DSA are not among them.
const ALGORITHMS: [Algorithm; 6] = [
    Algorithm::Ed25519,
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP256 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP384 },
    Algorithm::Ecdsa { curve: EcdsaCurve::NistP521 },
    Algorithm::Rsa { hash: Some(HashAlg::Sha512) },
    Algorithm::Rsa { hash: Some(HashAlg::Sha256) },
];

/// What a line says of its key.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Marker {
    Key,
    Authority,
    Revoked,
}

enum Names {
    Patterns(Vec<String>),
    Hashed { salt: Vec<u8>, hash: Vec<u8> },
}

struct Entry {
    marker: Marker,
    names: Names,
    key: PublicKey,
}

/// The lines of the known_hosts files.
#[derive(Default)]
pub(super) struct KnownHosts(Vec<Entry>);

impl KnownHosts {
    /// Reads the files; one that is not there is as good as empty.
    pub(super) fn load(paths: &[Utf8PathBuf]) -> Result<Self, ConnectError> {
        let mut known = Self::default();
        for path in paths {
            match fs::read_at_most(path, FILE_LIMIT) {
                Ok(bytes) => known.add(&String::from_utf8_lossy(&bytes)),
                Err(error) if error.source.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(known)
    }

    /// Adds the lines of a file. As with OpenSSH, a line that cannot be read (such as one with a DSA key) counts for
    /// nothing.
    fn add(&mut self, text: &str) {
        self.0.extend(text.lines().filter_map(parse_line));
    }

    /// Returns what is trusted of the host at an endpoint.
    pub(super) fn trust(&self, endpoint: &Endpoint) -> Result<Trust, ConnectError> {
        let mut trust = Trust::default();
        for pin in &endpoint.host_keys {
            let (marker, key) = match pin.trim().strip_prefix("@cert-authority") {
                // A copied known_hosts line has the host pattern between the marker and the key.
                Some(rest) => (Marker::Authority, rest.trim().trim_start_matches("* ").trim()),
                None => (Marker::Key, pin.trim()),
            };
            let key = PublicKey::from_openssh(key).map_err(|error| ConnectError::HostKeyUnreadable {
                host: endpoint.host.clone(),
                reason: format!("`{}`: {error}", pin.chars().take(60).collect::<String>()),
            })?;
            trust.add(marker, &key);
        }
        let is_pinned = !endpoint.host_keys.is_empty();
        let names = [name_at(&endpoint.address, endpoint.port), name_at(endpoint.host.as_str(), endpoint.port)];
        for entry in self.0.iter().filter(|entry| !is_pinned || entry.marker == Marker::Revoked) {
            if entry.names.match_any(&names) {
                trust.add(entry.marker, &entry.key);
            }
        }
        Ok(trust)
    }
}

/// Returns how known_hosts names an address and port.
fn name_at(address: &str, port: u16) -> String {
    let address = address.to_ascii_lowercase();
    if port == 22 { address } else { format!("[{address}]:{port}") }
}

fn parse_line(line: &str) -> Option<Entry> {
    let line = line.trim();
    if line.starts_with('#') {
        return None;
    }
    let mut words = line.split_ascii_whitespace().peekable();
    let marker = match *words.peek()? {
        "@cert-authority" => Marker::Authority,
        "@revoked" => Marker::Revoked,
        word if word.starts_with('@') => return None,
        _ => Marker::Key,
    };
    if marker != Marker::Key {
        words.next();
    }
    let names = words.next()?;
    let key = format!("{} {}", words.next()?, words.next()?);
    let names = match names.strip_prefix("|1|") {
        Some(hashed) => {
            let (salt, hash) = hashed.split_once('|')?;
            Names::Hashed { salt: STANDARD.decode(salt).ok()?, hash: STANDARD.decode(hash).ok()? }
        }
        None => Names::Patterns(names.split(',').map(str::to_ascii_lowercase).collect()),
    };
    Some(Entry { marker, names, key: PublicKey::from_openssh(&key).ok()? })
}

impl Names {
    /// Returns whether the line is about a host with these names. One negated pattern that fits any takes it away.
    fn match_any(&self, names: &[String]) -> bool {
        match self {
            Self::Patterns(patterns) => {
                let fits = |pattern: &str| names.iter().any(|name| is_like(name, pattern));
                let is_excluded = patterns.iter().filter_map(|pattern| pattern.strip_prefix('!')).any(fits);
                !is_excluded && patterns.iter().any(|pattern| fits(pattern))
            }
            Self::Hashed { salt, hash } => names.iter().any(|name| {
                Hmac::<Sha1>::new_from_slice(salt)
                    .is_ok_and(|mac| mac.chain_update(name.as_bytes()).verify_slice(hash).is_ok())
            }),
        }
    }
}

/// Returns whether `name` fits an OpenSSH pattern, in which only `*` and `?` are special.
fn is_like(name: &str, pattern: &str) -> bool {
    let (name, pattern) = (name.as_bytes(), pattern.as_bytes());
    let (mut at, mut of) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while let Some(byte) = name.get(at) {
        match pattern.get(of) {
            Some(b'*') => {
                star = Some((of, at));
                of += 1;
            }
            Some(wanted) if *wanted == b'?' || wanted == byte => {
                at += 1;
                of += 1;
            }
            _ => match &mut star {
                // The last star takes one byte more, and the rest of the pattern is tried again.
                Some((star_of, star_at)) => {
                    *star_at += 1;
                    (at, of) = (*star_at, *star_of + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(of).all(|byte| *byte == b'*')
}

/// What is trusted of one host.
#[derive(Clone, Default)]
pub(super) struct Trust {
    keys: Vec<KeyData>,
    authorities: Vec<KeyData>,
    revoked: Vec<KeyData>,
}

impl Trust {
    fn add(&mut self, marker: Marker, key: &PublicKey) {
        let list = match marker {
            Marker::Key => &mut self.keys,
            Marker::Authority => &mut self.authorities,
            Marker::Revoked => &mut self.revoked,
        };
        if !list.contains(key.key_data()) {
            list.push(key.key_data().clone());
        }
    }

    /// Returns which algorithms to ask for: those of recorded keys first, or the host would show one of its other keys,
    /// which is not recorded; certificates only if there is a CA to check them by.
    pub(super) fn preferred(&self) -> Preferred {
        let is_recorded = |algorithm: &Algorithm| {
            self.keys.iter().any(|key| match (key.algorithm(), algorithm) {
                (Algorithm::Rsa { .. }, Algorithm::Rsa { .. }) => true,
                (recorded, wanted) => recorded == *wanted,
            })
        };
        let mut order = ALGORITHMS.to_vec();
        order.sort_by_key(|algorithm| !is_recorded(algorithm));
        let certificates = if self.authorities.is_empty() { Vec::new() } else { ALGORITHMS.to_vec() };
        preferred(order, certificates)
    }

    /// Decides about the key that a host has proved to hold.
    pub(super) fn check(&self, endpoint: &Endpoint, shown: &PublicKeyOrCertificate) -> Result<(), ConnectError> {
        let key = shown.public_key();
        let offered = describe(key.key_data());
        let address = address_of(endpoint);
        let host = endpoint.host.clone();
        if self.revoked.contains(key.key_data()) {
            return Err(ConnectError::HostKeyRevoked { host, address, offered });
        }
        if let Some(certificate) = shown.certificate() {
            if self.revoked.contains(certificate.signature_key()) {
                let offered = format!("its CA, {}", describe(certificate.signature_key()));
                return Err(ConnectError::HostKeyRevoked { host, address, offered });
            }
            // A certificate of a CA that is not ours is no more than the key in it.
            if self.authorities.contains(certificate.signature_key()) {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
                return check_certificate(certificate, endpoint, now).map_err(|reason| ConnectError::HostCertificate {
                    host,
                    address,
                    reason,
                });
            }
        }
        if self.keys.contains(key.key_data()) {
            return Ok(());
        }
        if self.keys.is_empty() && self.authorities.is_empty() {
            return Err(ConnectError::HostKeyUnknown { host, address, offered });
        }
        let mut expected: Vec<String> = self.keys.iter().map(describe).collect();
        expected.extend(self.authorities.iter().map(|key| format!("a certificate of {}", describe(key))));
        Err(ConnectError::HostKeyMismatch { host, address, expected, offered })
    }
}

/// Checks a certificate of a CA that we trust.
fn check_certificate(certificate: &Certificate, endpoint: &Endpoint, now: u64) -> Result<(), String> {
    if certificate.cert_type() != CertType::Host {
        return Err("it is a user's, not a host's".to_owned());
    }
    if matches!(certificate.signature().algorithm(), Algorithm::Rsa { hash: None } | Algorithm::Dsa) {
        return Err(format!("it is signed with {}", certificate.signature().algorithm()));
    }
    if let Some((name, _)) = certificate.critical_options().iter().next() {
        return Err(format!("it has the critical option `{name}`, which is unknown"));
    }
    if now < certificate.valid_after() {
        return Err("it is not valid yet".to_owned());
    }
    if now >= certificate.valid_before() {
        return Err("it has expired".to_owned());
    }
    // OpenSSH takes a certificate without principals for any host; that is too much for one file on one host.
    let names = [endpoint.address.to_ascii_lowercase(), endpoint.host.as_str().to_ascii_lowercase()];
    let principals = certificate.valid_principals();
    if !principals.iter().any(|principal| names.iter().any(|name| is_like(name, &principal.to_ascii_lowercase()))) {
        let named = if principals.is_empty() { "nobody".to_owned() } else { principals.join(", ") };
        return Err(format!("it names {named}, and neither {} nor {}", endpoint.host, endpoint.address));
    }
    let authority = certificate.signature_key().fingerprint(HashAlg::Sha256);
    certificate.validate_at(now, [&authority]).map_err(|_| "its signature is wrong".to_owned())
}

/// Returns the algorithms of a connection; host keys in this order.
pub(super) fn preferred(keys: Vec<Algorithm>, certificates: Vec<Algorithm>) -> Preferred {
    Preferred {
        key: Cow::Owned(keys),
        host_key_certificates: Cow::Owned(certificates),
        // AES-GCM is half again as fast as ChaCha20 with instructions for AES, which every server has.
        cipher: Cow::Borrowed(&[
            russh::cipher::AES_256_GCM,
            russh::cipher::CHACHA20_POLY1305,
            russh::cipher::AES_256_CTR,
            russh::cipher::AES_192_CTR,
            russh::cipher::AES_128_CTR,
        ]),
        compression: Cow::Borrowed(&[russh::compression::NONE]),
        ..Preferred::DEFAULT
    }
}

/// Returns the groups of algorithms that belong to one host key, by which each of a host's keys can be asked for.
pub(super) fn key_kinds() -> [Vec<Algorithm>; 3] {
    let [ed25519, p256, p384, p521, rsa_512, rsa_256] = ALGORITHMS;
    [vec![ed25519], vec![p256, p384, p521], vec![rsa_512, rsa_256]]
}

/// Returns a key as people compare it.
pub(super) fn describe(key: &KeyData) -> String {
    format!("{} {}", key.algorithm(), key.fingerprint(HashAlg::Sha256))
}

/// Returns the address and port of an endpoint as people write it.
pub(super) fn address_of(endpoint: &Endpoint) -> String {
    if endpoint.address.contains(':') {
        format!("[{}]:{}", endpoint.address, endpoint.port)
    } else {
        format!("{}:{}", endpoint.address, endpoint.port)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use russh::keys::PrivateKey;
    use russh::keys::key::safe_rng;
    use russh::keys::ssh_key::certificate::Builder;

    use super::*;

    const A: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAICRibqrfIakubj1HjhGu77Cf7H8nRyLvvemVc5ekkkTW";
    const B: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAtL7gGVloGrCLe0OlL23dTj9h+QXuG5rSjv1tMx2/dM";
    const ECDSA: &str = "ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBIGgCvClCyXbq0jh94vXZ9riJ7/KaZwAGXnw+3RsEqeyECJsj8CtdCSCcfrZm+qzqsbRPQR0ZIjawOqCpIOa84U=";
    const HASHED: &str = "|1|mVBCPxGoK87FkjkbmNg1ZGJzbmE=|MJIMGqgwGhZIbMWX9kWcPEvs79s=";
    const HASHED_PORT: &str = "|1|UlZWuBCho0yPIQ+R8HeaHqDRDoc=|DVQk+5fQ6gpDa6WMOEMfhIEvQLA=";

    fn endpoint(address: &str, port: u16, pins: &[&str]) -> Endpoint {
        Endpoint {
            host: "web1".into(),
            address: address.into(),
            port,
            user: "root".into(),
            host_keys: pins.iter().map(|pin| (*pin).to_owned()).collect(),
        }
    }

    fn check(known: &str, endpoint: &Endpoint, key: &str) -> &'static str {
        let mut all = KnownHosts::default();
        all.add(known);
        let shown = PublicKeyOrCertificate::from(PublicKey::from_openssh(key).unwrap());
        match all.trust(endpoint).and_then(|trust| trust.check(endpoint, &shown)) {
            Ok(()) => "trusted",
            Err(ConnectError::HostKeyUnknown { .. }) => "unknown",
            Err(ConnectError::HostKeyMismatch { .. }) => "other",
            Err(ConnectError::HostKeyRevoked { .. }) => "revoked",
            Err(_) => "failed",
        }
    }

    #[test]
    fn known_hosts_lines_mean_what_they_mean_to_openssh() {
        let at = |address: &str, port| endpoint(address, port, &[]);
        for (lines, endpoint, key, verdict) in [
            ("", at("10.0.0.1", 22), A, "unknown"),
            ("10.0.0.1 {A}", at("10.0.0.1", 22), A, "trusted"),
            ("10.0.0.1 {A} a comment with spaces", at("10.0.0.1", 22), A, "trusted"),
            ("10.0.0.1\t {A}\t", at("10.0.0.1", 22), A, "trusted"),
            ("10.0.0.1 {A}", at("10.0.0.1", 22), B, "other"),
            ("10.0.0.1 {A}", at("10.0.0.1", 22), ECDSA, "other"),
            ("10.0.0.1 {A}\n10.0.0.1 {B}", at("10.0.0.1", 22), B, "trusted"),
            ("10.0.0.1 {A}", at("10.0.0.11", 22), A, "unknown"),
            ("web1 {A}", at("10.0.0.1", 22), A, "trusted"),
            ("db1,WEB1.Example {A}", at("web1.example", 22), A, "trusted"),
            ("10.0.0.1 {A}", at("10.0.0.1", 2222), A, "unknown"),
            ("[10.0.0.1]:2222 {A}", at("10.0.0.1", 2222), A, "trusted"),
            ("[10.0.0.1]:2222 {A}", at("10.0.0.1", 22), A, "unknown"),
            ("2001:db8::1 {A}", at("2001:db8::1", 22), A, "trusted"),
            ("[2001:db8::1]:2222 {A}", at("2001:db8::1", 2222), A, "trusted"),
            ("10.0.?.* {A}", at("10.0.0.1", 22), A, "trusted"),
            ("*,!10.0.0.1,!web1 {A}", at("10.0.0.1", 22), A, "unknown"),
            ("*,!10.0.0.1,!web1 {A}", at("10.0.0.2", 22), A, "unknown"),
            ("*,!10.0.0.1 {A}", at("10.0.0.1", 22), A, "unknown"),
            ("*,!10.0.0.1 {A}", at("10.0.0.2", 22), A, "trusted"),
            ("{HASHED} {A}", at("web1.example", 22), A, "trusted"),
            ("{HASHED} {A}", at("web2.example", 22), A, "unknown"),
            ("{HASHED_PORT} {A}", at("web1.example", 2222), A, "trusted"),
            ("{HASHED_PORT} {A}", at("web1.example", 22), A, "unknown"),
            ("10.0.0.1 {A}\n@revoked * {A}", at("10.0.0.1", 22), A, "revoked"),
            ("10.0.0.1 {A}\n@revoked 10.0.0.2 {A}", at("10.0.0.1", 22), A, "trusted"),
            ("10.0.0.1 {A}\n@revoked\t* {B}", at("10.0.0.1", 22), A, "trusted"),
            ("# 10.0.0.1 {A}", at("10.0.0.1", 22), A, "unknown"),
            ("@weird 10.0.0.1 {A}", at("10.0.0.1", 22), A, "unknown"),
            ("10.0.0.1 ssh-dss AAAA\n10.0.0.1\nx\n10.0.0.1 {A}", at("10.0.0.1", 22), A, "trusted"),
            ("@cert-authority * {A}", at("10.0.0.1", 22), A, "other"),
        ] {
            let lines = lines.replace("{A}", A).replace("{B}", B);
            let lines = lines.replace("{HASHED}", HASHED).replace("{HASHED_PORT}", HASHED_PORT);
            assert_eq!(check(&lines, &endpoint, key), verdict, "{lines} at {}:{}", endpoint.address, endpoint.port);
        }
    }

    #[test]
    fn a_pin_goes_before_known_hosts_and_a_revocation_before_a_pin() {
        let pinned = endpoint("10.0.0.1", 22, &[B]);
        assert_eq!(check(&format!("10.0.0.1 {A}"), &pinned, A), "other");
        assert_eq!(check("", &pinned, B), "trusted");
        assert_eq!(check(&format!("@revoked * {B}"), &pinned, B), "revoked");
        assert_eq!(check("", &endpoint("10.0.0.1", 22, &["ssh-ed25519 AAAA"]), A), "failed");
        assert_eq!(check("", &endpoint("10.0.0.1", 22, &[&format!("{A} root@web1")]), A), "trusted");
    }

    #[test]
    fn the_recorded_kind_of_key_is_asked_for_first() {
        let known = KnownHosts::default();
        let plain = known.trust(&endpoint("10.0.0.1", 22, &[ECDSA])).unwrap().preferred();
        assert_eq!(plain.key.first().unwrap().to_string(), "ecdsa-sha2-nistp256");
        assert!(plain.host_key_certificates.is_empty());
        let pin = format!("@cert-authority {A}");
        let with_authority = known.trust(&endpoint("10.0.0.1", 22, &[&pin])).unwrap().preferred();
        assert!(!with_authority.host_key_certificates.is_empty());
        assert!(plain.key.iter().all(|algorithm| !matches!(algorithm, Algorithm::Rsa { hash: None } | Algorithm::Dsa)));
    }

    #[test]
    fn of_a_host_certificate_everything_is_checked() {
        let authority = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap();
        let stranger = PrivateKey::random(&mut safe_rng(), Algorithm::Ed25519).unwrap();
        let key = PublicKey::from_openssh(B).unwrap();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let certificate = |from: u64, to: u64, signer: &PrivateKey, adjust: &dyn Fn(&mut Builder)| {
            let mut builder = Builder::new(vec![7; 16], key.key_data().clone(), from, to).unwrap();
            adjust(&mut builder);
            builder.sign(signer).unwrap()
        };
        let named = |name: &'static str| {
            move |builder: &mut Builder| {
                builder.cert_type(CertType::Host).unwrap().valid_principal(name).unwrap();
            }
        };
        let (hour, web1) = (3600, named("web1"));
        let pin = format!("@cert-authority * {}", authority.public_key().to_openssh().unwrap());
        let endpoint = endpoint("10.0.0.1", 22, &[&pin]);
        let trust = KnownHosts::default().trust(&endpoint).unwrap();
        let verdict =
            |certificate: Certificate| match trust.check(&endpoint, &PublicKeyOrCertificate::from(certificate)) {
                Ok(()) => "trusted".to_owned(),
                Err(ConnectError::HostCertificate { reason, .. }) => reason,
                Err(error) => error.to_string().chars().take(40).collect(),
            };
        let valid = |adjust: &dyn Fn(&mut Builder)| certificate(now - hour, now + hour, &authority, adjust);
        assert_eq!(verdict(valid(&web1)), "trusted");
        assert_eq!(verdict(valid(&named("10.0.0.1"))), "trusted");
        assert_eq!(verdict(valid(&named("web*"))), "trusted");
        assert_eq!(verdict(valid(&named("db1"))), "it names db1, and neither web1 nor 10.0.0.1");
        let everybody = |builder: &mut Builder| {
            builder.cert_type(CertType::Host).unwrap().all_principals_valid().unwrap();
        };
        assert_eq!(verdict(valid(&everybody)), "it names nobody, and neither web1 nor 10.0.0.1");
        assert_eq!(verdict(certificate(now - 2 * hour, now - hour, &authority, &web1)), "it has expired");
        assert_eq!(verdict(certificate(now + hour, now + 2 * hour, &authority, &web1)), "it is not valid yet");
        let users = |builder: &mut Builder| {
            builder.cert_type(CertType::User).unwrap().valid_principal("web1").unwrap();
        };
        assert_eq!(verdict(valid(&users)), "it is a user's, not a host's");
        let strange = |builder: &mut Builder| {
            web1(builder);
            builder.critical_option("force-colour", "red").unwrap();
        };
        assert_eq!(verdict(valid(&strange)), "it has the critical option `force-colour`, which is unknown");
        assert!(verdict(certificate(now - hour, now + hour, &stranger, &web1)).starts_with("the host key of web1"));

        // The same bytes with another validity: the signature no longer fits.
        let mut bytes = valid(&web1).to_bytes().unwrap();
        let until = (now + hour).to_be_bytes();
        let at = bytes.windows(8).position(|window| window == until).unwrap();
        bytes[at..at + 8].copy_from_slice(&(now + 2 * hour).to_be_bytes());
        assert_eq!(verdict(Certificate::from_bytes(&bytes).unwrap()), "its signature is wrong");
    }

    proptest! {
        #[test]
        fn a_pattern_fits_as_a_regular_expression_would(name in "[ab.]{0,6}", pattern in "[ab.*?]{0,6}") {
            let mut table = vec![vec![false; pattern.len() + 1]; name.len() + 1];
            table[0][0] = true;
            for at in 0..=name.len() {
                for of in 1..=pattern.len() {
                    let wanted = pattern.as_bytes()[of - 1];
                    table[at][of] = match wanted {
                        b'*' => table[at][of - 1] || at > 0 && table[at - 1][of],
                        _ => at > 0 && table[at - 1][of - 1] && (wanted == b'?' || wanted == name.as_bytes()[at - 1]),
                    };
                }
            }
            prop_assert_eq!(is_like(&name, &pattern), table[name.len()][pattern.len()]);
        }
    }
}
