//! What a live host lives from and leaves behind: where its packages, its time and its certificates come from, where its
//! messages go, and what the kernel keeps of what was done.

use super::live::{each, rule};
use super::places::is_allowed;
use super::urls;
use crate::model::inventory::Country;
use crate::policy::cx::Cx;
use crate::policy::finding::Found;
use crate::policy::rule::{Pack, Rule, Words};
use crate::policy::{Level, say};

pub(super) const RULES: &[Rule] = &[
    Rule {
        also: &["SNC-12.10.a"],
        ..rule(
            "BP028-R59",
            Level::Error,
            Words {
                en: "packages come from the fleet or declared endpoints, signed, and from nowhere else",
                fr: "les paquets viennent du parc ou de points d'accès déclarés, signés, et de nulle part ailleurs",
            },
            sources,
        )
    },
    Rule {
        also: &["LOG-R3"],
        ..rule(
            "SNC-12.8.a",
            Level::Error,
            Words {
                en: "each host follows time servers of the fleet or declared ones, and is in step with one of them",
                fr: "chaque hôte suit des serveurs de temps du parc ou déclarés, et est calé sur l'un d'eux",
            },
            time,
        )
    },
    Rule {
        also: &["LOG-R9", "PA022-R46", "PA022-R47"],
        ..rule(
            "SNC-12.7.c",
            Level::Error,
            Words {
                en: "each host sends its messages to another of the fleet",
                fr: "chaque hôte envoie ses messages à un autre du parc",
            },
            central,
        )
    },
    Rule {
        also: &["LOG-R16", "SNC-12.7.c"],
        ..rule(
            "LOG-R17",
            Level::Warning,
            Words {
                en: "messages leave a host encrypted, and by a way that loses none",
                fr: "les messages quittent un hôte chiffrés, par une voie qui n'en perd pas",
            },
            encrypted,
        )
    },
    rule(
        "BP028-R71",
        Level::Error,
        Words {
            en: "a service keeps what is told, also over a restart",
            fr: "un service garde ce qui est signalé, même après un redémarrage",
        },
        kept,
    ),
    Rule {
        also: &["LOG-R27"],
        ..rule(
            "LOG-R26",
            Level::Warning,
            Words {
                en: "not everybody on a host can read or change its logs",
                fr: "les journaux d'un hôte ne sont ni lisibles ni modifiables par tous",
            },
            open,
        )
    },
    rule(
        "BP028-R73",
        Level::Warning,
        Words {
            en: "the kernel's audit trail is kept: auditd runs and has rules",
            fr: "la trace d'audit du noyau est tenue : auditd tourne et a des règles",
        },
        trail,
    ),
    Rule {
        pack: Pack::Sovereignty,
        also: &["PA022-R37"],
        ..rule(
            "SNC-10.6.a",
            Level::Error,
            Words {
                en: "who signed the certificates of a host is in an allowed country",
                fr: "qui a signé les certificats d'un hôte est dans un pays autorisé",
            },
            countries,
        )
    },
    rule(
        "TLS-R25",
        Level::Warning,
        Words {
            en: "a certificate is for three years at most, and has not run out",
            fr: "un certificat vaut trois ans au plus, et n'a pas expiré",
        },
        days,
    ),
    Rule {
        also: &["TLS-R26"],
        ..rule(
            "TLS-R11",
            Level::Error,
            Words {
                en: "a certificate is signed with SHA-2, and its key is long enough",
                fr: "un certificat est signé avec SHA-2, et sa clé est assez longue",
            },
            strength,
        )
    },
];

/// Returns the host of a URI.
fn host_of(uri: &str) -> Option<&str> {
    let (scheme, rest) = uri.split_once(':')?;
    if matches!(scheme, "file" | "cdrom" | "copy") {
        return None;
    }
    let rest = rest.trim_start_matches('/');
    let authority = rest.split('/').next().unwrap_or(rest);
    match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => authority.split(':').next(),
    }
}

