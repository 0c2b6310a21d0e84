//! What the inventory of equipment says of each host, and where it stands.

use crate::model::inventory::{RoomAccess, SecurityNeed};
use crate::policy::cx::{Cx, subject};
use crate::policy::finding::{Finding, Found};
use crate::policy::rule::{Kind, Needs, Pack, Rule, Words};
use crate::policy::{Level, say};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "SNC-8.1.a",
        pack: Pack::Hardening,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &[],
        text: Words {
            en: "each host is recorded with its addresses, function, model, place, owner and need of protection",
            fr: "chaque hôte est inventorié avec ses adresses, sa fonction, son modèle, son lieu, son propriétaire et son \
                 besoin de sécurité",
        },
        check: records,
    },
    Rule {
        id: "SNC-11.1.1.a",
        pack: Pack::Hardening,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &[],
        text: Words {
            en: "no host stands in a room that is open to visitors",
            fr: "aucun hôte n'est dans une salle ouverte aux visiteurs",
        },
        check: public_rooms,
    },
    Rule {
        id: "SNC-11.1.3.a",
        pack: Pack::Hardening,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &[],
        text: Words {
            en: "a host in high need of protection stands in a room with sensitive access",
            fr: "un hôte au besoin de sécurité élevé est dans une salle à accès sensible",
        },
        check: sensitive_rooms,
    },
];

fn records(cx: &Cx<'_>, found: &mut Found) {
    for (at, host) in cx.each_host() {
        let record = &host.record;
        // A virtual machine has the place and the model of the machine below it, and a hardware address that is made up.
        let is_virtual = host.provided_by.is_some();
        let has_address = host.ssh.address.is_some() || host.interfaces.values().any(|i| i.address.is_some());
        let has_mac = host.interfaces.values().any(|interface| interface.mac.is_some());
        let fields = [
            ("address", !has_address),
            ("mac", !has_mac && !is_virtual),
            ("roles", host.roles.is_empty()),
            ("model", record.model.is_none() && !is_virtual),
            ("site", host.site.is_none() && !is_virtual),
            ("rack", host.rack.is_none() && !is_virtual),
            ("owner", record.owner.is_none()),
            ("security_need", record.security_need.is_none()),
        ];
        let missing: Vec<&str> =
            fields.into_iter().filter(|(_, is_missing)| *is_missing).map(|(name, _)| name).collect();
        if missing.is_empty() {
            continue;
        }
        let (name, missing) = (&host.name, missing.join(", "));
        let message = say!(cx, "the record of `{name}` lacks {missing}", "la fiche de `{name}` n'a pas {missing}");
        found.push(Finding::new(subject("hosts", name), message).at(host.span).hosts([at]));
    }
}

/// Returns the hosts whose room is declared, with how access to it is restricted.
fn rooms<'c>(
    cx: &'c Cx<'_>,
) -> impl Iterator<Item = (usize, &'c crate::model::inventory::Host, &'c crate::model::inventory::Room)> + 'c {
    cx.each_host().filter_map(|(at, host)| {
        let site = cx.inventory.sites.get(host.site.as_ref()?.as_str())?;
        Some((at, host, site.rooms.get(host.room.as_ref()?.as_str())?))
    })
}

fn public_rooms(cx: &Cx<'_>, found: &mut Found) {
    for (at, host, room) in rooms(cx) {
        let (Some(access), Some(place)) = (&room.access, &host.room) else { continue };
        if access.value == RoomAccess::Public {
            let name = &host.name;
            let message = say!(
                cx,
                "`{name}` stands in the room `{place}`, which is open to visitors",
                "`{name}` est dans la salle `{place}`, ouverte aux visiteurs"
            );
            let label = say!(cx, "the access to it", "son accès");
            found.push(
                Finding::new(subject("hosts", name), message).at(place.span).label(access.span, label).hosts([at]),
            );
        }
    }
}

fn sensitive_rooms(cx: &Cx<'_>, found: &mut Found) {
    for (at, host, room) in rooms(cx) {
        let needs = host.record.security_need.as_ref().is_some_and(|need| need.value >= SecurityNeed::High);
        let access = room.access.as_ref().map(|access| access.value);
        // What is open to visitors is the matter of SNC-11.1.1.a.
        if !needs || matches!(access, Some(RoomAccess::Sensitive | RoomAccess::Public)) {
            continue;
        }
        let (name, Some(place)) = (&host.name, &host.room) else { continue };
        let message = say!(
            cx,
            "`{name}` is in high need of protection, and the room `{place}` is not one with sensitive access",
            "`{name}` a un besoin de sécurité élevé, et la salle `{place}` n'est pas à accès sensible"
        );
        let help = say!(
            cx,
            "say `access: sensitive` of the room if it is so",
            "dites `access: sensitive` de la salle si c'est le cas"
        );
        found.push(Finding::new(subject("hosts", name), message).at(place.span).help(help).hosts([at]));
    }
}
