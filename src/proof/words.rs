//! What was seen, in words: each completes a sentence on a connection.

use super::{Note, Seen};
use crate::policy::Words;

impl Seen {
    /// Returns what it means, as part of a sentence.
    pub fn words(self) -> Words {
        let (en, fr) = match self {
            Seen::Connected => ("it connected", "la connexion aboutit"),
            Seen::Answered => ("it was answered", "une réponse est venue"),
            Seen::Refused => ("it came through to a port where nobody listens", "elle atteint un port où nul n'écoute"),
            Seen::Delivered => ("it was delivered", "elle est arrivée"),
            Seen::Rejected => ("it was rejected", "elle a été rejetée"),
            Seen::Dropped => ("nothing came back", "rien n'est revenu"),
            Seen::Withheld => ("the source let it not out", "la source ne l'a pas laissée sortir"),
            Seen::Silent => ("nobody answered", "personne n'a répondu"),
            Seen::Unroutable => ("there is no way there", "aucune route n'y mène"),
            Seen::NotTried => ("it was not tried", "elle n'a pas été essayée"),
        };
        Words { en, fr }
    }
}

impl Note {
    /// Returns what it means, as part of a sentence.
    pub fn words(self) -> Words {
        let (en, fr) = match self {
            Note::SourceUnreachable => ("the source cannot be reached", "la source est injoignable"),
            Note::ProbesFailed => ("the probes of the source failed", "les sondes de la source ont échoué"),
            Note::NoAddress => ("the source does not have its address", "la source n'a pas son adresse"),
            Note::DestinationGone => ("the destination answers nobody", "la destination ne répond à personne"),
            Note::DestinationClosed => (
                "the destination is there, but nobody can log in to it",
                "la destination est là, mais nul ne peut s'y connecter",
            ),
            Note::HeldBackBySource => (
                "only the source's own filter holds it back, the destination takes it",
                "seul le filtre de la source la retient, la destination l'accepte",
            ),
            Note::AroundNotTried => {
                ("the destination's own filter was not tried", "le filtre propre à la destination n'a pas été essayé")
            }
            Note::NeedNotAnswer => (
                "who listens there need not answer, so this proves nothing",
                "qui écoute là n'est pas tenu de répondre, cela ne prouve rien",
            ),
        };
        Words { en, fr }
    }
}