fn sources(cx: &Cx<'_>, found: &mut Found) {
    each(
        cx,
        found,
        |live| &live.sources,
        |on, sources| {
            for source in sources {
                let (file, uri) = (&source.file, &source.uri);
                if host_of(uri).is_some_and(|host| !urls::is_known(on.cx, host)) {
                    let message = say!(
                        on.cx,
                        "{file} takes packages from {uri}, which is neither of the fleet nor a declared endpoint",
                        "{file} prend des paquets de {uri}, qui n'est ni du parc ni un point d'accès déclaré"
                    );
                    on.push(on.finding_of("sources", file, message));
                }
                if source.is_trusted {
                    let message = say!(
                        on.cx,
                        "{file} takes packages from {uri} without a signature (`trusted=yes`)",
                        "{file} prend des paquets de {uri} sans signature (`trusted=yes`)"
                    );
                    on.push(on.finding_of("sources", file, message));
                } else if !source.has_key {
                    let message = say!(
                        on.cx,
                        "{file} names no key for {uri}: every key on the host may sign it",
                        "{file} ne nomme pas de clé pour {uri} : toute clé de l'hôte peut le signer"
                    );
                    on.push(on.finding_of("sources", file, message).only(Level::Warning));
                }
            }
            for setting in on.also(&on.live.unsigned).into_iter().flatten() {
                let message = say!(
                    on.cx,
                    "apt installs what nobody signed: `{setting}`",
                    "apt installe ce que nul n'a signé : `{setting}`"
                );
                on.push(on.finding_of("apt", setting, message));
            }
        },
    );
}

fn time(cx: &Cx<'_>, found: &mut Found) {
    each(
        cx,
        found,
        |live| &live.time,
        |on, time| {
            for source in time.sources.iter().filter(|source| !urls::is_known(on.cx, source)) {
                let message = say!(
                    on.cx,
                    "the time source `{source}` is neither of the fleet nor a declared endpoint",
                    "la source de temps `{source}` n'est ni du parc ni un point d'accès déclaré"
                );
                on.push(on.finding_of("time", source, message));
            }
            let is_server = on.host.has_role("time");
            let Some(service) = &time.service else {
                let message = say!(on.cx, "no service keeps the time", "aucun service ne tient l'heure");
                return on.push(on.finding(message));
            };
            if time.sources.is_empty() && !is_server {
                let message =
                    say!(on.cx, "`{service}` follows nobody's time", "`{service}` ne suit l'heure de personne");
                on.push(on.finding(message));
            } else if service == "chrony" && time.follows.is_none() && !(is_server && time.is_local) {
                let message = say!(
                    on.cx,
                    "`{service}` is in step with none of its sources",
                    "`{service}` n'est calé sur aucune de ses sources"
                );
                on.push(on.finding(message).only(Level::Warning));
            }
        },
    );
}

fn central(cx: &Cx<'_>, found: &mut Found) {
    each(
        cx,
        found,
        |live| &live.logs,
        |on, logs| {
            // Who keeps the logs of all has them at home.
            if on.host.has_role("log") {
                return on.has_none();
            }
            if !logs.targets.iter().any(|target| urls::is_known(on.cx, &target.host)) {
                let message = say!(
                    on.cx,
                    "no message leaves for a host of the fleet",
                    "aucun message ne part vers un hôte du parc"
                );
                on.push(on.finding(message));
            }
            for target in logs.targets.iter().filter(|target| !urls::is_known(on.cx, &target.host)) {
                let host = &target.host;
                let message = say!(
                    on.cx,
                    "messages go to `{host}`, which is neither of the fleet nor a declared endpoint",
                    "les messages vont à `{host}`, qui n'est ni du parc ni un point d'accès déclaré"
                );
                on.push(on.finding_of("logs", host, message));
            }
        },
    );
}

fn encrypted(cx: &Cx<'_>, found: &mut Found) {
    each(
        cx,
        found,
        |live| &live.logs,
        |on, logs| {
            if logs.targets.is_empty() {
                return on.has_none();
            }
            for target in logs.targets.iter().filter(|target| !target.is_encrypted) {
                let (host, by) = (&target.host, &target.by);
                let message = say!(
                    on.cx,
                    "messages go to `{host}` by {by}, without encryption",
                    "les messages vont à `{host}` par {by}, sans chiffrement"
                );
                on.push(on.finding_of("logs", host, message));
            }
        },
    );
}

fn kept(cx: &Cx<'_>, found: &mut Found) {
    each(
        cx,
        found,
        |live| &live.logs,
        |on, logs| {
            if !logs.is_running && !logs.is_kept {
                let message = say!(
                    on.cx,
                    "what is told is lost with a restart: rsyslog does not run, and the journal stands in memory",
                    "ce qui est signalé se perd au redémarrage : rsyslog ne tourne pas, et le journal est en mémoire"
                );
                on.push(on.finding(message));
            }
        },
    );
}

