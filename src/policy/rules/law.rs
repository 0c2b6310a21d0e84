//! Whose law reaches the cloud: the provider's seat and owners, and its suppliers.

use std::collections::BTreeMap;

use crate::diag::Span;
use crate::model::inventory::{Country, Supplier};
use crate::policy::cx::{Cx, subject};
use crate::policy::finding::{Finding, Found};
use crate::policy::rule::{Kind, Needs, Pack, Rule, Words};
use crate::policy::{Level, say};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "SNC-19.6.a",
        pack: Pack::Sovereignty,
        level: Level::Error,
        kind: Kind::M,
        needs: Needs::Inventory,
        also: &[],
        text: Words {
            en: "the provider has its seat in the European Union",
            fr: "le prestataire a son siège dans l'Union européenne",
        },
        check: seat,
    },
    Rule {
        id: "SNC-19.6.b",
        pack: Pack::Sovereignty,
        level: Level::Error,
        kind: Kind::M,
        needs: Needs::Inventory,
        also: &[],
        text: Words {
            en: "holders from outside the European Union have 24 % each and 39 % together at most, and no control",
            fr: "les actionnaires hors Union européenne ont au plus 24 % chacun et 39 % ensemble, sans contrôle",
        },
        check: owners,
    },
    Rule {
        id: "SNC-19.6.c",
        pack: Pack::Sovereignty,
        level: Level::Error,
        kind: Kind::S,
        needs: Needs::Inventory,
        also: &["HDS-EXI-29", "HDS-EXI-30"],
        text: Words {
            en: "no account, endpoint or flow gives a company under foreign law a way in",
            fr: "aucun compte, point d'accès ni flux n'ouvre de voie à une société soumise à un droit étranger",
        },
        check: foreign_law,
    },
    Rule {
        id: "SNC-19.6.d",
        pack: Pack::Sovereignty,
        level: Level::Warning,
        kind: Kind::M,
        needs: Needs::Inventory,
        also: &[],
        text: Words {
            en: "the provider can go on alone: no plane is administered by one supplier's people only",
            fr: "le prestataire peut continuer seul : aucun plan n'est administré par le seul personnel d'un fournisseur",
        },
        check: autonomy,
    },
];

/// The most that one holder from outside the Union may have, in percent.
const MOST_EACH: f64 = 24.0;
/// The most that they may have together.
const MOST_TOGETHER: f64 = 39.0;
/// Shares are written with a few decimals, and their sum must not fail for a rounding.
const ROUNDING: f64 = 1e-6;

fn seat(cx: &Cx<'_>, found: &mut Found) {
    let provider = &cx.inventory.provider;
    let Some(seat) = &provider.seat else {
        let message =
            say!(cx, "nothing says where the provider has its seat", "rien ne dit où le prestataire a son siège");
        let help = say!(cx, "give `provider: {{name: …, seat: FR}}`", "donnez `provider: {{name: …, seat: FR}}`");
        let finding = Finding::new("provider", message).help(help);
        return found.push(match &provider.name {
            Some(name) => finding.at(name.span),
            None => finding,
        });
    };
    if !seat.is_in_european_union() {
        let message = say!(
            cx,
            "the provider has its seat in {seat}, outside the European Union",
            "le prestataire a son siège en {seat}, hors de l'Union européenne"
        );
        return found.push(Finding::new("provider", message).at(seat.span));
    }
    let name = provider.name.as_ref().map_or("", |name| name.as_str());
    found.declare(say!(cx, "{name} has its seat in {seat}", "{name} a son siège en {seat}"));
}

fn owners(cx: &Cx<'_>, found: &mut Found) {
    let holders = &cx.inventory.provider.shareholders;
    let mut foreign = Vec::new();
    let mut all = 0.0;
    for holder in holders {
        let (name, share) = (&holder.name, holder.share.value);
        all += share;
        if !share.is_finite() || share < 0.0 {
            let message = say!(cx, "{share} % is no share", "{share} % n'est pas une part");
            found.push(Finding::new("provider.shareholders", message).at(holder.share.span));
            continue;
        }
        if holder.seat.is_in_european_union() {
            continue;
        }
        foreign.push(holder);
        let seat = &holder.seat;
        if share > MOST_EACH + ROUNDING {
            let message = say!(
                cx,
                "{name} ({seat}) holds {share} %, and a holder from outside the European Union may hold 24 %",
                "{name} ({seat}) détient {share} %, or un actionnaire hors Union européenne peut détenir 24 %"
            );
            found.push(Finding::new("provider.shareholders", message).at(holder.share.span));
        }
        if holder.control {
            let message = say!(
                cx,
                "{name} ({seat}) can veto decisions or appoint most of the board from outside the European Union",
                "{name} ({seat}) peut opposer un veto ou nommer la majorité du conseil depuis l'extérieur de l'Union européenne"
            );
            found.push(Finding::new("provider.shareholders", message).at(holder.name.span));
        }
    }
    let together = foreign.iter().fold(0.0, |sum, holder| sum + holder.share.value);
    if together > MOST_TOGETHER + ROUNDING
        && let Some(last) = foreign.last()
    {
        let message = say!(
            cx,
            "holders from outside the European Union have {together} % together, and may have 39 %",
            "les actionnaires hors Union européenne ont {together} % ensemble, et peuvent avoir 39 %"
        );
        let finding = Finding::new("provider.shareholders", message).at(last.share.span);
        let others = foreign.iter().rev().skip(1);
        found.push(others.fold(finding, |finding, holder| {
            let label = say!(cx, "and these", "et ceux-ci");
            finding.label(holder.share.span, label)
        }));
    }
    if all > 100.0 + ROUNDING
        && let Some(last) = holders.last()
    {
        let message = say!(cx, "the shares add up to {all} %", "les parts font {all} % au total");
        found.push(Finding::new("provider.shareholders", message).at(last.share.span));
    }
    let number = holders.len();
    found.declare(say!(
        cx,
        "shareholders: {number}, with {together} % of the capital outside the European Union",
        "actionnaires : {number}, avec {together} % du capital hors de l'Union européenne"
    ));
}

