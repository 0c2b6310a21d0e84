//! The live host itself: what is mounted and how, who has an account, how passwords are kept, what confines programs, and
//! whether disks are encrypted.

use super::live::{each, rule};
use super::packages::MOUNTS;
use crate::policy::cx::{Cx, plane_of};
use crate::policy::finding::Found;
use crate::policy::live::Password;
use crate::policy::rule::{Rule, Words};
use crate::policy::{Level, say};

pub(super) const RULES: &[Rule] = &[
    rule(
        "BP028-R28",
        Level::Warning,
        Words {
            en: "what users and services write to is a file system of its own, without devices, set-user-ID and, where it \
                 can be, execution",
            fr: "ce où écrivent utilisateurs et services est un système de fichiers à part, sans périphériques, sans setuid \
                 et, si possible, sans exécution",
        },
        mounts,
    ),
    Rule {
        also: &["SNC-10.1.a", "SNC-12.12.c"],
        ..rule(
            "PA022-R14",
            Level::Warning,
            Words {
                en: "every file system and swap space of a host is encrypted",
                fr: "chaque système de fichiers et espace d'échange d'un hôte est chiffré",
            },
            encryption,
        )
    },
    rule(
        "BP028-R45",
        Level::Error,
        Words { en: "AppArmor is on and enforces profiles", fr: "AppArmor est actif et impose des profils" },
        apparmor,
    ),
    Rule {
        also: &["SNC-9.5.d", "PA022-R29", "BP028-R33"],
        ..rule(
            "SNC-9.2.b",
            Level::Error,
            Words {
                en: "root alone has the number 0, and who can log in is an operator of the host or the tool's own user",
                fr: "seul root a le numéro 0, et qui peut se connecter est un opérateur de l'hôte ou l'utilisateur de l'outil",
            },
            accounts,
        )
    },
    Rule {
        also: &["BP028-R68"],
        ..rule(
            "SNC-10.3.a",
            Level::Error,
            Words {
                en: "every password of a host is kept as a yescrypt or SHA-512 hash",
                fr: "chaque mot de passe d'un hôte est gardé comme empreinte yescrypt ou SHA-512",
            },
            hashes,
        )
    },
    rule(
        "BP028-R36",
        Level::Warning,
        Words {
            en: "what users create is readable to nobody else (umask 027 or 077)",
            fr: "ce que créent les utilisateurs n'est lisible par nul autre (umask 027 ou 077)",
        },
        umask,
    ),
];

/// What is mounted by the system itself, with the options that R28 asks for.
const OWN: &[(&str, &[&str])] = &[("/dev/shm", &["nosuid", "nodev", "noexec"])];

fn mounts(cx: &Cx<'_>, found: &mut Found) {
    each(
        cx,
        found,
        |live| &live.mounts,
        |on, mounts| {
            let mut apart: Vec<&str> = Vec::new();
            for (path, wanted) in MOUNTS.iter().chain(OWN) {
                let Some(mount) = mounts.get(*path) else {
                    // These may well be part of another.
                    if !matches!(*path, "/boot" | "/opt" | "/srv" | "/usr" | "/dev/shm") {
                        apart.push(path);
                    }
                    continue;
                };
                let missing: Vec<&str> =
                    wanted.iter().copied().filter(|option| !mount.options.contains(*option)).collect();
                if !missing.is_empty() {
                    let missing = missing.join(", ");
                    let message = say!(on.cx, "{path} is mounted without {missing}", "{path} est monté sans {missing}");
                    on.push(on.finding_of("mounts", path, message));
                }
            }
            if !apart.is_empty() {
                let paths = apart.join(", ");
                let message = say!(
                    on.cx,
                    "no file systems of their own: {paths}",
                    "pas de systèmes de fichiers à part : {paths}"
                );
                on.push(on.finding(message));
            }
            if let Some(proc) = mounts.get("/proc")
                && !proc.options.iter().any(|option| matches!(option.as_str(), "hidepid=2" | "hidepid=invisible"))
            {
                let message = say!(
                    on.cx,
                    "/proc shows everybody the processes of all (no `hidepid=2`)",
                    "/proc montre à chacun les processus de tous (pas de `hidepid=2`)"
                );
                on.push(on.finding_of("mounts", "/proc", message));
            }
        },
    );
}