fn open(cx: &Cx<'_>, found: &mut Found) {
    each(
        cx,
        found,
        |live| &live.logs,
        |on, logs| {
            for (path, mode) in &logs.open_files {
                let message =
                    say!(on.cx, "{path} is open to everybody (mode {mode})", "{path} est ouvert à tous (mode {mode})");
                on.push(on.finding_of("logs", path, message));
            }
        },
    );
}

fn trail(cx: &Cx<'_>, found: &mut Found) {
    each(
        cx,
        found,
        |live| &live.trail,
        |on, trail| {
            let message = match (trail.is_installed, trail.is_running, trail.rules) {
                (false, ..) => say!(on.cx, "there is no auditd", "il n'y a pas d'auditd"),
                (true, false, _) => say!(on.cx, "auditd does not run", "auditd ne tourne pas"),
                (true, true, Some(0)) => say!(on.cx, "auditd has no rules", "auditd n'a pas de règles"),
                (true, true, None) => {
                    let why = say!(on.cx, "`auditctl -l` said nothing", "`auditctl -l` n'a rien dit");
                    return on.unread(why);
                }
                (true, true, Some(_)) => return,
            };
            on.push(on.finding(message));
        },
    );
}

fn countries(cx: &Cx<'_>, found: &mut Found) {
    each(
        cx,
        found,
        |live| &live.certificates,
        |on, certificates| {
            if certificates.is_empty() {
                return on.has_none();
            }
            for certificate in certificates {
                let (path, issuer) = (&certificate.path, &certificate.issuer);
                let country = certificate.country.as_deref().and_then(|text| text.parse::<Country>().ok());
                match country {
                    Some(country) if is_allowed(on.cx, country) => {}
                    Some(country) => {
                        let message = say!(
                            on.cx,
                            "{path} was signed in {country} ({issuer})",
                            "{path} a été signé en {country} ({issuer})"
                        );
                        on.push(on.finding_of("certificates", path, message));
                    }
                    None => {
                        let message = say!(
                            on.cx,
                            "{path} does not say in which country it was signed ({issuer})",
                            "{path} ne dit pas dans quel pays il a été signé ({issuer})"
                        );
                        on.push(on.finding_of("certificates", path, message).only(Level::Warning));
                    }
                }
            }
        },
    );
}

/// Three years with a leap day.
const LONGEST: i32 = 3 * 365 + 1;

fn days(cx: &Cx<'_>, found: &mut Found) {
    each(
        cx,
        found,
        |live| &live.certificates,
        |on, certificates| {
            if certificates.is_empty() {
                return on.has_none();
            }
            for certificate in certificates {
                let Some((first, last)) = certificate.days else { continue };
                let path = &certificate.path;
                if last < on.cx.today {
                    let message = say!(on.cx, "{path} ran out on {last}", "{path} a expiré le {last}");
                    on.push(on.finding_of("certificates", path, message));
                } else if !certificate.is_authority && (last - first).get_days() > LONGEST {
                    let message = say!(
                        on.cx,
                        "{path} is for more than three years, from {first} to {last}",
                        "{path} vaut plus de trois ans, du {first} au {last}"
                    );
                    on.push(on.finding_of("certificates", path, message));
                }
            }
        },
    );
}

fn strength(cx: &Cx<'_>, found: &mut Found) {
    each(
        cx,
        found,
        |live| &live.certificates,
        |on, certificates| {
            if certificates.is_empty() {
                return on.has_none();
            }
            for certificate in certificates {
                let (path, signature) = (&certificate.path, certificate.signature.to_lowercase());
                if ["sha1", "md5", "md2", "md4"].iter().any(|old| signature.contains(old)) {
                    let message = say!(on.cx, "{path} is signed with {signature}", "{path} est signé avec {signature}");
                    on.push(on.finding_of("certificates", path, message));
                }
                let (key, bits) = (&certificate.key, certificate.bits);
                let least = match key.as_str() {
                    "rsaEncryption" | "rsassaPss" | "dsaEncryption" => 2048,
                    "id-ecPublicKey" => 250,
                    _ => continue,
                };
                if bits < least {
                    let message = say!(
                        on.cx,
                        "the key of {path} has {bits} bits ({key}), and {least} are asked for",
                        "la clé de {path} a {bits} bits ({key}), et {least} sont demandés"
                    );
                    on.push(on.finding_of("certificates", path, message));
                }
            }
        },
    );
}