/// Returns the country outside the Union whose law reaches a supplier, with its place.
fn foreign(supplier: &Supplier) -> Option<(Country, Span)> {
    let countries = [&supplier.controlled_from, &supplier.seat];
    countries.into_iter().find(|country| !country.is_in_european_union()).map(|country| (country.value, country.span))
}

fn foreign_law(cx: &Cx<'_>, found: &mut Found) {
    let inventory = cx.inventory;
    let law_of = |name: &str| inventory.suppliers.get(name).and_then(|supplier| foreign(supplier));
    let law_label = || say!(cx, "under this country's law", "soumis au droit de ce pays");
    // Each endpoint with the flows that name it, found once.
    let mut flows: BTreeMap<&str, Vec<Span>> = BTreeMap::new();
    for flow in &inventory.flows {
        for end in flow.from.iter().chain(flow.to.iter()) {
            if let Some((name, _)) = inventory.endpoints.get_key_value(end.as_str()) {
                flows.entry(name).or_default().push(end.span);
            }
        }
    }
    for (name, endpoint) in &inventory.endpoints {
        let operator = &endpoint.operator;
        let (message, place, law) = match law_of(operator) {
            Some((country, law)) => {
                let message = say!(
                    cx,
                    "`{name}` is run by {operator}, which the law of {country} reaches",
                    "`{name}` est exploité par {operator}, que le droit de {country} atteint"
                );
                (message, operator.span, Some(law))
            }
            None if !endpoint.jurisdiction.is_in_european_union() => {
                let country = &endpoint.jurisdiction;
                let message = say!(
                    cx,
                    "`{name}` is under the law of {country}, outside the European Union",
                    "`{name}` relève du droit de {country}, hors de l'Union européenne"
                );
                (message, country.span, None)
            }
            None => continue,
        };
        let mut finding = Finding::new(subject("endpoints", name), message).at(place);
        if let Some(law) = law {
            finding = finding.label(law, law_label());
        }
        for flow in flows.get(name.as_str()).into_iter().flatten() {
            finding = finding
                .label(*flow, say!(cx, "this flow leads there or comes from there", "ce flux y mène ou en vient"));
        }
        found.push(finding);
    }
    for (name, operator) in &inventory.operators {
        let Some(supplier) = &operator.supplier else { continue };
        let Some((country, law)) = law_of(supplier) else { continue };
        let message = say!(
            cx,
            "`{name}` works for {supplier}, which the law of {country} reaches, and has an account",
            "`{name}` travaille pour {supplier}, que le droit de {country} atteint, et a un compte"
        );
        found.push(Finding::new(subject("operators", name), message).at(supplier.span).label(law, law_label()));
    }
    for (name, supplier) in &inventory.suppliers {
        if let (Some(access), Some((country, law))) = (&supplier.access, foreign(supplier))
            && access.value
        {
            let message = say!(
                cx,
                "the staff of {name}, which the law of {country} reaches, can log in to hosts",
                "le personnel de {name}, que le droit de {country} atteint, peut se connecter aux hôtes"
            );
            found.push(Finding::new(subject("suppliers", name), message).at(access.span).label(law, law_label()));
        }
    }
}

fn autonomy(cx: &Cx<'_>, found: &mut Found) {
    let inventory = cx.inventory;
    for (name, plane) in &inventory.planes {
        let mut people = inventory
            .operators
            .iter()
            .filter(|(_, operator)| operator.planes.iter().any(|known| known.value == *name))
            .peekable();
        if people.peek().is_none() {
            continue;
        }
        let mut suppliers: Vec<Option<&str>> = Vec::new();
        for (_, operator) in people {
            suppliers.push(operator.supplier.as_ref().map(|supplier| supplier.as_str()));
        }
        suppliers.sort_unstable();
        suppliers.dedup();
        if let [Some(only)] = suppliers.as_slice() {
            let message = say!(
                cx,
                "the plane `{name}` is administered by people of {only} alone",
                "le plan `{name}` n'est administré que par du personnel de {only}"
            );
            found.push(Finding::new(subject("planes", name), message).at(plane.span));
        }
    }
    let own = inventory.operators.values().filter(|operator| operator.supplier.is_none()).count();
    let others = inventory.operators.len() - own;
    let suppliers = inventory.suppliers.len();
    found.declare(say!(
        cx,
        "administrators: {own} of its own, {others} of suppliers; suppliers: {suppliers}",
        "administrateurs : {own} en propre, {others} de fournisseurs ; fournisseurs : {suppliers}"
    ));
}