fn encryption(cx: &Cx<'_>, found: &mut Found) {
    each(
        cx,
        found,
        |live| &live.disks,
        |on, disks| {
            if disks.is_empty() {
                return on.has_none();
            }
            // What is read before anybody can give a key cannot be encrypted.
            let is_early = |mount: &str| matches!(mount, "/boot" | "/boot/efi" | "/efi");
            for disk in disks.iter().filter(|disk| !disk.is_encrypted && !is_early(&disk.mount)) {
                let (mount, device) = (&disk.mount, &disk.device);
                let message = say!(
                    on.cx,
                    "{mount} lies on {device} without encryption",
                    "{mount} est sur {device} sans chiffrement"
                );
                on.push(on.finding_of("disks", mount, message));
            }
        },
    );
}

fn apparmor(cx: &Cx<'_>, found: &mut Found) {
    each(
        cx,
        found,
        |live| &live.apparmor,
        |on, apparmor| {
            let message = match (apparmor.is_on, apparmor.enforced) {
                (false, _) => say!(on.cx, "AppArmor is off", "AppArmor est inactif"),
                (true, 0) => say!(on.cx, "AppArmor enforces no profile", "AppArmor n'impose aucun profil"),
                (true, _) => return,
            };
            on.push(on.finding(message));
        },
    );
}

fn accounts(cx: &Cx<'_>, found: &mut Found) {
    each(
        cx,
        found,
        |live| &live.accounts,
        |on, accounts| {
            let (plane, own) = (plane_of(on.host), on.login_user());
            for account in accounts {
                let name = &account.name;
                if account.uid == 0 && name != "root" {
                    let message = say!(
                        on.cx,
                        "the account `{name}` has the number 0, as root",
                        "le compte `{name}` a le numéro 0, comme root"
                    );
                    on.push(on.finding_of("accounts", name, message));
                    continue;
                }
                let is_operator = on.cx.inventory.operators.iter().any(|(known, operator)| {
                    known == name && operator.planes.iter().any(|known| Some(known.as_str()) == plane)
                });
                if !account.can_log_in() || is_operator || *name == own || name == "root" {
                    continue;
                }
                let message = say!(
                    on.cx,
                    "`{name}` can log in, who is no operator of this host",
                    "`{name}` peut se connecter, qui n'est pas un opérateur de cet hôte"
                );
                let help = say!(
                    on.cx,
                    "remove the account, lock it, or declare its person under `operators`",
                    "retirez le compte, verrouillez-le, ou déclarez sa personne sous `operators`"
                );
                on.push(on.finding_of("accounts", name, message).help(help));
            }
        },
    );
}

fn hashes(cx: &Cx<'_>, found: &mut Found) {
    each(
        cx,
        found,
        |live| &live.accounts,
        |on, accounts| {
            for account in accounts {
                let name = &account.name;
                let message = match account.password {
                    Password::Locked | Password::Hash("yescrypt" | "gost-yescrypt" | "SHA-512") => continue,
                    Password::Empty => say!(on.cx, "`{name}` has an empty password", "`{name}` a un mot de passe vide"),
                    Password::Hash(sort) => say!(
                        on.cx,
                        "the password of `{name}` is kept as {sort}",
                        "le mot de passe de `{name}` est gardé en {sort}"
                    ),
                };
                on.push(on.finding_of("accounts", name, message));
            }
        },
    );
}

fn umask(cx: &Cx<'_>, found: &mut Found) {
    each(
        cx,
        found,
        |live| &live.umask,
        |on, umask| {
            // Of the shells' own files the last word counts; what PAM sets holds for every login.
            let of = |file: &str| umask.said.iter().rev().find(|(known, _)| known == file);
            let pam = of("/etc/login.defs").filter(|_| umask.has_pam);
            let shell = umask.said.iter().rev().find(|(file, _)| file != "/etc/login.defs");
            let is_strict = |mask: &str| matches!(mask.trim_start_matches('0'), "27" | "77");
            let Some((file, mask)) = shell.or(pam) else {
                let message =
                    say!(on.cx, "nothing sets an umask, which is 022 then", "rien ne fixe d'umask, qui vaut alors 022");
                return on.push(on.finding(message));
            };
            if !is_strict(mask) {
                let message = say!(on.cx, "the umask of {file} is {mask}", "l'umask de {file} est {mask}");
                on.push(on.finding(message));
            }
        },
    );
}
