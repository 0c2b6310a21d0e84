//! The people who administer: one account for one person, reviewed, and for a time where the person is somebody else's.

use std::collections::HashMap;

use crate::model::inventory::Vetting;
use crate::policy::cx::{Cx, subject};
use crate::policy::finding::{Finding, Found};
use crate::policy::rule::{Kind, Needs, Pack, Rule, Words};
use crate::policy::{Level, say};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "SNC-9.2.b",
        pack: Pack::Hardening,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &["SNC-9.5.d", "PA022-R29", "NT007-R21", "BP028-R33"],
        text: Words {
            en: "each account of an administrator is one person's",
            fr: "chaque compte d'administrateur est celui d'une seule personne",
        },
        check: nominative,
    },
    Rule {
        id: "SNC-9.4.c",
        pack: Pack::Hardening,
        level: Level::Warning,
        kind: Kind::M,
        needs: Needs::Inventory,
        also: &[],
        text: Words {
            en: "the rights of administrators are reviewed every quarter",
            fr: "les droits des administrateurs sont revus chaque trimestre",
        },
        check: reviewed,
    },
    Rule {
        id: "SNC-12.13.a",
        pack: Pack::Hardening,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &["PA022-R62"],
        text: Words {
            en: "people of suppliers, and who was not vetted, come in for a time and through a bastion",
            fr: "le personnel de fournisseurs, et qui n'a pas été habilité, vient pour un temps et par un bastion",
        },
        check: visitors,
    },
    Rule {
        id: "PROV-OPERATOR-EXPIRED",
        pack: Pack::Hardening,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &[],
        text: Words {
            en: "nobody administers after their rights have ended",
            fr: "personne n'administre après la fin de ses droits",
        },
        check: ended,
    },
];

/// Names of accounts that are nobody's.
const NOBODY: &[&str] = &[
    "root",
    "admin",
    "administrator",
    "administrateur",
    "ops",
    "operator",
    "support",
    "test",
    "debian",
    "user",
    "provision",
];

/// How long a review holds: a quarter, in days.
const QUARTER: i32 = 92;

fn nominative(cx: &Cx<'_>, found: &mut Found) {
    let mut people: HashMap<String, crate::diag::Span> = HashMap::new();
    let technical = &cx.inventory.defaults.ssh.user;
    for (name, operator) in &cx.inventory.operators {
        let is_technical = technical.as_ref().is_some_and(|user| user.value == *name);
        if NOBODY.contains(&name.as_str()) || is_technical {
            let message = say!(
                cx,
                "`{name}` is the name of a function, not of a person",
                "`{name}` nomme une fonction, pas une personne"
            );
            found.push(Finding::new(subject("operators", name), message).at(operator.span));
            continue;
        }
        let person = operator.name.trim().to_lowercase();
        if person.split_whitespace().count() < 2 {
            let said = &operator.name;
            let message = say!(
                cx,
                "`{said}` does not name a person by first and last name",
                "`{said}` ne nomme pas une personne par prénom et nom"
            );
            found.push(Finding::new(subject("operators", name), message).at(operator.name.span));
        } else if let Some(first) = people.insert(person, operator.name.span) {
            let said = &operator.name;
            let message = say!(cx, "{said} has two accounts", "{said} a deux comptes");
            let label = say!(cx, "the other account", "l'autre compte");
            let finding = Finding::new(subject("operators", name), message).at(operator.name.span);
            found.push(finding.label(first, label));
        }
    }
}

fn reviewed(cx: &Cx<'_>, found: &mut Found) {
    let all = cx.inventory.operators.len();
    let mut told = 0;
    for (name, operator) in &cx.inventory.operators {
        let Some(day) = &operator.reviewed else { continue };
        told += 1;
        let age = (cx.today - day.value).get_days();
        if age > QUARTER {
            let message = say!(
                cx,
                "the rights of `{name}` were last reviewed {age} days ago",
                "les droits de `{name}` ont été revus il y a {age} jours"
            );
            found.push(Finding::new(subject("operators", name), message).at(day.span));
        }
    }
    found.declare(say!(
        cx,
        "{told} of {all} administrators say when their rights were reviewed",
        "{told} administrateurs sur {all} disent quand leurs droits ont été revus"
    ));
}

fn ended(cx: &Cx<'_>, found: &mut Found) {
    for (name, operator) in &cx.inventory.operators {
        let Some(day) = operator.expires.as_ref().filter(|day| day.value < cx.today) else { continue };
        let message = say!(cx, "the rights of `{name}` ended on {day}", "les droits de `{name}` ont pris fin le {day}");
        let help = say!(
            cx,
            "remove the operator, or renew the date after a review",
            "retirez l'administrateur, ou renouvelez la date après une revue"
        );
        found.push(Finding::new(subject("operators", name), message).at(day.span).help(help));
    }
}

fn visitors(cx: &Cx<'_>, found: &mut Found) {
    for (name, operator) in &cx.inventory.operators {
        let unvetted = operator.vetting.as_ref().filter(|vetting| vetting.value == Vetting::None);
        let span = match (&operator.supplier, unvetted) {
            (Some(supplier), _) => supplier.span,
            (None, Some(vetting)) => vetting.span,
            (None, None) => continue,
        };
        if operator.expires.is_none() {
            let message = say!(
                cx,
                "`{name}` is not of the provider's vetted staff, and the account has no end",
                "`{name}` n'est pas du personnel habilité du prestataire, et son compte n'a pas de fin"
            );
            let help =
                say!(cx, "give `expires`, the last day of the work", "donnez `expires`, le dernier jour du chantier");
            found.push(Finding::new(subject("operators", name), message).at(span).help(help));
        }
        for plane in operator.planes.iter() {
            let has_bastion = cx.inventory.planes.get(plane.as_str()).is_some_and(|plane| plane.bastion.is_some());
            if !has_bastion {
                let message = say!(
                    cx,
                    "`{name}` is not of the provider's vetted staff, and the plane `{plane}` has no bastion",
                    "`{name}` n'est pas du personnel habilité du prestataire, et le plan `{plane}` n'a pas de bastion"
                );
                found.push(Finding::new(subject("operators", name), message).at(plane.span));
            }
        }
    }
}
