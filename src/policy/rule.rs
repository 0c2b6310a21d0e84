//! What a rule is.

use std::fmt;

use serde::Serialize;

use super::Level;
use super::cx::Cx;
use super::finding::Found;

/// A rule: one row of the table.
#[derive(Clone, Copy)]
pub struct Rule {
    /// The identifier in the text it comes from: `SNC-19.2.b` is SecNumCloud 3.2, `PA022-R7` ANSSI-PA-022, `NT007-R6`
    /// NT-007, `BP028-R12` ANSSI-BP-028; what begins with `PROV-` is our own.
    pub id: &'static str,
    /// The pack that it belongs to.
    pub pack: Pack,
    /// How bad it is to break it.
    pub level: Level,
    /// How it can be checked.
    pub kind: Kind,
    /// What is looked at.
    pub needs: Needs,
    /// Other requirements that the same check answers.
    pub also: &'static [&'static str],
    /// What it asks for, in one line.
    pub text: Words,
    /// Finds what breaks it.
    pub(super) check: fn(&Cx<'_>, &mut Found),
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Rule({})", self.id)
    }
}

/// A set of rules that an inventory asks for as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Pack {
    /// Where things are, and whose law reaches them.
    Sovereignty,
    /// What must not be shared, and what must not be reached.
    Separation,
    /// What is recorded, who may log in, and how hosts are set up.
    Hardening,
}

impl Pack {
    /// All packs.
    pub const ALL: [Pack; 3] = [Pack::Sovereignty, Pack::Separation, Pack::Hardening];

    /// Returns the name, as `policy.packs` has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Pack::Sovereignty => "sovereignty",
            Pack::Separation => "separation",
            Pack::Hardening => "hardening",
        }
    }
}

/// How a rule can be checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub enum Kind {
    /// On what is written.
    S,
    /// On the live host.
    L,
    /// On something that the tool makes.
    A,
    /// Only whether something is declared, and whether it makes sense: declared, not verified.
    M,
}

impl Kind {
    /// Returns what the letter stands for.
    pub fn meaning(self) -> Words {
        match self {
            Kind::S => Words { en: "checked on what is written", fr: "vérifié sur ce qui est écrit" },
            Kind::L => Words { en: "checked on the live host", fr: "vérifié sur l'hôte en service" },
            Kind::A => Words { en: "checked on what the tool makes", fr: "vérifié sur ce que l'outil produit" },
            Kind::M => Words { en: "declared, not verified", fr: "déclaré, non vérifié" },
        }
    }
}

/// What a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Needs {
    /// The inventory alone.
    Inventory,
    /// The inventory, and what a playbook would write where one is given.
    Both,
    /// What a playbook would write: without one, the rule is not asked.
    Playbook,
    /// The live hosts: asked by `audit`.
    Live,
    /// The network of the live hosts: asked by `audit` and by `verify`.
    Network,
    /// What came of trying connections: asked by `verify` alone.
    Tried,
}

/// A text in two languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Words {
    /// In English.
    pub en: &'static str,
    /// In French.
    pub fr: &'static str,
}

impl Words {
    /// Returns the text in a language.
    pub fn of(self, lang: Lang) -> &'static str {
        match lang {
            Lang::En => self.en,
            Lang::Fr => self.fr,
        }
    }
}

/// The language of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// French.
    Fr,
}
